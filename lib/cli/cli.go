// Package cli contains the parts common to all commands of zab: shared options, streams
// of records, messages, signals and exit codes.
//
// Goals: messages are printed in one place, and the process ends in one place; a command
// is a function from options and records to records.
//
// Non-goals: it starts no program of ZFS, and knows nothing about backups.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/jessevdk/go-flags"
	"github.com/mattn/go-isatty"

	"zab/lib/record"
	"zab/lib/zfs"
)

// Version is the version of zab, printed by --version.
const Version = "0.1.0"

// Exit codes of the stage commands.
const (
	ExitDone   = 0 // success
	ExitFailed = 1 // some record failed, or nothing could be done
	ExitUsage  = 2 // wrong command line
	// ExitPipe: the reader of standard output has gone away. It is the status that a
	// shell reports for a program killed by SIGPIPE.
	ExitPipe = 128 + int(syscall.SIGPIPE)
)

// Common are the options that mean the same in every command.
type Common struct {
	DryRun    bool     `short:"n" long:"dry-run" often:"yes" description:"Change nothing; show what would be done"`
	Test      bool     `long:"test" hidden:"yes" description:"The same as --dry-run"`
	Verbose   bool     `short:"v" long:"verbose" often:"yes" description:"Say what is done"`
	Debug     bool     `short:"d" long:"debug" description:"Print each command that is started, ready to paste into a shell"`
	Now       Time     `long:"now" value-name:"TIME" unquote:"false" description:"Act as if it were TIME: RFC 3339, or local time such as 2026-11-22T03:00:00"`
	SSHConfig string   `long:"ssh-config" section:"remote" value-name:"FILE" unquote:"false" description:"Configuration file for ssh"`
	Timeout   Duration `long:"query-timeout" section:"remote" value-name:"DURATION" unquote:"false" default:"1h" description:"Time limit of a query of a host, such as a listing; 0 is no limit"`
	Basic
}

// Basic are the options that every command has.
type Basic struct {
	Help    bool `short:"h" long:"help" description:"Show this help"`
	Version bool `long:"version" description:"Print the version"`
}

// common returns the embedded Common of a command's options.
func (c *Common) common() *Common { return c }

func (b *Basic) common() *Common { return &Common{Basic: *b} }

type options interface{ common() *Common }

// Program describes a command to Main.
type Program struct {
	// Name is the name of the binary; messages begin with it.
	Name string
	// Usage names the operands, as in the synopsis.
	Usage string
	// Summary is one line for --help.
	Summary string
	// MinArgs and MaxArgs limit the number of operands; MaxArgs < 0 means no limit.
	MinArgs, MaxArgs int
	// Options is a pointer to a struct that embeds Common, or only Basic.
	Options any
	// Sections are the sections in which --help lists the options; nil for a single one.
	Sections []Section
	// Check validates options and operands before anything else is done; its error is a
	// usage error.
	Check func(args []string) error
	// Run does the work.
	Run func(ctx context.Context, env *Env, args []string) error
	// Answer returns the text to print instead of running, if an option asks for one;
	// else "".
	Answer func() string
	// ReadsRecords: standard input is a stream of records.
	ReadsRecords bool
	// UsageExit and FailExit replace ExitUsage and ExitFailed where not 0.
	UsageExit, FailExit int
}

// Env is the environment of a running command.
type Env struct {
	Program string
	Common  *Common
	Machine *zfs.Machine
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	// Now is the time that the command takes as the present.
	Now time.Time
	// Fixed: Now was set by --now and does not advance.
	Fixed bool

	mu     sync.Mutex
	status int
}

// Fail sets the exit status to ExitFailed, unless it is set already.
func (e *Env) Fail() { e.Status(ExitFailed) }

// Status sets the exit status, unless it is set already.
func (e *Env) Status(code int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.status == 0 {
		e.status = code
	}
}

func (e *Env) line(prefix, s string) {
	s = Printable(strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "; "))
	e.mu.Lock()
	defer e.mu.Unlock()
	_, _ = io.WriteString(e.Stderr, LineStart(e.Stderr)+e.Program+": "+prefix+s+"\n")
}

// Errorf prints a message about a failure.
func (e *Env) Errorf(format string, a ...any) { e.line("", fmt.Sprintf(format, a...)) }

// Warnf prints a message about a problem that is no failure.
func (e *Env) Warnf(format string, a ...any) { e.line("warning: ", fmt.Sprintf(format, a...)) }

// Hintf prints advice on the preceding message; it prints nothing if the text is "".
func (e *Env) Hintf(format string, a ...any) {
	if s := fmt.Sprintf(format, a...); s != "" {
		e.line("hint: ", s)
	}
}

// Verbosef prints a message only with --verbose or --debug.
func (e *Env) Verbosef(format string, a ...any) {
	if e.Common.Verbose || e.Common.Debug {
		e.line("", fmt.Sprintf(format, a...))
	}
}

// Report prints a record's error with its hint, and sets the exit status.
func (e *Env) Report(r *record.Record) { e.ReportError(r.Error) }

// ReportError prints an error with its hint, and sets the exit status.
func (e *Env) ReportError(err *record.Error) {
	e.Errorf("%s", err.Message)
	e.Hintf("%s", err.Hint)
	e.Fail()
}

// Writer returns a writer of records to w. A record that cannot be written fails: that is
// reported, and sets the exit status.
func (e *Env) Writer(w io.Writer) *record.Writer {
	out := record.NewWriter(w)
	out.Stage, out.Failed = strings.TrimPrefix(e.Program, "zab-"), e.Report
	return out
}

// ParentEnv is the environment variable with the process id of the wrapper that started a
// stage. The wrapper alone reports a signal that ends all its stages.
const ParentEnv = "ZAB_PARENT"

// SignalError is the cause of a context cancelled by a signal.
type SignalError struct{ Signal syscall.Signal }

func (s SignalError) Error() string { return "ended by signal: " + s.Signal.String() }

// Main runs a command and returns the exit status for its process.
func Main(p Program, args []string) (code int) {
	// If inherited, this variable would make every run print completions and exit with 0.
	os.Unsetenv("GO_FLAGS_COMPLETION")
	defer survivePipes()()
	if p.UsageExit == 0 {
		p.UsageExit = ExitUsage
	}
	if p.FailExit == 0 {
		p.FailExit = ExitFailed
	}
	env := &Env{Program: p.Name, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Now: time.Now()}
	parser := p.Parser()
	rest, err := parser.ParseArgs(JoinOptional(args, parser))
	env.Common = p.Options.(options).common()
	c := env.Common
	c.DryRun = c.DryRun || c.Test
	usage := func(err error) int {
		env.Errorf("%s", strings.TrimSpace(err.Error()))
		env.Hintf("'%s --help' shows the options, '%s' the manual", p.Name, "man "+p.Name)
		return p.UsageExit
	}
	switch {
	case err != nil:
		return usage(usageError(parser, rest, err))
	case c.Help:
		if err := p.writeHelp(env.Stdout, parser, Width(os.Stdout)); err != nil {
			env.Errorf("cannot print the options: %s", err)
			return p.FailExit
		}
		return ExitDone
	case c.Version:
		fmt.Fprintf(env.Stdout, "%s %s\n", p.Name, Version)
		return ExitDone
	case len(rest) < p.MinArgs:
		return usage(fmt.Errorf("an operand is missing: %s %s", p.Name, p.Usage))
	case p.MaxArgs >= 0 && len(rest) > p.MaxArgs:
		return usage(fmt.Errorf("unexpected operand %q: %s %s", rest[p.MaxArgs], p.Name, p.Usage))
	}
	if err := refuseEmpty(parser); err != nil {
		return usage(err)
	}
	if c.Now.text != "" {
		env.Now, env.Fixed = c.Now.Time, true
	}
	if p.Check != nil {
		if err := p.Check(rest); err != nil {
			return usage(err)
		}
	}
	if p.Answer != nil {
		if text := p.Answer(); text != "" {
			if _, err := fmt.Fprintln(env.Stdout, text); err != nil {
				env.Errorf("cannot print the answer: %s", err)
				return p.FailExit
			}
			return ExitDone
		}
	}
	if p.ReadsRecords && isTerminal(os.Stdin) {
		return usage(errors.New("records are read from standard input, which is a terminal; pipe them in from the command before"))
	}
	env.Machine = &zfs.Machine{SSHConfig: c.SSHConfig, QueryTimeout: c.Timeout.Duration}
	if c.Verbose || c.Debug {
		env.Machine.Noise = func(h *zfs.Host, line string) { env.line("", fmt.Sprintf("%s also said: %s", h, line)) }
	}
	if c.Debug {
		env.Machine.Debug = func(command string) { env.line("+ ", command) }
	}
	defer env.Machine.Close()

	ctx, stop := signals()
	defer stop()
	err = p.Run(ctx, env, rest)
	var sig SignalError
	if errors.As(context.Cause(ctx), &sig) {
		if os.Getenv(ParentEnv) != strconv.Itoa(os.Getppid()) {
			env.Errorf("interrupted by %s", sig.Signal)
		}
		return 128 + int(sig.Signal)
	}
	var use UsageError
	switch {
	case errors.As(err, &use):
		return usage(use)
	case err != nil:
		env.Errorf("%s", err)
		env.Hintf("%s", HintOf(err))
		if p.FailExit == ExitFailed && readerGone(err) {
			return ExitPipe
		}
		return p.FailExit
	}
	return env.status
}

// UsageError is an error in the command line that is detected only while running.
type UsageError struct{ Err error }

func (u UsageError) Error() string { return u.Err.Error() }

// HintOf returns advice on an error, or "" if the error has none.
func HintOf(err error) string {
	var r *record.Error
	if errors.As(err, &r) {
		return r.Hint
	}
	if readerGone(err) {
		return "what was under way was finished, and nothing more was begun"
	}
	return zfs.HintOf(err)
}

// Parser returns the parser of the program's options; tests compare these with the manual
// pages.
func (p Program) Parser() *flags.Parser {
	parser := flags.NewNamedParser(p.Name, flags.PassDoubleDash)
	parser.Usage = "[options] " + p.Usage
	parser.LongDescription = p.Summary
	if _, err := parser.AddGroup("Options", "", p.Options); err != nil {
		panic(err) // the struct tags are invalid: a programming error
	}
	return parser
}

// usageError rewords a message of go-flags, and suggests the option that may have been
// meant. rest begins with the argument at which parsing ended.
func usageError(parser *flags.Parser, rest []string, err error) error {
	if m := badValue.FindStringSubmatch(err.Error()); m != nil {
		name, why := m[1], m[2]
		if n := badNumber.FindStringSubmatch(why); n != nil {
			if n[2] == "value out of range" {
				return fmt.Errorf("%s: %s is out of range", name, n[1])
			}
			return fmt.Errorf("%s: %s is not a whole number", name, n[1])
		}
		if noValue.MatchString(rest[0]) {
			return errEmpty(name)
		}
		return fmt.Errorf("%s: %s", name, why)
	}
	s := strings.ReplaceAll(strings.TrimSpace(err.Error()), "`", "'")
	if s != "" {
		s = strings.ToLower(s[:1]) + s[1:]
	}
	if m := unknownOption.FindStringSubmatch(s); m != nil {
		if utf8.RuneCountInString(m[1]) == 1 {
			return fmt.Errorf("unknown option '-%s'", m[1])
		}
		s = "unknown option '--" + m[1] + "'"
		if near := nearest(parser, m[1]); near != "" {
			s += "; is it --" + near + "?"
		}
		return errors.New(s)
	}
	s = strings.Replace(s, "expected argument for flag", "a value is missing for the option", 1)
	s = strings.Replace(s, "bool flag", "the option", 1)
	s = strings.Replace(s, "cannot have an argument", "takes no value", 1)
	return errors.New(s)
}

// Messages of go-flags: about a value that its type does not take; the error of a number
// in it; and about an option, with ' in place of `.
var (
	badValue  = regexp.MustCompile("(?s)^invalid argument for flag `(?:-\\w, )?(--[\\w-]+)' \\(expected [^)]*\\): (.*)$")
	badNumber = regexp.MustCompile(`^strconv\.\w+: parsing (".*"): (.*)$`)
	// noValue matches an option with an empty value, and such a value in a word of its own.
	noValue       = regexp.MustCompile(`^(?:--[\w-]+=|-\w=)?\s*$`)
	unknownOption = regexp.MustCompile(`^unknown flag '(.*)'$`)
)

// refuseEmpty returns an error if an option was given an empty value: far more often than
// intended, an empty value is an unset shell variable.
func refuseEmpty(parser *flags.Parser) (err error) {
	EachOption(parser, func(o *flags.Option) {
		if !o.IsSet() || o.IsSetDefault() || err != nil {
			return
		}
		v := reflect.ValueOf(o.Value())
		empty := v.Kind() != reflect.Slice && isEmpty(v)
		for i := 0; v.Kind() == reflect.Slice && i < v.Len(); i++ {
			empty = empty || isEmpty(v.Index(i))
		}
		if empty {
			err = errEmpty("--" + o.LongName)
		}
	})
	return err
}

func isEmpty(value any) bool { return strings.TrimSpace(fmt.Sprint(value)) == "" }

func errEmpty(option string) error { return fmt.Errorf("%s: the value is empty", option) }

// EachOption calls f with every option of the parser.
func EachOption(parser *flags.Parser, f func(*flags.Option)) {
	var walk func(*flags.Group)
	walk = func(g *flags.Group) {
		for _, o := range g.Options() {
			f(o)
		}
		for _, sub := range g.Groups() {
			walk(sub)
		}
	}
	for _, g := range parser.Groups() {
		walk(g)
	}
}

// Optional is the type of an option's value that may be omitted. Takes reports whether a
// word is a valid value, so that an operand after the option is not taken for its value.
type Optional interface{ Takes(word string) bool }

// JoinOptional rewrites `--option value` to `--option=value` where the value is optional:
// go-flags accepts only the latter, users of zfs-autobackup write the former.
func JoinOptional(args []string, parser *flags.Parser) []string {
	optional := map[string]Optional{}
	EachOption(parser, func(o *flags.Option) {
		if v, ok := o.Value().(Optional); ok && o.OptionalArgument {
			optional["--"+o.LongName] = v
		}
	})
	var out []string
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			return append(out, args[i:]...)
		}
		if v := optional[a]; v != nil && i+1 < len(args) && v.Takes(args[i+1]) {
			i++
			a += "=" + args[i]
		}
		out = append(out, a)
	}
	return out
}

// Time is the value of an option that is a time.
type Time struct {
	time.Time
	text string
}

// UnmarshalFlag parses a time as ParseTime does; a time without a zone is local.
func (t *Time) UnmarshalFlag(s string) (err error) {
	t.text = s
	t.Time, err = ParseTime(s, time.Local)
	return err
}

// String returns the time as it was written.
func (t Time) String() string { return t.text }

// ParseTime parses a time in RFC 3339, or a time without a zone, which is in loc.
func ParseTime(s string, loc *time.Location) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, loc); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("cannot read the time %q: write 2026-11-22T03:00:00Z, or 2026-11-22T03:00:00 for local time", s)
}

// Duration is the value of an option that is a duration of at least a second, or 0.
type Duration struct {
	time.Duration
	text string
}

// UnmarshalFlag parses a duration such as 90s or 10m.
func (d *Duration) UnmarshalFlag(s string) error {
	n, err := time.ParseDuration(s)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is not a duration; write such as 90s, 10m or 1h", s)
	}
	if 0 < n && n < time.Second {
		return fmt.Errorf("%q is less than a second", s)
	}
	*d = Duration{n, s}
	return nil
}

// String returns the duration as it was written.
func (d Duration) String() string { return d.text }

func isTerminal(f *os.File) bool {
	return isatty.IsTerminal(f.Fd()) || isatty.IsCygwinTerminal(f.Fd())
}

// IsTerminal reports whether f is a terminal.
func IsTerminal(f *os.File) bool { return isTerminal(f) }

// Redraws reports whether w is a terminal on which lines can be drawn anew.
func Redraws(w io.Writer) bool {
	f, ok := w.(*os.File)
	term := os.Getenv("TERM")
	return ok && term != "" && term != "dumb" && IsTerminal(f)
}

// LineStart returns what to write to w before a line. On a terminal, that erases the
// progress that another program of the pipeline shows there: see stream.Meter.
func LineStart(w io.Writer) string {
	if Redraws(w) {
		return "\x1b[J"
	}
	return ""
}

// survivePipes makes a write to a pipe without a reader fail instead of killing the
// process, so that work in progress, and the work that must follow it, is completed.
// Started programs keep the default disposition of SIGPIPE, unlike with an ignored
// signal.
func survivePipes() (stop func()) {
	spare := make(chan os.Signal, 1)
	signal.Notify(spare, syscall.SIGPIPE)
	return func() { signal.Stop(spare) }
}

// readerGone reports whether err is a failure to write records because the pipe has no
// reader any more.
func readerGone(err error) bool {
	var out *record.OutputError
	return errors.As(err, &out) && errors.Is(err, syscall.EPIPE)
}

// signals returns a context that SIGINT, SIGTERM or SIGHUP cancels with a SignalError as
// its cause. A second signal ends the process at once.
func signals() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		if s, ok := <-ch; ok {
			cancel(SignalError{s.(syscall.Signal)})
		}
		if s, ok := <-ch; ok {
			os.Exit(128 + int(s.(syscall.Signal)))
		}
	}()
	return ctx, func() { signal.Stop(ch); close(ch) }
}
