package stream

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
)

// Meter shows the progress of transfers in one line of the terminal, which it redraws.
// Messages go through it, so that they do not mix with the line. A nil Meter shows
// nothing.
type Meter struct {
	mu    sync.Mutex
	w     io.Writer
	now   func() time.Time
	shown bool
	jobs  []*Shown
	quit  chan struct{}
}

// Shown is a transfer that is under way.
type Shown struct {
	what  string
	total *int64
	moved *Relay
	wire  *Relay // which may have to wait for its turn
	start time.Time
}

// NewMeter returns a meter that writes to a terminal.
func NewMeter(w io.Writer) *Meter {
	m := &Meter{w: w, now: time.Now, quit: make(chan struct{})}
	go m.tick()
	return m
}

func (m *Meter) tick() {
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
func (m *Meter) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clear()
	return m.w.Write(p)
}

func (m *Meter) clear() {
	if m.shown {
		_, _ = io.WriteString(m.w, "\r\x1b[K")
		m.shown = false
	}
}

func (m *Meter) draw() {
	if len(m.jobs) == 0 {
		m.clear()
		return
	}
	_, _ = io.WriteString(m.w, "\r"+m.line()+"\x1b[K")
	m.shown = true
}

// line returns the text about the transfer that has been running longest, of those that
// are not waiting for their turn.
func (m *Meter) line() string {
	s := m.jobs[max(0, slices.IndexFunc(m.jobs, func(s *Shown) bool {
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
	// The line must not wrap, or it could not be overwritten.
	if room := 78 - b.Len(); len(what) > room && room > 4 {
		what = "..." + what[len(what)-room+3:]
	}
	return what + " " + b.String()
}

// Start shows a transfer of total bytes, nil if that is not known.
func (m *Meter) Start(what string, total *int64, c *Flow) *Shown {
	if m == nil {
		return nil
	}
	s := &Shown{what: what, total: total, moved: c.Wire, wire: c.Wire, start: m.now()}
	if c.Stream != nil {
		s.moved = c.Stream
	}
	m.mu.Lock()
	m.jobs = append(m.jobs, s)
	m.mu.Unlock()
	return s
}

// Stop stops showing a transfer.
func (m *Meter) Stop(s *Shown) {
	if m == nil {
		return
	}
	m.mu.Lock()
	m.jobs = slices.DeleteFunc(m.jobs, func(o *Shown) bool { return o == s })
	if len(m.jobs) == 0 {
		m.clear()
	}
	m.mu.Unlock()
}

// Close removes the line and ends its redrawing.
func (m *Meter) Close() {
	close(m.quit)
	m.mu.Lock()
	m.clear()
	m.mu.Unlock()
}
