package xfer

import (
	"context"
	"fmt"
	"strings"

	"zab/lib/aside"
	"zab/lib/dataset"
	"zab/lib/record"
	"zab/lib/zfs"
)

func (j *job) renameBack(ctx context.Context, i, _ int) error {
	s := &j.r.Steps[i]
	host := j.x.target(j.r)
	what := fmt.Sprintf("cannot bring back to '%s' what was below it", s.Dataset)
	f, err := j.findRenaming(ctx, s)
	if err != nil {
		return err
	}
	switch f.phase {
	case aside.Lost, aside.InPlace:
		return failf(record.KindMovedOn, "%s: '%s' is gone", what, f.name)
	case aside.Taken:
		return failf(record.KindMovedOn, "%s: '%s' is another dataset than when the plan was made", what, f.name)
	case aside.Renamed:
		return failf(record.KindMovedOn, "%s: it is not there", what)
	}
	rows, err := j.below(ctx, f.name)
	if err != nil {
		return wrap(err, "%s: cannot list '%s'", what, f.name)
	}
	for _, r := range rows {
		_, last := dataset.Split(r.Dataset)
		if err := host.Rename(ctx, r.Extra[0], r.Dataset, s.Dataset+"/"+last); err != nil {
			return wrap(err, "%s: cannot rename '%s'", what, r.Dataset)
		}
	}
	j.result(i).Done = true
	return nil
}

func (j *job) showRenameBack(ctx context.Context, i, _ int) (commands []string, err error) {
	s := &j.r.Steps[i]
	_, now, name := j.showRenaming(ctx, s)
	rows, _ := j.below(ctx, now)
	for _, r := range rows {
		_, last := dataset.Split(r.Dataset)
		argv := zfs.RenameArgv(r.Extra[0], name+"/"+last, s.Dataset+"/"+last)
		commands = append(commands, j.x.target(j.r).Show(argv...))
	}
	return commands, nil
}

// below returns the children of a dataset; Extra[0] is the type of each.
func (j *job) below(ctx context.Context, dataset string) (rows []zfs.Row, err error) {
	o := zfs.ListOptions{Types: zfs.Datasets, Depth: 1, Extra: []string{"type"}}
	err = j.x.target(j.r).List(ctx, []string{dataset}, o, func(r zfs.Row) error {
		if r.Dataset != dataset && !strings.Contains(r.Dataset, "%") {
			rows = append(rows, r)
		}
		return nil
	})
	return rows, err
}

// childrenMoved reports whether the descendants of the target may be elsewhere, because a
// rename or rename-back step was not done.
func (j *job) childrenMoved() bool {
	for i := range j.r.Steps {
		do := j.r.Steps[i].Do
		if res := j.results[i]; (do == record.DoRenameBack || do == record.DoRename) && (res == nil || !res.Done) {
			return true
		}
	}
	return false
}
