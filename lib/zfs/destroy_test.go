package zfs

import (
	"fmt"
	"strings"
	"testing"
)

// DestroyByProgram runs one program for some snapshots; those that the program did not
// report as destroyed are not taken for gone, and if programs are not allowed, none is.
func TestDestroyByProgram(t *testing.T) {
	var many []SnapshotRef
	for i := range 2*manyDoomed + 1 {
		many = append(many, SnapshotRef{fmt.Sprintf("p/%d@a", i), fmt.Sprint(i + 1)})
	}
	for _, c := range []struct {
		what, script string
		list         []SnapshotRef
		programs     int
		gone         string
	}{
		{"some", `cat >/dev/null; echo '{"return":{"p/1@a":true,"q/1@a":true}}'`, many[:3], 1, "p/1@a"},
		{"none", `cat >/dev/null; echo '{"return":{}}'`, many[:3], 1, ""},
		{"many", `sed -n 's/^{"\(p[^"]*\).*/"\1":true/p' | paste -sd, | sed 's/.*/{"return":{&}}/'`, many, 3, "all"},
		{"not allowed", `cat >/dev/null; echo "Channel program execution failed: Operation not permitted." >&2; exit 1`, many, 1, ""},
		{"not understood", `cat >/dev/null; echo done`, many, 1, ""},
		// A guid of 64 bits, which is a negative number in Lua.
		{"large guids", `grep -q '^{"p/x@a", "-2"},$' && echo '{"return":{"p/x@a":true}}'`, []SnapshotRef{{"p/x@a", "18446744073709551614"}}, 1, "p/x@a"},
		{"no guid", `grep -q p/x@a || echo '{"return":{"p/x@a":false}}'`, []SnapshotRef{{"p/x@a", ""}}, 1, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			h, started := fakeZFS(t, c.script)
			gone := h.DestroyByProgram(t.Context(), "p", c.list)
			var names []string
			for n := range gone {
				names = append(names, n)
			}
			got := strings.Join(names, " ")
			if len(gone) == len(c.list) && len(gone) > 1 {
				got = "all"
			}
			if got != c.gone {
				t.Errorf("gone: %s, want %s", got, c.gone)
			}
			if n := len(started()); n != c.programs || started()[0][0] != "program" {
				t.Errorf("%d programs, want %d", n, c.programs)
			}
		})
	}
}
