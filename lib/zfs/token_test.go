package zfs

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"zab/lib/record"
	"zab/lib/zfs/zfstest"
)

// A token that zfs 2.3.2 on Linux gave; TestDecodeToken has the facts that `zfs send
// -nvt` prints for it.
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
	if !reflect.DeepEqual(got.Resume(), want) {
		t.Fatalf("%+v", got)
	}
}

// saidOfToken parses the output of `zfs send -nvP -t` for a token.
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

// Tokens of real interrupted receives decode to the same facts that zfs itself reads in
// them.
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
		r := got.Resume()
		if want := saidOfToken(t, token, lines[2:]); !reflect.DeepEqual(r, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", lines[0], r, want)
		}
		for _, f := range append(r.Flags, fmt.Sprintf("incremental %v", r.FromGUID != "")) {
			seen[f] = true
		}
	}
	for _, f := range []string{"raw", "compress", "large-block", "embed", "incremental true", "incremental false"} {
		if !seen[f] {
			t.Errorf("no token in the file is %s", f)
		}
	}
}

// pairs returns the pairs of a token that zab may use, that of a raw incremental stream.
func pairs() []zfstest.Pair {
	return zfstest.Pairs("tank/a@s2", "7", "6", "compressok", "rawok")
}

// change returns the pairs with f applied to the pair of that name.
func change(name string, f func(*zfstest.Pair)) []zfstest.Pair {
	all := pairs()
	f(&all[slices.IndexFunc(all, func(p zfstest.Pair) bool { return p.Name == name })])
	return all
}

func value(name string, v any) []zfstest.Pair {
	return change(name, func(p *zfstest.Pair) { p.Value = v })
}

func without(name string) []zfstest.Pair {
	return slices.DeleteFunc(pairs(), func(p zfstest.Pair) bool { return p.Name == name })
}

// P10, P11: a token is refused unless zfs writes it in exactly this form, above all if
// libzfs would read it differently.
func TestDecodeTokenRefuses(t *testing.T) {
	le := byteOrder(binary.LittleEndian)
	good := zfstest.List(le, pairs()...)
	if _, err := DecodeToken(zfstest.Pack(le, good)); err != nil {
		t.Fatal(err)
	}
	text := zfstest.Pack(le, good)
	part := strings.Split(text, "-")
	packed, _ := hex.DecodeString(part[3])
	around := func(packed []byte, size int) string { // a token of a zlib stream
		return zfstest.Around(le, packed, size)
	}
	edit := func(f func(list []byte) []byte) string { return zfstest.Pack(le, f(bytes.Clone(good))) }
	set := func(at int, v byte) string { return edit(func(l []byte) []byte { l[at] = v; return l }) }
	list := func(pairs ...zfstest.Pair) string { return zfstest.Pack(le, zfstest.List(le, pairs...)) }
	adler := bytes.Clone(packed)
	adler[len(adler)-1] ^= 1
	var dictionary bytes.Buffer
	w, _ := zlib.NewWriterLevelDict(&dictionary, 6, []byte("toname"))
	w.Write(good)
	w.Close()
	damaged := []byte(tokenFull)
	damaged[40] ^= 1 // another digit
	upper := strings.ToUpper(part[3])
	for _, c := range []struct{ what, token, why string }{
		{"nothing", "", "four parts"},
		{"one part", "1", "four parts"},
		{"three parts", "1-2-3", "four parts"},
		{"an option", "-t", "four parts"},
		{"five parts", text + "-x", "four parts"},
		{"of five, the last its own", "1-0-0-00-" + text[2:], "four parts"},
		{"a later version", "2" + text[1:], "version"},
		{"its version with a zero", "0" + text, "version"},
		{"a sign", "+" + text, "version"},
		{"a blank", " " + text, "version"},
		{"another checksum", "1-1" + text[2:], "checksum"},
		{"a checksum with a zero", "1-0" + text[2:], "checksum is not a number"},
		{"a checksum with 0x", "1-0x" + text[2:], "checksum is not a number"},
		{"a checksum with a sign", "1-+" + text[2:], "checksum is not a number"},
		{"a checksum in upper case", "1-" + strings.ToUpper(part[1]) + "-" + part[2] + "-" + part[3], "checksum is not a number"},
		{"a checksum of 17 digits", "1-" + strings.Repeat("1", 17) + "-" + part[2] + "-" + part[3], "checksum is not a number"},
		{"no checksum", "1--" + part[2] + "-" + part[3], "checksum is not a number"},
		{"a length with a zero", "1-" + part[1] + "-0" + part[2] + "-" + part[3], "length"},
		{"a length with _", "1-" + part[1] + "-1_0-" + part[3], "length"},
		{"a length of more than there is", "1-" + part[1] + "-3ff-" + part[3], "length"},
		{"a length of less than there is", "1-" + part[1] + "-10-" + part[3], "length"},
		{"a length beyond belief", "1-" + part[1] + "-fffffff0-" + part[3], "length"},
		{"upper case", "1-" + part[1] + "-" + part[2] + "-" + upper, "lower case"},
		{"half a byte", text[:len(text)-1], "hexadecimal"},
		{"a byte missing", text[:len(text)-2], "EOF"},
		{"not hexadecimal", "1-0-1-zz", "hexadecimal"},
		{"an end of line", text + "\n", "hexadecimal"},
		{"a NUL", text + "\x00", "hexadecimal"},
		{"another digit", string(damaged), ""},
		{"no zlib stream", around([]byte("hello, world"), 12), "zlib"},
		{"bytes after the zlib stream", around(append(bytes.Clone(packed), 0), len(good)), "follow"},
		{"two zlib streams", around(append(bytes.Clone(packed), packed...), len(good)), "follow"},
		{"a zlib stream with a wrong sum", around(adler, len(good)), "checksum"},
		{"a zlib stream with a dictionary", around(dictionary.Bytes(), len(good)), "dictionary"},
		{"longer than any", around(bytes.Repeat([]byte{1}, 5000), 12), "too long"},

		{"no list", zfstest.Pack(le, nil), "cut off"},
		{"a header alone", edit(func(l []byte) []byte { return l[:12] }), "cut off"},
		{"no end", edit(func(l []byte) []byte { return l[:len(l)-4] }), "cut off"},
		{"a byte after the end", edit(func(l []byte) []byte { return append(l, 0) }), "not written"},
		{"a pair after the end", edit(func(l []byte) []byte { return append(l, l[12:]...) }), "not written"},
		{"XDR", zfstest.Pack(le, zfstest.XDRList(pairs()...)), ""},
		{"the encoding XDR in the header", set(0, 1), "not written"},
		{"an unknown byte order", set(1, 2), "not written"},
		{"a reserved byte", set(2, 1), "not written"},
		{"another version of lists", set(4, 1), "not written"},
		{"names that may come twice", set(8, 0), "not written"},
		{"a pair of size 8", set(12, 8), "cut off"},
		{"a pair of an odd size", set(12, 39), ""},
		{"a reserved half word", set(18, 1), "not written"},
		{"the length of a name is 0", set(16, 0), "cut off"},
		{"the length of a name is one less", set(16, 8), "fromgui"},
		{"the length of a name is beyond the pair", set(17, 1), "cut off"},
		{"bytes behind a name", set(12+16+9, 1), "not written"},
		{"big-endian, with the little sum", zfstest.Pack(le, zfstest.List(binary.BigEndian, pairs()...)), "checksum is wrong"},
		{"little-endian, with the big sum", zfstest.Pack(binary.BigEndian, good), "checksum is wrong"},

		{"without object", list(without("object")...), "not written"},
		{"without offset", list(without("offset")...), "not written"},
		{"without bytes", list(without("bytes")...), "not written"},
		{"without toguid", list(without("toguid")...), "not written"},
		{"without toname", list(without("toname")...), "not written"},
		{"no pairs", list(), "not written"},
		{"an unknown pair", list(append(pairs(), zfstest.Pair{Name: "savedok"})...), `unexpected pair "savedok"`},
		{"an unknown pair first", list(append([]zfstest.Pair{{Name: "x", Value: uint64(1)}}, pairs()...)...), `unexpected pair "x"`},
		{"a pair without a name", list(append(pairs(), zfstest.Pair{})...), `unexpected pair ""`},
		{"a redacted one", list(append(pairs(), zfstest.Pair{Name: "redact_snaps", Value: uint64(1)})...), "redacted"},
		{"one from a redaction bookmark", list(append(pairs(), zfstest.Pair{Name: "book_redact_snaps", Value: uint64(1)})...), "redacted"},
		{"a name with a NUL", list(change("toguid", func(p *zfstest.Pair) { p.Name = "toguid\x00x" })...), `unexpected pair "toguid\x00x"`},
		{"a second one with a NUL", list(append(pairs(), zfstest.Pair{Name: "toguid\x00x", Value: uint64(9)})...), `unexpected pair "toguid\x00x"`},
		{"a name with a NUL at its end", list(change("toguid", func(p *zfstest.Pair) { p.Name = "toguid\x00" })...), `unexpected pair "toguid\x00"`},
		{"rawok with a NUL", list(change("rawok", func(p *zfstest.Pair) { p.Name = "rawok\x00" })...), `unexpected pair "rawok\x00"`},
		{"a name in upper case", list(change("rawok", func(p *zfstest.Pair) { p.Name = "RAWOK" })...), `unexpected pair "RAWOK"`},
		{"a guid twice", list(append(pairs(), zfstest.Pair{Name: "toguid", Value: uint64(7)})...), "not written"},
		{"two guids", list(append(pairs(), zfstest.Pair{Name: "toguid", Value: uint64(9)})...), "not written"},
		{"a flag twice", list(append(pairs(), zfstest.Pair{Name: "rawok"})...), "not written"},
		{"another order", list(append(pairs()[1:], pairs()[0])...), "not written"},
		{"flags in another order", list(append(pairs()[:6], zfstest.Pair{Name: "rawok"}, zfstest.Pair{Name: "compressok"})...), "not written"},
		{"a guid that is a string", list(value("toguid", "7")...), "not written"},
		{"a guid of another type", list(change("toguid", func(p *zfstest.Pair) { p.Type = 7 })...), "not written"},
		{"two values", list(change("toguid", func(p *zfstest.Pair) { p.N = 2 })...), "not written"},
		{"a guid of two words", list(value("toguid", []byte("123456789"))...), "not written"},
		{"a guid without a value", list(value("toguid", nil)...), `unexpected pair "toguid"`},
		{"a flag with a value", list(value("rawok", uint64(1))...), "not written"},
		{"a flag with a value that says no", list(change("rawok", func(p *zfstest.Pair) { p.Type, p.N, p.Value = 21, 1, []byte{0, 0, 0, 0} })...), "not written"},
		{"a flag that counts one value", list(change("rawok", func(p *zfstest.Pair) { p.N = 1 })...), "not written"},
		{"a name that is a number", list(value("toname", uint64(0x4073))...), ""},
		{"toname with a NUL", list(value("toname", "tank/a@s2\x00tank/b@s2")...), "not written"},
		{"toname without a NUL", list(change("toname", func(p *zfstest.Pair) { p.Type, p.N, p.Value = nvString, 1, []byte("tank/a@s") })...), "not written"},
		{"bytes behind toname", list(change("toname", func(p *zfstest.Pair) { p.Type, p.N, p.Value = nvString, 1, []byte("tank/a@s\x00xxxxxxx") })...), "not written"},
		{"a base with the guid 0", list(value("fromguid", uint64(0))...), "not written"},
		{"a snapshot with the guid 0", list(value("toguid", uint64(0))...), "guid of its snapshot is 0"},
		{"more bytes than there can be", list(value("bytes", uint64(1)<<63)...), "not believable"},
		{"an offset beyond all", list(value("offset", uint64(1)<<63)...), "not believable"},
		{"an object beyond all", list(value("object", uint64(1)<<63)...), "not believable"},
		{"a dataset", list(value("toname", "tank/a")...), "not the name"},
		{"a bookmark", list(value("toname", "tank/a#s2")...), "not the name"},
		{"no name", list(value("toname", "")...), "not the name"},
		{"no dataset", list(value("toname", "@s2")...), "not the name"},
		{"two snapshots", list(value("toname", "tank/a@s1@s2")...), "not the name"},
		{"snapshots from one to another", list(value("toname", "tank/a@s1%s2")...), "not the name"},
		{"an option", list(value("toname", "-R@s2")...), "not the name"},
		{"escapes", list(value("toname", "tank/\x1b[2J@s2")...), "not the name"},
		{"a name of 256 bytes", list(value("toname", "tank/"+strings.Repeat("a", 200)+"@"+strings.Repeat("s", 50))...), "longer than 255"},
	} {
		r, err := DecodeToken(c.token)
		if err == nil || r != nil {
			t.Errorf("%s: %q was taken for %+v", c.what, c.token, r)
			continue
		}
		if !strings.HasPrefix(err.Error(), "cannot decode the resume token: ") || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// The longest possible list is within the limit.
func TestDecodeTokenLong(t *testing.T) {
	all := value("toname", strings.Repeat("a", 200)+"@"+strings.Repeat("s", 54))
	all = slices.Insert(all, 6, zfstest.Pair{Name: "largeblockok"}, zfstest.Pair{Name: "embedok"})
	list := zfstest.List(binary.LittleEndian, all...)
	if _, err := DecodeToken(zfstest.Pack(binary.LittleEndian, list)); err != nil || len(list) > maxTokenList {
		t.Errorf("%d bytes: %v", len(list), err)
	}
}

// P10: a token resumes only the stream that it belongs to.
func TestTokenFits(t *testing.T) {
	want := func(change func(*TokenWant)) TokenWant {
		w := TokenWant{Source: "tank/a", To: "s2", ToGUID: "7", FromGUID: "6", Flags: []string{"-L", "-w", "-p"}}
		change(&w)
		return w
	}
	flags := func(f ...string) TokenWant { return want(func(w *TokenWant) { w.Flags = f }) }
	token := func(flags ...string) []zfstest.Pair { // in the order of a token
		all := pairs()[:6]
		for _, f := range flags {
			all = append(all, zfstest.Pair{Name: f})
		}
		return all
	}
	plain := []string{"-L", "-p"}
	for _, c := range []struct {
		what  string
		pairs []zfstest.Pair
		want  TokenWant
		why   string // "" for one that fits
	}{
		{"the same", pairs(), want(func(*TokenWant) {}), ""},
		{"another snapshot", pairs(), want(func(w *TokenWant) { w.ToGUID = "8" }), "belongs to 'tank/a@s2', not to the next snapshot wanted"},
		{"no guid", pairs(), want(func(w *TokenWant) { w.ToGUID = "" }), "belongs to"},
		{"another dataset", pairs(), want(func(w *TokenWant) { w.Source = "tank/b" }), "'tank/a@s2', which is 'tank/b@s2' now"},
		{"another name", pairs(), want(func(w *TokenWant) { w.To = "s3" }), "which is 'tank/a@s3' now"},
		{"another base", pairs(), want(func(w *TokenWant) { w.FromGUID = "5" }), "starts from another snapshot"},
		{"no base", pairs(), want(func(w *TokenWant) { w.FromGUID = "" }), "starts from another snapshot"},
		{"a full one", without("fromguid"), want(func(w *TokenWant) { w.FromGUID = "" }), ""},
		{"a full one, for an increment", without("fromguid"), want(func(*TokenWant) {}), "starts from another snapshot"},

		{"raw", token("compressok", "rawok"), flags("-w", "-p"), ""},
		{"raw with large blocks", token("largeblockok", "compressok", "rawok"), flags("-L", "-w", "-p"), ""},
		{"raw with large blocks and no -L", token("largeblockok", "compressok", "rawok"), flags("-w", "-p"), ""},
		{"raw with -c", token("compressok", "rawok"), flags("-L", "-c", "-w", "-p"), ""},
		{"rawok taken away", token("compressok"), flags("-L", "-w", "-p"), "not raw, as"},
		{"all taken away", token(), flags("-L", "-w", "-p"), "not raw, as"},
		{"compressok taken away", token("rawok"), flags("-L", "-w", "-p"), "without -c"},
		{"raw, and not to be", token("compressok", "rawok"), flags(plain...), "raw, and"},
		{"raw with embedded data", token("embedok", "compressok", "rawok"), flags("-L", "-w", "-p"), "with -e"},

		{"plain", token(), flags(plain...), ""},
		{"with large blocks", token("largeblockok"), flags(plain...), ""},
		{"with embedded data", token("embedok"), flags(plain...), "with -e"},
		{"with both", token("largeblockok", "embedok"), flags(plain...), "with -e"},
		{"compressed", token("largeblockok", "compressok"), flags("-L", "-c", "-p"), ""},
		{"decrypted", token("largeblockok"), flags("-L"), ""},
		{"no flags", token(), flags(), ""},
		{"compressed, and not to be", token("compressok"), flags(plain...), "with -c, and"},
		{"not compressed", token(), flags("-L", "-c", "-p"), "without -c"},
		{"large blocks, and not to be", token("largeblockok"), flags("-p"), "with -L, and"},
	} {
		tok, err := DecodeToken(zfstest.Pack(binary.LittleEndian, zfstest.List(binary.LittleEndian, c.pairs...)))
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		err = tok.Fits(c.want)
		if (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v", c.what, err)
		}
		// zfs send gets the same token, rebuilt by zab.
		step := &record.Step{To: c.want.To, ToGUID: c.want.ToGUID, FromGUID: c.want.FromGUID, Flags: c.want.Flags, Token: tok.text}
		argv, err := SendArgv(c.want.Source, step)
		if (err == nil) != (c.why == "") {
			t.Errorf("%s: %q, %v", c.what, argv, err)
		}
		if err == nil && !slices.Equal(argv, []string{"zfs", "send", "-t", tok.String()}) {
			t.Errorf("%s: %q", c.what, argv)
		}
		step.Through = []record.Through{{Name: "s1", GUID: "1"}}
		if argv, err := SendArgv(c.want.Source, step); err == nil {
			t.Errorf("%s, for several snapshots: %q", c.what, argv)
		}
	}
}

// A token of a machine of either byte order decodes to the values that were put into it,
// and so does the rebuilt token.
func TestDecodeTokenRoundTrip(t *testing.T) {
	orders := []byteOrder{binary.LittleEndian, binary.BigEndian}
	rapid.Check(t, func(t *rapid.T) {
		want := &record.Resume{}
		var pairs []zfstest.Pair
		number := func(name string) uint64 {
			n := rapid.Uint64Range(1, 1<<63-1).Draw(t, name)
			pairs = append(pairs, zfstest.Pair{Name: name, Value: n})
			return n
		}
		if rapid.Bool().Draw(t, "incremental") {
			want.FromGUID = strconv.FormatUint(number("fromguid"), 10)
		}
		number("object")
		number("offset")
		want.Bytes = record.Ptr(int64(number("bytes")))
		want.ToGUID = strconv.FormatUint(number("toguid"), 10)
		want.ToName = rapid.StringMatching(`[a-z][a-z ]{0,99}(/[a-z]{1,99})?@[a-z0-9: ]{1,50}`).Draw(t, "toname")
		pairs = append(pairs, zfstest.Pair{Name: "toname", Value: want.ToName})
		for _, f := range tokenFlags {
			if rapid.Bool().Draw(t, f.name) {
				pairs = append(pairs, zfstest.Pair{Name: f.pair})
				want.Flags = append(want.Flags, f.name)
			}
		}
		order := rapid.SampledFrom(orders).Draw(t, "order")
		list := zfstest.List(order, pairs...)
		want.Token = zfstest.Pack(order, list)
		got, err := DecodeToken(want.Token)
		if err != nil || !reflect.DeepEqual(got.Resume(), want) {
			t.Fatalf("%v\n got %+v\nwant %+v", err, got, want)
		}
		again, err := DecodeToken(got.String())
		if err != nil || !bytes.Equal(again.list(), list) {
			t.Fatalf("%v: built anew, %q", err, got)
		}
	})
}

// Any text that a target gives as a token is decoded without a panic and in bounded
// memory.
func TestDecodeTokenBounded(t *testing.T) {
	bomb := zfstest.Pack(binary.LittleEndian, make([]byte, 1<<20))
	long := "1-1-400-" + strings.Repeat("00", 8<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, token := range []string{bomb, "1-1-400-" + bomb[strings.LastIndexByte(bomb, '-')+1:], long} {
		if r, err := DecodeToken(token); err == nil {
			t.Errorf("%+v", r)
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes for tokens of %d and %d", n, len(bomb), len(long))
	}
}

// No text makes the decoder panic, and a token that it returns has the list of the text.
func FuzzToken(f *testing.F) {
	f.Add(tokenFull)
	f.Add("1-0-0-")
	for _, order := range []byteOrder{binary.LittleEndian, binary.BigEndian} {
		f.Add(zfstest.Pack(order, zfstest.List(order, pairs()...)))
		f.Add(zfstest.Pack(order, zfstest.List(order, value("toname", "tank/a@s2\x00x")...)))
	}
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := DecodeToken(text)
		if (err == nil) != (tok != nil) {
			t.Fatalf("%+v, %v", tok, err)
		}
		if tok == nil {
			return
		}
		packed, _ := hex.DecodeString(text[strings.LastIndexByte(text, '-')+1:])
		z, err := zlib.NewReader(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		list, err := io.ReadAll(z)
		if err != nil || !bytes.Equal(list, tok.list()) {
			t.Errorf("%q becomes %q, %v", list, tok.list(), err)
		}
	})
}

// FuzzTokenList is FuzzToken for lists, which mutations hardly reach through the checksum
// and zlib.
func FuzzTokenList(f *testing.F) {
	for _, order := range []byteOrder{binary.LittleEndian, binary.BigEndian} {
		f.Add(zfstest.List(order, pairs()...))
		f.Add(zfstest.List(order, without("fromguid")...))
		f.Add(zfstest.List(order, append(pairs(), zfstest.Pair{Name: "toguid\x00x", Value: uint64(9)})...))
	}
	f.Add(zfstest.XDRList(pairs()...))
	f.Fuzz(func(t *testing.T, list []byte) {
		for _, order := range []byteOrder{binary.LittleEndian, binary.BigEndian} {
			tok := &Token{order: order}
			if tok.read(list) != nil || tok.check() != nil {
				continue
			}
			if !bytes.Equal(list, tok.list()) {
				t.Errorf("%q becomes %q", list, tok.list())
			}
			// As another program would read it: each pair comes once, and its
			// name has no NUL inside.
			seen := map[string]bool{}
			for rest := list[12 : len(list)-4]; len(rest) > 0; rest = rest[order.Uint32(rest):] {
				name := string(rest[16 : 16+order.Uint16(rest[4:])])
				if seen[name] || strings.Count(name, "\x00") != 1 {
					t.Errorf("the pair %q in %q", name, list)
				}
				seen[name] = true
			}
			if again, err := DecodeToken(tok.String()); err != nil || !bytes.Equal(again.list(), list) {
				t.Errorf("built anew: %v", err)
			}
		}
	})
}
