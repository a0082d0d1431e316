package zfs

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"zab/lib/record"
)

// Error is the failure of a program. Its text keeps the program's own words.
type Error struct {
	Kind   record.ErrorKind
	Host   string // "" for this machine
	Argv   []string
	Code   int // exit status, -1 if there is none
	Signal syscall.Signal
	Lines  []string // the program's own words
	// Partial: the program ended with status 0, but said that its answer is
	// incomplete.
	Partial bool
}

// Message returns the program's own words in one line, for people. It cuts long lines and
// only counts those after the twelfth; code that needs all of them reads Lines.
func (e *Error) Message() string {
	const mostLines, mostBytes = 12, 1000
	var out []string
	for _, l := range e.Lines[:min(len(e.Lines), mostLines)] {
		if len(l) > mostBytes {
			l = strings.ToValidUTF8(l[:mostBytes], "") + "..."
		}
		out = append(out, l)
	}
	if more := len(e.Lines) - len(out); more > 0 {
		out = append(out, fmt.Sprintf("and %d more lines", more))
	}
	return strings.Join(out, "; ")
}

// says reports whether one of the program's lines has a text, given in lower case.
func (e *Error) says(text string) bool {
	return slices.ContainsFunc(e.Lines, func(l string) bool { return strings.Contains(strings.ToLower(l), text) })
}

// Complete reports whether the program ended by itself, so that its messages are
// complete. A program that was killed, or whose connection was lost, may have had more to
// say.
func (e *Error) Complete() bool {
	return e.Code > 0 && e.Signal == 0 && !(e.Host != "" && e.Code == sshFailed)
}

// answered reports whether the messages are complete enough to be taken apart by name.
func (e *Error) answered() bool { return (e.Complete() || e.Partial) && e.Kind != record.KindBadAnswer }

// sshFailed is the exit status of ssh for failures of its own. zfs ends with it only for
// an unusable resume token, see failed.
const sshFailed = 255

func (e *Error) Error() string {
	s := e.Message()
	if s == "" {
		switch {
		case e.Signal != 0:
			s = fmt.Sprintf("%s was ended by signal %d (%s)", program(e.Argv), int(e.Signal), e.Signal)
		default:
			s = fmt.Sprintf("%s failed without a word, exit status %d", program(e.Argv), e.Code)
		}
	}
	if e.Host != "" {
		return e.Host + ": " + s
	}
	return s
}

// Saved reports whether a receive that broke off said that it saved the partial snapshot
// (zfs 2.1 to 2.3).
func (e *Error) Saved() bool {
	return e.says("partially received snapshot is saved")
}

// Quota reports whether zfs says that a quota or limit is reached (zfs 2.1 to 2.3). It
// reports some of them as "out of space", too.
func (e *Error) Quota() bool {
	return e != nil && e.says("quota exceeded")
}

// Created reports whether a create that failed said that the filesystem now exists, but
// that only root can mount it (zfs 0.8 to 2.3).
func (e *Error) Created() bool {
	return e.says("filesystem successfully created")
}

// KindOf returns the kind of an error of this package, record.KindOther for others.
func KindOf(err error) record.ErrorKind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return record.KindOther
}

// HintOf returns the hint for an error of this package: that of its kind, or a more
// specific one if the program's messages allow it.
func HintOf(err error) string {
	var e *Error
	if !errors.As(err, &e) {
		return record.KindOther.Hint()
	}
	if e.Kind == record.KindMissingProgram && e.missesZFS() {
		if e.Host == "" {
			return "zfs and zpool are often in /usr/sbin or /sbin, which must be in this user's PATH: cron gives its commands a short one, unless the crontab sets PATH"
		}
		return fmt.Sprintf("zfs and zpool are often in /usr/sbin or /sbin, which may not be in the PATH that %s gives to a command of this user: ssh %s 'echo $PATH' shows it, and SSH in zab(7) tells what to do", e.Host, Quote(e.Host))
	}
	return e.Kind.Hint()
}

// Failed returns the error of a record at a stage, with the kind and the hint of err;
// format and a make the message.
func Failed(stage string, err error, format string, a ...any) record.Error {
	return record.Error{Stage: stage, Kind: KindOf(err), Hint: HintOf(err), Message: fmt.Sprintf(format, a...)}
}

// missesZFS reports whether the missing program is zfs or zpool rather than another of
// the same pipeline, such as a compressor.
func (e *Error) missesZFS() bool {
	ours := func(s string) bool { return strings.Contains(s, "zfs") || strings.Contains(s, "zpool") }
	var lines []string
	for _, l := range e.Lines {
		if Classify(l) == record.KindMissingProgram {
			lines = append(lines, l)
		}
	}
	if lines == nil {
		return ours(program(e.Argv))
	}
	return slices.ContainsFunc(lines, ours)
}

// A pattern of the catalogue maps a text in a program's message, in lower case, to a
// kind. The first match counts, so special patterns precede general ones. The comments
// name the versions in which the messages were seen.
type pattern struct {
	text string
	kind record.ErrorKind
}

var catalogue = []pattern{
	// ssh, OpenSSH 9.2
	{"host key verification failed", record.KindHostKey},
	{"remote host identification has changed", record.KindHostKey},
	{"permission denied (", record.KindAuth},
	{"too many authentication failures", record.KindAuth},
	{"could not resolve hostname", record.KindUnreachable},
	{"connection refused", record.KindUnreachable},
	{"connection timed out", record.KindUnreachable},
	{"no route to host", record.KindUnreachable},
	{"network is unreachable", record.KindUnreachable},
	{"connection closed by", record.KindUnreachable},
	{"connection reset by", record.KindUnreachable},
	{"kex_exchange_identification", record.KindUnreachable},
	{"client_loop: send disconnect", record.KindUnreachable},
	{"closed by remote host", record.KindUnreachable},
	{"timeout, server", record.KindUnreachable},
	{"mux_client_request_session", record.KindUnreachable},
	{"packet_write_wait", record.KindUnreachable},

	// zfs 2.1 to 2.3
	{"the zfs modules are not loaded", record.KindNoZFS},
	{"the zfs modules cannot be auto-loaded", record.KindNoZFS},
	{"/dev/zfs and /proc/self/mounts are required", record.KindNoZFS},
	{"unable to open /dev/zfs", record.KindNoZFS},
	{"may only be mounted by root", record.KindPermission},
	// Resumable failures must precede the patterns for unusable tokens.
	{"checksum mismatch or incomplete stream", record.KindPartial},
	{"partially received snapshot is saved", record.KindPartial},
	{"out of space", record.KindNoSpace},
	{"no space left", record.KindNoSpace},
	{"quota exceeded", record.KindNoSpace},
	{"key must be loaded", record.KindKey},
	{"key not loaded", record.KindKey},
	{"key is not loaded", record.KindKey},
	{"key load error", record.KindKey},
	{"does not match existing key", record.KindKey},
	{"failed to create encryption key", record.KindKey},
	{"pool i/o is currently suspended", record.KindPoolIO},
	{"i/o error", record.KindPoolIO},
	{"input/output error", record.KindPoolIO},
	{"dataset is busy", record.KindBusy},
	{"permission denied", record.KindPermission},
	{"has been modified", record.KindModified},
	// For a resumed stream: another receive is in progress. For a new one: an
	// interrupted receive left a partial state that did not exist when the target was
	// checked.
	{"contains partially-complete state", record.KindBusy},
	{"cannot resume send", record.KindStaleToken},
	{"resume token is corrupt", record.KindStaleToken},
	{"used in the initial send no longer exists", record.KindStaleToken},
	{"cannot receive resume stream", record.KindStaleToken},
	{"does not have any resumable receive state", record.KindNotFound},
	{"kernel modules must be upgraded to receive this stream", record.KindFeature},
	{"stream has unsupported feature", record.KindFeature},
	{"pool must be upgraded", record.KindFeature},
	{"incremental send stream requires -l", record.KindFeature},
	{"incompatible embedded data stream feature", record.KindFeature},
	{"feature not enabled", record.KindFeature},
	{"spill block flag missing", record.KindFeature},
	{"iv set guid m", record.KindEncryption}, // missing, mismatch
	{"cannot perform raw receive", record.KindEncryption},
	{"cannot be set or excluded for raw streams", record.KindEncryption},
	{"cannot be set for incremental streams", record.KindEncryption},
	{"encryption must be turned on to set encryption properties", record.KindEncryption},
	{"keyformat required for new encryption root", record.KindEncryption},
	{"may not be sent with properties without the raw flag", record.KindEncryption},
	{"cannot be used to destroy an encrypted filesystem", record.KindEncryption},
	{"stream uses crypto parameters", record.KindEncryption},
	{"does not match incremental source", record.KindNoBase},
	{"incremental source", record.KindNoBase},
	{"not an earlier snapshot", record.KindNoBase},
	// The stream has several datasets, but the receive names one snapshot (zfs 0.8 to
	// 2.3).
	{"cannot specify snapshot name for multi-snapshot stream", record.KindForeignStream},
	{"invalid stream", record.KindStream},
	{"invalid backup stream", record.KindStream},
	{"failed to read from stream", record.KindPartial},
	{"incomplete stream", record.KindPartial},
	{"destination already exists", record.KindExists},
	{"destination exists", record.KindExists},
	{"must specify -f to overwrite", record.KindExists},
	{"must destroy them to overwrite", record.KindExists},
	{"dataset already exists", record.KindExists},
	{"bookmark exists", record.KindExists},
	{"tag already exists", record.KindExists},
	{"no such tag", record.KindNotFound},
	{"filesystem already mounted", record.KindMounted},
	{"read-only file system", record.KindReadOnly},
	{"pool is read-only", record.KindReadOnlyPool},
	{"in a non-global zone", record.KindZoned},
	{"exported to a local zone", record.KindZoned},
	{"has dependent clones", record.KindClones},
	{"snapshot is cloned", record.KindClones},
	{"it's being held", record.KindHeld},
	{"is busy", record.KindBusy},
	{"pool is unavailable", record.KindPoolIO},
	{"no such pool", record.KindNotFound},
	{"does not exist", record.KindNotFound},
	{"could not find any snapshots to destroy", record.KindNotFound},
	{"insufficient privileges", record.KindPermission},
	{"operation not permitted", record.KindPermission},
	{"argument list too long", record.KindTooLong},
	{"internal error", record.KindOther},

	// shells: dash 0.5, bash 5, FreeBSD's and illumos's sh
	{"command not found", record.KindMissingProgram},
	{": not found", record.KindMissingProgram},
	{"executable file not found", record.KindMissingProgram},
	{"no such file or directory", record.KindMissingProgram},
}

// Classify returns the kind of one line of a program's message.
func Classify(line string) record.ErrorKind {
	low := strings.ToLower(line)
	for _, p := range catalogue {
		if strings.Contains(low, p.text) {
			return p.kind
		}
	}
	return record.KindOther
}

// openings are the beginnings of messages of zfs and zpool, in lower case. Most messages
// have the form "cannot VERB 'OBJECT': cause".
var openings = []string{
	"cannot ", "could not ", "couldn't ", "unable to ", "failed to ", "internal error", "warning: ", "error: ",
	"invalid ", "missing ", "bad ", "too many ", "no such ", "out of memory", "permission denied", "insufficient ",
	"pool ", "bookmark '", "'", "the zfs ", "/dev/zfs", "key load error", "channel program", "operation not",
	"zfs: ", "zpool: ", "memory allocation", "dataset ", "property ", "snapshot ", "no snapshots ",
	"ssh: ", "connection ", "zab: ",
}

// prefixed matches lines that begin with the program or file that printed them, as those
// of login scripts do: "mesg: ", "/etc/profile: line 3: ".
var prefixed = regexp.MustCompile(`^-?[A-Za-z0-9_./+~-]+: `)

// isNoise reports whether a line of a program's stderr has none of the forms of zfs's
// messages. Login scripts, loaders and locales print such lines.
func isNoise(line string) bool {
	low := strings.ToLower(line)
	if slices.ContainsFunc(openings, func(o string) bool { return strings.HasPrefix(low, o) }) {
		return false
	}
	return Classify(line) == record.KindOther || prefixed.MatchString(low)
}

// telling returns the lines of a message that zfs itself may have printed, or all lines
// if there is nothing but noise.
func telling(lines []string) []string {
	own := slices.DeleteFunc(slices.Clone(lines), isNoise)
	if len(own) == 0 {
		return lines
	}
	return own
}

// classify returns the kind of a message of several lines: that of the line whose pattern
// comes first in the catalogue. KindNotFound and KindExists count only if no line has a
// worse kind, because callers go on after them. Noise is ignored.
func classify(lines []string) record.ErrorKind {
	kind, at := record.KindOther, len(catalogue)
	mild := func(k record.ErrorKind) bool { return k == record.KindNotFound || k == record.KindExists }
	for _, l := range telling(lines) {
		low := strings.ToLower(l)
		for i, p := range catalogue {
			if !strings.Contains(low, p.text) {
				continue
			}
			worse := i < at && mild(kind) == mild(p.kind)
			if kind == record.KindOther && at == len(catalogue) || mild(kind) && !mild(p.kind) || worse {
				kind, at = p.kind, i
			}
			break
		}
	}
	return kind
}

// failed makes an *Error from exec's error about a program and the program's stderr.
func (h *Host) failed(argv []string, err error, stderr string) error {
	e := &Error{Host: h.Dest, Argv: argv, Code: -1, Lines: splitLines(stderr)}
	var exit interface {
		ExitCode() int
		Sys() any
	}
	switch {
	case errors.As(err, &exit):
		e.Code = exit.ExitCode()
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			e.Signal = ws.Signal()
		}
	default:
		// The program did not start, or its pipes failed.
		e.Lines = append(splitLines(err.Error()), e.Lines...)
	}
	e.Kind = classify(splitLines(stderr))
	switch {
	case errors.Is(err, exec.ErrNotFound), e.Code == 127:
		e.Kind = record.KindMissingProgram
		if len(e.Lines) == 0 {
			e.Lines = []string{program(argv) + ": command not found"}
		}
	case errors.Is(err, syscall.E2BIG):
		e.Kind = record.KindTooLong
	case e.Signal != 0:
		// The messages of a killed program are no answer, so they do not decide.
		e.Kind = record.KindKilled
	case e.Code == sshFailed && !h.Here():
		switch e.Kind {
		case record.KindHostKey, record.KindAuth, record.KindMissingProgram:
		case record.KindStaleToken: // zfs send itself ends with 255 for a bad token (2.1, 2.3)
		default:
			e.Kind = record.KindUnreachable
		}
	}
	return e
}

// badAnswer returns the error for an answer that does not fit the request. zfs never
// gives one, but a compromised host or a login shell may.
func (h *Host) badAnswer(argv []string, format string, a ...any) error {
	return &Error{Kind: record.KindBadAnswer, Host: h.Dest, Argv: argv,
		Lines: []string{fmt.Sprintf("cannot use the answer of '%s': ", strings.Join(argv[:min(2, len(argv))], " ")) + fmt.Sprintf(format, a...)}}
}

// Failed makes an *Error from the failure of a child that the caller started and waited
// for.
func (h *Host) Failed(argv []string, err error, stderr string) error {
	return h.failed(argv, err, stderr)
}

func program(argv []string) string {
	if len(argv) == 0 {
		return "the program"
	}
	return argv[0]
}

// splitLines returns the meaningful lines of a message, in valid UTF-8: they end up in
// records, and login scripts may print other encodings.
func splitLines(s string) []string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	var out []string
	for l := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '\n' || r == '\r' }) {
		l = strings.TrimSpace(strings.ReplaceAll(l, "\t", " "))
		if l == "usage:" || l == "stack traceback:" {
			break // the rest is for interactive use
		}
		// ssh's message about the end of a shared connection is no cause of a
		// failure.
		if l == "" || strings.HasPrefix(l, "Shared connection to ") {
			continue
		}
		// Nobody types hundreds of digits: the next run reads the token itself.
		if strings.HasPrefix(l, "A resuming stream can be generated") || strings.HasPrefix(l, "zfs send -t ") {
			continue
		}
		out = append(out, l)
	}
	return out
}

// join merges the errors of several programs that were asked for parts of one thing, so
// that none hides a worse one. An incomplete answer outranks a complete one.
func join(errs []error) error {
	var all *Error
	for _, err := range errs {
		var e *Error
		switch {
		case err == nil:
		case !errors.As(err, &e):
			return err // the context has ended, or a fault of this program
		case all == nil:
			one := *e
			all = &one
		default:
			switch {
			case !all.Complete() && !all.Partial:
			case !e.Complete() && !e.Partial || all.Kind == record.KindBadAnswer || e.Kind == record.KindBadAnswer:
				lines := all.Lines
				one := *e
				all, all.Lines = &one, slices.Concat(e.Lines, lines)
			default:
				all.Lines = slices.Concat(all.Lines, e.Lines)
				all.Kind = classify(all.Lines)
				all.Partial = all.Partial || e.Partial
			}
		}
	}
	if all == nil {
		return nil
	}
	return all
}

// ignoreKind drops the lines of an error that are of the kind fine, and the whole error
// if only noise is left. zfs goes on with the other names after each such line.
func ignoreKind(err error, fine record.ErrorKind) error {
	var e *Error
	if fine == "" || !errors.As(err, &e) || !e.Complete() || len(e.Lines) == 0 {
		return err
	}
	var rest []string
	own := map[string]bool{}
	for _, l := range telling(e.Lines) {
		own[l] = true
	}
	fatal := false
	for _, l := range e.Lines {
		if Classify(l) != fine {
			rest = append(rest, l)
			fatal = fatal || own[l]
		}
	}
	if !fatal {
		return nil
	}
	one := *e
	one.Lines, one.Kind = rest, classify(rest)
	return &one
}

// Of returns the part of an error that concerns one name, if the program worked on many,
// or nil if there is none. Lines concern the names that zfs quotes in them; a line that
// quotes none of the names concerns all. all reports whether a name is one that the
// program worked on.
func (e *Error) Of(name string, all func(name string) bool) error {
	if !e.Complete() {
		return e
	}
	var mine []string
	for _, l := range telling(e.Lines) {
		quoted := quotedNames(l)
		if slices.Contains(quoted, name) || !slices.ContainsFunc(quoted, all) {
			mine = append(mine, l)
		}
	}
	if len(mine) == 0 && len(e.Lines) > 0 {
		return nil
	}
	one := *e
	if len(mine) > 0 {
		one.Lines, one.Kind = mine, classify(mine)
		if one.Kind == record.KindOther {
			one.Kind = e.Kind
		}
	}
	return &one
}

// quotedNames returns the texts between single quotes in a line.
func quotedNames(line string) (out []string) {
	for {
		_, rest, ok := strings.Cut(line, "'")
		if !ok {
			return out
		}
		name, after, ok := strings.Cut(rest, "'")
		if !ok {
			return out
		}
		out = append(out, name)
		line = after
	}
}
