// Package sendstream looks into a stream of zfs send, as far as it takes to know
// which dataset it would change.
//
// zfs receive (2.1 to 2.4) makes the name of what it receives of its operand and
// of what the stream says of itself: a package stream may bring other datasets,
// with properties of their own, rename those that are there, and make clones of
// snapshots that another dataset has. Whoever sends chooses that, not whoever asked.
//
// Goals: nothing but snapshots of the one dataset asked for gets through, from the
// base asked for; a stream that could be read in two ways is none.
//
// Non-goals: it does not tell whether the data is good or complete. zfs does, and
// the guid of what was received.
package sendstream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
)

// Rule is what a stream may do.
type Rule struct {
	// FromGUID is the guid of the snapshot or bookmark that the stream starts
	// from; 0 for a full stream.
	FromGUID uint64
	// AnyBase lets it start from any, where the guid is not known.
	AnyBase bool
	// Several lets it bring more than one snapshot. Each of its records is looked at
	// then; else the rest passes unseen after the first snapshot's beginning, and
	// its receiver must be given the snapshot's name, with which zfs takes no other.
	Several bool
}

// Rest is all that is left of a stream.
const Rest = math.MaxInt64

// ErrForeign is wrapped by the errors of streams that would reach beyond the
// dataset they were asked for, or that are not understood.
var ErrForeign = errors.New("the stream is not what was asked for")

func foreign(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrForeign, fmt.Sprintf(format, a...))
}

// Inspector looks at one stream.
type Inspector struct {
	rule  Rule
	order binary.ByteOrder
	state state
	// dataset is the one that the stream's package was made from.
	dataset string
	inside  bool // a package
	bases   map[uint64]bool
}

type state int

const (
	atStart   state = iota // of the stream
	afterList              // of a package: the END of its header follows
	between                // snapshots
	within                 // a snapshot
	over                   // the END of the package is behind
)

// New gives the inspector of a stream.
func New(rule Rule) *Inspector {
	return &Inspector{rule: rule, bases: map[uint64]bool{rule.FromGUID: true}}
}

// Record types, header types and places in a dmu_replay_record, from
// sys/zfs_ioctl.h. All have the same size.
const (
	recordSize = 312

	typeBegin         = 0
	typeObject        = 1
	typeFreeObjects   = 2
	typeWrite         = 3
	typeFree          = 4
	typeEnd           = 5
	typeWriteByRef    = 6
	typeSpill         = 7
	typeWriteEmbedded = 8
	typeObjectRange   = 9
	typeRedact        = 10

	headSubstream = 1
	headCompound  = 2

	magic = 0x2F5bacbac

	atMagic     = 8
	atVersion   = 16
	atFromGUID  = 48
	atToGUID    = 40
	atToName    = 56
	maxPayload  = 32 << 20  // of a record: SPA_MAXBLOCKSIZE is half of it
	maxListSize = 256 << 20 // of the list of a package, which names all snapshots
)

// Next looks at the bytes of the stream that follow what it has let pass. pass is
// how many may pass now, be they in b or still to come; 0 where it takes at
// least need bytes to tell.
func (i *Inspector) Next(b []byte) (pass int64, need int, err error) {
	if len(b) < recordSize {
		return 0, recordSize, nil
	}
	if i.state == over {
		return 0, 0, foreign("something follows its end")
	}
	if i.state == atStart {
		switch {
		case binary.LittleEndian.Uint64(b[atMagic:]) == magic:
			i.order = binary.LittleEndian
		case binary.BigEndian.Uint64(b[atMagic:]) == magic:
			i.order = binary.BigEndian
		default:
			return 0, 0, foreign("it does not begin as one of zfs")
		}
	}
	typ := i.order.Uint32(b)
	if typ == typeBegin {
		return i.begin(b)
	}
	switch {
	case i.state == afterList && typ == typeEnd:
		i.state = between
		return recordSize, 0, nil
	case i.state == between && i.inside && typ == typeEnd:
		i.state = over
		return recordSize, 0, nil
	case i.state != within:
		return 0, 0, foreign("a record of type %d is out of place", typ)
	}
	size, err := i.payload(typ, b)
	if err != nil {
		return 0, 0, err
	}
	if typ == typeEnd {
		i.state = between
		if !i.inside {
			i.state = over
		}
	}
	return recordSize + size, 0, nil
}

// payload is how many bytes follow the record's header.
func (i *Inspector) payload(typ uint32, b []byte) (int64, error) {
	round := func(n uint32) uint64 { return (uint64(n) + 7) &^ 7 }
	var n uint64
	switch typ {
	case typeEnd, typeFreeObjects, typeFree, typeWriteByRef, typeObjectRange, typeRedact:
	case typeObject:
		if n = uint64(i.order.Uint32(b[36:])); n == 0 { // raw
			n = round(i.order.Uint32(b[28:]))
		}
	case typeWrite:
		if n = i.order.Uint64(b[32:]); b[50] != 0 { // compressed
			n = i.order.Uint64(b[96:])
		}
	case typeSpill:
		if n = i.order.Uint64(b[40:]); n == 0 {
			n = i.order.Uint64(b[16:])
		}
	case typeWriteEmbedded:
		n = round(i.order.Uint32(b[52:]))
	default:
		return 0, foreign("it has a record of the unknown type %d", typ)
	}
	if n > maxPayload {
		return 0, foreign("a record of type %d has %d bytes", typ, n)
	}
	return int64(n), nil
}

// begin looks at a BEGIN record, that of a package or of a snapshot.
func (i *Inspector) begin(b []byte) (pass int64, need int, err error) {
	if i.state != atStart && i.state != between {
		return 0, 0, foreign("a snapshot begins within another")
	}
	if i.order.Uint64(b[atMagic:]) != magic {
		return 0, 0, foreign("the byte order changes")
	}
	field := b[atToName:recordSize]
	end := bytes.IndexByte(field, 0)
	if end < 0 {
		return 0, 0, foreign("a name does not end")
	}
	name := string(field[:end])
	dataset, snapshot, ok := strings.Cut(name, "@")
	if !ok || dataset == "" || snapshot == "" || strings.ContainsAny(snapshot, "@/") {
		return 0, 0, foreign("%q is not the name of a snapshot", name)
	}
	size := int(min(i.order.Uint32(b[4:]), math.MaxInt32))
	switch head := i.order.Uint64(b[atVersion:]) & 3; {
	case head == headCompound && i.state == atStart:
		if size > maxListSize {
			return 0, 0, foreign("its list of datasets has %d bytes", size)
		}
		if len(b) < recordSize+size {
			return 0, recordSize + size, nil
		}
		if size > 0 || i.rule.Several {
			if err := oneDataset(b[recordSize : recordSize+size]); err != nil {
				return 0, 0, err
			}
		}
		i.state, i.inside, i.dataset = afterList, true, dataset
		return recordSize + int64(size), 0, nil
	case head == headSubstream:
		if size > maxPayload {
			return 0, 0, foreign("the beginning of a snapshot has %d bytes", size)
		}
		if i.inside && dataset != i.dataset {
			return 0, 0, foreign("it is a package, which brings '%s' with '%s'", dataset, i.dataset)
		}
		if from := i.order.Uint64(b[atFromGUID:]); !i.bases[from] && !i.rule.AnyBase {
			return 0, 0, foreign("it starts from a snapshot with the guid %d", from)
		}
		i.bases[i.order.Uint64(b[atToGUID:])] = true
		delete(i.bases, 0) // a second full stream
		if !i.rule.Several {
			return Rest, 0, nil
		}
		i.state = within
		return recordSize + int64(size), 0, nil
	default:
		return 0, 0, foreign("a record begins what is neither a snapshot nor the package of it")
	}
}
