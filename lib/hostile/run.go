package hostile

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The limits of a run. The memory is that of the largest of its processes.
const (
	maxTime   = 60 * time.Second
	maxMemory = 400 << 20
	// maxAddressSpace is the limit of a process's address space in KiB, so that a runaway
	// process does not take the memory of the machine.
	maxAddressSpace = 6 << 20
	// gracePeriod is how long the processes of a run may outlive it.
	gracePeriod = 5 * time.Second
)

// outcome is all that is known about a run when it is over.
type outcome struct {
	w                    *workflow
	lies                 []*Lie
	exit                 int
	timeout              bool
	stdout, stderr       string
	log                  []Entry
	srcBefore, dstBefore *Host
	srcAfter, dstAfter   *Host
	canary               bool
	memory               int64
	left                 []string
	quiet                time.Duration // until the last of its processes ended
}

// before returns the host src or dst as it was before the run; after, as it was at the
// end.
func (o *outcome) before(host string) *Host {
	if host == "src" {
		return o.srcBefore
	}
	return o.dstBefore
}

func (o *outcome) after(host string) *Host {
	if host == "src" {
		return o.srcAfter
	}
	return o.dstAfter
}

// runner runs workflows.
type runner struct {
	bin          string // the directory of the stand-ins and zab's programs
	tmp          string
	limited      bool // with maxAddressSpace
	queryTimeout bool // zab has the option --query-timeout
}

// run runs a workflow with lies, in a directory named id.
func (r *runner) run(w *workflow, lies []*Lie, id string) (*outcome, error) {
	dir := filepath.Join(r.tmp, id)
	if err := os.MkdirAll(filepath.Join(dir, "cache"), 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	conf := w.config()
	if lies != nil {
		conf.Hostile, conf.Lies = w.hostile, lies
	}
	live := newWorkflow(w.shape, w.number)
	for _, l := range lies {
		if l.Signature == userProperty {
			l.plant(live.src)
			l.plant(w.src)
		}
	}
	srv, err := startServer(dir, conf, map[string]*Host{"src": live.src, "dst": live.dst})
	if err != nil {
		return nil, err
	}
	defer srv.close()
	o := &outcome{w: w, lies: lies, srcBefore: w.src, dstBefore: w.dst}
	ctx, cancel := context.WithTimeout(context.Background(), maxTime)
	defer cancel()
	args := append([]string{}, w.args...)
	if slices.ContainsFunc(lies, func(l *Lie) bool { return l.Kind == "silence" }) {
		args = append(args, "--query-timeout=2s")
	}
	args = append(args, backup)
	if w.root != "" {
		args = append(args, w.root)
	}
	var out, errs bytes.Buffer
	if w.stages {
		o.exit, err = r.runStages(ctx, dir, args, &errs, o)
	} else {
		o.exit, err = r.runProgram(ctx, dir, append([]string{"zab"}, args...), nil, &out, &errs, o)
	}
	if err != nil {
		return nil, err
	}
	o.timeout = ctx.Err() != nil
	o.stdout, o.stderr = out.String(), errs.String()
	begun := time.Now()
	for {
		o.left = leftovers(dir)
		if o.quiet = time.Since(begun); o.left == nil || o.quiet > gracePeriod {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if o.left != nil {
		for _, l := range o.left {
			pid, _ := strconv.Atoi(strings.Fields(l)[0])
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	srv.close()
	o.srcAfter, o.dstAfter, o.log = live.src, live.dst, srv.entries
	_, err = os.Stat(filepath.Join(dir, "canary"))
	o.canary = err == nil
	return o, nil
}

// runProgram runs a program to its end and returns its exit status, 128 plus the number
// of the signal if one killed it.
func (r *runner) runProgram(ctx context.Context, dir string, argv []string, stdin *os.File, out, errs *bytes.Buffer, o *outcome) (int, error) {
	// A shell, since it finds the program in the PATH below.
	if r.limited {
		argv = append([]string{"/bin/sh", "-c", fmt.Sprintf("ulimit -v %d; exec \"$@\"", maxAddressSpace), "sh"}, argv...)
	} else {
		argv = append([]string{"/bin/sh", "-c", `exec "$@"`, "sh"}, argv...)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + r.bin + ":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + dir, "TMPDIR=" + dir,
		"CACHE_DIRECTORY=" + filepath.Join(dir, "cache"), "XDG_CACHE_HOME=" + filepath.Join(dir, "cache"), runEnv + "=" + dir, "TZ=UTC"}
	if stdin != nil {
		cmd.Stdin = stdin
	}
	cmd.Stdout, cmd.Stderr = out, errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A process left behind may keep the pipes open; leftovers finds it.
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if cmd.ProcessState == nil {
		return 0, err
	}
	// The peak of a new process starts at its parent's peak, so a value up to this
	// process's own says nothing.
	var own syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &own)
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok && u.Maxrss > own.Maxrss {
		o.memory = max(o.memory, u.Maxrss<<10)
	}
	ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return ws.ExitStatus(), nil
}

// runStages runs the stages one after the other, with the records between them in files,
// and zab-xfer a second time with the plan that is already carried out. It returns the
// highest exit status.
func (r *runner) runStages(ctx context.Context, dir string, args []string, errs *bytes.Buffer, o *outcome) (exit int, err error) {
	var text bytes.Buffer
	if exit, err = r.runProgram(ctx, dir, append([]string{"zab", "--show-pipeline"}, args...), nil, &text, errs, o); err != nil || exit != 0 {
		return exit, err
	}
	stages := strings.Split(strings.TrimSuffix(text.String(), "\n"), " |\n  ")
	records, number := "", 0
	runStage := func(stage, from string) (string, error) {
		in, err := os.Open(or(from, os.DevNull))
		if err != nil {
			return "", err
		}
		defer in.Close()
		var records bytes.Buffer
		code, err := r.runProgram(ctx, dir, []string{"/bin/sh", "-c", "exec " + stage}, in, &records, errs, o)
		exit = max(exit, code)
		number++
		to := filepath.Join(dir, fmt.Sprintf("records%d", number))
		if err == nil {
			err = os.WriteFile(to, records.Bytes(), 0o600)
		}
		return to, err
	}
	for _, stage := range stages {
		plan := records
		if records, err = runStage(stage, records); err != nil {
			return exit, err
		}
		if strings.HasPrefix(stage, "zab-xfer") {
			if _, err := runStage(stage, plan); err != nil {
				return exit, err
			}
		}
	}
	return exit, nil
}

// leftovers returns the process ids and command lines of a run's processes that still
// exist.
func leftovers(dir string) (out []string) {
	mark := []byte(runEnv + "=" + dir + "\x00")
	all, _ := os.ReadDir("/proc")
	for _, e := range all {
		if c := e.Name()[0]; c < '1' || c > '9' {
			continue
		}
		env, err := os.ReadFile("/proc/" + e.Name() + "/environ")
		if err != nil || !bytes.Contains(env, mark) {
			continue
		}
		line, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		out = append(out, e.Name()+" "+string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
	}
	return out
}
