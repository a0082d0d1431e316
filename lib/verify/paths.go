package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"zab/lib/filetree"
	"zab/lib/hashfunc"
	"zab/lib/record"
)

// findPaths adds the paths of the objects of a filesystem: an object's number is that of
// its inode. The source names those that it has, the target the others.
func (v *verifier) findPaths(ctx context.Context, r *record.Record, t *task, list []record.DifferentObject) {
	if r.Kind != "filesystem" {
		return
	}
	ends := v.ends(r, t)
	ctx, unwatch := v.watch(ctx, ends)
	defer func() { _ = unwatch(nil) }()
	for _, e := range ends {
		unnamed := map[uint64]*record.DifferentObject{}
		for i := range list {
			if o := &list[i]; o.Path == "" && (o.Where == "" || o.Where == e.side) {
				unnamed[uint64(o.Object)] = o
			}
		}
		if len(unnamed) == 0 {
			continue
		}
		numbers := slices.Sorted(maps.Keys(unnamed))
		names, err := askNames(ctx, e, numbers)
		if err != nil && e.side == record.SideSource && r.Host == "" && r.Mounted == "yes" && filepath.IsAbs(r.MountPoint) {
			// A user who may not mount can still have ZFS mount the snapshot.
			names, err = namesBelow(ctx, filepath.Join(r.MountPoint, ".zfs", "snapshot", t.source), e, numbers)
		}
		if err != nil {
			v.env.Verbosef("cannot find the names of what differs in '%s': %s", e.name(), err)
			continue
		}
		for _, n := range names {
			path, err := filetree.Unescape(n.Path)
			if o := unnamed[n.Object]; o != nil && err == nil {
				o.Path = strings.ToValidUTF8(path, "\uFFFD")
			}
		}
	}
}

// askNames has the host of an end find names of its files.
func askNames(ctx context.Context, e *end, numbers []uint64) (names []filetree.Name, err error) {
	var options []string
	for _, n := range numbers {
		options = append(options, "--name-of="+strconv.FormatUint(n, 10))
	}
	var last filetree.Names
	err = e.host.DigestFiles(ctx, e.name(), hashfunc.SHA256, options, e.watch.signs(), func(line string) error {
		e.watch.alive()
		if last.GUID != "" || len(names) > len(numbers) {
			return errors.New("it has more lines than it should")
		}
		n, end, err := filetree.ParseName(line)
		if last = end; last.GUID == "" {
			names = append(names, n)
		}
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case last.GUID == "" && len(names) == 0:
		return nil, fmt.Errorf("zab-digest is not installed on %s", e.host)
	case last.GUID != e.guid:
		return nil, fmt.Errorf("it has the guid %q, not %s", last.GUID, e.guid)
	}
	return names, nil
}

// namesBelow finds names of files below a directory of this machine.
func namesBelow(ctx context.Context, dir string, e *end, numbers []uint64) (names []filetree.Name, err error) {
	top, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer top.Close()
	err = filetree.FindNames(ctx, top, numbers, e.watch.alive, func(n filetree.Name) error {
		names = append(names, n)
		return nil
	})
	return names, err
}
