package xfer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"zab/lib/chain"
	"zab/lib/dataset"
	"zab/lib/record"
	"zab/lib/zfs"
)

// This file makes and destroys bookmarks, each looked up just before: one listing for all
// records of a host, few programs that make them, and one for each that is destroyed,
// since zfs destroys only one at a time.

func checkBookmark(r *record.Record, s *record.Step, dry bool) error {
	return errors.Join(isSided(r, s), need("to", s.To), need("snapshot", s.Snapshot+s.From), needGUID("guid", bookmarkGUID(s), dry))
}

func (j *job) showBookmark(_ context.Context, i, _ int) ([]string, error) {
	s := &j.r.Steps[i]
	return shown(j.side(s), zfs.BookmarkArgv(s.Dataset, bookmarkOf(s), s.To))
}

func checkUnbookmark(r *record.Record, s *record.Step, _ bool) error {
	if !isBookmark(s.From) {
		return fmt.Errorf("%q is not a bookmark", s.From)
	}
	return errors.Join(isSided(r, s), need("guid", s.GUID))
}

func (j *job) showUnbookmark(_ context.Context, i, _ int) ([]string, error) {
	s := &j.r.Steps[i]
	return shown(j.side(s), zfs.DestroyBookmarkArgv(s.Dataset, s.From[1:]))
}

// bookmarkOf returns the snapshot or bookmark from which a step makes its bookmark, with
// the leading @ or #.
func bookmarkOf(s *record.Step) string {
	switch {
	case s.Snapshot != "":
		return "@" + s.Snapshot
	case isBookmark(s.From):
		return s.From
	}
	return "@" + s.From
}

func bookmarkGUID(s *record.Step) string {
	if s.GUID != "" {
		return s.GUID
	}
	return s.FromGUID
}

// bookmarks executes the bookmark and unbookmark steps of the records without an error.
func bookmarks(ctx context.Context, batch []*job) {
	type todo struct {
		j *job
		i int
		// refused is why the step cannot be done with the names that it has.
		refused error
	}
	byHost := map[*zfs.Host][]todo{}
	names := map[*zfs.Host][]string{}
	for _, j := range batch {
		if j.r.Error != nil {
			continue
		}
		for _, i := range j.later {
			s := &j.r.Steps[i]
			if s.Do != record.DoBookmark && s.Do != record.DoUnbookmark {
				continue
			}
			host := j.side(s)
			mine, err := j.pointsOf(s)
			byHost[host] = append(byHost[host], todo{j, i, err})
			names[host] = append(names[host], mine...)
		}
	}
	for host, all := range byHost {
		var found map[string]zfs.Row
		var failed map[string]error
		var err error
		// A second time if a bookmark was to be made from one that has gone meanwhile.
		for again, tries := true, 0; again && tries < 2; tries++ {
			found, err = host.Find(ctx, names[host])
			var todo []zfs.Mark
			for _, t := range all {
				if s := &t.j.r.Steps[t.i]; err == nil && t.refused == nil && s.Do == record.DoBookmark {
					if m, err := t.j.toMake(s, found); err == nil && m != nil {
						todo = append(todo, *m)
					}
				}
			}
			failed = host.Bookmarks(ctx, todo)
			again = slices.ContainsFunc(todo, func(m zfs.Mark) bool { return isBookmark(m.Of) && failed[m.Full()] != nil })
		}
		for _, t := range all {
			if t.j.r.Error != nil {
				continue
			}
			s, e := &t.j.r.Steps[t.i], err
			switch {
			case t.refused != nil:
				e = t.refused
			case e != nil:
				e = wrap(e, "cannot look at the bookmarks of '%s'", s.Dataset)
			case s.Do == record.DoBookmark:
				e = t.j.bookmark(t.i, found, failed)
			default:
				e = t.j.unbookmark(ctx, host, t.i, found)
			}
			if e != nil {
				t.j.result(t.i).Message = e.Error()
				if !t.j.readOnly(s, e) {
					fail(t.j.r, e)
				}
			}
		}
	}
}

// pointsOf returns the full names that a step is about, to be looked up. A full name can be
// too long even if each part of it is a name; such a step fails alone, since zfs would not
// be asked for any of the names if one of them was no name.
func (j *job) pointsOf(s *record.Step) (names []string, err error) {
	what := "destroy"
	if s.Do == record.DoBookmark {
		what = "make"
		names = append(names, s.Dataset+"#"+s.To, s.Dataset+bookmarkOf(s))
		if snapshot := j.snapshotOf(s); snapshot != "" {
			names = append(names, s.Dataset+snapshot)
		}
	} else {
		names = append(names, s.Dataset+s.From)
	}
	for _, n := range names {
		if _, err := dataset.ParsePoint(n); err != nil {
			return nil, failf(record.KindBadArgument, "cannot %s the bookmark '%s': %s", what, names[0], err)
		}
	}
	return names, nil
}

// snapshotOf returns, for a step that makes a bookmark from another bookmark, the
// snapshot on the source that both mark, with its @; "" if there is none.
func (j *job) snapshotOf(s *record.Step) string {
	if s.Side != record.SideSource || !isBookmark(bookmarkOf(s)) {
		return ""
	}
	for _, n := range j.r.Snapshots {
		if n.GUID == bookmarkGUID(s) {
			return "@" + n.Name
		}
	}
	return ""
}

func isBookmark(of string) bool { return strings.HasPrefix(of, "#") }

// toMake returns the bookmark that a step still has to make, given the snapshots and
// bookmarks that were found; nil if none is needed.
//
// The bookmark to make it from may be gone, because a run to another target moved on
// meanwhile: then it is made from the snapshot. If that is gone too, a bookmark that is
// for other targets alone is not made: the run that destroyed the one to make it from has
// made another for them first.
func (j *job) toMake(s *record.Step, found map[string]zfs.Row) (*zfs.Mark, error) {
	guid := bookmarkGUID(s)
	m := &zfs.Mark{Dataset: s.Dataset, Of: bookmarkOf(s), Name: s.To}
	if old, exists := found[m.Full()]; exists {
		if old.GUID != guid {
			return nil, failf(record.KindExists, "cannot make the bookmark '%s': one of that name marks another snapshot", m.Full())
		}
		return nil, nil
	}
	if _, ok := found[s.Dataset+m.Of]; !ok && isBookmark(m.Of) {
		snapshot := j.snapshotOf(s)
		if _, ok := found[s.Dataset+snapshot]; ok {
			m.Of = snapshot
		} else if j.forOthers(s) {
			return nil, nil
		}
	}
	switch of, ok := found[s.Dataset+m.Of]; {
	case !ok:
		return nil, failf(record.KindMovedOn, "cannot make the bookmark '%s': '%s' is not there any more", m.Full(), s.Dataset+m.Of)
	case of.GUID != guid:
		return nil, failf(record.KindMovedOn, "cannot make the bookmark '%s': '%s' is another snapshot than when the plan was made", m.Full(), s.Dataset+m.Of)
	}
	return m, nil
}

// forOthers reports whether a step makes a bookmark of ours from which only targets other
// than the record's start.
func (j *job) forOthers(s *record.Step) bool {
	marks := chain.Marks([]record.Snapshot{{Name: s.To}})
	return s.Side == record.SideSource && len(marks) == 1 && !marks[0].Has(chain.TargetKey(j.r.Target.OwnTag()))
}

// bookmark puts the result of a bookmark step into the record. An existing bookmark of
// the same name and guid is as good as a new one.
func (j *job) bookmark(i int, found map[string]zfs.Row, failed map[string]error) error {
	s := &j.r.Steps[i]
	m, err := j.toMake(s, found)
	if err != nil {
		return err
	}
	full := zfs.Mark{Dataset: s.Dataset, Name: s.To}.Full()
	if err := failed[full]; err != nil {
		return wrap(err, "cannot make the bookmark '%s'", full)
	}
	res := j.result(i)
	row, exists := found[full]
	if m != nil {
		row, exists = found[m.Dataset+m.Of]
	}
	if !exists {
		res.Message = "'" + s.Dataset + bookmarkOf(s) + "' is not there any more"
		j.r.Warn("the bookmark '%s', from which other targets start, is not there any more, and neither is its snapshot: unless a run to one of them destroyed it, they may have to be sent in full", s.Dataset+bookmarkOf(s))
		return nil
	}
	_, list := j.lists(s.Side)
	insert(list, record.Snapshot{Name: s.To, GUID: bookmarkGUID(s), CreateTXG: row.CreateTXG})
	res.Done, res.GUID, res.To = true, bookmarkGUID(s), s.To
	return nil
}

// unbookmark destroys a bookmark of ours that no target starts from any more.
func (j *job) unbookmark(ctx context.Context, host *zfs.Host, i int, found map[string]zfs.Row) error {
	s := &j.r.Steps[i]
	name := s.From[1:]
	row, exists := found[s.Dataset+s.From]
	switch {
	case exists && row.GUID != s.GUID:
		return failf(record.KindMovedOn, "cannot destroy the bookmark '%s': it marks another snapshot than when the plan was made", s.Dataset+s.From)
	case exists:
		if err := host.DestroyBookmark(ctx, s.Dataset, name); err != nil {
			return wrap(err, "cannot destroy the bookmark '%s'", s.Dataset+s.From)
		}
	}
	_, list := j.lists(s.Side)
	*list = slices.DeleteFunc(*list, func(b record.Snapshot) bool { return b.Name == name })
	j.result(i).Done = true
	return nil
}
