// Package zfs runs zfs and zpool, here or on another host over ssh, parses their output,
// and classifies their messages by kind. No other package runs them, except that
// lib/stream runs the programs of a transfer.
//
// Goals: commands as argv, with one quoting function where a remote shell cannot be
// avoided; typed facts from zfs's tables; typed errors from its messages, with its own
// words kept; few processes.
//
// Non-goals: it makes no decision about backups. Operations that change a pool have files
// of their own: snapshot.go, destroy.go, hold.go, bookmark.go, bookmarks.go, create.go,
// rollback.go, clone.go, mount.go, recv.go; program.go runs the channel programs that
// some of them use.
package zfs

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"zab/lib/proc"
	"zab/lib/record"
)

// Machine runs programs on this machine and, over ssh, on others. A process needs only
// one; Close ends the ssh connections that it set up.
type Machine struct {
	// SSHConfig is the file for ssh -F; "" means ssh's default configuration.
	SSHConfig string
	// Debug, if set, is called with every command, as text that can be pasted into a
	// shell.
	Debug func(command string)
	// Noise, if set, is called with each line on a listing's stderr that reports no
	// failure, such as the output of a login script.
	Noise func(h *Host, line string)
	// QueryTimeout limits each program that changes nothing, and each zfs snapshot
	// and zpool sync; 0 means no limit.
	QueryTimeout time.Duration
	// Runner runs the programs; nil means as processes.
	Runner Runner
	// Kstat is the directory in which this machine's kernel reports the states of its
	// pools; "" means Linux's default.
	Kstat string

	mu    sync.Mutex
	hosts map[string]*Host
	dir   string // the directory of the control sockets of this process
	// masters are the ssh connections that this process set up.
	masters []*master
	closed  bool
}

// Host is a machine that has datasets: this one, or one behind an ssh destination.
type Host struct {
	m *Machine
	// Dest is the ssh destination; "" means this machine.
	Dest string

	conn connection

	features featureCache
	trees    treeNames
	lost     lostPools
}

// Host returns the host behind an ssh destination, or this machine for "". It returns the
// same Host for each call with a destination.
func (m *Machine) Host(dest string) *Host {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hosts == nil {
		m.hosts = map[string]*Host{}
	}
	h := m.hosts[dest]
	if h == nil {
		h = &Host{m: m, Dest: dest}
		m.hosts[dest] = h
	}
	return h
}

// Here reports whether the host is this machine.
func (h *Host) Here() bool { return h.Dest == "" }

// String returns the host's name for messages.
func (h *Host) String() string {
	if h.Here() {
		return "this machine"
	}
	return h.Dest
}

// Argv returns the command to start on this machine so that argv runs on the host. Shell
// code must be given as /bin/sh -c, because the user's login shell there may be any
// shell.
func (h *Host) Argv(ctx context.Context, argv ...string) ([]string, error) {
	if h.Here() {
		return argv, nil
	}
	ssh, err := h.connect(ctx)
	if err != nil {
		return nil, err
	}
	return append(slices.Clone(ssh), loginLine(argv)), nil
}

// environ returns this process's environment with the C locale, because this package
// parses the English messages of zfs.
func environ() []string {
	env := os.Environ()
	out := env[:0:0]
	for _, e := range env {
		if strings.HasPrefix(e, "LC_ALL=") || strings.HasPrefix(e, "LANG=") || strings.HasPrefix(e, "LC_MESSAGES=") {
			continue
		}
		out = append(out, e)
	}
	return append(out, "LC_ALL=C")
}

// Command prepares argv, as returned by Argv, as a child in a process group of its own
// that dies with this process.
func (m *Machine) Command(ctx context.Context, argv []string) *proc.Group {
	if m.Debug != nil {
		m.Debug(Quote(argv...))
	}
	cmd := proc.WithContext(ctx, syscall.SIGKILL, 5*time.Second, argv[0], argv[1:]...)
	cmd.Env = environ()
	return cmd
}

// call is one question or command to a host.
type call struct {
	argv  []string
	stdin io.Reader
	// row is called with each line of the output; out gets the whole output.
	row func(line string) error
	out io.Writer
	// started, if set, is called when the program has started.
	started func()
	// left is how many lines and bytes row may still get; nil means maxAnswer.
	left *allowance
	// question: the program changes nothing, so it may be ended after QueryTimeout.
	question bool
	// limited: the program acts on its pools but leaves nothing half done, so it may
	// be ended after QueryTimeout as well.
	limited bool
}

// ask runs a program that changes nothing, and calls row with each line of its output. It
// returns an error unless the answer is complete.
func (h *Host) ask(ctx context.Context, row func(line string) error, argv ...string) error {
	return h.askMore(ctx, maxAnswer.allow(), row, argv...)
}

// askFew is ask for a question whose answer is short on any machine.
func (h *Host) askFew(ctx context.Context, row func(line string) error, argv ...string) error {
	return h.askMore(ctx, maxFew.allow(), row, argv...)
}

// askMore is ask for one of several programs that answer a question together.
func (h *Host) askMore(ctx context.Context, left *allowance, row func(line string) error, argv ...string) error {
	return h.do(ctx, call{argv: argv, row: row, question: true, left: left})
}

// run runs a program that changes something.
func (h *Host) run(ctx context.Context, argv ...string) error {
	return h.do(ctx, call{argv: argv})
}

var errTimeout = errors.New("it took too long")

// do runs a program and turns its failure into an *Error.
func (h *Host) do(ctx context.Context, c call) error {
	argv := c.argv
	if err := CheckArgv(argv); err != nil {
		return err
	}
	if err := h.suspended(argv); err != nil {
		return err
	}
	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stderr := tail{size: maxMessages, most: 16 * maxMessages}
	p := Program{Argv: argv, Stdin: c.stdin, Stdout: c.out, Stderr: &stderr, Started: func(pid int) (ended func()) {
		if c.started != nil {
			c.started()
		}
		unwatch := h.watchCall(ctx, argv, pid, cancel)
		if limit := h.m.QueryTimeout; (c.question || c.limited) && limit > 0 {
			late := time.AfterFunc(limit, func() { cancel(errTimeout) })
			return func() { late.Stop(); unwatch() }
		}
		return unwatch
	}}
	var rows *rowWriter
	if c.row != nil {
		rows = &rowWriter{row: c.row, end: cancel, limit: maxLine, left: cmp.Or(c.left, maxAnswer.allow())}
		p.Stdout = rows
	}
	err := h.m.runner().Run(ctx, h, &p)
	var rowErr error
	if rows != nil {
		rowErr = rows.close()
	}
	var lost *Error
	var apart *NoConnection
	switch {
	case outer.Err() != nil && (err != nil || rowErr != nil):
		return context.Cause(outer)
	case errors.As(err, &apart):
		return apart.Err
	case errors.As(context.Cause(ctx), &lost) && (err != nil || rowErr != nil):
		one := *lost
		one.Argv = argv
		return &one
	case errors.Is(context.Cause(ctx), errTimeout) && (err != nil || rowErr != nil):
		what := "was ended"
		if errors.Is(err, proc.ErrLeft) {
			what = "cannot be ended before its pool answers"
		}
		return &Error{Kind: record.KindTimeout, Host: h.Dest, Argv: argv, Code: -1,
			Lines: []string{fmt.Sprintf("'%s' gave no answer in %s, and %s", strings.Join(argv[:min(2, len(argv))], " "), h.m.QueryTimeout, what)}}
	case err != nil && (rowErr == nil || context.Cause(ctx) == nil):
		// The output of a program that failed may be cut off, so its failure
		// outranks rowErr.
		return h.failed(argv, err, stderr.String())
	case rowErr == nil:
		if isListing(argv) {
			return h.notWhole(argv, stderr.String())
		}
		return nil
	}
	return h.badAnswer(argv, "%s", rowErr)
}

// watchCall cancels a program that waits for a suspended pool. end stops watching.
func (h *Host) watchCall(ctx context.Context, argv []string, pid int, cancel context.CancelCauseFunc) (end func()) {
	pools, stuck := PoolsOf(argv), func() bool { return true }
	if isListing(argv) {
		// A listing covers many pools, and zfs leaves out the suspended ones, so a
		// suspended pool does not mean that the listing waits for it.
		if !h.Here() {
			return func() {}
		}
		pools, stuck = nil, stuckIn(pid)
	}
	return h.watch(ctx, pools, stuck, func(err error) { cancel(err) })
}

// tail keeps the beginning and the end of a program's stderr, so that the cause of a
// failure is kept and memory stays bounded even if the program never stops.
type tail struct {
	mu   sync.Mutex
	head bytes.Buffer
	last []byte
	cut  bool
	size int // of the beginning and of the end, in bytes; 0 means tailSize
	// most is the total number of bytes after which Write fails; 0 means no limit.
	// all is the number of bytes so far.
	most, all int
}

const tailSize = 32 << 10

var errTalks = errors.New("its messages have no end")

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	if t.all += n; t.most > 0 && t.all > t.most {
		return 0, errTalks
	}
	size := cmp.Or(t.size, tailSize)
	if room := size - t.head.Len(); room > 0 {
		k := min(room, len(p))
		t.head.Write(p[:k])
		p = p[k:]
	}
	t.last = append(t.last, p...)
	// Not at each write, because trimming moves all the bytes that are kept.
	if over := len(t.last) - size; over > size {
		t.last = append(t.last[:0], t.last[over:]...)
		t.cut = true
	}
	return n, nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.head.String()
	if t.cut {
		s += "\n...\n"
	}
	last := t.last
	if over := len(last) - cmp.Or(t.size, tailSize); over > 0 {
		last = last[over:]
		s = strings.TrimSuffix(s, "\n...\n") + "\n...\n"
	}
	return strings.TrimSpace(s + string(last))
}

// Stderr is a writer for a child's stderr that keeps the beginning and the end of it.
type Stderr = tail
