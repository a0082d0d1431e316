package zfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Runner runs programs on hosts. In tests, another one stands in for zfs, zpool and ssh.
type Runner interface {
	// Run runs a program until it has ended, and reads all of its output. The error of
	// a program that did not end with 0 has the methods ExitCode and Sys of
	// *exec.ExitError; a *NoConnection has the reason why it was not started on another
	// host.
	Run(ctx context.Context, h *Host, p *Program) error
}

// Program is a program to be run on a host.
type Program struct {
	Argv           []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Started is called when the program has started, with the id of its process, or of
	// ssh's, on this machine; the function that it returns when the program has ended.
	Started func(pid int) (ended func())
}

// NoConnection is the error of a program that cannot be started, since there is no
// connection to its host.
type NoConnection struct{ Err error }

func (e *NoConnection) Error() string { return e.Err.Error() }

func (m *Machine) runner() Runner {
	if m.Runner != nil {
		return m.Runner
	}
	return processes{}
}

// processes runs programs as child processes of this one.
type processes struct{}

func (processes) Run(ctx context.Context, h *Host, p *Program) error {
	local, err := h.Argv(ctx, p.Argv...)
	if err != nil {
		return &NoConnection{err}
	}
	cmd := h.m.Command(ctx, local)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.Stdin, p.Stdout, p.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	defer p.Started(cmd.Process.Pid)()
	return cmd.Wait()
}

// limits are the most that the answer to one question may have. They bound the memory that
// a host can have this program use: the rows of an answer are kept until all have come,
// and until then the host may send as much as it likes.
type limits struct{ lines, bytes int64 }

// Variables for tests.
var (
	// maxAnswer is for any question. A hundred thousand datasets with a hundred
	// snapshots each make ten million lines, of 1.5 GB.
	maxAnswer = limits{20_000_000, 4 << 30}
	// maxFew is for questions about pools, mounts and the like.
	maxFew = limits{1_000_000, 64 << 20}
)

// allow returns the allowance for a question, which may take several programs.
func (l limits) allow() *allowance { return &allowance{most: l} }

// allowance counts what the answer to one question has so far.
type allowance struct{ most, used limits }

// take counts a line.
func (a *allowance) take(line string) error {
	a.used.lines++
	a.used.bytes += int64(len(line)) + 1
	const advice = "find out why that host sends so much, or ask it for fewer datasets at a time"
	switch {
	case a.used.lines > a.most.lines:
		return fmt.Errorf("it has more than %d lines: %s", a.most.lines, advice)
	case a.used.bytes > a.most.bytes:
		return fmt.Errorf("it has more than %d bytes: %s", a.most.bytes, advice)
	}
	return nil
}

// rowWriter calls row with each line that is written to it. After an error of row it
// discards the rest, so that a program that failed can still say why; after 1 MiB or 10
// seconds more it calls end, because the output may never stop.
type rowWriter struct {
	row   func(line string) error
	end   context.CancelCauseFunc
	limit int // of a line with its newline, in bytes
	// left is what the answer may still have.
	left *allowance

	// A program that does not end may still write when nobody waits for it any more.
	mu     sync.Mutex
	closed bool
	lines  int
	part   []byte // the line that has no end yet
	err    error
	rest   int // bytes discarded
	late   *time.Timer
}

const (
	// maxRest is how much of an unusable answer is discarded, in bytes, and maxRestTime
	// for how long, before its program is ended.
	maxRest     = 1 << 20
	maxRestTime = 10 * time.Second
)

var errClosed = errors.New("nobody reads the answer any more")

func (w *rowWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, errClosed
	}
	n := len(p)
	for len(p) > 0 && w.err == nil {
		i := bytes.IndexByte(p, '\n')
		if size := len(w.part) + max(i, 0); size >= w.limit || i < 0 && len(w.part)+len(p) >= w.limit {
			w.fail(fmt.Errorf("line %d is longer than %d bytes: %q", w.lines+1, w.limit, cutText(string(w.part)+string(p[:min(len(p), w.limit)]))))
			break
		}
		if i < 0 {
			w.part = append(w.part, p...)
			return n, nil
		}
		line := string(p[:i])
		if len(w.part) > 0 {
			line = string(w.part) + line
			w.part = w.part[:0]
		}
		p = p[i+1:]
		w.lines++
		if err := w.left.take(line); err != nil {
			w.fail(err)
			break
		}
		if err := w.row(line); err != nil {
			w.fail(fmt.Errorf("line %d: %w", w.lines, err))
		}
	}
	if w.rest += len(p); w.err != nil && w.rest > maxRest {
		w.end(w.err)
	}
	return n, nil
}

func (w *rowWriter) fail(err error) {
	w.err, w.part = err, nil
	w.late = time.AfterFunc(maxRestTime, func() { w.end(err) })
}

// close returns the error of the whole answer. Later writes fail.
func (w *rowWriter) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.late != nil {
		w.late.Stop()
	}
	if w.err == nil && len(w.part) > 0 {
		w.err = fmt.Errorf("line %d is cut off: %q", w.lines+1, cutText(string(w.part)))
	}
	return w.err
}
