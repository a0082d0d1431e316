package schedule

import (
	"slices"
	"strings"
	"testing"
)

func TestItems(t *testing.T) {
	for text, want := range map[string]string{
		"0":          "",
		"0,1d1w":     "1d1w: one a day for a week",
		"15min02h,1": "1: the newest; 15min2h: one every 15 minutes for 2 hours",
	} {
		s, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, it := range s.Items() {
			got = append(got, it.String()+": "+it.Words())
		}
		if got := strings.Join(got, "; "); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// TestWanted compares the items that want a snapshot with the reasons in words.
func TestWanted(t *testing.T) {
	s, err := Parse("3,1d1w,1d2w,2d3w,1h1d")
	if err != nil {
		t.Fatal(err)
	}
	const now = 1795316400
	var snaps []Snapshot
	for i := range uint64(200) {
		snaps = append(snaps, Snapshot{Name: "x", Time: now + 3600 - int64(199-i)*9000, CreateTXG: i})
	}
	items := s.Items()
	kept := 0
	for i, v := range s.Decide(snaps, now) {
		why := v.Why()
		for j, wanted := range v.Wanted() {
			reason := items[j].String() + ": first of "
			if items[j].Newest() > 0 {
				reason = "newest 3"
			}
			said := slices.ContainsFunc(why, func(w string) bool {
				return w == reason || strings.HasPrefix(w, reason) && items[j].Newest() == 0
			})
			if wanted != said {
				t.Errorf("snapshot %d: %s wants it: %v, but the reasons are %q", i, items[j], wanted, why)
			}
		}
		if v.Keep != (slices.Contains(v.Wanted(), true) || v.Ahead()) {
			t.Errorf("snapshot %d: kept is %v, wanted by %v", i, v.Keep, v.Wanted())
		}
		if v.Keep {
			kept++
		}
	}
	if kept == 0 || kept == len(snaps) || (Verdict{}).Wanted() != nil {
		t.Errorf("%d are kept", kept)
	}
}
