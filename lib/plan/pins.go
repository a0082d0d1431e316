package plan

import (
	"context"
	"fmt"
	"slices"

	"zab/lib/chain"
	"zab/lib/record"
	"zab/lib/zfs"
)

// This file holds bases for a target that is not, or no longer, the one that they are
// held for: a disk that was made from another by zpool split or from an image, a disk
// whose pool got another guid, and every disk held by earlier versions, whose pins do
// not name the pool. The property zab:pool of a copy says for which pool its base was
// held last. It is known only of copies whose properties were read, which are those
// that something is sent to. If one of them names another pool, the properties of the
// other copies, which have nothing to receive, are read too: their bases have to be
// held for this pool before the run to another disk moves on from them (P1).

// targetPin returns the pin of the target, without Dataset if the guid of the target is
// not known.
func (p *planner) targetPin() chain.Pin {
	root := p.state.datasets[p.target]
	if root == nil {
		return chain.Pin{}
	}
	return chain.Pin{Tag: p.hold, Dataset: root.GUID, Pool: p.pool}
}

// pinnedIn returns the guid of the pool that the pin of this run names; "" if it names
// none.
func (p *planner) pinnedIn() string {
	if pin, _ := chain.ParsePin(p.pin()); pin.Pool == p.pool {
		return p.pool
	}
	return ""
}

// unmarked reports whether nothing is to be sent, but the base still needs a bookmark,
// so that the pool's guid must be read.
func (p *planner) unmarked(d *draft) bool {
	return p.o.Bookmark && d.r.Error == nil && d.has && len(d.wanted) == 0 &&
		!slices.ContainsFunc(chain.Marks(d.r.Bookmarks), func(m chain.Mark) bool { return m.GUID == d.base.GUID })
}

// newPool finds out whether the bases of the copies that something is sent to were held
// for another pool than the target's. If so, it reads for which pool the bases of the
// other copies were held.
func (p *planner) newPool(ctx context.Context, host *zfs.Host, list []*draft, look *look) error {
	first := slices.IndexFunc(list, sends)
	pool := p.pinnedIn()
	if first < 0 || pool == "" {
		return nil
	}
	if err := look.at(list[first]); err != nil {
		return err
	}
	var idle []*draft
	for _, d := range list {
		switch t := d.r.Target; {
		case d.r.Error != nil || !d.has || !t.Exists:
		case len(d.wanted) == 0:
			idle = append(idle, d)
		case p.state.asked[t.Name] && t.Pool != pool:
			p.moved = true
		}
	}
	if !p.moved || len(idle) == 0 || p.state.complete {
		return nil
	}
	var names []string
	for _, d := range idle {
		names = append(names, p.state.currentName(d.r.Target.Name))
	}
	got, err := host.Get(ctx, zfs.FactProps, names, false)
	if err != nil && zfs.KindOf(err) != record.KindNotFound {
		return fmt.Errorf("cannot read the properties of the target '%s': %w", p.target, err)
	}
	found := map[string]record.Facts{}
	for i := range got {
		found[got[i].Name] = got[i].Facts()
	}
	for k, d := range idle {
		if f, ok := found[names[k]]; ok && f.GUID == p.state.datasets[d.r.Target.Name].GUID {
			d.again, d.r.Target.Pool, d.r.Target.Written = f.Pool != pool, f.Pool, f.Written
		}
	}
	return nil
}

// holdAgain returns the steps, for a record with nothing to send, that hold the base
// for the pool that the target is in now.
func (p *planner) holdAgain(d *draft) []record.Step {
	r, t := d.r, d.r.Target
	if !d.again || t.Pin == "" {
		return nil
	}
	var steps []record.Step
	step := func(do, side, dataset, name, guid, tag string) {
		steps = append(steps, record.Step{Do: do, Side: side, Dataset: dataset, Snapshot: name, GUID: guid, Tag: tag})
	}
	old := t.Snapshots[d.base.Target]
	held := !p.o.Bookmark && !d.base.Bookmark()
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

// formerPins returns the tags, other than the present ones, by which the base of a copy
// is held for this target, on either side. On the source, a pin that names another pool
// is not this target's: it may be for the disk that this one was split off from, which
// has the same base. A pin that names no pool is this target's, because nobody else
// would ever release it.
func (p *planner) formerPins(d *draft) (source, target []string) {
	pin := p.targetPin()
	former, had := pin.Former(), d.r.Target.Pool
	switch {
	case former == "" || had == p.pool:
	case had == "":
		return []string{former}, []string{former}
	default:
		return nil, []string{chain.Pin{Tag: pin.Tag, Dataset: pin.Dataset, Pool: had}.String()}
	}
	return nil, nil
}
