// Package months runs nightly backups on real pools, through simulated months in which
// faults begin and end: pulled disks, full pools, quotas, other tools at work. After each
// night a judge that uses plain zfs commands alone checks the backups.
//
// Goals: the faults that administrators report, together and one after the other; a judge
// that shares no code with zab.
//
// Non-goals: kills at each point of a run, which the torture tests, and hosts that lie,
// which package hostile tests.
package months

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Config configures Run.
type Config struct {
	// Bin is the directory of zab's programs, Dir one for the files of the pools.
	Bin, Dir string
	// Seed is the number of the first month. A month is drawn from its number alone.
	Seed int64
	// Months is the number of months, Nights the number of nights of each. Months run one
	// after the other, since a run of zab looks at all pools of the machine.
	Months, Nights int
	// Only, if not empty, is a part of the names of the kinds of faults that may occur.
	Only string
	// Until is when the last night may begin; the zero time means no limit.
	Until time.Time
	// Log gets a line for each month, and the whole story of a month that broke a promise
	// or failed; with Verbose, the story of every month.
	Log     io.Writer
	Verbose bool
}

// Result counts the months and nights that were run, their faults and the months that
// broke a promise.
type Result struct {
	Months, Nights, Faults, Broken int
	// ByKind counts the faults by kind.
	ByKind map[string]int
}

func (r *Result) String() string {
	return fmt.Sprintf("months: %d months, %d nights, %d faults, %d promises broken", r.Months, r.Nights, r.Faults, r.Broken)
}

// Run runs the months, until Config.Until has passed or eight months have broken a
// promise. Its error is a failure of the test itself, such as a pool that could not be
// created.
func Run(c Config) (*Result, error) {
	sum := &Result{ByKind: map[string]int{}}
	for n := range c.Months {
		if sum.Broken >= 8 || !c.Until.IsZero() && time.Now().After(c.Until) {
			break
		}
		m := newMonth(&c, c.Seed+int64(n))
		err := m.run()
		sum.Months++
		sum.Nights += m.nights
		for _, k := range m.begun {
			sum.Faults++
			sum.ByKind[k]++
		}
		if m.broken != "" {
			sum.Broken++
		}
		if err != nil || m.broken != "" || c.Verbose {
			fmt.Fprintf(c.Log, "month %d:\n\t%s\n", m.seed, strings.Join(m.story, "\n\t"))
		}
		fmt.Fprintf(c.Log, "month %d: %d nights, %d faults%s\n", m.seed, m.nights, len(m.begun), m.broken)
		if err != nil {
			return sum, fmt.Errorf("month %d: %w", m.seed, err)
		}
	}
	return sum, nil
}

// month is one simulated month, on pools of its own.
type month struct {
	c    *Config
	rng  *rand.Rand
	seed int64
	dir  string
	name string // of the backup, and of the directory

	// src and usb hold the sources, dst the copies.
	src, usb, dst *pool
	now           time.Time
	active        []*fault
	// known are the selected datasets by name, from the last time their pool was
	// readable.
	known   map[string]*source
	counter int // numbers new datasets, files and tags
	// aside: zab runs with --rename-aside.
	aside bool

	nights int
	begun  []string // the kinds of all faults so far
	story  []string
	broken string
}

func newMonth(c *Config, seed int64) *month {
	m := &month{c: c, rng: rand.New(rand.NewSource(seed)), seed: seed, name: fmt.Sprintf("m%d", seed),
		now: time.Date(2026, 11, 1, 1, 0, 0, 0, time.UTC), known: map[string]*source{}}
	m.dir = filepath.Join(c.Dir, m.name)
	m.aside = m.oneIn(2)
	for role, p := range map[string]**pool{"s": &m.src, "u": &m.usb, "d": &m.dst} {
		*p = &pool{m: m, name: fmt.Sprintf("zm%d%s", seed, role)}
	}
	return m
}

func (m *month) pools() []*pool { return []*pool{m.src, m.usb, m.dst} }

func (m *month) oneIn(n int) bool { return m.rng.Intn(n) == 0 }

func (m *month) log(format string, a ...any) { m.story = append(m.story, fmt.Sprintf(format, a...)) }

// broke records that a promise is broken. The first one ends the month.
func (m *month) broke(format string, a ...any) {
	if m.broken == "" {
		m.broken = ": " + fmt.Sprintf(format, a...)
	}
	m.log("# BROKEN: "+format, a...)
}

// target returns the dataset below which the copies are.
func (m *month) target() string { return m.dst.name + "/bak" }

func (m *month) copyOf(name string) string { return m.target() + "/" + name }

// testError is a failure of the test itself; must and others panic with it.
type testError struct{ error }

// must runs a shell command that the test cannot do without.
func (m *month) must(format string, a ...any) string {
	out, err := m.sh(format, a...)
	if err != nil {
		panic(testError{fmt.Errorf("%s: %w: %s", fmt.Sprintf(format, a...), err, out)})
	}
	return out
}

// shTimeout limits the commands of the test, since those that touch a suspended pool hang.
const shTimeout = time.Minute

// sh runs a shell command that may fail.
func (m *month) sh(format string, a ...any) (string, error) {
	line := fmt.Sprintf(format, a...)
	m.log("%s", line)
	ctx, cancel := context.WithTimeout(context.Background(), shTimeout)
	defer cancel()
	out, err := m.output(ctx, "sh", "-c", line)
	if err != nil {
		m.log("# %v: %s", err, strings.ReplaceAll(strings.TrimSpace(out), "\n", "; "))
	}
	return out, err
}

// output runs a program and returns its stdout and stderr. A program that hangs in the
// kernel cannot be killed: it is left behind, and ends when its pool comes back.
func (m *month) output(ctx context.Context, argv ...string) (string, error) {
	var out bytes.Buffer
	var mu sync.Mutex
	cmd := exec.Command(argv[0], argv[1:]...)
	w := writer(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return out.Write(p)
	})
	cmd.Stdout, cmd.Stderr = w, w
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		err = fmt.Errorf("it hangs: %w", ctx.Err())
	}
	mu.Lock()
	defer mu.Unlock()
	return out.String(), err
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// run runs the whole month. Its error is a failure of the test itself.
func (m *month) run() (err error) {
	defer m.clean()
	defer func() {
		switch r := recover().(type) {
		case nil:
		case testError:
			err = r.error
		default:
			panic(r)
		}
	}()
	m.setup()
	for night := 0; night < m.c.Nights && m.broken == ""; night++ {
		if !m.c.Until.IsZero() && time.Now().After(m.c.Until) {
			break
		}
		m.log("# night %d, %s", night, m.now.Format(time.DateOnly))
		m.changeFaults(night)
		m.day()
		m.night()
		m.nights++
		m.now = m.now.Add(24 * time.Hour)
	}
	if m.broken != "" {
		return nil
	}
	m.log("# all faults are repaired")
	for len(m.active) > 0 { // the end of a fault may begin one that is put right later
		m.endFault(m.active[0])
	}
	// Two runs, since the first may have to repair the traces of the last night's faults.
	for i := range 2 {
		m.day()
		m.log("# run %d of 2", i+1)
		status, report := m.runZab()
		m.now = m.now.Add(24 * time.Hour)
		if i == 0 || m.broken != "" {
			continue
		}
		if status != 0 {
			m.broke("all faults were repaired, but the second run ended with exit status %d", status)
		}
		m.readState()
		for _, s := range m.sources() {
			if why := m.whyBehind(s); why != "" {
				m.broke("all faults were repaired, but after two runs '%s' is not backed up: %s\n%s", s.name, why, report)
			}
		}
	}
	return nil
}

// changeFaults ends the faults that are due, and begins new ones.
func (m *month) changeFaults(night int) {
	for _, f := range slices.Clone(m.active) {
		if f.until <= night {
			m.endFault(f)
		}
	}
	for tries := 0; m.rng.Intn(3) > 0 && len(m.active) < 4 && tries < 100; tries++ {
		f := m.draw()
		if f == nil {
			continue
		}
		f.until = night + 1
		if !f.stopsRun {
			f.until += m.rng.Intn(4)
		}
		m.log("# begins: %s, until night %d", f.what, f.until)
		f.begin()
		m.active = append(m.active, f)
		m.begun = append(m.begun, f.kind)
	}
}

func (m *month) endFault(f *fault) {
	m.log("# ends: %s", f.what)
	f.end()
	m.active = slices.DeleteFunc(m.active, func(g *fault) bool { return f == g })
}

// nightTimeout limits a run of zab, even with a suspended pool.
const nightTimeout = 4 * time.Minute

// night runs zab and judges the result.
func (m *month) night() {
	status, report := m.runZab()
	if m.broken != "" {
		return
	}
	m.readState()
	m.judge(status, report)
	if m.broken != "" {
		m.logSpace()
		if !m.dst.unreadable() {
			m.logCopies()
		}
	}
}

// logSpace logs what takes space in the source's pool: one that is full explains what no
// fault does.
func (m *month) logSpace() {
	if !m.src.unreadable() {
		for _, r := range m.rows("list", "-Hpr", "-o", "name,avail,used,usedbysnapshots,usedbydataset,usedbyrefreservation,usedbychildren", m.src.name) {
			m.log("# %s", strings.Join(r, " "))
		}
	}
}

// logCopies logs what was written to each copy since its newest snapshot.
func (m *month) logCopies() {
	for _, r := range m.rows("get", "-Hpr", "-t", "filesystem,volume", "-o", "name,value", "written", m.target()) {
		if r[1] == "0" {
			continue
		}
		m.log("# %s bytes were written to '%s'", r[1], r[0])
		out, _ := m.sh(`zfs diff "$(zfs list -Hd 1 -t snapshot -o name -s createtxg '%[1]s' | tail -n 1)"`, r[0])
		m.log("# %s", strings.ReplaceAll(out, "\n", "; "))
	}
}

// runZab runs the whole backup command and returns its exit status, -1 if it did not end in
// time, and its output.
func (m *month) runZab() (status int, report string) {
	args := []string{"-v", "--utc", "--now=" + m.now.Format(time.RFC3339), "--keep-source=3", "--keep-target=10,1d1w", "--retries=1"}
	if m.aside {
		args = append(args, "--rename-aside")
	}
	for _, f := range m.active {
		args = append(args, f.options...)
	}
	args = append(args, m.name, m.target())
	m.log("zab %s", strings.Join(args, " "))
	cmd := exec.Command(filepath.Join(m.c.Bin, "zab"), args...)
	var out bytes.Buffer
	var mu sync.Mutex
	w := writer(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return out.Write(p)
	})
	cmd.Stdout, cmd.Stderr = w, w
	cmd.Env = append(os.Environ(), "PATH="+m.c.Bin+":"+os.Getenv("PATH"), "TMPDIR="+m.dir, "CACHE_DIRECTORY="+m.dir+"/cache", "TZ=UTC", "LC_ALL=C.UTF-8")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		panic(testError{err})
	}
	begun := time.Now()
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	during := m.startMeanwhile()
	select {
	case <-done:
		status = cmd.ProcessState.ExitCode()
	case <-time.After(nightTimeout):
		ps, _ := exec.Command("ps", "-eo", "pid,ppid,stat,wchan:20,args").Output()
		m.broke("the run does not end:\n%s", ps)
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		status = -1
	}
	during()
	mu.Lock()
	defer mu.Unlock()
	report = out.String()
	m.log("# status %d after %.1f s: %s", status, time.Since(begun).Seconds(), strings.ReplaceAll(strings.TrimSpace(report), "\n", "\n\t#\t"))
	return status, report
}

// startMeanwhile starts the meanwhile functions of the active faults. end stops them and waits.
func (m *month) startMeanwhile() (end func()) {
	var wait sync.WaitGroup
	stop := make(chan struct{})
	for _, f := range m.active {
		if f.meanwhile != nil {
			wait.Go(func() { f.meanwhile(stop) })
		}
	}
	return func() {
		close(stop)
		wait.Wait()
	}
}
