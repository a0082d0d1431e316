// Package sendstream reads streams of zfs send. Inspector, below, inspects a stream as far
// as is necessary to know which dataset it would change; Reader reads all records of one.
//
// zfs receive (2.1 to 2.4) derives the names of the received datasets from its operand
// and from names in the stream: a package stream may bring other datasets with properties
// of their own, rename existing datasets, and make clones of another dataset's snapshots.
// The sender decides that, not the requester.
//
// Goals of the Inspector: only snapshots of the one requested dataset pass, from the requested base; a
// stream that could be read in two ways is refused; a stream of this machine is stopped
// before it brings a property that it may not bring.
//
// Non-goals: the Inspector does not check whether the data is good or complete. zfs does,
// and so does the guid of the received snapshot.
package sendstream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
)

// Rule says which streams may pass.
type Rule struct {
	// FromGUID is the guid of the stream's base, a snapshot or bookmark; 0 for a full
	// stream.
	FromGUID uint64
	// AnyBase allows any base, for use where its guid is not known.
	AnyBase bool
	// Several allows more than one snapshot; then each record is inspected. Without it
	// the rest of the stream passes uninspected after the first snapshot's BEGIN record,
	// and the receiver must be given the snapshot's name, so that zfs receives no other.
	Several bool
	// Trusted says that this machine's zfs sends the stream: it is held to Without alone,
	// and passes if it does not begin as one of zfs.
	Trusted bool
	// Without are the names of properties that the first package header of the stream may
	// not bring; see Brings. A stream that is not trusted can bring them in another.
	Without []string
}

// Rest means the whole remaining stream.
const Rest = math.MaxInt64

// ErrForeign is wrapped by the errors for streams that reach beyond the requested
// dataset, or that are not understood.
var ErrForeign = errors.New("the stream is not what was asked for")

// Brings is the error for a stream that brings properties of Rule.Without.
type Brings struct{ Names []string }

func (e *Brings) Error() string { return "the stream brings " + strings.Join(e.Names, " and ") }

func foreign(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrForeign, fmt.Sprintf(format, a...))
}

// Inspector inspects one stream.
type Inspector struct {
	rule  Rule
	order binary.ByteOrder
	state state
	// dataset is the dataset that the package was made from.
	dataset string
	inside  bool // within a package
	bases   map[uint64]bool
}

type state int

const (
	atStart   state = iota // at the start of the stream
	afterList              // after the list of a package: the END of its header follows
	between                // between two snapshots
	within                 // within a snapshot
	over                   // after the last END
)

// New returns an inspector of a stream.
func New(rule Rule) *Inspector {
	return &Inspector{rule: rule, bases: map[uint64]bool{rule.FromGUID: true}}
}

// Record types, header types and offsets in a dmu_replay_record, from sys/zfs_ioctl.h.
// All records have the same size, without their payload.
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
	maxPayload  = 32 << 20  // of a record: twice SPA_MAXBLOCKSIZE
	maxListSize = 256 << 20 // of a package's list, which names all snapshots
)

// Next inspects b, the bytes of the stream after those that may already pass. pass is the
// number of further bytes that may pass, whether in b or still to come; it is 0 if at
// least need bytes are required to decide.
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
		case i.rule.Trusted:
			return Rest, 0, nil
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
	size, err := payload(i.order, typ, b)
	if err != nil {
		return 0, 0, foreign("%s", err)
	}
	if typ == typeEnd {
		i.state = between
		if !i.inside {
			i.state = over
		}
	}
	return recordSize + size, 0, nil
}

// payload returns the number of bytes that follow the record's header.
func payload(order binary.ByteOrder, typ uint32, b []byte) (int64, error) {
	round := func(n uint32) uint64 { return (uint64(n) + 7) &^ 7 }
	var n uint64
	switch typ {
	case typeEnd, typeFreeObjects, typeFree, typeWriteByRef, typeObjectRange, typeRedact:
	case typeObject:
		if n = uint64(order.Uint32(b[36:])); n == 0 { // raw
			n = round(order.Uint32(b[28:]))
		}
	case typeWrite:
		if n = order.Uint64(b[32:]); b[50] != 0 { // compressed
			n = order.Uint64(b[96:])
		}
	case typeSpill:
		if n = order.Uint64(b[40:]); n == 0 {
			n = order.Uint64(b[16:])
		}
	case typeWriteEmbedded:
		n = round(order.Uint32(b[52:]))
	default:
		return 0, fmt.Errorf("it has a record of the unknown type %d", typ)
	}
	if n > maxPayload {
		return 0, fmt.Errorf("a record of type %d has %d bytes", typ, n)
	}
	return int64(n), nil
}

// begin inspects the BEGIN record of a package or snapshot.
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
		list := b[recordSize : recordSize+size]
		if !i.rule.Trusted && (size > 0 || i.rule.Several) {
			if err := oneDataset(list); err != nil {
				return 0, 0, err
			}
		}
		if i.rule.Without != nil && size > 0 {
			if names := brings(list, i.rule.Without); names != nil {
				return 0, 0, &Brings{names}
			}
		}
		if i.rule.Trusted {
			return Rest, 0, nil
		}
		i.state, i.inside, i.dataset = afterList, true, dataset
		return recordSize + int64(size), 0, nil
	case head == headSubstream:
		if i.rule.Trusted {
			return Rest, 0, nil
		}
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
		delete(i.bases, 0) // refuses a second full stream
		if !i.rule.Several {
			return Rest, 0, nil
		}
		i.state = within
		return recordSize + int64(size), 0, nil
	default:
		return 0, 0, foreign("a record begins what is neither a snapshot nor the package of it")
	}
}
