// Package bench measures zab and other tools that do the same work on real pools:
//
//	floor        plain zfs commands written by hand, without any unnecessary check:
//	             the cost of ZFS itself; floor -j 4 sends four datasets at a time
//	zab          as users run it; zab -j 1 and others where that makes a difference
//	syncoid      if it is installed
//	bzfs, zelta, zfs-autobackup
//	             if there are checkouts of them
//
// All tools begin each run with identical pools, which are restored from copies of their
// files. They take turns, so that other load on the machine affects all of them alike. A
// run with a wrong outcome is a failure and not a measurement; the tool is not run again,
// the others are.
//
//	workloads.go, crowd.go    the work; the same on pools with more than what is backed up
//	tools.go                  the commands that do it
//	places.go, pools.go       the hosts of the target; the pools and their copies
//	measure.go, accounting.go times and memory; numbers of programs
//	rate.go, stream.go        how well --rate is kept; streams of many records
//	table.go, picture.go      the results
//
// Goal: to compare tools, and versions of zab, in one session on one quiet machine.
// Non-goal: limits for times, which no test asserts.
package bench

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"zab/lib/zabtest"
)

// Config describes a benchmark.
type Config struct {
	// Programs is the directory of zab's programs, Results one for pictures and lines of
	// JSON.
	Programs, Results string
	// Full: with the sizes of the full scale.
	Full bool
	// Repetitions is 0 for three, and fewer where they take long.
	Repetitions int
	// Cases and Tools are patterns of path.Match, such as one/local, large or zab*. With
	// none, all are measured, except that workload.usual leaves out some cases.
	Cases, Tools []string
	// Bzfs, Zelta and Autobackup are directories with checkouts; "" if there is none.
	Bzfs, Zelta, Autobackup string
	// Size is the number of datasets, snapshots or MiB; 0 for the sizes of the scale.
	Size int
	// Delay is the round trip time of the slow network.
	Delay time.Duration
}

// repetitions returns the greatest number of repetitions.
func (c Config) repetitions() int {
	if c.Repetitions > 0 {
		return c.Repetitions
	}
	return 3
}

// bench is one run of the benchmark.
type bench struct {
	Config
	t         testing.TB
	root      string        // directory of the files of the pools, and all else
	path      string        // PATH of all programs
	src, dst  string        // the pools
	limit     time.Duration // tools that are expected to take longer are not run
	budget    time.Duration // a tool is not repeated after runs that took so long in total
	sshd      zabtest.SSHServer
	places    []place
	others    []other         // the tools that are measured beside zab
	templates map[string]bool // the templates of pools that exist, by key
	crowd     string          // the file of the crowd that exists
	cells     []*cell
	ndjson    *os.File // bench.ndjson in Results
	cleanup   []func() // in reverse order
}

// Run measures all cases that the configuration selects, prints a table for each workload,
// and draws a picture.
func Run(t testing.TB, c Config) {
	b := newBench(t, c)
	defer b.close()
	for _, w := range b.workloads() {
		if b.Size > 0 {
			w.main, w.sizes = b.Size, []int{b.Size}
		}
		for _, n := range w.sizes {
			for _, p := range b.places {
				if (p.host == "" || n == w.main) && b.wanted(w.name+"/"+p.name, w.usual == nil || w.usual(p.name)) {
					b.measure(w, n, p)
				}
			}
			b.dropTemplate(b.key(w, n))
		}
		b.printTable(w)
	}
	if b.wanted("rate/local", true) {
		b.measureRate()
	}
	b.picture()
}

func newBench(t testing.TB, c Config) *bench {
	b := &bench{Config: c, t: t, path: zabtest.SearchPath(c.Programs), templates: map[string]bool{}, limit: 30 * time.Second, budget: 15 * time.Second}
	if c.Full {
		b.limit, b.budget = 20*time.Minute, 20*time.Minute
	}
	if c.Repetitions > 0 {
		b.budget = 20 * time.Minute
	}
	if err := os.MkdirAll(b.Results, 0o777); err != nil {
		t.Fatal(err)
	}
	var err error
	if b.ndjson, err = os.Create(filepath.Join(b.Results, "bench.ndjson")); err != nil {
		t.Fatal(err)
	}
	if b.root, err = os.MkdirTemp(zabtest.PoolDir(), "zabb-"); err != nil {
		t.Fatal(err)
	}
	var id [3]byte
	_, _ = rand.Read(id[:])
	b.src, b.dst = "zabs"+hex.EncodeToString(id[:]), "zabd"+hex.EncodeToString(id[:])
	b.cleanup = append(b.cleanup, b.sshd.Stop, func() { os.RemoveAll(b.root) }, func() { b.ndjson.Close() }, b.destroyPools)
	b.places = []place{{name: "local"}}
	if err := b.sshd.Start(); err != nil {
		b.say("no ssh: %v", err)
	} else {
		b.places = append(b.places, b.sshPlace())
		if slow, err := b.slowPlace(); err != nil {
			b.say("no slow network: %v", err)
		} else {
			b.places = append(b.places, slow)
		}
	}
	for _, o := range others {
		if why := o.missing(b); why != "" {
			b.say("%s is not measured: %s", o.name, why)
		} else {
			b.others = append(b.others, o)
		}
	}
	return b
}

func (b *bench) close() {
	for _, f := range slices.Backward(b.cleanup) {
		f()
	}
}

// say writes a line to stderr.
func (b *bench) say(format string, a ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", a...)
}

// wanted reports whether a case is to be measured; its name is WORKLOAD/PLACE. If no cases
// are selected, it is usual.
func (b *bench) wanted(name string, usual bool) bool {
	if b.Cases == nil {
		return usual
	}
	kind, _, _ := strings.Cut(name, "/")
	return slices.ContainsFunc(b.Cases, func(p string) bool {
		whole, _ := path.Match(p, name)
		part, _ := path.Match(p, kind)
		return whole || part
	})
}

// sh runs a shell script and returns its output.
func (b *bench) sh(script string) (string, error) {
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = b.env()
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// must is sh for scripts that the benchmark itself needs.
func (b *bench) must(script string) string {
	b.t.Helper()
	out, err := b.sh(script)
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return out
}

// env returns the environment of all programs; $SRC and $DST are the pools, $ROOT is the
// directory of their files.
func (b *bench) env() []string {
	return append(os.Environ(), "PATH="+b.path, "LC_ALL=C.UTF-8", "TZ=UTC", "TMPDIR="+b.root, "CACHE_DIRECTORY="+b.root+"/cache", "SRC="+b.src, "DST="+b.dst, "ROOT="+b.root)
}
