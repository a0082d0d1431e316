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

// P1, P12: a listing of the target that ends with something gone is not all of it,
// also where the target itself came. It is made again, and if it stays so nothing is
// planned: what did not come might be the base.
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
