package xfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"zab/lib/cli"
	"zab/lib/record"
)

func to(target string, origin ...string) *record.Record {
	r := &record.Record{Zab: 1, Type: "dataset", Name: "t/" + target, Target: &record.Target{Name: target}}
	r.Steps = append(r.Steps, record.Step{Do: "receive"})
	for _, o := range origin {
		r.Steps[0].Origin = o
	}
	return r
}

func never(*record.Record) bool { return false }

// fakeWorker does nothing to the jobs, and checks that no job has two owners at a time.
type fakeWorker struct {
	t *testing.T
	// Called in addition, if not nil.
	onHold, onCommit func([]*job)
	onExecute        func(*job)
	holdsNothing     bool
	refuse           func(*job) error

	mu                  sync.Mutex
	owned               map[*job]string
	holding, committing int
	executing, most     int
	held, executed      []string
	holds, commits      [][]string
	prefetches          int
	stage               stage
}

func newFake(t *testing.T) *fakeWorker {
	env := &cli.Env{Common: &cli.Common{}, Stderr: io.Discard}
	return &fakeWorker{t: t, owned: map[*job]string{}, stage: stage{env: env}}
}

// own marks the jobs as owned until the returned function is called, and fails the test
// if one is owned already.
func (f *fakeWorker) own(what string, jobs ...*job) (back func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, j := range jobs {
		if f.owned[j] != "" {
			f.t.Errorf("'%s' is with %s and with %s", j.r.Name, f.owned[j], what)
		}
		f.owned[j] = what
	}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, j := range jobs {
			delete(f.owned, j)
		}
	}
}

func targets(jobs []*job) (names []string) {
	for _, j := range jobs {
		names = append(names, j.r.Target.Name)
	}
	return names
}

func (f *fakeWorker) newJob(r *record.Record, n int) *job { return f.stage.newJob(r, n) }
func (f *fakeWorker) needsHolds(*job) bool                { return !f.holdsNothing }
func (f *fakeWorker) drop([]*job)                         {}

func (f *fakeWorker) check(j *job) error {
	if j.r.Target == nil {
		return errors.New("no target")
	}
	return nil
}

func (f *fakeWorker) begin(_ context.Context, j *job) error {
	defer f.own("begin", j)()
	if f.refuse != nil {
		return f.refuse(j)
	}
	return nil
}

// alone calls do, and sees to it that no other call with the same counter runs.
func (f *fakeWorker) alone(what string, running *int, do func([]*job), jobs []*job) {
	f.mu.Lock()
	if *running++; *running > 1 {
		f.t.Errorf("two %s at once", what)
	}
	f.mu.Unlock()
	if do != nil {
		do(jobs)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	*running--
}

func (f *fakeWorker) hold(_ context.Context, jobs []*job) {
	defer f.own("hold", jobs...)()
	f.alone("hold", &f.holding, f.onHold, jobs)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, j := range jobs {
		if f.check(j) != nil {
			f.t.Errorf("'%s' is refused, and held", j.r.Name)
			continue
		}
		if slices.Contains(f.held, j.r.Target.Name) {
			f.t.Errorf("'%s' is held twice", j.r.Target.Name)
		}
		f.held = append(f.held, j.r.Target.Name)
		j.holds.asked = true
	}
	f.holds = append(f.holds, targets(jobs))
}

func (f *fakeWorker) execute(_ context.Context, j *job) {
	defer f.own("execute", j)()
	f.mu.Lock()
	f.executing++
	f.most = max(f.most, f.executing)
	if !f.holdsNothing && !slices.Contains(f.held, j.r.Target.Name) {
		f.t.Errorf("'%s' begins before it is held", j.r.Target.Name)
	}
	f.mu.Unlock()
	if f.onExecute != nil {
		f.onExecute(j)
	}
	j.arrived = []int{0}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.executing--
	f.executed = append(f.executed, j.r.Target.Name)
}

func (f *fakeWorker) commit(_ context.Context, jobs []*job) {
	defer f.own("commit", jobs...)()
	f.alone("commit", &f.committing, f.onCommit, jobs)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.commits = append(f.commits, targets(jobs))
}

func (f *fakeWorker) prefetch([]*job) func(context.Context) {
	return func(context.Context) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.prefetches++
	}
}

func (f *fakeWorker) end(j *job) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.owned[j] != "" {
		f.t.Errorf("'%s' ends while it is with %s", j.r.Name, f.owned[j])
	}
}

// run gives the records to a coordinator, all at once or after pauses, and returns the
// names of the sources in the order in which the records were written.
func (f *fakeWorker) run(ctx context.Context, slots int, long func(*record.Record) bool, records []*record.Record, pauses ...time.Duration) []string {
	var out bytes.Buffer
	c := newCoordinator(ctx, f, slots, long, record.NewWriter(&out))
	in := make(chan *record.Record)
	go func() {
		defer close(in)
		for i, r := range records {
			if i < len(pauses) {
				time.Sleep(pauses[i])
			}
			in <- r
		}
	}()
	if err := c.run(in, func() bool { return false }, func(error) {}); err != nil {
		f.t.Error(err)
	}
	if len(c.graph.open)+len(c.graph.moving)+len(c.order.pending)+len(c.order.blocked) > 0 {
		f.t.Errorf("what is done is not forgotten: %v %v %v", c.graph, c.order.pending, c.order.blocked)
	}
	all, err := record.NewReader(&out).ReadAll()
	if err != nil {
		f.t.Error(err)
	}
	var names []string
	for _, r := range all {
		names = append(names, r.Name)
	}
	return names
}

// Parents run before children and origins before clones with any number of slots, and no
// more jobs run at once than there are slots.
func TestOrder(t *testing.T) {
	input := []*record.Record{to("b"), to("b/x"), to("b/x/y"), to("b/z"), to("c", "b/z@1"), to("d"), to("d"), to("bb")}
	for _, slots := range []int{1, 2, 8} {
		f := newFake(t)
		f.holdsNothing = true
		f.onExecute = func(j *job) {
			f.mu.Lock()
			defer f.mu.Unlock()
			for _, need := range map[string][]string{"b/x": {"b"}, "b/x/y": {"b/x", "b"}, "b/z": {"b"}, "c": {"b/z"}}[j.r.Target.Name] {
				if !slices.Contains(f.executed, need) {
					t.Errorf("%d slots: %s before %s", slots, j.r.Target.Name, need)
				}
			}
		}
		written := f.run(context.Background(), slots, never, input)
		if len(f.executed) != len(input) || len(written) != len(input) || f.most > slots {
			t.Errorf("%d slots: %v, %d at once", slots, f.executed, f.most)
		}
		if slots == 1 && !slices.Equal(f.executed, []string{"b", "b/x", "b/x/y", "b/z", "c", "d", "d", "bb"}) {
			t.Errorf("one slot: %v", f.executed)
		}
	}
}

// A long job waits for another long one, short ones pass both, and all are executed.
func TestLong(t *testing.T) {
	long := func(r *record.Record) bool { return strings.HasPrefix(r.Target.Name, "long") }
	input := []*record.Record{to("long1"), to("a"), to("long2"), to("long2/x"), to("b"), to("long3"), to("c")}
	f := newFake(t)
	together := 0
	short := make(chan struct{})
	f.onExecute = func(j *job) {
		name := j.r.Target.Name
		if name == "c" {
			close(short)
		}
		if !long(j.r) {
			return
		}
		f.mu.Lock()
		if together++; together > 1 {
			t.Errorf("%s beside another long one", name)
		}
		f.mu.Unlock()
		if name == "long1" {
			<-short // the last of the short ones
		}
		f.mu.Lock()
		together--
		f.mu.Unlock()
	}
	f.run(context.Background(), 3, long, input)
	if first := slices.Index(f.executed, "long1"); len(f.executed) != len(input) || first > slices.Index(f.executed, "long2") {
		t.Errorf("%v", f.executed)
	}
}

// Snapshots are held before their job begins: for all jobs that come at once together,
// and for jobs that come while others are under way by another call.
func TestHoldTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.onHold = func([]*job) { time.Sleep(200 * time.Millisecond) }
		f.onExecute = func(*job) { time.Sleep(time.Second) }
		var input []*record.Record
		for i := range 8 {
			input = append(input, to(fmt.Sprint("a", i)))
		}
		begun := time.Now()
		ms := time.Millisecond
		f.run(context.Background(), 2, never, input, 0, 5*ms, 5*ms, 5*ms, 100*ms, 10*ms, 3000*ms, 0)
		if len(f.holds) != 3 || len(f.holds[0]) != 4 || len(f.holds[1]) != 2 || len(f.holds[2]) != 2 {
			t.Errorf("%v", f.holds)
		}
		if took := time.Since(begun); took > 5000*ms {
			t.Errorf("it took %s", took)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		// At the end of the input the holds do not wait for more jobs.
		f := newFake(t)
		begun := time.Now()
		f.run(context.Background(), 4, never, []*record.Record{to("a"), to("b")})
		if took := time.Since(begun); took > 0 || len(f.holds) != 1 {
			t.Errorf("%s, %v", took, f.holds)
		}
	})
}

// The jobs of a batch are committed, and their records written, in the order of the plan.
func TestCommitOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.onExecute = func(j *job) { time.Sleep(time.Duration(10-j.number) * time.Second) }
		var input []*record.Record
		for _, n := range []string{"a", "b", "c", "d"} {
			input = append(input, to(n))
		}
		written := f.run(context.Background(), 4, never, input)
		if want := []string{"a", "b", "c", "d"}; len(f.commits) != 1 || !slices.Equal(f.commits[0], want) || !slices.Equal(written, []string{"t/a", "t/b", "t/c", "t/d"}) {
			t.Errorf("%v, %v", f.commits, written)
		}
	})
}

// Transfers go on while others are committed.
func TestTransfersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.onExecute = func(*job) { time.Sleep(10 * time.Second) }
		f.onCommit = func([]*job) { time.Sleep(100 * time.Second) }
		var input []*record.Record
		for i := range 16 {
			input = append(input, to(fmt.Sprint("a", i)))
		}
		begun := time.Now()
		f.run(context.Background(), 1, never, input)
		// The first batch begins after 40 s and takes until 140. All others are sent
		// until 160, and committed together.
		if took := time.Since(begun); took.Round(time.Second) != 260*time.Second || len(f.commits) != 2 || f.prefetches != 0 {
			t.Errorf("%s, %v, %d", took, f.commits, f.prefetches)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		// The commit of the others is prepared while the last jobs run.
		f := newFake(t)
		f.onExecute = func(j *job) { time.Sleep(time.Duration(j.number+1) * time.Second) }
		f.run(context.Background(), 4, never, []*record.Record{to("a"), to("b"), to("c")})
		if len(f.commits) != 1 || f.prefetches != 1 {
			t.Errorf("%v, %d", f.commits, f.prefetches)
		}
	})
}

// A received snapshot that nothing protects until its bookmark is made is committed at
// once, without waiting for others (P1).
func TestUnprotected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.onExecute = func(j *job) {
			time.Sleep(time.Second)
			j.r.Steps = append(j.r.Steps, record.Step{Do: record.DoBookmark, Side: record.SideSource})
			j.later = []int{len(j.r.Steps) - 1}
		}
		f.onCommit = func([]*job) { time.Sleep(time.Minute) }
		begun := time.Now()
		f.run(context.Background(), 1, never, []*record.Record{to("a"), to("b"), to("c")})
		// The next is received while the first is committed, and the third after that.
		if took := time.Since(begun); len(f.commits) != 3 || took.Round(time.Second) != 181*time.Second {
			t.Errorf("%v, %s", f.commits, took)
		}
	})
}

// A reader of stdout that does not read stops neither transfers nor commits.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		r, w := io.Pipe()
		c := newCoordinator(context.Background(), f, 1, never, record.NewWriter(w))
		in := make(chan *record.Record)
		go func() {
			defer close(in)
			for i := range 20 {
				f := to(fmt.Sprint("a", i))
				if i%2 == 1 {
					f.Steps = nil
				}
				in <- f
			}
		}()
		go func() {
			time.Sleep(time.Hour)
			synctest.Wait()
			f.mu.Lock()
			if len(f.executed) != 10 || len(f.commits) == 0 {
				t.Errorf("%v were executed, and %v committed", f.executed, f.commits)
			}
			f.mu.Unlock()
			_, _ = io.Copy(io.Discard, r)
		}()
		f.onExecute = func(*job) { time.Sleep(time.Minute) }
		if err := c.run(in, func() bool { return false }, func(error) {}); err != nil {
			t.Error(err)
		}
		_ = w.Close()
	})
}

// Batches are bounded, and if the commits do not keep up the transfers stop before the
// executed jobs take all memory.
func TestBatchesKeepUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.onCommit = func([]*job) { time.Sleep(time.Hour) }
		var input []*record.Record
		for i := range 4*commitCount + 10 {
			input = append(input, to(fmt.Sprint("a", i)))
		}
		go func() {
			time.Sleep(time.Minute)
			synctest.Wait()
			f.mu.Lock()
			defer f.mu.Unlock()
			if n := len(f.executed); n > 3*commitCount+4 {
				t.Errorf("%d were executed while the first %d are committed", n, commitCount)
			}
		}()
		written := f.run(context.Background(), 4, never, input)
		if len(written) != len(input) {
			t.Errorf("%d of %d were written", len(written), len(input))
		}
		for _, b := range f.commits {
			if len(b) > commitCount {
				t.Errorf("%d are committed at once", len(b))
			}
		}
	})
}

// After a signal all waiting jobs are ended and written, and executed ones are committed.
func TestSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		f := newFake(t)
		f.refuse = func(*job) error {
			if ctx.Err() != nil {
				return failf(record.KindInterrupted, "interrupted")
			}
			return nil
		}
		f.onExecute = func(*job) {
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Second):
			}
		}
		time.AfterFunc(15*time.Second, cancel)
		begun := time.Now()
		written := f.run(ctx, 1, never, []*record.Record{to("a"), to("b"), to("b/x"), to("c")})
		if took := time.Since(begun); took != 15*time.Second || len(written) != 4 || !slices.Equal(f.executed, []string{"a", "b"}) || len(f.commits) == 0 {
			t.Errorf("%s %v %v %v", took, written, f.executed, f.commits)
		}
	})
}

// A job below a target that could not be made is not begun, and its record says so.
func TestParentFailed(t *testing.T) {
	f := newFake(t)
	f.onExecute = func(j *job) {
		if j.r.Target.Name == "b" {
			j.fail(errors.New("boom"))
		}
	}
	input := []*record.Record{to("b"), to("b/x"), to("b/x/y"), to("c")}
	f.run(context.Background(), 2, never, input)
	for _, r := range input {
		kind := ""
		if r.Error != nil {
			kind = string(r.Error.Kind)
		}
		want := map[string]string{"b": "other", "b/x": string(record.KindParentFailed), "b/x/y": string(record.KindParentFailed)}[r.Target.Name]
		if kind != want {
			t.Errorf("%s: %q, want %q", r.Target.Name, kind, want)
		}
	}
}

// A record without steps fails if its copy was to move with one above it, and that failed;
// the others do not wait.
func TestMovedWithParent(t *testing.T) {
	for _, fails := range []bool{true, false} {
		f := newFake(t)
		f.onExecute = func(j *job) {
			if fails && j.r.Target.Name == "b" {
				j.fail(errors.New("boom"))
			}
		}
		still := func(name string) *record.Record {
			return &record.Record{Zab: 1, Type: "dataset", Name: "t/" + name, Target: &record.Target{Name: name, Exists: true}}
		}
		parent := to("b")
		parent.Steps = append([]record.Step{{Do: record.DoRenameAside, Dataset: "b", To: "b_diverged"}}, parent.Steps...)
		parent.Results = []record.Result{{}, {}}
		below, beside := still("b/x"), still("c")
		f.run(context.Background(), 2, never, []*record.Record{parent, below, beside})
		if failed := below.Error != nil && below.Error.Kind == record.KindParentFailed; failed != fails || beside.Error != nil {
			t.Errorf("parent fails %v: %+v, %+v", fails, below.Error, beside.Error)
		}
	}
}

// A record that is refused fails alone: datasets below its target may be received, and
// nothing is held for it while it waits.
func TestRefusedAlone(t *testing.T) {
	f := newFake(t)
	bad := to("b")
	bad.Target = nil
	bad.Steps = []record.Step{{Do: record.DoRename, Dataset: "x", From: "y"}}
	first, child := to("a"), to("b/x")
	f.run(context.Background(), 1, never, []*record.Record{first, bad, child})
	if bad.Error == nil || first.Error != nil || child.Error != nil || len(f.held) != 2 {
		t.Errorf("%+v, %+v, %+v, %v are held", bad.Error, first.Error, child.Error, f.held)
	}
}

// When stdout breaks, no more jobs are begun and no more records read.
func TestWriterBroken(t *testing.T) {
	f := newFake(t)
	f.refuse = func(*job) error { return errors.New("boom") }
	c := newCoordinator(context.Background(), f, 1, never, record.NewWriter(&gone{}))
	in, stopped := make(chan *record.Record), make(chan struct{})
	go func() {
		in <- to("a")
		<-stopped
		in <- to("b")
		close(in)
	}()
	err := c.run(in, func() bool { return true }, func(error) { f.refuse = nil; close(stopped) })
	if !errors.Is(err, syscall.EPIPE) || len(f.executed) > 0 {
		t.Errorf("%v, %v", err, f.executed)
	}
}

// When the waiting jobs are dropped, those under way are finished and no more are begun.
func TestDropRest(t *testing.T) {
	f := newFake(t)
	f.holdsNothing = true
	var out bytes.Buffer
	c := newCoordinator(context.Background(), f, 1, never, record.NewWriter(&out))
	in, goOn := make(chan *record.Record), make(chan struct{})
	f.onExecute = func(*job) { <-goOn }
	go func() {
		in <- to("a")
		in <- to("b")
		close(in)
	}()
	err := c.run(in, func() bool { close(goOn); return true }, func(error) {})
	if err != nil || !slices.Equal(f.executed, []string{"a"}) || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("%v, %v, %s", err, f.executed, &out)
	}
}

// In random runs with signals, failures, renames and readers that go away, each record is
// written once, after those above it; and each job is held first, never executed before
// the jobs that it depends on, committed if it is executed, with one owner at a time.
func TestRandomRuns(t *testing.T) {
	for seed := range uint64(400) {
		synctest.Test(t, func(t *testing.T) { randomRun(t, seed) })
	}
}

func randomRun(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	var input []*record.Record
	var names []string
	pauses := []time.Duration{}
	for k := range 1 + rng.IntN(60) {
		name := fmt.Sprint("p/", k)
		if k > 0 && rng.IntN(2) > 0 {
			name = fmt.Sprint(names[rng.IntN(k)], "/", k)
		}
		r := to(name)
		switch rng.IntN(12) {
		case 0:
			r.Steps = nil
		case 1:
			r.Steps = []record.Step{{Do: record.DoRename, Dataset: name, From: fmt.Sprint("p/old", k)}}
		case 2:
			r.Steps = append(r.Steps, record.Step{Do: record.DoBookmark, Side: record.SideSource})
		case 3:
			if k > 0 {
				r.Steps[0].Origin = names[rng.IntN(k)] + "@1"
			}
		}
		names, input = append(names, name), append(input, r)
		pauses = append(pauses, time.Duration(rng.IntN(3)/2*rng.IntN(3000))*time.Millisecond)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if rng.IntN(2) == 0 {
		time.AfterFunc(time.Duration(rng.IntN(60000))*time.Millisecond, cancel)
	}
	slots := 1 + rng.IntN(5)
	long := func(r *record.Record) bool { return len(r.Name)%3 == 0 }
	f := newFake(t)
	f.holdsNothing = rng.IntN(3) == 0
	// The seed decides how long each call takes, not the order of the calls.
	wait := func(j *job, k int) {
		select {
		case <-time.After(time.Duration((j.number*7919+k*104729+int(seed)*31)%4000) * time.Millisecond):
		case <-ctx.Done():
		}
	}
	f.refuse = func(j *job) error {
		switch {
		case ctx.Err() != nil:
			return failf(record.KindInterrupted, "interrupted")
		case j.number%7 == int(seed%11):
			return errors.New("locked")
		}
		return nil
	}
	f.onHold = func(jobs []*job) { wait(jobs[0], 1) }
	f.onCommit = func(jobs []*job) { wait(jobs[0], 2) }
	longs := 0
	f.onExecute = func(j *job) {
		f.mu.Lock()
		for i, up := range names {
			above := strings.HasPrefix(j.r.Target.Name, up+"/") || strings.HasPrefix(j.r.Steps[0].Origin, up+"@")
			if above && len(input[i].Steps) > 0 && input[i].Error == nil && !slices.Contains(f.executed, up) {
				t.Errorf("seed %d: %s before %s", seed, j.r.Target.Name, up)
			}
		}
		if long(j.r) {
			if longs++; longs > 1 {
				t.Errorf("seed %d: two long ones at once", seed)
			}
		}
		f.mu.Unlock()
		wait(j, 3)
		for i := range j.r.Steps {
			if j.r.Steps[i].Do == record.DoBookmark {
				j.later = append(j.later, i)
			}
		}
		if j.number%5 == int(seed%13) {
			j.fail(errors.New("boom"))
		}
		f.mu.Lock()
		if long(j.r) {
			longs--
		}
		f.mu.Unlock()
	}
	out := &gone{left: 1 << 30}
	if rng.IntN(3) == 0 {
		out.left = rng.IntN(len(input))
	}
	c := newCoordinator(ctx, f, slots, long, record.NewWriter(out))
	in := make(chan *record.Record)
	var readErr error
	go func() {
		defer close(in)
		for i, r := range input {
			select {
			case <-time.After(pauses[i]):
			case <-reading.Done():
			}
			select {
			case in <- r:
			case <-reading.Done():
				readErr = context.Cause(reading)
				return
			}
		}
	}()
	begun := time.Now()
	err := c.run(in, func() bool { return readErr != nil && ctx.Err() == nil }, stop)
	committed := 0
	for _, b := range f.commits {
		committed += len(b)
	}
	if committed != len(f.executed) || f.most > slots {
		t.Errorf("seed %d: %d executed, at most %d at once, %d committed", seed, len(f.executed), f.most, committed)
	}
	if c.running != 0 || c.longRuns || c.asking != nil || !c.idle() || len(c.graph.open)+len(c.graph.moving) > 0 && !c.dropped {
		t.Errorf("seed %d: it has not come to an end: %+v", seed, c)
	}
	if took := time.Since(begun); took > time.Hour/2 {
		t.Errorf("seed %d: it took %s", seed, took)
	}
	if err != nil || readErr != nil {
		return
	}
	if len(c.order.pending)+len(c.order.blocked) > 0 {
		t.Errorf("seed %d: %v %v", seed, c.order.pending, c.order.blocked)
	}
	all, _ := record.NewReader(&out.Buffer).ReadAll()
	if len(all) != len(input) {
		t.Errorf("seed %d: %d of %d were written", seed, len(all), len(input))
	}
	for i, r := range all {
		if slices.ContainsFunc(all[i+1:], func(o *record.Record) bool { return o.Name == r.Name || strings.HasPrefix(r.Name, o.Name+"/") }) {
			t.Errorf("seed %d: %s is written twice, or before what is above it", seed, r.Name)
		}
	}
}

// A rename waits for all earlier jobs at, above or below either of its names, and later
// ones wait for it.
func TestRenames(t *testing.T) {
	rename := func(target, from, to string) *record.Record {
		r := &record.Record{Zab: 1, Type: "dataset", Name: "t/" + target, Target: &record.Target{Name: target}}
		r.Steps = []record.Step{{Do: record.DoRename, Dataset: to, From: from}}
		return r
	}
	input := []*record.Record{to("b/old/x/y"), to("c"), rename("b/q", "b/old/x", "b/q"), rename("b/new/z", "b/old", "b/new"), to("b/old"), to("b/old/k"), to("b/new/other"), to("b/q/s"), to("d")}
	needs := map[string][]string{"b/q": {"b/old/x/y"}, "b/new/z": {"b/q"}, "b/old": {"b/new/z"}, "b/old/k": {"b/old", "b/new/z"}, "b/new/other": {"b/new/z"}, "b/q/s": {"b/q"}}
	f := newFake(t)
	f.onExecute = func(j *job) {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, need := range needs[j.r.Target.Name] {
			if !slices.Contains(f.executed, need) {
				t.Errorf("%s before %s", j.r.Target.Name, need)
			}
		}
	}
	if f.run(context.Background(), 4, never, input); len(f.executed) != len(input) {
		t.Errorf("%v", f.executed)
	}
}

// No record is written before one of a dataset above it.
func TestOutputOrder(t *testing.T) {
	s := newOutputOrder()
	r := map[string]*record.Record{}
	for _, n := range []string{"a", "a/b", "a/b/c", "d", "ab"} {
		r[n] = &record.Record{Type: "dataset", Name: n}
		s.expect(r[n])
	}
	var got []string
	for _, n := range []string{"a/b/c", "d", "a/b", "ab", "a"} {
		for _, r := range s.finish(r[n]) {
			got = append(got, r.Name)
		}
	}
	if !slices.Equal(got, []string{"d", "ab", "a", "a/b", "a/b/c"}) {
		t.Fatalf("%v", got)
	}
}
