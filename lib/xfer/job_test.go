package xfer

import (
	"slices"
	"testing"

	"zab/lib/record"
)

// P8: a dataset has one lock by the guid of its pool, under any name of its host, and one
// by the name of its host, in case the guid is not known.
func TestLockNames(t *testing.T) {
	names := func(host, guid, name string) []string {
		return lockNames(&record.Target{Host: host, Name: name, ZPoolGUID: guid})
	}
	shared := func(a, b []string) bool {
		return slices.ContainsFunc(a, func(n string) bool { return slices.Contains(b, n) })
	}
	for _, c := range []struct {
		a, b []string
		want bool
	}{
		{names("nas", "7", "tank/a"), names("root@nas", "7", "tank/a"), true},
		{names("nas", "7", "tank/a"), names("nas", "", "tank/a"), true},
		{names("nas", "7", "tank/a"), names("nas", "7", "tank/b"), false},
		{names("nas", "7", "tank/a"), names("vault", "8", "tank/a"), false},
		{names("", "7", "tank/a"), names("localhost", "7", "tank/a"), true},
		{names("nas", "", "tank/a"), names("vault", "", "tank/a"), false},
	} {
		if shared(c.a, c.b) != c.want {
			t.Errorf("%q and %q", c.a, c.b)
		}
	}
}
