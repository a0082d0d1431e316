package zfs

import (
	"context"
	"errors"
)

// Rollback rolls a dataset back to its newest snapshot, given by full name. zfs refuses
// if a newer snapshot exists, so none is ever destroyed by this.
func (h *Host) Rollback(ctx context.Context, snapshot string) error {
	return h.run(ctx, RollbackArgv(snapshot)...)
}

// RollbackArgv returns the command of Rollback.
func RollbackArgv(snapshot string) []string { return []string{"zfs", "rollback", snapshot} }

var errDiffers = errors.New("it differs")

// OnlyRead reports whether only access times have changed in a mounted filesystem since a
// snapshot of it, given by full name. zfs diff goes by change times (ctime), which every
// write updates; it is ended at its first line of output. zfs diff makes a snapshot that
// lasts as long as it runs.
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

// DiffArgv returns the command of OnlyRead.
func DiffArgv(dataset, snapshot string) []string {
	return []string{"zfs", "diff", "-H", snapshot, dataset}
}
