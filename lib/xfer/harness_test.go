package xfer

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"zab/lib/cli"
	"zab/lib/record"
	"zab/lib/zfs"
)

// TestMain gives the tests a lock file and a cache of their own, not those of the backups of
// this machine.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "xfer")
	if err != nil {
		panic(err)
	}
	lockFile = filepath.Join(dir, "lock")
	os.Setenv("CACHE_DIRECTORY", dir)
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// machine writes files, among them stand-ins for programs, into a folder that comes first
// in PATH and that the stand-ins find as POOL. It returns the folder.
func machine(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("POOL", dir)
	return dir
}

// runProgram runs zab-xfer with arguments on records. It returns the records that it
// printed, which must be as many, and its messages.
func runProgram(t *testing.T, args []string, in ...*record.Record) (out []*record.Record, messages string) {
	t.Helper()
	p := Program()
	if _, err := p.Parser().ParseArgs(args); err != nil {
		t.Fatal(err)
	}
	if err := p.Check(nil); err != nil {
		t.Fatal(err)
	}
	var stdin, stdout, stderr bytes.Buffer
	w := record.NewWriter(&stdin)
	for _, r := range in {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	env := &cli.Env{Program: p.Name, Common: &p.Options.(*command).Common, Machine: &zfs.Machine{},
		Stdin: &stdin, Stdout: &stdout, Stderr: &stderr, Now: time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)}
	if err := p.Run(context.Background(), env, nil); err != nil {
		t.Errorf("%v\n%s", err, stderr.String())
	}
	out, err := record.NewReader(&stdout).ReadAll()
	if err != nil || len(out) != len(in) {
		t.Fatalf("%d records, %v\n%s", len(out), err, stderr.String())
	}
	return out, stderr.String()
}
