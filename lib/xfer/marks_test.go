package xfer

import (
	"slices"
	"strings"
	"testing"

	"zab/lib/record"
)

// A copy is marked as sharing nothing that streams bring only if a stream that ensures it
// was received from its beginning.
func TestMarks(t *testing.T) {
	for _, c := range []struct {
		unshared  bool
		set, want string
	}{
		{true, "zab:from=7 zab:stream=L,x", "zab:from=7 zab:stream=L,x"},
		{false, "zab:from=7 zab:stream=L,x", "zab:from=7 zab:stream=L"},
		{false, "zab:stream=x", "zab:stream=none"},
		{false, "zab:pool=8", "zab:pool=8"},
	} {
		s := &record.Step{Do: record.DoMark, Set: strings.Fields(c.set)}
		if got := (&job{unshared: c.unshared}).marks(s); strings.Join(got, " ") != c.want || !slices.Equal(s.Set, strings.Fields(c.set)) {
			t.Errorf("%+v: %q", c, got)
		}
	}
	whole := record.Step{Do: record.DoReceive, Flags: []string{"-L", "-p"}, Exclude: []string{"x:y", "sharenfs", "sharesmb"}}
	for _, c := range []struct {
		change func(*record.Step)
		want   bool
	}{
		{func(*record.Step) {}, true},
		{func(s *record.Step) { s.Token = "1-x" }, false},
		{func(s *record.Step) { s.Flags = []string{"-L"} }, false},
		{func(s *record.Step) { s.Exclude = []string{"sharenfs"} }, false},
		{func(s *record.Step) { s.Exclude = nil }, false},
		{func(s *record.Step) { s.From = "b-1" }, false},
		{func(s *record.Step) { s.From = "#b-1" }, false},
		{func(s *record.Step) { s.From = "tank/a@b-1" }, true},
		{func(s *record.Step) { s.Force = true }, false},
	} {
		s := whole
		c.change(&s)
		if got := (&record.Record{}).Unshares(&s); got != c.want {
			t.Errorf("%+v: %v", s, got)
		}
		if (&record.Record{Host: "far"}).Unshares(&s) {
			t.Errorf("%+v: another host is trusted", s)
		}
	}
}
