package stream

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mattn/go-runewidth"
)

// terminal does what a terminal does with the characters that a meter writes.
type terminal struct {
	t *testing.T

	mu            sync.Mutex
	columns, rows int
	lines         []string // also those that have left the top
	row, column   int      // of the cursor; row is an index of lines
	written       int      // bytes
}

func newTerminal(t *testing.T, columns, rows int) *terminal {
	return &terminal{t: t, columns: columns, rows: rows, lines: []string{""}}
}

func (x *terminal) size() (int, int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.columns, x.rows
}

func (x *terminal) resize(columns, rows int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.columns, x.rows = columns, rows
}

var (
	sequence = regexp.MustCompile(`^\x1b\[(\d*)([AJK])`)
	text     = regexp.MustCompile(`^[^\x00-\x1f\x7f-\x9f]+`)
)

func (x *terminal) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.written += len(p)
	for rest := string(p); rest != ""; {
		here := &x.lines[x.row]
		if m := sequence.FindStringSubmatch(rest); m != nil {
			rest = rest[len(m[0]):]
			switch m[2] {
			case "A":
				n := 1
				_, _ = fmt.Sscan(m[1], &n)
				if x.row -= n; x.row < max(0, len(x.lines)-x.rows) {
					x.t.Errorf("up %d lines, over the top", n)
				}
			case "J":
				x.lines = x.lines[:x.row+1]
				fallthrough
			case "K":
				*here = runewidth.Truncate(*here, x.column, "")
			}
			continue
		}
		switch rest[0] {
		case '\r':
			x.column, rest = 0, rest[1:]
			continue
		case '\n':
			x.column, rest = 0, rest[1:]
			if x.row++; x.row == len(x.lines) {
				x.lines = append(x.lines, "")
			}
			continue
		}
		s := text.FindString(rest)
		if s == "" {
			x.t.Fatalf("unexpected: %q", rest)
		}
		rest = rest[len(s):]
		end := x.column + runewidth.StringWidth(s)
		if end >= x.columns {
			x.t.Errorf("%q does not fit in %d columns", s, x.columns)
		}
		*here = runewidth.FillRight(runewidth.Truncate(*here, x.column, ""), x.column) + s + runewidth.TruncateLeft(*here, end, "")
		x.column = end
	}
	return len(p), nil
}

// shows compares the lines, each of which has to begin and to end as wanted, around ....
func (x *terminal) shows(when string, want ...string) {
	x.t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	got := slices.Clone(x.lines)
	for len(got) > 0 && got[len(got)-1] == "" {
		got = got[:len(got)-1]
	}
	if !slices.EqualFunc(got, want, func(g, w string) bool {
		head, tail, cut := strings.Cut(w, " ... ")
		return g == w || cut && strings.HasPrefix(g, head+" ") && strings.HasSuffix(g, " "+tail)
	}) {
		x.t.Errorf("%s:\n%s\nwant\n%s", when, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// onTerminal runs a test with a meter and a fake clock. No goroutine may be left.
func onTerminal(t *testing.T, columns, rows int, do func(*terminal, *Meter)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		x := newTerminal(t, columns, rows)
		m := newMeter(x, x.size)
		do(x, m)
		m.Close()
		m.Close()
	})
}

// drawn waits until the lines are drawn anew.
func drawn() { time.Sleep(redraw); synctest.Wait() }

func flow() *Flow {
	j := &Relay{}
	return &Flow{Stream: j, Wire: j}
}

// A terminal that takes nothing, as after Ctrl-S, stops neither the transfers nor the end
// of the process.
func TestMeterStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &stoppedTerminal{stopped: make(chan struct{})}
		m := newMeter(w, func() (int, int) { return 80, 24 })
		begun := time.Now()
		for range 3 {
			a := m.Add(p[int64](1))
			a.Start("tank/a", "s", p[int64](1), flow())
			drawn()
			a.Stop()
			a.Sent()
			a.Done()
		}
		m.Complete()
		m.Close()
		if d := time.Since(begun); d > 3*redraw+closeTime {
			t.Errorf("it took %s", d)
		}
		close(w.stopped)
	})
}

type stoppedTerminal struct{ stopped chan struct{} }

func (w *stoppedTerminal) Write(p []byte) (int, error) { <-w.stopped; return len(p), nil }

func TestMeter(t *testing.T) {
	onTerminal(t, 80, 24, func(x *terminal, m *Meter) {
		drawn()
		x.shows("before the first record")
		fmt.Fprintln(m, "message 1")
		a, b, c := m.Add(p[int64](8<<20)), m.Add(p[int64](2<<20)), m.Add(p[int64](1<<20))
		drawn()
		x.shows("nothing is sent yet", "message 1", "0 of 3+ records")
		m.Complete()
		fa, fb := flow(), flow()
		a.Start("tank/a", "1", p[int64](6<<20), fa)
		b.Start("tank/b", "1", p[int64](2<<20), fb)
		fa.Stream.Moved.Add(1 << 20)
		fb.Stream.Moved.Add(1 << 20)
		drawn()
		x.shows("too early for a rate", "message 1",
			"tank/b@1 ... 1.0 MiB of  ~2.0 MiB   50%",
			"tank/a@1 ... 1.0 MiB of  ~6.0 MiB   16%",
			"0 of 3 records ... 2.0 MiB sent  ~9.0 MiB left")
		fmt.Fprint(m, "message 2\nmessage 3\n")
		x.shows("messages", "message 1", "message 2", "message 3",
			"tank/b@1 ... 50%", "tank/a@1 ... 16%", "0 of 3 records ... ~9.0 MiB left")
		for range 8 {
			fa.Stream.Moved.Add(1 << 18)
			drawn()
		}
		x.shows("with rates", "message 1", "message 2", "message 3",
			"tank/b@1 ... 50%       0 B/s",
			"tank/a@1 ... 3.0 MiB of  ~6.0 MiB   50%   512 KiB/s      6s left",
			"0 of 3 records ... 4.0 MiB sent  ~7.0 MiB left  done in 8s")
		x.resize(20, 24)
		drawn()
		x.shows("20 columns", "message 1", "message 2", "message 3",
			"tank/b@1        50%", "tank/a@1        50%", "0 of 3   done in 9s")
		x.resize(80, 24)
		// The stream of b breaks off, and its rest has no known size.
		b.Stop()
		b.Start("tank/b", "1", nil, flow())
		fa.Stream.waits.Store(time.Now().UnixNano())
		drawn()
		x.shows("begun again", "message 1", "message 2", "message 3",
			"tank/b@1 ... 0 B",
			"tank/a@1 ... 3.0 MiB of  ~6.0 MiB   50%  waiting",
			"0 of 3 records ... 4.0 MiB sent")
		b.Stop()
		b.Sent()
		fa.Stream.waits.Store(0)
		fa.Stream.Moved.Add(3 << 20)
		a.Stop()
		a.Start("tank/a", "2", p[int64](2<<20), flow())
		c.Drop()
		drawn()
		x.shows("one has failed", "message 1", "message 2", "message 3",
			"tank/a@2 ... 0 B of  ~2.0 MiB    0%",
			"0 of 2 records ... 7.0 MiB sent  ~2.0 MiB left  done in 2s")
		a.Stop()
		a.Sent()
		a.Done()
		b.Done()
		drawn()
		x.shows("all is done", "message 1", "message 2", "message 3", "2 of 2 records ... 7.0 MiB sent")
		m.Close()
		x.shows("the end", "message 1", "message 2", "message 3")
		fmt.Fprintln(m, "message 4")
		m.Add(nil).Start("tank/c", "1", nil, flow())
		drawn()
		x.shows("after the end", "message 1", "message 2", "message 3", "message 4")
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.row != 4 || x.column != 0 {
			t.Errorf("the cursor is in line %d, column %d", x.row, x.column)
		}
	})
}

// A stream that is compressed on its way from one remote host to another has no size that
// compares with the bytes seen here.
func TestMeterCompressed(t *testing.T) {
	onTerminal(t, 80, 24, func(x *terminal, m *Meter) {
		m.Complete()
		f := &Flow{Wire: &Relay{}}
		f.Wire.Moved.Add(1000)
		m.Add(p[int64](5000)).Start("tank/a", "1", p[int64](5000), f)
		drawn()
		x.shows("compressed", "tank/a@1 ... 1000 B", "0 of 1 records ... 1000 B sent")
	})
}

// Of 100 streams as many are shown as fit, the oldest, and always the total; also on a
// terminal of one row.
func TestMeterMany(t *testing.T) {
	for _, rows := range []int{1, 2, 24, 200} {
		onTerminal(t, 80, rows, func(x *terminal, m *Meter) {
			m.Complete()
			var all []*Progress
			var want []string
			for i := range 100 {
				p := m.Add(nil)
				p.Start(fmt.Sprintf("tank/%02d", i), "1", nil, flow())
				all = append(all, p)
				if i < rows-2 {
					want = append([]string{fmt.Sprintf("tank/%02d@1 ... 0 B", i)}, want...)
				}
			}
			drawn()
			want = append(want, "0 of 100 records")
			x.shows(fmt.Sprint(rows, " rows"), want...)
			for i := range 10 {
				drawn()
				fmt.Fprintln(m, "message", i)
			}
			// All end at once, but for one.
			for _, p := range all[:99] {
				p.Stop()
				p.Sent()
				p.Done()
			}
			drawn()
			drawn() // mpb has made room
			want = nil
			for i := range 10 {
				want = append(want, fmt.Sprint("message ", i))
			}
			if rows > 2 {
				want = append(want, "tank/99@1 ... 0 B       0 B/s")
			}
			x.shows(fmt.Sprint(rows, " rows, at the end"), append(want, "99 of 100 records")...)
			m.Close()
			x.shows(fmt.Sprint(rows, " rows, after the end"), want[:10]...)
		})
	}
}

// What another program writes to the terminal is not erased; the rest of a line of the
// display may stand behind it.
func TestMeterOthers(t *testing.T) {
	onTerminal(t, 40, 24, func(x *terminal, m *Meter) {
		m.Complete()
		m.Add(nil).Start("tank/a", "1", nil, flow())
		drawn()
		for i := range 30 {
			fmt.Fprintf(x, "line %02d of another, as long as can be\n", i)
			if i%10 == 0 {
				drawn()
			}
		}
		drawn()
		m.Close()
		for i, got := range x.lines[:30] {
			if !strings.HasPrefix(got, fmt.Sprintf("line %02d of another, as long as can be", i)) {
				t.Errorf("line %d: %q", i, got)
			}
		}
		if len(x.lines) != 31 || x.lines[30] != "" {
			t.Errorf("%q", x.lines[30:])
		}
	})
}

// Streams begin and end from many goroutines while messages are written and the display
// is closed; nothing of it stays.
func TestMeterAtOnce(t *testing.T) {
	onTerminal(t, 80, 24, func(x *terminal, m *Meter) {
		var streams sync.WaitGroup
		var want []string
		for i := range 20 {
			streams.Go(func() {
				for k := range 30 {
					p := m.Add(nil)
					f := flow()
					p.Start("tank/a", fmt.Sprint(k), nil, f)
					for range 5 {
						f.Stream.Moved.Add(1000)
						time.Sleep(time.Duration(i*7+k) * time.Millisecond)
					}
					p.Stop()
					p.Sent()
					p.Done()
				}
			})
		}
		for i := range 50 {
			want = append(want, fmt.Sprint("message ", i))
			fmt.Fprintln(m, want[i])
			time.Sleep(300 * time.Millisecond)
			if i == 40 {
				streams.Go(m.Close)
			}
		}
		streams.Wait()
		x.shows("the end", want...)
	})
}

// A meter that shows nothing costs nothing.
func TestMeterNone(t *testing.T) {
	var m *Meter
	p := m.Add(nil)
	p.Start("tank/a", "1", nil, flow())
	p.Stop()
	p.Sent()
	p.Done()
	p.Drop()
	m.Complete()
	m.Close()
}
