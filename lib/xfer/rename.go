package xfer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"zab/lib/dataset"
	"zab/lib/record"
	"zab/lib/zfs"
)

// This file renames a copy, with its descendants, after its source was renamed, for
// --follow-renames: with one zfs command, which does all or nothing.

// renamed returns the name of the copy before the step, which renames the copy or a
// dataset above it.
func renamed(r *record.Record, s *record.Step) string {
	return s.From + strings.TrimPrefix(r.Target.Name, s.Dataset)
}

func checkRename(r *record.Record, s *record.Step, _ bool) error {
	return errors.Join(need("guid", s.GUID), need("snapshot", s.Snapshot), need("from", s.From), checkRenameNames(r, s))
}

func checkRenameNames(r *record.Record, s *record.Step) error {
	of := func(guid string) bool {
		has := func(x record.Snapshot) bool { return x.GUID == guid }
		return slices.ContainsFunc(r.Snapshots, has) || slices.ContainsFunc(r.Bookmarks, has)
	}
	switch {
	case !dataset.Within(r.Target.Name, s.Dataset):
		return fmt.Errorf("%q is neither the target %q nor above it", s.Dataset, r.Target.Name)
	case zfs.Pool(s.From) != zfs.Pool(s.Dataset) || !strings.Contains(s.From, "/") || !strings.Contains(s.Dataset, "/"):
		return fmt.Errorf("%q cannot be renamed to %q", s.From, s.Dataset)
	case related(s.From, s.Dataset):
		return fmt.Errorf("%q and %q are not apart", s.From, s.Dataset)
	case s.FromGUID == "" || !of(s.FromGUID):
		return fmt.Errorf("the snapshot with the guid %q is none of '%s'", s.FromGUID, r.Name)
	}
	return nil
}

func (j *job) showRename(_ context.Context, i, _ int) ([]string, error) {
	s := &j.r.Steps[i]
	kind := j.r.Target.Kind
	if s.Dataset != j.r.Target.Name {
		kind = "filesystem" // one above the target
	}
	return shown(j.x.target(j.r), zfs.RenameArgv(kind, s.From, s.Dataset))
}

// rename renames the dataset that the plan found, if it still is the same and has the
// snapshot by which it was found. A dataset that has the new name already is not renamed
// again.
func (j *job) rename(ctx context.Context, i, _ int) error {
	s := &j.r.Steps[i]
	host := j.x.target(j.r)
	what := fmt.Sprintf("cannot rename '%s' to '%s'", s.From, s.Dataset)
	// Another run may be working on the copy under its old name.
	unlock, err := j.x.lock(&record.Target{Host: j.r.Target.Host, Name: renamed(j.r, s), ZPoolGUID: j.r.Target.ZPoolGUID})
	if err != nil {
		return err
	}
	defer unlock()
	got, err := host.Existing(ctx, []string{"type", "guid", "mounted"}, []string{s.From, s.Dataset})
	if err != nil {
		return wrap(err, "%s: cannot look at them", what)
	}
	old, is := got[s.From]
	now, taken := got[s.Dataset]
	switch {
	case taken && now.Props["guid"].Value == s.GUID:
		j.result(i).Done = true
		return nil
	case taken:
		return failf(record.KindMovedOn, "%s: there is another dataset of that name", what)
	case !is || old.Props["guid"].Value != s.GUID:
		return failf(record.KindMovedOn, "%s: it is not any more the dataset that the plan found", what)
	}
	full := renamed(j.r, s) + "@" + s.Snapshot
	found, err := host.Find(ctx, []string{full})
	switch {
	case err != nil:
		return wrap(err, "%s: cannot look for '%s'", what, full)
	case found[full].GUID != s.FromGUID:
		return failf(record.KindMovedOn, "%s: '%s', which it has in common with '%s', is not there any more", what, full, j.r.Name)
	}
	if err := host.Rename(ctx, kindOf(&old), s.From, s.Dataset); err != nil {
		return wrap(err, "%s", what)
	}
	j.x.env.Verbosef("renamed '%s' to '%s'", s.From, s.Dataset)
	j.result(i).Done = true
	return nil
}
