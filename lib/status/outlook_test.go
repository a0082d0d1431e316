package status

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"zab/lib/record"
)

// testOutlook returns the outlook of the backup b under options.
func testOutlook(t *testing.T, args ...string) *outlook {
	t.Helper()
	p := Program()
	if _, err := p.Parser().ParseArgs(append([]string{"--utc"}, args...)); err != nil {
		t.Fatal(err)
	}
	l, err := p.Options.(*Options).outlook("b", now)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestRhythm(t *testing.T) {
	l := testOutlook(t)
	every := func(gaps ...time.Duration) (list []record.Snapshot) {
		at := time.Unix(now, 0).UTC()
		for _, gap := range append([]time.Duration{0}, gaps...) {
			at = at.Add(-gap)
			list = append(list, record.Snapshot{Name: "b-" + at.Format("20060102150405")}, record.Snapshot{Name: "auto"})
		}
		return list
	}
	const h = time.Hour
	for _, c := range []struct {
		list []record.Snapshot
		want string
	}{
		{nil, "1d"},
		{every(), "1d"},
		{every(h), "1d"},
		{every(h, h), "1h"},
		{every(24*h, 25*h, 23*h, 72*h, 24*h), "1d"},
		{every(6*h, 6*h, 6*h, 6*h, 6*h, 24*h, 24*h, 720*h), "6h"},
		{every(7*24*h, 7*24*h, 30*24*h), "1w"},
		{every(time.Second, time.Second), "15min"},
		{every(9000*h, 9000*h), "4w"},
	} {
		if got := l.rhythm(c.list); got.String() != c.want {
			t.Errorf("%d snapshots: %s, want %s", len(c.list)/2, got, c.want)
		}
	}
}

// TestProspects checks what is told apart, and that snapshots without a time stand between
// those that have one.
func TestProspects(t *testing.T) {
	list := nightly(40, 20, 9, 6, 2, 1, 0)
	list[0].UserRefs = record.Ptr[int64](1)
	for _, i := range []int{5, 3, 3, 0} {
		list = slices.Insert(list, i, record.Snapshot{Name: "auto", GUID: fmt.Sprint(i)})
	}
	list = append(list, record.Snapshot{Name: "b-20270116000000", Virtual: true})
	r := selected(5, list, []record.Snapshot{{Name: "auto", GUID: "0"}})
	l := testOutlook(t, "--keep-source=6,1w2w")
	source, target := l.prospects(r, mustAge("1d"))
	var got []string
	for _, v := range source.snapshots {
		goes := "-"
		if v.goes != 0 {
			goes = fmt.Sprint((v.goes - now + 12*hour) / 86400)
		}
		got = append(got, fmt.Sprintf("%d:%s:%s", (now-v.at)/86400, []string{"kept", "later", "soon", "held", "foreign"}[v.fate], goes))
	}
	if want := "40:foreign:- 40:held:- 20:soon:1 9:soon:6 8:foreign:- 7:foreign:- 6:later:9 2:soon:4 1:foreign:- 1:later:14 0:soon:6"; strings.Join(got, " ") != want {
		t.Errorf("%s\nwant\n%s", strings.Join(got, " "), want)
	}
	if v := target.snapshots[0]; v.dated || v.fate != foreign {
		t.Errorf("a snapshot of another without a time: %+v", v)
	}
	m := &pageMaker{rep: &report{now: now}}
	if got, want := m.says(source, false), "11 snapshots: 6 are destroyed within four weeks, the first in about a day; 1 is held; 4 are not of this backup"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := m.says(target, false), "1 snapshot: 1 is not of this backup"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	source, _ = testOutlook(t, "--no-thinning").prospects(r, mustAge("1d"))
	if got, want := m.says(source, false), "11 snapshots: nothing is destroyed; 4 are not of this backup"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
