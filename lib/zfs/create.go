package zfs

import "context"

// CreateParent makes a filesystem that only exists to have children: it is
// never mounted. One that is there already is what was wanted.
func (h *Host) CreateParent(ctx context.Context, dataset string) error {
	return tolerate(h.run(ctx, nil, nil, CreateParentArgv(dataset)...), KindExists)
}

// CreateParentArgv is the command of CreateParent.
func CreateParentArgv(dataset string) []string {
	return []string{"zfs", "create", "-o", "canmount=off", dataset}
}

// Rename renames a dataset without mounting or unmounting what needs not be.
func (h *Host) Rename(ctx context.Context, from, to string) error {
	return h.run(ctx, nil, nil, "zfs", "rename", "-u", from, to)
}

// Set sets properties, P=V, on a dataset.
func (h *Host) Set(ctx context.Context, dataset string, props ...string) error {
	argv := append([]string{"zfs", "set"}, props...)
	return h.run(ctx, nil, nil, append(argv, dataset)...)
}
