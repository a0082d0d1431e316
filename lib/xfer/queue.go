package xfer

import (
	"context"
	"strings"
	"sync"

	"zab/lib/dataset"
	"zab/lib/record"
)

// queue hands records to a number of workers: in the order in which they came,
// but none while one before it is not done whose target is above its own, is
// the same, or is what its clone is made from; and no long one beside another.
type queue struct {
	work func(context.Context, int, *record.Record)
	long func(*record.Record) bool
	// idle is called once, when there is nothing more for a worker to begin.
	idle func()

	mu      sync.Mutex
	cond    sync.Cond
	waiting []*item
	came    int
	busy    bool            // with a long one
	open    map[where]*item // the newest that is not done, by target
	moving  map[where]*item // the same, by what it renames, and to what
	ended   bool
	dropped bool // nothing more is begun
	workers sync.WaitGroup
}

type item struct {
	r      *record.Record
	number int // in the order in which they came
	long   bool
	after  []*item
	done   bool
}

// Without --jobs that many short streams go side by side. Two are too few where
// the network is far, for each stream waits for several round trips; more than
// four gain nothing on the machines that were measured.
const shortJobs = 4

// longStream is how many bytes make a stream a long one: about what a disk that
// turns gives in the time in which a short stream's programs wait for their pools.
const longStream = 32 << 20

// atOnce is how many records are worked on at once, and whether long streams take
// turns. A buffer is memory that was granted once, and the pipes of a user may do
// what cannot be done twice at a time.
func (o *Options) atOnce() (jobs int, turns bool) {
	switch {
	case o.jobs > 0:
		return o.jobs, false
	case o.buffer > 0 || len(o.SendPipe) > 0 || len(o.RecvPipe) > 0:
		return 1, false
	}
	return shortJobs, true
}

// isLong tells whether a record is likely to have a long stream: one that is not
// begun does not have to wait half-way.
func isLong(r *record.Record) bool {
	n := int64(0)
	add := func(p *int64) {
		if p != nil {
			n += *p
		}
	}
	for i := range r.Steps {
		switch s := &r.Steps[i]; {
		case s.Do != record.DoReceive:
		case s.Bytes != nil:
			add(s.Bytes)
		case s.From == "":
			add(r.Referenced)
		default:
			add(r.Written)
		}
	}
	return n >= longStream
}

// Reading goes on while records wait, so that those with nothing to do pass
// by; but not for ever, for each takes memory.
const maxWaiting = 1024

func newQueue(ctx context.Context, workers int, long func(*record.Record) bool, work func(context.Context, int, *record.Record), idle func()) *queue {
	q := &queue{work: work, long: long, idle: sync.OnceFunc(idle), open: map[where]*item{}, moving: map[where]*item{}}
	q.cond.L = &q.mu
	for range workers {
		q.workers.Go(func() {
			for {
				it := q.next()
				if it == nil {
					q.idle()
					return
				}
				q.work(ctx, it.number, it.r)
				q.done(it)
			}
		})
	}
	return q
}

func (q *queue) add(r *record.Record) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) >= maxWaiting && !q.dropped {
		q.cond.Wait()
	}
	if q.dropped {
		return
	}
	it := &item{r: r, number: q.came, long: q.long(r)}
	q.came++
	depends := func(w where) bool {
		for _, o := range []*item{q.open[w], q.moving[w]} {
			if o != nil {
				it.after = append(it.after, o)
			}
		}
		return false
	}
	if r.Target != nil {
		me := where{r.Target.Host, r.Target.Name}
		depends(me)
		me.above(depends)
		for i := range r.Steps {
			if o := r.Steps[i].Origin; o != "" {
				ds, _, _ := strings.Cut(o, "@")
				depends(where{r.Target.Host, ds})
			}
			if s := &r.Steps[i]; s.Do == record.DoRename {
				q.renames(it, where{r.Target.Host, s.From}, where{r.Target.Host, s.Dataset})
			}
		}
		q.open[me] = it
	}
	q.waiting = append(q.waiting, it)
	q.cond.Broadcast()
}

// renames notes that an item renames a dataset, with all below it: it waits for all
// that work on what is above or below either name, and is waited for.
func (q *queue) renames(it *item, from, to where) {
	for _, open := range []map[where]*item{q.open, q.moving} {
		for w, o := range open {
			if w.host == from.host && (related(w.dataset, from.dataset) || related(w.dataset, to.dataset)) {
				it.after = append(it.after, o)
			}
		}
	}
	q.moving[from], q.moving[to] = it, it
}

// related reports whether two datasets are the same, or one is above the other.
func related(a, b string) bool {
	return dataset.Within(a, b) || dataset.Within(b, a)
}

func (it *item) ready() bool {
	for _, o := range it.after {
		if !o.done {
			return false
		}
	}
	return true
}

// next waits for a record that may be worked on; nil when there are no more.
func (q *queue) next() *item {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		for i, it := range q.waiting {
			if it.ready() && !(it.long && q.busy) {
				q.busy = q.busy || it.long
				q.waiting = append(q.waiting[:i:i], q.waiting[i+1:]...)
				q.cond.Broadcast()
				return it
			}
		}
		if q.ended && len(q.waiting) == 0 {
			return nil
		}
		q.cond.Wait()
	}
}

// peek gives the records that wait.
func (q *queue) peek() []*record.Record {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []*record.Record
	for _, it := range q.waiting {
		out = append(out, it.r)
	}
	return out
}

func (q *queue) done(it *item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it.done = true
	if it.long {
		q.busy = false
	}
	it.after = nil // or each would keep all that came before
	if t := it.r.Target; t != nil {
		if me := (where{t.Host, t.Name}); q.open[me] == it {
			delete(q.open, me)
		}
		for w, o := range q.moving {
			if o == it {
				delete(q.moving, w)
			}
		}
	}
	q.cond.Broadcast()
}

// drop forgets the records that wait: what is worked on comes to its end, and
// nothing more is begun.
func (q *queue) drop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped, q.waiting = true, nil
	q.cond.Broadcast()
}

// finish waits until all records are done. After the end of the context the
// work on each ends at once.
func (q *queue) finish() {
	q.mu.Lock()
	q.ended = true
	q.cond.Broadcast()
	q.mu.Unlock()
	q.workers.Wait()
}
