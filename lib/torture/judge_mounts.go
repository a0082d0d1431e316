package torture

import (
	"os"
	"slices"
	"strings"
)

// judgeMounts checks P5: copies are mounted only below the mountpoint of their pool, at
// which the test mounts the pool, and not at a mountpoint that came with a stream; and
// nothing has been mounted or unmounted elsewhere.
func (h *history) judgeMounts() {
	data, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		pool := poolOf(f[0])
		if f[2] != "zfs" || !slices.Contains(h.pools()[1:], pool) {
			continue
		}
		if at := h.dir + "/" + pool; f[1] != at && !strings.HasPrefix(f[1], at+"/") {
			h.breaks("P5", "'%s' is mounted at '%s'", f[0], f[1])
			return
		}
	}
	if now := mountsWhere(isForeign); now != h.otherMounts {
		h.breaks("P5", "the mount table changed:\n%sit was:\n%s", now, h.otherMounts)
	}
}

// isForeign reports whether a mountpoint belongs neither to the torture nor to a script.
func isForeign(at string) bool {
	return !strings.Contains(at, "/zabt-") && !strings.Contains(at, "/go-test-script")
}

// mountsWhere returns the lines of the mount table with a wanted mountpoint.
func mountsWhere(want func(at string) bool) string {
	data, _ := os.ReadFile("/proc/self/mounts")
	out := ""
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); want(f[1]) {
			out += line
		}
	}
	return out
}
