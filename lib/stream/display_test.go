package stream

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/mattn/go-runewidth"
)

func p[T any](v T) *T { return &v }

const gib = 1 << 30

// What the lines say at a number of widths.
func TestDisplayLines(t *testing.T) {
	known := streamState{dataset: "tank/home/alice", snapshot: "offsite1-20261122030000", moved: 12*gib + gib/2, size: p[int64](40 * gib), rate: p(112.0 * (1 << 20))}
	unknown := streamState{dataset: "tank/home/alice", snapshot: "offsite1-20261122030000", moved: 1234567, rate: p(0.0)}
	waits := known
	waits.waits, waits.rate = true, nil
	more := known // than was estimated
	more.moved = 41 * gib
	wide := unknown
	wide.dataset = "tank/" + strings.Repeat("備份", 8)
	odd := unknown
	odd.dataset = printable("tank/\x1b[2J\u202e\xff\r\n")
	total := totalState{done: 12, known: 340, sent: 34 * gib, left: p[int64](120 * gib), rate: p(100.0 * (1 << 20))}
	count := totalState{done: 12, known: 340, more: true}
	for _, c := range []struct {
		name  string
		state interface{ line(int) string }
		width int
		want  string
	}{
		{"known", known, 119, "tank/home/alice@offsite1-20261122030000                              12 GiB of   ~40 GiB   31%   112 MiB/s   4m12s left"},
		{"known", known, 79, "tank/home/alice              12 GiB of   ~40 GiB   31%   112 MiB/s   4m12s left"},
		{"known", known, 59, "tank/home/alice      12 GiB of   ~40 GiB   31%   4m12s left"},
		{"known", known, 39, "tank/home/alice        31%   4m12s left"},
		{"known", known, 29, "tan...lice   31%   4m12s left"},
		{"known", known, 19, "tank/...alice   31%"},
		{"unknown", unknown, 79, "tank/home/alice@offsite1-20261122030000                     1.2 MiB       0 B/s"},
		{"unknown", unknown, 29, "tank/home/alice       1.2 MiB"},
		{"unknown", unknown, 19, "tan...ice   1.2 MiB"},
		{"waiting", waits, 79, "tank/home/alice@offsite1-20261122030000      12 GiB of   ~40 GiB   31%  waiting"},
		{"waiting", waits, 29, "tank/.../alice   31%  waiting"},
		{"more than estimated", more, 79, "tank/home/alice@offsite1-20261122030000         41 GiB of   ~40 GiB   112 MiB/s"},
		{"wide characters", wide, 79, "tank/備份備份備份備份備份備份備份備份                       1.2 MiB       0 B/s"},
		{"wide characters", wide, 29, "tank/備...備份備份    1.2 MiB"},
		{"control characters", odd, 79, `tank/\x1b[2J\u202e\xff\r\n@offsite1-20261122030000          1.2 MiB       0 B/s`},
		{"total", total, 79, "12 of 340 records                    34 GiB sent  ~120 GiB left  done in 20m29s"},
		{"total", total, 39, "12 of 340 records        done in 20m29s"},
		{"total", total, 29, "12 of 340      done in 20m29s"},
		{"total", total, 19, "12 of 340 records"},
		{"count", count, 79, "12 of 340+ records"},
		{"count", count, 7, "12...0+"},
	} {
		if got := c.state.line(c.width); got != c.want {
			t.Errorf("%s, %d columns:\n got %q\nwant %q", c.name, c.width, got, c.want)
		}
	}
	for width := 1; width < 150; width++ {
		for _, s := range []interface{ line(int) string }{known, unknown, waits, more, wide, odd, total, count, streamState{dataset: "a"}, totalState{}} {
			got := s.line(width)
			if n := runewidth.StringWidth(got); n > width || n == 0 {
				t.Errorf("%d of %d columns: %q", n, width, got)
			}
			if strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%d columns: %q", width, got)
			}
		}
	}
}

func TestShortened(t *testing.T) {
	for _, c := range []struct {
		s     string
		width int
		want  string
	}{
		{"tank/home", 9, "tank/home"},
		{"tank/home", 8, "ta...ome"},
		{"tank/home", 5, "t...e"},
		{"tank/home", 4, "tank"},
		{"tank/home", 1, "t"},
		{"tank/備份備份", 12, "tank... 備份"},
	} {
		if got := shortened(c.s, c.width); got != c.want {
			t.Errorf("%q, %d columns: %q", c.s, c.width, got)
		}
	}
}

func TestTimeFor(t *testing.T) {
	for _, c := range []struct {
		n    int64
		rate *float64
		want string
	}{
		{0, p(1.0), "0s"},
		{1, p(1000.0), "1s"},
		{59, p(1.0), "59s"},
		{60, p(1.0), "1m00s"},
		{3599, p(1.0), "59m59s"},
		{3600 + 61, p(1.0), "1h01m"},
		{47*3600 + 59*60, p(1.0), "47h59m"},
		{50 * 3600, p(1.0), "2d02h"},
		{1000 * 24 * 3600, p(1.0), ""},
		{1 << 62, p(1e-9), ""},
		{1, p(0.0), ""},
		{0, p(0.0), ""},
		{1, nil, ""},
	} {
		if got := timeFor(c.n, c.rate); got != c.want {
			t.Errorf("%d: %q, want %q", c.n, got, c.want)
		}
	}
}

// The rate is that of the last seconds, however often it is asked for.
func TestMeterRate(t *testing.T) {
	for _, step := range []time.Duration{100 * time.Millisecond, 700 * time.Millisecond, 3 * time.Second} {
		r := rate{span: 10 * time.Second}
		now, moved := time.Unix(0, 0), int64(0)
		if n := r.at(now, moved); n != nil {
			t.Errorf("%s: %f at the beginning", step, *n)
		}
		pass := func(d time.Duration, perSecond float64) (n *float64) {
			for end := now.Add(d); now.Before(end); n = r.at(now, moved) {
				now = now.Add(step)
				moved += int64(perSecond * step.Seconds())
			}
			return n
		}
		if n := pass(30*time.Second, 1000); n == nil || *n != 1000 {
			t.Errorf("%s: %v", step, n)
		}
		if n := pass(5*time.Second, 2000); *n < 1300 || *n > 1700 {
			t.Errorf("%s: %f after half of the time", step, *n)
		}
		if n := pass(11*time.Second, 2000); *n != 2000 {
			t.Errorf("%s: %f", step, *n)
		}
		if n := pass(20*time.Second, 0); *n != 0 || len(r.samples) > 12 {
			t.Errorf("%s: %f, %d samples", step, *n, len(r.samples))
		}
		r.forget()
		if n := r.at(now, moved); n != nil {
			t.Errorf("%s: %f anew", step, *n)
		}
	}
}
