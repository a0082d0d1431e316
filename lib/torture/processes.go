package torture

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"syscall"
	"time"

	"zab/lib/zabtest"
)

// awaitProcesses checks P4: no process of a run remains, neither here nor on the far side
// of ssh.
func (h *history) awaitProcesses() {
	defer h.tally.timed("waiting for processes")()
	var left string
	for range 150 {
		if left = h.listProcesses(); left == "" {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	h.breaks("P4", "after 15 s there are still:\n%s", left)
}

// listProcesses returns lines about the processes of this history: those with its TMPDIR
// and the descendants of its sshd.
func (h *history) listProcesses() string {
	all := zabtest.Processes()
	mine := map[int]bool{}
	mark := []byte("TMPDIR=" + h.dir + "\x00")
	for pid := range all {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err == nil && bytes.Contains(append(env, 0), mark) {
			mine[pid] = true
		}
	}
	for pid := range zabtest.Descendants(all, h.sshd.PID()) {
		mine[pid] = true
	}
	out := ""
	for _, pid := range slices.Sorted(maps.Keys(mine)) {
		if all[pid].State != "Z" {
			out += fmt.Sprintf("\t%d %s %s\n", pid, all[pid].State, all[pid].Cmdline())
		}
	}
	return out
}

// processesOfRun returns the processes of a run on both sides of ssh, in the order of
// their ids.
func (h *history) processesOfRun(zab int) []zabtest.Process {
	all := zabtest.Processes()
	set := zabtest.Descendants(all, zab)
	set[zab] = true
	for pid := range zabtest.Descendants(all, h.sshd.PID()) {
		set[pid] = true
	}
	var out []zabtest.Process
	for pid := range set {
		if p, ok := all[pid]; ok && p.State != "Z" {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b zabtest.Process) int { return a.PID - b.PID })
	return out
}

// kill kills a process, and reports whether it could.
func (h *history) kill(p zabtest.Process) bool {
	c := p.Cmdline()
	h.say("# kill -9 %d %.100s", p.PID, c)
	return syscall.Kill(p.PID, syscall.SIGKILL) == nil
}
