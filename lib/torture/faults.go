package torture

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fault is a fault of one run. It occurs either at calls of a program, by a stand-in for
// that program (standin.go), or at a time (timed.go); these files have all faults.
type fault struct {
	action string // such as "dies late" or "kill -9"

	// At calls of a program, which is "" for other faults:
	program   string
	command   string // the first argument; * for any
	call      int    // which of these calls, counted from 1
	moreCalls []int  // others with the same fault
	overSSH   bool   // on the far side of ssh
	arg       string // of the action: an exit status, a number of bytes, tenths of a second
	message   string // of a program that fails
	hits      int    // how often it occurred

	// At a time:
	timed       *timedFault
	delay       time.Duration
	exported    string   // the pool that was exported
	undo        []string // commands to run after the run
	awaitSecond func()   // waits for the second of two runs; nil if there is none
}

// String describes a fault in the log of a history.
func (f *fault) String() string {
	if f.program != "" {
		s := fmt.Sprintf("%s: %s %s number %d", f.action, f.program, f.command, f.call)
		for _, k := range f.moreCalls {
			s += fmt.Sprintf(", %d", k)
		}
		if f.overSSH {
			s += " beyond ssh"
		}
		if f.message != "" {
			s += fmt.Sprintf(", %.60q", f.message)
		}
		return s + " " + f.arg
	}
	return fmt.Sprintf("%s after %.1fs", f.action, f.delay.Seconds())
}

// category returns the name under which the fault is counted.
func (f *fault) category() string {
	if f.program != "" {
		if f.overSSH {
			return "far " + f.program + " " + f.action
		}
		return f.program + " " + f.action
	}
	return f.action
}

// kills reports whether the fault may end zab before it prints its records.
func (f *fault) kills() bool {
	return strings.HasPrefix(f.action, "kill") || f.action == "signal" || strings.HasPrefix(f.action, "hangs") || strings.HasPrefix(f.action, "zab dies") ||
		strings.HasPrefix(f.action, "its parent")
}

// arm prepares the fault before a run, and returns a prefix for its PATH.
func (f *fault) arm(h *history) string {
	if f.program != "" {
		return f.placeStandIns(h)
	}
	if f.timed.prepare != nil {
		f.timed.prepare(h, f)
	}
	return ""
}

// inject waits until the fault occurs or zab ends, and reports whether it took effect.
func (f *fault) inject(h *history, zab running) bool {
	if f.program != "" {
		return f.awaitHit(h, zab)
	}
	return f.timed.strike(h, f, zab)
}

// disarm ends the fault after the run.
func (f *fault) disarm(h *history) {
	if f.program != "" {
		f.removeStandIns(h)
	}
	h.awaitProcesses()
	for _, line := range f.undo {
		for i := range 20 {
			if _, ok := h.sh("%s", line); ok || i == 19 {
				break
			}
			time.Sleep(300 * time.Millisecond)
		}
	}
}

// running is a process of zab that has been started.
type running struct {
	pid  int
	done <-chan struct{} // closed when it has ended
}

// endsWithin waits for some time, and reports whether the process ended meanwhile.
func (r running) endsWithin(d time.Duration) bool {
	select {
	case <-r.done:
		return true
	case <-time.After(d):
		return false
	}
}

// drawFault draws a fault for a run of zab.
func (h *history) drawFault(a *attempt) *fault {
	f := &fault{delay: time.Duration((0.05 + 0.85*h.rng.Float64()) * float64(h.typicalTime))}
	if h.oneIn(3) {
		f.timed = pick(h, timedFaultsFor(a)...)
		f.action = f.timed.name
		return f
	}
	f.program = "zfs"
	f.command, f.call = pick(h, "send", "receive", "receive", "hold", "release", "destroy", "snapshot", "list", "list", "set", "*", "*", "*"), 1
	switch f.command {
	case "send", "receive", "hold", "release", "list":
		f.call += h.rng.Intn(3)
	case "*":
		f.call += h.rng.Intn(18)
		// zab may tolerate one failing call, but not two.
		for k := f.call; h.oneIn(2); {
			k += 1 + h.rng.Intn(4)
			f.moreCalls = append(f.moreCalls, k)
		}
	}
	switch {
	case a.remote && h.oneIn(3):
		f.program, f.command, f.call = "ssh", "*", 1+h.rng.Intn(9)
	case a.remote && h.oneIn(2):
		f.overSSH = true
	case slices.Contains(a.args, "--compress=zstd-fast") && h.oneIn(2):
		f.program, f.command, f.call = "zstd", "*", 1+h.rng.Intn(4)
	case slices.Contains(a.args, "--compress=lz4") && h.oneIn(2):
		f.program, f.command, f.call = "lz4", "*", 1+h.rng.Intn(4)
	}
	h.drawAction(f)
	return f
}

// drawStageFault draws a fault for a stage that runs alone.
func (h *history) drawStageFault(a *attempt) *fault {
	f := &fault{program: "zfs", command: pick(h, "*", "*", "send", "receive", "receive", "hold"), call: 1 + h.rng.Intn(3), arg: strconv.Itoa(pick(h, 0, 1, 100, 312, 5000, 50000))}
	if f.command == "*" {
		f.call += h.rng.Intn(4)
	}
	if a.remote && h.oneIn(2) {
		f.overSSH = true
	}
	h.drawStageAction(f)
	return f
}
