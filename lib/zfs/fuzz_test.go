package zfs

import (
	"errors"
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

// Lines are passed on unchanged, however they are cut up by writes, or there is an error.
func FuzzRowWriter(f *testing.F) {
	f.Add("a\nb\n", 1)
	f.Add("\n\na", 2)
	f.Add(strings.Repeat("x", 70000)+"\ny", 4096)
	f.Fuzz(func(t *testing.T, text string, chunk int) {
		var got []string
		w := &rowWriter{limit: 100, left: maxAnswer.allow(), row: func(l string) error { got = append(got, l); return nil }, end: func(error) {}}
		for c := range slices.Chunk([]byte(text), min(max(chunk, 1), 1<<20)) {
			if n, err := w.Write(c); n != len(c) || err != nil {
				t.Fatal(n, err)
			}
		}
		err := w.close()
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

// The rest of an unusable answer is discarded, and the program is ended when there is too
// much of it. When nobody reads the answer any more, nothing is passed on.
func TestRowWriterAfterError(t *testing.T) {
	bad := errors.New("bad")
	var ended error
	rows := 0
	w := &rowWriter{limit: maxLine, left: maxAnswer.allow(), row: func(string) error { rows++; return bad }, end: func(err error) { ended = err }}
	_, _ = w.Write([]byte("a\nb\n"))
	for range maxRest>>10 - 1 {
		if _, err := w.Write(make([]byte, 1<<10)); err != nil || ended != nil {
			t.Fatal(err, ended)
		}
	}
	if _, err := w.Write(make([]byte, 2<<10)); err != nil || !errors.Is(ended, bad) {
		t.Error(err, ended)
	}
	if err := w.close(); !errors.Is(err, bad) {
		t.Error(err)
	}
	if _, err := w.Write([]byte("c\n")); err == nil || rows != 1 {
		t.Error(err, rows)
	}
}
