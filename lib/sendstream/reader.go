package sendstream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The types of a Record, from sys/zfs_ioctl.h.
const (
	Begin         = typeBegin
	Object        = typeObject
	FreeObjects   = typeFreeObjects
	Write         = typeWrite
	Free          = typeFree
	End           = typeEnd
	WriteByRef    = typeWriteByRef
	Spill         = typeSpill
	WriteEmbedded = typeWriteEmbedded
	ObjectRange   = typeObjectRange
	Redact        = typeRedact
)

// Features of a stream, from sys/zfs_ioctl.h.
const (
	featureSpill         = 1 << 2
	featureEmbedded      = 1 << 16
	featureLZ4           = 1 << 17
	featureLargeBlocks   = 1 << 19
	featureResuming      = 1 << 20
	featureRedacted      = 1 << 21
	featureCompressed    = 1 << 22
	featureLargeDnode    = 1 << 23
	featureRaw           = 1 << 24
	featureZstd          = 1 << 25
	featureHolds         = 1 << 26
	featureSwitchToLarge = 1 << 27
	featureLongName      = 1 << 28
	featureLargeMicroZAP = 1 << 29

	knownFeatures = featureSpill | featureEmbedded | featureLZ4 | featureLargeBlocks | featureRedacted |
		featureCompressed | featureLargeDnode | featureRaw | featureZstd | featureHolds |
		featureSwitchToLarge | featureLongName | featureLargeMicroZAP
)

// Header is the beginning of a stream of one snapshot.
type Header struct {
	// Name is the name of the snapshot on the side that sent it, DATASET@SNAPSHOT.
	Name string
	// GUID is that of the snapshot, FromGUID that of the base, 0 in a full stream.
	GUID, FromGUID uint64
	// Volume: the dataset is a volume, otherwise a filesystem.
	Volume bool
	// Raw: blocks are as they are on the disk, encrypted. Large: there are, or were in the
	// dataset, blocks of more than 128 KiB, and the stream was sent with -L.
	Raw, Large bool
	// Redacted: blocks were left out of the snapshot when it was sent to where it is, or of
	// this stream of it. Only the latter has records of them.
	Redacted bool
	// Creation is the time of the snapshot, in seconds since 1970.
	Creation uint64
}

// Record is the header of a record, without its payload. Offsets of its fields are those
// of dmu_replay_record.
type Record [recordSize]byte

// Type returns the type of the record.
func (r *Record) Type() uint32 { return r.U32(0) }

// U8 returns the byte at an offset.
func (r *Record) U8(at int) uint8 { return r[at] }

// U32 returns the number of 32 bits at an offset.
func (r *Record) U32(at int) uint32 { return binary.LittleEndian.Uint32(r[at:]) }

// U64 returns the number of 64 bits at an offset.
func (r *Record) U64(at int) uint64 { return binary.LittleEndian.Uint64(r[at:]) }

// flagSpill is the flag of BEGIN that OBJECT records say whether there is a spill block,
// DRR_FLAG_SPILL_BLOCK.
const flagSpill = 1 << 3

// maxBeginList is more bytes than the list of 16384 snapshots takes, with which one can be
// redacted.
const maxBeginList = 1 << 20

const (
	atChecksum    = recordSize - 32 // of every record but BEGIN: of all bytes before
	atEndChecksum = 8               // of END: of all records before
)

// atGUID returns the offset of the snapshot's guid in records of a type.
var atGUID = [...]int{
	Begin: atToGUID, Object: 40, FreeObjects: 24, Write: 40, Free: 32, End: 40, WriteByRef: 32,
	Spill: 24, WriteEmbedded: 32, ObjectRange: 24, Redact: 32,
}

// A ReadError is an error of a stream, with the place.
type ReadError struct {
	// At is the offset in bytes of the record that could not be read.
	At int64
	// Err says what is wrong.
	Err error
	// Hint says what to do about it; it may be empty.
	Hint string
}

func (e *ReadError) Error() string { return fmt.Sprintf("byte %d: %s", e.At, e.Err) }
func (e *ReadError) Unwrap() error { return e.Err }

// Reader reads the records of a stream of one snapshot, and checks all that can be checked
// without knowing what the records mean: types, sizes, guids and checksums.
//
// It keeps no payload; ReadFull hands it out in pieces. Whether zfs would receive the records
// is not its matter.
type Reader struct {
	Header Header

	in     io.Reader
	sum    fletcher4
	rec    Record
	at     int64 // of the current record
	offset int64 // of the next byte
	left   int64 // of the current payload
	err    error
}

// NewReader reads the beginning of a stream.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{in: in}
	if err := r.begin(); err != nil {
		return nil, err
	}
	return r, nil
}

// Offset is the number of bytes read.
func (r *Reader) Offset() int64 { return r.offset }

// Fail returns err as an error of the current record.
func (r *Reader) Fail(err error, hint string) error {
	if r.err == nil {
		r.err = &ReadError{At: r.at, Err: err, Hint: hint}
	}
	return r.err
}

func (r *Reader) failf(format string, a ...any) error { return r.Fail(fmt.Errorf(format, a...), "") }

// full fills p from the stream.
func (r *Reader) full(p []byte) error {
	n, err := io.ReadFull(r.in, p)
	r.offset += int64(n)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return r.Fail(fmt.Errorf("the stream ends at byte %d, within a snapshot", r.offset), "its sender failed: look at what zfs send said")
	}
	return r.Fail(fmt.Errorf("the stream cannot be read: %w", err), "")
}

func (r *Reader) begin() error {
	rec := &r.rec
	n, err := io.ReadFull(r.in, rec[:16])
	r.offset += int64(n)
	switch {
	case n == 0 && errors.Is(err, io.EOF):
		return r.Fail(errors.New("the input is empty"), "feed it a stream: zfs send DATASET@SNAPSHOT | zab-digest")
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return r.Fail(fmt.Errorf("the stream cannot be read: %w", err), "")
	case binary.BigEndian.Uint64(rec[atMagic:]) == magic:
		return r.Fail(errors.New("the stream was sent by a machine of another byte order"), "")
	case err != nil || rec.U64(atMagic) != magic || rec.Type() != Begin:
		return r.Fail(errors.New("the input does not begin as a stream of zfs send"), "feed it a stream as zfs send writes it, neither compressed nor encrypted by another program")
	}
	if err := r.full(rec[16:]); err != nil {
		return err
	}
	info := rec.U64(atVersion)
	if info&3 != headSubstream {
		return r.Fail(errors.New("the stream is a package"), "send one snapshot, without -R, -I, -p and -b")
	}
	features := info >> 2
	if features&featureResuming != 0 {
		return r.Fail(errors.New("the stream is the rest of another"), "send the whole snapshot, without -t")
	}
	if unknown := features &^ knownFeatures; unknown != 0 {
		return r.failf("the stream has features that are not known, 0x%x", unknown)
	}
	if rec.U32(36)&flagSpill == 0 {
		return r.Fail(errors.New("the stream is of a ZFS before 0.8, which does not say which objects have spill blocks"), "")
	}
	name := rec[atToName:]
	end := bytes.IndexByte(name, 0)
	if end < 0 {
		return r.failf("the name of its snapshot does not end")
	}
	const filesystem, volume = 2, 3 // DMU_OST_ZFS, DMU_OST_ZVOL
	kind := rec.U32(32)
	if kind != filesystem && kind != volume {
		return r.failf("the stream is of a dataset of type %d, neither filesystem nor volume", kind)
	}
	r.Header = Header{Name: string(name[:end]), GUID: rec.U64(atToGUID), FromGUID: rec.U64(atFromGUID), Volume: kind == volume,
		Raw: features&featureRaw != 0, Large: features&featureLargeBlocks != 0, Creation: rec.U64(24)}
	r.sum.add(rec[:])
	if r.left = int64(rec.U32(4)); r.left > maxBeginList {
		return r.failf("the beginning of a snapshot has %d bytes", r.left)
	}
	list := make([]byte, r.left)
	if err := r.ReadFull(list); err != nil {
		return err
	}
	r.Header.Redacted = features&featureRedacted != 0 || bytes.Contains(list, redactSnaps)
	return nil
}

// redactSnaps is the name of the pair, in the nvlist after BEGIN, that every stream of a
// redacted snapshot has. What was received redacted is otherwise sent like any other
// dataset, with holes in the place of what it lacks, and without the feature. ZFS packs the
// list in its native form (2.0 to 2.4) or in XDR (later); both have the name as it is, and
// what else is in the list are numbers and keys.
var redactSnaps = []byte("redact_snaps")

// Next returns the next record, which is valid until the following call. What was not
// read of the payload before is skipped. The last record is END; Next then returns io.EOF
// if the stream ends with it.
func (r *Reader) Next() (*Record, error) {
	if err := r.skip(); err != nil {
		return nil, err
	}
	rec := &r.rec
	if r.at > 0 && rec.Type() == End {
		return nil, r.end()
	}
	r.at = r.offset
	if err := r.full(rec[:]); err != nil {
		return nil, err
	}
	typ := rec.Type()
	if typ == Begin || typ > Redact {
		return nil, r.failf("a record of type %d is out of place or not known", typ)
	}
	before := r.sum
	r.sum.add(rec[:atChecksum])
	if !r.sum.equal(rec[atChecksum:]) {
		return nil, r.failf("the stream's checksum does not match: bytes before this place were changed on the way")
	}
	r.sum.add(rec[atChecksum:])
	if typ == End && !before.equal(rec[atEndChecksum:]) {
		return nil, r.failf("the checksum of the whole stream does not match")
	}
	if guid := rec.U64(atGUID[typ]); guid != r.Header.GUID {
		return nil, r.failf("a record belongs to the snapshot with the guid %d, the stream to %d", guid, r.Header.GUID)
	}
	n, err := payload(binary.LittleEndian, typ, rec[:])
	if err != nil {
		return nil, r.Fail(err, "")
	}
	if n%4 != 0 {
		return nil, r.failf("a record of type %d has %d bytes, no multiple of 4", typ, n)
	}
	r.left = n
	return rec, nil
}

// end checks that nothing follows the last record.
func (r *Reader) end() error {
	r.at = r.offset
	n, err := io.ReadFull(r.in, make([]byte, 1))
	r.offset += int64(n)
	switch {
	case n > 0:
		return r.failf("something follows the end of the stream")
	case !errors.Is(err, io.EOF):
		return r.Fail(fmt.Errorf("the stream cannot be read: %w", err), "")
	}
	r.err = io.EOF
	return io.EOF
}

// Left is the number of bytes of the payload that were not read yet.
func (r *Reader) Left() int64 { return r.left }

// ReadFull fills p, whose length is a multiple of 4 and at most Left, from the payload.
func (r *Reader) ReadFull(p []byte) error {
	if int64(len(p)) > r.left {
		return r.failf("a record has fewer bytes than it should")
	}
	if err := r.full(p); err != nil {
		return err
	}
	r.sum.add(p)
	r.left -= int64(len(p))
	return nil
}

func (r *Reader) skip() error {
	if r.err != nil {
		return r.err
	}
	if r.left == 0 {
		return nil
	}
	piece := make([]byte, min(r.left, 64<<10))
	for r.left > 0 {
		if err := r.ReadFull(piece[:min(r.left, int64(len(piece)))]); err != nil {
			return err
		}
	}
	return nil
}

// fletcher4 is the running checksum of a stream.
type fletcher4 [4]uint64

// add adds bytes, in number a multiple of 4.
func (f *fletcher4) add(p []byte) {
	a, b, c, d := f[0], f[1], f[2], f[3]
	for ; len(p) >= 8; p = p[8:] {
		w := binary.LittleEndian.Uint64(p)
		a += w & 0xffffffff
		b += a
		c += b
		d += c
		a += w >> 32
		b += a
		c += b
		d += c
	}
	if len(p) >= 4 {
		a += uint64(binary.LittleEndian.Uint32(p))
		b += a
		c += b
		d += c
	}
	f[0], f[1], f[2], f[3] = a, b, c, d
}

func (f *fletcher4) equal(p []byte) bool {
	for i, v := range f {
		if binary.LittleEndian.Uint64(p[8*i:]) != v {
			return false
		}
	}
	return true
}
