package xfer

import (
	"context"
	"sync"
	"time"

	"zab/lib/record"
	"zab/lib/zfs"
)

// early holds what is to be sent before it is sent. From the moment in which a
// snapshot has arrived it may be the newest in common, and until the flusher
// has moved the holds nothing else tells another target's run, which thins the
// same source, to leave it (P1). A run that dies in between leaves these
// holds, and they do what they should.
//
// With --bookmark the hold goes as soon as the bookmark is there, which no
// thinning touches; before that nothing else stands for what has arrived.
//
// The tag is the one that stands for this target alone. Only what is ours is
// held, for nothing else is thinned. It is done for all records that are there,
// by one program, and as well as may be: where a hold is refused the send will
// say more, or the hold that the plan has.
type early struct {
	mu   sync.Mutex
	seen map[*record.Record]bool
	// held are the full names of what is held, by record; fresh are those that
	// were not before. A hold that was there may have been a base's, which comes
	// with others and goes with them.
	held, fresh map[*record.Record][]string
}

// pin holds what the record is to send, and what those are to send that wait.
func (x *stage) pin(ctx context.Context, r *record.Record) {
	e := &x.early
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.seen[r] {
		return
	}
	if len(toPin(r)) == 0 {
		return
	}
	type group struct {
		host *zfs.Host
		tag  string
	}
	// The others come at once, if they come from a zab-thin: one program for all.
	for n, before := len(x.waiting()), -1; n != before; n = len(x.waiting()) {
		before = n
		time.Sleep(50 * time.Millisecond)
	}
	names, of := map[group][]string{}, map[string]*record.Record{}
	for _, r := range append([]*record.Record{r}, x.waiting()...) {
		if e.seen[r] {
			continue
		}
		e.seen[r] = true
		list := toPin(r)
		for _, n := range list {
			g := group{x.source(r), r.Target.Pin}
			names[g] = append(names[g], n)
			of[n] = r
		}
	}
	for g, list := range names {
		before, err := g.host.HoldMore(ctx, g.tag, list)
		for _, n := range list {
			if blame(err, n) != nil {
				continue
			}
			e.held[of[n]] = append(e.held[of[n]], n)
			if !before[n] {
				e.fresh[of[n]] = append(e.fresh[of[n]], n)
			}
		}
	}
}

// toPin are the full names of the snapshots of ours that the record's steps
// send, where they are to be held for the target.
func toPin(r *record.Record) []string {
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
		if ours[name] {
			out = append(out, r.Name+"@"+name)
		}
	}
	asked := false
	for i := range r.Steps {
		s := &r.Steps[i]
		switch {
		case s.Do == record.DoHold && s.Side == record.SideSource && s.Tag == r.Target.Pin,
			s.Do == record.DoBookmark && s.Side == record.SideSource:
			asked = true
		case s.Do == record.DoReceive:
			for _, t := range s.Through {
				add(t.Name)
			}
			to, _ := wanted(s)
			add(to)
		}
	}
	if !asked {
		return nil
	}
	return out
}

// pinned are the snapshots of a record that are held already, and those of them
// that were not held before.
func (x *stage) pinned(r *record.Record) (held, fresh []string) {
	x.early.mu.Lock()
	defer x.early.mu.Unlock()
	return x.early.held[r], x.early.fresh[r]
}
