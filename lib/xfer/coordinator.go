package xfer

import (
	"context"
	"slices"
	"time"

	"zab/lib/record"
)

// worker does what the coordinator decides. While hold, execute and commit run, each in
// a goroutine of its own, the jobs that they were given are theirs.
type worker interface {
	// newJob makes the number-th job, of a record.
	newJob(r *record.Record, number int) *job
	// check looks whether the job may be begun at all. Its error is that of the job alone.
	check(*job) error
	// begin takes the locks of the job. Its error is that of the job.
	begin(context.Context, *job) error
	// needsHolds reports whether hold has something to do for the job.
	needsHolds(*job) bool
	// hold holds what jobs are to send.
	hold(context.Context, []*job)
	// execute executes the steps of a job, save those that wait for its being committed.
	execute(context.Context, *job)
	// commit verifies what jobs have sent, and moves their holds.
	commit(context.Context, []*job)
	// prefetch returns what may be done for the commit of jobs beforehand, and needs
	// nothing of them.
	prefetch([]*job) func(context.Context)
	// end finishes a job, whose record is written next.
	end(*job)
}

// coordinator decides what is done when. It owns every record from the moment when it
// was read until it is written, except while the worker has its job, which it gets back
// through a channel: no two goroutines ever look at one record.
//
//	waiting -> executing -> executed -> committing -> finished
//
// A job begins when the graph allows it and a slot is free. What it sends is held before,
// for the first of them by asking for it, and for all others at the same time, while they
// wait. It gives up its slot when its steps are executed, and is committed together with
// others, while further jobs go on.
type coordinator struct {
	ctx    context.Context
	work   worker
	slots  int // how many jobs may be executing, or asking to be held
	isLong func(*record.Record) bool
	output *orderedWriter

	graph   graph
	reading bool // more may come
	dropped bool // nothing more is begun
	came    int  // how many jobs have come
	// failed are the targets below which nothing can be received.
	failed map[location]bool

	waiting  []*node // in the order in which they came
	running  int     // how many jobs have a slot
	longRuns bool    // one of them is long
	executed []*node // wait to be committed
	// lastCame and firstExecuted are since when nothing has come, and since when the first
	// of the executed has waited.
	begun, lastCame, firstExecuted time.Time

	asking, holding, committing []*node
	prefetched, fetching        bool
	// finished are the records that are to be written.
	finished []*record.Record

	held, fetched, committed chan struct{}
	done                     chan *node // executed
}

// maxWaiting is how many records are read ahead, so that those with nothing to do pass
// by: each takes memory.
const maxWaiting = 1024

// quiet is how long nothing must have come before what all those send that have come is
// held. Records come at once, if they come from a zab-thin: one program for all.
const quiet = 20 * time.Millisecond

func newCoordinator(ctx context.Context, work worker, slots int, isLong func(*record.Record) bool, output *orderedWriter) *coordinator {
	return &coordinator{
		ctx: ctx, work: work, slots: slots, isLong: isLong, output: output, begun: time.Now(),
		graph: newGraph(), reading: true, failed: map[location]bool{},
		held: make(chan struct{}), fetched: make(chan struct{}), committed: make(chan struct{}), done: make(chan *node),
	}
}

// run works on the records of a channel until it is closed and all are written. Its
// error is that of the writing: after one, nothing more is begun, what is under way comes
// to its end, and stop is called so that no more is read. At the end of the channel dropRest
// tells whether what waits is not to be begun.
func (c *coordinator) run(in <-chan *record.Record, dropRest func() bool, stop func(error)) (err error) {
	signal := c.ctx.Done()
	// Somebody who reads slowly, or does not read, keeps neither transfers nor commits
	// from going on.
	write, failed := make(chan *record.Record), make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for r := range write {
			if err := c.output.write(r); err != nil {
				failed <- err
				break
			}
		}
		for range write {
		}
	}()
	defer func() {
		close(write)
		<-ended
		if err == nil && len(failed) > 0 {
			err = <-failed
		}
	}()
	for {
		c.beginJobs()
		c.holdQueued()
		c.prefetch()
		if c.commit() {
			continue // there may be room for more jobs now
		}
		if c.idle() {
			return err
		}
		from := in
		if len(c.waiting) >= maxWaiting || len(c.finished) >= maxWaiting {
			from = nil
		}
		to, next := write, (*record.Record)(nil)
		if len(c.finished) > 0 {
			next = c.finished[0]
		} else {
			to = nil
		}
		timer := time.NewTimer(c.nextDue())
		select {
		case r, more := <-from:
			if more {
				c.add(r)
				break
			}
			in, c.reading = nil, false
			if dropRest() {
				c.drop()
			}
		case to <- next:
			c.finished = c.finished[1:]
		case err = <-failed:
			c.drop()
			stop(err)
		case <-c.held:
			c.executeHeld()
		case n := <-c.done:
			c.executeDone(n)
		case <-c.committed:
			c.endCommitted()
		case <-c.fetched:
			c.fetching = false
		case <-timer.C:
		case <-signal:
			signal = nil
		}
		timer.Stop()
	}
}

func (c *coordinator) idle() bool {
	return !c.reading && len(c.waiting) == 0 && c.running == 0 && len(c.executed) == 0 && c.committing == nil && c.holding == nil && !c.fetching && len(c.finished) == 0
}

// nextDue is how long until something is to be done though nothing has happened.
func (c *coordinator) nextDue() time.Duration {
	next := time.Hour
	if len(c.asking) > 0 && c.holding == nil {
		next = min(next, time.Until(c.lastCame.Add(quiet)))
	}
	if len(c.executed) > 0 && c.committing == nil {
		next = min(next, time.Until(c.commitDue()))
	}
	return next
}

// add takes a record that was read. One with nothing to do passes by.
func (c *coordinator) add(r *record.Record) {
	c.output.expect(r)
	switch {
	case !acts(r):
		c.write(r)
	case !c.dropped:
		n := &node{job: c.work.newJob(r, c.came), long: c.isLong(r)}
		c.came++
		c.lastCame = time.Now()
		c.graph.add(n)
		c.waiting = append(c.waiting, n)
	}
}

// drop forgets the jobs that wait.
func (c *coordinator) drop() { c.dropped, c.waiting = true, nil }

// beginJobs begins as many jobs as there are slots for. None begins where the batches
// do not keep up, for what is executed takes memory until it is committed; nor while a
// snapshot that is received waits for its bookmark with nothing else to protect it.
func (c *coordinator) beginJobs() {
	for c.running < c.slots && len(c.executed) < 2*commitCount && snapshotsOf(c.executed) < 2*commitSnapshots && len(c.finished) < 2*maxWaiting && !c.hasUnprotected() {
		n := c.next()
		if n == nil {
			return
		}
		if err := c.work.check(n.job); err != nil {
			fail(n.job.r, err)
			c.graph.finish(n)
			c.end(n)
			continue
		}
		c.running++
		c.longRuns = c.longRuns || n.long
		var err error
		if c.ctx.Err() == nil {
			err = c.checkParent(n.job.r)
		}
		if err == nil {
			err = c.work.begin(c.ctx, n.job)
		}
		switch {
		case err != nil:
			n.job.fail(err)
			c.executeDone(n)
		case !n.job.holds.asked && c.work.needsHolds(n.job):
			c.asking = append(c.asking, n)
		default:
			c.execute(n)
		}
	}
}

// hasUnprotected reports whether a received snapshot waits for its bookmark.
func (c *coordinator) hasUnprotected() bool {
	return slices.ContainsFunc(c.executed, func(n *node) bool { return n.job.unprotected() })
}

// next takes the first job of those that wait that may begin; nil where there is none.
func (c *coordinator) next() *node {
	for i, n := range c.waiting {
		if !n.ready() || n.long && c.longRuns {
			continue
		}
		if n.holding {
			return nil // soon
		}
		c.waiting = slices.Delete(c.waiting, i, i+1)
		return n
	}
	return nil
}

// checkParent fails where a dataset above the record's target was to be received by this
// run and was not.
func (c *coordinator) checkParent(r *record.Record) (err error) {
	if r.Target == nil {
		return nil
	}
	targetOf(r).above(func(l location) bool {
		if c.failed[l] {
			err = failf(record.KindParentFailed, "cannot send '%s' to '%s': its parent '%s' could not be received", r.Name, r.Target.Name, l.dataset)
		}
		return err != nil
	})
	return err
}

// holdQueued has held what is sent by the jobs that ask for it and by all that wait, when
// nothing more comes for the moment.
func (c *coordinator) holdQueued() {
	if len(c.asking) == 0 || c.holding != nil {
		return
	}
	if c.reading && len(c.waiting) < maxWaiting && time.Since(c.lastCame) < quiet {
		return
	}
	c.holding, c.asking = c.asking, nil
	asked := len(c.holding)
	for _, n := range c.waiting {
		if !n.job.holds.asked {
			n.holding = true
			c.holding = append(c.holding, n)
		}
	}
	for _, n := range c.holding[:asked] {
		n.asking = true
	}
	jobs := jobsOf(c.holding)
	go func() {
		c.work.hold(c.ctx, jobs)
		c.held <- struct{}{}
	}()
}

// executeHeld executes the jobs that have asked.
func (c *coordinator) executeHeld() {
	for _, n := range c.holding {
		n.holding = false
		if n.asking {
			n.asking = false
			c.execute(n)
		}
	}
	c.holding = nil
}

func (c *coordinator) execute(n *node) {
	go func() {
		c.work.execute(c.ctx, n.job)
		c.done <- n
	}()
}

// executeDone takes a job back whose steps are executed, or that could not begin.
func (c *coordinator) executeDone(n *node) {
	j := n.job
	c.running--
	if n.long {
		c.longRuns = false
	}
	c.graph.finish(n)
	for _, name := range j.failedTargets() {
		c.failed[location{j.r.Target.Host, name}] = true
	}
	if len(j.arrived)+len(j.later) == 0 {
		c.end(n)
		return
	}
	if len(c.executed) == 0 {
		c.firstExecuted = time.Now()
	}
	c.executed = append(c.executed, n)
}

// end finishes a job, and has its record written.
func (c *coordinator) end(n *node) {
	n.ended = true
	c.work.end(n.job)
	c.write(n.job.r)
}

// write has a finished record written, and those that have waited for it.
func (c *coordinator) write(r *record.Record) {
	c.finished = append(c.finished, c.output.finish(r)...)
}

// prefetch does beforehand what can be for the last batch, while its last jobs run.
func (c *coordinator) prefetch() {
	if c.prefetched || c.reading || len(c.waiting) > 0 || c.running == 0 || c.running == c.slots || len(c.executed) == 0 {
		return
	}
	c.prefetched, c.fetching = true, true
	do := c.work.prefetch(jobsOf(c.executed))
	go func() {
		do(c.ctx)
		c.fetched <- struct{}{}
	}()
}

// commit commits what is executed, when that is enough, or has waited long enough, or
// must not wait, or when nothing else can begin before. It reports whether it did.
func (c *coordinator) commit() (begun bool) {
	if c.committing != nil || len(c.executed) == 0 {
		return false
	}
	last := c.running == 0 && (len(c.waiting) > 0 || !c.reading)
	full := len(c.executed) >= commitCount || snapshotsOf(c.executed) >= commitSnapshots
	if !last && !full && c.ctx.Err() == nil && time.Now().Before(c.commitDue()) && !c.hasUnprotected() {
		return false
	}
	n, snapshots := 0, 0
	for n < min(len(c.executed), commitCount) && snapshots < commitSnapshots {
		snapshots += snapshotsOf(c.executed[n : n+1])
		n++
	}
	c.committing, c.executed = c.executed[:n:n], c.executed[n:]
	c.firstExecuted = time.Now() // of the rest
	// Which of several streams ends first is chance; what is told of them is in the order
	// of the plan.
	slices.SortFunc(c.committing, func(a, b *node) int { return a.job.number - b.job.number })
	jobs := jobsOf(c.committing)
	go func() {
		c.work.commit(c.ctx, jobs)
		c.committed <- struct{}{}
	}()
	return true
}

// endCommitted takes the jobs of a batch back.
func (c *coordinator) endCommitted() {
	for _, n := range c.committing {
		c.end(n)
	}
	c.committing = nil
}

// commitDue is until when the first of the executed waits for others.
func (c *coordinator) commitDue() time.Time {
	return c.firstExecuted.Add(batchDelay(c.firstExecuted.Sub(c.begun)))
}

// snapshotsOf is how many snapshots the records of jobs list.
func snapshotsOf(nodes []*node) (n int) {
	for _, x := range nodes {
		n += len(x.job.r.Snapshots) + len(x.job.r.Target.Snapshots)
	}
	return n
}

func jobsOf(nodes []*node) (jobs []*job) {
	for _, n := range nodes {
		jobs = append(jobs, n.job)
	}
	return jobs
}
