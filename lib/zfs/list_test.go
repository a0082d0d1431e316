package zfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"zab/lib/record"
)

// fakeZFS puts a program of the name zfs on PATH that notes its arguments, one
// a line, and then does what script says.
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

func parseGet(props []string, text string) ([]Dataset, error) {
	p := getParser{props: props}
	if err := eachLine(strings.NewReader(text), p.row); err != nil {
		return nil, err
	}
	err := p.end()
	return p.out, err
}

// What zfs 2.3.2 printed of datasets with every odd value that it takes.
func TestGetRows(t *testing.T) {
	props := []string{"type", "x:y", "x:z", "x:e", "x:w", "autobackup:ut", "x:none"}
	text := "utsrc/p q\ttype\tfilesystem\t-\n" +
		"utsrc/p q\tx:y\ta\tb\nc\tlocal\tlocal\n" +
		"utsrc/p q\tx:z\ta\n\nb\tlocal\n" +
		"utsrc/p q\tx:e\t\tlocal\n" +
		"utsrc/p q\tx:w\t-\t-\n" +
		"utsrc/p q\tautobackup:ut\ttr\tue\tlocal\n" +
		"utsrc/p q\tx:none\t-\t-\n" +
		"utsrc/p q/c\ttype\tfilesystem\t-\n" +
		"utsrc/p q/c\tx:y\ta\tb\nc\tlocal\tinherited from utsrc/p q\n" +
		"utsrc/p q/c\tx:z\ta\n\nb\tinherited from utsrc/p q\n" +
		"utsrc/p q/c\tx:e\t\tinherited from utsrc/p q\n" +
		"utsrc/p q/c\tx:w\tfoo\tinherited from x\nbar\tlocal\n" +
		"utsrc/p q/c\tautobackup:ut\ttr\tue\tinherited from utsrc/p q\n" +
		"utsrc/p q/c\tx:none\t-\t-\n"
	above := "inherited from utsrc/p q"
	want := []Dataset{
		{"utsrc/p q", map[string]Value{"type": {"filesystem", "-"}, "x:y": {"a\tb\nc\tlocal", "local"}, "x:z": {"a\n\nb", "local"},
			"x:e": {"", "local"}, "x:w": {"-", "-"}, "autobackup:ut": {"tr\tue", "local"}, "x:none": {"-", "-"}}},
		{"utsrc/p q/c", map[string]Value{"type": {"filesystem", "-"}, "x:y": {"a\tb\nc\tlocal", above}, "x:z": {"a\n\nb", above},
			"x:e": {"", above}, "x:w": {"foo\tinherited from x\nbar", "local"}, "autobackup:ut": {"tr\tue", above}, "x:none": {"-", "-"}}},
	}
	got, err := parseGet(props, text)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n got %q\nwant %q", err, got, want)
	}
}

// A line within a value that looks like the next row is none as long as the
// value is not complete.
func TestGetRowWithinValue(t *testing.T) {
	got, err := parseGet([]string{"mountpoint", "b:x"}, "tank\tmountpoint\t/x\ntank\tb:x\ttrue\nend\tlocal\ntank\tb:x\tfalse\tlocal\n")
	want := []Dataset{{"tank", map[string]Value{"mountpoint": {"/x\ntank\tb:x\ttrue\nend", "local"}, "b:x": {"false", "local"}}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

// P9: whoever may set one property of one dataset says nothing of another one
// with it, and cannot have it selected.
func TestGetRowsAreNotForged(t *testing.T) {
	props := []string{"type", "guid", "b:x"}
	const other = "tank/b\ttype\tfilesystem\t-\ntank/b\tguid\t666\t-\ntank/b\tb:x\ttrue\tlocal"
	for _, value := range []string{"true\tlocal\n" + other[:len(other)-len("\tlocal")], "x\n" + other, other + "\nx"} {
		for _, order := range [][]string{{"tank/a", "tank/b"}, {"tank/b", "tank/a", "tank/c"}} {
			var text strings.Builder
			for i, name := range order {
				v := "-\t-"
				if name == "tank/a" {
					v = value + "\tlocal"
				}
				fmt.Fprintf(&text, "%s\ttype\tfilesystem\t-\n%s\tguid\t%d\t-\n%s\tb:x\t%s\n", name, name, 100+i, name, v)
			}
			got, err := parseGet(props, text.String())
			if err != nil {
				continue // not understood is fine: nothing is done
			}
			names := map[string]int{}
			for _, d := range got {
				names[d.Name]++
				if d.Name == "tank/b" && d.Props["b:x"].Value == "true" {
					t.Errorf("the value %q of tank/a selects tank/b", value)
				}
			}
			for n, count := range names {
				if count > 1 {
					t.Errorf("the value %q of tank/a makes %d of %s", value, count, n)
				}
			}
		}
	}
}

// Any values, in the order in which zfs prints them, come through as they are
// as long as they do not look like rows.
func TestGetRoundTrip(t *testing.T) {
	value := rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "-", "local", "none", "received", "\t", "\n", " ", "inherited from x", "tank", "é"}), 0, 6),
		func(p []string) string { return strings.Join(p, "") })
	source := rapid.SampledFrom([]string{"-", "local", "default", "received", "temporary", "none", "inherited from tank/a b"})
	rapid.Check(t, func(t *rapid.T) {
		props := []string{"type", "guid", "mountpoint", "b:x"}
		var want []Dataset
		var text strings.Builder
		for i := range rapid.IntRange(0, 4).Draw(t, "datasets") {
			d := Dataset{fmt.Sprintf("tank/%d", i), map[string]Value{}}
			for _, p := range props {
				v := Value{value.Draw(t, "value"), source.Draw(t, "source")}
				d.Props[p] = v
				fmt.Fprintf(&text, "%s\t%s\t%s\t%s\n", d.Name, p, v.Value, v.Source)
			}
			want = append(want, d)
		}
		got, err := parseGet(props, text.String())
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%v\n got %q\nwant %q", err, got, want)
		}
	})
}

func FuzzGet(f *testing.F) {
	f.Add("tank\ttype\tfilesystem\t-\ntank\tb:x\ttrue\tlocal\n")
	f.Add("tank\ttype\n\t\t\t-\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseGet([]string{"type", "b:x"}, text)
		seen := map[string]bool{}
		for _, d := range got {
			if err == nil && (seen[d.Name] || d.Name == "" || len(d.Props) == 0) {
				t.Errorf("%q among %q", d.Name, got)
			}
			seen[d.Name] = true
			_ = d.Facts()
		}
	})
}

// Facts that a dataset does not have are absent, not "-" and not 0.
func TestFacts(t *testing.T) {
	text := `enc/c	type	filesystem	-
enc/c	guid	16363728583323992478	-
enc/c	createtxg	99	-
enc/c	creation	1795388452	-
enc/c	origin	-	-
enc/c	encryption	aes-256-gcm	-
enc/c	encryptionroot	enc	-
enc/c	keystatus	available	-
enc/c	written	0	-
enc/c	used	1462272	-
enc/c	referenced	1286144	-
enc/c	volsize	-	-
enc/c	mounted	yes	-
enc/c	canmount	on	default
enc/c	mountpoint	/enc/c	inherited from enc
enc/c	receive_resume_token	-	-
v1	type	volume	-
v1	guid	4717712755264978388	-
v1	createtxg	217	-
v1	creation	1795388849	-
v1	origin	tank/a@1	-
v1	encryption	off	default
v1	encryptionroot	-	-
v1	keystatus	-	-
v1	written	12	-
v1	used	44693504	-
v1	referenced	10550272	-
v1	volsize	20971520	local
v1	mounted	-	-
v1	canmount	-	-
v1	mountpoint	-	-
v1	receive_resume_token	1-abc	-
`
	got, err := parseGet(FactProps, text)
	if err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	n := record.Ptr[int64]
	want := []record.Facts{
		{Kind: "filesystem", GUID: "16363728583323992478", CreateTXG: "99", Creation: n(1795388452), Encryption: "aes-256-gcm",
			EncryptionRoot: "enc", KeyStatus: "available", Written: n(0), Used: n(1462272), Referenced: n(1286144),
			Mounted: "yes", CanMount: "on", MountPoint: "/enc/c", MountPointSource: "inherited from enc"},
		{Kind: "volume", GUID: "4717712755264978388", CreateTXG: "217", Creation: n(1795388849), Origin: "tank/a@1",
			Written: n(12), Used: n(44693504), Referenced: n(10550272), VolSize: n(20971520), ResumeToken: "1-abc"},
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

// Rows of zfs list, as zfs 2.3.2 printed them.
func TestListRows(t *testing.T) {
	for _, c := range []struct {
		line    string
		columns int
		want    Row
	}{
		{"utsrc/p q\t13548977405112579337\t259", 3, Row{Dataset: "utsrc/p q", GUID: "13548977405112579337", CreateTXG: "259"}},
		{"utsrc/p q#b 1\t2034686080388316452\t269\t1795388936\t-\t-", 6, Row{Dataset: "utsrc/p q", Bookmark: "b 1", GUID: "2034686080388316452", CreateTXG: "269", Extra: []string{"1795388936", "", ""}}},
		{"utsrc/p q/c@s 1\t17371971494073899948\t269\t1795388936\t24576\t0", 6, Row{Dataset: "utsrc/p q/c", Snapshot: "s 1", GUID: "17371971494073899948", CreateTXG: "269", Extra: []string{"1795388936", "24576", "0"}}},
	} {
		got, err := parseRow(c.line, c.columns)
		if len(got.Extra) == 0 {
			got.Extra = nil
		}
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %+v, %v", c.line, got, err)
		}
	}
	for _, bad := range []string{"", "tank", "tank\t1\t2\t3", "warning: x"} {
		if r, err := parseRow(bad, 3); err == nil {
			t.Errorf("%q was taken for %+v", bad, r)
		}
	}
}

// One program for a listing, from names and guids alone where nothing else is
// asked for; -r only where the whole tree is meant.
func TestListStarts(t *testing.T) {
	h, started := fakeZFS(t, `printf 'tank/a@2\t12\t20\ntank/a@10\t11\t3\n'`)
	ctx := context.Background()
	var snaps []record.Snapshot
	row := func(r Row) error { snaps = append(snaps, r.Entry()); return nil }
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

// What is not there is not in the answer, and not an error; any other trouble is.
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
	if _, err := h.Find(context.Background(), names); KindOf(err) != KindPoolIO {
		t.Errorf("the trouble is lost: %v", err)
	}
}

// A tag may contain anything; the name before it and the time after it may
// not contain a tab.
func TestHolds(t *testing.T) {
	h, started := fakeZFS(t, `printf 'utsrc/p q@s 1\tt\tab\tSun Nov 22 23:08 2026\nutsrc/p q@s 1\tmy tag\tSun Nov 22 23:08 2026\n'`)
	got, err := h.Holds(context.Background(), []string{"utsrc/p q@s 1"})
	want := []Holder{{"utsrc/p q@s 1", "t\tab"}, {"utsrc/p q@s 1", "my tag"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := h.Holds(context.Background(), nil); got != nil || err != nil || len(started()) != 1 {
		t.Errorf("asked for nothing, zfs was started: %v, %v", got, err)
	}
}

// Every name is in one batch, in order, and no batch is longer than the system
// takes, however it is quoted.
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
		// whoever stops is asked no more
		for range Batches(names, limit) {
			break
		}
	})
}

// What is missing in one batch says nothing of the next.
func TestBatchesGoOn(t *testing.T) {
	h, started := fakeZFS(t, `case "$*" in *first*) echo "cannot hold snapshot 'tank/a@first': dataset is busy" >&2; exit 1;; esac`)
	names := []string{"tank/a@first"}
	for len(names) < 5000 {
		names = append(names, fmt.Sprintf("tank/%0200d@%d", len(names), len(names)))
	}
	err := h.Hold(context.Background(), "t", names)
	if KindOf(err) != KindBusy {
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

// Where no program can succeed, the rest is not tried.
func TestBatchesGiveUp(t *testing.T) {
	var n int
	names := strings.Split(strings.Repeat(strings.Repeat("x", 200)+" ", 20000), " ")
	err := (&Machine{}).Host("").batches([]string{"zfs"}, names, func([]string) error {
		n++
		return &Error{Kind: KindNoZFS}
	})
	if n != 1 || KindOf(err) != KindNoZFS {
		t.Errorf("%d programs, %v", n, err)
	}
	n = 0
	err = (&Machine{}).Host("").batches([]string{"zfs"}, names, func([]string) error {
		n++
		return context.Canceled
	})
	if n != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d programs after the end, %v", n, err)
	}
}
