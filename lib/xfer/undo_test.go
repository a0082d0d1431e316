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
// until it is rolled back; with the file drains, until it is rolled back while it is
// read-only. zfs diff prints the file differs.
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
rollback) [ -e drains ] && [ ! -e readonly ] || >undone;;
mount)
	[ "$*" = "mount -o remount,ro dst/a" ] || exit 2
	[ ! -e busy ] || { echo "cannot mount 'dst/a': mountpoint or dataset is busy" >&2; exit 1; }
	>readonly;;
get)
	on=off; [ ! -e readonly ] || on=on
	echo "dst/a${tab}mounted${tab}yes${tab}-"
	echo "dst/a${tab}readonly${tab}$on${tab}-";;
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
		what, undo, differs string
		files               string // that stand for the state of the target
		mounted             string
		want                string // the commands that change something
		kind                string // of the record's error
		warned              bool
	}{
		{"not allowed", "", "", "", "yes", "receive", "modified", false},
		{"an unknown word", "all", "", "", "yes", "", "", false},
		{"all of it", record.UndoChanges, "M\t/dst/a/f\n", "", "no", "receive rollback receive", "", false},
		{"access times", record.UndoReads, "", "readonly", "yes", "receive mount? rollback receive", "", false},
		{"more than access times", record.UndoReads, "M\t/dst/a/f\n", "", "yes", "receive", "modified", false},
		{"another newest snapshot", record.UndoChanges, "", "more", "yes", "receive", "modified", false},
		{"zfs changes it again", record.UndoReads, "", "drains", "yes", "receive mount? mount rollback receive", "", true},
		{"zfs changes it again, and a file is open", record.UndoReads, "", "drains busy", "yes", "receive mount? mount rollback receive", "modified", true},
		{"zfs changes it again after --rollback", record.UndoChanges, "M\t/dst/a/f\n", "drains", "yes", "receive mount? mount rollback receive", "", true},
	} {
		dir := t.TempDir()
		write := func(name, text string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		write("zfs", changedTarget)
		write("differs", c.differs)
		for name := range strings.FieldsSeq(c.files) {
			write(name, "")
		}
		t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
		t.Setenv("POOLS", dir)
		var in, out, stderr bytes.Buffer
		r := &record.Record{Zab: record.Version, Type: record.TypeDataset, Name: "src/a", Facts: record.Facts{Kind: "filesystem"},
			Snapshots: []record.Snapshot{{Name: "b", GUID: "5", CreateTXG: "1"}, {Name: "s", GUID: "7", CreateTXG: "9"}},
			Target:    &record.Target{Name: "dst/a", Exists: true, Facts: record.Facts{Mounted: c.mounted}, Snapshots: []record.Snapshot{{Name: "b", GUID: "5", CreateTXG: "1"}}},
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
			switch w {
			case "receive", "mount", "rollback":
				did = append(did, w)
			case "get":
				did = append(did, "mount?")
			}
		}
		kind, warned := "", false
		if all, err := record.NewReader(&out).ReadAll(); err == nil && len(all) == 1 {
			if all[0].Error != nil {
				kind = string(all[0].Error.Kind)
			}
			warned = len(all[0].Warnings) > 0
		}
		if got := strings.Join(did, " "); got != c.want || kind != c.kind || warned != c.warned {
			t.Errorf("%s: %s, %q, warned %t\n%s%s", c.what, got, kind, warned, &stderr, log)
		}
	}
}
