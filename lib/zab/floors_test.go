package zab

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// testPackages are the packages that serve tests only, each with the packages of zab that
// it may import: the judges share no code with the judged.
var testPackages = map[string][]string{
	"bench":          {"record", "svg", "zabtest"},
	"hostile":        {"hostile/client", "sendstream/streamtest"},
	"hostile/client": nil,
	"months":         nil,
	"proofs":         {"zabtest"},
	"torture":        {"zabtest"},
	"zabtest":        nil,
	"zabtest/heap":   nil,
	"zfs/fake":       {"zfs"},
	"zfs/zfstest":    nil,

	"sendstream/streamtest": nil,
}

// TestFloors checks that each package is in section 2 of contrib/ARCHITECTURE.md and
// imports only packages of lower floors, and that no program imports a package that serves
// tests only.
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
			} else if isPackage(column) || column == "cmd/*" {
				floors[column] = floor
			}
		}
	}
	_, sentence, _ := strings.Cut(list, "TestFloors")
	sentence, _, _ = strings.Cut(sentence, "serve tests only")
	for name := range testPackages {
		if !strings.Contains(sentence, "`"+name+"`") {
			t.Errorf("lib/%s is not among the packages that serve tests only", name)
		}
	}
	dirs, err := filepath.Glob(filepath.Join(root, "lib", "*"))
	if err != nil || len(dirs) < 20 {
		t.Fatal(err, dirs)
	}
	for _, pattern := range []string{"lib/*/*", "cmd/*"} {
		more, _ := filepath.Glob(filepath.Join(root, pattern))
		dirs = append(dirs, more...)
	}
	for _, dir := range dirs {
		name, _ := filepath.Rel(root, dir)
		name = strings.TrimPrefix(name, "lib/")
		if strings.HasPrefix(name, "cmd/") {
			name = "cmd/*"
		}
		files, _ := filepath.Glob(filepath.Join(dir, "*.go"))
		if len(files) == 0 {
			continue
		}
		allowed, forTests := testPackages[name]
		mine, ok := floors[name]
		if !ok && !forTests {
			t.Errorf("%s is not in the list", dir)
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
				switch below, known := floors[other]; {
				case !ours:
				case forTests && !slices.Contains(allowed, other), !forTests && (!known || below >= mine):
					t.Errorf("%s imports lib/%s", path, other)
				}
			}
		}
	}
}
