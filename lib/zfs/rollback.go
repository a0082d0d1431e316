package zfs

import "context"

// Rollback takes a dataset back to its newest snapshot, given by full name.
// zfs refuses where a newer snapshot exists: none is ever destroyed by this.
func (h *Host) Rollback(ctx context.Context, snapshot string) error {
	return h.run(ctx, nil, nil, RollbackArgv(snapshot)...)
}

// RollbackArgv is the command of Rollback.
func RollbackArgv(snapshot string) []string { return []string{"zfs", "rollback", snapshot} }
