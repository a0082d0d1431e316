// Package fake runs the programs of zfs.Machine without processes, for tests.
package fake

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"

	"zab/lib/zfs"
)

// Answer is what a program prints and how it ends: with an exit status, or killed by a
// signal if that is not 0.
type Answer struct {
	Out, Err string
	Code     int
	Signal   syscall.Signal
}

// Runner is a zfs.Runner that has a function answer each program. host is the ssh
// destination, "" for this machine.
type Runner struct {
	Answer func(host string, argv []string, stdin string) Answer

	mu  sync.Mutex
	log []string
}

// Run implements zfs.Runner.
func (r *Runner) Run(ctx context.Context, h *zfs.Host, p *zfs.Program) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.mu.Lock()
	r.log = append(r.log, strings.Join(p.Argv, " "))
	r.mu.Unlock()
	stdin := ""
	if p.Stdin != nil {
		b, err := io.ReadAll(p.Stdin)
		if err != nil {
			return err
		}
		stdin = string(b)
	}
	a := r.Answer(h.Dest, p.Argv, stdin)
	if p.Stdout != nil {
		_, _ = io.WriteString(p.Stdout, a.Out)
	}
	_, _ = io.WriteString(p.Stderr, a.Err)
	if a.Code != 0 || a.Signal != 0 {
		return failure(a)
	}
	return nil
}

// Log returns the programs that were run, each as its arguments joined by blanks.
func (r *Runner) Log() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.log...)
}

// failure has the methods of *exec.ExitError that zfs looks for.
type failure Answer

func (f failure) Error() string {
	if f.Signal != 0 {
		return "signal: " + f.Signal.String()
	}
	return fmt.Sprintf("exit status %d", f.Code)
}

func (f failure) ExitCode() int {
	if f.Signal != 0 {
		return -1
	}
	return f.Code
}

func (f failure) Sys() any { return syscall.WaitStatus(uint32(f.Code)<<8 | uint32(f.Signal)) }
