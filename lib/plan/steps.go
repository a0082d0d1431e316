package plan

import (
	"fmt"
	"slices"

	"zab/lib/dataset"
	"zab/lib/record"
)

// finish sets the steps of the record, or the error or conflict that prevents them.
func (p *planner) finish(d *draft) {
	if d.r.Error != nil {
		return
	}
	steps, e := p.steps(d)
	if e != nil {
		d.r.Fail(*e)
		return
	}
	if steps == nil {
		steps = []record.Step{}
	}
	d.r.Steps = steps
	d.movesBack = slices.ContainsFunc(steps, func(s record.Step) bool { return s.Do == record.DoRenameBack })
}

// steps returns the steps of a record: those that bring the copy to its place, those that
// send, and those that move holds and bookmarks to the new base.
func (p *planner) steps(d *draft) (steps []record.Step, e *record.Error) {
	if p.nothingOurs(d) {
		return nil, nil
	}
	if e := p.forsaken(d); e != nil {
		return nil, e
	}
	p.inv.finalRoot(&d.r.Target.Facts)
	if e := p.checkPlace(d); e != nil {
		return nil, e
	}
	var before, after []record.Step
	if d.follow != nil && d.has {
		before = d.follow.steps(d)
	}
	if left := d.unfinished; left != nil {
		d.tidy()
		before, after = slices.Concat(before, left.before), left.after
		d.r.Warn("'%s' was set aside as '%s' by a run that did not come to its end: this is finished now", d.r.Target.Name, left.at.Name)
	}
	if len(d.wanted) == 0 {
		steps = slices.Concat(before, after)
	} else if steps, e = p.sending(d, before, after); e != nil {
		return nil, e
	}
	return slices.Concat(steps, p.holds(d), p.bookmarks(d)), nil
}

// nothingOurs warns of a source without a snapshot that could be sent, and reports
// whether it is one.
func (p *planner) nothingOurs(d *draft) bool {
	r := d.r
	switch {
	case len(r.Snapshots) == 0:
		if r.Failure() == nil {
			r.Warn("there is no snapshot to send")
		}
		return true
	case len(d.wanted) == 0 && !slices.ContainsFunc(r.Snapshots, func(s record.Snapshot) bool { return s.Ours || p.o.OtherSnapshots }):
		r.Warn("there is no snapshot of this backup to send; --other-snapshots sends others")
		return true
	}
	return false
}

// sending returns the steps of a record with something to send. before and after are the
// steps that finish what came before, to be executed before and after the streams.
func (p *planner) sending(d *draft, before, after []record.Step) ([]record.Step, *record.Error) {
	r, t := d.r, d.r.Target
	fails := func(kind record.ErrorKind, why, hint string) ([]record.Step, *record.Error) {
		e := p.failure(kind, fmt.Sprintf("cannot back up '%s' to '%s': %s", r.Name, t.Name, why), hint)
		return nil, &e
	}
	if up := p.inv.failedAbove(t.Name); up != nil {
		return fails(record.KindParentFailed, fmt.Sprintf("'%s', whose copy is above it, cannot be sent", up.Name), "run again when the parent's trouble is solved")
	}
	prepare, restore, c := p.makeReady(d)
	if c != nil {
		return nil, p.conflict(r, d.misplaced(p.otherMachine(r, c)))
	}
	if e := p.locked(d, prepare); e != nil {
		return nil, e
	}
	if full := d.longest(); len(full) > dataset.MaxName {
		return fails(record.KindBadMapping, fmt.Sprintf("the name of the snapshot '%s' is longer than %d bytes", full, dataset.MaxName), tooLong)
	}
	d.replaced = d.unfinished != nil || slices.ContainsFunc(prepare, func(s record.Step) bool { return s.Do == record.DoRenameAside })
	streams := p.streams(d)
	for _, w := range p.encryptionWarnings(d) {
		r.Warn("%s", w)
	}
	if d.redacted {
		m := fmt.Sprintf("'%s' is redacted: its copy '%s' will have zeros in the place of what was left out of it, and look complete", r.Name, t.Name)
		r.Warn("%s", m)
		d.loud = append(d.loud, m)
	}
	return slices.Concat(before, prepare, streams, after, restore, p.mark(d, p.flags(d), streams)), nil
}

// makeReady returns the steps that make the target ready to receive, before and after the
// streams, or the conflict that prevents it. With --rename-aside, a copy that is in the
// way is set aside.
func (p *planner) makeReady(d *draft) (before, after []record.Step, c *record.Conflict) {
	if c = p.ready(d); c == nil && d.refused != "" && p.o.FollowRenames && !d.r.Target.Exists {
		c = p.notFollowed(d)
	}
	if c == nil {
		before, c = p.prepare(d)
	}
	if c != nil {
		before, after, c = p.setAside(d, c)
	}
	if c == nil {
		c = p.notEncrypted(d)
	}
	return before, after, c
}

// prepare returns the steps that make the target that exists, or its place, ready to
// receive, or the conflict that prevents it.
func (p *planner) prepare(d *draft) ([]record.Step, *record.Conflict) {
	r, t := d.r, d.r.Target
	var steps []record.Step
	if !t.Exists {
		for _, parent := range p.inv.missingParents(t.Name) {
			steps = append(steps, record.Step{Do: record.DoCreateParent, Side: record.SideTarget, Dataset: parent})
		}
		return steps, nil
	}
	if t.Kind != "" && r.Kind != "" && t.Kind != r.Kind {
		return nil, &record.Conflict{Kind: record.ConflictKindMismatch,
			Message:  fmt.Sprintf("'%s' is a %s, but its target '%s' is a %s", r.Name, r.Kind, t.Name, t.Kind),
			Remedies: []string{keepAside, "rename or destroy '" + t.Name + "'"}}
	}
	abort, reason := p.token(d)
	if abort {
		steps = append(steps, record.Step{Do: record.DoAbortResume, Side: record.SideTarget, Dataset: t.Name, Why: reason})
	}
	if t.Resume != nil && !abort && len(t.Snapshots) == 0 {
		return steps, nil // the interrupted first receive goes on
	}
	if len(t.Snapshots) == 0 {
		switch {
		case abort:
			// The dataset held only the partial first receive, so aborting that
			// destroys it.
			return steps, nil
		case p.o.Force && !isParent(t) && p.overwrites(r):
			if d.origin != nil {
				r.Warn("'%s' is a clone of '%s', but '%s' exists and cannot become one: it is overwritten in full", r.Name, r.Origin, t.Name)
				d.origin = nil
			}
			return steps, nil
		}
		return nil, noSnapshots(r, p.overwrites(r))
	}
	if !d.has {
		return nil, noBase(r)
	}
	more, c := p.diverged(d)
	return append(steps, more...), c
}
