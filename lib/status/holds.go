package status

import (
	"cmp"
	"context"
	"slices"

	"zab/lib/chain"
	"zab/lib/cli"
	"zab/lib/record"
	"zab/lib/zfs"
)

// This file finds holds of ours out of place. It starts three programs on each host at
// most, and two more for the pools of the targets.

// side is one side of a record: where its snapshots are, and the tags on those that have
// any, by name.
type side struct {
	name, host, dataset string
	snapshots           []record.Snapshot
	base                string // the snapshot that is to be held; "" if none is
	until               uint64 // the createtxg of the newest common snapshot on this side
	tags                map[string][]string
}

// readHolds lists the holds on both sides of each record that has a common snapshot.
func (o *Options) readHolds(ctx context.Context, env *cli.Env, all []*record.Record) error {
	sides := map[*record.Record][2]*side{}
	var order []*record.Record
	// By host and dataset; a dataset may be the copy of one and the source of another.
	byHost := map[string]map[string][]*side{}
	pools := map[string][]string{}
	for _, r := range all {
		t := r.Target
		if r.Type != record.TypeDataset || t == nil {
			continue
		}
		base, ok := chain.Find(r.Snapshots, r.Bookmarks, t.Snapshots)
		if !ok {
			continue
		}
		source, copied := base.Source, &t.Snapshots[base.Target]
		if base.Bookmark() {
			source = "" // it needs no hold
		}
		pair := [2]*side{
			{name: record.SideSource, host: r.Host, dataset: r.Name, snapshots: r.Snapshots, base: source, until: base.TXG},
			{name: record.SideTarget, host: t.Host, dataset: t.Name, snapshots: t.Snapshots, base: copied.Name, until: copied.TXG()},
		}
		for _, s := range pair {
			s.tags = map[string][]string{}
			if byHost[s.host] == nil {
				byHost[s.host] = map[string][]*side{}
			}
			byHost[s.host][s.dataset] = append(byHost[s.host][s.dataset], s)
		}
		if pool := zfs.Pool(t.Name); !slices.Contains(pools[t.Host], pool) {
			pools[t.Host] = append(pools[t.Host], pool)
		}
		sides[r] = pair
		order = append(order, r)
	}
	unread := map[string]bool{}
	for dest, datasets := range byHost {
		host := env.Machine.Host(dest)
		err := readTags(ctx, host, datasets)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			o.warn(env, "cannot list the holds on snapshots of %s: %s", host, err)
			unread[dest] = true
		}
	}
	guids := map[string]map[string]zfs.Features{}
	for dest, names := range pools {
		host := env.Machine.Host(dest)
		var err error
		if guids[dest], err = host.Features(ctx, names); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			o.warn(env, "cannot read the guid of the target's pool on %s: %s", host, err)
			unread[dest] = true
		}
	}
	for _, r := range order {
		pair, t := sides[r], r.Target
		if unread[pair[0].host] || unread[pair[1].host] {
			continue
		}
		shared, err := o.HoldTag(r.Backup)
		if err != nil {
			return cli.UsageError{Err: err}
		}
		own, _ := chain.ParsePin(t.OwnTag())
		own.Pool = guids[t.Host][zfs.Pool(t.Name)].GUID
		list := []record.Misplaced{}
		for _, s := range pair {
			list = append(list, misplaced(s, shared, own)...)
			if o.HTML != "" {
				s.noteHolds(shared, own)
			}
		}
		asked(r).Misplaced = list
	}
	return nil
}

// readTags lists the tags on the snapshots of the datasets, which are all on one host.
func readTags(ctx context.Context, host *zfs.Host, datasets map[string][]*side) error {
	var names []string
	for n := range datasets {
		names = append(names, n)
	}
	slices.Sort(names)
	held := map[string]int64{}
	find := map[string]func(tag string){}
	err := host.List(ctx, names, zfs.ListOptions{Types: zfs.Snapshots, Depth: 1, Extra: []string{"userrefs"}}, func(row zfs.Row) error {
		n, ok := (zfs.Value{Value: row.Extra[0]}).Int()
		if list := datasets[row.Dataset]; list != nil && ok && n > 0 {
			full := row.Full()
			held[full] = n
			find[full] = func(tag string) {
				for _, s := range list {
					s.tags[row.Snapshot] = append(s.tags[row.Snapshot], tag)
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	got, err := host.Holds(ctx, held)
	if err != nil && zfs.KindOf(err) != record.KindNotFound {
		return err
	}
	for _, h := range got {
		if add := find[h.Snapshot]; add != nil {
			add(h.Tag)
		}
	}
	return nil
}

// misplaced returns the hold that one side lacks on its base, and those for this target
// that are left on older snapshots. shared is the tag of all targets of the backup, own
// that of this one. A hold on a newer snapshot is no fault: it is about to be sent. Nor is
// the shared tag where another target's is.
func misplaced(s *side, shared string, own chain.Pin) (list []record.Misplaced) {
	mine := func(tag string) bool { return isPin(tag, shared, own) }
	others := func(tag string) bool {
		_, _, ok := chain.PinTarget(tag, shared)
		return ok && !mine(tag)
	}
	for i := range s.snapshots {
		name := s.snapshots[i].Name
		tags := s.tags[name]
		if s.snapshots[i].Virtual || s.snapshots[i].TXG() > s.until {
			continue
		}
		if name == s.base {
			if !slices.ContainsFunc(tags, func(tag string) bool { return tag == shared || mine(tag) }) {
				list = append(list, record.Misplaced{Side: s.name, Snapshot: name, Tag: cmp.Or(own.String(), shared), Missing: true})
			}
			continue
		}
		for _, tag := range tags {
			if mine(tag) || tag == shared && !slices.ContainsFunc(tags, others) {
				list = append(list, record.Misplaced{Side: s.name, Snapshot: name, Tag: tag})
			}
		}
	}
	return list
}

// isPin reports whether a tag is that of the holds for this target alone: see misplaced.
func isPin(tag, shared string, own chain.Pin) bool {
	pin, ok := chain.ParsePin(tag)
	return ok && pin.Tag == shared && pin.Dataset == own.Dataset && own.Dataset != "" && (pin.Pool == "" || pin.Pool == own.Pool)
}

// noteHolds enters the holds in the snapshots, for heldByOthers.
func (s *side) noteHolds(shared string, own chain.Pin) {
	for i := range s.snapshots {
		e := &s.snapshots[i]
		x := e.Rare()
		x.Holds, x.Held = s.tags[e.Name], nil
		for _, tag := range x.Holds {
			if tag == shared || isPin(tag, shared, own) {
				x.Held = append(x.Held, record.Held{Tag: tag})
			}
		}
		e.SetRare(x)
	}
}
