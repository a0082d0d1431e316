package snap

import (
	"context"
	"slices"

	"zab/lib/cache"
	"zab/lib/record"
	"zab/lib/zfs"
)

// fill lists the snapshots and bookmarks of the records. With --cache it takes from the
// cache the lists of datasets that are known to be unchanged. A dataset that was listed
// with bookmarks is not remembered, because they come and go without a trace.
func (s *snapper) fill(ctx context.Context, host *zfs.Host, set []*record.Record, excluded func(full string) bool) (failed map[*record.Record]error, err error) {
	if !s.o.Cache {
		return host.Fill(ctx, set, excluded)
	}
	store := cache.ForHost(ctx, host, s.env.Verbosef, s.env.Warnf, "source", set[0].Backup)
	if store == nil {
		return host.Fill(ctx, set, excluded)
	}
	var rest []*record.Record
	for _, r := range set {
		l, ok := store.Get(r.Name, state(r))
		if !ok {
			rest = append(rest, r)
			continue
		}
		r.Snapshots, r.Bookmarks, r.Remembered = l.Snapshots, []record.Snapshot{}, true
	}
	s.env.Verbosef("%d of %d datasets need not be listed", len(set)-len(rest), len(set))
	if len(rest) > 0 {
		if failed, err = host.Fill(ctx, rest, func(string) bool { return false }); err != nil {
			return nil, err
		}
	}
	for _, r := range rest {
		if failed[r] == nil && len(r.Bookmarks) == 0 {
			store.Put(r.Name, state(r), cache.Lists{Snapshots: r.Snapshots})
		}
	}
	if !s.env.Common.DryRun {
		store.KeepOthers()
		if err := store.Save(); err != nil {
			s.env.Verbosef("%s", err)
		}
	}
	for _, r := range set {
		r.Snapshots = slices.DeleteFunc(r.Snapshots, func(x record.Snapshot) bool { return excluded(x.Full(r.Name)) })
	}
	return failed, nil
}

func state(r *record.Record) cache.State {
	st := cache.State{GUID: r.GUID, CreateTXG: r.CreateTXG, Origin: r.Origin, Changed: cache.Unknown}
	if r.SnapshotsChanged != nil {
		st.Changed = *r.SnapshotsChanged
	}
	return st
}
