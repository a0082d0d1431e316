package digest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"zab/lib/cli"
	"zab/lib/sendstream/streamtest"
	"zab/lib/streamsum"
	"zab/lib/zfs"
)

func TestCheck(t *testing.T) {
	for args, want := range map[string]string{
		"--files tank/a@b":                           "",
		"--files --objects --rate=1M t@b":            "",
		"--files":                                    "the name of a snapshot is missing",
		"--files tank/a":                             "not the full name of a snapshot",
		"--files tank/a#b":                           "of a bookmark",
		"--files tank/a@b%c":                         "not a name of ZFS",
		"--files --base-last=5 tank/a@b":             "--base-last: is only for streams",
		"--files --name-of=5 --name-of 6 tank/a@b":   "",
		"--files --name-of=x tank/a@b":               "invalid",
		"--files --name-of=5 --hash=blake3 tank/a@b": "--name-of: reads no file",
		"--name-of=5":                                "--name-of: finds names in the files of a snapshot",
		"--files --name-of=5 --objects tank/a@b":     "--name-of: reads no file",
		"tank/a@b":                                   "the files of a snapshot need --files",
	} {
		p := Program()
		rest, err := p.Parser().ParseArgs(strings.Fields(args))
		if err == nil {
			err = p.Check(rest)
		}
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// The option --hash is that of all digests of a stream, and of the line.
func TestHash(t *testing.T) {
	data := streamtest.Recorded(t, "../sendstream/testdata/plain.gz")
	seen := map[string]bool{}
	for _, c := range []struct{ args, algorithm string }{{"--objects", "sha256"}, {"--objects --hash=sha256", "sha256"}, {"--objects --hash=blake3", "blake3"}} {
		p := Program()
		if _, err := p.Parser().ParseArgs(strings.Fields(c.args)); err != nil {
			t.Fatal(err)
		}
		o := p.Options.(*options)
		var out bytes.Buffer
		env := &cli.Env{Program: "zab-digest", Common: &cli.Common{}, Machine: &zfs.Machine{}, Stdin: bytes.NewReader(data), Stdout: &out}
		if err := p.Run(context.Background(), env, nil); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		l, err := streamsum.ParseLine(lines[len(lines)-1], o.Hash)
		if err != nil || len(lines) != 9 || l.Algorithm != c.algorithm {
			t.Errorf("%s: %v\n%s", c.args, err, out.String())
		}
		seen[out.String()] = true
	}
	if len(seen) != 2 {
		t.Errorf("%d different outputs", len(seen))
	}
}

// P12: there is no digest of what cannot be mounted, or is no filesystem.
func TestFilesRefused(t *testing.T) {
	for _, c := range []struct{ what, row, stderr, want string }{
		{"none", "", "cannot open 'tank/a@b': dataset does not exist", "'tank/a@b' does not exist"},
		{"a volume", "tank/a@b\t5\t1\t-\t-\t-", "", "a snapshot of a volume, which has no files"},
		{"a locked one", "tank/a@b\t5\t1\tsa\tposix\tunavailable", "", "its key is not loaded"},
		{"another", "tank/a@c\t5\t1\tsa\tposix\t-", "", "was not asked for"},
		{"one that is not there", "tank/a@b\t5\t1\tsa\tposix\t-", "", "cannot mount 'tank/a@b'"},
	} {
		if c.what == "one that is not there" && runtime.GOOS != "linux" {
			c.want = "Linux"
		}
		dir := t.TempDir()
		script := "#!/bin/sh\n"
		if c.row != "" {
			script += "echo '" + c.row + "'\n"
		}
		if c.stderr != "" {
			script += "echo \"" + c.stderr + "\" >&2; exit 1\n"
		}
		if err := os.WriteFile(filepath.Join(dir, "zfs"), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir+":/usr/bin:/bin")
		var out bytes.Buffer
		env := &cli.Env{Program: "zab-digest", Common: &cli.Common{}, Machine: &zfs.Machine{}, Stdout: &out}
		err := (&options{Files: true}).files(context.Background(), env, "tank/a@b")
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "cannot digest the files of 'tank/a@b': ") || out.Len() > 0 {
			t.Errorf("%s: %v, %q", c.what, err, out.String())
		}
	}
}

// A signal ends it though its pool does not answer.
func TestFilesInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	gone := errors.New("gone")
	cancel(gone)
	env := &cli.Env{Program: "zab-digest", Common: &cli.Common{}, Machine: &zfs.Machine{}, Stdout: &bytes.Buffer{}}
	if err := (&options{Files: true}).files(ctx, env, "tank/a@b"); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("%v", err)
	}
}
