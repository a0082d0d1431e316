package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"zab/lib/dataset"
	"zab/lib/record"
)

// follow is the rename that a record needs.
type follow struct {
	// from is the dataset to rename, to its new name: the copy and its place, or
	// filesystems above both that were made only to be above copies.
	from, to string
	guid     string
	parents  []string // to be made before, outermost first
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
	for _, n := range p.inv.order {
		key[p.inv.datasets[n]] = n
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
			for _, n := range p.inv.rename(f.from, f.to) {
				key[p.inv.datasets[n]] = n
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
		again := p.match(d.r, d.r.Target.Name, d.naming)
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
	s := p.inv
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
		if src := p.unplanned[n]; src != "" {
			return nil, fmt.Errorf("'%s' below it is in the place of the copy of '%s'", n, src)
		}
		if at := lastPool(&r.Facts); at != last && p.foreign(&r.Facts) {
			return nil, fmt.Errorf("'%s' below it came from another pool, with the guid %s", n, at)
		}
		for _, b := range s.unfinished {
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
	for i := len(p.inv.target) + 1; i < len(to); i++ {
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
		up, last := dataset.Split(from)
		above, now := dataset.Split(to)
		if last != now || up == above || !strings.HasPrefix(up, p.inv.target+"/") || !strings.HasPrefix(above, p.inv.target+"/") {
			return from, to
		}
		r := p.inv.datasets[up]
		if r == nil || len(r.Snapshots) > 0 || p.drafts[up] != nil || p.unplanned[up] != "" || p.drafts[above] != nil || p.inv.datasets[above] != nil {
			return from, to
		}
		for n := range p.drafts {
			if dataset.Within(n, up) {
				return from, to // a target of this run is there
			}
		}
		for _, n := range p.inv.below(up) {
			if len(p.inv.datasets[n].Snapshots) == 0 && p.drafts[n] == nil {
				continue
			}
			d := p.drafts[above+n[len(up):]]
			if d == nil || of[d] == nil || of[d].at != p.inv.datasets[n] {
				return from, to
			}
		}
		from, to = up, above
	}
}

// rename renames a dataset and its descendants in the known state of the target, and
// returns the new names. The records keep the names that zfs has.
func (s *inventory) rename(from, to string) (names []string) {
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
		if s.setAside[n] {
			delete(s.setAside, n)
			s.setAside[name] = true
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
