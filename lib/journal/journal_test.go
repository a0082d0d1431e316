package journal

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const key = "zfs_autobackup:b:77"

func files(t *testing.T, dir string) []string {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}

func left(dir, key string) string {
	return strings.Join(slices.Sorted(maps.Keys(Left(dir, key))), " ")
}

// TestJournal checks P4: a run that ended well leaves nothing; a run that was killed or
// failed leaves the names of the copies to examine.
func TestJournal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a[b]*")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	j := &Journal{Dir: dir}
	j.Begin(key, "d/a", "d/b c")
	j.Begin("other", "d/x")
	if got := left(dir, key); got != "" {
		t.Errorf("of a run that lives: %q", got)
	}
	j.Done(key, "d/a", "d/b c")
	j.Done("other", "d/x")
	j.Close()
	if got := files(t, dir); got != nil {
		t.Errorf("left behind: %q", got)
	}

	j.Begin(key, "d/a", "d/b", "d/c")
	j.Done(key, "d/b")
	j.Close()
	if got := left(dir, key); got != "d/a d/c" {
		t.Errorf("not well: %q", got)
	}
	if got := left(dir, "other"); got != "" {
		t.Errorf("of another target: %q", got)
	}
	// The next run completes one of the two and a copy of its own.
	next := &Journal{Dir: dir}
	next.Begin(key, "d/c", "d/new")
	next.Done(key, "d/c", "d/new")
	next.Close()
	if got := left(dir, key); got != "d/a" {
		t.Errorf("after the next run: %q", got)
	}
	if got := files(t, dir); len(got) != 1 {
		t.Errorf("%q", got)
	}
	// A run without work leaves the journal as it is.
	(&Journal{Dir: dir}).Close()
	last := &Journal{Dir: dir}
	last.Begin(key, "d/a")
	last.Done(key, "d/a")
	last.Close()
	if got := files(t, dir); got != nil {
		t.Errorf("left behind: %q", got)
	}
}

// TestKilled checks that the lock of a killed process is gone, and that its file names
// the copies it did not complete.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("JOURNAL_DIR"); dir != "" {
		j := &Journal{Dir: dir}
		j.Begin(key, "d/a", "d/b")
		j.Done(key, "d/a")
		p, _ := os.FindProcess(os.Getpid())
		_ = p.Kill()
		select {}
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), "JOURNAL_DIR="+dir)
	if err := cmd.Run(); err == nil {
		t.Fatal("it was not killed")
	}
	if got := left(dir, key); got != "d/b" {
		t.Errorf("%q", got)
	}
}

// TestGarbled checks that a file that is no journal, or that others could have written,
// has no effect and is no error.
func TestGarbled(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, prefix(key)+name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("empty", "")
	write("other", "zfs_autobackup:c:77\n+d/c\n")
	write("cut", key+"\n+d/a\n+\n?d/b\n-\n\n+d/cut")
	if err := os.Symlink("nowhere", filepath.Join(dir, prefix(key)+"link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, prefix(key)+"dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := left(dir, key); got != "d/a" {
		t.Errorf("%q", got)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if got := left(dir, key); got != "" {
		t.Errorf("from a directory of anybody's: %q", got)
	}
	said := ""
	j := &Journal{Dir: dir, Say: func(format string, a ...any) { said = format }}
	j.Begin(key, "d/a")
	j.Begin(key, "d/b")
	j.Done(key, "d/a")
	j.Close()
	if said == "" {
		t.Error("that nothing is noted is not said")
	}
	var none Journal
	none.Begin(key, "d/a")
	none.Done(key, "d/a")
	none.Close()
}
