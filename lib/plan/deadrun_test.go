package plan

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"zab/lib/cli"
	"zab/lib/journal"
	"zab/lib/record"
	"zab/lib/zfs"
)

// heldTree is a stand-in for zfs: pool/b with the copies a and c of tank/a and tank/c.
// The file called holds has a line for each hold.
const heldTree = `#!/bin/sh
cd "$POOL"
echo "$*" >>log
[ ! -e refuse ] || case "$*" in *userrefs*) echo 'cannot open pool: I/O error' >&2; exit 1;; esac
case "$*" in
list*-r*)
	printf 'pool/b\t77\t1\n'
	for d in a c; do printf 'pool/b/%s\t8%s\t2\n' $d $(printf $d | tr ac 12); for s in 1 2 3; do printf 'pool/b/%s@b-%s\t%s\t%s\n' $d $s $s 1$s; done; done;;
list*userrefs*)
	for a; do case $a in *@*) printf '%s\t%s\t1\t%s\n' $a ${a##*-} $(grep -c "^$a	" holds);; esac; done;;
holds*)
	for a; do grep "^$a	" holds; done; exit 0;;
esac
`

// poolGUID is a stand-in for zpool.
const poolGUID = `#!/bin/sh
for p in $(echo $5 | tr , ' '); do v=enabled; [ $p != guid ] || v=5; printf 'pool\t%s\t%s\n' $p $v; done
`

// P4: if a run died after its snapshot was received and before the holds were moved,
// the next run holds the base and releases the other snapshots, even with nothing to
// send.
func TestLeft(t *testing.T) {
	const pin, shared, other = "zfs_autobackup:b:77.5", "zfs_autobackup:b", "zfs_autobackup:b:78"
	for _, c := range []struct {
		name, args string
		begun      []string
		holds      []string
		want       []string
		programs   int
	}{
		{"nobody died", "", nil, []string{"tank/a@b-2 " + pin}, nil, 1},
		{"another copy", "", []string{"pool/b/x"}, []string{"tank/a@b-2 " + pin}, nil, 1},
		{"all was moved", "", []string{"pool/b/a"},
			[]string{"tank/a@b-3 " + pin, "tank/a@b-3 " + shared, "pool/b/a@b-3 " + pin, "pool/b/a@b-3 " + shared},
			[]string{"hold pool/b/a@b-3 " + pin}, 3}, // so that no run asks again
		{"before the holds", "", []string{"pool/b/a"},
			[]string{"tank/a@b-3 " + pin, "tank/a@b-2 " + pin, "tank/a@b-2 " + shared, "pool/b/a@b-2 " + pin, "pool/b/a@b-2 " + shared},
			[]string{
				"hold pool/b/a@b-3 " + pin,
				"release tank/a@b-2 " + shared, "release tank/a@b-2 " + pin, "release pool/b/a@b-2 " + shared, "release pool/b/a@b-2 " + pin,
			}, 3},
		{"between the holds and the releases", "", []string{"pool/b/a"},
			[]string{"tank/a@b-3 " + pin, "tank/a@b-3 " + shared, "pool/b/a@b-3 " + pin, "pool/b/a@b-3 " + shared, "tank/a@b-2 " + pin, "pool/b/a@b-2 " + pin},
			[]string{"release tank/a@b-2 " + pin, "release pool/b/a@b-2 " + pin}, 3},
		{"after runs without holds", "", []string{"pool/b/a"}, nil,
			[]string{"hold tank/a@b-3 " + pin, "hold pool/b/a@b-3 " + pin}, 2},
		{"and with shared ones", "--shared-holds", []string{"pool/b/a"}, nil,
			[]string{"hold tank/a@b-3 " + pin, "hold tank/a@b-3 " + shared, "hold pool/b/a@b-3 " + pin, "hold pool/b/a@b-3 " + shared}, 2},
		// P1: the shared tag may be for the other target; on a snapshot without a pin
		// of ours, for any target.
		{"another target's", "", []string{"pool/b/a"},
			[]string{
				"tank/a@b-3 " + pin, "tank/a@b-3 " + shared, "pool/b/a@b-3 " + pin, "pool/b/a@b-3 " + shared,
				"tank/a@b-2 " + pin, "tank/a@b-2 " + other, "tank/a@b-2 " + shared, "tank/a@b-1 " + shared,
			},
			[]string{"release tank/a@b-2 " + pin}, 3},
		{"a bookmark keeps the base", "--bookmark", []string{"pool/b/a"},
			[]string{"tank/a@b-3 " + pin, "pool/b/a@b-3 " + pin, "pool/b/a@b-3 " + shared},
			[]string{"release tank/a@b-3 " + pin}, 3},
		{"without holds", "--no-holds", []string{"pool/b/a"}, []string{"tank/a@b-2 " + pin}, nil, 1},
	} {
		dir := t.TempDir()
		text := ""
		for _, h := range c.holds {
			text += strings.Replace(h, " ", "\t", 1) + "\tSun Nov 22 23:08 2026\n"
		}
		for name, text := range map[string]string{"zfs": heldTree, "zpool": poolGUID, "holds": text} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("PATH", dir+":/usr/bin:/bin") // the other tests have no zfs
		t.Setenv("POOL", dir)
		t.Setenv("CACHE_DIRECTORY", filepath.Join(dir, "cache"))
		j := &journal.Journal{Dir: filepath.Join(dir, "cache")}
		j.Begin("zfs_autobackup:b:77", c.begun...)
		j.Close()
		r := planLeft(t, c.args)
		var got []string
		for _, s := range r.Steps {
			if s.Do == record.DoHold || s.Do == record.DoRelease {
				got = append(got, s.Do+" "+s.Dataset+"@"+s.Snapshot+" "+s.Tag)
			}
		}
		if !slices.Equal(got, c.want) || r.Error != nil {
			t.Errorf("%s:\n got %q, %+v\nwant %q", c.name, got, r.Error, c.want)
		}
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		if n := strings.Count(string(log), "\n"); n != c.programs {
			t.Errorf("%s: %d programs\n%s", c.name, n, log)
		}
		// If the holds cannot be read, the run goes on.
		if err := os.WriteFile(filepath.Join(dir, "refuse"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if r := planLeft(t, c.args); r.Error != nil {
			t.Errorf("%s: %+v", c.name, r.Error)
		}
	}
}

func planLeft(t *testing.T, args string) *record.Record {
	t.Helper()
	p := Program()
	if _, err := p.Parser().ParseArgs(append(strings.Fields(args), "--snapshot-format={}-%s", "pool/b", "--strip-path=1")); err != nil {
		t.Fatal(err)
	}
	if err := p.Check([]string{"pool/b"}); err != nil {
		t.Fatal(err)
	}
	var in, out, stderr bytes.Buffer
	r := &record.Record{Type: record.TypeDataset, Backup: "b", Name: "tank/a", Selected: record.Ptr(true), Bookmarks: []record.Snapshot{}}
	for _, n := range []string{"1", "2", "3"} {
		r.Snapshots = append(r.Snapshots, record.Snapshot{Name: "b-" + n, GUID: n, CreateTXG: n})
	}
	if err := record.NewWriter(&in).Write(r); err != nil {
		t.Fatal(err)
	}
	env := &cli.Env{Program: p.Name, Common: &p.Options.(*Options).Common, Machine: &zfs.Machine{}, Stdin: &in, Stdout: &out, Stderr: &stderr, Now: time.Unix(3, 0)}
	if err := p.Run(context.Background(), env, []string{"pool/b"}); err != nil {
		t.Fatal(err)
	}
	got, err := record.NewReader(&out).Read()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	return got
}
