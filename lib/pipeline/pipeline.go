// Package pipeline starts the programs of the toolkit for the programs that connect them:
// it makes their command lines from options of the same names, finds them, connects to the
// hosts for them, and ends them.
//
// Goals: what is started can be printed and pasted into a shell; no program outlives the
// one that started it.
//
// Non-goals: it reads no records, and decides nothing.
package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jessevdk/go-flags"

	"zab/lib/cli"
	"zab/lib/dataset"
	"zab/lib/proc"
	"zab/lib/zfs"
)

// Stage is one command of a pipeline.
type Stage struct {
	Program  cli.Program
	Argv     []string // including the program's name
	Operands []string
}

// New returns the stage that starts a program with those of the given options that it
// has, except for own, which are not passed on; then with extra options, and operands.
func New(p cli.Program, given map[string][]string, own map[string]bool, extra, operands []string) Stage {
	argv := []string{p.Name}
	cli.EachOption(p.Parser(), func(opt *flags.Option) {
		if !own[opt.LongName] {
			argv = append(argv, given[opt.LongName]...)
		}
	})
	argv = append(argv, extra...)
	return Stage{p, append(argv, operands...), operands}
}

// Given returns the options that differ from their defaults as arguments, by long name.
// options is a pointer to a struct as in cli.Program.
func Given(options any) map[string][]string {
	out := map[string][]string{}
	p := cli.Program{Name: "zab", Options: options}
	cli.EachOption(p.Parser(), func(opt *flags.Option) {
		v := reflect.ValueOf(opt.Value())
		name := "--" + opt.LongName
		isDefault := false
		if len(opt.Default) == 1 {
			isDefault = fmt.Sprint(opt.Value()) == opt.Default[0]
		}
		switch {
		case isDefault:
		case v.Kind() == reflect.Bool:
			if v.Bool() {
				out[opt.LongName] = []string{name}
			}
		case v.Kind() == reflect.Slice:
			for i := range v.Len() {
				out[opt.LongName] = append(out[opt.LongName], name+"="+fmt.Sprint(v.Index(i)))
			}
		case !v.IsZero() || len(opt.Default) == 1:
			// Zero is not the default of an option whose default is another number.
			out[opt.LongName] = []string{name + "=" + fmt.Sprint(opt.Value())}
		}
	})
	return out
}

// Check has each stage check its options and operands, so that an error is found before
// anything is started.
func Check(stages []Stage) error {
	for _, s := range stages {
		if s.Program.Check == nil {
			continue
		}
		if _, err := s.Program.Parser().ParseArgs(s.Argv[1:]); err != nil {
			return fmt.Errorf("%s", strings.TrimSpace(err.Error()))
		}
		if err := s.Program.Check(s.Operands); err != nil {
			return err
		}
	}
	return nil
}

// Connect opens one connection to each remote host, to all at once, which this process and
// the stages that it starts share. It retries up to retries times while a host is
// unreachable. The first host that cannot be connected to ends the attempts for the others.
func Connect(ctx context.Context, m *zfs.Machine, retries int, hosts ...dataset.Host) error {
	trying, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	var all sync.WaitGroup
	for i, dest := range hosts {
		if slices.Contains(hosts[:i], dest) {
			continue
		}
		all.Go(func() {
			if err := m.Host(string(dest)).Connect(trying, retries); err != nil {
				giveUp(fmt.Errorf("cannot connect to '%s': %w", dest, err))
			}
		})
	}
	if all.Wait(); trying.Err() != nil {
		return context.Cause(trying)
	}
	if os.Getenv(zfs.ControlEnv) != "" {
		return nil // the parent of this process has set them up
	}
	return os.Setenv(zfs.ControlEnv, cmp.Or(m.ControlDir(), zfs.NoControl))
}

// Text returns the equivalent shell pipeline.
func Text(stages []Stage) string {
	var lines []string
	for _, s := range stages {
		lines = append(lines, zfs.Quote(s.Argv...))
	}
	return strings.Join(lines, " |\n  ") + "\n"
}

// find returns the path of a stage's program: next to this one if it exists there, else
// its bare name, which is looked up on PATH.
func find(name string) string {
	if self, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(self); err == nil {
			self = real
		}
		beside := filepath.Join(filepath.Dir(self), name)
		if st, err := os.Stat(beside); err == nil && !st.IsDir() {
			return beside
		}
	}
	return name
}

// Running is a started stage.
type Running struct {
	Name string
	cmd  *proc.Group
	done chan error
}

// Start starts a stage in a process group of its own, so that Ctrl-C reaches only the
// program that started it, which ends the stages in good order. If that is killed, the
// kernel ends them.
func (s Stage) Start(stdin io.Reader, stdout, stderr io.Writer) (*Running, error) {
	cmd := proc.New(syscall.SIGTERM, find(s.Argv[0]), s.Argv[1:]...)
	cmd.Args[0] = s.Argv[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	cmd.Env = append(os.Environ(), cli.ParentEnv+"="+strconv.Itoa(os.Getpid()))
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", s.Argv[0], err)
	}
	r := &Running{s.Argv[0], cmd, make(chan error, 1)}
	go func() { r.done <- cmd.Wait() }()
	return r, nil
}

// Wait waits for a stage to end, at most until the context ends.
func (r *Running) Wait(ctx context.Context) error {
	select {
	case err := <-r.done:
		r.done <- err
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// EndAll ends all stages that still run, first by SIGTERM, so that a stage can end its
// own children on both sides and a receive can save its received part. A stage for which
// patient is true is waited for however long it takes; nil stands for none. A second
// signal ends even that.
func EndAll(all []*Running, patient func(name string) bool) {
	for _, r := range all {
		_ = r.cmd.Signal(syscall.SIGTERM)
	}
	deadline := time.After(15 * time.Second)
	for _, r := range all {
		if patient != nil && patient(r.Name) {
			<-r.done
			r.done <- nil
			continue
		}
		select {
		case <-r.done:
			r.done <- nil
		case <-deadline:
			_ = r.cmd.Signal(syscall.SIGKILL)
			deadline = time.After(time.Second)
		}
	}
}

// ExitCode returns the exit status of a stage, or -1 if a signal ended it.
func ExitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}
