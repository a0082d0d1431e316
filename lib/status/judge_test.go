package status

import (
	"slices"
	"strings"
	"testing"

	"zab/lib/record"
)

// now is the time of all tests; an hour is counted in seconds.
const (
	now  = 1800000000
	hour = 3600
)

func testRules() *Rules {
	return &Rules{Now: now, Warn: 26 * hour, Crit: 50 * hour, MinChange: 1, Orphan: record.StatusWarn}
}

// snapshots returns snapshots given as "NAME/AGE IN HOURS"; the guid is the name. Names
// that begin with b- are ours. An age of ? is not known.
func snapshots(list ...string) []record.Snapshot {
	out := []record.Snapshot{}
	for i, s := range list {
		name, age, _ := strings.Cut(s, "/")
		e := record.Snapshot{Name: name, GUID: "1" + strings.Map(digit, name), CreateTXG: string(rune('1' + i)), Ours: strings.HasPrefix(name, "b-")}
		if age != "?" {
			h := int64(0)
			for _, c := range strings.TrimPrefix(age, "-") {
				h = 10*h + int64(c-'0')
			}
			if strings.HasPrefix(age, "-") {
				h = -h
			}
			e.Creation = record.Ptr(now - h*hour)
		}
		out = append(out, e)
	}
	return out
}

func digit(c rune) rune { return '0' + c%10 }

// selected returns the record of a source with a copy.
func selected(written int64, source, target []record.Snapshot) *record.Record {
	return &record.Record{Zab: 1, Type: record.TypeDataset, Backup: "b", Name: "tank/a", Selected: record.Ptr(true),
		Facts: record.Facts{Written: &written}, Snapshots: source, Bookmarks: []record.Snapshot{},
		Target: &record.Target{Name: "bk/tank/a", Exists: true, Snapshots: target}, Steps: []record.Step{}}
}

// with returns the record after a change.
func with(r *record.Record, f func(r *record.Record)) *record.Record { f(r); return r }

// none stands for an unknown number.
const none = -1

func TestJudge(t *testing.T) {
	one := func(age string) []record.Snapshot { return snapshots("b-1/" + age) }
	orphan := func(reason string, excluded bool, list ...string) *record.Record {
		return &record.Record{Type: record.TypeOrphan, Backup: "b", Name: "bk/z", Reason: reason, Excluded: excluded,
			Target: &record.Target{Name: "bk/z", Exists: true, Snapshots: snapshots(list...)}}
	}
	for _, c := range []struct {
		what    string
		r       *record.Record
		verdict string // "" if it is not judged
		age     int64  // in hours
		says    []string
	}{
		{"young", selected(5, one("3"), one("3")), "ok", 3, nil},
		{"exactly the limit", selected(5, one("26"), one("26")), "ok", 26, nil},
		{"beyond the first limit", selected(5, one("27"), one("27")), "warn", 27, []string{"the newest common snapshot is 27h old, more than 26h"}},
		{"beyond the second limit", selected(5, one("51"), one("51")), "crit", 51, []string{"51h old, more than 50h"}},
		{"old, but nothing was written", selected(0, one("500"), one("500")), "ok", 0, nil},
		{"old, and it is not known what was written", with(selected(0, one("500"), one("500")), func(r *record.Record) { r.Written = nil }), "crit", 500, nil},
		// Written counts since a snapshot that the target does not have.
		{"snapshot not sent", selected(0, snapshots("b-1/60", "b-2/1"), snapshots("b-1/60")), "crit", 60, nil},
		{"other's snapshot since, nothing written", with(selected(0, snapshots("b-1/60", "auto/1"), snapshots("b-1/60")), func(r *record.Record) { r.Status = &record.Status{Written: record.Ptr[int64](0)} }), "ok", 0, nil},
		{"other's snapshot since, something written", with(selected(0, snapshots("b-1/60", "auto/1"), snapshots("b-1/60")), func(r *record.Record) { r.Status = &record.Status{Written: record.Ptr[int64](9)} }), "crit", 60, nil},
		{"common snapshot is not ours", selected(5, snapshots("auto/2"), snapshots("auto/2")), "ok", 2, nil},
		{"a dry run's snapshot does not exist", with(selected(5, snapshots("b-1/60"), snapshots("b-1/60")), func(r *record.Record) {
			r.Snapshots = append(r.Snapshots, record.Snapshot{Name: "b-9", Ours: true, Virtual: true})
		}), "crit", 60, nil},
		{"base is a bookmark", with(selected(5, []record.Snapshot{}, one("3")), func(r *record.Record) { r.Bookmarks = one("3") }), "ok", 3, nil},
		{"clock ahead a little", selected(5, one("0"), one("0")), "ok", 0, nil},
		{"from the future", selected(5, one("-2"), one("-2")), "unknown", none, []string{"from the future"}},
		{"age not known", selected(5, one("?"), one("?")), "unknown", none, []string{"it is not known when"}},

		{"no copy", with(selected(0, one("1"), nil), func(r *record.Record) { r.Target.Exists = false }), "crit", none, []string{"no copy: there is no 'bk/tank/a'"}},
		{"no copy and no snapshot", with(selected(0, nil, nil), func(r *record.Record) { r.Snapshots, r.Target.Exists = []record.Snapshot{}, false }), "crit", none, []string{"no copy"}},
		{"copy elsewhere", with(selected(0, one("1"), nil), func(r *record.Record) { r.Target.Exists, r.Target.Elsewhere = false, "bk/old" }), "crit", none, []string{"it is at 'bk/old'"}},
		{"copy without a snapshot", selected(0, one("1"), []record.Snapshot{}), "crit", none, []string{"'bk/tank/a' has no snapshot"}},
		{"nothing in common", selected(0, snapshots("b-1/1"), snapshots("b-2/1")), "crit", none, []string{"no snapshot in common"}},
		{"conflict", with(selected(0, snapshots("b-1/2", "b-2/1"), snapshots("b-1/2")), func(r *record.Record) {
			r.Conflict = &record.Conflict{Kind: record.ConflictModified, Message: "it was written to"}
			r.Fail(record.Error{Stage: "plan", Kind: record.KindConflict, Message: "cannot back up: it was written to"})
		}), "crit", 2, []string{"conflict: it was written to"}},
		{"error before the plan", &record.Record{Type: record.TypeDataset, Name: "tank/a", Selected: record.Ptr(true), Error: &record.Error{Message: "cannot list"}}, "crit", none, []string{"cannot list"}},
		{"error and old: all reasons", with(selected(5, one("60"), one("60")), func(r *record.Record) { r.Fail(record.Error{Message: "broken"}) }), "crit", 60, []string{"broken", "60h old"}},
		{"error of the snapshot", with(selected(5, one("1"), one("1")), func(r *record.Record) {
			r.Snapshot = &record.Made{Error: &record.Error{Message: "out of space"}}
		}), "crit", 1, []string{"out of space"}},
		{"not listed", &record.Record{Type: record.TypeUnlisted, Name: "tank", Error: &record.Error{Message: "I/O error"}}, "unknown", none, []string{"I/O error"}},

		{"no target: its snapshots count", with(selected(5, one("27"), nil), func(r *record.Record) { r.Target = nil }), "warn", 27, []string{"the newest snapshot is 27h old"}},
		{"no target, unchanged", with(selected(0, one("270"), nil), func(r *record.Record) { r.Target = nil }), "ok", 0, nil},
		{"no target, no snapshot of ours", with(selected(0, snapshots("auto/1"), nil), func(r *record.Record) { r.Target = nil }), "crit", none, []string{"no snapshot of this backup"}},
		{"no target, nothing listed", &record.Record{Type: record.TypeDataset, Name: "tank/a"}, "unknown", none, []string{"not listed"}},

		{"orphan", orphan("no selected source maps to it", false, "b-1/900"), "warn", 900, []string{"a copy without a source"}},
		{"orphan whose source is left out", orphan("left out", true, "b-1/900"), "ok", 900, []string{"left out"}},
		{"no copy of this backup", orphan("no selected source maps to it", false, "auto/900"), "", none, nil},
		{"not selected", with(selected(0, nil, nil), func(r *record.Record) { r.Selected = record.Ptr(false) }), "", none, nil},
	} {
		s := Judge(c.r, testRules())
		if c.verdict == "" {
			if s != nil {
				t.Errorf("%s: %+v", c.what, s)
			}
			continue
		}
		if s == nil || s.Verdict != c.verdict {
			t.Errorf("%s: %+v, want %s", c.what, s, c.verdict)
			continue
		}
		if c.age == none && s.Age != nil || c.age != none && (s.Age == nil || *s.Age != c.age*hour) {
			t.Errorf("%s: the age is %v, want %d h", c.what, s.Age, c.age)
		}
		text := strings.Join(append(s.Why, s.Notes...), "\n")
		for _, want := range c.says {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q does not say %q", c.what, text, want)
			}
		}
		if (len(s.Why) > 0) != (s.Verdict != record.StatusOK) {
			t.Errorf("%s: %s has the reasons %q", c.what, s.Verdict, s.Why)
		}
	}
}

// TestJudgeRules checks what depends on the rules.
func TestJudgeRules(t *testing.T) {
	few := selected(900, snapshots("b-1/60"), snapshots("b-1/60"))
	rules := testRules()
	rules.MinChange = 1000
	if s := Judge(few, rules); s.Verdict != record.StatusOK || *s.Age != 0 || *s.Written != 900 {
		t.Errorf("fewer bytes than --min-change: %+v", s)
	}
	rules.MinChange = 0
	if s := Judge(selected(0, snapshots("b-1/60"), snapshots("b-1/60")), rules); s.Verdict != record.StatusCrit || *s.Age != 60*hour {
		t.Errorf("a snapshot is expected even without a change: %+v", s)
	}
	// A pattern may hide the snapshot that written counts from.
	rules = testRules()
	rules.Hidden = true
	if s := Judge(selected(0, snapshots("b-1/60"), snapshots("b-1/60")), rules); s.Verdict != record.StatusCrit || s.Written != nil {
		t.Errorf("snapshots may be hidden: %+v", s)
	}
	orphan := &record.Record{Type: record.TypeOrphan, Name: "bk/z", Target: &record.Target{Name: "bk/z", Exists: true, Snapshots: snapshots("b-1/1")}}
	for _, v := range []string{record.StatusOK, record.StatusWarn, record.StatusCrit} {
		rules.Orphan = v
		if s := Judge(orphan, rules); s.Verdict != v {
			t.Errorf("--orphans-are %s: %+v", v, s)
		}
	}
}

func TestNotes(t *testing.T) {
	r := selected(5, snapshots("b-1/1"), snapshots("b-1/1"))
	r.Referenced, r.LogicalReferenced = record.Ptr[int64](1<<30), record.Ptr[int64](2<<30)
	r.Encryption, r.KeyStatus = "aes-256-gcm", "unavailable"
	r.Target.Facts = r.Facts
	r.Target.Resume = &record.Resume{Bytes: record.Ptr[int64](1 << 29)}
	r.Status = &record.Status{Misplaced: []record.Misplaced{{Side: "source", Snapshot: "b-0", Tag: "x"}, {Side: "target", Snapshot: "b-1", Tag: "x", Missing: true}}}
	s := Judge(r, testRules())
	want := []string{
		"a transfer was interrupted, or is going on: 512 MiB received, about 25%",
		"key not loaded: source, target",
		"holds of ours out of place: 1 missing on the common snapshot, 1 on other snapshots",
	}
	if s.Verdict != record.StatusOK || !slices.Equal(s.Notes, want) || *s.ResumeBytes != 1<<29 || *s.ResumeTotal != 2<<30 || len(s.Misplaced) != 2 {
		t.Errorf("%+v\nwant\n%q", s, want)
	}
	for _, c := range []struct {
		resume record.Resume
		total  int64
	}{
		{record.Resume{Bytes: record.Ptr[int64](9), Flags: []string{"raw"}}, 1 << 30},
		{record.Resume{Bytes: record.Ptr[int64](9), FromGUID: "1"}, none}, // more than was written
		{record.Resume{Bytes: record.Ptr[int64](4), FromGUID: "1"}, 5},
	} {
		r.Target.Resume = &c.resume
		s := Judge(r, testRules())
		if c.total == none && s.ResumeTotal != nil || c.total != none && (s.ResumeTotal == nil || *s.ResumeTotal != c.total) {
			t.Errorf("%+v: %v", c.resume, s.ResumeTotal)
		}
	}
}

func TestAgeText(t *testing.T) {
	for seconds, want := range map[int64]string{0: "0s", 59: "59s", 61: "1m", 26 * hour: "26h", 26*hour + 120: "26h 2m", 72 * hour: "3d", 100 * hour: "4d 4h"} {
		if got := ageText(seconds); got != want {
			t.Errorf("%d s is %q, want %q", seconds, got, want)
		}
	}
}

func TestWorst(t *testing.T) {
	for _, c := range [][3]string{{"ok", "warn", "warn"}, {"warn", "unknown", "unknown"}, {"unknown", "crit", "crit"}, {"", "ok", "ok"}} {
		if got := Worst(c[0], c[1]); got != c[2] || Worst(c[1], c[0]) != c[2] {
			t.Errorf("%q: %s", c, got)
		}
	}
}

func TestProof(t *testing.T) {
	ago := func(hours int64) *int64 { return record.Ptr(now - hours*hour) }
	for _, c := range []struct {
		within int64 // hours
		proof  string
		at     *int64
		want   string
	}{
		{0, "", nil, "ok"},
		{0, record.ProofDifferent, ago(1), "ok"}, // not asked for
		{10, "", nil, "unknown it is not known when the copy was verified"},
		{10, record.StatusNeverProved, nil, "warn the copy was never verified"},
		{10, record.ProofFull, ago(9), "ok"},
		{10, record.ProofIncrement, ago(11), "warn the copy was verified 11h ago, more than 10h"},
		{10, record.ProofDifferent, ago(1), "crit the copy was not equal to its source when it was verified"},
		{10, record.ProofFull, ago(-1), "unknown the copy was verified in the future: is a clock wrong?"},
	} {
		rules := testRules()
		rules.Verified = c.within * hour
		r := selected(0, snapshots("b-1/1"), snapshots("b-1/1"))
		r.Status = &record.Status{Proof: c.proof, ProofTime: c.at}
		s := Judge(r, rules)
		if got := strings.TrimSpace(s.Verdict + " " + strings.Join(s.Why, "; ")); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
