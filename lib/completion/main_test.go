package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestCompletions checks that the completions have exactly the options that are not
// hidden, and complete all programs.
func TestCompletions(t *testing.T) {
	for file := range tables {
		have, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		want, err := update(file, have)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, have) {
			t.Errorf("%s does not fit the programs; run go generate ./lib/completion", file)
		}
		for _, program := range programs {
			if name := program().Name; !bytes.Contains(have[:begin.FindIndex(have)[0]], []byte(name)) {
				t.Errorf("%s does not complete %s", file, name)
			}
		}
	}
}
