package stream

import (
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Meter shows the progress of the transfers: a line for each stream and, below them, one
// for all records. Messages go through it, so that they do not mix with the lines. A nil
// Meter shows nothing.
//
// The library mpb draws: it keeps the lines in order, and asks each for its text when the
// time has come, with the width that the terminal has by then. display.go says what they
// say, and screen how they get on the terminal.
type Meter struct {
	screen *screen
	bars   *mpb.Progress
	close  sync.Once

	// mu is not held while mpb is called, which calls text in goroutines of its own.
	mu       sync.Mutex
	total    totalState
	rate     rate
	open     map[*Progress]bool // of which something may still be sent
	ended    int64              // bytes that the streams moved that have ended
	started  int                // streams
	complete bool
}

// redraw is the time from one drawing of the lines to the next.
const redraw = 500 * time.Millisecond

// NewMeter returns a meter that writes to a terminal, or what is to look like one.
func NewMeter(w io.Writer) *Meter { return newMeter(w, func() (int, int) { return sizeOf(w) }) }

func newMeter(w io.Writer, size func() (columns, rows int)) *Meter {
	m := &Meter{screen: newScreen(w, size), rate: rate{span: time.Minute}, open: map[*Progress]bool{}}
	m.bars = mpb.New(mpb.WithConsoleWriter(m.screen), mpb.WithRefreshRate(redraw))
	m.line(1, m.text)
	return m
}

// line adds a line; where the terminal has too few rows for all, those of the highest
// priority are shown. It returns nil after Close.
func (m *Meter) line(priority int, text func(width int) string) *mpb.Bar {
	fill := func(w io.Writer, s decor.Statistics) error {
		_, err := io.WriteString(w, text(s.AvailableWidth))
		return err
	}
	bar, _ := m.bars.Add(0, mpb.BarFillerFunc(fill), mpb.BarFillerTrim(), mpb.BarPriority(priority))
	return bar
}

// Write writes a message, which consists of whole lines, above the display.
func (m *Meter) Write(p []byte) (int, error) { return m.screen.Write(p) }

// Complete notes that all records are known.
func (m *Meter) Complete() {
	if m == nil {
		return
	}
	m.mu.Lock()
	m.complete = true
	m.mu.Unlock()
}

// Close removes the display. Messages are written as before.
func (m *Meter) Close() {
	if m == nil {
		return
	}
	m.close.Do(func() {
		m.bars.Shutdown()
		m.screen.close()
	})
}

// text returns the line about all records; "" if there is none.
func (m *Meter) text(width int) string {
	m.mu.Lock()
	s := m.state(time.Now())
	m.mu.Unlock()
	if s.known == 0 {
		return ""
	}
	return s.line(width)
}

func (m *Meter) state(now time.Time) totalState {
	s := m.total
	s.more, s.sent = !m.complete, m.ended
	left, sure := int64(0), m.complete
	for p := range m.open {
		left += p.rest
		sure = sure && p.sure
		if p.stream != nil {
			moved := p.stream.moved.Moved.Load()
			s.sent += moved
			if p.stream.size != nil {
				left += max(*p.stream.size-moved, 0)
			}
		}
	}
	if sure {
		s.left = &left
	}
	if s.sent == 0 { // before the first stream
		m.rate.forget()
	}
	s.rate = m.rate.at(now, s.sent)
	return s
}

// Progress is what a meter shows about one record. A nil Progress shows nothing.
type Progress struct {
	m *Meter
	// rest is the estimated size of the streams that have not begun; sure is whether that
	// is known, and the size of the stream that runs.
	rest   int64
	sure   bool
	stream *running // nil while none runs
}

// running is the stream of a Progress.
type running struct {
	dataset, snapshot string
	size              *int64 // estimated; nil if that is not known
	moved             *Relay
	wire              *Relay // which may have to wait for its turn
	rate              rate
	bar               *mpb.Bar
}

// Add adds a record to those that are known. Its streams have size bytes, an estimate;
// nil if that is not known.
func (m *Meter) Add(size *int64) *Progress {
	if m == nil {
		return nil
	}
	p := &Progress{m: m}
	if size != nil {
		p.rest, p.sure = *size, true
	}
	m.mu.Lock()
	m.open[p] = true
	m.total.known++
	m.mu.Unlock()
	return p
}

// Start shows a stream of the record, the only one at that time. size is the stream's
// part of the size that Add was given.
func (p *Progress) Start(dataset, snapshot string, size *int64, c *Flow) {
	if p == nil {
		return
	}
	s := &running{dataset: printable(dataset), snapshot: printable(snapshot), size: size, moved: c.Stream, wire: c.Wire, rate: rate{span: 10 * time.Second}}
	if s.moved == nil {
		// Compressed bytes do not compare with the size of the stream.
		s.moved, s.size = c.Wire, nil
	}
	m := p.m
	m.mu.Lock()
	if s.size != nil {
		p.rest -= *s.size
	}
	if s.size == nil || p.rest < 0 { // it is begun a second time
		p.rest, p.sure = 0, false
	}
	p.stream = s
	m.started++
	// The oldest stream stands at the bottom, where no other that ends moves its line.
	priority := -m.started
	m.mu.Unlock()
	s.bar = m.line(priority, func(width int) string { return p.text(s, width) })
}

// text returns the line about a stream; "" if it has ended, until mpb takes the line away.
func (p *Progress) text(s *running, width int) string {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if p.stream != s {
		return ""
	}
	state := streamState{dataset: s.dataset, snapshot: s.snapshot, moved: s.moved.Moved.Load(), size: s.size}
	if state.waits, _ = s.wire.Waiting(); state.waits {
		s.rate.forget()
	} else {
		state.rate = s.rate.at(time.Now(), state.moved)
	}
	return state.line(width)
}

// Stop stops showing the record's stream, which has ended.
func (p *Progress) Stop() {
	if p == nil {
		return
	}
	s := p.stream
	p.m.mu.Lock()
	p.m.ended += s.moved.Moved.Load()
	p.stream = nil
	p.m.mu.Unlock()
	if s.bar != nil {
		s.bar.Abort(true)
	}
}

// Sent notes that no more is sent for the record.
func (p *Progress) Sent() { p.count(0, 0) }

// Done notes that the record is done.
func (p *Progress) Done() { p.count(1, 0) }

// Drop notes that nothing will be done for the record.
func (p *Progress) Drop() { p.count(0, -1) }

func (p *Progress) count(done, known int) {
	if p == nil {
		return
	}
	p.m.mu.Lock()
	delete(p.m.open, p)
	p.m.total.done += done
	p.m.total.known += known
	p.m.mu.Unlock()
}
