package snap

import (
	"context"
	"slices"

	"zab/lib/record"
	"zab/lib/zfs"
)

// This file finds out which datasets have changed since our newest snapshot of them.

// newestOurs returns the index of the newest snapshot of ours, or -1.
func newestOurs(r *record.Record) int {
	for i := len(r.Snapshots) - 1; i >= 0; i-- {
		if r.Snapshots[i].Ours {
			return i
		}
	}
	return -1
}

// hooked reports whether commands run before the snapshots; bytes written and lists of
// snapshots then count as they are after the commands.
func (s *snapper) hooked() bool { return len(s.o.PreCommand) > 0 && !s.env.Common.DryRun }

// all reports whether each record gets a snapshot, even if nothing was written.
func (s *snapper) all() bool { return s.o.AllowEmpty || s.o.MinChange == 0 }

// idle returns the records for which zab-select did not read enough written bytes for a
// snapshot. The others need no second look, because the number only grows.
func (s *snapper) idle(set []*record.Record) []*record.Record {
	return slices.DeleteFunc(slices.Clone(set), func(r *record.Record) bool { return r.Written != nil && *r.Written >= s.o.MinChange })
}

// measure reads the bytes written to idle datasets since their newest snapshot. ZFS
// counts only bytes that are on the disks, and those written before the run began, or by
// a command before the snapshots, may still be in memory; so the pools are synced first.
//
// The snapshots are listed after measure, never before: a snapshot that another run makes
// between the two would be missing from the list, while its data would no longer count as
// written. A remembered list must be as new, so the time of the last change of snapshots
// is read again too.
//
// (If somebody else's snapshot is destroyed between the two, data written before that
// snapshot is not counted; the next run finds it written since our newest snapshot.)
//
// Values that cannot be read become unknown. An error ends the command.
func (s *snapper) measure(ctx context.Context, host *zfs.Host, set []*record.Record) error {
	for _, r := range set {
		delete(s.measured, r)
	}
	idle := s.idle(set)
	if s.all() || len(idle) == 0 {
		return nil
	}
	if err := s.sync(ctx, host, set, idle); err != nil {
		return err
	}
	idle = standing(idle)
	// Where patterns exclude snapshots from the list, it is unknown whether the newest
	// of all is ours.
	if len(idle) == 0 || len(s.o.Patterns) > 0 {
		return nil
	}
	props := []string{"written"}
	var names []string
	for _, r := range idle {
		names = append(names, r.Name)
		if r.SnapshotsChanged != nil && len(props) == 1 {
			props = append(props, zfs.ChangedProp)
		}
	}
	got, err := host.Existing(ctx, props, names)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		s.env.Verbosef("cannot read what was written on %s: %s", host, err)
	}
	for _, r := range idle {
		d := got[r.Name]
		r.Written, r.SnapshotsChanged = nil, nil
		if n, known := d.Props["written"].Int(); known {
			s.measured[r], r.Written = true, &n
		}
		if at, known := d.Props[zfs.ChangedProp].Int(); known {
			r.SnapshotsChanged = &at
		}
	}
	return nil
}

// changed returns the records that need a snapshot, and marks the others as unchanged.
// Where our newest snapshot is not known to be the newest of all, it reads written@OURS.
func (s *snapper) changed(ctx context.Context, host *zfs.Host, set []*record.Record) ([]*record.Record, error) {
	if s.all() {
		return set, nil
	}
	written := map[*record.Record]int64{}
	var unsure []*record.Record
	for _, r := range set {
		i := newestOurs(r)
		if i < 0 {
			continue
		}
		newest := i == len(r.Snapshots)-1
		// Bytes written since the newest of all were also written since ours.
		if n := r.Written; n != nil && (*n >= s.o.MinChange || newest && s.measured[r]) {
			written[r] = *n
		} else {
			unsure = append(unsure, r)
		}
	}
	since := func(r *record.Record) string { return "written@" + r.Snapshots[newestOurs(r)].Name }
	var props, names []string
	for _, r := range unsure {
		names = append(names, r.Name)
		if p := since(r); !slices.Contains(props, p) {
			props = append(props, p)
		}
	}
	got, err := host.Existing(ctx, props, names)
	if err != nil && !zfs.OfDatasets(err) {
		return nil, err
	}
	for _, r := range unsure {
		// A dataset without an answer gets a snapshot, or fails when that is made.
		if n, ok := got[r.Name].Props[since(r)].Int(); ok {
			written[r] = n
		}
	}
	var out []*record.Record
	for _, r := range set {
		n, ok := written[r]
		switch {
		case r.Error != nil:
		case ok && n < s.o.MinChange:
			r.Snapshot = &record.Made{None: "unchanged"}
			s.env.Verbosef("'%s': unchanged, %d bytes written since our newest snapshot", r.Name, n)
		default:
			out = append(out, r)
		}
	}
	return out, nil
}

// sync runs zpool sync on the pools of idle records. If a pool hangs, or its disks are
// gone, all its records of the set fail. A dry run syncs nothing.
func (s *snapper) sync(ctx context.Context, host *zfs.Host, set, idle []*record.Record) error {
	if s.env.Common.DryRun {
		return nil
	}
	pool := func(r *record.Record) string { return zfs.Pool(r.Name) }
	var pools []string
	for _, of := range groups(idle, pool) {
		pools = append(pools, pool(of[0]))
	}
	errs := host.Sync(ctx, pools)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, of := range groups(set, pool) {
		switch err := errs[pool(of[0])]; {
		case err == nil:
		case zfs.OfDatasets(err), zfs.KindOf(err) == record.KindMissingProgram:
			s.env.Verbosef("cannot sync pool '%s': %s", pool(of[0]), err)
		default:
			s.failAll(of, zfs.Failed("snap", err, "cannot find out what changed in pool '%s': %s", pool(of[0]), err))
		}
	}
	return nil
}
