package plan

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"zab/lib/dataset"
	"zab/lib/record"
	"zab/lib/zfs"
)

// This file finds the copy of a source that was renamed, or moved to another pool: the
// dataset below the target that has a snapshot with the guid of one of the source's.
// The record says where that copy is. With --follow-renames the copy is renamed, with
// its descendants, to the name under which it would be received now.
//
// A rename is one transaction of zfs, and the copy has the same guid under both names:
// a run that dies before or after the rename leaves nothing that the next plan does not
// find by itself. So nothing is marked beforehand.
//
// All renames are first done in the known state of the target, in the order in which
// zab-xfer will do them, and the plans are made for that state.

// candidate is a dataset that has snapshots of a source.
type candidate struct {
	// at is the dataset, from its name when the target was listed.
	at   *record.Record
	from string
	// base is the index in at.Snapshots of the newest common snapshot, txg its
	// createtxg on the source.
	base int
	txg  uint64
}

// elsewhere has the datasets under other names that may be the copy of a record.
type elsewhere struct {
	d   *draft
	all []candidate
	// candidate is the dataset taken for the copy, other the name of another dataset
	// that is as near to the source.
	candidate
	other string
	// why is the reason why the copy cannot be renamed; "" if it can.
	why string
	// foreign reports whether the copy came from a pool that has no part in this run.
	foreign bool
}

// lacks reports whether a draft has something to send and no copy in its place that can
// take an increment, so that a copy elsewhere is of interest.
func lacks(d *draft) bool {
	return d.r.Error == nil && !d.has && d.unfinished == nil && len(d.wanted) > 0
}

// findMoved finds the copies of sources that have none in their place. With
// --follow-renames it also renames them in the known state of the target. It returns
// the drafts in the order in which they must be planned.
func (p *planner) findMoved(ctx context.Context, list []*draft) ([]*draft, error) {
	found := p.search(list)
	if len(found) == 0 {
		return list, nil
	}
	if err := p.readCandidates(ctx, found); err != nil {
		return nil, err
	}
	p.judge(found)
	if p.o.FollowRenames {
		list = p.followAll(list, found)
	}
	for _, e := range found {
		e.tell(p)
	}
	return list, nil
}

// unplannedTargets returns the target names of the sources that are not planned in this run,
// such as those that were left out or failed, each with the name of the source.
func (p *planner) unplannedTargets(all []*record.Record, names map[*record.Record]string) map[string]string {
	out := map[string]string{}
	for _, r := range all {
		if r.Type != record.TypeDataset {
			continue
		}
		name := names[r]
		if name == "" && r.Excluded {
			name, _ = dataset.TargetName(r.Name, p.inv.target, p.o.StripPath)
		}
		if name != "" && p.drafts[name] == nil {
			out[name] = r.Name
		}
	}
	return out
}

// search returns the drafts that lack a copy in their place, with the datasets of the
// target that have snapshots of their sources. It goes through the target's snapshots
// once, and only if a draft lacks its copy.
func (p *planner) search(list []*draft) (found []*elsewhere) {
	type point struct {
		d   *draft
		txg uint64
	}
	free := func(n string) bool {
		r := p.inv.datasets[n]
		if n == p.inv.target || r == nil || r.Name != n || len(r.Snapshots) == 0 || p.inv.aside(n) || strings.Contains(n, "%") {
			return false
		}
		d := p.drafts[n]
		return p.unplanned[n] == "" && (d == nil || lacks(d)) // else the copy of another source
	}
	if !slices.ContainsFunc(list, lacks) || !slices.ContainsFunc(p.inv.order, free) {
		return nil
	}
	want := map[string][]point{}
	for _, d := range list {
		if !lacks(d) {
			continue
		}
		for _, s := range slices.Concat(d.r.Snapshots, d.r.Bookmarks) {
			if s.GUID != "" {
				want[s.GUID] = append(want[s.GUID], point{d, s.TXG()})
			}
		}
	}
	if len(want) == 0 {
		return nil
	}
	best := map[*draft]*elsewhere{}
	for _, n := range p.inv.order {
		if !free(n) {
			continue
		}
		r := p.inv.datasets[n]
		for i := range r.Snapshots {
			for _, w := range want[r.Snapshots[i].GUID] {
				if n == w.d.r.Target.Name {
					continue
				}
				e := best[w.d]
				if e == nil {
					e = &elsewhere{d: w.d}
					best[w.d] = e
					found = append(found, e)
				}
				c := candidate{r, n, i, w.txg}
				if last := len(e.all) - 1; last < 0 || e.all[last].at != r {
					e.all = append(e.all, c)
				} else if w.txg >= e.all[last].txg {
					e.all[last] = c
				}
			}
		}
	}
	// In the order of the target names.
	slices.SortFunc(found, func(a, b *elsewhere) int { return strings.Compare(a.d.r.Target.Name, b.d.r.Target.Name) })
	return found
}

// readCandidates reads the facts of all candidates and, if they are to be renamed, of
// their descendants and of the datasets above their new names. It runs one program.
func (p *planner) readCandidates(ctx context.Context, found []*elsewhere) error {
	var set []*record.Record
	for _, e := range found {
		for _, c := range e.all {
			set = append(set, c.at)
			if p.o.FollowRenames {
				for _, n := range p.inv.below(c.from) {
					set = append(set, p.inv.datasets[n])
				}
			}
		}
		if p.o.FollowRenames {
			// The encryption root of the dataset above decides whether the copy keeps
			// its key.
			set = append(set, p.inv.nearest(e.d.r.Target.Name))
		}
	}
	if err := p.inv.readFacts(ctx, set); err != nil {
		return p.unreadFacts(err)
	}
	return nil
}

// lastPool returns the guid of the pool that a copy came from last, by its mark; "" if
// it has no mark.
func lastPool(f *record.Facts) string { return f.From[strings.LastIndexByte(f.From, ',')+1:] }

// foreign reports whether a copy came from a pool of which no dataset takes part in
// this run, so that it may be the backup of another machine.
func (p *planner) foreign(f *record.Facts) bool {
	from := lastPool(f)
	return from != "" && len(p.sourcePools) > 0 && !p.sourcePools[from]
}

// pick takes the candidate with the newest common snapshot for the copy, and one of
// another machine only if there is no other.
func (e *elsewhere) pick(p *planner) {
	for _, c := range e.all {
		foreign := p.foreign(&c.at.Facts)
		switch {
		case e.at == nil, e.foreign && !foreign, e.foreign == foreign && c.txg > e.txg:
			e.candidate, e.foreign, e.other = c, foreign, ""
		case e.foreign == foreign && c.txg == e.txg:
			e.other = c.from
		}
	}
}

// judge picks the copy of each record, and sets why where it may not be the copy of
// that source alone.
func (p *planner) judge(found []*elsewhere) {
	of := map[string]*elsewhere{}
	for _, e := range found {
		e.pick(p)
		switch o := of[e.from]; {
		case e.foreign:
			e.why = fmt.Sprintf("it came from the pool with the guid %s, of which nothing is backed up by this run: it may be another machine's", lastPool(&e.at.Facts))
		case e.other != "":
			e.why = fmt.Sprintf("'%s' is as good a copy of it", e.other)
		case o == nil:
			of[e.from] = e
		case o.txg == e.txg:
			o.why = fmt.Sprintf("it is as well the copy of '%s'", e.d.r.Name)
			e.why = fmt.Sprintf("it is as well the copy of '%s'", o.d.r.Name)
		case o.txg > e.txg:
			e.why = fmt.Sprintf("it is the copy of '%s'", o.d.r.Name)
		default:
			o.why, of[e.from] = fmt.Sprintf("it is the copy of '%s'", e.d.r.Name), e
		}
	}
	if !p.partial {
		return
	}
	for _, e := range found {
		if e.why == "" {
			e.why = "only a part of the source was searched, and it may be the copy of a dataset elsewhere"
		}
	}
}

// tell notes in the record where the copy is, and warns if a full stream is sent
// although there is a copy.
func (e *elsewhere) tell(p *planner) {
	d := e.d
	r, t := d.r, d.r.Target
	t.Elsewhere = e.from
	if d.has || r.Error != nil {
		return // the copy is renamed, or the record has failed
	}
	t.ElsewhereGUID = e.at.Snapshots[e.base].GUID
	p.movedCopies[e.from] = r.Name
	if !e.foreign {
		d.copyAt, d.refused = e.from, e.why
	}
	if len(d.wanted) == 0 || t.Exists || p.o.FollowRenames && !e.foreign {
		return // nothing is sent, or a conflict tells where the copy is
	}
	was := "has another name now"
	if p.o.StripPath == 0 {
		was = fmt.Sprintf("was '%s'", strings.TrimPrefix(e.from, p.inv.target+"/"))
	}
	rename := zfs.Quote(zfs.RenameArgv(e.at.Kind, e.from, t.Name)...)
	m := fmt.Sprintf("'%s' %s: its copy is '%s': a full stream is sent; ", r.Name, was, e.from)
	switch {
	case e.foreign:
		m = fmt.Sprintf("'%s' has snapshots of '%s', but %s: a full stream is sent; if it is the copy of '%s' all the same, '%s' before makes it incremental", e.from, r.Name, e.why, r.Name, rename)
	case e.why != "":
		m += fmt.Sprintf("'zfs rename' before would make it incremental, but %s", e.why)
	default:
		m += fmt.Sprintf("'%s' before, or --follow-renames, makes it incremental", rename)
	}
	d.loud = append(d.loud, m)
	r.Warn("%s", m)
}

// notFollowed returns the conflict of a copy that cannot be renamed to its place.
func (p *planner) notFollowed(d *draft) *record.Conflict {
	t := d.r.Target
	return &record.Conflict{Kind: record.ConflictRenamed,
		Message: fmt.Sprintf("its copy is '%s', which cannot be renamed to '%s': %s", d.copyAt, t.Name, d.refused),
		Remedies: []string{
			fmt.Sprintf("rename it with '%s', when nothing is in the way", zfs.Quote("zfs", "rename", d.copyAt, t.Name)),
			"leave out --follow-renames to send it in full",
		}}
}

// misplaced adds to a conflict that the record's own copy has another name, if it has
// one.
func (d *draft) misplaced(c *record.Conflict) *record.Conflict {
	if d.copyAt == "" {
		return c
	}
	c.Message += fmt.Sprintf("; its own copy is '%s', for it was renamed", d.copyAt)
	first := "--follow-renames to give the copies the names of their sources"
	if d.refused != "" {
		c.Message += fmt.Sprintf(", and that cannot be renamed: %s", d.refused)
		first = fmt.Sprintf("rename the copies with 'zfs rename', one of them to another name first, such as '%s'", zfs.Quote("zfs", "rename", d.copyAt, d.copyAt+"-renamed"))
	}
	c.Remedies = slices.Insert(c.Remedies, 0, first)
	return c
}
