package zfs

import "context"

// Mount mounts a filesystem at its mountpoint, with the options given.
func (h *Host) Mount(ctx context.Context, dataset string, options string) error {
	argv := []string{"zfs", "mount"}
	if options != "" {
		argv = append(argv, "-o", options)
	}
	return tolerate(h.run(ctx, nil, nil, append(argv, dataset)...), KindMounted)
}
