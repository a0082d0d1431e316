package xfer

import (
	"context"
	"sync"
	"time"

	"zab/lib/groups"
	"zab/lib/record"
	"zab/lib/zfs"
)

// commitCount and commitSnapshots bound the size of a batch, and so the memory that it
// takes; commitSoon and commitLate are the bounds of batchDelay.
const (
	commitCount     = 1000
	commitSnapshots = 100_000 // in the lists of all records of a batch
	commitSoon      = 30 * time.Second
	commitLate      = 5 * time.Minute
)

// batchDelay returns how long the first record of a batch waits for others, in a run that
// has lasted for the given time. Each program waits for the pool, so the work after the
// transfers is done for many records at once. The longer a run lasts, the longer records
// may wait, so that the number of batches grows with the logarithm of its duration; the
// bound keeps the run from looking stuck, and a received stream from staying unverified.
func batchDelay(run time.Duration) time.Duration { return min(max(run, commitSoon), commitLate) }

// commit verifies the transfers of records, mounts and marks the copies, and moves the
// holds and bookmarks, with few programs however many the records. When a signal ends the
// rest it goes on for up to 10 s, since a finished transfer is worth recording.
func (x *stage) commit(ctx context.Context, batch []*job) {
	long, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() {
		time.AfterFunc(10*time.Second, func() { cancel(context.Cause(ctx)) })
	})()
	verify(long, batch)
	looked := look(long, batch)
	unshare(long, batch, looked)
	mount(long, batch, looked)
	mark(long, batch, false)
	holds(long, batch, record.DoHold)
	mark(long, batch, true)
	bookmarks(long, batch)
	holds(long, batch, record.DoRelease)
	for _, j := range batch {
		j.arrived, j.later = nil, nil
	}
}

// prefetch returns a function that lists the descendants needed for recursive holds of
// the jobs, so that they are known when the jobs are committed. The function does not
// touch the jobs.
func (x *stage) prefetch(jobs []*job) func(context.Context) {
	var names groups.Of[*zfs.Host, string]
	for _, j := range jobs {
		for _, i := range j.later {
			if s := &j.r.Steps[i]; s.Do == record.DoHold && j.r.Error == nil {
				names.Add(j.side(s), s.Dataset+"@"+s.Snapshot)
			}
		}
	}
	return func(ctx context.Context) {
		var programs sync.WaitGroup
		for host, list := range names.All() {
			programs.Go(func() { host.Prefetch(ctx, list) })
		}
		programs.Wait()
	}
}
