package zfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
)

// Hook runs a user's shell command on the host, with variables in its
// environment and the lines of a list on its standard input. What it prints
// goes to out.
//
// Neither a remote command line nor one variable of an environment takes more
// than 128 KiB, so all of it travels over standard input to a shell, whose own
// printf hands the list on. The command is the user's own, and speaks to the
// user: it has the language that the user has on the host.
func (h *Host) Hook(ctx context.Context, command string, vars map[string]string, list []string, out io.Writer) error {
	var script strings.Builder
	for _, k := range slices.Sorted(maps.Keys(vars)) {
		script.WriteString(k + "=" + Quote(vars[k]) + "\nexport " + k + "\n")
	}
	script.WriteString("printf '%s\\n' " + Quote(list...) + " 2>/dev/null | sh -c " + Quote(command) + "\nexit $?\n")
	argv := []string{"/bin/sh", "-s"}
	local := argv
	if !h.Here() {
		ssh, err := h.connect(ctx)
		if err != nil {
			return err
		}
		local = append(slices.Clone(ssh), Quote(argv...))
	}
	cmd := h.m.Command(ctx, local)
	cmd.Env = nil // as this process has it
	cmd.Stdin = strings.NewReader(script.String())
	// A reader who is gone is no reason to end the command in the middle.
	stdout := &lines{to: out}
	cmd.Stdout = stdout
	var stderr tail
	cmd.Stderr = &stderr
	err := cmd.Run()
	stdout.end()
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		// What it left in the background is no part of it.
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return h.failed(argv, err, stderr.String())
}

// lines passes on whole lines, one a write. It takes what it cannot pass on.
type lines struct {
	to   io.Writer
	rest []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	if i := bytes.LastIndexByte(l.rest, '\n'); i >= 0 {
		for line := range bytes.Lines(l.rest[:i+1]) {
			_, _ = l.to.Write(line)
		}
		l.rest = append(l.rest[:0], l.rest[i+1:]...)
	}
	if len(l.rest) > maxHookLine {
		l.end()
	}
	return len(p), nil
}

// maxHookLine is how much of a line without an end is kept.
const maxHookLine = 64 << 10

// end passes on what is left.
func (l *lines) end() {
	if len(l.rest) > 0 {
		_, _ = l.to.Write(append(l.rest, '\n'))
		l.rest = nil
	}
}
