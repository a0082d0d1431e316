package sendstream

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
)

// oneDataset returns an error unless the nvlist of a package stream says that the package
// contains a single dataset: zfs send -p and -I say so, -R does not. From a list of
// several datasets, zfs would apply the entry of each to the datasets below the target
// that have the guids of its snapshots.
func oneDataset(list []byte) error {
	alone, datasets := false, 0
	rest, err := walk(list, func(path []string, name string, typ uint32) {
		switch {
		case len(path) == 0:
			alone = alone || name == "not_recursive" && typ == nvBoolean
		case len(path) == 1 && path[0] == "fss":
			datasets++
		}
	})
	switch {
	case err != nil:
		return foreign("its list of datasets cannot be read: %s", err)
	case len(rest) > 0:
		return foreign("its list of datasets is followed by something else")
	case !alone || datasets > 1:
		return foreign("it is a package of a dataset and of those below it")
	}
	return nil
}

// brings returns those of the names, of properties, that occur in the nvlist of a package
// stream. A snapshot or a user property of that name counts, too. A list that cannot be
// parsed may contain any of them.
func brings(list []byte, names []string) (found []string) {
	rest, err := walk(list, func(_ []string, name string, _ uint32) {
		for _, n := range names {
			if strings.EqualFold(n, name) && !slices.Contains(found, n) {
				found = append(found, n)
			}
		}
	})
	if err != nil || len(rest) > 0 {
		return names
	}
	return found
}

// The types of nvlist pairs that zfs uses in streams, from sys/nvpair.h.
const (
	nvBoolean      = 1
	nvInt32        = 5
	nvUint32       = 6
	nvInt64        = 7
	nvUint64       = 8
	nvString       = 9
	nvUint64Array  = 16
	nvStringArray  = 17
	nvNvlist       = 19
	nvNvlistArray  = 20
	nvBooleanValue = 21
)

var (
	errShort   = errors.New("it is cut off")
	errUnclear = errors.New("a pair has another length than it says")
)

// walk parses an nvlist in XDR, and calls pair for each pair of it and of the lists within
// it; path has the names of the lists around the pair. A list is refused where the stated
// length of a pair is not its real one: libnvpair finds the next pair by parsing.
func walk(b []byte, pair func(path []string, name string, typ uint32)) (rest []byte, err error) {
	const xdr = 1 // followed by the byte order and two reserved bytes
	if len(b) < 4 || b[0] != xdr {
		return nil, errors.New("it is not in XDR")
	}
	return pairs(b[4:], nil, pair)
}

const maxDepth = 8 // zfs uses five levels

// pairs parses the version and flags of a list, and its pairs up to the one of length 0.
func pairs(b []byte, path []string, pair func([]string, string, uint32)) (rest []byte, err error) {
	if len(path) > maxDepth {
		return nil, errors.New("its lists are too deep")
	}
	if len(b) < 8 {
		return nil, errShort
	}
	seen := map[string]bool{}
	for b = b[8:]; ; {
		if len(b) < 8 {
			return nil, errShort
		}
		size := int64(binary.BigEndian.Uint32(b))
		if size == 0 {
			if binary.BigEndian.Uint32(b[4:]) != 0 {
				return nil, errUnclear
			}
			return b[8:], nil
		}
		p := b[8:]
		name, p, err := text(p)
		if err != nil {
			return nil, err
		}
		if len(p) < 8 {
			return nil, errShort
		}
		typ, n := binary.BigEndian.Uint32(p), binary.BigEndian.Uint32(p[4:])
		if p, err = value(p[8:], typ, n, append(path, name), pair); err != nil {
			return nil, err
		}
		if int64(len(b)-len(p)) != size {
			return nil, errUnclear
		}
		if len(path) < 2 {
			if seen[name] {
				return nil, errors.New("it has a name twice")
			}
			seen[name] = true
		}
		pair(path, name, typ)
		b = p
	}
}

// value parses n values of a type.
func value(b []byte, typ, n uint32, path []string, pair func([]string, string, uint32)) (rest []byte, err error) {
	skip := func(k uint64) ([]byte, error) {
		if k > uint64(len(b)) {
			return nil, errShort
		}
		return b[k:], nil
	}
	one := func(k uint64) ([]byte, error) {
		if n != 1 {
			return nil, errUnclear
		}
		return skip(k)
	}
	switch typ {
	case nvBoolean:
		if n != 0 {
			return nil, errUnclear
		}
		return b, nil
	case nvInt32, nvUint32, nvBooleanValue:
		return one(4)
	case nvInt64, nvUint64:
		return one(8)
	case nvString, nvStringArray:
		if typ == nvString && n != 1 {
			return nil, errUnclear
		}
		for ; n > 0 && err == nil; n-- {
			_, b, err = text(b)
		}
		return b, err
	case nvUint64Array:
		// xdr_array repeats the number of elements, if there are any.
		if n == 0 {
			return b, nil
		}
		if len(b) < 4 || binary.BigEndian.Uint32(b) != n {
			return nil, errUnclear
		}
		return skip(4 + 8*uint64(n))
	case nvNvlist, nvNvlistArray:
		if typ == nvNvlist && n != 1 {
			return nil, errUnclear
		}
		for ; n > 0 && err == nil; n-- {
			b, err = pairs(b, path, pair)
		}
		return b, err
	}
	return nil, errors.New("it has a value of an unknown type")
}

// text parses a string, which is padded to a multiple of four bytes.
func text(b []byte) (s string, rest []byte, err error) {
	if len(b) < 4 {
		return "", nil, errShort
	}
	n := uint64(binary.BigEndian.Uint32(b))
	padded := (n + 3) &^ 3
	b = b[4:]
	if padded > uint64(len(b)) {
		return "", nil, errShort
	}
	s = string(b[:n])
	if strings.IndexByte(s, 0) >= 0 {
		return "", nil, errUnclear // libnvpair stops at the NUL
	}
	return s, b[padded:], nil
}
