package verify

import (
	"context"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"zab/lib/record"
)

// findPaths adds the paths of the objects that are on the source, if that is a mounted
// filesystem of this machine: an object's number is that of its inode. ZFS mounts the
// snapshot by itself below .zfs of the filesystem.
func (v *verifier) findPaths(ctx context.Context, r *record.Record, t *task, list []record.DifferentObject) {
	if r.Host != "" || r.Kind != "filesystem" || r.Mounted != "yes" || !filepath.IsAbs(r.MountPoint) {
		return
	}
	want := map[uint64]int{}
	for i, o := range list {
		if o.Where != record.SideTarget {
			want[uint64(o.Object)] = i
		}
	}
	top := filepath.Join(r.MountPoint, ".zfs", "snapshot", t.source)
	_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		switch {
		case len(want) == 0 || ctx.Err() != nil:
			return filepath.SkipAll
		case err != nil:
			return nil // what cannot be read gets no name
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return filepath.SkipAll
		}
		if i, ok := want[uint64(st.Ino)]; ok {
			if rel, err := filepath.Rel(top, path); err == nil {
				list[i].Path = strings.ToValidUTF8(rel, "\uFFFD")
			}
			delete(want, uint64(st.Ino))
		}
		return nil
	})
}
