package zfs

import (
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
		return h.run(ctx, append(argv, names...)...)
	}
	if len(props) > 0 {
		return &Error{Kind: KindTooLong, Host: h.Dest, Argv: argv, Code: -1,
			Lines: []string{fmt.Sprintf("%d snapshots do not fit into one command, and a channel program cannot set properties on snapshots", len(names))}}
	}
	return h.snapshotProgram(ctx, names)
}

// snapshotProgram does the same through a channel program, whose one
// synchronous task is as atomic as one command.
func (h *Host) snapshotProgram(ctx context.Context, names []string) error {
	pool, _, _ := strings.Cut(names[0], "/")
	pool, _, _ = strings.Cut(pool, "@")
	var lua strings.Builder
	// The message is ours to make: a channel program has none of its own.
	lua.WriteString(`
errors = {[2] = "dataset does not exist", [16] = "dataset is busy", [17] = "dataset already exists",
  [28] = "out of space", [122] = "out of space"}
failed = {}
function try(how, name)
  local err = how(name)
  if err ~= 0 then
    failed[#failed + 1] = "cannot create snapshot '" .. name .. "': " .. (errors[err] or "error " .. err)
  end
end
function done()
  if #failed > 0 then error(table.concat(failed, "\n"), 0) end
end
names = {
`)
	for _, n := range names {
		name, err := luaPoint(n)
		if err != nil {
			return err
		}
		lua.WriteString(name + ",\n")
	}
	// All are checked before the first is made, so that none is made in vain.
	lua.WriteString(`}
for i, name in ipairs(names) do try(zfs.check.snapshot, name) end
done()
for i, name in ipairs(names) do try(zfs.sync.snapshot, name) end
done()
return #names
`)
	return h.program(ctx, pool, lua.String(), nil)
}
