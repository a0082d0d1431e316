package streamsum

import (
	"hash"
	"runtime"
	"sync"
	"sync/atomic"

	"zab/lib/hashfunc"
)

// queue computes the digests of pieces on all processors, and does what is to be done with
// them in the order of the stream.
type queue struct {
	idle  chan *task // tasks with a buffer; their number limits the memory
	work  chan *task
	order chan *task
	done  chan struct{}
	err   error // of the first step that failed, set before wrong
	wrong atomic.Bool
}

// task is a step in the order of the stream, after the digest of a piece if it has one.
type task struct {
	buf   []byte // nil if there is no piece
	piece []byte
	sum   hashfunc.Sum
	ready sync.WaitGroup
	do    func(*task) error
}

func newQueue(sum hashfunc.Func) *queue {
	workers := min(runtime.GOMAXPROCS(0), 8)
	n := 2*workers + 2
	q := &queue{idle: make(chan *task, n), work: make(chan *task, n), order: make(chan *task, 64), done: make(chan struct{})}
	for range n {
		q.idle <- &task{buf: make([]byte, pieceSize)}
	}
	for range workers {
		go func() {
			for t := range q.work {
				t.sum = sum.Sum(t.piece)
				t.ready.Done()
			}
		}()
	}
	go func() {
		defer close(q.done)
		for t := range q.order {
			t.ready.Wait()
			if !q.wrong.Load() {
				if err := t.do(t); err != nil {
					q.err = err
					q.wrong.Store(true)
				}
			}
			if t.buf != nil {
				q.idle <- t
			}
		}
	}()
	return q
}

// next returns a task with a buffer for a piece. It goes to digest or back.
func (q *queue) next() *task { return <-q.idle }

func (q *queue) back(t *task) { q.idle <- t }

// digest writes head and the digest of the piece to h.
func (q *queue) digest(t *task, piece []byte, h hash.Hash, head []byte) {
	t.piece = piece
	t.do = func(t *task) error {
		h.Write(head)
		h.Write(t.sum[:])
		return nil
	}
	t.ready.Add(1)
	q.work <- t
	q.order <- t
}

// do calls f after all that was queued before.
func (q *queue) do(f func() error) {
	q.order <- &task{do: func(*task) error { return f() }}
}

// failed reports whether a step failed; the following ones are left out.
func (q *queue) failed() bool { return q.wrong.Load() }

// close waits until all is done, and returns the error of the step that failed.
func (q *queue) close() error {
	close(q.work)
	close(q.order)
	<-q.done
	return q.err
}
