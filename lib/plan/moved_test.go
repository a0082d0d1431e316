package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"zab/lib/dataset"
	"zab/lib/record"
)

// renames returns, in a line, the steps up to the first stream, and the base of that.
func renames(r *record.Record) string {
	var out []string
	sends := false
	for _, s := range r.Steps {
		if sends {
			break
		}
		switch s.Do {
		case record.DoRename:
			out = append(out, "rename "+s.From+" "+s.Dataset)
		case record.DoCreateParent:
			out = append(out, "parent "+s.Dataset)
		case record.DoReceive:
			if sends = true; s.From == "" {
				out = append(out, "full")
			} else {
				out = append(out, "from "+s.From)
			}
		}
	}
	if r.Conflict != nil {
		out = append(out, "conflict "+string(r.Conflict.Kind))
	} else if r.Error != nil {
		out = append(out, "error "+string(r.Error.Kind))
	}
	return strings.Join(out, "; ")
}

// A copy under another name is found by the guids of its snapshots.
func TestFollowRenames(t *testing.T) {
	from := func(pool string, r *record.Record) *record.Record { r.From = pool; return r }
	in := func(pool string, r *record.Record) *record.Record { r.PoolGUID = pool; return r }
	top := target("backup", "")
	parent := func(name string) *record.Record {
		return with(target(name, ""), func(r *record.Record) { r.Stream, r.CanMount = "parent", "off" })
	}
	enc := func(root string, r *record.Record) *record.Record {
		r.Encryption, r.EncryptionRoot, r.KeyStatus, r.KeyGUID = "aes-256-gcm", root, "unavailable", "7"
		return r
	}
	long := strings.Repeat("x", 230)
	for _, c := range []struct {
		what  string
		state []*record.Record
		input []*record.Record
		want  map[string]string // the result of renames with --follow-renames, by source
		full  string            // without it: a source, and its warning, if any
	}{
		{"a dataset was renamed", []*record.Record{top, parent("backup/s"), target("backup/s/old", "b-1")},
			[]*record.Record{source("s/new", "b-1 b-2")},
			map[string]string{"s/new": "rename backup/s/old backup/s/new; from b-1"}, "s/new was 's/old'"},
		{"nothing is new", []*record.Record{top, target("backup/s/old", "b-1")},
			[]*record.Record{source("s/new", "b-1")},
			map[string]string{"s/new": "parent backup/s; rename backup/s/old backup/s/new"}, "s/new was 's/old'"},
		{"only a bookmark is left of the base", []*record.Record{top, parent("backup/s"), target("backup/s/old", "b-1")},
			[]*record.Record{with(source("s/new", "b-2"), func(r *record.Record) {
				r.Bookmarks = []record.Snapshot{{Name: "m", GUID: id("b-1"), CreateTXG: "5"}}
			})},
			map[string]string{"s/new": "rename backup/s/old backup/s/new; from #m"}, "s/new was 's/old'"},
		{"with all below it", []*record.Record{top, parent("backup/s"), target("backup/s/old", "b-1"), target("backup/s/old/a", "b-1=2"), target("backup/s/old/a/b", "b-1=3")},
			[]*record.Record{source("s/new", "b-1 b-2"), source("s/new/a", "b-1=2 b-2=12"), source("s/new/a/b", "b-1=3 b-2=13")},
			map[string]string{"s/new": "rename backup/s/old backup/s/new; from b-1", "s/new/a": "from b-1", "s/new/a/b": "from b-1"}, "s/new was 's/old'"},
		{"a child moved elsewhere, and comes first", []*record.Record{top, parent("backup/s"), target("backup/s/old", "b-1"), target("backup/s/old/a", "b-1=2")},
			[]*record.Record{source("s/a", "b-1=2 b-2=12"), source("s/new", "b-1 b-2")},
			map[string]string{"s/a": "rename backup/s/old/a backup/s/a; from b-1", "s/new": "rename backup/s/old backup/s/new; from b-1"}, ""},
		{"a child moved elsewhere, and comes later", []*record.Record{top, parent("backup/s"), target("backup/s/old", "b-1"), target("backup/s/old/a", "b-1=2")},
			[]*record.Record{source("s/new", "b-1 b-2"), source("s/z", "b-1=2 b-2=12")},
			map[string]string{"s/new": "rename backup/s/old backup/s/new; from b-1", "s/z": "rename backup/s/new/a backup/s/z; from b-1"}, ""},
		{"another has its name now", []*record.Record{top, parent("backup/s"), target("backup/s/old", "b-1")},
			[]*record.Record{source("s/old", "b-1=9"), source("s/z", "b-1 b-2")},
			map[string]string{"s/z": "rename backup/s/old backup/s/z; from b-1", "s/old": "full"}, ""},
		{"each has the name of the next", []*record.Record{top, parent("backup/s"), target("backup/s/a", "b-1=1"), target("backup/s/b", "b-1=2")},
			[]*record.Record{source("s/b", "b-1=1 b-2=11"), source("s/c", "b-1=2 b-2=12")},
			map[string]string{"s/c": "rename backup/s/b backup/s/c; from b-1", "s/b": "rename backup/s/a backup/s/b; from b-1"}, ""},
		{"names were exchanged", []*record.Record{top, parent("backup/s"), target("backup/s/a", "b-1=1"), target("backup/s/b", "b-1=2")},
			[]*record.Record{source("s/a", "b-1=2 b-2=12"), source("s/b", "b-1=1 b-2=11")},
			map[string]string{"s/a": "conflict same-name-other-guid", "s/b": "conflict same-name-other-guid"}, ""},
		{"a child has the name of its parent", []*record.Record{top, parent("backup/s"), target("backup/s/p", "b-1=1"), target("backup/s/p/c", "b-1=2")},
			[]*record.Record{source("s/p", "b-1=2 b-2=12"), source("s/q", "b-1=1 b-2=11")},
			map[string]string{"s/q": "rename backup/s/p backup/s/q; from b-1", "s/p": "rename backup/s/q/c backup/s/p; from b-1"}, ""},
		{"below another that is new", []*record.Record{top, parent("backup/s"), target("backup/s/a", "b-1")},
			[]*record.Record{source("s/grp", "b-2=8"), source("s/grp/a", "b-1 b-2")},
			map[string]string{"s/grp": "full", "s/grp/a": "rename backup/s/a backup/s/grp/a; from b-1"}, "s/grp/a was 's/a'"},
		{"below itself", []*record.Record{top, parent("backup/s"), target("backup/s/a", "b-1")},
			[]*record.Record{source("s/a", "b-2=8"), source("s/a/a", "b-1 b-2")},
			map[string]string{"s/a": "conflict no-common-snapshot", "s/a/a": "conflict renamed"}, ""},
		{"the pool has another name", []*record.Record{top, parent("backup/s"), target("backup/s/a", "b-1=1"), target("backup/s/b", "b-1=2"), target("backup/s/b/c", "b-1=3")},
			[]*record.Record{source("t/a", "b-1=1 b-2=11"), source("t/b", "b-1=2 b-2=12"), source("t/b/c", "b-1=3 b-2=13")},
			map[string]string{"t/a": "rename backup/s backup/t; from b-1", "t/b": "from b-1", "t/b/c": "from b-1"}, "t/a was 's/a'"},
		{"the pool has another name, and one dataset the former", []*record.Record{top, parent("backup/s"), target("backup/s/a", "b-1=1"), target("backup/s/b", "b-1=2")},
			[]*record.Record{source("s/b", "b-1=2 b-2=12"), source("t/a", "b-1=1 b-2=11")},
			map[string]string{"t/a": "parent backup/t; rename backup/s/a backup/t/a; from b-1", "s/b": "from b-1"}, "t/a was 's/a'"},
		{"a new one comes to where the pool was", []*record.Record{top, parent("backup/s"), target("backup/s/a", "b-1=1")},
			[]*record.Record{source("s/x", "b-1=7"), source("t/a", "b-1=1 b-2=11")},
			map[string]string{"t/a": "parent backup/t; rename backup/s/a backup/t/a; from b-1", "s/x": "full"}, "t/a was 's/a'"},
		{"a child has its name still", []*record.Record{top, parent("backup/s"), target("backup/s/a", "b-1"), target("backup/s/a/c", "b-1=2")},
			[]*record.Record{source("s/a/c", "b-1=2 b-2=12"), source("s/z", "b-1 b-2")},
			map[string]string{"s/a/c": "from b-1", "s/z": "conflict renamed"}, ""},
		{"a child of which no plan is made has its name still", []*record.Record{top, parent("backup/s"), target("backup/s/a", "b-1"), target("backup/s/a/c", "b-1=2")},
			[]*record.Record{with(source("s/a/c", "b-1=2"), func(r *record.Record) { r.Fail(record.Error{Kind: "x"}) }), source("s/z", "b-1 b-2")},
			map[string]string{"s/z": "conflict renamed"}, ""},
		{"a part of the source was searched", []*record.Record{top, parent("backup/s"), target("backup/s/a", "b-1"), target("backup/s/b", "b-1=4")},
			[]*record.Record{with(source("s/z", "b-1 b-2"), func(r *record.Record) { r.Partial = true })},
			map[string]string{"s/z": "conflict renamed"}, "s/z only a part of the source was searched"},
		{"two have it", []*record.Record{top, parent("backup/s"), target("backup/s/a", "b-1"), target("backup/s/copy", "b-1")},
			[]*record.Record{source("s/z", "b-1 b-2")},
			map[string]string{"s/z": "conflict renamed"}, ""},
		{"one has more of it", []*record.Record{top, parent("backup/s"), target("backup/s/a", "b-1 b-2"), target("backup/s/copy", "b-1")},
			[]*record.Record{source("s/z", "b-1 b-2 b-3")},
			map[string]string{"s/z": "rename backup/s/a backup/s/z; from b-2"}, "s/z was 's/a'"},
		{"it is that of two", []*record.Record{top, parent("backup/s"), target("backup/s/a", "b-1")},
			[]*record.Record{source("s/y", "b-1 b-2=12"), source("s/z", "b-1 b-2=13")},
			map[string]string{"s/y": "conflict renamed", "s/z": "conflict renamed"}, ""},
		{"it is nearer to one of two", []*record.Record{top, parent("backup/s"), target("backup/s/a", "b-1 b-2")},
			[]*record.Record{source("s/y", "b-1 b-3=12"), source("s/z", "b-1 b-2 b-3=13")},
			map[string]string{"s/y": "conflict renamed", "s/z": "rename backup/s/a backup/s/z; from b-2"}, ""},
		{"it is in the place of one that has it", []*record.Record{top, parent("backup/s"), target("backup/s/a", "b-1 b-2")},
			[]*record.Record{source("s/a", "b-1 b-2"), source("s/z", "b-1 b-3=13")},
			map[string]string{"s/a": "", "s/z": "full"}, ""},
		{"it was set aside", []*record.Record{top, parent("backup/s"), with(target("backup/s/a_diverged-20261122030000", "b-1"), func(r *record.Record) { r.Aside = "done:a" })},
			[]*record.Record{source("s/z", "b-1 b-3=13")},
			map[string]string{"s/z": "full"}, ""},
		{"another machine's", []*record.Record{top, parent("backup/s"), from("77", target("backup/s/a", "b-1"))},
			[]*record.Record{in("5", source("s/z", "b-1 b-2"))},
			map[string]string{"s/z": "full"}, "s/z may be another machine's"},
		{"its own is preferred to another machine's, which has more of it", []*record.Record{top, parent("backup/s"), from("77", target("backup/s/a", "b-1 b-2")), from("5", target("backup/s/c", "b-1"))},
			[]*record.Record{in("5", source("s/z", "b-1 b-2"))},
			map[string]string{"s/z": "rename backup/s/c backup/s/z; from b-1"}, "s/z was 's/c'"},
		{"of another pool of this machine", []*record.Record{top, parent("backup/s"), from("77", target("backup/s/a", "b-1"))},
			[]*record.Record{in("77", source("s/k", "b-1=9")), in("5", source("t/a", "b-1 b-2"))},
			map[string]string{"s/k": "full", "t/a": "parent backup/t; rename backup/s/a backup/t/a; from b-1"}, "t/a was 's/a'"},
		{"another machine's below it", []*record.Record{top, parent("backup/s"), from("5", target("backup/s/a", "b-1")), from("77", target("backup/s/a/x", "y"))},
			[]*record.Record{in("5", source("s/z", "b-1 b-2"))},
			map[string]string{"s/z": "conflict renamed"}, ""},
		{"something has the name", []*record.Record{top, parent("backup/s"), target("backup/s/a", "b-1"), target("backup/s/z", "mine")},
			[]*record.Record{source("s/z", "b-1 b-2")},
			map[string]string{"s/z": "conflict no-common-snapshot"}, ""},
		{"a key from above", []*record.Record{top, enc("backup/s", target("backup/s", "b-1=1")), enc("backup/s", target("backup/s/a", "b-1=2"))},
			[]*record.Record{enc("s", source("s", "b-1=1")), enc("t", source("t/a", "b-1=2 b-2=12"))},
			map[string]string{"t/a": "conflict renamed"}, ""},
		{"a key of its own", []*record.Record{top, parent("backup/s"), with(enc("backup/s/a", target("backup/s/a", "b-1=2")), func(r *record.Record) { r.Stream = "L,w" }), enc("backup/s/a", target("backup/s/a/c", "b-1=3"))},
			[]*record.Record{enc("t/a", source("t/a", "b-1=2 b-2=12"))},
			map[string]string{"t/a": "parent backup/t; rename backup/s/a backup/t/a; from b-1"}, "t/a was 's/a'"},
		{"too long a name", []*record.Record{top, parent("backup/s"), target("backup/s/a", "b-1"), target("backup/s/a/"+long[:200], "b-1=3")},
			[]*record.Record{source("s/"+long[:100], "b-1 b-2")},
			map[string]string{"s/" + long[:100]: "conflict renamed"}, ""},
		{"its own trouble keeps it, and those that come with it", []*record.Record{top, parent("backup/s"),
			with(target("backup/s/old", "b-1"), func(r *record.Record) { r.Written = record.Ptr[int64](4096) }), target("backup/s/old/a", "b-1=2")},
			[]*record.Record{source("s/new", "b-1 b-2"), source("s/new/a", "b-1=2 b-2=12"), source("s/old", "b-7=7")},
			map[string]string{"s/new": "conflict modified", "s/new/a": "error parent-failed", "s/old": "error parent-failed"}, ""},
	} {
		clone := func(list []*record.Record) (out []*record.Record) {
			for _, r := range list {
				x := *r
				out = append(out, &x)
			}
			return out
		}
		res := plan(t, "--follow-renames --no-holds --no-thinning --orphans", c.state, clone(c.input)...)
		for name, want := range c.want {
			if got := renames(res.of(t, name)); got != want {
				r := res.of(t, name)
				t.Errorf("%s: %s:\n got %s\nwant %s\n%v", c.what, name, got, want, r.Error)
			}
		}
		for _, r := range res.records {
			if r.Type == record.TypeOrphan && c.input[0].Partial {
				t.Errorf("%s: '%s' is an orphan, though its source may be elsewhere", c.what, r.Name)
			}
			if r.Type == record.TypeOrphan && strings.Contains(c.what, "below it") && !r.Excluded && len(r.Target.Snapshots) > 0 && r.Target.From == "" {
				t.Errorf("%s: '%s' is an orphan", c.what, r.Name)
			}
		}
		if c.full == "" {
			continue
		}
		name, said, _ := strings.Cut(c.full, " ")
		res = plan(t, "--no-holds --no-thinning --orphans", c.state, clone(c.input)...)
		r := res.of(t, name)
		if !strings.Contains(strings.Join(r.Warnings, "\n"), said) || !strings.Contains(res.stderr, said) || r.Target.Elsewhere == "" {
			t.Errorf("%s: %q, %q, %+v", c.what, r.Warnings, res.stderr, r.Target)
		}
		for _, s := range r.Steps {
			if s.Do == record.DoRename {
				t.Errorf("%s: renamed without the option", c.what)
			}
		}
		for _, o := range res.records {
			if o.Type == record.TypeOrphan && o.Name == r.Target.Elsewhere && !o.Excluded {
				t.Errorf("%s: '%s' may be destroyed for its source is missing", c.what, o.Name)
			}
		}
	}
}

// tree is a model of the datasets of one side, by name. The number of a dataset stays
// the same when it is renamed.
type tree map[string]int

func (tr tree) rename(from, to string) bool {
	up, _ := dataset.Split(to)
	if tr[from] == 0 || tr[to] != 0 || tr[up] == 0 || dataset.Within(to, from) {
		return false
	}
	for n, what := range maps.Clone(tr) {
		if dataset.Within(n, from) {
			delete(tr, n)
			tr[to+n[len(from):]] = what
		}
	}
	return true
}

// With --follow-renames, after any renames on the source, each dataset continues with
// an increment into its own copy, is refused with a reason, or is new and sent in full.
// No copy is lost.
func TestFollowRandomRenames(t *testing.T) {
	tb := t
	counts := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		src := tree{"s": 1}
		id := 1
		any := func() string { return rapid.SampledFrom(slices.Sorted(maps.Keys(src))).Draw(t, "dataset") }
		part := func() string { return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "part") }
		create := func() {
			if n := any() + "/" + part(); src[n] == 0 && strings.Count(n, "/") < 4 {
				id++
				src[n] = id
			}
		}
		for range rapid.IntRange(1, 8).Draw(t, "created") {
			create()
		}
		dst := tree{"backup": -1}
		for n, what := range src {
			dst["backup/"+n] = what
		}
		old := id
		for range rapid.IntRange(1, 6).Draw(t, "operations") {
			switch rapid.IntRange(0, 5).Draw(t, "op") {
			case 0:
				create()
			case 1:
				if n := any(); n != "s" {
					for m := range maps.Clone(src) {
						if dataset.Within(m, n) {
							delete(src, m)
						}
					}
				}
			default:
				if n := any(); n != "s" {
					src.rename(n, any()+"/"+part())
				}
			}
		}
		var state, input []*record.Record
		for _, n := range slices.Sorted(maps.Keys(dst)) {
			snapshots := ""
			if dst[n] > 0 {
				snapshots = fmt.Sprintf("b-1=%d", 100+dst[n])
			}
			state = append(state, target(n, snapshots))
		}
		for _, n := range slices.Sorted(maps.Keys(src)) {
			snapshots := fmt.Sprintf("b-2=%d", 1000+src[n])
			if src[n] <= old {
				snapshots = fmt.Sprintf("b-1=%d ", 100+src[n]) + snapshots
			}
			input = append(input, source(n, snapshots))
		}
		before := maps.Clone(dst)
		res := planBytes(tb, "--follow-renames --no-holds --no-thinning", lines(tb, state), lines(tb, input))
		for _, r := range res.records {
			name := r.Target.Name
			for _, s := range r.Steps {
				up, _ := dataset.Split(s.Dataset)
				switch s.Do {
				case record.DoCreateParent:
					if dst[up] == 0 || dst[s.Dataset] != 0 {
						t.Fatalf("the parent %s cannot be made", s.Dataset)
					}
					dst[s.Dataset] = -1
				case record.DoRename:
					if !dst.rename(s.From, s.Dataset) {
						t.Fatalf("%s cannot be renamed to %s in %v", s.From, s.Dataset, dst)
					}
					counts["renamed"]++
				case record.DoReceive:
					switch {
					case s.From == "" && (dst[name] != 0 || dst[up] == 0):
						t.Fatalf("%s cannot be received in %v", name, dst)
					case s.From == "" && src[r.Name] <= old && !lost(before, src[r.Name]):
						t.Fatalf("%s is sent in full, and has a copy", r.Name)
					case s.From == "":
						dst[name] = src[r.Name]
						counts["full"]++
					case dst[name] != src[r.Name]:
						t.Fatalf("%s is received into the copy of another: %v", r.Name, dst)
					default:
						counts["incremental"]++
					}
				}
			}
			if r.Error != nil {
				counts[string(r.Error.Kind)]++
				if r.Error.Message == "" || r.Conflict == nil && r.Error.Kind != "parent-failed" {
					t.Fatalf("%s: %+v", r.Name, r.Error)
				}
			}
		}
		// All copies still exist.
		is := map[int]bool{}
		for _, what := range dst {
			is[what] = true
		}
		for n, what := range before {
			if !is[what] {
				t.Fatalf("the copy %s is gone", n)
			}
		}
		// Each source that was planned without an error has its copy in its place, as a
		// second run expects.
		for _, r := range res.records {
			if r.Error == nil && src[r.Name] <= old && dst[r.Target.Name] != src[r.Name] {
				t.Fatalf("%s does not have its copy: %v", r.Name, dst)
			}
		}
	})
	t.Log(counts)
}

// lost reports whether no dataset of dst has the number.
func lost(dst tree, what int) bool {
	for _, x := range dst {
		if x == what {
			return false
		}
	}
	return true
}
