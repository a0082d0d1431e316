package xfer

import (
	"context"
	"slices"
	"time"

	"zab/lib/record"
)

// worker does the work that the coordinator hands out. hold, execute and commit run in
// goroutines of their own and own the jobs given to them until they return.
type worker interface {
	// newJob makes the job of a record; number is its place in the order of arrival.
	newJob(r *record.Record, number int) *job
	// check returns why the job may not be begun at all; no other function is then called
	// for it but end. Its error fails this job alone, not those below its target.
	check(*job) error
	// begin takes the locks of the job. Its error fails the job as one of a step would.
	begin(context.Context, *job) error
	// needsHolds reports whether hold has something to do for the job.
	needsHolds(*job) bool
	// hold puts step holds on the snapshots that the jobs will send.
	hold(context.Context, []*job)
	// execute executes the steps of a job, except those that are left to commit.
	execute(context.Context, *job)
	// commit verifies the transfers of the jobs and moves their holds.
	commit(context.Context, []*job)
	// prefetch returns a function that prepares the commit of the jobs. The function does
	// not touch the jobs.
	prefetch([]*job) func(context.Context)
	// drop is called for jobs that will not be begun. hold may own them.
	drop([]*job)
	// end completes the record of a job, which is written next.
	end(*job)
}

// coordinator decides when each job runs. It owns every record from the moment when the
// record was read until it is written, except while the worker has the record's job. Jobs
// come back through channels, so no two goroutines ever look at one record.
//
//	waiting -> executing -> executed -> committing -> finished
//
// A job begins when the graph allows it and a slot is free. Its snapshots are held before
// they are sent: the first job to begin asks for its step holds, and all jobs that wait
// get theirs at the same time. A job gives up its slot when its steps are executed, and
// is committed together with others while further jobs go on.
type coordinator struct {
	ctx    context.Context
	work   worker
	slots  int // how many jobs may be executing or asking for their step holds
	isLong func(*record.Record) bool
	output *record.Writer

	graph   graph
	order   outputOrder
	reading bool // more records may come
	dropped bool // no more jobs are begun
	came    int  // how many jobs have come
	// failed are the targets below which nothing can be received; moved are those that a
	// job renames with all that is below them.
	failed, moved map[location]bool

	waiting  []*node // in order of arrival
	running  int     // how many jobs have a slot
	longRuns bool    // one of them is long
	executed []*node // wait to be committed
	// begun is when the run began, lastCame when the last job came, firstExecuted when
	// the first of the executed jobs began to wait.
	begun, lastCame, firstExecuted time.Time

	asking, holding, committing []*node
	prefetched, fetching        bool
	// finished has the records that are ready to be written.
	finished []*record.Record

	held, fetched, committed chan struct{}
	done                     chan *node // executed
}

// maxWaiting bounds how many jobs wait, since each takes memory. Records are read ahead
// so that those without work are passed on at once.
const maxWaiting = 1024

// quiet is how long no job must have come before the step holds of all waiting jobs are
// put, unless no more can come. zab-thin hands over its records at once, so one program can
// hold for all of them, but a slow machine takes a while to read them. The time is lost
// where a record comes alone and more may come.
const quiet = 100 * time.Millisecond

func newCoordinator(ctx context.Context, work worker, slots int, isLong func(*record.Record) bool, output *record.Writer) *coordinator {
	return &coordinator{
		ctx: ctx, work: work, slots: slots, isLong: isLong, output: output, begun: time.Now(),
		graph: newGraph(), order: newOutputOrder(), reading: true, failed: map[location]bool{}, moved: map[location]bool{},
		held: make(chan struct{}), fetched: make(chan struct{}), committed: make(chan struct{}), done: make(chan *node),
	}
}

// run works on the records of a channel until the channel is closed and all records are
// written. It returns the first error of writing: after it no more jobs are begun, those
// under way are finished, and stop is called so that no more records are read. When the
// channel is closed, dropRest reports whether the waiting jobs are dropped.
func (c *coordinator) run(in <-chan *record.Record, dropRest func() bool, stop func(error)) (err error) {
	signal := c.ctx.Done()
	// Written in a goroutine, so that a slow reader of stdout, or one that does not read,
	// stops no commit, and no transfer before 2*maxWaiting finished records wait for it.
	// A record that Each passes on stops the reading of further ones, though.
	write, failed, ended := startWriter(c.output)
	defer func() {
		close(write)
		<-ended
		if err == nil && len(failed) > 0 {
			err = <-failed
		}
	}()
	broken := func(e error) {
		err = e
		c.drop()
		stop(e)
	}
	for {
		select {
		case e := <-failed:
			broken(e)
		default:
		}
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
		var to chan<- *record.Record
		var next *record.Record
		if len(c.finished) > 0 {
			to, next = write, c.finished[0]
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
			c.finished[0] = nil // or the array would keep it
			c.finished = c.finished[1:]
		case e := <-failed:
			broken(e)
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

// nextDue returns the time until holds or a commit are due even if nothing happens.
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

// add takes a record that was read. A record without work goes straight to the output,
// unless its copy moves with one above it: then it fails if that fails.
func (c *coordinator) add(r *record.Record) {
	c.order.expect(r)
	switch {
	case !acts(r) && !c.moves(r):
		c.write(r)
	case !c.dropped:
		for _, s := range r.Steps {
			if r.Target != nil && (s.Do == record.DoRename || s.Do == record.DoRenameAside || s.Do == record.DoRenameBack) {
				c.moved[location{r.Target.Host, s.Dataset}] = true
			}
		}
		n := &node{job: c.work.newJob(r, c.came), long: c.isLong(r)}
		c.came++
		c.lastCame = time.Now()
		n.refused = c.work.check(n.job)
		c.graph.add(n)
		c.waiting = append(c.waiting, n)
	}
}

// moves reports whether the copy of a record without steps is below one that a job renames.
func (c *coordinator) moves(r *record.Record) bool {
	return len(c.moved) > 0 && len(r.Steps) == 0 && r.Error == nil && r.Target != nil && r.Target.Exists &&
		targetOf(r).above(func(l location) bool { return c.moved[l] })
}

// drop discards the waiting jobs; no more are begun.
func (c *coordinator) drop() {
	c.work.drop(jobsOf(c.waiting))
	c.dropped, c.waiting = true, nil
}

// beginJobs begins as many jobs as there are free slots. None begins while the commits or
// the reader of stdout do not keep up, since executed jobs and finished records take
// memory; nor while a received snapshot is unprotected until its bookmark is made.
func (c *coordinator) beginJobs() {
	for c.running < c.slots && len(c.executed) < 2*commitCount && snapshotsOf(c.executed) < 2*commitSnapshots && len(c.finished) < 2*maxWaiting && !c.hasUnprotected() {
		n := c.next()
		if n == nil {
			return
		}
		if n.refused != nil {
			fail(n.job.r, n.refused)
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
			n.asking = true
			c.asking = append(c.asking, n)
		default:
			c.execute(n)
		}
	}
}

// hasUnprotected reports whether an executed job has a received snapshot that nothing
// protects until its bookmark is made.
func (c *coordinator) hasUnprotected() bool {
	return slices.ContainsFunc(c.executed, func(n *node) bool { return n.job.unprotected() })
}

// next removes the first job that may begin from the waiting ones and returns it; nil if
// there is none.
func (c *coordinator) next() *node {
	for i, n := range c.waiting {
		if !n.ready() || n.long && c.longRuns {
			continue
		}
		if n.holding {
			return nil // it begins when its step holds are put
		}
		c.waiting = slices.Delete(c.waiting, i, i+1)
		return n
	}
	return nil
}

// checkParent returns an error if this run failed to receive a dataset above the record's
// target.
func (c *coordinator) checkParent(r *record.Record) (err error) {
	targetOf(r).above(func(l location) bool {
		if c.failed[l] {
			err = failf(record.KindParentFailed, "cannot send '%s' to '%s': its parent '%s' could not be received", r.Name, r.Target.Name, l.dataset)
		}
		return err != nil
	})
	return err
}

// holdQueued has the step holds put for the jobs that ask for them and for all that wait,
// when no more jobs come for the moment.
func (c *coordinator) holdQueued() {
	if len(c.asking) == 0 || c.holding != nil {
		return
	}
	if c.reading && len(c.waiting) < maxWaiting && time.Since(c.lastCame) < quiet {
		return
	}
	c.holding, c.asking = c.asking, nil
	for _, n := range c.waiting {
		if !n.job.holds.asked && n.refused == nil {
			n.holding = true
			c.holding = append(c.holding, n)
		}
	}
	jobs := jobsOf(c.holding)
	go func() {
		c.work.hold(c.ctx, jobs)
		c.held <- struct{}{}
	}()
}

// executeHeld executes the jobs that asked for the step holds now put.
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

// executeDone takes back a job whose steps are executed, or that could not begin.
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

// end finishes a job and hands its record to write.
func (c *coordinator) end(n *node) {
	c.work.end(n.job)
	c.write(n.job.r)
}

// write queues a finished record for output, and the records that were held back for it.
func (c *coordinator) write(r *record.Record) {
	c.finished = append(c.finished, c.order.finish(r)...)
}

// prefetch prepares the commit of the last batch while the last jobs run.
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

// commit begins to commit the executed jobs if they fill a batch, if commitDue has come,
// if a snapshot of theirs is unprotected, after a signal, or if no other job can begin
// before. It reports whether it did.
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
	c.committing, c.executed = slices.Clone(c.executed[:n]), slices.Delete(c.executed, 0, n)
	c.firstExecuted = time.Now() // for the rest
	// Parallel streams end in any order; messages about them keep the order of the plan.
	slices.SortFunc(c.committing, func(a, b *node) int { return a.job.number - b.job.number })
	jobs := jobsOf(c.committing)
	go func() {
		c.work.commit(c.ctx, jobs)
		c.committed <- struct{}{}
	}()
	return true
}

// endCommitted takes back the jobs of a committed batch and ends them.
func (c *coordinator) endCommitted() {
	for _, n := range c.committing {
		c.end(n)
	}
	c.committing = nil
	// Those executed meanwhile wait for others from now on, or a slow machine would commit
	// more often than it need.
	c.firstExecuted = time.Now()
}

// commitDue returns until when the first executed job waits for others.
func (c *coordinator) commitDue() time.Time {
	return c.firstExecuted.Add(batchDelay(c.firstExecuted.Sub(c.begun)))
}

// snapshotsOf returns how many snapshots the records of the jobs list.
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
