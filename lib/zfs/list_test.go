package zfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"zab/lib/record"
)

// fakeZFS puts programs named zfs and zpool on PATH that log their arguments, one per
// line, and then run script.
func fakeZFS(t *testing.T, script string) (h *Host, started func() [][]string) {
	t.Helper()
	dir := t.TempDir()
	text := "#!/bin/sh\nfor a; do printf '%s\\n' \"$a\"; done >>" + dir + "/log\necho >>" + dir + "/log\n" + script + "\n"
	for _, name := range []string{"zfs", "zpool"} {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return (&Machine{}).Host(""), func() (all [][]string) {
		b, _ := os.ReadFile(dir + "/log")
		for part := range strings.SplitSeq(strings.TrimSuffix(string(b), "\n\n"), "\n\n") {
			all = append(all, strings.Split(part, "\n"))
		}
		return all
	}
}

// property is a row of zfs get.
type property struct{ dataset, name, value, source string }

// answer returns the output of zfs get for rows, including the rows that mark the end of
// free-text values.
func answer(columns []column, rows []property) string {
	var b strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\n", r.dataset, r.name, r.value, r.source)
		for i := range columns[:len(columns)-1] {
			if columns[i].prop == r.name && columns[i+1].frame {
				fmt.Fprintf(&b, "%s\t%s\t-\t-\n", r.dataset, columns[i+1].prop)
			}
		}
	}
	return b.String()
}

func parseRows(t interface{ Fatal(...any) }, props []string, rows []property, names ...string) ([]Dataset, error) {
	columns, err := frame(props)
	if err != nil {
		t.Fatal(err)
	}
	return parseText(columns, answer(columns, rows), names...)
}

func parseText(columns []column, text string, names ...string) (out []Dataset, err error) {
	p := getParser{columns: columns, scope: newScope(names, -1), each: func(d Dataset) { out = append(out, d) }}
	w := &rowWriter{row: p.row, end: func(error) {}, limit: maxLine, left: maxAnswer.allow()}
	_, _ = w.Write([]byte(text))
	if err := w.close(); err != nil {
		return nil, err
	}
	if err := p.end(); err != nil {
		return nil, err
	}
	return out, p.scope.absent(nil)
}

// cells returns rows of one dataset from name, value, source, name, value, source ...
func cells(dataset string, c ...string) (rows []property) {
	for ; len(c) > 0; c = c[3:] {
		rows = append(rows, property{dataset, c[0], c[1], c[2]})
	}
	return rows
}

// The output of zfs 2.3.2 for datasets with every odd value that it takes is parsed.
func TestGetRows(t *testing.T) {
	props := []string{"type", "x:y", "x:z", "x:e", "x:w", "autobackup:ut", "x:none"}
	in := "inherited from utsrc/p q"
	rows := slices.Concat(
		cells("utsrc/p q", "type", "filesystem", "-", "x:y", "a\tb\nc\tlocal", "local", "x:z", "a\n\nb", "local", "x:e", "", "local",
			"x:w", "-", "-", "autobackup:ut", "tr\tue", "local", "x:none", "-", "-"),
		cells("utsrc/p q/c", "type", "filesystem", "-", "x:y", "a\tb\nc\tlocal", in, "x:z", "a\n\nb", in, "x:e", "", in,
			"x:w", "foo\tinherited from x\nbar", "local", "autobackup:ut", "tr\tue", in, "x:none", "-", "-"))
	above := "inherited from utsrc/p q"
	want := []Dataset{
		{"utsrc/p q", map[string]Value{"type": {"filesystem", "-"}, "x:y": {"a\tb\nc\tlocal", "local"}, "x:z": {"a\n\nb", "local"},
			"x:e": {"", "local"}, "x:w": {"-", "-"}, "autobackup:ut": {"tr\tue", "local"}, "x:none": {"-", "-"}}},
		{"utsrc/p q/c", map[string]Value{"type": {"filesystem", "-"}, "x:y": {"a\tb\nc\tlocal", above}, "x:z": {"a\n\nb", above},
			"x:e": {"", above}, "x:w": {"foo\tinherited from x\nbar", "local"}, "autobackup:ut": {"tr\tue", above}, "x:none": {"-", "-"}}},
	}
	got, err := parseRows(t, props, rows)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n got %q\nwant %q", err, got, want)
	}
}

// P11: a value that looks like rows, of its own dataset or of another one, stays a value,
// so that its author cannot forge properties of other datasets.
func TestGetRowsAreNotForged(t *testing.T) {
	props := []string{"type", "guid", "mountpoint", "b:x"}
	const forged = "true\tlocal\ntank/b\ttype\tfilesystem\t-\ntank/b\tguid\t666\t-\ntank/b\tmountpoint\t/etc\tlocal\ntank/b\tb:x\ttrue"
	for _, value := range []string{forged, "x\n" + forged, forged + "\nx", forged + "\tlocal\n", "\n", "\t", "\t\n\t"} {
		for _, at := range []string{"mountpoint", "b:x"} {
			for _, order := range [][]string{{"tank/a", "tank/b"}, {"tank/b", "tank/a", "tank/c"}} {
				var rows []property
				want := map[string]string{}
				for i, name := range order {
					m, x := "/"+name, "false"
					if name == "tank/a" && at == "mountpoint" {
						m = value
					} else if name == "tank/a" {
						x = value
					}
					want[name] = m + "|" + x
					rows = append(rows, cells(name, "type", "filesystem", "-", "guid", fmt.Sprint(100+i), "-", "mountpoint", m, "local", "b:x", x, "local")...)
				}
				got, err := parseRows(t, props, rows)
				if err != nil || len(got) != len(order) {
					t.Fatalf("%q: %d datasets, %v", value, len(got), err)
				}
				for _, d := range got {
					if have := d.Props["mountpoint"].Value + "|" + d.Props["b:x"].Value; have != want[d.Name] {
						t.Errorf("%q: '%s' has %q", value, d.Name, have)
					}
				}
			}
		}
	}
}

// P11, P12: a row counts only in its place, and an incomplete answer is an error.
func TestGetRefuses(t *testing.T) {
	columns, err := frame([]string{"type", "guid", "b:x"})
	if err != nil {
		t.Fatal(err)
	}
	one := func(name string) []property {
		return cells(name, "type", "filesystem", "-", "guid", "5", "-", "b:x", "true", "local")
	}
	good := answer(columns, one("tank/a"))
	if _, err := parseText(columns, good, "tank/a"); err != nil {
		t.Fatal(err)
	}
	if _, err := parseText(columns, answer(columns, slices.Concat(one("tank"), one("tank/a"))), "tank"); err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(good, "\n"), "\n")
	for name, text := range map[string]string{
		"nothing":               "",
		"cut off in a line":     good[:len(good)-1],
		"cut off in a dataset":  strings.Join(lines[:2], ""),
		"without a row":         lines[0] + strings.Join(lines[2:], ""),
		"rows swapped":          lines[1] + lines[0] + strings.Join(lines[2:], ""),
		"a row twice":           lines[0] + good,
		"a dataset twice":       good + good,
		"another dataset":       good + answer(columns, one("tank/b")),
		"a dataset above":       answer(columns, one("tank")) + good,
		"an option as name":     answer(columns, one("-rf")),
		"a name with a NUL":     answer(columns, one("tank/a\x00")),
		"a negative guid":       strings.Replace(good, "\t5\t", "\t-5\t", 1),
		"a huge guid":           strings.Replace(good, "\t5\t", "\t99999999999999999999\t", 1),
		"a guid of 0":           strings.Replace(good, "\t5\t", "\t0\t", 1),
		"an unknown type":       strings.Replace(good, "filesystem", "snapshot", 1),
		"an unknown source":     strings.Replace(good, "filesystem\t-", "filesystem\tnowhere", 1),
		"a source that is none": strings.Replace(good, "filesystem\t-", "filesystem\tinherited from -r", 1),
		"an endless value":      strings.Replace(good, "true", strings.Repeat("x\n", maxLine), 1),
		"a long line":           strings.Replace(good, "true", strings.Repeat("x", maxLine), 1),
		"noise before":          "Welcome!\n" + good,
		"noise behind":          good + "bye\n",
	} {
		if got, err := parseText(columns, text, "tank/a"); err == nil {
			t.Errorf("%s: taken for %+v", name, got)
		}
	}
}

// Every value is returned unchanged, even if it looks like rows or sources.
func TestGetRoundTrip(t *testing.T) {
	value := rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "-", "local", "none", "received", "\t", "\n", " ", "inherited from x", "tank", "tank/1\tb:x\t", "é"}), 0, 9),
		func(p []string) string { return strings.Join(p, "") })
	source := rapid.SampledFrom([]string{"-", "local", "default", "received", "temporary", "none", "inherited from tank/a b"})
	rapid.Check(t, func(t *rapid.T) {
		props := []string{"type", "guid", "mountpoint", "b:x"}
		var want []Dataset
		var rows []property
		for i := range rapid.IntRange(0, 4).Draw(t, "datasets") {
			d := Dataset{fmt.Sprintf("tank/%d", i), map[string]Value{"type": {"volume", "-"}, "guid": {fmt.Sprint(i + 1), "-"}}}
			for _, p := range props[2:] {
				d.Props[p] = Value{value.Draw(t, "value"), source.Draw(t, "source")}
			}
			for _, p := range props {
				rows = append(rows, property{d.Name, p, d.Props[p].Value, d.Props[p].Source})
			}
			want = append(want, d)
		}
		got, err := parseRows(t, props, rows)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%v\n got %q\nwant %q", err, got, want)
		}
	})
}

func FuzzGet(f *testing.F) {
	f.Add("tank\ttype\tfilesystem\t-\ntank\tb:x\ttrue\tlocal\ntank\tzab:0-1\t-\t-\n")
	f.Add("tank\ttype\n\t\t\t-\n")
	f.Fuzz(func(t *testing.T, text string) {
		columns := []column{{prop: "type", clean: shapes["type"]}, {prop: "b:x"}, {prop: "zab:0-1", frame: true}}
		got, err := parseText(columns, text)
		seen := map[string]bool{}
		for _, d := range got {
			if err == nil && (seen[d.Name] || d.Name == "" || len(d.Props) != 2) {
				t.Errorf("%q among %q", d.Name, got)
			}
			seen[d.Name] = true
			_ = d.Facts()
		}
	})
}

// Facts that a dataset does not have are absent, not "-" and not 0.
func TestFacts(t *testing.T) {
	rows := slices.Concat(
		cells("enc/c", "type", "filesystem", "-", "guid", "16363728583323992478", "-", "createtxg", "99", "-", "creation", "1795388452", "-", "origin", "-", "-", "encryption", "aes-256-gcm", "-", "encryptionroot", "enc", "-", "keystatus", "available", "-", "keyguid", "-", "-", "written", "0", "-", "used", "1462272", "-", "referenced", "1286144", "-", "logicalreferenced", "2000", "-", "volsize", "-", "-", "mounted", "yes", "-", "canmount", "on", "default", "mountpoint", "/enc/c", "inherited from enc", "receive_resume_token", "-", "-", FromProp, "-", "-", StreamProp, "-", "-", AsideProp, "-", "-", PoolProp, "-", "-"),
		cells("v1", "type", "volume", "-", "guid", "4717712755264978388", "-", "createtxg", "217", "-", "creation", "1795388849", "-", "origin", "tank/a@1", "-", "encryption", "off", "default", "encryptionroot", "-", "-", "keystatus", "-", "-", "keyguid", "-", "-", "written", "12", "-", "used", "44693504", "-", "referenced", "10550272", "-", "logicalreferenced", "3000", "-", "volsize", "20971520", "local", "mounted", "-", "-", "canmount", "-", "-", "mountpoint", "-", "-", "receive_resume_token", "1-abc", "-", FromProp, "-", "-", StreamProp, "-", "-", AsideProp, "-", "-", PoolProp, "-", "-"),
	)
	got, err := parseRows(t, FactProps, rows)
	if err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	n := record.Ptr[int64]
	want := []record.Facts{
		{Kind: "filesystem", GUID: "16363728583323992478", CreateTXG: "99", Creation: n(1795388452), Encryption: "aes-256-gcm",
			EncryptionRoot: "enc", KeyStatus: "available", Written: n(0), Used: n(1462272), Referenced: n(1286144), LogicalReferenced: n(2000),
			Mounted: "yes", CanMount: "on", MountPoint: "/enc/c", MountPointSource: "inherited from enc"},
		{Kind: "volume", GUID: "4717712755264978388", CreateTXG: "217", Creation: n(1795388849), Origin: "tank/a@1",
			Written: n(12), Used: n(44693504), Referenced: n(10550272), LogicalReferenced: n(3000), VolSize: n(20971520), ResumeToken: "1-abc"},
	}
	for i := range want {
		if f := got[i].Facts(); !reflect.DeepEqual(f, want[i]) {
			t.Errorf("\n got %+v\nwant %+v", f, want[i])
		}
	}
	if got[0].Props["encryption"].Value == "off" || (&record.Facts{Encryption: ""}).Encrypted() {
		t.Error("off is taken for a cipher")
	}
}

// A mountpoint is any text, but a record's text must be valid UTF-8.
func TestFactsOfAnyBytes(t *testing.T) {
	for value, want := range map[string]string{"/a": "/a", "/ä\t\n'": "/ä\t\n'", "/\xff": "/\uFFFD", "/\xe4b\xfc": "/\uFFFDb\uFFFD", "-": "", "none": "none"} {
		d := Dataset{Name: "tank", Props: map[string]Value{"type": {Value: "filesystem", Source: "-"}, "mountpoint": {Value: value, Source: "local"}}}
		if f := d.Facts(); f.MountPoint != want || (f.MountPointSource == "local") != (want != "") {
			t.Errorf("%q: %+v", value, f)
		}
	}
}

// Values of zab:from that zab does not write are no marks.
func TestFactsFrom(t *testing.T) {
	var many []string
	for i := range 65 {
		many = append(many, strconv.Itoa(1000+i))
	}
	for value, mark := range map[string]bool{"1": true, "1,2": true, "1,2,1": false, "1,1": false, "x": false, strings.Join(many[1:], ","): true, strings.Join(many, ","): false} {
		for _, source := range []string{"local", "received"} {
			d := Dataset{Name: "tank", Props: map[string]Value{FromProp: {Value: value, Source: source}}}
			if got := d.Facts().From; got != map[bool]string{true: value}[mark] {
				t.Errorf("%.60s: %.60q", value, got)
			}
		}
	}
}

// Rows of zfs list, as zfs 2.3.2 printed them.
func TestListRows(t *testing.T) {
	for _, c := range []struct {
		line  string
		extra string
		want  Row
	}{
		{"utsrc/p q\t13548977405112579337\t259", "", Row{Dataset: "utsrc/p q", GUID: "13548977405112579337", CreateTXG: "259"}},
		{"utsrc/p q#b 1\t2034686080388316452\t269\t1795388936\t-\t-", "creation,written,userrefs", Row{Dataset: "utsrc/p q", Bookmark: "b 1", GUID: "2034686080388316452", CreateTXG: "269", Extra: []string{"1795388936", "", ""}}},
		{"utsrc/p q/c@s 1\t17371971494073899948\t269\t1795388936\t24576\t0", "creation,written,userrefs", Row{Dataset: "utsrc/p q/c", Snapshot: "s 1", GUID: "17371971494073899948", CreateTXG: "269", Extra: []string{"1795388936", "24576", "0"}}},
	} {
		p := rowParser{types: Datasets | Snapshots | Bookmarks}
		if c.extra != "" {
			p.extra = strings.Split(c.extra, ",")
		}
		got, err := p.parse(c.line)
		if len(got.Extra) == 0 {
			got.Extra = nil
		}
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %+v, %v", c.line, got, err)
		}
	}
	for _, bad := range []string{"", "tank", "tank\t1\t2\t3", "warning: x", "tank\t0\t1", "tank\t-1\t1", "tank\t1\t-1", "tank/../a\t1\t1",
		"-r\t1\t1", "tank@a,b\t1\t1", "tank@a%b\t1\t1", "tank@\t1\t1", "tank@a@b\t1\t1", "tank\x1b[2J\t1\t1", "tank#a\t1\t1"} {
		p := rowParser{types: Datasets | Snapshots}
		if r, err := p.parse(bad); err == nil {
			t.Errorf("%q was taken for %+v", bad, r)
		}
	}
	if err := (&rowParser{extra: []string{"mountpoint"}}).check(); err == nil {
		t.Error("free text is listed")
	}
}

// A listing runs one program, requests names and guids alone unless there are extra
// columns, and uses -r only for a whole tree.
func TestListStarts(t *testing.T) {
	h, started := fakeZFS(t, `case "$*" in
*-t*snapshot*) printf 'tank/a@2\t12\t20\ntank/a@10\t11\t3\n';;
esac
case "$*" in
*filesystem*) printf 'tank/a\t7\t1\ntank/b\t8\t2\n';;
esac`)
	ctx := context.Background()
	var snaps []record.Snapshot
	row := func(r Row) error {
		if r.Snapshot != "" {
			snaps = append(snaps, r.Entry())
		}
		return nil
	}
	for _, o := range []ListOptions{
		{Types: Snapshots | Bookmarks, Depth: 1},
		{Types: Datasets | Snapshots, Depth: -1},
		{Types: Datasets},
	} {
		if err := h.List(ctx, []string{"tank/a", "tank/b"}, o, row); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"list -Hp -t snapshot,bookmark -o name,guid,createtxg -s name -d 1 tank/a tank/b",
		"list -Hp -t filesystem,volume,snapshot -o name,guid,createtxg -s name -r tank/a tank/b",
		"list -Hp -t filesystem,volume -o name,guid,createtxg -s name -d 0 tank/a tank/b",
	}
	for i, argv := range started() {
		if i >= len(want) || strings.Join(argv, " ") != want[i] {
			t.Errorf("started: %q", argv)
		}
	}
	SortByAge(snaps[:2])
	if snaps[0].Name != "10" || snaps[1].Name != "2" {
		t.Errorf("by age: %v", snaps[:2])
	}
}

// Find leaves out snapshots and bookmarks that do not exist, and returns all other
// errors.
func TestFind(t *testing.T) {
	h, _ := fakeZFS(t, `printf 'tank/a#1\t118\t22\ntank/a@2\t170\t23\n'
for l in "cannot open 'tank/a@nope': dataset does not exist" "cannot open 'tank/a#nope': no such pool or dataset" "$TROUBLE"; do [ -z "$l" ] || echo "$l" >&2; done
exit 1`)
	names := []string{"tank/a@nope", "tank/a#nope", "tank/a@2", "tank/a#1"}
	got, err := h.Find(context.Background(), names)
	if err != nil || len(got) != 2 || got["tank/a@2"].GUID != "170" || got["tank/a#1"].Bookmark != "1" {
		t.Errorf("%v, %v", got, err)
	}
	t.Setenv("TROUBLE", "cannot open 'tank/b@1': pool I/O is currently suspended")
	if _, err := h.Find(context.Background(), names); KindOf(err) != record.KindPoolIO {
		t.Errorf("the trouble is lost: %v", err)
	}
}

// Tags of holds may contain anything; the name before the tag and the time after it
// contain no tab.
func TestHolds(t *testing.T) {
	h, started := fakeZFS(t, `printf 'utsrc/p q@s 1\tt\tab\tSun Nov 22 23:08 2026\nutsrc/p q@s 1\tmy tag\tSun Nov 22 23:08 2026\n'`)
	got, err := h.Holds(context.Background(), map[string]int64{"utsrc/p q@s 1": 2})
	at := time.Date(2026, 11, 22, 23, 8, 0, 0, time.Local)
	want := []Holder{{"utsrc/p q@s 1", "t\tab", at}, {"utsrc/p q@s 1", "my tag", at}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	// Forged by a tag with a newline in it: more holds than zfs counts, or on another
	// snapshot.
	if _, err := h.Holds(context.Background(), map[string]int64{"utsrc/p q@s 1": 1}); KindOf(err) != record.KindBadAnswer {
		t.Error(err)
	}
	if _, err := h.Holds(context.Background(), map[string]int64{"utsrc/x@1": 2}); KindOf(err) != record.KindBadAnswer {
		t.Error(err)
	}
	if got, err := h.Holds(context.Background(), nil); got != nil || err != nil || len(started()) != 3 {
		t.Errorf("asked for nothing, zfs was started: %v, %v", got, err)
	}
}

func TestHoldTime(t *testing.T) {
	for text, want := range map[string]string{
		"Sun Nov 22 23:08 2026": "2026-11-22 23:08", "Sun Nov  1  3:08 2026": "2026-11-01 03:08", "Sun Nov  1 03:08 2026": "2026-11-01 03:08",
		"Sun": "0001-01-01 00:00", "": "0001-01-01 00:00", "dim. nov. 1 03:08 2026": "0001-01-01 00:00",
	} {
		if got := holdTime(text).Format("2006-01-02 15:04"); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// Every name is in one batch, in order, and no batch of several names is longer than the
// limit after quoting.
func TestBatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(rapid.StringMatching(`[a-z/@ ]{1,40}`), 0, 60).Draw(t, "names")
		limit := rapid.IntRange(1, 400).Draw(t, "limit")
		var all []string
		for batch := range Batches(names, limit) {
			if len(batch) == 0 {
				t.Fatal("an empty batch")
			}
			if n := len(Quote(batch...)); len(batch) > 1 && n > limit {
				t.Fatalf("%d bytes in a batch of %d", n, limit)
			}
			all = append(all, batch...)
		}
		if !slices.Equal(all, names) {
			t.Fatalf("%q became %q", names, all)
		}
		// a consumer that stops gets no more batches
		for range Batches(names, limit) {
			break
		}
	})
}

// A failure in one batch does not stop the next.
func TestBatchesGoOn(t *testing.T) {
	h, started := fakeZFS(t, `case "$*" in *first*) echo "cannot hold snapshot 'tank/a@first': dataset is busy" >&2; exit 1;; esac`)
	names := []string{"tank/a@first"}
	for len(names) < 5000 {
		names = append(names, fmt.Sprintf("tank/%0200d@%d", len(names), len(names)))
	}
	err := h.Hold(context.Background(), "t", names)
	if KindOf(err) != record.KindBusy {
		t.Error(err)
	}
	var held []string
	for _, argv := range started() {
		held = append(held, argv[2:]...)
	}
	if !slices.Equal(held, names) {
		t.Errorf("%d of %d names were held", len(held), len(names))
	}
}

// After an error that would meet every program, the remaining batches are not tried.
func TestBatchesGiveUp(t *testing.T) {
	var n int
	names := strings.Split(strings.Repeat(strings.Repeat("x", 200)+" ", 20000), " ")
	err := (&Machine{}).Host("").batches([]string{"zfs"}, names, func(_, _ []string) error {
		n++
		return &Error{Kind: record.KindNoZFS}
	})
	if n != 1 || KindOf(err) != record.KindNoZFS {
		t.Errorf("%d programs, %v", n, err)
	}
	n = 0
	err = (&Machine{}).Host("").batches([]string{"zfs"}, names, func(_, _ []string) error {
		n++
		return context.Canceled
	})
	if n != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d programs after the end, %v", n, err)
	}
}

// Locals accepts each property name once, in a line of its own.
func TestLocals(t *testing.T) {
	h, _ := fakeZFS(t, `case $* in
*' property all '*) printf '%b' "$TEXT";;
*) printf 'tank/a\tcompression\tlz4\tlocal\ntank/a\tquota\t7\tinherited from tank\n';;
esac`)
	t.Setenv("TEXT", `compression\nfilesystem_count\nsnapshot_count\nquota\n`)
	if got, err := h.Locals(context.Background(), "tank/a"); err != nil || !slices.Equal(got, []string{"compression=lz4"}) {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{`quota\nquota\n`, `a\tb\n`, `-r\n`, `\n`, strings.Repeat(`a`, 300) + `\n`, many(maxLocals + 1)} {
		t.Setenv("TEXT", bad)
		if got, err := h.Locals(context.Background(), "tank/a"); KindOf(err) != record.KindBadAnswer {
			t.Errorf("%.40q: %.40q, %v", bad, got, err)
		}
	}
}

// many returns n different rows.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `zab:%d\n`, i)
	}
	return b.String()
}

// A clone of a copy gets the copy's own properties except StreamUnshared, which only a
// receive can make true.
func TestForClone(t *testing.T) {
	for had, want := range map[string]string{
		"zab:stream=L,x": "zab:stream=L", "zab:stream=x": "zab:stream=none", "zab:stream=L,w,x": "zab:stream=L,w", "zab:stream=L": "zab:stream=L",
		"zab:stream=none": "zab:stream=none", "zab:stream=parent": "zab:stream=parent", "x:y=x": "x:y=x", "compression=zstd": "compression=zstd",
		"refreservation=5": "", "zab:aside=done:a": "",
	} {
		if got := strings.Join(ForClone([]string{had}), " "); got != want {
			t.Errorf("%s: %s", had, got)
		}
	}
}

// A negative value of written, which zfs prints for a moment as a number of 64 bits, is
// unknown, and the rest of the answer counts.
func TestWrittenBelowZero(t *testing.T) {
	for value, want := range map[string]string{"18446744073709550592": "unknown", "0": "0", "4096": "4096", "9223372036854775807": "9223372036854775807",
		"18446744073709551616": "refused", "-1024": "refused", "1e3": "refused", "07": "refused"} {
		for _, prop := range []string{"written", "written@s"} {
			h, _ := fakeZFS(t, `printf 'tank/a\tused\t5\t-\ntank/a\t%s\t%s\t-\n' "$PROP" "$VALUE"`)
			t.Setenv("PROP", prop)
			t.Setenv("VALUE", value)
			got, err := h.Get(context.Background(), []string{"used", prop}, []string{"tank/a"}, false)
			said := "refused"
			if err == nil {
				said = "unknown"
				if n, ok := got[0].Props[prop].Int(); ok {
					said = strconv.FormatInt(n, 10)
				}
				if f := got[0].Facts(); prop == "written" && (f.Written == nil) != (said == "unknown") {
					t.Errorf("%s: %v", value, f.Written)
				}
			}
			if said != want {
				t.Errorf("%s=%s: %s, want %s: %v", prop, value, said, want, err)
			}
		}
	}
}
