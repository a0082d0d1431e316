// Package zfstest imitates zfs for tests: it makes resume tokens, including ones that zfs
// never makes, and has scripts that answer zfs get and stand in for ssh.
package zfstest

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
)

// ByteOrder is the byte order of the machine that makes a token.
type ByteOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// The types of pairs, from sys/nvpair.h.
const (
	typeBoolean = 1
	typeUint64  = 8
	typeString  = 9
)

// Pair is a pair of a token's list. Value is a uint64, a string, nil for a flag, or
// bytes. Type and N, the number of values, are derived from Value unless they are given.
type Pair struct {
	Name    string
	Value   any
	Type, N uint32
}

func (p Pair) kind() (typ, n uint32) {
	typ, n = typeUint64, 1
	switch p.Value.(type) {
	case nil:
		typ, n = typeBoolean, 0
	case string:
		typ = typeString
	}
	if p.Type != 0 {
		typ = p.Type
	}
	if p.N != 0 {
		n = p.N
	}
	return typ, n
}

// Pairs returns the pairs of a token as zfs writes them. fromguid is "" for a full
// stream; flags are names such as rawok, in zfs's order.
func Pairs(toname, toguid, fromguid string, flags ...string) []Pair {
	var all []Pair
	if fromguid != "" {
		all = append(all, Pair{Name: "fromguid", Value: number(fromguid)})
	}
	all = append(all, Pair{Name: "object", Value: uint64(2)}, Pair{Name: "offset", Value: uint64(131072)}, Pair{Name: "bytes", Value: uint64(4096)},
		Pair{Name: "toguid", Value: number(toguid)}, Pair{Name: "toname", Value: toname})
	for _, f := range flags {
		all = append(all, Pair{Name: f})
	}
	return all
}

func number(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// Token returns a token of those Pairs as a little-endian machine makes it.
func Token(toname, toguid, fromguid string, flags ...string) string {
	return Pack(binary.LittleEndian, List(binary.LittleEndian, Pairs(toname, toguid, fromguid, flags...)...))
}

// List packs pairs in the native encoding of a machine of that byte order.
func List(order ByteOrder, pairs ...Pair) []byte {
	b := []byte{0, 0, 0, 0}
	if order == ByteOrder(binary.LittleEndian) {
		b[1] = 1
	}
	b = order.AppendUint32(order.AppendUint32(b, 0), 1)
	for _, p := range pairs {
		body := pad(append([]byte(p.Name), 0), 8)
		switch v := p.Value.(type) {
		case uint64:
			body = order.AppendUint64(body, v)
		case string:
			body = pad(append(append(body, v...), 0), 8)
		case []byte:
			body = pad(append(body, v...), 8)
		}
		typ, n := p.kind()
		head := order.AppendUint32(nil, uint32(16+len(body)))
		head = order.AppendUint16(order.AppendUint16(head, uint16(len(p.Name)+1)), 0)
		head = order.AppendUint32(order.AppendUint32(head, n), typ)
		b = append(append(b, head...), body...)
	}
	return order.AppendUint32(b, 0)
}

// XDRList packs pairs in XDR, which libnvpair reads but no token uses.
func XDRList(pairs ...Pair) []byte {
	be := binary.BigEndian
	text := func(b []byte, s string) []byte { return pad(append(be.AppendUint32(b, uint32(len(s))), s...), 4) }
	b := []byte{1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}
	for _, p := range pairs {
		typ, n := p.kind()
		body := be.AppendUint32(be.AppendUint32(text(nil, p.Name), typ), n)
		switch v := p.Value.(type) {
		case uint64:
			body = be.AppendUint64(body, v)
		case string:
			body = text(body, v)
		}
		b = append(be.AppendUint32(be.AppendUint32(b, uint32(len(body)+8)), 64), body...)
	}
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0)
}

func pad(b []byte, n int) []byte {
	for len(b)%n != 0 {
		b = append(b, 0)
	}
	return b
}

// Pack makes a token from a packed list as a machine of that byte order does.
func Pack(order ByteOrder, list []byte) string {
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	w.Write(list)
	w.Close()
	return Around(order, z.Bytes(), len(list))
}

// Around makes a token from a zlib stream and the claimed length of its list.
func Around(order ByteOrder, z []byte, size int) string {
	sum := uint64(0)
	for b := z; len(b) >= 4; b = b[4:] {
		sum += uint64(order.Uint32(b))
	}
	return fmt.Sprintf("1-%x-%x-%x", sum, size, z)
}

// Unpack returns the zlib stream of a token, and its pairs. The token must have been made
// by a little-endian zfs.
func Unpack(token string) ([]byte, []Pair, error) {
	packed, err := hex.DecodeString(token[strings.LastIndexByte(token, '-')+1:])
	if err != nil {
		return nil, nil, err
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, nil, err
	}
	list, err := io.ReadAll(z)
	if err != nil {
		return nil, nil, err
	}
	var pairs []Pair
	le := binary.LittleEndian
	for rest := list[12:]; le.Uint32(rest) != 0; rest = rest[le.Uint32(rest):] {
		end := 16 + int(le.Uint16(rest[4:]))
		p := Pair{Name: string(rest[16 : end-1])}
		value := rest[(end+7)&^7 : le.Uint32(rest)]
		switch le.Uint32(rest[12:]) {
		case typeUint64:
			p.Value = le.Uint64(value)
		case typeString:
			p.Value = strings.TrimRight(string(value), "\x00")
		}
		pairs = append(pairs, p)
	}
	if !bytes.Equal(List(le, pairs...), list) {
		return nil, nil, errors.New("the list is not that of a token")
	}
	return packed, pairs, nil
}
