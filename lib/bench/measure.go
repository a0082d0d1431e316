package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"zab/lib/zabtest"
)

// cell holds the measurements of one tool with one workload at one place.
type cell struct {
	w        *workload
	p        place
	n        int
	tool     string
	seconds  []float64 // of each repetition
	spent    float64   // sum of the seconds, and of those that restored crowded pools
	estimate float64   // of the seconds, where no run has been measured
	failed   bool      // a run failed, so none counts
	// From process accounting, by the names of programs; nil if there is none:
	programs map[string]int     // how often each was started
	cpu      map[string]float64 // seconds of processor time
	memory   int64              // peak in bytes; 0 if it was not measured
}

// measure measures all tools with a workload of size n at a place.
func (b *bench) measure(w *workload, n int, p place) {
	var list []*cell
	tools := slices.DeleteFunc(w.tools(p, n), func(tl tool) bool {
		return b.Tools != nil && !slices.ContainsFunc(b.Tools, func(p string) bool {
			ok, _ := path.Match(p, tl.name)
			return ok
		})
	})
	for _, tl := range tools {
		c := &cell{w: w, p: p, n: n, tool: tl.name}
		c.estimate = b.expected(c)
		list = append(list, c)
		b.cells = append(b.cells, c)
	}
	b.say("%s, %d %s, %s", w.title, n, w.unit, p.name)
	for rep := range b.repetitions() {
		order := slices.Clone(tools)
		if rep%2 == 1 {
			slices.Reverse(order)
		}
		for _, tl := range order {
			c := list[slices.IndexFunc(tools, func(o tool) bool { return o.name == tl.name })]
			if rep == 0 && c.estimate > b.limit.Seconds() {
				b.say("    %-24s not run: it would take about %.0f s", tl.name, c.estimate)
			} else if !c.failed && len(c.seconds) == rep && c.spent < b.budget.Seconds() {
				c.estimate = 0
				b.measureOnce(c, tl, rep)
			}
		}
	}
	if p.host != "" {
		return
	}
	for i, tl := range tools {
		// Reading the process table takes time, so the memory is measured in a run of its
		// own.
		if c := list[i]; len(c.seconds) > 0 && strings.HasPrefix(tl.name, "zab") && n == w.main && c.spent < b.budget.Seconds() {
			err := b.reset(c, tl)
			if err == nil {
				_, c.memory, err = b.runTool(c, tl, true)
			}
			if err != nil {
				b.fail(c, err)
			}
		}
	}
}

// fail notes that a run of a cell failed.
func (b *bench) fail(c *cell, err error) {
	c.failed, c.seconds = true, nil
	b.say("    %-24s failed: %v", c.tool, err)
	b.t.Errorf("%s, %s: '%s' failed: %v", c.w.name, c.p.name, c.tool, err)
}

// expected returns the expected time of a run in seconds, according to a run of the same or
// a smaller size, or at a nearer place; 0 if there was none.
func (b *bench) expected(c *cell) float64 {
	guess := 0.0
	for _, o := range b.cells {
		if o.w == c.w && o.tool == c.tool && o.n <= c.n {
			if len(o.seconds) > 0 {
				guess = o.seconds[0] * float64(c.n) / float64(max(o.n, 1))
				if o.n == 1 {
					guess /= 2 // most of that time was startup
				}
			} else {
				guess = o.estimate * float64(c.n) / float64(o.n)
			}
		}
	}
	return guess
}

// reset restores the state in which a tool begins.
func (b *bench) reset(c *cell, tl tool) error {
	b.makeTemplate(c.w, c.n)
	begun := time.Now()
	b.restore(c.w, c.n)
	var err error
	for i := 0; tl.warm != nil && i < 2 && err == nil; i++ {
		_, _, err = b.runTool(c, tool{argv: tl.warm, env: tl.env}, false)
	}
	if c.w.crowd > 0 {
		// Mounting a crowd takes longer than most runs, so it counts for the budget.
		c.spent += time.Since(begun).Seconds()
	}
	return err
}

// measureOnce measures one repetition, and fails if its outcome is wrong. The first one also
// has the programs counted.
func (b *bench) measureOnce(c *cell, tl tool, rep int) {
	if err := b.reset(c, tl); err != nil {
		b.fail(c, err)
		return
	}
	var acct *accounting
	if rep == 0 {
		acct = account(filepath.Join(b.root, "acct"))
	}
	took, _, err := b.runTool(c, tl, false)
	if acct != nil {
		c.programs, c.cpu = acct.stop()
	}
	if err == nil {
		if got := b.must("zfs list -Hro name -t snapshot " + c.w.count + " | wc -l"); got != strconv.Itoa(c.w.want(c.n)) {
			err = fmt.Errorf("%s has %s snapshots, and should have %d", c.w.count, got, c.w.want(c.n))
		}
	}
	if err != nil {
		b.fail(c, err)
		return
	}
	c.seconds, c.spent = append(c.seconds, took), c.spent+took
	b.say("    %-24s %8.2f s", tl.name, took)
	b.writeJSON(map[string]any{"case": c.w.name, "place": c.p.name, c.w.unit: c.n, "tool": c.tool, "repetition": rep, "seconds": took,
		"programs": c.programs, "cpu_seconds": c.cpu})
}

// runTool runs a tool once; with watch, it also measures the peak of the memory in bytes. The
// output goes to a file and not to a pipe, which an ssh connection that the tool leaves behind
// would keep open.
func (b *bench) runTool(c *cell, tl tool, watch bool) (seconds float64, memory int64, err error) {
	out, err := os.Create(filepath.Join(b.root, "out"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer out.Close()
	argv := slices.Clone(tl.argv)
	if p := zabtest.LookPath(b.path, argv[0]); p != "" {
		argv[0] = p
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(b.env(), tl.env...), out, out
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	peak := make(chan int64, 1)
	done := make(chan struct{})
	if watch {
		go func() { peak <- peakMemory(cmd.Process.Pid, done) }()
	} else {
		peak <- 0
	}
	err = cmd.Wait()
	seconds = time.Since(begun).Seconds()
	close(done)
	if err != nil {
		text, _ := os.ReadFile(out.Name())
		err = fmt.Errorf("%s: %w\n%s", strings.Join(tl.argv, " "), err, text)
	}
	return seconds, <-peak, err
}

// peakMemory returns the peak of the memory of all programs of zab among a process and its
// descendants, in bytes. Others, such as zfs and ssh, do not count.
func peakMemory(pid int, done <-chan struct{}) int64 {
	peak := int64(0)
	for {
		select {
		case <-done:
			return peak
		case <-time.After(20 * time.Millisecond):
		}
		all := zabtest.Processes()
		tree := zabtest.Descendants(all, pid)
		tree[pid] = true
		now := int64(0)
		for p := range tree {
			if !strings.HasPrefix(all[p].Name, "zab") {
				continue
			}
			data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p))
			for line := range strings.Lines(string(data)) {
				if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
					n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
					now += n << 10
				}
			}
		}
		peak = max(peak, now)
	}
}
