package zfs

import (
	"context"
	"io"
	"maps"
	"slices"
	"strings"
)

// Hook runs a user's shell command on the host, with variables in its
// environment and no input. What it prints goes to out.
//
// ZAB_DATASETS may be longer than a remote command line takes, so the
// variables travel over standard input and not in the line.
func (h *Host) Hook(ctx context.Context, command string, vars map[string]string, out io.Writer) error {
	var script strings.Builder
	for _, k := range slices.Sorted(maps.Keys(vars)) {
		script.WriteString(k + "=" + Quote(vars[k]) + "\nexport " + k + "\n")
	}
	script.WriteString("sh -c " + Quote(command) + " </dev/null\nexit $?\n")
	row := func(line string) error {
		_, err := io.WriteString(out, line+"\n")
		return err
	}
	return h.run(ctx, strings.NewReader(script.String()), row, "/bin/sh", "-s")
}
