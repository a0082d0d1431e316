package xfer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"zab/lib/aside"
	"zab/lib/dataset"
	"zab/lib/record"
	"zab/lib/zfs"
)

// This file carries out --rename-aside. Step rename-aside gives a target another name
// and, if the step names a base, puts a clone in its place; rename-back brings the former
// descendants of the target back below it; rename-done finishes the dataset set aside.
//
// Each step first looks at both datasets and then does only the acts that are left in the
// phase found: a run may have died after any of the commands, and the plan of the next run
// has the same steps.

func checkAside(r *record.Record, s *record.Step, _ bool) error {
	return errors.Join(isAbout(s, r.Target.Name), need("guid", s.GUID), checkAsideNames(s))
}

func checkAsideNames(s *record.Step) error {
	switch {
	case !strings.Contains(s.Dataset, "/"):
		return fmt.Errorf("%q is a pool, and cannot be renamed", s.Dataset)
	case !aside.IsNameOf(s.Dataset, s.To):
		return fmt.Errorf("%q is not a name for what is set aside", s.To)
	case (s.From == "") != (s.FromGUID == "") || strings.ContainsAny(s.From, "@#"):
		return fmt.Errorf("a clone needs a snapshot and its guid, not %q and %q", s.From, s.FromGUID)
	case strings.HasPrefix(s.Tag, "-"):
		return fmt.Errorf("%q is not a tag", s.Tag)
	}
	return nil
}

// asideProps are the properties read of the target and of the dataset set aside.
var asideProps = []string{"type", "guid", "origin", "mounted", "mountpoint", "canmount", "reservation", "refreservation", "used", zfs.AsideProp, zfs.StreamProp, zfs.PoolProp}

// renaming is what a step finds of the copy that it renames.
type renaming struct {
	// name is the new name of the copy.
	name string
	// target and was are the datasets with the former and the new name; nil if missing.
	target, was *zfs.Dataset
	// base is the snapshot of which the target is a clone, or was before it was promoted.
	phase aside.Phase
	base  string
}

// findRenaming looks at both datasets. Besides an error it returns the new name.
func (j *job) findRenaming(ctx context.Context, s *record.Step) (f renaming, err error) {
	f.name = dataset.Beside(s.Dataset, s.To)
	got, err := j.x.target(j.r).Existing(ctx, asideProps, []string{s.Dataset, f.name})
	if err != nil {
		return f, wrap(err, "cannot look at '%s' and '%s'", s.Dataset, f.name)
	}
	find := func(name string) (*zfs.Dataset, *aside.Dataset) {
		d, ok := got[name]
		if !ok {
			return nil, nil
		}
		return &d, &aside.Dataset{Name: name, GUID: d.Props["guid"].Value, Origin: d.Props["origin"].Value}
	}
	var place, renamed *aside.Dataset
	f.target, place = find(s.Dataset)
	f.was, renamed = find(f.name)
	f.phase, f.base = aside.Find(s.GUID, place, renamed)
	return f, nil
}

// marked returns the property zab:aside, P=V, for the copy.
func marked(s *record.Step, finished bool) string {
	return zfs.AsideProp + "=" + aside.Mark(s.Dataset, finished)
}

// renameAside renames the target and clones the base. It also has the streams set the
// properties of the clone again, since zfs (2.1, 2.3) takes properties set on a dataset
// before its first stream with properties for leftovers, and clears them.
func (j *job) renameAside(ctx context.Context, i, _ int) error {
	s := &j.r.Steps[i]
	host := j.x.target(j.r)
	f, err := j.findRenaming(ctx, s)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("cannot rename '%s' to '%s'", s.Dataset, f.name)
	switch f.phase {
	case aside.Taken:
		return failf(record.KindMovedOn, "%s: there is another dataset of that name", what)
	case aside.Lost:
		return failf(record.KindMovedOn, "%s: it is not any more the dataset that the plan found", what)
	case aside.InPlace:
		if err := j.hasBase(ctx, what, s.Dataset, s); err != nil {
			return err
		}
		if err := host.Set(ctx, []string{marked(s, false)}, []string{s.Dataset}); err != nil {
			return wrap(err, "cannot mark '%s' before it is renamed", s.Dataset)
		}
		if err := host.Rename(ctx, kindOf(f.target), s.Dataset, f.name); err != nil {
			return wrap(err, "%s", what)
		}
		f.phase, f.was, f.target = aside.Renamed, f.target, nil
	}
	j.first = j.first && f.was.Props["mounted"].Value != "yes" // its mountpoint is taken
	t := j.r.Target
	if s.From == "" {
		if f.target == nil {
			t.Exists, t.Snapshots, t.Bookmarks = false, []record.Snapshot{}, nil
		}
		if isParent(f.was) {
			local, err := host.Locals(ctx, f.name)
			if err != nil {
				return wrap(err, "cannot read the properties of '%s'", f.name)
			}
			j.keep = parentProps(local)
		}
		j.result(i).Done = true
		return nil
	}
	local, err := host.Locals(ctx, f.name)
	if err != nil {
		return wrap(err, "cannot read the properties of '%s'", f.name)
	}
	j.keep = zfs.ForClone(local)
	if f.phase == aside.Renamed {
		what := fmt.Sprintf("cannot put a clone of '%s@%s' in the place of '%s'", f.name, s.From, s.Dataset)
		if err := j.hasBase(ctx, what, f.name, s); err != nil {
			return err
		}
		if err := host.Clone(ctx, f.name+"@"+s.From, s.Dataset, cloneProps(kindOf(f.was), local)); err != nil {
			return wrap(err, "%s", what)
		}
		f.phase, f.base = aside.Cloned, s.From
	}
	if f.phase == aside.Cloned && f.base == s.From {
		if err := host.Promote(ctx, s.Dataset); err != nil {
			return wrap(err, "cannot promote '%s'", s.Dataset)
		}
	} else if err := j.hasBase(ctx, what, s.Dataset, s); err != nil {
		return err // a dataset without the base is not the promoted clone
	}
	// Before descendants come below it, which zfs (2.3) would unmount and mount again.
	if reverts(f.was) && (f.target == nil || f.target.Props["canmount"] == zfs.Value{Value: "noauto", Source: "local"}) {
		if err := host.Revert(ctx, "canmount", s.Dataset); err != nil {
			return wrap(err, "cannot make canmount of '%s' what it was", s.Dataset)
		}
	}
	t.Exists = true
	j.result(i).Done = true
	return nil
}

// hasBase returns an error if a dataset does not have the base that a step names.
func (j *job) hasBase(ctx context.Context, what, dataset string, s *record.Step) error {
	if s.From == "" {
		return nil
	}
	full := dataset + "@" + s.From
	found, err := j.x.target(j.r).Find(ctx, []string{full})
	switch {
	case err != nil:
		return wrap(err, "%s: cannot look for '%s'", what, full)
	case found[full].GUID != s.FromGUID:
		return failf(record.KindMovedOn, "%s: '%s', from which it is to go on, is not there any more", what, full)
	}
	return nil
}

// showRenaming returns, for a dry run, the dataset that a step is about, and its present
// and its new name.
func (j *job) showRenaming(ctx context.Context, s *record.Step) (was *zfs.Dataset, now, name string) {
	f, err := j.findRenaming(ctx, s)
	if err == nil && f.phase < aside.Renamed {
		return f.target, s.Dataset, f.name
	}
	return f.was, f.name, f.name
}

func (j *job) showRenameAside(ctx context.Context, i, _ int) (commands []string, err error) {
	s, host := &j.r.Steps[i], j.x.target(j.r)
	was, now, name := j.showRenaming(ctx, s)
	show := func(argv []string) { commands = append(commands, host.Show(argv...)) }
	if now != name {
		show(zfs.SetArgv([]string{marked(s, false)}, s.Dataset))
		show(zfs.RenameArgv(kindOf(was), s.Dataset, name))
	}
	if isParent(was) {
		local, _ := host.Locals(ctx, now)
		j.keep = parentProps(local)
	}
	if s.From != "" && was != nil {
		local, _ := host.Locals(ctx, now)
		j.keep = zfs.ForClone(local)
		show(zfs.CloneArgv(name+"@"+s.From, s.Dataset, cloneProps(kindOf(was), local)))
		show(zfs.PromoteArgv(s.Dataset))
		if reverts(was) {
			show(zfs.RevertArgv("canmount", s.Dataset))
		}
	}
	return commands, nil
}

func kindOf(d *zfs.Dataset) string {
	if d == nil {
		return ""
	}
	return d.Props["type"].Value
}
