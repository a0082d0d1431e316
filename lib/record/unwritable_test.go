package record

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestUnwritable checks that a record that no reader would accept arrives as a failed one,
// and the records before and after it as they are: what is wrong with one dataset must not
// end the run for the others.
func TestUnwritable(t *testing.T) {
	long := make([]Snapshot, 9)
	for i := range long {
		long[i] = Snapshot{Name: fmt.Sprint(i)}
	}
	for _, c := range []struct {
		what   string
		spoil  func(*Record)
		field  string
		target bool // the target is still named
	}{
		{"a value that is no UTF-8", func(r *Record) { r.MountPoint = "/\xff" }, "field mountpoint: ", true},
		{"one further in", func(r *Record) { r.Steps = []Step{{Do: DoReceive}, {Do: DoReceive, Flags: []string{"-L", "\xff"}}} }, "field steps[1].flags[1]: ", true},
		{"one beside a long list", func(r *Record) { r.Snapshots, r.MountPoint = long, "\xff" }, "field mountpoint: ", true},
		{"one in a long list", func(r *Record) {
			x := SnapshotFields{Name: "x", Holds: []string{"\xff"}}
			r.Snapshots = append(long[:8:8], x.Snapshot())
		}, "field snapshots[8].holds[0]: ", true},
		{"a value that is no number", func(r *Record) { r.Results = []Result{{Do: DoReceive, Seconds: Ptr(math.NaN())}} }, "field results[0].seconds: ", true},
		{"a value that is too long", func(r *Record) {
			r.Steps = []Step{{Do: DoMark, Set: []string{"a:b=" + strings.Repeat("x", 9000)}}}
		}, "field steps[0].set: ", true},
		{"a full name that is too long", func(r *Record) { r.Snapshots = []Snapshot{{Name: strings.Repeat("x", 253)}} }, "field snapshots[0].name: ", true},
		{"a name that is none", func(r *Record) { r.Bookmarks = append(long[:8:8], Snapshot{Name: "a@b"}) }, "field bookmarks[8].name: ", true},
		{"a fact", func(r *Record) { r.From = "x" }, "field zab:from: ", true},
		{"what tells which dataset it is", func(r *Record) { r.GUID = "x" }, "field guid: ", false},
		{"the backup", func(r *Record) { r.Backup = "\xff" }, "field backup: ", false},
		{"the target", func(r *Record) { r.Target.Name = "-r" }, "field target.name: ", false},
	} {
		var b bytes.Buffer
		w := NewWriter(&b)
		var failed []string
		w.Stage, w.Failed = "plan", func(r *Record) { failed = append(failed, r.Name) }
		bad := &Record{Type: TypeDataset, Backup: "b", Host: "nas", Name: "tank/b", PoolGUID: "7", Selected: Ptr(true), Facts: Facts{Kind: "volume", GUID: "8"},
			Target: &Target{Name: "usb/b", Exists: true}}
		c.spoil(bad)
		for _, r := range []*Record{{Type: TypeDataset, Name: "tank/a", Reason: "a"}, bad, {Type: TypeDataset, Name: "tank/c", Reason: "c"}} {
			if err := w.Write(r); err != nil {
				t.Errorf("%s: %v", c.what, err)
			}
		}
		got, err := NewReader(&b).ReadAll()
		if err != nil || len(got) != 3 || got[0].Reason != "a" || got[0].Error != nil || got[2].Reason != "c" || got[2].Error != nil {
			t.Errorf("%s: %d records, %v", c.what, len(got), err)
			continue
		}
		r := got[1]
		if r.Type != TypeDataset || r.Host != "nas" || r.Name != "tank/b" || r.Selected == nil || !*r.Selected || !r.Skip() || r.Failure() == nil || r.Steps != nil {
			t.Errorf("%s: %+v", c.what, r)
			continue
		}
		if e := r.Error; e.Kind != KindBadArgument || e.Hint == "" || e.Stage != "plan" || !slices.Equal(failed, []string{"tank/b"}) || !strings.HasPrefix(e.Message, "cannot write the record of 'tank/b'") || !strings.Contains(e.Message, c.field) {
			t.Errorf("%s: %+v", c.what, e)
		}
		if named := r.Target != nil && r.Target.Name == "usb/b" && r.PoolGUID == "7" && r.GUID == "8" && r.Backup == "b"; named != c.target {
			t.Errorf("%s: %+v, %+v", c.what, r, r.Target)
		}
	}
}

// TestUnwritableFailed checks that a record that failed before keeps its first error, and
// that one of the type unlisted, which needs an error, stays one.
func TestUnwritableFailed(t *testing.T) {
	for _, typ := range []string{TypeDataset, TypeOrphan, TypeUnlisted} {
		r := &Record{Type: typ, Name: "tank/a", Facts: Facts{MountPoint: "\xff"}, Source: &Source{Name: "pool/a"},
			Error: &Error{Stage: "plan", Kind: KindPermission, Message: "a\xff", Hint: "b\xff"}}
		var b bytes.Buffer
		if err := NewWriter(&b).Write(r); err != nil {
			t.Fatal(err)
		}
		got, err := NewReader(&b).Read()
		if err != nil || got.Type != typ || got.Source.Name != "pool/a" || !reflect.DeepEqual(*got.Error, Error{Stage: "plan", Kind: KindPermission, Message: "a\uFFFD", Hint: "b\uFFFD"}) ||
			len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "field mountpoint: ") {
			t.Errorf("%s: %+v, %v", typ, got, err)
		}
	}
}

// TestLegible checks that text in any encoding that only people read does not fail a
// record, and that the record itself, which others may be reading, is not changed.
func TestLegible(t *testing.T) {
	const bad, good = "a\xff", "a\uFFFD"
	make := func(s string) *Record {
		e := func() *Error { return &Error{Stage: "snap", Kind: KindOther, Message: s, Hint: s} }
		v := []Verdict{{Name: "x", Why: []string{"y", s}}}
		return &Record{Zab: Version, Type: TypeDataset, Name: "t", Reason: s, Warnings: []string{"x", s}, Snapshot: &Made{Error: e()}, Error: e(),
			Steps:    []Step{{Do: DoReceive}, {Do: DoReceive, Why: s}},
			Conflict: &Conflict{Kind: ConflictModified, Message: s, Remedies: []string{s}},
			Results:  []Result{{Do: DoReceive, Message: s, Commands: []string{"x", s}}},
			Thin:     &Thin{Source: v, Target: v, Dataset: s}}
	}
	r := make(bad)
	var b bytes.Buffer
	if err := NewWriter(&b).Write(r); err != nil {
		t.Fatal(err)
	}
	got, err := NewReader(&b).Read()
	if err != nil {
		t.Fatal(err)
	}
	if got.raw, got.Line = "", 0; !reflect.DeepEqual(got, make(good)) {
		t.Errorf("%+v", got)
	}
	if !reflect.DeepEqual(r, make(bad)) {
		t.Errorf("%+v", r)
	}
}
