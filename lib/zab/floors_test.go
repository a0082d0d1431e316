package zab

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestFloors checks that each package is in the list of contrib/ARCHITECTURE.md and
// imports only packages of lower floors, and that the judges of zab share no code with
// it.
func TestFloors(t *testing.T) {
	_, list, _ := strings.Cut(read(t, "contrib/ARCHITECTURE.md"), "## 2. The packages")
	list, _, _ = strings.Cut(list, "\n## ")
	isPackage := func(name string) bool {
		st, err := os.Stat(filepath.Join(root, "lib", name))
		return err == nil && st.IsDir()
	}
	floors := map[string]int{}
	floor := 0
	for line := range strings.Lines(list) {
		if !strings.HasPrefix(line, "    ") {
			continue
		}
		for _, column := range regexp.MustCompile(`\s{2,}`).Split(strings.TrimSpace(line), -1) {
			if n, err := strconv.Atoi(column); err == nil {
				floor = n
			} else if isPackage(column) {
				floors[column] = floor
			}
		}
	}
	const forTests = 100
	for _, name := range []string{"hostile", "hostile/client", "months", "zfs/zfstest"} {
		floors[name] = forTests
	}
	dirs, err := filepath.Glob(filepath.Join(root, "lib", "*"))
	if err != nil || len(dirs) < 20 {
		t.Fatal(err, dirs)
	}
	more, _ := filepath.Glob(filepath.Join(root, "lib", "*", "*"))
	for _, dir := range append(dirs, more...) {
		name, _ := filepath.Rel(filepath.Join(root, "lib"), dir)
		files, _ := filepath.Glob(filepath.Join(dir, "*.go"))
		if len(files) == 0 {
			continue
		}
		mine, ok := floors[name]
		if !ok {
			t.Errorf("lib/%s is not in the list", name)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, imp := range f.Imports {
				other, ours := strings.CutPrefix(strings.Trim(imp.Path.Value, `"`), "zab/lib/")
				if ours && (floors[other] >= mine || mine == forTests) {
					t.Errorf("%s imports lib/%s", path, other)
				}
			}
		}
	}
}
