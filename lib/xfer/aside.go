package xfer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"zab/lib/chain"
	"zab/lib/record"
	"zab/lib/zfs"
)

// This file carries out --rename-aside. Step rename-aside gives a target another name
// and, if the step names a base, puts a clone in its place; rename-back brings the former
// descendants of the target back below it; rename-done finishes the dataset set aside.
//
// Each step first looks at both datasets and then does only the rest: a run may have died
// after any of the commands, and the plan of the next run has the same steps. The renamed
// dataset is known by its guid and, from before it is renamed, by the property zab:aside.

func checkAside(r *record.Record, s *record.Step, _ bool) error {
	return errors.Join(isAbout(s, r.Target.Name), need("guid", s.GUID), checkAsideNames(s))
}

func checkAsideNames(s *record.Step) error {
	parent, last := record.SplitName(s.Dataset)
	switch {
	case parent == "":
		return fmt.Errorf("%q is a pool, and cannot be renamed", s.Dataset)
	case !record.IsAsideName(s.To) || !strings.HasPrefix(s.To, last+"_"):
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

// asides returns the target and the dataset set aside; nil for one that does not exist.
func (j *job) asides(ctx context.Context, s *record.Step) (target, aside *zfs.Dataset, err error) {
	name := record.Beside(s.Dataset, s.To)
	got, err := j.x.target(j.r).Existing(ctx, asideProps, []string{s.Dataset, name})
	if err != nil {
		return nil, nil, wrap(err, "cannot look at '%s' and '%s'", s.Dataset, name)
	}
	if d, ok := got[s.Dataset]; ok {
		target = &d
	}
	if d, ok := got[name]; ok {
		aside = &d
	}
	return target, aside, nil
}

func guidOf(d *zfs.Dataset) string {
	if d == nil {
		return ""
	}
	return d.Props["guid"].Value
}

// marked returns the property zab:aside, P=V, for a phase: AsideBegun or AsideDone.
func marked(phase string, s *record.Step) []string {
	_, last := record.SplitName(s.Dataset)
	return []string{zfs.AsideProp + "=" + phase + last}
}

// cloneProps returns the properties for the clone: those that were set on the target
// itself, and a canmount that keeps zfs clone from mounting it. renameAside puts canmount
// right afterwards.
func cloneProps(kind string, local []string) []string {
	local = zfs.ForClone(local)
	if kind != "filesystem" {
		return local
	}
	for i, pv := range local {
		switch pv {
		case "canmount=noauto", "canmount=off":
			return local
		case "canmount=on":
			return slices.Insert(slices.Delete(local, i, i+1), 0, "canmount=noauto")
		}
	}
	return slices.Insert(local, 0, "canmount=noauto")
}

// renameAside renames the target and clones the base. It also has the streams set the
// properties of the clone again, since zfs (2.1, 2.3) takes properties set on a dataset
// before its first stream with properties for leftovers, and clears them.
func (j *job) renameAside(ctx context.Context, i, _ int) error {
	s := &j.r.Steps[i]
	host := j.x.target(j.r)
	aside := record.Beside(s.Dataset, s.To)
	what := fmt.Sprintf("cannot rename '%s' to '%s'", s.Dataset, aside)
	target, was, err := j.asides(ctx, s)
	if err != nil {
		return err
	}
	if guidOf(was) != s.GUID {
		switch {
		case was != nil:
			return failf(record.KindMovedOn, "%s: there is another dataset of that name", what)
		case guidOf(target) != s.GUID:
			return failf(record.KindMovedOn, "%s: it is not any more the dataset that the plan found", what)
		}
		if err := j.hasBase(ctx, what, s.Dataset, s); err != nil {
			return err
		}
		if err := host.Set(ctx, marked(record.AsideBegun, s), []string{s.Dataset}); err != nil {
			return wrap(err, "cannot mark '%s' before it is renamed", s.Dataset)
		}
		if err := host.Rename(ctx, kindOf(target), s.Dataset, aside); err != nil {
			return wrap(err, "%s", what)
		}
		was, target = target, nil
	}
	j.first = j.first && was.Props["mounted"].Value != "yes" // its mountpoint is taken
	t := j.r.Target
	if s.From == "" {
		if target == nil {
			t.Exists, t.Snapshots, t.Bookmarks = false, []record.Snapshot{}, nil
		}
		if isParent(was) {
			local, err := host.Locals(ctx, aside)
			if err != nil {
				return wrap(err, "cannot read the properties of '%s'", aside)
			}
			j.keep = parentProps(local)
		}
		j.result(i).Done = true
		return nil
	}
	local, err := host.Locals(ctx, aside)
	if err != nil {
		return wrap(err, "cannot read the properties of '%s'", aside)
	}
	j.keep = zfs.ForClone(local)
	promoted := false
	switch {
	case target == nil:
		what := fmt.Sprintf("cannot put a clone of '%s@%s' in the place of '%s'", aside, s.From, s.Dataset)
		if err := j.hasBase(ctx, what, aside, s); err != nil {
			return err
		}
		if err := host.Clone(ctx, aside+"@"+s.From, s.Dataset, cloneProps(kindOf(was), local)); err != nil {
			return wrap(err, "%s", what)
		}
	case target.Props["origin"].Value == aside+"@"+s.From:
	default:
		// If it has the base, it is the clone, promoted already.
		if err := j.hasBase(ctx, what, s.Dataset, s); err != nil {
			return err
		}
		promoted = true
	}
	if !promoted {
		if err := host.Promote(ctx, s.Dataset); err != nil {
			return wrap(err, "cannot promote '%s'", s.Dataset)
		}
	}
	// Before descendants come below it, which zfs (2.3) would unmount and mount again.
	if reverts(was) && (target == nil || target.Props["canmount"] == zfs.Value{Value: "noauto", Source: "local"}) {
		if err := host.Revert(ctx, "canmount", s.Dataset); err != nil {
			return wrap(err, "cannot make canmount of '%s' what it was", s.Dataset)
		}
	}
	t.Exists = true
	j.result(i).Done = true
	return nil
}

// isParent reports whether the dataset set aside is a filesystem that zab made only as a
// parent of others, so that there is no data in it.
func isParent(was *zfs.Dataset) bool {
	if was == nil {
		return false
	}
	f := was.Facts()
	return zfs.IsParent(&f)
}

// emptyUses is more, in bytes, than an empty filesystem takes on any pool. A parent that
// takes more is not destroyed: somebody has written to it.
const emptyUses = 1 << 20

// parentProps returns the properties of a parent set aside that the copy in its place
// keeps: those that somebody has set, since they apply to the descendants, too.
func parentProps(local []string) []string {
	return slices.DeleteFunc(zfs.ForClone(local), func(pv string) bool {
		name, _, _ := strings.Cut(pv, "=")
		return name == "canmount" || name == zfs.FromProp || name == zfs.StreamProp || name == zfs.PoolProp
	})
}

// childrenMoved reports whether the descendants of the target may be elsewhere, because a
// rename or rename-back step was not done.
func (j *job) childrenMoved() bool {
	for i := range j.r.Steps {
		do := j.r.Steps[i].Do
		if res := j.results[i]; (do == record.DoRenameBack || do == record.DoRename) && (res == nil || !res.Done) {
			return true
		}
	}
	return false
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

// below returns the children of a dataset; Extra[0] is the type of each.
func (j *job) below(ctx context.Context, dataset string) (rows []zfs.Row, err error) {
	o := zfs.ListOptions{Types: zfs.Datasets, Depth: 1, Extra: []string{"type"}}
	err = j.x.target(j.r).List(ctx, []string{dataset}, o, func(r zfs.Row) error {
		if r.Dataset != dataset && !strings.Contains(r.Dataset, "%") {
			rows = append(rows, r)
		}
		return nil
	})
	return rows, err
}

func (j *job) renameBack(ctx context.Context, i, _ int) error {
	s := &j.r.Steps[i]
	host := j.x.target(j.r)
	aside := record.Beside(s.Dataset, s.To)
	what := fmt.Sprintf("cannot bring back to '%s' what was below it", s.Dataset)
	target, was, err := j.asides(ctx, s)
	switch {
	case err != nil:
		return err
	case was == nil:
		return failf(record.KindMovedOn, "%s: '%s' is gone", what, aside)
	case guidOf(was) != s.GUID:
		return failf(record.KindMovedOn, "%s: '%s' is another dataset than when the plan was made", what, aside)
	case target == nil:
		return failf(record.KindMovedOn, "%s: it is not there", what)
	}
	rows, err := j.below(ctx, aside)
	if err != nil {
		return wrap(err, "%s: cannot list '%s'", what, aside)
	}
	for _, r := range rows {
		_, last := record.SplitName(r.Dataset)
		if err := host.Rename(ctx, r.Extra[0], r.Dataset, s.Dataset+"/"+last); err != nil {
			return wrap(err, "%s: cannot rename '%s'", what, r.Dataset)
		}
	}
	j.result(i).Done = true
	return nil
}

// mergeProps returns the properties, P=V, that a stream sets, and those of more that the
// stream neither sets nor excludes itself.
func mergeProps(set, exclude, more []string) []string {
	has := map[string]bool{}
	for _, pv := range slices.Concat(set, exclude) {
		name, _, _ := strings.Cut(pv, "=")
		has[name] = true
	}
	out := slices.Clone(set)
	for _, pv := range more {
		if name, _, _ := strings.Cut(pv, "="); !has[name] {
			out = append(out, pv)
		}
	}
	return out
}

// renameDone finishes the dataset set aside, when the backup has gone on in its place: it
// destroys an empty parent, and keeps any other dataset.
func (j *job) renameDone(ctx context.Context, i, _ int) error {
	s := &j.r.Steps[i]
	aside := record.Beside(s.Dataset, s.To)
	_, was, err := j.asides(ctx, s)
	switch {
	case err != nil:
		return err
	case was == nil, guidOf(was) != s.GUID:
		return failf(record.KindMovedOn, "cannot end what '%s' was renamed for: it is not there any more", aside)
	}
	if used, ok := was.Props["used"].Int(); isParent(was) && ok && used <= emptyUses {
		// Without -r zfs destroys no dataset that has snapshots or descendants.
		err := j.x.target(j.r).DestroyDataset(ctx, aside)
		if err == nil {
			j.result(i).Done = true
			return nil
		}
		j.x.env.Verbosef("'%s' stays: %s", aside, err)
	}
	if err := j.endAside(ctx, s, was); err != nil {
		return err
	}
	j.result(i).Done = true
	j.tellAside(ctx, s, was)
	return nil
}

// endAside puts the dataset set aside into its final state: it is not mounted
// automatically, since its mountpoint may be the target's; it reserves no space, and no
// hold of ours keeps it from being destroyed.
func (j *job) endAside(ctx context.Context, s *record.Step, was *zfs.Dataset) error {
	host := j.x.target(j.r)
	aside := record.Beside(s.Dataset, s.To)
	cloned := strings.HasPrefix(was.Props["origin"].Value, s.Dataset+"@")
	var rest, back []string
	if kindOf(was) == "filesystem" && was.Props["canmount"].Value == "on" {
		rest = append(rest, "canmount=noauto")
	}
	for _, p := range []string{"reservation", "refreservation"} {
		v := was.Props[p]
		if v.Value == "" || v.Value == "0" || v.Value == "none" || v.Value == "-" {
			continue
		}
		rest = append(rest, p+"=none")
		if cloned && v.Source == "local" {
			back = append(back, p+"="+v.Value)
		}
	}
	var held []string
	err := host.List(ctx, []string{aside}, zfs.ListOptions{Types: zfs.Snapshots, Depth: 1}, func(r zfs.Row) error {
		if r.Dataset == aside && r.Snapshot != "" {
			held = append(held, aside+"@"+r.Snapshot)
		}
		return nil
	})
	tags := []string{s.Tag, j.r.Target.Pin}
	if pin, ok := chain.ParsePin(j.r.Target.Pin); ok && was.Props[zfs.PoolProp] != (zfs.Value{Value: pin.Pool, Source: "local"}) {
		tags = append(tags, pin.Former()) // put by an earlier version
	}
	for _, tag := range tags {
		if err == nil && s.Tag != "" && tag != "" {
			err = host.Release(ctx, tag, held)
		}
	}
	if err == nil {
		// By one command, so that no run takes those in rest for the target's own.
		err = host.Set(ctx, append(rest, marked(record.AsideDone, s)...), []string{aside})
	}
	if err != nil {
		return wrap(err, "cannot end what '%s' was renamed to '%s' for", s.Dataset, aside)
	}
	if len(back) > 0 {
		if err := host.Set(ctx, back, []string{s.Dataset}); err != nil {
			j.r.Warn("cannot set %s on '%s', as it was: %s", strings.Join(back, " "), s.Dataset, err)
		}
	}
	return nil
}

// reverts reports whether the clone's canmount is to be reverted: canmount was not set on
// the target itself, or was on, which needs no setting.
func reverts(was *zfs.Dataset) bool {
	can := was.Props["canmount"]
	return kindOf(was) == "filesystem" && (can.Source != "local" || can.Value == "on")
}

// tellAside warns under which name the copy is now, how much space it takes, and how to
// destroy it.
func (j *job) tellAside(ctx context.Context, s *record.Step, was *zfs.Dataset) {
	aside := record.Beside(s.Dataset, s.To)
	text := fmt.Sprintf("'%s' was set aside as '%s'", s.Dataset, aside)
	if _, now, err := j.asides(ctx, s); err == nil && now != nil {
		if n, ok := now.Props["used"].Int(); ok {
			text += fmt.Sprintf(", which takes %d bytes of its own", n)
		}
	}
	if was.Props["mounted"].Value == "yes" {
		text += ", and is still mounted: it can only be destroyed when it is not, with all that is mounted in it"
	}
	j.r.Warn("%s; when nothing in it is needed: 'zfs destroy -r %s'", text, zfs.Quote(aside))
}

// asideFor returns the dataset that a step of a dry run is about, and its present name:
// the target, or the dataset that was set aside already.
func (j *job) asideFor(ctx context.Context, s *record.Step) (was *zfs.Dataset, now string) {
	now = record.Beside(s.Dataset, s.To)
	target, was, err := j.asides(ctx, s)
	if err == nil && guidOf(was) != s.GUID {
		return target, s.Dataset // not renamed yet
	}
	return was, now
}

func (j *job) showRenameAside(ctx context.Context, i, _ int) (commands []string, err error) {
	s, host := &j.r.Steps[i], j.x.target(j.r)
	aside := record.Beside(s.Dataset, s.To)
	was, now := j.asideFor(ctx, s)
	show := func(argv []string) { commands = append(commands, host.Show(argv...)) }
	if now != aside {
		show(zfs.SetArgv(marked(record.AsideBegun, s), s.Dataset))
		show(zfs.RenameArgv(kindOf(was), s.Dataset, aside))
	}
	if isParent(was) {
		local, _ := host.Locals(ctx, now)
		j.keep = parentProps(local)
	}
	if s.From != "" && was != nil {
		local, _ := host.Locals(ctx, now)
		j.keep = zfs.ForClone(local)
		show(zfs.CloneArgv(aside+"@"+s.From, s.Dataset, cloneProps(kindOf(was), local)))
		show(zfs.PromoteArgv(s.Dataset))
		if reverts(was) {
			show(zfs.RevertArgv("canmount", s.Dataset))
		}
	}
	return commands, nil
}

func (j *job) showRenameBack(ctx context.Context, i, _ int) (commands []string, err error) {
	s := &j.r.Steps[i]
	_, now := j.asideFor(ctx, s)
	rows, _ := j.below(ctx, now)
	for _, r := range rows {
		_, last := record.SplitName(r.Dataset)
		argv := zfs.RenameArgv(r.Extra[0], record.Beside(s.Dataset, s.To)+"/"+last, s.Dataset+"/"+last)
		commands = append(commands, j.x.target(j.r).Show(argv...))
	}
	return commands, nil
}

func (j *job) showRenameDone(ctx context.Context, i, _ int) ([]string, error) {
	s, host := &j.r.Steps[i], j.x.target(j.r)
	aside := record.Beside(s.Dataset, s.To)
	was, _ := j.asideFor(ctx, s)
	if isParent(was) {
		return shown(host, zfs.DestroyDatasetArgv(aside))
	}
	rest := marked(record.AsideDone, s)
	if was != nil && kindOf(was) == "filesystem" && was.Props["canmount"].Value == "on" {
		rest = slices.Insert(rest, 0, "canmount=noauto")
	}
	return shown(host, zfs.SetArgv(rest, aside))
}

func kindOf(d *zfs.Dataset) string {
	if d == nil {
		return ""
	}
	return d.Props["type"].Value
}
