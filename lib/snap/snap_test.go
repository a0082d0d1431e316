package snap

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"zab/lib/cli"
	"zab/lib/record"
	"zab/lib/snapname"
	"zab/lib/zfs"
)

// berlin returns a zone whose clocks go back on 2026-10-25 from 03:00 to 02:00.
func berlin(t *testing.T) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	return loc
}

// A name is used only once, even if the clock goes back, and is the same for all
// datasets.
func TestFreeName(t *testing.T) {
	utc := func(text string) time.Time {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	var two []string
	for i := range 120 {
		two = append(two, utc("2026-11-22T03:00:00Z").Add(time.Duration(i)*time.Second).Format("b-20060102150405"))
	}
	for _, c := range []struct {
		what, format string
		loc          *time.Location
		now          string
		taken        []string // of the first and of the second dataset
		want         string   // "" for none
	}{
		{"free", "{}-%Y%m%d%H%M%S", time.UTC, "2026-11-22T03:00:00Z", []string{"b-20261121030000", "b-20261121030000"}, "b-20261122030000"},
		{"within one second", "{}-%Y%m%d%H%M%S", time.UTC, "2026-11-22T03:00:00Z", []string{"b-20261122030000"}, "b-20261122030001"},
		{"one of them has it", "{}-%Y%m%d%H%M%S", time.UTC, "2026-11-22T03:00:00Z", []string{"", "b-20261122030000"}, "b-20261122030001"},
		{"each has another", "{}-%Y%m%d%H%M%S", time.UTC, "2026-11-22T03:00:00Z", []string{"b-20261122030000 b-20261122030002", "b-20261122030001"}, "b-20261122030003"},
		{"the hour that is twice", "{}-%Y%m%d%H%M%S", berlin(t), "2026-10-25T01:30:00Z", []string{"b-20261025023000"}, "b-20261025023001"},
		{"whose name is free in the second", "{}-%Y%m%d%H%M%S", berlin(t), "2026-10-25T01:30:00Z", []string{"b-20261025022959"}, "b-20261025023000"},
		{"a minute further", "{}-%Y%m%d%H%M", time.UTC, "2026-11-22T03:00:59Z", []string{"b-202611220300"}, "b-202611220301"},
		{"once a day", "{}-%Y%m%d", time.UTC, "2026-11-22T03:00:00Z", []string{"b-20261122"}, ""},
		{"all of two minutes", "{}-%Y%m%d%H%M%S", time.UTC, "2026-11-22T03:00:00Z", []string{strings.Join(two, " ")}, ""},
	} {
		f, err := snapname.New(c.format, "b", c.loc)
		if err != nil {
			t.Fatal(err)
		}
		var set []*record.Record
		for i, words := range c.taken {
			r := &record.Record{Name: fmt.Sprint("tank/", i)}
			for _, n := range strings.Fields(words) {
				r.Snapshots = append(r.Snapshots, record.Snapshot{Name: n})
			}
			set = append(set, r)
		}
		s := &snapper{env: &cli.Env{Now: utc(c.now)}}
		got, free := s.freeName(f.Name, set, nil)
		if free != (c.want != "") || free && got != c.want || !free && got != f.Name(s.env.Now) {
			t.Errorf("%s: %q, %v", c.what, got, free)
		}
	}
}

func TestGroups(t *testing.T) {
	var rs []*record.Record
	for _, n := range strings.Fields("tank/a pool/x tank/b tank pool/y") {
		rs = append(rs, &record.Record{Name: n})
	}
	var got []string
	for _, g := range groups(rs, func(r *record.Record) string { return zfs.Pool(r.Name) }) {
		var names []string
		for _, r := range g {
			names = append(names, r.Name)
		}
		got = append(got, strings.Join(names, " "))
	}
	if want := []string{"tank/a tank/b tank", "pool/x pool/y"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := groups(nil, func(*record.Record) string { return "" }); got != nil {
		t.Errorf("%v", got)
	}
}

// pool is the directory of a stand-in for zfs and zpool, with these files. list has the
// rows of existing snapshots and bookmarks; get the rows of zfs get (other values are 0);
// pending the rows that are added to get when a pool is synced. gone has the datasets
// that no longer exist; bad those that cannot be snapshotted, each with the reason; full
// the pools that are full; stuck the pools that are suspended when they are synced;
// broken those that are suspended when they are listed. race has the datasets where
// another run takes the name first; after the snapshots that another run makes right
// after the listing; a line in deaf makes the next zfs get fail; log has the commands
// that were started.
type pool struct{ dir string }

const fakeZFS = `#!/bin/sh
cd "$POOL"
tab='	'
rc=0
case $0 in
*/zpool)
	echo "zpool $*" >>log
	grep -qx "$2" stuck && { echo "cannot sync '$2': pool I/O is currently suspended" >&2; exit 1; }
	cat pending >>get
	>pending
	exit;;
esac
echo "$*" >>log
missing() { while read -r g; do case $1 in "$g"|"$g"@*) echo "cannot open '$g': dataset does not exist" >&2; return 0;; esac; done <gone; return 1; }
operands() { for a; do case $a in */*|tank|pool) echo "$a";; esac; done; }
case $1 in
snapshot)
	for a in $(operands "$@"); do missing "$a" && { echo usage: >&2; exit 2; }; done
	while read -r p; do case "$*" in *" $p/"*) echo "cannot create snapshots : out of space" >&2; exit 1;; esac; done <full
	if [ -s race ]; then
		for a in $(operands "$@"); do
			grep -qx "${a%@*}" race && echo "$a${tab}555${tab}998" >>list
		done
		>race
	fi
	for a in $(operands "$@"); do
		why=$(sed -n "s|^${a%@*}$tab||p" bad)
		grep -q "^$a$tab" list && why='dataset already exists'
		[ "$why" ] && { echo "cannot create snapshot '$a': $why" >&2; rc=1; }
	done
	[ $rc = 0 ] || { echo "no snapshots were created" >&2; exit $rc; }
	for a in $(operands "$@"); do echo "$a${tab}777${tab}999" >>list; done;;
get)
	[ -s deaf ] && { >deaf; echo "internal error" >&2; exit 1; }
	props=$(echo "$7" | tr , ' ')
	for a in $(operands "$@"); do
		missing "$a" && { rc=1; continue; }
		for p in $props; do
			v=$(sed -n "s|^$a$tab$p$tab||p" get | tail -n 1)
			echo "$a$tab$p$tab${v:-0$tab-}"
		done
	done;;
list)
	for a in $(operands "$@"); do
		grep -qx "${a%%/*}" broken && { echo "cannot open '$a': pool I/O is currently suspended" >&2; rc=1; continue; }
		missing "$a" && { rc=1; continue; }
		case "$*" in
		*filesystem*) echo "$a${tab}1${tab}1";;
		*) case $a in *@*) grep "^$a$tab" list;; *) grep "^$a[@#]" list;; esac;;
		esac
	done
	if [ -s after ]; then
		while read -r n; do
			echo "$n${tab}555${tab}998" >>list
			echo "${n%@*}${tab}written${tab}0${tab}-" >>get
		done <after
		>after
		>pending
	fi;;
esac
exit $rc
`

func newPool(t *testing.T, files map[string]string) *pool {
	t.Helper()
	p := &pool{t.TempDir()}
	all := map[string]string{"zfs": fakeZFS, "zpool": fakeZFS, "list": "", "get": "", "pending": "", "gone": "", "bad": "", "full": "", "stuck": "", "broken": "", "race": "", "after": "", "deaf": "", "log": ""}
	for name, text := range files {
		all[name] = text
	}
	for name, text := range all {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", p.dir+":"+os.Getenv("PATH"))
	t.Setenv("POOL", p.dir)
	return p
}

// log returns the logged commands that begin with word.
func (p *pool) log(word string) []string {
	b, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	var out []string
	for l := range strings.Lines(string(b)) {
		if l = strings.TrimSuffix(l, "\n"); strings.HasPrefix(l, word) {
			out = append(out, l)
		}
	}
	return out
}

// run runs zab-snap at 2026-11-22T03:00:00Z.
func run(t *testing.T, args []string, input string) (out []*record.Record, stderr string, err error) {
	t.Helper()
	p := Program()
	if _, err = p.Parser().ParseArgs(append(args, "--utc")); err == nil {
		err = p.Check(nil)
	}
	if err != nil {
		return nil, "", err
	}
	var b, e bytes.Buffer
	env := &cli.Env{Program: p.Name, Common: &p.Options.(*Options).Common, Machine: &zfs.Machine{},
		Stdin: strings.NewReader(input), Stdout: &b, Stderr: &e, Now: time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)}
	err = p.Run(context.Background(), env, nil)
	out, rerr := record.NewReader(&b).ReadAll()
	if rerr != nil {
		t.Fatal(rerr)
	}
	return out, e.String(), err
}

// input returns records as zab-select prints them, made of words: name, and bytes written
// since the newest snapshot.
func input(t *testing.T, words ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := record.NewWriter(&b)
	for _, word := range words {
		name, n, ok := strings.Cut(word, " ")
		r := &record.Record{Type: record.TypeDataset, Backup: "b", Name: name, Selected: record.Ptr(true)}
		if ok {
			var written int64
			if _, err := fmt.Sscan(n, &written); err != nil {
				t.Fatal(err)
			}
			r.Written = &written
		}
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// outcome returns for each record the name of its new snapshot, or why it has none.
func outcome(out []*record.Record) string {
	var all []string
	for _, r := range out {
		what := "?"
		switch {
		case r.Error != nil:
			what = "error " + string(r.Error.Kind)
		case r.Snapshot != nil && r.Snapshot.Error != nil:
			what = "no snapshot " + string(r.Snapshot.Error.Kind)
		case r.Snapshot == nil:
		case r.Snapshot.None != "":
			what = r.Snapshot.None
		default:
			what = r.Snapshot.Name
			if r.Snapshot.Virtual {
				what = "~" + what
			}
		}
		all = append(all, r.Name+" "+what)
	}
	return strings.Join(all, ", ")
}

const name = "b-20261122030000"

// Each pool gets one atomic snapshot of all datasets that changed, and the records get
// its guids.
func TestSnapshot(t *testing.T) {
	p := newPool(t, map[string]string{"list": "tank/b@b-20261121030000\t5\t50\ntank/b@b-20261120030000\t4\t40\ntank/b@x\t3\t45\ntank/b#m\t4\t40\n"})
	out, stderr, err := run(t, nil, input(t, "tank/a 7", "pool/x 9", "tank/b 1"))
	if err != nil || stderr != "" || outcome(out) != "tank/a "+name+", pool/x "+name+", tank/b "+name {
		t.Errorf("%s, %s, %v", outcome(out), stderr, err)
	}
	want := []string{"snapshot tank/a@" + name + " tank/b@" + name, "snapshot pool/x@" + name}
	if got := p.log("snapshot"); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	b := out[2]
	var got []string
	for _, s := range b.Snapshots {
		got = append(got, fmt.Sprint(s.Name, " ", s.GUID, " ", s.Ours))
	}
	if strings.Join(got, ", ") != "b-20261120030000 4 true, x 3 false, b-20261121030000 5 true, "+name+" 777 true" || len(b.Bookmarks) != 1 {
		t.Errorf("%q, %v", got, b.Bookmarks)
	}
	// Two programs beyond the snapshots, however many datasets there are.
	if n := len(p.log("")); n != 4 {
		t.Errorf("%d programs: %q", n, p.log(""))
	}
}

// P1: a host is not believed that claims the new snapshot to be older than another,
// because that snapshot would never be sent.
func TestMadeBefore(t *testing.T) {
	newPool(t, map[string]string{"list": "tank/a@b-20261121030000\t5\t5000\ntank/b@b-20261121030000\t6\t50\n"})
	out, stderr, err := run(t, nil, input(t, "tank/b 1", "tank/a 1"))
	if err != nil || outcome(out) != "tank/b error bad-answer, tank/a error bad-answer" ||
		!strings.Contains(stderr, "'tank/a@"+name+"' was made just now, and its createtxg 999 is not after that of '@b-20261121030000', 5000") {
		t.Errorf("%s, %s, %v", outcome(out), stderr, err)
	}
}

// A dataset is unchanged if less than --min-change was written since our own newest
// snapshot, even if others have made snapshots since.
func TestUnchanged(t *testing.T) {
	const old, other = "b-20261121030000", "x"
	list := "tank/a@" + old + "\t5\t50\ntank/b@" + old + "\t6\t50\ntank/b@x\t7\t60\n"
	get := "tank/b\twritten@" + old + "\t4096\t-\n"
	for _, c := range []struct {
		what       string
		args       []string
		input      []string
		want, asks string
	}{
		{"nothing written", nil, []string{"tank/a 0"}, "tank/a unchanged", "tank/a"},
		{"a byte", nil, []string{"tank/a 1"}, "tank/a " + name, ""},
		{"less than asked for", []string{"--min-change=5000"}, []string{"tank/a 4999"}, "tank/a unchanged", "tank/a"},
		{"as much as asked for", []string{"--min-change=5000"}, []string{"tank/a 5000"}, "tank/a " + name, ""},
		{"asked for all", []string{"--allow-empty"}, []string{"tank/a 0"}, "tank/a " + name, ""},
		{"and in another way", []string{"--min-change=0"}, []string{"tank/a 0"}, "tank/a " + name, ""},
		{"before a snapshot of others", nil, []string{"tank/b 0"}, "tank/b " + name, "tank/b"},
		{"less than asked for, before a snapshot of others", []string{"--min-change=5000"}, []string{"tank/b 0"}, "tank/b unchanged", "tank/b"},
		{"enough, since one of others", nil, []string{"tank/b 1"}, "tank/b " + name, ""},
		{"before one of others that is not looked at", []string{"--exclude-snapshot-pattern=@x$"}, []string{"tank/b 0"}, "tank/b " + name, "tank/b"},
		{"nobody knows", nil, []string{"tank/b"}, "tank/b " + name, "tank/b"},
		{"no snapshot of ours", nil, []string{"tank/c 0"}, "tank/c " + name, "tank/c"},
	} {
		p := newPool(t, map[string]string{"list": list, "get": get})
		out, stderr, err := run(t, c.args, input(t, c.input...))
		if err != nil || stderr != "" || outcome(out) != c.want {
			t.Errorf("%s: %s, %s, %v", c.what, outcome(out), stderr, err)
		}
		asked := strings.Join(p.log("get"), "\n")
		prop := " written "
		if strings.HasSuffix(asked, "/b") {
			prop = "written@" + old
		}
		if (asked != "") != (c.asks != "") || !strings.HasSuffix(asked, c.asks) || asked != "" && !strings.Contains(asked, prop) {
			t.Errorf("%s: asked %q", c.what, asked)
		}
		// The pool is synced before its properties are read, and only then.
		if sync := p.log("zpool sync tank"); len(sync) > 1 || (len(sync) > 0) != (asked != "") {
			t.Errorf("%s: %q", c.what, p.log(""))
		}
	}
}

// P6: a dry run makes no snapshot and runs no command, and its records have the snapshots
// that would be made.
func TestDryRun(t *testing.T) {
	p := newPool(t, nil)
	out, stderr, err := run(t, []string{"-n", "--pre-snapshot-cmd=echo >$POOL/hook"}, input(t, "tank/a", "pool/x"))
	if err != nil || outcome(out) != "tank/a ~"+name+", pool/x ~"+name || len(p.log("snapshot")) > 0 {
		t.Errorf("%s, %s, %v, %q", outcome(out), stderr, err, p.log(""))
	}
	if s := out[0].Snapshots; len(s) != 1 || !s[0].Virtual || !s[0].Ours || s[0].GUID != "" {
		t.Errorf("%+v", s)
	}
	if _, err := os.Stat(filepath.Join(p.dir, "hook")); err == nil {
		t.Error("a dry run starts hooks")
	}
}

func TestNoSnapshot(t *testing.T) {
	p := newPool(t, map[string]string{"list": "tank/a@b-20261121030000\t5\t50\n"})
	out, _, err := run(t, []string{"--no-snapshot"}, input(t, "tank/a 7"))
	if err != nil || outcome(out) != "tank/a disabled" || len(p.log("snapshot")) > 0 || len(out[0].Snapshots) != 1 || !out[0].Snapshots[0].Ours {
		t.Errorf("%s, %v", outcome(out), err)
	}
}

// A dataset that is gone since it was selected is reported, and the others are
// snapshotted without it, still in one transaction group.
func TestGone(t *testing.T) {
	p := newPool(t, map[string]string{"gone": "tank/b\n"})
	out, stderr, err := run(t, nil, input(t, "tank/a", "tank/b", "tank/c"))
	if err != nil || outcome(out) != "tank/a "+name+", tank/b error not-found, tank/c "+name || !strings.Contains(stderr, "'tank/b': the dataset is gone") {
		t.Errorf("%s, %s, %v", outcome(out), stderr, err)
	}
	if got := p.log("snapshot"); !slices.Equal(got, []string{"snapshot tank/a@" + name + " tank/c@" + name}) {
		t.Errorf("%q", got)
	}
}

// A dataset that goes at the last moment is reported too: all datasets are looked up
// again after the command before the snapshots, and zfs names one of those that go later.
func TestGoneAtLast(t *testing.T) {
	p := newPool(t, nil)
	hook := "echo tank/b >$POOL/gone"
	out, stderr, err := run(t, []string{"--pre-snapshot-cmd=" + hook}, input(t, "tank/a", "tank/b", "tank/c", "pool/x"))
	if err != nil || outcome(out) != "tank/a "+name+", tank/b error not-found, tank/c "+name+", pool/x "+name || !strings.Contains(stderr, "'tank/b': the dataset is gone") {
		t.Errorf("%s, %s, %v", outcome(out), stderr, err)
	}
	want := []string{"snapshot tank/a@" + name + " tank/c@" + name, "snapshot pool/x@" + name}
	if got := p.log("snapshot"); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// A failure of a full pool, for which zfs names no dataset, is reported once for the
// pool. It does not stop another pool, and the records go on with their older snapshots.
func TestPoolFails(t *testing.T) {
	newPool(t, map[string]string{"full": "tank\n", "list": "tank/a@b-20261121030000\t5\t50\n"})
	out, stderr, err := run(t, nil, input(t, "tank/a 1", "pool/x", "tank/b"))
	if err != nil || outcome(out) != "tank/a no snapshot no-space, pool/x "+name+", tank/b no snapshot no-space" {
		t.Errorf("%s, %v", outcome(out), err)
	}
	if strings.Count(stderr, "out of space") != 1 || !strings.Contains(stderr, "cannot snapshot 2 datasets of pool 'tank'") || strings.Contains(stderr, "what was received") {
		t.Errorf("%s", stderr)
	}
	if r := out[0]; r.Skip() || len(r.Snapshots) != 1 || r.Failure() != r.Snapshot.Error || r.Snapshot.Error.Stage != "snap" {
		t.Errorf("%+v", r)
	}
}

// A dataset that cannot be snapshotted fails alone, with its own cause; all others are
// snapshotted together.
func TestOneFails(t *testing.T) {
	long := "tank/" + strings.Repeat("n", 235)
	p := newPool(t, map[string]string{"bad": "tank/in\tdataset is busy\ntank/vm\tout of space\n"})
	out, stderr, err := run(t, nil, input(t, "tank/a", "tank/in", "tank/vm", long, "tank/b"))
	want := "tank/a " + name + ", tank/in no snapshot busy, tank/vm no snapshot no-space, " + long + " no snapshot bad-argument, tank/b " + name
	if err != nil || outcome(out) != want {
		t.Errorf("%s, %v", outcome(out), err)
	}
	if got := p.log("snapshot"); len(got) != 2 || got[1] != "snapshot tank/a@"+name+" tank/b@"+name {
		t.Errorf("%q", got)
	}
	if m := out[1].Snapshot.Error.Message; m != "cannot snapshot 'tank/in@"+name+"': dataset is busy" || strings.Count(stderr, "tank/in@") != 1 {
		t.Errorf("%s, %s", m, stderr)
	}
}

// With two runs of one backup in the same second, a dataset that the other has
// snapshotted needs no other snapshot, and one that has changed since gets the next free
// name.
func TestSameSecond(t *testing.T) {
	const old, next = "b-20261121030000", "b-20261122030001"
	list := "tank/a@" + old + "\t5\t50\ntank/b@" + old + "\t6\t50\n"
	p := newPool(t, map[string]string{"list": list, "race": "tank/a\ntank/b\n", "pending": "tank/b\twritten\t512\t-\n"})
	out, stderr, err := run(t, nil, input(t, "tank/a 1", "tank/b 1"))
	if err != nil || stderr != "" || outcome(out) != "tank/a unchanged, tank/b "+next {
		t.Errorf("%s, %s, %v", outcome(out), stderr, err)
	}
	if s := out[0].Snapshots; s[len(s)-1].Name != name || s[len(s)-1].GUID != "555" || !s[len(s)-1].Ours {
		t.Errorf("%+v", s)
	}
	if got := p.log("snapshot"); len(got) != 2 || got[1] != "snapshot tank/b@"+next {
		t.Errorf("%q", got)
	}

	// The other run's snapshot comes after the list, and has all data that this run was
	// to snapshot: the record lists it in any case.
	newPool(t, map[string]string{"list": list, "pending": "tank/a\twritten\t512\t-\n", "after": "tank/a@" + name + "\n"})
	out, stderr, err = run(t, nil, input(t, "tank/a 0"))
	if s := out[0].Snapshots; err != nil || stderr != "" || outcome(out) != "tank/a unchanged" || s[len(s)-1].GUID != "555" {
		t.Errorf("%s, %+v, %s, %v", outcome(out), s, stderr, err)
	}

	// The next name is free in the pool that needs it, and taken in another.
	newPool(t, map[string]string{"list": list + "pool/x@" + next + "\t7\t50\n", "race": "tank/a\n", "pending": "tank/a\twritten\t512\t-\n"})
	out, _, err = run(t, nil, input(t, "tank/a 1", "pool/x 1"))
	if err != nil || outcome(out) != "tank/a "+next+", pool/x "+name {
		t.Errorf("%s, %v", outcome(out), err)
	}

	// With --allow-empty all of them get the same new name.
	newPool(t, map[string]string{"list": list, "race": "tank/b\n"})
	out, stderr, err = run(t, []string{"--allow-empty"}, input(t, "tank/a", "tank/b"))
	if err != nil || stderr != "" || outcome(out) != "tank/a "+next+", tank/b "+next {
		t.Errorf("%s, %s, %v", outcome(out), stderr, err)
	}

	// With no name left, the dataset that has the name fails alone.
	newPool(t, map[string]string{"race": "tank/b\n"})
	out, stderr, err = run(t, []string{"--allow-empty", "--snapshot-format={}-%Y%m%d"}, input(t, "tank/a", "tank/b", "tank/c"))
	if err != nil || outcome(out) != "tank/a b-20261122, tank/b no snapshot exists, tank/c b-20261122" || strings.Count(stderr, "cannot") != 1 {
		t.Errorf("%s, %s, %v", outcome(out), stderr, err)
	}
	newPool(t, map[string]string{"list": "tank/b@b-20261122\t6\t50\n"})
	out, _, err = run(t, []string{"--snapshot-format={}-%Y%m%d"}, input(t, "tank/a", "tank/b 1", "tank/c"))
	if err != nil || outcome(out) != "tank/a b-20261122, tank/b no snapshot exists, tank/c b-20261122" {
		t.Errorf("%s, %v", outcome(out), err)
	}
	// A taken name of a dataset that needs no snapshot does not matter.
	newPool(t, map[string]string{"list": "tank/b@b-20261122\t6\t50\n"})
	out, _, err = run(t, []string{"--snapshot-format={}-%Y%m%d"}, input(t, "tank/a", "tank/b 0"))
	if err != nil || outcome(out) != "tank/a b-20261122, tank/b unchanged" {
		t.Errorf("%s, %v", outcome(out), err)
	}
}

// Data that was written but is not on the disks yet counts; a pool that cannot be synced
// fails, and no other.
func TestPending(t *testing.T) {
	const old = "b-20261121030000"
	list := "tank/a@" + old + "\t5\t50\ntank/b@" + old + "\t6\t50\npool/x@" + old + "\t7\t50\n"
	p := newPool(t, map[string]string{"list": list, "pending": "tank/a\twritten\t4096\t-\n"})
	out, stderr, err := run(t, nil, input(t, "tank/a 0", "tank/b 0", "pool/x 9"))
	if err != nil || stderr != "" || outcome(out) != "tank/a "+name+", tank/b unchanged, pool/x "+name {
		t.Errorf("%s, %s, %v", outcome(out), stderr, err)
	}
	if got := p.log("zpool"); !slices.Equal(got, []string{"zpool sync tank"}) {
		t.Errorf("%q", got)
	}

	newPool(t, map[string]string{"list": list, "stuck": "tank\n"})
	out, stderr, err = run(t, nil, input(t, "tank/a 0", "tank/b 9", "pool/x 0"))
	if err != nil || outcome(out) != "tank/a error pool-io, tank/b error pool-io, pool/x unchanged" || strings.Count(stderr, "suspended") != 1 {
		t.Errorf("%s, %s, %v", outcome(out), stderr, err)
	}

	// With --cache, and no dataset left to be listed.
	t.Setenv("CACHE_DIRECTORY", t.TempDir())
	newPool(t, map[string]string{"stuck": "tank\n"})
	out, _, err = run(t, []string{"--cache"}, input(t, "tank/a 0"))
	if err != nil || outcome(out) != "tank/a error pool-io" {
		t.Errorf("%s, %v", outcome(out), err)
	}

	// A value that could not be read is asked for again, and the earlier one is not used.
	newPool(t, map[string]string{"list": list, "deaf": "yes\n", "get": "tank/a\twritten@" + old + "\t512\t-\n"})
	out, stderr, err = run(t, nil, input(t, "tank/a 0", "tank/b 0"))
	if err != nil || stderr != "" || outcome(out) != "tank/a "+name+", tank/b unchanged" {
		t.Errorf("%s, %s, %v", outcome(out), stderr, err)
	}

	newPool(t, map[string]string{"list": list, "broken": "tank\n"})
	out, stderr, err = run(t, nil, input(t, "tank/a 0", "tank/b 0", "pool/x 1"))
	if err != nil || outcome(out) != "tank/a error pool-io, tank/b error pool-io, pool/x "+name || strings.Count(stderr, "its snapshots cannot be listed: cannot open 'tank/") != 2 {
		t.Errorf("%s, %s, %v", outcome(out), stderr, err)
	}

	// P6: a dry run syncs no pool.
	p = newPool(t, map[string]string{"list": list})
	if out, _, _ := run(t, []string{"-n"}, input(t, "tank/a 0")); outcome(out) != "tank/a unchanged" || len(p.log("zpool")) > 0 {
		t.Errorf("%s, %q", outcome(out), p.log(""))
	}
}

// Data that a command before the snapshots writes gets into them, also where the command
// makes a snapshot itself.
func TestHookWrites(t *testing.T) {
	const old = "b-20261121030000"
	list := "tank/a@" + old + "\t5\t50\ntank/b@" + old + "\t6\t50\ntank/c@" + old + "\t7\t50\n"
	p := newPool(t, map[string]string{"list": list})
	hook := `printf 'tank/a\twritten\t4096\t-\n' >>$POOL/pending; printf 'tank/b@dump\t8\t60\n' >>$POOL/list; printf 'tank/b\twritten@` + old + `\t512\t-\n' >>$POOL/pending`
	out, stderr, err := run(t, []string{"--pre-snapshot-cmd=" + hook}, input(t, "tank/a 0", "tank/b 0", "tank/c 0"))
	if err != nil || stderr != "" || outcome(out) != "tank/a "+name+", tank/b "+name+", tank/c unchanged" {
		t.Errorf("%s, %s, %v, %q", outcome(out), stderr, err, p.log(""))
	}
}

// The commands before and after the snapshot run in order, with the backup, snapshot and
// datasets in their environment; if one before fails no snapshot is made, and those after
// always run.
func TestHooks(t *testing.T) {
	p := newPool(t, nil)
	note := func(word string) string {
		return `--` + word + `-snapshot-cmd=echo hook ` + word + ` "$ZAB_BACKUP $ZAB_SNAPSHOT" $ZAB_DATASETS >>$POOL/log`
	}
	out, stderr, err := run(t, []string{note("pre"), "--pre-snapshot-cmd=echo hook second >>$POOL/log", note("post"), "--post-snapshot-cmd=echo hook last >>$POOL/log"}, input(t, "tank/a", "pool/x"))
	if err != nil || stderr != "" || outcome(out) != "tank/a "+name+", pool/x "+name {
		t.Errorf("%s, %s, %v", outcome(out), stderr, err)
	}
	var got []string
	for _, l := range p.log("") {
		if !strings.HasPrefix(l, "list") && !strings.HasPrefix(l, "get") && !strings.HasPrefix(l, "zpool") {
			got = append(got, l)
		}
	}
	want := []string{"hook pre b " + name + " tank/a pool/x", "hook second", "snapshot tank/a@" + name, "snapshot pool/x@" + name, "hook post b " + name + " tank/a pool/x", "hook last"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}

	p = newPool(t, nil)
	out, stderr, err = run(t, []string{"--pre-snapshot-cmd=exit 3", note("pre"), note("post")}, input(t, "tank/a", "pool/x"))
	if err != nil || outcome(out) != "tank/a error hook, pool/x error hook" || strings.Count(stderr, `"exit 3"`) != 1 {
		t.Errorf("%s, %s, %v", outcome(out), stderr, err)
	}
	if len(p.log("snapshot")) > 0 || len(p.log("hook pre")) > 0 || len(p.log("hook post")) != 1 {
		t.Errorf("%q", p.log(""))
	}

	p = newPool(t, nil)
	out, stderr, err = run(t, []string{"--post-snapshot-cmd=exit 4", note("post")}, input(t, "tank/a"))
	if err != nil || outcome(out) != "tank/a "+name || !strings.Contains(stderr, `"exit 4"`) || len(p.log("hook post")) != 1 {
		t.Errorf("%s, %s, %v", outcome(out), stderr, err)
	}

	// They run before changes are looked up, for all datasets that could be snapshotted.
	p = newPool(t, map[string]string{"list": "tank/a@b-20261121030000\t5\t50\n"})
	out, _, _ = run(t, []string{note("pre"), note("post")}, input(t, "tank/a 0"))
	if outcome(out) != "tank/a unchanged" || !slices.Equal(p.log("hook"), []string{"hook pre b " + name + " tank/a", "hook post b " + name + " tank/a"}) {
		t.Errorf("%s, %q", outcome(out), p.log(""))
	}
	// Without a dataset to snapshot none runs: there is nothing to stop a database for.
	for _, args := range [][]string{{"--no-snapshot", note("pre"), note("post")}, {note("pre"), note("post")}} {
		p = newPool(t, map[string]string{"gone": "tank/a\n"})
		words := []string{"tank/a 1"}
		if args[0] == "--no-snapshot" {
			words = []string{"tank/b 1"}
		}
		if _, _, _ = run(t, args, input(t, words...)); len(p.log("hook")) > 0 {
			t.Errorf("%q", p.log(""))
		}
	}
}

// Readers that go away stop neither the snapshot nor the commands before and after it:
// neither the reader of messages, which also gets the commands' output, nor the reader of
// records.
func TestHooksWithoutReaders(t *testing.T) {
	p := newPool(t, nil)
	o := Program()
	args := []string{"--utc", "-v", "--pre-snapshot-cmd=yes | head -n 100000; echo hook pre >>$POOL/log", "--post-snapshot-cmd=echo x; echo hook post >>$POOL/log"}
	if _, err := o.Parser().ParseArgs(args); err != nil {
		t.Fatal(err)
	}
	env := &cli.Env{Program: o.Name, Common: &o.Options.(*Options).Common, Machine: &zfs.Machine{}, Stdin: strings.NewReader(input(t, "tank/a")),
		Stdout: nobody{}, Stderr: nobody{}, Now: time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)}
	err := o.Run(context.Background(), env, nil)
	if err == nil || err.Error() != "cannot write records: broken pipe" {
		t.Errorf("%v", err)
	}
	if len(p.log("hook pre")) != 1 || len(p.log("snapshot")) != 1 || len(p.log("hook post")) != 1 {
		t.Errorf("%q", p.log(""))
	}
}

// nobody is a pipe without a reader.
type nobody struct{}

func (nobody) Write([]byte) (int, error) { return 0, syscall.EPIPE }

// P9: an incomplete set of datasets is not consistent, so no snapshot is made.
func TestBadInput(t *testing.T) {
	p := newPool(t, nil)
	out, stderr, err := run(t, nil, input(t, "tank/a", "tank/b")+`{"zab":1,"type":"dataset","na`)
	if err != nil || outcome(out) != "tank/a error bad-input, tank/b error bad-input" || !strings.Contains(stderr, "line 3") || len(p.log("")) > 0 {
		t.Errorf("%s, %s, %v, %q", outcome(out), stderr, err, p.log(""))
	}
}

func TestOptions(t *testing.T) {
	for _, bad := range []string{"--snapshot-format={}-%H", "--min-change=-1", "--set-snapshot-properties=x", "--set-snapshot-properties=-r=x", "--exclude-snapshot-pattern=("} {
		if _, _, err := run(t, []string{bad}, ""); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	p := newPool(t, nil)
	if _, _, err := run(t, []string{"--set-snapshot-properties=x:y=1,x:z=a b", "--set-snapshot-properties=x:w="}, input(t, "tank/a")); err != nil {
		t.Error(err)
	}
	if got := p.log("snapshot"); !slices.Equal(got, []string{"snapshot -o x:y=1 -o x:z=a b -o x:w= tank/a@" + name}) {
		t.Errorf("%q", got)
	}
}
