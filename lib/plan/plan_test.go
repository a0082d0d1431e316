package plan

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"zab/lib/chain"
	"zab/lib/cli"
	"zab/lib/dataset"
	"zab/lib/record"
	"zab/lib/zfs"
	"zab/lib/zfs/zfstest"
)

// TestMain empties PATH: a plan from a file must not start any program.
func TestMain(m *testing.M) {
	os.Setenv("PATH", "/nonexistent")
	os.Setenv("GO_FLAGS_COMPLETION", "")
	os.Unsetenv("GO_FLAGS_COMPLETION")
	os.Exit(m.Run())
}

const now = 1_000_000_000

// result is the outcome of a run of zab-plan.
type result struct {
	records []*record.Record
	out     string
	stderr  string
	err     error
}

// of returns the record of a dataset.
func (r result) of(t testing.TB, name string) *record.Record {
	t.Helper()
	for _, x := range r.records {
		if x.Name == name && x.Type == record.TypeDataset {
			return x
		}
	}
	t.Fatalf("no record of %s in %s\n%s", name, r.out, r.stderr)
	return nil
}

func lines(t testing.TB, records []*record.Record) []byte {
	t.Helper()
	var b bytes.Buffer
	w := record.NewWriter(&b)
	for _, r := range records {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// planBytes runs zab-plan with the target's state in a file. args are its options and
// the target, which is backup if none is given.
func planBytes(t testing.TB, args string, state, input []byte) result {
	t.Helper()
	file := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(file, state, 0o600); err != nil {
		t.Fatal(err)
	}
	p := Program()
	rest, err := p.Parser().ParseArgs(append(strings.Fields(args), "--target-state="+file, "--snapshot-format={}-%s"))
	if err != nil {
		return result{err: err}
	}
	if len(rest) == 0 {
		rest = []string{"backup"}
	}
	if err := p.Check(rest); err != nil {
		return result{err: err}
	}
	var out, stderr bytes.Buffer
	env := &cli.Env{Program: p.Name, Common: &p.Options.(*Options).Common, Machine: &zfs.Machine{},
		Stdin: bytes.NewReader(input), Stdout: &out, Stderr: &stderr, Now: time.Unix(now, 0)}
	err = p.Run(context.Background(), env, rest)
	all, perr := record.NewReader(bytes.NewReader(out.Bytes())).ReadAll()
	if perr != nil {
		t.Fatalf("%v in %s", perr, &out)
	}
	return result{all, out.String(), stderr.String(), err}
}

func plan(t testing.TB, args string, state []*record.Record, input ...*record.Record) result {
	t.Helper()
	return planBytes(t, args, lines(t, state), lines(t, input))
}

// snaps makes snapshots, oldest first, from words such as b-1 (ours) or x (not ours).
// The guid follows after = if it is not that of the name, and a * at the end means that
// data was written in the snapshot. ~b-1 was made by a dry run.
func snaps(words string) []record.Snapshot {
	out := []record.Snapshot{}
	for i, w := range strings.Fields(words) {
		written := int64(0)
		if v, ok := strings.CutSuffix(w, "*"); ok {
			w, written = v, 4096
		}
		name, guid, ok := strings.Cut(w, "=")
		if !ok {
			guid = id(name)
		}
		s := record.Snapshot{Name: name, GUID: guid, CreateTXG: strconv.Itoa(10 * (i + 1)), Written: &written}
		if v, ok := strings.CutPrefix(name, "~"); ok {
			s = record.Snapshot{Name: v, Virtual: true}
		}
		out = append(out, s)
	}
	return out
}

// id returns a number for a name.
func id(name string) string {
	n := uint64(1)
	for _, b := range []byte(name) {
		n = n*131 + uint64(b)
	}
	return strconv.FormatUint(n, 10)
}

func facts(kind, guid string) record.Facts {
	return record.Facts{Kind: kind, GUID: guid, Written: record.Ptr[int64](0)}
}

// source returns the record of a selected dataset.
func source(name, snapshots string) *record.Record {
	return &record.Record{Type: record.TypeDataset, Backup: "b", Name: name, Facts: facts("filesystem", id(name)),
		Snapshots: snaps(snapshots), Bookmarks: []record.Snapshot{}}
}

// target returns the record of a dataset in the target's state.
func target(name, snapshots string) *record.Record {
	return &record.Record{Type: record.TypeDataset, Name: name, Facts: facts("filesystem", id("target "+name)),
		Snapshots: snaps(snapshots), Bookmarks: []record.Snapshot{}}
}

// with changes a record with f and returns it.
func with(r *record.Record, f func(*record.Record)) *record.Record { f(r); return r }

// text returns steps in a line, without their flags.
func text(steps []record.Step) string {
	var out []string
	for _, s := range steps {
		side := map[string]string{record.SideSource: "S", record.SideTarget: "T"}[s.Side]
		switch s.Do {
		case record.DoReceive:
			w := "recv " + s.From + ">"
			for _, th := range s.Through {
				w += th.Name + ","
			}
			w += s.To
			if s.Token != "" {
				w += " token"
			}
			if s.Force {
				w += " force"
			}
			out = append(out, w)
		case record.DoCreateParent:
			out = append(out, "parent "+s.Dataset)
		case record.DoAbortResume:
			out = append(out, "abort")
		case record.DoHold, record.DoRelease:
			step := s.Do + " " + side + " " + s.Snapshot
			if s.IfHeld || len(out) > 0 && out[len(out)-1] == step {
				continue // possible holds of earlier runs: see TestPins
			}
			out = append(out, step)
		default:
			out = append(out, s.Do+" "+s.Snapshot)
		}
	}
	return strings.Join(out, "; ")
}

// token makes a resume token as zfs does.
func token(toname, toguid, fromguid string, flags ...string) string {
	return zfstest.Token(toname, toguid, fromguid, flags...)
}

// With --clones simple, clones are planned from the copies of their origins, in the
// order in which the records are read.
func TestClones(t *testing.T) {
	clone := func(name, origin, snapshots string) *record.Record {
		return with(source(name, snapshots), func(r *record.Record) { r.Origin = origin })
	}
	all := "--no-thinning --no-holds --clones simple"
	for _, c := range []struct {
		what, args string
		state      []*record.Record
		in         []*record.Record
		want       []string // the steps or the conflict of each record
	}{
		{"from a snapshot of ours", all, nil,
			[]*record.Record{source("t/o", "b-1 b-2"), clone("t/c", "t/o@b-1", "b-3 b-4")},
			[]string{"parent backup/t; recv >b-1; recv b-1>b-2", "parent backup/t; recv t/o@b-1>b-3 of backup/t/o@b-1; recv b-3>b-4"}},
		{"from one that is not ours, which is sent for its sake", all, nil,
			[]*record.Record{source("t/o", "x b-1 y b-2"), clone("t/c", "t/o@y", "b-3")},
			[]string{"parent backup/t; recv >b-1; recv b-1>y,b-2", "parent backup/t; recv t/o@y>b-3 of backup/t/o@y"}},
		{"from one that the schedule does not want", "--keep-target 1 --no-holds --clones simple", nil,
			[]*record.Record{source("t/o", "b-1 b-2 b-3"), clone("t/c", "t/o@b-1", "b-4")},
			[]string{"parent backup/t; recv >b-1; recv b-1>b-3", "parent backup/t; recv t/o@b-1>b-4 of backup/t/o@b-1"}},
		{"a chain of them, the middle sent for the sake of the last", all, nil,
			[]*record.Record{source("t/o", "x"), clone("t/c", "t/o@x", "y"), clone("t/d", "t/c@y", "b-1")},
			[]string{"parent backup/t; recv >x", "parent backup/t; recv t/o@x>y of backup/t/o@x", "parent backup/t; recv t/c@y>b-1 of backup/t/c@y"}},
		{"the origin is there under another name", all, []*record.Record{target("backup/t/o", "z=111 b-1")},
			[]*record.Record{source("t/o", "y=111 b-1"), clone("t/c", "t/o@y", "b-2")},
			[]string{"", "parent backup/t; recv t/o@y>b-2 of backup/t/o@z"}},
		{"the copy of the origin is beyond it", all, []*record.Record{target("backup/t/o", "b-2")},
			[]*record.Record{source("t/o", "b-1 b-2"), clone("t/c", "t/o@b-1", "b-3")},
			[]string{"", "no-origin"}},
		{"the origin is no part of it", all, nil,
			[]*record.Record{clone("t/c", "t/o@b-1", "b-3")}, []string{"no-origin"}},
		{"the origin comes later", all, nil,
			[]*record.Record{clone("t/c", "t/c/o@b-1", "b-3"), source("t/c/o", "b-1")},
			[]string{"no-origin", "error"}},
		{"the origin is in trouble", all, []*record.Record{target("backup/t/o", "b-9")},
			[]*record.Record{source("t/o", "b-1"), clone("t/c", "t/o@b-1", "b-3")},
			[]string{"no-common-snapshot", "no-origin"}},
		{"a clone whose copy is there goes on as any other", all, []*record.Record{target("backup/t/c", "b-3")},
			[]*record.Record{clone("t/c", "t/o@b-1", "b-3 b-4")}, []string{"recv b-3>b-4"}},
		{"never", "--no-thinning --no-holds", nil,
			[]*record.Record{source("t/o", "b-1"), clone("t/c", "t/o@b-1", "b-3 b-4")},
			[]string{"parent backup/t; recv >b-1", "parent backup/t; recv >b-3; recv b-3>b-4"}},
	} {
		state := append([]*record.Record{target("backup", "")}, c.state...)
		res := plan(t, c.args, state, c.in...)
		for i, want := range c.want {
			r := res.of(t, c.in[i].Name)
			got := ""
			switch {
			case r.Conflict != nil:
				got = string(r.Conflict.Kind)
			case r.Error != nil:
				got = "error"
			default:
				var out []string
				for _, s := range r.Steps {
					w := text([]record.Step{s})
					if w == "" {
						continue
					}
					if s.Origin != "" {
						w += " of " + s.Origin
					}
					out = append(out, w)
				}
				got = strings.Join(out, "; ")
			}
			if got != want {
				t.Errorf("%s: %s:\n got %s\nwant %s", c.what, r.Name, got, want)
			}
		}
	}
}

// Each hold with the shared tag is accompanied by one with the pin of this target.
func TestPins(t *testing.T) {
	state := []*record.Record{target("backup", ""), target("backup/tank/a", "b-1")}
	r := plan(t, "", state, source("tank/a", "b-1 b-2")).of(t, "tank/a")
	pin := "zfs_autobackup:b:" + state[0].GUID
	var got []string
	steps := func(r *record.Record) (list []string) {
		for _, s := range r.Steps[1:] {
			list = append(list, fmt.Sprint(s.Do, " ", s.Side, " ", s.Snapshot, " ", s.Tag, " ", s.IfHeld))
		}
		return list
	}
	want := []string{
		"hold source b-2 " + pin + " false", "hold target b-2 " + pin + " false",
		"release source b-1 zfs_autobackup:b true", "release source b-1 " + pin + " false",
		"release target b-1 zfs_autobackup:b true", "release target b-1 " + pin + " false",
	}
	if got = steps(r); !slices.Equal(got, want) || r.Target.Pin != pin {
		t.Errorf("%q, pin %q", got, r.Target.Pin)
	}
	// Where zfs-autobackup is to find its own tag, it is put, too.
	r = plan(t, "--shared-holds", state, source("tank/a", "b-1 b-2")).of(t, "tank/a")
	want = []string{
		"hold source b-2 " + pin + " false", "hold source b-2 zfs_autobackup:b false",
		"hold target b-2 " + pin + " false", "hold target b-2 zfs_autobackup:b false",
		"release source b-1 zfs_autobackup:b false", "release source b-1 " + pin + " false",
		"release target b-1 zfs_autobackup:b false", "release target b-1 " + pin + " false",
	}
	if got = steps(r); !slices.Equal(got, want) {
		t.Errorf("with --shared-holds: %q", got)
	}
	// In a run without holds, the holds that earlier runs may have left are released.
	r = plan(t, "--no-holds", state, source("tank/a", "b-1 b-2")).of(t, "tank/a")
	want = []string{
		"release source b-1 zfs_autobackup:b true", "release source b-1 " + pin + " true",
		"release target b-1 zfs_autobackup:b true", "release target b-1 " + pin + " true",
	}
	if got = steps(r); !slices.Equal(got, want) || r.Target.Pin != "" || r.Target.OldPin != pin {
		t.Errorf("without holds: %q, pin %q, old pin %q", got, r.Target.Pin, r.Target.OldPin)
	}
}

// A name that comes twice, as after the clock was set back, is a conflict.
func TestNameTaken(t *testing.T) {
	state := []*record.Record{target("backup", ""), target("backup/tank/a", "b-1=5 b-2")}
	r := plan(t, "--no-thinning", state, source("tank/a", "b-2 b-1=6 b-3")).of(t, "tank/a")
	if r.Conflict == nil || r.Conflict.Kind != "same-name-other-guid" || !strings.Contains(r.Conflict.Remedies[0], "zfs rename backup/tank/a@b-1 backup/tank/a@b-1-old") {
		t.Errorf("%+v", r.Conflict)
	}
	// There is no conflict if it is the very same snapshot.
	state[1] = target("backup/tank/a", "b-1 b-2")
	if r := plan(t, "--no-thinning", state, source("tank/a", "b-1 b-2 b-3")).of(t, "tank/a"); r.Conflict != nil {
		t.Errorf("%+v", r.Conflict)
	}
}

// A copy is marked with the pools that it came through, unless it is marked already.
func TestMark(t *testing.T) {
	for _, c := range []struct{ pool, from, have, want string }{
		{"7", "", "", "zab:from=7"},
		{"7", "", "7", ""},
		{"8", "7", "", "zab:from=7,8"},
		{"8", "7", "7", "zab:from=7,8"},
		{"8", "7,8", "7,8", ""},
		{"", "", "", ""},
	} {
		src := with(source("tank/a", "b-1 b-2"), func(r *record.Record) { r.PoolGUID, r.From = c.pool, c.from })
		dst := with(target("backup/tank/a", "b-1"), func(r *record.Record) { r.From, r.Stream = c.have, "L,x" })
		r := plan(t, "--no-holds", []*record.Record{target("backup", ""), dst}, src).of(t, "tank/a")
		got := ""
		for _, s := range r.Steps {
			if s.Do == record.DoMark {
				got += strings.Join(s.Set, " ")
			}
		}
		if got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// A copy that came through more pools than zab:from may name gets its other marks, and its
// record reaches the next stage like the one after it.
func TestMarkOfTooManyPools(t *testing.T) {
	for pools, want := range map[int]bool{63: true, 64: false} {
		var from []string
		for i := range pools {
			from = append(from, strconv.Itoa(1000+i))
		}
		src := with(source("tank/a", "b-1"), func(r *record.Record) { r.PoolGUID, r.From = "8", strings.Join(from, ",") })
		res := plan(t, "--no-holds", []*record.Record{target("backup", "")}, src, source("tank/b", "b-1"))
		r := res.of(t, "tank/a")
		var set []string
		for _, s := range r.Steps {
			set = append(set, s.Set...)
		}
		marked := slices.Contains(set, "zab:from="+src.From+",8")
		if r.Error != nil || marked != want || !slices.Contains(set, "zab:stream=L,x") || (len(r.Warnings) == 0) != want {
			t.Errorf("%d pools: %v, %q, %q", pools, r.Error, set, r.Warnings)
		}
		if !want && !strings.Contains(r.Warnings[0], "'backup/tank/a' is not marked") {
			t.Errorf("%q", r.Warnings)
		}
		if r := res.of(t, "tank/b"); r.Error != nil || len(r.Steps) == 0 {
			t.Errorf("%d pools: %+v", pools, r)
		}
	}
}

// A bookmark's name is longer than its snapshot's. Where it would be too long, the
// snapshot is held; where only its name for several targets would be, each has its own.
func TestBookmarksTooLong(t *testing.T) {
	root := target("backup", "")
	me := chain.TargetKey("zfs_autobackup:b:" + root.GUID)
	const other = "01234567"
	for _, c := range []struct {
		what     string
		length   int // of the dataset's name
		args     string
		mark     string // of b-2, by another target
		target   string
		want     string
		warnings int
	}{
		{"short", 20, "", "", "b-1", "hold T b-2; @b-2 b-2:ME", 0},
		{"just short enough", 242, "", "", "b-1", "hold T b-2; @b-2 b-2:ME", 0},
		{"too long", 243, "", "", "b-1", "hold S b-2; hold T b-2", 1},
		{"too long, a first backup", 243, "", "", "-", "hold S b-2; hold T b-2", 1},
		{"too long, without holds", 243, "--no-holds", "", "b-1", "", 1},
		{"too long, nothing new", 243, "", "", "b-2", "", 0},
		{"room for two", 233, "", "b-2:" + other, "b-1", "hold T b-2; #b-2:OTHER b-2:BOTH; -#b-2:OTHER", 0},
		{"room for one", 234, "", "b-2:" + other, "b-1", "hold T b-2; #b-2:OTHER b-2:ME", 0},
		{"room for one, nothing new", 234, "", "b-2:" + other, "b-2", "#b-2:OTHER b-2:ME", 0},
		{"each has its own", 234, "", "b-2:" + other + " b-2:ME", "b-2", "", 0},
	} {
		name := "tank/" + strings.Repeat("x", c.length-5)
		src := source(name, "b-1 b-2")
		for _, m := range strings.Fields(c.mark) {
			src.Bookmarks = append(src.Bookmarks, record.Snapshot{Name: strings.ReplaceAll(m, "ME", me), GUID: id("b-2"), CreateTXG: "20"})
		}
		state := []*record.Record{root}
		if c.target != "-" {
			state = append(state, target("backup/"+name[5:], c.target))
		}
		r := plan(t, "--bookmark --no-thinning --strip-path=1 "+c.args, state, src).of(t, name)
		var got []string
		for _, s := range r.Steps {
			if b := bookmarkText(&s); b != "" {
				got = append(got, b)
			} else if s.Do == record.DoHold {
				got = append(got, text([]record.Step{s}))
			}
		}
		both := chain.MarkName("b-2", []string{me, other})
		want := strings.NewReplacer("b-2:BOTH", both, "ME", me, "OTHER", other).Replace(c.want)
		if r.Error != nil || strings.Join(got, "; ") != want || len(r.Warnings) != c.warnings {
			t.Errorf("%s:\n got %s\nwant %s\n%v %q", c.what, strings.Join(got, "; "), want, r.Error, r.Warnings)
		}
		if c.warnings > 0 && len(r.Warnings) > 0 && (!strings.Contains(r.Warnings[0], "gets no bookmark") || strings.Contains(r.Warnings[0], "is held instead") != (c.args == "")) {
			t.Errorf("%s: %q", c.what, r.Warnings)
		}
	}
}

// bookmarkText returns what a step makes a bookmark of and its name, or with a minus the
// bookmark that it destroys; "" for any other step.
func bookmarkText(s *record.Step) string {
	switch {
	case s.Do == record.DoBookmark && s.Snapshot != "":
		return "@" + s.Snapshot + " " + s.To
	case s.Do == record.DoBookmark:
		return s.From + " " + s.To
	case s.Do == record.DoUnbookmark:
		return "-" + s.From
	}
	return ""
}

// A snapshot has one bookmark for all targets, which goes when the last of them has
// moved on.
func TestBookmarks(t *testing.T) {
	root := target("backup", "")
	me := chain.TargetKey("zfs_autobackup:b:" + root.GUID)
	other := chain.TargetKey("another disk")
	for _, c := range []struct{ what, source, marks, target, want string }{
		{"a first backup", "b-1", "", "-", "@b-1 b-1:ME"},
		{"the next one", "b-1 b-2", "b-1:ME", "b-1", "@b-2 b-2:ME; -#b-1:ME"},
		{"from a bookmark alone", "b-2", "b-1:ME", "b-1", "@b-2 b-2:ME; -#b-1:ME"},
		{"one that another starts from stays for it", "b-1 b-2", "b-1:ME,OTHER", "b-1", "#b-1:ME,OTHER b-1:OTHER; @b-2 b-2:ME; -#b-1:ME,OTHER"},
		{"another's is shared", "b-1 b-2", "b-2:OTHER b-1:ME", "b-1", "#b-2:OTHER b-2:ME,OTHER; -#b-2:OTHER; -#b-1:ME"},
		{"nothing new, and none yet", "b-1", "", "b-1", "@b-1 b-1:ME"},
		{"nothing new, and all well", "b-1", "b-1:ME", "b-1", ""},
		{"nothing new, and another's", "b-1", "b-1:OTHER", "b-1", "#b-1:OTHER b-1:ME,OTHER; -#b-1:OTHER"},
		{"nothing new, and what a killed run left", "b-2", "b-1:ME b-2:ME", "b-2", "-#b-1:ME"},
		{"somebody's", "b-1 b-2", "mine", "b-1", "@b-2 b-2:ME"},
	} {
		src := source("tank/a", c.source)
		for _, w := range strings.Fields(c.marks) {
			snap, targets, ok := strings.Cut(w, ":")
			name := snap
			if ok {
				name = chain.MarkName(snap, strings.Split(strings.NewReplacer("ME", me, "OTHER", other).Replace(targets), ","))
			}
			txg := "5"
			for _, s := range src.Snapshots {
				if s.Name == snap {
					txg = s.CreateTXG
				}
			}
			src.Bookmarks = append(src.Bookmarks, record.Snapshot{Name: name, GUID: id(snap), CreateTXG: txg})
		}
		state := []*record.Record{root}
		if c.target != "-" {
			state = append(state, target("backup/tank/a", c.target))
		}
		r := plan(t, "--bookmark --no-thinning", state, src).of(t, "tank/a")
		var got []string
		for _, s := range r.Steps {
			if b := bookmarkText(&s); b != "" {
				got = append(got, b)
			} else if s.Do == record.DoHold && s.Side == record.SideSource {
				t.Errorf("%s: a hold on the source", c.what)
			}
		}
		both := func(s string) string {
			s = strings.ReplaceAll(s, "ME,OTHER", strings.TrimPrefix(chain.MarkName("", []string{me, other}), ":"))
			return strings.NewReplacer("ME", me, "OTHER", other).Replace(s)
		}
		if want := both(c.want); strings.Join(got, "; ") != want {
			t.Errorf("%s:\n got %s\nwant %s", c.what, strings.Join(got, "; "), want)
		}
	}
}

// A copy goes on with the flags that it was begun with, and these are noted in
// zab:stream.
func TestFrozenFlags(t *testing.T) {
	for _, c := range []struct {
		stream, snapshots, flags, mark string
	}{
		{"", "-", "-L", "zab:from=7 zab:stream=L,x"},
		{"", "b-1", "-L", "zab:from=7 zab:stream=L"},
		{"L", "b-1", "-L", "zab:from=7"},
		{"none", "b-1", "", "zab:from=7"},
		{"L,x", "b-1", "-L", "zab:from=7"},
		{"x", "b-1", "", "zab:from=7"},
	} {
		state := []*record.Record{target("backup", "")}
		if c.snapshots != "-" {
			state = append(state, with(target("backup/tank/a", c.snapshots), func(r *record.Record) { r.Stream = c.stream }))
		}
		src := with(source("tank/a", "b-1 b-2"), func(r *record.Record) { r.PoolGUID = "7" })
		r := plan(t, "--no-holds", state, src).of(t, "tank/a")
		mark := ""
		for _, s := range r.Steps {
			switch s.Do {
			case record.DoMark:
				mark = strings.Join(s.Set, " ")
			case record.DoReceive:
				if slices.Contains(s.Flags, "-L") != (c.flags != "") {
					t.Errorf("%+v: %v", c, s.Flags)
				}
			}
		}
		if mark != c.mark {
			t.Errorf("%+v: %q", c, mark)
		}
	}
}

// P11: sharing properties are excluded until the copy is known to stay unshared, and
// again when another dataset takes its place. Only a stream with properties makes this
// known.
func TestSharing(t *testing.T) {
	const known, not = "L,x", "L"
	for _, c := range []struct {
		what, args, source, target, stream string
		change                             func(*record.Record)
		excluded                           string // yes, no or half, per stream
		mark                               string
	}{
		{"a new copy", "", "b-1 b-2", "-", "", nil, "yes yes", "L,x"},
		{"not known", "", "b-1 b-2", "b-1", not, nil, "yes", ""},
		{"known", "", "b-1 b-2", "b-1", known, nil, "no", ""},
		{"known, and asked for", "--filter-properties=sharenfs", "b-1 b-2", "b-1", known, nil, "half", ""},
		{"set", "--set-properties=sharenfs=on", "b-1 b-2", "b-1", not, nil, "half", ""},
		{"streams without properties", "--decrypt", "b-1 b-2", "b-1", not, func(r *record.Record) { r.Encryption, r.EncryptionRoot = "aes-256-gcm", r.Name }, "yes", ""},
		{"known, of another host's dataset", "", "b-1 b-2", "b-1", known, func(r *record.Record) { r.Host = "far" }, "yes", "L"},
		{"a new copy of another host's dataset", "", "b-1 b-2", "-", "", func(r *record.Record) { r.Host = "far" }, "yes yes", "L"},
		{"overwritten", "--force", "b-1", "", known, nil, "yes", "L"},
		{"set aside for another", "--rename-aside", "b-1=7 b-2=8", "b-1", known, nil, "yes yes", "L,x"},
		{"set aside for a clone of it", "--rename-aside", "b-1 b-2", "b-1 x*", known, nil, "yes", "L"},
		{"a volume", "", "b-1 b-2", "b-1", not, func(r *record.Record) { r.Kind = "volume" }, "no", ""},
	} {
		src := with(source("tank", c.source), func(r *record.Record) {
			if r.PoolGUID, r.From = "7", "7"; c.change != nil {
				c.change(r)
			}
		})
		state := []*record.Record{target("backup", "")}
		if c.target != "-" {
			state = append(state, with(target("backup/tank", c.target), func(r *record.Record) { r.Stream, r.Kind = c.stream, src.Kind }))
		}
		r := plan(t, "--no-holds --no-thinning "+c.args, state, src).of(t, "tank")
		var excluded []string
		mark := ""
		for _, s := range r.Steps {
			switch s.Do {
			case record.DoMark:
				for _, pv := range s.Set {
					if v, ok := strings.CutPrefix(pv, "zab:stream="); ok {
						mark = v
					}
				}
			case record.DoReceive:
				n := len(slices.DeleteFunc(slices.Clone(s.Exclude), func(p string) bool { return !shares(p) }))
				excluded = append(excluded, []string{"no", "half", "yes"}[n])
			}
		}
		if r.Error != nil || strings.Join(excluded, " ") != c.excluded || mark != c.mark {
			t.Errorf("%s: %v, %v, excluded %q, marked %q", c.what, r.Error, r.Conflict, excluded, mark)
		}
	}
}

// The steps bring a copy up to date.
func TestSteps(t *testing.T) {
	all := "--no-thinning "
	for _, c := range []struct{ what, args, source, target, want string }{
		{"a first backup", all, "b-1", "-", "parent backup/tank; recv >b-1; hold S b-1; hold T b-1"},
		{"a first backup of several", all, "b-1 b-2 b-3", "-", "parent backup/tank; recv >b-1; recv b-1>b-2,b-3; hold S b-3; hold T b-3"},
		{"one more", all, "b-1 b-2", "b-1", "recv b-1>b-2; hold S b-2; hold T b-2; release S b-1; release T b-1"},
		{"several more", all, "b-1 b-2 b-3", "b-1", "recv b-1>b-2,b-3; hold S b-3; hold T b-3; release S b-1; release T b-1"},
		{"up to date", all, "b-1 b-2", "b-1 b-2", ""},
		{"the source lost the newest", all, "b-1", "b-1 b-2", ""},
		{"thinned on both sides", all, "b-2 b-4 b-5", "b-1 b-4", "recv b-4>b-5; hold S b-5; hold T b-5; release S b-4; release T b-4"},
		{"what is not ours stays here", all, "x b-1 y b-2", "-", "parent backup/tank; recv >b-1; recv b-1>b-2; hold S b-2; hold T b-2"},
		{"unless it is asked for", all + "--other-snapshots", "x b-1 y b-2", "-", "parent backup/tank; recv >x; recv x>b-1,y,b-2; hold S b-2; hold T b-2"},
		{"others may be the base", all, "x b-1", "x", "recv x>b-1; hold S b-1; hold T b-1; release S x; release T x"},
		{"nothing of ours", all, "x y", "-", ""},
		{"no snapshot at all", all, "", "-", ""},
		{"without holds", all + "--no-holds", "b-1 b-2", "b-1", "recv b-1>b-2"},
		{"of a dry run", all, "b-1 ~b-2", "b-1", "recv b-1>b-2; hold S b-2; hold T b-2; release S b-1; release T b-1"},
		{"by name, where that is asked for", all + "--no-guid-check", "b-1=7 b-2", "b-1=8", "recv b-1>b-2; hold S b-2; hold T b-2; release S b-1; release T b-1"},
		{"what is excluded does not travel inside a stream", all + "--exclude-snapshot-pattern=@x", "b-1 b-2 b-3", "b-1", "recv b-1>b-2; recv b-2>b-3; hold S b-3; hold T b-3; release S b-1; release T b-1"},

		{"an empty newer snapshot is in nobody's way", all, "b-1 b-2", "b-1 x", "recv b-1>b-2; hold S b-2; hold T b-2; release S b-1; release T b-1"},
		{"one with data is destroyed where that is asked for", all + "--destroy-incompatible", "b-1 b-2", "b-1 x*", "destroy x; rollback b-1; recv b-1>b-2; hold S b-2; hold T b-2; release S b-1; release T b-1"},
		{"with what comes after it", all + "--destroy-incompatible", "b-1 b-2", "b-1 e x* y", "destroy x; destroy y; rollback e; recv b-1>b-2; hold S b-2; hold T b-2; release S b-1; release T b-1"},
		{"nothing is destroyed where nothing is sent", all + "--destroy-incompatible", "b-1", "b-1 x*", ""},
		{"overwritten where that is asked for", all + "--force", "b-1", "", "recv >b-1 force; hold S b-1; hold T b-1"},
		{"but only if it has no snapshots", all + "--force", "b-1 b-2", "b-1", "recv b-1>b-2; hold S b-2; hold T b-2; release S b-1; release T b-1"},
	} {
		var state []*record.Record
		state = append(state, target("backup", ""))
		if c.target != "-" {
			state = append(state, target("backup/tank", ""), target("backup/tank/a", c.target))
		}
		r := plan(t, c.args, state, source("tank/a", c.source)).of(t, "tank/a")
		if r.Error != nil || text(r.Steps) != c.want || r.Steps == nil {
			t.Errorf("%s: %v\n got %s\nwant %s", c.what, r.Error, text(r.Steps), c.want)
		}
		if r.Target == nil || r.Target.Name != "backup/tank/a" || r.Target.Exists != (c.target != "-") {
			t.Errorf("%s: %+v", c.what, r.Target)
		}
	}
}

// P11: a warning names the snapshots that are destroyed because of the source's list,
// before they are destroyed.
func TestDestroyIncompatibleSaysWhatItBelieves(t *testing.T) {
	for _, c := range []struct{ target, want string }{
		{"b-1 x*", "the snapshot 'backup/tank/a@x' is to be destroyed for --destroy-incompatible: the source says that it does not have it"},
		{"b-1 e x* y b-9", "3 snapshots of 'backup/tank/a', from '@x' to '@b-9', are to be destroyed for --destroy-incompatible: the source says that it does not have them"},
		{"b-1 e", ""},
	} {
		state := []*record.Record{target("backup", ""), target("backup/tank", ""), target("backup/tank/a", c.target)}
		for _, dry := range []string{"", "-n "} {
			got := plan(t, dry+"--no-thinning --destroy-incompatible", state, source("tank/a", "b-1 b-2"))
			want := ""
			if c.want != "" {
				want = "zab-plan: warning: " + c.want + "\n"
			}
			if w := strings.Join(got.of(t, "tank/a").Warnings, "; "); w != c.want || got.stderr != want {
				t.Errorf("%s: %q, %s", c.target, w, got.stderr)
			}
		}
	}
}

// The target wants snapshots with a time in the future, and these take no place of
// others in the schedule.
func TestWantedAhead(t *testing.T) {
	words := fmt.Sprintf("b-%d b-%d b-%d b-%d", now-200, now-100, now+86400, now+2*86400)
	r := plan(t, "--keep-target=2", []*record.Record{target("backup", "")}, source("tank/a", words)).of(t, "tank/a")
	want := fmt.Sprintf("recv >b-%d; recv b-%d>b-%d,b-%d,b-%d;", now-200, now-200, now-100, now+86400, now+2*86400)
	if got := text(r.Steps); !strings.Contains(got, want) {
		t.Errorf("%s, should have %s", got, want)
	}
}

// A bookmark is as good a base as its snapshot, but cannot be used with zfs send -I.
func TestBookmarkBase(t *testing.T) {
	r := source("tank/a", "b-2 b-3 b-4")
	for i := range r.Snapshots {
		r.Snapshots[i].CreateTXG += "0"
	}
	r.Bookmarks = []record.Snapshot{{Name: "old", GUID: id("b-0"), CreateTXG: "1"}, {Name: "mark", GUID: id("b-1"), CreateTXG: "50"}}
	got := plan(t, "--no-thinning", []*record.Record{target("backup", ""), target("backup/tank/a", "b-0 b-1")}, r).of(t, "tank/a")
	want := "recv #mark>b-2; recv b-2>b-3,b-4; hold S b-4; hold T b-4; release T b-1"
	if text(got.Steps) != want {
		t.Errorf("%s", text(got.Steps))
	}
}

// Snapshots that the target's schedule would destroy on arrival are not sent. The
// newest is always sent, because it is the next base.
func TestScheduleOfTheTarget(t *testing.T) {
	const day = 86400
	name := func(days int) string { return fmt.Sprintf("b-%d", now-days*day) }
	var words []string
	for d := 30; d >= 0; d-- {
		words = append(words, name(d))
	}
	for _, c := range []struct{ keep, target, want string }{
		{"1", "", name(0)},
		{"3", "", name(2) + " " + name(1) + " " + name(0)},
		{"0", "", name(0)},
		{"2,10d30d", name(30), name(24) + " " + name(14) + " " + name(4) + " " + name(1) + " " + name(0)},
	} {
		state := []*record.Record{target("backup", ""), target("backup/tank", "")}
		if c.target != "" {
			state = append(state, target("backup/tank/a", c.target))
		}
		r := plan(t, "--no-holds --keep-target="+c.keep, state, source("tank/a", strings.Join(words, " "))).of(t, "tank/a")
		var got []string
		for _, s := range r.Steps {
			for _, th := range s.Through {
				got = append(got, th.Name)
			}
			if s.To != "" {
				got = append(got, s.To)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s, the target has %q: sends %q, should send %q", c.keep, c.target, got, c.want)
		}
	}
}

// Each conflict has its kind, the snapshots that it is about, and remedies, the safest
// first; nothing is planned, and nothing is said to be up to date.
func TestConflicts(t *testing.T) {
	enc := func(r *record.Record) {
		r.Encryption, r.EncryptionRoot, r.KeyStatus = "aes-256-gcm", r.Name, "available"
	}
	inherits := func(r *record.Record) { enc(r); r.EncryptionRoot = "backup" }
	volume := func(r *record.Record) { r.Kind = "volume" }
	wrote := func(r *record.Record) { r.Written = record.Ptr[int64](4096) }
	keep := func(*record.Record) {}
	rename, startAnew := "--rename-aside", "'zfs rename backup/tank/a NEWNAME'"
	for _, c := range []struct {
		what, args, source string
		change             func(*record.Record)
		target             string
		changeTarget       func(*record.Record)
		kind, snapshots    string
		remedies           []string
	}{
		{"no snapshot in common", "", "b-2 b-3", keep, "b-1 x", keep, "no-common-snapshot", "b-1 x", []string{rename, "destroy 'backup/tank/a'"}},
		{"and --force does not help", "--force", "b-2", keep, "b-1", keep, "no-common-snapshot", "b-1", []string{rename, "destroy"}},
		{"nor does --destroy-incompatible", "--destroy-incompatible", "b-2", keep, "b-1", keep, "no-common-snapshot", "b-1", []string{rename, "destroy"}},
		{"another of the same name", "", "b-1=1 b-2", keep, "b-1=2", keep, "same-name-other-guid", "b-1", []string{rename, "destroy"}},
		{"there, without snapshots", "", "b-1", keep, "", keep, "target-without-snapshots", "", []string{rename, "--force"}},
		{"written to", "", "b-1 b-2", keep, "b-1", wrote, "modified", "b-1", []string{rename, "zfs diff backup/tank/a@b-1 backup/tank/a", "--rollback"}},
		{"written to, and only incompatible ones may go", "--destroy-incompatible", "b-1 b-2", keep, "b-1", wrote, "modified", "b-1", []string{rename, "zfs diff", "--rollback"}},
		{"a newer snapshot with data", "", "b-1 b-2", keep, "b-1 x*", keep, "newer-snapshots", "x", []string{rename, "--destroy-incompatible"}},
		{"and --rollback does not take it", "--rollback", "b-1 b-2", keep, "b-1 x*", keep, "newer-snapshots", "x", []string{rename, "--destroy-incompatible"}},
		{"several", "", "b-1 b-2", keep, "b-1 e x* y", keep, "newer-snapshots", "x y", []string{rename, "--destroy-incompatible"}},
		{"even an empty one, of a name that is to come", "", "b-1 b-2", keep, "b-1 b-2=7", keep, "source-rolled-back", "b-2", []string{rename, "--destroy-incompatible"}},
		{"all of this backup", "", "b-1 b-4", keep, "b-1 b-2* b-3*", keep, "source-rolled-back", "b-2 b-3", []string{rename, "--destroy-incompatible"}},
		{"not all of this backup", "", "b-1 b-4", keep, "b-1 b-2* x*", keep, "newer-snapshots", "b-2 x", []string{rename, "--destroy-incompatible"}},
		{"raw: even an empty one", "", "b-1 b-2", enc, "b-1 x", enc, "newer-snapshots", "x", []string{rename, "--destroy-incompatible"}},
		{"a volume where a filesystem was", "", "b-1 b-2", volume, "b-1", keep, "kind-mismatch", "", []string{rename, "rename or destroy 'backup/tank/a'"}},
		{"a filesystem where a volume was", "--force", "b-1", keep, "", volume, "kind-mismatch", "", []string{rename, "rename or destroy"}},

		// P10
		{"raw onto a copy that is not encrypted", "", "b-1 b-2", enc, "b-1", keep, "encryption-mismatch", "", []string{"--decrypt", startAnew}},
		{"raw onto one that was encrypted there", "", "b-1 b-2", enc, "b-1", inherits, "encryption-mismatch", "", []string{"--decrypt with --encrypt", startAnew}},
		{"decrypted onto one that was received raw", "--decrypt", "b-1 b-2", enc, "b-1", enc, "encryption-mismatch", "", []string{"go on without --decrypt", startAnew}},
	} {
		state := []*record.Record{target("backup", ""), with(target("backup/tank/a", c.target), c.changeTarget)}
		res := plan(t, "--no-thinning "+c.args, state, with(source("tank/a", c.source), c.change), source("tank/b", "b-1"))
		r := res.of(t, "tank/a")
		if r.Conflict == nil || r.Error == nil || r.Error.Kind != "conflict" || r.Error.Stage != "plan" {
			t.Errorf("%s: no conflict: %v, %s", c.what, r.Error, text(r.Steps))
			continue
		}
		var names []string
		for _, s := range r.Conflict.Snapshots {
			names = append(names, s.Name)
		}
		if string(r.Conflict.Kind) != c.kind || strings.Join(names, " ") != c.snapshots || len(r.Steps) > 0 {
			t.Errorf("%s: %s about %q, steps %q", c.what, r.Conflict.Kind, names, text(r.Steps))
		}
		if len(r.Conflict.Remedies) != len(c.remedies) {
			t.Errorf("%s: remedies %q", c.what, r.Conflict.Remedies)
			continue
		}
		for i, m := range c.remedies {
			if !strings.Contains(r.Conflict.Remedies[i], m) || !strings.Contains(r.Error.Hint, m) {
				t.Errorf("%s: remedy %q has no %q; hint: %s", c.what, r.Conflict.Remedies[i], m, r.Error.Hint)
			}
		}
		if !strings.Contains(r.Error.Message, r.Conflict.Message) || !strings.Contains(r.Error.Message, "'tank/a'") || !strings.Contains(res.stderr, r.Error.Message) {
			t.Errorf("%s: %q, stderr %s", c.what, r.Error.Message, res.stderr)
		}
		// P7: the failure of one dataset does not affect another.
		if b := res.of(t, "tank/b"); b.Error != nil || len(b.Steps) == 0 {
			t.Errorf("%s: the other dataset: %v, %s", c.what, b.Error, text(b.Steps))
		}
	}
}

// P10: streams of one kind go on as they began.
func TestEncryptionGoesOn(t *testing.T) {
	enc := func(root string) func(*record.Record) {
		return func(r *record.Record) { r.Encryption, r.EncryptionRoot = "aes-256-gcm", root }
	}
	for _, c := range []struct {
		what, args string
		source     func(*record.Record)
		target     func(*record.Record)
		flags      string
	}{
		{"raw on raw", "", enc("tank/a"), enc("backup/tank/a"), "-L -w -p"},
		{"raw on raw, the key from above on the source", "", enc("tank"), enc("backup/tank/a"), "-L -w -p"},
		{"decrypted on plain", "--decrypt", enc("tank/a"), enc(""), "-L"},
		{"decrypted and encrypted there", "--decrypt --encrypt", enc("tank/a"), enc("backup"), "-L"},
		{"plain on encrypted there", "--encrypt", func(*record.Record) {}, enc("backup"), "-L -p"},
		{"plain on one with a key of its own", "", func(*record.Record) {}, enc("backup/tank/a"), "-L -p"},
		{"plain, --encrypt given, raw as always", "--encrypt", enc("tank/a"), enc("backup/tank/a"), "-L -w -p"},
	} {
		tgt := with(target("backup/tank/a", "b-1"), c.target)
		if tgt.EncryptionRoot == "" {
			tgt.Encryption = ""
		}
		r := plan(t, "--no-thinning "+c.args, []*record.Record{target("backup", ""), tgt}, with(source("tank/a", "b-1 b-2"), c.source)).of(t, "tank/a")
		if r.Error != nil || len(r.Steps) == 0 || strings.Join(r.Steps[0].Flags, " ") != c.flags {
			t.Errorf("%s: %v, %+v", c.what, r.Error, r.Steps)
		}
	}
}

// P10: an encrypted dataset is sent raw unless --decrypt was given, and never with
// properties but without -w, which would be refused.
func TestFlagsAndProperties(t *testing.T) {
	plain := func(r *record.Record) {}
	enc := func(r *record.Record) { r.Encryption, r.EncryptionRoot = "aes-256-gcm", r.Name }
	volume := func(r *record.Record) { r.Kind = "volume" }
	for _, c := range []struct {
		what, args           string
		source, above        func(*record.Record)
		flags, set, excluded string
	}{
		{"plain", "", plain, plain, "-L -p", "", ""},
		{"blocks as they are on disk", "--zfs-compressed", plain, plain, "-L -c -p", "", ""},
		{"encrypted", "", enc, plain, "-L -w -p", "", ""},
		{"encrypted, below an encrypted target", "", enc, enc, "-L -w -p", "", ""},
		{"decrypted", "--decrypt", enc, plain, "-L", "", ""},
		{"decrypt has nothing to do with a plain one", "--decrypt", plain, plain, "-L -p", "", ""},
		{"plain stays plain below an encrypted target", "", plain, enc, "-L -p", "", ""},
		{"to be encrypted there", "--encrypt", plain, enc, "-L -p", "", "keylocation pbkdf2iters keyformat encryption"},
		{"encrypted anew", "--decrypt --encrypt", enc, enc, "-L", "", "keylocation pbkdf2iters keyformat encryption"},
		{"raw is encrypted already, and zfs refuses to filter that", "--encrypt", enc, enc, "-L -w -p", "", ""},
		{"not mounted", "--clear-mountpoint", plain, plain, "-L -p", "canmount=noauto", ""},
		{"no space kept", "--clear-refreservation", plain, plain, "-L -p", "refreservation=none", ""},
		{"of one's own", "--set-properties=readonly=on,x:y=a=b --filter-properties=mountpoint,x:z --filter-properties=compression", plain, plain, "-L -p", "readonly=on x:y=a=b", "mountpoint x:z compression"},
		{"a volume has other properties", "--clear-mountpoint --clear-refreservation --set-properties=canmount=off,volmode=none,readonly=on --filter-properties=mountpoint,snapdev", volume, plain, "-L -p", "volmode=none readonly=on refreservation=none", "snapdev"},
		{"a volume has none of a filesystem's", "--set-properties=snapdir=visible,direct=always,zoned=on,userquota@joe=1G --filter-properties=utf8only,casesensitivity,version", volume, plain, "-L -p", "", ""},
		{"nor can what is in its stream be chosen", "--set-properties=volsize=1G --filter-properties=quota,volsize,recordsize,volblocksize,snapdev", volume, plain, "-L -p", "", "snapdev"},
		{"nor that of a filesystem", "--set-properties=utf8only=on,userquota@joe=1G --filter-properties=volsize,recordsize,volblocksize,snapdev", plain, plain, "-L -p", "", "recordsize snapdev"},
		{"each once, or zfs refuses", "--clear-mountpoint --clear-refreservation --set-properties=canmount=off,atime=on,atime=on --filter-properties=atime,canmount,refreservation,exec,exec", plain, plain, "-L -p", "canmount=off atime=on refreservation=none", "exec"},
		{"from a source that is not trusted", "--safe-properties", plain, plain, "-L -p", strings.Join(safeValues, " "), strings.Join(notTakenOver, " ")},
		{"and a volume", "--safe-properties", volume, plain, "-L -p", "readonly=on reservation=none refreservation=none volmode=none snapdev=hidden", "dedup copies keylocation"},
		{"raw", "--safe-properties", enc, plain, "-L -w -p", strings.Join(safeValues, " "), strings.Join(notTakenOver, " ")},
		{"decrypted", "--safe-properties --decrypt", enc, plain, "-L", strings.Join(safeValues, " "), strings.Join(notTakenOver, " ")},
		{"to be encrypted there", "--safe-properties --encrypt", plain, enc, "-L -p", strings.Join(safeValues, " "), "mountpoint dedup copies special_small_blocks keylocation pbkdf2iters keyformat encryption"},
		{"but for what the administrator says", "--safe-properties --clear-mountpoint --set-properties=readonly=off,copies=2,mountpoint=none --filter-properties=exec,copies,atime", plain, plain, "-L -p",
			"readonly=off copies=2 mountpoint=none canmount=noauto setuid=off devices=off exec=off reservation=none refreservation=none volmode=none snapdev=hidden", "atime dedup special_small_blocks keylocation"},
		{"and a filesystem has some of a volume, to hand them down", "--set-properties=canmount=off,volmode=none,volthreading=off --filter-properties=mountpoint,snapdev", plain, plain, "-L -p", "canmount=off volmode=none", "mountpoint snapdev"},
	} {
		r := plan(t, "--no-thinning "+c.args, []*record.Record{with(target("backup", ""), c.above)}, with(source("tank", "b-1 b-2"), c.source)).of(t, "tank")
		n := 0
		for _, s := range r.Steps {
			if s.Do != record.DoReceive {
				continue
			}
			n++
			if r.Kind != "volume" {
				// No stream may make a copy shared, regardless of the other options
				// (P11).
				if !slices.Contains(s.Exclude, "sharenfs") || !slices.Contains(s.Exclude, "sharesmb") {
					t.Errorf("%s: exclude %q", c.what, s.Exclude)
				}
				s.Exclude = slices.DeleteFunc(s.Exclude, shares)
			}
			if strings.Join(s.Flags, " ") != c.flags || strings.Join(s.Set, " ") != c.set || strings.Join(s.Exclude, " ") != c.excluded {
				t.Errorf("%s: flags %q, set %q, exclude %q", c.what, s.Flags, s.Set, s.Exclude)
			}
		}
		if r.Error != nil || n != 2 {
			t.Errorf("%s: %v, %d streams", c.what, r.Error, n)
		}
	}
}

func shares(property string) bool { return property == "sharenfs" || property == "sharesmb" }

// P11: where zfs receive takes over keylocation in spite of -x, it is reset afterwards,
// each time.
func TestSafeKeylocation(t *testing.T) {
	enc := func(r *record.Record) { r.Encryption, r.EncryptionRoot = "aes-256-gcm", r.Name }
	for _, c := range []struct {
		args   string
		source func(*record.Record)
		want   bool
	}{
		{"--safe-properties", enc, true},
		{"", enc, false},
		{"--safe-properties --decrypt", enc, false},
		{"--safe-properties", func(*record.Record) {}, false},
	} {
		for _, pool := range []string{"1", ""} { // "" as in records of zab-list
			src := with(source("tank", "b-1 b-2"), c.source)
			src.PoolGUID = pool
			r := plan(t, "--no-thinning "+c.args, []*record.Record{target("backup", "")}, src).of(t, "tank")
			got := slices.ContainsFunc(r.Steps, func(s record.Step) bool {
				return s.Do == record.DoMark && slices.Equal(s.Set, []string{"keylocation=prompt"})
			})
			if got != c.want {
				t.Errorf("%q %q: %+v", c.args, pool, r.Steps)
			}
		}
	}
}

// A property that is not inherited is filtered by setting a value on the copy itself,
// which later increments leave alone.
func TestFilterNotInherited(t *testing.T) {
	args := "--no-thinning --filter-properties=quota,mountpoint,canmount"
	r := plan(t, args, []*record.Record{target("backup", "")}, source("tank", "b-1 x b-2")).of(t, "tank")
	var got []string
	for _, s := range r.Steps {
		if s.Do == record.DoReceive {
			got = append(got, strings.Join(s.Set, " ")+"; "+strings.Join(slices.DeleteFunc(s.Exclude, shares), " "))
		}
	}
	want := []string{"quota=none canmount=on; mountpoint", "; quota mountpoint canmount"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// If the encryption root stays behind, there is a warning.
func TestEncryptionWarning(t *testing.T) {
	enc := func(root string) func(*record.Record) {
		return func(r *record.Record) { r.Encryption, r.EncryptionRoot = "aes-256-gcm", root }
	}
	state := []*record.Record{target("backup", "")}
	a, b := with(source("tank/e", "b-1"), enc("tank/e")), with(source("tank/e/c", "b-1"), enc("tank/e"))
	if r := plan(t, "", state, b).of(t, "tank/e/c"); len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "'tank/e'") {
		t.Errorf("without its root: %q", r.Warnings)
	}
	if r := plan(t, "", state, a, b).of(t, "tank/e/c"); len(r.Warnings) != 0 {
		t.Errorf("with its root: %q", r.Warnings)
	}
}

// P4: an interrupted receive is resumed if its token leads to the next wanted snapshot,
// and otherwise aborted with the reason.
func TestResume(t *testing.T) {
	enc := func(r *record.Record) { r.Encryption, r.EncryptionRoot = "aes-256-gcm", r.Name }
	keep := func(*record.Record) {}
	rest := "; hold S b-3; hold T b-3; release S b-1; release T b-1"
	first := "; hold S b-3; hold T b-3"
	next := token("tank/a@b-2", id("b-2"), id("b-1"))
	for _, c := range []struct {
		what, args, source string
		change             func(*record.Record)
		target, token      string
		want, why          string // why is "" if the receive goes on
	}{
		{"the next", "", "b-1 b-2 b-3", keep, "b-1", next, "recv b-1>b-2 token; recv b-2>b-3" + rest, ""},
		{"the only one", "--no-holds", "b-1 b-2", keep, "b-1", next, "recv b-1>b-2 token", ""},
		{"from a bookmark", "", "b-2 b-3", func(r *record.Record) {
			r.Bookmarks = []record.Snapshot{{Name: "m", GUID: id("b-1"), CreateTXG: "5"}}
		}, "b-1", next, "recv #m>b-2 token; recv b-2>b-3; hold S b-3; hold T b-3; release T b-1", ""},
		{"a first one", "", "b-1 b-2 b-3", keep, "", token("tank/a@b-1", id("b-1"), ""), "recv >b-1 token; recv b-1>b-2,b-3" + first, ""},
		{"a first one, alone", "--no-holds", "b-1", keep, "", token("tank/a@b-1", id("b-1"), ""), "recv >b-1 token", ""},
		{"raw", "--no-holds", "b-1", enc, "", token("tank/a@b-1", id("b-1"), "", "compressok", "rawok"), "recv >b-1 token", ""},
		{"with large blocks", "--no-holds", "b-1", keep, "", token("tank/a@b-1", id("b-1"), "", "largeblockok"), "recv >b-1 token", ""},
		{"compressed", "--no-holds --zfs-compressed", "b-1", keep, "", token("tank/a@b-1", id("b-1"), "", "compressok"), "recv >b-1 token", ""},
		{"decrypted", "--no-holds --decrypt", "b-1", enc, "", token("tank/a@b-1", id("b-1"), "", "largeblockok"), "recv >b-1 token", ""},

		{"of another snapshot", "", "b-1 b-2 b-3", keep, "b-1", token("tank/a@b-3", id("b-3"), id("b-1")), "abort; recv b-1>b-2,b-3" + rest, "not to the next snapshot wanted, 'b-2'"},
		{"of one that is gone", "", "b-1 b-3", keep, "b-1", next, "abort; recv b-1>b-3" + rest, "not to the next snapshot wanted, 'b-3'"},
		{"of one that the schedule does not want", "--keep-target=1", "b-1 b-2 b-3", keep, "b-1", next, "abort; recv b-1>b-3" + rest, "not to the next"},
		{"of another with the same name", "", "b-1 b-2=5 b-3", keep, "b-1", next, "abort; recv b-1>b-2,b-3" + rest, "not to the next"},
		{"from another base", "", "b-0 b-1 b-2 b-3", keep, "b-0 b-1", token("tank/a@b-2", id("b-2"), id("b-0")), "abort; recv b-1>b-2,b-3" + rest, "starts from another snapshot"},
		{"full, where there is a base", "", "b-1 b-2 b-3", keep, "b-1", token("tank/a@b-2", id("b-2"), ""), "abort; recv b-1>b-2,b-3" + rest, "starts from another snapshot"},
		{"the source was renamed", "", "b-1 b-2 b-3", keep, "b-1", token("tank/old@b-2", id("b-2"), id("b-1")), "abort; recv b-1>b-2,b-3" + rest, "'tank/old@b-2', which is 'tank/a@b-2' now"},
		{"the snapshot was renamed", "", "b-1 b-2 b-3", keep, "b-1", token("tank/a@b-9", id("b-2"), id("b-1")), "abort; recv b-1>b-2,b-3" + rest, "which is 'tank/a@b-2' now"},
		{"raw, to be sent plain", "--decrypt", "b-1 b-2 b-3", enc, "", token("tank/a@b-1", id("b-1"), "", "compressok", "rawok"), "abort; recv >b-1; recv b-1>b-2,b-3" + first, "flags about encryption"},
		{"plain, to be sent raw", "", "b-1 b-2 b-3", enc, "", token("tank/a@b-1", id("b-1"), ""), "abort; recv >b-1; recv b-1>b-2,b-3" + first, "flags about encryption"},
		{"with rawok taken away", "", "b-1 b-2 b-3", enc, "", token("tank/a@b-1", id("b-1"), "", "compressok"), "abort; recv >b-1; recv b-1>b-2,b-3" + first, "flags about encryption"},
		{"begun with --zfs-compressed", "", "b-1 b-2 b-3", keep, "b-1", token("tank/a@b-2", id("b-2"), id("b-1"), "compressok"), "abort; recv b-1>b-2,b-3" + rest, "sent with -c, and this stream is to go without"},
		{"begun without it", "--zfs-compressed", "b-1 b-2 b-3", keep, "b-1", next, "abort; recv b-1>b-2,b-3" + rest, "sent without -c, and this stream is to go with it"},
		{"begun with -e", "", "b-1 b-2 b-3", keep, "b-1", token("tank/a@b-2", id("b-2"), id("b-1"), "embedok"), "abort; recv b-1>b-2,b-3" + rest, "sent with -e, which may lose extended attributes"},
		{"with an unknown pair", "", "b-1 b-2 b-3", keep, "b-1", token("tank/a@b-2", id("b-2"), id("b-1"), "savedok"), "abort; recv b-1>b-2,b-3" + rest, "unexpected pair"},
		{"onto which somebody made a snapshot", "", "b-1 b-2 b-3", keep, "b-1 x", next, "abort; recv b-1>b-2,b-3" + rest, "the target has the newer snapshot 'x'"},
		{"that is damaged", "", "b-1 b-2 b-3", keep, "b-1", next[:len(next)-6] + "000000", "abort; recv b-1>b-2,b-3" + rest, "cannot decode the resume token"},
		{"of a later zfs", "", "b-1 b-2 b-3", keep, "b-1", "2" + next[1:], "abort; recv b-1>b-2,b-3" + rest, "version \"2\" is not known"},
		{"a first one of another snapshot", "", "b-1 b-2 b-3", keep, "", next, "abort; recv >b-1; recv b-1>b-2,b-3" + first, "not to the next"},
		{"and overwritten, for what was there before is there again", "--force", "b-1 b-2 b-3", keep, "", next, "abort; recv >b-1 force; recv b-1>b-2,b-3" + first, "not to the next"},
	} {
		tgt := target("backup/tank/a", c.target)
		tgt.ResumeToken = c.token
		args := c.args
		if !strings.Contains(args, "--keep-target") {
			args += " --no-thinning"
		}
		r := plan(t, args, []*record.Record{target("backup", ""), target("backup/tank", ""), tgt}, with(source("tank/a", c.source), c.change)).of(t, "tank/a")
		if r.Error != nil || text(r.Steps) != c.want {
			t.Errorf("%s: %v\n got %s\nwant %s", c.what, r.Error, text(r.Steps), c.want)
			continue
		}
		if c.why == "" {
			res := r.Target.Resume
			if res == nil || res.Token != c.token || r.Steps[0].Token != c.token {
				t.Errorf("%s: the token is lost: %+v", c.what, r.Steps[0])
			}
		} else if !strings.Contains(r.Steps[0].Why, c.why) || r.Target.Resume != nil {
			t.Errorf("%s: the reason is %q", c.what, r.Steps[0].Why)
		}
		// Streams have the guids of their snapshots, resumed or not.
		for _, s := range r.Steps {
			if s.Do == record.DoReceive && (s.ToGUID == "" || s.From != "" && s.FromGUID == "") {
				t.Errorf("%s: no guid in %+v", c.what, s)
			}
		}
	}
}

// A conflict stands with or without a token, and nothing is aborted in vain.
func TestResumeAndConflict(t *testing.T) {
	tgt := target("backup/tank/a", "b-1")
	tgt.ResumeToken = token("tank/a@b-2", id("b-2"), id("b-1"))
	tgt.Written = record.Ptr[int64](1)
	state := []*record.Record{target("backup", ""), tgt}
	r := plan(t, "", state, source("tank/a", "b-1 b-2")).of(t, "tank/a")
	if r.Conflict == nil || r.Conflict.Kind != "modified" || len(r.Steps) > 0 {
		t.Errorf("%+v, %s", r.Conflict, text(r.Steps))
	}
	// zfs 2.3.2 resumes after a rollback to the base.
	r = plan(t, "--rollback --no-holds", state, source("tank/a", "b-1 b-2")).of(t, "tank/a")
	if text(r.Steps) != "rollback b-1; recv b-1>b-2 token" {
		t.Errorf("%s", text(r.Steps))
	}
}

// Datasets are mapped to their targets, and no two go to the same target.
func TestMapping(t *testing.T) {
	for _, c := range []struct {
		source string
		strip  int
		want   string
	}{
		{"tank/a/b", 0, "backup/tank/a/b"},
		{"tank/a/b", 1, "backup/a/b"},
		{"tank/a/b", 2, "backup/b"},
		{"tank/a/b", 3, "backup"},
		{"tank/a/b", 4, ""},
		{"tank", 0, "backup/tank"},
		{"tank", 1, "backup"},
		{"tank/my data", 1, "backup/my data"},
		{strings.Repeat("x", 249), 0, ""}, // too long for zfs with backup/
	} {
		got, err := dataset.TargetName(c.source, "backup", c.strip)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%.20s less %d: %q, %v", c.source, c.strip, got, err)
		}
	}
	state := []*record.Record{target("backup", "")}
	for _, c := range []struct {
		args    string
		sources []string
		message string
	}{
		{"--strip-path=1", []string{"tank/a", "pool/a"}, "both 'tank/a' and 'pool/a': both would go to 'backup/a'"},
		{"--strip-path=1", []string{"tank", "pool"}, "both would go to 'backup'"},
		{"--strip-path=2", []string{"tank/a", "tank"}, "cannot strip 2 parts of the path 'tank'"},
	} {
		var in []*record.Record
		for _, s := range c.sources {
			in = append(in, source(s, "b-1"))
		}
		res := plan(t, c.args, state, in...)
		for _, r := range res.records {
			if r.Error == nil || r.Error.Kind != "bad-mapping" || len(r.Steps) > 0 || !strings.Contains(r.Error.Message, c.message) {
				t.Errorf("%s %q: %v", c.args, c.sources, r.Error)
			}
		}
		if len(res.records) != len(in) {
			t.Errorf("P7: %d records of %d", len(res.records), len(in))
		}
	}
	for _, bad := range []string{"/backup", "", "-r", "backup/", "backup@x"} {
		if err := CheckTarget(bad); err == nil {
			t.Errorf("%q is a target", bad)
		}
	}
}

// If the target does not exist, the message says so, and how to create it.
func TestMissingTarget(t *testing.T) {
	res := plan(t, "", nil, source("tank/a", "b-1"))
	r := res.of(t, "tank/a")
	if r.Error == nil || r.Error.Kind != "target-missing" || !strings.Contains(res.stderr, "please create this dataset first") {
		t.Errorf("%v, %s", r.Error, res.stderr)
	}
}

// Missing parents are created once, in the run that needs them, and none that another
// record brings.
func TestMissingParents(t *testing.T) {
	state := []*record.Record{target("backup", ""), target("backup/tank", "")}
	for _, c := range []struct {
		what string
		in   []*record.Record
		want map[string]string
	}{
		{"none comes", []*record.Record{source("tank/a/b/c", "b-1")}, map[string]string{"tank/a/b/c": "parent backup/tank/a; parent backup/tank/a/b; recv >b-1"}},
		{"one comes", []*record.Record{source("tank/a", "b-1"), source("tank/a/b/c", "b-1")}, map[string]string{"tank/a": "recv >b-1", "tank/a/b/c": "parent backup/tank/a/b; recv >b-1"}},
		{"it comes later in the stream", []*record.Record{source("tank/a/b/c", "b-1"), source("tank/a", "b-1")}, map[string]string{"tank/a": "recv >b-1", "tank/a/b/c": "parent backup/tank/a/b; recv >b-1"}},
		{"one that has nothing to send does not come", []*record.Record{source("tank/a", ""), source("tank/a/b", "b-1")}, map[string]string{"tank/a": "", "tank/a/b": "parent backup/tank/a; recv >b-1"}},
		{"one that failed: a parent in its place would be in its way the next time", []*record.Record{with(source("tank/a", "b-1"), func(r *record.Record) { r.Fail(record.Error{Stage: "snap", Kind: "x", Message: "x"}) }), source("tank/a/b", "b-1")}, map[string]string{"tank/a": "", "tank/a/b": ""}},
		{"one that failed and has a copy", []*record.Record{with(source("tank", "b-1"), func(r *record.Record) { r.Fail(record.Error{Stage: "snap", Kind: "x", Message: "x"}) }), source("tank/a", "b-1")}, map[string]string{"tank": "", "tank/a": "recv >b-1"}},
		{"a whole pool", []*record.Record{source("pool/a", "b-1")}, map[string]string{"pool/a": "parent backup/pool; recv >b-1"}},
	} {
		res := plan(t, "--no-holds", state, c.in...)
		for name, want := range c.want {
			if got := text(res.of(t, name).Steps); got != want {
				t.Errorf("%s: %s: %q, should be %q", c.what, name, got, want)
			}
			if e := res.of(t, name).Error; want == "" && name == "tank/a/b" && (e == nil || e.Kind != "parent-failed") {
				t.Errorf("%s: %s: %v", c.what, name, e)
			}
		}
	}
	// With all parts stripped no parent has to be created.
	if got := text(plan(t, "--no-holds --strip-path=1", state[:1], source("tank/a", "b-1")).of(t, "tank/a").Steps); got != "recv >b-1" {
		t.Errorf("%q", got)
	}
}

// A dataset that is part of the target is not sent into the target.
func TestLoop(t *testing.T) {
	same := target("backup/tank", "b-1")
	in := with(source("backup/tank", "b-1 b-2"), func(r *record.Record) { r.GUID = same.GUID })
	res := plan(t, "", []*record.Record{target("backup", ""), same}, in, source("tank/a", "b-1"))
	if r := res.of(t, "backup/tank"); r.Error == nil || r.Error.Kind != "loop" || len(r.Steps) > 0 {
		t.Errorf("%v, %s", r.Error, text(r.Steps))
	}
	// Another dataset of that name, on another machine, is no loop.
	other := source("backup/tank", "b-1")
	if r := plan(t, "", []*record.Record{target("backup", ""), same}, other).of(t, "backup/tank"); r.Error != nil {
		t.Error(r.Error)
	}
}

// Each dataset of the target that no source maps to has a record with everything that
// zab-thin needs, and no other dataset has one.
func TestOrphans(t *testing.T) {
	state := []*record.Record{
		target("backup", "x"), target("backup/tank", ""), target("backup/tank/a", "b-1"), target("backup/tank/gone", "b-1 x"),
		target("backup/tank/gone/child", "b-1"), target("backup/tank/bare", ""), target("backup/tank/failed", "b-1"), target("backup/tank/a/%recv", ""),
		target("backup/tank/off", "b-1"), target("backup2", "b-1"),
	}
	in := []*record.Record{
		source("tank/a", "b-1 b-2"),
		with(source("tank/failed", "b-1"), func(r *record.Record) { r.Fail(record.Error{Stage: "snap", Kind: "busy", Message: "x"}) }),
		with(source("tank/off", "b-1"), func(r *record.Record) { r.Selected = record.Ptr(false) }),
	}
	orphans := func(res result) string {
		var out []string
		for _, r := range res.records {
			if r.Type == record.TypeOrphan {
				out = append(out, r.Name)
				if r.Backup != "b" || r.Target == nil || !r.Target.Exists || r.Target.Name != r.Name || r.Steps != nil {
					t.Errorf("%+v", r)
				}
				for _, s := range r.Target.Snapshots {
					if s.Ours != strings.HasPrefix(s.Name, "b-") {
						t.Errorf("%s@%s: ours is %v", r.Name, s.Name, s.Ours)
					}
				}
			}
		}
		return strings.Join(out, " ")
	}
	const want = "backup/tank/off backup/tank/bare backup/tank/gone/child backup/tank/gone"
	if got := orphans(plan(t, "--orphans", state, in...)); got != want {
		t.Errorf("%s", got)
	}
	if got := orphans(plan(t, "", state, in...)); got != "" {
		t.Errorf("unasked: %s", got)
	}
	// P9: an incomplete stream shows only some of the selected sources, so no source is
	// missing.
	res := planBytes(t, "--orphans", lines(t, state), append(lines(t, in), "{\"zab\":1"...))
	if got := orphans(res); got != "" || len(res.records) != len(in) {
		t.Errorf("of a stream that is cut off: %s", got)
	}
	if got := orphans(planBytes(t, "--orphans", lines(t, state), nil)); got != "" {
		t.Errorf("of no selection at all: %s", got)
	}
}

// P7 and P9: a record that takes no part passes byte for byte, and unknown fields stay
// in a record.
func TestPasses(t *testing.T) {
	const failed = `{"zab":1, "type":"dataset","name":"tank/f","error":{"stage":"snap","kind":"busy","message":"m"}, "x": 1.50}` + "\n"
	const off = `{"zab":1,"type":"dataset","name":"tank/o","selected":false,"reason":"b=false" }` + "\n"
	const orphan = `{"zab":1,"type":"orphan","name":"backup/z","target":{"name":"backup/z","exists":true}}` + "\n"
	live := `{"zab":1,"type":"dataset","backup":"b","name":"tank/a","snapshots":[{"name":"b-1","guid":"1","createtxg":"1","w":"\u00e9"}],"bookmarks":[],"later":{"a":1.0}}` + "\n"
	res := planBytes(t, "", lines(t, []*record.Record{target("backup", "")}), []byte(failed+live+off+orphan))
	if got := strings.SplitAfter(res.out, "\n"); len(got) != 5 || got[0] != failed || got[2] != off || got[3] != orphan ||
		!strings.Contains(got[1], `"w":"\u00e9"`) || !strings.Contains(got[1], `"later":{"a":1.0}`) {
		t.Errorf("%s", res.out)
	}
}

// The same records in another order have the same plans.
func TestOrder(t *testing.T) {
	state := []*record.Record{target("backup", ""), target("backup/tank", ""), target("backup/tank/b", "b-1"), target("backup/tank/c", "b-9*")}
	in := []*record.Record{source("tank/a", "b-1"), source("tank/a/x", "b-1 b-2"), source("tank/a/x/y", "b-1"), source("tank/b", "b-1 b-2"), source("tank/c", "b-1"), source("pool/p/q", "b-1")}
	plans := func(in []*record.Record) []string {
		var out []string
		for l := range strings.Lines(plan(t, "", state, in...).out) {
			out = append(out, l)
		}
		slices.Sort(out)
		return out
	}
	want := plans(in)
	for i := range in {
		other := slices.Concat(in[i:], in[:i])
		if i%2 == 1 {
			slices.Reverse(other)
		}
		if got := plans(other); !slices.Equal(got, want) {
			t.Fatalf("\n%s\nbut in another order\n%s", strings.Join(want, ""), strings.Join(got, ""))
		}
	}
}

// Wrong options are found before anything is read.
func TestOptions(t *testing.T) {
	for _, bad := range []string{
		"--strip-path=-1", "--keep-target=1d", "--keep-target=x", "--hold-format=-x", "--ssh-target=-oProxyCommand=x", "--exclude-snapshot-pattern=(",
		"--set-properties=compression", "--set-properties==x", "--set-properties=-R=x", "--filter-properties=a=b", "--filter-properties=-R", "--filter-properties=a,,b",
	} {
		if res := planBytes(t, bad, nil, nil); res.err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

// P7: nothing is concluded from the absence of sources that could not be listed: their
// copies are not orphans, and nothing is created where their copies belong.
func TestUnlisted(t *testing.T) {
	for _, c := range []struct{ args, unlisted, orphans string }{
		{"", "", "backup/tank/gone backup/usb/x backup/usb"},
		{"", "usb", "backup/tank/gone"},
		{"", "tank", "backup/usb/x backup/usb"},
		{"", "usb/x", "backup/tank/gone backup/usb"},
		{"--strip-path=1", "tank", ""},
		{"--strip-path=2", "usb", ""},
	} {
		snaps := func(guid string) []record.Snapshot {
			return []record.Snapshot{{Name: "b-1", GUID: guid, CreateTXG: "5"}}
		}
		var state []*record.Record
		for i, n := range []string{"backup", "backup/tank", "backup/tank/gone", "backup/usb", "backup/usb/x"} {
			r := &record.Record{Type: record.TypeDataset, Name: n, Facts: record.Facts{GUID: strconv.Itoa(100 + i), CreateTXG: "5"}, Snapshots: []record.Snapshot{}}
			if i > 1 {
				r.Snapshots = snaps(strconv.Itoa(200 + i))
			}
			state = append(state, r)
		}
		in := []*record.Record{{Type: record.TypeDataset, Backup: "b", Name: "tank/new/a/b", Selected: record.Ptr(true),
			Facts: record.Facts{Kind: "filesystem", GUID: "900", CreateTXG: "3"}, Snapshots: snaps("901")}}
		if c.unlisted != "" {
			in = append(in, &record.Record{Type: record.TypeUnlisted, Backup: "b", Name: c.unlisted,
				Error: &record.Error{Stage: "select", Kind: "pool-io", Message: "cannot read it"}})
		}
		got := planBytes(t, "--orphans "+c.args, lines(t, state), lines(t, in))
		if got.err != nil {
			t.Fatal(got.err)
		}
		var orphans []string
		for _, r := range got.records {
			if r.Type == record.TypeOrphan {
				orphans = append(orphans, r.Name)
			}
		}
		slices.Sort(orphans)
		want := strings.Fields(c.orphans)
		slices.Sort(want)
		if !slices.Equal(orphans, want) {
			t.Errorf("%s, %q not listed: orphans %q, want %q\n%s", c.args, c.unlisted, orphans, want, got.stderr)
		}
	}
	// A dataset below one that could not be listed waits for it.
	in := []*record.Record{
		{Type: record.TypeDataset, Backup: "b", Name: "tank/bad/x", Selected: record.Ptr(true), Facts: record.Facts{Kind: "filesystem", GUID: "900", CreateTXG: "3"},
			Snapshots: []record.Snapshot{{Name: "b-1", GUID: "901", CreateTXG: "5"}}},
		{Type: record.TypeUnlisted, Backup: "b", Name: "tank/bad", Error: &record.Error{Stage: "select", Kind: "pool-io", Message: "cannot read it"}},
	}
	state := []*record.Record{{Type: record.TypeDataset, Name: "backup", Facts: record.Facts{GUID: "1", CreateTXG: "5"}, Snapshots: []record.Snapshot{}}}
	got := planBytes(t, "", lines(t, state), lines(t, in))
	if e := got.of(t, "tank/bad/x").Error; e == nil || e.Kind != "parent-failed" {
		t.Errorf("%+v\n%s", e, got.stderr)
	}
}

// Only the first stream onto a target may undo changes, and only those that an option
// allows or that are access times.
func TestUndo(t *testing.T) {
	for _, c := range []struct{ what, args, mounted, want string }{
		{"not mounted", "", "no", " "},
		{"mounted", "", "yes", "reads "},
		{"with --rollback", "--rollback", "yes", "changes "},
		{"and not mounted", "--rollback", "no", "changes "},
	} {
		state := []*record.Record{target("backup", ""), target("backup/tank", ""),
			with(target("backup/tank/a", "b-1"), func(r *record.Record) { r.Mounted = c.mounted })}
		r := plan(t, "--no-thinning --no-holds --exclude-snapshot-pattern=@x "+c.args, state, source("tank/a", "b-1 b-2 b-3")).of(t, "tank/a")
		got := ""
		for _, s := range r.Steps {
			if !s.IfHeld {
				got += s.Undo + " "
			}
		}
		if got != c.want+" " {
			t.Errorf("%s: %q, %s", c.what, got, text(r.Steps))
		}
	}
	r := plan(t, "--no-thinning --no-holds --rollback", []*record.Record{target("backup", "")}, source("tank/a", "b-1")).of(t, "tank/a")
	if s := r.Steps[len(r.Steps)-1]; s.Do != record.DoReceive || s.Undo != "" {
		t.Errorf("%+v", s)
	}
}

// A dataset without a new snapshot is planned with the snapshots that it has. One
// without any snapshot does not stop the datasets below it.
func TestNoNewSnapshot(t *testing.T) {
	failed := func(r *record.Record) {
		r.Snapshot = &record.Made{Error: &record.Error{Stage: "snap", Kind: "no-space", Message: "cannot snapshot"}}
	}
	state := []*record.Record{target("backup", ""), target("backup/tank", ""), target("backup/tank/a", "b-1")}
	got := plan(t, "--no-thinning --no-holds", state, with(source("tank/a", "b-1 b-2 b-3"), failed), with(source("tank/in", ""), failed), source("tank/in/b", "b-1"))
	if r := got.of(t, "tank/a"); r.Error != nil || text(r.Steps) != "recv b-1>b-2,b-3" || r.Failure() == nil {
		t.Errorf("%v, %s", r.Error, text(r.Steps))
	}
	if r := got.of(t, "tank/in"); r.Error != nil || r.Steps == nil || len(r.Steps)+len(r.Warnings) > 0 || r.Snapshot.Error == nil {
		t.Errorf("%v, %s, %q", r.Error, text(r.Steps), r.Warnings)
	}
	if r := got.of(t, "tank/in/b"); r.Error != nil || text(r.Steps) != "parent backup/tank/in; recv >b-1" {
		t.Errorf("%v, %s", r.Error, text(r.Steps))
	}
	if got.stderr != "" {
		t.Errorf("%s", got.stderr)
	}
}

// P7: a name that is too long on the target fails its own record and no other.
func TestTooLong(t *testing.T) {
	deep := "tank/" + strings.Repeat("d/", 100) + strings.Repeat("x", 44)
	edge := "tank/" + strings.Repeat("y", 243) // too long with @b-1
	state := []*record.Record{target("backup", "")}
	res := plan(t, "--no-thinning", state, source("tank/a", "b-1"), source(deep, "b-1"), source(deep+"/z", "b-1"), source(edge, "b-1"), source("tank/b", "b-1"))
	for name, fails := range map[string]bool{"tank/a": false, "tank/b": false, deep: true, deep + "/z": true, edge: true} {
		r := res.of(t, name)
		if (r.Error != nil) != fails || (len(r.Steps) == 0) != fails {
			t.Errorf("%.30s: %v, %s", name, r.Error, text(r.Steps))
		}
		if fails && r.Error != nil && (r.Error.Kind != "bad-mapping" || !strings.Contains(r.Error.Hint, "--strip-path") || !strings.Contains(res.stderr, r.Error.Message)) {
			t.Errorf("%.30s: %+v", name, r.Error)
		}
	}
	// The length counts after --strip-path.
	if r := plan(t, "--no-thinning --strip-path=50", state, source(deep, "b-1")).of(t, deep); r.Error != nil {
		t.Errorf("%v", r.Error)
	}
}

// A conflict names the tool that takes the snapshots in the way, and how to stop it.
func TestBlame(t *testing.T) {
	asks := 0
	p := &planner{o: &Options{}, inv: newInventory(nil, "backup", nil), autoSnapshots: func() map[string]zfs.AutoSnapshot {
		asks++
		return map[string]zfs.AutoSnapshot{
			"backup/a": {Prop: "com.sun:auto-snapshot", Source: "received"},
			"backup/b": {Prop: "com.sun:auto-snapshot:daily", Source: "inherited from backup"},
			"backup/c": {Prop: "com.sun:auto-snapshot", Source: "local"},
		}
	}}
	for _, c := range []struct{ target, snapshot, message, hint string }{
		{"backup/a", "zfs-auto-snap_daily-1", "com.sun:auto-snapshot=true, which came with the stream", "'zfs set com.sun:auto-snapshot=false backup/a', so that no more come, and then --rename-aside"},
		{"backup/b", "x", "com.sun:auto-snapshot:daily=true, inherited from backup", "'zfs set com.sun:auto-snapshot:daily=false backup'"},
		{"backup/c", "x", "com.sun:auto-snapshot=true, set there", "'zfs set com.sun:auto-snapshot=false backup/c'"},
		{"backup/d", "autosnap_2026-11-22_00:00:01_daily", "one of those that sanoid gives", "leave 'backup/d' out of sanoid.conf"},
		{"backup/d", "syncoid_nas_2026-11-22", "that syncoid gives", "--no-sync-snap"},
		{"backup/d", "zrepl_20261122_000000_000", "that zrepl gives", "zrepl's jobs"},
		{"backup/d", "mine", "has data that the source does not have", "--rename-aside"},
	} {
		r := &record.Record{Name: "tank/x", Target: &record.Target{Name: c.target}}
		e := p.conflict(r, incompatible(r, []record.Snapshot{{Name: c.snapshot}}, false))
		if r.Conflict == nil || !strings.Contains(e.Message, c.message) || !strings.Contains(e.Hint, c.hint) {
			t.Errorf("%s %s: %+v", c.target, c.snapshot, e)
		}
	}
	// zfs is not asked about other conflicts.
	n := asks
	r := &record.Record{Name: "tank/x", Target: &record.Target{Name: "backup/a"}}
	p.conflict(r, noBase(r))
	if asks != n {
		t.Error("a question for a conflict that it says nothing about")
	}
}

// If the target's pool cannot save a partial receive, zfs receive is not asked to.
func TestNoResume(t *testing.T) {
	for _, able := range []bool{true, false} {
		p := &planner{o: &Options{}, inv: newInventory(nil, "backup", nil),
			features: func(_, _, _ string) zfs.Features { return zfs.Features{Resumable: able} }}
		d := &draft{r: source("tank/a", "b-1"), wanted: []int{0}}
		d.r.Target = &record.Target{Name: "backup/tank/a"}
		steps := p.streams(d)
		if len(steps) != 1 || steps[0].NoResume == able || (len(d.r.Warnings) == 0) != able {
			t.Errorf("%v: %+v, %q", able, steps, d.r.Warnings)
		}
		if argv := zfs.RecvArgv("backup/tank/a", &steps[0]); slices.Contains(argv, "-s") != able {
			t.Errorf("%v: %q", able, argv)
		}
	}
}

// A snapshot that was made a moment ago is not believed to have the guid of one that the
// target has under another name: it would count as backed up.
func TestImpossible(t *testing.T) {
	for _, c := range []struct {
		source, made, target string
		fails                bool
	}{
		{"b-1=1 b-3=2", "b-3", "b-1=1 b-2=2", true},
		{"b-1=1 b-3=3", "b-3", "b-1=1 b-2=2", false},
		{"b-1=1 b-3=2", "", "b-1=1 b-2=2", false},    // a snapshot that was renamed
		{"b-1=1 b-3=3", "b-3", "b-1=1 b-3=3", false}, // another run has sent it
	} {
		src := with(source("tank", c.source), func(r *record.Record) { r.Snapshot = &record.Made{Name: c.made} })
		r := plan(t, "--no-thinning", []*record.Record{target("backup", ""), target("backup/tank", c.target)}, src).of(t, "tank")
		if (r.Error != nil) != c.fails || c.fails && r.Error.Kind != record.KindBadAnswer {
			t.Errorf("%+v: %+v", c, r.Error)
		}
	}
}
