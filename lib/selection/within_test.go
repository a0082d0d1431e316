package selection

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"zab/lib/dataset"
	"zab/lib/zfs"
)

// A search that is limited to some datasets opens nothing else but what is above them and
// the target, with the same verdicts as a search of everything; a root that cannot be read
// fails by name (P7).
func TestWithin(t *testing.T) {
	const all = "tank tank/a tank/a/x tank/b tank/b/bad tank/b/c bk bk/s bk/s/b bk/t bk/t/tank bk/t/tank/b bk/t/tank/b/c bk/z usb usb/x"
	const gets = "zfs get -r, zfs get"
	for _, c := range []struct{ name, args, env, datasets, unlisted, programs string }{
		{"one", "b tank/a", "", "tank/a tank/a/x", "", gets},
		{"a pool", "b tank", "", "tank tank/a tank/a/x tank/b tank/b/bad tank/b/c", "", "zfs get -r"},
		{"one below another, and twice", "b tank/a/x tank/a tank/a", "", "tank/a tank/a/x", "", gets},
		{"in two pools", "b usb tank/a", "", "tank/a tank/a/x usb usb/x", "", gets},
		{"missing", "b tank/a tank/no", "", "tank/a tank/a/x", "tank/no: cannot search 'tank/no' on this machine: dataset does not exist", gets},
		{"suspended", "b tank/a usb/x", "SUSPENDED=usb", "tank/a tank/a/x", "usb/x: cannot read 'usb/x': pool I/O is currently suspended: it is not backed up, nor what is below it", gets},
		{"stuck", "b tank/a usb", "STUCK=usb", "tank/a tank/a/x", "usb: cannot read the pool 'usb': internal error: pool I/O is currently suspended: what is selected there is not backed up", "zfs get -r, zfs get -r, zfs get -r, zfs get"},
		{"left out in part", "b --exclude-path=tank/a/x tank/a", "", "tank/a", "", gets},
		{"beside the target", "--target=bk/t b tank/a", "", "tank/a tank/a/x", "", gets},
		{"around the target", "--target=bk/t b bk", "", "bk bk/s bk/s/b bk/z", "", "zfs get -d, zfs get -r"},
		{"around the target, and beside it", "--target=bk/t b tank/a bk", "", "bk bk/s bk/s/b bk/z tank/a tank/a/x", "", "zfs get -d, zfs get -r, zfs get -r, zfs get"},
		{"in part within the target", "--target=bk/t b tank/a bk/t/tank", "", "tank/a tank/a/x", "", gets},
		{"something left out", "b tank/b", "BAD=tank/b/bad", "tank/b", "tank/b: cannot list all that is below 'tank/b': I/O error: what is not in the list is not backed up", "zfs get -r, zfs get, zfs get -r, zfs get -d"},
	} {
		log := onTree(t, "TREE="+all, cmp.Or(c.env, "LATE="))
		got, stderr, err := runOn(t, c.args, "tank ONLINE", "bk ONLINE", "usb ONLINE")
		datasets, unlisted := told(got)
		var programs []string
		for _, l := range log() {
			f := strings.Fields(l)
			program := "zfs " + f[0]
			if i := slices.IndexFunc(f, func(w string) bool { return w == "-r" || w == "-d" }); i > 0 {
				program += " " + f[i]
			}
			programs = append(programs, program)
		}
		slices.Sort(programs)
		want := strings.Split(c.programs, ", ")
		slices.Sort(want)
		if err != nil || datasets != c.datasets || strings.Join(unlisted, "\n") != c.unlisted || !slices.Equal(programs, want) {
			t.Errorf("%s: %q, %q, %v\n%s\n%q", c.name, datasets, unlisted, err, stderr, log())
		}
		for _, r := range got {
			if pool := zfs.Pool(r.Name); r.Error == nil && r.PoolGUID != map[string]string{"tank": "11", "bk": "17", "usb": "25"}[pool] {
				t.Errorf("%s: '%s' has the pool guid %q", c.name, r.Name, r.PoolGUID)
			}
		}
	}
	onTree(t, "TREE="+all)
	if _, _, err := runOn(t, "--target=bk/t b bk/t/tank", "bk ONLINE"); err == nil || !strings.Contains(err.Error(), "nothing to search") {
		t.Errorf("all within the target: %v", err)
	}
	for _, bad := range []string{"b tank/a@x", "b -- -tank", "b /tank", "b tank//a"} {
		p := Program()
		rest, err := p.Parser().ParseArgs(strings.Fields(bad))
		if err == nil && p.Check(rest) == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// The verdicts of a limited search are those of the whole one: a value that is inherited
// from above the roots has the source that it has there, and a target outside of them is
// known to be on this host.
func TestWithinDecides(t *testing.T) {
	whole := tree("tank true received\ntank/a true ^tank\ntank/b true ^tank\ntank/c nonsense local\nbk - -\nbk/t - -\nbk/x true received")
	for i := range whole {
		whole[i].Props["guid"] = zfs.Value{Value: "1" + string(rune('0'+i)), Source: "-"}
	}
	r := &Rules{Property: prop, ExcludeReceived: true, Target: "bk/t", TargetGUID: "15"}
	around, in := append(slices.Clone(whole[:1]), whole[4:6]...), whole[1:2]
	got, _, errs := decide(r, around, in)
	want, _, _ := decide(r, nil, whole)
	if len(errs) != 0 || len(got) != 1 || got[0] != want[1] || !got[0].Excluded {
		t.Errorf("%+v, %v; want %+v", got, errs, want[1])
	}
	r.ExcludeReceived = false
	got, _, _ = decide(r, whole[4:6], whole[6:])
	want, _, _ = decide(r, nil, whole)
	if got[0] != want[6] || !strings.Contains(got[0].Reason, "a copy in the target's own pool") {
		t.Errorf("%+v, want %+v", got, want[6])
	}
}

// Whether a dataset is searched, and which roots have the property nowhere, is found by
// the names above a dataset, without comparing it with each root: the results are those of
// a comparison.
func TestSearched(t *testing.T) {
	name := rapid.Custom(func(t *rapid.T) string {
		// Such that many are alike: a, aa/b, a/b/aa.
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "aa", "b"}), 1, 4).Draw(t, "parts"), "/")
	})
	rapid.Check(t, func(t *rapid.T) {
		roots := outermost(rapid.SliceOfN(name, 1, 5).Draw(t, "roots"))
		l := &listing{}
		l.limitTo(roots)
		for _, n := range rapid.SliceOfNDistinct(name, 0, 12, rapid.ID).Draw(t, "names") {
			l.datasets = append(l.datasets, &Candidate{Name: n, Verdict: Verdict{Unset: rapid.Bool().Draw(t, "unset")}})
			if want := slices.ContainsFunc(roots, func(r string) bool { return dataset.Within(n, r) }); l.searched(n) != want {
				t.Errorf("'%s' within %q: %v", n, roots, !want)
			}
		}
		var want []string
		for _, r := range roots {
			listed, has := false, false
			for _, d := range l.datasets {
				if dataset.Within(d.Name, r) {
					listed, has = true, has || !d.Unset
				}
			}
			if listed && !has {
				want = append(want, r)
			}
		}
		if got := l.bare(); !slices.Equal(got, want) {
			t.Errorf("%q are bare, want %q", got, want)
		}
		if l.limitTo(nil); !l.searched("c") {
			t.Error("without roots, all is searched")
		}
	})
}
