package zfs

import (
	"context"
	"io"
	"maps"
	"slices"
	"strings"
)

// Hook runs a user's shell command on the host, with variables in its
// environment and the lines of a list on its standard input. What it prints
// goes to out.
//
// Neither a remote command line nor one variable of an environment takes more
// than 128 KiB, so all of it travels over standard input to a shell, whose own
// printf hands the list on.
func (h *Host) Hook(ctx context.Context, command string, vars map[string]string, list []string, out io.Writer) error {
	var script strings.Builder
	for _, k := range slices.Sorted(maps.Keys(vars)) {
		script.WriteString(k + "=" + Quote(vars[k]) + "\nexport " + k + "\n")
	}
	script.WriteString("printf '%s\\n' " + Quote(list...) + " 2>/dev/null | sh -c " + Quote(command) + "\nexit $?\n")
	return h.do(ctx, call{argv: []string{"/bin/sh", "-s"}, stdin: strings.NewReader(script.String()), out: out})
}
