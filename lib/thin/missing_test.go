package thin

import (
	"testing"

	"zab/lib/record"
)

func TestOrphanProtects(t *testing.T) {
	refs := func(n int64) *int64 { return &n }
	is := &orphan{
		snapshots: map[string]record.Snapshot{
			"free":   {Name: "free", GUID: "1", UserRefs: refs(0)},
			"held":   {Name: "held", GUID: "2", UserRefs: refs(1)},
			"cloned": {Name: "cloned", GUID: "3", UserRefs: refs(0)},
			"other":  {Name: "other", GUID: "9", UserRefs: refs(1)},
		},
		clones: map[string]bool{"cloned": true},
	}
	for name, test := range map[string]struct{ guid, want string }{
		"free":   {"1", ""},
		"gone":   {"5", ""},
		"held":   {"2", "its snapshot '@held' is held"},
		"cloned": {"3", "a clone depends on its snapshot '@cloned'"},
		"other":  {"4", "its snapshot '@other' is another one now"},
	} {
		if got := is.protects(record.Snapshot{Name: name, GUID: test.guid}); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	if !is.held([]record.Snapshot{{Name: "free"}, {Name: "held"}}) || is.held([]record.Snapshot{{Name: "free"}, {Name: "gone"}}) {
		t.Error("held is wrong")
	}
}
