package xfer

import (
	"context"
	"errors"

	"zab/lib/record"
	"zab/lib/zfs"
)

// This file rolls a target back to its newest snapshot.

func checkRollback(r *record.Record, s *record.Step, _ bool) error {
	return errors.Join(isAbout(s, r.Target.Name), need("snapshot", s.Snapshot), need("guid", s.GUID))
}

func (j *job) showRollback(_ context.Context, i, _ int) ([]string, error) {
	s, host := &j.r.Steps[i], j.x.target(j.r)
	full := s.Dataset + "@" + s.Snapshot
	if !s.OnlyRead {
		return shown(host, zfs.RollbackArgv(full))
	}
	line := "test -z \"$(" + zfs.Quote(zfs.DiffArgv(s.Dataset, full)...) + ")\" && " + zfs.Quote(zfs.RollbackArgv(full)...)
	if !host.Here() {
		line = host.Show("/bin/sh", "-c", line)
	}
	return []string{line}, nil
}

// rollback rolls the target back to the step's snapshot, if that still is its newest.
func (j *job) rollback(ctx context.Context, i, _ int) error {
	if err := j.rollBack(ctx, &j.r.Steps[i], false); err != nil {
		return err
	}
	j.result(i).Done = true
	return nil
}

// undo rolls the target back to its newest snapshot, after zfs has found it changed
// since, as far as the receive step allows that. It reports whether it did. A copy that is
// mounted for writing is mounted read-only first: ZFS itself writes to such a copy after
// each rollback, when it frees the files that were deleted while they were open, so that
// zfs would find it changed again, in every run.
func (j *job) undo(ctx context.Context, s *record.Step) bool {
	list := j.r.Target.Snapshots
	if s.Undo != record.UndoChanges && s.Undo != record.UndoReads || len(list) == 0 {
		return false
	}
	last := list[len(list)-1]
	back := record.Step{Do: record.DoRollback, Side: record.SideTarget, Dataset: s.Dataset, Snapshot: last.Name, GUID: last.GUID, OnlyRead: s.Undo == record.UndoReads}
	if err := j.rollBack(ctx, &back, j.r.Target.Mounted == "yes"); err != nil {
		j.x.env.Verbosef("%s", err)
		return false
	}
	j.x.env.Verbosef("rolled back '%s' to '@%s': it was changed a moment before", s.Dataset, last.Name)
	return true
}

// rollBack executes a rollback step; protect is to mount the dataset read-only before.
func (j *job) rollBack(ctx context.Context, s *record.Step, protect bool) error {
	full := s.Dataset + "@" + s.Snapshot
	host := j.x.target(j.r)
	var newest zfs.Row
	var txg uint64
	err := host.List(ctx, []string{s.Dataset}, zfs.ListOptions{Types: zfs.Snapshots, Depth: 1}, func(r zfs.Row) error {
		e := r.Entry()
		if r.Dataset == s.Dataset && e.TXG() >= txg {
			newest, txg = r, e.TXG()
		}
		return nil
	})
	if err != nil {
		return wrap(err, "cannot list the snapshots of '%s' before it is rolled back", s.Dataset)
	}
	if newest.Snapshot != s.Snapshot || newest.GUID != s.GUID {
		return failf(record.KindMovedOn, "cannot roll back to '%s': it is not any more the newest snapshot that the plan found", full)
	}
	if s.OnlyRead {
		switch only, err := host.OnlyRead(ctx, s.Dataset, full); {
		case err != nil:
			return wrap(err, "cannot look whether '%s' was only read since '%s'", s.Dataset, full)
		case !only:
			return failf(record.KindMovedOn, "cannot roll back to '%s': by now more than access times has changed in '%s'", full, s.Dataset)
		}
	}
	if protect {
		j.protect(ctx, host, s.Dataset)
	}
	if err := host.Rollback(ctx, full); err != nil {
		return wrap(err, "cannot roll back to '%s'", full)
	}
	j.r.Target.Written = nil
	return nil
}

// protect makes a dataset read-only until it is mounted again, if it is mounted for
// writing. That this fails, as where a file is open for writing, is no error.
func (j *job) protect(ctx context.Context, host *zfs.Host, dataset string) {
	list, err := host.Get(ctx, []string{"mounted", "readonly"}, []string{dataset}, false)
	if err != nil {
		j.x.env.Verbosef("cannot ask how '%s' is mounted: %s", dataset, err)
		return
	}
	if len(list) != 1 || list[0].Props["mounted"].Value != "yes" || list[0].Props["readonly"].Value == "on" {
		return
	}
	if err := host.RemountReadOnly(ctx, dataset); err != nil {
		j.r.Warn("'%s' is mounted for writing, so that ZFS may change it again after a rollback, and cannot be mounted read-only: %s", dataset, err)
		return
	}
	j.r.Warn("'%s' was mounted for writing, and has changed since its newest snapshot: it is read-only until it is mounted again", dataset)
}
