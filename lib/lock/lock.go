// Package lock keeps two runs from working on one dataset at the same time.
//
// Goals: locks belong to the kernel, which drops them when their process ends in any way;
// one small file for all locks, nothing to clean up.
//
// Non-goals: locks work on this machine and between zab's own commands only.
package lock

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"zab/lib/private"
)

// Taken is the error for a lock that another process holds.
type Taken struct {
	// PID is the id of that process; 0 if it cannot be known, as for a process in another
	// container.
	PID int
}

func (t *Taken) Error() string {
	if t.PID > 0 {
		return fmt.Sprintf("another zab is at work on it, process %d", t.PID)
	}
	return "another zab is at work on it"
}

// Table takes locks for this process, which may take the same lock several times.
//
// Locks are POSIX record locks on single bytes of one file, at offsets that are hashes of
// the names. Such locks belong to a process, not to a descriptor, so the kernel can name
// the holding process. Closing any descriptor of the file drops them all, so the file is
// opened once and stays open.
type Table struct {
	// Path is the path of the lock file; "" for the default.
	Path string

	mu   sync.Mutex
	file *os.File
	held map[int64]int
}

// path returns the lock file that all processes of a user agree on. For root it is in
// /run, where nobody else can put a file in its place. For other users, and for a root
// without such a directory, it is below the home directory, as the system's user database
// gives it: HOME, TMPDIR and XDG_RUNTIME_DIR may differ between a cron job, a session and
// sudo, and processes with different files would not see each other's locks (P8). The
// directory is created by the user and writable for nobody else, so that nobody can
// create the file before.
func path() (string, error) {
	uid := os.Getuid()
	if uid == 0 {
		for _, d := range []string{"/run", "/var/run"} {
			if private.Check(d) == nil && unix.Access(d, unix.W_OK) == nil {
				return filepath.Join(d, "zab.lock"), nil
			}
		}
	}
	return userPath(home(uid), "/tmp", uid)
}

// home returns the user's home directory from the system's user database, or $HOME if
// that has none; "" if there is neither.
func home(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil && filepath.IsAbs(u.HomeDir) {
		return u.HomeDir
	}
	return os.Getenv("HOME")
}

// userPath returns the lock file of a user without privileges. A user without a home of
// their own, such as many a service, gets a directory below tmp.
func userPath(home, tmp string, uid int) (string, error) {
	const name = "lock"
	if own(home, uid) {
		dir := filepath.Join(home, ".cache", "zab")
		if err := private.Make(dir); err != nil {
			return "", err
		}
		return filepath.Join(dir, name), nil
	}
	dir := filepath.Join(tmp, "zab-"+strconv.Itoa(uid))
	if err := private.Make(dir); err != nil {
		return "", err
	}
	return filepath.Join(dir, name), nil
}

// own reports whether dir is a directory that the user owns.
func own(dir string, uid int) bool {
	st, err := os.Stat(dir)
	if err != nil || !st.IsDir() {
		return false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && int(sys.Uid) == uid
}

func (t *Table) open() error {
	if t.file != nil {
		return nil
	}
	if t.Path == "" {
		p, err := path()
		if err != nil {
			return err
		}
		t.Path = p
	}
	// A symbolic link planted by another user must not be followed.
	f, err := os.OpenFile(t.Path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	t.file, t.held = f, map[int64]int{}
	return nil
}

// place returns the offset of the lock for a name in the file.
func place(name string) int64 {
	sum := sha256.Sum256([]byte(name))
	// Positive, with room for the length; where off_t has 32 bits, the low bits would do
	// as well.
	return int64(binary.BigEndian.Uint64(sum[:8]) >> 2)
}

func region(place int64, kind int16) *unix.Flock_t {
	return &unix.Flock_t{Type: kind, Whence: io.SeekStart, Start: place, Len: 1}
}

// Take takes the lock for a name without waiting; if another process holds it, the error
// is a *Taken. The returned function releases the lock and may be called more than once.
func (t *Table) Take(name string) (release func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.open(); err != nil {
		return nil, fmt.Errorf("cannot open the lock file: %w", err)
	}
	at := place(name)
	if t.held[at] == 0 {
		if err := t.take(at); err != nil {
			return nil, err
		}
	}
	t.held[at]++
	return sync.OnceFunc(func() { t.release(at) }), nil
}

func (t *Table) take(at int64) error {
	for {
		err := unix.FcntlFlock(t.file.Fd(), unix.F_SETLK, region(at, unix.F_WRLCK))
		switch err {
		case nil:
			return nil
		case unix.EINTR:
			continue
		case unix.EAGAIN, unix.EACCES:
		default:
			return fmt.Errorf("cannot lock: %w", err)
		}
		l := region(at, unix.F_WRLCK)
		if err := unix.FcntlFlock(t.file.Fd(), unix.F_GETLK, l); err != nil {
			return &Taken{}
		}
		if l.Type == unix.F_UNLCK {
			continue // released between the two calls
		}
		return &Taken{PID: max(0, int(l.Pid))}
	}
}

func (t *Table) release(at int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == nil {
		return
	}
	if t.held[at]--; t.held[at] == 0 {
		delete(t.held, at)
		_ = unix.FcntlFlock(t.file.Fd(), unix.F_SETLK, region(at, unix.F_UNLCK))
	}
}

// Close releases all locks.
func (t *Table) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file != nil {
		_ = t.file.Close()
		t.file = nil
	}
}
