package xfer

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"zab/lib/cli"
	"zab/lib/record"
	"zab/lib/zfs"
)

// The size of a record is known if that of each of its streams is.
func TestSizeOf(t *testing.T) {
	n := record.Ptr[int64]
	both := &record.Record{Steps: []record.Step{{Do: record.DoReceive, Bytes: n(5)}, {Do: record.DoReceive, Bytes: n(6)}}}
	if all := sizeOf(both); *all != 11 {
		t.Errorf("%d", *all)
	}
	both.Steps[0].Bytes = nil
	if all := sizeOf(both); all != nil {
		t.Errorf("%d, of which a part is not known", *all)
	}
}

// watched is a stderr that calls seen with all that was written so far.
type watched struct {
	mu   sync.Mutex
	all  bytes.Buffer
	seen func(string)
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all.Write(p)
	w.seen(w.all.String())
	return len(p), nil
}

// slow is a stand-in for zfs, like hostile, in which the stream of tank/slow waits until
// there is a file go, and tank/bad cannot be received.
const slow = `#!/bin/sh
cd "$POOL"
tab='	'
for x; do :; done
x=${x##*/}
x=${x%%@*}
case $1 in
send)
	echo data
	until [ $x != slow ] || [ -e go ]; do sleep 0.01; done;;
receive)
	cat >/dev/null
	if [ $x = bad ]; then echo "cannot receive: out of space" >&2; exit 1; fi
	echo "pool/$x@s1${tab}7${tab}9" >>list;;
list)
	rc=0
	for a; do case $a in *@*) grep "^$a$tab" list || { echo "cannot open '$a': dataset does not exist" >&2; rc=1; };; esac; done
	exit $rc;;
esac
`

// With --progress the streams and the number of records are shown, whether records fail
// or are passed on, and at the end nothing stays but the messages.
func TestProgress(t *testing.T) {
	dir := machine(t, map[string]string{"zfs": slow, "list": "tank/slow@s1\t7\t5\ntank/bad@s1\t7\t5\n"})
	var stdin, stdout bytes.Buffer
	w := record.NewWriter(&stdin)
	for _, name := range []string{"bad", "passed", "done", "slow"} {
		r := &record.Record{Type: record.TypeDataset, Backup: "b", Name: "tank/" + name, Selected: record.Ptr(name != "passed"),
			Target: &record.Target{Name: "pool/" + name}, Snapshots: []record.Snapshot{{Name: "s1", GUID: "7"}}}
		if name != "done" {
			r.Steps = []record.Step{{Do: record.DoReceive, Dataset: "pool/" + name, To: "s1", ToGUID: "7", Flags: []string{"-p"}}}
		}
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	stderr := &watched{seen: func(all string) {
		if strings.Contains(all, "tank/slow@s1") && strings.Contains(all, "\n1 of 2 records") && strings.Contains(all, "out of space") {
			if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
				t.Error(err)
			}
		}
	}}
	p := Program()
	if _, err := p.Parser().ParseArgs([]string{"--progress", "--jobs=2"}); err != nil {
		t.Fatal(err)
	}
	if err := p.Check(nil); err != nil {
		t.Fatal(err)
	}
	env := &cli.Env{Program: p.Name, Common: &p.Options.(*command).Common, Machine: &zfs.Machine{}, Stdin: &stdin, Stdout: &stdout, Stderr: stderr, Now: time.Now()}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // if it is never seen
	defer cancel()
	if err := p.Run(ctx, env, nil); err != nil {
		t.Error(err)
	}
	records, err := record.NewReader(&stdout).ReadAll()
	if err != nil || len(records) != 4 {
		t.Errorf("%d records, %v", len(records), err)
	}
	const clear = "\r\x1b[J"
	env.Warnf("the last")
	all := stderr.all.String()
	if !strings.HasSuffix(all, clear+"zab-xfer: warning: the last\n") {
		t.Errorf("%q", all)
	}
}
