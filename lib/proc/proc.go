// Package proc starts child processes in process groups of their own, so that a
// program is ended together with all that it has started.
//
// Goals: a signal goes to a group only while its leader is this process's to
// wait for. The number of a process that was waited for is free, and may be a
// stranger's a moment later.
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

// Group is a command that leads a process group of its own. It is used as an
// exec.Cmd is; Wait must be called once it was started.
type Group struct {
	*exec.Cmd

	// ctx and grace are those of WithContext.
	ctx   context.Context
	grace time.Duration
	left  chan struct{} // closed by Leave
	leave sync.Once

	mu   sync.Mutex
	live bool // started, and not waited for
	kill func(pid int, sig syscall.Signal) error
}

// New returns a command that the kernel, where it can, sends the signal death
// when this process dies, however it dies.
func New(death syscall.Signal, name string, args ...string) *Group {
	return newGroup(exec.Command(name, args...), death)
}

// ErrLeft is what Wait returns for a process that does not end though it was
// killed.
var ErrLeft = errors.New("the process does not end though it was killed")

// afterKill is how long a process that was killed may take to end. One that takes
// longer waits in the kernel, such as for a disk that is gone.
const afterKill = 2 * time.Second

// WithContext returns New's command, whose group gets SIGTERM when the context
// ends, and whose leader is killed if it has not ended after grace. One that
// not even that ends is left behind: see Leave.
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

// Wait waits for the command's end, or until it is left behind, which ErrLeft
// tells. From then on nothing is signalled.
func (g *Group) Wait() error {
	ended := make(chan error, 1)
	go func() {
		if g.Process != nil && awaitEnd(g.Process.Pid) {
			// The leader has ended and keeps its number, and so does its group,
			// until it is waited for.
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

// Leave ends Wait though the command has not ended. No signal ends a process that
// waits for a device in the kernel; it goes when the device answers, and is waited
// for then. Nothing may be read of what it prints any more.
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

// Output runs the command and returns what it prints on standard output.
func (g *Group) Output() ([]byte, error) {
	var out buffer
	g.Stdout = &out
	if err := g.Run(); err != nil {
		if errors.Is(err, ErrLeft) {
			return nil, err // it may go on writing
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

// Signal sends a signal to the whole group; os.ErrProcessDone tells that the
// command has ended or never began.
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
