package xfer

import (
	"strings"
	"testing"
	"time"
)

// What is at once mounted is neither below another nor at the same place.
func TestLevels(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"/b /a", "/b /a"},
		{"/a/x /a /b/y/z", "/a /b/y/z; /a/x"},
		{"/a /a /a/x /c/x", "/a /c/x; /a; /a/x"},
		{"/a/b/c/d /a /a/b/x /ab", "/a /ab; /a/b/x /a/b/c/d"},
		{"/a/b / /c", "/; /c /a/b"},
	} {
		var out []string
		for _, l := range levels(strings.Fields(c.in), func(s string) string { return s }) {
			out = append(out, strings.Join(l, " "))
		}
		if got := strings.Join(out, "; "); got != c.want {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
}

// The longer a run lasts, the longer its batches wait: their number grows with
// its logarithm, until the longest wait is reached.
func TestPatience(t *testing.T) {
	batches := 0
	for run := time.Duration(0); run < 10*time.Minute; run += patience(run) {
		batches++
	}
	if batches > 6 {
		t.Errorf("%d batches in a run of ten minutes", batches)
	}
	if d := patience(0); d != flushSoon {
		t.Errorf("the first waits for %s", d)
	}
	if d := patience(24 * time.Hour); d != flushLate {
		t.Errorf("after a day a record is held back for %s", d)
	}
}
