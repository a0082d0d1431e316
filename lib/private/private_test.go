package private

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, d := range []struct {
		name string
		mode os.FileMode
	}{{"good", 0o700}, {"read", 0o755}, {"group", 0o770}, {"all", 0o777}, {"sticky", 0o777 | os.ModeSticky}} {
		if err := os.Mkdir(at(d.name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(at(d.name), d.mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("good", at("link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"good": "", "read": "", "group": "mode 0770", "all": "mode 0777", "sticky": "mode 0777", "link": "is a link", "file": "not a directory"}
	if os.Getuid() == 0 {
		if err := os.Mkdir(at("other"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(at("other"), 12345, 0); err != nil {
			t.Fatal(err)
		}
		want["other"] = "belongs to the user 12345"
	}
	for name, text := range want {
		err := Check(at(name))
		if (err == nil) != (text == "") || err != nil && !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, want %q", name, err, text)
		}
		if e := Make(at(name)); (e == nil) != (err == nil) {
			t.Errorf("make %s: %v", name, e)
		}
	}
	if err := Check(at("none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	if err := Make(at("new/below")); err != nil {
		t.Error(err)
	}
}
