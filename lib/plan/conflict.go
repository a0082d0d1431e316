package plan

import (
	"fmt"
	"slices"
	"strings"

	"zab/lib/chain"
	"zab/lib/record"
	"zab/lib/zfs"
)

// This file finds the conflicts between a source and its target. A conflict has a kind
// that scripts can rely on, the snapshots that it is about, and remedies, the safest
// first.

// keepAside is the safest remedy: nothing is lost by it.
const keepAside = "--rename-aside to keep it under another name and go on in its place"

// conflict notes the conflict in the record, and returns the error with which the record
// fails: nothing can be sent in the present state.
func (p *planner) conflict(r *record.Record, c *record.Conflict) *record.Error {
	p.blame(r, c)
	r.Conflict = c
	hint := ""
	if len(c.Remedies) > 0 {
		hint = c.Remedies[0]
		for _, m := range c.Remedies[1:] {
			hint += "; or " + m
		}
	}
	e := p.failure(record.KindConflict, fmt.Sprintf("cannot back up '%s' to '%s': %s", r.Name, r.Target.Name, c.Message), hint)
	return &e
}

// otherMachine adds to a conflict that the target is the copy of another machine's
// dataset, if the pool that the copy came from shows this. The message begins with it,
// because setting the copy aside would only make the other machine do the same the next
// night.
func (p *planner) otherMachine(r *record.Record, c *record.Conflict) *record.Conflict {
	switch c.Kind {
	case record.ConflictNoCommonSnapshot, record.ConflictSameNameOtherGUID, record.ConflictTargetWithoutSnapshots:
	default:
		return c
	}
	t := r.Target
	if r.PoolGUID == "" || !p.foreign(&t.Facts) || slices.Contains(strings.Split(t.From, ","), r.PoolGUID) {
		return c
	}
	what := "another machine's dataset, or of a pool that is no more"
	if p.partial {
		what = "another pool's dataset, which this run did not look for"
	}
	c.Message = fmt.Sprintf("'%s' is a copy of %s: it came from the pool with the guid %s, and '%s' is in that with the guid %s; %s", t.Name, what, lastPool(&t.Facts), r.Name, r.PoolGUID, c.Message)
	c.Remedies = slices.Insert(c.Remedies, 0, "give each source a target of its own, if that is another machine's")
	return c
}

// makers are tools that take snapshots, recognized by the prefix of the snapshots'
// names.
var makers = []struct{ begin, tool, remedy string }{
	{"zfs-auto-snap_", "zfs-auto-snapshot", ""},
	{"autosnap_", "sanoid", "leave '%s' out of sanoid.conf, or give it a template with autosnap = no"},
	{"syncoid_", "syncoid", "give syncoid --no-sync-snap, or leave '%s' out of what it sends"},
	{"zrepl_", "zrepl", "leave '%s' out of the filesystems of zrepl's jobs"},
	{"pyznap_", "pyznap", "leave '%s' out of pyznap.conf"},
}

// blame names in a conflict the tool that takes the snapshots in the way, if it can be
// told, and how to stop it: otherwise the conflict comes back.
func (p *planner) blame(r *record.Record, c *record.Conflict) {
	if c.Kind != record.ConflictNewerSnapshots {
		return
	}
	t := r.Target
	if p.autoSnapshots != nil {
		if a, ok := p.autoSnapshots()[p.inv.currentName(t.Name)]; ok {
			where, why := t.Name, "set there"
			if from, ok := strings.CutPrefix(a.Source, "inherited from "); ok {
				where, why = from, a.Source
			} else if a.Source == "received" {
				why = "which came with the stream"
			}
			c.Message += fmt.Sprintf("; snapshots are made of it because of %s=true, %s", a.Prop, why)
			remedy := fmt.Sprintf("'zfs set %s=false %s', so that no more come, and then ", a.Prop, zfs.Quote(where))
			c.Remedies[0] = remedy + c.Remedies[0]
			return
		}
	}
	for _, m := range makers {
		if strings.HasPrefix(c.Snapshots[0].Name, m.begin) {
			c.Message += fmt.Sprintf("; its name is one of those that %s gives", m.tool)
			if m.remedy != "" {
				c.Remedies[0] = fmt.Sprintf(m.remedy, t.Name) + ", so that no more come, and then " + c.Remedies[0]
			}
			return
		}
	}
}

// noSnapshots returns the conflict of a target that exists without a snapshot to start
// from. overwrites says whether zfs can overwrite the target.
func noSnapshots(r *record.Record, overwrites bool) *record.Conflict {
	c := &record.Conflict{Kind: record.ConflictTargetWithoutSnapshots,
		Message:  fmt.Sprintf("'%s' exists, but has no snapshot", r.Target.Name),
		Remedies: []string{keepAside}}
	if overwrites {
		c.Remedies = append(c.Remedies, "--force to overwrite it with a first full backup")
	} else {
		c.Message += ", and where one of the two is encrypted zfs cannot overwrite it"
		c.Remedies = append(c.Remedies, fmt.Sprintf("destroy it with 'zfs destroy %s'", zfs.Quote(r.Target.Name)))
	}
	return c
}

// noBase returns the conflict of a target that has snapshots, but none in common with
// the source.
func noBase(r *record.Record) *record.Conflict {
	t := r.Target
	remedies := []string{
		"--rename-aside to keep the copy under another name and start anew",
		fmt.Sprintf("destroy '%s' and start anew", t.Name),
	}
	if same := chain.SameName(r.Snapshots, t.Snapshots); len(same) > 0 {
		return &record.Conflict{Kind: record.ConflictSameNameOtherGUID, Snapshots: same,
			Message:  fmt.Sprintf("no snapshot in common: '%s' has the same name on both sides, but is another snapshot, with another guid", same[len(same)-1].Name),
			Remedies: remedies}
	}
	return &record.Conflict{Kind: record.ConflictNoCommonSnapshot, Snapshots: t.Snapshots,
		Message:  fmt.Sprintf("no snapshot in common: none of the %d snapshots of the target is on the source, neither as a snapshot nor as a bookmark", len(t.Snapshots)),
		Remedies: remedies}
}

// diverged returns the steps that undo the changes of the target since the base, or the
// conflict if they may not be undone. Snapshots in which nothing was written are not in
// the way, except of a raw stream.
func (p *planner) diverged(d *draft) ([]record.Step, *record.Conflict) {
	r, t := d.r, d.r.Target
	raw := p.raw(r)
	if c := rawMismatch(r, raw); c != nil {
		return nil, c
	}
	coming := map[string]bool{}
	for _, i := range d.wanted {
		coming[r.Snapshots[i].Name] = true
	}
	for _, s := range t.Snapshots[:d.base.Target+1] {
		if coming[s.Name] {
			return nil, nameCollision(r, s)
		}
	}
	var bad []record.Snapshot
	newest := t.Snapshots[d.base.Target]
	for _, s := range t.Snapshots[d.base.Target+1:] {
		// Even an empty snapshot is in the way if another of its name is to be sent.
		if raw || len(bad) > 0 || s.Written == nil || *s.Written > 0 || coming[s.Name] {
			bad = append(bad, s)
		} else {
			newest = s
		}
	}
	var steps []record.Step
	rollback := record.Step{Do: record.DoRollback, Side: record.SideTarget, Dataset: t.Name, Snapshot: newest.Name, GUID: newest.GUID}
	if len(bad) > 0 {
		if !p.o.DestroyIncompatible {
			return nil, incompatible(r, bad, raw)
		}
		d.believed = believed(t, bad)
		r.Warn("%s", d.believed)
		for _, s := range bad {
			steps = append(steps, record.Step{Do: record.DoDestroy, Side: record.SideTarget, Dataset: t.Name,
				Snapshot: s.Name, GUID: s.GUID, Why: "incompatible, and --destroy-incompatible was given"})
		}
		rollback.Why = "after its incompatible snapshots are destroyed"
		return append(steps, rollback), nil
	}
	if t.Written != nil && *t.Written > 0 {
		switch {
		case p.o.Rollback:
			rollback.Why = fmt.Sprintf("%d bytes were written since, and --rollback was given", *t.Written)
		case d.atimeOnly:
			rollback.Why = fmt.Sprintf("%d bytes were written since by reading: access times", *t.Written)
			rollback.OnlyRead = true
		case p.splitOff(d):
			return steps, nil // zfs refuses the stream if anything else was written
		default:
			return nil, modified(r, *t.Written)
		}
		steps = append(steps, rollback)
	}
	return steps, nil
}

// newHeads is more, in bytes, than the property written shows on any pool for a dataset
// of which only the intent log was reset.
const newHeads = 128 << 10

// splitOff reports whether the data written to a copy may come only from zpool split or
// an import. Both reset the intent log of each dataset (2.3), which counts as written
// but does not make zfs receive refuse a stream. This is only possible in the first run
// to a pool. With --rename-aside the answer is false, because a copy that has to be set
// aside must be found before the streams.
func (p *planner) splitOff(d *draft) bool {
	t, pool := d.r.Target, p.pinnedIn(d)
	return pool != "" && t.Pool != pool && t.Mounted != "yes" && *t.Written <= newHeads && !p.o.RenameAside
}

// believed returns the warning about snapshots of the target that are destroyed because
// the source lists neither them nor anything newer in common.
func believed(t *record.Target, bad []record.Snapshot) string {
	which, them := fmt.Sprintf("%d snapshots of '%s', from '@%s' to '@%s', are", len(bad), t.Name, bad[0].Name, bad[len(bad)-1].Name), "them"
	if len(bad) == 1 {
		which, them = fmt.Sprintf("the snapshot '%s' is", bad[0].Full(t.Name)), "it"
	}
	return which + " to be destroyed for --destroy-incompatible: the source says that it does not have " + them
}

// nameCollision returns the conflict of a snapshot to be sent that has the name of an older
// snapshot of the target, as when the clock was set back and the source's own of that
// name is long gone.
func nameCollision(r *record.Record, s record.Snapshot) *record.Conflict {
	full := s.Full(r.Target.Name)
	return &record.Conflict{Kind: record.ConflictSameNameOtherGUID, Snapshots: []record.Snapshot{s},
		Message: fmt.Sprintf("the target has an older snapshot '%s', and another of that name is to be sent", s.Name),
		Remedies: []string{
			fmt.Sprintf("rename it with 'zfs rename %s %s-old'", zfs.Quote(full), zfs.Quote(full)),
			"destroy it, if it is not needed",
		}}
}

func incompatible(r *record.Record, bad []record.Snapshot, raw bool) *record.Conflict {
	what := "has data that the source does not have"
	if raw {
		what = "is in the way of a raw stream"
	}
	m := fmt.Sprintf("the target has a newer snapshot, '%s', that %s", bad[0].Name, what)
	if len(bad) > 1 {
		m = fmt.Sprintf("the target has %d newer snapshots, the first of them '%s', that the source does not have", len(bad), bad[0].Name)
	}
	remedies := []string{
		keepAside,
		"--destroy-incompatible to destroy these snapshots and roll back",
	}
	if !raw && !slices.ContainsFunc(bad, func(s record.Snapshot) bool { return !s.Ours }) {
		m = fmt.Sprintf("the source does not have the target's newest %d snapshots of this backup, from '%s' on, any more: it was rolled back, or they were destroyed", len(bad), bad[0].Name)
		if len(bad) == 1 {
			m = fmt.Sprintf("the source does not have the target's newest snapshot, '%s', any more: it was rolled back, or that was destroyed", bad[0].Name)
		}
		return &record.Conflict{Kind: record.ConflictSourceRolledBack, Message: m, Snapshots: bad, Remedies: remedies}
	}
	return &record.Conflict{Kind: record.ConflictNewerSnapshots, Message: m, Snapshots: bad, Remedies: remedies}
}

func modified(r *record.Record, written int64) *record.Conflict {
	t := r.Target
	newest := t.Snapshots[len(t.Snapshots)-1]
	return &record.Conflict{Kind: record.ConflictModified, Snapshots: []record.Snapshot{newest},
		Message: fmt.Sprintf("%d bytes were written to the target since its newest snapshot, '%s'", written, newest.Name),
		Remedies: []string{
			keepAside,
			fmt.Sprintf("look with 'zfs diff %s %s'", zfs.Quote(t.Name+"@"+newest.Name), zfs.Quote(t.Name)),
			"--rollback to undo the changes",
		}}
}
