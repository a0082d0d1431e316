package hostile

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strconv"

	"zab/lib/sendstream/streamtest"
)

// stream is a stream of zfs send, or one dataset of a stream package. It is encoded in
// records as those of zfs, since zab reads some of them; the first BEGIN record of a
// snapshot has the stream as JSON for the stand-in of zfs receive.
type stream struct {
	Kind  string
	Name  string // full name of the newest snapshot
	From  string // guid of the base; "" in a full stream
	Raw   bool
	Flags []string          // the flags of its resume token, such as rawok
	Props map[string]string // nil without -p
	Holds []string
	Snaps []*Snap
	// Resumed: the stream continues an interrupted one.
	Resumed         bool
	Cipher, KeyGUID string
	// Children are the other datasets of a stream package; their Name is relative to
	// this.
	Children []*stream `json:",omitempty"`
}

// The size of records, their types, and the magic number of BEGIN: see dmu_replay_record
// in sys/zfs_ioctl.h.
const (
	recordSize  = 312
	recordBegin = 0
	recordWrite = 3
	recordEnd   = 5
	streamMagic = 0x2F5bacbac
)

func newRecord(typ, payload uint32) []byte {
	b := make([]byte, recordSize)
	binary.LittleEndian.PutUint32(b, typ)
	binary.LittleEndian.PutUint32(b[4:], payload)
	return b
}

// beginRecord returns a BEGIN record; head is 1 for a snapshot, 2 for a stream package.
func beginRecord(head uint64, name, to, from string, payload []byte) []byte {
	b := newRecord(recordBegin, uint32(len(payload)))
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

func (s *stream) encode() []byte {
	dataset := s.Name[:bytes.IndexByte([]byte(s.Name+"@"), '@')]
	var b []byte
	inPackage := len(s.Snaps) > 1 || s.Props != nil || s.Children != nil
	if inPackage {
		b = beginRecord(2, s.Name, "", "", streamtest.PackageList(s.Children == nil, s.Props))
		b = append(b, newRecord(recordEnd, 0)...)
	}
	payload, _ := json.Marshal(s)
	for len(payload)%8 != 0 {
		payload = append(payload, ' ')
	}
	add := func(name, to, from string) {
		b = append(b, beginRecord(1, name, to, from, payload)...)
		payload = nil
		w := newRecord(recordWrite, 0)
		data := bytes.Repeat([]byte{'0'}, 1024)
		binary.LittleEndian.PutUint64(w[32:], uint64(len(data)))
		b = append(append(append(b, w...), data...), newRecord(recordEnd, 0)...)
	}
	from := s.From
	for _, x := range s.Snaps {
		add(dataset+"@"+x.Name, x.GUID, from)
		from = x.GUID
	}
	for _, c := range s.Children {
		for _, x := range c.Snaps {
			add(dataset+"/"+c.Name+"@"+x.Name, x.GUID, "")
		}
	}
	if inPackage {
		b = append(b, newRecord(recordEnd, 0)...)
	}
	return b
}

// readStream decodes a stream of encode. s is nil if b has no stream's beginning;
// complete reports whether b has its end.
func readStream(b []byte) (s *stream, complete bool) {
	le := binary.LittleEndian
	inPackage, open := false, 0
	for len(b) >= recordSize {
		typ, n := le.Uint32(b), uint64(le.Uint32(b[4:]))
		switch typ {
		case recordBegin:
			if le.Uint64(b[8:]) != streamMagic {
				return nil, false
			}
			if le.Uint64(b[16:])&3 == 2 {
				inPackage = true
			}
			open++
		case recordWrite:
			n = le.Uint64(b[32:])
		case recordEnd:
			if open--; open < 0 || open == 0 && !inPackage {
				return s, open == 0 || inPackage && len(b) == recordSize
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
