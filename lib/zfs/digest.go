package zfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"zab/lib/pipesize"
	"zab/lib/record"
	"zab/lib/sendstream"
)

// ProofProp is the user property of a copy with its last proof: see record.ParseProof. Only
// a local value counts: one that came with a stream is the claim of another host.
const ProofProp = "zab:verified"

// PlainSendArgv returns the zfs send of one snapshot, in full or, with from, as an
// increment from another snapshot of the dataset. The stream has no properties and no
// compressed blocks; with raw, its blocks are as they are stored.
func PlainSendArgv(dataset, from, snapshot string, raw bool) []string {
	argv := []string{"zfs", "send"}
	if raw {
		argv = append(argv, "-w")
	}
	if from != "" {
		argv = append(argv, "-i", dataset+"@"+from)
	}
	return append(argv, dataset+"@"+snapshot)
}

// Send starts a zfs send and has read read its stream. If read does not read to the end,
// zfs is ended. The error is that of zfs, or that of read if zfs did not fail before.
func (h *Host) Send(ctx context.Context, argv []string, read func(io.Reader) error) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	pipesize.Enlarge(r)
	in := &endNoted{Reader: r}
	done := make(chan error, 1)
	go func() {
		err := read(in)
		r.Close() // a program that still writes is ended by that
		done <- err
	}()
	err = h.do(ctx, call{argv: argv, out: w, started: func() { w.Close() }})
	w.Close()
	if err != nil {
		// A program that waits for its pool in the kernel keeps the pipe open.
		_ = r.SetReadDeadline(time.Now().Add(2 * time.Second))
	}
	wrong := <-done
	var e *Error
	switch {
	case wrong == nil:
		// The stream came to its end; the status adds nothing.
		return nil
	case !in.ended && ctx.Err() == nil:
		// What is read no more ends zfs, or ssh, which does not tell that from a lost
		// connection.
		return wrong
	case err != nil && (ctx.Err() != nil || errors.As(err, &e) && e.Kind != record.KindKilled):
		return err
	}
	return wrong
}

// endNoted is a reader that notes whether it came to its end, or failed.
type endNoted struct {
	io.Reader
	ended bool
}

func (r *endNoted) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.ended = r.ended || err != nil
	return n, err
}

// digestLine prints the digest of a stream of the host's own zfs, or nothing if zab-digest
// is not installed there. Its first argument has the options of zab-digest, in one word;
// those of zfs send follow.
const digestLine = `command -v zab-digest >/dev/null 2>&1 || exit 0; o=$1; shift; zfs send "$@" | zab-digest $o`

// Signs asks zab-digest for signs of life, which come about every Every for as long as it
// reads; each calls Alive. The zero value asks for none.
type Signs struct {
	Every time.Duration
	Alive func()
}

// options are those of zab-digest.
func (s Signs) options() []string {
	if s.Every == 0 {
		return nil
	}
	return []string{"--progress-every=" + s.Every.String()}
}

// ErrHash is the error of a zab-digest that knows no other hash function than SHA-256, as
// that of an earlier version.
var ErrHash = errors.New("zab-digest there computes SHA-256 alone")

// unasked is the name of the hash function that every zab-digest computes without being asked.
// The programs that only transfer need no more of hash functions than their names.
const unasked = "sha256"

// hashOptions are those of zab-digest.
func hashOptions(hash fmt.Stringer) []string {
	if hash.String() == unasked {
		return nil
	}
	return []string{"--hash=" + hash.String()}
}

// hashError returns ErrHash if zab-digest did not know the option of hashOptions, else err.
func hashError(hash fmt.Stringer, err error) error {
	var e *Error
	if hash.String() != unasked && errors.As(err, &e) && e.Complete() && e.says("unknown option '--hash'") {
		return ErrHash
	}
	return err
}

// without returns a function for the lines of zab-digest that calls row with those that are
// no signs. A sign that nobody asked for is a line like any other.
func (s Signs) without(row func(line string) error) func(line string) error {
	if s.Every == 0 {
		return row
	}
	return func(line string) error {
		var sign struct {
			Type string `json:"type"`
			Read int64  `json:"read"`
		}
		if !strings.HasPrefix(line, `{"type":"progress",`) || json.Unmarshal([]byte(line), &sign) != nil || sign.Read <= 0 {
			return row(line)
		}
		s.Alive()
		return nil
	}
}

// Digest has the host compute the digest of one of its streams. argv is from
// PlainSendArgv; last is the option --base-last of zab-digest, if not nil. The line is what
// zab-digest prints, without its newline; "" if the host does not have the program. The
// error is ErrHash if that does not know the hash function.
func (h *Host) Digest(ctx context.Context, argv []string, hash fmt.Stringer, last *uint64, signs Signs) (line string, err error) {
	if err := CheckArgv(argv); err != nil {
		return "", err
	}
	options := append(hashOptions(hash), signs.options()...)
	if last != nil {
		options = append(options, "--base-last="+strconv.FormatUint(*last, 10))
	}
	script := append([]string{"/bin/sh", "-c", digestLine, "zab", strings.Join(options, " ")}, argv[2:]...)
	err = h.do(ctx, call{argv: script, left: maxFew.allow(), row: signs.without(func(l string) error {
		if line != "" {
			return errors.New("it has more than one line")
		}
		line = l
		return nil
	})})
	return line, digestError(hashError(hash, err))
}

// digestError returns err, which is that of zab-digest on another host, as what it means: a
// *sendstream.ReadError, which it wraps, if zab-digest did not take the stream and no other
// program said anything; and that zab-digest was ended by a signal, which the shell there
// tells in words of its own.
func digestError(err error) error {
	var e *Error
	if !errors.As(err, &e) || !e.Complete() {
		return err
	}
	if n := syscall.Signal(e.Code - 128); n > 0 && n < 65 {
		one := *e
		one.Kind, one.Lines = record.KindKilled, append([]string{fmt.Sprintf("zab-digest was ended by signal %d (%s)", int(n), n)}, e.Lines...)
		return &one
	}
	var bad *sendstream.ReadError
	for _, l := range e.Lines {
		l, mine := strings.CutPrefix(l, "zab-digest: ")
		if !mine && isNoise(l) {
			continue
		}
		text, first := strings.CutPrefix(l, "cannot digest the stream: byte ")
		hint, second := strings.CutPrefix(l, "hint: ")
		switch {
		case mine && first && bad == nil:
			at, text, _ := strings.Cut(text, ": ")
			n, wrong := strconv.ParseInt(at, 10, 64)
			if wrong != nil {
				return err
			}
			bad = &sendstream.ReadError{At: n, Err: errors.New(text)}
		case mine && second && bad != nil:
			bad.Hint = hint
		default:
			return err
		}
	}
	if bad == nil {
		return err
	}
	return fmt.Errorf("%s: %w", e.Host, bad)
}
