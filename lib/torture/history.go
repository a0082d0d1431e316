package torture

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zab/lib/zabtest"
)

// history is one sequence of steps on pools of its own.
type history struct {
	t      testing.TB
	config *Config
	tally  *tally
	sshd   *zabtest.SSHServer
	seed   int64
	rng    *rand.Rand

	dir     string   // of the files of the pools, and all else
	path    string   // PATH of all programs
	backup  string   // the name of the backup
	source  string   // the pool of the source
	targets []string // the datasets below which the copies are

	// Drawn once for the whole history:
	encryption   string   // raw, decrypt or encrypt; "" for no encryption
	options      []string // of all runs
	mayOmitHolds bool     // runs may place no holds, so that the base is safe only from runs to its own target

	now, latest time.Time       // the clock of zab, and its latest value: it may be set back
	usedTimes   map[string]bool // values that the clock has had
	serial      int             // the last number in a name
	modified    map[string]bool // targets that users wrote to
	typicalTime time.Duration   // of a run
	otherMounts string          // lines of the mount table that have nothing to do with the tests
	seen        *world          // the pools at the last look
	stale       bool            // something has changed since that look
	lastArgs    []string        // the arguments of the last run

	skipped       map[int]bool // steps that are left out
	shortening    bool         // this is an attempt to shorten a history, which reports nothing
	log           []string
	over          bool   // a promise is broken, or the test itself cannot go on
	brokenPromise string // such as P1; "" if none is
}

// newHistory draws everything that stays the same in all steps of a history.
func newHistory(t testing.TB, c *Config, sshd *zabtest.SSHServer, counts *tally, seed int64) *history {
	h := &history{t: t, config: c, rng: rand.New(rand.NewSource(seed)), seed: seed, tally: counts, sshd: sshd,
		usedTimes: map[string]bool{}, modified: map[string]bool{}, typicalTime: 2 * time.Second,
		now: time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)}
	h.dir = filepath.Join(c.Dir, fmt.Sprint(seed))
	h.backup = fmt.Sprintf("h%d", seed)
	h.source = fmt.Sprintf("zt%ds", seed)
	h.targets = []string{fmt.Sprintf("zt%dd/bak", seed)}
	if h.oneIn(4) {
		h.encryption = pick(h, "raw", "raw", "decrypt", "encrypt")
	}
	if h.oneIn(6) {
		// The tag must stay the same in all runs: holds with another tag belong to
		// nobody.
		h.options = append(h.options, "--hold-format", "mine_{}")
	}
	switch h.encryption {
	case "decrypt", "encrypt":
		h.options = append(h.options, "--"+h.encryption)
	}
	if h.oneIn(3) {
		h.targets = append(h.targets, fmt.Sprintf("zt%de/bak", seed))
	}
	h.mayOmitHolds = len(h.targets) == 1 && h.oneIn(3)
	h.path = zabtest.SearchPath(c.Programs)
	return h
}

// oneIn returns true once in n calls, at random.
func (h *history) oneIn(n int) bool { return h.rng.Intn(n) == 0 }

// pick returns a random one of a list.
func pick[T any](h *history, list ...T) T { return list[h.rng.Intn(len(list))] }

// say writes a line to the log of the history: a command, or a comment.
func (h *history) say(format string, a ...any) {
	h.log = append(h.log, fmt.Sprintf(format, a...))
}

// breaks ends the history because a promise is broken, and reports it with the log that
// led to it.
func (h *history) breaks(promise, format string, a ...any) {
	if h.over {
		return
	}
	h.over, h.brokenPromise = true, promise
	h.say("# %s is broken: %s", promise, fmt.Sprintf(format, a...))
	if h.shortening {
		return
	}
	h.tally.increment(&h.tally.broken)
	h.t.Fail()
	fmt.Fprintf(os.Stderr, "torture: %s is broken: %s\nZAB_TORTURE_SEED=%d, the history:\n\t%s\n", promise, fmt.Sprintf(format, a...), h.seed, strings.Join(h.log, "\n\t"))
}

// stuck ends the history because the test itself cannot go on.
func (h *history) stuck(why string) {
	h.over = true
	if h.shortening {
		return
	}
	h.t.Fail()
	fmt.Fprintf(os.Stderr, "torture: %s\nZAB_TORTURE_SEED=%d, the history:\n\t%s\n", why, h.seed, strings.Join(h.log, "\n\t"))
}

// sh runs a line of shell, and reports whether it succeeded. Actions of users may fail.
func (h *history) sh(format string, a ...any) (string, bool) {
	line := fmt.Sprintf(format, a...)
	h.say("%s", line)
	h.stale = true
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "sh", "-c", line).CombinedOutput()
	if err != nil {
		h.say("# %v: %s", err, strings.ReplaceAll(strings.TrimSpace(string(out)), "\n", "; "))
	}
	return string(out), err == nil
}

// must is sh for commands that the test itself needs.
func (h *history) must(format string, a ...any) string {
	out, ok := h.sh(format, a...)
	if !ok {
		h.stuck("a step of the test itself failed")
	}
	return out
}

// quote returns a word for a line of shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// play runs the whole history. Each step has a random source of its own, so that the others
// stay the same when one is left out.
func (h *history) play() {
	defer h.destroyPools()
	defer func() {
		if dir := h.config.Logs; dir != "" {
			_ = os.MkdirAll(dir, 0o777)
			_ = os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.log", h.seed)), []byte(strings.Join(h.log, "\n")+"\n"), 0o666)
		}
	}()
	h.createPools()
	// Many short histories cover more beginnings; a few long ones find the faults that
	// need time to appear.
	steps, withStages := 1+h.rng.Intn(2), false
	if h.oneIn(3) {
		withStages = true
		if steps++; h.oneIn(3) {
			steps += 2 + h.rng.Intn(5)
		}
	}
	for i := 0; i < steps && !h.over; i++ {
		h.rng = rand.New(rand.NewSource(h.seed*1000 + int64(i)))
		if h.skipped[i] {
			continue
		}
		if time.Now().After(h.tally.until) && !h.shortening {
			break
		}
		h.say("# step %d", i)
		done := h.tally.timed("changes")
		for range h.rng.Intn(4) {
			h.change()
			h.tally.increment(&h.tally.steps)
		}
		done()
		switch {
		case h.over:
		case withStages && !h.oneIn(3):
			h.interruptStages()
		default:
			h.randomRun()
		}
	}
	if !h.over {
		h.converge()
	}
	if !h.over {
		h.tally.increment(&h.tally.histories)
	}
}
