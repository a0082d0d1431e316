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

// Error is a program that failed. Its text keeps the program's own words.
type Error struct {
	Kind   record.ErrorKind
	Host   string // "" for this machine
	Argv   []string
	Code   int // exit status, -1 where there is none
	Signal syscall.Signal
	Lines  []string // the program's own words
	// Partial: the program ended with status 0, and said that something is not in its
	// answer.
	Partial bool
}

// Message returns the program's own words in one line, for people, with the number
// of those lines that are too many to be read. What decides looks at the lines.
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

// Complete reports whether the program came to its own end, so that what it said
// is all that it had to say. One that was killed, or whose connection was lost,
// may have been about to say more.
func (e *Error) Complete() bool {
	return e.Code > 0 && e.Signal == 0 && !(e.Host != "" && e.Code == sshFailed)
}

// answered reports whether what the program said can be taken apart by name.
func (e *Error) answered() bool { return (e.Complete() || e.Partial) && e.Kind != record.KindBadAnswer }

// sshFailed is the exit status of ssh itself. zfs never ends with it.
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

// Saved tells whether a receive that broke off said that it kept what came
// through (zfs 2.1 to 2.3).
func (e *Error) Saved() bool {
	return strings.Contains(strings.ToLower(e.Message()), "partially received snapshot is saved")
}

// Quota reports whether zfs says that it was a quota or a limit that is reached (zfs
// 2.1 to 2.3). It says "out of space" of some as well.
func (e *Error) Quota() bool {
	return e != nil && strings.Contains(strings.ToLower(e.Message()), "quota exceeded")
}

// Created tells whether a create that failed said that the filesystem is there,
// but that mounting it takes root (zfs 0.8 to 2.3).
func (e *Error) Created() bool {
	return strings.Contains(strings.ToLower(e.Message()), "filesystem successfully created")
}

// KindOf is the kind of an error that this package gave, record.KindOther for others.
func KindOf(err error) record.ErrorKind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return record.KindOther
}

// HintOf returns what a person can do about an error that this package gave: that
// of its kind, or a better one where the program tells more.
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

// Failed returns the error of a record at a stage, of the kind and with the hint of
// err; the message is made by format.
func Failed(stage string, err error, format string, a ...any) record.Error {
	return record.Error{Stage: stage, Kind: KindOf(err), Hint: HintOf(err), Message: fmt.Sprintf(format, a...)}
}

// missesZFS reports whether the program that was not found is zfs or zpool, and not
// another of the same pipeline, such as a compressor.
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

// A pattern of the catalogue: a text found in a program's message, in lower
// case, and the kind it means. The first that fits is taken, so the special
// stand before the general. The comment is the version it was seen in.
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
	// What ends a receive without harm to its token stands before what shows
	// that the token is of no use.
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
	// Of a resumed stream: a receive is at work there. Of another: what one has
	// left, that was not there when the target was looked at.
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
	// A package of several datasets, where one snapshot was named (zfs 0.8 to 2.3).
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

// openings are how the messages of zfs and zpool begin, in lower case. Most are
// "cannot VERB 'OBJECT': cause".
var openings = []string{
	"cannot ", "could not ", "couldn't ", "unable to ", "failed to ", "internal error", "warning: ", "error: ",
	"invalid ", "missing ", "bad ", "too many ", "no such ", "out of memory", "permission denied", "insufficient ",
	"pool ", "bookmark '", "'", "the zfs ", "/dev/zfs", "key load error", "channel program", "operation not",
	"zfs: ", "zpool: ", "memory allocation", "dataset ", "property ", "snapshot ", "no snapshots ",
	"ssh: ", "connection ", "zab: ",
}

// prefixed are lines that name in front the program or file that they come from,
// as those of a login shell's script do: "mesg: ", "/etc/profile: line 3: ".
var prefixed = regexp.MustCompile(`^-?[A-Za-z0-9_./+~-]+: `)

// isNoise reports whether a line of a program's stderr has none of the forms in
// which zfs speaks. Login scripts, loaders and locales print such lines.
func isNoise(line string) bool {
	low := strings.ToLower(line)
	if slices.ContainsFunc(openings, func(o string) bool { return strings.HasPrefix(low, o) }) {
		return false
	}
	return Classify(line) == record.KindOther || prefixed.MatchString(low)
}

// telling returns the lines of a message that zfs itself may have said. Where there
// is nothing but noise, that is all that is known, and it is returned.
func telling(lines []string) []string {
	own := slices.DeleteFunc(slices.Clone(lines), isNoise)
	if len(own) == 0 {
		return lines
	}
	return own
}

// classify returns the kind of a message of several lines: that of the line which
// comes first in the catalogue. That something does not exist, or exists already,
// is the kind of the whole only if no line says anything worse: callers go on
// after it. Noise tells nothing.
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

// failed makes an *Error of what exec says of a program.
func (h *Host) failed(argv []string, err error, stderr string) error {
	e := &Error{Host: h.Dest, Argv: argv, Code: -1, Lines: splitLines(stderr)}
	var exit *exec.ExitError
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
		// A program that was killed has given no answer, whatever it had printed.
		e.Kind = record.KindKilled
	case e.Code == sshFailed && !h.Here():
		switch e.Kind {
		case record.KindHostKey, record.KindAuth, record.KindMissingProgram:
		case record.KindStaleToken: // zfs send itself ends with 255 for a token (2.1, 2.3)
		default:
			e.Kind = record.KindUnreachable
		}
	}
	return e
}

// badAnswer is the error of an answer that does not fit what was asked. zfs
// prints none of these; a host that was taken over may, and so may a login shell.
func (h *Host) badAnswer(argv []string, format string, a ...any) error {
	return &Error{Kind: record.KindBadAnswer, Host: h.Dest, Argv: argv,
		Lines: []string{fmt.Sprintf("cannot use the answer of '%s': ", strings.Join(argv[:min(2, len(argv))], " ")) + fmt.Sprintf(format, a...)}}
}

// Failed makes an *Error of a child that the caller started and waited for.
func (h *Host) Failed(argv []string, err error, stderr string) error {
	return h.failed(argv, err, stderr)
}

func program(argv []string) string {
	if len(argv) == 0 {
		return "the program"
	}
	return argv[0]
}

// splitLines returns the lines of a message that tell something. They end in records,
// which are of UTF-8; what a login script prints need not be.
func splitLines(s string) []string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	var out []string
	for l := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '\n' || r == '\r' }) {
		l = strings.TrimSpace(strings.ReplaceAll(l, "\t", " "))
		if l == "usage:" || l == "stack traceback:" {
			break // what follows is for people who type
		}
		// ssh's farewell to a shared connection is not a cause of anything.
		if l == "" || strings.HasPrefix(l, "Shared connection to ") {
			continue
		}
		// Nobody types hundreds of digits: the next run takes the token itself.
		if strings.HasPrefix(l, "A resuming stream can be generated") || strings.HasPrefix(l, "zfs send -t ") {
			continue
		}
		out = append(out, l)
	}
	return out
}

// join makes one error of those of several programs that were asked for parts of
// one thing, so that none hides another. What was no complete answer outranks
// what was.
func join(errs []error) error {
	var all *Error
	for _, err := range errs {
		var e *Error
		switch {
		case err == nil:
		case !errors.As(err, &e):
			return err // the end of the context, or a fault of this program
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

// ignoreKind drops those lines of an error that are of a kind that is fine, and
// the whole error if no other line is left. zfs goes on with the other names after
// each of them.
func ignoreKind(err error, fine record.ErrorKind) error {
	var e *Error
	if fine == "" || !errors.As(err, &e) || !e.Complete() || len(e.Lines) == 0 {
		return err
	}
	var rest []string
	own := telling(e.Lines)
	fatal := false
	for _, l := range e.Lines {
		if Classify(l) != fine {
			rest = append(rest, l)
			fatal = fatal || slices.Contains(own, l)
		}
	}
	if !fatal {
		return nil
	}
	one := *e
	one.Lines, one.Kind = rest, classify(rest)
	return &one
}

// Of returns what of an error of a program that worked on many things is about one
// of them, given by the name that zfs quotes in each of its lines; what names none
// is about all. all are the names of all of them.
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

// quotedNames returns what stands between single quotes in a line.
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
