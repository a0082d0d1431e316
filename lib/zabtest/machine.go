// Package zabtest is shared by the tests on real pools: it finds ZFS and zab's programs,
// destroys pools, reads the process table, and runs an sshd. Its own tests are the scripts in
// testdata; the commands of the scripts are in its _test files.
//
// Goal: the scripts, the torture, the months and the bench begin on a machine in the same
// way. Non-goal: any judgement about zab, which each of them passes by itself.
package zabtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Required reports whether the machine was made for these tests (ZAB_TEST_ZFS): anything
// missing on it is then a failure and no reason to skip a test.
var Required = os.Getenv("ZAB_TEST_ZFS") != ""

// HaveZFS reports whether this process may use a working ZFS.
var HaveZFS = sync.OnceValue(func() bool {
	return os.Getuid() == 0 && exec.Command("zpool", "list", "-H").Run() == nil
})

// NeedZFS skips a test on a machine without ZFS, or fails it if ZFS is required. Where
// there is ZFS, it waits until no other test binary uses the pools of the machine: every
// run of zab looks at all of them, and some tests suspend a pool.
func NeedZFS(t testing.TB) {
	t.Helper()
	switch {
	case HaveZFS():
		if err := reserve(); err != nil {
			t.Fatal(err)
		}
	case Required:
		t.Fatal("this machine has no working ZFS")
	default:
		t.Skip("needs a real ZFS")
	}
}

// lockFile is in a directory of root's on every system with ZFS, so that nobody else can
// have put a link there. It stays open, since the lock ends with its closing.
var lockFile *os.File

// reserve locks the machine until this process ends.
var reserve = sync.OnceValue(func() (err error) {
	if lockFile, err = os.OpenFile("/var/run/zab-test.lock", os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	for {
		err := unix.FcntlFlock(lockFile.Fd(), unix.F_SETLKW, &unix.Flock_t{Type: unix.F_WRLCK})
		if err != unix.EINTR {
			return err
		}
	}
})

// Programs returns the directory of zab's programs: ZAB_TEST_BIN, or else build/bin, in
// which they are built once.
var Programs = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("ZAB_TEST_BIN"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := filepath.Abs("../../build/bin")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", dir, "zab/cmd/...")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the programs: %v\n%s", err, out)
	}
	return dir, nil
})

// SearchPath returns a PATH with zab's programs first and the directories of zfs and sshd
// last.
func SearchPath(programs string) string {
	return programs + ":" + os.Getenv("PATH") + ":/usr/local/sbin:/usr/sbin:/sbin"
}

// LookPath returns the file of a program in the directories of a PATH, or "".
func LookPath(path, name string) string {
	for _, dir := range filepath.SplitList(path) {
		p := filepath.Join(dir, name)
		if st, err := os.Stat(p); err == nil && !st.IsDir() && st.Mode()&0o111 != 0 {
			return p
		}
	}
	return ""
}

// PoolDir returns a directory for the files of short-lived pools: in memory if possible,
// else "", the default of os.MkdirTemp.
func PoolDir() string {
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// DestroyPool destroys a pool; no such pool is no error. A receive that is left behind
// keeps the pool busy until it ends by itself, so DestroyPool tries for 20 s.
func DestroyPool(name string) error {
	var out []byte
	var err error
	for range 100 {
		if out, err = exec.Command("zpool", "destroy", "-f", name).CombinedOutput(); err == nil || bytes.Contains(out, []byte("no such pool")) {
			return nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	return fmt.Errorf("cannot destroy the pool %s: %s", name, out)
}
