package plan

import (
	"fmt"
	"slices"
	"strings"

	"zab/lib/aside"
	"zab/lib/dataset"
	"zab/lib/record"
)

// This file finishes what a run left that died while it set a copy aside. The property
// zab:aside of the renamed dataset says that the work on it has begun. The plan has the
// same steps again, and zab-xfer does the acts that are left. The plan has them even
// without --rename-aside, because a copy that is missing from its place is worse than
// either outcome.

// unfinishedAside are the steps that a dead run left for a record.
type unfinishedAside struct {
	at *record.Record // the dataset that was renamed
	// before and after are the steps before and after the streams.
	before, after []record.Step
	// lent reports whether the facts of the target are still those of the renamed
	// dataset.
	lent bool
}

// findAsides finds the datasets that were set aside. If a dead run only began to set
// one aside, its descendants are entered under the names that they will have again.
func (s *inventory) findAsides() {
	for _, n := range s.order { // parents first
		r := s.datasets[n]
		name := s.finalName(n)
		if name != n && s.datasets[name] == nil {
			s.datasets[name] = r
		}
		last, finished, ok := aside.Recognize(n, r.Aside)
		if !ok {
			continue
		}
		s.setAside[n] = true
		if !finished {
			s.unfinished[dataset.Beside(name, last)] = r
		}
	}
}

// finalName returns the name that a dataset will have when all unfinished work of setting
// aside is done.
func (s *inventory) finalName(name string) string {
	for place, r := range s.unfinished {
		if rest, below := strings.CutPrefix(name, r.Name+"/"); below {
			return place + "/" + rest
		}
	}
	return name
}

// currentName returns the present name of the dataset that will be called name.
func (s *inventory) currentName(name string) string {
	if r := s.datasets[name]; r != nil {
		return r.Name
	}
	return name
}

// aside reports whether a dataset was set aside, or is below one that was.
func (s *inventory) aside(name string) bool {
	for up := range dataset.Ancestors(name) {
		if s.setAside[up] {
			return true
		}
	}
	return s.setAside[name]
}

// unfinished finds the steps that a dead run left for a record, and gives its target
// the state that it will have after the steps before the streams.
func (p *planner) unfinished(d *draft) {
	r, t := d.r, d.r.Target
	at := p.inv.unfinished[t.Name]
	if at == nil {
		return
	}
	left := &unfinishedAside{at: at}
	d.unfinished = left
	_, to := dataset.Split(at.Name)
	rename := record.Step{Do: record.DoRenameAside, Side: record.SideTarget, Dataset: t.Name, GUID: at.GUID, To: to,
		Why: "an earlier run had begun with it"}
	var place *aside.Dataset
	if t.Exists {
		place = &aside.Dataset{Name: t.Name, GUID: t.GUID, Origin: t.Origin}
	}
	phase, base := aside.Find(at.GUID, place, &aside.Dataset{Name: at.Name, GUID: at.GUID, Origin: at.Origin})
	named := func(s record.Snapshot) bool { return s.Name == base }
	from := -1
	switch {
	case phase == aside.Renamed:
		probe := draft{r: &record.Record{Snapshots: r.Snapshots, Bookmarks: r.Bookmarks, Target: &record.Target{Snapshots: at.Snapshots}}}
		if p.findBase(&probe); probe.has && (r.Kind == "" || at.Kind == r.Kind) {
			from = probe.base.Target
		}
	case phase == aside.Cloned && len(t.Snapshots) == 0:
		from = slices.IndexFunc(at.Snapshots, named)
	case len(t.Snapshots) > 0:
		if i := slices.IndexFunc(t.Snapshots, named); phase == aside.Promoted && i >= 0 {
			// Perhaps nothing after that was done.
			rename.From, rename.FromGUID = base, t.Snapshots[i].GUID
		}
		left.before, left.after = p.asideSteps(d, rename)
		if rename.From == "" { // received in full
			left.before, left.after = left.after[:1], left.after[1:]
		}
		return
	}
	if from >= 0 {
		rename.From, rename.FromGUID = at.Snapshots[from].Name, at.Snapshots[from].GUID
		t.Exists, t.Facts = true, at.Facts
		t.Snapshots = slices.Clone(at.Snapshots[:from+1])
		p.inv.datasets[t.Name] = at
		left.lent = true
	}
	// Without a base nothing is left of the rename: its step only looks at the datasets.
	left.before, left.after = p.asideSteps(d, rename)
}

// tidy clears the facts that were read from the renamed dataset and do not apply to the
// clone in its place.
func (d *draft) tidy() {
	t := d.r.Target
	b := d.unfinished
	if b == nil || !b.lent {
		return
	}
	t.Written, t.Aside, t.Origin, t.ResumeToken = nil, "", "", ""
}

// finalRoot gives an encryption root its final name, if a dead run has renamed the root or
// a dataset above it.
func (s *inventory) finalRoot(f *record.Facts) {
	for place, r := range s.unfinished {
		if f.EncryptionRoot == r.Name {
			f.EncryptionRoot = place
			return
		}
	}
	f.EncryptionRoot = s.finalName(f.EncryptionRoot)
}

// checkPlace returns the error of a record whose copy is, or would be, below a dataset that
// an earlier run began to set aside, unless this run finishes that; nil for other
// records.
func (p *planner) checkPlace(d *draft) *record.Error {
	name := d.r.Target.Name
	for i := range name {
		if name[i] != '/' {
			continue
		}
		at := p.inv.unfinished[name[:i]]
		if at == nil {
			continue
		}
		if up := p.drafts[name[:i]]; up != nil && up.r.Error == nil && up.movesBack {
			continue
		}
		e := p.failure(record.KindParentFailed, fmt.Sprintf("cannot back up '%s' to '%s': an earlier run set '%s' aside as '%s' with all below it, and this run does not finish that", d.r.Name, name, name[:i], at.Name),
			"back up the whole, or what goes to '"+name[:i]+"' first")
		return &e
	}
	return nil
}
