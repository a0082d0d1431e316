package plan

import (
	"context"
	"slices"

	"zab/lib/chain"
	"zab/lib/record"
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
func (p *planner) targetPin(n naming) chain.Pin {
	root := p.inv.datasets[p.inv.target]
	if root == nil {
		return chain.Pin{}
	}
	return chain.Pin{Tag: n.hold, Dataset: root.GUID, Pool: p.pool}
}

// pinnedIn returns the guid of the pool that the pin of a draft names; "" if it names
// none.
func (p *planner) pinnedIn(d *draft) string {
	if pin, _ := chain.ParsePin(p.pin(d.naming)); pin.Pool == p.pool {
		return p.pool
	}
	return ""
}

// newPool finds out whether the bases of the copies that something is sent to were held
// for another pool than the target's. If so, it reads for which pool the bases of the
// other copies were held.
func (p *planner) newPool(ctx context.Context, list []*draft, facts *lazyFacts) error {
	first := slices.IndexFunc(list, sends)
	if first < 0 {
		return nil
	}
	pool := p.pinnedIn(list[first])
	if pool == "" {
		return nil
	}
	if err := facts.load(list[first]); err != nil {
		return err
	}
	var idle []*draft
	var copies []*record.Record
	var guids []string
	for _, d := range list {
		t := d.r.Target
		copied := p.inv.datasets[t.Name]
		switch {
		case d.r.Error != nil || !d.has || !t.Exists:
		case len(d.wanted) == 0:
			idle, copies, guids = append(idle, d), append(copies, copied), append(guids, copied.GUID)
		case p.inv.asked[copied] && t.Pool != pool:
			p.otherPool = true
		}
	}
	if !p.otherPool || len(idle) == 0 || p.inv.host == nil {
		return nil
	}
	if err := p.inv.readFacts(ctx, copies); err != nil {
		return p.unreadFacts(err)
	}
	for k, d := range idle {
		// Another dataset may have taken the copy's name meanwhile.
		if f := &copies[k].Facts; p.inv.asked[copies[k]] && f.GUID == guids[k] {
			d.rehold, d.r.Target.Pool, d.r.Target.Written = f.Pool != pool, f.Pool, f.Written
		}
	}
	return nil
}

// formerPins returns the tags, other than the present ones, by which the base of a copy
// is held for this target, on either side. On the source, a pin that names another pool
// is not this target's: it may be for the disk that this one was split off from, which
// has the same base. A pin that names no pool is this target's, because nobody else
// would ever release it.
func (p *planner) formerPins(d *draft) (source, target []string) {
	pin := p.targetPin(d.naming)
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

// pin returns the tag of holds for this target alone; "" without holds.
//
// zfs-autobackup's tag is the same for all targets of a backup. If two of them had the same
// base and one has moved on, only the pin says that the other, which may be a disk in a
// safe, still needs the base (promise P1). And the pin tells holds that a killed run left
// from those of other targets.
func (p *planner) pin(n naming) string {
	if p.o.NoHolds {
		return ""
	}
	return p.targetPin(n).String()
}

// oldPin returns that tag in a run without holds, because earlier runs may have put it;
// "" in other runs.
func (p *planner) oldPin(n naming) string {
	if !p.o.NoHolds {
		return ""
	}
	return p.targetPin(n).String()
}

// holdTags returns the tags with which this run holds a base: the pin, or the shared tag
// where the pin is not known; with --shared-holds both, the pin first.
func (p *planner) holdTags(d *draft) []string {
	tags := d.tags()
	if !p.o.SharedHolds {
		tags = tags[:1]
	}
	return tags
}

// tags returns the tags that a base may be held with for this target, the pin first.
func (d *draft) tags() []string {
	if own := d.r.Target.OwnTag(); own != "" {
		return []string{own, d.hold}
	}
	return []string{d.hold}
}
