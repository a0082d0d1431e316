package xfer

import (
	"context"
	"slices"

	"zab/lib/record"
	"zab/lib/zfs"
)

// This file makes and destroys bookmarks, each looked at just before: one look
// for all records, one program that makes them, and one for each that is
// destroyed, for zfs takes no more.

// bookmarks does the bookmark steps of records whose steps before were done.
func bookmarks(ctx context.Context, batch []*job) {
	type todo struct {
		j *job
		i int
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
			byHost[host] = append(byHost[host], todo{j, i})
			if s.Do == record.DoBookmark {
				names[host] = append(names[host], s.Dataset+bookmarkOf(s), s.Dataset+"#"+s.To)
			} else {
				names[host] = append(names[host], s.Dataset+s.From)
			}
		}
	}
	for host, all := range byHost {
		found, err := host.Find(ctx, names[host])
		var todo []zfs.Mark
		for _, t := range all {
			if s := &t.j.r.Steps[t.i]; err == nil && s.Do == record.DoBookmark && wants(s, found) == nil {
				if m := markOf(s); found[m.Full()].GUID == "" {
					todo = append(todo, m)
				}
			}
		}
		failed := host.Bookmarks(ctx, todo)
		for _, t := range all {
			if t.j.r.Error != nil {
				continue
			}
			s, e := &t.j.r.Steps[t.i], err
			switch {
			case e != nil:
				e = because(e, "cannot look at the bookmarks of '%s'", s.Dataset)
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

// markOf is the bookmark that a step makes.
func markOf(s *record.Step) zfs.Mark {
	return zfs.Mark{Dataset: s.Dataset, Of: bookmarkOf(s), Name: s.To}
}

// wants is what is against a bookmark step, by what was found.
func wants(s *record.Step, found map[string]zfs.Row) error {
	of, mark := s.Dataset+bookmarkOf(s), markOf(s).Full()
	guid := bookmarkGUID(s)
	old, exists := found[mark]
	orig, ok := found[of]
	switch {
	case exists && old.GUID != guid:
		return failf(zfs.KindExists, "cannot make the bookmark '%s': one of that name marks another snapshot", mark)
	case !exists && !ok:
		return failf(KindMovedOn, "cannot make the bookmark '%s': '%s' is not there any more", mark, of)
	case !exists && orig.GUID != guid:
		return failf(KindMovedOn, "cannot make the bookmark '%s': '%s' is another snapshot than when the plan was made", mark, of)
	}
	return nil
}

// bookmark notes what became of a bookmark; one of that name and guid is as
// good as one that was made.
func (j *job) bookmark(i int, found map[string]zfs.Row, failed map[string]error) error {
	s := &j.r.Steps[i]
	if err := wants(s, found); err != nil {
		return err
	}
	mark, guid := markOf(s).Full(), bookmarkGUID(s)
	if err := failed[mark]; err != nil {
		return because(err, "cannot make the bookmark '%s'", mark)
	}
	old, exists := found[mark]
	if !exists {
		old = found[s.Dataset+bookmarkOf(s)]
	}
	_, list := j.lists(s.Side)
	insert(list, record.Snapshot{Name: s.To, GUID: guid, CreateTXG: old.CreateTXG})
	res := j.result(i)
	res.Done, res.GUID, res.To = true, guid, s.To
	return nil
}

// unbookmark destroys a bookmark of ours that no target starts from any more.
func (j *job) unbookmark(ctx context.Context, host *zfs.Host, i int, found map[string]zfs.Row) error {
	s := &j.r.Steps[i]
	name := s.From[1:]
	row, exists := found[s.Dataset+s.From]
	switch {
	case exists && row.GUID != s.GUID:
		return failf(KindMovedOn, "cannot destroy the bookmark '%s': it marks another snapshot than when the plan was made", s.Dataset+s.From)
	case exists:
		if err := host.DestroyBookmark(ctx, s.Dataset, name); err != nil {
			return because(err, "cannot destroy the bookmark '%s'", s.Dataset+s.From)
		}
	}
	_, list := j.lists(s.Side)
	*list = slices.DeleteFunc(*list, func(b record.Snapshot) bool { return b.Name == name })
	j.result(i).Done = true
	return nil
}
