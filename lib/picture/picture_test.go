package picture

import (
	"encoding/xml"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"zab/lib/schedule"
	"zab/lib/svg"
)

var update = flag.Bool("update", false, "write the golden files anew")

const now = 1795316400 // 2026-11-22 03:00:00 UTC

func parse(t rapid.TB, text string) schedule.Schedule {
	s, err := schedule.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func simulate(t rapid.TB, text, every string) *History {
	var age schedule.Age
	if every != "" {
		age = mustAge(every)
	}
	sim, err := Prepare(parse(t, text), age)
	if err != nil {
		t.Fatal(err)
	}
	return sim.Run(now)
}

// TestGolden compares pictures with those in testdata; go test -update writes them anew.
func TestGolden(t *testing.T) {
	for _, c := range []struct {
		name, schedule, every string
		width                 int
		utf8                  bool
	}{
		{"default", "10,1d1w,1w1m,1m1y", "", 80, true},
		{"hours", "1h1d,1d2w", "20min", 60, false},
		{"newest", "5", "", 20, true},
	} {
		h := simulate(t, c.schedule, c.every)
		for ext, got := range map[string]string{".txt": h.Text(c.width, c.utf8) + "\n", ".svg": h.SVG()} {
			file := filepath.Join("testdata", c.name+ext)
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			if want, err := os.ReadFile(file); err != nil || got != string(want) {
				t.Errorf("%s (%v) is\n%s", file, err, got)
			}
		}
	}
}

// TestAsScheduled checks that all snapshots drawn, and no others, are those that the
// schedule keeps of snapshots made and thinned one after the other.
func TestAsScheduled(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom([]string{"0", "3", "1d1w", "2,1d1w,1w1m", "1w1m,1d1w,7", "6h2d,1d1w", "2d9d,3d20d", "1h1d,1d3d"}).Draw(t, "schedule")
		every := rapid.SampledFrom([]string{"", "5h", "7h", "1d", "36h", "2w"}).Draw(t, "every")
		h := simulate(t, text, every)
		s, seconds := h.Schedule, h.Every.Seconds()
		sim, err := Prepare(s, h.Every)
		if err != nil {
			t.Fatal(err)
		}
		type snap = schedule.Snapshot
		var have []snap
		var at []Sample
		start := now - (sim.steps-1)*seconds
		counts := []int{}
		for n := range sim.steps {
			time := start + n*seconds
			have = append(have, snap{Time: time, CreateTXG: uint64(n)})
			var left []snap
			for i, v := range s.Decide(slices.Clone(have), time) {
				if v.Keep || i == len(have)-1 { // the newest of a dataset stays
					left = append(left, have[i])
				}
			}
			have = left
			var ages []int64
			for _, s := range slices.Backward(have) {
				ages = append(ages, time-s.Time)
			}
			at = append(at, Sample{Ages: ages})
			if n >= sim.settled {
				counts = append(counts, len(ages))
			}
		}
		for _, sample := range h.Samples {
			n := len(at) - 1
			if after := sample.After.Seconds(); after > 0 {
				n = int((after + seconds - 1) / seconds)
			}
			if !slices.Equal(sample.Ages, at[n].Ages) {
				t.Fatalf("after %s: drawn are %v, kept are %v", sample.After, sample.Ages, at[n].Ages)
			}
		}
		if slices.Min(counts) != h.Least || slices.Max(counts) != h.Most {
			t.Fatalf("%d to %d, not %d to %d", h.Least, h.Most, slices.Min(counts), slices.Max(counts))
		}
		// Every snapshot has a reason, and every reason is for a snapshot that is kept.
		all := slices.Concat(append(slices.Clone(h.Items), h.Only)...)
		slices.Sort(all)
		if all = slices.Compact(all); !slices.Equal(all, h.Last().Ages) {
			t.Fatalf("by rule %v, in all %v", all, h.Last().Ages)
		}
		checkText(t, h, rapid.IntRange(0, 200).Draw(t, "width"))
		checkSVG(t, h)
	})
}

// drawn returns the rows in the order in which they are drawn.
func drawn(h *History) []row {
	samples, items := h.rows()
	return append(samples, items...)
}

// checkText checks that each row of the text has a sign for each snapshot.
func checkText(t rapid.TB, h *History, width int) {
	lines := strings.Split(h.Text(width, false), "\n")[4:]
	for i, r := range drawn(h) {
		signs, number := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(lines[i]), r.label)), ""
		if at := strings.LastIndexByte(signs, ' '); at >= 0 {
			signs, number = signs[:at], signs[at+1:]
		}
		sum, many := 0, false
		for _, c := range signs {
			switch {
			case c == 'o':
				sum++
			case c == '#':
				sum += 10
				many = true
			case c != ' ':
				sum += int(c - '0')
			}
		}
		if number != strconv.Itoa(len(r.ages)) || sum > len(r.ages) || sum < len(r.ages) && !many {
			t.Fatalf("a row of %d snapshots is %q", len(r.ages), lines[i])
		}
		if least := 15 + 4 + 4 + leastPlot + 4; len(lines[i]) > max(width, least) {
			t.Fatalf("%d columns are %d wide: %q", width, len(lines[i]), lines[i])
		}
	}
}

// checkSVG checks that the file is well-formed and has each snapshot at its place.
func checkSVG(t rapid.TB, h *History) {
	var paths []string
	for d := xml.NewDecoder(strings.NewReader(h.SVG())); ; {
		tok, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		e, ok := tok.(xml.StartElement)
		if !ok || e.Name.Local != "path" {
			continue
		}
		for _, a := range e.Attr {
			if a.Name.Local == "d" {
				paths = append(paths, a.Value)
			}
		}
	}
	rows := drawn(h)
	if len(paths) != len(rows) {
		t.Fatalf("%d rows are drawn, not %d", len(paths), len(rows))
	}
	// The newest snapshot is at the right end of the axis.
	newest := regexp.MustCompile(`^M([\d.]+) `).FindStringSubmatch(paths[0])
	right, err := strconv.ParseFloat(newest[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	a := h.axis(plotWidth)
	for i, r := range rows {
		var want []string
		for _, age := range r.ages {
			want = append(want, svg.Number(right-plotWidth+a.At(age)))
		}
		var got []string
		for _, m := range regexp.MustCompile(`M([\d.]+) `).FindAllStringSubmatch(paths[i], -1) {
			got = append(got, m[1])
		}
		if !slices.Equal(got, slices.Compact(want)) {
			t.Fatalf("row %q is drawn at %v, not at %v", r.label, got, want)
		}
	}
}

// TestPrepare checks the interval between two snapshots, and what is too much.
func TestPrepare(t *testing.T) {
	for _, c := range []struct{ schedule, every, want, err string }{
		{"10", "", "1d", ""},
		{"0", "", "1d", ""},
		{"10,1d1w,6h2d", "", "6h", ""},
		{"1w1m,1m1y", "", "1w", ""},
		{"1w1m", "1h", "1h", ""},
		{"1s1w", "", "", "the schedule 1s1w, with a snapshot every 1s, is too much to simulate; with one every 1min it would be possible"},
		{"2000000000", "", "", "the schedule 2000000000, with a snapshot every 1d, is too much to simulate"},
		{"1y10000y", "1s", "", "the schedule 1y10000y, with a snapshot every 1s, is too much to simulate; with one every 1y it would be possible"},
	} {
		var every schedule.Age
		if c.every != "" {
			every = mustAge(c.every)
		}
		sim, err := Prepare(parse(t, c.schedule), every)
		switch {
		case err != nil:
			if err.Error() != c.err {
				t.Errorf("%s: %v", c.schedule, err)
			}
		case c.err != "" || sim.every.String() != c.want:
			t.Errorf("%s: %s, want %s%s", c.schedule, sim.every, c.want, c.err)
		}
	}
}

// TestBefore1970 checks that a schedule that reaches back further than blocks are counted
// has no block of double length.
func TestBefore1970(t *testing.T) {
	h := simulate(t, "1y100y", "")
	for i, age := range h.Last().Ages {
		if want := int64(i) * mustAge("1y").Seconds(); age != want {
			t.Fatalf("snapshot %d is %d seconds old, not %d", i, age, want)
		}
	}
}

func TestUTF8(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, false},
		{map[string]string{"LANG": "de_DE.UTF-8"}, true},
		{map[string]string{"LANG": "de_DE.utf8"}, true},
		{map[string]string{"LANG": "de_DE.UTF-8", "LC_ALL": "C"}, false},
		{map[string]string{"LANG": "C", "LC_CTYPE": "C.UTF-8"}, true},
		{map[string]string{"LANG": "de_DE@euro"}, false},
	} {
		if got := UTF8(func(name string) string { return c.env[name] }); got != c.want {
			t.Errorf("%v: %v", c.env, got)
		}
	}
}
