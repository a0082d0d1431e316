package zfs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Another host's shell reports the same about paths as this machine sees.
func TestPaths(t *testing.T) {
	dir := t.TempDir()
	d := filepath.Join(dir, "a 'dir' -n")
	odd := filepath.Join(dir, "odd\nd")
	for _, p := range []string{d, odd} {
		if err := os.Mkdir(p, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"link": d, "nowhere": filepath.Join(dir, "none"), "tofile": file, "toodd": odd, "twice": filepath.Join(dir, "link")} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]Path{
		d: {Kind: PathDir}, file: {Kind: PathOther}, filepath.Join(dir, "none"): {Kind: PathMissing}, filepath.Join(dir, "none", "x"): {Kind: PathMissing},
		filepath.Join(dir, "link"): {PathLink, d}, filepath.Join(dir, "nowhere"): {PathLink, ""}, filepath.Join(dir, "tofile"): {PathLink, ""}, filepath.Join(dir, "twice"): {PathLink, d},
	}
	var paths []string
	for p := range want {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	paths = append(paths, filepath.Join(dir, "toodd"), filepath.Join(dir, "link"))
	other := &Host{m: &Machine{}, Dest: "other", conn: connection{done: true, ssh: []string{"/bin/sh", "-c"}}}
	for _, h := range []*Host{(&Machine{}).Host(""), other} {
		host := h.Dest
		got, _, err := h.Paths(t.Context(), paths)
		if err != nil {
			t.Fatalf("%q: %v", host, err)
		}
		for p, w := range want {
			if got[p] != w {
				t.Errorf("%q: %s is %c %q, not %c %q", host, p, got[p].Kind, got[p].Real, w.Kind, w.Real)
			}
		}
		if host != "" && got[filepath.Join(dir, "toodd")] != (Path{PathLink, ""}) {
			t.Errorf("a link whose end has a line feed: %q", got[filepath.Join(dir, "toodd")].Real)
		}
		if _, _, err := h.Paths(t.Context(), nil); err != nil {
			t.Errorf("%q: no paths: %v", host, err)
		}
	}
}

func TestMounted(t *testing.T) {
	var got []Mounted
	for line := range strings.Lines("proc /proc proc rw 0 0\ntank/a\\040b /m\\011nt\\134x zfs ro,nosuid 0 0\ntank / zfs rw 0 0\ntank /x \\08 zfs\nzfs\n") {
		got = addMounted(got, strings.TrimSuffix(line, "\n"))
	}
	if want := []Mounted{{"tank/a b", "/m\tnt\\x"}, {"tank", "/"}}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	got, err := addColumns(nil, "tank/a b                        /mnt/x y")
	if want := []Mounted{{"tank/a b", "/mnt/x y"}}; !slices.Equal(got, want) || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := addColumns(nil, strings.Repeat("  /", 1000)); err == nil || len(got) > 0 {
		t.Errorf("%d readings", len(got))
	}
}
