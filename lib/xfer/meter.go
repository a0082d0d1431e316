package xfer

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"zab/lib/pipeline"
)

// meter shows what is being sent, in one line of the terminal that it writes
// again and again. Messages go through it, so that they do not meet the line.
// A nil meter shows nothing.
type meter struct {
	mu    sync.Mutex
	w     io.Writer
	now   func() time.Time
	shown bool
	jobs  []*shown
	quit  chan struct{}
}

// shown is a transfer that is under way.
type shown struct {
	what  string
	total *int64
	moved *pipeline.Joint
	wire  *pipeline.Joint // which may have to wait for its turn
	start time.Time
}

func newMeter(w io.Writer) *meter {
	m := &meter{w: w, now: time.Now, quit: make(chan struct{})}
	go m.tick()
	return m
}

func (m *meter) tick() {
	t := time.NewTicker(500 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			m.mu.Lock()
			m.draw()
			m.mu.Unlock()
		case <-m.quit:
			return
		}
	}
}

// Write writes a message above the line.
func (m *meter) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clear()
	return m.w.Write(p)
}

func (m *meter) clear() {
	if m.shown {
		_, _ = io.WriteString(m.w, "\r\x1b[K")
		m.shown = false
	}
}

func (m *meter) draw() {
	if len(m.jobs) == 0 {
		m.clear()
		return
	}
	_, _ = io.WriteString(m.w, "\r"+m.line()+"\x1b[K")
	m.shown = true
}

// line is about the transfer that has been running longest, of those that are
// not waiting for their turn.
func (m *meter) line() string {
	s := m.jobs[max(0, slices.IndexFunc(m.jobs, func(s *shown) bool {
		waits, _ := s.wire.Waiting()
		return !waits
	}))]
	n := s.moved.Moved.Load()
	_, waited := s.wire.Waiting()
	took := m.now().Sub(s.start) - waited
	rate := float64(n) / max(took.Seconds(), 0.001)
	var b strings.Builder
	b.WriteString(humanize.IBytes(uint64(max(n, 0))))
	if s.total != nil && *s.total > 0 {
		fmt.Fprintf(&b, " of %s", humanize.IBytes(uint64(*s.total)))
	}
	fmt.Fprintf(&b, ", %s/s", humanize.IBytes(uint64(rate)))
	if s.total != nil && *s.total > n && rate > 0 {
		left := time.Duration(float64(*s.total-n) / rate * float64(time.Second))
		fmt.Fprintf(&b, ", %s left", left.Round(time.Second))
	}
	if k := len(m.jobs) - 1; k > 0 {
		fmt.Fprintf(&b, " (and %d more)", k)
	}
	what := s.what
	// The line must not wrap, or it could not be written again.
	if room := 78 - b.Len(); len(what) > room && room > 4 {
		what = "..." + what[len(what)-room+3:]
	}
	return what + " " + b.String()
}

func (m *meter) start(what string, total *int64, c *flow) *shown {
	if m == nil {
		return nil
	}
	s := &shown{what: what, total: total, moved: c.wire, wire: c.wire, start: m.now()}
	if c.stream != nil {
		s.moved = c.stream
	}
	m.mu.Lock()
	m.jobs = append(m.jobs, s)
	m.mu.Unlock()
	return s
}

func (m *meter) stop(s *shown) {
	if m == nil {
		return
	}
	m.mu.Lock()
	m.jobs = slices.DeleteFunc(m.jobs, func(o *shown) bool { return o == s })
	if len(m.jobs) == 0 {
		m.clear()
	}
	m.mu.Unlock()
}

// Close takes the line away.
func (m *meter) Close() {
	close(m.quit)
	m.mu.Lock()
	m.clear()
	m.mu.Unlock()
}
