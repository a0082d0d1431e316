package zfs

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"zab/lib/record"
)

// DestroySnapshots destroys snapshots of one dataset, given by their names after @, with
// as few programs as their length allows. zfs destroys all snapshots of one command or
// none; those already gone are no failure. done, if set, is called with each batch that
// is gone.
func (h *Host) DestroySnapshots(ctx context.Context, dataset string, names []string, done func([]string)) error {
	// The list is one string, so the limit for one string applies here, too.
	const limit = 100 << 10
	var errs []error
	for batch := range Batches(names, limit-len(dataset)) {
		err := h.run(ctx, DestroyArgv(dataset, batch)...)
		if err != nil && KindOf(err) != record.KindNotFound {
			errs = append(errs, err)
			if unrecoverable(err) {
				break
			}
			continue
		}
		if done != nil {
			done(batch)
		}
	}
	return join(errs)
}

// DestroyArgv returns the command that destroys snapshots of one dataset.
func DestroyArgv(dataset string, names []string) []string {
	return []string{"zfs", "destroy", dataset + "@" + strings.Join(names, ",")}
}

// SnapshotRef is a snapshot to be destroyed.
type SnapshotRef struct{ Name, GUID string } // Name is full

// manyDoomed is how many snapshots one channel program destroys: all of them go in one
// transaction group, for which other operations wait.
const manyDoomed = 250

// DestroyByProgram destroys snapshots of filesystems of one pool, from any number of
// datasets, by channel programs, and returns the names of those that it destroyed. It
// checks each guid in the same transaction group. It leaves alone a snapshot whose name
// belongs to another by now, snapshots that are held, mounted or cloned, and all of them
// if channel programs are not allowed: a command will tell why. (A volume's snapshot may
// have a device, of which a channel program knows nothing.)
func (h *Host) DestroyByProgram(ctx context.Context, pool string, list []SnapshotRef) map[string]bool {
	gone := map[string]bool{}
	for len(list) > 0 {
		part := list[:min(len(list), manyDoomed)]
		list = list[len(part):]
		var lua strings.Builder
		lua.WriteString("gone = {}\nfor i, s in ipairs({\n")
		for _, d := range part {
			name, err := luaPoint(d.Name)
			// A guid is an unsigned number of 64 bits, a number of Lua a
			// signed one.
			guid, err2 := strconv.ParseUint(d.GUID, 10, 64)
			if err != nil || err2 != nil {
				continue
			}
			fmt.Fprintf(&lua, "{%s, \"%d\"},\n", name, int64(guid))
		}
		lua.WriteString(`}) do
  if zfs.exists(s[1]) and tostring(zfs.get_prop(s[1], "guid")) == s[2] and zfs.sync.destroy(s[1]) == 0 then
    gone[s[1]] = true
  end
end
return gone
`)
		var got struct {
			Return map[string]bool `json:"return"`
		}
		if h.program(ctx, pool, lua.String(), &got) != nil {
			return gone // the command finds those that are gone
		}
		for _, d := range part {
			if got.Return[d.Name] {
				gone[d.Name] = true
			}
		}
	}
	return gone
}

// DestroyDataset destroys a filesystem or volume that has neither children nor
// snapshots; zfs refuses otherwise.
func (h *Host) DestroyDataset(ctx context.Context, dataset string) error {
	return h.run(ctx, DestroyDatasetArgv(dataset)...)
}

// DestroyDatasetArgv returns the command of DestroyDataset.
func DestroyDatasetArgv(dataset string) []string { return []string{"zfs", "destroy", dataset} }

// DestroyBookmark destroys one bookmark; one already gone is no failure.
func (h *Host) DestroyBookmark(ctx context.Context, dataset, mark string) error {
	err := h.run(ctx, DestroyBookmarkArgv(dataset, mark)...)
	if KindOf(err) == record.KindNotFound {
		return nil
	}
	return err
}

// DestroyBookmarkArgv returns the command of DestroyBookmark.
func DestroyBookmarkArgv(dataset, mark string) []string {
	return []string{"zfs", "destroy", dataset + "#" + mark}
}

// AbortReceive discards the saved state of an interrupted receive.
func (h *Host) AbortReceive(ctx context.Context, dataset string) error {
	return h.run(ctx, AbortReceiveArgv(dataset)...)
}

// AbortReceiveArgv returns the command of AbortReceive.
func AbortReceiveArgv(dataset string) []string {
	return []string{"zfs", "receive", "-A", dataset}
}
