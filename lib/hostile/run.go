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
	w    *workflow
	lies []*Lie
	exit int
	// exits are those of the stages, if they ran one after the other.
	exits                []int
	timeout              bool
	stdout, stderr       string
	log                  []Entry
	srcBefore, dstBefore *Host
	srcAfter, dstAfter   *Host
	canary               bool
	memory               int64
	left                 []string
	// steps are the parts of the run.
	steps []step
	// digest is the path of the real zab-digest.
	digest string
	quiet  time.Duration // until the last of its processes ended
}

// step is one of several commands of a run, with the state after it.
type step struct {
	name           string
	exit           int
	stdout, stderr string
	from, to       int // its entries of the log
	src, dst       *Host
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
	bare         string // the same without zab-digest
	tmp          string
	programs     string // the directory of zab's programs
	limited      bool   // with maxAddressSpace
	queryTimeout bool   // zab has the option --query-timeout
}

// run runs a workflow with lies, in a directory named id.
func (r *runner) run(w *workflow, lies []*Lie, id string) (*outcome, error) {
	dir := filepath.Join(r.tmp, id)
	if err := os.MkdirAll(filepath.Join(dir, "cache"), 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	conf := w.config()
	conf.Digest = filepath.Join(r.programs, "zab-digest")
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
	o := &outcome{w: w, lies: lies, srcBefore: w.src, dstBefore: w.dst, digest: conf.Digest}
	ctx, cancel := context.WithTimeout(context.Background(), maxTime)
	defer cancel()
	args := append([]string{}, w.args...)
	var limit []string
	if slices.ContainsFunc(lies, func(l *Lie) bool { return l.Kind == "silence" }) {
		limit = []string{"--query-timeout=2s"}
		args = append(args, limit...)
		if w.kind == "verify" || w.kind == "proves" {
			args = append(args, "--stall-timeout=2s")
		}
	}
	operands := []string{backup}
	if w.root != "" {
		operands = append(operands, w.root)
	}
	var out, errs bytes.Buffer
	switch source, target := w.remoteOptions(); {
	case w.stages:
		o.exit, err = r.runStages(ctx, dir, append(args, operands...), &errs, o)
	case w.kind == "verify":
		o.exit, err = r.runChain(ctx, dir, [][]string{
			slices.Concat([]string{"zab-select", "--target=" + w.root}, source, target, limit, []string{backup}),
			slices.Concat([]string{"zab-plan", "--utc", "--rename-aside"}, target, limit, []string{w.root}),
			slices.Concat([]string{"zab-verify"}, args),
		}, &out, &errs, o)
	case w.kind == "status" && w.number/5%3 == 0:
		if w.output != "" {
			args = append(args, w.output)
		}
		o.exit, err = r.runChain(ctx, dir, [][]string{
			slices.Concat([]string{"zab-select", "--target=" + w.root, "--excluded"}, source, target, limit, []string{backup}),
			slices.Concat([]string{"zab-plan", "-n", "--orphans", "--utc"}, target, limit, []string{w.root}),
			slices.Concat([]string{"zab-status"}, args),
		}, &out, &errs, o)
		if o.exits != nil {
			o.exit = o.exits[len(o.exits)-1]
		}
	case w.kind == "status":
		if w.output != "" {
			args = append(args, w.output)
		}
		o.exit, err = r.runProgram(ctx, dir, slices.Concat([]string{"zab-status"}, source, target, args, operands), nil, &out, &errs, o)
	case w.within != "":
		err = r.runWithin(ctx, dir, args, operands, srv, o)
		for _, s := range o.steps {
			out.WriteString(s.stdout)
			errs.WriteString(s.stderr)
		}
	default:
		o.exit, err = r.runProgram(ctx, dir, slices.Concat([]string{"zab"}, args, operands), nil, &out, &errs, o)
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
	bin := r.bin
	if !o.w.digest {
		bin = r.bare
	}
	cmd.Env = []string{"PATH=" + bin + ":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + dir, "TMPDIR=" + dir,
		"CACHE_DIRECTORY=" + filepath.Join(dir, "cache"), "XDG_CACHE_HOME=" + filepath.Join(dir, "cache"), runEnv + "=" + dir, "TZ=UTC"}
	// Otherwise programs with the race detector sleep for a second before they exit.
	cmd.Env = append(cmd.Env, "GORACE=atexit_sleep_ms=10")
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

// runChain runs stages one after the other, with the records between them in files. out
// gets what the last one prints. It returns the highest exit status.
func (r *runner) runChain(ctx context.Context, dir string, stages [][]string, out, errs *bytes.Buffer, o *outcome) (exit int, err error) {
	from := os.DevNull
	for i, argv := range stages {
		in, err := os.Open(from)
		if err != nil {
			return exit, err
		}
		out.Reset()
		code, err := r.runProgram(ctx, dir, argv, in, out, errs, o)
		in.Close()
		if err != nil {
			return exit, err
		}
		exit = max(exit, code)
		o.exits = append(o.exits, code)
		from = filepath.Join(dir, fmt.Sprintf("records%d", i))
		if err := os.WriteFile(from, out.Bytes(), 0o600); err != nil {
			return exit, err
		}
	}
	return exit, nil
}

// runWithin runs three backups two minutes apart: one of everything, one with --within, and
// one of everything. Before the last two, something is written to all datasets of the
// source but quietDataset; before the last, a dataset is created outside of the second.
func (r *runner) runWithin(ctx context.Context, dir string, args, operands []string, srv *server, o *outcome) error {
	for i, name := range []string{"before", "within", "after"} {
		srv.mu.Lock()
		src, dst := srv.hosts["src"], srv.hosts["dst"]
		if i > 0 {
			src.Now, dst.Now = src.Now+120, dst.Now+120
			for _, d := range src.Datasets {
				if d.Name != quietDataset {
					d.Written += 4096
				}
			}
		}
		if i == 2 {
			src.add(&Dataset{Name: lateDataset, GUID: guidFor(lateDataset), Written: 4096, Local: map[string]string{"autobackup:" + backup: "true"}})
		}
		srv.mu.Unlock()
		argv := append([]string{"zab"}, args...)
		argv = append(argv, "--now="+now.Add(time.Duration(i)*2*time.Minute).Format(time.RFC3339))
		if name == "within" {
			argv = append(argv, "--within="+o.w.within)
		}
		var out, errs bytes.Buffer
		s := step{name: name}
		s.from = srv.logged()
		code, err := r.runProgram(ctx, dir, append(argv, operands...), nil, &out, &errs, o)
		if err != nil {
			return err
		}
		s.to = srv.logged()
		s.exit, s.stdout, s.stderr = code, out.String(), errs.String()
		srv.mu.Lock()
		s.src, s.dst = src.clone(), dst.clone()
		srv.mu.Unlock()
		o.steps = append(o.steps, s)
	}
	// The last run makes good what the others could not.
	o.exit = o.steps[2].exit
	return nil
}

// In runWithin, lateDataset is created between the runs, and quietDataset does not change.
const lateDataset, quietDataset = "tank/late", "tank/home/alice"

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
