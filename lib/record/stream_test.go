package record

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"
)

// fill sets every field of a struct to a value that is valid in a record, or leaves it
// absent. Only fields whose text is checked are known by name, so that a new field is
// covered as soon as it exists.
func fill(t *rapid.T, v reflect.Value, path string) {
	if s, ok := v.Addr().Interface().(*Snapshot); ok {
		var f SnapshotFields
		fill(t, reflect.ValueOf(&f).Elem(), path)
		*s = f.Snapshot()
		return
	}
	for i := range v.NumField() {
		f, ft := v.Field(i), v.Type().Field(i)
		if ft.Anonymous {
			fill(t, f, path)
			continue
		}
		if !ft.IsExported() || ft.Name == "Line" {
			continue
		}
		p := path + "." + ft.Name
		must := !strings.Contains(ft.Tag.Get("json"), "omitzero")
		if ft.Name == "Unknown" {
			if unknown := unknowns.Draw(t, p); unknown != "" {
				f.Set(reflect.ValueOf(jsontext.Value(unknown)))
			}
			continue
		}
		if !must && !rapid.Bool().Draw(t, p+"?") {
			continue
		}
		set(t, f, ft.Name, p)
	}
}

func set(t *rapid.T, f reflect.Value, name, p string) {
	switch f.Kind() {
	case reflect.String:
		f.SetString(text(name, p).Draw(t, p))
	case reflect.Bool:
		f.SetBool(rapid.Bool().Draw(t, p))
	case reflect.Int, reflect.Int64:
		switch name {
		case "Written", "Used", "Referenced", "LogicalReferenced", "VolSize", "UserRefs", "Bytes", "Step":
			f.SetInt(rapid.OneOf(rapid.Int64Min(0), rapid.SampledFrom([]int64{0, math.MaxInt64})).Draw(t, p))
			return
		}
		f.SetInt(rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{0, math.MaxInt64, math.MinInt64})).Draw(t, p))
	case reflect.Float64:
		f.SetFloat(rapid.Float64Range(-1e12, 1e12).Draw(t, p))
	case reflect.Pointer:
		f.Set(reflect.New(f.Type().Elem()))
		if f.Elem().Kind() == reflect.Struct {
			fill(t, f.Elem(), p)
		} else {
			set(t, f.Elem(), name, p)
		}
	case reflect.Slice:
		n := rapid.IntRange(0, 2).Draw(t, p+"#")
		f.Set(reflect.MakeSlice(f.Type(), n, n))
		for i := range n {
			if e := f.Index(i); e.Kind() == reflect.Struct {
				fill(t, e, p)
			} else {
				set(t, e, name, p)
			}
		}
	default:
		t.Fatalf("%s is of a kind that this test does not know", p)
	}
}

var (
	datasetName  = rapid.StringMatching(`[a-zA-Z][a-zA-Z0-9_.: -]{0,8}(/[a-z0-9_:-][a-zA-Z0-9_.: -]{0,8}){0,2}`)
	snapshotName = rapid.StringMatching(`[a-zA-Z0-9_.: -]{1,20}`)
	freeText     = rapid.OneOf(rapid.SampledFrom([]string{"<&>", "é\u2028", "\t\n\"\\", "\x00\x1f\x7f", "😀", "a'b"}), rapid.StringN(1, 10, -1))
	unknowns     = rapid.SampledFrom([]string{"", "", `{"x":1}`, `{"Name":"\u00e9\/<&>","y":{"a":1.50,"b":[1e5,-0,null]}}`, `{"zz":18446744073709551616,"w":"\ud83d\ude00","v":[]}`})
	decimal      = rapid.Map(rapid.OneOf(rapid.Uint64Min(1), rapid.Just(uint64(math.MaxUint64))), func(n uint64) string { return strconv.FormatUint(n, 10) })
)

// text returns a generator of valid texts for a field, by its name and path.
func text(name, path string) *rapid.Generator[string] {
	switch path {
	case ".From", ".Target.From":
		return rapid.SampledFrom([]string{"1", "7,18446744073709551615"})
	case ".Stream", ".Target.Stream":
		return rapid.SampledFrom([]string{"none", "L", "L,w", "parent"})
	case ".Pool", ".Target.Pool":
		return decimal
	case ".Aside", ".Target.Aside":
		return rapid.SampledFrom([]string{"begun:home", "done:a b"})
	}
	switch name {
	case "Backup":
		return rapid.StringMatching(`[a-z0-9:_.][a-z0-9:_.-]{0,8}`)
	case "EncryptionRoot", "Elsewhere":
		return datasetName
	case "KeyStatus":
		return rapid.SampledFrom([]string{"none", "available", "unavailable"})
	case "Mounted":
		return rapid.SampledFrom([]string{"yes", "no"})
	case "CanMount":
		return rapid.SampledFrom([]string{"on", "off", "noauto"})
	case "Side":
		return rapid.SampledFrom([]string{SideSource, SideTarget})
	case "Undo":
		return rapid.SampledFrom([]string{UndoChanges, UndoReads})
	case "Tag", "Pin", "OldPin", "Also":
		return rapid.StringMatching(`[a-z][a-z:_ é.-]{0,9}`)
	case "Set":
		return rapid.SampledFrom([]string{"readonly=on", "a:b=c=d\t\n", "userquota@a b="})
	case "Exclude":
		return rapid.SampledFrom([]string{"mountpoint", "a:b"})
	case "KeyGUID", "TargetGUID", "TargetPoolGUID":
		return decimal
	case "Name", "Dataset", "Target":
		return rapid.Map(datasetName, func(s string) string { return strings.ReplaceAll(s, "/", "") })
	case "Snapshot", "To":
		return snapshotName
	case "From":
		return rapid.OneOf(snapshotName, rapid.Map(snapshotName, func(s string) string { return "#" + s }), fullName)
	case "Origin":
		return fullName
	case "GUID", "FromGUID", "ToGUID", "CreateTXG", "PoolGUID", "ZPoolGUID", "ElsewhereGUID":
		return decimal
	case "Kind":
		return rapid.SampledFrom([]string{"filesystem", "volume"})
	case "Host":
		return rapid.StringMatching(`[a-z]{1,5}@[a-z.]{1,8}`)
	case "Type":
		return rapid.SampledFrom([]string{TypeDataset, TypeOrphan})
	case "Token", "ResumeToken":
		return rapid.StringMatching(`1-[0-9a-f]{1,8}-[0-9a-f]{1,4}-[0-9a-f]{2,20}`)
	}
	return freeText
}

var fullName = rapid.Custom(func(t *rapid.T) string { return datasetName.Draw(t, "d") + "@" + snapshotName.Draw(t, "s") })

var records = rapid.Custom(func(t *rapid.T) *Record {
	r := &Record{}
	fill(t, reflect.ValueOf(r).Elem(), "")
	r.Zab = Version
	r.Name = datasetName.Draw(t, "name")
	return r
})

// TestRoundTrip checks that records are read as they were written: every field, absent or
// empty, known or not, in any order of records.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(records, 0, 3).Draw(t, "records")
		var out bytes.Buffer
		w := NewWriter(&out)
		for _, r := range all {
			if err := w.Write(r); err != nil {
				t.Fatal(err)
			}
		}
		first := out.String()
		got, err := NewReader(strings.NewReader(first)).ReadAll()
		if err != nil || len(got) != len(all) {
			t.Fatalf("%d of %d records: %v\n%s", len(got), len(all), err, first)
		}
		out.Reset()
		for i, r := range got {
			if r.Line != i+1 {
				t.Fatalf("record %d is said to be in line %d", i, r.Line)
			}
			if err := w.Write(r); err != nil {
				t.Fatal(err)
			}
			clean := *r
			clean.raw, clean.Line = "", 0
			if !reflect.DeepEqual(&clean, all[i]) {
				t.Fatalf("\n got %+v\nwant %+v\n%s", &clean, all[i], first)
			}
		}
		if out.String() != first {
			t.Fatalf("written again\n%swritten first\n%s", &out, first)
		}
	})
}

// TestFieldOrder checks that fields are written in the order of zab-record(5), so that
// lines can be compared with diff.
func TestFieldOrder(t *testing.T) {
	n := Ptr[int64](1)
	snap := Snapshot{Name: "s", GUID: "1", CreateTXG: "2", Creation: n, Written: n, UserRefs: n, Ours: true, Virtual: true}
	facts := Facts{Kind: "filesystem", GUID: "1", CreateTXG: "2", Creation: n, Origin: "a@b", Encryption: "on", EncryptionRoot: "t", KeyStatus: "available",
		Written: n, Used: n, Referenced: n, LogicalReferenced: n, VolSize: n, Mounted: "yes", CanMount: "on", MountPoint: "/", MountPointSource: "local", ResumeToken: "1-a"}
	r := &Record{Type: TypeDataset, Backup: "b", Host: "h", Name: "t", Facts: facts, Selected: Ptr(true), Reason: "r",
		Snapshots: []Snapshot{snap}, Bookmarks: []Snapshot{}, Snapshot: &Made{Name: "s", Virtual: true, None: "n", Error: &Error{Stage: "snap", Kind: "k", Message: "m"}},
		Target: &Target{Host: "h", Name: "u", Facts: Facts{GUID: "9"}, Resume: &Resume{Token: "1-a", ToName: "x", ToGUID: "1", FromGUID: "2", Bytes: n, Flags: []string{"raw"}}},
		Steps: []Step{{Do: "receive", Side: "target", Dataset: "d", Snapshot: "s", GUID: "1", Tag: "t", From: "f", FromGUID: "1", To: "t", ToGUID: "2",
			Through: []Through{{"a", "1", nil}}, Flags: []string{"-L"}, Set: []string{"a=b"}, Exclude: []string{"c"}, Force: true, Token: "1", Origin: "o@p", Bytes: n, Undo: UndoReads, Why: "w"}},
		Conflict: &Conflict{Kind: "k", Message: "m", Snapshots: []Snapshot{{Name: "s"}}, Remedies: []string{"r"}},
		Results:  []Result{{Step: 0, Do: "receive", Done: true, To: "t", GUID: "1", Bytes: n, WireBytes: n, Seconds: Ptr(0.5), Rate: n, Commands: []string{"c"}, Message: "m"}},
		Thin:     &Thin{Source: []Verdict{{Name: "s", Keep: true, Why: []string{"w"}, Destroyed: true}}, Target: []Verdict{}, Dataset: "d"},
		Warnings: []string{"w"}, Error: &Error{Stage: "s", Kind: "k", Message: "m", Hint: "h"}, Unknown: jsontext.Value(`{"later":1}`)}
	want := `{"zab":1,"type":"dataset","backup":"b","host":"h","name":"t",` +
		`"kind":"filesystem","guid":"1","createtxg":"2","creation":1,"origin":"a@b","encryption":"on","encryptionroot":"t","keystatus":"available",` +
		`"written":1,"used":1,"referenced":1,"logicalreferenced":1,"volsize":1,"mounted":"yes","canmount":"on","mountpoint":"/","mountpoint_source":"local","receive_resume_token":"1-a",` +
		`"selected":true,"reason":"r","snapshots":[{"name":"s","guid":"1","createtxg":"2","creation":1,"written":1,"userrefs":1,"ours":true,"virtual":true}],"bookmarks":[],` +
		`"snapshot":{"name":"s","virtual":true,"none":"n","error":{"stage":"snap","kind":"k","message":"m"}},` +
		`"target":{"host":"h","name":"u","exists":false,"guid":"9","resume":{"token":"1-a","toname":"x","toguid":"1","fromguid":"2","bytes":1,"flags":["raw"]}},` +
		`"steps":[{"do":"receive","side":"target","dataset":"d","snapshot":"s","guid":"1","tag":"t","from":"f","from_guid":"1","to":"t","to_guid":"2","through":[{"name":"a","guid":"1"}],` +
		`"flags":["-L"],"set":["a=b"],"exclude":["c"],"force":true,"token":"1","origin":"o@p","bytes":1,"undo":"reads","why":"w"}],` +
		`"conflict":{"kind":"k","message":"m","snapshots":[{"name":"s"}],"remedies":["r"]},` +
		`"results":[{"step":0,"do":"receive","done":true,"to":"t","guid":"1","bytes":1,"wire_bytes":1,"seconds":0.5,"rate":1,"commands":["c"],"message":"m"}],` +
		`"thin":{"source":[{"name":"s","keep":true,"why":["w"],"destroyed":true}],"target":[],"dataset":"d"},` +
		`"warnings":["w"],"error":{"stage":"s","kind":"k","message":"m","hint":"h"},"later":1}` + "\n"
	var out bytes.Buffer
	if err := NewWriter(&out).Write(r); err != nil || out.String() != want {
		t.Errorf("%v\n got %swant %s", err, &out, want)
	}
}

// TestUnknownFields checks that a command that changes a record keeps its unknown fields
// at any depth unaltered, down to digits and escapes.
func TestUnknownFields(t *testing.T) {
	for _, at := range []string{
		`{"zab":1,"type":"dataset","name":"t",%s}`,
		`{"zab":1,"type":"dataset","name":"t","snapshots":[{"name":"s",%s}]}`,
		`{"zab":1,"type":"orphan","name":"t","source":{"name":"s",%s}}`,
		`{"zab":1,"type":"dataset","name":"t","bookmarks":[{"name":"s",%s}]}`,
		`{"zab":1,"type":"dataset","name":"t","snapshot":{"name":"s",%s}}`,
		`{"zab":1,"type":"dataset","name":"t","target":{"name":"u","exists":true,%s}}`,
		`{"zab":1,"type":"dataset","name":"t","target":{"name":"u","exists":true,"resume":{"token":"1",%s}}}`,
		`{"zab":1,"type":"dataset","name":"t","steps":[{"do":"x",%s}]}`,
		`{"zab":1,"type":"dataset","name":"t","steps":[{"do":"x","through":[{"name":"s",%s}]}]}`,
		`{"zab":1,"type":"dataset","name":"t","conflict":{"kind":"k","message":"m",%s}}`,
		`{"zab":1,"type":"dataset","name":"t","results":[{"step":0,"do":"x","done":true,%s}]}`,
		`{"zab":1,"type":"dataset","name":"t","thin":{"source":[{"name":"s","keep":true,"why":["w"],%s}]}}`,
		`{"zab":1,"type":"dataset","name":"t","thin":{"source":[],%s}}`,
		`{"zab":1,"type":"dataset","name":"t","error":{"stage":"s","kind":"k","message":"m",%s}}`,
	} {
		for _, field := range []string{`"x":1.50`, `"x":1e5`, `"x":-0`, `"x":18446744073709551616`, `"x":"\u00e9\/<&>\ud83d\ude00"`, `"x":null`,
			`"x":{"b":1,"a":[{}]}`, `"Name":"other","NAME":"case counts"`, `"x":1,"y":2`} {
			line := fmt.Sprintf(at, field)
			r, err := Parse([]byte(line))
			if err != nil {
				t.Errorf("%s: %v", line, err)
				continue
			}
			var out bytes.Buffer
			if err := NewWriter(&out).Write(r); err != nil || out.String() != line+"\n" {
				t.Errorf("%v\n got %swant %s", err, &out, line)
			}
		}
	}
}

const good = `{"zab":1,"type":"dataset","name":"tank/home"}`

// TestRefused checks P9: a line that is not understood yields an error with its number,
// and nothing after it is read.
func TestRefused(t *testing.T) {
	for _, c := range []struct{ what, line, message string }{
		{"nothing", "", "an empty line is not a record"},
		{"white space", " \t\r", "an empty line is not a record"},
		{"no JSON", "tank/home", "not a record"},
		{"an array", "[" + good + "]", "not a record"},
		{"two in a line", good + good, "not a record"},
		{"text after it", good + " x", "not a record"},
		{"a bare value", `"tank"`, "not a record"},
		{"null", "null", "version is missing"},
		{"no version", `{"type":"dataset","name":"t"}`, "version is missing"},
		{"version as text", `{"zab":"1","type":"dataset","name":"t"}`, "not a record"},
		{"a later version", `{"zab":2,"type":"dataset","name":"t"}`, "format version 2 is not known here, only 1"},
		{"an earlier version", `{"zab":-1,"type":"dataset","name":"t"}`, "format version -1"},
		{"a fraction of a version", `{"zab":1.5,"type":"dataset","name":"t"}`, "not a record"},
		{"no type", `{"zab":1,"name":"t"}`, `unknown type ""`},
		{"another type", `{"zab":1,"type":"snapshot","name":"t"}`, `unknown type "snapshot"`},
		{"what was not listed, without an error", `{"zab":1,"type":"unlisted","name":"t"}`, `type "unlisted" without the field "error"`},
		{"a type in capitals", `{"zab":1,"type":"Dataset","name":"t"}`, `unknown type "Dataset"`},
		{"a name twice", `{"zab":1,"type":"dataset","name":"t","name":"u"}`, "duplicate"},
		{"a name twice, escaped", `{"zab":1,"type":"dataset","name":"t","n\u0061me":"u"}`, "duplicate"},
		{"an unknown name twice", `{"zab":1,"type":"dataset","name":"t","x":1,"x":1}`, "duplicate"},
		{"a name twice further in", `{"zab":1,"type":"dataset","name":"t","steps":[{"do":"x","do":"y"}]}`, "duplicate"},
		{"a name twice in what is unknown", `{"zab":1,"type":"dataset","name":"t","x":{"a":1,"a":2}}`, "duplicate"},
		{"bad UTF-8", "{\"zab\":1,\"type\":\"dataset\",\"name\":\"t\xff\"}", "UTF-8"},
		{"bad UTF-8 in what is unknown", "{\"zab\":1,\"type\":\"dataset\",\"name\":\"t\",\"x\":\"\xc3\"}", "UTF-8"},
		{"half a surrogate", `{"zab":1,"type":"dataset","name":"t","reason":"\ud83d"}`, "not a record"},
		{"a number where text is", `{"zab":1,"type":"dataset","name":"t","guid":17}`, "not a record"},
		{"text where a number is", `{"zab":1,"type":"dataset","name":"t","written":"17"}`, "not a record"},
		{"a fraction of a byte", `{"zab":1,"type":"dataset","name":"t","written":1.5}`, "not a record"},
		{"a number that is too long", `{"zab":1,"type":"dataset","name":"t","written":9223372036854775808}`, "not a record"},
		{"a list where an object is", `{"zab":1,"type":"dataset","name":"t","target":[]}`, "not a record"},
	} {
		in := good + "\n" + c.line + "\n" + good + "\n"
		r := NewReader(strings.NewReader(in))
		if _, err := r.Read(); err != nil {
			t.Fatal(err)
		}
		rec, err := r.Read()
		var input *InputError
		if rec != nil || !errors.As(err, &input) || input.Line != 2 || !strings.Contains(err.Error(), c.message) || !strings.HasPrefix(err.Error(), "line 2: ") {
			t.Errorf("%s: %v, %v", c.what, rec, err)
		}
		if strings.Contains(err.Error(), "jsontext: ") {
			t.Errorf("%s: %v", c.what, err)
		}
		if again, err2 := r.Read(); again != nil || err2 != err {
			t.Errorf("%s: the line after it was read: %v, %v", c.what, again, err2)
		}
	}
}

// TestRefusedNames checks P9: no name in a record can be taken for an option, a range or
// list of snapshots, several words, or a part of a shell command.
func TestRefusedNames(t *testing.T) {
	datasets := []string{"", "-", "-r", "--", "/", "/tank", "tank/", "tank//a", "tank/.", "../tank", "tank/../x", "tank@a", "tank#a", "tank;reboot", "tank$x", "tank`x`",
		"tank\na", "tank\ta", "tank\x00a", "tank\x7f", "tank'a", `tank"a`, `tank\a`, "tank,a", "tank(a)", "tänk", strings.Repeat("x", 256)}
	snapshots := []string{"", "a@b", "a#b", "a/b", "a,b", "a%b", "%", "a;b", "a\nb", "a\x00", "ä", "a'b", "a*", strings.Repeat("x", 256)}
	fulls := []string{"tank", "tank#a", "@a", "tank@", "-r@a", "tank@a@b", "tank@a,b", "tank@a%b"}
	hosts := []string{"-oProxyCommand=x", "-", "a b", "a\nb", "a\x00", "a\x7f", "a`id`", "$(id)", "a;b", "(a)", "a|b", "a&b", "a<b", "a>b", "a'b", `a"b`, `a\b`,
		"a*b", "a?b", "a!b", "a#b", "~a", "{a,b}", "a,b", "a=b", "a^b", "é", "vаult", "a\u0085b", "a\u202eb", "a/b", "%h", "root@-a", "-l@a", "@a", "a@", "root@",
		"nas:tank/backup", "root@nas:tank", "nas:22", "ssh://", "ssh://a:", "ssh://a:x", "ssh://a:0", "ssh://a:65536", "ssh://a:+1", "ssh://a/b", "ssh://::1", "http://a",
		"[a]", "[::1", "::1]", "::1%e`id`", "1:2", strings.Repeat("a", 321)}
	numbers := []string{"x", "-1", "1.5", "0x1f", " 1", "18446744073709551616", "1e5"}
	tokens := []string{"-t", "1-a b", "1-a\n", "1\x00"}
	quote := func(s string) string { b, _ := jsontext.AppendQuote(nil, s); return string(b) }
	for _, c := range []struct {
		at  string
		bad []string
	}{
		{`"name":%s`, datasets},
		{`"name":"t","host":%s`, hosts},
		{`"name":"t","guid":%s`, numbers},
		{`"name":"t","createtxg":%s`, numbers},
		{`"name":"t","kind":%s`, []string{"snapshot", "Filesystem"}},
		{`"name":"t","origin":%s`, fulls},
		{`"name":"t","snapshots":[{"name":%s}]`, snapshots},
		{`"name":"t","snapshots":[{"name":"a","guid":%s}]`, numbers},
		{`"name":"t","snapshots":[{"name":"a","createtxg":%s}]`, numbers},
		{`"name":"t","bookmarks":[{"name":%s}]`, snapshots},
		{`"name":"t","snapshot":{"name":%s}`, snapshots[1:]},
		{`"name":"t","target":{"exists":true,"name":%s}`, datasets},
		{`"name":"t","target":{"exists":true,"name":"u","host":%s}`, hosts},
		{`"name":"t","target":{"exists":true,"name":"u","origin":%s}`, fulls},
		{`"name":"t","target":{"exists":true,"name":"u","snapshots":[{"name":%s}]}`, snapshots},
		{`"name":"t","target":{"exists":true,"name":"u","bookmarks":[{"name":%s}]}`, snapshots},
		{`"name":"t","steps":[{"do":"x","dataset":%s}]`, datasets[1:]},
		{`"name":"t","steps":[{"do":"x","snapshot":%s}]`, snapshots[1:]},
		{`"name":"t","steps":[{"do":"x","to":%s}]`, snapshots[1:]},
		{`"name":"t","steps":[{"do":"x","from":%s}]`, append([]string{"#", "##", "#a%b", "a,b", "a/b", "-r@a", "tank@"}, fulls[2:]...)},
		{`"name":"t","steps":[{"do":"x","origin":%s}]`, fulls},
		{`"name":"t","steps":[{"do":"x","through":[{"name":%s}]}]`, snapshots},
		{`"name":"t","steps":[{"do":"x","through":[{"name":"a","guid":%s}]}]`, numbers},
		{`"name":"t","steps":[{"do":"x","guid":%s}]`, numbers},
		{`"name":"t","steps":[{"do":"x","from_guid":%s}]`, numbers},
		{`"name":"t","steps":[{"do":"x","to_guid":%s}]`, numbers},
		{`"name":"t","steps":[{"do":"x","token":%s}]`, tokens},
	} {
		for _, bad := range c.bad {
			line := `{"zab":1,"type":"dataset",` + fmt.Sprintf(c.at, quote(bad)) + "}"
			if r, err := Parse([]byte(line)); err == nil {
				t.Errorf("%s was taken for %+v", line, r)
			}
		}
	}
}

// TestCutOff checks that only the newline commits a line: a line cut off before it is not
// a record, even if it looks like one.
func TestCutOff(t *testing.T) {
	for n := 1; n <= len(good); n++ {
		r := NewReader(strings.NewReader(good + "\n" + good[:n]))
		if _, err := r.Read(); err != nil {
			t.Fatal(err)
		}
		rec, err := r.Read()
		var input *InputError
		if rec != nil || !errors.As(err, &input) || input.Line != 2 {
			t.Fatalf("%d bytes of a line: %v, %v", n, rec, err)
		}
	}
	if all, err := NewReader(strings.NewReader("")).ReadAll(); len(all) != 0 || err != nil {
		t.Errorf("nothing at all: %v, %v", all, err)
	}
}

// TestReadError checks that a read error of the pipe is not taken for the end of the
// records.
func TestReadError(t *testing.T) {
	broken := errors.New("broken")
	r := NewReader(io.MultiReader(strings.NewReader(good+"\n"+good[:9]), errReader{broken}))
	all, err := r.ReadAll()
	if len(all) != 1 || !errors.Is(err, broken) {
		t.Errorf("%v, %v", all, err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// TestLongLine checks that lines may be of any length, such as that of a dataset with a
// hundred thousand snapshots.
func TestLongLine(t *testing.T) {
	r := &Record{Type: TypeDataset, Name: "tank"}
	for i := range 20000 {
		r.Snapshots = append(r.Snapshots, Snapshot{Name: fmt.Sprintf("offsite1-%014d", i), GUID: strconv.Itoa(i + 1)})
	}
	var out bytes.Buffer
	if err := NewWriter(&out).Write(r); err != nil {
		t.Fatal(err)
	}
	got, err := NewReader(&out).Read()
	if err != nil || len(got.Snapshots) != len(r.Snapshots) {
		t.Error(err)
	}
}

// counter records each write.
type counter struct{ writes []string }

func (c *counter) Write(p []byte) (int, error) {
	c.writes = append(c.writes, string(p))
	return len(p), nil
}

// TestOneWriteEach checks that each record is a single write, so that records of several
// writers to one pipe do not mix and a reader gets each at once; and that Pass changes no
// byte, even where Write would.
func TestOneWriteEach(t *testing.T) {
	line := `{ "zab":1 , "x":[1, 2],"type":"dataset","name":"\u0074ank", "reason":"` + strings.Repeat("x", 100000) + `" }` + "\r"
	r, err := Parse([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	c := &counter{}
	w := NewWriter(c)
	made := &Record{Type: TypeDataset, Name: "tank"}
	for _, err := range []error{w.Pass(r), w.Write(r), w.Pass(made), w.Pass(r)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(c.writes) != 4 || c.writes[0] != line+"\n" || c.writes[3] != line+"\n" || strings.Count(c.writes[1], "\n") != 1 || c.writes[2] != "{\"zab\":1,\"type\":\"dataset\",\"name\":\"tank\"}\n" {
		t.Errorf("%d writes: %.300q", len(c.writes), c.writes)
	}
}

func TestWriteError(t *testing.T) {
	broken := errors.New("broken pipe")
	w := NewWriter(errWriter{broken})
	if err := w.Write(&Record{Type: TypeDataset, Name: "a"}); !errors.Is(err, broken) {
		t.Error(err)
	}
	// A record of no dataset cannot be written in any form, and is not written at all.
	for _, r := range []*Record{{Type: TypeDataset, Name: "a\xff"}, {Type: TypeDataset}, {Name: "a"}} {
		c := &counter{}
		if err := NewWriter(c).Write(r); err == nil || len(c.writes) > 0 {
			t.Errorf("%+v: %v, %q", r, err, c.writes)
		}
	}
}

type errWriter struct{ err error }

func (w errWriter) Write([]byte) (int, error) { return 0, w.err }

// TestSkip checks that the first error of a record stays, and that records with an error
// or not selected are skipped.
func TestSkip(t *testing.T) {
	r := &Record{}
	if r.Skip() {
		t.Error("a record with nothing against it is skipped")
	}
	r.Fail(Error{Stage: "plan", Message: "first"})
	r.Fail(Error{Stage: "xfer", Message: "second"})
	if !r.Skip() || r.Error.Message != "first" {
		t.Errorf("%+v", r.Error)
	}
	if !(&Record{Selected: Ptr(false)}).Skip() || (&Record{Selected: Ptr(true)}).Skip() {
		t.Error("selected is not looked at")
	}
	r.Warn("%d", 1)
	r.Warn("%d", 2)
	r.Warn("%d", 1)
	if len(r.Warnings) != 2 {
		t.Errorf("%q", r.Warnings)
	}
}

// operands returns the names of a record that become single words of a command line.
func operands(r *Record) []string {
	all := []string{r.Name, r.Host, r.Origin}
	if r.Target != nil {
		all = append(all, r.Target.Name, r.Target.Host, r.Target.Origin)
	}
	for i := range r.Steps {
		s := &r.Steps[i]
		all = append(all, s.Dataset, s.Token, s.Origin)
		if strings.Contains(s.From, "@") {
			all = append(all, s.From)
		}
	}
	return all
}

// snapshotsOf returns the names of a record that follow @ or #.
func snapshotsOf(r *Record) []string {
	var all []string
	add := func(list []Snapshot) {
		for i := range list {
			all = append(all, list[i].Name)
		}
	}
	add(r.Snapshots)
	add(r.Bookmarks)
	if r.Target != nil {
		add(r.Target.Snapshots)
		add(r.Target.Bookmarks)
	}
	for i := range r.Steps {
		s := &r.Steps[i]
		all = append(all, s.Snapshot, s.To)
		for _, t := range s.Through {
			all = append(all, t.Name)
		}
	}
	return all
}

// FuzzParse checks P9: no accepted record has a name that could be taken for anything
// else, and an accepted record is the same when it is written and read again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(`{"zab":1,"type":"orphan","name":"t","target":{"name":"u","exists":true,"snapshots":[{"name":"a","guid":"1","x":1.50}],"resume":{"token":"1-a"}},"y":{"a":[1,"\u00e9"]}}`))
	f.Add([]byte(`{"zab":1,"type":"dataset","name":"t","steps":[{"do":"receive","from":"#a","to":"b","through":[{"name":"c"}],"flags":["-R"],"token":"1-b"}],"results":[{"step":0,"do":"x","done":true,"seconds":0.1}]}`))
	f.Add([]byte(`{"zab":1,"type":"dataset","name":"-r","host":"-o"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		same(t, line)
		r, err := Parse(line)
		if err != nil {
			return
		}
		for _, n := range operands(r) {
			if strings.HasPrefix(n, "-") || strings.ContainsAny(n, "\x00\n\t") {
				t.Errorf("%q is accepted", n)
			}
		}
		for _, n := range snapshotsOf(r) {
			if strings.ContainsAny(n, "@#/,%\x00\n\t") {
				t.Errorf("%q is accepted after @", n)
			}
		}
		var a, b bytes.Buffer
		if err := NewWriter(&a).Write(r); err != nil {
			t.Fatal(err)
		}
		again, err := NewReader(bytes.NewReader(a.Bytes())).Read()
		if err != nil {
			t.Fatalf("%v: %s", err, &a)
		}
		if err := NewWriter(&b).Write(again); err != nil || b.String() != a.String() {
			t.Errorf("%v\n%s%s", err, &a, &b)
		}
		again.raw, r.raw, again.Line = "", "", 0
		if !reflect.DeepEqual(canonical(r), canonical(again)) {
			t.Errorf("\n%+v\n%+v", r, again)
		}
	})
}

// canonical removes the white space between the tokens of unknown fields.
func canonical(r *Record) *Record {
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				walk(v.Elem())
			}
		case reflect.Slice:
			if value, ok := v.Interface().(jsontext.Value); ok {
				if len(value) > 0 {
					_ = value.Compact(jsontext.PreserveRawStrings(true))
					v.Set(reflect.ValueOf(value))
				}
				return
			}
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Struct:
			for i := range v.NumField() {
				if v.Type().Field(i).IsExported() {
					walk(v.Field(i))
				}
			}
		}
	}
	walk(reflect.ValueOf(r))
	return r
}

// TestMessagesOfAnyBytes checks P7: messages of programs in any encoding do not keep a
// record from being written.
func TestMessagesOfAnyBytes(t *testing.T) {
	r := &Record{Type: TypeDataset, Name: "tank/a"}
	r.Warn("%s", "\xfcber")
	r.Fail(Error{Stage: "xfer", Kind: "other", Message: "a\xff"})
	var b bytes.Buffer
	if err := NewWriter(&b).Write(r); err != nil {
		t.Fatal(err)
	}
	all, err := NewReader(&b).ReadAll()
	if err != nil || len(all) != 1 || all[0].Error.Message != "a\uFFFD" || all[0].Warnings[0] != "\uFFFDber" {
		t.Errorf("%+v, %v", all, err)
	}
}

// TestCheckStream checks that zab:stream is none, parent, or some of the flags, each once
// and in order.
func TestCheckStream(t *testing.T) {
	for _, good := range []string{"none", "parent", "L", "w", "x", "L,w", "L,x", "w,x", "L,w,x"} {
		if err := CheckStream(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", ",", "L,", ",L", "x,L", "L,L", "Lx", "L,,x", "none,x", "parent,x", "l", "L w"} {
		if CheckStream(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// TestCheckFrom checks that zab:from has each pool once, and not without end.
func TestCheckFrom(t *testing.T) {
	list := func(n int) string {
		var guids []string
		for i := range n {
			guids = append(guids, strconv.FormatUint(math.MaxUint64-uint64(i), 10))
		}
		return strings.Join(guids, ",")
	}
	for _, good := range []string{"1", "2,1", list(64)} {
		if err := CheckFrom(good); err != nil {
			t.Errorf("%.60q: %v", good, err)
		}
	}
	for bad, why := range map[string]string{"": "not a guid", "1,": "not a guid", "1,1": "guid 1 twice", "3,2,1,2": "guid 2 twice", list(65): "65 pools, more than 64", list(64) + ",1": "65 pools"} {
		if err := CheckFrom(bad); err == nil || !strings.Contains(err.Error(), why) || len(err.Error()) > 200 {
			t.Errorf("%.60q: %v", bad, err)
		}
	}
}
