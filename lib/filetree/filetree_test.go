package filetree

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"zab/lib/hashfunc"
)

func TestEscape(t *testing.T) {
	for raw, want := range map[string]string{
		"a/b": "a/b", "": "", "100%": "100%25", "a\nb": "a%0Ab", `"\`: "%22%5C", "\xff\xfe": "%FF%FE", "é": "%C3%A9", "<&>": "%3C%26%3E", " ~": " ~", "\x7f": "%7F",
	} {
		if got := Escape(raw); got != want {
			t.Errorf("%q: %q, want %q", raw, got, want)
		}
		if got, err := Unescape(want); got != raw || err != nil {
			t.Errorf("%q: %q, %v", want, got, err)
		}
	}
	for _, bad := range []string{"%", "%4", "a%4", "%+1", "%zz", "%0x"} {
		if got, err := Unescape(bad); err == nil {
			t.Errorf("%q: %q", bad, got)
		}
	}
}

func TestCompare(t *testing.T) {
	// The order of the tree: a directory is followed by what is in it.
	want := []string{".", "%01", "a", "a/%01", "a/b", "a/b/c", "a%01", "a-", "a.b", "ab", "b", "%C3%A9"}
	got := slices.Clone(want)
	rand.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
	slices.SortFunc(got, Compare)
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	for _, p := range want {
		if Compare(p, p) != 0 {
			t.Errorf("%q is not itself", p)
		}
	}
}

func TestParseEntry(t *testing.T) {
	good := (&Entry{Type: "entry", Path: "a%0Ab", Kind: KindFile, Mode: "644", Owner: "0:0", MTime: "1.000000000", Content: "00"}).String()
	if e, err := ParseEntry(good); err != nil || e.Path != "a%0Ab" {
		t.Errorf("%+v, %v", e, err)
	}
	for what, bad := range map[string]string{
		"nothing":              "",
		"an array":             "[]",
		"of another type":      strings.Replace(good, `"entry"`, `"object"`, 1),
		"an unknown field":     strings.Replace(good, `"kind"`, `"x":1,"kind"`, 1),
		"a field twice":        strings.Replace(good, `"kind"`, `"path":"b","kind"`, 1),
		"a name in capitals":   strings.Replace(good, `"kind"`, `"Kind"`, 1),
		"a raw newline":        strings.Replace(good, "%0A", `\n`, 1),
		"lower case":           strings.Replace(good, "%0A", "%0a", 1),
		"a letter was escaped": strings.Replace(good, "%0A", "%41", 1),
		"something behind":     good + " ",
		"a digest":             `{"type":"digest"}`,
	} {
		if e, err := ParseEntry(bad); err == nil {
			t.Errorf("%s: %+v", what, e)
		}
	}
}

func TestDifference(t *testing.T) {
	a := Entry{Kind: KindFile, Size: 1, Content: "x", Mode: "644", Owner: "0:0", MTime: "1", Attributes: "y"}
	for want, change := range map[string]func(*Entry){
		"":                 func(*Entry) {},
		"kind":             func(e *Entry) { e.Kind, e.Size = KindLink, 0 },
		"size content":     func(e *Entry) { e.Size, e.Content = 2, "z" },
		"mode owner":       func(e *Entry) { e.Mode, e.Owner = "755", "0:5" },
		"mtime":            func(e *Entry) { e.MTime = "2" },
		"flags attributes": func(e *Entry) { e.Flags, e.Attributes = "i", "" },
		"links":            func(e *Entry) { *e = Entry{Kind: KindFile, Same: "b"} },
		"target":           func(e *Entry) { e.Target = "b" },
		"device":           func(e *Entry) { e.Device = "1:2" },
	} {
		b := a
		change(&b)
		if got := strings.Join(a.Difference(&b), " "); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestParseLine(t *testing.T) {
	good := `{"type":"files","version":1,"algorithm":"sha256","name":"a@b","guid":"5","xattr":"on","acltype":"off","entries":1,"bytes":0,"digest":"` + strings.Repeat("0", 64) + `"}`
	if l, err := ParseLine(good, hashfunc.SHA256); err != nil || l.GUID != "5" || l.XAttr != "on" {
		t.Errorf("%+v, %v", l, err)
	}
	for _, c := range [][2]string{{`"files"`, `"digest"`}, {`"version":1`, `"version":2`}, {"sha256", "md5"}, {"sha256", "blake3"}, {`"5"`, `"0"`}, {`"5"`, `"x"`},
		{`"entries":1`, `"entries":0`}, {`"bytes":0`, `"bytes":-1`}, {"000", "0"}, {"}", ""}} {
		bad := strings.Replace(good, c[0], c[1], 1)
		if l, err := ParseLine(bad, hashfunc.SHA256); err == nil {
			t.Errorf("%s: %+v", bad, l)
		}
	}
}

// FuzzEntry: what is accepted is what was printed, and no name changes the form of a line.
func FuzzEntry(f *testing.F) {
	f.Add("a\nb", `{"type":"entry","path":"x","kind":"file"}`)
	f.Fuzz(func(t *testing.T, name, line string) {
		if e, err := ParseEntry(line); err == nil && e.String() != line {
			t.Errorf("%q became %q", line, e.String())
		}
		e := Entry{Type: "entry", Path: Escape(name), Kind: KindLink, Target: Escape(name)}
		s := e.String()
		got, err := ParseEntry(s)
		if err != nil || got != e || strings.ContainsAny(s, "\n\\") {
			t.Errorf("%q: %q, %+v, %v", name, s, got, err)
		}
		if raw, err := Unescape(got.Path); raw != name || err != nil {
			t.Errorf("%q became %q, %v", name, raw, err)
		}
	})
}
