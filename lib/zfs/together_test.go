package zfs

import (
	"context"
	"math/rand"
	"slices"
	"strings"
	"testing"
)

func TestTops(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"a", "a"},
		{"a a/b a/b/c", "a"},
		{"a/b a/b/c a/c", "a/b a/c"},
		{"a a!b a-b a/b", "a a!b a-b"}, // names that sort before and after the slash
		{"a/1 a/2 a/3 a/4 a/5 a/6 a/7 a/8", "a"},
		{"a/1 a/2 a/3 a/4 a/5 a/6 a/7", "a/1 a/2 a/3 a/4 a/5 a/6 a/7"},
		{"1 2 3 4 5 6 7 8", "1 2 3 4 5 6 7 8"}, // pools
		{"a/b/1 a/b/2 a/b/3 a/b/4 a/b/5 a/b/6 a/b/7 a/b/8 a/c", "a/b a/c"},
	} {
		var keys, got []string
		for _, n := range strings.Fields(c.in) {
			keys = append(keys, treeKey(n))
		}
		slices.Sort(keys)
		for _, k := range tops(keys) {
			got = append(got, treeName(k))
		}
		slices.Sort(got)
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v", c.in, got)
		}
	}
}

// On random trees each member is reached by -r once, or is in the rest, and no other
// dataset is reached.
func TestCover(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	reached, left := 0, 0
	for range 20000 {
		all := []string{"p"}
		for range rng.Intn(40) {
			all = append(all, all[rng.Intn(len(all))]+"\x00"+string("ab -0"[rng.Intn(5)])+string(rune('a'+rng.Intn(20))))
		}
		slices.Sort(all)
		all = slices.Compact(all)
		var keys, strangers []string
		for _, k := range all {
			switch n := rng.Intn(20); {
			case n < 12:
				keys = append(keys, k)
			case n == 12:
				strangers = append(strangers, k)
			}
		}
		trees, rest := cover("x", keys, strangers)
		times := map[string]int{}
		for _, full := range rest {
			times[full]++
			left++
		}
		for _, tr := range trees {
			top := treeKey(strings.TrimSuffix(tr.top, "@x"))
			if bad := under(strangers, top); len(bad) > 0 {
				t.Fatalf("%q reaches %q; members %q, strangers %q", tr.top, bad, keys, strangers)
			}
			var want []string
			for _, k := range under(keys, top) {
				want = append(want, treeName(k)+"@x")
				times[treeName(k)+"@x"]++
				reached++
			}
			if !slices.Equal(want, tr.members) || len(want) < 2 {
				t.Fatalf("%q reaches %q, and says %q", tr.top, want, tr.members)
			}
		}
		for _, k := range keys {
			if times[treeName(k)+"@x"] != 1 {
				t.Fatalf("%q is reached %d times; members %q, strangers %q", k, times[treeName(k)+"@x"], keys, strangers)
			}
		}
		if len(times) != len(keys) {
			t.Fatalf("%d are reached of %d", len(times), len(keys))
		}
	}
	if reached < 2*left {
		t.Errorf("%d were reached by trees, %d were not", reached, left)
	}
}

// The snapshots of a tree are held together; a snapshot above another of that name that
// is not to be held is held by itself.
func TestHoldTogether(t *testing.T) {
	const script = `
tree='t/a t/a/1 t/a/2 t/a/3 t/a/4 t/a/5 t/a/6 t/a/7 t/a/8 t/a/8/x t/b t/b/mine t/b/other t/b/third'
case $1 in
list)
	case $* in
	*filesystem*) printf '%s\n' $tree ;;
	*)
		shift 8
		for s; do
			case $s in
			*third@*) echo "cannot open '$s': dataset does not exist" >&2; bad=1 ;;
			*) printf '%s\t1\t1\n' "$s" ;;
			esac
		done ;;
	esac ;;
hold)
	[ "$2" != -r ] || [ ! -e "$FAIL" ] || { echo "cannot hold snapshot 't/a/8/x@n': tag already exists on this dataset" >&2; exit 1; }
	;;
esac
exit ${bad:-0}`
	names := strings.Fields("t/a@n t/a/1@n t/a/2@n t/a/3@n t/a/4@n t/a/5@n t/a/6@n t/a/7@n t/a/8@n t/a/8/x@n t/b@n t/b/mine@n t/a/1@other")
	holds := func(started func() [][]string) (out []string) {
		for _, argv := range started() {
			if argv[0] == "hold" || argv[0] == "release" {
				out = append(out, strings.Join(argv, " "))
			}
		}
		return out
	}
	const alone = "t/a/1@other t/b/mine@n t/b@n"
	t.Run("hold", func(t *testing.T) {
		h, started := fakeZFS(t, script)
		if err := h.Hold(context.Background(), "T", names); err != nil {
			t.Error(err)
		}
		got := holds(started)
		if len(got) != 2 || got[0] != "hold -r T t/a@n" {
			t.Fatalf("%q", got)
		}
		rest := strings.Fields(got[1])[2:]
		slices.Sort(rest)
		if strings.Join(rest, " ") != alone {
			t.Errorf("%q", rest)
		}
	})
	t.Run("one of a tree has it", func(t *testing.T) {
		h, started := fakeZFS(t, script)
		t.Setenv("FAIL", "/dev/null")
		_ = h.Hold(context.Background(), "T", names)
		if got := holds(started); len(got) != 2 || len(strings.Fields(got[1])) != 2+len(names) {
			t.Errorf("%q", got)
		}
	})
	t.Run("what was held before", func(t *testing.T) {
		h, started := fakeZFS(t, script)
		before, err := h.HoldNew(context.Background(), "T", names)
		if len(before) > 0 || err != nil {
			t.Errorf("%v, %v", before, err)
		}
		if got := holds(started); len(got) != 2 || got[0] != "hold -r T t/a@n" {
			t.Errorf("%q", got)
		}
	})
	t.Run("release", func(t *testing.T) {
		h, started := fakeZFS(t, script)
		if err := h.Release(context.Background(), "T", names); err != nil {
			t.Error(err)
		}
		if got := holds(started); len(got) != 2 || got[0] != "release -r T t/a@n" {
			t.Errorf("%q", got)
		}
	})
	t.Run("few", func(t *testing.T) {
		h, started := fakeZFS(t, script)
		if err := h.Hold(context.Background(), "T", names[:fewTogether-1]); err != nil {
			t.Error(err)
		}
		if got := started(); len(got) != 1 {
			t.Errorf("%q", got)
		}
	})
	t.Run("each alone", func(t *testing.T) {
		h, started := fakeZFS(t, script)
		apart := strings.Fields("t/1/x@n t/2/x@n t/3/x@n t/4/x@n t/5/x@n t/6/x@n t/7/x@n t/8/x@n t/9/x@n")
		h.Prefetch(context.Background(), apart)
		if err := h.Hold(context.Background(), "T", apart); err != nil {
			t.Error(err)
		}
		if got := started(); len(got) != 1 || len(got[0]) != 2+len(apart) {
			t.Errorf("%q", got)
		}
	})
}

// P11: the names of a tree count only if they were asked for, each once and with the
// root, because they decide what -r holds or destroys.
func TestTreeNames(t *testing.T) {
	for _, c := range []struct {
		answer string
		ok     bool
	}{
		{`a\na/b\na/b/c\n`, true},
		{`a\n`, true},
		{`a/b\n`, false},
		{``, false},
		{`a\na/b\na/b\n`, false},
		{`a\nother\n`, false},
		{`a\nab\n`, false},
		{`a\na/b@s\n`, false},
		{`a\na/../b\n`, false},
		{`a\n-r\n`, false},
		{`a\na/b`, false},
	} {
		h, _ := fakeZFS(t, `printf '%b' "$ANSWER"`)
		t.Setenv("ANSWER", c.answer)
		keys, err := h.names(context.Background(), []string{treeKey("a")})
		if (err == nil) != c.ok || c.ok && len(keys) != strings.Count(c.answer, `\n`) {
			t.Errorf("%s: %q, %v", c.answer, keys, err)
		}
	}
}
