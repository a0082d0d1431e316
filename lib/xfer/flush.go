package xfer

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"zab/lib/chain"
	"zab/lib/record"
	"zab/lib/zfs"
)

// Every program waits for the pool, so what follows the transfers is done for
// many records at once. The longer a run lasts, the longer they may wait, so
// that the number of such batches grows with its logarithm; but none waits as
// long as somebody who looks on would wonder, and together they take no more
// memory than is had anywhere.
const (
	flushCount     = 1000
	flushSnapshots = 100_000 // of all that wait
	flushSoon      = 30 * time.Second
	flushLate      = 5 * time.Minute
)

// patience is how long the first record of a batch waits for others, in a run
// that has lasted for a time.
func patience(run time.Duration) time.Duration { return min(max(run, flushSoon), flushLate) }

// flusher verifies what was received, moves the holds, and writes the records.
type flusher struct {
	x   *stage
	ctx context.Context
	in  chan *job
	// ends is closed when the last records are under way.
	ends chan struct{}
	out  sync.WaitGroup
}

func newFlusher(ctx context.Context, x *stage) *flusher {
	f := &flusher{x: x, ctx: ctx, in: make(chan *job), ends: make(chan struct{})}
	f.out.Go(f.run)
	return f
}

// add hands over a record whose transfers are over.
func (f *flusher) add(j *job) { f.in <- j }

// soon tells that the last records are under way.
func (f *flusher) soon() { close(f.ends) }

// finish deals with all that is left.
func (f *flusher) finish() {
	close(f.in)
	f.out.Wait()
}

func (f *flusher) run() {
	begun := time.Now()
	var batch []*job
	snapshots := 0
	var due <-chan time.Time
	flush := func() {
		// Which of several streams ends first is chance; what is told of them is in
		// the order of the plan.
		slices.SortFunc(batch, func(a, b *job) int { return a.number - b.number })
		f.settle(f.ctx, batch)
		for _, j := range batch {
			j.end()
		}
		batch, snapshots, due = nil, 0, nil
	}
	done, ends := f.ctx.Done(), f.ends
	for {
		select {
		case <-ends:
			ends = nil
			f.foresee(batch)
		case j, ok := <-f.in:
			if !ok {
				flush()
				return
			}
			if batch = append(batch, j); len(batch) == 1 {
				due = time.After(patience(time.Since(begun)))
			}
			snapshots += len(j.r.Snapshots) + len(j.r.Target.Snapshots)
			if len(batch) >= flushCount || snapshots >= flushSnapshots || j.bare() || f.ctx.Err() != nil {
				flush()
			}
		case <-due:
			flush()
		case <-done:
			done = nil
			flush()
		}
	}
}

// foresee asks what the holds and releases of a batch need to know, while its
// last streams run.
func (f *flusher) foresee(batch []*job) {
	names := map[*zfs.Host][]string{}
	for _, j := range batch {
		for _, i := range j.later {
			if s := &j.r.Steps[i]; s.Do == record.DoHold && j.r.Error == nil {
				names[j.side(s)] = append(names[j.side(s)], s.Dataset+"@"+s.Snapshot)
			}
		}
	}
	for host, list := range names {
		f.out.Go(func() { host.Foresee(f.ctx, list) })
	}
}

// bare tells whether nothing stands for what has arrived until its bookmark is
// there: with --bookmark and --no-holds it is not held early. Then another
// target's run, which thins the source, is to have no time for it (P1).
func (j *job) bare() bool { return j.r.Target.Pin == "" && j.marked() }

// marked tells whether a bookmark of the source stands for what has arrived.
func (j *job) marked() bool {
	return slices.ContainsFunc(j.later, func(i int) bool {
		s := &j.r.Steps[i]
		return s.Do == record.DoBookmark && s.Side == record.SideSource
	})
}

// settle verifies the transfers of records and then does their holds and
// releases: few programs, however many the records. What has been sent is
// worth to be remembered, so it goes on for a while when a signal ends the
// rest.
func (f *flusher) settle(ctx context.Context, batch []*job) {
	if len(batch) == 0 {
		return
	}
	long, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() {
		time.AfterFunc(10*time.Second, func() { cancel(context.Cause(ctx)) })
	})()
	verify(long, batch)
	mount(long, batch)
	mark(long, batch, false)
	holds(long, batch, record.DoHold)
	mark(long, batch, true)
	bookmarks(long, batch)
	holds(long, batch, record.DoRelease)
	for _, j := range batch {
		j.arrived, j.later = nil, nil
	}
}

// verify looks for the guids of what was received: one listing for each target
// host.
func verify(ctx context.Context, batch []*job) {
	for host, jobs := range byHost(batch, func(j *job) *zfs.Host { return j.x.target(j.r) }) {
		var names, old []string
		for _, j := range jobs {
			for _, i := range j.arrived {
				s := &j.r.Steps[i]
				for _, t := range s.Through {
					names = append(names, s.Dataset+"@"+t.Name)
				}
				names = append(names, s.Dataset+"@"+s.To)
			}
			old = append(old, ifHeld(j.r, record.SideTarget)...)
		}
		found, err := findAlso(ctx, host, names, old)
		for _, j := range jobs {
			if err == nil {
				j.userrefs = map[string]int64{}
				for _, full := range ifHeld(j.r, record.SideTarget) {
					j.userrefs[full] = holdsOf(found, full)
				}
			}
			for _, i := range j.arrived {
				j.verify(i, found, err)
			}
		}
	}
}

// verify decides whether a receive step is done.
func (j *job) verify(i int, found map[string]record.Snapshot, err error) {
	s, res := &j.r.Steps[i], j.result(i)
	full := s.Dataset + "@" + s.To
	row, ok := found[full]
	switch {
	case ok && row.GUID == s.ToGUID:
	case j.ignored[i] != nil:
		err = j.ignored[i]
	case err != nil:
		err = because(err, "cannot verify '%s'", full)
	case !ok:
		err = failf(KindNotReceived, "cannot verify '%s': all programs ended well, but the target has no such snapshot", full)
	default:
		err = failf(KindNotReceived, "cannot verify '%s': it has the guid %s, the plan says %s", full, row.GUID, s.ToGUID)
	}
	if !ok || row.GUID != s.ToGUID {
		res.Message = err.Error()
		fail(j.r, err)
		return
	}
	if e := j.ignored[i]; e != nil {
		j.r.Warn("%s; but the snapshot has arrived", e)
	}
	res.Done, res.GUID = true, s.ToGUID
	t := j.r.Target
	t.Exists, t.Resume, t.ResumeToken = true, nil, ""
	for _, th := range s.Through {
		if row, ok := found[s.Dataset+"@"+th.Name]; ok {
			row.UserRefs = nil // it was asked for the sake of others
			insert(&t.Snapshots, row)
		}
	}
	row.UserRefs = nil
	insert(&t.Snapshots, row)
}

// released reports whether a step that releases only what is held has nothing to
// do. What is not known is tried.
func (j *job) released(s *record.Step) bool { return s.IfHeld && j.refs(s) == 0 }

// refs is the number of holds of the snapshot of a step that releases only what is
// held; more than any where that is not known.
func (j *job) refs(s *record.Step) int64 {
	list := j.userrefs
	if s.Side == record.SideSource {
		j.x.early.mu.Lock()
		defer j.x.early.mu.Unlock()
		list = j.x.early.userrefs[j.r]
	}
	if n, known := list[s.Dataset+"@"+s.Snapshot]; known {
		return n
	}
	return math.MaxInt64
}

// sided is a snapshot on a side, by its full name: both may be of one name, on two
// machines.
type sided struct{ side, full string }

// oldTags asks for the tags on those snapshots that steps release where they are
// held, and that may be held: a program for each host, where there are any.
func oldTags(ctx context.Context, batch []*job) {
	type asker struct {
		j  *job
		at sided
	}
	counts := map[*zfs.Host]map[string]int64{}
	askers := map[*zfs.Host][]asker{}
	for _, j := range batch {
		if j.r.Error != nil {
			continue
		}
		for _, i := range j.later {
			s := &j.r.Steps[i]
			at := sided{s.Side, s.Dataset + "@" + s.Snapshot}
			if !s.IfHeld || j.released(s) {
				continue
			}
			host := j.side(s)
			if counts[host] == nil {
				counts[host] = map[string]int64{}
			}
			counts[host][at.full] = j.refs(s)
			askers[host] = append(askers[host], asker{j, at})
		}
	}
	for host, names := range counts {
		found := map[string][]string{}
		list, err := host.Holds(ctx, names)
		if err != nil {
			batch[0].x.env.Verbosef("cannot list the holds on %s: %s", host, err)
			continue
		}
		for _, h := range list {
			found[h.Snapshot] = append(found[h.Snapshot], h.Tag)
		}
		for _, a := range askers[host] {
			if a.j.tags == nil {
				a.j.tags = map[sided][]string{}
			}
			a.j.tags[a.at] = append([]string{}, found[a.at.full]...)
		}
	}
}

// letsGo reports whether a step that releases only what is held is to release it.
// The tag that all targets share stays where another target's is, which it may stand
// for (P1), and where the tags are not known.
func (j *job) letsGo(s *record.Step) bool {
	own := func(tag string) bool { return isPin(j.r, tag) }
	tags, known := j.tags[sided{s.Side, s.Dataset + "@" + s.Snapshot}]
	switch {
	case !known:
		return own(s.Tag)
	case own(s.Tag):
		return slices.Contains(tags, s.Tag)
	}
	others := slices.ContainsFunc(tags, func(tag string) bool {
		_, _, pin := chain.PinTarget(tag, s.Tag)
		return pin && !own(tag)
	})
	return slices.Contains(tags, s.Tag) && !others
}

// byHost groups the jobs by a host, each group in its order.
func byHost(batch []*job, of func(*job) *zfs.Host) map[*zfs.Host][]*job {
	out := map[*zfs.Host][]*job{}
	for _, j := range batch {
		if len(j.arrived) > 0 {
			out[of(j)] = append(out[of(j)], j)
		}
	}
	return out
}

// tagged is one program's worth of holds or releases.
type tagged struct {
	host *zfs.Host
	tag  string
}

// holds does the holds, or the releases, of records: never the other way round,
// and never where a step before failed.
func holds(ctx context.Context, batch []*job, do string) {
	if do == record.DoRelease {
		oldTags(ctx, batch)
	}
	var order []tagged
	groups := map[tagged][]held{}
	add := func(t tagged, h held) {
		if groups[t] == nil {
			order = append(order, t)
		}
		groups[t] = append(groups[t], h)
	}
	for _, j := range batch {
		if j.r.Error != nil {
			continue
		}
		early, fresh := j.x.pinned(j.r)
		to := tagged{j.x.source(j.r), j.r.Target.Pin}
		stays := -1
		for _, i := range j.later {
			s := &j.r.Steps[i]
			t := tagged{j.side(s), s.Tag}
			h := held{j, i, s.Dataset + "@" + s.Snapshot}
			done := s.Do == record.DoHold && t == to && slices.Contains(early, h.full)
			if done {
				stays = i
			}
			switch {
			case s.Do != do:
			case done:
				j.result(i).Done = true
				list, _ := j.lists(s.Side)
				h.count(*list, s)
			case s.IfHeld && (j.released(s) || !j.letsGo(s)):
				j.result(i).Done = true
			default:
				add(t, h)
			}
		}
		if do == record.DoRelease && (stays >= 0 || j.marked()) {
			// What was held early, but for the new base where that is not a bookmark.
			for _, full := range fresh {
				if stays < 0 || full != j.r.Name+"@"+j.r.Steps[stays].Snapshot {
					add(to, held{j, -1, full})
				}
			}
		}
	}
	// A pin, which says whose the other tag is, comes first and goes last,
	// whatever else is in the batch. Else the sides do not wait for each other.
	var now, then []tagged
	for _, t := range order {
		if isPin(groups[t][0].j.r, t.tag) == (do == record.DoHold) {
			now = append(now, t)
		} else {
			then = append(then, t)
		}
	}
	apply(ctx, do, now, groups)
	apply(ctx, do, then, groups)
}

// isPin reports whether a tag stands for the target of a record alone, be it by the
// guid of a pool that it was in before, or of none.
func isPin(r *record.Record, tag string) bool {
	pin, ok := chain.ParsePin(r.Target.OwnTag())
	return tag == r.Target.OwnTag() || ok && pin.OfCopy(tag)
}

// mark sets properties of our own on what has arrived: one program for all
// that get the same. A copy without its mark is as good a copy, so one that
// cannot be set is no more than a warning. A step that sets zab:pool alone comes late,
// when the base is held for that pool; with other marks it is set at once, for the new
// base has been held by that pin since before it was sent.
func mark(ctx context.Context, batch []*job, late bool) {
	type group struct {
		host *zfs.Host
		set  []string
		held []held
	}
	var order []*group
	// All that get the same are few: the pools that they come from times the flags.
	find := func(host *zfs.Host, set []string) *group {
		for _, g := range order {
			if g.host == host && slices.Equal(g.set, set) {
				return g
			}
		}
		g := &group{host: host, set: set}
		order = append(order, g)
		return g
	}
	for _, j := range batch {
		if j.r.Error != nil {
			continue
		}
		for _, i := range j.later {
			if s := &j.r.Steps[i]; s.Do == record.DoMark && late == (len(s.Set) == 1 && strings.HasPrefix(s.Set[0], zfs.PoolProp+"=")) {
				g := find(j.x.target(j.r), j.marks(s))
				g.held = append(g.held, held{j, i, s.Dataset})
			}
		}
	}
	for _, g := range order {
		var names []string
		for _, h := range g.held {
			names = append(names, h.full)
		}
		err := g.host.Set(ctx, g.set, names)
		for _, h := range g.held {
			res := h.j.result(h.step)
			if e := errorFor(err, h.full); e != nil {
				res.Message = e.Error()
				if zfs.KindOf(e) == zfs.KindPermission {
					// As it will be every night: nothing to mail about.
					h.j.x.env.Verbosef("cannot set %s on '%s': %s", strings.Join(g.set, " "), h.full, e)
				} else {
					h.j.r.Warn("cannot set %s on '%s': %s", strings.Join(g.set, " "), h.full, e)
				}
				continue
			}
			res.Done = true
		}
	}
}

// marks are the properties that a mark step sets. What it says of sharing is for streams
// that came whole: zfs need not have kept the -x of one that went on with a token.
func (j *job) marks(s *record.Step) []string {
	if j.unshared {
		return s.Set
	}
	return zfs.NotUnshared(s.Set)
}

// held is a hold, release or mark step of a record.
type held struct {
	j    *job
	step int    // -1 for a hold that was put early
	full string // the snapshot or dataset
}

// apply does the holds, or the releases, of groups, side by side.
func apply(ctx context.Context, do string, order []tagged, groups map[tagged][]held) {
	errs := make([]error, len(order))
	var programs sync.WaitGroup
	for k, t := range order {
		// Where the shared tag could not be released the pin still says for whom
		// that stands, and where there is no pin it does not come: nobody would
		// release it.
		groups[t] = slices.DeleteFunc(groups[t], func(h held) bool { return h.j.r.Error != nil })
		var names []string
		for _, h := range groups[t] {
			names = append(names, h.full)
		}
		if len(names) == 0 {
			continue
		}
		programs.Go(func() {
			if do == record.DoHold {
				errs[k] = t.host.Hold(ctx, t.tag, names)
			} else {
				errs[k] = t.host.Release(ctx, t.tag, names)
			}
		})
	}
	programs.Wait()
	for k, t := range order {
		for _, h := range groups[t] {
			h.applied(do, errs[k])
		}
	}
}

// applied tells the record what became of its step, after the program for all
// that have the tag.
func (h held) applied(do string, err error) {
	if h.step < 0 {
		return // if it stays, the next zab-thin takes it away
	}
	res := h.j.result(h.step)
	if e := errorFor(err, h.full); e != nil {
		e = because(e, "cannot %s '%s'", do, h.full)
		res.Message = e.Error()
		switch {
		case h.j.r.Steps[h.step].IfHeld:
			h.j.r.Warn("%s", e)
		case !h.j.readOnly(&h.j.r.Steps[h.step], e):
			fail(h.j.r, e)
		}
		return
	}
	res.Done = true
	s := &h.j.r.Steps[h.step]
	list, _ := h.j.lists(s.Side)
	h.count(*list, s)
}

// readOnly reports whether a step on the source failed because its pool is imported
// read-only. That is no failure of a backup whose data has arrived: as long as the
// pool is read-only nothing in it can be destroyed, so that what was to be held stays
// (P1), and the plan of a later run has the hold again. A bookmark, likewise.
func (j *job) readOnly(s *record.Step, err error) bool {
	var f *failure
	if s.Side != record.SideSource || !errors.As(err, &f) || f.kind != zfs.KindReadOnlyPool {
		return false
	}
	if s.Do == record.DoHold || s.Do == record.DoBookmark {
		j.r.Warn("the pool '%s' is imported read-only, so that nothing in it can be held, nor destroyed: %s", zfs.Pool(s.Dataset), err)
	}
	return true
}

// count keeps the number of holds, where it is known.
func (h held) count(list []record.Snapshot, s *record.Step) {
	for k := range list {
		e := &list[k]
		if e.Name != s.Snapshot || e.UserRefs == nil {
			continue
		}
		switch {
		case s.Do == record.DoHold:
			*e.UserRefs++
		case *e.UserRefs > 0:
			*e.UserRefs--
		}
	}
}

// errorFor returns what of an error of a program that worked on many snapshots or
// datasets is about one of them. zfs names it in each of its lines; a line that names
// none of them is about all.
func errorFor(err error, name string) error {
	var e *zfs.Error
	if err == nil || !errors.As(err, &e) {
		return err
	}
	return e.Of(name, func(n string) bool { return strings.Contains(n, "@") == strings.Contains(name, "@") })
}
