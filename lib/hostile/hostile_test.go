package hostile

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if r, err := newRunner(); err == nil {
		os.RemoveAll(r.tmp)
	}
	os.Exit(code)
}

// newRunner builds zab's programs, unless they are in ZAB_TEST_BIN, and the stand-in: the
// one in C if there is a compiler, since that starts faster.
var newRunner = sync.OnceValues(func() (*runner, error) {
	tmp, err := os.MkdirTemp("/tmp", "zabh")
	if err != nil {
		return nil, err
	}
	r := &runner{tmp: tmp, bin: filepath.Join(tmp, "bin"), limited: !raceEnabled}
	run := func(argv ...string) error {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if raceEnabled {
			cmd.Env = append(cmd.Env, "CGO_ENABLED=1")
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out)
		}
		return nil
	}
	client := filepath.Join(tmp, "client")
	if run("cc", "-O2", "-static", "-o", client, "testdata/client.c") != nil {
		if err := run("go", "build", "-trimpath", "-o", client, "./client"); err != nil {
			return nil, err
		}
	}
	programs := os.Getenv("ZAB_TEST_BIN")
	if programs == "" {
		programs = filepath.Join(tmp, "zab")
		build := []string{"go", "build", "-trimpath", "-o", programs + "/", "zab/cmd/..."}
		if raceEnabled {
			build = slices.Insert(build, 2, "-race")
		}
		if err := run(build...); err != nil {
			return nil, err
		}
	}
	all, err := filepath.Glob(filepath.Join(programs, "zab*"))
	if err != nil || all == nil {
		return nil, fmt.Errorf("no programs in %s: %v", programs, err)
	}
	r.programs, r.bare = programs, filepath.Join(tmp, "bare")
	for _, dir := range []string{r.bin, r.bare} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
		links := map[string]string{"zfs": client, "zpool": client, "ssh": client, "date": client}
		for _, p := range all {
			links[filepath.Base(p)] = p
		}
		if delete(links, "zab-digest"); dir == r.bin {
			links["zab-digest"] = client
		}
		for n, p := range links {
			if err := os.Symlink(p, filepath.Join(dir, n)); err != nil {
				return nil, err
			}
		}
	}
	help, err := exec.Command(filepath.Join(r.bin, "zab"), "--help").Output()
	r.queryTimeout = strings.Contains(string(help), "--query-timeout")
	return r, err
})

// honestRuns has the outcomes without lies by the number of the workflow.
var honestRuns = struct {
	sync.Mutex
	by map[int]func() (*outcome, error)
}{by: map[int]func() (*outcome, error){}}

func honestRun(r *runner, n int) (*outcome, error) {
	honestRuns.Lock()
	f := honestRuns.by[n]
	if f == nil {
		f = sync.OnceValues(func() (*outcome, error) {
			return r.run(newWorkflow(n, 900000+n), nil, fmt.Sprintf("honest%d", n))
		})
		honestRuns.by[n] = f
	}
	honestRuns.Unlock()
	return f()
}

// TestHonest checks that without lies every workflow backs up and thins all selected
// datasets, and that the observer finds no violation.
func TestHonest(t *testing.T) {
	r, err := newRunner()
	if err != nil {
		t.Fatal(err)
	}
	count := workflowCount
	if testing.Short() || raceEnabled {
		count = len(workflowKinds)
	}
	inParallel(count, envInt("ZAB_HOSTILE_JOBS", runtime.NumCPU()), func(n int) { honestRun(r, n) })
	for n := range count {
		o, err := honestRun(r, n)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprintf("%d-%s", n, o.w.kind), func(t *testing.T) {
			found := observe(o, o)
			if o.w.succeeds() && o.exit != 0 || found != nil {
				t.Fatalf("exit status %d, %q\n%s", o.exit, found, story(o))
			}
			if resumed := slices.ContainsFunc(o.log, func(e Entry) bool { return len(e.Argv) > 2 && e.Argv[1] == "send" && e.Argv[2] == "-t" }); resumed != (o.w.kind == "token" || o.w.kind == "breaks") {
				t.Errorf("a stream was resumed: %v\n%s", resumed, story(o))
			}
			for _, n := range o.w.selected {
				if !o.w.backsUp() {
					break
				}
				src, c := o.srcAfter.find(n), o.dstAfter.find(o.w.copyName(n))
				if c == nil || c.newest() == nil || src.newest().GUID != c.newest().GUID || len(src.Snaps) > o.w.keep+1 {
					t.Errorf("'%s' is not backed up, or not thinned\n%s", n, story(o))
				}
			}
		})
	}
}

// story describes a run for the search of a fault: options, commands, lies and output.
func story(o *outcome) string {
	var b strings.Builder
	fmt.Fprintf(&b, "workflow %d (%s), hostile %s, lies %v\nzab %s %s %s\nexit status %d\n", o.w.shape, o.w.kind, o.w.hostile, o.lies, strings.Join(o.w.args, " "), backup, o.w.root, o.exit)
	for _, e := range o.log {
		fmt.Fprintf(&b, "  %s: %.250q", e.Host, e.Argv)
		if e.Lie != "" {
			fmt.Fprintf(&b, " LIE %s %.300q", e.Lie, e.Said)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "stdout: %.3000q\nstderr: %.3000q\n", o.stdout, o.stderr)
	return b.String()
}

// TestObserverSees checks that the observer reports commands that must not be started on
// the honest host, and outcomes that no run may have.
func TestObserverSees(t *testing.T) {
	r, err := newRunner()
	if err != nil {
		t.Fatal(err)
	}
	pull, push := len(workflowKinds)*0, len(workflowKinds)*1+slices.Index(workflowKinds, "raw")
	onTarget := []string{
		"set zab:from=9 mountpoint=/etc canmount=on ROOT/tank/srv", "set zab:stream=none OTHER", "set zab:from=x ROOT/tank/srv", "set sharenfs=on ROOT/tank/srv",
		"destroy ROOT/tank/srv", "destroy OTHER@x", "destroy -r ROOT/tank/srv", "destroy ROOT/tank/srv@a%b", "receive -u -s OTHER/x", "receive -s ROOT/x",
		"receive -u -s -o mountpoint=/etc ROOT/x", "receive -u -s -F ROOT/x", "receive -u -s -d ROOT", "receive -u -s ROOT/../x", "create ROOT/x", "create -o canmount=off OTHER/x",
		"mount ROOT/tank/srv", "mount -o ro OTHER", "hold zfs_autobackup:b1 OTHER@x", "hold for-ever ROOT/tank/srv@x", "rollback OTHER@x", "rename -u ROOT/tank/srv ROOT/tank/x",
		"clone ROOT/tank/srv@x ROOT/y", "inherit mountpoint ROOT/tank/srv", "unmount ROOT/tank/srv", "snapshot ROOT/tank/srv@x", "share -a", "list -r OTHER", "get all -r",
	}
	onSource := []string{
		"send tank/secret@x", "send -p tank/home@b1-20260301120000", "send -R -w tank/home@x", "send -t 1-2-3-4",
		"send -t " + tokenFor("tank/home@b1-20260301120000", "1", ""), "send -t " + encodeToken([]nvpair{{"toguid", uint64(1)}, {"toname", "tank/srv@x"}, {"toguid\x00", uint64(2)}}, nil),
		"destroy tank/srv", "destroy tank/secret@x", "hold other tank/srv@x", "hold -r zfs_autobackup:b1 tank@x", "release zfs_autobackup:b1 tank/secret@x",
		"snapshot tank/srv@evil", "snapshot tank/secret@b1-20260301120000", "bookmark tank/srv@x tank/srv#y", "set a:b=c tank/srv", "receive -u -s tank/srv", "rollback tank/srv@x",
	}
	for shape, list := range map[int][]string{pull: onTarget, push: onSource} {
		o, err := honestRun(r, shape)
		if err != nil {
			t.Fatal(err)
		}
		if found := observe(o, o); found != nil || o.exit != 0 {
			t.Errorf("violations in an honest run: %q\n%s", found, story(o))
		}
		for _, line := range list {
			line = strings.NewReplacer("ROOT", o.w.root, "OTHER", o.w.pool+"/other").Replace(line)
			e := Entry{Host: o.w.honestHost(), Argv: append([]string{"zfs"}, strings.Split(line, " ")...)}
			if _, known := forms["zfs "+e.Argv[1]]; !known {
				e.Bad = "an unknown command"
			}
			bad := *o
			bad.log = append(slices.Clone(o.log), e)
			if observe(&bad, o) == nil {
				t.Errorf("the observer does not report the command %q", e.Argv)
			}
		}
		for what, change := range map[string]func(o *outcome){
			"escapes":       func(o *outcome) { o.stderr = "x\x1b[2J" },
			"C1":            func(o *outcome) { o.stdout = "x\u009b2J" },
			"a raw C1":      func(o *outcome) { o.stdout = "x\x9b2J" },
			"a process":     func(o *outcome) { o.left = []string{"1 zfs"} },
			"memory":        func(o *outcome) { o.memory = maxMemory + 1 },
			"time":          func(o *outcome) { o.timeout = true },
			"a race":        func(o *outcome) { o.stderr += "WARNING: DATA RACE\n" },
			"a shell":       func(o *outcome) { o.canary = true },
			"no backup":     func(o *outcome) { o.dstAfter = o.dstBefore },
			"nothing stays": func(o *outcome) { o.srcAfter, o.dstAfter = &Host{}, &Host{} },
		} {
			bad := *o
			change(&bad)
			if observe(&bad, o) == nil {
				t.Errorf("the observer does not report the outcome '%s'\n%s", what, story(&bad))
			}
		}
	}
}

// TestObserverSeesWords checks that the observer reports outcomes that no run of
// zab-verify, of zab-status and of zab with --within may have.
func TestObserverSeesWords(t *testing.T) {
	r, err := newRunner()
	if err != nil {
		t.Fatal(err)
	}
	count := len(workflowKinds)
	of := func(kind string, arrangement int) *outcome {
		o, err := honestRun(r, slices.Index(workflowKinds, kind)+arrangement*count)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	// pushed returns the outcome as that of a run against a hostile target. To reuse one
	// saves a run.
	pushed := func(o *outcome) *outcome {
		p, w := *o, *o.w
		w.hostile, p.w = "dst", &w
		return &p
	}
	replace := func(old, new string) func(o *outcome) {
		return func(o *outcome) { o.stdout = strings.ReplaceAll(o.stdout, old, new) }
	}
	started := func(host, line string) func(o *outcome) {
		return func(o *outcome) {
			line := strings.ReplaceAll(line, "ROOT", o.w.root)
			o.log = append(slices.Clone(o.log), Entry{Host: host, Argv: append([]string{"zfs"}, strings.Split(line, " ")...)})
		}
	}
	changed := func(f func(h *Host)) func(o *outcome) {
		return func(o *outcome) { o.dstAfter = o.dstAfter.clone(); f(o.dstAfter) }
	}
	equal := func(o *outcome) string { // of a record that is called equal
		for l := range strings.Lines(o.stdout) {
			if strings.Contains(l, `"result":"equal"`) {
				return l
			}
		}
		t.Fatalf("nothing is equal\n%s", story(o))
		return ""
	}
	for _, c := range []struct {
		what   string
		of     *outcome
		change func(o *outcome)
	}{
		{"destroys a snapshot", of("verify", 0), started("dst", "destroy ROOT/tank/srv@x")},
		{"rolls back", of("verify", 0), started("dst", "rollback ROOT/tank/srv@x")},
		{"sets another property", of("verify", 0), started("dst", "set zab:from=1 ROOT/tank/srv")},
		{"holds by another tag", of("verify", 0), started("dst", "hold zfs_autobackup:b1 ROOT/tank/srv@x")},
		{"marks the source", pushed(of("verify", 0)), started("src", "set zab:verified=1:2:full:2:9 tank/srv")},
		{"sends a tree", pushed(of("verify", 0)), started("src", "send -R tank/srv@x")},
		{"sends what is not selected", pushed(of("verify", 0)), started("src", "send tank/secret@x")},
		{"another snapshot is equal", of("verify", 0), func(o *outcome) {
			l := equal(o)
			_, rest, _ := strings.Cut(l, `"verify":`)
			o.stdout = strings.Replace(o.stdout, rest, regexp.MustCompile(`"guid":"[0-9]+"`).ReplaceAllString(rest, `"guid":"77"`), 1)
		}},
		{"equal, and nobody sent it", of("verify", 0), func(o *outcome) {
			o.log = slices.DeleteFunc(slices.Clone(o.log), func(e Entry) bool { return e.Host == "dst" && e.Argv[1] == "send" })
		}},
		{"proved without a mark", of("verify", 0), func(o *outcome) {
			o.stdout = strings.ReplaceAll(o.stdout, `"result":"equal"`, `"result":"proved"`)
		}},
		{"marked without a comparison", of("verify", 0), changed(func(h *Host) { h.Datasets[2].Local[proofProp] = proofText("77", now.Unix(), "full", "78") })},
		{"a mark of another time", of("verify", 0), changed(func(h *Host) {
			for _, d := range h.Datasets {
				for p, v := range d.Local {
					if p == proofProp {
						d.Local[p] = strings.Replace(v, fmt.Sprint(now.Unix()), "1772366399", 1)
					}
				}
			}
		})},
		{"held without a difference", of("verify", 0), changed(func(h *Host) {
			s := h.find(h.Pools[0].Name + "/backup/tank/srv").newest()
			s.Holds = append(s.Holds, differentTag)
		})},
		{"a dataset less", of("verify", 0), func(o *outcome) { o.stdout = strings.Replace(o.stdout, equal(o), "", 1) }},
		{"different, and exit status 0", of("verify", 0), replace(`"result":"equal"`, `"result":"different"`)},
		{"no record", of("proves", 0), func(o *outcome) { o.stdout += "{" }},
		{"status holds", of("status", 1), started("dst", "hold zfs_autobackup:b1 ROOT/tank/srv@x")},
		{"status syncs", of("status", 0), func(o *outcome) {
			o.log = append(slices.Clone(o.log), Entry{Host: "src", Argv: []string{"zpool", "sync"}})
		}},
		{"status changes", of("status", 0), changed(func(h *Host) { h.Datasets[2].Local["a:b"] = "c" })},
		{"two lines of Nagios", of("status", 0), replace("; ", "\n")},
		{"a bar in the text", of("status", 0), replace("; ", "|")},
		{"fewer are counted", of("status", 0), func(o *outcome) { o.stdout = strings.Replace(o.stdout, "crit=4", "crit=2", 1); o.w.hostile = "dst" }},
		{"another verdict", of("status", 0), replace("ZAB CRITICAL", "ZAB OK")},
		{"not in the table", of("status", 1), replace("tank/srv\n", "tank/x\n")},
		{"well in the table", of("status", 1), func(o *outcome) {
			o.stdout = regexp.MustCompile(`(?m)^(warn|crit)( .*tank/home/bob)$`).ReplaceAllString(o.stdout, "ok  $2")
		}},
		{"a line more in the table", of("status", 1), replace("VERDICT", "x\nVERDICT")},
		{"a record less", of("status", 2), func(o *outcome) { o.w.hostile = "dst"; o.stdout = "" }},
		{"no verdict", of("status", 2), replace(`"status":`, `"state":`)},
		{"an item that is not quoted", of("status", 3), replace(`\"`, `"`)},
		{"not discovered", of("status", 3), replace("tank/srv", "tank/x")},
		{"broken metrics", of("status", 4), replace("\nzab_status_verdict{", "\nzab status{")},
		{"a metric twice", of("status", 4), func(o *outcome) { o.stdout += o.stdout }},
		{"speaks of an orphan", of("within", 0), func(o *outcome) { o.steps[1].stdout += "5 datasets, 1 copy without a source\n" }},
		{"destroys outside", of("within", 0), func(o *outcome) {
			o.steps[1].to = len(o.log) + 1
			started("dst", "destroy ROOT/tank/old@x")(o)
		}},
		{"outside is gone", of("within", 0), func(o *outcome) { o.steps[1].dst.remove(o.w.root + "/tank/old") }},
		{"outside is changed", of("within", 0), func(o *outcome) { o.steps[1].dst.find(o.w.pool + "/other").Snaps[0].Holds = []string{"x"} }},
		{"nothing is backed up inside", of("within", 0), func(o *outcome) { o.steps[1].dst.find(o.w.copyName(o.w.within)).Snaps = nil }},
		{"the run after misses one", pushed(of("within", 0)), func(o *outcome) { o.steps[2].dst.remove(o.w.copyName("tank/home/bob")) }},
		{"the run after takes no snapshot", pushed(of("within", 0)), func(o *outcome) { o.steps[2].src.find("tank/srv").newest().Creation-- }},
	} {
		bad := *c.of
		w := *c.of.w
		bad.w, bad.steps = &w, slices.Clone(c.of.steps)
		for i := range bad.steps {
			bad.steps[i].src, bad.steps[i].dst = bad.steps[i].src.clone(), bad.steps[i].dst.clone()
		}
		if c.change(&bad); observe(&bad, c.of) == nil {
			t.Errorf("the observer does not report the outcome '%s'\n%s", c.what, story(&bad))
		}
	}
}

// envInt returns the number in an environment variable, or otherwise.
func envInt(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// TestHostile checks that a lying host cannot make zab harm the other host, or report a
// backup that was not made (P1, P3, P5, P7, P10, P11). ZAB_HOSTILE is the number of runs,
// ZAB_HOSTILE_SEED the number of the first, ZAB_HOSTILE_JOBS how many run at once;
// ZAB_HOSTILE_LIE=KIND@TEXT tells only lies of one kind, about commands whose signature
// contains the text. ZAB_HOSTILE_KIND=KIND,... skips the runs of other workflows.
func TestHostile(t *testing.T) {
	r, err := newRunner()
	if err != nil {
		t.Fatal(err)
	}
	long := os.Getenv("ZAB_HOSTILE") != ""
	runs, seed, jobs := envInt("ZAB_HOSTILE", 150), envInt("ZAB_HOSTILE_SEED", 1), envInt("ZAB_HOSTILE_JOBS", runtime.NumCPU())
	limit := shortTime
	if !long && (testing.Short() || raceEnabled) {
		runs, limit = min(runs, 30), shortTime/2
	}
	begun := time.Now()
	done, bad := 0, 0
	var mu sync.Mutex
	kinds := map[string]int{}
	only := strings.FieldsFunc(os.Getenv("ZAB_HOSTILE_KIND"), func(r rune) bool { return r == ',' })
	inParallel(runs, jobs, func(k int) {
		if len(only) > 0 && !slices.Contains(only, workflowKinds[shapeOf(seed+k)%len(workflowKinds)]) {
			return
		}
		if !long && time.Since(begun) > limit {
			return
		}
		o, found, err := hostileRun(r, seed+k)
		mu.Lock()
		defer mu.Unlock()
		done++
		if err != nil {
			t.Errorf("run %d: %s", seed+k, err)
			return
		}
		if runs == 1 {
			t.Log(story(o))
		}
		if found == nil {
			return
		}
		bad++
		for _, f := range found {
			t.Errorf("run %d: %s, hostile %s, %s: %s", seed+k, o.w.kind, o.w.hostile, o.lies, f)
		}
		t.Logf("again: ZAB_HOSTILE=1 ZAB_HOSTILE_SEED=%d go test -run TestHostile -v ./lib/hostile", seed+k)
		for _, l := range o.lies {
			kinds[l.Kind]++
		}
	})
	for _, k := range sortedKeys(kinds) {
		t.Logf("violated by %s: %d", k, kinds[k])
	}
	took := time.Since(begun).Seconds()
	var cpu, child syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &cpu)
	_ = syscall.Getrusage(syscall.RUSAGE_CHILDREN, &child)
	used := time.Duration(cpu.Utime.Nano() + cpu.Stime.Nano() + child.Utime.Nano() + child.Stime.Nano()).Seconds()
	fmt.Printf("hostile: %d runs, %d violations\n", done, bad)
	t.Logf("%.2f s a run, %.2f s of processor time with all else", took/float64(max(1, done)), used/float64(max(1, done)))
}

// shortTime limits the short form, in which ZAB_HOSTILE is not set.
const shortTime = 40 * time.Second

// inParallel calls f with each number below n, in as many goroutines as there are jobs.
func inParallel(n, jobs int, f func(int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range jobs {
		all.Go(func() {
			for k := int(next.Add(1)) - 1; k < n; k = int(next.Add(1)) - 1 {
				f(k)
			}
		})
	}
	all.Wait()
}

// shapeOf returns the workflow of a seed. Each thousand of seeds has workflows with other
// options, so that the short form needs few honest runs.
func shapeOf(seed int) int { return seed%workflowCount + seed/1000%20*workflowCount }

// hostileRun makes the run of a seed and returns its outcome and violations.
func hostileRun(r *runner, seed int) (*outcome, []string, error) {
	rng := rand.New(rand.NewPCG(uint64(seed), 3))
	n := shapeOf(seed)
	honest, err := honestRun(r, n)
	if err == nil && honest.w.succeeds() && honest.exit != 0 {
		err = fmt.Errorf("the honest run fails\n%s", story(honest))
	}
	if err != nil {
		return nil, nil, err
	}
	w := newWorkflow(n, seed)
	var signatures []string
	for _, e := range honest.log {
		if e.Host == w.hostile && e.Signature != "" {
			signatures = append(signatures, e.Signature)
		}
	}
	if len(signatures) == 0 {
		return nil, nil, fmt.Errorf("the honest run starts no command on the hostile host")
	}
	about := signatures
	if compared := slices.DeleteFunc(slices.Clone(signatures), func(s string) bool {
		return !strings.HasPrefix(s, "zab-digest") && (!strings.HasPrefix(s, "zfs send") || strings.Contains(s, " -n"))
	}); w.proves && len(compared) > 0 && rng.IntN(2) == 0 {
		about = compared // what zab-verify is about
	}
	lies := []*Lie{draw(rng, about, r.queryTimeout)}
	if only := os.Getenv("ZAB_HOSTILE_LIE"); only != "" {
		kind, text, _ := strings.Cut(only, "@")
		about := slices.DeleteFunc(slices.Clone(signatures), func(s string) bool { return !strings.Contains(s, text) })
		if len(about) == 0 {
			return honest, nil, nil
		}
		sign := about[rng.IntN(len(about))]
		lies = []*Lie{{Signature: sign, Kind: kind, N: -1, Seed: rng.Uint64()}}
	} else if rng.IntN(16) == 0 {
		lies = []*Lie{{Signature: userProperty, Kind: userProperty, Seed: rng.Uint64()}}
	}
	for os.Getenv("ZAB_HOSTILE_LIE") == "" && lies[0].Signature != userProperty && rng.IntN(3) == 0 {
		lies = append(lies, draw(rng, signatures, false))
	}
	o, err := r.run(w, lies, fmt.Sprint(seed))
	if err != nil {
		return nil, nil, err
	}
	return o, observe(o, honest), nil
}
