package thin

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"zab/lib/record"
	"zab/lib/schedule"
	"zab/lib/snapname"
)

const now = 1_000_000_000

const day = 86400

// format names our snapshots b-SECONDS.
func format(t interface{ Fatal(...any) }) snapname.Format {
	f, err := snapname.New("{}-%s", "b", time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func rules(t interface{ Fatal(...any) }, source, target string) *Rules {
	parse := func(text string) *schedule.Schedule {
		if text == "" {
			return nil
		}
		s, err := schedule.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return &s
	}
	return &Rules{Source: parse(source), Target: parse(target), Format: format(t), Now: now}
}

// snaps makes snapshots, oldest first, of words: D is ours, D days old; other
// words are not ours; ! stands for a hold, ~ for a snapshot of a dry run. The same word
// always has the same guid.
func snaps(words string) []record.Snapshot {
	out := []record.Snapshot{}
	for i, w := range strings.Fields(words) {
		s := record.Snapshot{CreateTXG: strconv.Itoa(10 * (i + 1))}
		if v, ok := strings.CutSuffix(w, "!"); ok {
			w, s.UserRefs = v, record.Ptr[int64](1)
		}
		v, virtual := strings.CutPrefix(w, "~")
		s.Name = v
		if d, err := strconv.Atoi(v); err == nil {
			s.Name = ours(d)
			s.GUID = strconv.Itoa(1000 + d)
		} else {
			s.GUID = "9" + strconv.Itoa(len(v)) + strconv.Itoa(int(v[0]))
		}
		if virtual {
			s.Virtual, s.GUID, s.CreateTXG = true, "", ""
		}
		out = append(out, s)
	}
	return out
}

func ours(days int) string { return fmt.Sprintf("b-%d", now-days*day) }

// kept returns the snapshots that the verdicts keep, in the words of snaps.
func kept(verdicts []record.Verdict) string {
	var out []string
	for _, v := range verdicts {
		if !v.Keep {
			continue
		}
		name := v.Name
		if s, ok := strings.CutPrefix(name, "b-"); ok {
			n, _ := strconv.Atoi(s)
			name = strconv.Itoa((now - n) / day)
		}
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

func TestDecide(t *testing.T) {
	receive := func(to string, through ...string) record.Step {
		s := record.Step{Do: record.DoReceive, From: "x", FromGUID: "0"}
		one := func(w string) (string, string) { x := snaps(w)[0]; return x.Name, x.GUID }
		s.To, s.ToGUID = one(to)
		for _, w := range through {
			n, g := one(w)
			s.Through = append(s.Through, record.Through{Name: n, GUID: g})
		}
		return s
	}
	none := "-"
	for _, c := range []struct {
		what, keepSource, keepTarget string
		source, target               string
		steps                        []record.Step
		results                      []record.Result
		keptSource, keptTarget       string
	}{
		{"the schedules of both sides", "2", "3", "9 8 7 6 5", "9 8 7 6 5", nil, nil, "6 5", "7 6 5"},
		{"P1: the newest, where the schedule wants none", "0", "0", "9 8 7", "9 8 7", nil, nil, "7", "7"},
		{"P1: the base, behind what the target has not got", "1", "1", "9 8 7 6", "9 8", nil, nil, "8 6", "8"},
		{"P1: the base, behind what only the target has", "1", "1", "9 8 7", "9 8 x y", nil, nil, "8 7", "8 x y"},
		{"P1: the base, behind newer ones of the target", "1", "1", "9 7", "9 8 6", nil, nil, "9 7", "9 6"},
		{"only the newest in common is the base", "1", "1", "9 8 7", "9 8 7", nil, nil, "7", "7"},
		{"nothing in common", "1", "1", "9 8", "7 6", nil, nil, "8", "6"},
		{"P2: what is still to be sent", "1", "1", "9 8 7 6 5", "9", []record.Step{receive("8"), receive("6", "7")}, nil, "9 8 7 6 5", "9"},
		{"not what was sent", "1", "1", "9 8 7 6 5", "9 8", []record.Step{receive("8"), receive("6", "7")}, []record.Result{{Step: 0, Done: true}}, "8 7 6 5", "8"},
		{"a transfer that failed is still to be done", "1", "1", "9 8 7 6 5", "9", []record.Step{receive("8")}, []record.Result{{Step: 0}}, "9 8 5", "9"},
		{"what comes takes no place before it has arrived", "9", "2", "9 8 7 6", "9 8", []record.Step{receive("6", "7")}, nil, "9 8 7 6", "9 8"},
		{"nor keeps what is too many without it", "9", "2", "9 8 7 6", "99 9 8", []record.Step{receive("6", "7")}, nil, "9 8 7 6", "9 8"},
		{"nor where its transfer failed", "9", "2", "9 8 7 6", "9 8", []record.Step{receive("6", "7")}, []record.Result{{Step: 0, Commands: []string{"x"}}}, "9 8 7 6", "9 8"},
		{"names in the future are kept and take nobody's place", "2", "2", "-5 9 8 7 -4", "-5 9 8 7", nil, nil, "-5 8 7 -4", "-5 8 7"},
		{"nor do those to come", "9", "2", "9 8 -4 -3", "9 8", []record.Step{receive("-3", "-4")}, nil, "9 8 -4 -3", "9 8"},
		{"what is there already does not count twice", "9", "2", "9 8 7", "9 8 7", []record.Step{receive("7")}, nil, "9 8 7", "8 7"},
		{"not ours", "0", "0", "x 9 y 8", "x 9 z", nil, nil, "x 9 y 8", "x 9 z"},
		{"the newest of all is not ours", "0", "0", "9 8 x", "9 y", nil, nil, "9 x", "9 y"},
		{"one side not at all", "", "1", "9 8 7", "9 8 7", nil, nil, none, "7"},
		{"nor the other", "1", "", "9 8 7", "9 8 7", nil, nil, "7", none},
		{"without a target: what is held", "1", "1", "9! 8 7! 6", none, nil, nil, "9 7 6", none},
		{"with a target that tells, holds are in nobody's way", "1", "1", "9! 8 7", "9! 8 7", nil, nil, "7", "7"},
		{"of a dry run", "2", "9", "9 8 ~7", "9", []record.Step{receive("8"), {Do: record.DoReceive, To: ours(7)}}, nil, "9 8 7", "9"},
		{"no snapshot", "1", "1", "", "", nil, nil, "", ""},
	} {
		r := &record.Record{Type: record.TypeDataset, Name: "tank/a", Snapshots: snaps(c.source), Steps: c.steps, Results: c.results}
		if c.target != none {
			r.Target = &record.Target{Name: "backup/a", Exists: true, Snapshots: snaps(c.target)}
		}
		got := Decide(r, rules(t, c.keepSource, c.keepTarget))
		check := func(side string, verdicts []record.Verdict, want string) {
			if (verdicts == nil) != (want == none) || want != none && kept(verdicts) != want {
				t.Errorf("%s: the %s keeps %q, should keep %q\n%+v", c.what, side, kept(verdicts), want, verdicts)
			}
		}
		check("source", got.Source, c.keptSource)
		check("target", got.Target, c.keptTarget)
	}
}

// A dry run after zab-xfer shows the snapshots that go once all others have arrived;
// before zab-xfer these are still kept.
func TestDryRunAfterTransfers(t *testing.T) {
	r := &record.Record{Type: record.TypeDataset, Name: "tank/a", Snapshots: snaps("9 8 7 6"),
		Target: &record.Target{Name: "backup/a", Exists: true, Snapshots: snaps("9 8")},
		Steps:  []record.Step{{Do: record.DoMark}, {Do: record.DoReceive, From: ours(8), FromGUID: "1008", To: ours(6), ToGUID: "1006", Through: []record.Through{{Name: ours(7), GUID: "1007"}}}}}
	rules := rules(t, "9", "2")
	rules.DryRun = true
	got := Decide(r, rules).Target
	if kept(got) != "9 8" || strings.Join(got[0].Why, "|") != "newest 2|kept until what is coming has arrived" {
		t.Errorf("%+v", got)
	}
	r.Results = []record.Result{{Step: 0, Commands: []string{"x"}}, {Step: 1, Commands: []string{"y"}}}
	if got := Decide(r, rules).Target; kept(got) != "8" {
		t.Errorf("%+v", got)
	}
	rules.DryRun = false
	if got := Decide(r, rules).Target; kept(got) != "9 8" {
		t.Errorf("believes a dry run: %+v", got)
	}
}

// There is one warning for each dataset, with a count and an example; the warning of a
// later stage that counts more replaces it.
func TestWarnAhead(t *testing.T) {
	r := &record.Record{Type: record.TypeDataset, Name: "tank/a", Snapshots: snaps("9 -3 -4 8"),
		Target: &record.Target{Name: "backup/a", Exists: true, Snapshots: snaps("9")}}
	rules := rules(t, "9", "9")
	if first := warnAhead(r, rules); first != "tank/a@"+ours(-3) {
		t.Error(first)
	}
	r.Target.Snapshots = snaps("9 -3")
	warnAhead(r, rules)
	warnAhead(r, rules)
	want := []string{
		"snapshots of 'tank/a' named for a time still to come: 2, such as '@" + ours(-3) + "'; they are kept, and no schedule counts them until then",
		"snapshots of 'backup/a' named for a time still to come: 1, such as '@" + ours(-3) + "'; they are kept, and no schedule counts them until then",
	}
	if !reflect.DeepEqual(r.Warnings, want) {
		t.Errorf("%q", r.Warnings)
	}
	rules.Source = nil
	r.Warnings = nil
	if warnAhead(r, rules); len(r.Warnings) != 1 {
		t.Errorf("a side that is not thinned: %q", r.Warnings)
	}
}

// A bookmark on the source is as good an incremental base as a snapshot: the snapshot of
// that base stays on the target.
func TestBookmarkIsABase(t *testing.T) {
	r := &record.Record{Type: record.TypeDataset, Name: "tank/a", Snapshots: snaps("7 6"),
		Bookmarks: []record.Snapshot{{Name: "m", GUID: snaps("8")[0].GUID}},
		Target:    &record.Target{Name: "b", Snapshots: snaps("9 8 x")}}
	if got := kept(Decide(r, rules(t, "1", "1")).Target); got != "8 x" {
		t.Errorf("%q", got)
	}
}

// A dataset that is missing on the source is thinned by the target's schedule, and keeps
// its newest snapshot and held ones.
func TestOrphan(t *testing.T) {
	r := &record.Record{Type: record.TypeOrphan, Name: "backup/gone", Snapshots: snaps("9 8"), Target: &record.Target{Name: "backup/gone", Snapshots: snaps("9! 8 x 7 6")}}
	got := Decide(r, rules(t, "0", "0"))
	if got.Source != nil || kept(got.Target) != "9 x 6" {
		t.Errorf("%+v", got)
	}
}

// Every verdict says all its reasons.
func TestReasons(t *testing.T) {
	r := &record.Record{Type: record.TypeDataset, Name: "tank/a", Snapshots: snaps("9 8 7 x"), Target: &record.Target{Name: "backup/a", Snapshots: snaps("9 8")},
		Steps: []record.Step{{Do: record.DoReceive, From: ours(8), FromGUID: "1008", To: ours(7), ToGUID: "1007"}}}
	got := Decide(r, rules(t, "1,1d1w", "1"))
	for i, want := range []string{
		"newest 1: not among them|1d1w: older than 1w",
		"the newest in common with the target|still to be sent",
		"still to be sent|newest 1|1d1w: first of " + time.Unix(now-7*day, 0).UTC().Format(time.DateOnly),
		"not ours",
	} {
		if s := strings.Join(got.Source[i].Why, "|"); s != want {
			t.Errorf("%s: %s", got.Source[i].Name, s)
		}
	}
	if s := strings.Join(got.Target[1].Why, "|"); s != "the newest in common with the source|the newest of the dataset|newest 1" {
		t.Errorf("%s", s)
	}
}

// history returns a random record: snapshots of both sides, some of them in common,
// steps, and results of some steps.
func history(t *rapid.T) *record.Record {
	r := &record.Record{Type: record.TypeDataset, Backup: "b", Name: "tank/a"}
	guid, txg := 1000, 10
	at := now - 500*day
	used := map[string]bool{}
	make := func() record.Snapshot {
		guid++
		txg += rapid.IntRange(1, 3).Draw(t, "txg")
		at += rapid.IntRange(-day, 6*day).Draw(t, "later") // clocks are set back too
		name := at
		if rapid.IntRange(0, 5).Draw(t, "lies") == 0 {
			name = now + rapid.IntRange(-600, 90*day).Draw(t, "ahead")
		}
		s := record.Snapshot{Name: fmt.Sprintf("b-%d", name), GUID: strconv.Itoa(guid), CreateTXG: strconv.Itoa(txg)}
		if rapid.IntRange(0, 3).Draw(t, "other") == 0 || used[s.Name] {
			s.Name = fmt.Sprint("x", guid)
		}
		used[s.Name] = true
		if rapid.Bool().Draw(t, "asked") {
			s.UserRefs = record.Ptr(int64(rapid.IntRange(0, 1).Draw(t, "held")))
		}
		return s
	}
	r.Snapshots, r.Bookmarks = []record.Snapshot{}, []record.Snapshot{}
	var copied []record.Snapshot
	for range rapid.IntRange(0, 10).Draw(t, "snapshots") {
		s := make()
		switch rapid.IntRange(0, 5).Draw(t, "where") {
		case 0:
			copied = append(copied, s) // thinned on the source
		case 1, 2:
			copied = append(copied, s)
			r.Snapshots = append(r.Snapshots, s)
		case 3:
			copied = append(copied, s)
			r.Bookmarks = append(r.Bookmarks, record.Snapshot{Name: fmt.Sprint("m", guid), GUID: s.GUID, CreateTXG: s.CreateTXG})
		default:
			r.Snapshots = append(r.Snapshots, s)
		}
	}
	if rapid.IntRange(0, 4).Draw(t, "alone") == 0 {
		return r
	}
	r.Target = &record.Target{Name: "backup/tank/a", Exists: true, Snapshots: []record.Snapshot{}}
	for _, s := range copied {
		if rapid.IntRange(0, 3).Draw(t, "thinned") == 0 {
			continue
		}
		txg += 2
		s.CreateTXG = strconv.Itoa(txg)
		r.Target.Snapshots = append(r.Target.Snapshots, s)
		if rapid.IntRange(0, 5).Draw(t, "mine") == 0 {
			r.Target.Snapshots = append(r.Target.Snapshots, make())
		}
	}
	has := map[string]bool{}
	for _, s := range r.Target.Snapshots {
		has[s.GUID] = true
	}
	for _, s := range r.Snapshots {
		if has[s.GUID] {
			continue // no step sends a snapshot that the target has
		}
		switch rapid.IntRange(0, 3).Draw(t, "step") {
		case 0:
			r.Steps = append(r.Steps, record.Step{Do: record.DoReceive, To: s.Name, ToGUID: s.GUID})
		case 1:
			if n := len(r.Steps); n > 0 {
				r.Steps[n-1].Through = append(r.Steps[n-1].Through, record.Through{Name: r.Steps[n-1].To, GUID: r.Steps[n-1].ToGUID})
				r.Steps[n-1].From, r.Steps[n-1].To, r.Steps[n-1].ToGUID = "x", s.Name, s.GUID
			}
		}
	}
	for i := range r.Steps {
		if rapid.Bool().Draw(t, "tried") {
			r.Results = append(r.Results, record.Result{Step: i, Do: record.DoReceive, Done: rapid.Bool().Draw(t, "done")})
		}
	}
	return r
}

func schedules(t *rapid.T) *Rules {
	gen := rapid.SampledFrom([]string{"", "0", "1", "2", "5", "10,1d1w,1w1m,1m1y", "1d2d", "1w1y", "0,1m1y", "3,1h1d"})
	return rules(t, gen.Draw(t, "keep-source"), gen.Draw(t, "keep-target"))
}

// Over random histories and schedules: promises P1 and P2 hold, each verdict has a
// reason, the order of the snapshots does not matter, and snapshots that are still to
// come or are named for the future have no other destroyed.
func TestDecideProperties(t *testing.T) {
	states := 0
	defer func() { t.Logf("%d states", states) }()
	rapid.Check(t, func(t *rapid.T) {
		states += 3 // as it is, in another order, and thinned
		r, rules := history(t), schedules(t)
		got := Decide(r, rules)

		// The base, found in another way than the product does.
		base := ""
		if r.Target != nil {
			there := map[string]bool{}
			for _, s := range slices.Concat(r.Snapshots, r.Bookmarks) {
				there[s.GUID] = true
			}
			newest := uint64(0)
			for _, s := range r.Target.Snapshots {
				if there[s.GUID] && s.TXG() > newest {
					base, newest = s.GUID, s.TXG()
				}
			}
		}
		done := map[int]bool{}
		for _, res := range r.Results {
			done[res.Step] = res.Done
		}
		pending := map[string]bool{}
		for i, s := range r.Steps {
			if !done[i] {
				pending[s.ToGUID] = true
				for _, th := range s.Through {
					pending[th.GUID] = true
				}
			}
		}
		side := func(side string, list []record.Snapshot, verdicts []record.Verdict, thinned bool) {
			if !thinned {
				if verdicts != nil {
					t.Fatalf("the %s is not to be thinned", side)
				}
				return
			}
			if len(verdicts) != len(list) {
				t.Fatalf("%d verdicts on %d snapshots of the %s", len(verdicts), len(list), side)
			}
			newest := -1
			for i, s := range list {
				if newest < 0 || s.TXG() > list[newest].TXG() {
					newest = i
				}
			}
			for i, s := range list {
				v := verdicts[i]
				_, ours := rules.Format.Time(s.Name)
				switch {
				case v.Name != s.Name:
					t.Fatalf("the verdict of %s is on %s", s.Name, v.Name)
				case len(v.Why) == 0:
					t.Fatalf("%s: no reason", s.Name)
				case v.Keep:
				case s.GUID == base:
					t.Fatalf("P1: the newest in common goes from the %s: %v", side, v.Why)
				case i == newest:
					t.Fatalf("P1: the newest of the %s goes: %v", side, v.Why)
				case side == record.SideSource && pending[s.GUID]:
					t.Fatalf("P2: %s goes, which is still to be sent: %v", s.Name, v.Why)
				case !ours:
					t.Fatalf("%s is not ours and goes: %v", s.Name, v.Why)
				case r.Target == nil && s.UserRefs != nil && *s.UserRefs > 0:
					t.Fatalf("%s is held and goes: %v", s.Name, v.Why)
				}
			}
		}
		side(record.SideSource, r.Snapshots, got.Source, rules.Source != nil)
		if r.Target != nil {
			side(record.SideTarget, r.Target.Snapshots, got.Target, rules.Target != nil)
		}

		// The order of the snapshots in the record does not matter.
		other := *r
		other.Snapshots = shuffled(t, r.Snapshots)
		other.Bookmarks = shuffled(t, r.Bookmarks)
		if r.Target != nil {
			target := *r.Target
			target.Snapshots = shuffled(t, r.Target.Snapshots)
			other.Target = &target
		}
		again := Decide(&other, rules)
		for _, pair := range [][2][]record.Verdict{{got.Source, again.Source}, {got.Target, again.Target}} {
			byName := func(a, b record.Verdict) int { return strings.Compare(a.Name, b.Name) }
			a, b := slices.Clone(pair[0]), slices.Clone(pair[1])
			slices.SortFunc(a, byName)
			slices.SortFunc(b, byName)
			if !reflect.DeepEqual(a, b) {
				t.Fatalf("in another order:\n%+v\n%+v", a, b)
			}
		}

		// Snapshots that are to come according to the source, and snapshots named for
		// the future, have none destroyed that would stay without them. The latter stay.
		if r.Target != nil && got.Target != nil {
			silent := *r
			silent.Steps = nil
			stays := keptNames(Decide(&silent, rules).Target)
			for _, v := range got.Target {
				if v.Keep != stays[v.Name] {
					t.Fatalf("%s: keep %v %q, and %v without what is coming", v.Name, v.Keep, v.Why, stays[v.Name])
				}
			}
			honest := *r
			target := *r.Target
			ahead := func(s record.Snapshot) bool {
				at, ours := rules.Format.Time(s.Name)
				return ours && at > now+300
			}
			target.Snapshots = slices.DeleteFunc(slices.Clone(target.Snapshots), ahead)
			honest.Target = &target
			stays = keptNames(got.Target)
			for _, s := range r.Target.Snapshots {
				if ahead(s) && !stays[s.Name] {
					t.Fatalf("%s goes before its time has come", s.Name)
				}
			}
			alone := Decide(&honest, rules)
			for _, v := range alone.Target {
				// The snapshot may be the base, or the newest, only without those.
				pinned := slices.ContainsFunc(v.Why, func(w string) bool { return strings.HasPrefix(w, "the newest ") })
				if v.Keep && !pinned && !stays[v.Name] {
					t.Fatalf("%s goes for names that lie in the future: %q", v.Name, v.Why)
				}
			}

			// A snapshot that stays once all have arrived is not destroyed before.
			dry := *rules
			dry.DryRun = true
			shown := *r
			shown.Results = nil
			for i := range r.Steps {
				shown.Results = append(shown.Results, record.Result{Step: i, Commands: []string{"zfs"}})
			}
			for _, v := range Decide(&shown, &dry).Target {
				if v.Keep && !stays[v.Name] {
					t.Fatalf("%s goes before what is coming has arrived, and not after", v.Name)
				}
			}
		}

		// Once the verdicts are carried out, another decision destroys no more.
		after := *r
		after.Snapshots = without(slices.Clone(r.Snapshots), nameSet(got.Source))
		if r.Target != nil {
			target := *r.Target
			target.Snapshots = without(slices.Clone(r.Target.Snapshots), nameSet(got.Target))
			after.Target = &target
		}
		then := Decide(&after, rules)
		if more := append(doomed(then.Source), doomed(then.Target)...); len(more) > 0 {
			t.Fatalf("then %q go too", more)
		}
	})
}

func keptNames(verdicts []record.Verdict) map[string]bool {
	out := map[string]bool{}
	for _, v := range verdicts {
		if v.Keep {
			out[v.Name] = true
		}
	}
	return out
}

func shuffled(t *rapid.T, list []record.Snapshot) []record.Snapshot {
	if len(list) == 0 {
		return list // for nil is not empty
	}
	return rapid.Permutation(list).Draw(t, "in another order")
}

func nameSet(verdicts []record.Verdict) map[string]bool {
	out := map[string]bool{}
	for _, n := range doomed(verdicts) {
		out[n] = true
	}
	return out
}

// The verdicts on snapshots that an earlier zab-thin destroyed stay; those on snapshots
// that it kept are replaced.
func TestMerge(t *testing.T) {
	before := []record.Verdict{{Name: "a", Destroyed: true, Why: []string{"1"}}, {Name: "b", Keep: true, Why: []string{"2"}}, {Name: "c", Why: []string{"held"}}}
	after := []record.Verdict{{Name: "b", Why: []string{"3"}}, {Name: "c", Keep: true, Why: []string{"4"}}}
	want := []record.Verdict{before[0], after[0], after[1]}
	if got := merge(before, after); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if got := merge(nil, after); !reflect.DeepEqual(got, after) {
		t.Errorf("%+v", got)
	}
	if got := merge(before, nil); len(got) != 1 || got[0].Name != "a" {
		t.Errorf("a side that was thinned before and is not now: %+v", got)
	}
}

// With --bookmark the incremental base need not stay on the source where it has a
// bookmark, even if it is the newest snapshot of all.
func TestDecideBookmark(t *testing.T) {
	for _, c := range []struct {
		bookmark       bool
		source, target string
		marks, want    string
	}{
		{true, "9 8 7", "9 8 7", "7", ""},
		{true, "9 8 7", "9 8 7", "", "7"},
		{false, "9 8 7", "9 8 7", "7", "7"},
		{true, "9 8 7", "9 8", "8", "7"}, // the newest is not sent yet
		{true, "9 8 7", "9 8", "7", "8 7"},
	} {
		r := &record.Record{Type: record.TypeDataset, Name: "tank/a", Snapshots: snaps(c.source), Bookmarks: snaps(c.marks),
			Target: &record.Target{Name: "backup/a", Exists: true, Snapshots: snaps(c.target)}}
		rules := rules(t, "0", "9")
		rules.Bookmark = c.bookmark
		if got := kept(Decide(r, rules).Source); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
