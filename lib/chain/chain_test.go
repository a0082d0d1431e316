package chain

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"zab/lib/record"
)

// list returns snapshots, oldest first, made of words such as name=guid; a name alone is
// its own guid, and ~name was made by a dry run. createtxg is ten times the place in the
// list, counted from 1.
func list(words string) []record.Snapshot {
	var out []record.Snapshot
	for i, w := range strings.Fields(words) {
		name, guid, ok := strings.Cut(w, "=")
		if !ok {
			guid = name
		}
		s := record.Snapshot{Name: name, GUID: guid, CreateTXG: strconv.Itoa(10 * (i + 1))}
		if v, ok := strings.CutPrefix(name, "~"); ok {
			s = record.Snapshot{Name: v, Virtual: true}
		}
		out = append(out, s)
	}
	return out
}

func TestFind(t *testing.T) {
	for _, c := range []struct {
		what, snapshots, bookmarks, target string
		want                               string // source name, index in the target; "" for none
	}{
		{"nothing at all", "", "", "", ""},
		{"an empty target", "a b", "", "", ""},
		{"a first snapshot", "a", "", "a", "a 0"},
		{"the newest of several", "a b c", "", "a b", "b 1"},
		{"the target's newest is not common", "a b c", "", "a b x", "b 1"},
		{"thinned in the middle, on either side", "a c d", "", "a b c", "c 2"},
		{"the source lost what is newer", "a", "", "a b c", "a 0"},
		{"nothing in common", "a b", "", "x y", ""},
		{"same name, other guid", "a=1 b=2", "", "a=1 b=3", "a 0"},
		{"only the names are common", "a=1 b=2", "", "a=3 b=4", ""},
		{"renamed on one side", "a=1 b2=2", "", "a=1 b=2", "b2 1"},
		{"a bookmark alone", "c", "m=a", "a", "#m 0"},
		{"a bookmark of what is there too", "a", "m=a", "a", "a 0"},
		{"a bookmark newer than the snapshot", "a", "m=b", "a b", "#m 1"},
		{"a bookmark older than the snapshot", "b", "m=a", "a b", "b 1"},
		{"a virtual snapshot is on no target", "a ~b", "", "a b", "a 0"},
	} {
		source, target := list(c.snapshots), list(c.target)
		got := ""
		if b, ok := Find(source, list(c.bookmarks), target); ok {
			got = fmt.Sprint(b.Source, " ", b.Target)
			if b.GUID != target[b.Target].GUID || b.Bookmark() != strings.HasPrefix(b.Source, "#") {
				t.Errorf("%s: %+v", c.what, b)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, should be %q", c.what, got, c.want)
		}
	}
	// The age counts, not the place.
	target := list("a b c")
	slices.Reverse(target)
	if b, ok := Find(list("a c x"), nil, target); !ok || b.Source != "c" || b.Target != 0 {
		t.Errorf("in another order: %+v", b)
	}
	// Absent guids are not equal guids.
	none := []record.Snapshot{{Name: "a", CreateTXG: "1"}}
	if b, ok := Find(none, none, none); ok {
		t.Errorf("%+v of snapshots without a guid", b)
	}
}

func TestFindByName(t *testing.T) {
	if b, ok := FindByName(list("a=1 b=2 c=3"), list("a=9 b=8 x=7")); !ok || b.Source != "b" || b.GUID != "2" || b.TXG != 20 || b.Target != 1 {
		t.Errorf("%+v, %v", b, ok)
	}
	if b, ok := FindByName(list("a=1"), list("b=1")); ok {
		t.Errorf("%+v: the names differ", b)
	}
}

func TestSameName(t *testing.T) {
	for _, c := range []struct{ source, target, want string }{
		{"a=1 b=2", "a=1 b=3", "b"},
		{"a=1 b=2", "a=1 b=2", ""},
		{"a=1 b=2", "b=1 a=2", "b a"},
		{"~a", "a=1", ""},
		{"", "a=1", ""},
	} {
		var got []string
		for _, s := range SameName(list(c.source), list(c.target)) {
			got = append(got, s.Name)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q and %q: %q", c.source, c.target, got)
		}
	}
}

// text writes streams as "from>through,to".
func text(streams []Stream) string {
	var out []string
	for _, s := range streams {
		to := ""
		for _, th := range s.Through {
			to += th.Name + ","
		}
		out = append(out, s.From+">"+to+s.To)
	}
	return strings.Join(out, " ")
}

func TestStreams(t *testing.T) {
	for _, c := range []struct{ what, all, base, want string }{
		{"the first goes alone", "+a", "", ">a"},
		{"and the rest together", "+a +b +c +d", "", ">a a>b,c,d"},
		{"from a base", "a +b +c", "a", "a>b,c"},
		{"one", "a +b", "a", "a>b"},
		{"nothing wanted", "a b c", "a", ""},
		{"the first from a bookmark goes alone", "+b +c +d", "#a", "#a>b b>c,d"},
		{"what is not wanted stays out", "a +b x +c +d +e", "a", "a>b b>c c>d,e"},
		{"also beside the base", "a x +b +c +d", "a", "a>b b>c,d"},
		{"and at the end", "a +b +c x", "a", "a>b,c"},
		{"between full and first", "+a x +b +c", "", ">a a>b b>c"},
		{"every other", "a +b x +c y +d", "a", "a>b b>c c>d"},
		{"what the target has already is not sent again", "+a +b +c", "b", "b>c"},
		{"virtual ones come last", "a +b +~c", "a", "a>b,c"},
		{"a virtual one alone", "+~c", "", ">c"},
	} {
		wanted := map[string]bool{}
		var words []string
		for _, w := range strings.Fields(c.all) {
			n, ok := strings.CutPrefix(w, "+")
			words = append(words, n)
			wanted[strings.TrimPrefix(n, "~")] = ok
		}
		all := list(strings.Join(words, " "))
		var base Base
		if c.base != "" {
			base = Base{Source: c.base, GUID: "g" + c.base, TXG: 5}
			for _, s := range all {
				if s.Name == c.base {
					base.TXG, base.GUID = s.TXG(), s.GUID
				}
			}
		}
		got := Streams(all, func(i int) bool { return wanted[all[i].Name] }, base, c.base != "")
		// The first stream may come from a base that other snapshots follow.
		if text(got) != c.want {
			t.Errorf("%s: %q, should be %q", c.what, text(got), c.want)
		}
	}
}

// Over random histories: the streams send the wanted snapshots and no others, in order,
// each from the last snapshot of the stream before, and there are no more streams than
// necessary.
func TestStreamsProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 12).Draw(t, "snapshots")
		var all []record.Snapshot
		wanted := map[int]bool{}
		txg := 10
		for i := range n {
			txg += rapid.IntRange(1, 3).Draw(t, "gap")
			s := record.Snapshot{Name: fmt.Sprint("s", i), GUID: fmt.Sprint(1000 + i), CreateTXG: strconv.Itoa(txg)}
			if i == n-1 && rapid.Bool().Draw(t, "virtual") {
				s = record.Snapshot{Name: s.Name, Virtual: true}
			}
			all = append(all, s)
			wanted[i] = rapid.Bool().Draw(t, "wanted")
		}
		var base Base
		has := rapid.Bool().Draw(t, "has")
		if has {
			base = Base{Source: "#mark", GUID: "7", TXG: uint64(rapid.IntRange(5, txg+2).Draw(t, "txg"))}
			var real []int
			for i := range all {
				if !all[i].Virtual {
					real = append(real, i)
				}
			}
			if len(real) > 0 && rapid.Bool().Draw(t, "snapshot") {
				s := all[rapid.SampledFrom(real).Draw(t, "base")]
				base = Base{Source: s.Name, GUID: s.GUID, TXG: s.TXG()}
			}
		}
		streams := Streams(all, func(i int) bool { return wanted[i] }, base, has)

		var want []int
		for i, s := range all {
			if wanted[i] && (!has || s.Virtual || s.TXG() > base.TXG) {
				want = append(want, i)
			}
		}
		var got []string
		from, fromGUID := base.Source, base.GUID
		for _, s := range streams {
			if s.From != from || s.FromGUID != fromGUID {
				t.Fatalf("%q does not follow %q", text(streams), from)
			}
			if len(s.Through) > 0 {
				if s.From == "" || s.From[0] == '#' {
					t.Fatalf("%q: zfs send -I cannot start there", text(streams))
				}
				// Every snapshot between From and To travels with it.
				first := slices.IndexFunc(all, func(x record.Snapshot) bool { return x.Name == s.From })
				last := slices.IndexFunc(all, func(x record.Snapshot) bool { return x.Name == s.To })
				if last-first-1 != len(s.Through) {
					t.Fatalf("%q: %d unwanted snapshots travel too", text(streams), last-first-1-len(s.Through))
				}
			}
			for _, th := range s.Through {
				got = append(got, th.Name+th.GUID)
			}
			got = append(got, s.To+s.ToGUID)
			from, fromGUID = s.To, s.ToGUID
		}
		var names []string
		for _, i := range want {
			names = append(names, all[i].Name+all[i].GUID)
		}
		if !reflect.DeepEqual(got, names) {
			t.Fatalf("%q brings %q instead of %q", text(streams), got, names)
		}
		// A new stream is needed for the first snapshot, for the one after it if the
		// first is sent in full or from a bookmark, and on both sides of a gap.
		least := 0
		mayJoin := false
		for k, i := range want {
			before := k > 0 && want[k-1] == i-1 ||
				k == 0 && has && !base.Bookmark() && i > 0 && all[i-1].GUID == base.GUID
			if !(k > 0 && before && mayJoin) {
				least++
				mayJoin = before
			}
		}
		if len(streams) != least {
			t.Fatalf("%q are %d streams, %d are enough", text(streams), len(streams), least)
		}
	})
}

// P2: the snapshots that steps still have to send are pending, with those that the steps
// start from, until a result says that the step is done.
func TestPending(t *testing.T) {
	r := &record.Record{
		Steps: []record.Step{
			{Do: record.DoAbortResume},
			{Do: record.DoReceive, From: "a", FromGUID: "1", To: "b", ToGUID: "2"},
			{Do: record.DoReceive, From: "b", FromGUID: "2", To: "d", ToGUID: "4", Through: []record.Through{{Name: "c", GUID: "3"}}},
			{Do: record.DoReceive, From: "#m", FromGUID: "4", To: "new"},
			{Do: record.DoHold, Snapshot: "h", GUID: "9"},
		},
	}
	keys := func() string {
		var out []string
		for k, v := range Pending(r) {
			if v {
				out = append(out, k)
			}
		}
		slices.Sort(out)
		return strings.Join(out, " ")
	}
	for _, c := range []struct {
		results []record.Result
		want    string
	}{
		{nil, "1 2 3 4 @#m @a @b @c @d @new"},
		{[]record.Result{{Step: 1, Done: true}}, "2 3 4 @#m @b @c @d @new"},
		{[]record.Result{{Step: 1, Done: true}, {Step: 2, Done: false}}, "2 3 4 @#m @b @c @d @new"},
		{[]record.Result{{Step: 1, Done: true}, {Step: 2, Done: true}}, "4 @#m @new"},
		{[]record.Result{{Step: 1, Done: true}, {Step: 2, Done: true}, {Step: 3, Done: true}}, ""},
		{[]record.Result{{Step: 7, Done: true}}, "1 2 3 4 @#m @a @b @c @d @new"},
	} {
		r.Results = c.results
		if got := keys(); got != c.want {
			t.Errorf("%v: %q, should be %q", c.results, got, c.want)
		}
	}
}
