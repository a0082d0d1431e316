package thin

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"zab/lib/cli"
	"zab/lib/record"
	"zab/lib/zfs"
)

// pool is a directory with a stand-in for zfs and its answers: the listings, the holds,
// and the failures of commands that change a pool. The stand-in logs those commands.
type pool struct{ dir string }

const fakeZFS = `#!/bin/sh
cd "$POOL"
rc=0
case $1 in
program)
	cat >program; cat answer;;
get)
	props=$7
	shift 7
	for a; do
		grep -q "^$a	" get || { echo "cannot open '$a': dataset does not exist" >&2; rc=1; continue; }
		for p in $(echo $props | tr , ' '); do
			grep "^$a	$p	" get || echo "$a	$p	-	-"
		done
	done;;
list)
	case "$*" in *" -d 0"*) cat pools; exit;; esac
	for a; do case $a in *@*)
		grep "^$a	" list || { echo "cannot open '$a': dataset does not exist" >&2; rc=1; }
	esac; done;;
holds)
	cat holds;;
*)
	echo "$*" >>log
	while IFS='|' read -r pattern message; do
		case "$*" in $pattern) echo "$message" >&2; rc=1;; esac
	done <trouble;;
esac
exit $rc
`

func newPool(t *testing.T) *pool {
	t.Helper()
	p := &pool{t.TempDir()}
	for name, text := range map[string]string{"list": "", "holds": "", "trouble": "", "log": "", "answer": "", "get": "", "pools": ""} {
		p.write(t, name, text)
	}
	p.program(t, "zfs", fakeZFS)
	p.program(t, "zpool", "#!/bin/sh\n")
	t.Setenv("PATH", p.dir+":"+os.Getenv("PATH"))
	t.Setenv("POOL", p.dir)
	return p
}

// program writes a stand-in with the given name.
func (p *pool) program(t *testing.T, name, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
}

// asListed removes the numbers of holds from a record, which a listing does not have.
func asListed(r *record.Record) {
	for i := range r.Snapshots {
		r.Snapshots[i].UserRefs = nil
	}
}

func (p *pool) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// has writes the listing of the pool: the snapshots of both sides of the records.
func (p *pool) has(t *testing.T, records ...*record.Record) {
	t.Helper()
	var b strings.Builder
	add := func(dataset string, list []record.Snapshot) {
		for _, s := range list {
			refs := int64(0)
			if s.UserRefs != nil {
				refs = *s.UserRefs
			}
			fmt.Fprintf(&b, "%s\t%s\t%s\t%d\n", s.Full(dataset), s.GUID, s.CreateTXG, refs)
		}
	}
	for _, r := range records {
		add(r.Name, r.Snapshots)
		if r.Target != nil {
			add(r.Target.Name, r.Target.Snapshots)
		}
	}
	p.write(t, "list", b.String())
}

// held writes the holds, and the number of holds on each snapshot of the listing.
func (p *pool) held(t *testing.T, holds string) {
	t.Helper()
	p.write(t, "holds", holds)
	b, err := os.ReadFile(filepath.Join(p.dir, "list"))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for l := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSuffix(l, "\n"), "\t")
		if n := strings.Count("\n"+holds, "\n"+f[0]+"\t"); n > 0 {
			f[3] = fmt.Sprint(n)
		}
		out.WriteString(strings.Join(f, "\t") + "\n")
	}
	p.write(t, "list", out.String())
}

func (p *pool) log(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

// run runs zab-thin on the input.
func run(t *testing.T, args, input string) (out []*record.Record, text, stderr string) {
	t.Helper()
	p := Program()
	if _, err := p.Parser().ParseArgs(append(strings.Fields(args), "--snapshot-format={}-%s")); err != nil {
		t.Fatal(err)
	}
	var b, e bytes.Buffer
	env := &cli.Env{Program: p.Name, Common: &p.Options.(*Options).Common, Machine: &zfs.Machine{},
		Stdin: strings.NewReader(input), Stdout: &b, Stderr: &e, Now: time.Unix(now, 0)}
	if err := p.Run(context.Background(), env, nil); err != nil {
		t.Fatal(err)
	}
	out, err := record.NewReader(bytes.NewReader(b.Bytes())).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return out, b.String(), e.String()
}

func lines(t *testing.T, records ...*record.Record) string {
	t.Helper()
	var b bytes.Buffer
	w := record.NewWriter(&b)
	for _, r := range records {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// both returns the record of a dataset with its copy.
func both(name, source, target string) *record.Record {
	return &record.Record{Type: record.TypeDataset, Backup: "b", Name: name, Snapshots: snaps(source), Bookmarks: []record.Snapshot{},
		Target: &record.Target{Name: "backup/" + name, Exists: true, Snapshots: snaps(target)}, Steps: []record.Step{}}
}

func verdict(t *testing.T, list []record.Verdict, name string) record.Verdict {
	t.Helper()
	i := slices.IndexFunc(list, func(v record.Verdict) bool { return v.Name == name })
	if i < 0 {
		t.Fatalf("no verdict on %s in %+v", name, list)
	}
	return list[i]
}

func names(list []record.Snapshot) string {
	var out []string
	for _, s := range list {
		out = append(out, s.Name)
	}
	return strings.Join(out, " ")
}

// Each dataset has its snapshots destroyed by one program, and its record lists those
// that are left.
func TestDestroys(t *testing.T) {
	p := newPool(t)
	a, b := both("tank/a", "9 8 7", "9 8 7"), both("tank/b", "9 8 7", "9 8 7")
	p.has(t, a, b)
	out, _, stderr := run(t, "--keep-source=1 --keep-target=2", lines(t, a, b))
	want := []string{
		"destroy tank/a@" + ours(9) + "," + ours(8), "destroy tank/b@" + ours(9) + "," + ours(8),
		"destroy backup/tank/a@" + ours(9), "destroy backup/tank/b@" + ours(9),
	}
	if got := p.log(t); !slices.Equal(got, want) || stderr != "" {
		t.Errorf("%q, %s", got, stderr)
	}
	for _, r := range out {
		if names(r.Snapshots) != ours(7) || names(r.Target.Snapshots) != ours(8)+" "+ours(7) {
			t.Errorf("%s still has %s and %s", r.Name, names(r.Snapshots), names(r.Target.Snapshots))
		}
		for _, v := range slices.Concat(r.Thin.Source, r.Thin.Target) {
			if v.Keep == v.Destroyed {
				t.Errorf("%+v", v)
			}
		}
	}
	// All verdicts stay when the records are thinned again.
	again, _, _ := run(t, "--keep-source=1 --keep-target=2", lines(t, out...))
	for i, r := range again {
		if len(r.Thin.Source) != 3 || len(r.Thin.Target) != 3 || !verdict(t, r.Thin.Source, ours(9)).Destroyed {
			t.Errorf("%+v, before it was %+v", r.Thin, out[i].Thin)
		}
	}
	if got := p.log(t); len(got) != len(want) {
		t.Errorf("destroyed again: %q", got)
	}
}

// P6: a dry run starts no program where the records carry their snapshots, and names the
// snapshots that it would destroy.
func TestDryRun(t *testing.T) {
	t.Setenv("PATH", "/nonexistent")
	a := both("tank/a", "9 8 ~7", "9 8")
	out, _, stderr := run(t, "-n -v --keep-source=1 --keep-target=1", lines(t, a))
	if names(out[0].Snapshots) != ours(9)+" "+ours(8)+" "+ours(7) || kept(out[0].Thin.Source) != "8 7" || kept(out[0].Thin.Target) != "8" {
		t.Errorf("%+v", out[0].Thin)
	}
	for _, v := range slices.Concat(out[0].Thin.Source, out[0].Thin.Target) {
		if v.Destroyed {
			t.Errorf("%+v", v)
		}
	}
	for _, want := range []string{"would destroy 'tank/a@" + ours(9) + "'", "would destroy 'backup/tank/a@" + ours(9) + "'"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q does not tell %q", stderr, want)
		}
	}
}

// P1: a snapshot that a dry run would have made does not exist, so that the newest
// existing one stays.
func TestPlanOfADryRun(t *testing.T) {
	p := newPool(t)
	r := both("tank/a", "9 8 ~7", "")
	r.Target = nil
	p.has(t, r)
	run(t, "--keep-source=0", lines(t, r))
	if got := p.log(t); !slices.Equal(got, []string{"destroy tank/a@" + ours(9)}) {
		t.Errorf("%q", got)
	}
}

// Snapshots are looked up again before they are destroyed: another snapshot of the same
// name stays, and one that is gone already is no failure.
func TestPoolsMoveOn(t *testing.T) {
	p := newPool(t)
	r := both("tank/a", "9 8 7 6", "6")
	p.has(t, r)
	list, _ := os.ReadFile(filepath.Join(p.dir, "list"))
	text := strings.Replace(string(list), "tank/a@"+ours(9)+"\t1009", "tank/a@"+ours(9)+"\t777", 1)
	text = strings.Replace(text, "tank/a@"+ours(8)+"\t", "tank/x@"+ours(8)+"\t", 1)
	p.write(t, "list", text)
	out, _, stderr := run(t, "--keep-source=1", lines(t, r))
	if got := p.log(t); !slices.Equal(got, []string{"destroy tank/a@" + ours(7)}) || stderr != "" || out[0].Error != nil {
		t.Errorf("%q, %s", got, stderr)
	}
	if v := verdict(t, out[0].Thin.Source, ours(9)); !v.Keep || v.Destroyed || v.Why[0] != "it is another snapshot now, with guid 777" {
		t.Errorf("%+v", v)
	}
	if v := verdict(t, out[0].Thin.Source, ours(8)); v.Keep || !v.Destroyed {
		t.Errorf("%+v", v)
	}
	if names(out[0].Snapshots) != ours(9)+" "+ours(6) {
		t.Errorf("%s", names(out[0].Snapshots))
	}
}

// A hold of others protects a snapshot, and so does a hold of ours that no pin assigns
// to this target, also on a dataset without a target.
func TestHeld(t *testing.T) {
	p := newPool(t)
	r := both("tank/a", "9! 8! 7! 6", "6")
	alone := both("tank/b", "9! 8", "")
	alone.Target = nil
	p.has(t, r, alone)
	asListed(r)
	alone.Snapshots[0].UserRefs = nil
	p.write(t, "holds", fmt.Sprintf("tank/a@%[1]s\tzfs_autobackup:b\tSun Nov 22 23:08 2026\ntank/a@%[2]s\tother\tSun Nov 22 23:08 2026\n"+
		"tank/a@%[3]s\tzfs_autobackup:b\tSun Nov 22 23:08 2026\ntank/a@%[3]s\tzfs_autobackup:bb\tSun Nov 22 23:08 2026\n", ours(9), ours(8), ours(7)))
	out, _, stderr := run(t, "--keep-source=1", lines(t, r, alone))
	// P1: a hold of ours may protect the incremental base of another target.
	if got := strings.Join(p.log(t), ""); got != "" || stderr != "" {
		t.Errorf("%q, %s", got, stderr)
	}
	for _, n := range []string{ours(9), ours(8), ours(7)} {
		if v := verdict(t, out[0].Thin.Source, n); !v.Keep || v.Why[0] != "held" {
			t.Errorf("%+v", v)
		}
	}
	if v := verdict(t, out[1].Thin.Source, ours(9)); !v.Keep || v.Why[0] != "held" {
		t.Errorf("%+v", v)
	}
}

// A snapshot that a killed run left held for this target alone is destroyed; where
// another target holds it as well, only this target's pin is released, or each would wait
// for the other.
func TestLeftHolds(t *testing.T) {
	t.Run("holds", func(t *testing.T) { leftHolds(t, func(to *record.Target, tag string) { to.Pin = tag }) })
	t.Run("no holds", func(t *testing.T) { leftHolds(t, func(to *record.Target, tag string) { to.OldPin = tag }) })
}

// pinned returns the record of tank/a as it was listed, with snapshots as in both and the
// given holds, lines of zfs holds; the target's pin is zfs_autobackup:b:77.
func (p *pool) pinned(t *testing.T, source, target string, holds ...string) *record.Record {
	t.Helper()
	r := both("tank/a", source, target)
	p.has(t, r)
	asListed(r)
	r.Target.Pin = "zfs_autobackup:b:77"
	p.held(t, strings.Join(holds, ""))
	return r
}

// holdOf returns the line of zfs holds for a tag on the snapshot of tank/a that is so many
// days old.
func holdOf(days int, tag string) string { return "tank/a@" + ours(days) + "\t" + tag + "\tnow\n" }

// Left holds are released also where nothing was sent, so that the record lacks the guid
// of the target's pool.
func TestLeftHoldsNothingSent(t *testing.T) {
	p := newPool(t)
	p.program(t, "zpool", "#!/bin/sh\neval pool=\\${$#}; for w in $(echo \"$5\" | tr , ' '); do [ $w = guid ] && v=5 || v=enabled; printf '%s\\t%s\\t%s\\n' $pool $w $v; done\n")
	r := p.pinned(t, "9! 8! 7", "7", holdOf(9, "zfs_autobackup:b:77.6"), holdOf(8, "zfs_autobackup:b:77.5"))
	_, _, stderr := run(t, "--keep-source=1", lines(t, r))
	want := []string{"release zfs_autobackup:b tank/a@" + ours(8), "release zfs_autobackup:b:77.5 tank/a@" + ours(8), "destroy tank/a@" + ours(8)}
	if got := p.log(t); !slices.Equal(got, want) || stderr != "" {
		t.Errorf("%q, %s", got, stderr)
	}
}

// P1: this target's pin on a snapshot newer than the base may be that of another run to it,
// which has held what it sends, or has moved the base since the snapshots were listed.
func TestHoldsOfAnotherRun(t *testing.T) {
	p := newPool(t)
	r := p.pinned(t, "9! 8 7! 6", "8", holdOf(9, "zfs_autobackup:b:77"), holdOf(7, "zfs_autobackup:b:77"))
	out, _, stderr := run(t, "--keep-source=1", lines(t, r))
	want := []string{"release zfs_autobackup:b tank/a@" + ours(9), "release zfs_autobackup:b:77 tank/a@" + ours(9), "destroy tank/a@" + ours(9)}
	if got := p.log(t); !slices.Equal(got, want) || stderr != "" {
		t.Errorf("%q, %s", got, stderr)
	}
	if v := verdict(t, out[0].Thin.Source, ours(7)); !v.Keep || v.Why[0] != "held" || len(out[0].Thin.Waits) != 0 {
		t.Errorf("%+v", v)
	}
}

func leftHolds(t *testing.T, own func(to *record.Target, tag string)) {
	p := newPool(t)
	r := both("tank/a", "9! 8! 7! 6! 5", "5")
	p.has(t, r)
	asListed(r)
	own(r.Target, "zfs_autobackup:b:77.5")
	hold := func(snapshot, tag string) string {
		return "tank/a@" + snapshot + "\t" + tag + "\tSun Nov 22 23:08 2026\n"
	}
	p.held(t, hold(ours(9), "zfs_autobackup:b")+ // zfs-autobackup's, for any target
		// also held for another disk, whose datasets have the same guids
		hold(ours(8), "zfs_autobackup:b")+hold(ours(8), "zfs_autobackup:b:77.5")+hold(ours(8), "zfs_autobackup:b:77.6")+
		hold(ours(7), "zfs_autobackup:b")+hold(ours(7), "zfs_autobackup:b:77.5")+
		hold(ours(6), "zfs_autobackup:b:77")) // from an earlier version
	out, _, stderr := run(t, "--keep-source=1", lines(t, r))
	want := []string{
		"release zfs_autobackup:b tank/a@" + ours(7) + " tank/a@" + ours(6),
		"release zfs_autobackup:b:77.5 tank/a@" + ours(8) + " tank/a@" + ours(7),
		"release zfs_autobackup:b:77 tank/a@" + ours(6),
		"destroy tank/a@" + ours(7) + "," + ours(6),
	}
	if got := p.log(t); !slices.Equal(got, want) || stderr != "" {
		t.Errorf("%q, %s", got, stderr)
	}
	for _, n := range []string{ours(9), ours(8)} {
		if v := verdict(t, out[0].Thin.Source, n); !v.Keep || v.Why[0] != "held" {
			t.Errorf("%+v", v)
		}
	}
	// The record lists the snapshot that stays for another target, which the shared tag
	// stands for now.
	at := time.Date(2026, 11, 22, 23, 8, 0, 0, time.Local).Unix()
	if w := out[0].Thin.Waits; len(w) != 1 || w[0].Side != record.SideSource || w[0].Snapshot != ours(8) || w[0].Tag != "zfs_autobackup:b:77.6" ||
		w[0].Since == nil || *w[0].Since != at || w[0].Also != "zfs_autobackup:b" {
		t.Errorf("%+v", w)
	}
}

// Where two tags besides the shared one hold a snapshot for others, the shared tag is
// assigned to neither; and two runs of zab-thin list each hold once.
func TestWaits(t *testing.T) {
	p := newPool(t)
	r := p.pinned(t, "8! 7! 6", "6", holdOf(8, "zfs_autobackup:b"), holdOf(8, "zfs_autobackup:b:78"), holdOf(8, "zfs_autobackup:b:79"),
		holdOf(7, "zfs_autobackup:b"), holdOf(7, "zfs_autobackup:b:78"), holdOf(7, "mine"))
	out, _, _ := run(t, "--keep-source=1", lines(t, r))
	out, _, _ = run(t, "--keep-source=1", lines(t, out[0]))
	var got []string
	for _, w := range out[0].Thin.Waits {
		if w.Since != nil {
			t.Errorf("%+v", w)
		}
		got = append(got, w.Snapshot+" "+w.Tag+" "+w.Also)
	}
	want := []string{ours(8) + " zfs_autobackup:b:78 ", ours(8) + " zfs_autobackup:b:79 ", ours(7) + " zfs_autobackup:b:78 "}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// Where the shared hold cannot be released the pin stays, because only the pin says for
// which target the shared hold stands.
func TestLeftHoldThatStays(t *testing.T) {
	p := newPool(t)
	r := p.pinned(t, "8! 7! 6", "6", holdOf(7, "zfs_autobackup:b"), holdOf(7, "zfs_autobackup:b:77"))
	full := "tank/a@" + ours(7)
	p.write(t, "trouble", "release zfs_autobackup:b tank*|Timeout, server vault not responding.\n")
	out, _, _ := run(t, "--keep-source=1", lines(t, r))
	if got := p.log(t); !slices.Equal(got, []string{"release zfs_autobackup:b " + full}) {
		t.Errorf("%q", got)
	}
	if v := verdict(t, out[0].Thin.Source, ours(7)); !v.Keep || v.Why[0] != "held" {
		t.Errorf("%+v", v)
	}
}

// zfs destroys all snapshots of a list or none: one that cannot go does not keep the
// others from being destroyed.
func TestOneThatCannotGo(t *testing.T) {
	p := newPool(t)
	a, b := both("tank/a", "9 8 7", "7"), both("tank/b", "9 8", "8")
	p.has(t, a, b)
	p.write(t, "trouble", "destroy tank/a@*"+ours(9)+"*|cannot destroy 'tank/a@"+ours(9)+"': snapshot has dependent clones\n")
	out, _, stderr := run(t, "--keep-source=1", lines(t, a, b))
	want := []string{"destroy tank/a@" + ours(9) + "," + ours(8), "destroy tank/a@" + ours(9), "destroy tank/a@" + ours(8), "destroy tank/b@" + ours(9)}
	if got := p.log(t); !slices.Equal(got, want) || stderr != "" {
		t.Errorf("%q, %s", got, stderr)
	}
	if v := verdict(t, out[0].Thin.Source, ours(9)); !v.Keep || !strings.HasPrefix(v.Why[0], "has-clones: ") || out[0].Error != nil {
		t.Errorf("%+v, %v", v, out[0].Error)
	}
	if v := verdict(t, out[0].Thin.Source, ours(8)); v.Keep || !v.Destroyed {
		t.Errorf("%+v", v)
	}
}

// P7: a failure is reported for its dataset, in zfs's own words, and does not stop the
// others.
func TestTrouble(t *testing.T) {
	p := newPool(t)
	a, b := both("tank/a", "9 8", "8"), both("tank/b", "9 8", "8")
	p.has(t, a, b)
	p.write(t, "trouble", "destroy tank/a@*|cannot destroy snapshots: permission denied\n")
	out, _, stderr := run(t, "--keep-source=1", lines(t, a, b))
	if e := out[0].Error; e == nil || e.Stage != "thin" || e.Kind != "permission" || !strings.Contains(e.Message, "cannot destroy snapshots of 'tank/a': cannot destroy snapshots: permission denied") {
		t.Errorf("%v", e)
	}
	if !strings.Contains(stderr, "permission denied") || out[1].Error != nil || len(out[1].Snapshots) != 1 || len(out[0].Snapshots) != 2 {
		t.Errorf("%s, %v", stderr, out[1].Error)
	}
}

// Records with an error or not selected pass byte for byte, and none of their snapshots
// is destroyed.
func TestPasses(t *testing.T) {
	t.Setenv("PATH", "/nonexistent")
	const failed = `{"zab":1, "type":"dataset","backup":"b","name":"tank/f","snapshots":[{"name":"b-1","guid":"1"},{"name":"b-2","guid":"2"}],"error":{"stage":"xfer","kind":"busy","message":"m"}}` + "\n"
	const off = `{"zab":1,"type":"dataset","backup":"b","name":"tank/o","selected":false,"snapshots":[{"name":"b-1","guid":"1"},{"name":"b-2","guid":"2"}] }` + "\n"
	if _, text, stderr := run(t, "--keep-source=0", failed+off); text != failed+off || stderr != "" {
		t.Errorf("%s%s", text, stderr)
	}
}

func orphanOf(name, words string) *record.Record {
	return &record.Record{Type: record.TypeOrphan, Backup: "b", Name: "backup/" + name, Source: &record.Source{Name: name},
		Target: &record.Target{Name: "backup/" + name, Exists: true, Snapshots: snaps(words)}}
}

// gets returns the rows of zfs get for datasets of the target, given as words: name, and
// value and source of the mark.
func gets(rows ...string) string {
	var b strings.Builder
	for _, r := range rows {
		name, mark, _ := strings.Cut(r, " ")
		b.WriteString(name + "\twritten\t0\t-\n")
		if mark != "" {
			value, source, _ := strings.Cut(mark, " ")
			b.WriteString(name + "\t" + zfs.MissingProp + "\t" + value + "\t" + source + "\n")
		}
	}
	return b.String()
}

func date(at int64) string { return time.Unix(at, 0).UTC().Format(time.RFC3339) }

// An orphan waits until both the time when it was first seen missing and its newest
// snapshot of ours are as old as --destroy-missing says.
func TestMissingWaits(t *testing.T) {
	for _, c := range []struct {
		snapshots string
		since     int64 // days ago; 0: no mark
		txg       int
		source    string
		want      string
	}{
		{"50 40 31", 30, 30, "local", "would be destroyed"},
		{"50 40 31", 29, 30, "local", "kept until " + date(now+day)},
		{"50 40 29", 35, 30, "local", "kept until " + date(now+day)},
		{"50 x 31 y", 30, 30, "local", "would be destroyed"},
		{"x y", 0, 0, "", "kept, for it has no snapshot of ours"},
		{"", 0, 0, "", "kept, for it has no snapshot of ours"},
		{"50 40 31", 0, 0, "", "not seen missing before, so that it would be kept until " + date(now+30*day)},
		// P11: claims of another host do not count: the names of snapshots, or a mark
		// that was received with a stream.
		{"5000 4000", 0, 0, "", "not seen missing before"},
		{"50 40 31", 35, 30, "received", "not seen missing before"},
		{"50 40 31", 35, 30, "inherited from backup", "not seen missing before"},
		// The source was back, and a snapshot was received.
		{"50 40 31", 35, 29, "local", "not seen missing before"},
		// The clock was ahead when the mark was set: later rather than sooner.
		{"50 40 31", -5, 30, "local", "kept until " + date(now+35*day)},
	} {
		p := newPool(t)
		row := "backup/gone"
		if c.since != 0 {
			row += fmt.Sprintf(" %d:%d %s", now-c.since*day, c.txg, c.source)
		}
		p.write(t, "get", gets(row))
		out, _, stderr := run(t, "-n --destroy-missing=30d", lines(t, orphanOf("gone", c.snapshots)))
		if got := out[0].Thin.Dataset; !strings.Contains(got, c.want) || stderr != "" {
			t.Errorf("%q, %d: %s%s", c.snapshots, c.since, got, stderr)
		}
		out, _, _ = run(t, "-n", lines(t, orphanOf("gone", c.snapshots)))
		if got := out[0].Thin.Dataset; got != "" {
			t.Errorf("unasked: %s", got)
		}
		if got := strings.Join(p.log(t), ""); got != "" {
			t.Errorf("P6: %s", got)
		}
	}
}

// An orphan is marked when it is first seen missing, with one program for all; one whose
// source may exist is not missing.
func TestMissingIsNoted(t *testing.T) {
	p := newPool(t)
	p.write(t, "pools", "tank\t77\t1\n")
	nowhere := orphanOf("tank/f", "60")
	nowhere.Source = nil
	p.write(t, "get", gets("backup/tank/a", "backup/tank/b", fmt.Sprintf("backup/tank/c %d:90 local", now-10*day), "backup/away/d", "backup/tank/e", "backup/tank/f")+
		"tank/e\tautobackup:b\ttrue\tlocal\n")
	all := []*record.Record{orphanOf("tank/a", "60 50"), orphanOf("tank/b", "3 2 1"), orphanOf("tank/c", "60"), orphanOf("away/d", "60"), orphanOf("tank/e", "60"), nowhere}
	out, _, stderr := run(t, "--destroy-missing=30d", lines(t, all...))
	if got := p.log(t); !slices.Equal(got, []string{fmt.Sprintf("set zab:missing=%d:30 backup/tank/a backup/tank/b", now)}) || stderr != "" {
		t.Errorf("%q, %s", got, stderr)
	}
	for i, want := range []string{
		"first seen missing now, kept until " + date(now+30*day),
		"first seen missing now, kept until " + date(now+30*day),
		"missing on the source: kept until " + date(now+20*day),
		"kept, for the pool of its source 'away/d' is not imported on this machine",
		"kept, for its source 'tank/e' is there and selected, though it was not found when datasets were selected",
		"kept, for it cannot be told on which machine its source was",
	} {
		if got := out[i].Thin.Dataset; !strings.Contains(got, want) || out[i].Error != nil {
			t.Errorf("%s: %s", out[i].Name, got)
		}
		if since := out[i].Thin.MissingSince; (since != nil) != (i < 3) {
			t.Errorf("%s: since %v", out[i].Name, since)
		}
	}
	// The second zab-thin of a pipeline starts no program again, and says the same.
	p.write(t, "get", "")
	again, _, stderr := run(t, "--destroy-missing=30d", lines(t, out[:3]...))
	for i := range again {
		if again[i].Thin.Dataset != out[i].Thin.Dataset || stderr != "" {
			t.Errorf("%s, then %s%s", out[i].Thin.Dataset, again[i].Thin.Dataset, stderr)
		}
	}
	// Where the mark cannot be set the orphan would stay for good, so it is an error.
	p.write(t, "get", gets("backup/tank/a"))
	p.write(t, "trouble", "set*|cannot set property for 'backup/tank/a': permission denied\n")
	out, _, _ = run(t, "--destroy-missing=30d", lines(t, orphanOf("tank/a", "60")))
	if e := out[0].Error; e == nil || e.Kind != "permission" || !strings.Contains(e.Message, "cannot note since when the source of 'backup/tank/a' is missing: ") {
		t.Errorf("%v, %s", e, out[0].Thin.Dataset)
	}
}

// A copy whose source is back loses the mark.
func TestMissingReturns(t *testing.T) {
	p := newPool(t)
	list := []*record.Record{both("tank/a", "60", "60"), both("tank/b", "60", "60"), both("tank/c", "60 20", "60 20"), both("tank/d", "60", "60")}
	mark := fmt.Sprintf(" %d:90 ", now-40*day)
	p.write(t, "get", gets("backup/tank/a"+mark+"local", "backup/tank/b"+mark+"received", "backup/tank/c"+mark+"local", "backup/tank/d"+mark+"local"))
	out, _, stderr := run(t, "--destroy-missing=30d", lines(t, list...))
	if got := p.log(t); !slices.Equal(got, []string{"inherit zab:missing backup/tank/a backup/tank/d"}) || stderr != "" {
		t.Errorf("%q, %s", got, stderr)
	}
	p.write(t, "log", "")
	run(t, "--destroy-missing=30d", lines(t, out...)) // a second time
	run(t, "", lines(t, list...))
	run(t, "-n --destroy-missing=30d", lines(t, list...))
	if got := strings.Join(p.log(t), ""); got != "" {
		t.Errorf("%s", got)
	}
}

// Snapshots of many filesystems of a pool are destroyed by one channel program, with the
// guids that were decided about; those it leaves, and those of volumes, are destroyed by
// commands, and so are all where channel programs are not allowed.
func TestDestroysTogether(t *testing.T) {
	p := newPool(t)
	make := func() (list []*record.Record) {
		for _, n := range []string{"a", "b", "c", "v"} {
			r := both("tank/"+n, "9 8 7", "7")
			r.Kind = "filesystem"
			list = append(list, r)
		}
		list[3].Kind = "volume"
		return list
	}
	list := make()
	p.has(t, list...)
	p.write(t, "answer", fmt.Sprintf(`{"return":{"tank/a@%[1]s":true,"tank/a@%[2]s":true,"tank/b@%[1]s":true,"tank/c@%[2]s":true}}`+"\n", ours(9), ours(8)))
	out, _, stderr := run(t, "--keep-source=1", lines(t, list...))
	want := []string{"destroy tank/b@" + ours(8), "destroy tank/c@" + ours(9), "destroy tank/v@" + ours(9) + "," + ours(8)}
	if got := p.log(t); !slices.Equal(got, want) || stderr != "" {
		t.Errorf("%q, %s", got, stderr)
	}
	for _, r := range out {
		if names(r.Snapshots) != ours(7) || !verdict(t, r.Thin.Source, ours(9)).Destroyed || !verdict(t, r.Thin.Source, ours(8)).Destroyed {
			t.Errorf("%s still has %s", r.Name, names(r.Snapshots))
		}
	}
	program, _ := os.ReadFile(filepath.Join(p.dir, "program"))
	if text := string(program); !strings.Contains(text, `{"tank/a@`+ours(9)+`", "1009"},`) || strings.Contains(text, "tank/v") || strings.Contains(text, ours(7)) {
		t.Errorf("%s", text)
	}

	p.write(t, "answer", "Channel program execution failed: Operation not permitted.\n")
	p.write(t, "log", "")
	list = make()
	_, _, stderr = run(t, "--keep-source=1", lines(t, list...))
	if got := p.log(t); len(got) != 4 || stderr != "" {
		t.Errorf("%q, %s", got, stderr)
	}
}
