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

// Kind is what went wrong, as a word that scripts can rely on.
// zab-record(5) lists them.
type Kind string

// The kinds that come from zfs, zpool, ssh and the shell.
const (
	KindUnreachable    Kind = "unreachable"     // ssh got no connection, or lost it
	KindAuth           Kind = "auth"            // ssh was refused
	KindHostKey        Kind = "host-key"        // ssh does not trust the host
	KindMissingProgram Kind = "missing-program" // a program is not installed
	KindNoZFS          Kind = "no-zfs"          // the module is not loaded, or no device
	KindPermission     Kind = "permission"      //
	KindNotFound       Kind = "not-found"       // no such dataset or snapshot
	KindExists         Kind = "exists"          //
	KindBusy           Kind = "busy"            //
	KindHeld           Kind = "held"            // a hold protects the snapshot
	KindMounted        Kind = "mounted"         // it is mounted already
	KindReadOnly       Kind = "read-only"       // of a file system
	KindReadOnlyPool   Kind = "read-only-pool"  // the pool is imported read-only
	KindClones         Kind = "has-clones"      // a clone depends on it
	KindNoSpace        Kind = "no-space"        // full pool or quota
	KindModified       Kind = "modified"        // the target changed since its newest snapshot
	KindNoBase         Kind = "no-base"         // the target does not have the stream's base
	KindStaleToken     Kind = "stale-token"     // the resume token leads nowhere
	KindPartial        Kind = "partial"         // the stream broke off; what came was saved
	KindStream         Kind = "stream"          // what arrived is not a stream of zfs
	KindForeignStream  Kind = "foreign-stream"  // the stream would reach beyond the dataset it was asked for
	KindFeature        Kind = "feature"         // the pool or zfs cannot do this
	KindKey            Kind = "key"             // an encryption key is missing or another
	KindEncryption     Kind = "encryption"      // it does not fit how the data or the copy is encrypted
	KindPoolIO         Kind = "pool-io"         // the pool is suspended or fails
	KindUnreadable     Kind = "unreadable"      // a block of the data is lost
	KindZoned          Kind = "zoned"           // the dataset belongs to a zone, which alone may do this
	KindTooLong        Kind = "too-long"        // more arguments than the system takes
	KindKilled         Kind = "killed"          // a signal ended the program
	KindTimeout        Kind = "timeout"         // a question was not answered in time
	KindBadAnswer      Kind = "bad-answer"      // what a host printed is no answer to what it was asked
	KindBadArgument    Kind = "bad-argument"    // a name or value that no command may be given
	KindOther          Kind = "other"           // a message that is not in the catalogue
)

// Error is a program that failed. Its text keeps the program's own words.
type Error struct {
	Kind   Kind
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
func (e *Error) answered() bool { return (e.Complete() || e.Partial) && e.Kind != KindBadAnswer }

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

// KindOf is the kind of an error that this package gave, KindOther for others.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindOther
}

// Transient tells whether the same command may succeed a little later.
func (k Kind) Transient() bool {
	switch k {
	case KindUnreachable, KindBusy, KindPartial, KindKilled, KindTimeout:
		return true
	}
	return false
}

// Hint is what a person can do about an error of this kind; "" where the
// message says it all.
func (k Kind) Hint() string { return hints[k] }

// HintOf returns what a person can do about an error that this package gave: that
// of its kind, or a better one where the program tells more.
func HintOf(err error) string {
	var e *Error
	if !errors.As(err, &e) {
		return KindOther.Hint()
	}
	if e.Kind == KindMissingProgram && e.missesZFS() {
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
	return record.Error{Stage: stage, Kind: string(KindOf(err)), Hint: HintOf(err), Message: fmt.Sprintf(format, a...)}
}

// missesZFS reports whether the program that was not found is zfs or zpool, and not
// another of the same pipeline, such as a compressor.
func (e *Error) missesZFS() bool {
	ours := func(s string) bool { return strings.Contains(s, "zfs") || strings.Contains(s, "zpool") }
	var lines []string
	for _, l := range e.Lines {
		if Classify(l) == KindMissingProgram {
			lines = append(lines, l)
		}
	}
	if lines == nil {
		return ours(program(e.Argv))
	}
	return slices.ContainsFunc(lines, ours)
}

var hints = map[Kind]string{
	KindUnreachable:    "check that the host is up and that 'ssh -o BatchMode=yes HOST true' works for this user",
	KindAuth:           "install this user's ssh key on the host; zab never asks for a password",
	KindHostKey:        "connect once by hand with ssh and check the host's key",
	KindMissingProgram: "install the program on the machine that the message names, or choose another",
	KindNoZFS:          "load the module with 'modprobe zfs'",
	KindPermission:     "run as root, or allow it with 'zfs allow'",
	KindHeld:           "'zfs holds SNAPSHOT' shows who holds it",
	KindClones:         "a clone depends on the snapshot: promote or destroy the clone first",
	KindReadOnlyPool:   "import the pool without '-o readonly=on', or leave it as it is with --no-snapshot, --no-thinning and --no-holds",
	KindNoSpace:        "free space or raise the quota",
	KindModified:       "'zfs diff' shows what changed; see the remedies of the conflict that zab-plan reports, such as --rollback",
	KindStaleToken:     "run again: the token is aborted and the stream starts anew",
	KindPartial:        "run again: the stream goes on where it broke off",
	KindStream:         "something else came in the place of the stream: a login shell that prints, or a pipe that does not give back what was put into it",
	KindForeignStream:  "the source sent something else than it was asked for: find out why before you trust it again",
	KindKey:            "load the key with 'zfs load-key'",
	KindEncryption:     "a copy goes on as it was begun, raw or not: see Encryption in zab-plan(8)",
	KindPoolIO:         "'zpool status POOL' shows what the pool suffers from; 'zpool clear POOL' has it go on once its devices are back",
	KindFeature:        "compare what the pools on both sides can do: 'zpool get all POOL' lists their features, 'zfs version' tells the software's age",
	KindUnreadable:     "'zpool status -v' names what is lost: restore or destroy it; what is sent then is the first snapshot without it",
	KindZoned:          "'zfs get zoned' shows it: where zoned is on, mount and share the dataset inside of its zone, or 'zfs set zoned=off' on the copy",
	KindTooLong:        "select fewer datasets for each run",
	KindTimeout:        "check the host and its pools with 'zpool status'; --query-timeout sets how long an answer may take",
	KindBadAnswer:      "nothing was done with this answer; most often the login shell of that host prints it, from a file such as .bashrc or .profile: 'ssh HOST true' must print nothing",
}

// A pattern of the catalogue: a text found in a program's message, in lower
// case, and the kind it means. The first that fits is taken, so the special
// stand before the general. The comment is the version it was seen in.
type pattern struct {
	text string
	kind Kind
}

var catalogue = []pattern{
	// ssh, OpenSSH 9.2
	{"host key verification failed", KindHostKey},
	{"remote host identification has changed", KindHostKey},
	{"permission denied (", KindAuth},
	{"too many authentication failures", KindAuth},
	{"could not resolve hostname", KindUnreachable},
	{"connection refused", KindUnreachable},
	{"connection timed out", KindUnreachable},
	{"no route to host", KindUnreachable},
	{"network is unreachable", KindUnreachable},
	{"connection closed by", KindUnreachable},
	{"connection reset by", KindUnreachable},
	{"kex_exchange_identification", KindUnreachable},
	{"client_loop: send disconnect", KindUnreachable},
	{"closed by remote host", KindUnreachable},
	{"timeout, server", KindUnreachable},
	{"mux_client_request_session", KindUnreachable},
	{"packet_write_wait", KindUnreachable},

	// zfs 2.1 to 2.3
	{"the zfs modules are not loaded", KindNoZFS},
	{"the zfs modules cannot be auto-loaded", KindNoZFS},
	{"/dev/zfs and /proc/self/mounts are required", KindNoZFS},
	{"unable to open /dev/zfs", KindNoZFS},
	{"may only be mounted by root", KindPermission},
	// What ends a receive without harm to its token stands before what shows
	// that the token is of no use.
	{"checksum mismatch or incomplete stream", KindPartial},
	{"partially received snapshot is saved", KindPartial},
	{"out of space", KindNoSpace},
	{"no space left", KindNoSpace},
	{"quota exceeded", KindNoSpace},
	{"key must be loaded", KindKey},
	{"key not loaded", KindKey},
	{"key is not loaded", KindKey},
	{"key load error", KindKey},
	{"does not match existing key", KindKey},
	{"failed to create encryption key", KindKey},
	{"pool i/o is currently suspended", KindPoolIO},
	{"i/o error", KindPoolIO},
	{"input/output error", KindPoolIO},
	{"dataset is busy", KindBusy},
	{"permission denied", KindPermission},
	{"has been modified", KindModified},
	// Of a resumed stream: a receive is at work there. Of another: what one has
	// left, that was not there when the target was looked at.
	{"contains partially-complete state", KindBusy},
	{"cannot resume send", KindStaleToken},
	{"resume token is corrupt", KindStaleToken},
	{"used in the initial send no longer exists", KindStaleToken},
	{"cannot receive resume stream", KindStaleToken},
	{"does not have any resumable receive state", KindNotFound},
	{"kernel modules must be upgraded to receive this stream", KindFeature},
	{"stream has unsupported feature", KindFeature},
	{"pool must be upgraded", KindFeature},
	{"incremental send stream requires -l", KindFeature},
	{"incompatible embedded data stream feature", KindFeature},
	{"feature not enabled", KindFeature},
	{"spill block flag missing", KindFeature},
	{"iv set guid m", KindEncryption}, // missing, mismatch
	{"cannot perform raw receive", KindEncryption},
	{"cannot be set or excluded for raw streams", KindEncryption},
	{"cannot be set for incremental streams", KindEncryption},
	{"encryption must be turned on to set encryption properties", KindEncryption},
	{"keyformat required for new encryption root", KindEncryption},
	{"may not be sent with properties without the raw flag", KindEncryption},
	{"cannot be used to destroy an encrypted filesystem", KindEncryption},
	{"stream uses crypto parameters", KindEncryption},
	{"does not match incremental source", KindNoBase},
	{"incremental source", KindNoBase},
	{"not an earlier snapshot", KindNoBase},
	// A package of several datasets, where one snapshot was named (zfs 0.8 to 2.3).
	{"cannot specify snapshot name for multi-snapshot stream", KindForeignStream},
	{"invalid stream", KindStream},
	{"invalid backup stream", KindStream},
	{"failed to read from stream", KindPartial},
	{"incomplete stream", KindPartial},
	{"destination already exists", KindExists},
	{"destination exists", KindExists},
	{"must specify -f to overwrite", KindExists},
	{"must destroy them to overwrite", KindExists},
	{"dataset already exists", KindExists},
	{"bookmark exists", KindExists},
	{"tag already exists", KindExists},
	{"no such tag", KindNotFound},
	{"filesystem already mounted", KindMounted},
	{"read-only file system", KindReadOnly},
	{"pool is read-only", KindReadOnlyPool},
	{"in a non-global zone", KindZoned},
	{"exported to a local zone", KindZoned},
	{"has dependent clones", KindClones},
	{"snapshot is cloned", KindClones},
	{"it's being held", KindHeld},
	{"is busy", KindBusy},
	{"pool is unavailable", KindPoolIO},
	{"no such pool", KindNotFound},
	{"does not exist", KindNotFound},
	{"could not find any snapshots to destroy", KindNotFound},
	{"insufficient privileges", KindPermission},
	{"operation not permitted", KindPermission},
	{"argument list too long", KindTooLong},
	{"internal error", KindOther},

	// shells: dash 0.5, bash 5, FreeBSD's and illumos's sh
	{"command not found", KindMissingProgram},
	{": not found", KindMissingProgram},
	{"executable file not found", KindMissingProgram},
	{"no such file or directory", KindMissingProgram},
}

// Classify returns the kind of one line of a program's message.
func Classify(line string) Kind {
	low := strings.ToLower(line)
	for _, p := range catalogue {
		if strings.Contains(low, p.text) {
			return p.kind
		}
	}
	return KindOther
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
	return Classify(line) == KindOther || prefixed.MatchString(low)
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
func classify(lines []string) Kind {
	kind, at := KindOther, len(catalogue)
	mild := func(k Kind) bool { return k == KindNotFound || k == KindExists }
	for _, l := range telling(lines) {
		low := strings.ToLower(l)
		for i, p := range catalogue {
			if !strings.Contains(low, p.text) {
				continue
			}
			worse := i < at && mild(kind) == mild(p.kind)
			if kind == KindOther && at == len(catalogue) || mild(kind) && !mild(p.kind) || worse {
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
		e.Kind = KindMissingProgram
		if len(e.Lines) == 0 {
			e.Lines = []string{program(argv) + ": command not found"}
		}
	case errors.Is(err, syscall.E2BIG):
		e.Kind = KindTooLong
	case e.Signal != 0:
		// A program that was killed has given no answer, whatever it had printed.
		e.Kind = KindKilled
	case e.Code == sshFailed && !h.Here():
		switch e.Kind {
		case KindHostKey, KindAuth, KindMissingProgram:
		case KindStaleToken: // zfs send itself ends with 255 for a token (2.1, 2.3)
		default:
			e.Kind = KindUnreachable
		}
	}
	return e
}

// badAnswer is the error of an answer that does not fit what was asked. zfs
// prints none of these; a host that was taken over may, and so may a login shell.
func (h *Host) badAnswer(argv []string, format string, a ...any) error {
	return &Error{Kind: KindBadAnswer, Host: h.Dest, Argv: argv,
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
			case !e.Complete() && !e.Partial || all.Kind == KindBadAnswer || e.Kind == KindBadAnswer:
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
func ignoreKind(err error, fine Kind) error {
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
		if one.Kind == KindOther {
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
