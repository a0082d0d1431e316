package plan

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zab/lib/cli"
	"zab/lib/record"
	"zab/lib/zfs"
)

// P1, P12: if something vanishes while the target is listed, the list is incomplete,
// even if the target itself was listed. It is made again, and if it stays incomplete
// nothing is planned: a missing snapshot might be the base.
func TestListingCutShort(t *testing.T) {
	const whole = `printf 'pool/b\t1\t1\npool/b@s1\t6\t2\n'; exit 0`
	for _, c := range []struct {
		name, script string
		times        int
		fails        bool
	}{
		{"whole", whole, 1, false},
		{"once", `if [ -e "$POOL/again" ]; then ` + whole + `; fi; >"$POOL/again"; printf 'pool/b\t1\t1\n'; echo "cannot open 'pool/b/x': dataset does not exist" >&2; exit 1`, 2, false},
		{"always", `printf 'pool/b\t1\t1\n'; echo "cannot open 'pool/b/x': dataset does not exist" >&2; exit 1`, 3, true},
		{"killed", `printf 'pool/b\t1\t1\n'; echo "cannot open 'pool/b': dataset does not exist" >&2; kill -9 $$`, 1, true},
	} {
		dir := t.TempDir()
		text := "#!/bin/sh\necho \"$*\" >>\"$POOL/log\"\ncase $1 in\nlist) " + c.script + ";;\nesac\n"
		if err := os.WriteFile(filepath.Join(dir, "zfs"), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
		t.Setenv("POOL", dir)
		p := Program()
		if _, err := p.Parser().ParseArgs([]string{"pool/b", "--strip-path=1"}); err != nil {
			t.Fatal(err)
		}
		if err := p.Check([]string{"pool/b"}); err != nil {
			t.Fatal(err)
		}
		var in, out, stderr bytes.Buffer
		if err := record.NewWriter(&in).Write(&record.Record{Type: record.TypeDataset, Backup: "b", Name: "tank", Selected: record.Ptr(true),
			Snapshots: []record.Snapshot{{Name: "s1", GUID: "6", CreateTXG: "1"}}}); err != nil {
			t.Fatal(err)
		}
		env := &cli.Env{Program: p.Name, Common: &p.Options.(*Options).Common, Machine: &zfs.Machine{}, Stdin: &in, Stdout: &out, Stderr: &stderr, Now: time.Unix(0, 0)}
		if err := p.Run(context.Background(), env, []string{"pool/b"}); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		got, err := record.NewReader(&out).Read()
		if err != nil || (got.Error != nil) != c.fails || !c.fails && len(got.Steps) > 0 {
			t.Errorf("%s: %+v, %v\n%s", c.name, got, err, stderr.String())
		}
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		if n := strings.Count(string(log), "list "); n != c.times {
			t.Errorf("%s: listed %d times\n%s", c.name, n, log)
		}
	}
}

// P7: if the list of the target is incomplete, datasets that may be missing from it are
// asked for by name; a copy that cannot be read fails alone, and no copy is called
// missing.
func TestListingNotWhole(t *testing.T) {
	const script = `#!/bin/sh
echo "$*" >>"$POOL/log"
case "$*" in
list*-r*) printf 'pool/b\t1\t1\npool/b/a\t2\t1\npool/b/a@s1\t6\t2\npool/b/old\t3\t1\npool/b/old@s1\t7\t2\n'; echo 'cannot iterate filesystems: I/O error' >&2 ;;
get*guid,createtxg*)
	for n; do case $n in
	pool/b|pool/b/a|pool/b/late) printf '%s\tguid\t5%s\t-\n%s\tcreatetxg\t3\t-\n' $n ${#n} $n ;;
	pool/b/bad) echo "cannot open '$n': I/O error" >&2; c=1 ;;
	pool/b/*) echo "cannot open '$n': dataset does not exist" >&2; c=1 ;;
	esac; done; exit $c ;;
list*-d\ 1*)
	for n; do case $n in pool/b/*) printf '%s@s1\t6\t2\n' $n ;; esac; done ;;
*) echo "unexpected: $*" >&2; exit 9 ;;
esac
`
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "zfs"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	t.Setenv("POOL", dir)
	p := Program()
	if _, err := p.Parser().ParseArgs([]string{"pool/b", "--strip-path=1", "--orphans"}); err != nil {
		t.Fatal(err)
	}
	if err := p.Check([]string{"pool/b"}); err != nil {
		t.Fatal(err)
	}
	var in, out, stderr bytes.Buffer
	w := record.NewWriter(&in)
	for _, n := range []string{"tank/a", "tank/late", "tank/bad", "tank/bad/x"} {
		if err := w.Write(&record.Record{Type: record.TypeDataset, Backup: "b", Name: n, Selected: record.Ptr(true),
			Snapshots: []record.Snapshot{{Name: "s1", GUID: "6", CreateTXG: "1"}}}); err != nil {
			t.Fatal(err)
		}
	}
	env := &cli.Env{Program: p.Name, Common: &p.Options.(*Options).Common, Machine: &zfs.Machine{}, Stdin: &in, Stdout: &out, Stderr: &stderr, Now: time.Unix(0, 0)}
	if err := p.Run(context.Background(), env, []string{"pool/b"}); err != nil {
		t.Fatal(err)
	}
	got, err := record.NewReader(&out).ReadAll()
	if err != nil || len(got) != 4 || !strings.Contains(stderr.String(), "is not whole, and no copy is called missing") {
		t.Fatalf("%d records, %v\n%s", len(got), err, stderr.String())
	}
	for _, r := range got {
		switch r.Name {
		case "tank/a", "tank/late":
			if r.Error != nil || !r.Target.Exists || len(r.Target.Snapshots) != 1 || len(r.Steps) > 0 {
				t.Errorf("%+v\n%s", r, stderr.String())
			}
		default:
			if r.Error == nil || r.Error.Kind != record.KindPoolIO || !strings.Contains(r.Error.Message, "'pool/b/bad'") {
				t.Errorf("%s: %+v", r.Name, r.Error)
			}
		}
	}
}
