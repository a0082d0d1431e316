package zfs

import (
	"context"
	"errors"

	"zab/lib/record"
)

// CreateParent creates a filesystem that only exists to have children: it is never
// mounted, and has a mark that says so, if the user may set one. An existing filesystem
// is no failure, and neither is one that zfs has created but, for a user who is not root,
// cannot mount.
func (h *Host) CreateParent(ctx context.Context, dataset string) error {
	err := h.run(ctx, CreateParentArgv(dataset)...)
	if KindOf(err) == record.KindPermission {
		// Either the mark or the whole command was not permitted.
		err = h.run(ctx, "zfs", "create", "-o", "canmount=off", dataset)
	}
	var e *Error
	if errors.As(err, &e) && e.Created() {
		return nil
	}
	return ignoreKind(err, record.KindExists)
}

// CreateParentArgv returns the command of CreateParent.
func CreateParentArgv(dataset string) []string {
	return []string{"zfs", "create", "-o", "canmount=off", "-o", StreamProp + "=" + StreamParent, dataset}
}

// Rename renames a dataset with its descendants, and neither mounts nor unmounts
// anything. kind is filesystem or volume.
func (h *Host) Rename(ctx context.Context, kind, from, to string) error {
	return h.run(ctx, RenameArgv(kind, from, to)...)
}

// RenameArgv returns the command of Rename. zfs (2.3) refuses -u for a volume.
func RenameArgv(kind, from, to string) []string {
	if kind == "volume" {
		return []string{"zfs", "rename", from, to}
	}
	return []string{"zfs", "rename", "-u", from, to}
}

// Set sets properties, each P=V, on datasets, with one program, or one per batch if the
// names do not fit into one command line.
func (h *Host) Set(ctx context.Context, props, datasets []string) error {
	return h.batches(SetArgv(props), datasets, func(argv, _ []string) error {
		return h.run(ctx, argv...)
	})
}

// SetArgv returns the command of Set.
func SetArgv(props []string, datasets ...string) []string {
	return append(append([]string{"zfs", "set"}, props...), datasets...)
}

// Unset removes a locally set property from datasets, with one program, or one per batch
// if the names do not fit into one command line.
func (h *Host) Unset(ctx context.Context, prop string, datasets []string) error {
	return h.batches([]string{"zfs", "inherit", prop}, datasets, func(argv, _ []string) error {
		return h.run(ctx, argv...)
	})
}
