// Package proofs tries zab-verify on random histories: filesystems and volumes that are
// changed, snapshotted, sent, broken off, resumed and thinned, to pools that store the data
// in another way. Each copy must be proved equal. Then a bit of a file is changed in each
// copy below ZFS, and each of these copies must be found.
//
//	proofs.go   rounds of histories, side by side on two pools; the judgement
//	changes.go  the properties of a dataset; what is changed in it (xattr_*.go: attributes)
//	flip.go     the bit that is changed below ZFS
//
// Goals: no copy that differs is called equal, and none that is equal is called different;
// a judge that shares no code with zab.
//
// Non-goals: what hosts and marks lie about, which package hostile tests; metadata changed
// below ZFS, which has checksums and a second copy in any case.
package proofs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"zab/lib/zabtest"
)

// Config configures Run.
type Config struct {
	// Bin is the directory of zab's programs, Dir one for the files of the pools.
	Bin, Dir string
	// Seed is the number of the first round. A round is drawn from its number alone.
	Seed int64
	// Histories is the number of histories, in rounds of as many as fit on two pools.
	Histories int
	// Log gets a line for each round, and the whole story of a round that went wrong.
	Log io.Writer
}

// Result counts what was done.
type Result struct {
	Histories, Changes int
	// Proved and Increments count the comparisons that found a copy equal, and how many of
	// them began with an earlier proof.
	Proved, Increments int
	// Flipped counts the copies that were changed below ZFS, Different and Unread those
	// found by comparing and by zfs itself.
	Flipped, Different, Unread int
	Broken                     int
}

func (r *Result) String() string {
	return fmt.Sprintf("proofs: %d histories, %d changes, proved equal %d times (%d increments); %d changed below ZFS: %d different, %d not readable; %d promises broken",
		r.Histories, r.Changes, r.Proved, r.Increments, r.Flipped, r.Different, r.Unread, r.Broken)
}

const (
	perRound = 16
	poolSize = "768M"
	maxTurns = 4
)

// Run runs the histories. Its error is a failure of the test itself, such as a pool that
// could not be created.
func Run(c Config) (*Result, error) {
	sum := &Result{}
	for n := int64(0); sum.Histories < c.Histories && sum.Broken < 8; n++ {
		r := newRound(&c, sum, c.Seed+n, min(perRound, c.Histories-sum.Histories))
		before := sum.Broken
		err := r.run()
		if err != nil || sum.Broken > before {
			fmt.Fprintf(c.Log, "round %d:\n\t%s\n", r.seed, strings.Join(r.story, "\n\t"))
		}
		fmt.Fprintf(c.Log, "round %d: %s\n", r.seed, sum)
		if err != nil {
			return sum, fmt.Errorf("round %d: %w", r.seed, err)
		}
	}
	return sum, nil
}

// round is some histories, each of a dataset of its own.
type round struct {
	c        *Config
	sum      *Result
	rng      *rand.Rand
	seed     int64
	dir      string
	src, dst string // the pools
	all      []*history
	now      time.Time
	options  []string // of zab-plan and zab, the same in all runs
	hidden   bool     // the copies are encrypted
	story    []string
}

// history is a dataset with its copy.
type history struct {
	r       *round
	name    string // of the source
	kind    string // filesystem, clone, promoted, volume or encrypted
	files   []string
	counter int      // numbers its files
	first   *history // whose data it began with, being a clone, of a clone maybe; else itself
	flipped bool     // its copy was changed below ZFS
}

func newRound(c *Config, sum *Result, seed int64, histories int) *round {
	r := &round{c: c, sum: sum, rng: rand.New(rand.NewSource(seed)), seed: seed,
		src: fmt.Sprintf("zp%ds", seed), dst: fmt.Sprintf("zp%dd", seed), now: time.Date(2026, 11, 1, 1, 0, 0, 0, time.UTC)}
	r.dir = filepath.Join(c.Dir, fmt.Sprint(seed))
	for i := range histories {
		r.all = append(r.all, &history{r: r, name: fmt.Sprintf("%s/h%d", r.src, i)})
	}
	return r
}

func (r *round) oneIn(n int) bool { return r.rng.Intn(n) == 0 }

// pick returns one of several words.
func (r *round) pick(words ...string) string { return words[r.rng.Intn(len(words))] }

// testError is a failure of the test itself.
type testError struct{ err error }

// must ends the round if something failed that is no matter of zab.
func must(err error) {
	if err != nil {
		panic(testError{err})
	}
}

// do runs a command that must not fail.
func (r *round) do(argv ...string) string {
	out, err := r.try(argv...)
	if err != nil {
		must(fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out))
	}
	return out
}

// try runs a command, with zab's programs first in the path.
func (r *round) try(argv ...string) (string, error) {
	r.story = append(r.story, strings.Join(argv, " "))
	cmd := exec.Command(argv[0], argv[1:]...)
	if strings.HasPrefix(argv[0], "zab") {
		cmd.Path = filepath.Join(r.c.Bin, argv[0])
	}
	cmd.Env = append(os.Environ(), "PATH="+zabtest.SearchPath(r.c.Bin), "TMPDIR="+r.dir, "TZ=UTC", "LC_ALL=C.UTF-8")
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	if stderr.Len() > 0 {
		r.story = append(r.story, "# "+strings.ReplaceAll(strings.TrimSpace(stderr.String()), "\n", "\n\t# "))
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return out.String(), err
}

func (r *round) broke(format string, a ...any) {
	r.sum.Broken++
	r.story = append(r.story, "# BROKEN: "+fmt.Sprintf(format, a...))
}

func (r *round) run() (err error) {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	defer func() {
		if p, ok := recover().(testError); ok {
			err = p.err
		}
		err = errors.Join(err, zabtest.DestroyPool(r.src), zabtest.DestroyPool(r.dst), os.RemoveAll(r.dir))
	}()
	r.setUp()
	for range 1 + r.rng.Intn(maxTurns) {
		for _, h := range r.all {
			h.change()
		}
		r.transfer()
		if r.oneIn(2) {
			r.verify()
		}
		if r.oneIn(3) {
			r.thinCopies()
		}
	}
	r.verify()
	r.flip()
	r.verify("--full-every", "0h")
	r.sum.Histories += len(r.all)
	return nil
}

func (r *round) setUp() {
	for _, p := range []string{r.src, r.dst} {
		r.do("truncate", "-s", poolSize, r.image(p))
		r.do("zpool", "create", "-O", "compression="+r.pick("off", "lz4", "zstd"), "-O", "recordsize="+r.pick("8k", "128k", "1M"), "-O", "checksum="+r.pick("fletcher4", "sha256"),
			"-O", "dnodesize="+r.pick("legacy", "auto"), "-O", "xattr="+r.pick("on", "sa"),
			"-m", filepath.Join(r.dir, p), p, r.image(p))
	}
	r.do("sh", "-c", "head -c 32 /dev/urandom >'"+r.dir+"/key'")
	r.options = []string{"--filter-properties=recordsize,compression,checksum,dnodesize"}
	// Without checksums only a comparison finds what has changed.
	argv := []string{"zfs", "create", "-o", "checksum=" + r.pick("off", "off", "on")}
	if r.hidden = r.oneIn(5); r.hidden {
		argv = append(argv, "-o", "encryption=on", "-o", "keyformat=raw", "-o", "keylocation=file://"+r.dir+"/key")
		r.options = append(r.options, "--encrypt")
	} else if r.oneIn(2) {
		r.options = append(r.options, "--clones=simple")
	}
	r.do(append(argv, r.to())...)
	for _, h := range r.all {
		h.create()
	}
}

func (r *round) image(pool string) string { return filepath.Join(r.dir, pool+".img") }

// name is that of the backup, to is the target.
func (r *round) name() string { return fmt.Sprintf("p%d", r.seed) }
func (r *round) to() string   { return r.dst + "/to" }

func (h *history) copy() string { return h.r.to() + "/" + h.name }

// transfer has zab back everything up, now and then in a way of its own.
func (r *round) transfer() {
	r.now = r.now.Add(time.Hour)
	at := "--now=" + r.now.Format(time.RFC3339)
	argv := append([]string{"zab", at, "--keep-source=2", "--keep-target=10", "--min-change=1"}, r.options...)
	r.do("zpool", "sync", r.src)
	switch r.rng.Intn(6) {
	case 0: // broken off, and resumed
		cut := fmt.Sprint(1000 + r.rng.Intn(300000))
		_, _ = r.try(append(argv, "--retries=0", "--recv-pipe=head -c "+cut, r.name(), r.to())...)
		argv = append(argv, "--no-snapshot")
	case 1: // several snapshots at once
		r.do("zfs", "snapshot", "-r", fmt.Sprintf("%s@other-%d", r.src, r.now.Unix()))
		for _, h := range r.all {
			h.change()
		}
		r.do("zpool", "sync", r.src)
		argv = append(argv, "--other-snapshots")
	case 2: // begun anew, because somebody has written to copies
		for _, h := range r.all {
			if h.onFiles() && !r.hidden && r.oneIn(3) {
				h.writeToCopy()
			}
		}
		argv = append(argv, "--rename-aside")
	}
	r.do(append(argv, r.name(), r.to())...)
}

// thinCopies destroys snapshots of copies that are not the newest.
func (r *round) thinCopies() {
	for _, h := range r.all {
		list := strings.Fields(r.do("zfs", "list", "-Hd", "1", "-t", "snapshot", "-o", "name", "-s", "createtxg", h.copy()))
		if n := len(list); n > 2 && r.oneIn(2) {
			_, _ = r.try("zfs", "destroy", list[r.rng.Intn(n-1)]) // it may be held
		}
	}
}

// verify runs zab-verify and judges what it says of each copy.
func (r *round) verify(options ...string) {
	// The names are of letters and digits, and the status is that of zab-verify.
	out, err := r.try("sh", "-c", fmt.Sprintf("zab-select --target %[1]s %[2]s | zab-plan --no-thinning %[3]s %[1]s | zab-verify %[4]s",
		r.to(), r.name(), strings.Join(r.options, " "), strings.Join(options, " ")))
	said := map[string]string{}
	for line := range strings.Lines(out) {
		var rec struct {
			Name   string
			Verify *struct{ Result, From string }
			Error  *struct{ Message string }
		}
		if err := json.Unmarshal([]byte(line), &rec); err != nil {
			must(fmt.Errorf("%w in %s", err, line))
		}
		if rec.Verify == nil {
			continue
		}
		said[rec.Name] = rec.Verify.Result
		if rec.Verify.From != "" && rec.Verify.Result == "equal" {
			r.sum.Increments++
		}
		if rec.Error != nil && (rec.Verify.Result == "equal" || rec.Verify.Result == "proved") {
			r.broke("'%s' is called %s, with the error %s", rec.Name, rec.Verify.Result, rec.Error.Message)
		}
	}
	flipped := false
	for _, h := range r.all {
		result := said[h.name]
		flipped = flipped || h.flipped
		switch {
		case !h.flipped && (result == "equal" || result == "proved"):
			r.sum.Proved++
		case h.flipped && result == "different":
			r.sum.Different++
		case h.flipped && result == "unproved":
			r.sum.Unread++
		default:
			r.broke("'%s', a %s, changed below ZFS: %t, is called '%s'", h.copy(), h.kind, h.flipped, result)
		}
	}
	if flipped != (err != nil) {
		r.broke("zab-verify says %v after copies were changed: %t", err, flipped)
	}
}
