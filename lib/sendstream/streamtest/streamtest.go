// Package streamtest makes streams of zfs send for tests.
package streamtest

import (
	"compress/gzip"
	"encoding/binary"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"testing"
)

// Recorded returns a stream that zfs sent, from a file packed by gzip.
func Recorded(t testing.TB, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

const recordSize = 312

// Stream is a stream that is being made, of one snapshot. Its methods append records, with
// the fields that ZFS would write.
type Stream struct {
	// GUID is the guid of the snapshot.
	GUID uint64
	// Slots is the number of slots of the objects, 0 for one.
	Slots byte
	b     []byte
	sum   [4]uint64
}

// Head is the beginning of a stream.
type Head struct {
	Name     string
	From     uint64
	Volume   bool
	Features uint64
	// Flags are the flags that differ from those of OpenZFS 2.
	Flags uint32
	// Compound makes it the beginning of a package.
	Compound bool
	// Payload follows the beginning; its length is a multiple of 8.
	Payload []byte
}

// New begins a stream.
func New(guid uint64, h Head) *Stream {
	s := &Stream{GUID: guid}
	kind, head := uint32(2), uint64(1)
	if h.Volume {
		kind = 3
	}
	if h.Compound {
		head = 2
	}
	if h.Name == "" {
		h.Name = "tank/a@1"
	}
	r := make([]byte, recordSize)
	put64(r, 8, 0x2F5bacbac)
	put64(r, 16, h.Features<<2|head)
	put64(r, 24, 1795000000)
	put32(r, 32, kind)
	put32(r, 36, h.Flags^0xc)
	put64(r, 40, guid)
	put64(r, 48, h.From)
	copy(r[56:], h.Name)
	put32(r, 4, uint32(len(h.Payload)))
	s.add(r)
	s.add(h.Payload)
	return s
}

// Begun returns the stream so far.
func (s *Stream) Begun() []byte { return s.b }

// Bytes ends the stream, and returns it.
func (s *Stream) Bytes() []byte {
	r := s.record(5, 40)
	for i, v := range s.sum {
		put64(r, 8+8*i, v)
	}
	s.append(r, nil)
	return s.b
}

// Object brings an object with blocks of a size.
func (s *Stream) Object(number uint64, size uint32, bonus string) *Stream {
	r := s.record(1, 40)
	put64(r, 8, number)
	put32(r, 16, 19)
	put32(r, 20, 44)
	put32(r, 24, size)
	put32(r, 28, uint32(len(bonus)))
	r[34] = max(s.Slots, 1)
	return s.append(r, append([]byte(bonus), make([]byte, (8-len(bonus)%8)%8)...))
}

// Write brings data at an offset.
func (s *Stream) Write(number, offset uint64, data []byte) *Stream {
	r := s.record(3, 40)
	put64(r, 8, number)
	put32(r, 16, 19)
	put64(r, 24, offset)
	put64(r, 32, uint64(len(data)))
	return s.append(r, data)
}

// Free frees n bytes at an offset, math.MaxUint64 for all after it.
func (s *Stream) Free(number, offset, n uint64) *Stream {
	return s.append(s.numbers(4, 32, number, offset, n), nil)
}

// End says where an object ends, as after each Object.
func (s *Stream) End(number, offset uint64) *Stream { return s.Free(number, offset, math.MaxUint64) }

// FreeObjects frees n objects.
func (s *Stream) FreeObjects(first, n uint64) *Stream {
	return s.append(s.numbers(2, 24, first, n), nil)
}

// Redact says that n bytes at an offset are left out.
func (s *Stream) Redact(number, offset, n uint64) *Stream {
	return s.append(s.numbers(10, 32, number, offset, n), nil)
}

// Spill brings a spill block.
func (s *Stream) Spill(number uint64, flags byte, data []byte) *Stream {
	r := s.numbers(7, 24, number, uint64(len(data)))
	r[32] = flags
	return s.append(r, data)
}

// Other appends a record of any type, whose guid is at an offset, with bytes changed.
func (s *Stream) Other(typ uint32, guidAt int, change func(r []byte), payload []byte) *Stream {
	r := s.record(typ, guidAt)
	change(r)
	return s.append(r, payload)
}

// append appends a record and its payload, with the checksum.
func (s *Stream) append(r, payload []byte) *Stream {
	s.count(r[:recordSize-32])
	for i, v := range s.sum {
		put64(r, recordSize-32+8*i, v)
	}
	s.count(r[recordSize-32:])
	s.count(payload)
	s.b = append(append(s.b, r...), payload...)
	return s
}

func (s *Stream) record(typ uint32, guidAt int) []byte {
	r := make([]byte, recordSize)
	put32(r, 0, typ)
	put64(r, guidAt, s.GUID)
	return r
}

func (s *Stream) numbers(typ uint32, guidAt int, numbers ...uint64) []byte {
	r := s.record(typ, guidAt)
	for i, n := range numbers {
		put64(r, 8+8*i, n)
	}
	return r
}

func (s *Stream) add(r []byte) {
	s.count(r)
	s.b = append(s.b, r...)
}

// count adds bytes to the running checksum, fletcher 4.
func (s *Stream) count(b []byte) {
	for ; len(b) >= 4; b = b[4:] {
		s.sum[0] += uint64(binary.LittleEndian.Uint32(b))
		for i := 1; i < 4; i++ {
			s.sum[i] += s.sum[i-1]
		}
	}
}

func put32(r []byte, at int, v uint32) { binary.LittleEndian.PutUint32(r[at:], v) }
func put64(r []byte, at int, v uint64) { binary.LittleEndian.PutUint64(r[at:], v) }

// The types of nvlist pairs, from sys/nvpair.h.
const (
	nvBoolean = 1
	nvString  = 9
	nvNvlist  = 19
)

// List returns an nvlist in XDR with these pairs.
func List(pairs ...[]byte) []byte { return append([]byte{1, 1, 0, 0}, Inner(pairs...)...) }

// Inner returns an nvlist in XDR as it is within another.
func Inner(pairs ...[]byte) []byte {
	return append(append([]byte{0, 0, 0, 0, 0, 0, 0, 1}, slices.Concat(pairs...)...), 0, 0, 0, 0, 0, 0, 0, 0)
}

// Pair returns a pair of an nvlist with n values of a type.
func Pair(name string, typ, n uint32, value []byte) []byte {
	be := binary.BigEndian
	b := append(be.AppendUint32(be.AppendUint32(Text(name), typ), n), value...)
	return append(be.AppendUint32(be.AppendUint32(nil, uint32(len(b)+8)), 99), b...)
}

// Text returns a string in XDR.
func Text(s string) []byte {
	b := append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...)
	return append(b, make([]byte, -len(s)&3)...)
}

// PackageList returns the header of a stream package: an nvlist in XDR with the flag
// not_recursive, for a package of one dataset, and the dataset's properties.
func PackageList(alone bool, props map[string]string) []byte {
	var all, set [][]byte
	if alone {
		all = append(all, Pair("not_recursive", nvBoolean, 0, nil))
	}
	for _, name := range slices.Sorted(maps.Keys(props)) {
		set = append(set, Pair(name, nvString, 1, Text(props[name])))
	}
	nested := func(name string, pairs ...[]byte) []byte { return Pair(name, nvNvlist, 1, Inner(pairs...)) }
	return List(append(all, nested("fss", nested("0x1", nested("props", set...))))...)
}

// Package returns a stream package of one dataset with properties, as zfs send -p makes
// it; snapshots are the streams in it.
func Package(name string, props map[string]string, snapshots ...[]byte) []byte {
	b := New(0, Head{Name: name, Compound: true, Payload: PackageList(true, props)}).b
	end := make([]byte, recordSize)
	put32(end, 0, 5)
	return slices.Concat(b, end, slices.Concat(snapshots...), end)
}
