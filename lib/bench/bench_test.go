package bench

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"zab/lib/zabtest"
)

// TestMain runs the tests, or measures a pipe if measureRate started this binary for that.
func TestMain(m *testing.M) {
	if file := os.Getenv(sampleEnv); file != "" {
		if err := copyAndSample(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestBench runs the benchmark on real pools. ZAB_BENCH is the directory for the results,
// ZAB_BENCH_SCALE is small or full, ZAB_BENCH_REPS the number of repetitions,
// ZAB_BENCH_ONLY selects cases, such as one/local,large/*, ZAB_BENCH_TOOLS tools, such as
// floor,zab*, ZAB_BENCH_SIZE is the number of datasets, snapshots or MiB, ZAB_BENCH_DELAY
// the round trip time of the slow network. ZAB_BENCH_BZFS, ZAB_BENCH_ZELTA and
// ZAB_BENCH_AUTOBACKUP are directories with checkouts of these tools.
func TestBench(t *testing.T) {
	results := os.Getenv("ZAB_BENCH")
	if results == "" {
		t.Skip("ZAB_BENCH is not set")
	}
	if !zabtest.HaveZFS() {
		t.Fatal("this machine has no working ZFS")
	}
	zabtest.NeedZFS(t)
	Run(t, readConfig(t, results))
}

// TestBenchStream measures stages on streams of many records, and needs no pools.
// ZAB_BENCH_STREAM is the directory for the results, ZAB_BENCH_REPS the number of
// repetitions.
func TestBenchStream(t *testing.T) {
	results := os.Getenv("ZAB_BENCH_STREAM")
	if results == "" {
		t.Skip("ZAB_BENCH_STREAM is not set")
	}
	RunStreams(t, readConfig(t, results))
}

// readConfig returns the configuration that the environment describes.
func readConfig(t *testing.T, results string) Config {
	programs, err := zabtest.Programs()
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Programs: programs, Results: results, Delay: 50 * time.Millisecond}
	switch s := os.Getenv("ZAB_BENCH_SCALE"); s {
	case "", "small":
	case "full":
		c.Full = true
	default:
		t.Fatalf("ZAB_BENCH_SCALE: %q is neither small nor full", s)
	}
	number := func(env, what string) int {
		s := os.Getenv(env)
		if s == "" {
			return 0
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("%s: %q is no %s", env, s, what)
		}
		return n
	}
	c.Repetitions = number("ZAB_BENCH_REPS", "number of repetitions")
	c.Size = number("ZAB_BENCH_SIZE", "size")
	patterns := func(env string) (out []string) {
		if s := os.Getenv(env); s != "" {
			out = strings.Split(s, ",")
		}
		for _, p := range out {
			if _, err := path.Match(p, ""); err != nil {
				t.Fatalf("%s: %q: %v", env, p, err)
			}
		}
		return out
	}
	c.Cases, c.Tools = patterns("ZAB_BENCH_ONLY"), patterns("ZAB_BENCH_TOOLS")
	checkout := func(env string) string {
		dir := os.Getenv(env)
		if dir == "" {
			return ""
		}
		if dir, err = filepath.Abs(dir); err != nil {
			t.Fatalf("%s: %v", env, err)
		}
		return dir
	}
	c.Bzfs, c.Zelta, c.Autobackup = checkout("ZAB_BENCH_BZFS"), checkout("ZAB_BENCH_ZELTA"), checkout("ZAB_BENCH_AUTOBACKUP")
	if s := os.Getenv("ZAB_BENCH_DELAY"); s != "" {
		if c.Delay, err = time.ParseDuration(s); err != nil {
			t.Fatalf("ZAB_BENCH_DELAY: %v", err)
		}
	}
	return c
}
