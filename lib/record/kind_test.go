package record

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// TestKindsAreListed checks that each kind is in its list exactly once, and that hints
// belong to listed kinds.
func TestKindsAreListed(t *testing.T) {
	text, err := os.ReadFile("kind.go")
	if err != nil {
		t.Fatal(err)
	}
	consts := func(typ string) (words []string) {
		for _, m := range regexp.MustCompile(`(?m)^\t\w+ +`+typ+` += "([a-z-]+)"`).FindAllSubmatch(text, -1) {
			words = append(words, string(m[1]))
		}
		slices.Sort(words)
		return words
	}
	var errs, conflicts []string
	for _, k := range ErrorKinds {
		errs = append(errs, string(k))
	}
	for _, k := range ConflictKinds {
		conflicts = append(conflicts, string(k))
	}
	for typ, list := range map[string][]string{"ErrorKind": errs, "ConflictKind": conflicts} {
		slices.Sort(list)
		if want := consts(typ); len(want) < 10 || !slices.Equal(list, want) {
			t.Errorf("%s: %q are listed, and there are %q", typ, list, want)
		}
	}
	for k := range hints {
		if !slices.Contains(ErrorKinds, k) {
			t.Errorf("a hint for %q", k)
		}
	}
}
