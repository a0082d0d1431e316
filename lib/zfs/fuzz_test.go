package zfs

import (
	"strings"
	"testing"
)

// What zfs list prints is taken apart without loss, or refused.
func FuzzRow(f *testing.F) {
	f.Add("tank/a b@1-2\t7639482752644581550\t13")
	f.Add("tank/a#m\t1\t-")
	f.Add("tank\t\t\t")
	f.Add("@\t#\t-")
	f.Fuzz(func(t *testing.T, line string) {
		r, err := parseRow(line, 3)
		if err != nil {
			if strings.Count(line, "\t") == 2 {
				t.Errorf("%q: %v", line, err)
			}
			return
		}
		name, rest, _ := strings.Cut(line, "\t")
		back := r.Dataset
		switch {
		case strings.Contains(name, "@"):
			back += "@" + r.Snapshot
		case strings.Contains(name, "#"):
			back += "#" + r.Bookmark
		}
		if name != "-" && back != name || strings.ReplaceAll(rest, "-", "") != strings.ReplaceAll(r.GUID+"\t"+r.CreateTXG, "-", "") {
			t.Errorf("%q becomes %+v", line, r)
		}
		if r.Snapshot != "" && r.Bookmark != "" {
			t.Errorf("%q is both: %+v", line, r)
		}
		_ = r.Entry()
	})
}

// Whatever a program says on stderr becomes one line, and has a kind.
func FuzzMessage(f *testing.F) {
	for _, m := range messages {
		f.Add(m.message)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if k := Classify(text); k == "" {
			t.Errorf("%q has no kind", text)
		}
		line := oneLine(text)
		if strings.ContainsAny(line, "\n\r") || strings.TrimSpace(line) != line {
			t.Errorf("%q becomes %q", text, line)
		}
		err := tolerate(&Error{Kind: Classify(line), Argv: []string{"zfs"}, Code: 1, Message: line}, KindExists)
		if err == nil && Classify(line) != KindExists && !strings.Contains(line, "; ") {
			t.Errorf("%q passes as %s", line, KindExists)
		}
		if err != nil && KindOf(err) == "" {
			t.Errorf("%q: %v has no kind", text, err)
		}
	})
}

// Lines come out as they went in, whatever their length.
func FuzzEachLine(f *testing.F) {
	f.Add("a\nb\n")
	f.Add("\n\na")
	f.Add(strings.Repeat("x", 70000) + "\ny")
	f.Fuzz(func(t *testing.T, text string) {
		var got []string
		if err := eachLine(strings.NewReader(text), func(l string) error { got = append(got, l); return nil }); err != nil {
			t.Fatal(err)
		}
		if back := strings.Join(got, "\n"); back != strings.TrimSuffix(text, "\n") {
			t.Errorf("%q becomes %q", text, got)
		}
	})
}
