package zfs

import (
	"fmt"
	"strings"
	"testing"
)

// Few bookmarks are created by a command each, many by one program for each pool. For
// those that the program could not create, and for all if it is not allowed, commands are
// run, which say why.
func TestBookmarks(t *testing.T) {
	marks := func(pool string, n int) (out []Mark) {
		for i := range n {
			out = append(out, Mark{fmt.Sprintf("%s/%d", pool, i), "@a", "m"})
		}
		return out
	}
	for _, c := range []struct {
		what, script string
		marks        []Mark
		started      string
		failed       string
	}{
		{"few", "", marks("p", 2), "bookmark bookmark", ""},
		{"two pools", `[ $1 = bookmark ] || { cat >/dev/null; echo '{"return":{}}'; }`, append(marks("p", 2), marks("q", 9)...), "bookmark bookmark program", ""},
		{"one is there, one is not made", `case $1$3 in
			bookmarkp/1#m) echo "cannot create bookmark 'p/1#m': bookmark exists" >&2; exit 1;;
			bookmarkp/2#m) echo "cannot create bookmark 'p/2#m': out of space" >&2; exit 1;;
			program*) cat >/dev/null; printf '{"return":{"p/1#m":true,"p/2#m":true}}';;
			*) exit 9;; esac`, marks("p", 5), "program bookmark bookmark", "p/2#m"},
		{"not allowed", `[ $1 = bookmark ] || { cat >/dev/null; echo "Channel program execution failed: Operation not permitted." >&2; exit 1; }`,
			marks("p", 3), "program bookmark bookmark bookmark", ""},
		{"not understood", `[ $1 = bookmark ] || { cat >/dev/null; echo done; }`, marks("p", 3), "program bookmark bookmark bookmark", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			h, started := fakeZFS(t, c.script)
			errs := h.Bookmarks(t.Context(), c.marks)
			var words, failed []string
			for _, argv := range started() {
				words = append(words, argv[0])
			}
			for n := range errs {
				failed = append(failed, n)
			}
			if got := strings.Join(words, " "); got != c.started {
				t.Errorf("started: %s, want %s", got, c.started)
			}
			if got := strings.Join(failed, " "); got != c.failed {
				t.Errorf("failed: %q, want %q", got, c.failed)
			}
		})
	}
}
