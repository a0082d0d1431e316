package zfs

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"zab/lib/record"
)

// DecodeToken reads a receive_resume_token (libzfs, zfs_send_resume_token):
// version, Fletcher-4 sum of the compressed bytes, length of the list when
// uncompressed, and the bytes in hex; they are a zlib stream of an nvlist.
// Nothing is started for it, so that a plan stays pure.
func DecodeToken(token string) (*record.Resume, error) {
	r := &record.Resume{Token: token}
	parts := strings.Split(token, "-")
	if len(parts) != 4 {
		return nil, errors.New("cannot decode the resume token: it has not four parts")
	}
	if parts[0] != "1" {
		return nil, fmt.Errorf("cannot decode the resume token: version %q is not known", parts[0])
	}
	sum, err := strconv.ParseUint(parts[1], 16, 64)
	if err != nil {
		return nil, errors.New("cannot decode the resume token: its checksum is not a number")
	}
	size, err := strconv.ParseUint(parts[2], 16, 32)
	if err != nil || size > 1<<20 {
		return nil, errors.New("cannot decode the resume token: its length is not believable")
	}
	packed, err := hex.DecodeString(parts[3])
	if err != nil {
		return nil, errors.New("cannot decode the resume token: it is not hexadecimal")
	}
	if fletcher4(packed) != sum {
		return nil, errors.New("cannot decode the resume token: its checksum is wrong")
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("cannot decode the resume token: %w", err)
	}
	list, err := io.ReadAll(io.LimitReader(z, int64(size)))
	if err != nil {
		return nil, fmt.Errorf("cannot decode the resume token: %w", err)
	}
	if err := readNvlist(list, func(name string, typ uint32, v []byte, text string) { setToken(r, name, typ, v, text) }); err != nil {
		return nil, fmt.Errorf("cannot decode the resume token: %w", err)
	}
	if r.ToGUID == "" {
		return nil, errors.New("cannot decode the resume token: it does not say which snapshot it belongs to")
	}
	return r, nil
}

// fletcher4 is the first word of the checksum of that name, over words of 32
// bits in little-endian order; bytes beyond the last whole word do not count.
func fletcher4(b []byte) uint64 {
	var sum uint64
	for ; len(b) >= 4; b = b[4:] {
		sum += uint64(binary.LittleEndian.Uint32(b))
	}
	return sum
}

// The types of an nvlist's pairs that tokens use, from sys/nvpair.h.
const (
	nvBoolean      = 1
	nvUint64       = 8
	nvString       = 9
	nvBooleanValue = 21
)

// setToken takes one pair of the token's list into r.
func setToken(r *record.Resume, name string, typ uint32, v []byte, text string) {
	num := func() uint64 {
		if typ != nvUint64 || len(v) < 8 {
			return 0
		}
		return binary.BigEndian.Uint64(v)
	}
	flag := func(s string) {
		if typ == nvBoolean || typ == nvBooleanValue {
			r.Flags = append(r.Flags, s)
		}
	}
	switch name {
	case "toname":
		r.ToName = text
	case "toguid":
		r.ToGUID = strconv.FormatUint(num(), 10)
	case "fromguid":
		if n := num(); n != 0 {
			r.FromGUID = strconv.FormatUint(n, 10)
		}
	case "bytes":
		r.Bytes = record.Ptr(int64(num()))
	case "rawok":
		flag("raw")
	case "compressok":
		flag("compress")
	case "largeblockok":
		flag("large-block")
	case "embedok":
		flag("embed")
	}
}

// readNvlist walks a packed nvlist: a header of four bytes (encoding, byte
// order of the native one, two reserved), version and flags, then pairs until
// one of size 0. Tokens are in the native encoding of the machine that made
// them (fnvlist_pack); XDR is what nvlists otherwise travel in.
func readNvlist(b []byte, pair func(name string, typ uint32, value []byte, text string)) error {
	if len(b) < 12 {
		return errShort
	}
	next := xdrPair
	switch b[0] {
	case 0:
		var order binary.ByteOrder = binary.BigEndian
		if b[1] == 1 {
			order = binary.LittleEndian
		}
		next = func(p []byte) (string, uint32, []byte, string, bool) { return nativePair(order, p) }
	case 1:
	default:
		return fmt.Errorf("its list has the unknown encoding %d", b[0])
	}
	size := func(p []byte) uint32 { return binary.BigEndian.Uint32(p) }
	if b[0] == 0 && b[1] == 1 {
		size = func(p []byte) uint32 { return binary.LittleEndian.Uint32(p) }
	}
	b = b[12:]
	for {
		if len(b) < 4 {
			return errShort
		}
		n := size(b)
		if n == 0 {
			return nil
		}
		if n < 16 || uint64(n) > uint64(len(b)) {
			return errShort
		}
		name, typ, value, text, ok := next(b[:n])
		if !ok {
			return errShort
		}
		pair(name, typ, value, text)
		b = b[n:]
	}
}

var errShort = errors.New("its list is cut off")

// xdrPair reads a pair in XDR: its size packed and unpacked, name, type, number
// of values, value. Integers are big-endian, strings padded to four bytes.
func xdrPair(p []byte) (name string, typ uint32, value []byte, text string, ok bool) {
	if len(p) < 8 {
		return
	}
	if name, p, ok = xdrString(p[8:]); !ok || len(p) < 8 {
		return "", 0, nil, "", false
	}
	typ, value = binary.BigEndian.Uint32(p), p[8:]
	if typ == nvString {
		text, _, ok = xdrString(value)
	}
	return name, typ, value, text, ok
}

func xdrString(b []byte) (s string, rest []byte, ok bool) {
	if len(b) < 4 {
		return "", nil, false
	}
	n := uint64(binary.BigEndian.Uint32(b))
	padded := (n + 3) &^ 3
	b = b[4:]
	if padded > uint64(len(b)) {
		return "", nil, false
	}
	return string(b[:n]), b[padded:], true
}

// nativePair reads a pair as it lies in memory (nvpair_t): size, length of the
// name with its NUL, a reserved half word, number of values, type; then the
// name and the value, each padded to eight bytes. The value is given in
// big-endian order, as XDR has it.
func nativePair(order binary.ByteOrder, p []byte) (name string, typ uint32, value []byte, text string, ok bool) {
	if len(p) < 16 {
		return
	}
	n := int(order.Uint16(p[4:]))
	typ = order.Uint32(p[12:])
	at := (16 + n + 7) &^ 7
	if n == 0 || at > len(p) {
		return
	}
	name, value = cString(p[16:16+n]), p[at:]
	switch typ {
	case nvString:
		text = cString(value)
	case nvUint64:
		if len(value) < 8 {
			return
		}
		value = binary.BigEndian.AppendUint64(nil, order.Uint64(value))
	}
	return name, typ, value, text, true
}

// cString is what stands before the first NUL.
func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
