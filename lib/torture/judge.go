package torture

import "strings"

// The judges of the promises of zab(7):
//
//	P1, P2   judge_kept.go: datasets and snapshots that may not be destroyed
//	P3, P4   judge_arrived.go: a run that ended well has transferred all snapshots
//	P4       run.go, processes.go: a run ends and leaves no process; converge.go: in the end
//	         all copies are up to date and nothing is left behind
//	P5       judge_mounts.go
//	P6       judge_dryrun.go
//	P7       judge_verdicts.go
//	P9       stages.go: a plan that was cut off breaks no promise
//	P10      judge_encryption.go
//
// The others are judged elsewhere: P8 and P12 by scripts, P11 by package hostile.

// judge compares the pools before and after a run.
func (h *history) judge(a *attempt, status int, before, after *world) {
	for name := range before.datasets {
		h.judgeKept(a, before, after, name)
		if h.over {
			return
		}
	}
	h.judgeMounts()
	h.judgeEncryption(after)
	if a.target != "" && !a.dryRun && !h.over {
		h.judgeArrived(a, status, before, after)
	}
}

// mayDestroyOrphan reports whether a run may destroy a copy because its source is gone or
// no longer selected.
func (h *history) mayDestroyOrphan(a *attempt, w *world, name string) bool {
	if a.destroyMissing && a.target != "" && !asideSuffix.MatchString(name) {
		if of, ok := strings.CutPrefix(name, a.target+"/"); ok {
			d := w.datasets[of]
			return d == nil || d.selected != "true"
		}
	}
	return false
}
