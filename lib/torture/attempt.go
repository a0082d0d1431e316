package torture

import (
	"slices"
	"strconv"
	"time"
)

// attempt is one run of zab.
type attempt struct {
	target         string // "" for none
	args           []string
	fault          *fault // nil for none
	dryRun         bool
	remote         bool // one side, or both, is reached over ssh
	simpleClones   bool // --clones simple
	rollback       bool // --rollback --destroy-incompatible
	renameAside    bool // --rename-aside
	destroyMissing bool // --destroy-missing
	// keepTarget is a number of snapshots that the schedule of the target keeps at least.
	keepTarget int
	// nothingSelected: the pool of the source was exported before zab listed it, so that
	// there was nothing to do.
	nothingSelected bool
}

// bookmark reports whether bookmarks may stand for all snapshots of the source.
func (a *attempt) bookmark() bool { return slices.Contains(a.args, "--bookmark") }

// drawAttempt draws the target and the options of a run.
func (h *history) drawAttempt() *attempt {
	a := &attempt{target: pick(h, h.targets...)}
	h.advanceClock()
	add := func(s ...string) { a.args = append(a.args, s...) }
	add("--now", h.now.Format(time.RFC3339), "--exclude-received")
	add(h.options...)
	source := pick(h, "1", "1", "2", "3", "2,1h1d", "1,1d1w", "")
	target := pick(h, "1", "2", "3", "2,1h1d", "")
	may := func(n int, s ...string) bool {
		if h.oneIn(n) {
			add(s...)
			return true
		}
		return false
	}
	if may(4, "--bookmark") && h.oneIn(2) {
		source = "0"
	}
	if source != "" {
		add("--keep-source", source)
	}
	a.keepTarget = 10
	if target != "" {
		add("--keep-target", target)
		a.keepTarget, _ = strconv.Atoi(target[:1])
	}
	may(3, "--cache")
	may(4, "--other-snapshots")
	may(6, "--no-snapshot")
	may(4, "--allow-empty")
	a.simpleClones = may(3, "--clones", "simple")
	if a.rollback = may(3, "--rollback", "--destroy-incompatible"); !a.rollback {
		a.renameAside = may(3, "--rename-aside")
	}
	may(6, "--compress="+pick(h, "zstd-fast", "lz4"))
	may(6, "--buffer", "1M")
	may(3, "-j", strconv.Itoa(1+h.rng.Intn(4)))
	may(6, "--clear-mountpoint")
	may(12, "--rate", pick(h, "500k", "2M"))
	may(4, "--shared-holds")
	if h.mayOmitHolds {
		may(3, "--no-holds")
	}
	a.destroyMissing = may(8, "--destroy-missing", pick(h, "1s", "1h", "2d"))
	if !may(8, "--retries", "1") {
		add("--retries", "0") // the pauses before retries are long
	}
	if h.oneIn(5) {
		add("--ssh-config", h.sshd.Config)
		a.remote = true
		switch h.rng.Intn(3) {
		case 0:
			add("--ssh-source", "src.test")
		case 1:
			add("--ssh-target", "dst.test")
		case 2:
			add("--ssh-source", "src.test", "--ssh-target", "dst.test")
		}
	}
	if !h.mayOmitHolds && h.oneIn(12) {
		a.target = ""
		a.args = slices.DeleteFunc(a.args, func(s string) bool { return s == "--ssh-target" || s == "dst.test" })
		// Without a target, options about it have no effect.
		a.simpleClones, a.destroyMissing = false, false
	}
	return a
}

// advanceClock advances the clock to a time of which no snapshot exists.
func (h *history) advanceClock() {
	h.now = h.now.Add(time.Second * time.Duration(1+h.rng.Intn(7200)))
	for h.usedTimes[h.now.Format(time.RFC3339)] {
		h.now = h.now.Add(time.Second)
	}
	h.usedTimes[h.now.Format(time.RFC3339)] = true
	if h.now.After(h.latest) {
		h.latest = h.now
	}
}
