package zfs

import (
	"context"
	"errors"
)

// Rollback takes a dataset back to its newest snapshot, given by full name.
// zfs refuses where a newer snapshot exists: none is ever destroyed by this.
func (h *Host) Rollback(ctx context.Context, snapshot string) error {
	return h.run(ctx, RollbackArgv(snapshot)...)
}

// RollbackArgv is the command of Rollback.
func RollbackArgv(snapshot string) []string { return []string{"zfs", "rollback", snapshot} }

var errDiffers = errors.New("it differs")

// OnlyRead tells whether nothing but access times has changed in a mounted
// filesystem since a snapshot of it, given by full name. zfs diff goes by what
// changes with every write, and is ended at its first word. It makes a
// snapshot for as long as it runs.
func (h *Host) OnlyRead(ctx context.Context, dataset, snapshot string) (bool, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := h.ask(ctx, func(string) error {
		cancel(errDiffers)
		return errDiffers
	}, DiffArgv(dataset, snapshot)...)
	if errors.Is(err, errDiffers) {
		return false, nil
	}
	return err == nil, err
}

// DiffArgv is the command of OnlyRead.
func DiffArgv(dataset, snapshot string) []string {
	return []string{"zfs", "diff", "-H", snapshot, dataset}
}
