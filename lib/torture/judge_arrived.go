package torture

import (
	"slices"
	"strings"
)

// judgeArrived checks P3 and P4 after a run for a target: the run succeeded unless it had a
// fault or conflicts were to be expected, and the newest snapshot that zab made of each
// selected dataset has arrived, except where a conflict was to be expected.
func (h *history) judgeArrived(a *attempt, status int, before, after *world) {
	if a.nothingSelected || a.fault != nil && (status != 0 || a.fault.awaitSecond != nil) {
		// The second of two runs may have made newer snapshots, and then found the lock
		// taken.
		return
	}
	conflicts := h.mayConflict(a, before)
	if status != 0 && len(conflicts) == 0 && a.fault == nil {
		h.breaks("P4", "the run failed with status %d, and nothing was in its way", status)
		return
	}
	for _, d := range h.selected(after) {
		if status != 0 && slices.ContainsFunc(conflicts, func(c string) bool { return c == d.name || strings.HasPrefix(d.name, c+"/") }) {
			continue
		}
		c := after.datasets[a.target+"/"+d.name]
		g := newestOurs(h, d)
		if g == "" || c.find(g) != nil {
			continue
		}
		if b := commonBase(d, c); b.guid == "" || b.txg < d.find(g).txg {
			h.breaks("P3", "status %d, but the newest snapshot of ours of '%s' is not on '%s'", status, d.name, a.target)
			return
		}
	}
}

// mayConflict returns the names of the datasets whose backup may end in a conflict.
func (h *history) mayConflict(a *attempt, w *world) []string {
	var out []string
	for _, d := range h.selected(w) {
		c := w.datasets[a.target+"/"+d.name]
		switch {
		case c == nil:
			if !a.simpleClones || d.origin == "-" {
				continue
			}
		case commonBase(d, c).guid == "" && (len(c.snapshots) > 0 || c.token == "-") && !a.renameAside:
		case h.modified[a.target] && !a.rollback && !a.renameAside:
		default:
			continue
		}
		out = append(out, d.name)
	}
	return out
}
