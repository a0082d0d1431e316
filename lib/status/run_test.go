package status

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"zab/lib/chain"
	"zab/lib/cli"
	"zab/lib/record"
	"zab/lib/zfs"
)

// programs puts stand-ins for programs on PATH, given by name as shell scripts. Each call
// of zfs and zpool is noted in $LOG.
func programs(t *testing.T, scripts map[string]string) (log func() []string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range scripts {
		note := ""
		if strings.HasPrefix(name, "z") && !strings.HasPrefix(name, "zab") {
			note = "echo \"" + name + " $*\" >>\"$LOG\"\n"
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+note+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("LOG", filepath.Join(dir, "log"))
	return func() []string {
		text, _ := os.ReadFile(filepath.Join(dir, "log"))
		return strings.Split(strings.TrimSpace(string(text)), "\n")
	}
}

// run runs zab-status, and returns what Main would print and return.
func run(t *testing.T, stdin, args string) (stdout, stderr string, err error) {
	t.Helper()
	p := Program()
	rest, err := p.Parser().ParseArgs(strings.Fields(args))
	if err == nil {
		err = p.Check(rest)
	}
	if err != nil {
		t.Fatal(err)
	}
	var out, e bytes.Buffer
	env := &cli.Env{Program: p.Name, Common: &p.Options.(*Options).Common, Machine: &zfs.Machine{}, Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &e, Now: time.Unix(now, 0)}
	if at := env.Common.Now; !at.IsZero() {
		env.Now = at.Time
	}
	err = p.Run(context.Background(), env, rest)
	return out.String(), e.String(), err
}

// lines returns records as a stage prints them.
func lines(t *testing.T, all ...*record.Record) string {
	t.Helper()
	var b bytes.Buffer
	w := record.NewWriter(&b)
	for _, r := range all {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// bare returns a record as zab-plan prints it: without times of snapshots.
func bare(r *record.Record) *record.Record {
	lists := [][]record.Snapshot{r.Snapshots}
	if r.Target != nil {
		lists = append(lists, r.Target.Snapshots)
	}
	for _, list := range lists {
		for i := range list {
			list[i].Creation = nil
			list[i].Name = strings.Replace(list[i].Name, "b-", "b-2027010", 1) + "000000"
			list[i].Ours = false
		}
	}
	return r
}

// TestFacts checks what zfs is asked for: once per host, and nothing that the records have.
func TestFacts(t *testing.T) {
	log := programs(t, map[string]string{"zfs": `
case "$*" in
*creation*) printf 'tank/a@b-20270101000000\t13\t1\t1799996400\ntank/a@b-20270102000000\t14\t2\t1799998200\n';;
*written@b-20270101000000*) printf 'tank/a\twritten@b-20270101000000\t4096\t-\n';;
*) echo "unexpected: $*" >&2; exit 1;;
esac`})
	r := bare(selected(0, snapshots("b-1/1", "b-2/1"), snapshots("b-1/1")))
	if r.Snapshots[0].GUID != r.Target.Snapshots[0].GUID {
		t.Fatal("the base has two guids")
	}
	r.Snapshots[0].GUID, r.Snapshots[1].GUID, r.Target.Snapshots[0].GUID = "13", "14", "13"
	out, stderr, err := run(t, lines(t, r), "--utc")
	if err != nil || stderr != "" {
		t.Fatalf("%v, %q, %q", err, stderr, log())
	}
	got, err := record.Parse([]byte(strings.TrimSpace(out)))
	if err != nil {
		t.Fatal(err)
	}
	if s := got.Status; s == nil || s.Verdict != "ok" || *s.Age != hour || *s.Written != 4096 || *s.NewestTime != 1799998200 {
		t.Errorf("%s", out)
	}
	if calls := log(); len(calls) != 2 {
		t.Errorf("%q", calls)
	}
	again, _, err := run(t, out, "--utc --table")
	if calls := log(); err != nil || !strings.Contains(again, "1 ok") || len(calls) != 3 {
		t.Errorf("%v, %q, %q", err, again, calls)
	}
}

// TestFactsHTML checks that a page asks when the copies were verified and how large they
// are, with one program.
func TestFactsHTML(t *testing.T) {
	log := programs(t, map[string]string{"zfs": `
case "$*" in
*creation*) printf 'tank/a@b-20270101000000\t11\t1\t1799996400\n';;
get*) for p in $(echo "$7" | tr , ' '); do
		case $p in used) v=1048576;; *) v=-;; esac
		printf 'bk/tank/a\t%s\t%s\t-\n' $p $v
	done;;
esac`})
	r := bare(selected(0, snapshots("b-1/1"), snapshots("b-1/1")))
	r.Snapshots[0].GUID, r.Target.Snapshots[0].GUID = "11", "11"
	out, stderr, err := run(t, lines(t, r), "--utc --html=-")
	if calls := log(); err != nil || stderr != "" || len(calls) != 2 || !strings.Contains(calls[1], "zab:verified,") {
		t.Fatalf("%v, %q, %q", err, stderr, calls)
	}
	for _, want := range []string{"<dt>copy</dt> <dd>1.0 MiB used</dd>", "<dt>verified</dt> <dd>never</dd>"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
}

// TestFactsSource checks P12: a proof of a comparison with another source is none.
func TestFactsSource(t *testing.T) {
	for mark, want := range map[string]string{
		"11:1799990000:full:1799990000:9:5":      record.ProofFull,
		"11:1799990000:increment:1799990000:9":   record.ProofIncrement, // of an earlier version
		"11:1799990000:full:1799990000:9:6":      record.StatusNeverProved,
		"11:1799990000:different:1799990000:9:6": record.ProofDifferent,
	} {
		programs(t, map[string]string{"zfs": `
case "$*" in
*creation*) printf 'tank/a@b-20270101000000\t11\t1\t1799996400\n';;
get*) for p in $(echo "$7" | tr , ' '); do
		case $p in zab:verified) v=` + mark + ` from=local;; *) v=- from=-;; esac
		printf 'bk/tank/a\t%s\t%s\t%s\n' $p $v $from
	done;;
esac`})
		r := bare(selected(0, snapshots("b-1/1"), snapshots("b-1/1")))
		r.GUID, r.Snapshots[0].GUID, r.Target.Snapshots[0].GUID = "5", "11", "11"
		out, stderr, err := run(t, lines(t, r), "--utc --verified-within=1d")
		got, bad := record.Parse([]byte(strings.TrimSpace(out)))
		if err != nil || stderr != "" || bad != nil || got.Status.Proof != want {
			t.Errorf("%s: %v, %v, %q, %s", mark, err, bad, stderr, out)
		}
	}
}

// TestFactsFail checks that the times in names count if zfs cannot be asked, and that
// nothing is called unchanged then (P12).
func TestFactsFail(t *testing.T) {
	programs(t, map[string]string{"zfs": "echo 'cannot open: I/O error' >&2; exit 1"})
	r := bare(selected(0, snapshots("b-1/1", "b-2/1"), snapshots("b-1/1")))
	out, stderr, err := run(t, lines(t, r), "--utc --now 2027-01-01T02:00:00Z --nagios")
	if err != nil || !strings.Contains(out, "ZAB OK") || !strings.Contains(out, "oldest=") || strings.Contains(out, "oldest=0s") {
		t.Errorf("%v, %q, %q", err, out, stderr)
	}
	other := bare(selected(5, snapshots("auto/1"), snapshots("auto/1")))
	if out, _, err := run(t, lines(t, other), "--nagios"); err != nil || !strings.Contains(out, "ZAB UNKNOWN") {
		t.Errorf("%v, %q", err, out)
	}
}

// TestCollect checks what the stages' ends mean.
func TestCollect(t *testing.T) {
	young := strings.ReplaceAll(lines(t, selected(0, snapshots("b-1/1"), snapshots("b-1/1"))), "'", "")
	broken := strings.ReplaceAll(lines(t, with(selected(0, snapshots("b-1/1"), nil), func(r *record.Record) {
		r.Target.Exists = false
		r.Fail(record.Error{Stage: "plan", Kind: record.KindNoSpace, Message: "no space"})
	})), "'", "")
	both := "cat <<'END'\n"
	for _, name := range []string{"tank/a", "tank/b"} {
		both += lines(t, &record.Record{Type: record.TypeDataset, Backup: "b", Name: name, Selected: record.Ptr(true)})
	}
	both += lines(t, &record.Record{Type: record.TypeDataset, Backup: "b", Name: "tank/c", Selected: record.Ptr(false), Excluded: true}) + "END"
	print := func(text, then string) string { return "cat >/dev/null\ncat <<'END'\n" + text + "END\n" + then }
	for _, c := range []struct {
		what, selects, plans, args string
		says                       string
	}{
		{"all well", "echo x", print(young, "exit 0"), "b bk", "ZAB OK - b: 1 ok | "},
		{"a record failed and says so", "exit 0", print(young+broken, "exit 1"), "b bk", "ZAB CRITICAL - b: 1 crit, 1 ok; tank/a: no space"},
		{"select failed", "echo 'zab-select: warning: x' >&2; echo 'zab-select: cannot connect' >&2; exit 1", print("", "exit 0"), "b bk", "ZAB UNKNOWN - b: no dataset was found; zab-select: cannot connect"},
		{"plan failed without a word in a record", "exit 0", print(young, "exit 1"), "b bk", "ZAB UNKNOWN - b: 1 ok; zab-plan failed"},
		{"plan was killed", "exit 0", print(young, "kill -9 $$"), "b bk", "ZAB UNKNOWN - b: 1 ok; zab-plan failed"},
		{"half a line", "exit 0", "cat >/dev/null; printf '{\"zab\":1'", "b bk", "ZAB UNKNOWN - b: no dataset was found; "},
		{"plan died before the last", both, print(young, "exit 1"), "b bk", "ZAB UNKNOWN - b: 1 unknown, 1 ok; zab-plan failed; tank/b: its snapshots were not listed | "},
		{"plan failed for one and forgot another", both, print(broken, "exit 1"), "b bk", "ZAB CRITICAL - b: 1 crit, 1 unknown; zab-plan said nothing of 'tank/b'; "},
		{"plan ends first", "yes", "exit 3", "b bk", "ZAB UNKNOWN"},
		{"plan is not there", "exit 0", "", "b bk", "ZAB UNKNOWN"},
	} {
		scripts := map[string]string{"zab-select": c.selects, "zfs": "exit 1"}
		if c.plans != "" {
			scripts["zab-plan"] = c.plans
		}
		programs(t, scripts)
		out, stderr, err := run(t, "", "--nagios "+c.args)
		if err != nil || !strings.HasPrefix(out, c.says) || stderr != "" || strings.Count(out, "\n") != 1 {
			t.Errorf("%s: %v, %q, %q", c.what, err, out, stderr)
		}
	}
}

// TestNothingToMeasure checks that no metrics are written if there is no dataset: a monitor
// would take the missing ones for ones that do not exist.
func TestNothingToMeasure(t *testing.T) {
	for _, o := range []string{"--prometheus=-", "--zabbix"} {
		if out, _, err := run(t, "", o); err == nil || out != "" {
			t.Errorf("%s: %v, %q", o, err, out)
		}
	}
}

// TestStages checks what is started.
func TestStages(t *testing.T) {
	for args, want := range map[string]string{
		"b bk": "zab-select --target=bk --excluded b |\n  zab-plan --dry-run --orphans bk |\n  zab-status\n",
		"-n --ssh-source=root@s --warn=2d --check-holds --utc b bk": "zab-select --ssh-source=root@s --target=bk --excluded b |\n  zab-plan --utc --dry-run --orphans bk |\n  zab-status --dry-run --warn=2d --check-holds --utc\n",
		"--keep-source=5 --keep-target=7 b bk":                      "zab-select --target=bk --excluded b |\n  zab-plan --keep-target=7 --dry-run --orphans bk |\n  zab-status --keep-source=5 --keep-target=7\n",
		"b":                                                         "zab-select --exclude-received b |\n  zab-snap --dry-run --no-snapshot |\n  zab-status\n",
		"--include-received b":                                      "zab-select --include-received b |\n  zab-snap --dry-run --no-snapshot |\n  zab-status\n",
		"--within=tank/a b bk":                                      "zab-select --target=bk --excluded b tank/a |\n  zab-plan --dry-run --orphans bk |\n  zab-status\n",
	} {
		if out, _, err := run(t, "", "--show-pipeline "+args); err != nil || out != want {
			t.Errorf("%s: %v\n%swant\n%s", args, err, out, want)
		}
	}
}

func TestMisplaced(t *testing.T) {
	const shared = "zfs_autobackup:b"
	own := chain.Pin{Tag: shared, Dataset: "9270436180317845291", Pool: "1508"}
	pin, former, other := own.String(), own.Former(), chain.Pin{Tag: shared, Dataset: own.Dataset, Pool: "1509"}.String()
	for what, c := range map[string]struct {
		base string
		tags map[string][]string
		want []string // side, snapshot, tag; with a ! if it is missing
	}{
		"in place":                  {"b-2", map[string][]string{"b-2": {shared, pin}}, nil},
		"one of both suffices":      {"b-2", map[string][]string{"b-2": {former}}, nil},
		"missing":                   {"b-2", map[string][]string{"b-2": {"keep", other}}, []string{"b-2 !" + pin}},
		"left over":                 {"b-2", map[string][]string{"b-1": {shared, pin, "keep"}, "b-2": {pin}}, []string{"b-1 " + shared, "b-1 " + pin}},
		"another target's":          {"b-2", map[string][]string{"b-1": {shared, other}, "b-2": {shared}}, nil},
		"about to be sent":          {"b-2", map[string][]string{"b-2": {shared}, "b-3": {pin}}, nil},
		"another backup's":          {"b-2", map[string][]string{"b-1": {"zfs_autobackup:bb"}, "b-2": {shared}}, nil},
		"a bookmark is the base":    {"", map[string][]string{"b-3": {pin}}, nil},
		"a bookmark, and left over": {"", map[string][]string{"b-1": {pin}}, []string{"b-1 " + pin}},
	} {
		s := &side{name: record.SideSource, snapshots: snapshots("b-1/3", "b-2/2", "b-3/1"), base: c.base, until: snapshots("x/1", "b-2/1")[1].TXG(), tags: c.tags}
		var got []string
		for _, m := range misplaced(s, shared, own) {
			tag := m.Tag
			if m.Missing {
				tag = "!" + tag
			}
			got = append(got, m.Snapshot+" "+tag)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}

// TestNoteHolds checks which snapshots a hold of others keeps.
func TestNoteHolds(t *testing.T) {
	const shared = "zfs_autobackup:b"
	own := chain.Pin{Tag: shared, Dataset: "9270436180317845291", Pool: "1508"}
	other := chain.Pin{Tag: shared, Dataset: "3", Pool: "1508"}.String()
	s := &side{snapshots: snapshots("b-1/5", "b-2/4", "b-3/3", "b-4/2"), tags: map[string][]string{"b-2": {"keep"}, "b-3": {shared, own.String()}, "b-4": {shared, other}}}
	s.noteHolds(shared, own)
	for i, want := range []bool{false, true, false, true} {
		if e := &s.snapshots[i]; heldByOthers(e) != want {
			t.Errorf("%s: %v", e.Name, !want)
		}
	}
}
