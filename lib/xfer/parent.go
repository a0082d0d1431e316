package xfer

import (
	"context"
	"fmt"
	"strings"

	"zab/lib/record"
	"zab/lib/zfs"
)

// This file creates the datasets above a target, which are never mounted.

func checkCreateParent(r *record.Record, s *record.Step, _ bool) error {
	if !strings.HasPrefix(r.Target.Name, s.Dataset+"/") {
		return fmt.Errorf("%q is not above the target %q", s.Dataset, r.Target.Name)
	}
	return nil
}

// showParent returns the command for the first record that needs the parent, and none for
// the others.
func (j *job) showParent(_ context.Context, i, _ int) (commands []string, err error) {
	s := &j.r.Steps[i]
	_ = j.x.parents.get(location{j.r.Target.Host, s.Dataset}, func() error {
		commands = []string{j.x.target(j.r).Show(zfs.CreateParentArgv(s.Dataset)...)}
		return nil
	})
	return commands, nil
}

func (j *job) createParent(ctx context.Context, i, _ int) error {
	s := &j.r.Steps[i]
	err := j.x.parents.get(location{j.r.Target.Host, s.Dataset}, func() error { return j.x.target(j.r).CreateParent(ctx, s.Dataset) })
	if err != nil {
		return wrap(err, "cannot create the parent '%s'", s.Dataset)
	}
	j.result(i).Done = true
	return nil
}
