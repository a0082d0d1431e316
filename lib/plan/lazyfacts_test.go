package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"zab/lib/record"
)

// looked finishes drafts in order. It returns the sizes of the sets that were read, and
// for each target how many had been read when its draft was finished.
func looked(t *testing.T, list []*draft) (sets []int, before map[string]int) {
	t.Helper()
	read := map[string]bool{}
	before = map[string]int{}
	l := newLazyFacts(list, func(set []*draft) error {
		sets = append(sets, len(set))
		for _, d := range set {
			if read[d.r.Target.Name] {
				t.Errorf("'%s' is read twice", d.r.Target.Name)
			}
			read[d.r.Target.Name] = true
		}
		return nil
	})
	for _, d := range list {
		if err := l.load(d); err != nil {
			t.Fatal(err)
		}
		name := d.r.Target.Name
		if works := d.r.Error == nil && len(d.wanted) > 0; works != read[name] {
			t.Errorf("'%s' is finished, and its target was read: %v", name, read[name])
		}
		for i := range name {
			if up := name[:i]; name[i] == '/' && l.byTarget[up] != nil {
				t.Errorf("'%s' is finished before '%s' was looked at", name, up)
			}
		}
		before[name] = len(read)
	}
	return sets, before
}

func draftTo(target string, wanted bool) *draft {
	d := &draft{r: &record.Record{Target: &record.Target{Name: target}}}
	if wanted {
		d.want(0)
	}
	return d
}

func TestLook(t *testing.T) {
	var list []*draft
	for i := range 1000 {
		list = append(list, draftTo(fmt.Sprintf("b/s/d%03d", i), i >= 100))
	}
	list[200].r.Error = &record.Error{}
	sets, before := looked(t, list)
	if want := []int{4, 16, 64, 256, 559}; !slices.Equal(sets, want) {
		t.Errorf("read in sets of %d, want %d", sets, want)
	}
	// Drafts with nothing to send wait for no set, and the first draft with something
	// to send waits only for a small one.
	if n := before["b/s/d099"]; n != 0 {
		t.Errorf("%d were read for those that have nothing to send", n)
	}
	if n := before["b/s/d100"]; n != 4 {
		t.Errorf("the first waits for %d", n)
	}

	// Nothing is to be sent at all.
	if sets, _ := looked(t, list[:100]); len(sets) > 0 {
		t.Errorf("%d were read with nothing to do", sets)
	}

	// If children come before their parents, the first child takes all of its parents
	// along.
	list = nil
	name := "b"
	for range 12 {
		name += "/x"
		list = append(list, draftTo(name, true))
	}
	slices.Reverse(list)
	if sets, _ := looked(t, list); !slices.Equal(sets, []int{12}) {
		t.Errorf("the parents of %s are read in sets of %d", strings.Repeat("/x", 12), sets)
	}
}
