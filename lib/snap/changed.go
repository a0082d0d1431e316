package snap

import (
	"context"
	"slices"

	"zab/lib/record"
	"zab/lib/zfs"
)

// This file finds out which datasets have changed since our newest snapshot of them.

// newestOurs is the index of the newest snapshot of ours, or -1.
func newestOurs(r *record.Record) int {
	for i := len(r.Snapshots) - 1; i >= 0; i-- {
		if r.Snapshots[i].Ours {
			return i
		}
	}
	return -1
}

// hooked reports whether commands run before the snapshots: what was written, and the
// snapshots, count as they are after them.
func (s *snapper) hooked() bool { return len(s.o.PreCommand) > 0 && !s.env.Common.DryRun }

// all reports whether each record gets a snapshot, whatever was written.
func (s *snapper) all() bool { return s.o.AllowEmpty || s.o.MinChange == 0 }

// idle are the records of which zab-select has not read that enough is written for a
// snapshot: that can only become more.
func (s *snapper) idle(set []*record.Record) []*record.Record {
	return slices.DeleteFunc(slices.Clone(set), func(r *record.Record) bool { return r.Written != nil && *r.Written >= s.o.MinChange })
}

// measure reads what is written in records since their newest snapshot. It counts only
// what is on the disks, and what was written before the run began, or by a command
// before the snapshots, may still be in memory: so their pools write that out first.
//
// The snapshots are listed after it, never before: what another run snapshots between
// the two would be missing from the list, and no longer count as written. A list that
// is remembered must be as new, so when its snapshots changed last is read again too.
//
// (Somebody else's snapshot that is destroyed between the two has taken what it held
// with it: the next run finds that written since ours.)
//
// What cannot be read is unknown then. An error ends the command.
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
	// Where some snapshots are not looked at, nobody knows whether the newest is one of
	// ours.
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

// changed returns the records that need a snapshot and notes it in the others. Where
// our newest snapshot is not the newest of all, or nobody knows whether it is, zfs is
// asked for written@OURS.
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
		// What is written since the newest of all is so since ours.
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
		// One of which nothing is said gets a snapshot, or fails with that.
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

// sync has the pools of idle records write out what they have in memory. Of a pool that
// hangs, or whose disks are gone, all records of the set fail. A dry run leaves the
// pools as they are.
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
