package plan

import (
	"strings"
	"testing"

	"zab/lib/record"
	"zab/lib/zfs"
)

func TestSame(t *testing.T) {
	values := func(text string) map[string]zfs.Value {
		out := map[string]zfs.Value{}
		for _, f := range strings.Fields(text) {
			name, rest, _ := strings.Cut(f, "=")
			v, source, _ := strings.Cut(rest, ",")
			out[name] = zfs.Value{Value: v, Source: source}
		}
		return out
	}
	var clear Options
	clear.ClearMountpoint = true
	for _, c := range []struct {
		name, own, snap, has string
		options              Options
		want                 bool
	}{
		{name: "nothing", want: true},
		{name: "all received", own: "a:x=1,local quota=5,received", has: "a:x=1,received quota=5,received zab:from=1,local", want: true},
		{name: "new", own: "a:x=1,local"},
		{name: "other value", own: "a:x=1,local", has: "a:x=2,received"},
		{name: "gone", has: "a:x=1,received"},
		{name: "the copy's own", own: "a:x=1,local", has: "a:x=1,local"},
		{name: "of a snapshot", snap: "a:x=1,local"},
		{name: "set by us", own: "a:x=1,local", has: "a:x=2,local", options: Options{set: []string{"a:x=2"}}, want: true},
		{name: "left out", own: "a:x=1,local", options: Options{filter: []string{"a:x"}}, want: true},
		{name: "left out by now", has: "a:x=1,received", options: Options{filter: []string{"a:x"}}, want: true},
		{name: "canmount", own: "canmount=off,local", has: "canmount=noauto,local", options: clear, want: true},
	} {
		r := &record.Record{Name: "t/a", Facts: record.Facts{Kind: "filesystem"}, Target: &record.Target{Name: "b/t/a"},
			Snapshots: []record.Snapshot{{Name: "0"}, {Name: "1"}}}
		p := &planner{o: &c.options, state: newState()}
		own := map[string]map[string]zfs.Value{"t/a": values(c.own), "t/a@0": values("a:old=1,local"), "t/a@1": values(c.snap)}
		if got := p.same(&draft{r: r, wanted: map[int]bool{1: true}}, own, values(c.has)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
