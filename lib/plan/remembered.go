package plan

import (
	"context"
	"slices"
	"strconv"

	"zab/lib/cache"
	"zab/lib/chain"
	"zab/lib/cli"
	"zab/lib/record"
	"zab/lib/zfs"
)

// memory is the state of the target as --cache makes it: each dataset is opened once,
// and listed only if it may have changed since it was listed last.
type memory struct {
	env   *cli.Env
	store *cache.Store
	inv   *inventory
	// whole reports whether the whole tree is read, not only the remembered datasets.
	whole bool
	// moved reports whether a dataset was not found under its name, or another one was.
	// Then there may be datasets under unknown names, such as a copy that a dead run
	// had begun to set aside.
	moved bool
}

// remember lists the target's tree with the help of the lists that earlier runs have
// saved. It returns nil without an error if nothing can be remembered.
func remember(ctx context.Context, env *cli.Env, host *zfs.Host, target string, excluded func(full string) bool) (*memory, error) {
	store := cache.ForHost(ctx, host, env.Verbosef, env.Warnf, "target", target)
	if store == nil {
		return nil, nil
	}
	m := &memory{env: env, store: store, inv: newInventory(host, target, excluded), whole: store.Walk()}
	names := []string{target}
	if !m.whole {
		if names = store.Names(); !slices.Contains(names, target) {
			names = append(names, target)
		}
	}
	err := m.list(ctx, names)
	if err == nil && m.moved {
		err = m.walk(ctx)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		// For example because this zfs does not keep the time of changes.
		env.Verbosef("nothing can be remembered of %s: %s", host, err)
		return nil, nil
	}
	if m.whole {
		store.Walked()
	}
	return m, nil
}

// walk reads the whole tree after all.
func (m *memory) walk(ctx context.Context) error {
	m.whole = true
	return m.list(ctx, []string{m.inv.target})
}

// list opens datasets, with their descendants if the whole tree is wanted, and lists
// those that are not known to be unchanged.
func (m *memory) list(ctx context.Context, names []string) error {
	s := m.inv
	states := map[string]cache.State{}
	o := zfs.ListOptions{Types: zfs.Datasets, Extra: []string{"origin", zfs.ChangedProp}}
	if m.whole {
		o.Depth = -1
	}
	err := s.host.List(ctx, names, o, func(row zfs.Row) error {
		st := cache.State{GUID: row.GUID, CreateTXG: row.CreateTXG, Origin: row.Extra[0]}
		st.Changed, _ = strconv.ParseInt(row.Extra[1], 10, 64)
		states[row.Dataset] = st
		r := s.add(&record.Record{Type: record.TypeDataset, Host: s.host.Dest, Name: row.Dataset, Snapshots: []record.Snapshot{}})
		r.GUID, r.CreateTXG = row.GUID, row.CreateTXG
		return nil
	})
	if _, came := states[s.target]; err != nil && (zfs.KindOf(err) != record.KindNotFound || m.whole && came) {
		return err
	}
	for _, name := range names {
		st, ok := states[name]
		m.moved = m.moved || !ok || m.store.Replaced(name, st.GUID)
	}
	var need []string
	for name, st := range states {
		if l, ok := m.store.Get(name, st); ok {
			s.datasets[name].Snapshots, s.datasets[name].Bookmarks = l.Snapshots, l.Bookmarks
		} else {
			need = append(need, name)
		}
	}
	m.env.Verbosef("%d of %d datasets of the target need not be listed", len(states)-len(need), len(states))
	if len(need) > 0 {
		slices.Sort(need)
		o := zfs.ListOptions{Types: zfs.Snapshots | zfs.Bookmarks, Depth: 1}
		from := need
		if m.whole && len(need) > len(states)/2 {
			o.Depth, from = -1, names
		}
		listed := map[string]*cache.Lists{}
		for _, name := range need {
			listed[name] = &cache.Lists{Snapshots: []record.Snapshot{}}
		}
		err := s.host.List(ctx, from, o, func(row zfs.Row) error {
			switch l, e := listed[row.Dataset], row.Entry(); {
			case l == nil:
			case row.Bookmark != "":
				l.Bookmarks = append(l.Bookmarks, e)
			default:
				l.Snapshots = append(l.Snapshots, e)
			}
			return nil
		})
		if err != nil {
			return err // also if a dataset was just destroyed
		}
		for name, l := range listed {
			zfs.SortByAge(l.Snapshots)
			zfs.SortByAge(l.Bookmarks)
			m.store.Put(name, states[name], *l)
			s.datasets[name].Snapshots, s.datasets[name].Bookmarks = l.Snapshots, l.Bookmarks
		}
	}
	for name := range states {
		r := s.datasets[name]
		r.Snapshots = slices.DeleteFunc(r.Snapshots, func(x record.Snapshot) bool { return s.excluded(x.Full(r.Name)) })
	}
	slices.Sort(s.order) // parents first
	return nil
}

// lookUpNew reads those of the names, and of the names above them, that are not remembered:
// a copy that was made since, or by somebody else.
func (m *memory) lookUpNew(ctx context.Context, names map[*record.Record]string) error {
	if m.whole {
		return nil
	}
	list := slices.DeleteFunc(m.inv.withParents(names), func(name string) bool { return m.inv.datasets[name] != nil })
	if len(list) == 0 {
		return nil
	}
	if err := m.list(ctx, list); err != nil || !m.moved {
		return err
	}
	m.store.Walked()
	return m.walk(ctx)
}

// save writes the lists for the next run, except in a dry run.
func (m *memory) save() {
	if m.env.Common.DryRun {
		return
	}
	if err := m.store.Save(); err != nil {
		m.env.Verbosef("%s", err)
	}
}

// needsRelist reports whether the remembered lists of a record do not suffice, because
// bookmarks are not among them.
func (o *Options) needsRelist(r *record.Record, target *record.Record) bool {
	if !r.Remembered {
		return false
	}
	if o.Bookmark || target == nil {
		return true
	}
	_, has := chain.Find(r.Snapshots, nil, target.Snapshots)
	return !has
}
