package xfer

import (
	"io"
	"sync"

	"zab/lib/record"
)

// lockedWriter lets several writers of whole lines share one stream.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// startWriter returns a channel whose records are written in a goroutine, until it is
// closed; ended is closed then. After a write that fails, whose error comes from failed, no
// more is written.
func startWriter(w *record.Writer) (records chan<- *record.Record, failed <-chan error, ended <-chan struct{}) {
	in, errs, done := make(chan *record.Record), make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		for r := range in {
			if err := w.Write(r); err != nil {
				errs <- err
				break
			}
		}
		for range in {
		}
	}()
	return in, errs, done
}

// outputOrder puts records in order: each is written when it is finished, but not while
// a record of a dataset above its source was read and is not finished.
type outputOrder struct {
	// pending counts, by source, the records that were read and are not finished; blocked
	// has the finished records, by the source that they wait for.
	pending map[location]int
	blocked map[location][]*record.Record
}

func newOutputOrder() outputOrder {
	return outputOrder{pending: map[location]int{}, blocked: map[location][]*record.Record{}}
}

// expect notes that a record was read and will be finished.
func (o *outputOrder) expect(r *record.Record) { o.pending[sourceOf(r)]++ }

// finish returns, in order, the records that may be written now that r is finished.
func (o *outputOrder) finish(r *record.Record) (next []*record.Record) {
	me := sourceOf(r)
	if me.above(func(l location) bool {
		if o.pending[l] == 0 {
			return false
		}
		o.blocked[l] = append(o.blocked[l], r)
		return true
	}) {
		return nil
	}
	next = append(next, r)
	if o.pending[me]--; o.pending[me] > 0 {
		return next
	}
	delete(o.pending, me)
	waiting := o.blocked[me]
	delete(o.blocked, me)
	for _, r := range waiting {
		next = append(next, o.finish(r)...)
	}
	return next
}
