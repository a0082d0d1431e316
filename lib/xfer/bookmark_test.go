package xfer

import (
	"strings"
	"testing"

	"zab/lib/chain"
	"zab/lib/record"
	"zab/lib/zfs"
)

// If another run has destroyed the bookmark to make a bookmark from, the new one is made
// from the snapshot (P1). If that is gone too, a bookmark from which only other targets
// start is left to the other run.
func TestBookmarkToMake(t *testing.T) {
	own, other := chain.TargetKey("zab:1.2"), "0123abcd"
	r := &record.Record{Name: "t/a", Target: &record.Target{Name: "b/a", Pin: "zab:1.2"}, Snapshots: []record.Snapshot{{Name: "s", GUID: "7"}}}
	at := func(name, guid string) map[string]zfs.Row { return map[string]zfs.Row{"t/a" + name: {GUID: guid}} }
	for _, c := range []struct {
		what, from, to string
		found          map[string]zfs.Row
		of, why        string // the source of the bookmark, "" for none; or why not
	}{
		{"from the snapshot", "", "s:" + own, at("@s", "7"), "@s", ""},
		{"from another snapshot of that name", "", "s:" + own, at("@s", "8"), "", "another snapshot"},
		{"from a snapshot that is gone", "", "s:" + own, nil, "", "not there"},
		{"there already", "", "s:" + own, at("#s:"+own, "7"), "", ""},
		{"of that name, of another snapshot", "", "s:" + own, at("#s:"+own, "8"), "", "one of that name"},
		{"joins", "#s:" + other, "s:" + other + ":" + own, at("#s:"+other, "7"), "#s:" + other, ""},
		{"joins one that is gone", "#s:" + other, "s:" + other + ":" + own, at("@s", "7"), "@s", ""},
		{"joins one that is gone with its snapshot", "#s:" + other, "s:" + other + ":" + own, nil, "", "not there"},
		{"joins one that is gone, whose snapshot is another", "#s:" + other, "s:" + other + ":" + own, at("@s", "8"), "", "another snapshot"},
		{"leaves it to others", "#s:" + other + ":" + own, "s:" + other, at("#s:"+other+":"+own, "7"), "#s:" + other + ":" + own, ""},
		{"leaves one that is gone", "#s:" + other + ":" + own, "s:" + other, at("@s", "7"), "@s", ""},
		{"leaves one that is gone with its snapshot", "#s:" + other + ":" + own, "s:" + other, nil, "", ""},
		{"makes one that is not ours of one that is gone", "#old", "mine", nil, "", "not there"},
	} {
		s := &record.Step{Do: record.DoBookmark, Side: record.SideSource, Dataset: "t/a", GUID: "7", From: c.from, To: c.to}
		if c.from == "" {
			s.Snapshot = "s"
		}
		j := &job{r: r}
		m, err := j.toMake(s, c.found)
		of := ""
		if m != nil {
			of = m.Of
		}
		if of != c.of || (err != nil) != (c.why != "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: made from %q, %v", c.what, of, err)
		}
	}
}
