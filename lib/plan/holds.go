package plan

import (
	"slices"

	"zab/lib/record"
	"zab/lib/zfs"
)

// holds returns the steps that move our holds from the old newest common snapshot to
// the new one, on both sides. The pin is put first and released last. The tag that all
// targets share is released where zfs-autobackup or an earlier version has put it. In a run
// without holds, the holds of earlier runs are released as the base moves on.
func (p *planner) holds(d *draft) []record.Step {
	r, t := d.r, d.r.Target
	if len(d.wanted) == 0 {
		switch {
		case p.o.NoHolds:
			return nil
		case d.leftHolds != nil:
			return p.putRight(d)
		}
		return p.holdAgain(d)
	}
	to := d.newest()
	put, tags := p.holdTags(d), d.tags()
	var steps []record.Step
	each := func(do, side, dataset, name, guid string, tags []string) {
		for _, tag := range tags {
			steps = append(steps, record.Step{Do: do, Side: side, Dataset: dataset, Snapshot: name, GUID: guid, Tag: tag,
				IfHeld: do == record.DoRelease && (p.o.NoHolds || !slices.Contains(put, tag))})
		}
	}
	if !p.o.NoHolds {
		if !p.bookmarksBase(d) {
			each(record.DoHold, record.SideSource, r.Name, to.Name, to.GUID, put)
		}
		each(record.DoHold, record.SideTarget, t.Name, to.Name, to.GUID, put)
	}
	slices.Reverse(tags)
	stays := map[string]bool{to.GUID: true}
	if d.has {
		stays[d.base.GUID] = true // the steps below release it, not letGo
		source, target := p.formerPins(d)
		if !d.base.Bookmark() {
			each(record.DoRelease, record.SideSource, r.Name, d.base.Source, d.base.GUID, slices.Concat(tags, source))
		}
		old := t.Snapshots[d.base.Target]
		stays[old.GUID] = true
		each(record.DoRelease, record.SideTarget, t.Name, old.Name, old.GUID, slices.Concat(tags, target))
	}
	return append(steps, p.letGo(d, to.TXG(), func(_, guid string) bool { return stays[guid] })...)
}

// holdAgain returns the steps, for a record with nothing to send, that hold the base
// for the pool that the target is in now.
func (p *planner) holdAgain(d *draft) []record.Step {
	r, t := d.r, d.r.Target
	if !d.rehold || t.Pin == "" {
		return nil
	}
	var steps []record.Step
	step := func(do, side, dataset, name, guid, tag string) {
		steps = append(steps, record.Step{Do: do, Side: side, Dataset: dataset, Snapshot: name, GUID: guid, Tag: tag})
	}
	old := t.Snapshots[d.base.Target]
	held := !p.bookmarksBase(d) && !d.base.Bookmark()
	if held {
		step(record.DoHold, record.SideSource, r.Name, d.base.Source, d.base.GUID, t.Pin)
	}
	step(record.DoHold, record.SideTarget, t.Name, old.Name, old.GUID, t.Pin)
	if t.Written != nil && *t.Written == 0 {
		// Otherwise the old mark must stay: it tells the next run with something to
		// send that the written data may come only from zpool split.
		steps = append(steps, record.Step{Do: record.DoMark, Side: record.SideTarget, Dataset: t.Name, Set: []string{zfs.PoolProp + "=" + p.pool}})
	}
	source, target := p.formerPins(d)
	for _, tag := range source {
		if held {
			step(record.DoRelease, record.SideSource, r.Name, d.base.Source, d.base.GUID, tag)
		}
	}
	for _, tag := range target {
		step(record.DoRelease, record.SideTarget, t.Name, old.Name, old.GUID, tag)
	}
	return steps
}
