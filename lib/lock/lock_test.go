package lock

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The test binary is also the other process that takes a lock.
func TestMain(m *testing.M) {
	if path := os.Getenv("LOCK_TEST_PATH"); path != "" {
		t := &Table{Path: path}
		if _, err := t.Take("backup/a"); err != nil {
			panic(err)
		}
		os.Stdout.WriteString("taken\n")
		bufio.NewReader(os.Stdin).ReadString('\n') // for ever: nobody writes
		return
	}
	os.Exit(m.Run())
}

// P8: two processes cannot have one lock, and the kernel releases it.
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
