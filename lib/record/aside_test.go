package record

import (
	"testing"

	"zab/lib/dataset"
)

func TestSetAside(t *testing.T) {
	for _, c := range []struct {
		name, mark, last string
		done, ok         bool
	}{
		{"b/home_diverged-20261122030000", "begun:home", "home", false, true},
		{"b/home_diverged-20261122030000", "done:home", "home", true, true},
		{"other/renamed", "done:home", "home", true, true}, // renamed again by an administrator
		{"b/home", "begun:home", "", false, false},         // marked, not renamed yet
		{"b/home", "", "", false, false},
		{"b/x", "home", "", false, false},
		{"b/x", "done:", "", false, false},
		{"b/x", "done:a/b", "", false, false},
		{"pool", "done:home", "", false, false}, // a pool is never a copy
	} {
		last, done, ok := (&Facts{Aside: c.mark}).SetAside(c.name)
		if ok != c.ok || ok && (last != c.last || done != c.done) {
			t.Errorf("%s, %q: %q %v %v", c.name, c.mark, last, done, ok)
		}
	}
	for name, want := range map[string]bool{
		"b/" + AsideName("b/home", "20261122030000"):   true,
		"b/" + AsideName("b/home", "20261122030000-2"): true,
		"b/home_diverged-2026":                         false,
		"b/home_diverged-20261122030000/kid":           false,
	} {
		if IsAsideName(name) != want || !isDataset(name) {
			t.Error(name)
		}
	}
}

func isDataset(name string) bool {
	_, err := dataset.ParseName(name)
	return err == nil
}
