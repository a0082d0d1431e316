// Package lock keeps two runs from working on one dataset at the same time.
//
// Goals: a lock is the kernel's, so that it is gone when its process is,
// however that ended; one small file for all locks, nothing to clean up.
//
// Non-goals: it locks on this machine and between zab's own commands only.
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

// Taken is the error of a lock that another process has.
type Taken struct {
	// PID of the process, 0 where it cannot be known, as from inside another
	// container.
	PID int
}

func (t *Taken) Error() string {
	if t.PID > 0 {
		return fmt.Sprintf("another zab is at work on it, process %d", t.PID)
	}
	return "another zab is at work on it"
}

// Table takes locks for this process, which may take one several times.
//
// They are the record locks of POSIX on single bytes of one file, whose places
// are hashes of the names. Such locks belong to a process and not to a
// descriptor, so the kernel can name the process that has one; and closing any
// descriptor of the file drops them all, so it is opened once and stays open.
type Table struct {
	// Path of the file; "" for the usual one.
	Path string

	mu   sync.Mutex
	file *os.File
	held map[int64]int
}

// path is the one file that all of a user's processes agree on. For root it
// stands in /run, where nobody else can put a file in the way. For others, and
// for a root that has no such place, it stands in their own home, whose name is asked of the system: neither HOME nor TMPDIR nor
// XDG_RUNTIME_DIR is the same for a cron job, a session and sudo, and two that
// differ would not see each other's locks (P8). The directory is made by the
// user and open to nobody else, so that no name in it can be taken before.
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

// home is where the system says that the user lives; "" where it does not say.
func home(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil && filepath.IsAbs(u.HomeDir) {
		return u.HomeDir
	}
	return os.Getenv("HOME")
}

// userPath is the file of a user without privileges. Those that have no home of
// their own, as many a service, have a directory below tmp.
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

// own reports whether dir is the user's own.
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
	// A link that somebody else put there must not be followed.
	f, err := os.OpenFile(t.Path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	t.file, t.held = f, map[int64]int{}
	return nil
}

// place is where in the file the lock for the name is.
func place(name string) int64 {
	sum := sha256.Sum256([]byte(name))
	// Positive, with room for the length; where off_t has 32 bits, the low
	// ones would do as well.
	return int64(binary.BigEndian.Uint64(sum[:8]) >> 2)
}

func region(place int64, kind int16) *unix.Flock_t {
	return &unix.Flock_t{Type: kind, Whence: io.SeekStart, Start: place, Len: 1}
}

// Take takes the lock for a name, at once or not at all: then the error is a
// *Taken. The function it gives lets go; it may be called more than once.
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
			continue // let go between the two questions
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

// Close lets go of all.
func (t *Table) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file != nil {
		_ = t.file.Close()
		t.file = nil
	}
}
