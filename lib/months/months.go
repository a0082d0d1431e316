// Package months runs nightly backups, on real pools, for simulated months in
// which things go wrong and become right again: disks that are pulled, pools that
// are full, quotas, other tools at work. After each night an observer that knows
// nothing but plain zfs commands looks at what was backed up.
//
// Goals: the faults that administrators report, together and one after the other;
// a judge that shares no code with zab.
//
// Non-goals: kills at each point of a run and lies of a host, which the torture
// and package hostile have.
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

// Config says what is run.
type Config struct {
	// Bin is the folder of zab's programs, Dir one for the pools' files.
	Bin, Dir string
	// Seed is the number of the first month; each depends on its number alone.
	Seed int64
	// Months is how many are run, Nights how many each has. They run one after the
	// other: a run of zab looks at all pools of the machine.
	Months, Nights int
	// Only are the kinds of faults that there are, by parts of their names; "" is all.
	Only string
	// Until ends the last month early; the zero time does not.
	Until time.Time
	// Log is told what is going on, and of each promise that is broken the whole
	// month that led to it. Verbose tells all months.
	Log     io.Writer
	Verbose bool
}

// Result counts what was seen.
type Result struct {
	Months, Nights, Faults, Broken int
	// ByKind is how often each kind of fault began.
	ByKind map[string]int
}

func (r *Result) String() string {
	return fmt.Sprintf("months: %d months, %d nights, %d faults, %d promises broken", r.Months, r.Nights, r.Faults, r.Broken)
}

// Run runs all the months. An error is one of the test itself.
func Run(c Config) (*Result, error) {
	sum := &Result{ByKind: map[string]int{}}
	for n := range c.Months {
		if sum.Broken >= 8 || !c.Until.IsZero() && time.Now().After(c.Until) {
			break
		}
		m := newMonth(&c, c.Seed+int64(n))
		err := m.live()
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

// month is one of them, on pools of its own.
type month struct {
	c    *Config
	rng  *rand.Rand
	seed int64
	dir  string
	name string // of the backup

	// src and usb hold what is backed up, dst the copies.
	src, usb, dst *pool
	now           time.Time
	active        []*fault
	// known are the datasets that are selected, as far as the last look at their
	// pool could tell.
	known map[string]*source
	n     int // for names
	// aside: runs move out of the way what is in the way of a copy.
	aside bool

	nights int
	begun  []string // kinds of faults
	story  []string
	broken string
}

func newMonth(c *Config, seed int64) *month {
	m := &month{c: c, rng: rand.New(rand.NewSource(seed)), seed: seed, name: fmt.Sprintf("m%d", seed),
		now: time.Date(2026, 11, 1, 1, 0, 0, 0, time.UTC), known: map[string]*source{}}
	m.dir = filepath.Join(c.Dir, m.name)
	m.aside = m.one(2)
	for role, p := range map[string]**pool{"s": &m.src, "u": &m.usb, "d": &m.dst} {
		*p = &pool{m: m, name: fmt.Sprintf("zm%d%s", seed, role)}
	}
	return m
}

func (m *month) pools() []*pool { return []*pool{m.src, m.usb, m.dst} }

func (m *month) one(n int) bool { return m.rng.Intn(n) == 0 }

func (m *month) say(format string, a ...any) { m.story = append(m.story, fmt.Sprintf(format, a...)) }

// breaks tells that something is not as it has to be.
func (m *month) breaks(format string, a ...any) {
	if m.broken == "" {
		m.broken = ": " + fmt.Sprintf(format, a...)
	}
	m.say("# BROKEN: "+format, a...)
}

// target is the dataset that the copies are below.
func (m *month) target() string { return m.dst.name + "/bak" }

func (m *month) copyOf(name string) string { return m.target() + "/" + name }

// cannot is a failure of the test itself.
type cannot struct{ error }

// must runs a line of shell that the test itself needs.
func (m *month) must(format string, a ...any) string {
	out, err := m.sh(format, a...)
	if err != nil {
		panic(cannot{fmt.Errorf("%s: %w: %s", fmt.Sprintf(format, a...), err, out)})
	}
	return out
}

// shTime is how long a command of the test may take. Those that touch a pool that
// is suspended wait for it.
const shTime = time.Minute

// sh runs a line of shell, which may fail: a user's may.
func (m *month) sh(format string, a ...any) (string, error) {
	line := fmt.Sprintf(format, a...)
	m.say("%s", line)
	ctx, cancel := context.WithTimeout(context.Background(), shTime)
	defer cancel()
	out, err := m.output(ctx, "sh", "-c", line)
	if err != nil {
		m.say("# %v: %s", err, strings.ReplaceAll(strings.TrimSpace(out), "\n", "; "))
	}
	return out, err
}

// output runs a program. One that hangs in the kernel cannot be ended: it is left
// behind, and goes when its pool comes back.
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

// live is the whole month.
func (m *month) live() (err error) {
	defer m.clean()
	defer func() {
		switch r := recover().(type) {
		case nil:
		case cannot:
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
		m.say("# night %d, %s", night, m.now.Format(time.DateOnly))
		m.come(night)
		m.day()
		m.night()
		m.nights++
		m.now = m.now.Add(24 * time.Hour)
	}
	if m.broken != "" {
		return nil
	}
	m.say("# all is put right")
	for _, f := range slices.Clone(m.active) {
		m.end(f)
	}
	// What was wrong in the last night may leave something to be put right first.
	for i := range 2 {
		m.day()
		m.say("# run %d of 2", i+1)
		status, report := m.zab()
		m.now = m.now.Add(24 * time.Hour)
		if i == 0 || m.broken != "" {
			continue
		}
		if status != 0 {
			m.breaks("all was put right, and the second run ends with %d", status)
		}
		m.look()
		for _, s := range m.sources() {
			if why := m.behind(s); why != "" {
				m.breaks("all was put right, and after two runs '%s' is not backed up: %s\n%s", s.name, why, report)
			}
		}
	}
	return nil
}

// come ends the faults whose time is over, and begins others.
func (m *month) come(night int) {
	for _, f := range slices.Clone(m.active) {
		if f.until <= night {
			m.end(f)
		}
	}
	for tries := 0; m.rng.Intn(3) > 0 && len(m.active) < 4 && tries < 100; tries++ {
		f := m.draw()
		if f == nil {
			continue
		}
		f.until = night + 1
		if !f.general {
			f.until += m.rng.Intn(4)
		}
		m.say("# begins: %s, until night %d", f.what, f.until)
		f.begin()
		m.active = append(m.active, f)
		m.begun = append(m.begun, f.kind)
	}
}

func (m *month) end(f *fault) {
	m.say("# ends: %s", f.what)
	f.end()
	m.active = slices.DeleteFunc(m.active, func(g *fault) bool { return f == g })
}

// nightTime is how long a run may take, also where a pool is suspended.
const nightTime = 4 * time.Minute

// night is one run, and what is to be seen after it.
func (m *month) night() {
	status, report := m.zab()
	if m.broken != "" {
		return
	}
	m.look()
	m.judge(status, report)
}

// zab is one run of the whole command.
func (m *month) zab() (status int, report string) {
	args := []string{"-v", "--utc", "--now=" + m.now.Format(time.RFC3339), "--keep-source=3", "--keep-target=10,1d1w", "--retries=1"}
	if m.aside {
		args = append(args, "--rename-aside")
	}
	for _, f := range m.active {
		args = append(args, f.options...)
	}
	args = append(args, m.name, m.target())
	m.say("zab %s", strings.Join(args, " "))
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
		panic(cannot{err})
	}
	begun := time.Now()
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	during := m.during()
	select {
	case <-done:
		status = cmd.ProcessState.ExitCode()
	case <-time.After(nightTime):
		ps, _ := exec.Command("ps", "-eo", "pid,ppid,stat,wchan:20,args").Output()
		m.breaks("the run does not end:\n%s", ps)
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		status = -1
	}
	during()
	mu.Lock()
	defer mu.Unlock()
	report = out.String()
	m.say("# status %d after %.1f s: %s", status, time.Since(begun).Seconds(), strings.ReplaceAll(strings.TrimSpace(report), "\n", "\n\t#\t"))
	return status, report
}

// during lets what is at work at the same time begin, and gives what ends it.
func (m *month) during() (end func()) {
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
