package zfs

import (
	"context"
	"fmt"
	"maps"

	"zab/lib/record"
)

// Fill lists the snapshots and bookmarks of records into the records, which must all be
// on h. It runs one program if all lists can be read. excluded reports whether to ignore
// the snapshot with that full name. failed has the error of each record whose dataset no
// longer exists, of record.KindNotFound, or whose lists cannot be read; these stop none
// of the others.
func (h *Host) Fill(ctx context.Context, set []*record.Record, excluded func(full string) bool) (failed map[*record.Record]error, err error) {
	failed = map[*record.Record]error{}
	if len(set) == 0 {
		return failed, nil
	}
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
	var lists record.Collector
	err = h.List(ctx, names, o, func(row Row) error {
		r := byName[row.Dataset]
		switch e := row.Entry(); {
		case r == nil:
		case row.Bookmark != "":
			lists.Bookmark(r, e)
		case !excluded(e.Full(r.Name)):
			lists.Snapshot(r, e)
		}
		return nil
	})
	lists.End()
	for _, r := range set {
		SortByAge(r.Snapshots)
		SortByAge(r.Bookmarks)
	}
	if err == nil {
		return failed, nil
	}
	// One dataset must not stop the others; but their lists may be incomplete after
	// this error, so they are listed again.
	absent, unread, ok := parts(err, names)
	if !ok {
		return nil, err
	}
	for _, n := range absent {
		failed[byName[n]] = err
	}
	for _, u := range unread {
		if u.Name != "" {
			failed[byName[u.Name]] = u.Err
		}
	}
	var rest []*record.Record
	for _, r := range set {
		if byName[r.Name] == r && failed[r] == nil {
			rest = append(rest, r)
		}
	}
	var sets [][]*record.Record
	switch {
	case len(failed) > 0:
		sets = [][]*record.Record{rest}
	case len(rest) == 1:
		failed[rest[0]] = err
	default:
		// A snapshot of one of them cannot be opened, and zfs does not say of
		// which.
		sets = [][]*record.Record{rest[:len(rest)/2], rest[len(rest)/2:]}
	}
	for _, set := range sets {
		more, err := h.Fill(ctx, set, excluded)
		if err != nil {
			return nil, err
		}
		maps.Copy(failed, more)
	}
	return failed, nil
}

// Fill is Host.Fill for records of any hosts, one host after the other.
func (m *Machine) Fill(ctx context.Context, set []*record.Record, excluded func(full string) bool) (failed map[*record.Record]error, err error) {
	var order []string
	byHost := map[string][]*record.Record{}
	for _, r := range set {
		if byHost[r.Host] == nil {
			order = append(order, r.Host)
		}
		byHost[r.Host] = append(byHost[r.Host], r)
	}
	failed = map[*record.Record]error{}
	for _, dest := range order {
		host := m.Host(dest)
		f, err := host.Fill(ctx, byHost[dest], excluded)
		if err != nil {
			return nil, fmt.Errorf("cannot list the snapshots of %s: %w", host, err)
		}
		maps.Copy(failed, f)
	}
	return failed, nil
}

// Unfilled returns the error of a record that Fill failed with err. verb is the action of
// the stage that is impossible without the lists, such as "plan for".
func Unfilled(stage, verb, name string, err error) record.Error {
	e := Failed(stage, err, "cannot %s '%s': its snapshots cannot be listed: %s", verb, name, err)
	if Absent(err, name) {
		e.Hint = ""
		e.Message = fmt.Sprintf("cannot %s '%s': the dataset is gone since it was selected", verb, name)
	}
	return e
}
