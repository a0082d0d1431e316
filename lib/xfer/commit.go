package xfer

import (
	"context"
	"time"

	"zab/lib/record"
	"zab/lib/zfs"
)

// commitCount and commitSnapshots bound how much is committed at once, and with that the
// memory that it takes.
const (
	commitCount     = 1000
	commitSnapshots = 100_000 // in the lists of all records of a batch
	commitSoon      = 30 * time.Second
	commitLate      = 5 * time.Minute
)

// batchDelay is how long the first record of a batch waits for others, in a run that has
// lasted for a time. Every program waits for the pool, so what follows the transfers is
// done for many records at once. The longer a run lasts, the longer they may wait, so
// that the number of batches grows with its logarithm; but never so long that somebody
// who looks on would wonder.
func batchDelay(run time.Duration) time.Duration { return min(max(run, commitSoon), commitLate) }

// commit verifies the transfers of records, mounts and marks the copies, and moves the
// holds and bookmarks: few programs, however many the records. What has been sent is
// worth being remembered, so it goes on for a while when a signal ends the rest.
func (x *stage) commit(ctx context.Context, batch []*job) {
	if len(batch) == 0 {
		return
	}
	long, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() {
		time.AfterFunc(10*time.Second, func() { cancel(context.Cause(ctx)) })
	})()
	verify(long, batch)
	mount(long, batch)
	mark(long, batch, false)
	holds(long, batch, record.DoHold)
	mark(long, batch, true)
	bookmarks(long, batch)
	holds(long, batch, record.DoRelease)
	for _, j := range batch {
		j.arrived, j.later = nil, nil
	}
}

// prefetch returns a function that lists what the holds of jobs need to know, so that
// it is known when they are committed. The function looks at none of the jobs.
func (x *stage) prefetch(jobs []*job) func(context.Context) {
	var names groups[*zfs.Host, string]
	for _, j := range jobs {
		for _, i := range j.later {
			if s := &j.r.Steps[i]; s.Do == record.DoHold && j.r.Error == nil {
				names.add(j.side(s), s.Dataset+"@"+s.Snapshot)
			}
		}
	}
	return func(ctx context.Context) {
		for host, list := range names.all() {
			host.Foresee(ctx, list)
		}
	}
}
