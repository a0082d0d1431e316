package xfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// heldPools is a stand-in for zfs: the file got has the received snapshots, held has a
// line for each hold, trouble the command that fails, says its message. The guid of @s is
// 7, of @m 6, of @old 3.
const heldPools = `#!/bin/sh
cd "$POOLS"
tab='	'
echo "$*" >>log
case "$*" in $(cat trouble)) cat says >&2; exit 1;; esac
for last; do :; done
case $1 in
send)
	echo "$last";;
receive)
	read -r from
	echo "${last%@*}@${from##*@}" >>got;;
list)
	rc=0
	for a; do
		case $a in
		src/*@old|dst/*@old) guid=3;;
		src/*@m) guid=6;;
		src/*@s) guid=7;;
		dst/*@[ms])
			guid=7
			case $a in *@m) guid=6;; esac
			grep -qx "$a" got || { echo "cannot open '$a': dataset does not exist" >&2; rc=1; continue; };;
		*@*) echo "cannot open '$a': dataset does not exist" >&2; rc=1; continue;;
		*) continue;;
		esac
		case "$*" in
		*userrefs*) echo "$a${tab}$guid${tab}1${tab}$(grep -c "^$a$tab" held)";;
		*) echo "$a${tab}$guid${tab}1";;
		esac
	done
	exit $rc;;
hold)
	rc=0 tag=$2
	shift 2
	for a; do
		! grep -q "^$a$tab$tag$tab" held ||
			{ echo "cannot hold snapshot '$a': tag already exists on this dataset" >&2; rc=1; }
	done
	exit $rc;;
holds)
	for a; do grep "^$a$tab" held; done
	exit 0;;
esac
`

// hold returns the lines of zfs holds for the tags on a snapshot.
func hold(snapshot string, tags ...string) (text string) {
	for _, tag := range tags {
		text += snapshot + "\t" + tag + "\tSun Nov 22 23:08 2026\n"
	}
	return text
}

const ownTag = "zfs_autobackup:b:77"

type heldPool struct{ dir string }

func newHeldPool(t *testing.T, held, trouble string) heldPool {
	t.Helper()
	p := heldPool{t.TempDir()}
	for name, text := range map[string]string{"zfs": heldPools, "held": held, "got": "", "trouble": trouble, "says": "cannot do it: pool I/O is currently suspended\n", "log": ""} {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", p.dir+":"+os.Getenv("PATH"))
	t.Setenv("POOLS", p.dir)
	t.Setenv("CACHE_DIRECTORY", filepath.Join(p.dir, "cache"))
	return p
}

// log returns the hold and release commands that were started, sorted, and the number of
// listings.
func (p heldPool) log(t *testing.T) (did []string, lists int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		switch line = strings.TrimSuffix(line, "\n"); {
		case strings.HasPrefix(line, "list "):
			lists++
		case strings.HasPrefix(line, "hold ") || strings.HasPrefix(line, "release "):
			did = append(did, line)
		}
	}
	slices.Sort(did)
	return did, lists
}

func (p heldPool) left() int { return len(journal.Left(filepath.Join(p.dir, "cache"), ownTag)) }

// carryOut gives the records to zab-xfer and returns those that it printed.
func carryOut(t *testing.T, records ...*record.Record) []*record.Record {
	t.Helper()
	var in, out bytes.Buffer
	w := record.NewWriter(&in)
	for _, r := range records {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	env := &cli.Env{Program: "zab-xfer", Common: &cli.Common{}, Machine: &zfs.Machine{}, Stdin: &in, Stdout: &out, Stderr: &bytes.Buffer{}, Now: time.Now()}
	if err := Run(context.Background(), env, &Options{}); err != nil {
		t.Fatal(err)
	}
	all, err := record.NewReader(&out).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// onward returns a record whose base moves from old to s.
func onward(name string, holds bool) *record.Record {
	r := &record.Record{Type: record.TypeDataset, Name: "src/" + name, Facts: record.Facts{Kind: "volume"},
		Snapshots: []record.Snapshot{{Name: "old", GUID: "3", CreateTXG: "1", Ours: true}, {Name: "s", GUID: "7", CreateTXG: "2", Ours: true}},
		Target:    &record.Target{Name: "dst/" + name, Exists: true, Snapshots: []record.Snapshot{{Name: "old", GUID: "3", CreateTXG: "1"}}}}
	r.Steps = append(r.Steps, record.Step{Do: record.DoReceive, Side: record.SideTarget, Dataset: "dst/" + name, From: "old", FromGUID: "3", To: "s", ToGUID: "7"})
	step := func(do, side, ds, snapshot, guid, tag string) {
		r.Steps = append(r.Steps, record.Step{Do: do, Side: side, Dataset: ds, Snapshot: snapshot, GUID: guid, Tag: tag, IfHeld: !holds})
	}
	if holds {
		r.Target.Pin = ownTag
		for _, tag := range []string{ownTag, "zfs_autobackup:b"} {
			step(record.DoHold, record.SideSource, r.Name, "s", "7", tag)
			step(record.DoHold, record.SideTarget, r.Target.Name, "s", "7", tag)
		}
	} else {
		r.Target.OldPin = ownTag
	}
	for _, tag := range []string{"zfs_autobackup:b", ownTag} {
		step(record.DoRelease, record.SideSource, r.Name, "old", "3", tag)
		step(record.DoRelease, record.SideTarget, r.Target.Name, "old", "3", tag)
	}
	return r
}

// A run without holds releases those of earlier runs as the base moves on, and starts no
// further programs if there are none. The shared tag stays if it may stand for another
// target (P1).
func TestOldHolds(t *testing.T) {
	const shared, other = "zfs_autobackup:b", "zfs_autobackup:b:78"
	p := newHeldPool(t, hold("src/a@old", ownTag, shared)+hold("dst/a@old", shared, ownTag)+
		hold("src/b@old", shared)+hold("dst/b@old", "mine")+
		hold("src/c@old", shared, ownTag, other)+hold("src/d@old", shared, other), "")
	for _, r := range carryOut(t, onward("a", false), onward("b", false), onward("c", false), onward("d", false), onward("e", false)) {
		if r.Error != nil || len(r.Results) != len(r.Steps) || slices.ContainsFunc(r.Results, func(x record.Result) bool { return !x.Done }) {
			t.Errorf("%s: %+v %+v", r.Name, r.Error, r.Results)
		}
		if slices.ContainsFunc(r.Target.Snapshots, func(s record.Snapshot) bool { return s.UserRefs != nil }) {
			t.Errorf("%+v", r.Target.Snapshots)
		}
	}
	did, with := p.log(t)
	want := []string{
		"release " + shared + " src/a@old dst/a@old src/b@old",
		"release " + ownTag + " src/a@old dst/a@old src/c@old",
	}
	if !slices.Equal(did, want) {
		t.Errorf("%q", did)
	}

	p = newHeldPool(t, "", "")
	carryOut(t, onward("a", false), onward("b", false), onward("c", false), onward("d", false), onward("e", false))
	did, lists := p.log(t)
	if len(did) > 0 || lists != with {
		t.Errorf("%q, %d listings", did, lists)
	}
	// The copies stay noted: a run with holds finds out at once where nothing is held.
	if n := p.left(); n != 5 {
		t.Errorf("%d copies are noted", n)
	}
}

// alone returns a record whose base moves from one snapshot to another, held by the pin
// alone. Another's shared tag is to be released from the former base.
func alone(from, fromGUID, to, toGUID string) *record.Record {
	r := onward("a", true)
	r.Steps = slices.DeleteFunc(r.Steps, func(s record.Step) bool { return s.Do == record.DoHold && s.Tag != ownTag })
	for i := range r.Steps {
		s := &r.Steps[i]
		switch s.Do {
		case record.DoReceive:
			s.From, s.FromGUID, s.To, s.ToGUID = from, fromGUID, to, toGUID
		case record.DoHold:
			s.Snapshot, s.GUID = to, toGUID
		case record.DoRelease:
			s.Snapshot, s.GUID, s.IfHeld = from, fromGUID, s.Tag != ownTag
		}
	}
	base, next := record.Snapshot{Name: from, GUID: fromGUID, CreateTXG: "1", Ours: true}, record.Snapshot{Name: to, GUID: toGUID, CreateTXG: "2", Ours: true}
	r.Snapshots, r.Target.Snapshots = []record.Snapshot{base, next}, []record.Snapshot{base}
	return r
}

// The tag that all targets share is released with the first base that zfs-autobackup or an
// earlier version has held, and looked for whenever this machine has not put the holds. A
// base that it has held with the pin alone is not looked at (P4).
func TestSharedHold(t *testing.T) {
	const shared = "zfs_autobackup:b"
	p := newHeldPool(t, hold("src/a@old", shared, ownTag, "zfs_autobackup:b:78")+hold("dst/a@old", shared), "")
	run := func(r *record.Record) (did []string, looked bool) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(p.dir, "log"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		got := carryOut(t, r)[0]
		if got.Error != nil || slices.ContainsFunc(got.Results, func(x record.Result) bool { return !x.Done }) || len(got.Results) != len(r.Steps) {
			t.Errorf("%+v %+v", got.Error, got.Results)
		}
		did, _ = p.log(t)
		log, _ := os.ReadFile(filepath.Join(p.dir, "log"))
		return slices.DeleteFunc(did, func(line string) bool { return !strings.HasPrefix(line, "release ") }),
			strings.Contains(string(log), "userrefs") || strings.Contains(string(log), "\nholds ")
	}
	both := "release " + ownTag + " src/a@old dst/a@old"
	if did, looked := run(alone("old", "3", "s", "7")); !slices.Equal(did, []string{"release " + shared + " src/a@old dst/a@old", both}) || !looked {
		t.Errorf("the first run: %q, looked: %v", did, looked)
	}
	if did, looked := run(alone("s", "7", "m", "6")); !slices.Equal(did, []string{"release " + ownTag + " src/a@s dst/a@s"}) || looked {
		t.Errorf("the second run: %q, looked: %v", did, looked)
	}
	// Somebody else has moved the base, to a snapshot that was never noted.
	if did, looked := run(alone("old", "3", "s", "7")); len(did) != 2 || !looked {
		t.Errorf("after a run of zfs-autobackup: %q, looked: %v", did, looked)
	}
	// A base with both tags is not noted.
	r := alone("s", "7", "m", "6")
	for _, s := range r.Steps {
		if s.Do == record.DoHold {
			s.Tag = shared
			r.Steps = append(r.Steps, s)
		}
	}
	if _, looked := run(r); looked {
		t.Error("the base was noted, and looked at")
	}
	if _, looked := run(alone("m", "6", "s", "7")); !looked {
		t.Error("a base with the shared tag was not looked at")
	}
	// Nor is one that was the base of a copy under another name, and had the pin before.
	if err := os.WriteFile(filepath.Join(p.dir, "held"), []byte(hold("src/a@s", shared, ownTag)), 0o600); err != nil {
		t.Fatal(err)
	}
	run(alone("old", "3", "s", "7"))
	if did, looked := run(alone("s", "7", "m", "6")); !looked || !slices.Contains(did, "release "+shared+" src/a@s") {
		t.Errorf("a base that was held before: %q, looked: %v", did, looked)
	}
}

// An old hold that cannot be released, as on a read-only pool, is no failure of a run
// that asked for no holds.
func TestOldHoldThatStays(t *testing.T) {
	newHeldPool(t, hold("src/a@old", "zfs_autobackup:b"), "release*")
	r := carryOut(t, onward("a", false))[0]
	if r.Error != nil || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "cannot release 'src/a@old'") {
		t.Errorf("%+v %q", r.Error, r.Warnings)
	}
}

// P4: if a hold that was put for the transfer cannot be released, the copy stays in the
// journal, so that the next plan looks for the hold.
func TestStepHoldThatStays(t *testing.T) {
	p := newHeldPool(t, "", "release*src/a@m*")
	if err := os.WriteFile(filepath.Join(p.dir, "says"), []byte("cannot release hold from snapshot 'src/a@m': dataset is busy\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := onward("a", true)
	r.Snapshots = slices.Insert(r.Snapshots, 1, record.Snapshot{Name: "m", GUID: "6", CreateTXG: "2", Ours: true})
	r.Snapshots[2].CreateTXG = "3"
	m := r.Steps[0]
	m.To, m.ToGUID = "m", "6"
	r.Steps[0].From, r.Steps[0].FromGUID = "m", "6"
	r.Steps = slices.Insert(r.Steps, 0, m)
	r = carryOut(t, r)[0]
	if r.Error != nil || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "cannot release 'src/a@m', which was held while it was sent") || p.left() != 1 {
		did, _ := p.log(t)
		t.Errorf("%+v %q, %d noted\n%s", r.Error, r.Warnings, p.left(), strings.Join(did, "\n"))
	}
}

// P4: the copies that a run works on stay in the journal until their holds are moved.
func TestNotes(t *testing.T) {
	for _, c := range []struct {
		trouble string
		left    int
	}{{"", 0}, {"hold*zfs_autobackup:b*dst/*", 1}, {"receive*", 1}, {"release*", 1}} {
		p := newHeldPool(t, "", c.trouble)
		r := carryOut(t, onward("a", true))[0]
		if n := p.left(); n != c.left || (r.Error == nil) != (n == 0) {
			t.Errorf("%q: %d copies are noted, %+v", c.trouble, n, r.Error)
		}
		if c.left == 0 {
			continue
		}
		// The next run has nothing to send, and puts the holds right.
		if err := os.WriteFile(filepath.Join(p.dir, "trouble"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		next := onward("a", true)
		next.Steps = next.Steps[1:]
		next.Target.Snapshots = append(next.Target.Snapshots, record.Snapshot{Name: "s", GUID: "7", CreateTXG: "2"})
		if r := carryOut(t, next)[0]; r.Error != nil || p.left() != 0 {
			t.Errorf("%q: %d copies are noted after the next run, %+v", c.trouble, p.left(), r.Error)
		}
	}
}

// If one source goes to two targets, its snapshots are held for each, by its own tag.
func TestTwoTargets(t *testing.T) {
	const otherTag = "zfs_autobackup:b:88"
	p := newHeldPool(t, "", "")
	a, b := onward("a", true), onward("a", true)
	b.Target.Name, b.Target.Pin = "dst/other", otherTag
	for i := range b.Steps {
		s := &b.Steps[i]
		s.Dataset = strings.Replace(s.Dataset, "dst/a", "dst/other", 1)
		s.Tag = strings.Replace(s.Tag, ownTag, otherTag, 1)
	}
	for _, r := range carryOut(t, a, b) {
		if r.Error != nil {
			t.Errorf("%s: %+v", r.Target.Name, r.Error)
		}
	}
	did, _ := p.log(t)
	for _, tag := range []string{ownTag, otherTag} {
		if n := slices.IndexFunc(did, func(line string) bool {
			return strings.HasPrefix(line, "hold "+tag+" src/a@old src/a@s") || line == "hold "+tag+" src/a@s"
		}); n < 0 {
			t.Errorf("nothing is held by %s: %q", tag, did)
		}
	}
}

// A dry run holds, releases and notes nothing, also where the snapshots exist (P6).
func TestDryRunHoldsNothing(t *testing.T) {
	p := newHeldPool(t, "", "")
	var in, out bytes.Buffer
	if err := record.NewWriter(&in).Write(onward("a", true)); err != nil {
		t.Fatal(err)
	}
	env := &cli.Env{Program: "zab-xfer", Common: &cli.Common{DryRun: true}, Machine: &zfs.Machine{}, Stdin: &in, Stdout: &out, Stderr: &bytes.Buffer{}, Now: time.Now()}
	if err := Run(context.Background(), env, &Options{}); err != nil {
		t.Fatal(err)
	}
	if did, lists := p.log(t); len(did) > 0 || lists > 0 || p.left() > 0 {
		t.Errorf("%q, %d listings, %d noted", did, lists, p.left())
	}
}

// A dry run notes nothing and shows only the releases that a run would do, for which it
// looks at all records together.
func TestOldHoldsShown(t *testing.T) {
	p := newHeldPool(t, hold("src/a@old", ownTag, "zfs_autobackup:b"), "")
	var in, out bytes.Buffer
	w := record.NewWriter(&in)
	for _, name := range []string{"a", "b", "c"} {
		if err := w.Write(onward(name, false)); err != nil {
			t.Fatal(err)
		}
	}
	env := &cli.Env{Program: "zab-xfer", Common: &cli.Common{DryRun: true}, Machine: &zfs.Machine{}, Stdin: &in, Stdout: &out, Stderr: &bytes.Buffer{}, Now: time.Now()}
	if err := Run(context.Background(), env, &Options{}); err != nil {
		t.Fatal(err)
	}
	all, err := record.NewReader(&out).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, r := range all {
		for _, x := range r.Results {
			if x.Do == record.DoRelease {
				shown = append(shown, x.Commands...)
			}
		}
	}
	if got, want := fmt.Sprint(shown), "[zfs release zfs_autobackup:b src/a@old zfs release "+ownTag+" src/a@old]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if did, lists := p.log(t); len(did) != 0 || lists != 1 || p.left() != 0 {
		t.Errorf("%q, %d listings, %d noted", did, lists, p.left())
	}
}

// errorFor returns, from messages about many snapshots, those about the one asked for.
func TestErrorFor(t *testing.T) {
	err := &zfs.Error{Kind: record.KindBusy, Code: 1, Lines: []string{"cannot hold snapshot 'a@1': dataset is busy", "cannot hold snapshot 'b@1': permission denied"}}
	if e := errorFor(err, "a@1"); e == nil || zfs.KindOf(e) != record.KindBusy || strings.Contains(e.Error(), "b@1") {
		t.Errorf("%v", e)
	}
	if e := errorFor(err, "b@1"); zfs.KindOf(e) != record.KindPermission {
		t.Errorf("%v", e)
	}
	for _, n := range []string{"c@1", "aa@1", "a@11"} {
		if e := errorFor(err, n); e != nil {
			t.Errorf("%s: %v", n, e)
		}
	}
	all := &zfs.Error{Kind: record.KindUnreachable, Lines: []string{"connection refused"}}
	if e := errorFor(all, "c@1"); zfs.KindOf(e) != record.KindUnreachable {
		t.Errorf("%v", e)
	}
	if e := errorFor(&zfs.Error{Kind: record.KindKilled}, "c@1"); e == nil {
		t.Error("a failure without a word is about all")
	}
	if e := errorFor(errors.New("boom"), "c@1"); e == nil {
		t.Error("another error is about all")
	}
}
