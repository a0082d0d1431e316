// Package streamsum computes a digest of what a stream of zfs send says, the same for a
// snapshot and for its copy on another pool. zab-digest(8) specifies the digest.
//
// The streams of a snapshot and of its copy differ in the names and properties they carry,
// in the keys for deduplication, and in how blocks and holes are divided among records. The
// digest leaves out the former and brings the latter to one form.
//
// Goals: equal digests mean equal contents, whatever a hostile sender does; the memory for
// any stream is a few MiB.
//
// Non-goals: it reads no package, no rest of a stream, and no compressed block, because two
// pools may compress the same data differently.
package streamsum

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"math"
	"slices"

	"zab/lib/sendstream"
)

// Version is the version of the form that is digested.
const Version = 1

// pieceSize is the size in bytes of the pieces of data: the largest block of a stream sent
// without -L.
const pieceSize = 128 << 10

// perBlock is the number of objects in a block of them. A stream has all objects of a block
// before the data of any.
const perBlock = 32

// Sum is a digest.
type Sum [sha256.Size]byte

// String returns the digest in hexadecimal.
func (s Sum) String() string { return hex.EncodeToString(s[:]) }

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
	Digest Sum
}

// Object is what a stream says of one object.
type Object struct {
	// Number is the number of the object; in a filesystem that of the inode.
	Number uint64
	// Type is its dmu_object_type, 0 if the stream does not bring the object itself.
	Type uint32
	// Bytes is the number of bytes of data that were digested, without holes.
	Bytes  int64
	Digest Sum
}

// Options say how to read a stream.
type Options struct {
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
	d := &digester{r: r, o: o, objects: sha256.New(), space: sha256.New(), open: map[uint64]*object{}, queue: newQueue()}
	err = d.read()
	if e := d.queue.close(); e != nil {
		return Result{}, e
	}
	if err != nil {
		return Result{}, err
	}
	d.res.Header, d.res.Stream = r.Header, r.Offset()
	h := sha256.New()
	h.Write(entry(nil, 'Z', Version, flag(r.Header.Volume), flag(r.Header.Raw), flag(r.Header.Redacted), flag(d.increment())))
	h.Write(d.objects.Sum(nil))
	h.Write(d.space.Sum(nil))
	h.Sum(d.res.Digest[:0])
	return d.res, nil
}

// digester holds the state of one stream. Its open objects are those of one block: they are
// closed, in the order of their numbers, where the next block or the end begins. Hashes are
// written by the queue alone.
type digester struct {
	r     *sendstream.Reader
	o     Options
	queue *queue
	res   Result

	objects hash.Hash // of the closed objects
	space   hash.Hash // of what is said of ranges of objects
	block   uint64    // number of the block of objects
	open    map[uint64]*object
	last    uint64 // number of the object whose data came last
	free    extent // objects that are no more
}

// object is an object that records were about.
type object struct {
	Object
	hash    hash.Hash
	brought bool   // by an OBJECT record
	unit    uint64 // size in bytes of its blocks, or of the pieces that larger ones are in
	end     uint64 // nothing is at or after this offset
	at      uint64 // what was said of data so far lies before this offset
	hole    extent
	redact  extent
	spill   bool
}

// extent is a range of offsets or of objects' numbers.
type extent struct{ from, to uint64 }

// increment reports whether the stream is one. In a full stream, nothing is there but what
// it brings, so holes and free objects are not digested.
func (d *digester) increment() bool { return d.r.Header.FromGUID != 0 }

func (d *digester) read() error {
	for {
		rec, err := d.r.Next()
		if err == nil {
			err = d.record(rec)
		}
		if errors.Is(err, io.EOF) {
			d.nextBlock(math.MaxUint64)
			d.settleFree()
			return nil
		}
		if err != nil {
			return err
		}
		if d.queue.failed() {
			return nil // close returns the error
		}
	}
}

func (d *digester) record(rec *sendstream.Record) error {
	raw := d.r.Header.Raw
	switch rec.Type() {
	case sendstream.Object:
		return d.object(rec)
	case sendstream.FreeObjects:
		first, n := rec.U64(8), rec.U64(16)
		if n == 0 || first+n < first {
			return d.fail("it frees %d objects from number %d on", n, first)
		}
		return d.freeObjects(extent{first, first + n})
	case sendstream.ObjectRange:
		if !raw {
			return d.fail("a block of objects is encrypted, the stream is not")
		}
		d.entry(d.space, entry(rec[32:69], 'R', rec.U64(8), rec.U64(16)))
		return nil
	case sendstream.Write:
		return d.write(rec)
	case sendstream.Free:
		return d.hole(rec)
	case sendstream.Redact:
		o, err := d.data(rec.U64(8), rec.U64(16), rec.U64(24))
		if err != nil {
			return err
		}
		d.grow(o, &o.redact, 'X', extent{rec.U64(16), rec.U64(16) + rec.U64(24)})
		return nil
	case sendstream.Spill:
		return d.spill(rec)
	case sendstream.WriteEmbedded:
		return d.r.Fail(errors.New("a block is embedded, in a form that depends on the pool"), "send without -e")
	case sendstream.WriteByRef:
		return d.r.Fail(errors.New("the stream is deduplicated"), "send without -D, or pipe the stream through 'zstream redup'")
	}
	return nil // END; the reader knows no others
}

// object digests an OBJECT record, and its bonus buffer.
func (d *digester) object(rec *sendstream.Record) error {
	o, err := d.about(rec.U64(8))
	if err != nil {
		return err
	}
	if o.brought {
		return d.fail("object %d comes twice", o.Number)
	}
	size := uint64(rec.U32(24))
	if size == 0 {
		return d.fail("object %d has blocks of no size", o.Number)
	}
	o.brought, o.Type, o.unit = true, rec.U32(16), min(size, pieceSize)
	d.res.Objects, d.res.Last = d.res.Objects+1, max(d.res.Last, o.Number)
	spill := uint64(rec.U8(35) >> 2 & 1)
	b := entry(nil, 'O', uint64(o.Type), uint64(rec.U32(20)), o.unit, uint64(rec.U32(28)), uint64(rec.U8(32)), uint64(rec.U8(33)), uint64(rec.U8(34)), spill)
	bonus := int64(rec.U32(28))
	if d.r.Header.Raw {
		b = entry(b, 'C', size, uint64(rec.U8(35)>>1&1), uint64(rec.U8(48)), uint64(rec.U8(49)), uint64(rec.U8(50)), rec.U64(56), uint64(rec.U32(36)))
		bonus = d.r.Left()
	}
	if bonus > pieceSize || bonus > d.r.Left() {
		return d.fail("object %d has a bonus buffer of %d bytes", o.Number, bonus)
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

// write digests a WRITE record, in pieces that end at multiples of pieceSize.
func (d *digester) write(rec *sendstream.Record) error {
	from, size, compressed := rec.U64(24), rec.U64(32), rec.U8(50) != 0
	o, err := d.data(rec.U64(8), from, size)
	if err != nil {
		return err
	}
	if d.r.Header.Raw {
		d.entry(o.hash, entry(rec[104:140], 'W', from, size, uint64(rec.U8(49)>>1&1), uint64(rec.U8(50)), uint64(d.r.Left())))
		return d.payload(o, o.hash)
	}
	if compressed {
		return d.r.Fail(errors.New("a block is compressed, in a form that depends on the pool"), "send without -c")
	}
	for to := from + size; from < to; {
		t := d.queue.next()
		p := t.buf[:min(to-from, pieceSize-from%pieceSize)]
		if err := d.r.ReadFull(p); err != nil {
			d.queue.back(t)
			return err
		}
		next := from + uint64(len(p))
		// The end of a block larger than a piece lies elsewhere in a copy that was sent
		// without -L: only zeros can be there.
		if p = trim(p); len(p) == 0 {
			d.queue.back(t)
			d.grow(o, &o.hole, 'H', extent{from, next})
		} else {
			d.settle(o)
			o.Bytes += int64(len(p))
			d.res.Bytes += int64(len(p))
			d.queue.digest(t, p, o.hash, entry(nil, 'D', from, uint64(len(p))))
		}
		from = next
	}
	return nil
}

// hole digests a FREE record. The first of an object frees all after its end.
func (d *digester) hole(rec *sendstream.Record) error {
	number, from, n := rec.U64(8), rec.U64(16), rec.U64(24)
	o, err := d.about(number)
	if err != nil {
		return err
	}
	if n == math.MaxUint64 {
		if o.end != math.MaxUint64 || o.at > 0 {
			return d.fail("object %d ends twice, or after its data", number)
		}
		o.end = from
		if o.unit == pieceSize {
			o.end = roundUp(from, pieceSize)
		}
		if d.increment() {
			d.entry(o.hash, entry(nil, 'E', o.end))
		}
		return nil
	}
	if _, err = d.data(number, from, n); err != nil {
		return err
	}
	// Where a whole indirect block is a hole, it reaches beyond the end.
	if to := min(from+n, o.end); from < to {
		d.grow(o, &o.hole, 'H', extent{from, to})
	}
	return nil
}

// spill digests a SPILL record.
func (d *digester) spill(rec *sendstream.Record) error {
	o, err := d.about(rec.U64(8))
	if err != nil {
		return err
	}
	const unmodified = 1 << 2
	if rec.U8(32)&unmodified != 0 && d.increment() {
		return nil // sent for the sake of old receivers
	}
	if o.spill {
		return d.fail("object %d has two spill blocks", o.Number)
	}
	o.spill = true
	b := entry(nil, 'S', rec.U64(16))
	if d.r.Header.Raw {
		b = entry(append(b, rec[48:84]...), 'K', uint64(rec.U8(32)>>1&1), uint64(rec.U8(33)), uint64(d.r.Left()))
	} else if rec.U8(33) != 0 || rec.U64(40) != 0 {
		return d.r.Fail(errors.New("a block is compressed, in a form that depends on the pool"), "send without -c")
	}
	d.settle(o)
	d.entry(o.hash, b)
	return d.payload(o, o.hash)
}

// payload digests the payload of the current record as it is.
func (d *digester) payload(o *object, h hash.Hash) error {
	o.Bytes += d.r.Left()
	d.res.Bytes += d.r.Left()
	for d.r.Left() > 0 {
		t := d.queue.next()
		p := t.buf[:min(d.r.Left(), pieceSize)]
		if err := d.r.ReadFull(p); err != nil {
			d.queue.back(t)
			return err
		}
		d.queue.digest(t, p, h, entry(nil, 'P', uint64(len(p))))
	}
	return nil
}

// about returns the object that a record is about, and closes those of the block before.
func (d *digester) about(number uint64) (*object, error) {
	switch block := number / perBlock; {
	case block < d.block:
		return nil, d.fail("object %d is out of order", number)
	case block > d.block:
		d.nextBlock(block)
	}
	o := d.open[number]
	if o == nil {
		o = &object{Object: Object{Number: number}, hash: sha256.New(), end: math.MaxUint64}
		d.open[number] = o
	}
	return o, nil
}

// data returns the object that n bytes from an offset on are said about, and demands that
// they come in order: what came later would replace what was digested.
func (d *digester) data(number, from, n uint64) (*object, error) {
	o, err := d.about(number)
	if err != nil {
		return nil, err
	}
	if number < d.last || from < o.at {
		return nil, d.fail("the data of object %d at offset %d is out of order", number, from)
	}
	if n == 0 || from+n < from {
		return nil, d.fail("object %d has %d bytes of data at offset %d", number, n, from)
	}
	d.last, o.at = number, from+n
	return o, nil
}

// grow joins an extent to the pending one of the same kind, if both meet.
func (d *digester) grow(o *object, pending *extent, kind byte, e extent) {
	if kind == 'H' && !d.increment() {
		return
	}
	if pending.to != e.from || *pending == (extent{}) {
		d.settle(o)
		pending.from = e.from
	}
	pending.to = e.to
}

// settle digests what is pending of an object.
func (d *digester) settle(o *object) {
	for _, p := range []struct {
		kind byte
		*extent
	}{{'H', &o.hole}, {'X', &o.redact}} {
		if *p.extent != (extent{}) {
			d.entry(o.hash, entry(nil, p.kind, p.from, p.to))
			*p.extent = extent{}
		}
	}
}

// freeObjects digests that objects are no more; adjacent ranges are joined.
func (d *digester) freeObjects(e extent) error {
	switch {
	case !d.increment() || e.from > d.o.Base:
		return nil
	case e.from < d.free.to:
		return d.fail("the free objects from number %d on are out of order", e.from)
	case e.from > d.free.to:
		d.settleFree()
		d.free.from = e.from
	}
	if d.free.to = e.to; e.to > d.o.Base {
		d.free.to = d.o.Base + 1
	}
	return nil
}

func (d *digester) settleFree() {
	if d.free != (extent{}) {
		d.entry(d.space, entry(nil, 'G', d.free.from, d.free.to))
	}
}

// nextBlock closes the open objects and goes on to another block.
func (d *digester) nextBlock(block uint64) {
	for _, number := range slices.Sorted(maps.Keys(d.open)) {
		o := d.open[number]
		d.settle(o)
		d.queue.do(func() error {
			o.hash.Sum(o.Digest[:0])
			d.objects.Write(entry(o.Digest[:], 'N', number))
			if d.o.Each == nil {
				return nil
			}
			return d.o.Each(o.Object)
		})
	}
	clear(d.open)
	d.block = block
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

func roundUp(n, to uint64) uint64 { return (n + to - 1) / to * to }

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
