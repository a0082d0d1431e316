package plan

import (
	"fmt"
	"slices"

	"zab/lib/chain"
	"zab/lib/record"
	"zab/lib/schedule"
	"zab/lib/zfs"
)

// match finds the incremental base of a record and the snapshots to send. It needs only
// the names and guids of both sides.
func (p *planner) match(r *record.Record, name string, n naming) *draft {
	d := &draft{r: r, naming: n}
	t := &record.Target{Host: string(p.o.SSHTarget), Name: name}
	r.Target = t
	if known := p.inv.datasets[name]; known != nil {
		t.Exists = true
		t.Facts = known.Facts
		t.Snapshots = known.Snapshots
		t.Bookmarks = known.Bookmarks
	}
	if own := p.inv.datasets[r.Name]; own != nil && own.GUID == r.GUID && r.GUID != "" {
		// The guids are compared, so the loop is also found if one machine is reached
		// over ssh.
		r.Fail(p.failure(record.KindLoop, fmt.Sprintf("cannot back up '%s', which is part of the target, into the target", r.Name),
			fmt.Sprintf("leave it out with 'zab-select --target %s'", zfs.Quote(p.inv.target))))
		return d
	}
	if wrong := impossible(r); wrong != "" {
		r.Fail(p.failure(record.KindBadAnswer, wrong, ""))
		return d
	}
	p.unfinished(d)
	for i := range r.Snapshots {
		_, r.Snapshots[i].Ours = d.format.Time(r.Snapshots[i].Name)
	}
	for i := range t.Snapshots {
		_, t.Snapshots[i].Ours = d.format.Time(t.Snapshots[i].Name)
	}
	p.findBase(d)
	d.wanted = p.choose(d)
	return d
}

// impossible returns why the lists of both sides cannot be true: a snapshot that was made
// a moment ago cannot be one that the target has had under another name. Believed, it would
// count as backed up.
func impossible(r *record.Record) string {
	if r.Snapshot == nil || r.Snapshot.Name == "" || r.Snapshot.Virtual {
		return ""
	}
	for i := range r.Snapshots {
		s := &r.Snapshots[i]
		if s.Name != r.Snapshot.Name || s.GUID == "" {
			continue
		}
		for j := range r.Target.Snapshots {
			if t := &r.Target.Snapshots[j]; t.GUID == s.GUID && t.Name != s.Name {
				return fmt.Sprintf("cannot plan the backup of '%s': its host says that the new '%s' has the guid of '%s'", r.Name, s.Full(r.Name), t.Full(r.Target.Name))
			}
		}
	}
	return ""
}

func (p *planner) findBase(d *draft) {
	r, t := d.r, d.r.Target
	if p.o.NoGUIDCheck {
		d.base, d.has = chain.FindByName(r.Snapshots, t.Snapshots)
	} else {
		d.base, d.has = chain.Find(r.Snapshots, r.Bookmarks, t.Snapshots)
	}
}

// choose returns the indexes in r.Snapshots of the snapshots to send, sorted: those newer than
// the base that are ours (or all, with --other-snapshots), except those that the
// target's schedule would destroy on arrival.
func (p *planner) choose(d *draft) []int {
	r := d.r
	var want []int
	for i := range r.Snapshots {
		s := &r.Snapshots[i]
		if d.has && !s.Virtual && s.TXG() <= d.base.TXG {
			continue
		}
		if s.Ours || p.o.OtherSnapshots {
			want = append(want, i)
		}
	}
	if len(want) == 0 || p.keep == nil {
		return want
	}
	// Decide as if all had been sent: first the target's snapshots, then those that
	// would be sent. The order replaces createtxg, because each pool counts its own
	// transaction groups.
	most := len(r.Target.Snapshots) + len(want)
	all, index := make([]schedule.Snapshot, 0, most), make([]int, 0, most)
	chosen := make([]bool, len(r.Snapshots))
	add := func(s *record.Snapshot, i int) {
		t, ok := d.format.Time(s.Name)
		if !ok {
			return
		}
		all = append(all, schedule.Snapshot{Name: s.Name, Time: t, CreateTXG: uint64(len(all) + 1)})
		index = append(index, i)
	}
	for i := range r.Target.Snapshots {
		add(&r.Target.Snapshots[i], -1)
	}
	for _, i := range want {
		if r.Snapshots[i].Ours {
			add(&r.Snapshots[i], i)
		} else {
			chosen[i] = true
		}
	}
	for n, v := range p.keep.Decide(all, p.now) {
		if index[n] >= 0 && v.Keep {
			chosen[index[n]] = true
		}
	}
	// The newest is always sent: it is the next base.
	chosen[want[len(want)-1]] = true
	return slices.DeleteFunc(want, func(i int) bool { return !chosen[i] })
}
