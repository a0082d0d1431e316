package stream

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/mattn/go-runewidth"
)

// streamState is a running stream at one moment.
type streamState struct {
	dataset, snapshot string // printable
	moved             int64
	size              *int64 // estimated; nil if that is not known
	waits             bool   // for its turn
	rate              *float64
}

// line returns the text about a stream in at most that many columns.
func (s streamState) line(width int) string {
	fields := []field{{fmt.Sprintf("%8s", InBytes(s.moved)), 3}}
	within := false
	if s.size != nil && *s.size > 0 {
		fields[0].text += fmt.Sprintf(" of %9s", "~"+InBytes(*s.size))
		// An estimate that was too low says nothing of the rest.
		if within = s.moved <= *s.size; within {
			fields = append(fields, field{fmt.Sprintf("%3.0f%%", math.Floor(100*float64(s.moved)/float64(*s.size))), 1})
		}
	}
	switch {
	case s.waits:
		fields = append(fields, field{"waiting", 2})
	case s.rate != nil:
		fields = append(fields, field{fmt.Sprintf("%10s", InBytes(int64(*s.rate))+"/s"), 4})
		if within {
			if left := timeFor(*s.size-s.moved, s.rate); left != "" {
				fields = append(fields, field{fmt.Sprintf("%6s left", left), 2})
			}
		}
	}
	return layout(max(8, width/4), []string{s.dataset + "@" + s.snapshot, s.dataset}, fields, width)
}

// totalState is the state of all records at one moment.
type totalState struct {
	done, known int   // records
	more        bool  // other records may follow
	sent        int64 // bytes
	left        *int64
	rate        *float64
}

// line returns the text about all records in at most that many columns.
func (s totalState) line(width int) string {
	count := fmt.Sprintf("%d of %d", s.done, s.known)
	if s.more {
		count += "+"
	}
	var fields []field
	if s.sent > 0 {
		fields = append(fields, field{InBytes(s.sent) + " sent", 3})
	}
	if s.left != nil && *s.left > 0 {
		fields = append(fields, field{"~" + InBytes(*s.left) + " left", 2})
		if left := timeFor(*s.left, s.rate); left != "" {
			fields = append(fields, field{"done in " + left, 1})
		}
	}
	return layout(len(count), []string{count + " records", count}, fields, width)
}

// field is a part of a line; where there is too little room, that of the highest drop is
// left out first.
type field struct {
	text string
	drop int
}

// layout puts the first of the names that fits to the left and the fields to the right,
// and leaves out fields until the last, the shortest name, has that many columns or is
// complete. If it does not fit even then, it is shortened in its middle.
func layout(least int, names []string, fields []field, width int) string {
	shortest := names[len(names)-1]
	least = min(least, runewidth.StringWidth(shortest))
	for {
		right := ""
		for _, f := range fields {
			right += "  " + f.text
		}
		room := width - len(right) // fields are ASCII
		if len(fields) > 0 && room < least {
			i := slices.Index(fields, slices.MaxFunc(fields, func(a, b field) int { return cmp.Compare(a.drop, b.drop) }))
			fields = slices.Delete(fields, i, i+1)
			continue
		}
		name := shortened(shortest, room)
		if i := slices.IndexFunc(names, func(s string) bool { return runewidth.StringWidth(s) <= room }); i >= 0 {
			name = names[i]
		}
		return strings.TrimRight(runewidth.FillRight(name, room)+right, " ")
	}
}

// shortened returns s in at most that many columns, without its middle if it is longer.
func shortened(s string, width int) string {
	all := runewidth.StringWidth(s)
	if all <= width {
		return s
	}
	const gap = "..."
	if width < len(gap)+2 {
		return runewidth.Truncate(s, width, "")
	}
	head := (width - len(gap)) / 2
	tail := width - len(gap) - head
	return runewidth.Truncate(s, head, "") + runewidth.TruncateLeft(s, all-tail, gap)
}

// printable escapes what a terminal would not display as it stands.
func printable(s string) string {
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}

// InBytes returns a number of bytes with a binary unit, as in 12 GiB.
func InBytes(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// timeFor returns how long n bytes take at a rate; "" if that is not known.
func timeFor(n int64, rate *float64) string {
	const most = 1000 * 24 * time.Hour
	if rate == nil || float64(n) >= *rate*most.Seconds() {
		return ""
	}
	s := int64(math.Ceil(float64(n) / *rate))
	switch m, h := s/60, s/3600; {
	case m == 0:
		return fmt.Sprintf("%ds", s)
	case h == 0:
		return fmt.Sprintf("%dm%02ds", m, s%60)
	case h < 48:
		return fmt.Sprintf("%dh%02dm", h, m%60)
	default:
		return fmt.Sprintf("%dd%02dh", h/24, h%24)
	}
}

// rate measures how many bytes a second were moved during the last span.
type rate struct {
	span    time.Duration
	samples []sample // oldest first
}

type sample struct {
	at    time.Time
	moved int64
}

// at notes how many bytes were moved until now, and returns the rate; nil before there is
// one.
func (r *rate) at(now time.Time, moved int64) *float64 {
	if k := len(r.samples); k == 0 || now.Sub(r.samples[k-1].at) >= r.span/10 {
		r.samples = append(r.samples, sample{now, moved})
	}
	for len(r.samples) > 1 && now.Sub(r.samples[1].at) >= r.span {
		r.samples = slices.Delete(r.samples, 0, 1)
	}
	took := now.Sub(r.samples[0].at)
	if took < time.Second {
		return nil
	}
	n := float64(moved-r.samples[0].moved) / took.Seconds()
	return &n
}

// forget begins to measure anew.
func (r *rate) forget() { r.samples = nil }
