package xfer

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zab/lib/chain"
	"zab/lib/cli"
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

// A bookmark whose full name is too long fails its own record; the names of all records of
// a host are looked up together.
func TestBookmarkTooLong(t *testing.T) {
	const zfsProgram = `#!/bin/sh
cd "$POOL"
tab='	'
echo "$*" >>log
rc=0
[ "$1" != list ] || for a; do
	case $a in
	t/*@s|*"#old") echo "$a${tab}7${tab}9";;
	t/*"#"*) echo "cannot open '$a': no such pool or dataset" >&2; rc=1;;
	esac
done
exit $rc
`
	deep := "t/" + strings.Repeat("d", 240)
	for _, c := range []struct {
		what string
		step record.Step
		why  string
	}{
		{"made", record.Step{Do: record.DoBookmark, Snapshot: "s", To: "s:0123456789abcdef"}, "cannot make the bookmark '" + deep + "#s:0123456789abcdef': "},
		{"made of one too long", record.Step{Do: record.DoBookmark, From: "#s:0123456789abcdef", To: "s"}, "cannot make the bookmark '" + deep + "#s': "},
		{"destroyed", record.Step{Do: record.DoUnbookmark, From: "#s:0123456789abcdef"}, "cannot destroy the bookmark '" + deep + "#s:0123456789abcdef': "},
		{"as long as can be", record.Step{Do: record.DoBookmark, Snapshot: "s", To: "s:0123456789"}, ""},
	} {
		dir := machine(t, map[string]string{"zfs": zfsProgram})
		x := &stage{env: &cli.Env{Common: &cli.Common{}, Machine: &zfs.Machine{}}, o: &Options{}}
		var batch []*job
		for _, name := range []string{"t/a", deep, "t/b"} {
			s := record.Step{Do: record.DoBookmark, Snapshot: "s", To: "m"}
			if name == deep {
				s = c.step
			}
			s.Side, s.Dataset, s.GUID = record.SideSource, name, "7"
			r := &record.Record{Type: record.TypeDataset, Name: name, Snapshots: []record.Snapshot{{Name: "s", GUID: "7", CreateTXG: "9"}},
				Target: &record.Target{Name: "b/" + name[:3], Exists: true}, Steps: []record.Step{s}}
			batch = append(batch, &job{x: x, r: r, later: []int{0}, results: map[int]*record.Result{}})
		}
		bookmarks(context.Background(), batch)
		for _, j := range batch {
			why, r := "", j.r
			if r.Name == deep {
				why = c.why
			}
			if failed := r.Error != nil; failed != (why != "") || failed && (r.Error.Kind != record.KindBadArgument || !strings.HasPrefix(r.Error.Message, why)) || j.result(0).Done == failed {
				t.Errorf("%s: %.10s: %v, %+v", c.what, r.Name, r.Error, j.result(0))
			}
		}
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		if n := strings.Count(string(log), "list "); n != 1 {
			t.Errorf("%s: %d listings\n%s", c.what, n, log)
		}
	}
}
