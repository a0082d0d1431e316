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

// The clocks of this zone go back on 2026-10-25 from 03:00 to 02:00.
func berlin(t *testing.T) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	return loc
}

// A name is given once, whatever the clock does, and to all datasets the same.
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
		got, err := s.freeName(f.Name, set)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v", c.what, got, err)
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

// pool is a stand-in for zfs. Its files: list has the rows of the snapshots and
// bookmarks that are there, get what zfs get prints, gone the datasets that are
// not there any more, full the pools that are full; log is what was started.
type pool struct{ dir string }

const fakeZFS = `#!/bin/sh
cd "$POOL"
tab='	'
echo "$*" >>log
rc=0
missing() { while read -r g; do case $1 in "$g"|"$g"@*) echo "cannot open '$g': dataset does not exist" >&2; return 0;; esac; done <gone; return 1; }
operands() { for a; do case $a in */*|tank|pool) echo "$a";; esac; done; }
case $1 in
snapshot)
	for a in $(operands "$@"); do missing "$a" && { echo usage: >&2; exit 2; }; done
	while read -r p; do case "$*" in *" $p/"*) echo "cannot create snapshots : out of space" >&2; exit 1;; esac; done <full
	for a in $(operands "$@"); do echo "$a${tab}777${tab}999" >>list; done;;
get)
	cat get;;
list)
	for a in $(operands "$@"); do
		missing "$a" && { rc=1; continue; }
		case "$*" in
		*filesystem*) echo "$a${tab}1${tab}1";;
		*) case $a in *@*) grep "^$a$tab" list;; *) grep "^$a[@#]" list;; esac;;
		esac
	done;;
esac
exit $rc
`

func newPool(t *testing.T, files map[string]string) *pool {
	t.Helper()
	p := &pool{t.TempDir()}
	all := map[string]string{"zfs": fakeZFS, "list": "", "get": "", "gone": "", "full": "", "log": ""}
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

// log gives the commands that begin with word.
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
	if _, err := p.Parser().ParseArgs(append(args, "--utc")); err != nil {
		t.Fatal(err)
	}
	if err := p.Check(nil); err != nil {
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

// input are records as zab-select prints them: name, and bytes written since
// the newest snapshot.
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

// outcome is what became of the records.
func outcome(out []*record.Record) string {
	var all []string
	for _, r := range out {
		what := "?"
		switch {
		case r.Error != nil:
			what = "error " + r.Error.Kind
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

// One atomic snapshot for each pool, of all that changed, and its guid.
func TestSnapshot(t *testing.T) {
	p := newPool(t, map[string]string{"list": "tank/b@b-20261121030000\t5\t50\ntank/b@b-20261120030000\t4\t40\ntank/b@x\t3\t45\ntank/b#m\t4\t40\n"})
	out, stderr, err := run(t, nil, input(t, "tank/a 0", "pool/x 9", "tank/b 1"))
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

// Unchanged means: less than --min-change written since our own newest
// snapshot, whoever made others since.
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
		{"nothing written", nil, []string{"tank/a 0"}, "tank/a unchanged", ""},
		{"a byte", nil, []string{"tank/a 1"}, "tank/a " + name, ""},
		{"less than asked for", []string{"--min-change=5000"}, []string{"tank/a 4999"}, "tank/a unchanged", ""},
		{"as much as asked for", []string{"--min-change=5000"}, []string{"tank/a 5000"}, "tank/a " + name, ""},
		{"asked for all", []string{"--allow-empty"}, []string{"tank/a 0"}, "tank/a " + name, ""},
		{"and in another way", []string{"--min-change=0"}, []string{"tank/a 0"}, "tank/a " + name, ""},
		{"before a snapshot of others", nil, []string{"tank/b 0"}, "tank/b " + name, "tank/b"},
		{"less than asked for, before a snapshot of others", []string{"--min-change=5000"}, []string{"tank/b 0"}, "tank/b unchanged", "tank/b"},
		{"before one of others that is not looked at", []string{"--exclude-snapshot-pattern=@x$"}, []string{"tank/b 0"}, "tank/b " + name, "tank/b"},
		{"nobody knows", nil, []string{"tank/b"}, "tank/b " + name, "tank/b"},
		{"no snapshot of ours", nil, []string{"tank/c 0"}, "tank/c " + name, ""},
	} {
		p := newPool(t, map[string]string{"list": list, "get": get})
		out, stderr, err := run(t, c.args, input(t, c.input...))
		if err != nil || stderr != "" || outcome(out) != c.want {
			t.Errorf("%s: %s, %s, %v", c.what, outcome(out), stderr, err)
		}
		asked := strings.Join(p.log("get"), "\n")
		if (asked != "") != (c.asks != "") || !strings.HasSuffix(asked, c.asks) || asked != "" && !strings.Contains(asked, "written@"+old) {
			t.Errorf("%s: asked %q", c.what, asked)
		}
	}
}

// P6, and the plan of a dry run has what would be made.
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

// A dataset that is gone since it was selected is told of, and the others are
// made without it, still in one snapshot.
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

// The same where it goes at the last moment.
func TestGoneAtLast(t *testing.T) {
	p := newPool(t, nil)
	hook := "echo tank/b >$POOL/gone"
	out, stderr, err := run(t, []string{"--pre-snapshot-cmd=" + hook}, input(t, "tank/a", "tank/b", "tank/c", "pool/x"))
	if err != nil || outcome(out) != "tank/a "+name+", tank/b error not-found, tank/c "+name+", pool/x "+name || !strings.Contains(stderr, "'tank/b': the dataset is gone") {
		t.Errorf("%s, %s, %v", outcome(out), stderr, err)
	}
	want := []string{
		"snapshot tank/a@" + name + " tank/b@" + name + " tank/c@" + name, // all or none: none
		"snapshot tank/a@" + name + " tank/c@" + name,
		"snapshot pool/x@" + name,
	}
	if got := p.log("snapshot"); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// What fails on one pool fails for all of it and for nothing else, in one
// message.
func TestPoolFails(t *testing.T) {
	newPool(t, map[string]string{"full": "tank\n"})
	out, stderr, err := run(t, nil, input(t, "tank/a", "pool/x", "tank/b"))
	if err != nil || outcome(out) != "tank/a error no-space, pool/x "+name+", tank/b error no-space" {
		t.Errorf("%s, %v", outcome(out), err)
	}
	if strings.Count(stderr, "cannot snapshot 2 datasets of pool 'tank'") != 1 || !strings.Contains(stderr, "out of space") {
		t.Errorf("%s", stderr)
	}
}

// The commands before and after: in order, with what they need to know; none is
// made where one before fails, and those after run whatever happened.
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
		if !strings.HasPrefix(l, "list") {
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

	// Nothing to snapshot, nothing to stop a database for.
	p = newPool(t, map[string]string{"list": "tank/a@b-20261121030000\t5\t50\n"})
	out, _, _ = run(t, []string{note("pre"), note("post")}, input(t, "tank/a 0"))
	if outcome(out) != "tank/a unchanged" || len(p.log("hook")) > 0 {
		t.Errorf("%s, %q", outcome(out), p.log(""))
	}
}

// Readers who go away stop no command before or after the snapshot, nor the
// snapshot: neither the reader of messages, to which the commands' own go, nor
// the one of records.
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

// P9: a set that is not complete is no consistent set: nothing is made.
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
