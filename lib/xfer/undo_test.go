package xfer

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"zab/lib/cli"
	"zab/lib/record"
	"zab/lib/zfs"
)

// changedTarget is a stand-in for zfs whose target has been changed at the last moment,
// until it is rolled back. zfs diff prints the file differs.
const changedTarget = `#!/bin/sh
cd "$POOLS"
tab='	'
echo "$1" >>log
for last; do :; done
case $1 in
send) echo x;;
receive)
	cat >/dev/null
	[ -e undone ] || { echo "cannot receive incremental stream: destination dst/a has been modified" >&2; echo "since most recent snapshot" >&2; exit 1; }
	>got;;
diff) cat differs;;
rollback) >undone;;
list)
	for a; do
		case $a in
		dst/a) echo "dst/a@b${tab}5${tab}1"; [ ! -e more ] || echo "dst/a@own${tab}6${tab}2";;
		src/a@s) echo "$a${tab}7${tab}9";;
		dst/a@s) if [ -e got ]; then echo "$a${tab}7${tab}9"; else echo "cannot open '$a': dataset does not exist" >&2; exit 1; fi;;
		esac
	done;;
esac
`

// Writes to a target that were not on its disks yet when the plan was made are undone as
// far as the plan allows, once, and only if the newest snapshot still is the one that the
// plan found.
func TestUndo(t *testing.T) {
	for _, c := range []struct {
		what, undo, differs, more string
		want                      string // the commands that change something
		kind                      string // of the record's error
	}{
		{"not allowed", "", "", "", "receive", "modified"},
		{"an unknown word", "all", "", "", "", ""},
		{"all of it", record.UndoChanges, "M\t/dst/a/f\n", "", "receive rollback receive", ""},
		{"access times", record.UndoReads, "", "", "receive rollback receive", ""},
		{"more than access times", record.UndoReads, "M\t/dst/a/f\n", "", "receive", "modified"},
		{"another newest snapshot", record.UndoChanges, "", "more", "receive", "modified"},
	} {
		dir := t.TempDir()
		write := func(name, text string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		write("zfs", changedTarget)
		write("differs", c.differs)
		if c.more != "" {
			write(c.more, "")
		}
		t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
		t.Setenv("POOLS", dir)
		var in, out, stderr bytes.Buffer
		r := &record.Record{Zab: record.Version, Type: record.TypeDataset, Name: "src/a", Facts: record.Facts{Kind: "filesystem"},
			Snapshots: []record.Snapshot{{Name: "b", GUID: "5", CreateTXG: "1"}, {Name: "s", GUID: "7", CreateTXG: "9"}},
			Target:    &record.Target{Name: "dst/a", Exists: true, Snapshots: []record.Snapshot{{Name: "b", GUID: "5", CreateTXG: "1"}}},
			Steps: []record.Step{{Do: record.DoReceive, Side: record.SideTarget, Dataset: "dst/a", From: "b", FromGUID: "5", To: "s", ToGUID: "7",
				Flags: []string{"-L"}, Undo: c.undo}}}
		// A record.Writer would not write the unknown word.
		if err := json.MarshalWrite(&in, r); err != nil {
			t.Fatal(err)
		}
		in.WriteByte('\n')
		env := &cli.Env{Program: "zab-xfer", Common: &cli.Common{}, Machine: &zfs.Machine{}, Stdin: &in, Stdout: &out, Stderr: &stderr, Now: time.Now()}
		if err := Run(context.Background(), env, &Options{Jobs: 1}); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		var did []string
		for w := range strings.FieldsSeq(string(log)) {
			if w == "receive" || w == "rollback" {
				did = append(did, w)
			}
		}
		kind := ""
		if all, err := record.NewReader(&out).ReadAll(); err == nil && len(all) == 1 && all[0].Error != nil {
			kind = string(all[0].Error.Kind)
		}
		if got := strings.Join(did, " "); got != c.want || kind != c.kind {
			t.Errorf("%s: %s, %q\n%s%s", c.what, got, kind, &stderr, log)
		}
	}
}
