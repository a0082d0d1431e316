package cli

import (
	"testing"
	"time"
)

// FuzzParseTime checks that a parsed time stays the same when it is formatted and parsed
// again, in the given zone or in a zone of its own.
func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"2026-11-22T03:00:00Z", "2026-11-22T03:00:00+01:00", "2026-11-22T03:00:00", "2026-11-22 03:00", "2026-11-22",
		"2026-02-30", "0000-01-01", "2026-11-22T24:00:00", "2026-11-22T03:00:00.5Z", "2026-10-25T02:30:00", "-1", ""} {
		f.Add(s, 3600)
	}
	f.Fuzz(func(t *testing.T, s string, offset int) {
		loc := time.FixedZone("x", offset%86400)
		got, err := ParseTime(s, loc)
		if err != nil {
			if !got.IsZero() {
				t.Errorf("%q: %v, %v", s, got, err)
			}
			return
		}
		if y := got.Year(); y < 0 || y > 9999 {
			t.Errorf("%q is in the year %d", s, y)
		}
		if _, o := got.Zone(); o%60 != 0 {
			return // RFC 3339 cannot say it
		}
		again, err := ParseTime(got.Format(time.RFC3339Nano), loc)
		if err != nil || !again.Equal(got) {
			t.Errorf("%q is %v, and then %v, %v", s, got, again, err)
		}
	})
}
