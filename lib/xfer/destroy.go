package xfer

import (
	"context"
	"errors"
	"slices"

	"zab/lib/record"
	"zab/lib/zfs"
)

// This file destroys snapshots, each looked up by guid just before.

func checkDestroy(r *record.Record, s *record.Step, _ bool) error {
	return errors.Join(isSided(r, s), need("snapshot", s.Snapshot), need("guid", s.GUID))
}

func (j *job) showDestroy(_ context.Context, i, n int) ([]string, error) {
	var names []string
	for _, s := range j.r.Steps[i : i+n] {
		names = append(names, s.Snapshot)
	}
	s := &j.r.Steps[i]
	return shown(j.side(s), zfs.DestroyArgv(s.Dataset, names))
}

// destroyRun returns how many steps from the first on destroy snapshots of one dataset.
func destroyRun(steps []record.Step) int {
	n := 1
	for n < len(steps) && steps[n].Do == record.DoDestroy && steps[n].Side == steps[0].Side && steps[n].Dataset == steps[0].Dataset {
		n++
	}
	return n
}

// destroy destroys the snapshots of n steps together. Their guids are compared with the
// plan just before.
func (j *job) destroy(ctx context.Context, i, n int) error {
	steps := j.r.Steps[i : i+n]
	dataset, host := steps[0].Dataset, j.side(&steps[0])
	names := make([]string, n)
	for k := range steps {
		names[k] = dataset + "@" + steps[k].Snapshot
	}
	found, err := host.Find(ctx, names)
	if err != nil {
		return wrap(err, "cannot list the snapshots of '%s' before some are destroyed", dataset)
	}
	var there []string
	for k := range steps {
		row, ok := found[names[k]]
		switch {
		case !ok:
		case row.GUID != steps[k].GUID:
			return failf(record.KindMovedOn, "cannot destroy '%s': it is another snapshot of that name than when the plan was made", names[k])
		default:
			there = append(there, steps[k].Snapshot)
		}
	}
	if steps[0].Side == record.SideTarget {
		if err := j.missingOnSource(ctx, steps); err != nil {
			return err
		}
	}
	if len(there) > 0 {
		err = host.DestroySnapshots(ctx, dataset, there, nil)
	}
	if err != nil {
		if n == 1 {
			return wrap(err, "cannot destroy '%s'", names[0])
		}
		return wrap(err, "cannot destroy %d snapshots of '%s'", n, dataset)
	}
	list, _ := j.lists(steps[0].Side)
	for k := range steps {
		j.result(i + k).Done = true
		*list = slices.DeleteFunc(*list, func(s record.Snapshot) bool {
			return s.Name == steps[k].Snapshot && (s.GUID == "" || s.GUID == steps[k].GUID)
		})
	}
	return nil
}

// missingOnSource returns an error if the source has one of the target's snapshots to be
// destroyed after all. The plan destroys them because the source does not have them,
// which is also how a listing that was cut short looks.
func (j *job) missingOnSource(ctx context.Context, steps []record.Step) error {
	names := make([]string, len(steps))
	for k := range steps {
		names[k] = j.r.Name + "@" + steps[k].Snapshot
	}
	found, err := j.x.source(j.r).Find(ctx, names)
	if err != nil {
		return wrap(err, "cannot list the snapshots of '%s' before those of '%s' are destroyed that it does not have", j.r.Name, steps[0].Dataset)
	}
	for k := range steps {
		if row, ok := found[names[k]]; ok && row.GUID == steps[k].GUID {
			return failf(record.KindMovedOn, "cannot destroy '%s@%s': the source has that snapshot, '%s'", steps[k].Dataset, steps[k].Snapshot, names[k])
		}
	}
	return nil
}
