package selection

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// With --search-every, only what is at and below the datasets that had the property is
// opened, until something differs or the age is reached; then all pools are searched
// (P7: a selected dataset is missed only where the user chose so).
func TestSearchEvery(t *testing.T) {
	const all = "tank tank/a tank/a/x tank/b tank/c bk bk/t bk/t/a"
	const known, search = "tank/a tank/c", ""
	dir := t.TempDir()
	t.Setenv("CACHE_DIRECTORY", dir)
	for _, c := range []struct {
		what, args, env, set, pools, datasets, asked string
		partial                                      bool
	}{
		{"the first time", "--search-every=1d b", "", "tank/a tank/c", "tank bk", "tank/a tank/a/x tank/c", search, false},
		{"remembered", "--search-every=1d b", "", "tank/a tank/c", "tank bk", "tank/a tank/a/x tank/c", known, true},
		{"a dry run", "-n --search-every=1d --cache --all b", "", "tank/a", "tank bk", "bk bk/t bk/t/a tank tank/a tank/a/x tank/b tank/c", search, false},
		{"set elsewhere", "--search-every=1d b", "", "tank/a tank/b tank/c", "tank bk", "tank/a tank/a/x tank/c", known, true},
		{"too old", "--search-every=0d --cache b", "", "tank/a tank/b tank/c", "tank bk", "tank/a tank/a/x tank/b tank/c", search, false},
		{"all of them are asked for", "--search-every=1d --all b", "", "tank/a", "tank bk", "bk bk/t bk/t/a tank tank/a tank/a/x tank/b tank/c", search, false},
		{"set above it", "--search-every=1d b", "", "tank", "tank bk", "tank tank/a tank/a/x tank/b tank/c", "tank/a" + "\n" + search, false},
		{"and back", "--search-every=0d --cache b", "", "tank/a", "tank bk", "tank/a tank/a/x", search, false},
		{"what pools were imported then is not known", "--search-every=1d b", "", "tank/a", "tank bk", "tank/a tank/a/x", search, false},
		{"no longer set", "--search-every=1d b", "", "tank/c", "tank bk", "tank/c", "tank/a" + "\n" + search, false},
		{"remembered again", "--search-every=1d b", "", "tank/c", "tank bk", "tank/c", "tank/c", true},
		{"another pool", "--search-every=1d b", "", "tank/c usb", "tank bk usb", "tank/c usb", "tank/c" + "\n" + search, false},
		{"another pool of the same name", "--search-every=1d b", "LOAD=8", "tank/c usb", "tank bk usb", "tank/c usb", "tank/c usb" + "\n" + search, false},
		{"and the same", "--search-every=1d b", "LOAD=8", "tank/c usb", "tank bk usb", "tank/c usb", "tank/c usb", true},
		{"suspended", "--search-every=1d b", "SUSPENDED=usb LOAD=8", "tank/c usb", "tank bk usb", "tank/c", "tank/c usb" + "\n" + search + "\nusb", false},
		{"a search with gaps is not remembered", "--search-every=1d b", "", "tank/c usb", "tank bk usb", "tank/c usb", search, false},
		{"of another backup", "--search-every=1d other", "", "tank/c usb", "tank bk usb", "tank/c usb", search, false},
	} {
		tree := all
		var pools []string
		for p := range strings.FieldsSeq(c.pools) {
			if pools = append(pools, p+" ONLINE"); p == "usb" {
				tree += " usb"
			}
		}
		env := append([]string{"TREE=" + tree, "SET=" + c.set, "POOLS=" + c.pools}, strings.Fields(c.env)...)
		log := onTree(t, env...)
		got, stderr, err := runOn(t, c.args, pools...)
		datasets, _ := told(got)
		var asked []string
		for _, l := range log() {
			// The listings, with the names asked for.
			if !strings.HasPrefix(l, "get ") {
				continue
			}
			_, l, _ = strings.Cut(l, ",source ")
			if f := strings.SplitN(l, " ", 3); f[0] == "-r" && len(f) == 2 {
				asked = append(asked, "")
			} else if f[0] == "-r" {
				asked = append(asked, f[2])
			} else if !strings.Contains(l, " ") {
				asked = append(asked, "")
			}
		}
		if err != nil || datasets != c.datasets || strings.Join(asked, "\n") != c.asked {
			t.Errorf("%s: %q, asked for %q, %v\n%s\n%q", c.what, datasets, asked, err, stderr, log())
		}
		for _, r := range got {
			if r.Error == nil && r.Partial != c.partial {
				t.Errorf("%s: '%s' is partial: %v", c.what, r.Name, r.Partial)
			}
		}
	}
}

// A remembered search of another host lists its pools once.
func TestSearchEveryFar(t *testing.T) {
	t.Setenv("CACHE_DIRECTORY", t.TempDir())
	for _, want := range []int{2, 1} {
		log := onTree(t, "TREE=tank tank/a", "SET=tank/a", "POOLS=tank", "STATES=tank\\tONLINE\\n")
		got, stderr, err := runOn(t, "--search-every=1d --ssh-source=far b")
		pools := 0
		for _, l := range log() {
			if strings.HasPrefix(l, "zpool ") {
				pools++
			}
		}
		if err != nil || len(got) != 1 || got[0].Partial != (want == 1) || pools != want {
			t.Errorf("%d lists of pools, want %d: %v, %v\n%s\n%q", pools, want, got, err, stderr, log())
		}
	}
}

// A limited search warns once of what the last search of all pools found elsewhere. A file
// that cannot be used is as none.
func TestSearchElsewhere(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CACHE_DIRECTORY", dir)
	run := func(set, args string) string {
		onTree(t, "TREE=tank tank/a tank/b tank/c", "SET="+set)
		_, stderr, err := runOn(t, args, "tank ONLINE")
		if err != nil {
			t.Errorf("%s: %v", args, err)
		}
		return stderr
	}
	const warning = "'autobackup:b' was set on 'tank/b' and 1 more at the last search of all pools"
	if s := run("tank/a tank/b tank/c", "--cache b tank/a"); s != "" {
		t.Errorf("nothing is known yet: %q", s)
	}
	run("tank/a tank/b tank/c", "--cache b")
	if s := run("tank/a tank/b tank/c", "--cache b tank/a"); !strings.Contains(s, warning) {
		t.Errorf("%q", s)
	}
	if s := run("tank/a tank/b tank/c", "--cache b tank/a"); s != "" {
		t.Errorf("the second time: %q", s)
	}
	run("tank/a", "--cache b")
	run("tank/a tank/b tank/c", "--cache b")
	if s := run("tank/a tank/b tank/c", "--cache b tank/a"); !strings.Contains(s, warning) {
		t.Errorf("set anew: %q", s)
	}
	files, _ := filepath.Glob(dir + "/selection-*.json")
	if len(files) != 1 {
		t.Fatalf("%q", files)
	}
	good, _ := os.ReadFile(files[0])
	for _, bad := range []string{"", "{}", "x", strings.Replace(string(good), `"zab_selection":1`, `"zab_selection":2`, 1),
		strings.Replace(string(good), "tank/b", "tank//b", 1), strings.Replace(string(good), `"guid":"`, `"guid":"x`, 1), strings.Replace(string(good), "autobackup:b", "autobackup:c", 1)} {
		if err := os.WriteFile(files[0], []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if s := run("tank/a tank/b", "-v --search-every=1d b"); !strings.Contains(s, "cannot use '"+files[0]+"'") || !strings.Contains(s, "'tank/b': selected") {
			t.Errorf("%q: %q", bad, s)
		}
	}
	// Nightly runs that begin at about the same time search once in two days for 2d, not
	// in three; a clock that was set back makes a search look as if it came from the future.
	o := Options{}
	if err := o.SearchEvery.UnmarshalFlag("2d"); err != nil {
		t.Fatal(err)
	}
	for since, want := range map[int64]bool{-1: false, 0: true, 86400: true, 2*86400 - 600: false, 3 * 86400: false} {
		m := memory{now: time.Unix(1e9, 0), findings: findings{Searched: 1e9 - since, Set: []place{{Name: "tank", GUID: "1"}}, Loads: map[string]string{"tank": "7"}}}
		if o.mayRely(&m) != want {
			t.Errorf("%d s after it, a search is relied on: %v", since, !want)
		}
	}
}

// However much a source names, no more is written than would be read; the file that would
// be too long goes, and with it the memory: the next search is one of all pools.
func TestSearchTooMuch(t *testing.T) {
	defer func(n int) { maxFindings = n }(maxFindings)
	dir := t.TempDir()
	t.Setenv("CACHE_DIRECTORY", dir)
	const pools = "tank ONLINE"
	run := func(args string) (partial bool, stderr string) {
		onTree(t, "TREE=tank tank/a tank/b", "SET=tank/a", "POOLS=tank")
		got, stderr, err := runOn(t, args, pools)
		if err != nil || len(got) != 1 {
			t.Fatalf("%s: %v, %v\n%s", args, got, err, stderr)
		}
		return got[0].Partial, stderr
	}
	files := func() []string { names, _ := filepath.Glob(dir + "/*"); return names }
	run("--search-every=1d b")
	if partial, _ := run("--search-every=1d b"); !partial || len(files()) != 1 {
		t.Fatalf("not remembered: %q", files())
	}
	st, err := os.Stat(files()[0])
	if err != nil {
		t.Fatal(err)
	}
	maxFindings = int(st.Size())
	run("--search-every=0d --cache b")
	if len(files()) != 1 {
		t.Errorf("what is as long as the limit is not kept: %q", files())
	}
	run("--search-every=1d b")
	maxFindings = int(st.Size()) / 2
	for range 2 {
		if partial, stderr := run("-v --search-every=1d b"); partial || !strings.Contains(stderr, "nothing is remembered") || len(files()) != 0 {
			t.Errorf("partial %v, %q\n%s", partial, files(), stderr)
		}
	}
}
