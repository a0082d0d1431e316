package plan

import (
	"slices"
	"strings"

	"zab/lib/chain"
	"zab/lib/dataset"
	"zab/lib/record"
)

// unmarked reports whether nothing is to be sent, but the base still needs a bookmark,
// so that the pool's guid must be read.
func (p *planner) unmarked(d *draft) bool {
	return d.r.Error == nil && d.has && len(d.wanted) == 0 && p.bookmarksBase(d) &&
		!slices.ContainsFunc(chain.Marks(d.r.Bookmarks), func(m chain.Mark) bool { return m.GUID == d.base.GUID })
}

// newBase returns the newest common snapshot after the run, and what a bookmark of it is
// made of: a snapshot's name, or a bookmark's with its leading #.
func (d *draft) newBase() (to record.Snapshot, of string) {
	switch {
	case len(d.wanted) > 0:
		to = d.newest()
		return to, to.Name
	case d.has:
		return record.Snapshot{Name: strings.TrimPrefix(d.base.Source, "#"), GUID: d.base.GUID}, d.base.Source
	}
	return to, ""
}

// bookmarksBase reports whether the base is kept on the source by a bookmark. The name of
// a bookmark is longer than that of its snapshot, and where it would be too long, the
// snapshot is held as without --bookmark. A snapshot that has a bookmark of ours never
// needs a longer name: see bookmarks.
func (p *planner) bookmarksBase(d *draft) bool {
	if !p.o.Bookmark {
		return false
	}
	to, _ := d.newBase()
	return fits(d.r.Name, chain.MarkName(to.Name, []string{chain.TargetKey("")})) ||
		slices.ContainsFunc(chain.Marks(d.r.Bookmarks), func(m chain.Mark) bool { return m.GUID == to.GUID })
}

// fits reports whether a bookmark's name with that of its dataset is short enough.
func fits(of, name string) bool {
	_, err := dataset.ParseBookmark(of + "#" + name)
	return err == nil
}

// bookmarks returns the steps after which exactly one bookmark of ours has the key of
// this target: that of the newest common snapshot. Other targets that start from the
// same snapshot share the bookmark, unless its name would be too long. The bookmark is also
// corrected if nothing is sent.
func (p *planner) bookmarks(d *draft) []record.Step {
	r := d.r
	mine := p.targetPin(d.naming)
	if !p.o.Bookmark || mine.String() == "" || !d.has && len(d.wanted) == 0 || !p.asked && p.o.TargetState == "" {
		return nil
	}
	to, of := d.newBase()
	bookmarked := p.bookmarksBase(d)
	if !bookmarked && len(d.wanted) > 0 {
		stays := "is held instead"
		if p.o.NoHolds {
			stays = "has to stay on the source"
		}
		r.Warn("the snapshot '%s' gets no bookmark and %s: the bookmark's name would be longer than %d bytes; --snapshot-format can give a shorter one", to.Full(r.Name), stays, dataset.MaxName)
	}
	key, former := chain.TargetKey(mine.String()), ""
	if f := mine.Former(); f != "" {
		former = chain.TargetKey(f)
	}
	var steps, gone []record.Step
	bookmark := func(of, guid, name string) {
		s := record.Step{Do: record.DoBookmark, Side: record.SideSource, Dataset: r.Name, GUID: guid, To: name}
		if strings.HasPrefix(of, "#") {
			s.From = of
		} else {
			s.Snapshot = of
		}
		steps = append(steps, s)
	}
	drop := func(m chain.Mark) {
		gone = append(gone, record.Step{Do: record.DoUnbookmark, Side: record.SideSource, Dataset: r.Name, From: "#" + m.Name, GUID: m.GUID})
	}
	marked := slices.ContainsFunc(chain.Marks(r.Bookmarks), func(m chain.Mark) bool { return m.GUID == to.GUID && m.Has(key) && !m.Has(former) })
	for _, m := range chain.Marks(r.Bookmarks) {
		switch own := m.Has(key) || m.Has(former); {
		case m.GUID == to.GUID && m.Has(key) && !m.Has(former): // it stays as it is
		case m.GUID == to.GUID && (!marked || own):
			if name := m.With(key, former); fits(r.Name, name) {
				bookmark("#"+m.Name, m.GUID, name)
				drop(m)
			} else {
				// Its own is no longer than the one that the others keep.
				bookmark("#"+m.Name, m.GUID, chain.MarkName(m.Snapshot, []string{key}))
			}
			marked = true
		case m.GUID != to.GUID && own:
			if name := m.Without(key, former); name != "" {
				bookmark("#"+m.Name, m.GUID, name)
			}
			drop(m)
		}
	}
	if !marked && bookmarked {
		bookmark(of, to.GUID, chain.MarkName(to.Name, []string{key}))
	}
	return append(steps, gone...)
}
