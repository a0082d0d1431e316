package hostile

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strconv"
)

// stream is what travels from zfs send to zfs receive. It is framed as zfs frames
// it, in records of which zab looks at some; what the stand-in for receive needs is
// in JSON behind the first snapshot's beginning.
type stream struct {
	Kind  string
	Name  string // full, of the newest
	From  string // the base's guid; "" in a full stream
	Raw   bool
	Flags []string          // of a token
	Props map[string]string // nil without -p
	Holds []string
	Snaps []*Snap
	// Resumed: it goes on where another broke off.
	Resumed         bool
	Cipher, KeyGUID string
	// Children are the datasets of a package, by the rest of their names.
	Children []*stream `json:",omitempty"`
}

// Records have this size; these are their types, and where in them things are:
// see dmu_replay_record in sys/zfs_ioctl.h.
const (
	recordSize  = 312
	recordBegin = 0
	recordWrite = 3
	recordEnd   = 5
	streamMagic = 0x2F5bacbac
)

func record(typ, payload uint32) []byte {
	b := make([]byte, recordSize)
	binary.LittleEndian.PutUint32(b, typ)
	binary.LittleEndian.PutUint32(b[4:], payload)
	return b
}

func begin(head uint64, name, to, from string, payload []byte) []byte {
	for len(payload)%8 != 0 {
		payload = append(payload, ' ')
	}
	b := record(recordBegin, uint32(len(payload)))
	toGUID, _ := strconv.ParseUint(to, 10, 64)
	fromGUID, _ := strconv.ParseUint(from, 10, 64)
	le := binary.LittleEndian
	le.PutUint64(b[8:], streamMagic)
	le.PutUint64(b[16:], 1<<18|head)
	le.PutUint64(b[40:], toGUID)
	le.PutUint64(b[48:], fromGUID)
	copy(b[56:recordSize-1], name)
	return append(b, payload...)
}

// notRecursive is the list of a package of one dataset: an nvlist in XDR with one
// flag.
var notRecursive = func() []byte {
	be := binary.BigEndian
	p := be.AppendUint32(nil, 13)
	p = append(p, "not_recursive\x00\x00\x00"...)
	p = be.AppendUint32(be.AppendUint32(p, 1), 0)
	list := []byte{1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}
	list = be.AppendUint32(be.AppendUint32(list, uint32(len(p)+8)), 48)
	return append(append(list, p...), 0, 0, 0, 0, 0, 0, 0, 0)
}()

func (s *stream) encode() []byte {
	dataset := s.Name[:bytes.IndexByte([]byte(s.Name+"@"), '@')]
	var b []byte
	whole := len(s.Snaps) > 1 || s.Props != nil || s.Children != nil
	if whole {
		list := notRecursive
		if s.Children != nil {
			list = append(bytes.Clone(notRecursive[:12]), 0, 0, 0, 0, 0, 0, 0, 0)
		}
		b = begin(2, s.Name, "", "", bytes.Clone(list))
		b = append(b, record(recordEnd, 0)...)
	}
	payload, _ := json.Marshal(s)
	one := func(name, to, from string) {
		b = append(b, begin(1, name, to, from, payload)...)
		payload = nil
		w := record(recordWrite, 0)
		data := bytes.Repeat([]byte{'0'}, 1024)
		binary.LittleEndian.PutUint64(w[32:], uint64(len(data)))
		b = append(append(append(b, w...), data...), record(recordEnd, 0)...)
	}
	from := s.From
	for _, x := range s.Snaps {
		one(dataset+"@"+x.Name, x.GUID, from)
		from = x.GUID
	}
	for _, c := range s.Children {
		for _, x := range c.Snaps {
			one(dataset+"/"+c.Name+"@"+x.Name, x.GUID, "")
		}
	}
	if whole {
		b = append(b, record(recordEnd, 0)...)
	}
	return b
}

// readStream reads what encode made, as far as it goes; nil for what is no
// stream.
func readStream(b []byte) (s *stream, whole bool) {
	le := binary.LittleEndian
	inside, open := false, 0
	for len(b) >= recordSize {
		typ, n := le.Uint32(b), uint64(le.Uint32(b[4:]))
		switch typ {
		case recordBegin:
			if le.Uint64(b[8:]) != streamMagic {
				return nil, false
			}
			if le.Uint64(b[16:])&3 == 2 {
				inside = true
			}
			open++
		case recordWrite:
			n = le.Uint64(b[32:])
		case recordEnd:
			if open--; open < 0 || open == 0 && !inside {
				return s, open == 0 || inside && len(b) == recordSize
			}
		default:
			return nil, false
		}
		if n > uint64(len(b)-recordSize) {
			break
		}
		if typ == recordBegin && le.Uint64(b[16:])&3 == 1 && s == nil {
			s = &stream{}
			if json.Unmarshal(bytes.TrimRight(b[recordSize:recordSize+n], " "), s) != nil || len(s.Snaps) == 0 {
				return nil, false
			}
		}
		b = b[recordSize+n:]
	}
	return s, false
}
