package plan

import (
	"context"
	"slices"
	"sync"

	"zab/lib/cache"
	"zab/lib/chain"
	"zab/lib/cli"
	"zab/lib/journal"
	"zab/lib/record"
	"zab/lib/zfs"
)

// A run that dies after a receive and before the holds are moved leaves a base that is
// not held on the target, and holds on snapshots that are no longer bases. The next run
// has to put this right even if it has nothing to send. Names and guids do not show it,
// so the holds are read if the journal of this machine says that a run has died (P4).

// tagsBySide has the tags of the holds on a record's snapshots: by side, then by the name
// of the snapshot. It is nil if the holds were not read.
type tagsBySide map[string]map[string][]string

// readLeftHolds reads the holds of the records whose copies a dead run began to work on,
// without a note in the journal that it finished them. If the holds cannot be read, the
// plan is made as if no run had died. It runs at most two programs on each host.
func (p *planner) readLeftHolds(ctx context.Context, env *cli.Env, list []*draft) {
	target := p.inv.host
	if target == nil || p.o.NoHolds {
		return
	}
	dir, err := cache.Dir()
	if err != nil {
		return
	}
	left := map[string]map[string]bool{} // by pin
	names := map[*zfs.Host][]string{}
	var asked []*draft
	for _, d := range list {
		t := d.r.Target
		if d.r.Error != nil || !t.Exists {
			continue
		}
		// The guid of the pool is not known yet.
		key := chain.WithoutPool(p.pin(d.naming))
		if key == "" {
			continue
		}
		if left[key] == nil {
			left[key] = journal.Left(dir, key)
		}
		if !left[key][t.Name] {
			continue
		}
		source := env.Machine.Host(d.r.Host)
		names[source] = append(names[source], ours(d.r.Name, d.r.Snapshots)...)
		names[target] = append(names[target], ours(t.Name, t.Snapshots)...)
		asked = append(asked, d)
	}
	if len(asked) == 0 {
		return
	}
	env.Verbosef("a run did not come to its end: the holds of %d datasets are looked at", len(asked))
	var mu sync.Mutex
	found := map[*zfs.Host]map[string][]string{}
	var hosts sync.WaitGroup
	for host, list := range names {
		hosts.Go(func() {
			tags, err := host.Tags(ctx, list)
			if err != nil {
				env.Verbosef("cannot list the holds on %s: %s", host, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			found[host] = tags
		})
	}
	hosts.Wait()
	for _, d := range asked {
		source := found[env.Machine.Host(d.r.Host)]
		if source == nil || found[target] == nil {
			continue
		}
		d.leftHolds = tagsBySide{record.SideSource: {}, record.SideTarget: {}}
		for side, of := range map[string]struct {
			dataset string
			list    []record.Snapshot
			tags    map[string][]string
		}{record.SideSource: {d.r.Name, d.r.Snapshots, source}, record.SideTarget: {d.r.Target.Name, d.r.Target.Snapshots, found[target]}} {
			for i := range of.list {
				if s := &of.list[i]; !s.Virtual {
					d.leftHolds[side][s.Name] = of.tags[s.Full(of.dataset)]
				}
			}
		}
	}
}

// ours returns the full names of our snapshots, and of the newest snapshot even if it
// is not ours, because with --other-snapshots it may be a base.
func ours(dataset string, list []record.Snapshot) (full []string) {
	for i := range list {
		if s := &list[i]; !s.Virtual && (s.Ours || i == len(list)-1) {
			full = append(full, s.Full(dataset))
		}
	}
	return full
}

// putRight returns the steps, for a record with nothing to send, after which the base
// is held as it should be and nothing else is held for this target.
func (p *planner) putRight(d *draft) []record.Step {
	r, t := d.r, d.r.Target
	if d.leftHolds == nil || !d.has || p.o.NoHolds {
		return nil
	}
	var steps []record.Step
	hold := func(side, dataset, name, guid string) {
		for _, tag := range p.holdTags(d) {
			if !slices.Contains(d.leftHolds[side][name], tag) {
				steps = append(steps, record.Step{Do: record.DoHold, Side: side, Dataset: dataset, Snapshot: name, GUID: guid, Tag: tag,
					Why: "a run did not come to its end"})
			}
		}
	}
	onSource := !p.bookmarksBase(d) && !d.base.Bookmark()
	if onSource {
		hold(record.SideSource, r.Name, d.base.Source, d.base.GUID)
	}
	base := t.Snapshots[d.base.Target]
	hold(record.SideTarget, t.Name, base.Name, base.GUID)
	steps = append(steps, p.letGo(d, d.base.TXG, func(side, guid string) bool {
		return guid == d.base.GUID && onSource || side == record.SideTarget && guid == base.GUID
	})...)
	if len(steps) == 0 {
		// The holds are right already. A step that changes nothing makes zab-xfer note
		// this in the journal; without the note, every run would read the holds until
		// something is sent.
		steps = append(steps, record.Step{Do: record.DoHold, Side: record.SideTarget, Dataset: t.Name, Snapshot: base.Name, GUID: base.GUID, Tag: t.Pin,
			Why: "a run did not come to its end"})
	}
	return steps
}

// letGo returns the steps that release snapshots which are still held for this target,
// as the pin shows, and are not needed. The shared tag is released with the pin if
// nobody else holds the snapshot, because it does not say for which target it is (P1).
// stays reports whether a snapshot is still needed. A snapshot of the source that is newer
// than the base that the steps leave, whose createtxg is baseTXG, stays held: another run to
// the same target may be about to send it.
func (p *planner) letGo(d *draft, baseTXG uint64, stays func(side, guid string) bool) []record.Step {
	if d.leftHolds == nil {
		return nil
	}
	r, t, mine := d.r, d.r.Target, p.targetPin(d.naming)
	var steps []record.Step
	for _, of := range []struct {
		side, dataset string
		list          []record.Snapshot
	}{{record.SideSource, r.Name, r.Snapshots}, {record.SideTarget, t.Name, t.Snapshots}} {
		for i := range of.list {
			s := &of.list[i]
			has := d.leftHolds[of.side][s.Name]
			own := func(tag string) bool {
				return tag == t.Pin || tag == mine.Former() || of.side == record.SideTarget && mine.OfCopy(tag)
			}
			if !slices.ContainsFunc(has, own) || stays(of.side, s.GUID) || of.side == record.SideSource && s.TXG() > baseTXG {
				continue
			}
			others := slices.ContainsFunc(has, func(tag string) bool { return tag != d.hold && !own(tag) })
			// The shared tag first, because the pin shows for which target it is.
			for _, tag := range append([]string{d.hold}, slices.DeleteFunc(slices.Clone(has), func(tag string) bool { return !own(tag) })...) {
				if slices.Contains(has, tag) && (own(tag) || !others) {
					steps = append(steps, record.Step{Do: record.DoRelease, Side: of.side, Dataset: of.dataset, Snapshot: s.Name, GUID: s.GUID, Tag: tag,
						Why: "a run did not come to its end"})
				}
			}
		}
	}
	return steps
}
