package xfer

import (
	"context"
	"strings"
	"sync"

	"zab/lib/record"
)

// queue hands records to a number of workers: in the order in which they came,
// but none while one before it is not done whose target is above its own, is
// the same, or is what its clone is made from.
type queue struct {
	work func(context.Context, *record.Record)

	mu      sync.Mutex
	cond    sync.Cond
	waiting []*item
	open    map[where]*item // the newest that is not done, by target
	ended   bool
	workers sync.WaitGroup
}

type item struct {
	r     *record.Record
	after []*item
	done  bool
}

// Reading goes on while records wait, so that those with nothing to do pass
// by; but not for ever, for each takes memory.
const maxWaiting = 1024

func newQueue(ctx context.Context, workers int, work func(context.Context, *record.Record)) *queue {
	q := &queue{work: work, open: map[where]*item{}}
	q.cond.L = &q.mu
	for range workers {
		q.workers.Go(func() {
			for {
				it := q.next()
				if it == nil {
					return
				}
				q.work(ctx, it.r)
				q.done(it)
			}
		})
	}
	return q
}

func (q *queue) add(r *record.Record) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) >= maxWaiting {
		q.cond.Wait()
	}
	it := &item{r: r}
	depends := func(w where) bool {
		if o := q.open[w]; o != nil {
			it.after = append(it.after, o)
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
		}
		q.open[me] = it
	}
	q.waiting = append(q.waiting, it)
	q.cond.Broadcast()
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
			if it.ready() {
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
	it.after = nil // or each would keep all that came before
	if t := it.r.Target; t != nil {
		if me := (where{t.Host, t.Name}); q.open[me] == it {
			delete(q.open, me)
		}
	}
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
