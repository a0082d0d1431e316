package filetree

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return uint64(info.Sys().(*syscall.Stat_t).Ino)
}

// Each file that is wanted is named once, whatever its name is; links are not followed.
func TestFindNames(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only on Linux")
	}
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "outside")
	for _, err := range []error{
		os.MkdirAll(dir+"/a b/c", 0o700), os.WriteFile(dir+"/a b/c/x\n\xff", nil, 0o600), os.WriteFile(outside, nil, 0o600),
		os.Link(dir+"/a b/c/x\n\xff", dir+"/z"), os.Symlink(filepath.Dir(outside), dir+"/l"), os.WriteFile(dir+"/y", nil, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	top, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	find := func(ctx context.Context, objects ...uint64) (got []string, seen int, err error) {
		err = FindNames(ctx, top, objects, func() { seen++ }, func(n Name) error {
			if n.Type != "name" || !slices.Contains(objects, n.Object) {
				t.Errorf("%+v", n)
			}
			got = append(got, n.Path)
			return nil
		})
		return got, seen, err
	}
	got, seen, err := find(t.Context(), inode(t, dir+"/z"), inode(t, dir), inode(t, dir+"/a b/c"), inode(t, dir+"/l"), inode(t, outside), 1<<60)
	if want := []string{".", "a b/c", "a b/c/x%0A%FF", "l"}; err != nil || !slices.Equal(got, want) || seen < 7 {
		t.Errorf("%q, %d seen, %v", got, seen, err)
	}
	// it ends when all were found
	if got, seen, err = find(t.Context(), inode(t, dir)); err != nil || len(got) != 1 || seen != 1 {
		t.Errorf("%q, %d seen, %v", got, seen, err)
	}
	over, cancel := context.WithCancelCause(t.Context())
	mine := errors.New("over")
	cancel(mine)
	if _, _, err = find(over, 1<<60); !errors.Is(err, mine) {
		t.Errorf("%v", err)
	}
}

// A path leads to nothing outside of the tree, whoever says it.
func FuzzParseName(f *testing.F) {
	for _, path := range []string{"a%0Ab", ".", "..", "../a", "/a", "a//b", "a/./b", "a/", "", "a%00", "a/../b", "a%0", "%61"} {
		f.Add(`{"type":"name","object":3,"path":"` + path + `"}`)
	}
	f.Add(`{"type":"names","name":"tank/a@b","guid":"12"}`)
	f.Fuzz(func(t *testing.T, line string) {
		n, last, err := ParseName(line)
		if err != nil || last.GUID != "" {
			return
		}
		raw, err := Unescape(n.Path)
		if err != nil || raw == "" || Escape(raw) != n.Path || strings.ContainsRune(raw, 0) {
			t.Errorf("%q: %+v", line, n)
		}
		if parts := strings.Split(raw, "/"); raw != "." && slices.ContainsFunc(parts, func(s string) bool { return s == "" || s == "." || s == ".." }) {
			t.Errorf("%q: %+v", line, n)
		}
	})
}
