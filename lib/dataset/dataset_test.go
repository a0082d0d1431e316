package dataset

import (
	"slices"
	"strings"
	"testing"
)

// TestParse checks P11: strings from outside are either valid or refused.
func TestParse(t *testing.T) {
	long := strings.Repeat("x", MaxName)
	name := func(s string) error { _, err := ParseName(s); return err }
	short := func(s string) error { _, err := ParseShort(s); return err }
	snapshot := func(s string) error { _, err := ParseSnapshot(s); return err }
	bookmark := func(s string) error { _, err := ParseBookmark(s); return err }
	guid := func(s string) error { _, err := ParseGUID(s); return err }
	guids := func(s string) error { _, err := ParseGUIDs(s); return err }
	host := func(s string) error { _, err := ParseHost(s); return err }
	odd := []string{"a\x00b", "a\nb", "a\tb", "a\x1b[2J", "a\x7fb", "a\u0085b", "a\x85b", "a,b", "a'b", `a"b`, "a$b", "a`b", "a;b", "a|b", "a*b", "a\\b", "é"}
	for _, c := range []struct {
		what  string
		parse func(string) error
		good  []string
		bad   []string
	}{
		{"dataset", name, []string{"tank", "tank/my data", "a/b/c", "tank/-r", "tank/..a", "Tank_1.x:y-z", long, "tank/a/%recv"},
			append(odd, "", "/", "/tank", "tank/", "tank//a", "tank/.", "tank/../a", "-r", "--", "a@b", "a#b", long+"x")},
		{"snapshot's part", short, []string{"offsite1-20261122030000", "-r", "a b", ".", "x:y", long},
			append(odd, "", "a/b", "a@b", "a#b", "a%b", "%", long+"x")},
		{"snapshot", snapshot, []string{"tank@a", "tank/a b@-r"},
			append(odd, "", "tank", "@a", "tank@", "tank#a", "tank@a@b", "tank@a#b", "-r@a", "tank@"+long)},
		{"bookmark", bookmark, []string{"tank#a", "tank/a b#-r"}, []string{"", "tank", "#a", "tank#", "tank@a", "tank#a#b"}},
		{"guid", guid, []string{"1", "18446744073709551615"},
			[]string{"", "0", "00", "01", "+1", "-1", " 1", "1 ", "0x1", "1_0", "1e9", "1.0", "18446744073709551616", "a", "1\n", "1\x00"}},
		{"number", CheckNumber, []string{"0", "1", "18446744073709551615"}, []string{"", "+1", "-1", " 1", "07", "00", "0x1", "1_0", "18446744073709551616"}},
		{"guids", guids, []string{"1", "1,2", "7,18446744073709551615"}, []string{"", ",", "1,", ",1", "1,,2", "1, 2", "1,a", "1,0", "9\x00mountpoint=/etc"}},
		{"property", CheckProperty, []string{"readonly", "zab:from", "userquota@a b", "written@offsite1-1", `userquota@DOM\me`},
			[]string{"", "-o", "a=b", "a,b", "a\x00b", "a\nb", "a'b", "a$b", long + "x"}},
		{"setting", CheckSetting, []string{"a:b=c", "a:b=", "mountpoint=/x y=z", "a:b=x\ny"},
			[]string{"", "a", "=b", "-o=b", "a:b=x\x00y", "a:b=" + strings.Repeat("x", maxValue+1)}},
		{"tag", CheckTag, []string{"zfs_autobackup:b", "my tag", "é"}, []string{"", "-r", ".x", "a\nb", "a\tb", "a\x00b", "a\x7fb", long + "x"}},
		{"host", host, []string{"", "vault", "root@vault", "[::1]", "ssh://x:22", "ssh://root@x", "ssh://root@[fe80::1%eth0.5]:2222", "ssh://[::1]", "::1",
			"root@fe80::1%eth0", "10.0.0.1", "back_up@nas-2.example.com", "user@EXAMPLE.COM@vault", "c++@x"},
			append(odd, "vault:22", "[::1", "::1]", "ssh://x:0", "ssh://x:99999", "ssh://::1", "x@-y", "-oProxyCommand=x", "a b", "root@", "ssh://", "a/b", "http://x", "$(x)", "a(b)", "~a", "a!b", "a#b", "{a}", long+long)},
	} {
		for _, s := range c.good {
			if err := c.parse(s); err != nil {
				t.Errorf("%s: %v", c.what, err)
			}
		}
		for _, s := range c.bad {
			if c.parse(s) == nil {
				t.Errorf("%.60q was taken for a %s", s, c.what)
			}
		}
	}
}

// TestHostHints checks the advice for a host that is written as other programs take it,
// with a dataset or a port in the same word.
func TestHostHints(t *testing.T) {
	for host, want := range map[string]string{
		"root@nas:tank/backup": `"root@nas:tank/backup" is not a host: a host and a dataset are given apart, as "root@nas" and "tank/backup"`,
		"nas:22":               `"nas:22" is not a host: a port is given as in "ssh://nas:22"`,
		"vаult":                `"v\u0430ult" is not a host: it contains "\u0430"`,
		"a\x9bb":               `"a\x9bb" is not a host: it contains "\ufffd"`,
	} {
		if _, err := ParseHost(host); err == nil || err.Error() != want {
			t.Errorf("%q: %v", host, err)
		}
	}
}

func TestBelow(t *testing.T) {
	for _, c := range []struct {
		name, top Name
		want      bool
	}{{"a/b", "a", true}, {"a/b/c", "a", true}, {"a", "a", false}, {"ab/c", "a", false}, {"a", "a/b", false}} {
		if c.name.Below(c.top) != c.want {
			t.Errorf("%s below %s: %v", c.name, c.top, !c.want)
		}
		if Within(string(c.name), string(c.top)) != (c.want || c.name == c.top) {
			t.Errorf("%s within %s", c.name, c.top)
		}
	}
	if n := Name("a/b/c"); n.Pool() != "a" || n.Depth() != 2 {
		t.Error(n.Pool(), n.Depth())
	}
}

// FuzzPoint checks that a parsed snapshot or bookmark prints as it was written, and
// contains no character with a meaning to zfs or a shell.
func FuzzPoint(f *testing.F) {
	f.Add("tank/a@b")
	f.Add("tank#b c")
	f.Add("-r@%")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePoint(s)
		if err != nil {
			return
		}
		if p.String() != s || s[0] == '-' || strings.ContainsAny(s, "\x00\n\t,'\"$`\\") || strings.Count(s, "@")+strings.Count(s, "#") != 1 {
			t.Errorf("%q became %+v", s, p)
		}
	})
}

func TestSplit(t *testing.T) {
	for name, want := range map[string][2]string{"tank": {"", "tank"}, "tank/a": {"tank", "a"}, "tank/a/b c": {"tank/a", "b c"}} {
		if parent, last := Split(name); [2]string{parent, last} != want || parent != "" && Beside(name, last) != name {
			t.Errorf("%s: %q %q", name, parent, last)
		}
	}
}

func TestAncestors(t *testing.T) {
	for name, want := range map[string]string{"tank": "", "tank/a": "tank", "tank/a b/c": "tank tank/a b"} {
		if got := strings.Join(slices.Collect(Ancestors(name)), " "); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
