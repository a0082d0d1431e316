// Package proc starts child processes in process groups of their own, so that a program
// ends together with all processes it has started.
//
// Goals: a group is signalled only until its leader has been waited for. After that its
// number is free and may soon belong to an unrelated process.
//
// Non-goals: it knows none of the programs.
package proc

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Group is a command that leads its own process group. It is used like an exec.Cmd; Wait
// must be called after it was started.
type Group struct {
	*exec.Cmd

	// ctx and grace are the arguments of WithContext.
	ctx   context.Context
	grace time.Duration
	left  chan struct{} // closed by Leave
	leave sync.Once

	mu   sync.Mutex
	live bool // started and not yet waited for
	kill func(pid int, sig syscall.Signal) error
}

// New returns a command that gets the signal death when this process dies in any way, if
// the kernel supports that.
func New(death syscall.Signal, name string, args ...string) *Group {
	return newGroup(exec.Command(name, args...), death)
}

// ErrLeft is the error of Wait for a process that does not end though it was killed.
var ErrLeft = errors.New("the process does not end though it was killed")

// afterKill is how long a killed process may take to end. A process that takes longer is
// blocked in the kernel, for example by a missing disk.
const afterKill = 2 * time.Second

// WithContext returns a command like New, whose group gets SIGTERM when the context ends,
// and whose leader is killed if it has not ended after grace. A process that survives
// even that is left behind: see Leave.
func WithContext(ctx context.Context, death syscall.Signal, grace time.Duration, name string, args ...string) *Group {
	g := newGroup(exec.CommandContext(ctx, name, args...), death)
	g.Cancel = func() error { return g.Signal(syscall.SIGTERM) }
	g.WaitDelay, g.ctx, g.grace = grace, ctx, grace
	return g
}

func newGroup(cmd *exec.Cmd, death syscall.Signal) *Group {
	cmd.SysProcAttr = attributes(death)
	return &Group{Cmd: cmd, kill: syscall.Kill, ctx: context.Background(), left: make(chan struct{})}
}

// Start starts the command.
func (g *Group) Start() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	err := g.Cmd.Start()
	g.live = err == nil
	return err
}

// Wait waits until the command has ended, or returns ErrLeft when the command is left
// behind. Once it has ended its group is not signalled any more.
func (g *Group) Wait() error {
	ended := make(chan error, 1)
	go func() {
		if g.Process != nil && awaitEnd(g.Process.Pid) {
			// The ended leader keeps its number, and so does its group, until it is
			// waited for.
			g.over()
		}
		defer g.over()
		ended <- g.Cmd.Wait()
	}()
	select {
	case err := <-ended:
		return err
	case <-g.left:
	case <-g.ctx.Done():
		late := time.NewTimer(g.grace + afterKill)
		defer late.Stop()
		select {
		case err := <-ended:
			return err
		case <-g.left:
		case <-late.C:
		}
	}
	return ErrLeft
}

// Leave makes Wait return though the command has not ended. No signal ends a process that
// is blocked by a device in the kernel; it ends when the device answers, and is waited
// for then. Its output must not be read any more.
func (g *Group) Leave() { g.leave.Do(func() { close(g.left) }) }

func (g *Group) over() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.live = false
}

// Run starts the command and waits for its end.
func (g *Group) Run() error {
	if err := g.Start(); err != nil {
		return err
	}
	return g.Wait()
}

// Output runs the command and returns its standard output.
func (g *Group) Output() ([]byte, error) {
	var out buffer
	g.Stdout = &out
	if err := g.Run(); err != nil {
		if errors.Is(err, ErrLeft) {
			return nil, err // the command may still write to the buffer
		}
		return out.data, err
	}
	return out.data, nil
}

type buffer struct{ data []byte }

func (b *buffer) Write(p []byte) (int, error) {
	b.data = append(b.data, p...)
	return len(p), nil
}

// Signal sends a signal to the whole group. It returns os.ErrProcessDone if the command
// has ended or was never started.
func (g *Group) Signal(sig syscall.Signal) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.live || reaped(g.Process) {
		return os.ErrProcessDone
	}
	if err := g.kill(-g.Process.Pid, sig); err != nil {
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	return nil
}
