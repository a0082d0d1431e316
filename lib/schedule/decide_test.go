package schedule

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func mustParse(t testing.TB, text string) Schedule {
	t.Helper()
	s, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func seconds(t testing.TB, text string) int64 {
	t.Helper()
	at, err := time.Parse("2006-01-02 15:04:05", text)
	if err != nil {
		t.Fatal(err)
	}
	return at.Unix()
}

// Each table has the snapshots in the order of their creation: name, time in the name,
// and the reasons worked out by hand, with "+" before those of snapshots to keep.
func TestDecide(t *testing.T) {
	type row struct{ name, time, why string }
	for _, test := range []struct {
		name, schedule, now string
		rows                []row
	}{
		{"newest only", "2", "2026-11-20 12:00:00", []row{
			{"a", "2026-11-17 00:00:00", "newest 2: not among them"},
			{"b", "2026-11-18 00:00:00", "+newest 2"},
			{"c", "2026-11-19 00:00:00", "+newest 2"},
		}},
		{"fewer than the newest", "10", "2026-11-20 12:00:00", []row{
			{"a", "1999-11-17 00:00:00", "+newest 10"},
			{"b", "2026-11-18 00:00:00", "+newest 10"},
		}},
		{"nothing", "0", "2026-11-20 12:00:00", []row{
			{"a", "2026-11-20 11:00:00", "0: keeps nothing"},
			{"b", "2026-11-20 11:30:00", "0: keeps nothing"},
		}},
		{"days for a week", "1d1w", "2026-11-20 12:00:00", []row{
			{"a", "2026-11-13 11:59:59", "1d1w: older than 1w"},
			// The block of the 13th straddles the ttl: its first snapshot is too old,
			// its second is not.
			{"b", "2026-11-13 12:00:00", "+1d1w: first of 2026-11-13"},
			{"c", "2026-11-13 12:00:01", "1d1w: 2026-11-13 is kept by b"},
			{"d", "2026-11-18 23:59:59", "+1d1w: first of 2026-11-18"},
			{"e", "2026-11-19 00:00:00", "+1d1w: first of 2026-11-19"},
			{"f", "2026-11-19 23:59:59", "1d1w: 2026-11-19 is kept by e"},
			{"g", "2026-11-20 12:00:00", "+1d1w: first of 2026-11-20"},
		}},
		{"any rule keeps", "1,1h1d,1w1m", "2026-11-20 12:00:00", []row{
			// Weeks begin on Thursday: 2026-11-12 and 2026-11-19 are Thursdays.
			{"a", "2026-10-21 11:59:59", "newest 1: not among them|1h1d: older than 1d|1w1m: older than 1m"},
			{"b", "2026-11-12 00:00:00", "+1w1m: first of 2026-11-12"},
			{"c", "2026-11-18 23:59:59", "newest 1: not among them|1h1d: older than 1d|1w1m: 2026-11-12 is kept by b"},
			{"d", "2026-11-19 12:00:00", "+1h1d: first of 2026-11-19T12:00:00Z|1w1m: first of 2026-11-19"},
			{"e", "2026-11-19 12:30:00", "newest 1: not among them|1h1d: 2026-11-19T12:00:00Z is kept by d|1w1m: 2026-11-19 is kept by d"},
			{"f", "2026-11-19 13:00:00", "+1h1d: first of 2026-11-19T13:00:00Z"},
			{"g", "2026-11-19 13:00:01", "+newest 1"},
		}},
		{"rules share an interval", "1d2d,1d1w", "2026-11-20 12:00:00", []row{
			// a fills its day for both rules though only 1d1w wants a snapshot as old
			// as a; so 1d2d, which by itself would keep b, does not.
			{"a", "2026-11-18 06:00:00", "+1d1w: first of 2026-11-18"},
			{"b", "2026-11-18 18:00:00", "1d2d: 2026-11-18 is kept by a|1d1w: 2026-11-18 is kept by a"},
			{"c", "2026-11-19 06:00:00", "+1d2d: first of 2026-11-19|1d1w: first of 2026-11-19"},
		}},
		{"rules share an interval, in the other order", "1d1w,1d2d", "2026-11-20 12:00:00", []row{
			{"a", "2026-11-18 06:00:00", "+1d1w: first of 2026-11-18"},
			{"b", "2026-11-18 18:00:00", "1d1w: 2026-11-18 is kept by a|1d2d: 2026-11-18 is kept by a"},
		}},
		{"one interval in two units is shared", "1d2d,24h1w", "2026-11-20 12:00:00", []row{
			{"a", "2026-11-18 06:00:00", "+24h1w: first of 2026-11-18"},
			{"b", "2026-11-18 18:00:00", "1d2d: 2026-11-18 is kept by a|24h1w: 2026-11-18 is kept by a"},
		}},
		{"intervals that differ do not share", "1d2d,12h1w", "2026-11-20 12:00:00", []row{
			{"a", "2026-11-18 11:00:00", "+12h1w: first of 2026-11-18T00:00:00Z"},
			{"b", "2026-11-18 11:30:00", "1d2d: older than 2d|12h1w: 2026-11-18T00:00:00Z is kept by a"},
			{"c", "2026-11-18 18:00:00", "+1d2d: first of 2026-11-18|12h1w: first of 2026-11-18T12:00:00Z"},
		}},
		{"an hour that happened twice", "1h1w", "2026-10-25 12:00:00", []row{
			// Local names 02:10 (summer), 02:40 (summer), 02:10 (winter): the name is
			// read as the first of the two, so time stands still or runs back while the
			// order of creation goes on.
			{"a", "2026-10-25 00:10:00", "+1h1w: first of 2026-10-25T00:00:00Z"},
			{"b", "2026-10-25 00:40:00", "1h1w: 2026-10-25T00:00:00Z is kept by a"},
			{"c", "2026-10-25 00:10:00", "1h1w: 2026-10-25T00:00:00Z is kept by a"},
			{"d", "2026-10-25 02:10:00", "+1h1w: first of 2026-10-25T02:00:00Z"},
		}},
		{"the clock jumped back", "1,1d1w", "2026-11-20 12:00:00", []row{
			{"a", "2026-11-19 10:00:00", "+1d1w: first of 2026-11-19"},
			{"b", "2026-11-18 10:00:00", "+1d1w: first of 2026-11-18"},
			// Made later than a though its name says earlier: the block is a's.
			{"c", "2026-11-19 09:00:00", "newest 1: not among them|1d1w: 2026-11-19 is kept by a"},
			{"d", "2026-11-18 09:00:00", "+newest 1"},
		}},
		{"from the future", "1,1d1w", "2026-11-20 12:00:00", []row{
			{"a", "2026-11-20 11:00:00", "+1d1w: first of 2026-11-20"},
			{"b", "2027-11-20 12:00:00", "+named for 2027-11-20T12:00:00Z, which is still to come"},
			{"c", "2027-11-20 12:00:01", "+named for 2027-11-20T12:00:01Z, which is still to come"},
			{"d", "2026-11-20 11:59:00", "newest 1: not among them|1d1w: 2026-11-20 is kept by a"},
			{"e", "2026-11-20 12:00:00", "+newest 1"},
			{"f", "2026-11-20 12:05:01", "+named for 2026-11-20T12:05:01Z, which is still to come"},
		}},
		{"clocks that differ a little", "1,1h1w", "2026-11-20 11:57:00", []row{
			{"a", "2026-11-20 11:30:00", "+1h1w: first of 2026-11-20T11:00:00Z"},
			{"b", "2026-11-20 12:02:00", "+newest 1|1h1w: first of 2026-11-20T12:00:00Z"},
		}},
		{"years of 365.25 days", "1y10y", "2026-11-20 12:00:00", []row{
			// From 1970: 54 years are 19723.5 days, 55 are 20088.75, 56 are 20454, which
			// is 2026-01-01.
			{"a", "2024-12-31 17:59:59", "+1y10y: first of 2024-01-01T12:00:00Z"},
			{"b", "2025-12-31 23:59:59", "+1y10y: first of 2024-12-31T18:00:00Z"},
			{"c", "2026-01-01 00:00:00", "+1y10y: first of 2026-01-01T00:00:00Z"},
		}},
		{"before 1970 blocks are truncated towards it", "1d1y", "1970-01-03 00:00:00", []row{
			{"a", "1969-12-31 12:00:00", "+1d1y: first of 1970-01-01"},
			{"b", "1970-01-01 12:00:00", "1d1y: 1970-01-01 is kept by a"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := mustParse(t, test.schedule)
			var snaps []Snapshot
			for i, row := range test.rows {
				snaps = append(snaps, Snapshot{Name: row.name, Time: seconds(t, row.time), CreateTXG: uint64(i)})
			}
			for i, v := range s.Decide(snaps, seconds(t, test.now)) {
				got := strings.Join(v.Why(), "|")
				if v.Keep {
					got = "+" + got
				}
				if got != test.rows[i].why {
					t.Errorf("%s at %s: %s\nwant %s", test.rows[i].name, test.rows[i].time, got, test.rows[i].why)
				}
			}
		})
	}
}

func TestPins(t *testing.T) {
	s := mustParse(t, "1,1d1w")
	day := seconds(t, "2026-11-20 00:00:00")
	snaps := []Snapshot{
		{Name: "a", CreateTXG: 1, Time: day, Pins: []string{"held", "common with backup/a"}},
		{Name: "b", CreateTXG: 2, Time: day + 1, Pins: []string{"held"}},
		{Name: "c", CreateTXG: 3, Time: day + 2},
		{Name: "d", CreateTXG: 4, Time: day + 3, Pins: []string{"held"}},
	}
	want := [][]string{
		{"held", "common with backup/a", "1d1w: first of 2026-11-20"},
		{"held"},
		{"newest 1: not among them", "1d1w: 2026-11-20 is kept by a"},
		{"held", "newest 1"},
	}
	for i, v := range s.Decide(snaps, day+4) {
		if v.Keep != (i != 2) || !reflect.DeepEqual(v.Why(), want[i]) {
			t.Errorf("%s: keep %v, %q, want %q", snaps[i].Name, v.Keep, v.Why(), want[i])
		}
	}
}

func TestOrderIsByTxgThenTimeThenName(t *testing.T) {
	s := mustParse(t, "1")
	for _, test := range []struct{ older, newer Snapshot }{
		{Snapshot{Name: "z", Time: 9, CreateTXG: 1}, Snapshot{Name: "a", Time: 1, CreateTXG: 2}},
		{Snapshot{Name: "z", Time: 1, CreateTXG: 1}, Snapshot{Name: "a", Time: 9, CreateTXG: 1}},
		{Snapshot{Name: "a", Time: 1, CreateTXG: 1}, Snapshot{Name: "b", Time: 1, CreateTXG: 1}},
	} {
		for _, snaps := range [][]Snapshot{{test.older, test.newer}, {test.newer, test.older}} {
			for i, v := range s.Decide(snaps, 10) {
				if v.Keep != (snaps[i].Name == test.newer.Name) {
					t.Errorf("%v: keep of %s is %v", snaps, snaps[i].Name, v.Keep)
				}
			}
		}
	}
}

// A later decision about the snapshots that an earlier one has left can keep less than it
// would have kept of all: the price of one snapshot per block, as in zfs-autobackup.
func TestEarlierThinningShows(t *testing.T) {
	s := mustParse(t, "1d1w")
	first := seconds(t, "2026-11-13 01:00:00")
	snaps := []Snapshot{{Name: "a", CreateTXG: 1, Time: first}, {Name: "b", CreateTXG: 2, Time: first + 7200}}
	soon, late := first+7200, first+7*86400+3600

	if v := s.Decide(snaps, soon); !v[0].Keep || v[1].Keep {
		t.Errorf("soon: keep %v %v, want the first", v[0].Keep, v[1].Keep)
	}
	if v := s.Decide(snaps, late); v[0].Keep || !v[1].Keep {
		t.Errorf("late, with both there: keep %v %v, want the second", v[0].Keep, v[1].Keep)
	}
	if v := s.Decide(snaps[:1], late); v[0].Keep {
		t.Errorf("late, after thinning soon: the first is kept")
	}
}

func TestEmpty(t *testing.T) {
	if v := mustParse(t, "10,1d1w").Decide(nil, 0); len(v) != 0 {
		t.Errorf("verdicts on nothing: %v", v)
	}
	if why := (Verdict{}).Why(); len(why) != 0 {
		t.Errorf("the zero verdict has reasons: %v", why)
	}
	v := Schedule{}.Decide([]Snapshot{{Name: "a"}}, 0)
	if v[0].Keep || len(v[0].Why()) != 1 || (Schedule{}).String() != "0" {
		t.Errorf("zero schedule %q: %v %v", Schedule{}, v[0].Keep, v[0].Why())
	}
}

// oracle follows the documentation: for each rule whose ttl the snapshot's age does not
// exceed, the oldest snapshot of each block is kept, where the snapshots that count are
// those that some rule of that interval wants.
func oracle(s Schedule, snaps []Snapshot, now int64) []bool {
	older := func(a, b Snapshot) bool {
		if a.CreateTXG != b.CreateTXG {
			return a.CreateTXG < b.CreateTXG
		}
		if a.Time != b.Time {
			return a.Time < b.Time
		}
		return a.Name < b.Name
	}
	ahead := func(a Snapshot) bool { return a.Time > now+300 }
	wanted := func(a Snapshot, interval int64) bool {
		if ahead(a) {
			return false
		}
		for _, r := range s.rules {
			if r.interval.seconds == interval && now-a.Time <= r.ttl.seconds {
				return true
			}
		}
		return false
	}
	keep := make([]bool, len(snaps))
	for i, a := range snaps {
		if keep[i] = ahead(a); keep[i] {
			continue
		}
		newer := 0
		for _, b := range snaps {
			if older(a, b) && !ahead(b) {
				newer++
			}
		}
		keep[i] = len(a.Pins) > 0 || newer < s.newest
		for _, r := range s.rules {
			interval := r.interval.seconds
			oldest := now-a.Time <= r.ttl.seconds
			for _, b := range snaps {
				if older(b, a) && b.Time/interval == a.Time/interval && wanted(b, interval) {
					oldest = false
				}
			}
			keep[i] = keep[i] || oldest
		}
	}
	return keep
}

func genSchedule(t *rapid.T) Schedule {
	text := fmt.Sprint(rapid.IntRange(0, 6).Draw(t, "newest"))
	for range rapid.IntRange(0, 4).Draw(t, "rules") {
		// Days are frequent, so that rules often share an interval.
		unit := rapid.SampledFrom([]string{"s", "min", "h", "d", "d", "d", "d", "w", "m", "y"}).Draw(t, "unit")
		interval := rapid.IntRange(1, 2).Draw(t, "interval")
		ttl := interval + rapid.IntRange(0, 8).Draw(t, "more")
		text += fmt.Sprintf(",%d%s%d%s", interval, unit, ttl, unit)
	}
	s, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// genHistory returns snapshots of a machine that makes them at intervals of any scale and
// whose clock jumps at times; txgs rise, and sometimes two snapshots share one.
func genHistory(t *rapid.T) []Snapshot {
	n := rapid.IntRange(0, 40).Draw(t, "count")
	at := rapid.Int64Range(-1000, 2000000000).Draw(t, "start")
	txg := uint64(1)
	snaps := make([]Snapshot, n)
	for i := range snaps {
		scale := rapid.SampledFrom([]int64{1, 60, 3600, 86400, 604800, 2592000}).Draw(t, "scale")
		step := rapid.Int64Range(0, 3).Draw(t, "step") * scale
		if rapid.IntRange(0, 9).Draw(t, "jump") == 0 {
			step = -step
		}
		at += step
		txg += uint64(rapid.IntRange(0, 3).Draw(t, "txgs"))
		snaps[i] = Snapshot{Name: fmt.Sprintf("s-%d", i), Time: at, CreateTXG: txg}
		if rapid.IntRange(0, 7).Draw(t, "pin") == 0 {
			snaps[i].Pins = []string{"held"}
		}
	}
	return snaps
}

func TestProperties(t *testing.T) {
	states := 0
	defer func() { t.Logf("%d states", states) }()
	rapid.Check(t, func(t *rapid.T) {
		states += 3 // as it is, in another order, and thinned
		s := genSchedule(t)
		snaps := genHistory(t)
		now := int64(0)
		if len(snaps) > 0 {
			now = snaps[rapid.IntRange(0, len(snaps)-1).Draw(t, "at")].Time
		}
		now += rapid.Int64Range(-86400, 40*86400).Draw(t, "later")
		verdicts := s.Decide(snaps, now)
		if len(verdicts) != len(snaps) {
			t.Fatalf("%d verdicts on %d snapshots", len(verdicts), len(snaps))
		}

		want := oracle(s, snaps, now)
		whys := map[string]string{}
		var kept []Snapshot
		for i, v := range verdicts {
			why := v.Why()
			whys[snaps[i].Name] = fmt.Sprint(v.Keep, why)
			if v.Keep != want[i] {
				t.Fatalf("%s: keep %v %q, the oracle says %v", snaps[i].Name, v.Keep, why, want[i])
			}
			if len(why) == 0 {
				t.Fatalf("%s: no reason", snaps[i].Name)
			}
			if !v.Keep && (len(snaps[i].Pins) > 0 || slices.Contains(why, fmt.Sprintf("newest %d", s.newest))) {
				t.Fatalf("%s is destroyed: %q", snaps[i].Name, why)
			}
			if reasons := max(1, len(s.rules)+min(1, s.newest)); !v.Keep && len(why) != reasons {
				t.Fatalf("%s is destroyed with %d reasons of %d: %q", snaps[i].Name, len(why), reasons, why)
			}
			if v.Keep {
				kept = append(kept, snaps[i])
			}
		}

		shuffled := rapid.Permutation(snaps).Draw(t, "shuffled")
		for i, v := range s.Decide(shuffled, now) {
			if got := fmt.Sprint(v.Keep, v.Why()); got != whys[shuffled[i].Name] {
				t.Fatalf("%s: %s, in another order %s", shuffled[i].Name, whys[shuffled[i].Name], got)
			}
		}
		// Names that lie in the future change nothing for the others.
		var honest []Snapshot
		for i, v := range verdicts {
			if v.Ahead() != (snaps[i].Time > now+Tolerance) {
				t.Fatalf("%s: ahead is %v at %d of %d", snaps[i].Name, v.Ahead(), snaps[i].Time, now)
			}
			if !v.Ahead() {
				honest = append(honest, snaps[i])
			}
		}
		for i, v := range s.Decide(honest, now) {
			if got := fmt.Sprint(v.Keep, v.Why()); got != whys[honest[i].Name] {
				t.Fatalf("%s: %s, with those from the future %s", honest[i].Name, got, whys[honest[i].Name])
			}
		}
		for i, v := range s.Decide(kept, now) {
			if got := fmt.Sprint(v.Keep, v.Why()); got != whys[kept[i].Name] {
				t.Fatalf("%s: %s, thinned again %s", kept[i].Name, whys[kept[i].Name], got)
			}
		}
	})
}

func history(n int, every int64) ([]Snapshot, int64) {
	snaps := make([]Snapshot, n)
	at := int64(1750000000)
	for i := range snaps {
		at += every
		snaps[i] = Snapshot{Name: fmt.Sprintf("offsite1-%d", at), Time: at, CreateTXG: uint64(i)}
	}
	return snaps, at
}

func BenchmarkDecide(b *testing.B) {
	s := mustParse(b, "10,1d1w,1w1m,1m1y")
	snaps, now := history(10000, 3600)
	jumpy := slices.Clone(snaps)
	jumpy[5000].Time -= 7200
	reversed := slices.Clone(snaps)
	slices.Reverse(reversed)
	for _, bench := range []struct {
		name  string
		snaps []Snapshot
		why   bool
	}{{"sorted", snaps, false}, {"clock jump", jumpy, false}, {"reversed", reversed, false}, {"with reasons", snaps, true}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for _, v := range s.Decide(bench.snaps, now) {
					if bench.why {
						v.Why()
					}
				}
			}
		})
	}
}
