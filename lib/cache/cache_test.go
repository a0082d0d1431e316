package cache

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"zab/lib/private"
	"zab/lib/record"
	"zab/lib/zfs"
)

func open(t testing.TB, dir string, at zfs.Epoch) *Store {
	t.Helper()
	s, err := Open(dir, "target", "tank/b", "")
	if err != nil {
		t.Fatal(err)
	}
	s.At(at)
	return s
}

func snaps(names ...string) (out []record.Snapshot) {
	for _, n := range names {
		out = append(out, record.Snapshot{Name: n, GUID: "1" + n, CreateTXG: "7"})
	}
	return out
}

var up = zfs.Epoch{Now: 1000, Boot: 10, Loads: map[string]string{"tank": "5"}}

func at(now int64) zfs.Epoch { e := up; e.Now = now; return e }

// twice returns a directory with a store in which tank/a was listed twice, so that its
// lists are trusted.
func twice(t testing.TB) (dir string, st State) {
	dir, st = t.(interface{ TempDir() string }).TempDir(), State{GUID: "9", CreateTXG: "3", Changed: 900}
	for _, now := range []int64{1000, 1010} {
		s := open(t, dir, at(now))
		if _, ok := s.Get("tank/a", st); ok {
			t.Fatalf("trusted at %d, after one listing", now)
		}
		s.Put("tank/a", st, Lists{Snapshots: snaps("1", "2")})
		s.Walked()
		if err := s.Save(); err != nil {
			t.Fatal(err)
		}
	}
	return dir, st
}

func TestGet(t *testing.T) {
	dir, st := twice(t)
	with := func(f func(*State)) State { s := st; f(&s); return s }
	loads := func(l string) zfs.Epoch { e := at(1020); e.Loads = map[string]string{"tank": l}; return e }
	boot := func(b int64) zfs.Epoch { e := at(1020); e.Boot = b; return e }
	for _, c := range []struct {
		name string
		at   zfs.Epoch
		of   string
		now  State
		want bool
	}{
		{"as it was", at(1020), "tank/a", st, true},
		{"btime wavers by a second", boot(11), "tank/a", st, true},
		{"another dataset", at(1020), "tank/b", st, false},
		{"a snapshot came or went", at(1020), "tank/a", with(func(s *State) { s.Changed++ }), false},
		{"earlier, as after a clock was set back", at(1020), "tank/a", with(func(s *State) { s.Changed-- }), false},
		{"destroyed and made anew", at(1020), "tank/a", with(func(s *State) { s.GUID = "8" }), false},
		{"received anew with the same guid", at(1020), "tank/a", with(func(s *State) { s.CreateTXG = "4" }), false},
		{"promoted", at(1020), "tank/a", with(func(s *State) { s.Origin = "tank/b@1" }), false},
		{"the time of changes is not known", at(1020), "tank/a", with(func(s *State) { s.Changed = Unknown }), false},
		{"the clock was set forward", boot(15), "tank/a", st, false},
		{"the clock was set back", boot(5), "tank/a", st, false},
		{"no word of the clock", boot(0), "tank/a", st, false},
		{"the pool was away", loads("6"), "tank/a", st, false},
		{"the pool is not there", loads(""), "tank/a", st, false},
	} {
		s := open(t, dir, c.at)
		l, ok := s.Get(c.of, c.now)
		if ok != c.want {
			t.Errorf("%s: %v, want %v", c.name, ok, c.want)
		}
		if ok && !reflect.DeepEqual(l.Snapshots, snaps("1", "2")) {
			t.Errorf("%s: %v", c.name, l)
		}
	}
}

// TestMargin checks that a list is not trusted until margin seconds after the state was
// first seen: the dataset may change in the second in which it was read.
func TestMargin(t *testing.T) {
	dir := t.TempDir()
	st := State{GUID: "9", CreateTXG: "3", Changed: 1000}
	for _, c := range []struct {
		now  int64
		want bool
	}{{1000, false}, {1003, false}, {1004, false}, {1005, true}} {
		s := open(t, dir, at(c.now))
		if _, ok := s.Get("tank/a", st); ok != c.want {
			t.Errorf("at %d: %v", c.now, ok)
		}
		s.Put("tank/a", st, Lists{})
		if err := s.Save(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWalk(t *testing.T) {
	dir, _ := twice(t)
	for _, c := range []struct {
		now  int64
		want bool
	}{{1020, false}, {1010 + maxWalk, false}, {1011 + maxWalk, true}, {1009, true}} {
		if s := open(t, dir, at(c.now)); s.Walk() != c.want {
			t.Errorf("at %d: %v", c.now, !c.want)
		}
	}
	if s := open(t, t.TempDir(), at(1020)); !s.Walk() {
		t.Error("nothing is remembered, and no walk")
	}
}

// TestKeepFew checks that a host that names other datasets every night does not make the
// file grow without end.
func TestKeepFew(t *testing.T) {
	defer func(was int) { maxOthers = was }(maxOthers)
	for _, few := range []int{5, 6} { // one and two lists of two snapshots
		dir, st := twice(t)
		s := open(t, dir, at(1020))
		s.Put("tank/a", st, Lists{Snapshots: snaps("1", "2")})
		s.Put("tank/b", st, Lists{Snapshots: snaps("1", "2")})
		if err := s.Save(); err != nil {
			t.Fatal(err)
		}
		maxOthers = few
		s = open(t, dir, at(1030))
		s.KeepOthers()
		if len(s.used) != few/3 {
			t.Errorf("%d kept, of %d", len(s.used), few)
		}
	}
}

// A run of a part of the datasets, as with --within, leaves the lists of the others as they
// are, and an entry that is kept is no more believed than before.
func TestKeepOthers(t *testing.T) {
	changed := func(s State) State { s.Changed = 2000; return s }
	for _, c := range []struct {
		name       string
		keep       bool
		part, then int64 // when the run of a part is, and that of all
		loads      string
		state      func(State) State
		want       bool
	}{
		{"others are kept", true, 1020, 1030, "5", nil, true},
		{"without KeepOthers they are not", false, 1020, 1030, "5", nil, false},
		{"a snapshot came or went meanwhile", true, 1020, 2010, "5", changed, false},
		{"the pool was away during the run of a part", true, 1020, 1030, "6", nil, false},
		{"nobody needed it for a fortnight", true, 1010 + maxUnused + 1, 1010 + maxUnused + 2, "5", nil, false},
		{"almost a fortnight", true, 1010 + maxUnused, 1010 + 2*maxUnused, "5", nil, true},
	} {
		dir, st := twice(t)
		e := at(c.part)
		e.Loads = map[string]string{"tank": c.loads}
		s := open(t, dir, e)
		s.Put("tank/b", st, Lists{Snapshots: snaps("1")})
		if c.keep {
			s.KeepOthers()
		}
		if err := s.Save(); err != nil {
			t.Fatal(err)
		}
		if c.state != nil {
			st = c.state(st)
		}
		if l, ok := open(t, dir, at(c.then)).Get("tank/a", st); ok != c.want || ok && !reflect.DeepEqual(l.Snapshots, snaps("1", "2")) {
			t.Errorf("%s: %v, %v", c.name, ok, l)
		}
	}
}

// TestForget checks that datasets not seen in a run are forgotten.
func TestForget(t *testing.T) {
	dir, _ := twice(t)
	s := open(t, dir, at(1020))
	s.Put("tank/b", State{GUID: "7"}, Lists{})
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	if got := open(t, dir, at(1030)).Names(); !reflect.DeepEqual(got, []string{"tank/b"}) {
		t.Error(got)
	}
}

// TestTooLong checks that a file is neither written nor read if it is longer than the
// limit, and that none is left behind.
func TestTooLong(t *testing.T) {
	defer func(n int64) { maxFile = n }(maxFile)
	for _, what := range []string{"the lists", "the header"} {
		dir, st := twice(t)
		files, _ := filepath.Glob(dir + "/*")
		if len(files) != 1 {
			t.Fatal(files)
		}
		data, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		maxFile = int64(len(data))
		s := open(t, dir, at(1020))
		if _, ok := s.Get("tank/a", st); !ok {
			t.Errorf("%s: what is as long as the limit is not read", what)
		}
		s.Walked()
		if err := s.Save(); err != nil {
			t.Errorf("%s: what is as long as the limit is not written: %v", what, err)
		}
		maxFile--
		if _, err := Open(dir, "target", "tank/b", ""); err == nil || !strings.Contains(err.Error(), "it has more than") {
			t.Errorf("%s: it was read: %v", what, err)
		}
		s.Put("tank/a", st, Lists{Snapshots: snaps("1", "2")})
		if s.Walked(); what == "the lists" {
			maxFile = 10
		}
		s.have = nil // as if something had changed
		for range 2 {
			if err := s.Save(); err == nil || !strings.Contains(err.Error(), "nothing is remembered in the cache '"+files[0]+"'") {
				t.Errorf("%s: %v", what, err)
			}
			if _, err := os.Lstat(files[0]); !os.IsNotExist(err) {
				t.Errorf("%s: the file is there: %v", what, err)
			}
		}
		maxFile = 2 << 30
		if s := open(t, dir, at(1030)); len(s.Names()) > 0 || !s.Walk() {
			t.Errorf("%s: something is remembered", what)
		}
	}
}

// TestGarbled checks that a damaged file is never used.
func TestGarbled(t *testing.T) {
	dir, st := twice(t)
	files, _ := filepath.Glob(dir + "/*")
	if len(files) != 1 {
		t.Fatal(files)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		data := bytes.Clone(whole)
		switch rapid.IntRange(0, 2).Draw(t, "how") {
		case 0:
			data = data[:rapid.IntRange(0, len(data)-1).Draw(t, "cut")]
		case 1:
			i := rapid.IntRange(bytes.IndexByte(data, '\n')+1, len(data)-1).Draw(t, "at")
			data[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
		case 2:
			data = append(data, rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "more")...)
		}
		if err := os.WriteFile(files[0], data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir, "target", "tank/b", "")
		if err == nil || !strings.Contains(err.Error(), "cannot use the cache") {
			t.Fatalf("it was read: %v", err)
		}
		s.At(at(1020))
		if _, ok := s.Get("tank/a", st); ok {
			t.Fatal("it was used")
		}
	})
}

// TestHistories checks, for a dataset whose snapshots come and go and that is listed now
// and then, that remembered lists equal the existing snapshots. The pool's clock counts
// seconds; the host's clock may be set, which shows in Boot.
func TestHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		now, boot, n, changed := int64(1000), int64(10), 0, int64(999)
		var have []string
		load := "5"
		// between is called between the read of the state and the listing.
		list := func(between func()) {
			e := zfs.Epoch{Now: now, Boot: boot, Loads: map[string]string{"tank": load}}
			s := open2(t, dir, e)
			st := State{GUID: "9", Changed: changed}
			l, ok := s.Get("tank/a", st)
			if ok {
				if !reflect.DeepEqual(l.Snapshots, snaps(have...)) && len(l.Snapshots)+len(have) > 0 {
					t.Fatalf("at %d: remembered %v, there are %v", now, l.Snapshots, have)
				}
				return
			}
			between()
			s.Put("tank/a", st, Lists{Snapshots: snaps(have...)})
			if err := s.Save(); err != nil {
				t.Fatal(err)
			}
		}
		change := func() {
			changed = now
			if n++; n%3 == 0 && len(have) > 0 {
				have = have[1:]
			} else {
				have = append(have, string(rune('a'+n%26)))
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 6).Draw(t, "what") {
			case 0:
				change()
			case 1, 2:
				list(func() {})
			case 3:
				list(func() {
					now += rapid.Int64Range(0, 2).Draw(t, "while")
					change()
				})
			case 4, 5:
				now += rapid.Int64Range(0, 6).Draw(t, "seconds")
			case 6:
				by := rapid.Int64Range(-20, 20).Draw(t, "set")
				now, boot = now+by, boot+by
			}
		}
	})
}

func open2(t *rapid.T, dir string, e zfs.Epoch) *Store {
	s, err := Open(dir, "target", "tank/b", "")
	if err != nil {
		t.Fatal(err)
	}
	s.At(e)
	return s
}

// TestDirectoryOfOthers checks that a directory that others can write to is neither read
// nor written.
func TestDirectoryOfOthers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "zab")
	t.Setenv("CACHE_DIRECTORY", dir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, "target", "tank/b", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o770); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, "target", "tank/b", ""); err == nil || !strings.Contains(err.Error(), "can be written to by others") {
		t.Errorf("%v", err)
	}
	if err := private.Replace(s.path, []byte("x")); err == nil {
		t.Error("it was written to")
	}
	var warned []string
	note := func(format string, a ...any) { warned = append(warned, fmt.Sprintf(format, a...)) }
	if ForHost(t.Context(), (&zfs.Machine{}).Host(""), t.Logf, note, "target", "tank/b") != nil || len(warned) != 1 {
		t.Errorf("%q", warned)
	}
}
