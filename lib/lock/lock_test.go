package lock

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestMain makes the test binary also serve as the other process that takes a lock.
func TestMain(m *testing.M) {
	if path := os.Getenv("LOCK_TEST_PATH"); path != "" {
		t := &Table{Path: path}
		if _, err := t.Take("backup/a"); err != nil {
			panic(err)
		}
		os.Stdout.WriteString("taken\n")
		bufio.NewReader(os.Stdin).ReadString('\n') // blocks forever: nobody writes
		return
	}
	os.Exit(m.Run())
}

// TestLockAcrossProcesses checks P8: two processes cannot hold the same lock, and the
// kernel releases it when its process dies.
func TestLockAcrossProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LOCK_TEST_PATH="+path)
	in, _ := cmd.StdinPipe()
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	table := &Table{Path: path}
	defer table.Close()
	_, err = table.Take("backup/a")
	var taken *Taken
	if !errors.As(err, &taken) || taken.PID != cmd.Process.Pid {
		t.Fatalf("%v, want it taken by %d", err, cmd.Process.Pid)
	}
	release, err := table.Take("backup/b")
	if err != nil {
		t.Fatalf("another dataset: %v", err)
	}
	release()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if _, err := table.Take("backup/a"); err != nil {
		t.Fatalf("after its process was killed: %v", err)
	}
}

func TestLockTwiceInOneProcess(t *testing.T) {
	table := &Table{Path: filepath.Join(t.TempDir(), "lock")}
	defer table.Close()
	one, err := table.Take("a")
	if err != nil {
		t.Fatal(err)
	}
	two, err := table.Take("a")
	if err != nil {
		t.Fatal(err)
	}
	one()
	one()
	if len(table.held) != 1 {
		t.Fatal("the second let go with the first")
	}
	two()
	if len(table.held) != 0 {
		t.Fatal("not let go")
	}
}

func TestLinkInTheWay(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "lock")
	if err := os.Symlink(filepath.Join(dir, "victim"), path); err != nil {
		t.Fatal(err)
	}
	if _, err := (&Table{Path: path}).Take("a"); err == nil {
		t.Fatal("a link was followed")
	}
}

// TestPathOfUser checks that no other user of the machine can put a file in the lock's
// place or create its directory: the lock is in the user's home if there is one, else in
// a directory below tmp that the user owns.
func TestPathOfUser(t *testing.T) {
	uid := os.Getuid()
	home, tmp := t.TempDir(), t.TempDir()
	if p, err := userPath(home, tmp, uid); err != nil || p != filepath.Join(home, ".cache/zab/lock") {
		t.Errorf("%s, %v", p, err)
	}
	mine := fmt.Sprintf("zab-%d", uid)
	if p, err := userPath(filepath.Join(home, "none"), tmp, uid); err != nil || p != filepath.Join(tmp, mine, "lock") {
		t.Errorf("without a home: %s, %v", p, err)
	}
	if err := os.Chmod(filepath.Join(tmp, mine), 0o777); err != nil {
		t.Fatal(err)
	}
	if p, err := userPath("", tmp, uid); err == nil {
		t.Errorf("%s, though others can write to its directory", p)
	}
	if err := os.RemoveAll(filepath.Join(tmp, mine)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(home, filepath.Join(tmp, mine)); err != nil {
		t.Fatal(err)
	}
	if p, err := userPath("", tmp, uid); err == nil {
		t.Errorf("%s, though its directory is a link", p)
	}
}
