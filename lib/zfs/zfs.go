// Package zfs is the only one that starts zfs and zpool for their answers, here or on
// another host over ssh, and that sorts their messages into kinds.
//
// Goals: argv everywhere and one quoting function where a remote shell cannot
// be avoided; typed facts out of zfs's tables; typed errors out of its
// messages, its own words kept; few programs.
//
// Non-goals: it takes no decision about backups. What changes a pool stands in
// files of its own: snapshot.go, destroy.go, hold.go, bookmark.go, bookmarks.go,
// create.go, rollback.go, clone.go, mount.go, recv.go; program.go runs the channel
// programs of some of them.
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

// Machine starts programs on this machine and, over ssh, on others. Make one
// a process; Close ends the ssh connections it set up.
type Machine struct {
	// SSHConfig is a file for ssh -F; "" for ssh's own choice.
	SSHConfig string
	// Debug, if set, is told every command, as text to paste into a shell.
	Debug func(command string)
	// Noise, if set, is told what a listing printed on stderr that is no failure, such
	// as a line of a login script.
	Noise func(h *Host, line string)
	// QueryTimeout is how long a program that changes nothing, and one that makes
	// snapshots, may take; 0 is for ever.
	QueryTimeout time.Duration
	// Kstat is where this machine's kernel tells the states of its pools; "" for
	// where Linux does.
	Kstat string

	mu    sync.Mutex
	hosts map[string]*Host
	dir   string // of control sockets that this process made
	// masters are the connections that this process made.
	masters []*master
	closed  bool
}

// Host is where datasets live: here, or behind an ssh destination.
type Host struct {
	m *Machine
	// Dest is the ssh destination; "" is this machine.
	Dest string

	conn connection

	features featureCache
	trees    treeNames
	lost     lostPools
}

// Host gives the host behind an ssh destination, or this machine for "".
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

// Here tells whether the host is this machine.
func (h *Host) Here() bool { return h.Dest == "" }

// String names the host in messages.
func (h *Host) String() string {
	if h.Here() {
		return "this machine"
	}
	return h.Dest
}

// Argv is what is started here so that argv runs on the host. What is to be
// read by a shell there is /bin/sh -c, for the user's own may be any.
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

// environ keeps zfs's messages in the language that this package reads.
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

// Command prepares argv, already made by Argv, as a child in a process group
// of its own that dies with this process.
func (m *Machine) Command(ctx context.Context, argv []string) *proc.Group {
	if m.Debug != nil {
		m.Debug(Quote(argv...))
	}
	cmd := proc.WithContext(ctx, syscall.SIGKILL, 5*time.Second, argv[0], argv[1:]...)
	cmd.Env = environ()
	return cmd
}

// call is one program to be run on a host.
type call struct {
	argv  []string
	stdin io.Reader
	// row is given each line of the output; out all of it.
	row func(line string) error
	out io.Writer
	// question: it changes nothing, so that it may be ended when it takes too long.
	question bool
	// limited: it does something to its pools, and may be ended in the same way, for
	// it does nothing by halves.
	limited bool
}

// ask runs a program that changes nothing, and gives each line of what it prints to
// row. Its answer is whole, or there is an error.
func (h *Host) ask(ctx context.Context, row func(line string) error, argv ...string) error {
	return h.do(ctx, call{argv: argv, row: row, question: true})
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
	local, err := h.Argv(ctx, argv...)
	if err != nil {
		return err
	}
	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := h.suspended(argv); err != nil {
		return err
	}
	if limit := h.m.QueryTimeout; (c.question || c.limited) && limit > 0 {
		defer time.AfterFunc(limit, func() { cancel(errTimeout) }).Stop()
	}
	cmd := h.m.Command(ctx, local)
	cmd.Stdin = c.stdin
	stderr := tail{size: maxMessages, most: 16 * maxMessages}
	cmd.Stderr = &stderr
	cmd.Stdout = c.out
	watch := func() (end func()) {
		stuck := func() bool { return true }
		pools := PoolsOf(argv)
		if isListing(argv) {
			// It asks about many pools, of which zfs leaves out those that are
			// suspended: that one is does not tell that it waits for it.
			pools, stuck = nil, stuckIn(cmd.Process.Pid)
			if !h.Here() {
				return func() {}
			}
		}
		return h.watch(ctx, pools, stuck, func(err error) { cancel(err) })
	}
	var rowErr error
	if c.row != nil {
		out, err := cmd.StdoutPipe()
		if err != nil {
			return h.failed(argv, err, "")
		}
		if err := cmd.Start(); err != nil {
			return h.failed(argv, err, "")
		}
		defer watch()()
		// A grandchild may hold the pipe when the program was ended.
		if f, ok := out.(*os.File); ok {
			defer context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Now().Add(cmd.WaitDelay)) })()
		}
		if rowErr = eachLine(out, maxLine, c.row); rowErr != nil {
			drain(out, func() { cancel(rowErr) })
		}
	} else if err := cmd.Start(); err != nil {
		return h.failed(argv, err, "")
	} else {
		defer watch()()
	}
	err = cmd.Wait()
	var lost *Error
	switch {
	case outer.Err() != nil && (err != nil || rowErr != nil):
		return context.Cause(outer)
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
		// What a program printed before it failed may well be cut off.
		return h.failed(argv, err, stderr.String())
	case rowErr == nil:
		if isListing(argv) {
			return h.notWhole(argv, stderr.String())
		}
		return nil
	}
	return h.badAnswer(argv, "%s", rowErr)
}

// drain reads what is left of an answer that is of no use, so that the program can
// tell why it failed if it did; one that goes on and on is ended.
func drain(r io.Reader, end func()) {
	const most = 1 << 20
	late := time.AfterFunc(10*time.Second, end)
	defer late.Stop()
	if n, err := io.CopyN(io.Discard, r, most); err == nil && n == most {
		end()
		_, _ = io.Copy(io.Discard, r)
	}
}

// tail keeps the beginning and the end of what a program says on stderr, so
// that neither a cause nor memory is lost to a program that never stops.
type tail struct {
	mu   sync.Mutex
	head bytes.Buffer
	last []byte
	cut  bool
	size int // of each of the two, in bytes; 0 is tailSize
	// most is after how many bytes in all the program has nobody to talk to any
	// more; 0 is never.
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
	// Not at each write, for what is kept would be moved each time.
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

// Stderr is a place for a child's stderr that keeps head and tail of it.
type Stderr = tail
