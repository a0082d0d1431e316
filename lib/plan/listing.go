package plan

import (
	"context"
	"maps"
	"slices"
	"strconv"

	"zab/lib/aside"
	"zab/lib/record"
	"zab/lib/zfs"
)

// This file reads the inventory from the target's host.

// listInventory lists the target's tree with one zfs program, which needs no more than
// names and guids. Bookmarks of the target are not listed: nothing can be received onto
// them, so a plan does not need them, and zfs would open each dataset once more.
func listInventory(ctx context.Context, host *zfs.Host, target string, excluded func(string) bool) (s *inventory, err error) {
	for range 3 {
		// List again if a dataset vanished while zfs listed: others may not have been
		// listed.
		s = newInventory(host, target, excluded)
		err = s.list(ctx)
		if zfs.KindOf(err) != record.KindNotFound || s.datasets[target] == nil {
			break
		}
	}
	if zfs.IsPartial(err) && s.datasets[target] != nil {
		s.broken, err = err, nil
	}
	for _, r := range s.datasets {
		zfs.SortByAge(r.Snapshots)
	}
	return s, err
}

func (s *inventory) list(ctx context.Context) error {
	o := zfs.ListOptions{Types: zfs.Datasets | zfs.Snapshots, Depth: -1}
	var lists record.Collector
	defer lists.End()
	return s.host.List(ctx, []string{s.target}, o, func(row zfs.Row) error {
		r := s.datasets[row.Dataset]
		if r == nil {
			r = s.add(&record.Record{Type: record.TypeDataset, Host: s.host.Dest, Name: row.Dataset, Snapshots: []record.Snapshot{}})
		}
		switch e := row.Entry(); {
		case row.Snapshot != "":
			if !s.excluded(e.Full(r.Name)) {
				lists.Snapshot(r, e)
			}
		default:
			r.GUID, r.CreateTXG = row.GUID, row.CreateTXG
		}
		return nil
	})
}

// mend asks by name for the datasets that zfs may have left out of the list of the
// target: the copies of this run and the datasets above them, each with its snapshots.
// Those that cannot be read fail alone.
func (s *inventory) mend(ctx context.Context, names map[*record.Record]string) error {
	if s.broken == nil {
		return nil
	}
	list := append(s.withParents(names), s.target)
	slices.Sort(list)
	var found []zfs.Dataset
	_, unread, err := s.host.Readable(ctx, []string{"guid", "createtxg"}, list, 0, func(d zfs.Dataset) { found = append(found, d) })
	if err != nil {
		return err
	}
	for _, u := range unread {
		if u.Name == "" {
			return u.Err
		}
		s.unread[u.Name] = u.Err
	}
	var set []*record.Record
	for i := range found {
		d := &found[i]
		r := s.datasets[d.Name]
		if r == nil {
			r = s.add(&record.Record{Type: record.TypeDataset, Host: s.host.Dest, Name: d.Name})
		}
		f := d.Facts()
		r.GUID, r.CreateTXG = f.GUID, f.CreateTXG
		set = append(set, r)
	}
	slices.Sort(s.order) // parents first
	failed, err := s.host.Fill(ctx, set, s.excluded)
	for r, err := range failed {
		s.unread[r.Name] = err
	}
	return err
}

// withParents returns the target names and those of the datasets between them and the
// target, sorted.
func (s *inventory) withParents(names map[*record.Record]string) []string {
	all := map[string]bool{}
	for _, name := range names {
		for i := len(s.target) + 1; i <= len(name); i++ {
			if i == len(name) || name[i] == '/' {
				all[name[:i]] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// readFacts reads the facts of those of the datasets for which nobody asked before, under
// the names that they have now. It runs at most one zfs program, and none if the inventory
// came from a file.
func (s *inventory) readFacts(ctx context.Context, set []*record.Record) error {
	var need []*record.Record
	for _, r := range set {
		if _, asked := s.asked[r]; !asked && r != nil {
			s.asked[r] = false
			need = append(need, r)
		}
	}
	if s.host == nil || len(need) == 0 {
		return nil
	}
	names, by := make([]string, len(need)), map[string]*record.Record{}
	for i, r := range need {
		names[i], by[r.Name] = r.Name, r
	}
	got, err := s.host.Get(ctx, zfs.FactProps, names, false)
	if err != nil && zfs.KindOf(err) != record.KindNotFound {
		return err
	}
	for i := range got {
		if r := by[got[i].Name]; r != nil {
			r.Facts, s.asked[r] = got[i].Facts(), true
		}
	}
	return nil
}

// readAsides reads the facts of datasets whose names have the form of a copy set aside,
// and of the datasets in their former places. It runs one program, or none if there is
// no such name. Those that cannot be read fail alone, each with its former place where
// its setting aside may be unfinished.
func (s *inventory) readAsides(ctx context.Context) error {
	if s.host == nil {
		return nil
	}
	var names []string
	for _, n := range s.order {
		former, ok := aside.Former(n)
		if !ok {
			continue
		}
		names = append(names, n)
		if s.datasets[former] != nil {
			names = append(names, former)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names) // one place may have several that were set aside
	_, unread, err := s.host.Readable(ctx, zfs.FactProps, names, 0, func(d zfs.Dataset) {
		if r := s.datasets[d.Name]; r != nil {
			r.Facts = d.Facts()
		}
	})
	if err != nil {
		return err
	}
	for _, u := range unread {
		if u.Name == "" {
			return u.Err
		}
		s.unread[u.Name] = u.Err
		if former, ok := aside.Former(u.Name); ok && (s.datasets[former] == nil || len(s.below(u.Name)) > 0) {
			s.unread[former] = u.Err
		}
	}
	return nil
}

// loadFacts reads the facts of the targets that something is sent to, and of the datasets
// below which new copies are made. Of snapshots that a target has beyond the base, it
// reads how much was written in them. It runs at most two zfs programs for all drafts
// given.
func (s *inventory) loadFacts(ctx context.Context, drafts []*draft, renameAside bool) error {
	if s.host == nil {
		return nil
	}
	var set []*record.Record
	var beyond []string // snapshots
	for _, d := range drafts {
		if !sends(d) {
			continue
		}
		t := d.r.Target
		if len(t.Snapshots) == 0 {
			// The dataset above decides the encryption of a new copy, also if a first
			// receive was interrupted.
			set = append(set, s.nearest(t.Name))
		}
		if !t.Exists {
			continue
		}
		set = append(set, s.datasets[t.Name])
		if renameAside && !d.has {
			// Descendants may have their key from a dataset that is to be set aside.
			for _, n := range s.below(t.Name) {
				set = append(set, s.datasets[n])
			}
		}
		if d.has {
			for _, x := range t.Snapshots[d.base.Target+1:] {
				beyond = append(beyond, x.Full(s.currentName(t.Name)))
			}
		}
	}
	if err := s.readFacts(ctx, set); err != nil {
		return err
	}
	written, err := s.written(ctx, beyond)
	if err != nil {
		return err
	}
	for _, d := range drafts {
		t := d.r.Target
		if t == nil || !t.Exists {
			continue
		}
		t.Facts = s.datasets[t.Name].Facts
		if len(written) == 0 {
			continue
		}
		for i := range t.Snapshots {
			if n := written[t.Snapshots[i].Full(s.currentName(t.Name))]; n != nil {
				t.Snapshots[i].Written = n
			}
		}
	}
	return nil
}

// written returns how many bytes were written in each of the snapshots, by full name.
// One that is gone, or whose number cannot be read, is missing.
func (s *inventory) written(ctx context.Context, snapshots []string) (map[string]*int64, error) {
	if len(snapshots) == 0 {
		return nil, nil
	}
	out := map[string]*int64{}
	o := zfs.ListOptions{Types: zfs.Snapshots, Extra: []string{"written"}}
	err := s.host.List(ctx, snapshots, o, func(row zfs.Row) error {
		if n, err := strconv.ParseInt(row.Extra[0], 10, 64); err == nil {
			out[row.Dataset+"@"+row.Snapshot] = &n
		}
		return nil
	})
	if err != nil && zfs.KindOf(err) != record.KindNotFound {
		return nil, err
	}
	return out, nil
}

// probeAtimeOnly sets draft.atimeOnly of the targets that seem to have been changed, but
// were only read: the access times of a mounted copy count as written. It runs one zfs
// program for each target that seems changed.
func (s *inventory) probeAtimeOnly(ctx context.Context, drafts []*draft) error {
	if s.host == nil {
		return nil
	}
	for _, d := range drafts {
		t := d.r.Target
		if !sends(d) || !d.has || !t.Exists || t.Kind != "filesystem" || t.Mounted != "yes" || t.Written == nil || *t.Written == 0 {
			continue
		}
		newest := t.Snapshots[len(t.Snapshots)-1]
		only, err := s.host.OnlyRead(ctx, s.currentName(t.Name), newest.Full(s.currentName(t.Name)))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		d.atimeOnly = err == nil && only // if it cannot be told, it is a conflict
	}
	return nil
}
