package xfer

import (
	"context"
	"slices"

	"zab/lib/chain"
	"zab/lib/groups"
	"zab/lib/record"
	"zab/lib/zfs"
)

// This file puts step holds on the snapshots of the source before they are sent. As soon
// as a snapshot has arrived it may be the newest in common, and until the holds are moved
// nothing else keeps the run of another target, which thins the same source, from
// destroying it (P1). A run that dies in between leaves its step holds, and they go on
// protecting the snapshots.
//
// With --bookmark the step holds are released as soon as the bookmark exists, which no
// thinning touches; until then nothing else protects the received snapshot.
//
// The tag is the target's pin. Only our own snapshots are held, since no others are
// thinned. A hold that is refused is not an error: the send, or the hold step of the
// plan, will report the reason.

// stepHolds is the state of the step holds of a job.
type stepHolds struct {
	// asked: hold has run for the job, and the rest is known as far as zfs told.
	asked bool
	// held has the full names of the held snapshots; fresh has those of them that did not
	// have the pin before. A hold that existed before may be that of a base, which the
	// steps of the plan put and release.
	held, fresh []string
	// moved is the error that a snapshot to be sent is another one than the plan says.
	moved error
}

// needsHolds reports whether hold has snapshots to hold, or guids to compare, before the
// steps of the job are executed; or, in a dry run, tags to ask for before they are shown.
func (x *stage) needsHolds(j *job) bool {
	if x.env.Common.DryRun {
		return len(j.ifHeld(record.SideSource))+len(j.ifHeld(record.SideTarget)) > 0
	}
	return len(sent(j.r))+len(toHold(j.r)) > 0
}

// hold holds the snapshots that the jobs will send, with one program for each host and
// tag, and then compares the guids of the snapshots that sent returns with the plan:
// another snapshot of the same name would put an unknown one into the copy. Snapshots
// that do not exist are left for zfs send to report. In a dry run it only asks for the tags
// that decide what would be released.
func (x *stage) hold(ctx context.Context, batch []*job) {
	type group struct {
		host *zfs.Host
		tag  string
	}
	type snapshot struct {
		j          *job
		full, guid string
	}
	var pins groups.Of[group, snapshot]
	var look, old groups.Of[*zfs.Host, snapshot]
	for _, j := range batch {
		j.holds.asked = true
	}
	if x.env.Common.DryRun {
		lookAtTags(ctx, batch)
		return
	}
	onDisk := x.note(batch)
	defer onDisk()
	for _, j := range batch {
		host := x.source(j.r)
		for _, full := range toHold(j.r) {
			pins.Add(group{host, j.r.Target.Pin}, snapshot{j: j, full: full})
		}
		for _, s := range sent(j.r) {
			look.Add(host, snapshot{j, s.Full(j.r.Name), s.GUID})
		}
		for _, full := range j.ifHeld(record.SideSource) {
			old.Add(host, snapshot{j: j, full: full})
		}
	}
	names := func(list []snapshot) (full []string) {
		for _, s := range list {
			full = append(full, s.full)
		}
		return full
	}
	for g, list := range pins.All() {
		before, err := g.host.HoldNew(ctx, g.tag, names(list))
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
	for host, list := range look.All() {
		// Looked up after the holds, so that a held snapshot cannot be replaced any more.
		found, err := findAlso(ctx, host, names(list), names(old.Group(host)))
		if err != nil {
			x.env.Verbosef("cannot look at what is to be sent: %s", err)
			continue
		}
		for _, s := range old.Group(host) {
			s.j.setHoldCount(record.SideSource, s.full, found)
		}
		for _, s := range list {
			if row, ok := found[s.full]; ok && row.GUID != s.guid {
				s.j.holds.moved = failf(record.KindMovedOn, "cannot send '%s' to '%s': it is another snapshot of that name than when the plan was made", s.full, s.j.r.Target.Name)
			}
		}
	}
}

// note notes in the journal which copies the jobs work on, before anything is held for
// them. The function it returns waits until the note is on disk.
func (x *stage) note(batch []*job) (onDisk func()) {
	names := map[string][]string{}
	for _, j := range batch {
		key := chain.WithoutPool(j.r.Target.OwnTag())
		names[key] = append(names[key], j.r.Target.Name)
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

// sent returns the snapshots with which the record's streams end, with their guids. Those
// in between are looked up on the target after the receive.
func sent(r *record.Record) (out []record.Snapshot) {
	for i := range r.Steps {
		if s := &r.Steps[i]; s.Do == record.DoReceive && s.To != "" && s.ToGUID != "" {
			out = append(out, record.Snapshot{Name: s.To, GUID: s.ToGUID})
		}
	}
	return out
}

// toHold returns the full names of the snapshots of ours that get step holds: those that
// the record's steps send, and the base that they hold. It returns none where no step
// holds or bookmarks a base on the source for the target.
func toHold(r *record.Record) []string {
	if r.Target.Pin == "" {
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
