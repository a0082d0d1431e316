package plan

import (
	"context"
	"errors"
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

// follow is the rename that a record needs.
type follow struct {
	// from is the dataset to rename, to its new name: the copy and its place, or
	// filesystems above both that were made only to be above copies.
	from, to string
	guid     string
	parents  []string // to be made before, outermost first
}

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
	return d.r.Error == nil && !d.has && d.begun == nil && len(d.wanted) > 0
}

// findMoved finds the copies of sources that have none in their place. With
// --follow-renames it also renames them in the known state of the target. It returns
// the drafts in the order in which they must be planned.
func (p *planner) findMoved(ctx context.Context, host *zfs.Host, list []*draft) ([]*draft, error) {
	found := p.search(list)
	if len(found) == 0 {
		return list, nil
	}
	if err := p.lookAt(ctx, host, found); err != nil {
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

// heldPlaces returns the target names of the sources that are not planned in this run,
// such as those that were left out or failed, each with the name of the source.
func (p *planner) heldPlaces(all []*record.Record, names map[*record.Record]string) map[string]string {
	out := map[string]string{}
	for _, r := range all {
		if r.Type != record.TypeDataset {
			continue
		}
		name := names[r]
		if name == "" && r.Excluded {
			name, _ = dataset.TargetName(r.Name, p.target, p.o.StripPath)
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
		r := p.state.datasets[n]
		if n == p.target || r == nil || r.Name != n || len(r.Snapshots) == 0 || p.state.aside(n) || strings.Contains(n, "%") {
			return false
		}
		d := p.drafts[n]
		return p.held[n] == "" && (d == nil || lacks(d)) // else the copy of another source
	}
	if !slices.ContainsFunc(list, lacks) || !slices.ContainsFunc(p.state.order, free) {
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
	for _, n := range p.state.order {
		if !free(n) {
			continue
		}
		r := p.state.datasets[n]
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

// lookAt reads the facts of all candidates and, if they are to be renamed, of their
// descendants and of the datasets above their new names. It runs one program.
func (p *planner) lookAt(ctx context.Context, host *zfs.Host, found []*elsewhere) error {
	if p.state.complete {
		return nil
	}
	var names []string
	ask := func(n string) {
		if !p.state.asked[n] {
			p.state.asked[n] = true
			names = append(names, n)
		}
	}
	for _, e := range found {
		for _, c := range e.all {
			ask(c.from)
			if p.o.FollowRenames {
				for _, n := range p.state.below(c.from) {
					ask(n)
				}
			}
		}
		if p.o.FollowRenames {
			// The encryption root of the dataset above decides whether the copy keeps
			// its key.
			if n := p.state.nearest(e.d.r.Target.Name); n != nil {
				ask(n.Name)
			}
		}
	}
	got, err := host.Get(ctx, zfs.FactProps, names, false)
	if err != nil && zfs.KindOf(err) != record.KindNotFound {
		return fmt.Errorf("cannot read the properties of the target '%s': %w", p.target, err)
	}
	for i := range got {
		if r := p.state.datasets[got[i].Name]; r != nil {
			r.Facts = got[i].Facts()
		}
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
	return from != "" && len(p.pools) > 0 && !p.pools[from]
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
	p.copies[e.from] = r.Name
	if !e.foreign {
		d.copyAt, d.refused = e.from, e.why
	}
	if len(d.wanted) == 0 || t.Exists || p.o.FollowRenames && !e.foreign {
		return // nothing is sent, or a conflict tells where the copy is
	}
	was := "has another name now"
	if p.o.StripPath == 0 {
		was = fmt.Sprintf("was '%s'", strings.TrimPrefix(e.from, p.target+"/"))
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

// followAll renames all copies that can be renamed, in the known state of the target
// and in an order that works. It returns the drafts in that order.
func (p *planner) followAll(list []*draft, found []*elsewhere) []*draft {
	of := map[*draft]*elsewhere{}
	for _, e := range found {
		if e.why == "" {
			of[e.d] = e
		}
	}
	for {
		order, ring := p.sorted(list, of)
		if ring == nil {
			list = order
			break
		}
		var sources []string
		for _, e := range ring {
			sources = append(sources, "'"+e.d.r.Name+"'")
		}
		slices.Sort(sources)
		for _, e := range ring {
			e.why = "the names were exchanged between " + strings.Join(sources, " and ")
			delete(of, e.d)
		}
	}
	key := map[*record.Record]string{} // the name that each dataset has by now
	for _, n := range p.state.order {
		key[p.state.datasets[n]] = n
	}
	for i, d := range list {
		e := of[d]
		if e == nil {
			continue
		}
		name := d.r.Target.Name
		if now := key[e.at]; now != name {
			f, err := p.rename(e, now, of, list[:i])
			if err != nil {
				e.why = err.Error()
				continue
			}
			for _, n := range p.state.rename(f.from, f.to) {
				key[p.state.datasets[n]] = n
			}
			d.follow = f
			for _, x := range list {
				if t := x.r.Target.Name; x != d && (dataset.Within(t, f.from) || dataset.Within(t, f.to)) {
					x.needs = append(x.needs, d)
				}
			}
		}
	}
	for _, d := range list {
		e := of[d]
		if len(d.needs) == 0 && d.follow == nil || d.r.Error != nil {
			continue
		}
		// Because of the renames, the target is another dataset now, or none.
		again := p.match(d.r, d.r.Target.Name)
		again.follow, again.needs = d.follow, d.needs
		*d = *again
		p.drafts[d.r.Target.Name] = d
		if e != nil && !d.has && e.why == "" {
			e.why = "it has moved in another way"
		}
	}
	return list
}

// sorted returns the drafts in an order in which parents come before children, and
// renames that make a name free before those that take it. If there is no such order,
// it returns the renames that wait for each other as ring.
func (p *planner) sorted(list []*draft, of map[*draft]*elsewhere) (order []*draft, ring []*elsewhere) {
	// The name that each copy has before it is renamed: its old name, or one below the
	// new name of a copy above it.
	at := map[string]*draft{}
	for d, e := range of {
		at[e.from] = d
	}
	from := map[string][]*draft{}
	for d, e := range of {
		from[e.from] = append(from[e.from], d)
		for i := strings.LastIndexByte(e.from, '/'); i > 0; i = strings.LastIndexByte(e.from[:i], '/') {
			if up := at[e.from[:i]]; up != nil {
				if n := up.r.Target.Name + e.from[i:]; n != d.r.Target.Name {
					from[n] = append(from[n], d)
				}
				break
			}
		}
	}
	const (
		begun = 1
		done  = 2
	)
	state := map[*draft]int{}
	var stack []*draft
	var visit func(d *draft) bool
	visit = func(d *draft) bool {
		switch state[d] {
		case done:
			return true
		case begun:
			for _, x := range stack[slices.Index(stack, d):] {
				if e := of[x]; e != nil {
					ring = append(ring, e)
				}
			}
			return false
		}
		state[d] = begun
		stack = append(stack, d)
		name := d.r.Target.Name
		for i := range len(name) + 1 {
			if i < len(name) && name[i] != '/' {
				continue
			}
			up := name[:i]
			if x := p.drafts[up]; x != nil && x != d && !visit(x) {
				return false
			}
			for _, x := range from[up] {
				if x != d && !d.has && !visit(x) {
					return false
				}
			}
		}
		stack = stack[:len(stack)-1]
		state[d] = done
		order = append(order, d)
		return true
	}
	for _, d := range list {
		if !visit(d) {
			return nil, ring
		}
	}
	return order, nil
}

// rename returns how the copy with the present name now gets to its place, or why it
// cannot.
func (p *planner) rename(e *elsewhere, now string, of map[*draft]*elsewhere, before []*draft) (*follow, error) {
	s := p.state
	from, to := p.widest(now, e.d.r.Target.Name, of)
	switch {
	case dataset.Within(to, from):
		return nil, errors.New("its new name is below its own")
	case s.datasets[to] != nil:
		return nil, fmt.Errorf("'%s' exists", to)
	}
	f := &follow{from: from, to: to, guid: s.datasets[from].GUID}
	if f.guid == "" {
		return nil, errors.New("its guid is not known")
	}
	for _, d := range before {
		if dataset.Within(d.r.Target.Name, from) && s.datasets[d.r.Target.Name] == nil {
			return nil, fmt.Errorf("'%s' is to be received below it", d.r.Target.Name)
		}
	}
	last := lastPool(&e.at.Facts)
	for _, n := range append([]string{from}, s.below(from)...) {
		r := s.datasets[n]
		if d := p.drafts[n]; d != nil && d.has && n != now {
			return nil, fmt.Errorf("'%s' below it is the copy of '%s', which has its name still", n, d.r.Name)
		}
		if src := p.held[n]; src != "" {
			return nil, fmt.Errorf("'%s' below it is in the place of the copy of '%s'", n, src)
		}
		if at := lastPool(&r.Facts); at != last && p.foreign(&r.Facts) {
			return nil, fmt.Errorf("'%s' below it came from another pool, with the guid %s", n, at)
		}
		for _, b := range s.begun {
			if b == r {
				return nil, fmt.Errorf("'%s' below it is being set aside", n)
			}
		}
		if root := r.EncryptionRoot; r.Encrypted() && root != "" && !dataset.Within(root, s.currentName(from)) {
			up := s.nearest(to)
			if up == nil || up.EncryptionRoot != root {
				return nil, fmt.Errorf("'%s' has its key from '%s', which would not be above it any more", n, root)
			}
		}
		longest := len(n)
		for i := range r.Snapshots {
			longest = max(longest, len(r.Snapshots[i].Full(n)))
		}
		if longest-len(from)+len(to) > dataset.MaxName {
			return nil, fmt.Errorf("a name below it would be longer than %d bytes", dataset.MaxName)
		}
	}
	for i := len(p.target) + 1; i < len(to); i++ {
		if up := to[:i]; to[i] == '/' && s.datasets[up] == nil {
			if d := p.drafts[up]; d == nil || !sends(d) {
				f.parents = append(f.parents, up)
			}
		}
	}
	return f, nil
}

// widest returns the old and the new name of the largest tree that can be renamed at
// once to bring the copy to its place. Its top is the copy, or a filesystem above it
// that is no copy itself and whose descendants with snapshots all move to the same
// place, as when the pool of the source has another name.
func (p *planner) widest(from, to string, of map[*draft]*elsewhere) (string, string) {
	for {
		up, last := record.SplitName(from)
		above, now := record.SplitName(to)
		if last != now || up == above || !strings.HasPrefix(up, p.target+"/") || !strings.HasPrefix(above, p.target+"/") {
			return from, to
		}
		r := p.state.datasets[up]
		if r == nil || len(r.Snapshots) > 0 || p.drafts[up] != nil || p.held[up] != "" || p.drafts[above] != nil || p.state.datasets[above] != nil {
			return from, to
		}
		for n := range p.drafts {
			if dataset.Within(n, up) {
				return from, to // a target of this run is there
			}
		}
		for _, n := range p.state.below(up) {
			if len(p.state.datasets[n].Snapshots) == 0 && p.drafts[n] == nil {
				continue
			}
			d := p.drafts[above+n[len(up):]]
			if d == nil || of[d] == nil || of[d].at != p.state.datasets[n] {
				return from, to
			}
		}
		from, to = up, above
	}
}

// rename renames a dataset and its descendants in the known state of the target, and
// returns the new names. The records keep the names that zfs has.
func (s *state) rename(from, to string) (names []string) {
	moved := map[string]*record.Record{}
	for i, n := range s.order {
		if !dataset.Within(n, from) {
			continue
		}
		name := to + n[len(from):]
		moved[name] = s.datasets[n]
		if r := s.datasets[n]; dataset.Within(r.EncryptionRoot, from) {
			r.EncryptionRoot = to + r.EncryptionRoot[len(from):]
		}
		if s.asides[n] {
			delete(s.asides, n)
			s.asides[name] = true
		}
		delete(s.datasets, n)
		s.order[i] = name
		names = append(names, name)
	}
	for n, r := range moved {
		s.datasets[n] = r
	}
	return names
}

// steps returns the steps of a rename.
func (f *follow) steps(d *draft) []record.Step {
	var steps []record.Step
	for _, up := range f.parents {
		steps = append(steps, record.Step{Do: record.DoCreateParent, Side: record.SideTarget, Dataset: up})
	}
	base := d.r.Target.Snapshots[d.base.Target]
	return append(steps, record.Step{Do: record.DoRename, Side: record.SideTarget, Dataset: f.to, From: f.from, GUID: f.guid,
		Snapshot: base.Name, FromGUID: base.GUID, Why: "the copy has snapshots of the source, which was renamed, and --follow-renames was given"})
}

// forsaken returns the error of a record whose target depends on the rename of another
// record's copy, which will not be done; nil for other records.
func (p *planner) forsaken(d *draft) *record.Error {
	for _, x := range d.needs {
		if x.r.Error == nil {
			continue
		}
		e := p.failure(record.KindParentFailed, fmt.Sprintf("cannot back up '%s' to '%s': the copy of '%s', '%s', is to be renamed before, and is not", d.r.Name, d.r.Target.Name, x.r.Name, x.follow.from),
			"run again when its trouble is solved")
		return &e
	}
	return nil
}

// pools returns the guids of the pools of all records.
func pools(all []*record.Record) map[string]bool {
	out := map[string]bool{}
	for _, r := range all {
		if r.PoolGUID != "" {
			out[r.PoolGUID] = true
		}
	}
	return out
}

// inOrder returns the records in the order of their drafts; those without a draft keep
// their places.
func inOrder(all []*record.Record, list []*draft) []*record.Record {
	has := map[*record.Record]bool{}
	for _, d := range list {
		has[d.r] = true
	}
	out, k := slices.Clone(all), 0
	for i, r := range all {
		if has[r] {
			out[i] = list[k].r
			k++
		}
	}
	return out
}
