package torture

import (
	"os/exec"
	"strings"
)

// judgeDryRun checks P6: a dry run leaves nothing in the internal histories of the pools,
// whose lengths before it are given.
func (h *history) judgeDryRun(before string) {
	if now := h.historyLengths(); now != before {
		h.breaks("P6", "a dry run left %s lines of zpool history -i, there were %s", now, before)
	}
}

// historyLengths returns the numbers of lines in the internal histories of the pools.
func (h *history) historyLengths() string {
	out := ""
	for _, p := range h.pools() {
		o, _ := exec.Command("sh", "-c", "zpool history -i "+p+" | wc -l").Output()
		out += strings.TrimSpace(string(o)) + " "
	}
	return out
}
