package record

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"pgregory.net/rapid"
)

// library parses a line as Parse does, but by the JSON library alone.
func library(line []byte) (*Record, error) {
	r := &Record{raw: string(line)}
	if err := json.Unmarshal(line, r); err != nil {
		return nil, tidy(err)
	}
	return r, r.check()
}

// same checks that Parse and the library read the same record from a line, or fail with
// the same error, and that both write it with the same bytes.
func same(t interface{ Errorf(string, ...any) }, line []byte) {
	got, err := Parse(line)
	if len(bytes.TrimSpace(line)) == 0 {
		return
	}
	want, err2 := library(line)
	if fmt.Sprint(err) != fmt.Sprint(err2) {
		t.Errorf("%.300s\n got %v\nwant %v", line, err, err2)
	}
	if err != nil || err2 != nil {
		return
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%.300s\n got %+v\nwant %+v", line, got, want)
	}
	var a, b bytes.Buffer
	err = NewWriter(&a).Write(got)
	err2 = marshal(&b, want)
	if b.WriteByte('\n'); err != nil || err2 != nil || a.String() != b.String() {
		t.Errorf("%v, %v\n got %.500s\nwant %.500s", err, err2, &a, &b)
	}
}

// TestListsAreTheLibrarys checks that lists read and written by hand equal those of the
// library, for lines in zab's own form and in any other.
func TestListsAreTheLibrarys(t *testing.T) {
	list := `[{"name":"a","guid":"1","createtxg":"2","creation":0,"written":17,"userrefs":3,"holds":["x","y"],"ours":true,"virtual":false,"needed":"z"},{"name":"b"},{"guid":"4","name":"c"},{"name":"d"},{"name":"e","holds":[]}]`
	thin := `[{"name":"a","keep":true,"why":["1d1w: first of 2026-11-20","not ours"]},{"name":"b","keep":false,"why":[],"destroyed":true},{"name":"c","keep":false,"why":["w"]},{"name":"d","keep":false,"why":["it's"]}]`
	whole := `{"zab":1,"type":"dataset","name":"t","snapshots":` + list + `,"bookmarks":` + list + `,"target":{"name":"u","exists":true,"snapshots":` + list + `,"bookmarks":[],"x":{"snapshots":[1]}},"thin":{"source":` + thin + `,"target":` + thin + `},"x":{"snapshots":[{"y":1}]}}`
	if _, ok := parseCut(whole); !ok {
		t.Error("zab's own form is not read by hand")
	}
	same(t, []byte(whole))
	for _, c := range []struct{ from, to string }{
		{`"guid":"1"`, `"guid":"1","guid":"1"`}, {`"guid":"1"`, `"guid":1`}, {`"guid":"1"`, `"guid":"x"`}, {`"guid":"1"`, `"guid":null`},
		{`"guid":"1"`, `"guid": "1"`}, {`"guid":"1"`, `"x":1.50`}, {`"guid":"1"`, `"\u0067uid":"1"`}, {`"guid":"1"`, `"GUID":"1"`}, {`"guid":"1"`, ``},
		{`"name":"b"`, `"name":"\u0062"`}, {`"name":"b"`, `"name":"ä"`}, {`"name":"b"`, "\"name\":\"b\xff\""}, {`"name":"b"`, "\"name\":\"b\x01\""}, {`"name":"b"`, `"name":"b@c"`},
		{`{"name":"b"}`, `{}`}, {`{"name":"b"}`, `null`}, {`{"name":"b"}`, `[]`}, {`{"name":"b"}`, ``}, {`{"name":"b"},`, `{"name":"b"}`}, {`"written":17`, `"written":017`},
		{`"written":17`, `"written":-17`}, {`"written":17`, `"written":1e3`}, {`"written":17`, `"written":9223372036854775807`}, {`"written":17`, `"written":9223372036854775808`},
		{`"ours":true`, `"ours":1`}, {`"ours":true`, `"ours":truefalse`}, {`"holds":[]`, `"holds":null`}, {`"holds":["x","y"]`, `"holds":["x",7]`}, {`"holds":["x","y"]`, `"holds":["\"","<>&"]`},
		{`"why":[]`, `"why":null`}, {`"keep":true`, `"keep":true,"keep":true`}, {`"it's"`, `"it\u0027s"`}, {`"it's"`, `"\ud83d"`}, {`"it's"`, `"` + "\u2028" + `"`},
		{`"bookmarks":[`, `"bookmarks" : [ `}, {`"bookmarks":[`, `"snapshots":[`}, {`"bookmarks":[`, `"b\u006fokmarks":[`}, {`"bookmarks":[`, `"bookmarks":[[`}, {`"bookmarks":[`, `"b":"bookmarks":[`},
		{`"target":{`, `"target":[{`}, {`"thin":{`, `"then":{`}, {`"thin":{`, `"thin":{"source":[],`}, {`"type":"dataset"`, `"type":"dataset","reason":"\"snapshots\":["`}, {`"x":{"snapshots"`, `"x":[{"snapshots"`},
		{`{"zab":1`, `[{"zab":1`}, {`{"zab":1`, ` {"zab":1`}, {`{"zab":1`, `"zab":1`}, {`}}`, `}`}, {`]}}`, `]}}}`},
	} {
		if !strings.Contains(whole, c.from) {
			t.Errorf("%s is not in the line", c.from)
		}
		same(t, []byte(strings.Replace(whole, c.from, c.to, 1)))
	}
	for n := range whole {
		same(t, []byte(whole[:n]))
		same(t, []byte(whole[:n]+whole[n+1:]))
	}
}

// TestWrittenAsTheLibrary checks that records with any texts are written as the library
// would write them.
func TestWrittenAsTheLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.StringMatching("[ -~]{0,6}"), rapid.String())
		num := rapid.Ptr(rapid.Int64(), true)
		list := rapid.SliceOf(rapid.Custom(func(t *rapid.T) Snapshot {
			f := SnapshotFields{Name: text.Draw(t, "name"), GUID: text.Draw(t, "guid"), CreateTXG: text.Draw(t, "txg"), Creation: num.Draw(t, "creation"),
				Written: num.Draw(t, "written"), UserRefs: num.Draw(t, "refs"), Ours: rapid.Bool().Draw(t, "ours"), Virtual: rapid.Bool().Draw(t, "virtual"),
				Needed: text.Draw(t, "needed"), Holds: rapid.SliceOf(text).Draw(t, "holds")}
			return f.Snapshot()
		}))
		verdicts := rapid.SliceOf(rapid.Custom(func(t *rapid.T) Verdict {
			return Verdict{Name: text.Draw(t, "name"), Keep: rapid.Bool().Draw(t, "keep"), Why: rapid.SliceOf(text).Draw(t, "why"), Destroyed: rapid.Bool().Draw(t, "destroyed")}
		}))
		r := &Record{Zab: 1, Type: TypeDataset, Name: "t", Snapshots: list.Draw(t, "s"), Bookmarks: list.Draw(t, "b"),
			Target: &Target{Name: "u", Snapshots: list.Draw(t, "ts")}, Thin: &Thin{Source: verdicts.Draw(t, "v"), Target: verdicts.Draw(t, "w")}}
		var a Writer
		var b bytes.Buffer
		err, err2 := a.encode(r), marshal(&b, r)
		if b.WriteByte('\n'); (err == nil) != (err2 == nil) || err == nil && a.buf.String() != b.String() {
			t.Fatalf("%v, %v\n got %s\nwant %s", err, err2, &a.buf, &b)
		}
	})
}
