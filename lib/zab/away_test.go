package zab

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"zab/lib/cli"
	"zab/lib/record"
	"zab/lib/zfs"
)

// TestAway checks that snapshots kept for a target long away are reported once, with the
// commands that release them, and that nothing is said about targets used in turn.
func TestAway(t *testing.T) {
	now := time.Date(2026, 11, 22, 3, 0, 0, 0, time.Local)
	at := func(days int) *int64 { return record.Ptr(now.AddDate(0, 0, -days).Unix()) }
	rec := func(name string, waits ...record.Wait) *record.Record {
		return &record.Record{Type: record.TypeDataset, Name: name, Target: &record.Target{Name: "backup/" + name, Host: "nas"}, Thin: &record.Thin{Waits: waits}}
	}
	source := func(snapshot, tag string, since *int64, also string) record.Wait {
		return record.Wait{Side: record.SideSource, Snapshot: snapshot, Tag: tag, Since: since, Also: also}
	}
	many := rec("tank/many")
	for i := range 11 {
		many.Thin.Waits = append(many.Thin.Waits, source(fmt.Sprint("s", i), "t:4", at(200), "t"))
	}
	for _, c := range []struct {
		what    string
		records []*record.Record
		want    []string
	}{
		{"nothing", []*record.Record{rec("tank/a"), {Type: record.TypeDataset, Name: "x"}}, nil},
		{"takes its turn", []*record.Record{rec("tank/a", source("1", "t:1", at(89), "t"))}, nil},
		{"of one dataset for long, of another not", []*record.Record{rec("tank/a", source("1", "t:1", at(300), "t")), rec("tank/b", source("1", "t:1", at(2), "t"))}, nil},
		{"it is not known since when", []*record.Record{rec("tank/a", source("1", "t:1", at(300), "t"), source("2", "t:1", nil, "t"))}, nil},
		{"one that is gone", []*record.Record{rec("tank/a b", source("1", "t:1", at(200), "t")), rec("tank/c", source("1", "t:1", at(100), ""))}, []string{
			"held for a target that was last here on 2026-08-14: 2 snapshots, by 't:1'",
			"    if it is gone for good: zfs release t 'tank/a b@1' && zfs release t:1 'tank/a b@1' tank/c@1",
		}},
		{"two, and many snapshots", []*record.Record{many, rec("tank/a", record.Wait{Side: record.SideTarget, Snapshot: "1", Tag: "t:3", Since: at(91)})}, []string{
			"held for a target that was last here on 2026-05-06: 11 snapshots, by 't:4'",
			"    if it is gone for good: zab-list(8) tells how all that is held for it is let go",
			"held for a target that was last here on 2026-08-23: 1 snapshot on nas, by 't:3'",
			"    if it is gone for good: ssh",
		}},
	} {
		var out bytes.Buffer
		r := newReport(&Options{}, &cli.Env{Program: "zab", Common: &cli.Common{}, Machine: &zfs.Machine{}, Stdout: &out, Stderr: &bytes.Buffer{}, Now: now}, []string{"b", "backup"})
		r.o.Verbose = true
		for _, rec := range c.records {
			r.away.add(rec)
		}
		r.tellAway()
		got := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if out.Len() == 0 {
			got = nil
		}
		fine := len(got) == len(c.want)
		for i := range c.want {
			fine = fine && strings.HasPrefix(got[i], c.want[i])
		}
		if !fine {
			t.Errorf("%s:\n%q\nwant\n%q", c.what, got, c.want)
		}
	}
}
