package torture

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// runLimit is the longest time that a run may take, even on a busy machine.
const runLimit = 5 * time.Minute

// randomRun runs zab with random options, mostly with a fault.
func (h *history) randomRun() {
	a := h.drawAttempt()
	switch {
	case h.oneIn(6):
		a.dryRun = true
		a.args = append(a.args, "-n")
	case !h.oneIn(6):
		a.fault = h.drawFault(a)
		if h.oneIn(4) {
			// Without a fault, a busy machine would be one.
			a.args = append(a.args, "--stall-timeout", "2s")
		}
		size := 30000
		if a.fault.timed != nil && h.oneIn(2) {
			// Something that takes a while to send.
			size = 1500000
			if !slices.Contains(a.args, "--rate") {
				a.args = append(a.args, "--rate", "2M")
			}
		}
		if h.seen != nil {
			if fs := h.datasets(h.seen, "filesystem"); len(fs) > 0 {
				h.write(pick(h, fs...), size)
			}
		}
	}
	h.runZab(a)
}

// runZab runs zab once and has the outcome judged. It returns the exit status and the states
// of the pools before and after, which may be nil if the history is over.
func (h *history) runZab(a *attempt) (status int, before, after *world) {
	if before = h.seen; before == nil || h.stale {
		before = h.look()
	}
	if before == nil {
		return -1, nil, nil
	}
	lengths := ""
	if a.dryRun {
		lengths = h.historyLengths()
	}
	args := append(slices.Clone(a.args), "--json", h.backup)
	if a.target != "" {
		args = append(args, a.target)
	}
	line := "zab"
	for _, s := range args {
		line += " " + s
	}
	if a.fault != nil {
		line += "    # " + a.fault.String()
	}
	h.say("%s", line)
	h.tally.increment(&h.tally.runs)

	h.lastArgs = args
	cmd := exec.Command(filepath.Join(h.config.Programs, "zab"), args...)
	path := h.path
	if a.fault != nil {
		path = a.fault.arm(h) + path
	}
	var out, records bytes.Buffer
	cmd.Stdout = &records
	h.prepare(cmd, path, &out)
	ran := h.tally.timed("zab")
	begun := time.Now()
	hit, ended := h.execute(cmd, a.fault, "zab", &out)
	if !ended {
		return -1, nil, nil
	}
	status = cmd.ProcessState.ExitCode()
	ran()
	took := time.Since(begun)
	if a.fault == nil {
		h.typicalTime = max((h.typicalTime*3+took)/4, 300*time.Millisecond)
	} else {
		a.fault.disarm(h)
		if hit {
			for range max(1, a.fault.hits) {
				h.tally.countFault(a.fault.category())
			}
		} else {
			h.tally.increment(&h.tally.tooLate)
			h.say("# the fault came too late, or was not met")
		}
	}
	h.say("# status %d after %.1fs: %s", status, took.Seconds(), strings.ReplaceAll(strings.TrimSpace(out.String()), "\n", "\n\t#\t"))
	h.awaitProcesses()
	if h.over {
		return status, before, nil
	}
	if after = h.look(); after == nil {
		return status, before, nil
	}
	a.nothingSelected = a.fault != nil && a.fault.action == "export" && a.fault.exported == h.source && !bytes.Contains(records.Bytes(), []byte(`"type":"dataset"`))
	h.judge(a, status, before, after)
	h.judgeVerdicts(a, status, before, records.Bytes())
	if a.dryRun && !h.over {
		h.judgeDryRun(lengths)
	}
	return status, before, after
}

// prepare sets up a command to run within this history, in a process group of its own.
func (h *history) prepare(cmd *exec.Cmd, path string, stderr *bytes.Buffer) {
	cmd.Env = append(os.Environ(), "PATH="+path, "TMPDIR="+h.dir, "CACHE_DIRECTORY="+h.dir+"/cache", "TZ=UTC", "LC_ALL=C.UTF-8")
	cmd.Stderr = stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 30 * time.Second
}

// execute runs a prepared command, with a fault unless f is nil, and checks P4: it ends
// within runLimit. hit reports whether the fault took effect.
func (h *history) execute(cmd *exec.Cmd, f *fault, who string, stderr *bytes.Buffer) (hit, ended bool) {
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	if f != nil {
		hit = f.inject(h, running{cmd.Process.Pid, done})
		if f.awaitSecond != nil {
			f.awaitSecond()
		}
	}
	select {
	case <-done:
		return hit, true
	case <-time.After(runLimit):
		h.breaks("P4", "%s does not end:\n%s%s", who, h.listProcesses(), stderr.String())
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-done
		return hit, false
	}
}

// repeatCommand returns a command that repeats the last run of zab, at a later time of its
// clock.
func (h *history) repeatCommand() *exec.Cmd {
	args := slices.Clone(h.lastArgs)
	h.advanceClock()
	for i, s := range args {
		if s == "--now" {
			args[i+1] = h.now.Format(time.RFC3339)
		}
	}
	cmd := exec.Command(filepath.Join(h.config.Programs, "zab"), args...)
	h.prepare(cmd, h.path, &bytes.Buffer{})
	return cmd
}
