package zfs

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"zab/lib/dataset"
	"zab/lib/record"
)

// Token is the receive_resume_token of a dataset, with every part checked. It comes from
// the target, but zfs send -t obeys it on the source: it determines which snapshot is
// sent, and whether raw. So it is read strictly, in the one form in which OpenZFS 2.1 to
// 2.4 writes it (get_receive_resume_token in dsl_dataset.c), and is used only if it Fits.
type Token struct {
	text                                    string
	order                                   byteOrder
	fromGUID, object, offset, bytes, toGUID uint64 // fromGUID is 0 for a full stream
	toName                                  string
	flags                                   [len(tokenFlags)]bool
}

// byteOrder is the byte order of the machine that made a token. The list is packed, and
// its checksum computed, in that order.
type byteOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// tokenFlags are the pairs without a value, in the order of a token's list,
// with their names in records.
var tokenFlags = [...]struct{ pair, name string }{
	{"largeblockok", "large-block"},
	{"embedok", "embed"},
	{"compressok", "compress"},
	{"rawok", "raw"},
}

const (
	flagLargeBlock = iota
	flagEmbed
	flagCompress
	flagRaw
)

// maxTokenList exceeds the size of the longest list, 624 bytes with a name of 255 bytes.
const maxTokenList = 1024

// DecodeToken decodes a resume token, which has four parts joined by dashes: 1, the
// Fletcher-4 sum of the compressed bytes, the length of the uncompressed list, and in hex
// the compressed bytes, a zlib stream of an nvlist. It refuses every text that OpenZFS
// does not write, because libzfs accepts more (sscanf, bytes after the end, duplicate
// pairs) and might read it differently. It starts no program, so that planning stays
// pure.
func DecodeToken(text string) (*Token, error) {
	t, err := decodeToken(text)
	if err != nil {
		return nil, fmt.Errorf("cannot decode the resume token: %w", err)
	}
	return t, nil
}

func decodeToken(text string) (*Token, error) {
	if len(text) > 4*maxTokenList {
		return nil, errors.New("it is too long")
	}
	parts := strings.Split(text, "-")
	if len(parts) != 4 {
		return nil, errors.New("it has not four parts")
	}
	if parts[0] != "1" {
		return nil, fmt.Errorf("version %q is not known", parts[0])
	}
	sum, ok := tokenNumber(parts[1])
	if !ok {
		return nil, errors.New("its checksum is not a number")
	}
	size, ok := tokenNumber(parts[2])
	if !ok || size > maxTokenList {
		return nil, errors.New("its length is not believable")
	}
	packed, err := hex.DecodeString(parts[3])
	if err != nil || hex.EncodeToString(packed) != parts[3] {
		return nil, errors.New("it is not hexadecimal in lower case")
	}
	list, err := inflate(packed, int(size))
	if err != nil {
		return nil, err
	}
	t := &Token{text: text, order: binary.LittleEndian}
	if len(list) > 1 && list[1] == 0 {
		t.order = binary.BigEndian
	}
	if fletcher4(t.order, packed) != sum {
		return nil, errors.New("its checksum is wrong")
	}
	if err := t.read(list); err != nil {
		return nil, err
	}
	return t, t.check()
}

// tokenNumber parses a number in the form in which C's %llx prints it; false if it has
// another form.
func tokenNumber(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 16, 64)
	return n, err == nil && strconv.FormatUint(n, 16) == s
}

// inflate returns the content of packed, which must be one zlib stream with nothing after
// it. The content must have exactly size bytes.
func inflate(packed []byte, size int) ([]byte, error) {
	in := bytes.NewReader(packed)
	z, err := zlib.NewReader(in)
	if err != nil {
		return nil, err
	}
	// Reading one byte beyond size makes zlib reach the end of the stream and verify
	// its checksum.
	list, err := io.ReadAll(io.LimitReader(z, int64(size)+1))
	switch {
	case err != nil:
		return nil, err
	case len(list) != size:
		return nil, errors.New("its list has not the length that it says")
	case in.Len() != 0:
		return nil, errors.New("bytes follow after its end")
	}
	return list, nil
}

// fletcher4 returns the first word of the Fletcher-4 checksum of b, over words of 32
// bits; bytes after the last whole word do not count.
func fletcher4(order byteOrder, b []byte) uint64 {
	var sum uint64
	for ; len(b) >= 4; b = b[4:] {
		sum += uint64(order.Uint32(b))
	}
	return sum
}

// The types of an nvlist's pairs that tokens use, from sys/nvpair.h.
const (
	nvBoolean = 1
	nvUint64  = 8
	nvString  = 9
)

var errCut = errors.New("its list is cut off")

// read takes the values out of a packed list, and then compares the list with the one
// that those values make. So the order of the pairs, their types, numbers of values,
// padding and reserved bytes need no checks of their own, and a pair that is missing,
// duplicate, or has a NUL in its name is noticed.
func (t *Token) read(list []byte) error {
	numbers := map[string]*uint64{"fromguid": &t.fromGUID, "object": &t.object, "offset": &t.offset, "bytes": &t.bytes, "toguid": &t.toGUID}
	const header = 12
	if len(list) < header {
		return errCut
	}
	for rest := list[header:]; ; {
		if len(rest) < 4 {
			return errCut
		}
		n := uint64(t.order.Uint32(rest))
		if n == 0 {
			break
		}
		if n < 16 || n > uint64(len(rest)) {
			return errCut
		}
		pair := rest[:n]
		rest = rest[n:]
		end := 16 + int(t.order.Uint16(pair[4:]))
		at := align(end)
		if end == 16 || at > len(pair) {
			return errCut
		}
		name, value := string(pair[16:end-1]), pair[at:]
		number := numbers[name]
		flag := slices.IndexFunc(tokenFlags[:], func(f struct{ pair, name string }) bool { return f.pair == name })
		switch {
		case number != nil && len(value) >= 8:
			*number = t.order.Uint64(value)
		case name == "toname":
			text, _, _ := bytes.Cut(value, []byte{0})
			t.toName = string(text)
		case flag >= 0:
			t.flags[flag] = true
		case name == "redact_snaps" || name == "book_redact_snaps":
			return errors.New("it is that of a redacted stream")
		default:
			return fmt.Errorf("its list has the unexpected pair %q", name)
		}
	}
	if !bytes.Equal(t.list(), list) {
		return errors.New("its list is not written as zfs writes it")
	}
	return nil
}

// check refuses values that no stream has.
func (t *Token) check() error {
	if _, err := dataset.ParseSnapshot(t.toName); err != nil {
		return fmt.Errorf("its snapshot %s has not the name of one: %w", strconv.Quote(cutText(t.toName)), err)
	}
	switch {
	case t.toGUID == 0:
		return errors.New("the guid of its snapshot is 0")
	case max(t.object, t.offset, t.bytes) > math.MaxInt64:
		return errors.New("the place where it broke off is not believable")
	}
	return nil
}

// list returns the list packed as OpenZFS packs it: in the native encoding of the machine
// (fnvlist_pack), with unique names (NV_UNIQUE_NAME), in this order.
func (t *Token) list() []byte {
	b := []byte{0, 0, 0, 0} // the encoding, the byte order, two reserved
	if t.order.Uint16([]byte{1, 0}) == 1 {
		b[1] = 1
	}
	b = t.order.AppendUint32(b, 0) // version
	b = t.order.AppendUint32(b, 1) // flags
	number := func(name string, n uint64) {
		b = t.appendPair(b, name, nvUint64, 1, t.order.AppendUint64(nil, n))
	}
	if t.fromGUID != 0 {
		number("fromguid", t.fromGUID)
	}
	number("object", t.object)
	number("offset", t.offset)
	number("bytes", t.bytes)
	number("toguid", t.toGUID)
	b = t.appendPair(b, "toname", nvString, 1, append([]byte(t.toName), 0))
	for i, f := range tokenFlags {
		if t.flags[i] {
			b = t.appendPair(b, f.pair, nvBoolean, 0, nil)
		}
	}
	return t.order.AppendUint32(b, 0)
}

// appendPair appends a pair in its memory layout (nvpair_t): size, length of the name
// with its NUL, a reserved half word, number of values, type; then the name and the
// value, each padded to eight bytes.
func (t *Token) appendPair(b []byte, name string, typ, values uint32, value []byte) []byte {
	size := 16 + align(len(name)+1) + align(len(value))
	end := len(b) + size
	b = t.order.AppendUint32(b, uint32(size))
	b = t.order.AppendUint16(b, uint16(len(name)+1))
	b = t.order.AppendUint16(b, 0)
	b = t.order.AppendUint32(b, values)
	b = t.order.AppendUint32(b, typ)
	b = append(append(b, name...), 0)
	b = append(b, make([]byte, align(len(name)+1)-len(name)-1)...)
	b = append(b, value...)
	return append(b, make([]byte, end-len(b))...)
}

func align(n int) int { return (n + 7) &^ 7 }

// String returns the token built anew from its checked values, for zfs send in place of
// the target's text. So libzfs reads the list that was checked, even if it would inflate
// a forged zlib stream differently.
func (t *Token) String() string {
	list := t.list()
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	w.Write(list) // a bytes.Buffer never fails
	w.Close()
	return fmt.Sprintf("1-%x-%x-%x", fletcher4(t.order, z.Bytes()), len(list), z.Bytes())
}

// Resume returns the token's facts in the form of a record.
func (t *Token) Resume() *record.Resume {
	r := &record.Resume{Token: t.text, ToName: t.toName, ToGUID: strconv.FormatUint(t.toGUID, 10), Bytes: record.Ptr(int64(t.bytes))}
	if t.fromGUID != 0 {
		r.FromGUID = strconv.FormatUint(t.fromGUID, 10)
	}
	for i, f := range tokenFlags {
		if t.flags[i] {
			r.Flags = append(r.Flags, f.name)
		}
	}
	return r
}

// SamePlace reports whether two texts are tokens that resume one stream at one place.
func SamePlace(a, b string) bool {
	x, err := DecodeToken(a)
	if err != nil {
		return false
	}
	y, err := DecodeToken(b)
	return err == nil && x.toGUID == y.toGUID && x.fromGUID == y.fromGUID && x.object == y.object && x.offset == y.offset
}

// TokenWant is the stream that a token must belong to.
type TokenWant struct {
	Source, To       string // the dataset and its snapshot
	ToGUID, FromGUID string // FromGUID is "" for a full stream
	Flags            []string
}

// Fits returns nil if the token may be used for the stream, otherwise the reason, in
// words that follow those about the token.
func (t *Token) Fits(want TokenWant) error {
	r := t.Resume()
	switch {
	case r.ToGUID != want.ToGUID:
		return fmt.Errorf("it belongs to '%s', not to the next snapshot wanted, '%s'", t.toName, want.To)
	case t.toName != want.Source+"@"+want.To:
		return fmt.Errorf("it names '%s', which is '%s@%s' now", t.toName, want.Source, want.To)
	case r.FromGUID != want.FromGUID:
		return errors.New("it starts from another snapshot than the newest in common")
	}
	return t.fitsFlags(want.Flags)
}

// fitsFlags compares the flags of a token with those of the wanted stream. The receiver
// copies the flags from the stream's header into the token, and zfs send
// (setup_featureflags in dmu_send.c) puts into the header:
//
//   - raw for -w and an encrypted dataset, the only kind that zab sends with -w.
//     If it were missing in a token, zfs would send the data decrypted (P10).
//   - compress for -c, and for -w.
//   - large-block for -L or -w only if the dataset has had a block above 128 KiB. So it
//     does not have to be present. A stream that was begun without -L may go on without
//     it: since 2.0, OpenZFS receives increments with -L on top of it. Increments without
//     -L on top of a stream with -L are refused, and lost data before (OpenZFS issue 6224).
//   - embed for -e, which zab never gives: what came of such a stream may lack extended
//     attributes, so it is not resumed.
func (t *Token) fitsFlags(flags []string) error {
	asked := func(f string) bool { return slices.Contains(flags, f) }
	raw := asked("-w")
	with := func(f string) error { return fmt.Errorf("it was sent with %s, and this stream is to go without", f) }
	switch {
	case t.flags[flagRaw] && !raw:
		return errors.New("it was sent with other flags about encryption: raw, and this stream is not to be")
	case !t.flags[flagRaw] && raw:
		return errors.New("it was sent with other flags about encryption: not raw, as this stream is to be")
	case t.flags[flagCompress] && !raw && !asked("-c"):
		return with("-c")
	case !t.flags[flagCompress] && (raw || asked("-c")):
		return errors.New("it was sent without -c, and this stream is to go with it")
	case t.flags[flagLargeBlock] && !raw && !asked("-L"):
		return with("-L")
	case t.flags[flagEmbed]:
		return errors.New("it was sent with -e, which may lose extended attributes and ACLs")
	}
	return nil
}

// resumeArgv returns the zfs send of a receive step with a token. Every token that
// reaches a command line passes through it.
func resumeArgv(source string, s *record.Step) ([]string, error) {
	t, err := DecodeToken(s.Token)
	if err != nil {
		return nil, err
	}
	if len(s.Through) > 0 {
		return nil, errors.New("cannot use the resume token: it brings one snapshot, and the step is to bring several")
	}
	want := TokenWant{Source: source, To: s.To, ToGUID: s.ToGUID, FromGUID: s.FromGUID, Flags: s.Flags}
	if err := t.Fits(want); err != nil {
		return nil, fmt.Errorf("cannot use the resume token: %w", err)
	}
	return []string{"zfs", "send", "-t", t.String()}, nil
}
