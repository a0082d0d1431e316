package verify

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"zab/lib/filetree"
	"zab/lib/hashfunc"
	"zab/lib/record"
)

// filesStandIn is a stand-in for zab-digest --files. The lines of the names of DATASET@NAME
// are in the file DATASET@NAME.entries with _ for /, that of the digest is in DATASET@NAME,
// and those of --name-of are in DATASET@NAME.names. Of a stream it prints no digest, so that
// the stream is sent here.
const filesStandIn = `#!/bin/sh
cd "$POOL"
echo "zab-digest $*" >>log
for last; do :; done
f=$(echo "$last" | tr / _)
case " $* " in
*" --name-of="*) exec cat "$f.names";;
*" --objects "*) cat "$f.entries";;
*" --files "*) ;;
*) exec cat >/dev/null;;
esac
exec cat "$f"
`

// files writes what zab-digest prints for a snapshot; edit changes the line of the digest.
func (w *world) files(snapshot, guid string, edit func(*filetree.Line), entries ...filetree.Entry) {
	h := sha256.New()
	var text string
	for _, e := range append([]filetree.Entry{{Path: ".", Kind: filetree.KindDirectory}}, entries...) {
		e.Type = "entry"
		text += e.String() + "\n"
	}
	fmt.Fprint(h, text)
	l := filetree.NewLine(snapshot, guid, "on", "posix", filetree.Result{Entries: int64(1 + len(entries)), Bytes: 7, Digest: hashfunc.Sum(h.Sum(nil))})
	if edit != nil {
		edit(&l)
	}
	b, _ := json.Marshal(l)
	file := strings.ReplaceAll(snapshot, "/", "_")
	w.write(file+".entries", []byte(text))
	w.write(file, append(b, '\n'))
}

func (w *world) digests() *world {
	w.write("zab-digest", []byte(filesStandIn))
	return w
}

func entry(path, content string) filetree.Entry {
	return filetree.Entry{Path: path, Kind: filetree.KindFile, Mode: "644", Content: content}
}

func TestFilesEqual(t *testing.T) {
	w := newWorld(t, "1=11 2=12").digests()
	w.files("tank/a@2", "12", nil, entry("x", "1"))
	w.files("backup/a@2", "12", nil, entry("x", "1"))
	for _, mark := range []string{"", "12:1700000000:different:0:0\n", "11:1700000000:full:1700000000:9\n", "12:1700000000:full:1700000000:9\n"} {
		w.write("mark", []byte(mark))
		w.write("log", nil)
		r, stderr := w.verify("--files", "--rate=3M", "-j", "2")
		v := r.Verify
		if r.Error != nil || v.Result != record.VerifyEqual || v.Method != record.VerifyByFiles || v.Snapshot != "2" || v.GUID != "12" || *v.Bytes != 7 || len(v.Digest) != 64 || stderr != "" {
			t.Errorf("%+v, %+v, %q", r.Error, v, stderr)
		}
		// Streams prove more, so that what is known from them stays.
		if w.read("mark") != mark || (v.Full != nil) != strings.Contains(mark, "full") {
			t.Errorf("%q became %q, %+v", mark, w.read("mark"), v)
		}
		log := w.read("log")
		if strings.Contains(log, "send") || strings.Contains(log, "set ") || strings.Contains(log, "release") ||
			strings.Count(log, "zab-digest --files --rate=786432 ") != 2 {
			t.Error(log)
		}
	}
	w.write("log", nil)
	if r, stderr := w.verify("--files", "-n", "-v"); r.Verify.Result != record.VerifyPostponed || !strings.Contains(stderr, "would digest zab-digest --files 'tank/a@2'") && !strings.Contains(stderr, "would digest zab-digest --files tank/a@2") || strings.Contains(w.read("log"), "zab-digest") {
		t.Errorf("%+v, %s, %s", r.Verify, stderr, w.read("log"))
	}
}

// A zab-digest of an earlier version has the files digested anew, on both sides.
func TestFilesHash(t *testing.T) {
	w := newWorld(t, "1=11").digests()
	w.hash = hashfunc.BLAKE3
	blake3 := func(l *filetree.Line) { l.Algorithm = "blake3" }
	for _, side := range []string{"tank/a@1", "backup/a@1"} {
		w.files(side, "11", blake3, entry("x", "1"))
	}
	if r, stderr := w.verify("--files"); r.Error != nil || r.Verify.Result != record.VerifyEqual || r.Verify.Algorithm != "blake3" || strings.Count(w.read("log"), "--files --hash=blake3 ") != 2 {
		t.Errorf("%+v, %+v, %s, %s", r.Error, r.Verify, stderr, w.read("log"))
	}
	w.files("backup/a@1", "11", nil, entry("x", "1"))
	if r, stderr := w.verify("--files"); r.Error == nil || r.Verify.Result != record.VerifyUnproved || !strings.Contains(stderr, "install the same version") {
		t.Errorf("%+v, %+v, %s", r.Error, r.Verify, stderr)
	}
	w.files("tank/a@1", "11", nil, entry("x", "1"))
	w.write("zab-digest", []byte(strings.Replace(filesStandIn, "\ncase", "\ncase $* in *--hash*) echo \"zab-digest: unknown option '--hash'\" >&2; exit 2; esac\ncase", 1)))
	if r, stderr := w.verify("--files"); r.Error != nil || r.Verify.Result != record.VerifyEqual || r.Verify.Algorithm != "sha256" {
		t.Errorf("%+v, %+v, %s", r.Error, r.Verify, stderr)
	}
}

func TestFilesDifferent(t *testing.T) {
	w := newWorld(t, "1=11").digests()
	other := entry("b%0A", "1")
	other.Mode, other.Attributes = "600", "x"
	w.files("tank/a@1", "11", nil, entry("a", "1"), entry("b%0A", "1"), entry("c/d", "1"), entry("e", "1"))
	w.files("backup/a@1", "11", nil, entry("a", "2"), other, entry("e", "1"), entry("f", "1"))
	r, stderr := w.verify("--files")
	files := ""
	for _, f := range r.Verify.Files {
		files += fmt.Sprintln(f.Path, f.Where, f.What)
	}
	if r.Error == nil || r.Error.Kind != record.KindDifferent || r.Verify.Result != record.VerifyDifferent || r.Verify.Digest != "" ||
		files != "a  [content]\nb%0A  [mode attributes]\nc/d source []\nf target []\n" {
		t.Errorf("%+v, %+v, %s", r.Error, r.Verify, files)
	}
	if !strings.Contains(stderr, `'backup/a@1' is not equal to 'tank/a@1': they differ in "a" (content), "b\n" (mode, attributes), "c/d" (only on the source), "f" (only on the target)`) {
		t.Error(stderr)
	}
	if log := w.read("log"); w.read("mark") != "11:1800000000:different:0:0\n" || strings.Count(log, "hold zab:different ") != 2 {
		t.Errorf("marked %q, %s", w.read("mark"), log)
	}

	// 20 are named
	var many []filetree.Entry
	for i := range 30 {
		many = append(many, entry(fmt.Sprint(i+10), "1"))
	}
	w.files("backup/a@1", "11", nil, many...)
	if r, stderr = w.verify("--files"); len(r.Verify.Files) != 20 || !strings.Contains(stderr, `"29" (only on the target) and others`) {
		t.Errorf("%+v, %s", r.Verify.Files, stderr)
	}

	// P11: lists that lie change no verdict
	for what, lie := range map[string]string{
		"not in order": entryLine("x") + entryLine("a"),
		"twice":        entryLine("a") + entryLine("a"),
		"no entries":   "hello\n",
		"of streams":   `{"type":"object","object":1}` + "\n",
		"two digests":  w.read("backup_a@1"),
	} {
		w.write("backup_a@1.entries", []byte(lie))
		if r, stderr = w.verify("--files"); r.Verify.Result != record.VerifyDifferent || len(r.Verify.Files) != 0 || !strings.Contains(stderr, "cannot tell in which files") {
			t.Errorf("%s: %+v, %s", what, r.Verify, stderr)
		}
	}
}

func entryLine(path string) string {
	e := entry(path, "1")
	e.Type = "entry"
	return e.String() + "\n"
}

// P12: nothing is called equal that was not read to the end on both sides, or that one side
// does not show.
func TestFilesUnproved(t *testing.T) {
	for _, c := range []struct {
		what    string
		change  func(w *world)
		kind    record.ErrorKind
		message string
	}{
		{"not installed", func(w *world) { w.write("zab-digest", nil); w.remove("zab-digest") }, record.KindUnproved, "zab-digest is not installed on this machine"},
		{"older than files", func(w *world) {
			w.write("zab-digest", []byte("#!/bin/sh\necho 'zab-digest: unknown option --files' >&2; exit 2"))
		}, record.KindOther, "unknown option --files"},
		{"no output", func(w *world) { w.write("zab-digest", []byte("#!/bin/sh\n")) }, record.KindUnproved, "not installed"},
		{"another snapshot", func(w *world) { w.files("backup/a@1", "99", nil) }, record.KindMovedOn, "cannot read 'backup/a@1': it has the guid 99, not 11"},
		{"digests of streams", func(w *world) {
			for _, side := range []string{"tank_a@1", "backup_a@1"} {
				w.write(side, []byte(`{"type":"digest","version":1,"algorithm":"sha256","name":"a@1","guid":"11","kind":"filesystem","raw":false,"objects":1,"last_object":1,"bytes":1,"stream":1,"digest":"`+strings.Repeat("0", 64)+`"}`+"\n"))
			}
		}, record.KindBadAnswer, "not the digest of files"},
		{"another version", func(w *world) { w.files("backup/a@1", "11", func(l *filetree.Line) { l.Version = 2 }) }, record.KindBadAnswer, "install the same version"},
		{"two lines", func(w *world) { w.write("backup_a@1", []byte(w.read("backup_a@1")+w.read("backup_a@1"))) }, record.KindBadAnswer, "there is a line behind"},
		{"no attributes", func(w *world) { w.files("backup/a@1", "11", func(l *filetree.Line) { l.XAttr = "off" }) }, record.KindUnproved, "only one side shows its extended attributes: xattr is on on the source and off on the target"},
		{"no ACLs", func(w *world) { w.files("tank/a@1", "11", func(l *filetree.Line) { l.ACLType = "off" }) }, record.KindUnproved, "only one side shows its ACLs"},
		{"a file that cannot be read", func(w *world) {
			w.write("zab-digest", []byte("#!/bin/sh\nfor last; do :; done\necho \"zab-digest: cannot digest the files of '$last': 'a/b': input/output error\" >&2; echo 'zab-digest: hint: x' >&2; exit 1"))
		}, record.KindPoolIO, "a@1': 'a/b': input/output error\n"},
		{"a redacted one", func(w *world) {
			w.write("zab-digest", []byte("#!/bin/sh\nfor last; do :; done\necho \"zab-digest: cannot digest the files of '$last': cannot mount 'x': it is not complete, was created by receiving a redacted zfs send stream\" >&2; exit 1"))
		}, record.KindUnproved, "a@1': cannot mount 'x': it is not complete"},
		{"not root", func(w *world) {
			w.write("zab-digest", []byte("#!/bin/sh\necho \"zab-digest: cannot digest the files of 'x': cannot mount 'x' for this process alone: operation not permitted\" >&2; exit 1"))
		}, record.KindPermission, "operation not permitted\nzab-verify: hint: the files of a snapshot can only be read by root"},
	} {
		w := newWorld(t, "1=11").digests()
		w.files("tank/a@1", "11", nil, entry("x", "1"))
		w.files("backup/a@1", "11", nil, entry("x", "1"))
		c.change(w)
		r, stderr := w.verify("--files")
		if r.Error == nil || r.Error.Kind != c.kind || !strings.Contains(stderr, c.message) || r.Verify.Result != record.VerifyUnproved || r.Verify.Digest != "" || r.Verify.Method != record.VerifyByFiles || w.read("mark") != "" || strings.Contains(w.read("log"), "hold ") {
			t.Errorf("%s: %+v, %+v\n%s", c.what, r.Error, r.Verify, stderr)
		}
	}
}

// A stream that cannot be compared has the hint that files may.
func TestFilesHint(t *testing.T) {
	for kind, want := range map[string]bool{"filesystem": true, "volume": false} {
		w := newWorld(t, "1=11")
		w.r.Kind = kind
		w.write("tank_a@1", []byte("nonsense"))
		w.write("backup_a@1", []byte("nonsense"))
		if _, stderr := w.verify(); strings.Contains(stderr, "'zab-verify --files' may prove") != want {
			t.Errorf("%s: %s", kind, stderr)
		}
	}
}

func TestChooseFiles(t *testing.T) {
	open := record.Facts{Kind: "filesystem", Encryption: "aes-256-gcm", KeyStatus: "available", KeyGUID: "5"}
	locked := record.Facts{Kind: "filesystem", Encryption: "aes-256-gcm", KeyStatus: "unavailable", KeyGUID: "5"}
	plain := record.Facts{Kind: "filesystem"}
	for _, c := range []struct {
		what         string
		source, copy record.Facts
		snapshots    string
		want         string
	}{
		{"plain", plain, plain, "a=1 b=2", "b"},
		{"decrypted", open, plain, "a=1", "a"},
		{"the key of the source", locked, plain, "a=1", "key"},
		{"the key of the copy", plain, locked, "a=1", "key"},
		{"raw without keys", locked, locked, "a=1", "key"},
		{"a volume", record.Facts{Kind: "volume"}, plain, "a=1", "unproved"},
		{"of no kind", record.Facts{}, plain, "a=1", "unproved"},
		{"nothing in common", plain, plain, "", "unproved"},
	} {
		r := &record.Record{Name: "tank/a", Facts: c.source, Snapshots: snapshots(c.snapshots), Target: &record.Target{Name: "backup/a", Snapshots: snapshots(c.snapshots)}}
		task, kind, why := chooseFiles(r, c.copy)
		got := string(kind)
		if task != nil {
			got += task.source
		}
		if got != c.want || (kind == "") != (why == "") {
			t.Errorf("%s: %q, want %q (%s)", c.what, got, c.want, why)
		}
	}
}

func TestFilesUsage(t *testing.T) {
	for _, args := range []string{"--fetch", "--full-every=30d", "--oldest-first"} {
		p := Program()
		if _, err := p.Parser().ParseArgs([]string{"--files", args}); err != nil {
			t.Fatal(err)
		}
		if err := p.Check(nil); err == nil || !strings.Contains(err.Error(), "--files") {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// The files of another host are read there.
func TestFilesFar(t *testing.T) {
	w := newWorld(t, "1=11").digests()
	w.r.Target.Host = "far"
	w.files("tank/a@1", "11", nil, entry("x", "1"))
	w.files("backup/a@1", "11", nil, entry("x", "1"))
	if r, stderr := w.verify("--files", "--rate=3M"); r.Error != nil || r.Verify.Result != record.VerifyEqual || len(r.Verify.Fetched) > 0 ||
		!strings.Contains(w.read("log"), "zab-digest --files backup/a@1\n") || !strings.Contains(w.read("log"), "zab-digest --files --rate=3145728 tank/a@1\n") {
		t.Errorf("%+v, %+v, %s\n%s", r.Error, r.Verify, w.read("log"), stderr)
	}
	w.remove("zab-digest")
	w.r.Host, w.r.Verify, w.r.Error = "far", nil, nil
	if r, stderr := w.verify("--files"); r.Error == nil || r.Error.Kind != record.KindUnproved || !strings.Contains(stderr, "zab-digest is not installed on far\nzab-verify: hint: files are read where they are") {
		t.Errorf("%+v\n%s", r.Error, stderr)
	}
}
