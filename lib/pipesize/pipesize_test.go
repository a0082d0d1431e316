package pipesize

import (
	"os"
	"runtime"
	"testing"
)

func TestSizes(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("pipes are sized by the kernel")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if IsLarge(r) || !Set(r, 1) {
		t.Error("a new pipe is large, or holds nothing")
	}
	if Enlarge(r); !IsLarge(w) {
		t.Error("the pipe is not large")
	}
	if Set(w, 1<<40) {
		t.Error("a terabyte waits in a pipe")
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if Enlarge(f); IsLarge(f) || Set(f, 1) {
		t.Error("/dev/null is a pipe")
	}
}
