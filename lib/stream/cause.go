package stream

import (
	"slices"
	"strings"
	"syscall"

	"zab/lib/record"
)

// When one program of a chain fails, the others fail too: those before it because nobody
// reads their output, those after it because their input ends too early. The rank tells
// causes from such consequences.
const (
	rankCause = iota
	rankShort // its input ended too early, or in a wrong way
	rankPipe  // nobody read its output
)

func (f *Failure) rank() int {
	text := strings.ToLower(f.Err.Message())
	switch {
	case f.Err.Kind == record.KindUnreachable:
		// ssh says "broken pipe" when the connection is lost.
		return rankCause
	case f.Err.Signal == syscall.SIGPIPE, f.Err.Code == 128+int(syscall.SIGPIPE),
		strings.Contains(text, "broken pipe"), strings.Contains(text, "signal received"):
		return rankPipe
	case f.Err.Kind == record.KindPartial:
		return rankShort
	}
	words := short
	if f.Last {
		words = invalid
	}
	for _, s := range words {
		if strings.Contains(text, s) {
			return rankShort
		}
	}
	return rankCause
}

// invalid has the messages of zfs receive (2.1 to 2.4) about a stream that makes no sense
// to it, such as that of a sender that cannot read: see spoiled. Either of the two may
// end first.
var invalid = []string{
	"incompatible embedded data stream feature",
	"kernel modules must be upgraded",
	"invalid backup stream",
}

// short has the messages of decompressors about an input that ended too early: gzip 1.12,
// pigz 2.6, zstd 1.5, xz 5.4, lzop 1.04, lz4 1.9, FreeBSD's gzip.
var short = []string{
	"unexpected end of file",
	"unexpected end of input",
	"unexpected eof",
	"premature end",
	"incomplete",
	"read error (hint: unknown header)", // zstd on an empty input
	"not in gzip format",
	"truncated",
	"corrupted -- incomplete deflate data",
	"not a lzop file",
	"file truncated",
	"unfinished stream",
	"error 68",
}

// Cause returns the failure that made the others fail, and the others. If only
// consequences are left, such as a receiver that was cut off by programs that did not say
// why, it returns the one nearest to a cause. If the receiver ended well, a program
// before it whose output nobody read is not a cause. Without a cause both are nil.
func Cause(failures []Failure) (cause *Failure, others []Failure) {
	if len(failures) == 0 {
		return nil, nil
	}
	received := !slices.ContainsFunc(failures, func(f Failure) bool { return f.Last })
	best := -1
	for i := range failures {
		f := &failures[i]
		if received && f.rank() == rankPipe {
			continue
		}
		if best < 0 || f.rank() < failures[best].rank() || f.rank() == failures[best].rank() && f.At.Before(failures[best].At) {
			best = i
		}
	}
	if best < 0 {
		return nil, nil
	}
	for i := range failures {
		if i != best {
			others = append(others, failures[i])
		}
	}
	return &failures[best], others
}
