package record

import (
	"bytes"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/go-json-experiment/json"
	"pgregory.net/rapid"

	"zab/lib/zabtest/heap"
)

// TestCompact checks that a compacted list is the same list, does not change with the one
// that it was made from, and shares its names with earlier lists.
func TestCompact(t *testing.T) {
	var c Compactor
	if got := c.Compact(nil); got != nil {
		t.Errorf("a list that was never made became %v", got)
	}
	if got := c.Compact([]Snapshot{}); got == nil {
		t.Error("an empty list became none")
	}
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOf(rapid.Custom(func(t *rapid.T) Snapshot {
			var f SnapshotFields
			fill(t, reflect.ValueOf(&f).Elem(), "s")
			return f.Snapshot()
		})).Draw(t, "list")
		before := fmt.Sprint(plainly(list))
		got := c.Compact(list)
		if !reflect.DeepEqual(got, list) {
			t.Fatalf("\n got %v\nwant %v", plainly(got), before)
		}
		for i := range list {
			for _, n := range []*int64{list[i].Creation, list[i].Written, list[i].UserRefs} {
				if n != nil {
					*n++
				}
			}
			list[i].Name += "x"
		}
		if after := fmt.Sprint(plainly(got)); after != before {
			t.Fatalf("\n got %s\nwant %s", after, before)
		}
	})
	one := c.Compact([]Snapshot{{Name: strings.Clone("daily"), GUID: "1"}})
	two := c.Compact([]Snapshot{{Name: strings.Clone("daily"), GUID: "2"}})
	if unsafe.StringData(one[0].Name) != unsafe.StringData(two[0].Name) {
		t.Error("the same name in two lists is in memory twice")
	}
	for i := range 3 * maxNames {
		c.Compact([]Snapshot{{Name: fmt.Sprint(i)}})
	}
	if len(c.names) > maxNames {
		t.Errorf("%d names are remembered", len(c.names))
	}
}

// plainly returns the snapshots with the numbers in place of their addresses.
func plainly(list []Snapshot) (out []string) {
	for i := range list {
		b, err := json.Marshal(&list[i])
		out = append(out, fmt.Sprintf("%s %v", b, err))
	}
	return out
}

// TestCollector checks that rows end up in the lists of their records in the order in
// which they came, also if those of several records are mixed.
func TestCollector(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := []*Record{{Snapshots: []Snapshot{}}, {}, {Bookmarks: []Snapshot{{Name: "before"}}}}
		want := make([]Record, len(records))
		for i, r := range records {
			want[i] = Record{Snapshots: slices.Clone(r.Snapshots), Bookmarks: slices.Clone(r.Bookmarks)}
		}
		var c Collector
		for n, k := range rapid.SliceOf(rapid.IntRange(0, 2*len(records)-1)).Draw(t, "rows") {
			s, i := Snapshot{Name: fmt.Sprint(n), GUID: fmt.Sprint(n + 1)}, k/2
			if k%2 == 0 {
				c.Snapshot(records[i], s)
				want[i].Snapshots = append(want[i].Snapshots, s)
			} else {
				c.Bookmark(records[i], s)
				want[i].Bookmarks = append(want[i].Bookmarks, s)
			}
		}
		c.End()
		for i, r := range records {
			if !reflect.DeepEqual(*r, want[i]) {
				t.Fatalf("record %d\n got %+v\nwant %+v", i, *r, want[i])
			}
		}
	})
}

// TestRare checks that a change of rare facts leaves copies of the snapshot alone, and
// that a snapshot without them takes no memory for them.
func TestRare(t *testing.T) {
	a := Snapshot{Name: "a"}
	a.SetRare(Rare{Needed: "tank/clone"})
	b := a
	x := b.Rare()
	x.Needed = ""
	b.SetRare(x)
	if a.Rare().Needed != "tank/clone" || b.rare != nil {
		t.Errorf("%+v, %+v", a.Rare(), b.Rare())
	}
}

// TestMemory checks that a snapshot of a record that is kept takes no more memory than its
// struct, its guid and createtxg, and its numbers; most names are the same in all records.
// The limits leave room for the records themselves and for what the allocator rounds up.
func TestMemory(t *testing.T) {
	if size := reflect.TypeFor[Snapshot]().Size(); size > 88 {
		t.Errorf("a snapshot has %d bytes: what few of them have belongs to Rare", size)
	}
	const records, snapshots = 100, 100
	var in bytes.Buffer
	w := NewWriter(&in)
	for i := range records {
		r := &Record{Type: TypeDataset, Backup: "b", Name: fmt.Sprintf("tank/home/user%05d", i)}
		for k := range snapshots {
			r.Snapshots = append(r.Snapshots, Snapshot{Name: fmt.Sprintf("b-%014d", k), GUID: fmt.Sprint(uint64(1e19) + uint64(i*snapshots+k)),
				CreateTXG: fmt.Sprint(12345678 + k), Creation: Ptr(int64(1.7e9) + int64(k))})
		}
		r.Snapshots[0].Name = fmt.Sprintf("only-%d", i) // must not keep the line, either
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	before := heap.InUse()
	all, err := NewReader(bytes.NewReader(in.Bytes())).ReadAll()
	if err != nil || len(all) != records {
		t.Fatal(len(all), err)
	}
	for _, r := range all {
		r.ForgetLine()
	}
	each := (heap.InUse() - before) / (records * snapshots)
	if each > 160 {
		t.Errorf("a snapshot takes %d bytes", each)
	}
	t.Logf("%d bytes for each snapshot", each)
	runtime.KeepAlive(all)
	runtime.KeepAlive(in)
}
