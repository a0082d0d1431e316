package plan

import (
	"math"
	"testing"

	"zab/lib/record"
)

func TestStreamSize(t *testing.T) {
	n := record.Ptr[int64]
	facts := record.Facts{Written: n(1 << 20), Referenced: n(1 << 30), LogicalReferenced: n(3 << 29)}
	for _, c := range []struct {
		what  string
		facts record.Facts
		s     record.Step
		want  *int64
	}{
		{"first, raw", facts, record.Step{To: "2", Flags: []string{"-L", "-w"}}, n(1 << 30)},
		{"first, compressed", facts, record.Step{To: "2", Flags: []string{"-c"}}, n(1 << 30)},
		{"first", facts, record.Step{To: "2", Flags: []string{"-L"}}, n(3 << 29)},
		{"first, not to the newest", facts, record.Step{To: "1", Flags: []string{"-w"}}, nil},
		{"resumed", facts, record.Step{To: "2", Token: "1-x", Flags: []string{"-w"}}, nil},
		{"new", facts, record.Step{From: "1", To: "2", Flags: []string{"-L"}}, n(3 << 19)},
		{"new, compressed", facts, record.Step{From: "1", To: "2", Flags: []string{"-c"}}, n(1 << 20)},
		{"from an older one", facts, record.Step{From: "0", To: "2", Flags: []string{"-c"}}, nil},
		{"from a bookmark", facts, record.Step{From: "#1", To: "2", Flags: []string{"-c"}}, nil},
		{"facts are missing", record.Facts{Written: n(1)}, record.Step{To: "2"}, nil},
		{"an empty dataset", record.Facts{Referenced: n(0), LogicalReferenced: n(0)}, record.Step{To: "2"}, nil},
		{"a host that lies", record.Facts{Referenced: n(1), Written: n(math.MaxInt64), LogicalReferenced: n(math.MaxInt64)}, record.Step{From: "1", To: "2"}, nil},
	} {
		r := &record.Record{Facts: c.facts, Snapshots: []record.Snapshot{{Name: "0"}, {Name: "1"}, {Name: "2"}}, Snapshot: &record.Made{Name: "2"}}
		if got := streamSize(r, &c.s); (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
	r := &record.Record{Facts: facts, Snapshots: []record.Snapshot{{Name: "1"}, {Name: "2"}}}
	if got := streamSize(r, &record.Step{From: "1", To: "2", Flags: []string{"-c"}}); got != nil {
		t.Errorf("a snapshot that another run made: %d", *got)
	}
}
