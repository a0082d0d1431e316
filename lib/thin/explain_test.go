package thin

import (
	"strings"
	"testing"
)

// TestExplain checks what --explain prints, and which options it needs or refuses.
func TestExplain(t *testing.T) {
	for _, c := range []struct{ args, begins, err string }{
		{"--explain=3,1d1w", "keeps the newest 3, one a day for a week", ""},
		{"--explain=3 --picture", "keeps the newest 3\nwith one snapshot a day, 3 are kept in the long run:\n", ""},
		{"--explain=3 --picture=text --every=2h", "keeps the newest 3\nwith one snapshot every 2 hours, 3 ", ""},
		{"--explain=3 --picture=svg", "<svg ", ""},
		{"--picture", "", "--picture: which schedule?"},
		{"--explain=3 --every=1d", "", "--every is the time"},
		{"--explain=3 --picture --every=0h", "", "--every: 0h: expected more than 0"},
		{"--explain=1s1y --picture", "", "--picture: the schedule 1s1y, "},
	} {
		p := Program()
		if _, err := p.Parser().ParseArgs(strings.Fields(c.args)); err != nil {
			t.Fatal(err)
		}
		switch err := p.Check(nil); {
		case c.err != "":
			if err == nil || !strings.HasPrefix(err.Error(), c.err) {
				t.Errorf("%s: %v, want %s", c.args, err, c.err)
			}
		case err != nil:
			t.Errorf("%s: %v", c.args, err)
		case !strings.HasPrefix(p.Answer(), c.begins) || !strings.Contains(c.args, "picture") && p.Answer() != c.begins:
			t.Errorf("%s prints %q", c.args, p.Answer())
		}
	}
}
