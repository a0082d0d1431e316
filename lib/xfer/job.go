package xfer

import (
	"context"
	"errors"
	"sync"

	"zab/lib/chain"
	"zab/lib/cli"
	"zab/lib/journal"
	"zab/lib/lock"
	"zab/lib/record"
	"zab/lib/stream"
	"zab/lib/zfs"
)

// stage has the state that all jobs of a run share. It is the coordinator's worker.
type stage struct {
	env   *cli.Env
	o     *Options
	meter *stream.Meter
	// limiter and longStreams are shared by all streams.
	limiter     *stream.Limiter
	longStreams *stream.LongStreams
	locks       *lock.Table
	// journal notes the copies whose holds the next run may have to put right.
	journal journal.Journal
	// pinned notes which bases have no tag but the pin.
	pinned journal.Pinned
	// parents has the errors of the create-parent steps, each of which is executed once
	// even if many records have it; reserved has the reservations of pools listed so far.
	parents  onceMap[location, error]
	reserved onceMap[location, []zfs.Reservation]
}

// onceMap computes a value once for each key, even if several goroutines ask for it at
// the same time. The zero value is empty.
type onceMap[K comparable, V any] struct {
	mu sync.Mutex
	of map[K]func() V
}

// get returns the value of the key: the result of f when the key was first asked for.
func (m *onceMap[K, V]) get(key K, f func() V) V {
	m.mu.Lock()
	if m.of == nil {
		m.of = map[K]func() V{}
	}
	once, ok := m.of[key]
	if !ok {
		once = sync.OnceValue(f)
		m.of[key] = once
	}
	m.mu.Unlock()
	return once()
}

// job is a record while its steps are executed. It has one owner at a time: the
// coordinator, or the goroutine that the coordinator has given it to.
type job struct {
	x      *stage
	r      *record.Record
	number int // place in the order of arrival
	unlock func()
	// leftHold reports whether a step hold could not be released. The note in the journal
	// stays, so that the next plan looks for it.
	leftHold bool
	// progress is shown while the job is under way.
	progress *stream.Progress
	// first: the target has no snapshot yet, so it is mounted once it has one.
	first   bool
	results map[int]*record.Result
	// holds is the state of its step holds.
	holds stepHolds
	// unmade: the job failed, and its target does not exist.
	unmade bool
	// arrived has the indexes of the receive steps whose programs have ended; they count
	// only when they are verified.
	arrived []int
	// later has the indexes of the mark, hold, bookmark, unbookmark and release steps,
	// which wait for the verification.
	later []int
	// ignored has, by step, the errors of transfers that --ignore-transfer-errors lets
	// pass if the snapshot has arrived.
	ignored map[int]error
	// refused: the last stream failed at its receiver, or was given up here; said is the
	// receiver's stderr.
	refused bool
	said    string
	// warnings is how many warnings the record had before.
	warnings int
	// keep has properties, P=V, that every stream must set; see renameAside.
	keep []string
	// holdCounts has the numbers of holds, and tags the tags, of the snapshots that
	// IfHeld steps release.
	holdCounts map[sided]int64
	tags       map[sided][]string
	// zoned: the copy belongs to a zone; see zoneRefuses.
	zoned bool
	// unshared: the stream that created the copy was received with -x for the sharing
	// properties, and zfs keeps that.
	unshared bool
	// shares: a stream that may have brought sharing properties was received, or begun,
	// with -x for them; see unshare.
	shares bool
	// leftOut is how many times steps were replaced to leave snapshots out; see leaveOut.
	leftOut int
	// omitted has the warnings about snapshots left out, given if the rest arrives.
	omitted []string
}

func (x *stage) source(r *record.Record) *zfs.Host { return x.env.Machine.Host(r.Host) }
func (x *stage) target(r *record.Record) *zfs.Host { return x.env.Machine.Host(r.Target.Host) }

// side returns the host on which a step acts.
func (j *job) side(s *record.Step) *zfs.Host {
	if s.Side == record.SideSource {
		return j.x.source(j.r)
	}
	return j.x.target(j.r)
}

func (x *stage) newJob(r *record.Record, number int) *job {
	return &job{x: x, r: r, number: number, results: map[int]*record.Result{}, ignored: map[int]error{}, unlock: func() {}, warnings: len(r.Warnings), progress: x.meter.Add(sizeOf(r))}
}

func (x *stage) check(j *job) error {
	if err := check(j.r, x.env.Common.DryRun); err != nil {
		return err
	}
	j.first = !j.r.Target.Exists || len(j.r.Target.Snapshots) == 0
	return nil
}

func (x *stage) begin(ctx context.Context, j *job) error {
	if x.env.Common.DryRun {
		return nil
	}
	if ctx.Err() != nil {
		return failf(record.KindInterrupted, "cannot send '%s': interrupted before it began", j.r.Name)
	}
	unlock, err := x.lock(j.r.Target)
	if err != nil {
		return err
	}
	j.unlock = unlock
	return nil
}

func (x *stage) execute(ctx context.Context, j *job) {
	defer j.progress.Sent()
	if x.env.Common.DryRun {
		j.show(ctx)
		return
	}
	if err := j.execute(ctx); err != nil {
		j.fail(err)
	} else {
		for _, w := range j.omitted {
			j.r.Warn("%s", w)
		}
	}
	if j.r.Error != nil && hopeless(j.r.Error.Kind) {
		j.giveUp(ctx)
	}
}

// fail puts the error that ends the job into its record, and notes in unmade whether the
// target does not exist.
func (j *job) fail(err error) {
	fail(j.r, err)
	j.unmade = !j.r.Target.Exists && len(j.arrived) == 0
}

// failedTargets returns the targets below which nothing can be received because this job
// has failed.
func (j *job) failedTargets() (names []string) {
	if j.r.Error == nil || j.x.env.Common.DryRun {
		return nil
	}
	moved := j.childrenMoved()
	if j.unmade || moved {
		names = append(names, j.r.Target.Name)
	}
	for i := range j.r.Steps {
		if moved && j.r.Steps[i].Do == record.DoRename {
			names = append(names, j.r.Steps[i].Dataset)
		}
	}
	return names
}

// end completes the record, unlocks its target, and reports its error and new warnings.
func (x *stage) end(j *job) {
	r := j.r
	r.Results = nil
	for i := range r.Steps {
		if res := j.results[i]; res != nil {
			r.Results = append(r.Results, *res)
		}
	}
	if r.Error == nil && r.Target.Pin != "" && !j.leftHold {
		x.journal.Done(chain.WithoutPool(r.Target.Pin), r.Target.Name)
		j.notePinned()
	}
	j.unlock()
	j.progress.Done()
	switch {
	case r.Error == nil:
	case len(j.results) == 0 && r.Error.Kind == record.KindInterrupted:
		// The signal itself is reported once, not for each waiting job.
		x.env.Fail()
	default:
		x.env.Report(r)
	}
	for _, w := range r.Warnings[j.warnings:] {
		x.env.Warnf("%s", w)
	}
}

// drop notes that the jobs will not be begun.
func (x *stage) drop(jobs []*job) {
	for _, j := range jobs {
		j.progress.Drop()
	}
}

// result returns the result of step i, which is made when the step is first tried.
func (j *job) result(i int) *record.Result {
	res := j.results[i]
	if res == nil {
		res = &record.Result{Step: i, Do: j.r.Steps[i].Do}
		j.results[i] = res
	}
	return res
}

func (j *job) execute(ctx context.Context) error {
	if !j.holds.asked {
		j.x.note([]*job{j})() // hold did not, for there was nothing to hold
	}
	if j.holds.moved != nil {
		return j.holds.moved
	}
	for i := 0; i < len(j.r.Steps); i++ {
		s := &j.r.Steps[i]
		if kinds[s.Do].do == nil {
			j.later = append(j.later, i)
			continue
		}
		// Steps after a hold or a release may depend on it, and nothing may be
		// destroyed on the strength of a transfer that is not verified.
		if len(j.later) > 0 || len(j.arrived) > 0 && s.Do != record.DoReceive && s.Do != record.DoCreateParent {
			j.x.commit(ctx, []*job{j})
			if j.r.Error != nil {
				return nil
			}
		}
		n := stepsTogether(j.r.Steps[i:])
		if err := kinds[s.Do].do(j, ctx, i, n); err != nil {
			j.unshareNow(ctx)
			for k := i; k < i+n; k++ {
				if res := j.result(k); !res.Done {
					res.Message = err.Error()
				}
			}
			if ctx.Err() != nil {
				return interrupted(ctx, err)
			}
			return err
		}
		i += n - 1
	}
	return nil
}

// lock takes the locks on a target and returns the function that drops them. If another
// run has one, the error is of KindLocked.
func (x *stage) lock(t *record.Target) (unlock func(), err error) {
	unlock = func() {}
	for _, name := range lockNames(t) {
		release, err := x.locks.Take(name)
		if err != nil {
			unlock()
			var taken *lock.Taken
			if errors.As(err, &taken) {
				return func() {}, failf(record.KindLocked, "cannot work on '%s': %s", t.Name, taken)
			}
			return func() {}, err
		}
		before := unlock
		unlock = func() { release(); before() }
	}
	return unlock, nil
}

// lockNames returns the names of the locks on a target: one for the dataset in its pool,
// since a host may be called nas and root@nas, and one for the dataset on the host by the
// name used, since the guid of the pool is not always known (P8).
func lockNames(t *record.Target) []string {
	names := []string{t.Host + "\x00" + t.Name}
	if t.ZPoolGUID != "" {
		// No name of a host begins with NUL.
		names = append(names, "\x00"+t.ZPoolGUID+"\x00"+t.Name)
	}
	return names
}

// interrupted returns the error, of KindInterrupted, of a step that a signal ended.
func interrupted(ctx context.Context, err error) error {
	var f *failure
	if errors.As(err, &f) && f.kind == record.KindInterrupted {
		return err
	}
	return failf(record.KindInterrupted, "%s (%s)", err, context.Cause(ctx))
}

// lists returns the record's lists of the snapshots and bookmarks on a side.
func (j *job) lists(side string) (snapshots, bookmarks *[]record.Snapshot) {
	if side == record.SideSource {
		return &j.r.Snapshots, &j.r.Bookmarks
	}
	return &j.r.Target.Snapshots, &j.r.Target.Bookmarks
}

// insert puts an entry into a list that is ordered by age. It replaces an entry of the
// same name that has another guid, and leaves one that has the same guid as it is.
func insert(list *[]record.Snapshot, e record.Snapshot) {
	for i := range *list {
		if (*list)[i].Name == e.Name {
			if (*list)[i].GUID != e.GUID {
				(*list)[i] = e
			}
			return
		}
	}
	*list = append(*list, e)
	zfs.SortByAge(*list)
}
