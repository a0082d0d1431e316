package torture

import "slices"

// judgeKept checks P1 and P2 for a dataset, which may be a source or a copy.
func (h *history) judgeKept(a *attempt, before, after *world, name string) {
	d, now := before.datasets[name], after.datasets[name]
	isCopy := poolOf(name) != h.source
	if isCopy && (now == nil || now.guid != d.guid) && h.wasSetAside(after, d) {
		// It keeps all its snapshots, except those that its clone took over when it was
		// promoted.
		return
	}
	if now == nil {
		// zab sometimes gives up an interrupted first receive, which has no snapshots.
		if !isCopy || len(d.snapshots) > 0 && !h.mayDestroyOrphan(a, before, name) {
			h.breaks("P1", "'%s' is gone", name)
		}
		return
	}
	mayGo := a.bookmark()
	if isCopy {
		mayGo = a.rollback || h.mayDestroyOrphan(a, before, name)
	}
	if s := d.newest(); s != nil && !mayGo {
		if n := now.newest(); n == nil || n.txg < s.txg {
			h.breaks("P1", "the newest snapshot '%s@%s' is gone", name, s.name)
		}
	}
	if !isCopy {
		h.judgeBases(a, before, after, d, now)
		h.judgeOurs(a, d, now)
		h.judgeWanted(a, before, after, d, now)
	}
}

// judgeBases checks P1: the base of no target has become an older one.
func (h *history) judgeBases(a *attempt, before, after *world, d, now *dataset) {
	for _, t := range h.targets {
		had := commonBase(d, before.datasets[t+"/"+d.name])
		if has := commonBase(now, after.copyWithAside(t+"/"+d.name)); had.guid != "" && has.txg < had.txg && !h.mayDestroyOrphan(a, before, t+"/"+d.name) {
			h.breaks("P1", "'%s@%s' was the newest in common with '%s', and now '%s' is", d.name, had.name, t, has.name)
		}
	}
}

// judgeOurs checks P2: the newest snapshot that zab made of a source is still there.
func (h *history) judgeOurs(a *attempt, d, now *dataset) {
	if g := newestOurs(h, d); g != "" && !a.bookmark() && now.find(g) == nil && newestOursTXG(h, now) < d.find(g).txg {
		h.breaks("P2", "the newest snapshot of ours is gone from '%s'", d.name)
	}
}

// judgeWanted checks P2: the snapshots of a source that the target's schedule keeps, and
// which are newer than the base, are on one of both sides.
func (h *history) judgeWanted(a *attempt, before, after *world, d, now *dataset) {
	if a.target == "" || d.selected != "true" {
		return
	}
	c := after.datasets[a.target+"/"+d.name]
	left := a.keepTarget - 1
	had := commonBase(d, before.datasets[a.target+"/"+d.name])
	for _, s := range slices.Backward(d.snapshots) {
		if left <= 0 {
			return
		}
		if !h.isOurs(s) || s.txg <= had.txg {
			continue
		}
		left--
		if now.find(s.guid) == nil && c.find(s.guid) == nil {
			h.breaks("P2", "'%s@%s', which '%s' wants and does not have, is gone", d.name, s.name, a.target)
			return
		}
	}
}
