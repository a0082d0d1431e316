package zfs

import (
	"context"

	"zab/lib/record"
)

// Mount mounts a filesystem at its mountpoint, with the given options.
func (h *Host) Mount(ctx context.Context, dataset string, options string) error {
	argv := []string{"zfs", "mount"}
	if options != "" {
		argv = append(argv, "-o", options)
	}
	return ignoreKind(h.run(ctx, append(argv, dataset)...), record.KindMounted)
}

// RemountReadOnly makes a mounted filesystem read-only until it is unmounted, by a mount
// option. It fails if a file of it is open for writing.
func (h *Host) RemountReadOnly(ctx context.Context, dataset string) error {
	return h.run(ctx, "zfs", "mount", "-o", "remount,ro", dataset)
}

// Unmount unmounts a filesystem that is not in use.
func (h *Host) Unmount(ctx context.Context, dataset string) error {
	return h.run(ctx, "zfs", "unmount", dataset)
}
