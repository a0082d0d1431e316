package plan

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"zab/lib/cli"
	"zab/lib/record"
	"zab/lib/zfs"
	"zab/lib/zfs/fake"
)

// P1, P12: if something vanishes while the target is listed, the list is incomplete,
// even if the target itself was listed. It is made again, and if it stays incomplete
// nothing is planned: a missing snapshot might be the base.
func TestListingCutShort(t *testing.T) {
	const list, gone = "pool/b\t1\t1\n", "cannot open 'pool/b/x': dataset does not exist\n"
	whole := fake.Answer{Out: list + "pool/b@s1\t6\t2\n"}
	cutShort := fake.Answer{Out: list, Err: gone, Code: 1}
	for _, c := range []struct {
		name    string
		answers []fake.Answer // the last one is given again
		times   int
		fails   bool
	}{
		{"whole", []fake.Answer{whole}, 1, false},
		{"once", []fake.Answer{cutShort, whole}, 2, false},
		{"always", []fake.Answer{cutShort}, 3, true},
		{"killed", []fake.Answer{{Out: list, Err: "cannot open 'pool/b': dataset does not exist\n", Signal: syscall.SIGKILL}}, 1, true},
	} {
		runner := &fake.Runner{}
		runner.Answer = func(_ string, argv []string, _ string) fake.Answer {
			if argv[1] != "list" {
				return fake.Answer{}
			}
			return c.answers[min(len(runner.Log()), len(c.answers))-1]
		}
		got, stderr := planWith(t, runner, []string{"--strip-path=1"}, "tank")
		if len(got) != 1 || (got[0].Error != nil) != c.fails || !c.fails && len(got[0].Steps) > 0 {
			t.Errorf("%s: %+v\n%s", c.name, got, stderr)
		}
		if log := runner.Log(); len(log) != c.times {
			t.Errorf("%s: %q", c.name, log)
		}
	}
}

// P7: a record that has failed before the listing proves useless keeps its own error.
func TestListingFailsLate(t *testing.T) {
	runner := &fake.Runner{Answer: func(_ string, argv []string, _ string) fake.Answer {
		if argv[1] == "list" {
			return fake.Answer{Out: "pool/b\t1\t1\npool/b/a_diverged-20261122020000\t2\t1\n"}
		}
		return fake.Answer{Err: "internal error: out of memory\n", Code: 1}
	}}
	long := "tank/" + strings.Repeat("x", 245)
	got, stderr := planWith(t, runner, nil, "tank/a", long)
	if len(got) != 2 || got[0].Error == nil || got[0].Error.Kind == record.KindBadMapping || got[1].Error == nil || got[1].Error.Kind != record.KindBadMapping {
		t.Errorf("%+v\n%s", got, stderr)
	}
}

// planWith runs zab-plan with the target pool/b on records that have the snapshot s1 with
// the guid 6. It returns the records and the messages.
func planWith(t *testing.T, runner zfs.Runner, args []string, names ...string) (got []*record.Record, messages string) {
	t.Helper()
	p := Program()
	if _, err := p.Parser().ParseArgs(append([]string{"pool/b"}, args...)); err != nil {
		t.Fatal(err)
	}
	if err := p.Check([]string{"pool/b"}); err != nil {
		t.Fatal(err)
	}
	var in, out, stderr bytes.Buffer
	w := record.NewWriter(&in)
	for _, n := range names {
		if err := w.Write(&record.Record{Type: record.TypeDataset, Backup: "b", Name: n, Selected: record.Ptr(true),
			Snapshots: []record.Snapshot{{Name: "s1", GUID: "6", CreateTXG: "1"}}}); err != nil {
			t.Fatal(err)
		}
	}
	env := &cli.Env{Program: p.Name, Common: &p.Options.(*Options).Common, Machine: &zfs.Machine{Runner: runner}, Stdin: &in, Stdout: &out, Stderr: &stderr, Now: time.Unix(0, 0)}
	if err := p.Run(context.Background(), env, []string{"pool/b"}); err != nil {
		t.Fatal(err)
	}
	got, err := record.NewReader(&out).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return got, stderr.String()
}

// P7: if the list of the target is incomplete, datasets that may be missing from it are
// asked for by name; a copy that cannot be read fails alone, and no copy is called
// missing.
func TestListingNotWhole(t *testing.T) {
	runner := &fake.Runner{Answer: func(_ string, argv []string, _ string) (a fake.Answer) {
		switch line := strings.Join(argv, " "); {
		case strings.HasPrefix(line, "zfs list") && slices.Contains(argv, "-r"):
			return fake.Answer{Out: "pool/b\t1\t1\npool/b/a\t2\t1\npool/b/a@s1\t6\t2\npool/b/old\t3\t1\npool/b/old@s1\t7\t2\n",
				Err: "cannot iterate filesystems: I/O error\n"}
		case strings.HasPrefix(line, "zfs get") && strings.Contains(line, "guid,createtxg"):
			for _, n := range argv {
				switch {
				case n == "pool/b", n == "pool/b/a", n == "pool/b/late":
					a.Out += fmt.Sprintf("%s\tguid\t5%d\t-\n%s\tcreatetxg\t3\t-\n", n, len(n), n)
				case n == "pool/b/bad":
					a.Err, a.Code = a.Err+"cannot open 'pool/b/bad': I/O error\n", 1
				case strings.HasPrefix(n, "pool/b/"):
					a.Err, a.Code = a.Err+fmt.Sprintf("cannot open '%s': dataset does not exist\n", n), 1
				}
			}
			return a
		case strings.HasPrefix(line, "zfs list") && slices.Contains(argv, "-d"):
			for _, n := range argv {
				if strings.HasPrefix(n, "pool/b/") {
					a.Out += n + "@s1\t6\t2\n"
				}
			}
			return a
		}
		return fake.Answer{Err: "unexpected: " + strings.Join(argv, " ") + "\n", Code: 9}
	}}
	got, stderr := planWith(t, runner, []string{"--strip-path=1", "--orphans"}, "tank/a", "tank/late", "tank/bad", "tank/bad/x")
	if len(got) != 4 || !strings.Contains(stderr, "is not whole, and no copy is called missing") {
		t.Fatalf("%d records\n%s\n%q", len(got), stderr, runner.Log())
	}
	for _, r := range got {
		switch r.Name {
		case "tank/a", "tank/late":
			if r.Error != nil || !r.Target.Exists || len(r.Target.Snapshots) != 1 || len(r.Steps) > 0 {
				t.Errorf("%+v\n%s", r, stderr)
			}
		default:
			if r.Error == nil || r.Error.Kind != record.KindPoolIO || !strings.Contains(r.Error.Message, "'pool/b/bad'") {
				t.Errorf("%s: %+v", r.Name, r.Error)
			}
		}
	}
}
