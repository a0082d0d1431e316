package zfs

import (
	"context"
	"fmt"
	"slices"

	"zab/lib/record"
)

// Fill lists the snapshots and bookmarks of records, which are all on h, into
// them: one program. excluded tells of a full name whether to act as if the
// snapshot were not there. gone are the records whose dataset is no more.
func (h *Host) Fill(ctx context.Context, set []*record.Record, excluded func(full string) bool) (gone []*record.Record, err error) {
	byName := map[string]*record.Record{}
	var names []string
	for _, r := range set {
		if byName[r.Name] == nil {
			names = append(names, r.Name)
		}
		byName[r.Name] = r
		r.Snapshots, r.Bookmarks = []record.Snapshot{}, []record.Snapshot{}
	}
	o := ListOptions{Types: Snapshots | Bookmarks, Depth: 1}
	err = h.List(ctx, names, o, func(row Row) error {
		r := byName[row.Dataset]
		switch e := row.Entry(); {
		case r == nil:
		case row.Bookmark != "":
			r.Bookmarks = append(r.Bookmarks, e)
		case !excluded(e.Full(r.Name)):
			r.Snapshots = append(r.Snapshots, e)
		}
		return nil
	})
	for _, r := range set {
		SortByAge(r.Snapshots)
		SortByAge(r.Bookmarks)
	}
	if KindOf(err) != KindNotFound {
		return nil, err
	}
	// One dataset that is gone must not stop the others; but what came with that error
	// may not be all, so they are listed again.
	gone, err2 := h.Gone(ctx, set)
	if err2 != nil {
		return nil, err2
	}
	if len(gone) == 0 {
		return nil, err
	}
	rest := slices.DeleteFunc(slices.Clone(set), func(r *record.Record) bool { return slices.Contains(gone, r) })
	if len(rest) == 0 {
		return gone, nil
	}
	more, err := h.Fill(ctx, rest, excluded)
	return append(gone, more...), err
}

// Fill is that of the hosts for records of any of them: one program for each.
func (m *Machine) Fill(ctx context.Context, set []*record.Record, excluded func(full string) bool) (gone []*record.Record, err error) {
	var order []string
	byHost := map[string][]*record.Record{}
	for _, r := range set {
		if byHost[r.Host] == nil {
			order = append(order, r.Host)
		}
		byHost[r.Host] = append(byHost[r.Host], r)
	}
	for _, dest := range order {
		host := m.Host(dest)
		g, err := host.Fill(ctx, byHost[dest], excluded)
		if err != nil {
			return nil, fmt.Errorf("cannot list the snapshots of %s: %w", host, err)
		}
		gone = append(gone, g...)
	}
	return gone, nil
}

// Gone finds the records whose dataset does not exist any more.
func (h *Host) Gone(ctx context.Context, set []*record.Record) ([]*record.Record, error) {
	var names []string
	for _, r := range set {
		names = append(names, r.Name)
	}
	there := map[string]bool{}
	err := h.List(ctx, names, ListOptions{Types: Datasets}, func(row Row) error {
		there[row.Dataset] = true
		return nil
	})
	if err != nil && KindOf(err) != KindNotFound {
		return nil, err
	}
	var gone []*record.Record
	for _, r := range set {
		if !there[r.Name] {
			gone = append(gone, r)
		}
	}
	return gone, nil
}
