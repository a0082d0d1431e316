package plan

import (
	"slices"
	"strings"

	"zab/lib/chain"
	"zab/lib/record"
)

// unmarked reports whether nothing is to be sent, but the base still needs a bookmark,
// so that the pool's guid must be read.
func (p *planner) unmarked(d *draft) bool {
	return p.o.Bookmark && d.r.Error == nil && d.has && len(d.wanted) == 0 &&
		!slices.ContainsFunc(chain.Marks(d.r.Bookmarks), func(m chain.Mark) bool { return m.GUID == d.base.GUID })
}

// bookmarks returns the steps after which exactly one bookmark of ours has the key of
// this target: that of the newest common snapshot. Other targets that start from the
// same snapshot share the bookmark. The bookmark is also corrected if nothing is sent.
func (p *planner) bookmarks(d *draft) []record.Step {
	r := d.r
	mine := p.targetPin(d.naming)
	if !p.o.Bookmark || mine.String() == "" || !d.has && len(d.wanted) == 0 || !p.asked && p.o.TargetState == "" {
		return nil
	}
	key, former := chain.TargetKey(mine.String()), ""
	if f := mine.Former(); f != "" {
		former = chain.TargetKey(f)
	}
	to, of := record.Snapshot{}, d.base.Source // with a leading # if it is a bookmark
	if d.has {
		to = record.Snapshot{Name: strings.TrimPrefix(of, "#"), GUID: d.base.GUID}
	}
	if len(d.wanted) > 0 {
		to = d.newest()
		of = to.Name
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
	marked := false
	for _, m := range chain.Marks(r.Bookmarks) {
		switch own := m.Has(key) || m.Has(former); {
		case m.GUID == to.GUID && m.Has(key) && !m.Has(former):
			marked = true
		case m.GUID == to.GUID && (!marked || own):
			bookmark("#"+m.Name, m.GUID, m.With(key, former))
			drop(m)
			marked = true
		case m.GUID != to.GUID && own:
			if name := m.Without(key, former); name != "" {
				bookmark("#"+m.Name, m.GUID, name)
			}
			drop(m)
		}
	}
	if !marked {
		bookmark(of, to.GUID, chain.MarkName(to.Name, []string{key}))
	}
	return append(steps, gone...)
}
