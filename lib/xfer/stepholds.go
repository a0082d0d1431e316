package xfer

import (
	"context"
	"slices"

	"zab/lib/chain"
	"zab/lib/record"
	"zab/lib/zfs"
)

// This file holds what is to be sent before it is sent. From the moment in which a
// snapshot has arrived it may be the newest in common, and until the holds are moved
// nothing else keeps another target's run, which thins the same source, from
// destroying it (P1). A run that dies in between leaves these holds, and they do what
// they should.
//
// With --bookmark the step holds go as soon as the bookmark is there, which no thinning
// touches; before that nothing else stands for the received snapshot.
//
// The tag is the one that stands for this target alone. Only our own snapshots are
// held, for nothing else is thinned. Holding is done as well as may be: where a hold
// is refused, the send will say more, or the hold that the plan has.

// stepHolds is what is known of the snapshots of the source that a job is to send.
type stepHolds struct {
	// asked: the rest is known, as far as it could be found out.
	asked bool
	// held are the full names of what is held; fresh are those that were not held
	// before. A hold that was there may be that of a base, which comes with the plan's
	// holds and goes with them.
	held, fresh []string
	// moved is why what the job would send is not what the plan says.
	moved error
}

// needsHolds reports whether there is something to hold, or to look at, before the
// steps of a job are executed.
func (x *stage) needsHolds(j *job) bool {
	return !x.env.Common.DryRun && len(sent(j.r))+len(toHold(j.r)) > 0
}

// hold holds what the jobs are to send, by one program for each host and tag, and
// then looks whether it still is what the plan says: another snapshot of the same name
// would make the copy one that nobody knows. What does not exist at all, zfs send will
// tell.
func (x *stage) hold(ctx context.Context, batch []*job) {
	type group struct {
		host *zfs.Host
		tag  string
	}
	type snapshot struct {
		j          *job
		full, guid string
	}
	var pins groups[group, snapshot]
	var look, old groups[*zfs.Host, snapshot]
	onDisk := x.note(batch)
	defer onDisk()
	for _, j := range batch {
		j.holds.asked = true
		host := x.source(j.r)
		for _, full := range toHold(j.r) {
			pins.add(group{host, j.r.Target.Pin}, snapshot{j: j, full: full})
		}
		for _, s := range sent(j.r) {
			look.add(host, snapshot{j, s.Full(j.r.Name), s.GUID})
		}
		for _, full := range ifHeld(j.r, record.SideSource) {
			old.add(host, snapshot{j: j, full: full})
		}
	}
	names := func(list []snapshot) (full []string) {
		for _, s := range list {
			full = append(full, s.full)
		}
		return full
	}
	for g, list := range pins.all() {
		before, err := g.host.HoldMore(ctx, g.tag, names(list))
		for _, s := range list {
			if errorFor(err, s.full) != nil {
				continue
			}
			s.j.holds.held = append(s.j.holds.held, s.full)
			if !before[s.full] {
				s.j.holds.fresh = append(s.j.holds.fresh, s.full)
			}
		}
	}
	for host, list := range look.all() {
		// Held first: now it stays what it is.
		found, err := findAlso(ctx, host, names(list), names(old.of[host]))
		if err != nil {
			x.env.Verbosef("cannot look at what is to be sent: %s", err)
			continue
		}
		for _, s := range old.of[host] {
			s.j.setHoldCount(record.SideSource, s.full, found)
		}
		for _, s := range list {
			if row, ok := found[s.full]; ok && row.GUID != s.guid {
				s.j.holds.moved = failf(record.KindMovedOn, "cannot send '%s' to '%s': it is another snapshot of that name than when the plan was made", s.full, s.j.r.Target.Name)
			}
		}
	}
}

// note notes in the journal that the jobs are worked on, before anything is held for
// them. The function it returns waits until that is on disk.
func (x *stage) note(batch []*job) (onDisk func()) {
	names := map[string][]string{}
	for _, j := range batch {
		if t := j.r.Target; t != nil {
			key := chain.WithoutPool(t.OwnTag())
			names[key] = append(names[key], t.Name)
		}
	}
	var waits []func()
	for tag, list := range names {
		waits = append(waits, x.journal.Begin(tag, list...))
	}
	return func() {
		for _, wait := range waits {
			wait()
		}
	}
}

// sent are the snapshots in which the streams of a record end, with their guids; of
// those in between the receiver tells.
func sent(r *record.Record) (out []record.Snapshot) {
	for i := range r.Steps {
		if s := &r.Steps[i]; s.Do == record.DoReceive && r.Target != nil {
			if s.To != "" && s.ToGUID != "" {
				out = append(out, record.Snapshot{Name: s.To, GUID: s.ToGUID})
			}
		}
	}
	return out
}

// toHold are the full names of our snapshots that the record's steps send, and of the
// base that they hold, where they are to be held for the target.
func toHold(r *record.Record) []string {
	if r.Target == nil || r.Target.Pin == "" || check(r, false) != nil {
		return nil
	}
	ours := map[string]bool{}
	for i := range r.Snapshots {
		if s := &r.Snapshots[i]; s.Ours {
			ours[s.Name] = true
		}
	}
	var out []string
	add := func(name string) {
		if full := r.Name + "@" + name; ours[name] && !slices.Contains(out, full) {
			out = append(out, full)
		}
	}
	asked := false
	for i := range r.Steps {
		s := &r.Steps[i]
		switch {
		case s.Do == record.DoHold && s.Side == record.SideSource && s.Tag == r.Target.Pin:
			asked = true
			add(s.Snapshot)
		case s.Do == record.DoBookmark && s.Side == record.SideSource:
			asked = true
		case s.Do == record.DoReceive:
			for _, t := range s.Through {
				add(t.Name)
			}
			add(s.To)
		}
	}
	if !asked {
		return nil
	}
	return out
}
