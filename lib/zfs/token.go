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
// uncompressed, and the bytes in hex; they are a zlib stream of an nvlist in
// XDR. Nothing is started for it, so that a plan stays pure.
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

// readNvlist walks a packed nvlist in XDR: a header of four bytes, version and
// flags, then pairs until one of size 0. Integers are big-endian, strings
// padded to four bytes.
func readNvlist(b []byte, pair func(name string, typ uint32, value []byte, text string)) error {
	short := errors.New("its list is cut off")
	if len(b) < 12 {
		return short
	}
	if b[0] != 1 {
		return fmt.Errorf("its list has the unknown encoding %d", b[0])
	}
	b = b[12:]
	for {
		if len(b) < 8 {
			return short
		}
		size := binary.BigEndian.Uint32(b)
		if size == 0 {
			return nil
		}
		if size < 20 || uint64(size) > uint64(len(b)) {
			return short
		}
		p := b[8:size]
		b = b[size:]
		name, p, ok := xdrString(p)
		if !ok || len(p) < 8 {
			return short
		}
		typ := binary.BigEndian.Uint32(p)
		p = p[8:]
		text := ""
		if typ == nvString {
			if text, _, ok = xdrString(p); !ok {
				return short
			}
		}
		pair(name, typ, p, text)
	}
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
