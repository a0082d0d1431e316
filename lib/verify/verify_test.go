package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zab/lib/cli"
	"zab/lib/hashfunc"
	"zab/lib/record"
	"zab/lib/sendstream/streamtest"
	"zab/lib/streamsum"
	"zab/lib/zfs"
	"zab/lib/zfs/zfstest"
)

// standIn is a stand-in for zfs. The stream of DATASET@NAME is the file DATASET@NAME with _
// for /, an increment from BASE has .BASE behind its name.
const standIn = `#!/bin/sh
cd "$POOL"
tab='	'
echo "$*" >>log
for last; do :; done
f=$(echo "$last" | tr / _)
case $1 in
send)
	if [ -e fail ]; then cat fail >&2; exit 1; fi
	while [ $# -gt 1 ]; do case $1 in -i) f=$f.${2#*@}; shift;; esac; shift; done
	exec cat "$f";;
get)
	for p in $(echo "$7" | tr , ' '); do
		case $p in
		zab:verified) v="$(cat mark 2>/dev/null || echo -)${tab}local";;
		guid) v="$(cat guid 2>/dev/null || echo 77)${tab}-"; if [ -e nextguid ]; then mv nextguid guid; fi;;
		encryption) v="off${tab}default";;
		*) v="-${tab}-";;
		esac
		echo "backup/a${tab}$p${tab}$v"
	done;;
set) echo "${2#zab:verified=}" >mark;;
esac
`

// world is a directory with the streams of both sides, and the record of the copy.
type world struct {
	t    *testing.T
	dir  string
	r    *record.Record
	hash hashfunc.Func
}

func newWorld(t *testing.T, names string) *world {
	w := &world{t: t, dir: t.TempDir()}
	t.Setenv("PATH", w.dir+":/usr/bin:/bin")
	t.Setenv("POOL", w.dir)
	w.write("zfs", []byte(standIn))
	w.write("ssh", []byte(zfstest.FarSSH))
	w.r = &record.Record{Type: record.TypeDataset, Backup: "b", Name: "tank/a", Selected: record.Ptr(true), Facts: record.Facts{Kind: "filesystem"},
		Snapshots: snapshots(names), Target: &record.Target{Name: "backup/a", Exists: true, Snapshots: snapshots(names)}}
	return w
}

func (w *world) write(name string, data []byte) {
	if err := os.WriteFile(filepath.Join(w.dir, name), data, 0o700); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) read(name string) string {
	b, _ := os.ReadFile(filepath.Join(w.dir, name))
	return string(b)
}

// streamOf returns the stream of a snapshot with objects 2, 3, ... that have these contents.
func streamOf(guid, from uint64, contents ...string) []byte {
	s := streamtest.New(guid, streamtest.Head{Name: "tank/a@x", From: from})
	s.FreeObjects(0, 2)
	for i, c := range contents {
		n := uint64(i + 2)
		if c == "-" {
			s.FreeObjects(n, 1)
			continue
		}
		data := make([]byte, 512)
		copy(data, c)
		s.Object(n, 512, "bonus").Write(n, 0, data).End(n, 512)
	}
	return s.FreeObjects(uint64(len(contents)+2), 1<<20).Bytes()
}

func (w *world) verify(args ...string) (r *record.Record, stderr string) {
	w.t.Helper()
	p := Program()
	o := p.Options.(*options)
	o.hash = w.hash // whatever processor this is
	if _, err := p.Parser().ParseArgs(args); err != nil {
		w.t.Fatal(err)
	}
	var in, out, messages bytes.Buffer
	if err := record.NewWriter(&in).Write(w.r); err != nil {
		w.t.Fatal(err)
	}
	env := &cli.Env{Program: p.Name, Common: &o.Common, Machine: &zfs.Machine{}, Stdin: &in, Stdout: &out, Stderr: &messages,
		Now: time.Unix(1_800_000_000, 0), Fixed: true}
	if err := p.Run(context.Background(), env, nil); err != nil {
		w.t.Errorf("%v\n%s", err, messages.String())
	}
	all, err := record.NewReader(&out).ReadAll()
	if err != nil || len(all) != 1 {
		w.t.Fatalf("%d records, %v\n%s", len(all), err, messages.String())
	}
	return all[0], messages.String()
}

func TestEqual(t *testing.T) {
	w := newWorld(t, "1=11 2=12")
	w.write("tank_a@1", streamOf(11, 0, "x"))
	w.write("backup_a@1", streamOf(11, 0, "x"))
	w.r.Snapshots = w.r.Snapshots[:1]
	r, stderr := w.verify()
	if r.Error != nil || r.Verify == nil || r.Verify.Result != record.VerifyEqual || r.Verify.From != "" || r.Verify.Digest == "" || stderr != "" {
		t.Fatalf("%+v, %+v, %q", r.Error, r.Verify, stderr)
	}
	if got := w.read("mark"); got != "11:1800000000:full:1800000000:2\n" {
		t.Errorf("marked %q", got)
	}
	// nothing new
	w.write("log", nil)
	if r, _ = w.verify(); r.Verify.Result != record.VerifyProved || *r.Verify.At != 1_800_000_000 || strings.Contains(w.read("log"), "send") {
		t.Errorf("%+v, %s", r.Verify, w.read("log"))
	}
	// an increment
	w.r.Snapshots = snapshots("1=11 2=12")
	for _, side := range []string{"tank_a@2.1", "backup_a@2.1"} {
		w.write(side, streamOf(12, 11, "x", "y", "z"))
	}
	if r, stderr = w.verify(); r.Error != nil || r.Verify.From != "1" || r.Verify.Snapshot != "2" || w.read("mark") != "12:1800000000:increment:1800000000:4\n" {
		t.Errorf("%+v, %+v, %q, %s", r.Error, r.Verify, stderr, w.read("mark"))
	}
	// in full, when it is time
	for _, side := range []string{"tank_a@2", "backup_a@2"} {
		w.write(side, streamOf(12, 0, "x", "y"))
	}
	if r, stderr = w.verify("--full-every=0h"); r.Error != nil || r.Verify.From != "" || w.read("mark") != "12:1800000000:full:1800000000:3\n" {
		t.Errorf("%+v, %+v, %q, %s", r.Error, r.Verify, stderr, w.read("mark"))
	}
}

func TestDifferent(t *testing.T) {
	w := newWorld(t, "1=11 2=12")
	w.write("mark", []byte("11:1700000000:full:1700000000:9\n"))
	w.write("tank_a@2.1", streamOf(12, 11, "x", "y"))
	w.write("backup_a@2.1", streamOf(12, 11, "x", "z"))
	w.write("tank_a@2", streamOf(12, 0, "x", "y", "same"))
	w.write("backup_a@2", streamOf(12, 0, "x", "z", "same", "more"))
	r, stderr := w.verify()
	var objects []string
	for _, o := range r.Verify.Objects {
		b, _ := json.Marshal([]any{o.Object, o.Where})
		objects = append(objects, string(b))
	}
	if r.Error == nil || r.Error.Kind != record.KindDifferent || r.Verify.Result != record.VerifyDifferent || strings.Join(objects, " ") != `[3,""] [5,"target"]` {
		t.Errorf("%+v, %+v, %q", r.Error, r.Verify, objects)
	}
	if !strings.Contains(stderr, "'backup/a@2' is not equal to 'tank/a@2': they differ in object 3, object 5 (only on the target)") {
		t.Error(stderr)
	}
	if got := w.read("mark"); !strings.HasPrefix(got, "12:1800000000:different:0:") {
		t.Errorf("marked %q", got)
	}
	if log := w.read("log"); !strings.Contains(log, "hold zab:different tank/a@2\n") || !strings.Contains(log, "hold zab:different backup/a@2\n") {
		t.Error(log)
	}
	// a second run does not take it for proved
	w.write("log", nil)
	if r, _ = w.verify(); r.Verify.Result != record.VerifyDifferent || !strings.Contains(w.read("log"), "send") {
		t.Errorf("%+v, %s", r.Verify, w.read("log"))
	}
	if strings.Contains(w.read("log"), "hold") {
		t.Errorf("held again: %s", w.read("log"))
	}
	// a good copy again
	w.write("backup_a@2", streamOf(12, 0, "x", "y", "same"))
	if r, stderr = w.verify(); r.Error != nil || r.Verify.Result != record.VerifyEqual || strings.Count(w.read("log"), "release zab:different ") != 2 {
		t.Errorf("%+v, %+v, %q, %s", r.Error, r.Verify, stderr, w.read("log"))
	}
	// increments may differ where the snapshots do not
	w.write("mark", []byte("11:1700000000:full:1700000000:9\n"))
	if r, stderr = w.verify(); r.Error != nil || r.Verify.Result != record.VerifyEqual || r.Verify.From != "" {
		t.Errorf("%+v, %+v, %q", r.Error, r.Verify, stderr)
	}
}

// P12: nothing is called equal that was not read to the end on both sides.
func TestUnproved(t *testing.T) {
	good := streamOf(11, 0, "x", "y")
	redacted := streamtest.New(11, streamtest.Head{Payload: streamtest.List(streamtest.Pair("redact_snaps", 16, 0, nil))}).Bytes()
	for _, c := range []struct {
		what           string
		source, target []byte
		fail           string
		kind           record.ErrorKind
		message        string
	}{
		{"both cut off", good[:700], good[:700], "", record.KindUnproved, "within a snapshot"},
		{"both empty", nil, nil, "", record.KindUnproved, "the input is empty"},
		{"something behind", append(bytes.Clone(good), 1), append(bytes.Clone(good), 1), "", record.KindUnproved, "follows the end"},
		{"another snapshot", streamOf(99, 0, "x"), streamOf(99, 0, "x"), "", record.KindMovedOn, "it has the guid 99, not 11"},
		{"an increment", streamOf(11, 5, "x"), streamOf(11, 5, "x"), "", record.KindMovedOn, "not the one that was asked for: it has another base"},
		{"the copy is redacted", good, redacted, "", record.KindUnproved, "cannot read 'backup/a@1': byte 0: the snapshot is redacted"},
		{"both are redacted", redacted, redacted, "", record.KindUnproved, "the snapshot is redacted"},
		{"zfs fails", good, good, "warning: cannot send 'tank/a@1': Input/output error\n", record.KindPoolIO, "Input/output error"},
	} {
		w := newWorld(t, "1=11")
		w.write("tank_a@1", c.source)
		w.write("backup_a@1", c.target)
		if c.fail != "" {
			w.write("fail", []byte(c.fail))
		}
		r, stderr := w.verify()
		if r.Error == nil || r.Error.Kind != c.kind || !strings.Contains(stderr, c.message) || r.Verify.Result != record.VerifyUnproved || r.Verify.Digest != "" || w.read("mark") != "" {
			t.Errorf("%s: %+v, %+v, marked %q\n%s", c.what, r.Error, r.Verify, w.read("mark"), stderr)
		}
		if advised := strings.Contains(stderr, "hint: ") && strings.Contains(stderr, "'zab-verify --files'"); advised != (c.kind == record.KindUnproved && !strings.Contains(c.what, "redacted")) {
			t.Errorf("%s: %s", c.what, stderr)
		}
	}
}

// The digest of another host is computed there, where that is possible. P12: one that was
// broken off is none.
func TestFar(t *testing.T) {
	data := streamOf(11, 0, "x")
	res, err := streamsum.Read(bytes.NewReader(data), streamsum.Options{})
	if err != nil {
		t.Fatal(err)
	}
	line, _ := json.Marshal(res.Line())
	other, _ := json.Marshal(func() streamsum.Line { l := res.Line(); l.GUID = "9"; return l }())
	says := func(line []byte) string { return "echo '" + string(line) + "'" }
	const refuses = "echo 'mesg: ttyname failed: Inappropriate ioctl for device' >&2; echo 'zab-digest: cannot digest the stream: byte 7: it is odd' >&2; echo 'zab-digest: hint: send another' >&2; exit 1"
	for _, c := range []struct {
		what, program string // zab-digest there; "" if it is missing
		args          []string
		fetched       string
		kind          record.ErrorKind
		message       string
	}{
		{"installed", says(line), nil, "", "", ""},
		{"missing", "", nil, "target", "", ""},
		{"not used", "echo nonsense", []string{"--fetch"}, "target", "", ""},
		{"of another snapshot", says(other), nil, "", record.KindMovedOn, ""},
		{"no digest", "echo hello", nil, "", record.KindOther, ""},
		{"nothing", "true", nil, "target", "", ""},
		{"refused", refuses, nil, "", record.KindUnproved, "cannot read 'backup/a@1': far: byte 7: it is odd\nzab-verify: hint: send another; 'zab-verify --files'"},
		{"refused, because zfs failed", "echo \"cannot open 'backup/a@1': I/O error\" >&2; " + refuses, nil, "", record.KindPoolIO, "I/O error"},
		{"killed", "kill -9 $$", nil, "", record.KindKilled, "far: zab-digest was ended by signal 9 (killed)"},
		{"killed behind its line", says(line) + "; kill -9 $$", nil, "", record.KindKilled, ""},
		{"failed behind its line", says(line) + "; exit 1", nil, "", record.KindOther, "failed without a word"},
		{"cut off with the connection", says(line) + "; exit 255", nil, "", record.KindUnreachable, ""},
		{"half a line", "printf %s '" + string(line[:len(line)/2]) + "'; exit 255", nil, "", record.KindUnreachable, ""},
	} {
		w := newWorld(t, "1=11")
		w.r.Target.Host = "far"
		w.write("tank_a@1", data)
		w.write("backup_a@1", data)
		if c.program != "" {
			w.write("zab-digest", []byte("#!/bin/sh\ncat >/dev/null\n"+c.program+"\n"))
		}
		r, stderr := w.verify(c.args...)
		kind := record.ErrorKind("")
		if r.Error != nil {
			kind = r.Error.Kind
		}
		proved := r.Verify.Result == record.VerifyEqual
		if kind != c.kind || strings.Join(r.Verify.Fetched, " ") != c.fetched || (kind == "") != proved || (w.read("mark") != "") != proved || !strings.Contains(stderr, c.message) {
			t.Errorf("%s: %+v, %+v, marked %q\n%s", c.what, r.Error, r.Verify, w.read("mark"), stderr)
		}
	}
	// A stream that is sent here, and refused in its midst, ends ssh like a lost connection.
	w := newWorld(t, "1=11")
	w.r.Target.Host = "far"
	w.write("ssh", []byte(zfstest.FarSSH+"[ $? = 0 ] || exit 255\n"))
	w.write("tank_a@1", data)
	w.write("backup_a@1", append(streamtest.New(11, streamtest.Head{Features: 1 << 21}).Begun(), make([]byte, 4<<20)...))
	if r, stderr := w.verify(); r.Error == nil || r.Error.Kind != record.KindUnproved || !strings.Contains(stderr, "the snapshot is redacted") {
		t.Errorf("%+v\n%s", r.Error, stderr)
	}
}

// Both sides are digested with the same hash function: that which is fast here, or SHA-256
// where the zab-digest of one host knows no other.
func TestHash(t *testing.T) {
	data := streamOf(11, 0, "x")
	for _, hash := range []hashfunc.Func{hashfunc.SHA256, hashfunc.BLAKE3} {
		res, err := streamsum.Read(bytes.NewReader(data), streamsum.Options{Hash: hash})
		if err != nil {
			t.Fatal(err)
		}
		line, _ := json.Marshal(res.Line())
		old, _ := streamsum.Read(bytes.NewReader(data), streamsum.Options{})
		oldLine, _ := json.Marshal(old.Line())
		const refuse = `case $* in *--hash*) echo "zab-digest: unknown option '--hash'" >&2; exit 2; esac`
		for _, c := range []struct {
			what, before, prints string // what zab-digest does there
			used                 hashfunc.Func
			calls                int
			kind                 record.ErrorKind
		}{
			{"the same version", "", string(line), hash, 1, ""},
			{"an earlier version", refuse, string(oldLine), hashfunc.SHA256, 1 + int(hash), ""},
			{"another function than was asked for", "", strings.Replace(string(line), hash.String(), (1 - hash).String(), 1), hash, 1, record.KindOther},
			{"another error", "echo 'zab-digest: no' >&2; exit 2", "", hash, 1, record.KindOther},
		} {
			w := newWorld(t, "1=11")
			w.hash = hash
			w.r.Target.Host = "far"
			w.write("tank_a@1", data)
			w.write("backup_a@1", data)
			w.write("zab-digest", []byte("#!/bin/sh\ncat >/dev/null\necho \"$*\" >>\"$POOL/digests\"\n"+c.before+"\necho '"+c.prints+"'\n"))
			r, stderr := w.verify()
			kind := record.ErrorKind("")
			if r.Error != nil {
				kind = r.Error.Kind
			}
			calls := w.read("digests")
			if kind != c.kind || strings.Count(calls, "\n") != c.calls || strings.Count(calls, "--hash=blake3") != int(hash) ||
				kind == "" && (r.Verify.Result != record.VerifyEqual || r.Verify.Algorithm != c.used.String() || r.Verify.Fetched != nil) {
				t.Errorf("%s, %s: %+v, %+v, called with %q\n%s", hash, c.what, r.Error, r.Verify, calls, stderr)
			}
		}
	}
}

// A proof is noted on the dataset that was compared, and none is taken from a clock that was
// wrong.
func TestMarks(t *testing.T) {
	w := newWorld(t, "1=11")
	w.write("tank_a@1", streamOf(11, 0, "x"))
	w.write("backup_a@1", streamOf(11, 0, "x"))
	w.write("nextguid", []byte("78"))
	if r, stderr := w.verify(); r.Error != nil || len(r.Warnings) != 1 || !strings.Contains(stderr, "another dataset has its name now") || w.read("mark") != "" {
		t.Errorf("%+v, %q, %s, marked %q", r.Error, r.Warnings, stderr, w.read("mark"))
	}
	w.write("mark", []byte("11:1800009999:full:1800009999:9\n"))
	if r, stderr := w.verify(); r.Error != nil || r.Verify.Result != record.VerifyEqual || w.read("mark") != "11:1800000000:full:1800000000:2\n" {
		t.Errorf("%+v, %+v, %s, marked %q", r.Error, r.Verify, stderr, w.read("mark"))
	}
}

// P12: a proof says nothing of another source of the same snapshots, as where a copy is
// copied again; and a difference from one is not forgotten for another.
func TestSource(t *testing.T) {
	w := newWorld(t, "1=11 2=12")
	w.r.GUID = "66"
	for _, side := range []string{"tank_a@2", "backup_a@2"} {
		w.write(side, streamOf(12, 0, "x"))
	}
	const mine = "12:1800000000:full:1800000000:2:66\n"
	for _, c := range []struct{ what, mark, result, from, after string }{
		{"none", "", record.VerifyEqual, "", mine},
		{"this", mine, record.VerifyProved, "", mine},
		{"another", "12:1700000000:full:1700000000:2:55\n", record.VerifyEqual, "", mine},
		{"another, of the snapshot before", "11:1700000000:full:1700000000:2:55\n", record.VerifyEqual, "", mine},
		{"of an earlier version", "12:1700000000:full:1700000000:2\n", record.VerifyEqual, "", mine},
		{"another differed", "11:1700000000:different:0:2:55\n", record.VerifyEqual, "", "11:1700000000:different:0:2:55\n"},
		{"it differed in an earlier version", "12:1700000000:different:0:2\n", record.VerifyEqual, "", mine},
	} {
		w.write("mark", []byte(c.mark))
		w.write("log", nil)
		r, stderr := w.verify()
		if r.Error != nil || r.Verify.Result != c.result || r.Verify.From != c.from || w.read("mark") != c.after || strings.Contains(w.read("log"), "release") != strings.Contains(c.what, "it differed") {
			t.Errorf("%s: %+v, %+v, marked %q\n%s\n%s", c.what, r.Error, r.Verify, w.read("mark"), stderr, w.read("log"))
		}
	}
	// A difference from this one is marked, whatever stood there.
	w.write("backup_a@2", streamOf(12, 0, "y"))
	w.write("mark", []byte("11:1700000000:different:0:2:55\n"))
	if r, _ := w.verify(); r.Verify.Result != record.VerifyDifferent || !strings.HasPrefix(w.read("mark"), "12:1800000000:different:0:") || !strings.HasSuffix(w.read("mark"), ":66\n") {
		t.Errorf("%+v, marked %q", r.Verify, w.read("mark"))
	}
}

func TestPostponed(t *testing.T) {
	w := newWorld(t, "1=11")
	w.write("tank_a@1", streamOf(11, 0, "x"))
	w.write("backup_a@1", streamOf(11, 0, "x"))
	r, stderr := w.verify("-n", "-v")
	// P6: a dry run changes nothing
	asked := strings.TrimSuffix(w.read("log"), "\n")
	if r.Error != nil || r.Verify.Result != record.VerifyPostponed || !strings.HasPrefix(asked, "get ") || strings.Contains(asked, "\n") || strings.Count(stderr, "would digest zfs send ") != 2 {
		t.Errorf("%+v, %+v\n%s\n%s", r.Error, r.Verify, stderr, w.read("log"))
	}
}

func (w *world) remove(name string) {
	if err := os.Remove(filepath.Join(w.dir, name)); err != nil {
		w.t.Fatal(err)
	}
}
