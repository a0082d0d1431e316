package aside

import (
	"testing"
	"time"

	"zab/lib/dataset"
)

func TestRecognize(t *testing.T) {
	for _, c := range []struct {
		name, mark, last string
		finished, ok     bool
	}{
		{"b/home_diverged-20261122030000", Mark("b/home", false), "home", false, true},
		{"b/home_diverged-20261122030000", Mark("b/home", true), "home", true, true},
		{"b/home_diverged-20261122030000", "begun:home", "home", false, true}, // an earlier version's
		{"other/renamed", "done:home", "home", true, true},                    // renamed again by an administrator
		{"b/home", "begun:home", "", false, false},                            // marked, not renamed yet
		{"b/home", "", "", false, false},
		{"b/x", "home", "", false, false},
		{"b/x", "done:", "", false, false},
		{"b/x", "done:a/b", "", false, false},
		{"b/x", "done:a@b", "", false, false},
		{"pool", "done:home", "", false, false}, // a pool is never a copy
	} {
		last, finished, ok := Recognize(c.name, c.mark)
		if ok != c.ok || last != c.last || finished != c.finished {
			t.Errorf("%s, %q: %q %v %v", c.name, c.mark, last, finished, ok)
		}
		if c.ok && CheckMark(c.mark) != nil {
			t.Errorf("%q is not a mark", c.mark)
		}
	}
	for _, s := range []string{"", "home", "begun", "done:", "done:a/b", "begun:a@b", "done:-\n", "other:a"} {
		if CheckMark(s) == nil {
			t.Errorf("%q is a mark", s)
		}
	}
}

func TestName(t *testing.T) {
	at := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	taken := map[string]bool{}
	for _, want := range []string{"home_diverged-20261122030000", "home_diverged-20261122030000-2", "home_diverged-20261122030000-3"} {
		name := Name("b/home", at, func(n string) bool { return taken[n] })
		full := dataset.Beside("b/home", name)
		former, ok := Former(full)
		if _, err := dataset.ParseName(full); name != want || former != "b/home" || !ok || err != nil {
			t.Errorf("%s, should be %s; formerly %s; %v", name, want, former, err)
		}
		taken[full] = true
	}
	for name, want := range map[string]string{
		"b/home_diverged-2026":                                   "",
		"b/home_diverged-20261122030000/kid":                     "",
		"b/home_diverged-20251122030000_diverged-20261122030000": "b/home_diverged-20251122030000",
	} {
		if former, ok := Former(name); former != want || ok != (want != "") {
			t.Errorf("%s was %q", name, former)
		}
	}
	for last, want := range map[string]bool{
		"home_diverged-20261122030000":     true,
		"home_old_diverged-20261122030000": true,
		"homes_diverged-20261122030000":    false,
		"home_diverged-2026":               false,
		"home":                             false,
	} {
		if IsNameOf("b/home", last) != want {
			t.Error(last)
		}
	}
}
