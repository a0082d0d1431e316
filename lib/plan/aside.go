package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"zab/lib/aside"
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
	if !own && p.partial && t.From != "" && r.PoolGUID != "" && !slices.Contains(strings.Split(t.From, ","), r.PoolGUID) {
		// A search of all pools would refuse both; in two limited ones each would set the
		// other's copy aside, night after night.
		c.Message += "; and it is not set aside, for it came from another pool, of which this run has searched nothing: a dataset there may go to the same target"
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
	if d.has {
		base := t.Snapshots[d.base.Target]
		rename.From, rename.FromGUID = base.Name, base.GUID
		t.Snapshots = slices.Clone(t.Snapshots[:d.base.Target+1])
		t.Written, t.Resume, t.ResumeToken = nil, nil, ""
	} else {
		*t = record.Target{Host: t.Host, Name: t.Name, ZPoolGUID: t.ZPoolGUID, Pin: t.Pin, OldPin: t.OldPin, Snapshots: []record.Snapshot{}}
	}
	steps, after := p.asideSteps(d, rename)
	before = append(before, steps...)
	// Snapshots that were set aside no longer count for the schedule. Snapshots that
	// clones need stay wanted.
	old := d.wanted
	d.wanted = p.choose(d)
	for _, i := range old {
		if r.Snapshots[i].Rare().Needed != "" {
			d.want(i)
		}
	}
	if d.has {
		if _, c := p.diverged(d); c != nil {
			return nil, nil, c
		}
	}
	return before, after, nil
}

// asideSteps returns a step that renames a copy, and those that follow from it, before and
// after the streams: its descendants are moved back as soon as a dataset is in its place
// again, and after the streams the work is finished, and our holds are released if the run
// puts holds.
func (p *planner) asideSteps(d *draft, rename record.Step) (before, after []record.Step) {
	back := record.Step{Do: record.DoRenameBack, Side: record.SideTarget, Dataset: rename.Dataset, GUID: rename.GUID, To: rename.To}
	end := back
	end.Do = record.DoRenameDone
	if !p.o.NoHolds {
		end.Tag = d.hold
	}
	if rename.From == "" {
		return []record.Step{rename}, []record.Step{back, end}
	}
	return []record.Step{rename, back}, []record.Step{end}
}

// asideName returns the last part of the name that a copy gets when it is set aside, or
// the reason why it cannot get one.
func (p *planner) asideName(d *draft) (name, why string) {
	t := d.r.Target
	loc := time.Local
	if p.o.UTC {
		loc = time.UTC
	}
	switch {
	case t.Name == p.inv.target:
		return "", "it is the target of the whole backup, whose guid the holds name"
	case t.GUID == "":
		return "", "its guid is not known"
	}
	name = aside.Name(t.Name, time.Unix(p.now, 0).In(loc), func(n string) bool { return p.inv.datasets[n] != nil })
	longest := dataset.Beside(t.Name, name)
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
		if full := s.Full(dataset.Beside(t.Name, name)); len(full) > len(longest) {
			longest = full
		}
	}
	if len(longest) > dataset.MaxName {
		return "", fmt.Sprintf("the name '%s' would be longer than %d bytes", longest, dataset.MaxName)
	}
	return name, ""
}
