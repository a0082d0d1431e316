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

// Unmount unmounts a filesystem that is not in use.
func (h *Host) Unmount(ctx context.Context, dataset string) error {
	return h.run(ctx, "zfs", "unmount", dataset)
}
