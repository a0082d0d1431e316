package thin

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"zab/lib/record"
)

// forecast returns the fates in words: each snapshot that is destroyed, by its age at
// present in days, with the days until then.
func forecast(t interface{ Fatal(...any) }, r *record.Record, source, target string, every, days int64) (onSource, onTarget string) {
	f := NewForecaster(rules(t, source, target), now+days*day)
	fates := f.Forecast(r, Course{Every: every * day, Run: min(every, 1) * day})
	words := func(fates []int64, list []record.Snapshot) string {
		if fates == nil {
			return "-"
		}
		var out []string
		for i, at := range fates {
			if at != Stays {
				ago := strings.TrimPrefix(list[i].Name, "b-")
				if n, err := strconv.ParseInt(ago, 10, 64); err == nil {
					ago = fmt.Sprint((now - n) / day)
				}
				out = append(out, fmt.Sprintf("%s in %d", ago, (at-now)/day))
			}
		}
		return strings.Join(out, ", ")
	}
	onSource = words(fates.Source, r.Snapshots)
	onTarget = "-"
	if r.Target != nil {
		onTarget = words(fates.Target, r.Target.Snapshots)
	}
	return onSource, onTarget
}

func TestForecast(t *testing.T) {
	both := func(source, target string) *record.Record {
		return &record.Record{Type: record.TypeDataset, Name: "tank", Snapshots: snaps(source),
			Target: &record.Target{Name: "vault", Exists: true, Snapshots: snaps(target)}}
	}
	with := func(r *record.Record, f func(r *record.Record)) *record.Record { f(r); return r }
	for _, c := range []struct {
		what           string
		r              *record.Record
		every          int64
		source, target string // what is destroyed within four days
	}{
		{"the newest three and the newest two", both("5 3 2 1", "3 2 1"), 1, "5 in 0, 3 in 0, 2 in 1, 1 in 2", "3 in 0, 2 in 0, 1 in 1"},
		{"a snapshot a week", both("8 1", "8 1"), 7, "", ""},
		{"a snapshot a week, the next in two days", both("12 5", "12 5"), 7, "", "12 in 2"},
		{"not ours", both("x 3 2 y 1", "x 1"), 1, "3 in 0, 2 in 1, 1 in 2", "1 in 1"},
		// The newest in common stays until the first run has sent another.
		{"the target lags", both("3 2 1", "3"), 1, "3 in 0, 2 in 1, 1 in 2", "3 in 1"},
		{"an error", with(both("5 3 2 1", "3 2 1"), func(r *record.Record) { r.Error = &record.Error{Message: "x"} }), 1, "-", "-"},
		{"no target", with(both("4! 3 2 1", ""), func(r *record.Record) { r.Target = nil }), 1, "3 in 0, 2 in 1, 1 in 2", "-"},
		{"no copy yet", with(both("3 2 1", ""), func(r *record.Record) { r.Target.Exists, r.Target.Snapshots = false, nil }), 1, "3 in 0, 2 in 1, 1 in 2", "-"},
		{"orphan", &record.Record{Type: record.TypeOrphan, Name: "vault", Target: &record.Target{Name: "vault", Exists: true, Snapshots: snaps("9 8! 7 6")}}, 1, "-", "9 in 0"},
		{"a snapshot to come does not exist", both("3 2 1 ~0", "3 2 1"), 1, "3 in 0, 2 in 1, 1 in 2", "3 in 0, 2 in 0, 1 in 1"},
	} {
		if s, target := forecast(t, c.r, "3", "2", c.every, 4); s != c.source || target != c.target {
			t.Errorf("%s: %q and %q, want %q and %q", c.what, s, target, c.source, c.target)
		}
	}
	if s, target := forecast(t, both("5 3 2 1", "3 2 1"), "3", "", 1, 4); s == "-" || target != "-" {
		t.Errorf("no thinning on the target: %q and %q", s, target)
	}
}

// TestForecastDecides checks that a forecast is what zab-thin decides night after night.
func TestForecastDecides(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		side := func(what string) string {
			var words []string
			for d := 40; d > 0; d-- {
				switch rapid.IntRange(0, 3).Draw(t, what) {
				case 0, 1:
					words = append(words, strconv.Itoa(d))
				case 2:
					words = append(words, strings.Repeat("x", d))
				}
			}
			return strings.Join(words, " ")
		}
		schedules := rapid.SampledFrom([]string{"0", "2", "3,1d1w", "10,1d1w,1w1m", "2d9d,5", ""})
		source, target := schedules.Draw(t, "source"), schedules.Draw(t, "target")
		make := func() *record.Record {
			return &record.Record{Type: record.TypeDataset, Name: "tank", Target: &record.Target{Name: "vault", Exists: true}}
		}
		r, night := make(), make()
		s, d := side("source"), side("target")
		r.Snapshots, night.Snapshots = snaps(s), snaps(s)
		r.Target.Snapshots, night.Target.Snapshots = snaps(d), snaps(d)
		const days = 20
		ru := rules(t, source, target)
		fates := NewForecaster(ru, now+days*day).Forecast(r, Course{Every: day, Run: day})

		gone := [2]map[string]int64{{}, {}}
		destroy := func(side int, list []record.Snapshot, verdicts []record.Verdict, at int64) []record.Snapshot {
			for _, v := range verdicts {
				if !v.Keep {
					gone[side][v.Name] = at
				}
			}
			return slices.DeleteFunc(list, func(s record.Snapshot) bool { _, ok := gone[side][s.Name]; return ok })
		}
		first := int64(now)
		for _, s := range r.Snapshots {
			if at, ours := ru.Format.Time(s.Name); ours {
				first = max(first, at+day)
			}
		}
		for at := first; at <= now+days*day; at += day {
			ru.Now = at
			new := record.Snapshot{Name: ru.Format.Name(time.Unix(at, 0)), GUID: fmt.Sprint(at), CreateTXG: fmt.Sprint(at)}
			night.Snapshots = append(night.Snapshots, new)
			night.Target.Snapshots = append(night.Target.Snapshots, new)
			v := Decide(night, ru)
			night.Snapshots = destroy(0, night.Snapshots, v.Source, at)
			night.Target.Snapshots = destroy(1, night.Target.Snapshots, v.Target, at)
		}
		for side, list := range [][]record.Snapshot{r.Snapshots, r.Target.Snapshots} {
			got := [][]int64{fates.Source, fates.Target}[side]
			for i := range list {
				at := int64(Stays)
				if got != nil {
					at = got[i]
				}
				if want := gone[side][list[i].Name]; at != want {
					t.Fatalf("side %d: %s is destroyed at %d, not at %d", side, list[i].Name, at, want)
				}
			}
		}
		// The same situation of another dataset has the same forecast.
		f := NewForecaster(rules(t, source, target), now+days*day)
		f.Forecast(r, Course{Every: day, Run: day})
		other := make()
		other.Snapshots, other.Target.Snapshots = snaps(s), snaps(d)
		for _, list := range [][]record.Snapshot{other.Snapshots, other.Target.Snapshots} {
			for i := range list {
				list[i].GUID += "7"
				list[i].CreateTXG += "0"
			}
		}
		if again := f.Forecast(other, Course{Every: day, Run: day}); len(f.known) != 1 || !slices.Equal(again.Source, fates.Source) || !slices.Equal(again.Target, fates.Target) {
			t.Fatalf("%d situations, %v", len(f.known), again)
		}
	})
}

// BenchmarkForecast predicts four weeks of a dataset that has the snapshots of years, made
// once a day or once an hour.
func BenchmarkForecast(b *testing.B) {
	var words strings.Builder
	for d := 400; d > 0; d-- {
		if d <= 10 || d%7 == 0 && d < 30 || d%30 == 0 {
			fmt.Fprintf(&words, "%d ", d)
		}
	}
	for _, every := range []int64{day, 3600} {
		b.Run(fmt.Sprintf("%dh", every/3600), func(b *testing.B) {
			r := &record.Record{Type: record.TypeDataset, Name: "tank", Snapshots: snaps(words.String()),
				Target: &record.Target{Name: "vault", Exists: true, Snapshots: snaps(words.String())}}
			b.ReportAllocs()
			for b.Loop() {
				NewForecaster(rules(b, "10,1d1w,1w1m,1m1y", "10,1d1w,1w1m,1m1y"), now+28*day).Forecast(r, Course{Every: every, Run: every})
			}
		})
	}
}
