package xfer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"zab/lib/chain"
	"zab/lib/groups"
	"zab/lib/record"
	"zab/lib/zfs"
)

// This file executes hold and release steps, for many records at once.

func checkHold(r *record.Record, s *record.Step, _ bool) error {
	if strings.HasPrefix(s.Tag, "-") {
		return fmt.Errorf("%q is not a tag", s.Tag)
	}
	return errors.Join(isSided(r, s), need("snapshot", s.Snapshot), need("tag", s.Tag))
}

func (j *job) showHold(_ context.Context, i, _ int) ([]string, error) {
	s := &j.r.Steps[i]
	return shown(j.side(s), zfs.HoldArgv(s.Tag, s.Dataset+"@"+s.Snapshot))
}

func (j *job) showRelease(_ context.Context, i, _ int) ([]string, error) {
	s := &j.r.Steps[i]
	if s.IfHeld && (j.hasPinAlone(s) || !j.letsGo(s)) {
		return nil, nil
	}
	return shown(j.side(s), zfs.ReleaseArgv(s.Tag, s.Dataset+"@"+s.Snapshot))
}

// tagged is the host and the tag of the holds or releases that one program does.
type tagged struct {
	host *zfs.Host
	tag  string
}

// held is a hold, release or mark step of a record.
type held struct {
	j    *job
	step int    // -1 for the release of a step hold
	full string // the snapshot or dataset
}

// holds executes the hold steps, or the release steps, of the records without an error.
func holds(ctx context.Context, batch []*job, do string) {
	if do == record.DoRelease {
		listTags(ctx, batch)
	}
	// A pin, which tells for which target the shared tag stands, is put first and
	// released last, across the whole batch. Apart from that the sides do not wait for
	// each other.
	var first, then groups.Of[tagged, held]
	add := func(t tagged, h held) {
		if isPin(h.j.r, t.tag) == (do == record.DoHold) {
			first.Add(t, h)
		} else {
			then.Add(t, h)
		}
	}
	for _, j := range batch {
		if j.r.Error != nil {
			continue
		}
		pin := tagged{j.x.source(j.r), j.r.Target.Pin}
		stays := -1 // the step whose hold was put as a step hold
		for _, i := range j.later {
			s := &j.r.Steps[i]
			t := tagged{j.side(s), s.Tag}
			h := held{j, i, s.Dataset + "@" + s.Snapshot}
			done := s.Do == record.DoHold && t == pin && slices.Contains(j.holds.held, h.full)
			if done {
				stays = i
			}
			switch {
			case s.Do != do:
			case done:
				j.result(i).Done = true
				j.countHold(s)
			case s.IfHeld && (j.released(s) || !j.letsGo(s)):
				j.result(i).Done = true
			default:
				add(t, h)
			}
		}
		if do == record.DoRelease && (stays >= 0 || j.bookmarksBase()) {
			// The step holds go, except that of the new base unless it is a bookmark.
			for _, full := range j.holds.fresh {
				if stays < 0 || full != j.r.Name+"@"+j.r.Steps[stays].Snapshot {
					add(pin, held{j, -1, full})
				}
			}
		}
	}
	holdTogether(ctx, do, &first)
	holdTogether(ctx, do, &then)
}

// holdTogether does the holds, or the releases, of the groups, with their programs side
// by side. Records that have failed meanwhile are left out: if the shared tag could not
// be released, the pin stays and still tells for which target it stands; and if the pin
// could not be put, the shared tag is not put, since nobody would release it.
func holdTogether(ctx context.Context, do string, all *groups.Of[tagged, held]) {
	type program struct {
		list []held
		err  error
	}
	var begun []*program
	var programs sync.WaitGroup
	for t, list := range all.All() {
		list = slices.DeleteFunc(list, func(h held) bool { return h.j.r.Error != nil })
		if len(list) == 0 {
			continue
		}
		var names []string
		for _, h := range list {
			names = append(names, h.full)
		}
		p := &program{list: list}
		begun = append(begun, p)
		programs.Go(func() {
			if do == record.DoHold {
				p.err = t.host.Hold(ctx, t.tag, names)
			} else {
				p.err = t.host.Release(ctx, t.tag, names)
			}
		})
	}
	programs.Wait()
	for _, p := range begun {
		for _, h := range p.list {
			h.recordResult(do, p.err)
		}
	}
}

// recordResult puts the result of the step into its record; err is the error of the
// program for all holds of the tag.
func (h held) recordResult(do string, err error) {
	if h.step < 0 {
		if e := errorFor(err, h.full); e != nil {
			h.j.leftHold = true
			h.j.r.Warn("%s", wrap(e, "cannot release '%s', which was held while it was sent; the next run tries again", h.full))
		}
		return
	}
	res, s := h.j.result(h.step), &h.j.r.Steps[h.step]
	if e := errorFor(err, h.full); e != nil {
		e = wrap(e, "cannot %s '%s'", do, h.full)
		res.Message = e.Error()
		switch {
		case s.IfHeld && h.j.r.Target.Pin == "":
			h.j.r.Warn("%s", e)
		case !h.j.readOnly(s, e):
			fail(h.j.r, e)
		}
		return
	}
	res.Done = true
	h.j.countHold(s)
}

// countHold updates the number of holds of a step's snapshot, if it is known.
func (j *job) countHold(s *record.Step) {
	list, _ := j.lists(s.Side)
	for k := range *list {
		e := &(*list)[k]
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

// readOnly reports whether a step on the source failed because its pool is imported
// read-only. That is no failure of a backup whose data has arrived: as long as the pool
// is read-only nothing in it can be destroyed, so the snapshot to be held stays (P1), and
// the plan of a later run has the hold again. The same goes for a bookmark.
func (j *job) readOnly(s *record.Step, err error) bool {
	var f *failure
	if s.Side != record.SideSource || !errors.As(err, &f) || f.kind != record.KindReadOnlyPool {
		return false
	}
	if s.Do == record.DoHold || s.Do == record.DoBookmark {
		j.r.Warn("the pool '%s' is imported read-only, so that nothing in it can be held, nor destroyed: %s", zfs.Pool(s.Dataset), err)
	}
	return true
}

// isPin reports whether a tag is a pin of the record's target: with the guid of its pool,
// of a pool that it was in before, or of none.
func isPin(r *record.Record, tag string) bool {
	pin, ok := chain.ParsePin(r.Target.OwnTag())
	return tag == r.Target.OwnTag() || ok && pin.OfCopy(tag)
}

// bookmarksBase reports whether a step will bookmark the received snapshot on the source.
func (j *job) bookmarksBase() bool {
	return slices.ContainsFunc(j.later, func(i int) bool {
		s := &j.r.Steps[i]
		return s.Do == record.DoBookmark && s.Side == record.SideSource
	})
}

// unprotected reports whether the received snapshot has no step hold, as with --bookmark
// and --no-holds, so that its bookmark must be made at once: the run of another target,
// which thins the source, must have no time to destroy it (P1).
func (j *job) unprotected() bool { return j.r.Target.Pin == "" && j.bookmarksBase() }

// sided is a snapshot on a side, by its full name: those of both sides may have the same
// name, on two machines.
type sided struct{ side, full string }

// ifHeld returns the full names, each once, of the snapshots on a side that the record's
// IfHeld steps release and whose holds have to be looked at.
func (j *job) ifHeld(side string) (full []string) {
	for i := range j.r.Steps {
		s := &j.r.Steps[i]
		if s.IfHeld && s.Side == side && !j.hasPinAlone(s) && !slices.Contains(full, s.Dataset+"@"+s.Snapshot) {
			full = append(full, s.Dataset+"@"+s.Snapshot)
		}
	}
	return full
}

// hasPinAlone reports whether a step releases the tag that all targets share, and the
// snapshot has been noted to be held for this target by the pin alone.
func (j *job) hasPinAlone(s *record.Step) bool {
	t := j.r.Target
	return t.OwnTag() != "" && !isPin(j.r, s.Tag) && j.x.pinned.Has(t.OwnTag(), t.Name, s.GUID)
}

// notePinned notes the new base if it is held for the target by the pin alone. A base that
// was there before may have other tags, and so may a snapshot of the source that had the pin
// before: it was the base of a copy under another name, or of a run with --shared-holds that
// was killed.
func (j *job) notePinned() {
	t := j.r.Target
	alone, moved, shared := "", false, false
	for i, res := range j.results {
		s := &j.r.Steps[i]
		if s.Do != record.DoHold || s.Side != record.SideTarget || !res.Done {
			continue
		}
		moved = true
		if s.Tag != t.Pin {
			shared = true
		} else if slices.ContainsFunc(sent(j.r), func(to record.Snapshot) bool {
			return to.GUID == s.GUID && slices.Contains(j.holds.fresh, to.Full(j.r.Name))
		}) {
			alone = s.GUID
		}
	}
	switch {
	case alone != "" && !shared:
		j.x.pinned.Put(t.Pin, t.Name, alone)
	case moved:
		j.x.pinned.Forget(t.Pin, t.Name)
	}
}

// findAlso looks snapshots up by their full names, and those in held with their number of
// holds, with the same program.
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

// holdsOf returns the number of holds of a snapshot that was looked up; 0 if it does not
// exist.
func holdsOf(found map[string]record.Snapshot, full string) int64 {
	if s, ok := found[full]; ok && s.UserRefs != nil {
		return *s.UserRefs
	}
	return 0
}

// setHoldCount notes the number of holds of a snapshot that was looked up.
func (j *job) setHoldCount(side, full string, found map[string]record.Snapshot) {
	if j.holdCounts == nil {
		j.holdCounts = map[sided]int64{}
	}
	j.holdCounts[sided{side, full}] = holdsOf(found, full)
}

// holdCount returns the number of holds of a step's snapshot; math.MaxInt64 if it is not
// known.
func (j *job) holdCount(s *record.Step) int64 {
	if n, known := j.holdCounts[sided{s.Side, s.Dataset + "@" + s.Snapshot}]; known {
		return n
	}
	return math.MaxInt64
}

// released reports whether an IfHeld step has nothing to release, because its snapshot is
// known to have no holds, or not this one.
func (j *job) released(s *record.Step) bool {
	return s.IfHeld && (j.hasPinAlone(s) || j.holdCount(s) == 0)
}

// asker is a step that releases a tag if its snapshot has it.
type asker struct {
	j *job
	s *record.Step
}

func (a asker) full() string { return a.s.Dataset + "@" + a.s.Snapshot }

// listTags asks for the tags on the snapshots that IfHeld steps release and that may be
// held, with one program for each host that has such snapshots.
func listTags(ctx context.Context, batch []*job) {
	var askers groups.Of[*zfs.Host, asker]
	for _, j := range batch {
		if j.r.Error != nil {
			continue
		}
		for _, i := range j.later {
			if s := &j.r.Steps[i]; s.IfHeld && !j.released(s) {
				askers.Add(j.side(s), asker{j, s})
			}
		}
	}
	noteTags(&askers, func(host *zfs.Host, list []asker) (map[string][]string, error) {
		counts := map[string]int64{}
		for _, a := range list {
			counts[a.full()] = a.j.holdCount(a.s)
		}
		holders, err := host.Holds(ctx, counts)
		return zfs.TagsOf(holders), err
	})
}

// lookAtTags asks, for a dry run, for the tags on the snapshots that IfHeld steps release,
// with two programs at most for each host.
func lookAtTags(ctx context.Context, batch []*job) {
	var askers groups.Of[*zfs.Host, asker]
	for _, j := range batch {
		for i := range j.r.Steps {
			if s := &j.r.Steps[i]; s.IfHeld && !j.hasPinAlone(s) {
				askers.Add(j.side(s), asker{j, s})
			}
		}
	}
	noteTags(&askers, func(host *zfs.Host, list []asker) (map[string][]string, error) {
		var snapshots []string
		for _, a := range list {
			snapshots = append(snapshots, a.full())
		}
		return host.Tags(ctx, snapshots)
	})
}

// noteTags notes the tags on the snapshots of the steps, for which it asks each host once.
func noteTags(askers *groups.Of[*zfs.Host, asker], ask func(*zfs.Host, []asker) (map[string][]string, error)) {
	for host, list := range askers.All() {
		tags, err := ask(host, list)
		if err != nil {
			list[0].j.x.env.Verbosef("cannot list the holds on %s: %s", host, err)
			continue
		}
		for _, a := range list {
			a.j.setTags(a.s, tags)
		}
	}
}

// setTags notes the tags on a step's snapshot, of those that were found.
func (j *job) setTags(s *record.Step, found map[string][]string) {
	if j.tags == nil {
		j.tags = map[sided][]string{}
	}
	full := s.Dataset + "@" + s.Snapshot
	j.tags[sided{s.Side, full}] = found[full]
}

// letsGo reports whether an IfHeld step is to release its tag. A run that holds bases by
// pins releases the shared tag, whichever pins are on the snapshot: other targets are
// protected by theirs, and those that have noted that they need no more never look for the
// shared tag. A run without holds leaves it if the pin of another target is on the snapshot,
// since it may stand for that target (P1), and if the tags are not known.
func (j *job) letsGo(s *record.Step) bool {
	// On the source, a pin with the guid of another pool may be for the disk that the
	// target was split off from.
	pin, _ := chain.ParsePin(j.r.Target.OwnTag())
	own := func(tag string) bool {
		return tag == j.r.Target.OwnTag() || tag == pin.Former() || s.Side == record.SideTarget && isPin(j.r, tag)
	}
	tags, known := j.tags[sided{s.Side, s.Dataset + "@" + s.Snapshot}]
	switch {
	case !known:
		return own(s.Tag) || j.r.Target.Pin != "" // it is no error if there is no such tag
	case own(s.Tag):
		return slices.Contains(tags, s.Tag)
	}
	others := slices.ContainsFunc(tags, func(tag string) bool {
		_, _, pin := chain.PinTarget(tag, s.Tag)
		return pin && !own(tag)
	})
	return slices.Contains(tags, s.Tag) && (!others || j.r.Target.Pin != "")
}

// errorFor returns the part about one snapshot or dataset of the error of a program that
// worked on many; nil if there is none. zfs names the object in each line; a line that
// names none is about all of them.
func errorFor(err error, name string) error {
	var e *zfs.Error
	if err == nil || !errors.As(err, &e) {
		return err
	}
	return e.Of(name, func(n string) bool { return strings.Contains(n, "@") == strings.Contains(name, "@") })
}
