package filetree

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"zab/lib/hashfunc"
)

// tree returns the entries below a directory, and the digest.
func treeOf(t *testing.T, dir string, o Options) (list []Entry, res Result, err error) {
	t.Helper()
	top, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	h := o.Hash.New()
	o.Each = func(e *Entry) error {
		list = append(list, *e)
		if parsed, err := ParseEntry(e.String()); err != nil || parsed != *e {
			t.Errorf("%s: %v", e, err)
		}
		if n := len(list); n > 1 && Compare(list[n-2].Path, e.Path) >= 0 {
			t.Errorf("%q comes after %q", e.Path, list[n-2].Path)
		}
		fmt.Fprintln(h, e)
		return nil
	}
	res, err = Read(context.Background(), top, o)
	if err == nil && (hex.EncodeToString(h.Sum(nil)) != res.Digest.String() || int(res.Entries) != len(list)) {
		t.Errorf("%+v is not the digest of the lines", res)
	}
	return list, res, err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fill makes a tree with something of each kind that this user may make.
func fill(t *testing.T, dir string) {
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.MkdirAll(at("sub/deeper"), 0o755))
	must(t, os.WriteFile(at("sub/file"), []byte("hello"), 0o640))
	must(t, os.WriteFile(at("sub-"), nil, 0o600))
	must(t, os.WriteFile(at("new\nline \xff%"), []byte("x"), 0o644))
	must(t, os.Link(at("sub/file"), at("sub/other")))
	must(t, os.Link(at("sub/file"), at("third")))
	must(t, os.Symlink("/etc/pass\nwd", at("link")))
	must(t, os.Symlink("sub", at("a-link-to-sub")))
	must(t, unix.Mkfifo(at("fifo"), 0o644))
	must(t, unix.Mknod(at("socket"), unix.S_IFSOCK|0o600, 0))
	f, err := os.Create(at("sparse"))
	must(t, err)
	must(t, f.Truncate(3<<20))
	_, err = f.WriteAt([]byte("end"), 3<<20-3)
	must(t, err)
	f.Close()
	if os.Getuid() == 0 {
		must(t, os.Chown(at("sub-"), 1234, 5678))
		if err := unix.Mknod(at("device"), unix.S_IFCHR|0o600, int(unix.Mkdev(5, 77))); err != nil {
			t.Log("no devices here:", err)
		}
	}
	for _, name := range []string{"sub/file", "sub-", "sparse", "new\nline \xff%", "sub/deeper", "sub", "."} {
		must(t, os.Chtimes(at(name), time.Unix(1, 0), time.Unix(1_700_000_000, 123)))
	}
	for _, name := range []string{"link", "a-link-to-sub", "fifo", "socket", "device"} {
		ts := []unix.Timespec{{Sec: 1}, {Sec: -5, Nsec: 7}}
		_ = unix.UtimesNanoAt(unix.AT_FDCWD, at(name), ts, unix.AT_SYMLINK_NOFOLLOW)
	}
}

func TestRead(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	must(t, os.Chmod(a, 0o755))
	must(t, os.Chmod(b, 0o755))
	fill(t, a)
	fill(t, b)
	_, same, err := treeOf(t, a, Options{})
	must(t, err)
	_, two, err := treeOf(t, b, Options{})
	must(t, err)
	if same != two || same.Bytes != 3<<20+5+1 {
		t.Errorf("%+v, %+v", same, two)
	}
	// another hash function is that of all digests
	attributes := unix.Setxattr(filepath.Join(a, "sub/file"), "user.a", []byte("b"), 0) == nil
	list, one, err := treeOf(t, a, Options{})
	must(t, err)
	others, three, err := treeOf(t, a, Options{Hash: hashfunc.BLAKE3})
	must(t, err)
	if three.Digest == one.Digest || NewLine("a@b", "1", "on", "off", three).Algorithm != "blake3" || len(others) != len(list) {
		t.Errorf("%+v", three)
	}
	for i, e := range others {
		sum := hashfunc.BLAKE3.Sum([]byte("hello"))
		if e.Path == "sub/file" && (e.Content != hex.EncodeToString(sum[:]) || attributes && (e.Attributes == "" || e.Attributes == list[i].Attributes)) {
			t.Errorf("%+v, %+v", e, list[i])
		}
	}
	have := map[string]Entry{}
	for _, e := range list {
		have[e.Path] = e
	}
	sum := func(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }
	for path, want := range map[string]Entry{
		".":                 {Kind: KindDirectory, Mode: "755"},
		"sub/file":          {Kind: KindFile, Mode: "640", Size: 5, Content: sum("hello"), MTime: "1700000000.000000123"},
		"sub/other":         {Kind: KindFile, Same: "sub/file"},
		"third":             {Kind: KindFile, Same: "sub/file"},
		"new%0Aline %FF%25": {Kind: KindFile, Mode: "644", Size: 1, Content: sum("x")},
		"link":              {Kind: KindLink, Target: "/etc/pass%0Awd", MTime: "-5.000000007"},
		"a-link-to-sub":     {Kind: KindLink, Target: "sub"},
		"fifo":              {Kind: KindFIFO},
		"socket":            {Kind: KindSocket, Mode: "600"},
		"sparse":            {Kind: KindFile, Size: 3 << 20, Content: sum(strings.Repeat("\x00", 3<<20-3) + "end")},
	} {
		got, ok := have[path]
		if !ok || got.Kind != want.Kind || got.Same != want.Same || got.Size != want.Size || got.Content != want.Content || got.Target != want.Target ||
			want.Mode != "" && got.Mode != want.Mode || want.MTime != "" && got.MTime != want.MTime {
			t.Errorf("%s: %+v", path, got)
		}
	}
	if d, ok := have["device"]; ok && (d.Device != "5:77" || d.Kind != KindCharacter) {
		t.Errorf("%+v", d)
	}
	if os.Getuid() == 0 && have["sub-"].Owner != "1234:5678" {
		t.Errorf("%+v", have["sub-"])
	}
}

// Each change of what users see of a tree changes its digest, and is named.
func TestChanges(t *testing.T) {
	for _, c := range []struct {
		what   string
		change func(at func(string) string) error
		want   string // path and difference; the path alone if only one has it
	}{
		{"nothing", func(func(string) string) error { return nil }, ""},
		{"atime", func(at func(string) string) error {
			return os.Chtimes(at("sub-"), time.Unix(9, 0), time.Unix(1_700_000_000, 123))
		}, ""},
		{"a byte", func(at func(string) string) error {
			if err := os.WriteFile(at("sub/file"), []byte("hellO"), 0o640); err != nil {
				return err
			}
			return os.Chtimes(at("sub/file"), time.Unix(1, 0), time.Unix(1_700_000_000, 123))
		}, "sub/file content"},
		{"a nanosecond", func(at func(string) string) error {
			return os.Chtimes(at("sub-"), time.Unix(1, 0), time.Unix(1_700_000_000, 124))
		}, "sub- mtime"},
		{"a mode", func(at func(string) string) error { return os.Chmod(at("sub"), 0o700) }, "sub mode"},
		{"setuid", func(at func(string) string) error { return os.Chmod(at("sub-"), 0o600|os.ModeSetuid) }, "sub- mode"},
		{"the top", func(at func(string) string) error { return os.Chmod(at("."), 0o700) }, ". mode"},
		{"an attribute", func(at func(string) string) error { return unix.Setxattr(at("sub-"), "user.a", []byte("b"), 0) }, "sub- attributes"},
		{"an empty attribute", func(at func(string) string) error { return unix.Setxattr(at("sub"), "user.a", nil, 0) }, "sub attributes"},
		{"an owner", func(at func(string) string) error { return os.Lchown(at("link"), 5, 6) }, "link owner"},
		{"another file instead of a link", func(at func(string) string) error {
			if err := os.Remove(at("third")); err != nil {
				return err
			}
			return os.WriteFile(at("third"), []byte("hello"), 0o640)
		}, "third links"},
		{"a target", func(at func(string) string) error {
			if err := os.Remove(at("link")); err != nil {
				return err
			}
			return os.Symlink("/etc/passwd", at("link"))
		}, "link target"},
		{"a FIFO that becomes a file", func(at func(string) string) error {
			if err := os.Remove(at("fifo")); err != nil {
				return err
			}
			return os.WriteFile(at("fifo"), nil, 0o644)
		}, "fifo kind"},
		{"a hole that becomes longer", func(at func(string) string) error { return os.Truncate(at("sparse"), 4<<20) }, "sparse size"},
		{"a new name", func(at func(string) string) error { return os.Symlink("x", at("sub/deeper/new")) }, "sub/deeper/new"},
	} {
		dir := t.TempDir()
		must(t, os.Chmod(dir, 0o755))
		fill(t, dir)
		before, one, err := treeOf(t, dir, Options{})
		must(t, err)
		if err := c.change(func(name string) string { return filepath.Join(dir, name) }); err != nil {
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) {
				continue // not as this user, or not in this file system
			}
			t.Fatal(err)
		}
		after, two, err := treeOf(t, dir, Options{})
		must(t, err)
		old := map[string]Entry{}
		for _, e := range before {
			old[e.Path] = e
		}
		found := c.want == ""
		for _, e := range after {
			o, ok := old[e.Path]
			if !ok && e.Path == c.want || ok && strings.HasPrefix(e.Path+" "+strings.Join(o.Difference(&e), " "), c.want) && c.want != "" {
				found = true
			}
		}
		if (one.Digest == two.Digest) != (c.want == "") || !found {
			t.Errorf("%s: %v, %v, %+v", c.what, one.Digest, two.Digest, after)
		}
	}
}

// A deep tree uses neither paths nor descriptors; one that is deeper than all that people have
// is refused.
func TestDeep(t *testing.T) {
	if testing.Short() {
		t.Skip("makes thousands of directories")
	}
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	name := strings.Repeat("d", 99)
	deepen := func(n int) {
		for range n {
			must(t, unix.Mkdirat(fd, name, 0o755))
			down, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
			must(t, err)
			unix.Close(fd)
			fd = down
		}
	}
	defer func() { unix.Close(fd) }()
	deepen(120) // 12,000 bytes
	file, err := unix.Openat(fd, "file", unix.O_CREAT|unix.O_WRONLY, 0o644)
	must(t, err)
	unix.Close(file)
	list, _, err := treeOf(t, dir, Options{})
	if err != nil || len(list) != 122 || len(list[121].Path) != 120*100+4 || list[121].Kind != KindFile {
		t.Errorf("%d entries, %v", len(list), err)
	}
	deepen(50)
	if _, _, err := treeOf(t, dir, Options{}); err == nil || !strings.Contains(err.Error(), "longer than 16384 bytes") || len(err.Error()) > 300 {
		t.Errorf("%v", err)
	}
}

func TestFaults(t *testing.T) {
	dir := t.TempDir()
	for i := range 1000 {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint("name", i)), nil, 0o644))
	}
	if _, _, err := treeOf(t, dir, Options{Names: 1000 * 60}); err != nil {
		t.Error(err)
	}
	if _, _, err := treeOf(t, dir, Options{Names: 10_000}); !errors.Is(err, errNames) {
		t.Errorf("%v", err)
	}
	must(t, os.Mkdir(filepath.Join(dir, "links"), 0o755))
	for i := range 500 {
		must(t, os.Link(filepath.Join(dir, fmt.Sprint("name", i)), filepath.Join(dir, "links", fmt.Sprint(i))))
	}
	if _, _, err := treeOf(t, dir, Options{Names: 1000 * 60}); !errors.Is(err, errNames) {
		t.Errorf("%v", err)
	}
	if _, _, err := treeOf(t, dir, Options{}); err != nil {
		t.Error(err)
	}

	// what the callers refuse, and a signal
	refuse := errors.New("refused")
	top, err := os.Open(dir)
	must(t, err)
	defer top.Close()
	if _, err := Read(context.Background(), top, Options{Each: func(*Entry) error { return refuse }}); !errors.Is(err, refuse) {
		t.Errorf("%v", err)
	}
	must(t, os.WriteFile(filepath.Join(dir, "data"), []byte("x"), 0o644))
	if _, err := Read(context.Background(), top, Options{Took: func(int) error { return refuse }}); !errors.Is(err, refuse) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(refuse)
	if _, err := Read(ctx, top, Options{}); !errors.Is(err, refuse) {
		t.Errorf("%v", err)
	}
	// a file that grows
	grow := func(int) error { return os.WriteFile(filepath.Join(dir, "data"), []byte("xyz"), 0o644) }
	if _, err := Read(context.Background(), top, Options{Took: grow}); !errors.Is(err, errChanged) || !strings.HasPrefix(err.Error(), "'data': ") {
		t.Errorf("%v", err)
	}
	if os.Getuid() != 0 {
		must(t, os.Chmod(filepath.Join(dir, "name0"), 0))
		if _, _, err := treeOf(t, dir, Options{}); !errors.Is(err, unix.EACCES) || !strings.HasPrefix(err.Error(), "'links/0': ") && !strings.HasPrefix(err.Error(), "'name0': ") {
			t.Errorf("%v", err)
		}
		return
	}
	// another file system within
	if err := unix.Mount("none", filepath.Join(dir, "links"), "tmpfs", 0, ""); err != nil {
		t.Log("cannot mount here:", err)
		return
	}
	defer func() { must(t, unix.Unmount(filepath.Join(dir, "links"), 0)) }()
	if _, _, err := treeOf(t, dir, Options{}); err == nil || !strings.Contains(err.Error(), "'links': another file system is mounted there") {
		t.Errorf("%v", err)
	}
}

// A directory that cannot be read, or not be searched, has a name all the same, and is passed
// over.
func TestFindNamesUnreadable(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{os.Chmod(dir, 0o755), os.MkdirAll(dir+"/a", 0o755), os.WriteFile(dir+"/a/x", nil, 0o644), os.WriteFile(dir+"/b", nil, 0o644)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	all := []uint64{inode(t, dir+"/a"), inode(t, dir+"/a/x"), inode(t, dir+"/b")}
	top, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	if os.Getuid() == 0 {
		// Of this thread alone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer func() { _ = unix.Setfsuid(0) }()
	}
	for _, mode := range []os.FileMode{0o744, 0} {
		if err := unix.Setfsuid(os.Getuid()); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir+"/a", mode); err != nil {
			t.Fatal(err)
		}
		if os.Getuid() == 0 {
			if err := unix.Setfsuid(65534); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		err = FindNames(t.Context(), top, all, func() {}, func(n Name) error { got = append(got, n.Path); return nil })
		if err != nil || !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("mode %o: %q, %v", mode, got, err)
		}
	}
}
