package zfs

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"zab/lib/record"
)

// A token that zfs 2.3.2 on Linux gave, and what `zfs send -nvt` says of it.
const tokenFull = "1-fdef83fa8-f0-789c636064000310a500c4ec50360710e72765a526973030a8409460caa7a515a79630c001489e0d493ea9b224b518483ba462d75f929f5e9a99c2c0207556d9416fe2941f1a48f29c60f9bcc45ca0de8ab462fd24856487624388391250fd3077a7e626a5a6e46783cde746124fcecf2d284a2d2e064ac1010024e71c41"

func TestDecodeToken(t *testing.T) {
	got, err := DecodeToken(tokenFull)
	if err != nil {
		t.Fatal(err)
	}
	want := &record.Resume{
		Token:  tokenFull,
		ToName: "xfs/b c@s1",
		ToGUID: "17912101245789916442", // 0xf894912e4023cd1a
		Bytes:  record.Ptr(int64(0x6540)),
		Flags:  []string{"embed", "compress"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, bytes %d", got, *got.Bytes)
	}
}

// saidOfToken reads what `zfs send -nvP -t` prints of a token.
func saidOfToken(t *testing.T, token string, lines []string) *record.Resume {
	t.Helper()
	r := &record.Resume{Token: token}
	for _, l := range lines {
		name, value, ok := strings.Cut(strings.TrimSpace(l), " = ")
		if !ok {
			continue
		}
		n, _ := strconv.ParseUint(strings.TrimPrefix(value, "0x"), 16, 64)
		switch name {
		case "toname":
			r.ToName = value
		case "toguid":
			r.ToGUID = strconv.FormatUint(n, 10)
		case "fromguid":
			r.FromGUID = strconv.FormatUint(n, 10)
		case "bytes":
			r.Bytes = record.Ptr(int64(n))
		case "object", "offset":
		case "rawok", "compressok", "largeblockok", "embedok":
			flag := map[string]string{"rawok": "raw", "compressok": "compress", "largeblockok": "large-block", "embedok": "embed"}[name]
			r.Flags = append(r.Flags, flag)
		default:
			t.Errorf("zfs tells %q of a token, which is not looked at", name)
		}
	}
	return r
}

// Tokens of real interrupted receives say what zfs itself reads in them.
func TestDecodeRealTokens(t *testing.T) {
	b, err := os.ReadFile("testdata/tokens.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, part := range strings.Split(string(b), "### ")[1:] {
		lines := strings.Split(part, "\n")
		token := strings.TrimPrefix(lines[1], "TOKEN ")
		got, err := DecodeToken(token)
		if err != nil {
			t.Errorf("%s: %v", lines[0], err)
			continue
		}
		if want := saidOfToken(t, token, lines[2:]); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", lines[0], got, want)
		}
		for _, f := range append(got.Flags, fmt.Sprintf("incremental %v", got.FromGUID != "")) {
			seen[f] = true
		}
	}
	for _, f := range []string{"raw", "compress", "large-block", "embed", "incremental true", "incremental false"} {
		if !seen[f] {
			t.Errorf("no token in the file is %s", f)
		}
	}
}

func TestDecodeTokenRefuses(t *testing.T) {
	damaged := []byte(tokenFull)
	damaged[40] ^= 1 // another digit
	for _, bad := range []string{
		"", "1", "1-2-3", "2" + tokenFull[1:], "1-0" + tokenFull[11:],
		tokenFull[:len(tokenFull)-2], "1-fdef83fa8-zz-789c",
		string(damaged), tokenFull + "-x", "-t", "1-fdef83fa8-fffffff0-789c",
		pack(nil, 1<<16), pack([]byte{9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 16),
		pack(nvlist(binary.LittleEndian, nvpair{"toname", nvString, "a@b"}), 0), // no toguid
	} {
		if r, err := DecodeToken(bad); err == nil {
			t.Errorf("%q was taken for %+v", bad, r)
		}
	}
}

// pack makes a token of a packed list; size 0 is the true one.
func pack(list []byte, size int) string {
	if size == 0 {
		size = len(list)
	}
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	w.Write(list)
	w.Close()
	return fmt.Sprintf("1-%x-%x-%s", fletcher4(z.Bytes()), size, hex.EncodeToString(z.Bytes()))
}

type nvpair struct {
	name  string
	typ   uint32
	value any
}

// nvlist packs pairs in the native encoding of a machine of that byte order;
// in XDR, which is big-endian, for nil.
func nvlist(order binary.AppendByteOrder, pairs ...nvpair) []byte {
	pad := func(b []byte, n int) []byte {
		for len(b)%n != 0 {
			b = append(b, 0)
		}
		return b
	}
	if order == nil {
		be := binary.BigEndian
		text := func(b []byte, s string) []byte { return pad(append(be.AppendUint32(b, uint32(len(s))), s...), 4) }
		b := []byte{1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}
		for _, p := range pairs {
			body := be.AppendUint32(be.AppendUint32(text(nil, p.name), p.typ), 1)
			switch v := p.value.(type) {
			case uint64:
				body = be.AppendUint64(body, v)
			case string:
				body = text(body, v)
			}
			b = append(be.AppendUint32(be.AppendUint32(b, uint32(len(body)+8)), 64), body...)
		}
		return append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	b := []byte{0, 0, 0, 0}
	if order.AppendUint16(nil, 1)[0] == 1 {
		b[1] = 1
	}
	b = order.AppendUint32(order.AppendUint32(b, 0), 1)
	for _, p := range pairs {
		body := pad(append([]byte(p.name), 0), 8)
		switch v := p.value.(type) {
		case uint64:
			body = order.AppendUint64(body, v)
		case string:
			body = pad(append(append(body, v...), 0), 8)
		}
		head := order.AppendUint32(nil, uint32(16+len(body)))
		head = order.AppendUint16(order.AppendUint16(head, uint16(len(p.name)+1)), 0)
		head = order.AppendUint32(order.AppendUint32(head, 1), p.typ)
		b = append(append(b, head...), body...)
	}
	return append(b, 0, 0, 0, 0)
}

// A token of any machine says what was put into it.
func TestDecodeTokenRoundTrip(t *testing.T) {
	orders := []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian, nil}
	rapid.Check(t, func(t *rapid.T) {
		want := &record.Resume{}
		var pairs []nvpair
		number := func(name string) uint64 {
			n := rapid.Uint64Range(1, 1<<63).Draw(t, name)
			pairs = append(pairs, nvpair{name, nvUint64, n})
			return n
		}
		if rapid.Bool().Draw(t, "incremental") {
			want.FromGUID = strconv.FormatUint(number("fromguid"), 10)
		}
		number("object")
		want.Bytes = record.Ptr(int64(number("bytes")))
		want.ToGUID = strconv.FormatUint(number("toguid"), 10)
		want.ToName = rapid.StringMatching(`[a-z/ ]{1,200}@[a-z0-9: ]{1,50}`).Draw(t, "toname")
		pairs = append(pairs, nvpair{"toname", nvString, want.ToName})
		for _, f := range [][2]string{{"largeblockok", "large-block"}, {"embedok", "embed"}, {"compressok", "compress"}, {"rawok", "raw"}} {
			if rapid.Bool().Draw(t, f[0]) {
				pairs = append(pairs, nvpair{f[0], nvBoolean, nil})
				want.Flags = append(want.Flags, f[1])
			}
		}
		if rapid.Bool().Draw(t, "more") {
			pairs = slices.Insert(pairs, 0, nvpair{"some_new_fact", nvString, "x"}, nvpair{"other", nvUint64, uint64(1)})
		}
		want.Token = pack(nvlist(rapid.SampledFrom(orders).Draw(t, "order"), pairs...), 0)
		got, err := DecodeToken(want.Token)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%v\n got %+v\nwant %+v", err, got, want)
		}
	})
}

// What a target gives for a token may be anything: it takes neither the
// program down nor the memory.
func TestDecodeTokenBounded(t *testing.T) {
	bomb := pack(make([]byte, 16<<20), 1<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if r, err := DecodeToken(bomb); err == nil {
		t.Errorf("%+v", r)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
		t.Errorf("%d bytes for a token of %d", n, len(bomb))
	}
}

func FuzzDecodeToken(f *testing.F) {
	f.Add(tokenFull)
	f.Add("1-0-0-")
	f.Add(pack(nvlist(nil, nvpair{"toguid", nvUint64, uint64(7)}), 0))
	f.Fuzz(func(t *testing.T, token string) {
		r, err := DecodeToken(token)
		if (err == nil) != (r != nil) || r != nil && (r.ToGUID == "" || r.Token != token) {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func FuzzNvlist(f *testing.F) {
	f.Add([]byte("\x00\x01\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00"))
	f.Add([]byte("\x01\x01\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x20"))
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian, nil} {
		f.Add(nvlist(order, nvpair{"toguid", nvUint64, uint64(1)}, nvpair{"toname", nvString, "a@b"}, nvpair{"rawok", nvBoolean, nil}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = readNvlist(b, func(name string, typ uint32, v []byte, text string) {
			setToken(&record.Resume{}, name, typ, v, text)
		})
	})
}
