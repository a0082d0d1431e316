package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// tortureShort is how long TestTorture runs by default. ZAB_TORTURE is a duration such as
// 20m, ZAB_TORTURE_SEED the seed of the first history, ZAB_TORTURE_JOBS the number of
// histories that run in parallel.
const tortureShort = 20 * time.Second

// endsWithin is the longest time that a run may take, even on a busy machine.
const endsWithin = 5 * time.Minute

// shrinkFor is how long the test tries to shorten a history that breaks a promise.
const shrinkFor = 4 * time.Minute

// TestTorture tries to break the promises of zab(7) on real pools. A history is a random
// sequence of steps: changes that users make to their datasets, and runs of zab that are
// killed, cut off and given false answers at random. After each run an observer that uses
// only plain zfs commands checks whether a promise is broken. At the end of each history
// the faults stop, and zab must bring the copies up to date.
//
// A history is determined by its seed, except for the moments of the kills.
func TestTorture(t *testing.T) {
	if !haveZFS() {
		t.Skip("needs a real ZFS")
	}
	if *only != "" && os.Getenv("ZAB_TORTURE") == "" {
		t.Skip("only some scripts are wanted")
	}
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	length, seed, jobs := tortureShort, time.Now().UnixNano()%1e9, 2
	if s := os.Getenv("ZAB_TORTURE"); s != "" {
		if length, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	number := func(env string, to func(int64)) {
		if s := os.Getenv(env); s != "" {
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				t.Fatalf("%s: %v", env, err)
			}
			to(n)
		}
	}
	number("ZAB_TORTURE_SEED", func(n int64) { seed = n })
	number("ZAB_TORTURE_JOBS", func(n int64) { jobs = int(n) })
	skip := map[int]bool{}
	for s := range strings.SplitSeq(os.Getenv("ZAB_TORTURE_SKIP"), ",") {
		if n, err := strconv.Atoi(s); err == nil {
			skip[n] = true
		}
	}
	histories := int64(1) << 62
	number("ZAB_TORTURE_HISTORIES", func(n int64) { histories = n })

	root, err := os.MkdirTemp(memory(), "zabt-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(root)
	fmt.Fprintf(os.Stderr, "torture: %s, first seed %d\n", length, seed)
	sum := &sums{faults: map[string]int{}, spent: map[string]time.Duration{}, end: time.Now().Add(length)}
	if length > 2*time.Minute {
		// A history takes minutes on a busy machine.
		tick := time.NewTicker(time.Minute)
		defer tick.Stop()
		go func() {
			for range tick.C {
				sum.tell()
			}
		}()
	}
	var next sync.Mutex
	var wait sync.WaitGroup
	for range jobs {
		wait.Go(func() {
			var sshd sshServer
			conf, err := sshd.start()
			if err != nil {
				t.Error(err)
				return
			}
			defer sshd.stop()
			for {
				next.Lock()
				mine := seed
				seed++
				histories--
				last := histories < 0
				next.Unlock()
				if last || time.Now().After(sum.end) || sum.count(&sum.broken) >= 8 {
					return
				}
				h := newHistory(t, root, bin, conf, &sshd, sum, mine)
				h.skip = skip
				h.live()
				if h.broken != "" && length > 2*time.Minute && len(skip) == 0 {
					h.shrink()
				}
			}
		})
	}
	wait.Wait()
	sum.tell()
}

// memory returns a directory for pools that are deleted after the test: in memory if
// possible, else "" for the default.
func memory() string {
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// sums are the counts of all histories.
type sums struct {
	mu                                          sync.Mutex
	runs, histories, interrupted, broken, steps int
	missed, impossible                          int
	faults                                      map[string]int
	spent                                       map[string]time.Duration // time spent, by activity
	end                                         time.Time
}

// clock adds the time until the returned function is called to the time spent on an
// activity.
func (s *sums) clock(on string) func() {
	begun := time.Now()
	return func() {
		s.mu.Lock()
		s.spent[on] += time.Since(begun)
		s.mu.Unlock()
	}
}

func (s *sums) add(n *int) {
	s.mu.Lock()
	*n++
	s.mu.Unlock()
}

func (s *sums) count(n *int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *n
}

func (s *sums) fault(what string) {
	s.mu.Lock()
	s.interrupted++
	s.faults[what]++
	s.mu.Unlock()
}

func (s *sums) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, k := range slices.Sorted(maps.Keys(s.faults)) {
		list = append(list, fmt.Sprintf("%d %s", s.faults[k], k))
	}
	var spent []string
	for _, k := range slices.Sorted(maps.Keys(s.spent)) {
		spent = append(spent, fmt.Sprintf("%.0f s %s", s.spent[k].Seconds(), k))
	}
	fmt.Fprintf(os.Stderr, "torture: time: %s\n", strings.Join(spent, ", "))
	if time.Now().After(s.end) {
		fmt.Fprintf(os.Stderr, "torture: faults: %s; %d came too late, %d were not possible\n", strings.Join(list, ", "), s.missed, s.impossible)
	}
	fmt.Fprintf(os.Stderr, "torture: %d interruptions survived, %d histories, %d steps, %d zab runs, %d promises broken\n", s.interrupted, s.histories, s.steps, s.runs, s.broken)
}

// history is one sequence of steps on its own pools.
type history struct {
	t    *testing.T
	rng  *rand.Rand
	seed int64
	sum  *sums
	sshd *sshServer
	conf string

	dir, bin, path string
	name           string // the name of the backup
	src            string // the source pool
	targets        []string
	now            time.Time
	latest         time.Time       // the latest value of now, as the clock may be set back
	used           map[string]bool // names of our snapshots
	n              int             // for names
	script         []string
	touched        map[string]bool // targets that were written to
	typical        time.Duration   // duration of a run
	outside        string          // mounts outside of the tests
	given          bool            // the history ends: a promise was broken, or the test is stuck
	seen           *world          // the state at the last look
	stale          bool            // something has changed since
	crypt          string          // raw, decrypt or encrypt; "" for no encryption
	options        []string        // of all runs
	last           []string        // the arguments of the last run
	loose          bool            // runs may place no holds, so that the base is safe only from runs to its own target
	skip           map[int]bool    // steps that are omitted
	broken         string          // the broken promise
	quiet          bool            // one of the attempts to shorten a history
}

func newHistory(t *testing.T, root, bin, conf string, sshd *sshServer, sum *sums, seed int64) *history {
	h := &history{t: t, rng: rand.New(rand.NewSource(seed)), seed: seed, sum: sum, sshd: sshd, conf: conf, bin: bin,
		used: map[string]bool{}, touched: map[string]bool{}, typical: 2 * time.Second,
		now: time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)}
	h.dir = filepath.Join(root, fmt.Sprint(seed))
	h.name = fmt.Sprintf("h%d", seed)
	h.src = fmt.Sprintf("zt%ds", seed)
	h.targets = []string{fmt.Sprintf("zt%dd/bak", seed)}
	if h.one(4) {
		h.crypt = pick(h, "raw", "raw", "decrypt", "encrypt")
	}
	if h.one(6) {
		// The tag must stay the same in all runs: holds with another tag belong to
		// nobody.
		h.options = append(h.options, "--hold-format", "mine_{}")
	}
	switch h.crypt {
	case "decrypt", "encrypt":
		h.options = append(h.options, "--"+h.crypt)
	}
	if h.one(3) {
		h.targets = append(h.targets, fmt.Sprintf("zt%de/bak", seed))
	}
	h.loose = len(h.targets) == 1 && h.one(3)
	h.path = bin + ":" + os.Getenv("PATH") + ":/usr/local/sbin:/usr/sbin:/sbin"
	return h
}

func poolOf(name string) string {
	pool, _, _ := strings.Cut(name, "/")
	return pool
}

func (h *history) pools() []string {
	out := []string{h.src}
	for _, t := range h.targets {
		out = append(out, poolOf(t))
	}
	return out
}

func (h *history) one(n int) bool { return h.rng.Intn(n) == 0 }

func pick[T any](h *history, list ...T) T { return list[h.rng.Intn(len(list))] }

// say writes a line of the history.
func (h *history) say(format string, a ...any) {
	h.script = append(h.script, fmt.Sprintf(format, a...))
}

// breaks reports a broken promise with the history that led to it.
func (h *history) breaks(promise, format string, a ...any) {
	if h.given {
		return
	}
	h.given, h.broken = true, promise
	h.say("# %s is broken: %s", promise, fmt.Sprintf(format, a...))
	if h.quiet {
		return
	}
	h.sum.add(&h.sum.broken)
	h.t.Fail()
	fmt.Fprintf(os.Stderr, "torture: %s is broken: %s\nZAB_TORTURE_SEED=%d, the history:\n\t%s\n", promise, fmt.Sprintf(format, a...), h.seed, strings.Join(h.script, "\n\t"))
}

// stuck reports that the test itself cannot go on.
func (h *history) stuck(why string) {
	h.given = true
	if h.quiet {
		return
	}
	h.t.Fail()
	fmt.Fprintf(os.Stderr, "torture: %s\nZAB_TORTURE_SEED=%d, the history:\n\t%s\n", why, h.seed, strings.Join(h.script, "\n\t"))
}

// sh runs a line of shell. Actions of users may fail, which is no error.
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

// must is sh for commands that the test depends on.
func (h *history) must(format string, a ...any) string {
	out, ok := h.sh(format, a...)
	if !ok {
		h.stuck("a step of the test itself failed")
	}
	return out
}

func q(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// live runs the whole history. Each step has its own random source, so that the others
// stay the same when one is omitted.
func (h *history) live() {
	defer h.clean()
	defer func() {
		if dir := os.Getenv("ZAB_TORTURE_OUT"); dir != "" {
			_ = os.MkdirAll(dir, 0o777)
			_ = os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.log", h.seed)), []byte(strings.Join(h.script, "\n")+"\n"), 0o666)
		}
	}()
	h.setup()
	// Many short histories cover more beginnings, a few long ones the faults that need
	// time to appear.
	steps, sweeps := 1+h.rng.Intn(2), false
	if h.one(3) {
		sweeps = true
		if steps++; h.one(3) {
			steps += 2 + h.rng.Intn(5)
		}
	}
	for i := 0; i < steps && !h.given; i++ {
		h.rng = rand.New(rand.NewSource(h.seed*1000 + int64(i)))
		if h.skip[i] {
			continue
		}
		if time.Now().After(h.sum.end) && !h.quiet {
			break
		}
		h.say("# step %d", i)
		done := h.sum.clock("changes")
		for range h.rng.Intn(4) {
			h.change()
			h.sum.add(&h.sum.steps)
		}
		done()
		switch {
		case h.given:
		case sweeps && !h.one(3):
			h.sweep()
		default:
			h.run()
		}
	}
	if !h.given {
		h.converge()
	}
	if !h.given {
		h.sum.add(&h.sum.histories)
	}
}

// shrink omits the steps that are not needed to break the promise, and writes the
// shortened history.
func (h *history) shrink() {
	best := h
	again := func(skip map[int]bool) *history {
		n := newHistory(h.t, filepath.Dir(h.dir), h.bin, h.conf, h.sshd, h.sum, h.seed)
		n.skip, n.quiet = skip, true
		n.live()
		return n
	}
	until := time.Now().Add(shrinkFor)
	for i := 0; i < 10 && time.Now().Before(until); i++ {
		skip := maps.Clone(best.skip)
		if skip == nil {
			skip = map[int]bool{}
		}
		skip[i] = true
		if n := again(skip); n.broken == h.broken {
			best = n
		}
	}
	var left []string
	for i := range 10 {
		if best.skip[i] {
			left = append(left, strconv.Itoa(i))
		}
	}
	text := fmt.Sprintf("# %s\n# ZAB_TORTURE_SEED=%d ZAB_TORTURE_SKIP=%s ZAB_TORTURE_HISTORIES=1\n%s\n", h.broken, h.seed, strings.Join(left, ","), strings.Join(best.script, "\n"))
	fmt.Fprintf(os.Stderr, "torture: without what it does not need:\n%s", text)
	if dir := os.Getenv("ZAB_TORTURE_OUT"); dir != "" {
		_ = os.MkdirAll(dir, 0o777)
		_ = os.WriteFile(filepath.Join(dir, fmt.Sprintf("history-%d.sh", h.seed)), []byte(text), 0o666)
	}
}

func (h *history) setup() {
	defer h.sum.clock("setup")()
	if err := os.MkdirAll(h.dir, 0o777); err != nil {
		h.t.Fatal(err)
	}
	for _, p := range h.pools() {
		h.must("truncate -s 96M %[1]s/%[2]s.img && zpool create -O atime=off -O sync=disabled -m %[1]s/%[2]s %[2]s %[1]s/%[2]s.img", h.dir, p)
	}
	key := ""
	if h.crypt != "" {
		h.must("head -c 32 /dev/zero | tr '\\0' k >%s/key", h.dir)
		key = fmt.Sprintf("-o encryption=on -o keyformat=raw -o keylocation=file://%s/key ", h.dir)
	}
	first, bak := key, ""
	if h.crypt == "encrypt" {
		first, bak = "", key
	}
	for _, t := range h.targets {
		h.must("zfs create %s%s", bak, t)
	}
	h.must("zfs create %[3]s%[1]s/t && zfs create %[2]s", h.src, q(h.src+"/t/a b"), first)
	switch h.rng.Intn(3) {
	case 0:
		h.must("zfs create %s", q(h.src+"/t/a b/c:d"))
	case 1:
		// Its mountpoint is a local property, which is sent with the stream.
		h.must("zfs create -o mountpoint=%s/live %s/t/live", h.dir, h.src)
	case 2:
		h.must("zfs create -s -V 1M %s/t/vol", h.src)
	}
	h.must("zfs set autobackup:%s=true %s/t", h.name, h.src)
	h.outside = h.mounts(elsewhere)
}

func (h *history) clean() {
	defer h.sum.clock("clean-up")()
	for _, p := range h.pools() {
		for i := range 100 {
			out, err := exec.Command("zpool", "destroy", "-f", p).CombinedOutput()
			if err == nil || bytes.Contains(out, []byte("no such pool")) {
				break
			}
			if i == 99 {
				h.t.Errorf("seed %d: cannot destroy the pool %s: %s", h.seed, p, out)
			}
			time.Sleep(200 * time.Millisecond)
		}
	}
	os.RemoveAll(h.dir)
}

// ---- changes made by users

// datasets returns the source datasets of a kind, or of all kinds for "", in the tree
// that is backed up.
func (h *history) datasets(w *world, kind string) []*dataset {
	var out []*dataset
	for _, n := range slices.Sorted(maps.Keys(w.sets)) {
		if d := w.sets[n]; strings.HasPrefix(n, h.src+"/t") && (kind == "" || d.kind == kind) {
			out = append(out, d)
		}
	}
	return out
}

// change makes a change that zab has no part in, according to the state at the observer's
// last look.
func (h *history) change() {
	w := h.seen
	if w == nil {
		w = h.look()
	}
	if w == nil {
		return
	}
	all, fs := h.datasets(w, ""), h.datasets(w, "filesystem")
	if len(fs) == 0 {
		return
	}
	d := pick(h, all...)
	f := pick(h, fs...)
	h.n++
	switch h.rng.Intn(22) {
	case 0, 1, 2, 3, 4:
		h.write(f, 20000+h.rng.Intn(300000))
	case 5:
		h.write(f, 3000000)
	case 6:
		for _, d := range all {
			if d.kind == "volume" {
				h.sh("test -b /dev/zvol/%[1]s && dd if=/dev/urandom of=/dev/zvol/%[1]s bs=8k count=4 seek=%[2]d conv=fsync 2>/dev/null; zpool sync %[3]s", d.name, h.rng.Intn(20), h.src)
				return
			}
		}
		h.write(f, 5000)
	case 7, 8:
		h.sh("zfs snapshot %s", q(fmt.Sprintf("%s@x%d", d.name, h.n)))
	case 9, 10:
		h.thin(w, d)
	case 11:
		if s := d.newest(); s != nil {
			h.sh("zfs rollback %s", q(d.name+"@"+s.name))
		}
	case 12:
		h.sh("zfs create %s", q(fmt.Sprintf("%s/n%d", f.name, h.n)))
	case 13:
		if d.name != h.src+"/t" {
			to := fmt.Sprintf("%s/t/r%d", h.src, h.n%3)
			if h.one(3) {
				to = fmt.Sprintf("%s/t/moved here %d", h.src, h.n)
			}
			h.sh("zfs rename %s %s", q(d.name), q(to))
		}
	case 14:
		if s := d.any(h); s != nil {
			h.sh("zfs clone %s %s", q(d.name+"@"+s.name), q(fmt.Sprintf("%s/t/k%d", h.src, h.n)))
		}
	case 15:
		for _, d := range all {
			if d.origin != "-" {
				h.sh("zfs promote %s", q(d.name))
				break
			}
		}
	case 16:
		h.sh("zfs set %s %s", pick(h, "compression=lz4", "compression=off", "org.test:x=a' b'", "recordsize=16k", "quota=100M", "readonly=off"), q(f.name))
	case 17:
		by := time.Duration(1+h.rng.Intn(48*3600)) * time.Second
		if h.one(3) {
			by = -time.Duration(1+h.rng.Intn(3*3600)) * time.Second
		}
		h.now = h.now.Add(by)
		h.say("# the clock goes on by %s", by)
	case 18, 19, 20:
		h.touch(w)
	case 21:
		if d.name != h.src+"/t" && h.one(2) {
			h.sh("zfs set autobackup:%s=%s %s", h.name, pick(h, "false", "true"), q(d.name))
		} else {
			h.sh("zfs inherit autobackup:%s %s", h.name, q(f.name+"/none"))
		}
	}
}

func (h *history) write(f *dataset, size int) {
	if f.mountpoint == "" {
		return
	}
	h.sh("head -c %d /dev/urandom >%s; zpool sync %s", size, q(fmt.Sprintf("%s/f%d", f.mountpoint, h.rng.Intn(6))), h.src)
}

// thin destroys a snapshot that is neither the base of any target nor the newest of ours.
func (h *history) thin(w *world, d *dataset) {
	where := d
	if h.one(3) {
		if c := w.sets[pick(h, h.targets...)+"/"+d.name]; c != nil {
			where = c
		}
	}
	s := where.any(h)
	if s == nil || s.guid == newestOurs(h, d) || s == where.newest() {
		return
	}
	for _, t := range h.targets {
		if s.guid == base(d, w.sets[t+"/"+d.name]).guid {
			return
		}
	}
	h.sh("zfs destroy %s", q(where.name+"@"+s.name))
}

// touch changes a copy, which nobody should do.
func (h *history) touch(w *world) {
	t := pick(h, h.targets...)
	d := pick(h, h.datasets(w, "filesystem")...)
	c := w.sets[t+"/"+d.name]
	if c == nil || c.token != "-" {
		return
	}
	switch h.rng.Intn(3) {
	case 0:
		h.touched[t] = true
		h.sh("mkdir -p %[1]s/m && mount -t zfs -o zfsutil %[2]s %[1]s/m && { echo x >%[1]s/m/mine%[3]d; zfs snapshot %[4]s; umount %[1]s/m; zpool sync %[5]s; }",
			h.dir, q(c.name), h.n, q(fmt.Sprintf("%s@y%d", c.name, h.n)), poolOf(t))
	case 1:
		h.touched[t] = true
		h.sh("mkdir -p %[1]s/m && mount -t zfs -o zfsutil %[2]s %[1]s/m && { echo x >%[1]s/m/mine%[3]d; umount %[1]s/m; zpool sync %[4]s; }",
			h.dir, q(c.name), h.n, poolOf(t))
	case 2:
		h.touched[t] = true
		h.sh("zfs snapshot %s", q(fmt.Sprintf("%s@y%d", c.name, h.n)))
	}
}

// ---- runs of zab

// attempt is one run of zab.
type attempt struct {
	target  string // "" for none
	args    []string
	keep    int // the least number of snapshots that the target's schedule keeps
	dry     bool
	simple  bool // --clones simple
	brave   bool // --rollback --destroy-incompatible
	aside   bool // --rename-aside
	missing bool // --destroy-missing
	remote  bool
	fault   *fault
	// unseen: the source's pool was exported before datasets were selected, so that there
	// was nothing to do.
	unseen bool
}

func (h *history) draw() *attempt {
	a := &attempt{target: pick(h, h.targets...)}
	h.tick()
	add := func(s ...string) { a.args = append(a.args, s...) }
	add("--now", h.now.Format(time.RFC3339), "--exclude-received")
	add(h.options...)
	source := pick(h, "1", "1", "2", "3", "2,1h1d", "1,1d1w", "")
	target := pick(h, "1", "2", "3", "2,1h1d", "")
	may := func(n int, s ...string) bool {
		if h.one(n) {
			add(s...)
			return true
		}
		return false
	}
	if may(4, "--bookmark") && h.one(2) {
		source = "0"
	}
	if source != "" {
		add("--keep-source", source)
	}
	a.keep = 10
	if target != "" {
		add("--keep-target", target)
		a.keep, _ = strconv.Atoi(target[:1])
	}
	may(3, "--cache")
	may(4, "--other-snapshots")
	may(6, "--no-snapshot")
	may(4, "--allow-empty")
	a.simple = may(3, "--clones", "simple")
	if a.brave = may(3, "--rollback", "--destroy-incompatible"); !a.brave {
		a.aside = may(3, "--rename-aside")
	}
	may(6, "--compress="+pick(h, "zstd-fast", "lz4"))
	may(6, "--buffer", "1M")
	may(3, "-j", strconv.Itoa(1+h.rng.Intn(4)))
	may(6, "--clear-mountpoint")
	may(12, "--rate", pick(h, "500k", "2M"))
	if h.loose {
		may(3, "--no-holds")
	}
	a.missing = may(8, "--destroy-missing", pick(h, "1s", "1h", "2d"))
	if !may(8, "--retries", "1") {
		add("--retries", "0") // the pauses before retries are long
	}
	may(4, "--stall-timeout", "2s")
	if h.one(5) {
		add("--ssh-config", h.conf)
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
	if !h.loose && h.one(12) {
		a.target = ""
		a.args = slices.DeleteFunc(a.args, func(s string) bool { return s == "--ssh-target" || s == "dst.test" })
		// Without a target, options about it have no effect.
		a.simple, a.missing = false, false
	}
	return a
}

// run runs zab with random options, mostly with a fault.
func (h *history) run() {
	a := h.draw()
	switch {
	case h.one(6):
		a.dry = true
		a.args = append(a.args, "-n")
	case !h.one(6):
		a.fault = h.drawFault(a)
		size := 30000
		if a.fault.timed() && h.one(2) {
			// Provide something that takes a while to send.
			size = 1500000
			if !slices.Contains(a.args, "--rate") {
				a.args = append(a.args, "--rate", "2M")
			}
		}
		if h.seen != nil {
			if fs := h.datasets(h.seen, "filesystem"); len(fs) > 0 {
				h.write(pick(h, fs...), size)
			}
		}
	}
	h.zab(a)
}

// prepare sets up a command to run within this history, in its own process group.
func (h *history) prepare(cmd *exec.Cmd, path string, stderr *bytes.Buffer) {
	cmd.Env = append(os.Environ(), "PATH="+path, "TMPDIR="+h.dir, "CACHE_DIRECTORY="+h.dir+"/cache", "TZ=UTC", "LC_ALL=C.UTF-8")
	cmd.Stderr = stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 30 * time.Second
}

// finish runs a prepared command, with a fault if f is not nil, until it ends, as it
// must. hit reports whether the fault took effect.
func (h *history) finish(cmd *exec.Cmd, f *fault, who string, stderr *bytes.Buffer) (hit, ended bool) {
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	if f != nil {
		hit = f.strike(h, cmd.Process.Pid, done)
		if f.twin != nil {
			f.twin()
		}
	}
	select {
	case <-done:
		return hit, true
	case <-time.After(endsWithin):
		h.breaks("P4", "%s does not end:\n%s%s", who, h.tree(), stderr.String())
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-done
		return hit, false
	}
}

// zab runs zab once and checks whether a promise is broken.
func (h *history) zab(a *attempt) (status int, before, after *world) {
	if before = h.seen; before == nil || h.stale {
		before = h.look()
	}
	if before == nil {
		return -1, nil, nil
	}
	lines := ""
	if a.dry {
		lines = h.internal()
	}
	args := append(slices.Clone(a.args), "--json", h.name)
	if a.target != "" {
		args = append(args, a.target)
	}
	line := "zab"
	for _, s := range args {
		line += " " + s
	}
	if a.fault != nil {
		line += "    # " + a.fault.String()
	}
	h.say("%s", line)
	h.sum.add(&h.sum.runs)

	h.last = args
	cmd := exec.Command(filepath.Join(h.bin, "zab"), args...)
	path := h.path
	if a.fault != nil {
		path = a.fault.arm(h) + path
	}
	var out, records bytes.Buffer
	cmd.Stdout = &records
	h.prepare(cmd, path, &out)
	ran := h.sum.clock("zab")
	begun := time.Now()
	hit, ended := h.finish(cmd, a.fault, "zab", &out)
	if !ended {
		return -1, nil, nil
	}
	status = cmd.ProcessState.ExitCode()
	ran()
	took := time.Since(begun)
	if a.fault == nil {
		h.typical = max((h.typical*3+took)/4, 300*time.Millisecond)
	} else {
		a.fault.disarm(h)
		if hit {
			for range max(1, a.fault.hits) {
				h.sum.fault(a.fault.kind())
			}
		} else {
			h.sum.add(&h.sum.missed)
			h.say("# the fault came too late, or was not met")
		}
	}
	h.say("# status %d after %.1fs: %s", status, took.Seconds(), strings.ReplaceAll(strings.TrimSpace(out.String()), "\n", "\n\t#\t"))
	h.left()
	if h.given {
		return
	}
	after = h.look()
	if after == nil {
		return
	}
	a.unseen = a.fault != nil && a.fault.how == "export" && a.fault.arg == h.src && !bytes.Contains(records.Bytes(), []byte(`"type":"dataset"`))
	h.judge(a, status, before, after)
	h.verdicts(a, status, before, records.Bytes())
	if a.dry && !h.given {
		if now := h.internal(); now != lines {
			h.breaks("P6", "a dry run left %s lines of zpool history -i, there were %s", now, lines)
		}
	}
	return
}

// internal returns the numbers of lines in the pools' internal histories.
func (h *history) internal() string {
	out := ""
	for _, p := range h.pools() {
		o, _ := exec.Command("sh", "-c", "zpool history -i "+p+" | wc -l").Output()
		out += strings.TrimSpace(string(o)) + " "
	}
	return out
}

// left requires that no process of the run remains, here or on the far side of ssh.
func (h *history) left() {
	defer h.sum.clock("waiting for processes")()
	var tree string
	for range 150 {
		if tree = h.tree(); tree == "" {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	h.breaks("P4", "after 15 s there are still:\n%s", tree)
}

// tree lists the processes of this history: those with its TMPDIR and the descendants of
// its sshd.
func (h *history) tree() string {
	all := processes()
	mine := map[int]bool{}
	mark := []byte("TMPDIR=" + h.dir + "\x00")
	for pid := range all {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err == nil && bytes.Contains(append(env, 0), mark) {
			mine[pid] = true
		}
	}
	for pid := range below(all, h.sshd.cmd.Process.Pid) {
		mine[pid] = true
	}
	out := ""
	for _, pid := range slices.Sorted(maps.Keys(mine)) {
		if all[pid].state != "Z" {
			out += fmt.Sprintf("\t%d %s %s\n", pid, all[pid].state, all[pid].cmdline())
		}
	}
	return out
}

type process struct {
	pid, parent int
	state, name string
}

func (p process) cmdline() string {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
	return strings.TrimSpace(strings.ReplaceAll(string(data), "\x00", " "))
}

func processes() map[int]process {
	out := map[int]process{}
	dirs, _ := os.ReadDir("/proc")
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		open, end := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
		f := strings.Fields(string(data[end+1:]))
		parent, _ := strconv.Atoi(f[1])
		out[pid] = process{pid, parent, f[0], string(data[open+1 : end])}
	}
	return out
}

// below returns all descendants of a process.
func below(all map[int]process, root int) map[int]bool {
	out := map[int]bool{}
	for more := true; more; {
		more = false
		for pid, p := range all {
			if !out[pid] && (p.parent == root || out[p.parent]) {
				out[pid] = true
				more = true
			}
		}
	}
	return out
}

// elsewhere reports whether a mountpoint does not belong to these tests.
func elsewhere(at string) bool {
	return !strings.Contains(at, "/zabt-") && !strings.Contains(at, "/go-test-script")
}

// mounts returns the lines of the mount table with a wanted mountpoint.
func (h *history) mounts(want func(at string) bool) string {
	data, _ := os.ReadFile("/proc/self/mounts")
	out := ""
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); want(f[1]) {
			out += line
		}
	}
	return out
}

// ---- the observer

type snapshot struct {
	name, guid string
	txg        uint64
	refs       int
}

type dataset struct {
	name, kind, guid, origin, token, selected string
	mountpoint                                string // "" if it is not mounted
	encryption                                string
	snaps                                     []*snapshot
	marks                                     []*snapshot // bookmarks
}

type world struct{ sets map[string]*dataset }

func (d *dataset) newest() *snapshot {
	if d == nil || len(d.snaps) == 0 {
		return nil
	}
	return d.snaps[len(d.snaps)-1]
}

func (d *dataset) any(h *history) *snapshot {
	if len(d.snaps) == 0 {
		return nil
	}
	return pick(h, d.snaps...)
}

func (d *dataset) has(guid string) *snapshot {
	if d != nil {
		for _, s := range d.snaps {
			if s.guid == guid {
				return s
			}
		}
	}
	return nil
}

// look reads the present state of the pools.
func (h *history) look() *world {
	defer h.sum.clock("observer")()
	args := append([]string{"list", "-Hp", "-r", "-t", "filesystem,volume,snapshot,bookmark", "-o",
		"name,type,guid,createtxg,userrefs,origin,receive_resume_token,mounted,mountpoint,autobackup:" + h.name + ",encryption"}, h.pools()...)
	out, err := exec.Command("zfs", args...).Output()
	if err != nil {
		var e *exec.ExitError
		if errors.As(err, &e) {
			err = fmt.Errorf("%s", e.Stderr)
		}
		h.stuck(fmt.Sprintf("cannot look at the pools: %v", err))
		return nil
	}
	w := &world{map[string]*dataset{}}
	var snaps []*snapshot
	of := map[*snapshot]string{}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if ds, mark, ok := strings.Cut(f[0], "#"); ok {
			s := &snapshot{name: "#" + mark, guid: f[2]}
			s.txg, _ = strconv.ParseUint(f[3], 10, 64)
			snaps = append(snaps, s)
			of[s] = ds
			continue
		}
		if ds, snap, ok := strings.Cut(f[0], "@"); ok {
			s := &snapshot{name: snap, guid: f[2]}
			s.txg, _ = strconv.ParseUint(f[3], 10, 64)
			s.refs, _ = strconv.Atoi(f[4])
			snaps = append(snaps, s)
			of[s] = ds
			continue
		}
		d := &dataset{name: f[0], kind: f[1], guid: f[2], origin: f[5], token: f[6], selected: f[9], encryption: f[10]}
		if f[7] == "yes" {
			d.mountpoint = f[8]
		}
		w.sets[d.name] = d
	}
	slices.SortStableFunc(snaps, func(a, b *snapshot) int { return int(int64(a.txg) - int64(b.txg)) })
	for _, s := range snaps {
		if d := w.sets[of[s]]; d == nil {
		} else if strings.HasPrefix(s.name, "#") {
			d.marks = append(d.marks, s)
		} else {
			d.snaps = append(d.snaps, s)
		}
	}
	h.seen, h.stale = w, false
	return w
}

// base returns the newest snapshot that a dataset and its copy have in common; the source
// may have only a bookmark of it.
func base(d, c *dataset) snapshot {
	var b snapshot
	if d != nil && c != nil {
		for _, list := range [][]*snapshot{d.marks, d.snaps} {
			for _, s := range list {
				if c.has(s.guid) != nil && s.txg >= b.txg {
					b = *s
				}
			}
		}
	}
	return b
}

func (h *history) ours(s *snapshot) bool { return strings.HasPrefix(s.name, h.name+"-") }

func newestOurs(h *history, d *dataset) string {
	for _, s := range slices.Backward(d.snaps) {
		if h.ours(s) {
			return s.guid
		}
	}
	return ""
}

// selected returns the datasets of the source that belong to the backup.
func (h *history) selected(w *world) []*dataset {
	return slices.DeleteFunc(h.datasets(w, ""), func(d *dataset) bool { return d.selected != "true" })
}

// judge compares the pools before and after a run.
func (h *history) judge(a *attempt, status int, before, after *world) {
	for name, d := range before.sets {
		now := after.sets[name]
		source := poolOf(name) == h.src
		if !source && (now == nil || now.guid != d.guid) && h.setAside(after, d) {
			// A dataset that was set aside keeps all its snapshots, except those that its
			// clone took over when it was promoted.
			continue
		}
		if now == nil {
			// An interrupted first receive is sometimes given up.
			if source || len(d.snaps) > 0 && !h.orphan(a, before, name) {
				h.breaks("P1", "'%s' is gone", name)
			}
			continue
		}
		if s := d.newest(); s != nil && (source && !bookmarks(a) || !source && !a.brave && !h.orphan(a, before, name)) {
			if n := now.newest(); n == nil || n.txg < s.txg {
				h.breaks("P1", "the newest snapshot '%s@%s' is gone", name, s.name)
				return
			}
		}
		if !source {
			continue
		}
		for _, t := range h.targets {
			had := base(d, before.sets[t+"/"+name])
			if has := base(now, after.copies(t+"/"+name)); had.guid != "" && has.txg < had.txg && !h.orphan(a, before, t+"/"+name) {
				h.breaks("P1", "'%s@%s' was the newest in common with '%s', and now '%s' is", name, had.name, t, has.name)
				return
			}
		}
		if g := newestOurs(h, d); g != "" && !bookmarks(a) && now.has(g) == nil && newestTXG(h, now) < d.has(g).txg {
			h.breaks("P2", "the newest snapshot of ours is gone from '%s'", name)
			return
		}
		if a.target != "" && a.keep > 1 && d.selected == "true" {
			c := after.sets[a.target+"/"+name]
			left := a.keep - 1
			had := base(d, before.sets[a.target+"/"+name])
			for _, s := range slices.Backward(d.snaps) {
				if !h.ours(s) || left == 0 || s.txg <= had.txg {
					continue
				}
				left--
				if now.has(s.guid) == nil && c.has(s.guid) == nil {
					h.breaks("P2", "'%s@%s', which '%s' wants and does not have, is gone", name, s.name, a.target)
					return
				}
			}
		}
	}
	if h.given {
		return
	}
	h.judgeMounts()
	h.judgeCrypt(after)
	if a.target == "" || a.dry || h.given {
		return
	}
	// All snapshots must have arrived or, where a conflict was to be expected, those of
	// datasets without a conflict.
	if a.unseen || a.fault != nil && (status != 0 || a.fault.twin != nil) {
		return // the other of two runs may have made newer snapshots, and found the lock taken
	}
	bad := h.mayFail(a, before)
	if status != 0 && len(bad) == 0 && a.fault == nil {
		h.breaks("P4", "the run failed with status %d, and nothing was in its way", status)
		return
	}
	for _, d := range h.selected(after) {
		if status != 0 && slices.ContainsFunc(bad, func(b string) bool { return b == d.name || strings.HasPrefix(d.name, b+"/") }) {
			continue
		}
		c := after.sets[a.target+"/"+d.name]
		g := newestOurs(h, d)
		if g == "" || c.has(g) != nil {
			continue
		}
		if b := base(d, c); b.guid == "" || b.txg < d.has(g).txg {
			h.breaks("P3", "status %d, but the newest snapshot of ours of '%s' is not on '%s'", status, d.name, a.target)
			return
		}
	}
}

// diverged matches the suffix that --rename-aside adds to a name.
var diverged = regexp.MustCompile(`_diverged-[^/]*`)

// copies returns a target merged with the datasets set aside in its place: if a run dies
// during the renaming, the snapshots may be in either.
func (w *world) copies(name string) *dataset {
	var list []*dataset
	for n, d := range w.sets {
		if n == name || diverged.ReplaceAllString(n, "") == name {
			list = append(list, d)
		}
	}
	if len(list) == 0 {
		return nil
	}
	all := *list[0]
	for _, d := range list[1:] {
		all.snaps = append(slices.Clone(all.snaps), d.snaps...)
	}
	return &all
}

// setAside reports whether a dataset of a target, or a dataset above it, was set aside,
// with all its snapshots under its new name or in its successor.
func (h *history) setAside(w *world, d *dataset) bool {
	for n, now := range w.sets {
		if now.guid != d.guid || poolOf(n) != poolOf(d.name) || !diverged.MatchString(n) {
			continue
		}
		for _, s := range d.snaps {
			if now.has(s.guid) == nil && w.copies(d.name).has(s.guid) == nil {
				return false
			}
		}
		return true
	}
	return false
}

func newestTXG(h *history, d *dataset) uint64 {
	if s := d.has(newestOurs(h, d)); s != nil {
		return s.txg
	}
	return 0
}

// mayFail returns the names of the datasets whose backup may end in a conflict.
func (h *history) mayFail(a *attempt, w *world) []string {
	var out []string
	for _, d := range h.selected(w) {
		c := w.sets[a.target+"/"+d.name]
		switch {
		case c == nil:
			if !a.simple || d.origin == "-" {
				continue
			}
		case base(d, c).guid == "" && (len(c.snaps) > 0 || c.token == "-") && !a.aside:
		case h.touched[a.target] && !a.brave && !a.aside:
		default:
			continue
		}
		out = append(out, d.name)
	}
	return out
}

// bookmarks reports whether all snapshots of the source may be destroyed.
func bookmarks(a *attempt) bool { return slices.Contains(a.args, "--bookmark") }

// orphan reports whether a copy may be destroyed because its source is gone.
func (h *history) orphan(a *attempt, w *world, name string) bool {
	if a.missing && a.target != "" && !diverged.MatchString(name) {
		if of, ok := strings.CutPrefix(name, a.target+"/"); ok {
			d := w.sets[of]
			return d == nil || d.selected != "true"
		}
	}
	return false
}

// verdicts checks P7: each selected dataset has one final record, and the exit status
// reflects the records with an error.
func (h *history) verdicts(a *attempt, status int, w *world, lines []byte) {
	if h.given || a.unseen || status < 0 || status == 255 || a.fault != nil && a.fault.kills() {
		return
	}
	count, failed := map[string]int{}, 0
	for line := range bytes.Lines(lines) {
		var r struct {
			Type, Name string
			Excluded   bool
			Error      *struct{ Kind, Message string }
			Snapshot   struct {
				Error *struct{ Kind, Message string }
			}
		}
		if err := json.Unmarshal(line, &r); err != nil {
			h.breaks("P7", "status %d and a record that is none: %v in %.300s", status, err, line)
			return
		}
		if r.Type != "dataset" || r.Excluded {
			continue
		}
		count[r.Name]++
		if r.Error == nil {
			r.Error = r.Snapshot.Error
		}
		if r.Error != nil {
			failed++
			if r.Error.Kind == "" || r.Error.Message == "" {
				h.breaks("P7", "an error without a word: %.500s", line)
				return
			}
		}
	}
	for _, d := range h.selected(w) {
		if count[d.name] != 1 {
			h.breaks("P7", "status %d, and '%s' has %d final records of %d", status, d.name, count[d.name], len(count))
			return
		}
	}
	if (failed > 0) != (status > 0) {
		h.breaks("P7", "status %d, and %d records have errors", status, failed)
	}
}

// judgeCrypt checks P10: no encrypted dataset is stored unencrypted.
func (h *history) judgeCrypt(w *world) {
	if h.crypt == "" || h.crypt == "decrypt" {
		return
	}
	for _, t := range h.targets {
		for name, c := range w.sets {
			if strings.HasPrefix(name, t+"/"+h.src+"/t") && c.encryption == "off" && (len(c.snaps) > 0 || c.token != "-") {
				// A dataset without snapshots is only the parent of a copy, and is empty.
				h.breaks("P10", "'%s' is not encrypted", name)
				return
			}
		}
	}
}

// judgeMounts checks P5: no dataset of a target is mounted at a mountpoint that came with
// its stream, and nothing else is mounted or unmounted.
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
	if now := h.mounts(elsewhere); now != h.outside {
		h.breaks("P5", "the mount table changed:\n%sit was:\n%s", now, h.outside)
	}
}

// ---- the end

// converge checks that without faults, and with the remedies that zab itself names, one
// run for each target brings all copies up to date and nothing is left behind; with a
// single target, the next run has nothing to do.
func (h *history) converge() {
	defer h.sum.clock("(of it converging)")()
	h.say("# no more faults")
	// Snapshots named for a time in the future are kept until then, so that time must be
	// past.
	if h.now.Before(h.latest) {
		h.now = h.latest
		h.say("# the clock goes on to %s", h.now.Format(time.RFC3339))
	}
	run := func(t string, args ...string) *attempt {
		h.tick()
		return &attempt{target: t, keep: 1, brave: true, args: append([]string{"--now", h.now.Format(time.RFC3339), "--exclude-received",
			"--rollback", "--destroy-incompatible", "--keep-source", "1", "--keep-target", "1"}, append(slices.Clone(h.options), args...)...)}
	}
	var after *world
	for i, t := range h.targets {
		h.remedy(t)
		if h.given {
			return
		}
		var status int
		if i == 0 {
			status, _, after = h.zab(run(t, "--allow-empty"))
		} else {
			status, _, after = h.zab(run(t, "--no-snapshot"))
		}
		if h.given {
			return
		}
		if status != 0 {
			h.breaks("P4", "the run without faults ended with status %d", status)
			return
		}
		for _, d := range h.selected(after) {
			if c := after.sets[t+"/"+d.name]; c.has(newestOurs(h, d)) == nil || c.token != "-" {
				h.breaks("P4", "'%s' is not up to date after a run without faults", t+"/"+d.name)
				return
			}
		}
	}
	if h.crypt != "raw" {
		h.same(pick(h, h.targets...), after)
	}
	for _, t := range h.targets {
		if h.given {
			return
		}
		status, before, now := h.zab(run(t, "--no-snapshot"))
		if h.given {
			return
		}
		if status != 0 {
			h.breaks("P4", "status %d, and there is nothing to do", status)
			return
		}
		if x, y := before.String(), now.String(); len(h.targets) == 1 && x != y {
			h.breaks("P4", "there was something to do after all:\n%s\n%s", x, y)
			return
		}
		after = now
	}
	h.holds(after)
	if left := h.sockets(); len(left) > 0 && !h.given {
		// The next run over ssh removes the sockets left by a killed run.
		a := run(h.targets[0], "--no-snapshot", "--ssh-config", h.conf, "--ssh-target", "dst.test")
		h.zab(a)
		if left := h.sockets(); len(left) > 0 && !h.given {
			h.breaks("P4", "left behind: %s", left)
		}
	}
}

// tick advances the clock to a time of which no snapshot exists.
func (h *history) tick() {
	h.now = h.now.Add(time.Second * time.Duration(1+h.rng.Intn(7200)))
	for h.used[h.now.Format(time.RFC3339)] {
		h.now = h.now.Add(time.Second)
	}
	h.used[h.now.Format(time.RFC3339)] = true
	if h.now.After(h.latest) {
		h.latest = h.now
	}
}

// sockets returns the directories for the sockets of ssh.
func (h *history) sockets() []string {
	dirs, _ := filepath.Glob(filepath.Join(h.dir, "zab-ssh-*"))
	return dirs
}

func (w *world) String() string {
	var b strings.Builder
	for _, n := range slices.Sorted(maps.Keys(w.sets)) {
		d := w.sets[n]
		fmt.Fprintf(&b, "%s %s %s", n, d.guid, d.token)
		for _, s := range d.snaps {
			fmt.Fprintf(&b, " %s=%s:%d", s.name, s.guid, s.refs)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// remedy follows zab's advice for copies that have no snapshot in common with their
// source.
func (h *history) remedy(t string) {
	for {
		w := h.look()
		if w == nil {
			return
		}
		moved := false
		for _, d := range h.selected(w) {
			c := w.sets[t+"/"+d.name]
			if c == nil || base(d, c).guid != "" || len(c.snaps) == 0 && c.token != "-" {
				continue
			}
			h.n++
			h.must("zfs rename %s %s", q(c.name), q(fmt.Sprintf("%s/old%d", poolOf(t), h.n)))
			moved = true
			break
		}
		if !moved || h.given {
			return
		}
	}
}

// same compares the files of one copy with those of its source, at the newest snapshot in
// common.
func (h *history) same(t string, w *world) {
	var list []*dataset
	for _, d := range h.selected(w) {
		if c := w.sets[t+"/"+d.name]; d.kind == "filesystem" && base(d, c).guid != "" {
			list = append(list, d)
		}
	}
	if len(list) == 0 {
		return
	}
	d := pick(h, list...)
	b := base(d, w.sets[t+"/"+d.name])
	c := w.sets[t+"/"+d.name].has(b.guid)
	out, ok := h.sh(`mkdir -p %[1]s/x %[1]s/y && mount -t zfs %[2]s %[1]s/x && mount -t zfs %[3]s %[1]s/y && diff -r %[1]s/x %[1]s/y; s=$?; umount %[1]s/x; umount %[1]s/y; exit $s`,
		h.dir, q(d.name+"@"+b.name), q(t+"/"+d.name+"@"+c.name))
	if !ok {
		h.breaks("P3", "'%s' differs from its copy: %s", d.name, out)
	}
}

// holds checks that our holds remain only on the bases, once runs with the shortest
// schedules have thinned for every target. Snapshots that are not ours are not thinned,
// so a hold left on them by a killed run stays.
func (h *history) holds(w *world) {
	for _, d := range h.selected(w) {
		needed := map[string]bool{}
		for _, t := range h.targets {
			needed[base(d, w.sets[t+"/"+d.name]).guid] = true
		}
		check := func(d *dataset) {
			for _, s := range d.snaps {
				if s.refs > 0 && h.ours(s) && !needed[s.guid] && !h.given {
					out, _ := exec.Command("zfs", "holds", "-H", d.name+"@"+s.name).Output()
					h.breaks("P4", "a hold is left: %s", out)
				}
			}
		}
		check(d)
		for _, t := range h.targets {
			if c := w.sets[t+"/"+d.name]; c != nil {
				check(c)
			}
		}
	}
}
