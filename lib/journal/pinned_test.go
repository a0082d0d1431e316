package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// notes returns the only file of notes in a directory.
func notes(t *testing.T, dir string) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "pinned-*"))
	if err != nil || len(all) != 1 {
		t.Fatalf("%q, %v", all, err)
	}
	return all[0]
}

// A note is known to later runs, for its copy, guid and target; not to the run that makes it.
func TestPinned(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	p := Pinned{Dir: dir}
	p.Put(key, "pool/a", "5")
	p.Put(key, "pool/b c", "6")
	if err := p.Save(); err != nil || p.Has(key, "pool/a", "5") {
		t.Errorf("%v", err)
	}
	p = Pinned{Dir: dir}
	for _, c := range []struct {
		key, copied, guid string
		want              bool
	}{
		{key, "pool/a", "5", true}, {key, "pool/b c", "6", true}, {key, "pool/a", "6", false},
		{key, "pool/c", "5", false}, {key, "pool/c", "", false}, {key + "8", "pool/a", "5", false},
	} {
		if got := p.Has(c.key, c.copied, c.guid); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	p.Put(key, "pool/a", "7")
	p.Put(key, "pool/d", "8")
	p.Forget(key, "pool/d")
	if err := p.Save(); err != nil {
		t.Fatal(err)
	}
	p = Pinned{Dir: dir}
	if p.Has(key, "pool/d", "8") || p.Has(key, "pool/a", "5") || !p.Has(key, "pool/a", "7") || !p.Has(key, "pool/b c", "6") {
		t.Error("the note about one copy was not replaced, or the other's was lost")
	}
}

// Notes of two runs at the same time are kept.
func TestPinnedTogether(t *testing.T) {
	dir := t.TempDir()
	a, b := Pinned{Dir: dir}, Pinned{Dir: dir}
	if a.Has(key, "pool/a", "1") || b.Has(key, "pool/b", "1") {
		t.Error("there is a note")
	}
	var puts sync.WaitGroup
	for i := range 8 {
		puts.Go(func() { a.Put(key, fmt.Sprint("pool/a", i), "1") })
	}
	puts.Wait()
	b.Put(key, "pool/b", "2")
	if a.Save() != nil || b.Save() != nil {
		t.Error("cannot save")
	}
	p := Pinned{Dir: dir}
	if !p.Has(key, "pool/a7", "1") || !p.Has(key, "pool/b", "2") {
		t.Error("a note is lost")
	}
}

// What is damaged, old, of another target or in a directory that others can write to is not
// believed.
func TestPinnedDamaged(t *testing.T) {
	dir := t.TempDir()
	p := Pinned{Dir: dir}
	p.Put(key, "pool/a", "5")
	if err := p.Save(); err != nil {
		t.Fatal(err)
	}
	path := notes(t, dir)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.SplitAfter(string(good), "\n")[1]
	old := fmt.Sprintf("pool/a\t5\t%d\n", today()-maxIdle-1)
	for _, c := range []struct {
		text string
		want bool
	}{
		{string(good), true}, {"x\n" + string(good), false}, {string(good[:len(good)-1]), false}, {"", false},
		{key + "\npool/a\tx\t1\npool/a\t5\n\t\t\n" + line, true}, {key + "\npool/a\t05\t1\n", false}, {key + "\n" + old, true},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		p := Pinned{Dir: dir}
		if p.Has(key, "pool/a", "5") != c.want {
			t.Errorf("%q: not %v", c.text, c.want)
		}
		// Old notes are kept until the file is written again.
		p.Put(key, "pool/x", "9")
		if err := p.Save(); err != nil {
			t.Fatal(err)
		}
		next := Pinned{Dir: dir}
		if next.Has(key, "pool/a", "5") != (c.want && !strings.Contains(c.text, old)) || !next.Has(key, "pool/x", "9") {
			t.Errorf("%q: after another note", c.text)
		}
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	open := Pinned{Dir: dir}
	if open.Has(key, "pool/a", "5") {
		t.Error("a note in a directory that others can write to is believed")
	}
	open.Put(key, "pool/a", "6")
	if open.Save() == nil {
		t.Error("a note was written there")
	}
	var none Pinned
	none.Put(key, "pool/a", "5")
	if none.Has(key, "pool/a", "5") || none.Save() != nil {
		t.Error("notes without a directory")
	}
}
