package zfs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"zab/lib/record"
)

func TestSendArgv(t *testing.T) {
	through := []record.Through{{Name: "2", GUID: "2"}}
	for _, c := range []struct {
		what string
		step record.Step
		want string // "" for refused
	}{
		{"full", record.Step{To: "1"}, "zfs send tank/my data@1"},
		{"flags", record.Step{To: "1", Flags: []string{"-L", "-c", "-p"}}, "zfs send -L -c -p tank/my data@1"},
		{"raw", record.Step{To: "1", Flags: []string{"-w"}}, "zfs send -w tank/my data@1"},
		{"incremental", record.Step{From: "1", To: "2"}, "zfs send -i tank/my data@1 tank/my data@2"},
		{"several", record.Step{From: "1", To: "3", Through: through}, "zfs send -I tank/my data@1 tank/my data@3"},
		{"from a bookmark", record.Step{From: "#b", To: "2"}, "zfs send -i tank/my data#b tank/my data@2"},
		{"from an origin", record.Step{From: "tank/base@1", To: "2"}, "zfs send -i tank/base@1 tank/my data@2"},
		{"resumed with what is no token", record.Step{From: "1", To: "2", Token: "1-a-b-c", Flags: []string{"-L"}}, ""},
		{"with what nobody selected", record.Step{To: "1", Flags: []string{"-R"}}, ""},
		{"and hidden in another", record.Step{To: "1", Flags: []string{"-LR"}}, ""},
		{"by its long name", record.Step{To: "1", Flags: []string{"--replicate"}}, ""},
		{"an operand as a flag", record.Step{To: "1", Flags: []string{"tank@1"}}, ""},
		{"an empty flag", record.Step{To: "1", Flags: []string{""}}, ""},
	} {
		argv, err := SendArgv("tank/my data", &c.step)
		if got := strings.Join(argv, " "); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v", c.what, got, err)
		}
	}
}

// P5, P11: a receive never mounts, takes no holds, saves a partial receive, and names the
// one snapshot that it takes.
func TestRecvArgv(t *testing.T) {
	for _, c := range []struct {
		what string
		step record.Step
		want string
	}{
		{"plain", record.Step{}, "zfs receive -u -s -h backup/a"},
		{"forced", record.Step{Force: true}, "zfs receive -u -s -h -F backup/a"},
		{"properties", record.Step{Exclude: []string{"mountpoint", "x:y"}, Set: []string{"canmount=noauto", "x:z=a b"}}, "zfs receive -u -s -h -x mountpoint -x x:y -o canmount=noauto -o x:z=a b backup/a"},
		{"a snapshot", record.Step{To: "2"}, "zfs receive -u -s -h backup/a@2"},
		{"several snapshots", record.Step{To: "2", Through: []record.Through{{Name: "1"}}}, "zfs receive -u -s -h backup/a"},
		{"clone", record.Step{Origin: "backup/base@1"}, "zfs receive -u -s -h -o origin=backup/base@1 backup/a"},
	} {
		if got := strings.Join(RecvArgv("backup/a", &c.step), " "); got != c.want {
			t.Errorf("%s: %q", c.what, got)
		}
	}
}

// No step makes zfs send a whole tree, or makes zfs receive mount, discard a partial
// receive, or overwrite without being told to.
func TestStepArgv(t *testing.T) {
	flag := rapid.OneOf(rapid.SampledFrom([]string{"-L", "-e", "-c", "-p", "-w", "-R", "--replicate", "-nR", "-v", "-D", "-s", "-S", "-t", "-I", "-b", "-X"}), rapid.String())
	name := rapid.SampledFrom([]string{"", "a", "#b", "tank/o@a", "-R"})
	prop := rapid.SampledFrom([]string{"canmount=on", "mountpoint=/", "-F", "-M=1", "x:y=z"})
	rapid.Check(t, func(t *rapid.T) {
		s := &record.Step{
			From: name.Draw(t, "from"), To: name.Draw(t, "to"), Origin: name.Draw(t, "origin"), Force: rapid.Bool().Draw(t, "force"),
			Flags: rapid.SliceOfN(flag, 0, 4).Draw(t, "flags"), Set: rapid.SliceOfN(prop, 0, 3).Draw(t, "set"), Exclude: rapid.SliceOfN(prop, 0, 3).Draw(t, "exclude"),
		}
		if rapid.Bool().Draw(t, "several") {
			s.Through = []record.Through{{Name: "x"}}
		}
		argv, err := SendArgv("tank/a", s)
		if err == nil {
			rest := argv[2:]
			for len(rest) > 0 && slices.Contains(sendFlags, rest[0]) {
				rest = rest[1:]
			}
			if len(rest) == 3 && (rest[0] == "-i" || rest[0] == "-I") {
				if (rest[0] == "-I") != (len(s.Through) > 0) {
					t.Fatalf("%q for %d snapshots between", argv, len(s.Through))
				}
				rest = rest[2:]
			}
			if len(rest) != 1 || rest[0] != "tank/a@"+s.To {
				t.Fatalf("%q", argv)
			}
		}
		argv = RecvArgv("backup/a", s)
		if !slices.Equal(argv[:5], []string{"zfs", "receive", "-u", "-s", "-h"}) || argv[len(argv)-1] != "backup/a" && (argv[len(argv)-1] != "backup/a@"+s.To || len(s.Through) > 0) {
			t.Fatalf("%q", argv)
		}
		forced := false
		for rest := argv[5 : len(argv)-1]; len(rest) > 0; {
			switch rest[0] {
			case "-F":
				forced, rest = true, rest[1:]
			case "-x", "-o":
				rest = rest[2:] // the next word is a value, however it begins
			default:
				t.Fatalf("%q in %q", rest[0], argv)
			}
		}
		if forced != s.Force {
			t.Fatalf("force is %v in %q", forced, argv)
		}
	})
}

// Names of snapshots are given to one zfs destroy as a list; a name that would stand for
// several cannot get here: see dataset.ParseShort.
func TestDestroySnapshots(t *testing.T) {
	h, started := fakeZFS(t, `case "$*" in
*@gone*) echo 'could not find any snapshots to destroy; check snapshot names.' >&2; exit 1;;
*held*) echo "cannot destroy snapshot tank/a@held: it's being held. Run 'zfs holds -r tank/a@held' to see holders." >&2; exit 1;;
esac`)
	ctx := context.Background()
	var done []string
	note := func(batch []string) { done = append(done, batch...) }
	if err := h.DestroySnapshots(ctx, "tank/a", []string{"a 1", "b"}, note); err != nil || !slices.Equal(done, []string{"a 1", "b"}) {
		t.Errorf("%q, %v", done, err)
	}
	done = nil
	if err := h.DestroySnapshots(ctx, "tank/a", []string{"gone"}, note); err != nil || len(done) != 1 {
		t.Errorf("what is gone already is a failure: %q, %v", done, err)
	}
	done = nil
	if err := h.DestroySnapshots(ctx, "tank/a", []string{"x", "held"}, note); KindOf(err) != record.KindHeld || len(done) != 0 {
		t.Errorf("%q counts as destroyed, though zfs destroys all or none: %v", done, err)
	}
	if err := h.DestroySnapshots(ctx, "tank/a", nil, note); err != nil {
		t.Error(err)
	}
	want := [][]string{{"destroy", "tank/a@a 1,b"}, {"destroy", "tank/a@gone"}, {"destroy", "tank/a@x,held"}}
	if got := started(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("started %q", got)
	}
}

// A batch that failed does not keep the next from being destroyed, and no batch exceeds
// the limit for one string of a command line.
func TestDestroyManySnapshots(t *testing.T) {
	h, started := fakeZFS(t, `case "$*" in *00001*) echo "cannot destroy snapshot x: dataset is busy" >&2; exit 1;; esac`)
	var names, done []string
	for i := range 3000 {
		names = append(names, fmt.Sprintf("offsite1-%05d-%0100d", i, 0))
	}
	err := h.DestroySnapshots(context.Background(), "tank/a", names, func(batch []string) { done = append(done, batch...) })
	all := started()
	if KindOf(err) != record.KindBusy || len(all) < 2 {
		t.Fatalf("%d programs, %v", len(all), err)
	}
	first := strings.Count(all[0][1], ",") + 1
	if !slices.Equal(done, names[first:]) {
		t.Errorf("%d of %d destroyed, the first batch had %d", len(done), len(names), first)
	}
	for _, argv := range all {
		if len(argv[1]) >= 128<<10 {
			t.Errorf("one string of %d bytes", len(argv[1]))
		}
	}
}

// All snapshots of a pool are taken by one program, even if their names exceed a command
// line.
func TestSnapshotIsOneProgram(t *testing.T) {
	h, started := fakeZFS(t, `[ "$1" != program ] || cat >"$LUA"`)
	lua := t.TempDir() + "/lua"
	t.Setenv("LUA", lua)
	ctx := context.Background()
	if err := h.Snapshot(ctx, []string{"tank/a@1", "tank/b@1"}, []string{"x:y=z w"}); err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range 8000 {
		names = append(names, fmt.Sprintf("tank/%0200d@offsite1-20261122030000", i))
	}
	if err := h.Snapshot(ctx, names, nil); err != nil {
		t.Fatal(err)
	}
	got := started()
	if len(got) != 2 || strings.Join(got[0], " ") != "snapshot -o x:y=z w tank/a@1 tank/b@1" || got[1][0] != "program" || got[1][5] != "tank" {
		t.Errorf("started %.200q", got)
	}
	script, err := os.ReadFile(lua)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for l := range strings.Lines(string(script)) {
		if n, ok := strings.CutSuffix(l, "\",\n"); ok && n[0] == '"' {
			told = append(told, n[1:])
		}
	}
	if !slices.Equal(told, names) {
		t.Errorf("the channel program has %d of %d names", len(told), len(names))
	}
	if err := h.Snapshot(ctx, names, []string{"x:y=z"}); KindOf(err) != record.KindTooLong || len(started()) != 2 {
		t.Errorf("properties that would be lost: %v", err)
	}
}

func TestEstimate(t *testing.T) {
	h, started := fakeZFS(t, `printf '%b' "$ESTIMATE"`)
	argv, _ := SendArgv("tank/a", &record.Step{From: "1", To: "2", Flags: []string{"-L"}})
	t.Setenv("ESTIMATE", `incremental\ttank/a@1\ttank/a@2\t265160\nsize\t265160\n`)
	if n, err := h.Estimate(context.Background(), argv); n != 265160 || err != nil {
		t.Error(n, err)
	}
	if got := strings.Join(started()[0], " "); got != "send -nP -L -i tank/a@1 tank/a@2" {
		t.Errorf("started %q", got)
	}
	t.Setenv("ESTIMATE", `full\ttank/a@2\n`)
	if n, err := h.Estimate(context.Background(), argv); err == nil {
		t.Errorf("%d out of nothing", n)
	}
}

// Programs run in the C locale, whatever the user's is, because the catalogue is English.
func TestLanguage(t *testing.T) {
	t.Setenv("LANG", "de_DE.UTF-8")
	t.Setenv("LC_MESSAGES", "de_DE.UTF-8")
	t.Setenv("LC_ALL", "de_DE.UTF-8")
	var got []string
	err := (&Machine{}).Host("").ask(context.Background(), func(l string) error { got = append(got, l); return nil }, "/bin/sh", "-c", `echo "$LC_ALL,$LANG,$LC_MESSAGES"`)
	if err != nil || !slices.Equal(got, []string{"C,,"}) {
		t.Error(got, err)
	}
}

// A hook gets all of its variables, however odd they are, and its list, however long.
func TestHook(t *testing.T) {
	for _, h := range []*Host{(&Machine{}).Host(""), fakeSSH(t, `exec /bin/sh -c "$line"`)} {
		var datasets []string
		for i := range 20000 {
			datasets = append(datasets, fmt.Sprintf("tank/it's \"$HOME\" %d", i))
		}
		var out bytes.Buffer
		err := h.Hook(context.Background(), `printf '%s|' "$A B"; tail -n 1; exit 3`,
			map[string]string{"A": "x\ny'"}, datasets, &out)
		want := "x\ny' B|tank/it's \"$HOME\" 19999\n"
		if out.String() != want || err == nil || !strings.Contains(err.Error(), "exit status 3") {
			t.Errorf("on %s: %q, %v", h, &out, err)
		}
	}
}
