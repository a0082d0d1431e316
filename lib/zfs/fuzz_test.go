package zfs

import (
	"slices"
	"strings"
	"testing"

	"zab/lib/record"
)

// A row of zfs list is parsed without loss, or refused; no part of it could be taken for
// something else on a command line.
func FuzzRow(f *testing.F) {
	f.Add("tank/a b@1-2\t7639482752644581550\t13")
	f.Add("tank/a#m\t1\t22")
	f.Add("tank\t\t\t")
	f.Add("@\t#\t-")
	f.Fuzz(func(t *testing.T, line string) {
		p := rowParser{types: Datasets | Snapshots | Bookmarks}
		r, err := p.parse(line)
		if err != nil {
			return
		}
		if back := r.Full() + "\t" + r.GUID + "\t" + r.CreateTXG; back != line {
			t.Errorf("%q becomes %+v", line, r)
		}
		if r.Snapshot != "" && r.Bookmark != "" || argNameOrPoint(r.Full()) != nil {
			t.Errorf("%q becomes %+v", line, r)
		}
		_ = r.Entry()
	})
}

// Any text on a program's stderr becomes one line, and has a kind.
func FuzzMessage(f *testing.F) {
	for _, m := range messages {
		f.Add(m.message)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if k := Classify(text); k == "" {
			t.Errorf("%q has no kind", text)
		}
		lines := splitLines(text)
		e := &Error{Kind: classify(lines), Argv: []string{"zfs"}, Code: 1, Lines: lines}
		if line := e.Message(); strings.ContainsAny(line, "\n\r") {
			t.Errorf("%q becomes %q", text, line)
		}
		err := ignoreKind(e, record.KindExists)
		if err == nil && slices.ContainsFunc(telling(lines), func(l string) bool { return Classify(l) != record.KindExists }) {
			t.Errorf("%q passes as %s", lines, record.KindExists)
		}
		if err != nil && KindOf(err) == "" {
			t.Errorf("%q: %v has no kind", text, err)
		}
	})
}

// Lines are returned unchanged, or there is an error.
func FuzzEachLine(f *testing.F) {
	f.Add("a\nb\n")
	f.Add("\n\na")
	f.Add(strings.Repeat("x", 70000) + "\ny")
	f.Fuzz(func(t *testing.T, text string) {
		var got []string
		err := eachLine(strings.NewReader(text), 100, func(l string) error { got = append(got, l); return nil })
		whole := text == "" || strings.HasSuffix(text, "\n")
		for l := range strings.Lines(text) {
			whole = whole && len(l) <= 100
		}
		if (err == nil) != whole {
			t.Errorf("%q: %v", text, err)
		}
		if back := strings.Join(got, "\n"); err == nil && text != "" && back+"\n" != text {
			t.Errorf("%q becomes %q", text, got)
		}
	})
}
