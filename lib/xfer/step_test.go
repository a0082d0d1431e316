package xfer

import (
	"context"
	"maps"
	"slices"
	"testing"

	"zab/lib/record"
	"zab/lib/zfs"
)

// Each kind of step can be checked and shown, and is executed by itself or with its
// record's commit.
func TestKinds(t *testing.T) {
	if have, want := slices.Sorted(maps.Keys(kinds)), slices.Sorted(slices.Values(record.Dos)); !slices.Equal(have, want) {
		t.Errorf("%q are known, and there are %q", have, want)
	}
	committed := []string{record.DoHold, record.DoRelease, record.DoBookmark, record.DoUnbookmark, record.DoMark}
	for do, k := range kinds {
		if k.check == nil || k.show == nil || (k.do == nil) != slices.Contains(committed, do) {
			t.Errorf("%s: %+v", do, k)
		}
	}
}

// What a dry run shows of each kind of step that asks zfs for nothing.
func TestShow(t *testing.T) {
	machine(t, map[string]string{"zfs": "#!/bin/sh\necho \"asked: $*\" >&2\nexit 9\n"})
	r := &record.Record{Type: record.TypeDataset, Name: "t/a", Facts: record.Facts{Kind: "filesystem"}, Target: &record.Target{Name: "p/x/t/a", Facts: record.Facts{Kind: "filesystem"}, Exists: true}}
	for _, c := range []struct {
		s    record.Step
		want []string
	}{
		{record.Step{Do: record.DoAbortResume, Dataset: "p/x/t/a"}, []string{"zfs receive -A p/x/t/a"}},
		{record.Step{Do: record.DoCreateParent, Dataset: "p/x"}, []string{"zfs create -o canmount=off -o zab:stream=parent p/x"}},
		{record.Step{Do: record.DoRename, Dataset: "p/x/t", From: "p/x/u"}, []string{"zfs rename -u p/x/u p/x/t"}},
		{record.Step{Do: record.DoRollback, Dataset: "p/x/t/a", Snapshot: "1"}, []string{"zfs rollback p/x/t/a@1"}},
		{record.Step{Do: record.DoRollback, Dataset: "p/x/t/a", Snapshot: "1", OnlyRead: true}, []string{`test -z "$(zfs diff -H p/x/t/a@1 p/x/t/a)" && zfs rollback p/x/t/a@1`}},
		{record.Step{Do: record.DoMark, Dataset: "p/x/t/a", Set: []string{"zab:from=7", "zab:stream=L"}}, []string{"zfs set zab:from=7 zab:stream=L p/x/t/a"}},
		{record.Step{Do: record.DoHold, Side: "source", Dataset: "t/a", Snapshot: "1", Tag: "b"}, []string{"zfs hold b t/a@1"}},
		{record.Step{Do: record.DoRelease, Side: "target", Dataset: "p/x/t/a", Snapshot: "1", Tag: "b"}, []string{"zfs release b p/x/t/a@1"}},
		{record.Step{Do: record.DoBookmark, Side: "source", Dataset: "t/a", Snapshot: "1", To: "m"}, []string{"zfs bookmark t/a@1 't/a#m'"}},
		{record.Step{Do: record.DoBookmark, Side: "source", Dataset: "t/a", From: "#n", To: "m"}, []string{"zfs bookmark 't/a#n' 't/a#m'"}},
		{record.Step{Do: record.DoUnbookmark, Side: "source", Dataset: "t/a", From: "#n"}, []string{"zfs destroy 't/a#n'"}},
		{record.Step{Do: record.DoReceive, Dataset: "p/x/t/a", To: "2", ToGUID: "7", From: "1", FromGUID: "6", Flags: []string{"-L"}, Bytes: record.Ptr[int64](5)},
			[]string{"zfs send -L -i t/a@1 t/a@2 | zfs receive -u -s -h p/x/t/a@2"}},
	} {
		x := &stage{env: newFake(t).stage.env, o: &Options{}}
		x.env.Machine = &zfs.Machine{}
		r.Steps = []record.Step{c.s}
		r.Error = nil
		j := x.newJob(r, 0)
		if j.show(context.Background()); r.Error != nil || !slices.Equal(j.result(0).Commands, c.want) {
			t.Errorf("%s: %q, want %q; %+v", c.s.Do, j.result(0).Commands, c.want, r.Error)
		}
	}
	// Snapshots of one dataset are destroyed by one program.
	x := &stage{env: newFake(t).stage.env, o: &Options{}}
	x.env.Machine = &zfs.Machine{}
	destroy := record.Step{Do: record.DoDestroy, Side: "target", Dataset: "p/x/t/a", Snapshot: "1"}
	other := destroy
	other.Snapshot = "2"
	r.Steps = []record.Step{destroy, other}
	j := x.newJob(r, 0)
	if j.show(context.Background()); r.Error != nil || !slices.Equal(j.result(0).Commands, []string{"zfs destroy p/x/t/a@1,2"}) || j.result(1).Commands != nil {
		t.Errorf("%q %+v", j.result(0).Commands, r.Error)
	}
}
