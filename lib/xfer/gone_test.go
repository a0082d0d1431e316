package xfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"zab/lib/cli"
	"zab/lib/record"
	"zab/lib/zfs"
)

// twoPools is a stand-in for zfs that sends and receives only names: a receive makes
// dst/X@s, which list then shows with the guid of src/X@s. The file log has the commands
// that were started.
const twoPools = `#!/bin/sh
cd "$POOLS"
tab='	'
echo "$*" >>log
for last; do :; done
case $1 in
send)
	echo "$last";;
receive)
	read -r from
	while [ -e slow ] && [ "$(grep -c '^receive' log)" -lt 2 ]; do sleep 0.01; done
	n=${last#dst/}
	n=${n%@s}
	# The first are to be written before others arrive.
	while [ "$n" -ge "$JOBS" ] && [ ! -e gone ]; do sleep 0.01; done
	>"got-${n%@s}";;
list)
	rc=0
	for a; do
		n=${a#dst/}
		case $a in
		src/*@s) echo "$a${tab}7${tab}1";;
		dst/*@s)
			if [ -e "got-${n%@s}" ]; then echo "$a${tab}7${tab}1"
			else echo "cannot open '$a': dataset does not exist" >&2; rc=1; fi;;
		src/*"#s") echo "cannot open '$a': no such pool or dataset" >&2; rc=1;;
		esac
	done
	exit $rc;;
esac
`

// gone is a writer whose reader goes away after left writes.
type gone struct {
	left int
	// tell, if set, is called when a write fails.
	tell func()
	bytes.Buffer
}

func (g *gone) Write(p []byte) (int, error) {
	if g.left--; g.left < 0 {
		if g.tell != nil {
			g.tell()
		}
		return 0, &os.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.EPIPE}
	}
	return g.Buffer.Write(p)
}

// When the reader of stdout goes away, the transfers under way are finished and verified
// and their snapshots held, and no more are begun.
func TestReaderGone(t *testing.T) {
	for _, c := range []struct {
		jobs, begun int
		slow        string
	}{{1, 1, ""}, {2, 2, "slow"}} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "zfs"), []byte(twoPools), 0o700); err != nil {
			t.Fatal(err)
		}
		if c.slow != "" {
			// Both are under way before one of them ends.
			if err := os.WriteFile(filepath.Join(dir, c.slow), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
		t.Setenv("POOLS", dir)
		t.Setenv("JOBS", fmt.Sprint(c.jobs))
		var in bytes.Buffer
		w := record.NewWriter(&in)
		for i := range 6 {
			name := fmt.Sprint(i)
			step := func(do, side, ds string) record.Step {
				return record.Step{Do: do, Side: side, Dataset: ds, Snapshot: "s", GUID: "7", Tag: "zab"}
			}
			r := &record.Record{Type: record.TypeDataset, Name: "src/" + name, Facts: record.Facts{Kind: "volume"}, Snapshots: []record.Snapshot{{Name: "s", GUID: "7"}},
				Target: &record.Target{Name: "dst/" + name},
				Steps: []record.Step{{Do: record.DoReceive, Side: record.SideTarget, Dataset: "dst/" + name, To: "s", ToGUID: "7"},
					step(record.DoHold, record.SideSource, "src/"+name), step(record.DoHold, record.SideTarget, "dst/"+name),
					// Without a pin, so that the record is committed at once, and
					// written while others wait.
					{Do: record.DoBookmark, Side: record.SideSource, Dataset: "src/" + name, Snapshot: "s", GUID: "7", To: "s"}}}
			if err := w.Write(r); err != nil {
				t.Fatal(err)
			}
		}
		o := &Options{Jobs: jobs(c.jobs)}
		out := &gone{tell: func() { _ = os.WriteFile(filepath.Join(dir, "gone"), nil, 0o600) }}
		env := &cli.Env{Program: "zab-xfer", Common: &cli.Common{}, Machine: &zfs.Machine{}, Stdin: &in, Stdout: out, Stderr: &bytes.Buffer{}, Now: time.Now()}
		err := Run(context.Background(), env, o)
		var oe *record.OutputError
		if !errors.As(err, &oe) || !errors.Is(err, syscall.EPIPE) || err.Error() != "cannot write records: broken pipe" {
			t.Errorf("%v", err)
		}
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		if n := strings.Count(string(log), "receive "); n < c.begun || n > c.begun+c.jobs {
			t.Errorf("%d at once: %d receives were begun\n%s", c.jobs, n, log)
		}
		received, _ := filepath.Glob(filepath.Join(dir, "got-*"))
		for _, path := range received {
			n := strings.TrimPrefix(filepath.Base(path), "got-")
			if !regexp.MustCompile(`(?m)^hold zab .*src/` + n + `@s dst/` + n + `@s( |$)`).Match(log) {
				t.Errorf("'%s' is not held\n%s", n, log)
			}
		}
		if n := strings.Count(string(log), "receive "); n != len(received) {
			t.Errorf("%d of %d receives came to their end", len(received), n)
		}
	}
}
