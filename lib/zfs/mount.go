package zfs

import (
	"context"
	"strings"
)

// Mount mounts a filesystem at its mountpoint, with the options given.
func (h *Host) Mount(ctx context.Context, dataset string, options string) error {
	argv := []string{"zfs", "mount"}
	if options != "" {
		argv = append(argv, "-o", options)
	}
	return ignoreKind(h.run(ctx, append(argv, dataset)...), KindMounted)
}

// MountPoints are the places where filesystems of ZFS are mounted. A name may
// look like part of a place: then there are more than there should be.
func (h *Host) MountPoints(ctx context.Context) ([]string, error) {
	var out []string
	err := h.ask(ctx, func(line string) error {
		// the name, two spaces at least, the place
		for i := range line {
			if strings.HasPrefix(line[i:], "  /") {
				out = append(out, line[i+2:])
			}
		}
		return nil
	}, "zfs", "mount")
	return out, err
}

// Unmount unmounts a filesystem that nobody uses.
func (h *Host) Unmount(ctx context.Context, dataset string) error {
	return h.run(ctx, "zfs", "unmount", dataset)
}

// Sync has pools write out what is under way, so that written counts it.
func (h *Host) Sync(ctx context.Context, pools []string) error {
	return h.run(ctx, append([]string{"zpool", "sync"}, pools...)...)
}
