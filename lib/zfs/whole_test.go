package zfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"zab/lib/record"
	"zab/lib/zfs/zfstest"
)

// Of the lines on a listing's stderr with status 0, those of zfs make the answer partial,
// and all others are noise, even if they report errors.
func TestNotWhole(t *testing.T) {
	for _, c := range []struct {
		line string
		kind record.ErrorKind // "" for noise
	}{
		{"cannot iterate filesystems: I/O error", record.KindPoolIO},
		{"cannot iterate filesystems: pool I/O is currently suspended", record.KindPoolIO},
		{"cannot iterate filesystems: checksum error", record.KindOther},
		{"cannot open 'tank/a': I/O error", record.KindPoolIO},
		{"cannot open 'tank/a b@1': dataset does not exist", record.KindNotFound},
		{"cannot open 'tank': no such pool", record.KindNotFound},
		{"internal error: cannot iterate filesystems: Invalid exchange", record.KindOther},
		{"mesg: ttyname failed: Inappropriate ioctl for device", ""},
		{"stdin: is not a tty", ""},
		{"bash: warning: setlocale: LC_ALL: cannot change locale (de_DE.UTF-8)", ""},
		{"cat: /etc/motd: Input/output error", ""},
		{"cannot open display: :0", ""},
		{"cannot open '/var/mail/root': No such file or directory", ""},
		{"bash: cannot set terminal process group (-1): Inappropriate ioctl for device", ""},
		{"Warning: Permanently added 'nas' (ED25519) to the list of known hosts.", ""},
		{"Connection to nas closed by remote host.", ""},
	} {
		h, _ := fakeZFS(t, `echo 'tank/b	guid	7	-'; echo "$LINE" >&2`)
		t.Setenv("LINE", c.line)
		var noise []string
		h.m.Noise = func(_ *Host, line string) { noise = append(noise, line) }
		got, err := h.Get(context.Background(), []string{"guid"}, nil, true)
		if len(got) != 1 {
			t.Errorf("%s: %v", c.line, got)
		}
		switch {
		case c.kind == "" && (err != nil || !slices.Equal(noise, []string{c.line})):
			t.Errorf("%s: %v, noise %q", c.line, err, noise)
		case c.kind != "" && (!IsPartial(err) || KindOf(err) != c.kind || len(noise) > 0):
			t.Errorf("%s: %v of kind %s", c.line, err, KindOf(err))
		case c.kind == record.KindNotFound && ignoreKind(err, record.KindNotFound) == nil:
			t.Errorf("%s: a list that is not whole is taken for one", c.line)
		}
	}
}

// Absent believes "does not exist" only of the very name.
func TestAbsent(t *testing.T) {
	err := func(code int, lines ...string) error { return &Error{Kind: classify(lines), Code: code, Lines: lines} }
	for _, c := range []struct {
		name   string
		err    error
		absent bool
	}{
		{"it", err(1, "cannot open 'tank/a': dataset does not exist"), true},
		{"its pool", err(1, "cannot open 'tank/a': no such pool 'tank'"), true},
		{"with noise", err(1, "mesg: ttyname failed: Inappropriate ioctl for device", "cannot open 'tank/a': dataset does not exist"), true},
		{"another", err(1, "cannot open 'tank/ab': dataset does not exist"), false},
		{"nothing by name", err(1, "/root/.profile: file does not exist"), false},
		{"suspended", err(1, "cannot open 'tank/a': pool I/O is currently suspended"), false},
		{"killed", err(-1, "cannot open 'tank/a': dataset does not exist"), false},
		{"bad answer", &Error{Kind: record.KindBadAnswer, Code: 1, Lines: []string{"'tank/a' was asked for and is not in it"}}, false},
		{"none", nil, false},
		{"of this program", errors.New("'tank/a' does not exist"), false},
	} {
		if got := Absent(c.err, "tank/a"); got != c.absent {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// PoolStates runs no program if the kernel reports the states; otherwise it checks the
// answer of one.
func TestPoolStates(t *testing.T) {
	h, started := fakeZFS(t, `printf '%b' "$TEXT"; exit $CODE`)
	h.m.Kstat = t.TempDir()
	for name, text := range map[string]string{"tank/state": "ONLINE\n", "usb/state": "SUSPENDED\n", "$import-ffff888127731840-usb2/state": "ONLINE\n", "fm": "", "arcstats": ""} {
		p := filepath.Join(h.m.Kstat, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := h.PoolStates(context.Background())
	if err != nil || len(got) != 2 || got["usb"] != "SUSPENDED" || len(started()) != 1 || started()[0][0] != "" {
		t.Errorf("%v, %v, %q", got, err, started())
	}
	kstat := h.m.Kstat
	_ = os.Remove(kstat + "/usb/state") // as in zfs 0.7
	for _, dir := range []string{kstat + "/missing", kstat} {
		// A separate host, because the watch of a program may look once more
		// after the program has ended.
		h, started = fakeZFS(t, `printf '%b' "$TEXT"; exit $CODE`)
		h.m.Kstat = dir
		t.Setenv("CODE", "0")
		for _, c := range []struct {
			text string
			n    int // -1: no answer
		}{
			{`tank\tONLINE\n$import-ffff888127731840-usb2\tONLINE\nusb\tSUSPENDED\nold\tUNAVAIL\nfar\t-\n`, 4}, {"", 0}, {`-\tONLINE\n`, -1}, {`tank\tONLINE\n-\t-\n`, -1},
			{`tank\n`, -1}, {`tank/a\tONLINE\n`, -1}, {`tank\tONLINE\ntank\tONLINE\n`, -1}, {`tank\tall is well\n`, -1}, {`-r\tONLINE\n`, -1}, {`$tank\tONLINE\n`, -1},
		} {
			t.Setenv("TEXT", c.text)
			got, err := h.PoolStates(context.Background())
			if (err == nil) != (c.n >= 0) || err == nil && len(got) != c.n {
				t.Errorf("%q: %v, %v", c.text, got, err)
			}
		}
		t.Setenv("CODE", "1")
		if got, err := h.PoolStates(context.Background()); err == nil {
			t.Errorf("%v", got)
		}
	}
	// A pool that went away while it was listed is not in the next answer.
	t.Setenv("CODE", "0")
	t.Setenv("MARK", filepath.Join(t.TempDir(), "mark"))
	h, _ = fakeZFS(t, `if [ -e "$MARK" ]; then printf 'tank\tONLINE\n'; else printf '%s\t%s\n' - - tank ONLINE; : >"$MARK"; fi`)
	h.m.Kstat = kstat
	if got, err := h.PoolStates(context.Background()); err != nil || len(got) != 1 {
		t.Errorf("a pool that went away: %v, %v", got, err)
	}
	if argv := started()[0]; strings.Join(argv, " ") != "list -Hp -o name,health" {
		t.Errorf("%q", argv)
	}
}

// Unlisted finds the filesystem whose list of children broke off by halving.
func TestUnlisted(t *testing.T) {
	for _, c := range []struct{ name, tree, bad, suspended, want string }{
		{"whole", "p p/a p/b q q/c", "", "", ""},
		{"in a pool", "p p/a p/b p/c q q/c", "p/b", "", "p below"},
		{"deep", "p p/a p/b p/b/c p/b/d p/b/d/e p/b/d/f p/g q", "p/b/d/e", "", "p/b/d below"},
		{"many beside it", "p p/1 p/2 p/3 p/4 p/5 p/6 p/7 p/7/x p/8 p/9 q", "p/7/x", "", "p/7 below"},
		{"a pool besides", "p p/a p/b p/b/c q q/c", "p/b/c", "q", "p/b below, q"},
	} {
		h, _ := fakeZFS(t, zfstest.Tree)
		t.Setenv("TREE", c.tree)
		t.Setenv("BAD", c.bad)
		t.Setenv("SUSPENDED", c.suspended)
		got, err := h.Unlisted(context.Background(), []string{"p", "q"})
		var words []string
		for _, u := range got {
			w := u.Name
			if u.Below {
				w += " below"
			}
			words = append(words, w)
		}
		slices.Sort(words)
		if s := strings.Join(words, ", "); s != c.want && !(c.want == "" && s == "") || err != nil {
			t.Errorf("%s: %q, %v", c.name, s, err)
		}
	}
}

func TestReadable(t *testing.T) {
	h, _ := fakeZFS(t, zfstest.Tree)
	t.Setenv("TREE", "p p/a p/b q")
	t.Setenv("BAD", "p/b")
	t.Setenv("SUSPENDED", "q")
	var got []string
	keep := func(d Dataset) { got = append(got, d.Name) }
	absent, unread, err := h.Readable(context.Background(), []string{"guid"}, []string{"p/a", "p/b", "p/x", "q"}, 0, keep)
	if err != nil || strings.Join(got, " ") != "p/a" || strings.Join(absent, " ") != "p/x" || len(unread) != 2 {
		t.Fatalf("%v, %q, %v, %v", got, absent, unread, err)
	}
	for _, u := range unread {
		if want := map[string]string{"p/b": "I/O error", "q": "pool I/O is currently suspended"}[u.Name]; u.Cause() != want || u.Err.Kind != record.KindPoolIO {
			t.Errorf("%s: %q", u.Name, u.Cause())
		}
	}
	// A failure that names nothing is no answer.
	for _, script := range []string{"echo 'no luck today' >&2; exit 1", "kill -9 $$", "echo 'cannot open '\"'p/a'\"': I/O error' >&2; kill -9 $$"} {
		h, _ := fakeZFS(t, script)
		if absent, unread, err := h.Readable(context.Background(), []string{"guid"}, []string{"p/a"}, 0, keep); err == nil {
			t.Errorf("%s: %q, %v", script, absent, unread)
		}
	}
}

// P7: a dataset that cannot be read does not stop the others, whether zfs names it or
// not.
func TestFillUnread(t *testing.T) {
	const list = `names=; for a; do case $a in p/*) names="$names $a" ;; esac; done
for n in $names; do
	case $n in
	$BAD) echo "cannot open '$n': I/O error" >&2; code=1 ;;
	$GONE) echo "cannot open '$n': dataset does not exist" >&2; code=1 ;;
	$HALF) echo "cannot iterate filesystems: I/O error" >&2; printf '%s@1\t11\t1\n' $n ;;
	*) printf '%s@1\t11\t1\n%s@2\t12\t2\n' $n $n ;;
	esac
done
exit $code`
	for _, c := range []struct{ bad, gone, half, want string }{
		{"-", "-", "-", ""},
		{"p/c", "-", "-", "p/c pool-io"},
		{"p/c", "p/e", "-", "p/c pool-io, p/e not-found"},
		{"-", "-", "p/d", "p/d pool-io"},
		{"p/a", "p/b", "p/e", "p/a pool-io, p/b not-found, p/e pool-io"},
	} {
		h, _ := fakeZFS(t, list)
		t.Setenv("BAD", c.bad)
		t.Setenv("GONE", c.gone)
		t.Setenv("HALF", c.half)
		var set []*record.Record
		for _, n := range strings.Fields("p/a p/b p/c p/d p/e") {
			set = append(set, &record.Record{Name: n})
		}
		failed, err := h.Fill(context.Background(), set, func(string) bool { return false })
		if err != nil {
			t.Fatal(err)
		}
		var words []string
		for _, r := range set {
			if err := failed[r]; err != nil {
				kind := KindOf(err)
				if Absent(err, r.Name) {
					kind = record.KindNotFound
				}
				words = append(words, r.Name+" "+string(kind))
			} else if len(r.Snapshots) != 2 {
				t.Errorf("%s has %d snapshots", r.Name, len(r.Snapshots))
			}
		}
		if got := strings.Join(words, ", "); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
