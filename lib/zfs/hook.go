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

// Hook runs a user's shell command on the host, with variables in its environment and the
// lines of a list on its standard input. Its standard output goes to out.
//
// Neither a remote command line nor one environment variable can exceed 128 KiB, so
// everything is sent over standard input to a shell, whose built-in printf writes the
// list. The command belongs to the user and speaks to the user, so it has the locale that
// the user has on the host.
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
	cmd.Env = nil // the environment of this process
	cmd.Stdin = strings.NewReader(script.String())
	// If the reader of out is gone, the command still runs to its end.
	stdout := &lines{to: out}
	cmd.Stdout = stdout
	var stderr tail
	cmd.Stderr = &stderr
	err := cmd.Run()
	stdout.end()
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		// Programs that it left in the background are no part of it.
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return h.failed(argv, err, stderr.String())
}

// lines passes on whole lines, one per write, and ignores errors in doing so.
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

// maxHookLine is how many bytes of an unfinished line are kept before it is passed on.
const maxHookLine = 64 << 10

// end passes on an unfinished line.
func (l *lines) end() {
	if len(l.rest) > 0 {
		_, _ = l.to.Write(append(l.rest, '\n'))
		l.rest = nil
	}
}
