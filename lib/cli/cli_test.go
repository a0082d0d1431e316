package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"zab/lib/record"
	"zab/lib/zfs"
)

func TestParseTime(t *testing.T) {
	loc := time.FixedZone("here", 3600)
	for _, c := range []struct{ text, want string }{
		{"2026-11-22T03:00:00Z", "2026-11-22T03:00:00Z"},
		{"2026-11-22T03:00:00+02:00", "2026-11-22T01:00:00Z"},
		{"2026-11-22T03:00:00.5Z", "2026-11-22T03:00:00Z"},
		{"2026-11-22T03:00:00", "2026-11-22T02:00:00Z"},
		{"2026-11-22 03:00:00", "2026-11-22T02:00:00Z"},
		{"2026-11-22T03:00", "2026-11-22T02:00:00Z"},
		{"2026-11-22 03:00", "2026-11-22T02:00:00Z"},
		{"2026-11-22", "2026-11-21T23:00:00Z"},
		{"", ""}, {"now", ""}, {"2026-13-01", ""}, {"2026-02-30T00:00:00Z", ""}, {"2026-11-22T03:00:00Zx", ""}, {"1795388452", ""}, {"22.11.2026", ""},
	} {
		got, err := ParseTime(c.text, loc)
		if s := got.UTC().Format(time.RFC3339); c.want == "" != (err != nil) || c.want != "" && s != c.want {
			t.Errorf("%q: %s, %v", c.text, s, err)
		}
	}
}

type testOptions struct {
	Common
	Compress packing  `long:"compress" optional:"yes" optional-value:"zstd-fast" choice:"zstd-fast" choice:"lz4"`
	Keep     string   `long:"keep" unquote:"false" default:"10"`
	Pipes    []string `long:"pipe" unquote:"false"`
}

// program returns a command that executes run.
func program(o *testOptions, run func(context.Context, *Env, []string) error) Program {
	return Program{Name: "zab-test", Usage: "A [B]", MinArgs: 1, MaxArgs: 2, Options: o, Run: run}
}

// packing is an optional value, which users of zfs-autobackup write as a separate word.
type packing string

func (packing) Takes(word string) bool { return word == "zstd-fast" || word == "lz4" }

func TestJoinOptional(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"--compress lz4 a", "--compress=lz4 a"},
		{"a --compress lz4", "a --compress=lz4"},
		{"--compress=lz4 a", "--compress=lz4 a"},
		{"--compress --keep 1 a", "--compress --keep 1 a"},
		{"--compress -v a", "--compress -v a"},
		{"a --compress", "a --compress"},
		{"--compress a", "--compress a"},
		{"--compress lz4 lz4", "--compress=lz4 lz4"},
		{"--keep 1 a", "--keep 1 a"},
		{"a -- --compress lz4", "a -- --compress lz4"},
		{"--compress -- a", "--compress -- a"},
		{"--compress", "--compress"},
		{"", ""},
	} {
		got := JoinOptional(strings.Fields(c.in), program(&testOptions{}, nil).Parser())
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q becomes %q", c.in, got)
		}
	}
}

// start runs Main like a process, and returns its exit status and output.
func start(t *testing.T, p Program, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	oldOut, oldErr, oldIn := os.Stdout, os.Stderr, os.Stdin
	defer func() { os.Stdout, os.Stderr, os.Stdin = oldOut, oldErr, oldIn }()
	dir := t.TempDir()
	var err error
	if os.Stdout, err = os.Create(dir + "/out"); err == nil {
		if os.Stderr, err = os.Create(dir + "/err"); err == nil {
			os.Stdin, err = os.Open(os.DevNull)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	code = Main(p, args)
	for _, f := range []*os.File{os.Stdout, os.Stderr, os.Stdin} {
		f.Close()
	}
	out, _ := os.ReadFile(dir + "/out")
	e, _ := os.ReadFile(dir + "/err")
	return code, string(out), string(e)
}

func TestExitStatus(t *testing.T) {
	fails := errors.New("it broke")
	for _, c := range []struct {
		what   string
		args   string
		run    func(context.Context, *Env, []string) error
		code   int
		stderr string // its beginning
	}{
		{"all done", "a", func(context.Context, *Env, []string) error { return nil }, 0, ""},
		{"some record failed", "a", func(_ context.Context, e *Env, _ []string) error {
			e.Report(&record.Record{Error: &record.Error{Message: "cannot x", Hint: "do y"}})
			return nil
		}, 1, "zab-test: cannot x\nzab-test: hint: do y\n"},
		{"the first status counts", "a", func(_ context.Context, e *Env, _ []string) error { e.Status(7); e.Fail(); return nil }, 7, ""},
		{"nothing could be done", "a", func(context.Context, *Env, []string) error { return fails }, 1, "zab-test: it broke\n"},
		{"with a hint of its own", "a", func(context.Context, *Env, []string) error {
			return fmt.Errorf("cannot z: %w", &record.Error{Message: "m", Hint: "do y"})
		}, 1, "zab-test: cannot z: m\nzab-test: hint: do y\n"},
		{"with one of zfs's", "a", func(context.Context, *Env, []string) error {
			return &zfs.Error{Kind: record.KindNoZFS, Lines: []string{"no zfs"}}
		}, 1, "zab-test: no zfs\nzab-test: hint: load the module"},
		{"a line each", "a", func(_ context.Context, e *Env, _ []string) error {
			e.Errorf("one\ntwo\n")
			e.Warnf("three")
			e.Verbosef("not asked for")
			e.Hintf("%s", "")
			return nil
		}, 0, "zab-test: one; two\nzab-test: warning: three\n"},
		{"verbose", "-v a", func(_ context.Context, e *Env, _ []string) error { e.Verbosef("x"); return nil }, 0, "zab-test: x\n"},
		{"a command line that only running finds wrong", "a", func(context.Context, *Env, []string) error { return UsageError{fails} }, 2, "zab-test: it broke\nzab-test: hint: "},

		{"no operand", "", nil, 2, "zab-test: an operand is missing: zab-test A [B]\nzab-test: hint: 'zab-test --help' shows the options, 'man zab-test' the manual\n"},
		{"too many", "a b c", nil, 2, "zab-test: unexpected operand \"c\""},
		{"an unknown option", "--nope a", nil, 2, "zab-test: unknown option '--nope'\n"},
		{"an option without its value", "a --keep", nil, 2, "zab-test: a value is missing for the option '--keep'"},
		{"a value that is none of the choices", "--compress=zip a", nil, 2, "zab-test: invalid value 'zip' for option '--compress'"},
		{"an empty value", "--keep= a", nil, 2, "zab-test: --keep: the value is empty\n"},
		{"one of several", "--pipe=x --pipe= a", nil, 2, "zab-test: --pipe: the value is empty\n"},
		{"an empty value of all commands", "--ssh-config= a", nil, 2, "zab-test: --ssh-config: the value is empty\n"},
		{"a time that is none", "--now=yesterday a", nil, 2, "zab-test: --now: cannot read the time \"yesterday\""},
	} {
		ran := false
		p := program(&testOptions{}, func(ctx context.Context, e *Env, args []string) error {
			ran = true
			return c.run(ctx, e, args)
		})
		code, stdout, stderr := start(t, p, strings.Fields(c.args)...)
		if code != c.code || stdout != "" || !strings.HasPrefix(stderr, c.stderr) || c.stderr == "" && stderr != "" || ran != (c.run != nil) {
			t.Errorf("%s: status %d, ran %v, %q, %q", c.what, code, ran, stdout, stderr)
		}
		for l := range strings.Lines(stderr) {
			if !strings.HasPrefix(l, "zab-test: ") {
				t.Errorf("%s: a line of nobody: %q", c.what, l)
			}
		}
	}
}

// TestOtherStatus checks the exit codes of the wrapper, which differ from those of the
// stages.
func TestOtherStatus(t *testing.T) {
	p := program(&testOptions{}, func(context.Context, *Env, []string) error { return errors.New("x") })
	p.UsageExit, p.FailExit = 255, 254
	if code, _, _ := start(t, p); code != 255 {
		t.Errorf("wrong command line: %d", code)
	}
	if code, _, _ := start(t, p, "a"); code != 254 {
		t.Errorf("nothing could be done: %d", code)
	}
}

func TestHelpAndVersion(t *testing.T) {
	p := func() Program {
		return program(&testOptions{}, func(context.Context, *Env, []string) error { t.Error("it ran"); return nil })
	}
	if code, out, e := start(t, p(), "--help"); code != 0 || e != "" || !strings.Contains(out, "zab-test [options] A [B]") || !strings.Contains(out, "--keep=") {
		t.Errorf("%d, %q, %q", code, out, e)
	}
	if code, out, e := start(t, p(), "--version"); code != 0 || e != "" || out != "zab-test "+Version+"\n" {
		t.Errorf("%d, %q, %q", code, out, e)
	}
}

// TestNoCompletion checks that an inherited GO_FLAGS_COMPLETION has no effect and is not
// passed on to stages: it would make a backup print words and exit with 0.
func TestNoCompletion(t *testing.T) {
	t.Setenv("GO_FLAGS_COMPLETION", "1")
	ran := false
	p := program(&testOptions{}, func(context.Context, *Env, []string) error {
		ran = true
		if v, ok := os.LookupEnv("GO_FLAGS_COMPLETION"); ok {
			t.Errorf("children would get %q", v)
		}
		return nil
	})
	if code, out, _ := start(t, p, "a"); code != 0 || !ran || out != "" {
		t.Errorf("%d, ran %v, %q", code, ran, out)
	}
}

func TestCommonOptions(t *testing.T) {
	for _, c := range []struct {
		args  string
		check func(*Env) bool
	}{
		{"-n a", func(e *Env) bool { return e.Common.DryRun }},
		{"--test a", func(e *Env) bool { return e.Common.DryRun }},
		{"a", func(e *Env) bool { return !e.Common.DryRun && !e.Fixed }},
		{"--now=2026-11-22T03:00:00Z a", func(e *Env) bool { return e.Fixed && e.Now.Unix() == 1795316400 }},
		{"--ssh-config=/x a", func(e *Env) bool { return e.Machine.SSHConfig == "/x" }},
		{"-d a", func(e *Env) bool { return e.Machine.Debug != nil }},
		{"a", func(e *Env) bool { return e.Machine.Debug == nil }},
		// A value that looks like a quoted Go string is taken literally.
		{`--keep="x" a`, func(e *Env) bool { return true }},
	} {
		o := &testOptions{}
		p := program(o, func(_ context.Context, e *Env, args []string) error {
			if !c.check(e) || !slices.Equal(args, []string{"a"}) {
				t.Errorf("%s: %+v, %q", c.args, e.Common, args)
			}
			return nil
		})
		if code, _, stderr := start(t, p, strings.Fields(c.args)...); code != 0 {
			t.Errorf("%s: %d, %s", c.args, code, stderr)
		}
		if strings.Contains(c.args, "--keep") && o.Keep != `"x"` {
			t.Errorf("%q", o.Keep)
		}
	}
}

// TestTerminal checks that a command that reads records refuses a terminal as its input,
// since nobody types records.
func TestTerminal(t *testing.T) {
	tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil || !IsTerminal(tty) {
		t.Skip("there is no terminal here")
	}
	defer tty.Close()
	old := os.Stdin
	defer func() { os.Stdin = old }()
	for _, reads := range []bool{true, false} {
		ran := false
		p := program(&testOptions{}, func(context.Context, *Env, []string) error { ran = true; return nil })
		p.ReadsRecords = reads
		os.Stdin = tty
		var code int
		stderr := captured(t, func() { code = Main(p, []string{"a"}) })
		if ran == reads || (code == ExitUsage) != reads || reads && !strings.Contains(stderr, "records are read from standard input, which is a terminal") {
			t.Errorf("reads %v: %d, ran %v, %s", reads, code, ran, stderr)
		}
	}
}

// A line begins with the erasure of progress on a terminal that can do that.
func TestLineStart(t *testing.T) {
	tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil || !IsTerminal(tty) {
		t.Skip("there is no terminal here")
	}
	defer tty.Close()
	for _, c := range []struct {
		w          io.Writer
		term, want string
	}{{tty, "xterm", "\x1b[J"}, {tty, "dumb", ""}, {tty, "", ""}, {io.Discard, "xterm", ""}} {
		t.Setenv("TERM", c.term)
		if got := LineStart(c.w); got != c.want {
			t.Errorf("%T %s: %q", c.w, c.term, got)
		}
	}
}

// captured returns the output of f on stderr.
func captured(t *testing.T, f func()) string {
	t.Helper()
	old := os.Stderr
	defer func() { os.Stderr = old }()
	var err error
	if os.Stderr, err = os.Create(t.TempDir() + "/err"); err != nil {
		t.Fatal(err)
	}
	defer os.Stderr.Close()
	f()
	b, _ := os.ReadFile(os.Stderr.Name())
	return string(b)
}

// TestSignal checks that a signal cancels the command's context and determines its exit
// status.
func TestSignal(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		p := program(&testOptions{}, func(ctx context.Context, _ *Env, _ []string) error {
			if err := syscall.Kill(os.Getpid(), sig); err != nil {
				t.Error(err)
			}
			<-ctx.Done()
			return context.Cause(ctx)
		})
		code, _, stderr := start(t, p, "a")
		if code != 128+int(sig) || !strings.HasPrefix(stderr, "zab-test: interrupted by ") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: %d, %q", sig, code, stderr)
		}
	}
}

// TestReaderGone checks that a command whose reader goes away is not killed in the middle
// of its work: the write fails, the work is completed, and the exit status tells the
// cause. Programs that it starts die of a broken pipe as usual.
func TestReaderGone(t *testing.T) {
	if dir := os.Getenv("CLI_TEST_DIR"); dir != "" {
		os.Exit(Main(program(&testOptions{}, func(_ context.Context, e *Env, _ []string) error {
			e.Warnf("nobody reads this either")
			err := record.NewWriter(e.Stdout).Write(&record.Record{Type: record.TypeDataset, Name: "tank"})
			child := exec.Command("sh", "-c", "yes; kill -l $? >status")
			child.Dir = dir
			child.Stdout = e.Stdout.(*os.File)
			_ = child.Run()
			return errors.Join(err, os.WriteFile(dir+"/done", nil, 0o600))
		}), []string{"a"}))
	}
	for _, stderr := range []bool{false, true} {
		out, in, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		out.Close()
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0], "-test.run=^TestReaderGone$")
		cmd.Env = append(os.Environ(), "CLI_TEST_DIR="+dir)
		cmd.Stdout = in
		var text strings.Builder
		cmd.Stderr = &text
		if stderr {
			cmd.Stderr = in
		}
		_ = cmd.Run()
		in.Close()
		if code := cmd.ProcessState.ExitCode(); code != 141 {
			t.Errorf("status %d, %s", code, text.String())
		}
		if _, err := os.Stat(dir + "/done"); err != nil {
			t.Error(err)
		}
		if b, err := os.ReadFile(dir + "/status"); string(b) != "PIPE\n" {
			t.Errorf("the child ended with %q, %v", b, err)
		}
		want := "zab-test: warning: nobody reads this either\nzab-test: cannot write records: broken pipe\nzab-test: hint: what was under way was finished, and nothing more was begun\n"
		if !stderr && text.String() != want {
			t.Errorf("%s", text.String())
		}
	}
}

const rec = `{"zab":1,"type":"dataset","name":"tank/%s"}`

func input(words ...string) string {
	var b strings.Builder
	for _, w := range words {
		fmt.Fprintf(&b, rec+"\n", w)
	}
	return b.String()
}

func env(stdin io.Reader) (*Env, *strings.Builder) {
	e := &strings.Builder{}
	return &Env{Program: "zab-test", Common: &Common{}, Stdin: stdin, Stderr: e}, e
}

func names(set []*record.Record) string {
	var out []string
	for _, r := range set {
		out = append(out, strings.TrimPrefix(r.Name, "tank/"))
	}
	return strings.Join(out, " ")
}

var errStop = errors.New("stop")

// readers are the three ways of reading records, each as a function that passes on the
// records it gets.
var readers = map[string]func(context.Context, *Env, func(string) error) error{
	"Each": func(ctx context.Context, e *Env, f func(string) error) error {
		return e.Each(ctx, record.NewWriter(io.Discard), func(r *record.Record) error { return f(names([]*record.Record{r})) })
	},
	"All": func(ctx context.Context, e *Env, f func(string) error) error {
		all, _, err := e.All(ctx, nil)
		for _, r := range all {
			if err := f(names([]*record.Record{r})); err != nil {
				return err
			}
		}
		return err
	},
	"Batches": func(ctx context.Context, e *Env, f func(string) error) error {
		return e.Batches(ctx, 2, func(set []*record.Record) error { return f(names(set)) })
	},
}

// TestCancelWhileBlocked checks that a command waiting for its next line ends when its
// context is cancelled, and returns the cause.
func TestCancelWhileBlocked(t *testing.T) {
	for name, read := range readers {
		synctest.Test(t, func(t *testing.T) {
			in, out := io.Pipe()
			defer out.Close()
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			e, stderr := env(in)
			ended := make(chan error)
			go func() { ended <- read(ctx, e, func(string) error { return nil }) }()
			fmt.Fprintf(out, rec+"\n", "a")
			fmt.Fprintf(out, `{"zab":1,"type":`) // the rest never follows
			synctest.Wait()
			select {
			case err := <-ended:
				t.Errorf("%s: ended by itself: %v", name, err)
				return
			default:
			}
			cancel(SignalError{syscall.SIGTERM})
			var sig SignalError
			if err := <-ended; !errors.As(err, &sig) || sig.Signal != syscall.SIGTERM {
				t.Errorf("%s: %v", name, err)
			}
			if stderr.Len() > 0 {
				t.Errorf("%s: %s", name, stderr)
			}
			in.Close()
		})
	}
}

// TestBadLine checks P9: a line that is not understood ends the reading; the records
// before it are processed, those after it are not.
func TestBadLine(t *testing.T) {
	for name, read := range readers {
		e, stderr := env(strings.NewReader(input("a", "b", "c") + "oops\n" + input("d")))
		var got []string
		err := read(t.Context(), e, func(s string) error { got = append(got, s); return nil })
		if err != nil || strings.Join(got, " ") != "a b c" || e.status != ExitFailed {
			t.Errorf("%s: %q, %v, status %d", name, got, err, e.status)
		}
		if !strings.HasPrefix(stderr.String(), "zab-test: cannot read records: line 4: ") || !strings.Contains(stderr.String(), "nothing was done for this line or any after it") {
			t.Errorf("%s: %s", name, stderr)
		}
	}
	e, _ := env(strings.NewReader(input("a") + "oops\n"))
	if all, bad, err := e.All(t.Context(), nil); len(all) != 1 || bad == nil || err != nil {
		t.Errorf("All: %v, %v, %v", all, bad, err)
	}
}

// TestWorkFails checks that an error of the callback ends the reading at once.
func TestWorkFails(t *testing.T) {
	for name, read := range readers {
		e, _ := env(strings.NewReader(input("a", "b", "c", "d", "e")))
		n := 0
		err := read(t.Context(), e, func(string) error { n++; return errStop })
		if err != errStop || n != 1 {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
}

// TestEachPasses checks that Each passes on skipped records unchanged.
func TestEachPasses(t *testing.T) {
	failed := `{"zab":1, "type":"dataset","name":"tank/f","error":{"stage":"plan","kind":"k","message":"m"}}` + "\n"
	off := `{"zab":1,"type":"dataset","name":"tank/o", "selected":false}` + "\n"
	e, _ := env(strings.NewReader(failed + input("a") + off))
	var out strings.Builder
	w := record.NewWriter(&out)
	err := e.Each(t.Context(), w, func(r *record.Record) error { r.Reason = "changed"; return w.Write(r) })
	if want := failed + `{"zab":1,"type":"dataset","name":"tank/a","reason":"changed"}` + "\n" + off; err != nil || out.String() != want {
		t.Errorf("%v, %s", err, &out)
	}
}

// TestBatches checks that batches are full while records arrive, and that an incomplete
// batch waits only a moment for more.
func TestBatches(t *testing.T) {
	e, _ := env(strings.NewReader(input("a", "b", "c", "d", "e")))
	var got []string
	if err := e.Batches(t.Context(), 2, func(set []*record.Record) error { got = append(got, names(set)); return nil }); err != nil || strings.Join(got, ",") != "a b,c d,e" {
		t.Errorf("%q, %v", got, err)
	}
	synctest.Test(t, func(t *testing.T) {
		in, out := io.Pipe()
		e, _ := env(in)
		batches := make(chan string, 10)
		ended := make(chan error)
		go func() {
			ended <- e.Batches(t.Context(), 100, func(set []*record.Record) error { batches <- names(set); return nil })
		}()
		io.WriteString(out, input("a", "b"))
		if got := <-batches; got != "a b" {
			t.Errorf("%q", got)
		}
		io.WriteString(out, input("c"))
		out.Close()
		if err := <-ended; err != nil || len(batches) != 1 || <-batches != "c" {
			t.Errorf("%v", err)
		}
	})
}

// TestHelp checks that --help fits the width of the terminal and shows each option that
// is not hidden once.
func TestHelp(t *testing.T) {
	p := Program{Name: "zab-x", Usage: "NAME", Summary: "Do something to many things with a lot of words.", Sections: []Section{{Often, "Used most"}, {"", "General"}, {"remote", "Remote sides"}},
		Options: &struct {
			Common
			Clones string `long:"clones-of-everything-there-is" section:"remote" value-name:"HOW" default:"never" description:"What becomes of clones"`
		}{}}
	for _, width := range []int{leastWidth, helpWidth, 200} {
		var b strings.Builder
		if err := p.writeHelp(&b, p.Parser(), width); err != nil {
			t.Fatal(err)
		}
		help := b.String()
		for line := range strings.Lines(help) {
			if len(line) > width+1 && strings.Contains(strings.TrimSpace(line), " ") {
				t.Errorf("%d: %q", width, line)
			}
		}
		at := 0
		for _, part := range []string{"Usage: zab-x [options] NAME\n\nDo ", "\n\nUsed most:\n  -n, --dry-run", "\n  -v, --verbose", "\n\nGeneral:\n  -d, --debug",
			"\n\nRemote sides:\n", "\n      --clones-of-everything-there-is=HOW\n"} {
			i := strings.Index(help[at:], part)
			if i < 0 {
				t.Fatalf("%d: no %q after %d in\n%s", width, part, at, help)
			}
			at += i
		}
		if strings.Count(help, "--dry-run") != 1 || strings.Contains(help, "--test") {
			t.Errorf("%d: %s", width, help)
		}
	}
	p.Sections = nil
	var b strings.Builder
	if err := p.writeHelp(&b, p.Parser(), helpWidth); err != nil || !strings.Contains(b.String(), "\n\nOptions:\n  -n, --dry-run") || strings.Contains(b.String(), "General") {
		t.Errorf("%v, %s", err, b.String())
	}
}

func TestUsageErrors(t *testing.T) {
	for arg, want := range map[string]string{
		"--verbos":               "unknown option '--verbos'; is it --verbose?",
		"--qury-timeout=3":       "unknown option '--qury-timeout'; is it --query-timeout?",
		"--tst":                  "unknown option '--tst'", // hidden ones are not named
		"--elephant":             "unknown option '--elephant'",
		"-X":                     "unknown option '-X'",
		"--depth=many":           "--depth: \"many\" is not a whole number",
		"--depth=":               "--depth: \"\" is not a whole number",
		"-c99999999999999999999": "--depth: \"99999999999999999999\" is out of range",
		"--depth":                "a value is missing for the option '-c, --depth'",
		"--verbose=1":            "the option '-v, --verbose' takes no value",
		"--query-timeout=a`b":    "--query-timeout: \"a`b\" is not a duration; write such as 90s, 10m or 1h",
		"--query-timeout=\t":     "--query-timeout: the value is empty",
		"-w=":                    "--when: the value is empty",
		"-wa=":                   "--when: cannot read the time \"a=\": write 2026-11-22T03:00:00Z, or 2026-11-22T03:00:00 for local time",
	} {
		parser := Program{Name: "zab-x", Options: &struct {
			Common
			Depth int  `short:"c" long:"depth"`
			When  Time `short:"w" long:"when"`
		}{}}.Parser()
		rest, err := parser.ParseArgs([]string{arg})
		if err == nil || usageError(parser, rest, err).Error() != want {
			t.Errorf("%s: %v, %q", arg, err, usageError(parser, rest, err))
		}
	}
}
