package zfs

import (
	"context"
	"errors"

	"zab/lib/record"
)

// CreateParent makes a filesystem that only exists to have children: it is
// never mounted, and a mark tells so, if the user may set one. One that is there
// already is what was wanted, and so is one that zfs has made and, as a user who
// is not root, cannot mount.
func (h *Host) CreateParent(ctx context.Context, dataset string) error {
	err := h.run(ctx, CreateParentArgv(dataset)...)
	if KindOf(err) == record.KindPermission {
		// That may have been the mark, or the whole.
		err = h.run(ctx, "zfs", "create", "-o", "canmount=off", dataset)
	}
	var e *Error
	if errors.As(err, &e) && e.Created() {
		return nil
	}
	return ignoreKind(err, record.KindExists)
}

// CreateParentArgv is the command of CreateParent.
func CreateParentArgv(dataset string) []string {
	return []string{"zfs", "create", "-o", "canmount=off", "-o", StreamProp + "=" + StreamParent, dataset}
}

// Rename renames a dataset, with all below it, and neither mounts nor unmounts
// anything. kind is filesystem or volume.
func (h *Host) Rename(ctx context.Context, kind, from, to string) error {
	return h.run(ctx, RenameArgv(kind, from, to)...)
}

// RenameArgv is the command of Rename. zfs (2.3) refuses -u for a volume.
func RenameArgv(kind, from, to string) []string {
	if kind == "volume" {
		return []string{"zfs", "rename", from, to}
	}
	return []string{"zfs", "rename", "-u", from, to}
}

// Set sets properties, P=V, on datasets: one program, or one for each batch of
// names too long for one.
func (h *Host) Set(ctx context.Context, props, datasets []string) error {
	return h.batches(SetArgv(props), datasets, func(argv, _ []string) error {
		return h.run(ctx, argv...)
	})
}

// SetArgv is the command of Set.
func SetArgv(props []string, datasets ...string) []string {
	return append(append([]string{"zfs", "set"}, props...), datasets...)
}

// Unset takes a property that was set locally away from datasets: one program, or
// one for each batch of names too long for one.
func (h *Host) Unset(ctx context.Context, prop string, datasets []string) error {
	return h.batches([]string{"zfs", "inherit", prop}, datasets, func(argv, _ []string) error {
		return h.run(ctx, argv...)
	})
}
