package zfs

import (
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"zab/lib/record"
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
	done := make(chan error, 1)
	go func() {
		err := read(r)
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
	case err != nil && (ctx.Err() != nil || errors.As(err, &e) && e.Kind != record.KindKilled):
		return err
	}
	return wrong
}

// digestLine prints the digest of a stream of the host's own zfs, or nothing if zab-digest
// is not installed there. Its first argument has the options of zab-digest, in one word;
// those of zfs send follow.
const digestLine = `command -v zab-digest >/dev/null 2>&1 || exit 0; o=$1; shift; zfs send "$@" | zab-digest $o`

// ProgressLine is how a line of zab-digest --progress-every begins.
const ProgressLine = `{"type":"progress",`

// Digest has the host compute the digest of one of its streams. argv is from
// PlainSendArgv; last is the option --base-last of zab-digest, if not nil. The line is what
// zab-digest prints, without its newline; "" if the host does not have the program. With
// every, alive is called about as often, as long as the stream is read.
func (h *Host) Digest(ctx context.Context, argv []string, last *uint64, every time.Duration, alive func()) (line string, err error) {
	if err := CheckArgv(argv); err != nil {
		return "", err
	}
	var options []string
	if last != nil {
		options = append(options, "--base-last="+strconv.FormatUint(*last, 10))
	}
	if every > 0 {
		options = append(options, "--progress-every="+every.String())
	}
	script := append([]string{"/bin/sh", "-c", digestLine, "zab", strings.Join(options, " ")}, argv[2:]...)
	err = h.do(ctx, call{argv: script, left: maxAnswer.allow(), row: func(l string) error {
		if every > 0 && strings.HasPrefix(l, ProgressLine) {
			alive()
			return nil
		}
		if line != "" {
			return errors.New("it has more than one line")
		}
		line = l
		return nil
	}})
	return line, err
}
