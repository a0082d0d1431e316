package xfer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"zab/lib/aside"
	"zab/lib/chain"
	"zab/lib/record"
	"zab/lib/zfs"
)

// emptyUses is more, in bytes, than an empty filesystem takes on any pool. A parent that
// takes more is not destroyed: somebody has written to it.
const emptyUses = 1 << 20

// renameDone finishes the dataset set aside, when the backup has gone on in its place: it
// destroys an empty parent, and keeps any other dataset.
func (j *job) renameDone(ctx context.Context, i, _ int) error {
	s := &j.r.Steps[i]
	f, err := j.findRenaming(ctx, s)
	if err != nil {
		return err
	}
	if f.phase < aside.Renamed {
		return failf(record.KindMovedOn, "cannot end what '%s' was renamed for: it is not there any more", f.name)
	}
	if used, ok := f.was.Props["used"].Int(); isParent(f.was) && ok && used <= emptyUses {
		// Without -r zfs destroys no dataset that has snapshots or descendants.
		err := j.x.target(j.r).DestroyDataset(ctx, f.name)
		if err == nil {
			j.result(i).Done = true
			return nil
		}
		j.x.env.Verbosef("'%s' stays: %s", f.name, err)
	}
	if err := j.endAside(ctx, s, f); err != nil {
		return err
	}
	j.result(i).Done = true
	j.tellAside(ctx, s, f)
	return nil
}

// endAside puts the dataset set aside into its final state: it is not mounted
// automatically, since its mountpoint may be the target's; it reserves no space, and no
// hold of ours keeps it from being destroyed.
func (j *job) endAside(ctx context.Context, s *record.Step, f renaming) error {
	host := j.x.target(j.r)
	var rest, back []string
	if kindOf(f.was) == "filesystem" && f.was.Props["canmount"].Value == "on" {
		rest = append(rest, "canmount=noauto")
	}
	for _, p := range []string{"reservation", "refreservation"} {
		v := f.was.Props[p]
		if v.Value == "" || v.Value == "0" || v.Value == "none" || v.Value == "-" {
			continue
		}
		rest = append(rest, p+"=none")
		if f.phase == aside.Promoted && v.Source == "local" {
			back = append(back, p+"="+v.Value)
		}
	}
	var held []string
	err := host.List(ctx, []string{f.name}, zfs.ListOptions{Types: zfs.Snapshots, Depth: 1}, func(r zfs.Row) error {
		if r.Dataset == f.name && r.Snapshot != "" {
			held = append(held, f.name+"@"+r.Snapshot)
		}
		return nil
	})
	tags := []string{s.Tag, j.r.Target.Pin}
	if pin, ok := chain.ParsePin(j.r.Target.Pin); ok && f.was.Props[zfs.PoolProp] != (zfs.Value{Value: pin.Pool, Source: "local"}) {
		tags = append(tags, pin.Former()) // put by an earlier version
	}
	for _, tag := range tags {
		if err == nil && s.Tag != "" && tag != "" {
			err = host.Release(ctx, tag, held)
		}
	}
	if err == nil {
		// By one command, so that no run takes those in rest for the target's own.
		err = host.Set(ctx, append(rest, marked(s, true)), []string{f.name})
	}
	if err != nil {
		return wrap(err, "cannot end what '%s' was renamed to '%s' for", s.Dataset, f.name)
	}
	if len(back) > 0 {
		if err := host.Set(ctx, back, []string{s.Dataset}); err != nil {
			j.r.Warn("cannot set %s on '%s', as it was: %s", strings.Join(back, " "), s.Dataset, err)
		}
	}
	return nil
}

// tellAside warns under which name the copy is now, how much space it takes, and how to
// destroy it.
func (j *job) tellAside(ctx context.Context, s *record.Step, f renaming) {
	text := fmt.Sprintf("'%s' was set aside as '%s'", s.Dataset, f.name)
	if now, err := j.findRenaming(ctx, s); err == nil && now.was != nil {
		if n, ok := now.was.Props["used"].Int(); ok {
			text += fmt.Sprintf(", which takes %d bytes of its own", n)
		}
	}
	if f.was.Props["mounted"].Value == "yes" {
		text += ", and is still mounted: it can only be destroyed when it is not, with all that is mounted in it"
	}
	j.r.Warn("%s; when nothing in it is needed: 'zfs destroy -r %s'", text, zfs.Quote(f.name))
}

func (j *job) showRenameDone(ctx context.Context, i, _ int) ([]string, error) {
	s, host := &j.r.Steps[i], j.x.target(j.r)
	was, _, name := j.showRenaming(ctx, s)
	if isParent(was) {
		return shown(host, zfs.DestroyDatasetArgv(name))
	}
	rest := []string{marked(s, true)}
	if was != nil && kindOf(was) == "filesystem" && was.Props["canmount"].Value == "on" {
		rest = slices.Insert(rest, 0, "canmount=noauto")
	}
	return shown(host, zfs.SetArgv(rest, name))
}
