package hostile

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"zab/lib/list"
	"zab/lib/plan"
	"zab/lib/selection"
	"zab/lib/snap"
	"zab/lib/thin"
	"zab/lib/xfer"
	"zab/lib/zab"
)

// zab's programs are this binary under their names.
var mains = map[string]func([]string) int{
	"zab": zab.Main, "zab-select": selection.Main, "zab-snap": snap.Main, "zab-list": list.Main,
	"zab-plan": plan.Main, "zab-xfer": xfer.Main, "zab-thin": thin.Main,
}

func TestMain(m *testing.M) {
	if f := mains[filepath.Base(os.Args[0])]; f != nil {
		os.Exit(f(os.Args[1:]))
	}
	code := m.Run()
	if r, err := newRunner(); err == nil {
		os.RemoveAll(r.tmp)
	}
	os.Exit(code)
}

var newRunner = sync.OnceValues(func() (*runner, error) {
	tmp, err := os.MkdirTemp("/tmp", "zabh")
	if err != nil {
		return nil, err
	}
	r := &runner{tmp: tmp, bin: filepath.Join(tmp, "bin")}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(r.bin, 0o700); err != nil {
		return nil, err
	}
	link := func(to string, names ...string) {
		for _, n := range names {
			if err == nil {
				err = os.Symlink(to, filepath.Join(r.bin, n))
			}
		}
	}
	client := filepath.Join(tmp, "client")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", client, "./client")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cannot build the stand-in: %w\n%s", err, out)
	}
	link(client, "zfs", "zpool", "ssh")
	for _, p := range programs {
		if dir := os.Getenv("ZAB_TEST_BIN"); dir != "" {
			link(filepath.Join(dir, p), p)
		} else {
			link(self, p)
		}
	}
	if err != nil {
		return nil, err
	}
	help, err := exec.Command(filepath.Join(r.bin, "zab"), "--help").Output()
	r.silence = strings.Contains(string(help), "--query-timeout")
	r.limited = !raceEnabled
	return r, err
})

// honest are the outcomes without lies, by shape.
var honest = struct {
	sync.Mutex
	by map[int]func() (*outcome, error)
}{by: map[int]func() (*outcome, error){}}

func honestRun(r *runner, n int) (*outcome, error) {
	honest.Lock()
	f := honest.by[n]
	if f == nil {
		f = sync.OnceValues(func() (*outcome, error) {
			return r.do(shape(n, 900000+n), nil, fmt.Sprintf("honest%d", n))
		})
		honest.by[n] = f
	}
	honest.Unlock()
	return f()
}

// TestHonest: without lies every workflow does what it is for.
func TestHonest(t *testing.T) {
	r, err := newRunner()
	if err != nil {
		t.Fatal(err)
	}
	for n := range shapes {
		o, err := honestRun(r, n)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprintf("%d-%s", n, o.w.what), func(t *testing.T) {
			found := observe(o, o)
			if o.exit != 0 || found != nil {
				t.Fatalf("exit status %d, %q\n%s", o.exit, found, story(o))
			}
			for _, n := range o.w.selected {
				if o.w.root == "" {
					break
				}
				src, c := o.srcAfter.find(n), o.dstAfter.find(o.w.target(n))
				if c == nil || c.newest() == nil || src.newest().GUID != c.newest().GUID || len(src.Snaps) > o.w.keep+1 {
					t.Errorf("'%s' is not backed up, or not thinned\n%s", n, story(o))
				}
			}
		})
	}
}

// story tells a run to those who look for what went wrong.
func story(o *outcome) string {
	var b strings.Builder
	fmt.Fprintf(&b, "workflow %d (%s), hostile %s, lies %v\nzab %s %s %s\nexit status %d\n", o.w.shape, o.w.what, o.w.hostile, o.lies, strings.Join(o.w.args, " "), backup, o.w.root, o.exit)
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

// number is a number from the environment.
func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// TestHostile: whatever a host says, nothing happens to the other that the
// backup is not about (P1, P3, P5, P7, P10, P11). ZAB_HOSTILE is how many runs,
// ZAB_HOSTILE_SEED the first of them, ZAB_HOSTILE_JOBS how many at once.
func TestHostile(t *testing.T) {
	r, err := newRunner()
	if err != nil {
		t.Fatal(err)
	}
	long := os.Getenv("ZAB_HOSTILE") != ""
	runs, seed, jobs := number("ZAB_HOSTILE", 150), number("ZAB_HOSTILE_SEED", 1), number("ZAB_HOSTILE_JOBS", runtime.NumCPU())
	if testing.Short() {
		runs = min(runs, 30)
	}
	begun := time.Now()
	var next, done, bad atomic.Int64
	var all sync.WaitGroup
	var mu sync.Mutex
	kinds := map[string]int{}
	for range jobs {
		all.Go(func() {
			for {
				k := int(next.Add(1)) - 1
				if k >= runs || !long && time.Since(begun) > 40*time.Second {
					return
				}
				o, found, err := hostileRun(r, seed+k)
				mu.Lock()
				done.Add(1)
				switch {
				case err != nil:
					t.Errorf("run %d: %s", seed+k, err)
				case found != nil:
					bad.Add(1)
					for _, f := range found {
						t.Errorf("run %d: %s, %s: %s", seed+k, o.w.what, o.lies, f)
					}
					t.Logf("again: ZAB_HOSTILE=1 ZAB_HOSTILE_SEED=%d go test -run TestHostile -v ./lib/hostile", seed+k)
					for _, l := range o.lies {
						kinds[l.Kind]++
					}
				}
				if runs == 1 {
					t.Log(story(o))
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	for _, k := range sortedKeys(kinds) {
		t.Logf("violated by %s: %d", k, kinds[k])
	}
	fmt.Printf("hostile: %d runs, %d violations (%.2f s a run)\n", done.Load(), bad.Load(), time.Since(begun).Seconds()/float64(max(1, done.Load())))
}

// hostileRun is the run of a seed, with what is wrong about it.
func hostileRun(r *runner, seed int) (*outcome, []string, error) {
	rng := rand.New(rand.NewPCG(uint64(seed), 3))
	n := seed % shapes
	honest, err := honestRun(r, n)
	if err != nil {
		return nil, nil, err
	}
	w := shape(n, seed)
	var signs []string
	for _, e := range honest.log {
		if e.Host == w.hostile && e.Sign != "" {
			signs = append(signs, e.Sign)
		}
	}
	if len(signs) == 0 {
		return nil, nil, fmt.Errorf("nothing is asked of the hostile host")
	}
	lies := []*Lie{draw(rng, signs, r.silence)}
	for rng.IntN(3) == 0 {
		lies = append(lies, draw(rng, signs, false))
	}
	o, err := r.do(w, lies, fmt.Sprint(seed))
	if err != nil {
		return nil, nil, err
	}
	return o, observe(o, honest), nil
}
