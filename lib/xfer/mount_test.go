package xfer

import (
	"strings"
	"testing"
	"time"

	"zab/lib/cli"
	"zab/lib/record"
	"zab/lib/stream"
	"zab/lib/zfs"
)

// Of the mountpoints in one level none is below another one or equal to it.
func TestLevels(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"/b /a", "/b /a"},
		{"/a/x /a /b/y/z", "/a /b/y/z; /a/x"},
		{"/a /a /a/x /c/x", "/a /c/x; /a; /a/x"},
		{"/a/b/c/d /a /a/b/x /ab", "/a /ab; /a/b/x /a/b/c/d"},
		{"/a/b / /c", "/; /c /a/b"},
	} {
		var out []string
		for _, l := range levels(strings.Fields(c.in), func(s string) string { return s }) {
			out = append(out, strings.Join(l, " "))
		}
		if got := strings.Join(out, "; "); got != c.want {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
}

// The longer a run lasts, the longer its batches wait: their number grows with the
// logarithm of its duration until the longest wait is reached.
func TestBatchDelay(t *testing.T) {
	batches := 0
	for run := time.Duration(0); run < 10*time.Minute; run += batchDelay(run) {
		batches++
	}
	if batches > 6 {
		t.Errorf("%d batches in a run of ten minutes", batches)
	}
	if d := batchDelay(0); d != commitSoon {
		t.Errorf("the first waits for %s", d)
	}
	if d := batchDelay(24 * time.Hour); d != commitLate {
		t.Errorf("after a day a record is held back for %s", d)
	}
}

// P5, P11: nothing is mounted through a symbolic link that a copy may have brought.
func TestWayTo(t *testing.T) {
	dir, link := zfs.Path{Kind: zfs.PathDir}, zfs.Path{Kind: zfs.PathLink, Real: "/tmp/victim"}
	admins := zfs.Path{Kind: zfs.PathLink, Real: "/mnt/disk"}
	for _, c := range []struct {
		what, at, chosen string
		kinds            map[string]zfs.Path
		mounted          string
		place, why       string
	}{
		{"all there", "/b/h/a", "/b", map[string]zfs.Path{"/b": dir, "/b/h": dir, "/b/h/a": dir}, "/b", "/b/h/a", ""},
		{"to be made", "/b/h/a", "/b", map[string]zfs.Path{"/b": dir, "/b/h": {Kind: zfs.PathMissing}}, "/b", "/b/h/a", ""},
		{"a link", "/b/h/a", "/b", map[string]zfs.Path{"/b": dir, "/b/h": dir, "/b/h/a": link}, "/b /b/h", "", "'/b/h/a' is a symbolic link"},
		{"a link on the way", "/b/h/a", "/b", map[string]zfs.Path{"/b": dir, "/b/h": link, "/b/h/a": dir}, "/b", "", "'/b/h' is a symbolic link"},
		{"a file", "/b/h", "/b", map[string]zfs.Path{"/b": dir, "/b/h": {Kind: zfs.PathOther}}, "/b", "", "'/b/h' is not a directory"},
		{"the administrator's link", "/b/h", "/b", map[string]zfs.Path{"/b": admins, "/b/h": dir}, "", "/mnt/disk/h", ""},
		{"further up", "/x/b/h", "/x/b", map[string]zfs.Path{"/x": admins, "/x/b": dir, "/x/b/h": dir}, "/", "/mnt/disk/b/h", ""},
		{"that leads nowhere", "/b/h", "/b", map[string]zfs.Path{"/b": {Kind: zfs.PathLink}, "/b/h": {Kind: zfs.PathMissing}}, "", "", "'/b' is not a directory"},
		{"a place of its own, in a copy", "/b/h/l/x", "/b/h/l/x", map[string]zfs.Path{"/b": dir, "/b/h": dir, "/b/h/l": link, "/b/h/l/x": dir}, "/ /b/h", "", "'/b/h/l' is a symbolic link"},
		{"not clean", "/b/../etc", "/b", nil, "", "", "its mountpoint is no plain path"},
		{"a line feed", "/b/a\nb", "/b", nil, "", "", "its mountpoint is no plain path"},
		{"an answer too few", "/b/h", "/b", map[string]zfs.Path{"/b": dir}, "", "", "it is not known what '/b/h' is"},
	} {
		var mounted []zfs.Mounted
		for _, m := range strings.Fields(c.mounted) {
			mounted = append(mounted, zfs.Mounted{Dataset: "p", Dir: m})
		}
		if place, why := wayTo(c.at, c.chosen, c.kinds, mounted); place != c.place || why != c.why {
			t.Errorf("%s: %q, %q", c.what, place, why)
		}
	}
}

func TestInheritedPlace(t *testing.T) {
	for _, c := range []struct{ name, at, source, want string }{
		{"p/b/h", "/p/b/h", "default", "/p"},
		{"p/b/h", "/alt/p/b/h", "default", "/alt/p"},
		{"p/b/h/a", "/bk/h/a", "inherited from p/b", "/bk"},
		{"p/b/h", "/bk", "local", "/bk"},
		{"p", "/p", "default", "/p"},
	} {
		d := zfs.Dataset{Name: c.name, Props: map[string]zfs.Value{"mountpoint": {Value: c.at, Source: c.source}}}
		if got := inheritedPlace(d); got != c.want {
			t.Errorf("%s at %s, %s: %q", c.name, c.at, c.source, got)
		}
	}
}

// P11: within a copy only its descendants are mounted, each in the place of its name.
func TestWithinACopy(t *testing.T) {
	ds := func(name, from string) zfs.Dataset {
		return zfs.Dataset{Name: name, Props: map[string]zfs.Value{zfs.FromProp: {Value: "1", Source: from}}}
	}
	m := &mounter{new: []string{"b/new"}, props: map[string]zfs.Dataset{
		"b": ds("b", ""), "b/new": ds("b/new", ""), "b/old": ds("b/old", "local"), "b/foreign": ds("b/foreign", "received"),
	}}
	mounted := []zfs.Mounted{{Dataset: "b", Dir: "/b"}, {Dataset: "b/new", Dir: "/b/new"}, {Dataset: "b/old", Dir: "/b/old"}, {Dataset: "b/foreign", Dir: "/b/foreign"}}
	for _, c := range []struct{ name, place, in string }{
		{"b/new", "/b/new", ""},
		{"b/new/x", "/b/new/x", ""},
		{"b/old/x/y", "/b/old/x/y", ""},
		{"b/x", "/b/elsewhere/x", ""},
		{"b/x", "/srv/x", ""},
		{"b/x", "/b/new/x", "b/new"},
		{"b/x", "/b/old/d/x", "b/old"},
		{"b/x", "/b/foreign/x", "b/foreign"},
		{"b/old/x", "/b/old/y", "b/old"},
	} {
		why := m.foreign(t.Context(), c.name, c.place, mounted)
		if (why != "") != (c.in != "") || c.in != "" && !strings.Contains(why, "'"+c.in+"'") {
			t.Errorf("%s at %s: %q", c.name, c.place, why)
		}
	}
}

// A stream that this process cannot inspect is cut into one for each snapshot; others
// stay as they are.
func TestVisible(t *testing.T) {
	step := record.Step{Do: record.DoReceive, Dataset: "b/a", From: "1", FromGUID: "11", To: "4", ToGUID: "14", Flags: []string{"-p"},
		Through: []record.Through{{Name: "2", GUID: "12"}, {Name: "3", GUID: "13"}}}
	for _, c := range []struct{ source, target, compress, want string }{
		{"", "", "zstd", "1>4"},
		{"src", "", "zstd", "1>4"},
		{"", "dst", "zstd", "1>4"},
		{"src", "dst", "", "1>4"},
		{"src", "dst", "zstd", "1>2 2>3 3>4"},
	} {
		o := &Options{}
		o.Stream.Compress = stream.Compression(c.compress)
		j := &job{x: &stage{o: o, env: &cli.Env{Machine: &zfs.Machine{}}}, r: &record.Record{Host: c.source, Target: &record.Target{Host: c.target}}}
		var got []string
		for _, s := range j.visible([]record.Step{step}) {
			got = append(got, s.From+">"+s.To)
			if r := j.rule(&s, nil, false); c.source == "" && r != nil || c.source != "" && (r == nil || r.Several != (len(s.Through) > 0) || r.FromGUID != 10+uint64(s.From[0]-'0')) {
				t.Errorf("%+v: %+v for %+v", c, r, s)
			}
		}
		if strings.Join(got, " ") != c.want || len(step.Through) != 2 {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// P5: nothing is mounted at a mountpoint that came with a stream.
func TestMountable(t *testing.T) {
	ds := func(name, canmount, mp, source, key string) zfs.Dataset {
		return zfs.Dataset{Name: name, Props: map[string]zfs.Value{
			"type": {Value: "filesystem"}, "canmount": {Value: canmount}, "mountpoint": {Value: mp, Source: source},
			"mounted": {Value: "no"}, "keystatus": {Value: key},
		}}
	}
	props := map[string]zfs.Dataset{
		"local":    ds("local", "on", "/l", "local", "-"),
		"default":  ds("default", "on", "/default", "default", "-"),
		"received": ds("received", "on", "/etc", "received", "-"),
	}
	for _, c := range []struct {
		d    zfs.Dataset
		want bool
	}{
		{ds("a", "on", "/a", "default", "-"), true},
		{ds("a", "on", "/a", "local", "available"), true},
		{ds("a", "on", "/l/a", "inherited from local", "-"), true},
		{ds("a", "on", "/default/a", "inherited from default", "-"), true},
		{ds("a", "on", "/etc", "received", "-"), false},
		{ds("a", "on", "/etc/a", "inherited from received", "-"), false},
		{ds("a", "on", "/etc/a", "inherited from nobody", "-"), false},
		{ds("a", "on", "/a", "temporary", "-"), false},
		{ds("a", "off", "/a", "default", "-"), false},
		{ds("a", "noauto", "/a", "default", "-"), false},
		{ds("a", "on", "none", "local", "-"), false},
		{ds("a", "on", "legacy", "local", "-"), false},
		{ds("a", "on", "/a", "default", "unavailable"), false},
	} {
		props["a"] = c.d
		if got := mountable(props, "a"); got != c.want {
			t.Errorf("%+v: %v", c.d.Props, got)
		}
	}
	if mountable(props, "gone") {
		t.Error("what is not there")
	}
}
