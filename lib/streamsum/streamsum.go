// Package streamsum computes a digest of what a stream of zfs send says, the same for a
// snapshot and for its copy on another pool. zab-digest(8) specifies the digest.
//
// The streams of a snapshot and of its copy differ in the names and properties they carry,
// in the keys for deduplication, and in how blocks and holes are divided among records. The
// digest leaves out the former and brings the latter to one form.
//
// Goals: streams from which zfs receive would make different things have different digests,
// whatever a hostile sender does; the memory for any stream is a few MiB.
//
// Non-goals: it reads no package, no rest of a stream, no compressed block, because two
// pools may compress the same data differently, and no redacted snapshot, because its copy
// does not say what was left out. Increments may differ although the contents do not: ZFS
// remembers differently on the two sides when a hole was made.
package streamsum

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"sync"

	"zab/lib/dataset"
	"zab/lib/hashfunc"
	"zab/lib/sendstream"
)

// Version is the version of the form that is digested.
const Version = 1

const (
	// pieceSize is the size in bytes of the pieces of data: the largest block of a stream
	// sent without -L.
	pieceSize = 128 << 10
	// sectorSize divides the size of every block, SPA_MINBLOCKSIZE.
	sectorSize = 512
	// maxBonus is more than the largest bonus buffer, of a dnode with 32 slots.
	maxBonus = 16 << 10
)

// Result is what a stream says.
type Result struct {
	sendstream.Header
	// Objects is the number of objects that the stream brings, Last the highest of their
	// numbers.
	Objects int64
	Last    uint64
	// Bytes is the number of bytes of data that were digested, without holes.
	Bytes int64
	// Stream is the length of the stream in bytes.
	Stream int64
	Hash   hashfunc.Func
	Digest hashfunc.Sum
}

// Object is what a stream says of one object.
type Object struct {
	// Number is the number of the object; in a filesystem that of the inode.
	Number uint64
	// Type is its dmu_object_type.
	Type uint32
	// Bytes is the number of bytes of data that were digested, without holes.
	Bytes  int64
	Digest hashfunc.Sum
}

// Options say how to read a stream.
type Options struct {
	// Hash computes all digests.
	Hash hashfunc.Func
	// Base is the highest number of an object in the base of an increment, or
	// math.MaxUint64 if it is not known. What an increment says of free objects after it is
	// left out: files that were created and removed since the base leave it on the source
	// alone.
	Base uint64
	// Each, if not nil, is called for each object in the order of their numbers. Its error
	// ends the reading.
	Each func(Object) error
}

// Read reads a stream to its end and returns what it says. Errors of the stream are
// *sendstream.ReadError.
func Read(in io.Reader, o Options) (Result, error) {
	r, err := sendstream.NewReader(in)
	if err != nil {
		return Result{}, err
	}
	d := &digester{r: r, o: o, all: o.Hash.New(), queue: newQueue(o.Hash)}
	err = d.read()
	if e := d.queue.close(); e != nil {
		return Result{}, e
	}
	if err != nil {
		return Result{}, err
	}
	d.res.Header, d.res.Stream, d.res.Hash = r.Header, r.Offset(), o.Hash
	d.all.Sum(d.res.Digest[:0])
	return d.res, nil
}

// digester holds the state of one stream. The records of a stream are in the order of the
// objects' numbers, and those of an object in the order of offsets. Nothing else is
// accepted, because zfs receive would let a later record replace an earlier one. Hashes are
// written by the queue alone.
type digester struct {
	r     *sendstream.Reader
	o     Options
	queue *queue
	res   Result
	all   hash.Hash
	spare sync.Pool // of hashes of objects: those of BLAKE3 take 10 KiB

	now  *object // the one that records are about, nil between objects
	next uint64  // objects with lower numbers were dealt with
	free extent  // pending: objects that are no more
	// block is the range of the last block of objects in a raw stream; its objects follow.
	block extent
}

// object is an object whose records are being read.
type object struct {
	Object
	hash  hash.Hash
	end   uint64 // nothing is at or after this offset
	ends  bool   // end was said
	at    uint64 // what was said of data so far lies before this offset
	hole  extent // pending
	spill bool
}

// extent is a range of offsets or of objects' numbers.
type extent struct{ from, to uint64 }

// increment reports whether the stream is one. In a full stream, nothing is there but what
// it brings, so holes and free objects are not digested.
func (d *digester) increment() bool { return d.r.Header.FromGUID != 0 }

func (d *digester) read() error {
	h := d.r.Header
	if _, err := dataset.ParseSnapshot(h.Name); err != nil {
		return d.r.Fail(err, "")
	}
	if h.Redacted {
		return d.redacted()
	}
	if h.Large && !h.Raw && d.increment() {
		return d.r.Fail(errors.New("an increment with large blocks changes a copy without them otherwise than its source"), "send without -L")
	}
	d.entry(d.all, entry(nil, 'Z', Version, flag(h.Volume), flag(h.Raw), h.GUID, h.FromGUID, h.Creation))
	for {
		rec, err := d.r.Next()
		if err == nil {
			err = d.record(rec)
		}
		if errors.Is(err, io.EOF) {
			d.close()
			return nil
		}
		if err != nil {
			return err
		}
		if d.queue.failed() {
			return nil // close of the queue returns the error
		}
	}
}

func (d *digester) record(rec *sendstream.Record) error {
	switch rec.Type() {
	case sendstream.Object:
		return d.object(rec)
	case sendstream.FreeObjects:
		return d.freeObjects(rec)
	case sendstream.ObjectRange:
		return d.objectRange(rec)
	case sendstream.Write:
		return d.write(rec)
	case sendstream.Free:
		return d.hole(rec)
	case sendstream.Spill:
		return d.spill(rec)
	case sendstream.Redact:
		return d.redacted()
	case sendstream.WriteEmbedded:
		return d.r.Fail(errors.New("a block is embedded, in a form that depends on the pool"), "send without -e, and -w only what is encrypted")
	case sendstream.WriteByRef:
		return d.r.Fail(errors.New("the stream is deduplicated"), "send without -D, or pipe the stream through 'zstream redup'")
	}
	return nil // END; the reader knows no others
}

// object digests an OBJECT record, and its bonus buffer.
func (d *digester) object(rec *sendstream.Record) error {
	d.close()
	number, size, slots := rec.U64(8), uint64(rec.U32(24)), max(uint64(rec.U8(34)), 1)
	switch {
	case number < d.next:
		return d.fail("object %d is out of order", number)
	case number+slots < number:
		return d.fail("object %d has too high a number", number)
	case size == 0:
		return d.fail("object %d has blocks of no size", number)
	case d.r.Header.Raw && (number < d.block.from || number >= d.block.to):
		return d.fail("object %d is not in the block of objects before it", number)
	}
	o := &object{Object: Object{Number: number, Type: rec.U32(16)}, hash: d.newHash(), end: math.MaxUint64}
	d.now, d.next = o, number+slots
	d.res.Objects, d.res.Last = d.res.Objects+1, number

	spill := uint64(rec.U8(35) >> 2 & 1)
	b := entry(nil, 'O', uint64(o.Type), uint64(rec.U32(20)), min(size, pieceSize), uint64(rec.U32(28)), uint64(rec.U8(32)), uint64(rec.U8(33)), slots, spill)
	bonus := int64(rec.U32(28))
	if d.r.Header.Raw {
		b = entry(b, 'C', size, uint64(rec.U8(35)>>1&1), uint64(rec.U8(48)), uint64(rec.U8(49)), uint64(rec.U8(50)), rec.U64(56), uint64(rec.U32(36)))
		bonus = d.r.Left()
	}
	if d.r.Left() > maxBonus || d.r.Left()-bonus < 0 || d.r.Left()-bonus > 7 {
		return d.fail("object %d has a bonus buffer of %d bytes in %d", number, bonus, d.r.Left())
	}
	n := len(b)
	b = append(b, make([]byte, d.r.Left())...)
	if err := d.r.ReadFull(b[n:]); err != nil {
		return err
	}
	// What pads the buffer to a multiple of eight bytes says nothing.
	d.entry(o.hash, b[:n+int(bonus)])
	return nil
}

// newHash returns the hash for an object.
func (d *digester) newHash() hash.Hash {
	h, ok := d.spare.Get().(hash.Hash)
	if !ok {
		return d.o.Hash.New()
	}
	h.Reset()
	return h
}

// freeObjects digests that objects are no more; adjacent ranges are joined.
func (d *digester) freeObjects(rec *sendstream.Record) error {
	d.closeObject()
	e := extent{rec.U64(8), rec.U64(8) + rec.U64(16)}
	switch {
	case e.from < d.next:
		return d.fail("the free objects from number %d on are out of order", e.from)
	case e.to <= e.from:
		return d.fail("it frees %d objects from number %d on", rec.U64(16), e.from)
	}
	d.next = e.to
	if !d.increment() || e.from > d.o.Base {
		return nil
	}
	if e.to > d.o.Base {
		e.to = d.o.Base + 1
	}
	if e.from != d.free.to {
		d.settleFree()
		d.free.from = e.from
	}
	d.free.to = e.to
	return nil
}

// objectRange digests what encrypts a block of objects.
func (d *digester) objectRange(rec *sendstream.Record) error {
	d.close()
	e := extent{rec.U64(8), rec.U64(8) + rec.U64(16)}
	switch {
	case !d.r.Header.Raw:
		return d.fail("a block of objects is encrypted, the stream is not")
	case e.from < d.next || e.from < d.block.to || e.to <= e.from:
		return d.fail("the block of objects from number %d on is out of order", e.from)
	}
	d.block = e
	d.entry(d.all, entry(rec[32:69], 'R', e.from, e.to))
	return nil
}

// write digests a WRITE record, in pieces that end at multiples of pieceSize.
func (d *digester) write(rec *sendstream.Record) error {
	from, size, compressed := rec.U64(24), rec.U64(32), rec.U8(50) != 0
	o, err := d.data(rec.U64(8), from, size)
	if err != nil {
		return err
	}
	if d.r.Header.Raw {
		d.settle(o)
		d.entry(o.hash, entry(rec[104:140], 'W', from, size, uint64(rec.U8(49)>>1&1), uint64(rec.U8(50)), uint64(d.r.Left())))
		return d.payload(o)
	}
	if compressed {
		return d.compressed()
	}
	for to := from + size; from < to; {
		t := d.queue.next()
		p := t.buf[:min(to-from, pieceSize-from%pieceSize)]
		if err := d.r.ReadFull(p); err != nil {
			d.queue.back(t)
			return err
		}
		next := from + uint64(len(p))
		data := trim(p)
		if d.increment() && len(data) > 0 {
			data = p // its zeros replace what is in the base
		}
		if len(data) == 0 {
			d.queue.back(t)
			d.grow(o, extent{from, next})
		} else {
			d.settle(o)
			o.Bytes += int64(len(data))
			d.res.Bytes += int64(len(data))
			d.queue.digest(t, data, o.hash, entry(nil, 'D', from, uint64(len(data))))
		}
		from = next
	}
	return nil
}

// hole digests a FREE record. The first of an object frees all after its end.
func (d *digester) hole(rec *sendstream.Record) error {
	number, from, n := rec.U64(8), rec.U64(16), rec.U64(24)
	if o := d.now; n == math.MaxUint64 && o != nil && o.Number == number && !o.ends && o.at == 0 {
		o.end, o.ends = from, true
		if d.increment() {
			d.entry(o.hash, entry(nil, 'E', from))
		}
		return nil
	}
	if n > math.MaxUint64-from {
		n = math.MaxUint64 - from
	}
	o, err := d.data(number, from, n)
	if err != nil {
		return err
	}
	// Where a whole indirect block is a hole, it reaches beyond the end.
	if to := min(from+n, o.end); from < to {
		d.grow(o, extent{from, to})
	}
	return nil
}

// spill digests a SPILL record.
func (d *digester) spill(rec *sendstream.Record) error {
	const unmodified = 1 << 2
	o := d.now
	switch {
	case o == nil || o.Number != rec.U64(8):
		return d.fail("the spill block of object %d does not follow it", rec.U64(8))
	case rec.U8(32)&unmodified != 0 && d.increment():
		return nil // sent for receivers older than 0.8
	case rec.U8(32)&unmodified != 0:
		return d.fail("the spill block of object %d is called unmodified in a full stream", o.Number)
	case o.spill:
		return d.fail("object %d has two spill blocks", o.Number)
	}
	o.spill = true
	b := entry(nil, 'S', rec.U64(16))
	if d.r.Header.Raw {
		b = entry(append(b, rec[48:84]...), 'K', uint64(rec.U8(32)>>1&1), uint64(rec.U8(33)), uint64(d.r.Left()))
	} else if rec.U8(33) != 0 || rec.U64(40) != 0 {
		return d.compressed()
	}
	d.settle(o)
	d.entry(o.hash, b)
	return d.payload(o)
}

func (d *digester) compressed() error {
	return d.r.Fail(errors.New("a block is compressed, in a form that depends on the pool"), "send without -c, and -w only what is encrypted")
}

// ErrRedacted is wrapped by the error for the stream of a redacted snapshot.
var ErrRedacted = errors.New("the snapshot is redacted, and what was left out of it looks like holes in the stream of its copy")

func (d *digester) redacted() error {
	return d.r.Fail(ErrRedacted, "send it from where it is whole, and without --redact")
}

// payload digests the payload of the current record as it is.
func (d *digester) payload(o *object) error {
	o.Bytes += d.r.Left()
	d.res.Bytes += d.r.Left()
	for d.r.Left() > 0 {
		t := d.queue.next()
		p := t.buf[:min(d.r.Left(), pieceSize)]
		if err := d.r.ReadFull(p); err != nil {
			d.queue.back(t)
			return err
		}
		d.queue.digest(t, p, o.hash, entry(nil, 'P', uint64(len(p))))
	}
	return nil
}

// data returns the object that n bytes from an offset on are said about.
func (d *digester) data(number, from, n uint64) (*object, error) {
	o := d.now
	switch {
	case o == nil || o.Number != number:
		return nil, d.fail("data of object %d does not follow the object", number)
	case from < o.at:
		return nil, d.fail("the data of object %d at offset %d is out of order", number, from)
	case n == 0 || from+n < from || from%sectorSize != 0 || (n%sectorSize != 0 && from+n != math.MaxUint64):
		return nil, d.fail("object %d has %d bytes of data at offset %d", number, n, from)
	}
	o.at = from + n
	return o, nil
}

// grow joins a hole to the pending one, if both meet.
func (d *digester) grow(o *object, e extent) {
	if !d.increment() {
		return
	}
	if o.hole.to != e.from || o.hole == (extent{}) {
		d.settle(o)
		o.hole.from = e.from
	}
	o.hole.to = e.to
}

// settle digests the pending hole of an object.
func (d *digester) settle(o *object) {
	if o.hole != (extent{}) {
		d.entry(o.hash, entry(nil, 'H', o.hole.from, o.hole.to))
		o.hole = extent{}
	}
}

func (d *digester) settleFree() {
	if d.free != (extent{}) {
		d.entry(d.all, entry(nil, 'G', d.free.from, d.free.to))
		d.free = extent{}
	}
}

// close digests what is pending.
func (d *digester) close() {
	d.closeObject()
	d.settleFree()
}

// closeObject ends the current object.
func (d *digester) closeObject() {
	o := d.now
	if o == nil {
		return
	}
	d.now = nil
	d.settle(o)
	d.queue.do(func() error {
		o.hash.Sum(o.Digest[:0])
		d.spare.Put(o.hash)
		d.all.Write(entry(o.Digest[:], 'N', o.Number))
		if d.o.Each == nil {
			return nil
		}
		return d.o.Each(o.Object)
	})
}

func (d *digester) entry(h hash.Hash, b []byte) {
	d.queue.do(func() error { h.Write(b); return nil })
}

func (d *digester) fail(format string, a ...any) error {
	return d.r.Fail(fmt.Errorf(format, a...), "")
}

// entry encodes what is said: its kind, numbers as its kind has them, and further bytes in
// a number that follows from those.
func entry(more []byte, kind byte, numbers ...uint64) []byte {
	b := make([]byte, 0, 1+8*len(numbers)+len(more))
	b = append(b, kind)
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return append(b, more...)
}

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// trim returns p without the zeros at its end.
func trim(p []byte) []byte {
	for len(p) >= 8 && binary.LittleEndian.Uint64(p[len(p)-8:]) == 0 {
		p = p[:len(p)-8]
	}
	for len(p) > 0 && p[len(p)-1] == 0 {
		p = p[:len(p)-1]
	}
	return p
}
