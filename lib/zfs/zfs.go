// Package zfs is the only one that starts zfs and zpool, here or on another
// host over ssh, and the only one that reads their messages.
//
// Goals: argv everywhere and one quoting function where a remote shell cannot
// be avoided; typed facts out of zfs's tables; typed errors out of its
// messages, its own words kept; few programs.
//
// Non-goals: it takes no decision about backups. What changes a pool stands in
// files of its own: snapshot.go, destroy.go, hold.go, bookmark.go, bookmarks.go,
// create.go, rollback.go, clone.go, mount.go, recv.go.
package zfs

import (
	"bytes"
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"zab/lib/proc"
)

// Machine starts programs on this machine and, over ssh, on others. Make one
// a process; Close ends the ssh connections it set up.
type Machine struct {
	// SSHConfig is a file for ssh -F; "" for ssh's own choice.
	SSHConfig string
	// Debug, if set, is told every command, as text to paste into a shell.
	Debug func(command string)

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

// run runs argv on the host, gives each line of its output to row, and turns
// a failure into an *Error. row may be nil.
func (h *Host) run(ctx context.Context, stdin io.Reader, row func(line string) error, argv ...string) error {
	local, err := h.Argv(ctx, argv...)
	if err != nil {
		return err
	}
	cmd := h.m.Command(ctx, local)
	cmd.Stdin = stdin
	var stderr tail
	cmd.Stderr = &stderr
	var rowErr error
	if row != nil {
		out, err := cmd.StdoutPipe()
		if err != nil {
			return h.failed(argv, err, "")
		}
		if err := cmd.Start(); err != nil {
			return h.failed(argv, err, "")
		}
		rowErr = eachLine(out, row)
		if rowErr != nil {
			_, _ = io.Copy(io.Discard, out)
		}
	} else if err := cmd.Start(); err != nil {
		return h.failed(argv, err, "")
	}
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return h.failed(argv, err, stderr.String())
	}
	return rowErr
}

// tail keeps the beginning and the end of what a program says on stderr, so
// that neither a cause nor memory is lost to a program that never stops.
type tail struct {
	mu   sync.Mutex
	head bytes.Buffer
	last []byte
	cut  bool
}

const tailSize = 32 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	if room := tailSize - t.head.Len(); room > 0 {
		k := min(room, len(p))
		t.head.Write(p[:k])
		p = p[k:]
	}
	t.last = append(t.last, p...)
	if over := len(t.last) - tailSize; over > 0 {
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
	return strings.TrimSpace(s + string(t.last))
}

// Stderr is a place for a child's stderr that keeps head and tail of it.
type Stderr = tail
