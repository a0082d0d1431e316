package zabtest

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Process is a process of Linux. State is the letter of its state, such as Z for a zombie.
type Process struct {
	PID, Parent int
	State, Name string
}

// Cmdline returns the arguments of a process with spaces between, or "".
func (p Process) Cmdline() string {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
	return strings.TrimSpace(strings.ReplaceAll(string(data), "\x00", " "))
}

// Processes returns all processes by their ids.
func Processes() map[int]Process {
	out := map[int]Process{}
	dirs, _ := os.ReadDir("/proc")
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		// The name stands between parentheses and may contain anything, even these.
		open, end := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
		f := strings.Fields(string(data[end+1:]))
		parent, _ := strconv.Atoi(f[1])
		out[pid] = Process{pid, parent, f[0], string(data[open+1 : end])}
	}
	return out
}

// Descendants returns the ids of all descendants of a process.
func Descendants(all map[int]Process, root int) map[int]bool {
	out := map[int]bool{}
	for more := true; more; {
		more = false
		for pid, p := range all {
			if !out[pid] && (p.Parent == root || out[p.Parent]) {
				out[pid] = true
				more = true
			}
		}
	}
	return out
}
