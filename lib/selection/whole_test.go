package selection

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"zab/lib/record"
	"zab/lib/zfs/zfstest"
)

// onTree prepares a machine with the zfs of zfstest.Tree, set up by env. log returns the
// commands that were started.
func onTree(t *testing.T, env ...string) (log func() []string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"ssh": zfstest.FarSSH, "zfs": "#!/bin/sh\necho \"$*\" >>\"$LOG\"\n" + zfstest.Tree, "zpool": "#!/bin/sh\necho \"zpool $*\" >>\"$LOG\"\nif [ $1 = get ]; then for p in $POOLS; do case $p in \"$SUSPENDED\") s=SUSPENDED;; *) s=ONLINE;; esac; printf '%s\\tload_guid\\t%s\\n%s\\thealth\\t%s\\n%s\\tfeature@extensible_dataset\\tactive\\n' $p ${LOAD:-7} $p $s $p; done; exit; fi\nprintf '%b' \"$STATES\"\n"} {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for _, e := range append([]string{"LOG=" + dir + "/log", "BAD=", "SUSPENDED=", "LATE=", "STUCK="}, env...) {
		name, value, _ := strings.Cut(e, "=")
		t.Setenv(name, value)
	}
	return func() []string {
		b, _ := os.ReadFile(dir + "/log")
		return strings.Split(strings.TrimSpace(string(b)), "\n")
	}
}

// told returns the names in the records of datasets, and names and messages of the
// records of unlisted pools and datasets.
func told(all []*record.Record) (datasets string, unlisted []string) {
	var names []string
	for _, r := range all {
		if r.Type == record.TypeUnlisted {
			unlisted = append(unlisted, r.Name+": "+r.Error.Message)
			continue
		}
		names = append(names, r.Name)
	}
	slices.Sort(names)
	return strings.Join(names, " "), unlisted
}

// P4: a pool that keeps zfs from answering fails alone, whether all pools are asked for,
// or some of them by name.
func TestPoolStuck(t *testing.T) {
	for _, c := range []struct{ args, datasets string }{
		{"b", "big tank tank/a"},
		{"--target=tank/a b", "big tank"},
		{"--exclude-path=usb b", "big tank tank/a"},
	} {
		log := onTree(t, "TREE=big tank tank/a usb usb/x", "STUCK=usb")
		all, stderr, err := runOn(t, c.args, "big ONLINE", "tank ONLINE", "usb ONLINE")
		datasets, unlisted := told(all)
		want := "usb: cannot read the pool 'usb': internal error: pool I/O is currently suspended: what is selected there is not backed up"
		if strings.Contains(c.args, "=usb") {
			want = ""
		}
		if err != nil || datasets != c.datasets || strings.Join(unlisted, "\n") != want {
			t.Errorf("%s: %q, %q, %v\n%s\n%q", c.args, datasets, unlisted, err, stderr, log())
		}
	}
}

// P7: a pool that the host knows and that does not answer fails by name, and the others
// are selected all the same. If all answer, no further program is started.
func TestPoolsAnswer(t *testing.T) {
	const suspended = "usb: cannot read the pool 'usb': pool I/O is currently suspended: what is selected there is not backed up"
	for _, c := range []struct {
		name, args, env, late string
		pools                 []string
		datasets, unlisted    string
		programs              int
	}{
		{"all well", "b", "", "", []string{"tank ONLINE", "usb DEGRADED"}, "tank tank/a usb usb/x", "", 1},
		{"suspended", "b", "usb", "", []string{"tank ONLINE", "usb SUSPENDED"}, "tank tank/a", suspended, 2},
		{"suspended meanwhile", "b", "usb", "", []string{"tank ONLINE", "usb ONLINE"}, "tank tank/a", suspended, 2},
		{"left out", "--exclude-path=usb b", "usb", "", []string{"tank ONLINE", "usb SUSPENDED"}, "tank tank/a", "", 1},
		{"all of them", "b", "usb tank", "", []string{"tank SUSPENDED", "usb SUSPENDED"}, "",
			"tank: cannot read the pool 'tank': pool I/O is currently suspended: what is selected there is not backed up\n" + suspended, 2},
		{"gone meanwhile", "b", "", "", []string{"tank ONLINE", "usb ONLINE", "old ONLINE"}, "tank tank/a usb usb/x", "", 2},
		{"imported meanwhile", "b", "", "usb", []string{"tank ONLINE", "usb ONLINE"}, "tank tank/a usb usb/x", "", 2},
		{"beside the target", "--target=tank/a b", "usb", "", []string{"tank ONLINE", "usb SUSPENDED"}, "tank", suspended, 2},
		{"without a kernel that tells", "b", "usb", "", nil, "tank tank/a", suspended, 3},
	} {
		log := onTree(t, "TREE=tank tank/a usb usb/x", "SUSPENDED="+c.env, "LATE="+c.late, `STATES=tank\tONLINE\nusb\tSUSPENDED\n`)
		all, stderr, err := runOn(t, c.args, c.pools...)
		datasets, unlisted := told(all)
		if err != nil || datasets != c.datasets || strings.Join(unlisted, "\n") != c.unlisted {
			t.Errorf("%s: %q, %q, %v\n%s", c.name, datasets, unlisted, err, stderr)
		}
		if got := log(); len(got) != c.programs {
			t.Errorf("%s: the programs started: %q", c.name, got)
		}
		for _, u := range strings.Split(c.unlisted, "\n") {
			if _, message, ok := strings.Cut(u, ": "); ok && !strings.Contains(stderr, message) {
				t.Errorf("%s: %q", c.name, stderr)
			}
		}
	}
}

// P7: where zfs leaves out a dataset that it cannot open, and those after it, the
// filesystem above them fails by name, and datasets with a copy are asked for by name.
func TestDatasetsLeftOut(t *testing.T) {
	const all = "tank tank/a tank/b tank/b/bad tank/b/c tank/b/d tank/b/d/e tank/z bk bk/t bk/t/tank bk/t/tank/b bk/t/tank/b/bad bk/t/tank/b/d bk/t/tank/b/d/e bk/t/tank/b/gone bk/s bk/s/b bk/s/b/d"
	for _, c := range []struct{ name, args, bad, datasets, unlisted string }{
		{"all well", "--target=bk/t b", "", "bk bk/s bk/s/b bk/s/b/d tank tank/a tank/b tank/b/bad tank/b/c tank/b/d tank/b/d/e tank/z", ""},
		{"with copies", "--target=bk/t b", "tank/b/bad", "bk bk/s bk/s/b bk/s/b/d tank tank/a tank/b tank/b/d tank/b/d/e tank/z", "tank/b, tank/b/bad"},
		{"with parts left out", "--target=bk/s --exclude-path=bk --strip-path=1 b", "tank/b/bad", "tank tank/a tank/b tank/b/d tank/b/d/e tank/z", "tank/b"},
		{"without copies", "--exclude-path=bk b", "tank/b/bad", "tank tank/a tank/b tank/z", "tank/b"},
		{"left out", "--exclude-path=bk --exclude-path=tank/b b", "tank/b/bad", "tank tank/a tank/z", ""},
		{"below the target", "--target=bk/t b", "bk/t/tank/b/bad", "bk bk/s bk/s/b bk/s/b/d tank tank/a tank/b tank/b/bad tank/b/c tank/b/d tank/b/d/e tank/z", ""},
	} {
		onTree(t, "TREE="+all, "BAD="+c.bad)
		got, stderr, err := runOn(t, c.args, "tank ONLINE", "bk ONLINE")
		datasets, unlisted := told(got)
		for i := range unlisted {
			unlisted[i], _, _ = strings.Cut(unlisted[i], ":")
		}
		slices.Sort(unlisted)
		if err != nil || datasets != c.datasets || strings.Join(unlisted, ", ") != c.unlisted {
			t.Errorf("%s: %q, %q, %v\n%s", c.name, datasets, unlisted, err, stderr)
		}
	}
}

// A target is missing if zfs says so about its name, and not if its pool does not answer.
func TestTargetAnswers(t *testing.T) {
	for _, c := range []struct{ name, target, env, kind, message string }{
		{"missing", "tank/no", "", "target-missing", "the target does not exist on this machine"},
		{"its pool is missing", "old/no", "", "target-missing", "no pool 'old' is imported there"},
		{"suspended", "usb/x", "usb", "pool-io", "pool I/O is currently suspended"},
		{"cannot be opened", "tank/a", "", "pool-io", "cannot open 'tank/a': I/O error"},
	} {
		bad := ""
		if c.name == "cannot be opened" {
			bad = "tank/a"
		}
		onTree(t, "TREE=tank tank/a usb usb/x", "SUSPENDED="+c.env, "BAD="+bad)
		_, _, err := runOn(t, "--target="+c.target+" b", "tank ONLINE", "usb SUSPENDED")
		var e *record.Error
		if err == nil || !strings.Contains(err.Error(), c.message) || errors.As(err, &e) != (c.kind == "target-missing") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// Many trees beside the target are listed by several programs, with the same outcome; one
// that is gone meanwhile, or cannot be read, is treated as in one listing (P7).
func TestManyTrees(t *testing.T) {
	var tree, want []string
	for _, c := range "abcdefghijklmnopqrst" {
		tree = append(tree, "bk/"+string(c), "bk/"+string(c)+"/x", "bk/"+string(c)+"/y")
	}
	want = slices.DeleteFunc(append([]string{"bk"}, tree...), func(n string) bool { return strings.HasPrefix(n, "bk/t") })
	for _, bad := range []string{"", "bk/c/x"} {
		log := onTree(t, "TREE=bk "+strings.Join(tree, " "), "BAD="+bad)
		got, stderr, err := runOn(t, "--target=bk/t b", "bk ONLINE")
		datasets, unlisted := told(got)
		expect, gaps := want, 0
		if bad != "" {
			gaps = 1
			expect = slices.DeleteFunc(slices.Clone(want), func(n string) bool { return n == bad || n == "bk/c/y" })
		}
		slices.Sort(expect)
		if err != nil || datasets != strings.Join(expect, " ") || len(unlisted) != gaps {
			t.Errorf("%q: %q, %q, %v\n%s", bad, datasets, unlisted, err, stderr)
		}
		listings := 0
		for _, l := range log() {
			if f := strings.Fields(l); bad == "" && slices.Contains(f, "-r") && len(f) < 40 {
				listings++
			}
		}
		if bad == "" && listings != mostListings {
			t.Errorf("%d listings: %q", listings, log())
		}
	}
}
