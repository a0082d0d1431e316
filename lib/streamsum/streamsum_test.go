package streamsum

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"zab/lib/hashfunc"
	"zab/lib/sendstream"
	"zab/lib/sendstream/streamtest"
)

var unknown = Options{Base: math.MaxUint64}

func digest(t testing.TB, stream []byte) hashfunc.Sum {
	t.Helper()
	res, err := Read(bytes.NewReader(stream), unknown)
	if err != nil {
		t.Fatal(err)
	}
	return res.Digest
}

// recorded is a stream of OpenZFS 2.3.
func recorded(t testing.TB) []byte {
	t.Helper()
	return streamtest.Recorded(t, "../sendstream/testdata/plain.gz")
}

func TestRecorded(t *testing.T) {
	var objects []uint64
	res, err := Read(bytes.NewReader(recorded(t)), Options{Each: func(o Object) error { objects = append(objects, o.Number); return nil }})
	const want = "aa1f37c28b231028851a1f53880ac9847c5e5f9ba3afd6bdd2ea606f8a59a58e"
	if err != nil || res.Digest.String() != want || res.Name != "s/tiny@3" || res.GUID != 2272757818685884915 || res.Volume || res.Raw ||
		res.Objects != 8 || res.Bytes != 34977 || res.Stream != 48824 {
		t.Errorf("%+v, %s, %v", res, res.Digest, err)
	}
	other, err := Read(bytes.NewReader(recorded(t)), Options{Hash: hashfunc.BLAKE3})
	if err != nil || other.Digest.String() != "99d563bb8c5eef1d9c7227de4e7a1b2f4b3020d6424fe44ed66096ca9baa5341" || other.Hash != hashfunc.BLAKE3 || other.Bytes != res.Bytes {
		t.Errorf("%+v, %s, %v", other, other.Digest, err)
	}
	if len(objects) != 8 || !slices.IsSorted(objects) || objects[7] != res.Last {
		t.Errorf("%d", objects)
	}
}

// A stream that was cut off or changed at any place has no digest.
func TestDamaged(t *testing.T) {
	whole := recorded(t)
	for n := 0; n < len(whole); n += 1 + n%97 {
		var bad *sendstream.ReadError
		if res, err := Read(bytes.NewReader(whole[:n]), unknown); !errors.As(err, &bad) || bad.At > int64(n) {
			t.Fatalf("cut off at %d: %+v, %v", n, res, err)
		}
	}
	rng := rand.New(rand.NewSource(1))
	for range 300 {
		b := slices.Clone(whole)
		at := rng.Intn(len(b))
		b[at] ^= 1 << rng.Intn(8)
		if res, err := Read(bytes.NewReader(b), unknown); err == nil {
			t.Fatalf("changed at %d: %+v", at, res)
		}
	}
	if _, err := Read(bytes.NewReader(append(whole, 0)), unknown); err == nil || !strings.Contains(err.Error(), "something follows") {
		t.Error(err)
	}
}

func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>8) ^ byte(i) ^ seed | 1
	}
	return b
}

// ranged brings a block of objects of a raw stream.
func ranged(s *streamtest.Stream, first, n byte) *streamtest.Stream {
	return s.Other(9, 24, func(r []byte) { r[8], r[16] = first, n }, nil)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// TestSame: what two pools may say in different ways has one digest.
func TestSame(t *testing.T) {
	const k = 1 << 10
	zeros := func(n int) []byte { return make([]byte, n) }
	data := pattern(1024*k, 3)
	for _, c := range []struct {
		what string
		from uint64
		a, b func(s *streamtest.Stream)
	}{
		{"large blocks, sent with and without -L", 0, func(s *streamtest.Stream) {
			s.Object(2, 1024*k, "x").End(2, 1024*k).Write(2, 0, data)
		}, func(s *streamtest.Stream) {
			s.Object(2, 128*k, "x").End(2, 1024*k)
			for o := 0; o < 1024*k; o += 128 * k {
				s.Write(2, uint64(o), data[o:o+128*k])
			}
		}},
		{"a single large block, which a copy without -L rounds up", 0, func(s *streamtest.Stream) {
			s.Object(2, 700*k, "x").End(2, 700*k).Write(2, 0, data[:700*k])
		}, func(s *streamtest.Stream) {
			s.Object(2, 128*k, "x").End(2, 768*k)
			for o := 0; o < 640*k; o += 128 * k {
				s.Write(2, uint64(o), data[o:o+128*k])
			}
			s.Write(2, 640*k, join(data[640*k:700*k], zeros(68*k)))
		}},
		{"zeros and holes", 0, func(s *streamtest.Stream) {
			s.Object(2, 4*k, "").End(2, 16*k).Write(2, 0, data[:4*k]).Write(2, 4*k, zeros(4*k)).Write(2, 12*k, data[:4*k])
		}, func(s *streamtest.Stream) {
			s.Object(2, 4*k, "").End(2, 16*k).Write(2, 0, data[:4*k]).Free(2, 4*k, 8*k).Write(2, 12*k, data[:4*k])
		}},
		{"zeros and holes of an increment, and holes cut otherwise", 7, func(s *streamtest.Stream) {
			s.Object(2, 4*k, "").End(2, 16*k).Write(2, 0, data[:4*k]).Write(2, 4*k, zeros(4*k)).Free(2, 8*k, 8*k)
		}, func(s *streamtest.Stream) {
			s.Object(2, 4*k, "").End(2, 16*k).Write(2, 0, data[:4*k]).Free(2, 4*k, 1024*k)
		}},
		{"free objects cut otherwise", 7, func(s *streamtest.Stream) { s.FreeObjects(5, 3).FreeObjects(8, 2).FreeObjects(20, 1) },
			func(s *streamtest.Stream) { s.FreeObjects(5, 5).FreeObjects(20, 1) }},
		{"what an increment has for old receivers", 7, func(s *streamtest.Stream) { s.Object(2, 512, "").Spill(2, 4, data[:512]) },
			func(s *streamtest.Stream) { s.Object(2, 512, "") }},
		{"free objects of a full stream", 0, func(s *streamtest.Stream) { s.Object(2, 512, "").FreeObjects(3, 20) },
			func(s *streamtest.Stream) { s.Object(2, 512, "") }},
		{"a name", 7, func(s *streamtest.Stream) { *s = *streamtest.New(9, streamtest.Head{Name: "backup/tank/a@1", From: 7}) },
			func(*streamtest.Stream) {}},
		{"data where a spill block would be, of OpenZFS 2.3's send -e", 0, func(s *streamtest.Stream) {
			s.Object(2, 512, "").End(2, 1<<64-5632).Write(2, 1<<64-6144, data[:512])
		}, func(s *streamtest.Stream) {
			s.Object(2, 512, "").End(2, 1<<64-5632).Free(2, 0, 1<<64-6144).Write(2, 1<<64-6144, data[:512])
		}},
	} {
		a, b := streamtest.New(9, streamtest.Head{From: c.from}), streamtest.New(9, streamtest.Head{From: c.from})
		c.a(a)
		c.b(b)
		if digest(t, a.Bytes()) != digest(t, b.Bytes()) {
			t.Errorf("%s: not the same", c.what)
		}
	}
}

// TestDifferent: streams that say different things, however little, have different digests.
func TestDifferent(t *testing.T) {
	data := pattern(8192, 5)
	changed := slices.Clone(data)
	changed[8191] ^= 1
	seen := map[hashfunc.Sum]string{}
	for _, c := range []struct {
		what string
		head streamtest.Head
		make func(s *streamtest.Stream)
	}{
		{"nothing", streamtest.Head{}, func(*streamtest.Stream) {}},
		{"nothing in an increment", streamtest.Head{From: 7}, func(*streamtest.Stream) {}},
		{"nothing in a volume", streamtest.Head{Volume: true}, func(*streamtest.Stream) {}},
		{"nothing, raw", streamtest.Head{Features: 1 << 24}, func(*streamtest.Stream) {}},
		{"an object", streamtest.Head{}, func(s *streamtest.Stream) { s.Object(2, 4096, "attr") }},
		{"another object", streamtest.Head{}, func(s *streamtest.Stream) { s.Object(3, 4096, "attr") }},
		{"other attributes", streamtest.Head{}, func(s *streamtest.Stream) { s.Object(2, 4096, "attR") }},
		{"longer attributes", streamtest.Head{}, func(s *streamtest.Stream) { s.Object(2, 4096, "attr\x00") }},
		{"other blocks", streamtest.Head{}, func(s *streamtest.Stream) { s.Object(2, 8192, "attr") }},
		{"data", streamtest.Head{}, func(s *streamtest.Stream) { s.Object(2, 4096, "attr").Write(2, 0, data) }},
		{"data of a bit more", streamtest.Head{}, func(s *streamtest.Stream) { s.Object(2, 4096, "attr").Write(2, 0, changed) }},
		{"data elsewhere", streamtest.Head{}, func(s *streamtest.Stream) { s.Object(2, 4096, "attr").Write(2, 4096, data) }},
		{"data of two objects", streamtest.Head{}, func(s *streamtest.Stream) {
			s.Object(2, 4096, "attr").Write(2, 0, data[:4096]).Object(3, 4096, "attr").Write(3, 4096, data[4096:])
		}},
		{"data of the other object", streamtest.Head{}, func(s *streamtest.Stream) {
			s.Object(2, 4096, "attr").Object(3, 4096, "attr").Write(3, 0, data[:4096]).Write(3, 4096, data[4096:])
		}},
		{"a spill block", streamtest.Head{}, func(s *streamtest.Stream) { s.Object(2, 4096, "attr").Spill(2, 0, data) }},
		{"an object with more slots", streamtest.Head{}, func(s *streamtest.Stream) { s.Slots = 2; s.Object(2, 4096, "attr") }},
		{"another base", streamtest.Head{From: 8}, func(*streamtest.Stream) {}},
		{"zeros that replace the base's data", streamtest.Head{From: 7}, func(s *streamtest.Stream) {
			s.Object(2, 4096, "").Write(2, 0, join(data[:100], make([]byte, 4096-100)))
		}},
		{"and those that replace less", streamtest.Head{From: 7}, func(s *streamtest.Stream) {
			s.Object(2, 4096, "").Write(2, 0, join(data[:100], make([]byte, 512-100)))
		}},
		{"an end at a sector", streamtest.Head{From: 7}, func(s *streamtest.Stream) { s.Object(2, 131072, "").End(2, 640<<10+512) }},
		{"an end at a piece", streamtest.Head{From: 7}, func(s *streamtest.Stream) { s.Object(2, 131072, "").End(2, 768<<10) }},
		{"an end at the last sector", streamtest.Head{From: 7}, func(s *streamtest.Stream) { s.Object(2, 131072, "").End(2, 1<<64-512) }},
		{"an end at 0", streamtest.Head{From: 7}, func(s *streamtest.Stream) { s.Object(2, 131072, "").End(2, 0) }},
		{"a hole in an increment", streamtest.Head{From: 7}, func(s *streamtest.Stream) { s.Object(2, 4096, "attr").Free(2, 0, 4096) }},
		{"a larger hole in an increment", streamtest.Head{From: 7}, func(s *streamtest.Stream) { s.Object(2, 4096, "attr").Free(2, 0, 8192) }},
		{"an end in an increment", streamtest.Head{From: 7}, func(s *streamtest.Stream) { s.Object(2, 4096, "attr").End(2, 4096) }},
		{"a removed object", streamtest.Head{From: 7}, func(s *streamtest.Stream) { s.FreeObjects(2, 1) }},
		{"two removed objects", streamtest.Head{From: 7}, func(s *streamtest.Stream) { s.FreeObjects(2, 2) }},
	} {
		s := streamtest.New(9, c.head)
		c.make(s)
		d := digest(t, s.Bytes())
		if other, ok := seen[d]; ok {
			t.Errorf("%s, and %s: the same digest", c.what, other)
		}
		seen[d] = c.what
	}
}

// nativeList returns an nvlist with an array of a number, as the kernel packs it.
func nativeList(name string) []byte {
	le := binary.LittleEndian
	b := []byte{0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}
	size := 16 + (len(name)+8)&^7 + 8
	b = le.AppendUint32(b, uint32(size))
	b = le.AppendUint16(b, uint16(len(name)+1))
	b = le.AppendUint32(append(b, 0, 0), 1)
	b = append(le.AppendUint32(b, 16), name...)
	return append(b, make([]byte, 12+size-len(b)+4)...)
}

// TestRefused: what cannot be brought to one form, or would be read in two ways, is an error.
func TestRefused(t *testing.T) {
	data := pattern(4096, 1)
	for _, c := range []struct {
		what, want string
		head       streamtest.Head
		make       func(s *streamtest.Stream)
	}{
		{"a package", "is a package", streamtest.Head{Compound: true}, func(*streamtest.Stream) {}},
		{"the rest of a stream", "the rest of another", streamtest.Head{Features: 1 << 20}, func(*streamtest.Stream) {}},
		{"features to come", "0x40000000", streamtest.Head{Features: 1 << 30}, func(*streamtest.Stream) {}},
		{"a record to come", "type 11", streamtest.Head{}, func(s *streamtest.Stream) { s.Other(11, 40, func([]byte) {}, nil) }},
		{"a second beginning", "type 0", streamtest.Head{}, func(s *streamtest.Stream) { s.Other(0, 40, func([]byte) {}, nil) }},
		{"another snapshot's record", "the guid 8", streamtest.Head{}, func(s *streamtest.Stream) { s.GUID = 8; s.Object(2, 512, ""); s.GUID = 9 }},
		{"1 TiB in a record", "type 3 has 1099511627776 bytes", streamtest.Head{}, func(s *streamtest.Stream) {
			s.Other(3, 40, func(r []byte) { r[37] = 1 }, nil)
		}},
		{"compressed", "compressed", streamtest.Head{}, func(s *streamtest.Stream) {
			s.Object(2, 4096, "").Other(3, 40, func(r []byte) { r[8], r[33], r[50], r[97] = 2, 16, 15, 2 }, data[:512])
		}},
		{"a compressed spill block", "compressed", streamtest.Head{}, func(s *streamtest.Stream) {
			s.Object(2, 4096, "").Other(7, 24, func(r []byte) { r[8], r[17], r[33], r[41] = 2, 16, 15, 2 }, data[:512])
		}},
		{"embedded", "embedded", streamtest.Head{}, func(s *streamtest.Stream) {
			s.Other(8, 32, func(r []byte) { r[8], r[25], r[52] = 2, 2, 8 }, data[:8])
		}},
		{"deduplicated", "deduplicated", streamtest.Head{}, func(s *streamtest.Stream) { s.Other(6, 32, func([]byte) {}, nil) }},
		{"encrypted in a plain stream", "encrypted", streamtest.Head{}, func(s *streamtest.Stream) { ranged(s, 0, 32) }},
		{"an object twice", "object 2 is out of order", streamtest.Head{}, func(s *streamtest.Stream) { s.Object(2, 512, "").Object(2, 512, "") }},
		{"objects out of order", "object 2 is out of order", streamtest.Head{}, func(s *streamtest.Stream) { s.Object(3, 512, "").Object(2, 512, "") }},
		{"an object in another's slots", "object 3 is out of order", streamtest.Head{}, func(s *streamtest.Stream) { s.Slots = 2; s.Object(2, 512, "").Object(3, 512, "") }},
		{"an object removed again", "from number 2 on are out of order", streamtest.Head{}, func(s *streamtest.Stream) { s.Object(2, 512, "").FreeObjects(2, 1) }},
		{"an object brought after its removal", "object 2 is out of order", streamtest.Head{From: 7}, func(s *streamtest.Stream) { s.FreeObjects(2, 1).Object(2, 512, "") }},
		{"an object removed again, above the base", "from number 200 on are out of order", streamtest.Head{From: 7}, func(s *streamtest.Stream) { s.Object(200, 512, "").FreeObjects(200, 1) }},
		{"an object after the block of objects that encrypts it", "not in the block of objects", streamtest.Head{Features: 1 << 24}, func(s *streamtest.Stream) {
			ranged(ranged(s, 0, 32), 32, 32).Object(2, 512, "")
		}},
		{"a block of objects twice", "out of order", streamtest.Head{Features: 1 << 24}, func(s *streamtest.Stream) { ranged(ranged(s, 0, 32), 0, 32) }},
		{"data out of order", "offset 0 is out of order", streamtest.Head{}, func(s *streamtest.Stream) { s.Object(2, 512, "").Write(2, 4096, data).Write(2, 0, data) }},
		{"data twice", "offset 512 is out of order", streamtest.Head{}, func(s *streamtest.Stream) { s.Object(2, 512, "").Write(2, 0, data).Write(2, 512, data) }},
		{"a hole over data", "offset 0 is out of order", streamtest.Head{}, func(s *streamtest.Stream) { s.Object(2, 512, "").Write(2, 0, data).Free(2, 0, 4096) }},
		{"data of the object before", "data of object 2 does not follow", streamtest.Head{}, func(s *streamtest.Stream) { s.Object(2, 512, "").Object(3, 512, "").Write(2, 4096, data) }},
		{"data of no object", "data of object 2 does not follow", streamtest.Head{From: 7}, func(s *streamtest.Stream) { s.Write(2, 0, data) }},
		{"data beyond all offsets", "has 4096 bytes of data at offset 18446744073709551104", streamtest.Head{}, func(s *streamtest.Stream) { s.Object(2, 512, "").Write(2, 1<<64-512, data) }},
		{"data at half a sector", "has 4096 bytes of data at offset 131071", streamtest.Head{}, func(s *streamtest.Stream) { s.Object(2, 512, "").Write(2, 131071, data) }},
		{"an end after data", "offset 0 is out of order", streamtest.Head{}, func(s *streamtest.Stream) { s.Object(2, 512, "").Write(2, 0, data).End(2, 0) }},
		{"two spill blocks", "two spill blocks", streamtest.Head{}, func(s *streamtest.Stream) { s.Object(2, 512, "").Spill(2, 0, data).Spill(2, 0, data) }},
		{"a spill block that receive would drop", "unmodified in a full stream", streamtest.Head{}, func(s *streamtest.Stream) { s.Object(2, 512, "").Spill(2, 4, data) }},
		{"a spill block of no object", "does not follow it", streamtest.Head{}, func(s *streamtest.Stream) { s.Spill(2, 0, data) }},
		{"redacted", "redacted", streamtest.Head{Features: 1 << 21}, func(*streamtest.Stream) {}},
		{"redacted data", "redacted", streamtest.Head{}, func(s *streamtest.Stream) { s.Object(2, 512, "").Redact(2, 0, 4096) }},
		{"received redacted", "redacted", streamtest.Head{Payload: nativeList("redact_snaps")}, func(*streamtest.Stream) {}},
		{"received redacted, by a later ZFS", "redacted", streamtest.Head{Payload: streamtest.List(streamtest.Pair("redact_snaps", 16, 1, []byte("\x00\x00\x00\x01guidguid")))}, func(*streamtest.Stream) {}},
		{"a beginning without end", "the beginning of a snapshot has 1048584 bytes", streamtest.Head{Payload: make([]byte, 1<<20+8)}, func(*streamtest.Stream) {}},
		{"an increment with large blocks", "increment with large blocks", streamtest.Head{From: 7, Features: 1 << 19}, func(*streamtest.Stream) {}},
		{"of no snapshot's name", "not the full name of a snapshot", streamtest.Head{Name: "tank/a"}, func(*streamtest.Stream) {}},
		{"of a name that moves a terminal's cursor", "is not a name of ZFS", streamtest.Head{Name: "tank/a@\u009b2J"}, func(*streamtest.Stream) {}},
		{"of an old ZFS", "before 0.8", streamtest.Head{Flags: 8}, func(*streamtest.Stream) {}},
		{"a bonus buffer of 1 MiB", "bonus buffer", streamtest.Head{}, func(s *streamtest.Stream) {
			s.Other(1, 40, func(r []byte) { r[8], r[25], r[38] = 2, 2, 16 }, make([]byte, 1<<20))
		}},
		{"free objects out of order", "from number 10 on are out of order", streamtest.Head{From: 7}, func(s *streamtest.Stream) { s.FreeObjects(9, 2).FreeObjects(10, 2) }},
		{"free objects beyond all numbers", "frees 2 objects", streamtest.Head{From: 7}, func(s *streamtest.Stream) { s.FreeObjects(math.MaxUint64, 2) }},
		{"an object without blocks", "blocks of no size", streamtest.Head{}, func(s *streamtest.Stream) { s.Object(2, 0, "") }},
	} {
		s := streamtest.New(9, c.head)
		c.make(s)
		_, err := Read(bytes.NewReader(s.Bytes()), unknown)
		var bad *sendstream.ReadError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	// What is not redacted any more, after an increment from what was left out.
	if _, err := Read(bytes.NewReader(streamtest.New(9, streamtest.Head{From: 7, Payload: nativeList("redact_from_snaps")}).Bytes()), unknown); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"", "x", strings.Repeat("x", 1000), "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\xf5\xba\xcb\xac" + strings.Repeat("\x00", 400)} {
		if _, err := Read(strings.NewReader(text), unknown); err == nil {
			t.Errorf("%q has a digest", text)
		}
	}
}

// Base leaves out what an increment says of numbers that no object of the base had.
func TestBase(t *testing.T) {
	stream := func(ranges ...uint64) []byte {
		s := streamtest.New(9, streamtest.Head{From: 7})
		for i := 0; i < len(ranges); i += 2 {
			s.FreeObjects(ranges[i], ranges[i+1])
		}
		return s.Bytes()
	}
	for _, c := range []struct {
		base uint64
		a, b []byte
		same bool
	}{
		{100, stream(90, 11), stream(90, 300), true},
		{100, stream(90, 10), stream(90, 11), false},
		{100, stream(), stream(101, 5), true},
		{100, stream(), stream(100, 5), false},
		{100, stream(90, 20, 120, 5), stream(90, 15), true},
		{math.MaxUint64, stream(90, 11), stream(90, 12), false},
		{0, stream(), stream(1, 5), true},
	} {
		a, err1 := Read(bytes.NewReader(c.a), Options{Base: c.base})
		b, err2 := Read(bytes.NewReader(c.b), Options{Base: c.base})
		if err1 != nil || err2 != nil || (a.Digest == b.Digest) != c.same {
			t.Errorf("%+v: %v, %v", c, err1, err2)
		}
	}
}

func TestEachFails(t *testing.T) {
	no := errors.New("no")
	if _, err := Read(bytes.NewReader(recorded(t)), Options{Each: func(Object) error { return no }}); err != no {
		t.Error(err)
	}
}

// TestRandom makes the same random contents in two random forms, which have one digest, and
// changes a byte, which gives another.
func TestRandom(t *testing.T) {
	for seed := range int64(200) {
		rng := rand.New(rand.NewSource(seed))
		var from uint64
		if rng.Intn(2) == 0 {
			from = 7
		}
		units := []int{512, 1536, 4096, 128 << 10}
		type block struct{ data []byte }
		type object struct {
			number uint64
			unit   int
			blocks []block
		}
		var objects []object
		number := uint64(0)
		for range 1 + rng.Intn(5) {
			number += 1 + uint64(rng.Intn(40))
			o := object{number: number, unit: units[rng.Intn(len(units))]}
			for range rng.Intn(6) {
				b := make([]byte, o.unit)
				if rng.Intn(3) > 0 {
					rng.Read(b[:1+rng.Intn(o.unit)])
				}
				o.blocks = append(o.blocks, block{b})
			}
			objects = append(objects, o)
		}
		form := func(change bool) []byte {
			s := streamtest.New(9, streamtest.Head{From: from})
			which := rng.Intn(len(objects))
			for i, o := range objects {
				s.Object(o.number, uint32(o.unit), "bonus").End(o.number, uint64(len(o.blocks)*o.unit))
				for j, b := range o.blocks {
					data := slices.Clone(b.data)
					if change && i == which {
						data[rng.Intn(len(data))] ^= 1 << rng.Intn(8)
						change = false
					}
					offset := uint64(j * o.unit)
					if len(trim(data)) == 0 && rng.Intn(2) == 0 {
						s.Free(o.number, offset, uint64(o.unit))
					} else {
						s.Write(o.number, offset, data)
					}
				}
			}
			if change { // the chosen object has no data
				s.Object(number+1, 512, "new")
			}
			return s.Bytes()
		}
		want := digest(t, form(false))
		if digest(t, form(false)) != want {
			t.Fatalf("seed %d: two forms of the same have different digests", seed)
		}
		if digest(t, form(true)) == want {
			t.Fatalf("seed %d: a change has the same digest", seed)
		}
	}
}

func FuzzRead(f *testing.F) {
	whole := recorded(f)
	f.Add(whole)
	f.Add(whole[:2000])
	f.Add(streamtest.New(9, streamtest.Head{From: 7}).Object(2, 512, "x").Write(2, 0, pattern(512, 1)).Free(2, 512, 512).FreeObjects(3, 1).Bytes())
	f.Add(ranged(streamtest.New(9, streamtest.Head{Features: 1 << 24}), 0, 32).Object(2, 512, "x").Spill(2, 0, pattern(64, 1)).Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := Read(bytes.NewReader(b), unknown)
		var bad *sendstream.ReadError
		if err != nil && (!errors.As(err, &bad) || bad.At > int64(len(b))) {
			t.Fatal(err)
		}
		if c, err2 := Read(bytes.NewReader(b), unknown); (err == nil) != (err2 == nil) || a.Digest != c.Digest {
			t.Fatal("read twice, it says different things")
		}
	})
}

func benchStream() []byte {
	s := streamtest.New(9, streamtest.Head{}).Object(2, 128<<10, "bonus")
	data := pattern(128<<10, 7)
	for i := range uint64(512) {
		s.Write(2, i*(128<<10), data)
	}
	return s.Bytes()
}

// smallFiles is a stream with an object for every 4 KiB.
func smallFiles() []byte {
	s := streamtest.New(9, streamtest.Head{})
	data := pattern(4<<10, 7)
	for i := range uint64(4096) {
		s.Object(2+i, 4<<10, "bonus").Write(2+i, 0, data)
	}
	return s.Bytes()
}

func BenchmarkRead(b *testing.B) {
	for _, hash := range []hashfunc.Func{hashfunc.SHA256, hashfunc.BLAKE3} {
		for what, stream := range map[string][]byte{"large": benchStream(), "small": smallFiles()} {
			b.Run(hash.String()+"/"+what, func(b *testing.B) {
				b.SetBytes(int64(len(stream)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Read(bytes.NewReader(stream), Options{Hash: hash}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkReader(b *testing.B) {
	stream := benchStream()
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	piece := make([]byte, pieceSize)
	for b.Loop() {
		r, err := sendstream.NewReader(bytes.NewReader(stream))
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			for err == nil && r.Left() > 0 {
				err = r.ReadFull(piece[:min(r.Left(), pieceSize)])
			}
			if err == nil {
				_, err = r.Next()
			}
		}
		if err != io.EOF {
			b.Fatal(err)
		}
	}
}
