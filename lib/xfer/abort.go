package xfer

import (
	"context"

	"zab/lib/record"
	"zab/lib/zfs"
)

// This file discards the part that an interrupted receive has saved.

func checkAbort(r *record.Record, s *record.Step, _ bool) error { return isAbout(s, r.Target.Name) }

func (j *job) showAbort(_ context.Context, i, _ int) ([]string, error) {
	return shown(j.x.target(j.r), zfs.AbortReceiveArgv(j.r.Steps[i].Dataset))
}

func (j *job) abort(ctx context.Context, i, _ int) error {
	s := &j.r.Steps[i]
	if err := j.abortReceive(ctx, s.Dataset); err != nil {
		return wrap(err, "cannot abort the receive into '%s'", s.Dataset)
	}
	j.r.Target.Resume, j.r.Target.ResumeToken = nil, ""
	j.result(i).Done = true
	return nil
}

// abortReceive discards the part that a receive has saved. A receive that still runs
// cannot be aborted, so it tries again: that of a killed run ends soon. If another
// program's goes on, the error is of KindReceiving.
func (j *job) abortReceive(ctx context.Context, dataset string) error {
	for try := 1; ; try++ {
		err := j.x.target(j.r).AbortReceive(ctx, dataset)
		switch k := zfs.KindOf(err); {
		case err == nil || k == record.KindNotFound:
			return nil
		case k != record.KindBusy:
			return err
		case try > j.x.o.Retries || zfs.Pause(ctx, try) != nil:
			return failf(record.KindReceiving, "another program is receiving into '%s' at this moment: %s", dataset, err)
		}
	}
}

// discardPartial aborts a receive that cannot go on though its token looks right, so
// that the next run does not try the same again.
func (j *job) discardPartial(ctx context.Context, s *record.Step) {
	if err := j.abortReceive(ctx, s.Dataset); err != nil {
		j.r.Warn("cannot abort the receive into '%s': %s", s.Dataset, err)
		return
	}
	j.r.Target.Resume, j.r.Target.ResumeToken = nil, ""
}
