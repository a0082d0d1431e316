// Package cli is what all of zab's commands share: the options that mean the
// same everywhere, the streams of records, messages, signals and exit codes.
//
// Goals: one place that prints messages and one that ends the process; a
// command is a function from options and records to records.
//
// Non-goals: it starts no program of ZFS, and knows nothing of backups.
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

// Version is zab's own, printed by --version.
const Version = "0.1.0"

// Exit codes of the stage commands.
const (
	ExitDone   = 0 // all done
	ExitFailed = 1 // some record failed, or nothing could be done
	ExitUsage  = 2 // wrong command line
	// ExitPipe: the reader of standard output went away, as a shell tells it of a
	// program that this had killed.
	ExitPipe = 128 + int(syscall.SIGPIPE)
)

// Common are the options that mean the same in every command.
type Common struct {
	DryRun    bool   `short:"n" long:"dry-run" often:"yes" description:"Change nothing; show what would be done"`
	Test      bool   `long:"test" hidden:"yes" description:"The same as --dry-run"`
	Verbose   bool   `short:"v" long:"verbose" often:"yes" description:"Say what is done"`
	Debug     bool   `short:"d" long:"debug" description:"Print each command that is started, ready to paste into a shell"`
	Now       string `long:"now" value-name:"TIME" unquote:"false" description:"Act as if it were TIME: RFC 3339, or local time such as 2026-11-22T03:00:00"`
	SSHConfig string `long:"ssh-config" section:"remote" value-name:"FILE" unquote:"false" description:"Configuration file for ssh"`
	Timeout   string `long:"query-timeout" section:"remote" value-name:"DURATION" unquote:"false" default:"1h" description:"End a question to a host, such as a listing, that is not answered in that time, and fail; 0 is never"`
	Help      bool   `short:"h" long:"help" description:"Show this help"`
	Version   bool   `long:"version" description:"Print the version"`
}

// common gives access to the embedded options.
func (c *Common) common() *Common { return c }

type options interface{ common() *Common }

// Program describes a command to Main.
type Program struct {
	// Name is that of the binary; messages begin with it.
	Name string
	// Usage are the operands, as the synopsis shows them.
	Usage string
	// Summary is one line for --help.
	Summary string
	// MinArgs and MaxArgs bound the operands; MaxArgs < 0 means any number.
	MinArgs, MaxArgs int
	// Options is a pointer to a struct that embeds Common.
	Options any
	// Sections are the parts in which --help lists them; nil for one.
	Sections []Section
	// Check is called with the operands before anything else is done; its
	// error is one of the command line.
	Check func(args []string) error
	// Run does the work.
	Run func(ctx context.Context, env *Env, args []string) error
	// Answer is what an option asks to be told in place of all else; "" where none
	// does. Its error is one of the command line.
	Answer func() (string, error)
	// ReadsRecords: standard input is a stream of records.
	ReadsRecords bool
	// UsageExit and FailExit replace ExitUsage and ExitFailed where not 0.
	UsageExit, FailExit int
}

// Env is what a running command has of the world.
type Env struct {
	Program string
	Common  *Common
	Machine *zfs.Machine
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	// Now is the time to act at.
	Now time.Time
	// Fixed: --now was given, so time stands still.
	Fixed bool

	mu     sync.Mutex
	status int
}

// Fail makes the exit status that of a failure.
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
	_, _ = io.WriteString(e.Stderr, e.Program+": "+prefix+s+"\n")
}

// Errorf prints a message about something that failed.
func (e *Env) Errorf(format string, a ...any) { e.line("", fmt.Sprintf(format, a...)) }

// Warnf prints a message about something that did not fail.
func (e *Env) Warnf(format string, a ...any) { e.line("warning: ", fmt.Sprintf(format, a...)) }

// Hintf says what to do about the message before it; "" prints nothing.
func (e *Env) Hintf(format string, a ...any) {
	if s := fmt.Sprintf(format, a...); s != "" {
		e.line("hint: ", s)
	}
}

// Verbosef prints a message only under --verbose.
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

// ParentEnv tells a stage the process number of the wrapper that started it,
// which alone speaks of what ends them all.
const ParentEnv = "ZAB_PARENT"

// SignalError is the cause of a context that a signal ended.
type SignalError struct{ Signal syscall.Signal }

func (s SignalError) Error() string { return "ended by signal: " + s.Signal.String() }

// Main runs a command and gives the exit status of its process.
func Main(p Program, args []string) (code int) {
	// An inherited one would make every run print completions and end well.
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
	env.Common = p.Options.(options).common()
	rest, err := parser.ParseArgs(JoinOptional(args, parser))
	c := env.Common
	c.DryRun = c.DryRun || c.Test
	usage := func(err error) int {
		env.Errorf("%s", strings.TrimSpace(err.Error()))
		env.Hintf("'%s --help' shows the options, '%s' the manual", p.Name, "man "+p.Name)
		return p.UsageExit
	}
	switch {
	case err != nil:
		return usage(usageError(parser, err))
	case c.Help:
		if err := p.writeHelp(env.Stdout, parser, widthOf(os.Stdout)); err != nil {
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
	if c.Now != "" {
		t, err := ParseTime(c.Now, time.Local)
		if err != nil {
			return usage(fmt.Errorf("--now: %w", err))
		}
		env.Now, env.Fixed = t, true
	}
	if p.Check != nil {
		if err := p.Check(rest); err != nil {
			return usage(err)
		}
	}
	if p.Answer != nil {
		text, err := p.Answer()
		if err != nil {
			return usage(err)
		}
		if text != "" {
			fmt.Fprintln(env.Stdout, text)
			return ExitDone
		}
	}
	if p.ReadsRecords && isTerminal(os.Stdin) {
		return usage(errors.New("records are read from standard input, which is a terminal; pipe them in from the command before"))
	}
	limit, err := ParseDuration(c.Timeout)
	if err != nil {
		return usage(fmt.Errorf("--query-timeout: %w", err))
	}
	env.Machine = &zfs.Machine{SSHConfig: c.SSHConfig, QueryTimeout: limit}
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

// UsageError is an error of the command line that only running could find.
type UsageError struct{ Err error }

func (u UsageError) Error() string { return u.Err.Error() }

// HintOf is what to do about an error, where the error knows.
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

// Parser makes the parser of the program's options, also for the tests that
// compare them with the pages.
func (p Program) Parser() *flags.Parser {
	parser := flags.NewNamedParser(p.Name, flags.PassDoubleDash)
	parser.Usage = "[options] " + p.Usage
	parser.LongDescription = p.Summary
	if _, err := parser.AddGroup("Options", "", p.Options); err != nil {
		panic(err) // the struct's tags are wrong: a mistake in the program
	}
	return parser
}

// usageError rewords what go-flags says, and adds what somebody may have meant.
func usageError(parser *flags.Parser, err error) error {
	s := strings.ReplaceAll(strings.TrimSpace(err.Error()), "`", "'")
	if s != "" {
		s = strings.ToLower(s[:1]) + s[1:]
	}
	if m := badNumber.FindStringSubmatch(s); m != nil {
		why := "is not a whole number"
		if m[3] == "value out of range" {
			why = "is out of range"
		}
		return fmt.Errorf("%s: %s %s", m[1], m[2], why)
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

// What go-flags says of an option, with ' for `.
var (
	badNumber     = regexp.MustCompile(`^invalid argument for flag '(?:-\w, )?(.+)' \(expected u?int(?:64|32)?\): strconv\.\w+: parsing (".*"): (.*)$`)
	unknownOption = regexp.MustCompile(`^unknown flag '(.*)'$`)
)

// refuseEmpty refuses an option that was given an empty value: it is a shell
// variable that was not set far more often than a wish.
func refuseEmpty(parser *flags.Parser) (err error) {
	EachOption(parser, func(o *flags.Option) {
		if !o.IsSet() || o.IsSetDefault() || err != nil {
			return
		}
		empty := func(s string) bool { return strings.TrimSpace(s) == "" }
		switch v := reflect.ValueOf(o.Value()); v.Kind() {
		case reflect.String:
			if empty(v.String()) {
				err = fmt.Errorf("--%s: the value is empty", o.LongName)
			}
		case reflect.Slice:
			for i := range v.Len() {
				if empty(fmt.Sprint(v.Index(i))) {
					err = fmt.Errorf("--%s: the value is empty", o.LongName)
				}
			}
		}
	})
	return err
}

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

// Optional is a value that may be left out: it tells which words it takes, so
// that the operand after the option is not taken for one.
type Optional interface{ Takes(word string) bool }

// JoinOptional rewrites `--option value` to `--option=value` where the value
// is optional: go-flags takes only the latter, zfs-autobackup's users write
// the former.
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

// ParseTime reads RFC 3339, or a time without zone in loc.
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

// ParseDuration reads a duration such as 90s or 10m of at least a second; 0 means
// without a limit, and so does "".
func ParseDuration(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration; write such as 90s, 10m or 1h", s)
	}
	if 0 < d && d < time.Second {
		return 0, fmt.Errorf("%q is less than a second", s)
	}
	return d, nil
}

func isTerminal(f *os.File) bool {
	return isatty.IsTerminal(f.Fd()) || isatty.IsCygwinTerminal(f.Fd())
}

// IsTerminal tells whether f is a terminal.
func IsTerminal(f *os.File) bool { return isTerminal(f) }

// survivePipes has a write to a pipe that nobody reads fail, where it would end
// the process: what is being done is done to its end, and what must come after it
// is done, too. Programs that are started keep the usual disposition, which they
// would not if the signal were ignored.
func survivePipes() (stop func()) {
	spare := make(chan os.Signal, 1)
	signal.Notify(spare, syscall.SIGPIPE)
	return func() { signal.Stop(spare) }
}

// readerGone reports whether err is that of records that nobody reads any more.
func readerGone(err error) bool {
	var out *record.OutputError
	return errors.As(err, &out) && errors.Is(err, syscall.EPIPE)
}

// signals gives a context that the usual signals end, with a SignalError as
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
