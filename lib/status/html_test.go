package status

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"zab/lib/cli"
	"zab/lib/record"
)

// nightly returns the snapshots of a backup named b that ran at certain times, given as
// ages in days and with the guid as the age.
func nightly(days ...int) []record.Snapshot {
	out := []record.Snapshot{}
	for i, d := range days {
		at := time.Unix(now-3*hour, 0).UTC().AddDate(0, 0, -d)
		out = append(out, record.Snapshot{Name: "b-" + at.Format("20060102150405"), GUID: fmt.Sprint(1000 + d),
			CreateTXG: fmt.Sprint(10 + i), Creation: record.Ptr(at.Unix()), Ours: true})
	}
	return out
}

// usual are the ages in days of what the default schedules keep.
var usual = []int{330, 300, 270, 240, 210, 180, 150, 120, 90, 60, 30, 23, 16, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}

// allKinds returns records of all verdicts, and with all that a page shows.
func allKinds() []*record.Record {
	named := func(name string, r *record.Record, change func(r *record.Record)) *record.Record {
		r.Name, r.Target.Name = name, "bk/"+name
		r.Used, r.Target.Used, r.Referenced = record.Ptr[int64](3<<30), record.Ptr[int64](2<<30), record.Ptr[int64](1<<30)
		if change != nil {
			change(r)
		}
		return r
	}
	return []*record.Record{
		named("tank/ok", selected(2048, nightly(usual...), nightly(usual...)), func(r *record.Record) {
			r.Status = &record.Status{Proof: record.ProofFull, ProofTime: record.Ptr[int64](now - 9*24*hour),
				Misplaced: []record.Misplaced{{Side: "source", Snapshot: "b-1", Tag: "zfs_autobackup:b", Missing: true}, {Side: "target", Snapshot: "b-2", Tag: "x"}}}
			r.Warnings = []string{"something odd"}
			r.Target.Resume = &record.Resume{Bytes: record.Ptr[int64](1 << 20)}
		}),
		named("tank/late", selected(5, nightly(usual...), nightly(usual[:22]...)), nil),
		named("tank/conflict", selected(5, nightly(2, 1, 0), nightly(2)), func(r *record.Record) {
			r.Conflict = &record.Conflict{Kind: record.ConflictModified, Message: "it was written to"}
			r.Fail(record.Error{Stage: "plan", Kind: record.KindConflict, Message: "cannot back up: it was written to", Hint: "--rename-aside keeps it"})
		}),
		named("tank/none", selected(5, nightly(1, 0), nil), func(r *record.Record) { r.Target.Exists, r.Target.Used = false, nil }),
		{Zab: 1, Type: record.TypeOrphan, Backup: "b", Name: "bk/gone", Reason: "no selected source maps to it", Target: &record.Target{Host: "nas", Name: "bk/gone", Exists: true, Snapshots: nightly(100, 90)}},
		{Zab: 1, Type: record.TypeUnlisted, Backup: "b", Name: "usb", Error: &record.Error{Message: "I/O error"}},
	}
}

// written returns the page of records.
func written(t testing.TB, all []*record.Record, incomplete error, args ...string) []byte {
	t.Helper()
	p := Program()
	o := p.Options.(*Options)
	if _, err := p.Parser().ParseArgs(append([]string{"--utc", "--html=-"}, args...)); err != nil {
		t.Fatal(err)
	}
	env := &cli.Env{Now: time.Unix(now, 0)}
	text, err := newReport(all, o.rules(env), []string{"b", "bk"}, incomplete).html(o.outlook, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// pageOf returns the page of records, parsed, and as text.
func pageOf(t testing.TB, all []*record.Record, incomplete error, args ...string) (*html.Node, string) {
	t.Helper()
	text := written(t, all, incomplete, args...)
	doc, err := html.Parse(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return doc, string(text)
}

// elements returns all elements of a name, or of all names for "".
func elements(doc *html.Node, name string) (list []*html.Node) {
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && (name == "" || n.Data == name) {
			list = append(list, n)
		}
	}
	return list
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// inside returns the text of an element, with one space between words and elements.
func inside(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func TestHTML(t *testing.T) {
	doc, _ := pageOf(t, allKinds(), nil)
	var got []string
	for _, n := range elements(doc, "article") {
		got = append(got, inside(n))
	}
	want := []string{
		"crit tank/conflict to bk/tank/conflict Age: 51h conflict: it was written to the newest common snapshot is 51h old, more than 50h Hint: --rename-aside keeps it source 3 snapshots: nothing is destroyed while the error lasts target 1 snapshot: nothing is destroyed while the error lasts source 3.0 GiB used copy 2.0 GiB used More newest common snapshot b-20270113050000 2027-01-13 05:00 UTC newest snapshot b-20270115050000 2027-01-15 05:00 UTC source 1.0 GiB referenced outlook with one snapshot a day",
		"crit tank/none to bk/tank/none Age: unknown no copy: there is no 'bk/tank/none' source 2 snapshots: 1 is destroyed within four weeks, in about 10 days target no copy source 3.0 GiB used More newest snapshot b-20270115050000 2027-01-15 05:00 UTC source 1.0 GiB referenced outlook with one snapshot a day",
		"unknown usb Age: unknown cannot be listed: I/O error",
		"warn tank/late to bk/tank/late Age: 27h the newest common snapshot is 27h old, more than 26h",
		"warn nas:bk/gone a copy without a source Newest snapshot: 90d 3h a copy without a source: no selected source maps to it target 2 snapshots: none is destroyed within four weeks More newest snapshot b-20261017050000 2026-10-17 05:00 UTC",
		"ok tank/ok to bk/tank/ok Age: 3h a transfer was interrupted, or is going on: 1.0 MiB received, about 0% holds of ours out of place: 1 missing on the common snapshot, 1 on other snapshots source 23 snapshots: 10 are destroyed within four weeks, the first in about 3 days target 23 snapshots: 10 are destroyed within four weeks, the first in about 3 days written since 2.0 KiB source 3.0 GiB used copy 2.0 GiB used verified equal, compared in full 2027-01-06 08:00 UTC More newest common snapshot b-20270115050000 2027-01-15 05:00 UTC newest snapshot b-20270115050000 2027-01-15 05:00 UTC source 1.0 GiB referenced hold missing zfs_autobackup:b on b-1, source hold left over x on b-2, target warning something odd outlook with one snapshot a day",
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || !strings.HasPrefix(got[i], want[i]) {
			t.Fatalf("row %d is\n%s\nwant\n%s", i, got[min(i, len(got)-1)], want[min(i, len(want)-1)])
		}
	}
	header := inside(elements(doc, "header")[0])
	for _, want := range []string{"Backup b to bk crit 2 crit, 1 unknown, 2 warn, 1 ok", "State of 2027-01-15 08:00 UTC . The oldest copy is 51h old", "crit 2 too old", "The source keeps the newest 10, one a day for a week, one a week for a month, one a month for a year."} {
		if !strings.Contains(header, want) {
			t.Errorf("no %q in %q", want, header)
		}
	}
	if strings.Contains(header, "missing:") {
		t.Error("records are missing")
	}
}

// TestHTMLForm checks what browsers, and readers of screens, need.
func TestHTMLForm(t *testing.T) {
	doc, text := pageOf(t, allKinds(), nil)
	ids := map[string]bool{}
	for _, n := range elements(doc, "") {
		for _, a := range n.Attr {
			switch {
			case a.Key == "id" && ids[a.Val]:
				t.Errorf("two elements have the id %q", a.Val)
			case a.Key == "id":
				ids[a.Val] = true
			case a.Key == "style" || strings.HasPrefix(a.Key, "on"):
				t.Errorf("the policy forbids %s of %s", a.Key, n.Data)
			case a.Key == "src", a.Key == "href" && !strings.HasPrefix(a.Val, "#"):
				t.Errorf("%s %s=%q is from outside", n.Data, a.Key, a.Val)
			case a.Key == "datetime":
				if _, err := time.Parse(time.RFC3339, a.Val); err != nil {
					t.Error(err)
				}
			}
		}
		switch n.Data {
		case "svg":
			named := attribute(n, "role") == "img" && attribute(n, "aria-label") != ""
			if !named && attribute(n, "aria-hidden") != "true" {
				t.Errorf("a picture has no name: %v", n.Attr)
			}
		case "form":
			if !slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == "hidden" }) {
				t.Error("the search is shown without a script that searches")
			}
		case "use", "a":
			if target := strings.TrimPrefix(attribute(n, "href"), "#"); !strings.Contains(text, `id="`+target+`"`) {
				t.Errorf("nothing has the id %s", target)
			}
		case "input":
			if label := elements(doc, "label"); len(label) != 1 || attribute(label[0], "for") != attribute(n, "id") {
				t.Error("the search has no label")
			}
		}
	}
	for _, name := range []string{"h1", "main", "title", "style", "script"} {
		if n := len(elements(doc, name)); n != 1 {
			t.Errorf("%d elements %s", n, name)
		}
	}
	if attribute(elements(doc, "html")[0], "lang") != "en" {
		t.Error("no language")
	}
	// The policy allows what the page has, so every browser applies both.
	policy := attribute(elements(doc, "meta")[1], "content")
	for _, name := range []string{"style", "script"} {
		if n := elements(doc, name)[0]; !strings.Contains(policy, name+"-src "+sum(n.FirstChild.Data)+";") {
			t.Errorf("%q does not allow the %s", policy, name)
		}
	}
	if !strings.HasPrefix(policy, "default-src 'none';") {
		t.Errorf("%q", policy)
	}
	if regexp.MustCompile(`https?:|//|url\(|@import`).MatchString(text) {
		t.Error("the page refers to something outside")
	}
}

// TestHTMLIncomplete checks that a page says what it may lack.
func TestHTMLIncomplete(t *testing.T) {
	doc, _ := pageOf(t, allKinds()[:1], errors.New("zab-plan failed:\nno route"))
	if got := inside(elements(doc, "header")[0]); !strings.Contains(got, "unknown 1 ok Records may be missing: zab-plan failed:; no route.") {
		t.Error(got)
	}
	doc, _ = pageOf(t, nil, nil)
	if got := inside(elements(doc, "main")[0]); got != "no dataset was found" {
		t.Error(got)
	}
	doc, _ = pageOf(t, nil, errors.New("zab-select failed"))
	if got := inside(elements(doc, "title")[0]); got != "unknown: backup b" {
		t.Error(got)
	}
}

// TestHTMLFile checks that the file is replaced whole or not at all, and what the page says
// besides.
func TestHTMLFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "zab.html")
	out, err := output(t, three(), errors.New("zab-plan failed"), "--html="+file)
	if err != nil || out != "" {
		t.Fatalf("%v, %q", err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil || !strings.HasPrefix(string(text), "<!DOCTYPE html>") || !strings.HasSuffix(string(text), "</html>\n") {
		t.Errorf("%v\n%s", err, text)
	}
	if out, err := output(t, three(), errors.New("zab-plan failed"), "--html=-"); err != nil || out != string(text) {
		t.Errorf("%v: standard output has another page", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
	if _, err := output(t, three(), nil, "--html="+filepath.Join(dir, "none", "zab.html")); err == nil || !strings.HasPrefix(err.Error(), "cannot write the page: ") {
		t.Errorf("a missing directory: %v", err)
	}
}

// skeleton returns the elements of a page with their attributes, none of which has text
// from a host.
func skeleton(doc *html.Node) string {
	var b strings.Builder
	for n := range doc.Descendants() {
		switch n.Type {
		case html.ElementNode:
			b.WriteString("<" + n.Data)
			for _, a := range n.Attr {
				b.WriteString(" " + a.Key + "=" + a.Val)
			}
		case html.CommentNode:
			b.WriteString("<!--")
		}
	}
	return b.String()
}

// named returns records in which every text that a host chooses is name.
func named(name string) []*record.Record {
	all := allKinds()
	for _, r := range all {
		r.Name, r.Reason = name, name
		if r.Target != nil {
			r.Target.Name = name
		}
		if r.Error != nil {
			r.Error.Message, r.Error.Hint = name, name
		}
		if r.Conflict != nil {
			r.Conflict.Message = name
		}
		if r.Status != nil {
			r.Status.Misplaced[0].Tag, r.Status.Misplaced[1].Snapshot = name, name
		}
		if r.Warnings != nil {
			r.Warnings[0] = name
		}
		if len(r.Snapshots) > 1 {
			r.Snapshots[1].Name, r.Snapshots[1].Ours = name, false
		}
	}
	return all
}

// FuzzHTML checks that no name or message becomes anything but text (P11).
func FuzzHTML(f *testing.F) {
	for _, name := range []string{"tank/a", "</script><script>alert(1)</script>", "\" onload=\"x", "'><img src=x>", "<!--", "-->", "]]>", "&lt;", "&amp;", "</title></style>",
		"\u202e\u2066\x1b[2J\x00\xff", "{{.}}", "javascript:alert(1)", "\n\n\t", "</svg></bdi></dl>", "<article class=ok>", "漢\u0301"} {
		f.Add(name)
	}
	plain, _ := pageOf(f, named("plain"), nil)
	want := skeleton(plain)
	f.Fuzz(func(t *testing.T, name string) {
		if name == "" || strings.HasPrefix(name, "b-") {
			return // a snapshot of ours has a time
		}
		doc, text := pageOf(t, named(name), errors.New(name))
		for _, n := range elements(doc, "p") {
			if attribute(n, "class") == "alarm" {
				n.Parent.RemoveChild(n) // the other page has none
			}
		}
		if got := skeleton(doc); got != want {
			t.Fatalf("%q changes the structure of the page:\n%s\nwant\n%s", name, got, want)
		}
		if i := strings.IndexFunc(text, func(c rune) bool { return c != '\n' && cli.Printable(string(c)) != string(c) }); i >= 0 {
			t.Fatalf("%q: a character commands: %q", name, text[i:min(i+20, len(text))])
		}
		if shown := cli.Printable(strings.ReplaceAll(name, "\n", "; ")); strings.Join(strings.Fields(shown), " ") != inside(elements(elements(doc, "article")[0], "bdi")[0]) {
			t.Fatalf("%q is shown as %q", name, inside(elements(doc, "article")[0]))
		}
	})
}

// TestContrast checks that text and marks differ enough from what is behind them, in both
// schemes, by the measure of WCAG 2: 4.5 for text, 3 for marks.
func TestContrast(t *testing.T) {
	light, dark, ok := strings.Cut(pageCSS, "prefers-color-scheme:dark")
	if !ok {
		t.Fatal("no dark scheme")
	}
	variable := regexp.MustCompile(`--([a-z]+):#([0-9a-f]+)`)
	for scheme, css := range map[string]string{"light": light, "dark": dark} {
		luminance := map[string]float64{}
		for _, m := range variable.FindAllStringSubmatch(css, -1) {
			hex := m[2]
			if len(hex) == 3 {
				hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
			}
			n, err := strconv.ParseUint(hex, 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			part := func(shift uint) float64 {
				c := float64(n>>shift&255) / 255
				if c <= 0.04045 {
					return c / 12.92
				}
				return math.Pow((c+0.055)/1.055, 2.4)
			}
			luminance[m[1]] = 0.2126*part(16) + 0.7152*part(8) + 0.0722*part(0)
		}
		if n := strings.Count(css, ":#"); n < 17 || n != len(luminance) {
			t.Errorf("%s: %d colours, of which %d are checked", scheme, n, len(luminance))
		}
		check := func(least float64, behind string, colours ...string) {
			for _, c := range colours {
				a, b := luminance[c], luminance[behind]
				if ratio := (max(a, b) + 0.05) / (min(a, b) + 0.05); ratio < least {
					t.Errorf("%s: %s on %s has a contrast of %.2f", scheme, c, behind, ratio)
				}
			}
		}
		check(4.5, "paper", "ink", "faint", "link")
		check(4.5, "card", "ink", "faint", "link")
		check(4.5, "on", "ok", "warn", "crit", "unknown")
		check(3, "card", "ok", "warn", "crit", "unknown", "stays", "later", "soon", "held")
		check(3, "future", "later", "soon", "faint")
		check(3, "track", "ok", "warn", "crit", "unknown", "ink")
	}
}

// BenchmarkHTML makes the page of 2000 datasets, of which some share the times of their
// snapshots.
func BenchmarkHTML(b *testing.B) {
	var all []*record.Record
	for i := range 2000 {
		days := slices.Delete(slices.Clone(usual), i%17, i%17+1)
		r := selected(5, nightly(days...), nightly(days...))
		r.Name = fmt.Sprintf("tank/users/user%04d", i)
		all = append(all, r)
	}
	b.ReportAllocs()
	for b.Loop() {
		b.ReportMetric(float64(len(written(b, all, nil))), "bytes")
	}
}
