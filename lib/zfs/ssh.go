package zfs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"zab/lib/private"
	"zab/lib/proc"
	"zab/lib/record"
)

// ControlEnv is the environment variable with the directory of the control sockets that a
// parent has set up: the wrapper makes one connection per host, and its stages share it.
const ControlEnv = "ZAB_SSH_CONTROL"

// NoControl is the value of ControlEnv if the parent made no connection, because the
// user's ssh configuration shares connections already.
const NoControl = "none"

// connection is how a host is reached, once that is known.
type connection struct {
	mu   sync.Mutex // held while the host is being reached
	done bool
	ssh  []string // the ssh command up to and including the destination
	err  error    // why the host cannot be reached
}

// connect returns the ssh command up to and including the destination. It finds out once
// how the host is reached.
func (h *Host) connect(ctx context.Context) ([]string, error) {
	c := &h.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.done {
		c.ssh, c.err = h.dial(ctx)
		// An interruption says nothing about the host.
		c.done = c.err == nil || ctx.Err() == nil
	}
	return c.ssh, c.err
}

// again makes the next connect try anew.
func (h *Host) again() {
	h.conn.mu.Lock()
	defer h.conn.mu.Unlock()
	h.conn.done = false
}

// Connect sets up the connection to the host now rather than at the first command, and
// retries up to retries times while the host is unreachable. It does nothing for this
// machine.
func (h *Host) Connect(ctx context.Context, retries int) error {
	if h.Here() {
		return nil
	}
	for try := 1; ; try++ {
		_, err := h.connect(ctx)
		if KindOf(err) != record.KindUnreachable || try > retries || Pause(ctx, try) != nil {
			return err
		}
		h.again()
	}
}

// Pause waits before another try: longer for each try, and for a random time, so that
// commands that failed together are not all tried again at the same moment.
func Pause(ctx context.Context, try int) error {
	d := time.Second << min(2*(try-1), 6)
	d = d/2 + rand.N(d)
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sshBase returns the ssh command with the options of every call. The other side gets
// nothing but a program to run: no agent, no display, no port and no network of this
// machine, however ssh is configured.
func (m *Machine) sshBase() []string {
	argv := []string{"ssh"}
	if m.SSHConfig != "" {
		argv = append(argv, "-F", m.SSHConfig)
	}
	// A missing key must be an error and not a prompt that waits all night.
	return append(argv, "-a", "-x", "-T", "-o", "BatchMode=yes", "-o", "ClearAllForwardings=yes",
		"-o", "Tunnel=no", "-o", "PermitLocalCommand=no")
}

// socket returns the path of the control socket for dest. It is short because socket
// addresses end at 104 bytes on some systems.
func (m *Machine) socket(dir, dest string) string {
	sum := sha256.Sum256([]byte(m.SSHConfig + "\x00" + dest))
	return filepath.Join(dir, hex.EncodeToString(sum[:5]))
}

func (h *Host) dial(ctx context.Context) ([]string, error) {
	base := h.m.sshBase()
	if dir := os.Getenv(ControlEnv); dir != "" {
		if dir == NoControl {
			return append(base, "--", h.Dest), nil
		}
		// Anyone who can create a socket there can read and answer all traffic.
		if err := private.Check(dir); err != nil {
			return nil, fmt.Errorf("cannot use the directory of %s: %w", ControlEnv, err)
		}
		if sock := h.m.socket(dir, h.Dest); exists(sock) {
			base = append(base, "-o", "ControlMaster=no", "-S", sock)
		}
		return append(base, "--", h.Dest), nil
	}
	conf, err := h.userConfig(ctx, base)
	if err != nil {
		return nil, err
	}
	if path := conf["controlpath"]; path != "" && path != "none" {
		// The user's configuration shares connections already.
		return append(base, "--", h.Dest), nil
	}
	if conf["serveraliveinterval"] == "0" {
		// Otherwise a connection that is lost silently hangs for ever.
		base = append(base, "-o", "ServerAliveInterval=20", "-o", "ServerAliveCountMax=6")
	}
	dir, err := h.m.controlDir()
	if err != nil {
		return nil, err
	}
	sock := h.m.socket(dir, h.Dest)
	if err := h.startMaster(ctx, append(slices.Clone(base), "-M", "-N", "-S", sock, "--", h.Dest), sock); err != nil {
		return nil, err
	}
	return append(base, "-o", "ControlMaster=no", "-S", sock, "--", h.Dest), nil
}

// userConfig returns the options, by name, that ssh itself derives from its configuration
// for the host (ssh -G).
func (h *Host) userConfig(ctx context.Context, base []string) (map[string]string, error) {
	argv := append(slices.Clone(base), "-G", "--", h.Dest)
	cmd := h.m.Command(ctx, argv)
	var stderr tail
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, h.failed(argv, err, stderr.String())
	}
	conf := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			conf[k] = v
		}
	}
	return conf, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// controlDir returns the private directory for control sockets, and creates it at the
// first call.
func (m *Machine) controlDir() (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return "", errors.New("the connections are closed")
	}
	if m.dir != "" {
		return m.dir, nil
	}
	base := os.TempDir()
	if len(base) > 60 {
		base = "/tmp" // TMPDIR may be long, a socket's address may not
	}
	sweep(base)
	dir, err := os.MkdirTemp(base, fmt.Sprintf("%s%d-", dirPrefix, os.Getpid())) // mode 700
	if err != nil {
		return "", fmt.Errorf("cannot make a directory for ssh's control sockets: %w", err)
	}
	m.dir = dir
	return dir, nil
}

const dirPrefix = "zab-ssh-"

// sweep removes the control directories of processes of ours that no longer run: a
// process that was killed could not remove its own.
func sweep(base string) {
	old, _ := filepath.Glob(filepath.Join(base, dirPrefix+"*"))
	for _, dir := range old {
		pid, _, ok := strings.Cut(strings.TrimPrefix(filepath.Base(dir), dirPrefix), "-")
		n, err := strconv.Atoi(pid)
		if !ok || err != nil || n <= 1 || !errors.Is(syscall.Kill(n, 0), syscall.ESRCH) {
			continue
		}
		if st, err := os.Lstat(dir); err == nil && st.IsDir() {
			if own, ok := st.Sys().(*syscall.Stat_t); ok && int(own.Uid) == os.Getuid() {
				_ = os.RemoveAll(dir)
			}
		}
	}
}

// ControlDir returns the directory of the control sockets that this process made, to be
// passed on in ControlEnv; "" if it made none.
func (m *Machine) ControlDir() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dir
}

// master is an ssh connection that this process made and that later calls share.
type master struct {
	cmd   *proc.Group
	ended chan struct{} // closed after the process was waited for; err is the result
	err   error
	sock  string
}

// end terminates the connection and removes its socket.
func (c *master) end() {
	_ = c.cmd.Signal(syscall.SIGTERM)
	select {
	case <-c.ended:
	case <-time.After(2 * time.Second):
		_ = c.cmd.Signal(syscall.SIGKILL)
		<-c.ended
	}
	_ = os.Remove(c.sock)
}

// startMaster starts the connection that all later calls share, and waits until its
// socket exists. It uses a child rather than ssh -f, so that the connection dies with
// this process.
func (h *Host) startMaster(ctx context.Context, argv []string, sock string) error {
	if h.m.Debug != nil {
		h.m.Debug(Quote(argv...))
	}
	cmd := Child(argv)
	var stderr tail
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return h.failed(argv, err, "")
	}
	c := &master{cmd: cmd, ended: make(chan struct{}), sock: sock}
	go func() {
		c.err = cmd.Wait()
		close(c.ended)
	}()
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		if exists(sock) {
			return h.m.keep(c)
		}
		select {
		case <-c.ended:
			err := c.err
			if err == nil {
				err = errors.New("ssh ended at once")
			}
			return h.failed(argv, err, stderr.String())
		case <-ctx.Done():
			c.end()
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// keep makes Close end the connection. If Close was called meanwhile, it ends the
// connection at once and returns an error.
func (m *Machine) keep(c *master) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		c.end()
		return errors.New("the connections are closed")
	}
	m.masters = append(m.masters, c)
	return nil
}

// Close ends the connections that this process set up and removes their directory. After
// that no more are set up.
func (m *Machine) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	for _, c := range m.masters {
		c.end()
	}
	m.masters = nil
	if m.dir != "" {
		_ = os.RemoveAll(m.dir)
		m.dir = ""
	}
}
