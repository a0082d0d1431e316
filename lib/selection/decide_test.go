package selection

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"zab/lib/record"
	"zab/lib/zfs"
)

const prop = "autobackup:b"

// tree returns datasets made of lines such as "tank/a true local 4096": name, value
// and source of the property, bytes written. ^ stands for inherited from.
func tree(text string) []zfs.Dataset {
	var out []zfs.Dataset
	for l := range strings.Lines(text) {
		f := strings.Fields(l)
		if len(f) == 0 {
			continue
		}
		v := zfs.Value{Value: f[1], Source: f[2]}
		if from, ok := strings.CutPrefix(f[2], "^"); ok {
			v.Source = "inherited from " + from
		}
		d := zfs.Dataset{Name: f[0], Props: map[string]zfs.Value{prop: v, "type": {Value: "filesystem", Source: "-"}}}
		if len(f) > 3 {
			d.Props["written"] = zfs.Value{Value: f[3], Source: "-"}
		}
		out = append(out, d)
	}
	return out
}

// candidates returns what is kept of datasets.
func candidates(datasets []zfs.Dataset) (out []*Candidate) {
	keep := (&listing{rules: &Rules{Property: prop}}).appendTo(&out)
	for _, d := range datasets {
		keep(d)
	}
	return out
}

// decide returns the verdicts on datasets.
func decide(r *Rules, around, datasets []zfs.Dataset) (verdicts []Verdict, warnings, errs []error) {
	list := candidates(datasets)
	warnings, errs = r.Decide(candidates(around), list)
	for _, d := range list {
		verdicts = append(verdicts, d.Verdict)
	}
	return verdicts, warnings, errs
}

// Values, the datasets they are set on, their sources and the options select as in
// zfs-autobackup 3.3 (ZfsDataset.is_selected).
func TestDecide(t *testing.T) {
	for _, c := range []struct {
		what  string
		rules Rules
		tree  string
		want  string
	}{
		{"not set at all", Rules{}, "tank - -\ntank/a - -", ""},
		{"true, and what is below", Rules{}, "tank - -\ntank/a true local\ntank/a/x true ^tank/a", "tank/a tank/a/x"},
		{"false below true", Rules{}, "tank true local\ntank/a false local\ntank/a/x false ^tank/a\ntank/b true ^tank", "tank tank/b"},
		{"true below false", Rules{}, "tank false local\ntank/a true local", "tank/a"},
		{"child", Rules{}, "tank child local\ntank/a child ^tank\ntank/a/x child ^tank", "tank/a tank/a/x"},
		{"parent", Rules{}, "tank parent local\ntank/a parent ^tank", "tank"},
		{"a dash is not set", Rules{}, "tank true local\ntank/a - local\ntank/a/x - ^tank/a", "tank"},
		{"received counts", Rules{}, "tank true received\ntank/a true ^tank", "tank tank/a"},
		{"unless it is left out", Rules{ExcludeReceived: true}, "tank true received\ntank/a true ^tank\ntank/b true local", "tank/b"},
		{"received false is false", Rules{}, "tank true local\ntank/a false received", "tank"},
		{"received child", Rules{}, "tank child received\ntank/a child ^tank", "tank/a"},
		{"set again over a received one", Rules{ExcludeReceived: true}, "tank true received\ntank/a true local\ntank/a/x true ^tank/a", "tank/a tank/a/x"},
		{"inherited from a dataset that was not listed", Rules{ExcludeReceived: true}, "tank/a true ^tank", "tank/a"},
		{"the target on the same host", Rules{ExcludePaths: []string{"tank/backup"}}, "tank true local\ntank/backup true ^tank\ntank/backup/x true ^tank\ntank/backup2 true ^tank", "tank tank/backup2"},
		{"several paths", Rules{ExcludePaths: []string{"tank/a", "pool"}}, "pool true local\npool/x true ^pool\ntank true local\ntank/a true ^tank", "tank"},
		{"unchanged", Rules{ExcludeUnchanged: 100}, "tank true local 99\ntank/a true ^tank 100\ntank/b true ^tank 0", "tank/a"},
		{"unchanged is not asked", Rules{}, "tank true local 0", "tank"},
		{"nobody knows whether it changed", Rules{ExcludeUnchanged: 100}, "tank true local", "tank"},
		{"default and none are not set", Rules{}, "tank true default\npool true none", ""},
		{"temporary is set", Rules{}, "tank true temporary", "tank"},
	} {
		c.rules.Property = prop
		datasets := tree(c.tree)
		verdicts, _, errs := decide(&c.rules, nil, datasets)
		var got []string
		for i, v := range verdicts {
			if v.Selected {
				got = append(got, datasets[i].Name)
			}
			// P7: there is a reason for every one.
			if v.Reason == "" || v.Selected && v.Unset {
				t.Errorf("%s: %s: %+v", c.what, datasets[i].Name, v)
			}
		}
		if strings.Join(got, " ") != c.want || len(errs) > 0 {
			t.Errorf("%s: %q, should be %q, %v", c.what, got, c.want, errs)
		}
	}
}

// The reason names the value, the dataset it is set on, and the rule that decided.
func TestReasons(t *testing.T) {
	r := &Rules{Property: prop, ExcludePaths: []string{"tank/backup"}, ExcludeReceived: true, ExcludeUnchanged: 10}
	verdicts, _, errs := decide(r, nil, tree(`
tank true local 10
tank/a true ^tank 3
tank/b false local 10
tank/backup true ^tank 10
tank/c child local 10
tank/d true received 10
tank/e parent ^pool 10
tank/f - - 10`))
	want := []string{
		"autobackup:b=true, set here",
		"autobackup:b=true, inherited from tank: excluded, with 3 bytes written since its newest snapshot",
		"autobackup:b=false, set here: excluded",
		"autobackup:b=true, inherited from tank: excluded, being below 'tank/backup'",
		"autobackup:b=child, set here: only what is below it",
		"autobackup:b=true, set here, received: excluded, having been received",
		"autobackup:b=parent, inherited from pool: only the dataset it is set on",
		"autobackup:b is not set",
	}
	for i, v := range verdicts {
		if v.Reason != want[i] {
			t.Errorf("%q, should be %q", v.Reason, want[i])
		}
	}
	if len(errs) > 0 {
		t.Error(errs)
	}
}

// Any other value is an error that names the dataset on which it was set, once.
func TestIllegalValues(t *testing.T) {
	r := &Rules{Property: prop}
	_, _, errs := decide(r, nil, tree("tank yes local\ntank/a yes ^tank\ntank/b yes ^tank\ntank/c True local\npool true local\npool/x false,child local"))
	var got []string
	for _, e := range errs {
		got = append(got, e.Error())
	}
	want := []string{
		`cannot select by 'autobackup:b' of 'tank': the value "yes" is none of true, false, child, parent`,
		`cannot select by 'autobackup:b' of 'tank/c': the value "True" is none of true, false, child, parent`,
		`cannot select by 'autobackup:b' of 'pool/x': the value "false,child" is none of true, false, child, parent`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	// An empty value, or one that only looks right, selects nothing.
	for _, v := range []string{"", "true ", "tr\tue", "true\n", "1", "on"} {
		verdicts, _, errs := decide(r, nil, []zfs.Dataset{{Name: "tank", Props: map[string]zfs.Value{prop: {Value: v, Source: "local"}}}})
		if len(errs) != 1 || verdicts[0].Selected {
			t.Errorf("%q: %+v, %v", v, verdicts, errs)
		}
	}
}

// An illegal value can be any bytes, and the reason is valid UTF-8 all the same, as a
// record's text has to be.
func TestIllegalValueOfAnyBytes(t *testing.T) {
	r := &Rules{Property: prop}
	for value, shown := range map[string]string{"a\xff": `"a\xff"`, "\x1b[2J": `"\x1b[2J"`, "ja": `"ja"`, "naïf": `"naïf"`} {
		datasets := []zfs.Dataset{{Name: "bk", Props: map[string]zfs.Value{prop: {Value: value, Source: "received"}}}}
		verdicts, warnings, errs := decide(r, nil, datasets)
		want := "autobackup:b=" + shown + ", set here, received: not selected, for the value is none of true, false, child, parent"
		if len(errs) > 0 || len(warnings) != 1 || verdicts[0].Reason != want || !utf8.ValidString(warnings[0].Error()) {
			t.Errorf("%q: %q, %v, %v", value, verdicts[0].Reason, warnings, errs)
		}
	}
}

// P11: an illegal value that was received with a stream leaves out the datasets that have
// it, with a warning for each dataset that received one, and none where the dataset would
// be left out anyway.
func TestIllegalValueReceived(t *testing.T) {
	text := "bk true local\nbk/a bogus received\nbk/a/x bogus ^bk/a\nbk/a/y true local\nbk/b true ^bk\nbk/c no received"
	for _, c := range []struct {
		rules    Rules
		warnings int
	}{{Rules{}, 2}, {Rules{ExcludePaths: []string{"bk/a"}}, 1}, {Rules{ExcludeReceived: true}, 0}} {
		c.rules.Property = prop
		verdicts, warnings, errs := decide(&c.rules, nil, tree(text))
		if len(errs) > 0 || len(warnings) != c.warnings {
			t.Errorf("%+v: %v, %v", c, warnings, errs)
		}
		for i, want := range []bool{true, false, false, c.warnings != 1, true, false} {
			if verdicts[i].Selected != want {
				t.Errorf("%+v: %d: %+v", c, i, verdicts[i])
			}
		}
		if c.warnings != 2 {
			continue
		}
		if got := warnings[0].Error(); got != `'bk/a', and what inherits from it, is not selected: it has received 'autobackup:b' with the value "bogus", which is none of true, false, child, parent` {
			t.Error(got)
		}
		if got := verdicts[2].Reason; got != `autobackup:b="bogus", inherited from bk/a, received: not selected, for the value is none of true, false, child, parent` {
			t.Error(got)
		}
	}
}

func candidate(name, txg, origin string) *Candidate {
	return &Candidate{Name: name, Facts: record.Facts{CreateTXG: txg, Origin: origin}}
}

func inOrder(datasets []*Candidate) string {
	var out []string
	for _, d := range datasets {
		out = append(out, d.Name)
	}
	return strings.Join(out, " ")
}

func TestSort(t *testing.T) {
	for _, c := range []struct{ what, in, want string }{
		{"by age, not by name", "tank/b:3 tank/a:5 tank:1", "tank tank/b tank/a"},
		{"as numbers", "a:10 b:9 c:100", "b a c"},
		{"of one age by name", "b:7 a:7", "a b"},
		{"an old dataset renamed to below a new one", "tank/new/old:2 tank/new:9 tank:1", "tank tank/new tank/new/old"},
		{"whose parent is not selected", "tank/new/old:2 tank:1", "tank tank/new/old"},
		{"a clone after its origin", "clone:2:base@s base:9", "base clone"},
		{"a promoted clone: the old dataset is the clone of the new one", "old:2:new@s new:9 other:5", "new old other"},
		{"an origin with a parent of its own", "c:1:p/q/b@s p/q/b:2 p:8 p/q:9", "p p/q p/q/b c"},
		{"an origin that is not there", "c:2:gone@s a:1", "a c"},
		{"a clone that is the parent of its origin", "a:1:a/b@s a/b:2", "a a/b"},
		{"and by a detour", "a:1:b/c@s a/d:2 b:3:a/d@s b/c:4", "b b/c a a/d"},
		{"no age at all", "b a", "a b"},
	} {
		var in []*Candidate
		for _, w := range strings.Fields(c.in) {
			f := append(strings.Split(w, ":"), "", "")
			in = append(in, candidate(f[0], f[1], f[2]))
		}
		if got := inOrder(Sort(in)); got != c.want {
			t.Errorf("%s: %q, should be %q", c.what, got, c.want)
		}
	}
}

// Over random forests: no dataset is lost, parents and origins come first, the order of
// the input does not matter, and where the order by age has parents and origins first it
// is the result.
func TestSortProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// made has the datasets in an order in which they could have been made as they
		// are now: each has its parents and origin among those before it.
		var made []*Candidate
		seen := map[string]bool{}
		for i := range rapid.IntRange(0, 12).Draw(t, "datasets") {
			name := fmt.Sprint("p", rapid.IntRange(0, 2).Draw(t, "pool"))
			if i > 0 && rapid.IntRange(0, 3).Draw(t, "below") > 0 {
				name = rapid.SampledFrom(made).Draw(t, "parent").Name
			}
			if rapid.IntRange(0, 4).Draw(t, "gap") == 0 {
				name += "/gap"
			}
			name += fmt.Sprint("/d", rapid.IntRange(0, 20).Draw(t, "name"))
			if seen[name] || slices.ContainsFunc(made, func(d *Candidate) bool { return strings.HasPrefix(d.Name, name+"/") }) {
				continue
			}
			seen[name] = true
			origin := ""
			if len(made) > 0 && rapid.Bool().Draw(t, "clone") {
				origin = rapid.SampledFrom(made).Draw(t, "origin").Name + "@s"
			}
			// Renames and promotions leave any age anywhere.
			made = append(made, candidate(name, strconv.Itoa(rapid.IntRange(1, 15).Draw(t, "createtxg")), origin))
		}
		in := made
		if len(made) > 0 {
			in = rapid.Permutation(made).Draw(t, "read")
		}
		got := Sort(in)
		if len(got) != len(made) {
			t.Fatalf("%d of %d", len(got), len(made))
		}
		at := map[string]int{}
		for i, r := range got {
			at[r.Name] = i
		}
		if len(at) != len(made) {
			t.Fatalf("%q", inOrder(got))
		}
		fine := func(list []*Candidate) string {
			at := map[string]int{}
			for i, r := range list {
				at[r.Name] = i
			}
			for _, r := range list {
				for i := range r.Name {
					if p, ok := at[r.Name[:i]]; r.Name[i] == '/' && ok && p > at[r.Name] {
						return r.Name + " comes before " + r.Name[:i]
					}
				}
				ds, _, _ := strings.Cut(r.Origin, "@")
				if o, ok := at[ds]; ok && o > at[r.Name] {
					return r.Name + " comes before its origin " + ds
				}
			}
			return ""
		}
		if wrong := fine(got); wrong != "" {
			t.Fatalf("%s: %q", wrong, inOrder(got))
		}
		if again := Sort(slices.Clone(made)); inOrder(again) != inOrder(got) {
			t.Fatalf("%q, but read in another order %q", inOrder(again), inOrder(got))
		}
		byAge := slices.Clone(made)
		slices.SortFunc(byAge, func(a, b *Candidate) int {
			if x, y := a.TXG(), b.TXG(); x != y {
				return int(x) - int(y)
			}
			return strings.Compare(a.Name, b.Name)
		})
		if fine(byAge) == "" && inOrder(byAge) != inOrder(got) {
			t.Fatalf("%q, though by age it is %q", inOrder(got), inOrder(byAge))
		}
	})
}

// With any origins, even in a circle, every dataset is in the result once, and after its
// parents.
func TestSortInCircles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[ab](/[ab]){0,3}`), 0, 10, rapid.ID).Draw(t, "names")
		var in []*Candidate
		for _, n := range names {
			in = append(in, candidate(n, strconv.Itoa(rapid.IntRange(1, 9).Draw(t, "createtxg")), rapid.SampledFrom(names).Draw(t, "origin")+"@s"))
		}
		seen := map[string]bool{}
		for _, r := range Sort(in) {
			for i := range r.Name {
				if p := r.Name[:i]; r.Name[i] == '/' && slices.Contains(names, p) && !seen[p] {
					t.Fatalf("%s comes before %s", r.Name, p)
				}
			}
			seen[r.Name] = true
		}
		if len(seen) != len(names) {
			t.Fatalf("%d of %d", len(seen), len(names))
		}
	})
}

// A copy that was sent from one host to another does not go back by itself.
func TestDecideCopies(t *testing.T) {
	target := func(pools map[string]string) Rules {
		return Rules{Property: prop, Target: "tank/backup", TargetGUID: "1", TargetPools: pools}
	}
	for _, c := range []struct {
		what         string
		rules        Rules
		source, from string // of the property, and zab:from
		fromSource   string
		want         string // a part of the reason; "" where it is selected
		copy         bool
	}{
		{"no copy", target(map[string]string{"tank": "7"}), "local", "-", "-", "", false},
		{"a copy from elsewhere", target(map[string]string{"tank": "7"}), "received", "8", "local", "", false},
		{"received, and from the target's pool", target(map[string]string{"tank": "7"}), "received", "7", "local", "from the pool 'tank'", false},
		{"received, and from another pool of that host", target(map[string]string{"tank": "7", "data": "9"}), "received", "9", "local", "from the pool 'data'", false},
		{"received in a few steps", target(map[string]string{"tank": "7"}), "received", "7,8,9", "received", "from the pool 'tank'", false},
		{"below a copy, and no copy itself", target(map[string]string{"tank": "7"}), "^up", "7", "^up", "", false},
		{"inherited, and from the target's pool", target(map[string]string{"tank": "7"}), "^up", "7", "local", "from the pool 'tank'", true},
		{"inherited, and on to another disk of the host it is from", target(map[string]string{"tank": "7", "data": "9"}), "^up", "9", "local", "", false},
		{"set by hand", target(map[string]string{"tank": "7"}), "local", "7", "local", "", false},
		{"not asked for", Rules{Property: prop}, "received", "7", "local", "", false},
	} {
		up := tree("up true local")
		d := tree("up/copy true " + c.source)
		d[0].Props[zfs.FromProp] = zfs.Value{Value: c.from, Source: strings.Replace(c.fromSource, "^", "inherited from ", 1)}
		got, _, errs := decide(&c.rules, nil, append(up, d...))
		if len(errs) > 0 {
			t.Fatal(c.what, errs)
		}
		v := got[1]
		if v.Selected != (c.want == "") || !strings.Contains(v.Reason, c.want) || v.Excluded == v.Selected || v.Copy != c.copy {
			t.Errorf("%s: %+v", c.what, v)
		}
	}
}

// On one host pools may be backed up in a row, each from the one before, and to
// several others; but nothing goes back to a pool that it came through, or that it is in.
func TestDecideRow(t *testing.T) {
	all := tree("one true local\none/a true ^one\ntwo - -\ntwo/bk - -\ntwo/bk/one true received\ntwo/bk/one/a true ^two/bk/one\n" +
		"three - -\nthree/bk - -\nthree/bk/one true received\nthree/bk/two true received\nfour - -\nfour/bk - -\ntwo/again - -\ntwo/begun true received")
	from := map[string]string{"two/bk/one": "100", "two/bk/one/a": "100", "three/bk/one": "100", "three/bk/two": "100,102"}
	at := map[string]string{}
	for i := range all {
		d := &all[i]
		d.Props["guid"] = zfs.Value{Value: strconv.Itoa(100 + i), Source: "-"}
		at[d.Name] = d.Props["guid"].Value
		if f := from[d.Name]; f != "" {
			d.Props[zfs.FromProp] = zfs.Value{Value: f, Source: "local"}
		}
	}
	for _, c := range []struct{ target, want string }{
		{"two/bk", "one one/a three/bk/one"},
		{"two/again", "one one/a three/bk/one"}, // and no copy in the same pool
		{"three/bk", "one one/a two/bk/one two/bk/one/a two/begun"},
		{"four/bk", "one one/a two/bk/one two/bk/one/a three/bk/one three/bk/two two/begun"},
		{"one/a", "one two/begun"},
	} {
		r := &Rules{Property: prop, Target: c.target, TargetGUID: at[c.target]}
		r.TargetPools = r.ownPools(candidates(all))
		if pool := zfs.Pool(c.target); len(r.TargetPools) != 1 || r.TargetPools[pool] != at[pool] {
			t.Errorf("%s: pools %v", c.target, r.TargetPools)
		}
		verdicts, _, _ := decide(r, nil, all)
		var names []string
		for i, v := range verdicts {
			if v.Selected {
				names = append(names, all[i].Name)
			}
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.target, got, c.want)
		}
	}
	// A copy whose first stream has begun has no mark yet, and is left out, but not with
	// --include-received.
	r := &Rules{Property: prop, Target: "two/again", TargetGUID: at["two/again"], IncludeReceived: true}
	verdicts, _, _ := decide(r, nil, all)
	if last := verdicts[len(verdicts)-1]; !last.Selected {
		t.Errorf("with --include-received: %+v", last)
	}
	// A target of that name on another host is none of these.
	r = &Rules{Property: prop, Target: "two/bk", TargetGUID: "5"}
	if p := r.ownPools(candidates(all)); p != nil {
		t.Errorf("%v", p)
	}
}

// The target is recognised by its guid, not by the name of its host.
func TestDecideTarget(t *testing.T) {
	all := tree("tank true local\ntank/backup true ^tank\ntank/backup/x true ^tank\ntank/backups true ^tank")
	for i := range all {
		all[i].Props["guid"] = zfs.Value{Value: strconv.Itoa(100 + i), Source: "-"}
	}
	for guid, want := range map[string]string{"101": "tank tank/backups", "5": "tank tank/backup tank/backup/x tank/backups"} {
		r := &Rules{Target: "tank/backup", TargetGUID: guid, Property: prop}
		verdicts, _, _ := decide(r, nil, all)
		var names []string
		for i, v := range verdicts {
			if v.Selected {
				names = append(names, all[i].Name)
			}
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("guid %s: %s, want %s", guid, got, want)
		}
	}
}

// A dataset that --rename-aside has set aside is no source, although it has the property
// that its original has; a dataset that is only marked is not set aside.
func TestSetAsideIsNoSource(t *testing.T) {
	all := tree("tank true local\ntank/a true ^tank\ntank/a_diverged-20261122030000 true ^tank\ntank/b true received")
	for i := range all[1:] {
		all[i+1].Props[zfs.AsideProp] = zfs.Value{Value: "done:a", Source: "local"}
	}
	all[3].Props[zfs.AsideProp] = zfs.Value{Value: "done:a", Source: "received"}
	verdicts, _, errs := decide(&Rules{Property: prop}, nil, all)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for i, want := range []bool{true, true, false, true} {
		if verdicts[i].Selected != want {
			t.Errorf("%s: %+v", all[i].Name, verdicts[i])
		}
	}
}
