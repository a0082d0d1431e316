package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// ours reports whether a process is a child of this one that has not been waited for.
func ours(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	return len(f) > 1 && f[1] == fmt.Sprint(os.Getpid())
}

// TestNoSignalAfterWait checks that no signal is sent to the number of a process that has
// been waited for, however its end and the signal coincide: by then the number may belong
// to an unrelated process.
func TestNoSignalAfterWait(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("no /proc")
	}
	for i := range 60 {
		g := New(syscall.SIGKILL, "/bin/sh", "-c", "exit 3")
		sent := 0
		g.kill = func(pid int, sig syscall.Signal) error {
			if !ours(-pid) {
				t.Errorf("signal %v to %d, which is not a child of ours any more", sig, pid)
			}
			sent++
			return nil
		}
		if err := g.Start(); err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = g.Signal(syscall.SIGTERM)
				}
			}
		})
		if i%2 == 0 {
			awaitEnd(g.Process.Pid) // an ended leader is our child until it is waited for
		}
		_ = g.Wait()
		before := sent
		if err := g.Signal(syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
			t.Fatalf("after the end: %v", err)
		}
		close(stop)
		all.Wait()
		if sent != before {
			t.Fatal("a signal was sent after Wait")
		}
		if g.ProcessState.ExitCode() != 3 {
			t.Fatalf("status %d", g.ProcessState.ExitCode())
		}
	}
}

// TestSignalGroup checks that a signal also reaches the processes started by the program.
func TestSignalGroup(t *testing.T) {
	g := New(syscall.SIGKILL, "/bin/sh", "-c", "sleep 1000 & echo $!; wait")
	out, err := g.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("before the start: %v", err)
	}
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 16)
	if _, err := out.Read(line); err != nil {
		t.Fatal(err)
	}
	if err := g.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// The pipe reports its end when both processes are gone.
	if n, err := out.Read(line); err == nil {
		t.Errorf("%q", line[:n])
	}
	if err := g.Wait(); err == nil {
		t.Error("it ended well")
	}
}

func TestContextEndsGroup(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	g := WithContext(ctx, syscall.SIGKILL, 5*time.Second, "sleep", "1000")
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := g.Wait(); err == nil {
		t.Error("it ended well")
	}
	if err := New(syscall.SIGKILL, "/no/such/program").Run(); err == nil {
		t.Error("it was started")
	}
	if out, err := New(syscall.SIGKILL, "echo", "a").Output(); string(out) != "a\n" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
}

// TestLeave checks P4: a process that survives all signals is left behind, and is waited
// for when it ends.
func TestLeave(t *testing.T) {
	g := New(syscall.SIGKILL, "/bin/sh", "-c", "read x; exit 3")
	in, err := g.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	pid := g.Process.Pid
	go g.Leave()
	if err := g.Wait(); !errors.Is(err, ErrLeft) {
		t.Errorf("left behind: %v", err)
	}
	g.Leave() // a second call does nothing
	in.Close()
	for ours(pid) {
		time.Sleep(time.Millisecond)
	}
}
