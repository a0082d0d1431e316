package xfer

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"zab/lib/chain"
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
	// asking are the records whose workers wait for mu, and change nothing in
	// them meanwhile. It has a lock of its own.
	asking   map[*record.Record]bool
	askingMu sync.Mutex
	// held are the full names of what is held, by record; fresh are those that
	// were not before. A hold that was there may have been a base's, which comes
	// with others and goes with them.
	held, fresh map[*record.Record][]string
	// moved is why what a record sends is not what the plan says.
	moved map[*record.Record]error
	// userrefs are the numbers of holds of snapshots on the source, by full name,
	// for steps that release only what is held.
	userrefs map[*record.Record]map[string]int64
}

func newEarly() early {
	return early{seen: map[*record.Record]bool{}, asking: map[*record.Record]bool{}, held: map[*record.Record][]string{},
		fresh: map[*record.Record][]string{}, moved: map[*record.Record]error{}, userrefs: map[*record.Record]map[string]int64{}}
}

// pin holds what the record is to send, and what those are to send that wait,
// and then looks whether it still is what the plan says: another snapshot of
// the same name would make the copy one that nobody knows. Its error is about
// that. What is not there at all, zfs send will tell.
func (x *stage) pin(ctx context.Context, r *record.Record) error {
	e := &x.early
	e.ask(r, true)
	e.mu.Lock()
	defer e.mu.Unlock()
	// Before the lock goes: the next to have it reads those that ask.
	defer e.ask(r, false)
	switch {
	case e.seen[r]:
	case len(sent(r))+len(toPin(r)) > 0:
		x.pinAll(ctx, append([]*record.Record{r}, x.others(ctx)...))
	default:
		x.begin([]*record.Record{r})()
	}
	return e.moved[r]
}

func (e *early) ask(r *record.Record, on bool) {
	e.askingMu.Lock()
	defer e.askingMu.Unlock()
	if on {
		e.asking[r] = true
	} else {
		delete(e.asking, r)
	}
}

// others are the records that wait for a worker, or whose workers wait to have
// them held, too. They come at once, if they come from a zab-thin: one program
// for all.
func (x *stage) others(ctx context.Context) []*record.Record {
	all := func() []*record.Record {
		x.early.askingMu.Lock()
		defer x.early.askingMu.Unlock()
		return append(slices.Collect(maps.Keys(x.early.asking)), x.waiting()...)
	}
	list := all()
	for {
		select {
		case <-ctx.Done():
			return list
		case <-time.After(20 * time.Millisecond):
		}
		more := all()
		if len(more) == len(list) {
			return more
		}
		list = more
	}
}

func (x *stage) pinAll(ctx context.Context, all []*record.Record) {
	e := &x.early
	type group struct {
		host *zfs.Host
		tag  string
	}
	type one struct {
		r    *record.Record
		full string
		guid string
	}
	names, of := map[group][]string{}, map[string]*record.Record{}
	look, looked, old := map[*zfs.Host][]string{}, map[*zfs.Host][]one{}, map[*zfs.Host][]one{}
	all = slices.DeleteFunc(all, func(r *record.Record) bool { return e.seen[r] })
	onDisk := x.begin(all)
	defer onDisk()
	for _, r := range all {
		if e.seen[r] {
			continue // it came twice
		}
		e.seen[r] = true
		for _, n := range toPin(r) {
			g := group{x.source(r), r.Target.Pin}
			names[g] = append(names[g], n)
			of[n] = r
		}
		for _, s := range sent(r) {
			host := x.source(r)
			look[host] = append(look[host], s.Full(r.Name))
			looked[host] = append(looked[host], one{r, s.Full(r.Name), s.GUID})
		}
		for _, full := range ifHeld(r, record.SideSource) {
			old[x.source(r)] = append(old[x.source(r)], one{r: r, full: full})
		}
	}
	for g, list := range names {
		before, err := g.host.HoldMore(ctx, g.tag, list)
		for _, n := range list {
			if errorFor(err, n) != nil {
				continue
			}
			e.held[of[n]] = append(e.held[of[n]], n)
			if !before[n] {
				e.fresh[of[n]] = append(e.fresh[of[n]], n)
			}
		}
	}
	for host, list := range look {
		// Held first: now it stays what it is.
		var also []string
		for _, o := range old[host] {
			also = append(also, o.full)
		}
		found, err := findAlso(ctx, host, list, also)
		if err != nil {
			x.env.Verbosef("cannot look at what is to be sent: %s", err)
		} else {
			for _, o := range old[host] {
				if e.userrefs[o.r] == nil {
					e.userrefs[o.r] = map[string]int64{}
				}
				e.userrefs[o.r][o.full] = holdsOf(found, o.full)
			}
		}
		for _, o := range looked[host] {
			if row, ok := found[o.full]; ok && row.GUID != o.guid {
				e.moved[o.r] = failf(KindMovedOn, "cannot send '%s' to '%s': it is another snapshot of that name than when the plan was made", o.full, o.r.Target.Name)
			}
		}
	}
}

// begin notes that the records are worked on, before anything is held for them. The
// function it returns waits until that is on disk.
func (x *stage) begin(all []*record.Record) (onDisk func()) {
	names := map[string][]string{}
	for _, r := range all {
		if r.Target != nil {
			key := chain.WithoutPool(r.Target.OwnTag())
			names[key] = append(names[key], r.Target.Name)
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

// ifHeld are the full names of the snapshots that a record's steps release where
// they are held, each once.
func ifHeld(r *record.Record, side string) (full []string) {
	for i := range r.Steps {
		if s := &r.Steps[i]; s.IfHeld && s.Side == side && !slices.Contains(full, s.Dataset+"@"+s.Snapshot) {
			full = append(full, s.Dataset+"@"+s.Snapshot)
		}
	}
	return full
}

// findAlso looks snapshots up by their full names, and by the same program the
// numbers of holds of others.
func findAlso(ctx context.Context, host *zfs.Host, names, held []string) (map[string]record.Snapshot, error) {
	if len(held) > 0 {
		return host.FindHeld(ctx, slices.Concat(names, held))
	}
	rows, err := host.Find(ctx, names)
	found := make(map[string]record.Snapshot, len(rows))
	for name, row := range rows {
		found[name] = row.Entry()
	}
	return found, err
}

// holdsOf is the number of holds of a snapshot that was looked up; one that does
// not exist has none.
func holdsOf(found map[string]record.Snapshot, full string) int64 {
	if s, ok := found[full]; ok && s.UserRefs != nil {
		return *s.UserRefs
	}
	return 0
}

// sent are the snapshots in which the streams of a record end, with their
// guids; of those in between the receiver tells.
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

// toPin are the full names of the snapshots of ours that the record's steps
// send, and of the base that they hold, where they are to be held for the target.
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

// pinned are the snapshots of a record that are held already, and those of them
// that were not held before.
func (x *stage) pinned(r *record.Record) (held, fresh []string) {
	x.early.mu.Lock()
	defer x.early.mu.Unlock()
	return x.early.held[r], x.early.fresh[r]
}

// forget drops what is known of a record that is done with.
func (e *early) forget(r *record.Record) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.seen, r)
	delete(e.held, r)
	delete(e.fresh, r)
	delete(e.moved, r)
	delete(e.userrefs, r)
}
