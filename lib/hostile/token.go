package hostile

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// nvpair is a pair of a resume token.
type nvpair struct {
	name  string
	value any // uint64, string, or nil for a flag
}

// encodeToken returns a receive_resume_token in the format of libzfs: version, checksum,
// length, and a packed nvlist, compressed with zlib, in hex. A tail after the end of the
// list makes the token invalid.
func encodeToken(pairs []nvpair, tail []byte) string {
	le := binary.LittleEndian
	pad := func(b []byte) []byte {
		for len(b)%8 != 0 {
			b = append(b, 0)
		}
		return b
	}
	list := []byte{0, 1, 0, 0}
	list = le.AppendUint32(le.AppendUint32(list, 0), 1)
	for _, p := range pairs {
		body := pad(append([]byte(p.name), 0))
		typ, n := uint32(1), uint32(1)
		switch v := p.value.(type) {
		case uint64:
			typ, body = 8, le.AppendUint64(body, v)
		case string:
			typ, body = 9, pad(append(append(body, v...), 0))
		default:
			n = 0
		}
		head := le.AppendUint32(nil, uint32(16+len(body)))
		head = le.AppendUint16(le.AppendUint16(head, uint16(len(p.name)+1)), 0)
		head = le.AppendUint32(le.AppendUint32(head, n), typ)
		list = append(append(list, head...), body...)
	}
	list = append(append(list, 0, 0, 0, 0), tail...)
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	w.Write(list)
	w.Close()
	return fmt.Sprintf("1-%x-%x-%s", fletcher(z.Bytes()), len(list), hex.EncodeToString(z.Bytes()))
}

// fletcher returns the first word of the fletcher4 checksum.
func fletcher(b []byte) (sum uint64) {
	for ; len(b) >= 4; b = b[4:] {
		sum += uint64(binary.LittleEndian.Uint32(b))
	}
	return sum
}

// decodeToken decodes a resume token and refuses every token that libzfs would not have
// made, so that the observer sees a malformed one that zab passed on.
func decodeToken(token string) ([]nvpair, error) {
	parts := strings.Split(token, "-")
	if len(parts) != 4 || parts[0] != "1" {
		return nil, errors.New("it does not have four parts")
	}
	packed, err := hex.DecodeString(parts[3])
	if err != nil {
		return nil, err
	}
	if strconv.FormatUint(fletcher(packed), 16) != parts[1] {
		return nil, errors.New("wrong checksum")
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(z, 1<<20))
	if err != nil || strconv.FormatInt(int64(len(b)), 16) != parts[2] || len(b) < 16 || b[0] != 0 || b[1] != 1 {
		return nil, fmt.Errorf("not an nvlist: %v", err)
	}
	le := binary.LittleEndian
	var out []nvpair
	for b = b[12:]; ; {
		if len(b) < 4 {
			return nil, errors.New("the list is cut off")
		}
		n := le.Uint32(b)
		if n == 0 {
			if len(b) != 4 {
				return nil, errors.New("there is something after the list")
			}
			return out, nil
		}
		if n < 24 || int(n) > len(b) {
			return nil, errors.New("a pair is cut off")
		}
		l := int(le.Uint16(b[4:]))
		at := (16 + l + 7) &^ 7
		if l < 2 || at > int(n) {
			return nil, errors.New("a pair's name is cut off")
		}
		p := nvpair{name: string(b[16 : 16+l-1])}
		if strings.ContainsRune(p.name, 0) || slices.ContainsFunc(out, func(q nvpair) bool { return q.name == p.name }) {
			return nil, fmt.Errorf("the pair %q", p.name)
		}
		switch value := b[at:n]; le.Uint32(b[12:]) {
		case 8:
			if len(value) != 8 {
				return nil, errors.New("a number is cut off")
			}
			p.value = le.Uint64(value)
		case 9:
			p.value = strings.TrimRight(string(value), "\x00")
			if strings.ContainsRune(p.value.(string), 0) {
				return nil, fmt.Errorf("the value %q", p.value)
			}
		}
		out = append(out, p)
		b = b[n:]
	}
}

// tokenFor returns the token of an interrupted stream, with flags such as rawok. Its
// pairs have the order of zfs.
func tokenFor(toname, toguid, fromguid string, flags ...string) string {
	to, _ := strconv.ParseUint(toguid, 10, 64)
	pairs := []nvpair{}
	if fromguid != "" {
		from, _ := strconv.ParseUint(fromguid, 10, 64)
		pairs = append(pairs, nvpair{"fromguid", from})
	}
	pairs = append(pairs, nvpair{"object", uint64(2)}, nvpair{"offset", uint64(0x140000)}, nvpair{"bytes", uint64(1234)},
		nvpair{"toguid", to}, nvpair{"toname", toname})
	for _, f := range flags {
		pairs = append(pairs, nvpair{f, nil})
	}
	return encodeToken(pairs, nil)
}
