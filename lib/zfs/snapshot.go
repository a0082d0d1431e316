package zfs

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
)

// Snapshot takes snapshots, all of one pool, in one transaction group: all or
// none. names are full (dataset@name); props are P=V, set on each of them.
//
// A command line that the system would not take becomes a channel program,
// which reads the names from standard input; it needs root and sets no
// properties.
func (h *Host) Snapshot(ctx context.Context, names, props []string) error {
	argv := []string{"zfs", "snapshot"}
	for _, p := range props {
		argv = append(argv, "-o", p)
	}
	limit := maxLocal
	if !h.Here() {
		limit = maxRemote
	}
	batches := slices.Collect(Batches(names, limit))
	if len(batches) <= 1 {
		return h.run(ctx, nil, nil, append(argv, names...)...)
	}
	if len(props) > 0 {
		return &Error{Kind: KindTooLong, Host: h.Dest, Argv: argv, Code: -1,
			Message: fmt.Sprintf("%d snapshots do not fit into one command, and a channel program cannot set properties on snapshots", len(names))}
	}
	return h.snapshotProgram(ctx, names)
}

// snapshotProgram does the same through a channel program, whose one
// synchronous task is as atomic as one command.
func (h *Host) snapshotProgram(ctx context.Context, names []string) error {
	pool, _, _ := strings.Cut(names[0], "/")
	pool, _, _ = strings.Cut(pool, "@")
	var lua bytes.Buffer
	lua.WriteString("args = ...\nfailed = {}\nn = 0\nnames = {\n")
	for _, n := range names {
		// Names of ZFS contain neither quotes nor backslashes; record checks.
		fmt.Fprintf(&lua, "%q,\n", n)
	}
	// All are checked before the first is made, so that none is made in vain.
	lua.WriteString(`}
for i, name in ipairs(names) do
  local err = zfs.check.snapshot(name)
  if err ~= 0 then n = n + 1; failed[name] = err end
end
if n > 0 then error(failed) end
for i, name in ipairs(names) do
  local err = zfs.sync.snapshot(name)
  if err ~= 0 then n = n + 1; failed[name] = err end
end
if n > 0 then error(failed) end
return #names
`)
	return h.run(ctx, &lua, nil, "zfs", "program", "-t", "100000000", "-m", "104857600", pool, "-")
}
