package torture

import (
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"zab/lib/zabtest"
)

// timedFault is a fault that occurs at some time of a run.
type timedFault struct {
	name   string
	weight int  // how often it is drawn, compared with the others
	remote bool // only for runs over ssh
	always bool // also for runs without a target
	// prepare is called before the run, unless it is nil.
	prepare func(h *history, f *fault)
	// strike is called at the beginning of the run, and reports whether the fault took
	// effect.
	strike func(h *history, f *fault, zab running) bool
}

// timedFaults are all faults that occur at some time of a run.
var timedFaults = []*timedFault{
	{name: "kill -9", weight: 3, always: true, strike: later(killAny)},
	{name: "kill -9 zab", weight: 1, always: true, strike: later(killZab)},
	{name: "kill -9 send or receive", weight: 2, strike: killTransfer},
	{name: "signal", weight: 1, strike: later(signalZab)},
	{name: "pool full", weight: 1, prepare: fillPool, strike: untilEnd},
	{name: "quota", weight: 1, prepare: setQuota, strike: untilEnd},
	{name: "export", weight: 1, strike: later(exportPool)},
	{name: "two at once", weight: 2, strike: later(runSecond)},
	{name: "ssh cut", weight: 4, remote: true, strike: later(cutSSH)},
}

// timedFaultsFor returns the faults that a run can have, each as often as its weight says.
func timedFaultsFor(a *attempt) (list []*timedFault) {
	for _, f := range timedFaults {
		if (a.remote || !f.remote) && (a.target != "" || f.always) {
			list = append(list, slices.Repeat([]*timedFault{f}, f.weight)...)
		}
	}
	return list
}

// later delays a strike; if zab ends before, the fault has no effect.
func later(strike func(*history, *fault, running) bool) func(*history, *fault, running) bool {
	return func(h *history, f *fault, zab running) bool {
		return !zab.endsWithin(f.delay) && strike(h, f, zab)
	}
}

// untilEnd is for faults that are prepared before the run and last until its end.
func untilEnd(_ *history, _ *fault, zab running) bool {
	<-zab.done
	return true
}

// killAny kills one of the processes of the run, on either side of ssh.
func killAny(h *history, _ *fault, zab running) bool {
	all := h.processesOfRun(zab.pid)
	return len(all) > 0 && h.kill(pick(h, all...))
}

// killZab kills the wrapper alone.
func killZab(_ *history, _ *fault, zab running) bool {
	return syscall.Kill(zab.pid, syscall.SIGKILL) == nil
}

// killTransfer kills a zfs send or zfs receive some time after it has begun.
func killTransfer(h *history, f *fault, zab running) bool {
	for !zab.endsWithin(20 * time.Millisecond) {
		var all []zabtest.Process
		for _, p := range h.processesOfRun(zab.pid) {
			if c := p.Cmdline(); strings.HasPrefix(c, "zfs send") || strings.HasPrefix(c, "zfs receive") {
				all = append(all, p)
			}
		}
		if len(all) > 0 {
			return !zab.endsWithin(f.delay/2) && h.kill(pick(h, all...))
		}
	}
	return false
}

// signalZab sends the wrapper a signal by which users and systems end programs.
func signalZab(h *history, _ *fault, zab running) bool {
	s := pick(h, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
	h.say("# kill -%d zab", s)
	return syscall.Kill(zab.pid, s) == nil
}

// fillPool leaves almost no space on the pool of a target.
func fillPool(h *history, f *fault) {
	p := poolOf(h.targets[h.rng.Intn(len(h.targets))])
	h.sh("a=$(zfs get -Hpo value available %[1]s); zfs create -V $((a / 1048576 - 1))M %[1]s/fill", p)
	f.undo = append(f.undo, "zfs destroy "+p+"/fill; zpool sync "+p)
}

// setQuota leaves little space for a target.
func setQuota(h *history, f *fault) {
	t := h.targets[h.rng.Intn(len(h.targets))]
	h.sh("u=$(zfs get -Hpo value used %[1]s); zfs set quota=$((u + 100000)) %[1]s", t)
	f.undo = append(f.undo, "zfs set quota=none "+t)
}

// exportPool exports a pool, and imports it after the run.
func exportPool(h *history, f *fault, zab running) bool {
	p := pick(h, h.pools()...)
	out, err := exec.Command("zpool", "export", "-f", p).CombinedOutput()
	h.say("zpool export -f %s # %s", p, strings.TrimSpace(string(out)))
	if err != nil {
		h.tally.increment(&h.tally.impossible)
		return false
	}
	f.exported = p
	f.undo = append(f.undo, "zpool import -l -d "+h.dir+" "+p)
	<-zab.done
	return true
}

// runSecond runs the same command a little later by its clock, while the first still runs.
// Either may find that the other holds the lock.
func runSecond(h *history, f *fault, zab running) bool {
	cmd := h.repeatCommand()
	h.say("# and at once: %s", strings.Join(cmd.Args, " "))
	if cmd.Start() != nil {
		return false
	}
	f.awaitSecond = func() {
		end := time.AfterFunc(runLimit, func() { _ = cmd.Process.Kill() })
		err := cmd.Wait()
		if !end.Stop() {
			h.breaks("P4", "the second of two runs does not end")
		}
		h.say("# the second: %v %s", err, cmd.Stderr)
	}
	<-zab.done
	return true
}

// cutSSH kills a process of a session of sshd.
func cutSSH(h *history, _ *fault, _ running) bool {
	all := zabtest.Processes()
	var list []zabtest.Process
	for pid := range zabtest.Descendants(all, h.sshd.PID()) {
		if strings.HasPrefix(all[pid].Name, "sshd") {
			list = append(list, all[pid])
		}
	}
	slices.SortFunc(list, func(a, b zabtest.Process) int { return a.PID - b.PID })
	return len(list) > 0 && h.kill(pick(h, list...))
}
