package xfer

import (
	"io"
	"strings"
	"sync"

	"zab/lib/record"
)

// guarded lets several writers of whole lines share one stream.
type guarded struct {
	mu sync.Mutex
	w  io.Writer
}

func (g *guarded) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.w.Write(p)
}

// where is a dataset on a host.
type where struct{ host, dataset string }

// above calls f with every dataset above, the nearest first, until it gives
// true.
func (w where) above(f func(where) bool) bool {
	for {
		i := strings.LastIndexByte(w.dataset, '/')
		if i < 0 {
			return false
		}
		w.dataset = w.dataset[:i]
		if f(w) {
			return true
		}
	}
}

// sink writes the records that are done with, in the order in which they
// become so, but none before a record of a dataset above it that was read
// and is not done with.
type sink struct {
	w *record.Writer
	// fail is told, once, that nobody takes what is written.
	fail func(error)

	mu      sync.Mutex
	pending map[where]int
	blocked map[where][]*record.Record
	werr    error
}

func source(r *record.Record) where { return where{r.Host, r.Name} }

// expect tells that a record was read and will be written.
func (s *sink) expect(r *record.Record) {
	s.mu.Lock()
	s.pending[source(r)]++
	s.mu.Unlock()
}

func (s *sink) write(r *record.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(r)
}

func (s *sink) put(r *record.Record) {
	me := source(r)
	if me.above(func(w where) bool {
		if s.pending[w] == 0 {
			return false
		}
		s.blocked[w] = append(s.blocked[w], r)
		return true
	}) {
		return
	}
	if s.werr == nil {
		if s.werr = s.w.Write(r); s.werr != nil {
			s.fail(s.werr)
		}
	}
	if s.pending[me]--; s.pending[me] > 0 {
		return
	}
	delete(s.pending, me)
	waiting := s.blocked[me]
	delete(s.blocked, me)
	for _, r := range waiting {
		s.put(r)
	}
}

func (s *sink) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.werr
}
