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

// said runs a script that prints, for each line of shell, the number of its words and the
// words, and returns the words that the shell read.
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
	for _, s := range [][]string{{"bash", "--posix"}, {"bash"}, {"busybox", "sh"}, {"ksh"}, {"zsh", "--emulate", "sh"}, {"zsh", "-f"}} {
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

// A shell reads all quoted words unchanged. All words of a test go through one shell of
// each kind.
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

// login returns the installed shells of those that a user on another host may have, with
// the arguments by which sshd starts them.
func login(t *testing.T) (all [][]string) {
	for _, s := range [][]string{{"sh", "-c"}, {"bash", "-c"}, {"busybox", "sh", "-c"}, {"ksh", "-c"}, {"zsh", "-c"}, {"csh", "-c"}, {"tcsh", "-c"}, {"fish", "-c"}} {
		if path, err := exec.LookPath(s[0]); err == nil {
			all = append(all, append([]string{path}, s[1:]...))
		} else {
			t.Logf("%s is not installed", s[0])
		}
	}
	return all
}

// Every login shell starts the intended program, with the words unchanged, and in the C
// locale.
func TestLoginLine(t *testing.T) {
	odd := []string{"", " ", "'", "''", `"`, `\`, `\\`, `a\`, `\'`, `\n`, "a\nb", "\n", "\n\n", "100%\n%s", "\\\n'!\n", "\t", "$HOME", "${HOME}", "$(id)", "`id`",
		"*", "?", "[a]", "~", "~root", "!", "!x", "a!b", "!!", "'!'", "#", ";", "&", "|", "<", ">", "(", ")", "{a,b}", "=", "=ls", "a=b", "%", "%self", "%%", "^", "^a^b",
		"@", "@x", "é", "-n", "--", "tank/my data@s 1", "zfs_autobackup:x", "1,2", "x\ty", "'a'\"b\"$c`d`\\e!f\ng"}
	for _, shell := range login(t) {
		for _, words := range [][]string{odd, slices.DeleteFunc(slices.Clone(odd), func(s string) bool { return strings.Contains(s, "\n") })} {
			argv := append([]string{"/bin/sh", "-c", `printf '%s\0' "$LC_ALL" "$@"`, "sh"}, words...)
			out, err := exec.Command(shell[0], append(shell[1:], loginLine(argv))...).CombinedOutput()
			got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
			if want := append([]string{"C"}, words...); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: %q went through as %q, %v", shell, want, got, err)
			}
		}
	}
}

// TestLoginLineAny is TestLoginLine for any words, with many commands per shell.
func TestLoginLineAny(t *testing.T) {
	var want, lines []string
	rapid.Check(t, func(t *rapid.T) {
		argv := rapid.SliceOfN(word, 1, 5).Draw(t, "argv")
		if len(lines) >= 40 {
			return
		}
		for i := range argv {
			argv[i] = strings.ToValidUTF8(argv[i], "?")
		}
		want = append(want, append([]string{"C"}, argv...)...)
		lines = append(lines, loginLine(append([]string{"/bin/sh", "-c", `printf '%s\0' "$LC_ALL" "$@"`, "sh"}, argv...)))
	})
	for _, shell := range login(t) {
		cmd := exec.Command(shell[0], append(shell[1:], strings.Join(lines, " ; "))...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
		if err != nil || stderr.Len() > 0 || !slices.Equal(got, want) {
			for i := range want {
				if i >= len(got) || got[i] != want[i] {
					t.Errorf("%s: %q went through otherwise, %v %s", shell, want[i], err, &stderr)
					break
				}
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

// A program on another host gets its words unchanged through ssh, which transmits only
// lines.
func TestRemoteWords(t *testing.T) {
	h := fakeSSH(t, `exec /bin/sh -c "$line"`)
	argv := []string{"printf", `%s\n`, "tank/my data@s 1", "$HOME", "it's", "", `back\slash`, "*"}
	var got []string
	err := h.ask(context.Background(), func(line string) error { got = append(got, line); return nil }, argv...)
	if err != nil || !slices.Equal(got, argv[2:]) {
		t.Errorf("%q arrived as %q, %v", argv[2:], got, err)
	}
}
