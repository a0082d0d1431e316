package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"zab/lib/dataset"
	"zab/lib/record"
)

// This file plans --rename-aside. A copy that cannot be continued gets another name,
// with all its snapshots, and the backup continues under the old name: from a clone of
// the newest common snapshot if there is one, which takes no space, else with a first
// full stream.
//
// How zfs behaves, tried on 2.3.2, and for raw copies also on 2.1.11: a promoted clone
// takes over all snapshots up to its origin, with holds and bookmarks. This is also
// true of volumes, and of raw copies whose key is not loaded: they stay encryption
// roots and take the next raw increment. Descendants are renamed with a dataset, and
// have to be renamed back.
//
// A run that dies half-way leaves a dataset whose property zab:aside says that the work
// on it has begun. The next plan has the same steps again, and zab-xfer does those that
// are left. The plan has them even without the option, because a copy that is missing
// from its place is worse than either outcome.

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
		last, done, ok := r.SetAside(n)
		if !ok {
			continue
		}
		s.setAside[n] = true
		if !done {
			s.unfinished[record.Beside(name, last)] = r
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
	for i := range name {
		if name[i] == '/' && s.setAside[name[:i]] {
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
	d.unfinished = &unfinishedAside{at: at}
	_, to := record.SplitName(at.Name)
	back, end := d.renamed(t.Name, at.GUID, to, !p.o.NoHolds)
	d.unfinished.after = []record.Step{end}
	rename := record.Step{Do: record.DoRenameAside, Side: record.SideTarget, Dataset: t.Name, GUID: at.GUID, To: to,
		Why: "an earlier run had begun with it"}
	from := -1
	ds, snap, _ := strings.Cut(t.Origin, "@")
	switch {
	case t.Exists && ds == at.Name && len(t.Snapshots) == 0:
		from = slices.IndexFunc(at.Snapshots, func(s record.Snapshot) bool { return s.Name == snap })
	case !t.Exists:
		probe := draft{r: &record.Record{Snapshots: r.Snapshots, Bookmarks: r.Bookmarks, Target: &record.Target{Snapshots: at.Snapshots}}}
		if p.findBase(&probe); probe.has && (r.Kind == "" || at.Kind == r.Kind) {
			from = probe.base.Target
		}
	case len(t.Snapshots) > 0:
		d.unfinished.before = []record.Step{back}
		if ds, snap, _ := strings.Cut(at.Origin, "@"); ds == t.Name {
			// Already promoted, but perhaps nothing after that was done.
			if i := slices.IndexFunc(t.Snapshots, func(s record.Snapshot) bool { return s.Name == snap }); i >= 0 {
				rename.From, rename.FromGUID = snap, t.Snapshots[i].GUID
				d.unfinished.before = []record.Step{rename, back}
			}
		}
		return
	}
	if from < 0 {
		// Nothing is left of the rename: its step only looks at the datasets.
		d.unfinished.before, d.unfinished.after = []record.Step{rename}, []record.Step{back, end}
		return
	}
	rename.From, rename.FromGUID = at.Snapshots[from].Name, at.Snapshots[from].GUID
	t.Exists, t.Facts = true, at.Facts
	t.Snapshots = slices.Clone(at.Snapshots[:from+1])
	p.inv.datasets[t.Name] = at
	d.unfinished.before, d.unfinished.lent = []record.Step{rename, back}, true
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
		if up := p.drafts[name[:i]]; up != nil && up.r.Error == nil && slices.ContainsFunc(up.r.Steps, func(s record.Step) bool { return s.Do == record.DoRenameBack }) {
			continue
		}
		e := p.failure(record.KindParentFailed, fmt.Sprintf("cannot back up '%s' to '%s': an earlier run set '%s' aside as '%s' with all below it, and this run does not finish that", d.r.Name, name, name[:i], at.Name),
			"back up the whole, or what goes to '"+name[:i]+"' first")
		return &e
	}
	return nil
}

// setsAside reports whether --rename-aside resolves a conflict, namely that of a copy
// that has diverged from its source. It resolves neither encryption conflicts, which
// other options decide, nor the conflict of a single older snapshot that has the name
// of one to be sent.
func setsAside(d *draft, c *record.Conflict) bool {
	switch c.Kind {
	case record.ConflictModified, record.ConflictNewerSnapshots, record.ConflictSourceRolledBack, record.ConflictNoCommonSnapshot,
		record.ConflictTargetWithoutSnapshots, record.ConflictKindMismatch:
		return true
	case record.ConflictSameNameOtherGUID:
		return !d.has
	}
	return false
}

// setAside returns the steps, before and after the streams, that set a copy aside. If
// that was not asked for or is impossible, it returns the conflict.
func (p *planner) setAside(d *draft, c *record.Conflict) (before, after []record.Step, _ *record.Conflict) {
	r, t := d.r, d.r.Target
	own := c.Kind == record.ConflictTargetWithoutSnapshots && isParent(t)
	if !p.o.RenameAside && !own || !setsAside(d, c) {
		return nil, nil, c
	}
	if c.Kind == record.ConflictKindMismatch {
		d.has = false
	}
	to, why := p.asideName(d)
	if why != "" {
		c.Message += "; and it cannot be set aside: " + why
		return nil, nil, c
	}
	if t.ResumeToken != "" {
		before = append(before, record.Step{Do: record.DoAbortResume, Side: record.SideTarget, Dataset: t.Name, Why: "the target is set aside"})
	}
	rename := record.Step{Do: record.DoRenameAside, Side: record.SideTarget, Dataset: t.Name, GUID: t.GUID, To: to,
		Why: c.Message + ", and --rename-aside was given"}
	if own {
		rename.Why = c.Message + "; zab made it to be above others, and nothing is in it"
	}
	back, end := d.renamed(t.Name, t.GUID, to, !p.o.NoHolds)
	if d.has {
		base := t.Snapshots[d.base.Target]
		rename.From, rename.FromGUID = base.Name, base.GUID
		t.Snapshots = slices.Clone(t.Snapshots[:d.base.Target+1])
		t.Written, t.Resume, t.ResumeToken = nil, nil, ""
		before, after = append(before, rename, back), []record.Step{end}
	} else {
		*t = record.Target{Host: t.Host, Name: t.Name, ZPoolGUID: t.ZPoolGUID, Pin: t.Pin, OldPin: t.OldPin, Snapshots: []record.Snapshot{}}
		before, after = append(before, rename), []record.Step{back, end}
	}
	// Snapshots that were set aside no longer count for the schedule. Snapshots that
	// clones need stay wanted.
	old := d.wanted
	d.wanted = p.choose(d)
	for i := range old {
		if r.Snapshots[i].Needed != "" {
			d.wanted[i] = true
		}
	}
	if d.has {
		if _, c := p.diverged(d); c != nil {
			return nil, nil, c
		}
	}
	return before, after, nil
}

// renamed returns the steps that follow when a copy has its new name: back moves its
// descendants back as soon as a dataset is in its place again, end finishes the work
// after the streams, and releases our holds if the run puts holds.
func (d *draft) renamed(dataset, guid, to string, holds bool) (back, end record.Step) {
	back = record.Step{Do: record.DoRenameBack, Side: record.SideTarget, Dataset: dataset, GUID: guid, To: to}
	end = back
	end.Do = record.DoRenameDone
	if holds {
		end.Tag = d.hold
	}
	return back, end
}

// asideName returns the last part of the name that a copy gets when it is set aside, or
// the reason why it cannot get one.
func (p *planner) asideName(d *draft) (name, why string) {
	t := d.r.Target
	loc := time.Local
	if p.o.UTC {
		loc = time.UTC
	}
	at := time.Unix(p.now, 0).In(loc).Format("20060102150405")
	name = record.AsideName(t.Name, at)
	switch {
	case t.Name == p.inv.target:
		return "", "it is the target of the whole backup, whose guid the holds name"
	case t.GUID == "":
		return "", "its guid is not known"
	}
	for n := 2; p.inv.datasets[record.Beside(t.Name, name)] != nil; n++ {
		name = record.AsideName(t.Name, fmt.Sprintf("%s-%d", at, n))
	}
	longest := record.Beside(t.Name, name)
	grows := len(longest) - len(t.Name)
	for _, n := range p.inv.order {
		if strings.HasPrefix(n, t.Name+"/") {
			// Descendants are renamed too, if only for a moment.
			for _, s := range p.inv.datasets[n].Snapshots {
				if full := s.Full(n); len(full)+grows > len(longest) {
					longest = full + longest[len(longest)-grows:]
				}
			}
			if !d.has && t.Encrypted() && t.EncryptionRoot == t.Name && p.inv.datasets[n].EncryptionRoot == t.Name {
				return "", fmt.Sprintf("'%s' has its key from it, and could not be brought back to its place", n)
			}
		}
	}
	for _, s := range t.Snapshots {
		if full := s.Full(record.Beside(t.Name, name)); len(full) > len(longest) {
			longest = full
		}
	}
	if len(longest) > dataset.MaxName {
		return "", fmt.Sprintf("the name '%s' would be longer than %d bytes", longest, dataset.MaxName)
	}
	return name, ""
}

// below returns the names of the datasets of the target that are below a name.
func (s *inventory) below(name string) (out []string) {
	for _, n := range s.order {
		if strings.HasPrefix(n, name+"/") {
			out = append(out, n)
		}
	}
	return out
}
