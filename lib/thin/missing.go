package thin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"zab/lib/record"
	"zab/lib/schedule"
	"zab/lib/snapname"
	"zab/lib/zfs"
)

// This file destroys datasets of the target that are missing on the source,
// for those who ask for it with --destroy-missing.

// missing deals with the orphans of a set, the deepest first, so that a whole
// tree can go in one run.
func (t *thinner) missing(ctx context.Context, set []*record.Record) error {
	if t.o.DestroyMissing == "" {
		return nil
	}
	age, err := schedule.ParseAge(t.o.DestroyMissing)
	if err != nil {
		return err
	}
	var late []*record.Record
	for _, r := range set {
		if r.Type != record.TypeOrphan || r.Excluded || r.Error != nil || r.Target == nil || !r.Target.Exists || r.Thin == nil {
			continue
		}
		if r.Thin.Dataset = t.waits(r, age); r.Thin.Dataset == "" {
			late = append(late, r)
		}
	}
	slices.SortStableFunc(late, func(a, b *record.Record) int {
		return strings.Count(b.Name, "/") - strings.Count(a.Name, "/")
	})
	for _, r := range late {
		if t.env.Common.DryRun {
			r.Thin.Dataset = "missing on the source: would be destroyed, unless it has children, clones or snapshots of others"
			continue
		}
		if err := t.destroyMissing(ctx, r); err != nil {
			return err
		}
		t.env.Verbosef("'%s': %s", r.Name, r.Thin.Dataset)
	}
	return nil
}

// waits tells why an orphan stays, as far as its record knows; "" when its
// time has come.
func (t *thinner) waits(r *record.Record, age int64) string {
	rules := t.rules[r.Backup]
	for i := len(r.Target.Snapshots) - 1; i >= 0; i-- {
		at, ours := rules.Format.Time(r.Target.Snapshots[i].Name)
		if !ours {
			continue
		}
		if deadline := at + age; deadline > rules.Now {
			return fmt.Sprintf("missing on the source: kept until %s", time.Unix(deadline, 0).UTC().Format(time.RFC3339))
		}
		return ""
	}
	return "missing on the source: kept, for it has no snapshot of ours"
}

// destroyMissing destroys what can go of an orphan whose time has come: all
// our snapshots but the last, to save space in any case; and the last one
// with the dataset itself, where nothing else depends on it.
func (t *thinner) destroyMissing(ctx context.Context, r *record.Record) error {
	host := t.env.Machine.Host(r.Target.Host)
	rules := t.rules[r.Backup]
	keep := func(why string) { r.Thin.Dataset = "missing on the source: kept, for " + why }
	var ours []record.Snapshot
	others := false
	for _, s := range r.Target.Snapshots {
		if _, ok := rules.Format.Time(s.Name); ok {
			ours = append(ours, s)
		} else {
			others = true
		}
	}
	last := ours[len(ours)-1]
	if err := t.freeOrphan(ctx, host, r, ours); err != nil {
		return err
	}
	o := one{r: r, dataset: r.Name, list: &r.Target.Snapshots, verdicts: r.Thin.Target}
	if done, err := t.destroyAll(ctx, host, o, ours[:len(ours)-1]); err != nil || !done {
		keep("not all of its older snapshots can go")
		return ctxCause(ctx)
	}
	if others {
		keep("it still has snapshots of others")
		return nil
	}
	children, same, err := t.children(ctx, host, r)
	switch {
	case err != nil:
		t.fail(o, err)
		return ctxCause(ctx)
	case !same:
		keep("it is another dataset now")
		return nil
	case children:
		keep("it still has children")
		return nil
	}
	if done, err := t.destroyAll(ctx, host, o, []record.Snapshot{last}); err != nil || !done {
		keep("its last snapshot cannot go")
		return ctxCause(ctx)
	}
	if err := host.DestroyDataset(ctx, r.Name); err != nil {
		r.Fail(record.Error{Stage: "thin", Kind: string(zfs.KindOf(err)), Hint: zfs.KindOf(err).Hint(),
			Message: fmt.Sprintf("cannot destroy '%s', which is missing on the source: %s", r.Name, err)})
		t.env.Report(r)
		return ctxCause(ctx)
	}
	r.Target.Exists = false
	r.Thin.Dataset = "missing on the source: destroyed"
	return nil
}

// destroyAll destroys snapshots of an orphan whatever the schedule said, and
// tells whether all of them are gone.
func (t *thinner) destroyAll(ctx context.Context, host *zfs.Host, o one, list []record.Snapshot) (bool, error) {
	if len(list) == 0 {
		return true, nil
	}
	var full, names []string
	for _, s := range list {
		full = append(full, s.Full(o.dataset))
		names = append(names, s.Name)
	}
	now, err := host.FindHeld(ctx, full)
	if err != nil {
		return false, err
	}
	for _, s := range list {
		if is, ok := now[s.Full(o.dataset)]; ok && is.GUID != s.GUID {
			return false, nil
		}
	}
	for i := range o.verdicts {
		if v := &o.verdicts[i]; v.Keep && slices.Contains(names, v.Name) {
			v.Keep = false
			v.Why = append([]string{"missing on the source for longer than --destroy-missing"}, v.Why...)
		}
	}
	done := map[string]bool{}
	err = t.destroyOne(ctx, host, o, names, done)
	gone(o.verdicts, done)
	*o.list = without(*o.list, done)
	return len(done) == len(names), err
}

// freeOrphan releases our own holds from an orphan: what they protected a base
// for is gone.
func (t *thinner) freeOrphan(ctx context.Context, host *zfs.Host, r *record.Record, ours []record.Snapshot) error {
	tag, err := snapname.HoldTag(t.o.HoldFormat, r.Backup)
	if err != nil {
		return err
	}
	var full []string
	for _, s := range ours {
		full = append(full, s.Full(r.Name))
	}
	for _, tag := range []string{tag, r.Target.Pin} {
		if tag == "" {
			continue
		}
		if err := host.Release(ctx, tag, full); err != nil {
			t.env.Verbosef("cannot release '%s' from '%s': %s", tag, r.Name, err)
		}
	}
	return ctxCause(ctx)
}

// children tells whether something lives below an orphan, and whether it is
// the dataset that was listed.
func (t *thinner) children(ctx context.Context, host *zfs.Host, r *record.Record) (children, same bool, err error) {
	err = host.List(ctx, []string{r.Name}, zfs.ListOptions{Types: zfs.Datasets, Depth: 1}, func(row zfs.Row) error {
		if row.Dataset == r.Name {
			same = row.GUID == r.GUID
		} else {
			children = true
		}
		return nil
	})
	return children, same, err
}
