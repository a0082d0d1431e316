package xfer

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"zab/lib/record"
	"zab/lib/zfs"
	"zab/lib/zfs/zfstest"
)

// Each kind of step has a check and a show function, and is executed either by itself or
// when its record is committed.
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

// A dry run shows the commands of each kind of step that asks zfs for nothing.
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

// check refuses steps that are incomplete, unknown or about other datasets, and says why.
func TestCheckSteps(t *testing.T) {
	step := func(s record.Step) record.Step { return s }
	good := record.Step{Do: "receive", Dataset: "b/a", To: "s1", ToGUID: "1"}
	with := func(f func(*record.Step)) record.Step { s := good; f(&s); return s }
	for _, c := range []struct {
		name string
		s    record.Step
		why  string
	}{
		{"receive", good, ""},
		{"receive into another dataset", with(func(s *record.Step) { s.Dataset = "b/other" }), "its dataset"},
		{"receive of nothing", with(func(s *record.Step) { s.To = "" }), `"to"`},
		{"receive of what does not exist yet", with(func(s *record.Step) { s.ToGUID = "" }), "dry run"},
		{"receive with -R", with(func(s *record.Step) { s.Flags = []string{"-R"} }), "-R"},
		{"receive with half a property", with(func(s *record.Step) { s.Set = []string{"compression"} }), "not a property"},
		{"receive without two properties at once", with(func(s *record.Step) { s.Exclude = []string{"a=b"} }), "not the name"},
		{"receive with a bad token", with(func(s *record.Step) { s.Token = "1-2-3" }), "token"},
		{"receive with its token", with(func(s *record.Step) { s.Token = zfstest.Token("t/a@s1", "1", "") }), ""},
		{"receive with its raw token", with(func(s *record.Step) {
			s.Token, s.Flags = zfstest.Token("t/a@s1", "1", "", "compressok", "rawok"), []string{"-L", "-w", "-p"}
		}), ""},
		{"receive with a token of another snapshot", with(func(s *record.Step) { s.Token = zfstest.Token("t/a@s1", "2", "") }), "belongs to"},
		{"receive with a token of another dataset", with(func(s *record.Step) { s.Token = zfstest.Token("t/b@s1", "1", "") }), "it names"},
		{"receive with a token from a base", with(func(s *record.Step) { s.Token = zfstest.Token("t/a@s1", "1", "3") }), "starts from another"},
		{"receive with a token that is not raw", with(func(s *record.Step) {
			s.Token, s.Flags = zfstest.Token("t/a@s1", "1", "", "compressok"), []string{"-L", "-w", "-p"}
		}), "not raw"},
		{"receive with a raw token", with(func(s *record.Step) { s.Token = zfstest.Token("t/a@s1", "1", "", "compressok", "rawok") }), "raw"},
		{"receive of several with a token", with(func(s *record.Step) {
			s.Token, s.Through = zfstest.Token("t/a@s1", "1", ""), []record.Through{{Name: "s0", GUID: "2"}}
		}), "brings one snapshot"},
		{"receive of what the token says", with(func(s *record.Step) { s.Token, s.To = zfstest.Token("t/a@s1", "1", ""), "" }), `"to"`},
		{"abort", step(record.Step{Do: "abort-resume", Dataset: "b/a"}), ""},
		{"abort elsewhere", step(record.Step{Do: "abort-resume", Dataset: "b/c"}), "its dataset"},
		{"parent", step(record.Step{Do: "create-parent", Dataset: "b"}), ""},
		{"parent of another", step(record.Step{Do: "create-parent", Dataset: "c"}), "not above"},
		{"parent is itself", step(record.Step{Do: "create-parent", Dataset: "b/a"}), "not above"},
		{"destroy on the source", step(record.Step{Do: "destroy", Side: "source", Dataset: "t/a", Snapshot: "x", GUID: "1"}), ""},
		{"destroy without a guid", step(record.Step{Do: "destroy", Side: "target", Dataset: "b/a", Snapshot: "x"}), `"guid"`},
		{"destroy nowhere", step(record.Step{Do: "destroy", Dataset: "b/a", Snapshot: "x", GUID: "1"}), "side"},
		{"destroy on the other side", step(record.Step{Do: "destroy", Side: "source", Dataset: "b/a", Snapshot: "x", GUID: "1"}), "its dataset"},
		{"rollback", step(record.Step{Do: "rollback", Side: "target", Dataset: "b/a", Snapshot: "x", GUID: "1"}), ""},
		{"rollback of the source", step(record.Step{Do: "rollback", Side: "source", Dataset: "t/a", Snapshot: "x", GUID: "1"}), "its dataset"},
		{"hold", step(record.Step{Do: "hold", Side: "source", Dataset: "t/a", Snapshot: "x", Tag: "t"}), ""},
		{"hold without a tag", step(record.Step{Do: "hold", Side: "source", Dataset: "t/a", Snapshot: "x"}), `"tag"`},
		{"an option for a tag", step(record.Step{Do: "release", Side: "source", Dataset: "t/a", Snapshot: "x", Tag: "-r"}), "not a tag"},
		{"bookmark", step(record.Step{Do: "bookmark", Side: "source", Dataset: "t/a", Snapshot: "x", GUID: "1", To: "m"}), ""},
		{"bookmark of nothing", step(record.Step{Do: "bookmark", Side: "source", Dataset: "t/a", GUID: "1", To: "m"}), `"snapshot"`},
		{"rename aside", step(record.Step{Do: "rename-aside", Dataset: "b/a", GUID: "1", To: "a_diverged-20261122030000", From: "x", FromGUID: "2"}), ""},
		{"rename aside without a clone", step(record.Step{Do: "rename-aside", Dataset: "b/a", GUID: "1", To: "a_diverged-20261122030000-2"}), ""},
		{"rename another aside", step(record.Step{Do: "rename-aside", Dataset: "b/c", GUID: "1", To: "c_diverged-20261122030000"}), "its dataset"},
		{"rename aside without a guid", step(record.Step{Do: "rename-aside", Dataset: "b/a", To: "a_diverged-20261122030000"}), `"guid"`},
		{"rename aside to any name", step(record.Step{Do: "rename-aside", Dataset: "b/a", GUID: "1", To: "c"}), "not a name"},
		{"rename aside to another's name", step(record.Step{Do: "rename-back", Dataset: "b/a", GUID: "1", To: "b_diverged-20261122030000"}), "not a name"},
		{"clone of what has no guid", step(record.Step{Do: "rename-aside", Dataset: "b/a", GUID: "1", To: "a_diverged-20261122030000", From: "x"}), "its guid"},
		{"clone of a bookmark", step(record.Step{Do: "rename-aside", Dataset: "b/a", GUID: "1", To: "a_diverged-20261122030000", From: "#x", FromGUID: "2"}), "its guid"},
		{"rename back", step(record.Step{Do: "rename-back", Dataset: "b/a", GUID: "1", To: "a_diverged-20261122030000", Tag: "t"}), ""},
		{"rename", step(record.Step{Do: "rename", Dataset: "b/a", From: "b/old", GUID: "1", Snapshot: "x", FromGUID: "7"}), ""},
		{"rename of what is above", step(record.Step{Do: "rename", Dataset: "b", From: "c", GUID: "1", Snapshot: "x", FromGUID: "7"}), "cannot be renamed"},
		{"rename of another", step(record.Step{Do: "rename", Dataset: "b/c", From: "b/old", GUID: "1", Snapshot: "x", FromGUID: "7"}), "neither the target"},
		{"rename to another pool", step(record.Step{Do: "rename", Dataset: "b/a", From: "c/old", GUID: "1", Snapshot: "x", FromGUID: "7"}), "cannot be renamed"},
		{"rename of a pool", step(record.Step{Do: "rename", Dataset: "b/a", From: "b", GUID: "1", Snapshot: "x", FromGUID: "7"}), "cannot be renamed"},
		{"rename into itself", step(record.Step{Do: "rename", Dataset: "b/a", From: "b/a/x", GUID: "1", Snapshot: "x", FromGUID: "7"}), "not apart"},
		{"rename of what is no copy", step(record.Step{Do: "rename", Dataset: "b/a", From: "b/old", GUID: "1", Snapshot: "x", FromGUID: "8"}), "none of"},
		{"rename without a guid", step(record.Step{Do: "rename", Dataset: "b/a", From: "b/old", Snapshot: "x", FromGUID: "7"}), `"guid"`},
		{"unknown", step(record.Step{Do: "explode", Dataset: "b/a"}), "does not know"},
	} {
		r := &record.Record{Name: "t/a", Snapshots: []record.Snapshot{{Name: "x", GUID: "7"}}, Target: &record.Target{Name: "b/a"}, Steps: []record.Step{c.s}}
		err := check(r, false)
		if (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil {
			fail(r, err)
			if r.Error.Kind != record.KindBadStep || r.Error.Stage != "xfer" {
				t.Errorf("%s: %+v", c.name, r.Error)
			}
		}
	}
	if check(&record.Record{Name: "t/a", Steps: []record.Step{good}}, true) == nil {
		t.Error("a record without a target")
	}
	virtual := with(func(s *record.Step) { s.ToGUID = "" })
	if err := check(&record.Record{Name: "t/a", Target: &record.Target{Name: "b/a"}, Steps: []record.Step{virtual}}, true); err != nil {
		t.Errorf("in a dry run: %v", err)
	}
}

// P1: not even a plan that was changed by hand destroys the newest snapshot in common.
func TestCommonIsKept(t *testing.T) {
	snap := func(name, guid string) record.Snapshot { return record.Snapshot{Name: name, GUID: guid} }
	destroy := func(side, ds, name, guid string) record.Step {
		return record.Step{Do: "destroy", Side: side, Dataset: ds, Snapshot: name, GUID: guid}
	}
	receive := record.Step{Do: "receive", Dataset: "b/a", To: "s3", ToGUID: "3"}
	for _, c := range []struct {
		name  string
		marks []record.Snapshot
		steps []record.Step
		ok    bool
	}{
		{"older on the target", nil, []record.Step{destroy("target", "b/a", "s1", "1"), receive}, true},
		{"common on the target", nil, []record.Step{destroy("target", "b/a", "s2", "2"), receive}, false},
		{"common on the source", nil, []record.Step{destroy("source", "t/a", "s2", "2")}, false},
		{"common on the source, with a bookmark", []record.Snapshot{snap("m", "2")}, []record.Step{destroy("source", "t/a", "s2", "2")}, true},
		{"no more the newest then", nil, []record.Step{receive, destroy("target", "b/a", "s2", "2")}, true},
	} {
		r := &record.Record{Name: "t/a", Snapshots: []record.Snapshot{snap("s1", "1"), snap("s2", "2"), snap("s3", "3")}, Bookmarks: c.marks,
			Target: &record.Target{Name: "b/a", Snapshots: []record.Snapshot{snap("s1", "1"), snap("s2", "2")}}, Steps: c.steps}
		if err := check(r, false); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
