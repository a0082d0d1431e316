package zfs

import (
	"bytes"
	"context"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// said runs a script that prints, for each line of shell, the number of its
// words and the words, and gives what the shell made of them.
func said(t testing.TB, shell []string, lines []string) [][]string {
	t.Helper()
	var script strings.Builder
	for _, l := range lines {
		script.WriteString("set -- " + l + "\nprintf '%s\\0' \"$#\" \"$@\"\n")
	}
	cmd := exec.Command(shell[0], append(shell[1:], "-s")...)
	cmd.Stdin = strings.NewReader(script.String())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%s: %v: %s\n%q", shell, err, &stderr, lines)
	}
	var all [][]string
	words := strings.Split(string(out), "\x00")
	for len(words) > 1 {
		n, err := strconv.Atoi(words[0])
		if err != nil || n+1 > len(words) {
			t.Fatalf("%s: cannot read %q", shell, words)
		}
		all = append(all, words[1:n+1])
		words = words[n+1:]
	}
	return all
}

func shells() [][]string {
	all := [][]string{{"/bin/sh"}}
	for _, s := range [][]string{{"bash", "--posix"}, {"busybox", "sh"}, {"ksh"}, {"zsh", "--emulate", "sh"}} {
		if path, err := exec.LookPath(s[0]); err == nil {
			all = append(all, append([]string{path}, s[1:]...))
		}
	}
	return all
}

var word = rapid.OneOf(
	rapid.SampledFrom([]string{"", " ", "-", "--", "'", "''", `"`, `\`, `\\`, "\n", "\t", "$HOME", "$(id)", "`id`", "*", "?", "[a]", "~", "!x",
		"#", ";", "&", "|", "<", ">", "(", ")", "{a,b}", "=", "a=b", "%", "^", "é", "\xff\xfe", "tank/my data@s 1", "zfs_autobackup:x", "1,2"}),
	rapid.StringMatching(`[ -~]{0,12}`),
	rapid.Map(rapid.SliceOfN(rapid.ByteRange(1, 255), 0, 12), func(b []byte) string { return string(b) }),
	rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]string{"'", `"`, `\`, "$", "\n", " ", "a"}), 0, 8), func(p []string) string { return strings.Join(p, "") }),
)

// Whatever the words, a shell reads them as they were. All of a test's words
// go through one shell of each kind.
func TestQuote(t *testing.T) {
	var want [][]string
	var lines []string
	rapid.Check(t, func(t *rapid.T) {
		argv := rapid.SliceOfN(word, 1, 5).Draw(t, "argv")
		want = append(want, argv)
		lines = append(lines, Quote(argv...))
	})
	for _, shell := range shells() {
		got := said(t, shell, lines)
		if len(got) != len(want) {
			t.Fatalf("%s: %d lines instead of %d", shell, len(got), len(want))
		}
		for i := range want {
			if !slices.Equal(got[i], want[i]) {
				t.Errorf("%s: %q went through as %q", shell, want[i], got[i])
			}
		}
	}
}

func FuzzQuote(f *testing.F) {
	f.Add("a\x00b c\x00'\x00$(id)\n")
	f.Add("")
	f.Add("\xff\x00\\")
	f.Fuzz(func(t *testing.T, words string) {
		argv := strings.Split(words, "\x00")
		got := said(t, []string{"/bin/sh"}, []string{Quote(argv...)})
		if len(got) != 1 || !slices.Equal(got[0], argv) {
			t.Errorf("%q went through as %q", argv, got)
		}
	})
}

// What is started on another host gets the words that were meant, through
// ssh, which knows only lines.
func TestRemoteWords(t *testing.T) {
	h := fakeSSH(t, `exec /bin/sh -c "$line"`)
	argv := []string{"printf", `%s\n`, "tank/my data@s 1", "$HOME", "it's", "", `back\slash`, "*"}
	var got []string
	err := h.ask(context.Background(), func(line string) error { got = append(got, line); return nil }, argv...)
	if err != nil || !slices.Equal(got, argv[2:]) {
		t.Errorf("%q arrived as %q, %v", argv[2:], got, err)
	}
}
