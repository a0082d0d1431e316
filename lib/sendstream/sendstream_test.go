package sendstream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"zab/lib/sendstream/streamtest"
)

// inspect returns how many bytes of a stream pass, or the error that ends it. At first it
// offers one byte, as a slow pipe may.
func inspect(stream []byte, rule Rule) (passed int64, rest bool, err error) {
	i := New(rule)
	for at := int64(0); at < int64(len(stream)); {
		have := 1
		for {
			pass, need, err := i.Next(stream[at:min(at+int64(have), int64(len(stream)))])
			if err != nil {
				return at, false, err
			}
			if pass == Rest {
				return int64(len(stream)), true, nil
			}
			if pass > 0 {
				at += pass
				break
			}
			if need <= have {
				return at, false, errors.New("it does not say what it needs")
			}
			if have = need; at+int64(have) > int64(len(stream)) {
				return at, false, io.ErrUnexpectedEOF
			}
		}
		passed = at
	}
	return passed, false, nil
}

func recorded(t testing.TB, name string) []byte {
	t.Helper()
	return streamtest.Recorded(t, filepath.Join("testdata", name+".gz"))
}

// TestRecorded checks P11 with streams of zfs 2.3.2: those of one dataset pass, those of
// a tree are refused before a byte has passed.
func TestRecorded(t *testing.T) {
	for _, c := range []struct {
		name    string
		several bool
		rest    bool
		refused string
	}{
		{"plain", false, true, ""},
		{"plain", true, false, ""},
		{"full", false, true, ""},
		{"full", true, false, ""},
		{"incremental", false, true, ""},
		{"incremental", true, false, ""},
		{"several", true, false, ""},
		{"replicate", false, false, "those below it"},
		{"replicate", true, false, "those below it"},
		{"replicate-several", false, false, "those below it"},
		{"replicate-several", true, false, "those below it"},
	} {
		data := recorded(t, c.name)
		passed, rest, err := inspect(data, Rule{AnyBase: true, Several: c.several})
		if c.refused != "" {
			if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), c.refused) || passed != 0 {
				t.Errorf("%s: %d bytes pass, %v", c.name, passed, err)
			}
			continue
		}
		if err != nil || passed != int64(len(data)) || rest != c.rest {
			t.Errorf("%s: %d of %d bytes pass, %v, %v", c.name, passed, len(data), rest, err)
		}
	}
	if _, _, err := inspect(recorded(t, "incremental"), Rule{Several: true}); !errors.Is(err, ErrForeign) {
		t.Errorf("an increment where a full stream was asked for: %v", err)
	}
}

// maker makes streams of one byte order.
type maker struct{ order binary.ByteOrder }

// record returns a record with 32 and 64 bit numbers at offsets.
func (m maker) record(typ, payload uint32, short map[int]uint32, long map[int]uint64) []byte {
	b := make([]byte, recordSize)
	m.order.PutUint32(b, typ)
	m.order.PutUint32(b[4:], payload)
	for at, v := range short {
		m.order.PutUint32(b[at:], v)
	}
	for at, v := range long {
		m.order.PutUint64(b[at:], v)
	}
	return b
}

func (m maker) begin(head uint64, name string, to, from uint64, payload []byte) []byte {
	b := m.record(typeBegin, uint32(len(payload)), nil, map[int]uint64{atMagic: magic, atVersion: 1<<18 | head, atToGUID: to, atFromGUID: from})
	copy(b[atToName:], name)
	return append(b, payload...)
}

func (m maker) end() []byte { return m.record(typeEnd, 0, nil, nil) }

var list, inner, pair, str = streamtest.List, streamtest.Inner, streamtest.Pair, streamtest.Text

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func alone() []byte { return pair("not_recursive", nvBoolean, 0, nil) }

func fss(names ...string) []byte {
	var all [][]byte
	for _, n := range names {
		all = append(all, pair(n, nvNvlist, 1, inner(pair("name", nvString, 1, str(n)), pair("g", nvUint64, 1, number(7)))))
	}
	return pair("fss", nvNvlist, 1, inner(all...))
}

// TestMade checks P11: in either byte order, a stream that reaches beyond the requested
// dataset is stopped at that point.
func TestMade(t *testing.T) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		m := maker{order}
		one := list(pair("tosnap", nvString, 1, str("2")), alone(), fss("0x1"))
		sub := func(name string, to, from uint64) []byte {
			return slices.Concat(m.begin(headSubstream, name, to, from, nil),
				slices.Concat(m.record(typeObject, 0, map[int]uint32{28: 9}, nil), make([]byte, 16)),
				slices.Concat(m.record(typeObject, 0, map[int]uint32{28: 9, 36: 320}, nil), make([]byte, 320)),
				slices.Concat(m.record(typeWrite, 0, nil, map[int]uint64{32: 4096}), make([]byte, 4096)),
				slices.Concat(m.record(typeWriteEmbedded, 0, map[int]uint32{52: 41}, nil), make([]byte, 48)),
				slices.Concat(m.record(typeSpill, 0, nil, map[int]uint64{16: 512}), make([]byte, 512)),
				slices.Concat(m.record(typeSpill, 0, nil, map[int]uint64{16: 512, 40: 100}), make([]byte, 100)),
				m.record(typeFree, 0, nil, nil), m.record(typeFreeObjects, 0, nil, nil), m.record(typeObjectRange, 0, nil, nil), m.record(typeRedact, 0, nil, nil),
				m.end())
		}
		packed := m.record(typeWrite, 0, nil, map[int]uint64{32: 4096, 96: 60})
		packed[50] = 15
		pack := func(list []byte, subs ...[]byte) []byte {
			return slices.Concat(m.begin(headCompound, "p/a@2", 0, 0, list), m.end(), slices.Concat(subs...), m.end())
		}
		whole := Rule{FromGUID: 10, Several: true}
		for _, c := range []struct {
			what   string
			stream []byte
			rule   Rule
			want   string // a part of the error's text; "" for none
		}{
			{"two snapshots", pack(one, sub("p/a@1", 11, 10), sub("p/a@2", 12, 11)), whole, ""},
			{"no package", sub("p/a@1", 11, 10), whole, ""},
			{"a compressed write", slices.Concat(m.begin(headSubstream, "p/a@1", 11, 10, nil), packed, make([]byte, 60), m.end()), whole, ""},
			{"full", pack(one, sub("p/a@1", 11, 0)), Rule{Several: true}, ""},
			{"only the beginning", slices.Concat(sub("p/a@1", 11, 10), []byte("anything")), Rule{FromGUID: 10}, ""},
			{"a child", pack(one, sub("p/a@1", 11, 10), sub("p/a/c@1", 12, 0)), whole, "brings 'p/a/c' with 'p/a'"},
			{"a child first", pack(one, sub("p/a/c@1", 12, 10)), Rule{FromGUID: 10}, "brings 'p/a/c' with 'p/a'"},
			{"a sibling", pack(one, sub("p/a@1", 11, 10), sub("p/a2@1", 12, 0)), whole, "brings 'p/a2'"},
			{"a shorter name", pack(one, sub("p@1", 11, 10)), whole, "brings 'p'"},
			{"a clone of another's snapshot", pack(one, sub("p/a@1", 11, 99)), Rule{}, "guid 99"},
			{"another base", pack(one, sub("p/a@1", 11, 99)), whole, "guid 99"},
			{"another base later", pack(one, sub("p/a@1", 11, 10), sub("p/a@2", 12, 99)), whole, "guid 99"},
			{"a second full one", pack(one, sub("p/a@1", 11, 0), sub("p/a@2", 12, 0)), Rule{Several: true}, "guid 0"},
			{"a base that is not known", pack(one, sub("p/a@1", 11, 99)), Rule{AnyBase: true, Several: true}, ""},
			{"a package in a package", pack(one, sub("p/a@1", 11, 10), m.begin(headCompound, "p/a@2", 0, 0, one)), whole, "neither a snapshot"},
			{"a package of a tree", pack(list(fss("0x1", "0x2")), sub("p/a@1", 11, 10)), whole, "those below it"},
			{"one that says it is none", pack(list(alone(), fss("0x1", "0x2")), sub("p/a@1", 11, 10)), Rule{FromGUID: 10}, "those below it"},
			{"one that does not say so", pack(list(fss("0x1")), sub("p/a@1", 11, 10)), Rule{FromGUID: 10}, "those below it"},
			{"that says it in another type", pack(list(pair("not_recursive", nvUint64, 1, number(1)), fss("0x1")), sub("p/a@1", 11, 10)), whole, "those below it"},
			{"no list", pack(nil, sub("p/a@1", 11, 10)), whole, "cannot be read"},
			{"another list behind", pack(append(slices.Clone(one), one...), sub("p/a@1", 11, 10)), whole, "followed by something"},
			{"records of no snapshot", slices.Concat(m.begin(headCompound, "p/a@2", 0, 0, one), m.record(typeFree, 0, nil, nil)), whole, "out of place"},
			{"a snapshot in a snapshot", slices.Concat(m.begin(headSubstream, "p/a@1", 11, 10, nil), sub("p/a@2", 12, 11)), whole, "within another"},
			{"something at the end", slices.Concat(sub("p/a@1", 11, 10), sub("p/a@2", 12, 11)), whole, "follows its end"},
			{"an unknown record", slices.Concat(m.begin(headSubstream, "p/a@1", 11, 10, nil), m.record(77, 0, nil, nil)), whole, "unknown type 77"},
			{"a record too long", slices.Concat(m.begin(headSubstream, "p/a@1", 11, 10, nil), m.record(typeWrite, 0, nil, map[int]uint64{32: 1 << 63})), whole, "has 9223372036854775808 bytes"},
			{"another header type", m.begin(3, "p/a@1", 11, 10, nil), whole, "neither a snapshot"},
			{"no name", m.begin(headSubstream, "", 11, 10, nil), whole, "not the name"},
			{"no snapshot's name", m.begin(headSubstream, "p/a", 11, 10, nil), whole, "not the name"},
			{"two signs", m.begin(headSubstream, "p/a@b@c", 11, 10, nil), whole, "not the name"},
			{"a name without an end", m.begin(headSubstream, "p@"+strings.Repeat("x", 400), 11, 10, nil), whole, "does not end"},
			{"no stream", bytes.Repeat([]byte("x"), 400), whole, "does not begin"},
		} {
			passed, _, err := inspect(c.stream, c.rule)
			if c.want == "" {
				if err != nil || passed != int64(len(c.stream)) {
					t.Errorf("%s: %d of %d bytes, %v", c.what, passed, len(c.stream), err)
				}
				continue
			}
			if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %d bytes pass, %v", c.what, passed, err)
			}
		}
	}
}

// P11: a stream that brings a property of Rule.Without is stopped before a byte has passed,
// whoever sends it.
func TestWithout(t *testing.T) {
	m := maker{binary.LittleEndian}
	props := func(names ...string) []byte {
		var all [][]byte
		for _, n := range names {
			all = append(all, pair(n, nvString, 1, str("on")))
		}
		return pair("fss", nvNvlist, 1, inner(pair("0x1", nvNvlist, 1, inner(pair("name", nvString, 1, str("p/a")), pair("props", nvNvlist, 1, inner(all...))))))
	}
	snapshot := slices.Concat(m.begin(headSubstream, "p/a@1", 11, 0, nil), m.record(typeWrite, 0, nil, map[int]uint64{32: 64}), make([]byte, 64), m.end())
	pack := func(list []byte) []byte {
		return slices.Concat(m.begin(headCompound, "p/a@1", 0, 0, list), m.end(), snapshot, m.end())
	}
	for _, c := range []struct {
		what    string
		stream  []byte
		want    string // the names that it brings
		trusted bool   // refused as foreign unless trusted
	}{
		{"none", pack(list(alone(), props("atime"))), "", false},
		{"one", pack(list(alone(), props("atime", "sharenfs"))), "sharenfs", false},
		{"both", pack(list(alone(), props("sharesmb", "sharenfs"))), "sharesmb sharenfs", false},
		{"in capitals", pack(list(alone(), props("ShareNFS"))), "sharenfs", false},
		{"no package", snapshot, "", false},
		{"a list that is cut off", pack(list(alone(), props("atime"))[:40]), "sharenfs sharesmb", true},
		{"a list with something behind", pack(append(list(alone(), props("atime")), 0, 0, 0, 0)), "sharenfs sharesmb", true},
		{"no stream", bytes.Repeat([]byte("x"), 400), "", true},
	} {
		for _, rule := range []Rule{{Trusted: true}, {}, {Several: true}} {
			rule.Without = []string{"sharenfs", "sharesmb"}
			passed, rest, err := inspect(c.stream, rule)
			var b *Brings
			switch {
			case !rule.Trusted && c.trusted:
				if !errors.Is(err, ErrForeign) || passed != 0 {
					t.Errorf("%s: %d bytes pass, %v", c.what, passed, err)
				}
			case c.want != "":
				if !errors.As(err, &b) || strings.Join(b.Names, " ") != c.want || passed != 0 {
					t.Errorf("%s, %+v: %d bytes pass, %v", c.what, rule, passed, err)
				}
			case err != nil || passed != int64(len(c.stream)) || rest == rule.Several:
				t.Errorf("%s, %+v: %d of %d bytes pass, %v, %v", c.what, rule, passed, len(c.stream), rest, err)
			}
		}
	}
}

// TestLists checks that a list that could be read in two ways is refused.
func TestLists(t *testing.T) {
	longer := pair("a", nvUint64, 1, number(1))
	longer[3] += 4
	for what, b := range map[string][]byte{
		"not XDR":                {0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0},
		"cut off":                list(alone())[:20],
		"a length that is wrong": list(alone(), longer),
		"a name with a NUL":      list(alone(), pair("fss\x00x", nvBoolean, 0, nil)),
		"a name twice":           list(alone(), fss("1"), fss("2")),
		"a dataset twice":        list(alone(), fss("1", "1")),
		"an unknown type":        list(alone(), pair("x", 99, 1, number(1))),
		"a boolean with a value": list(pair("not_recursive", nvBoolean, 1, number(1))),
		"too many":               list(alone(), pair("x", nvUint64, 2, number(1))),
		"an endless array":       list(alone(), pair("x", nvNvlistArray, 1<<31, nil)),
		"too deep": list(alone(), func() (p []byte) {
			for range 20 {
				p = pair("x", nvNvlist, 1, inner(p))
			}
			return p
		}()),
	} {
		if err := oneDataset(b); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", what, err)
		}
	}
	good := list(alone(), fss("1"), pair("u", nvUint64Array, 2, append([]byte{0, 0, 0, 2}, make([]byte, 16)...)),
		pair("s", nvStringArray, 2, append(str("a"), str("bcd")...)), pair("l", nvNvlistArray, 2, append(inner(), inner(alone())...)), pair("b", nvBooleanValue, 1, make([]byte, 4)))
	if err := oneDataset(good); err != nil {
		t.Error(err)
	}
}

// FuzzInspector checks that any bytes either pass after inspection or end in an error.
func FuzzInspector(f *testing.F) {
	for _, name := range []string{"several", "incremental", "replicate-several"} {
		f.Add(recorded(f, name), true)
		f.Add(recorded(f, name), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, several bool) {
		i := New(Rule{AnyBase: true, Several: several})
		for range len(data)/recordSize + 1 {
			pass, need, err := i.Next(data)
			switch {
			case err != nil:
				return
			case pass == 0 && need <= len(data):
				t.Fatalf("%d bytes are not enough, and %d would be", len(data), need)
			case pass == 0 || pass == Rest && several:
				if pass == Rest {
					t.Fatal("the rest passes unseen")
				}
				return
			case pass < recordSize:
				t.Fatalf("%d bytes pass", pass)
			case pass > int64(len(data)):
				return
			}
			data = data[pass:]
		}
	})
}
