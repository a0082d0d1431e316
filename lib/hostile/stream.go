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
	Kind string
	Name string // full name of the newest snapshot
	From string // guid of the base; "" in a full stream
	// FromData is how many objects the base has.
	FromData int `json:",omitempty"`
	Raw      bool
	Flags    []string          // the flags of its resume token, such as rawok
	Props    map[string]string // nil without -p
	Holds    []string
	Snaps    []*Snap
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
	recordSize   = 312
	recordBegin  = 0
	recordObject = 1
	recordWrite  = 3
	recordFree   = 4
	recordEnd    = 5
	recordRange  = 9
	streamMagic  = 0x2F5bacbac
	featureRaw   = 1 << 24
)

// blockSize is the length of the one block of each object, firstObject the number of the
// first.
const (
	blockSize   = 512
	firstObject = 2
)

func (s *stream) encode() []byte {
	dataset := s.Name[:bytes.IndexByte([]byte(s.Name+"@"), '@')]
	var b []byte
	inPackage := len(s.Snaps) > 1 || s.Props != nil || s.Children != nil
	end := make([]byte, recordSize)
	end[0] = recordEnd
	if inPackage {
		head := streamtest.New(0, streamtest.Head{Name: s.Name, Compound: true, Payload: streamtest.PackageList(s.Children == nil, s.Props)})
		b = append(head.Begun(), end...)
	}
	payload, _ := json.Marshal(s)
	for len(payload)%8 != 0 {
		payload = append(payload, ' ')
	}
	add := func(name, to, from string, data []string, skip int) {
		h := streamtest.Head{Name: name, Volume: s.Kind == "volume", Payload: payload}
		h.From, _ = strconv.ParseUint(from, 10, 64)
		if s.Raw {
			h.Features = featureRaw
		}
		guid, _ := strconv.ParseUint(to, 10, 64)
		one := streamtest.New(guid, h)
		payload = nil
		if s.Raw {
			one.Other(recordRange, 24, func(r []byte) { r[16] = 255 }, nil)
		}
		for i := skip; i < len(data); i++ {
			block := bytes.Repeat([]byte(data[i]+" "), blockSize/(len(data[i])+1)+1)[:blockSize]
			one.Object(uint64(firstObject+i), blockSize, "").Write(uint64(firstObject+i), 0, block)
		}
		b = append(b, one.Bytes()...)
	}
	from, skip := s.From, s.FromData
	for _, x := range s.Snaps {
		add(dataset+"@"+x.Name, x.GUID, from, x.Data, skip)
		from, skip = x.GUID, len(x.Data)
	}
	for _, c := range s.Children {
		for _, x := range c.Snaps {
			add(dataset+"/"+c.Name+"@"+x.Name, x.GUID, "", x.Data, 0)
		}
	}
	if inPackage {
		b = append(b, end...)
	}
	return b
}

// told is what a stream of one snapshot says of its contents, as far as the judge is
// concerned: the guids of the snapshot and its base, the kind of dataset, and all records
// but for their checksums. It is "" for anything but one whole stream.
func told(b []byte) string {
	s, complete := readStream(b)
	if s == nil || !complete || len(b) < 2*recordSize {
		return ""
	}
	le := binary.LittleEndian
	begin := bytes.Clone(b[:recordSize])
	clear(begin[4:8])
	clear(begin[56:]) // the name
	out := string(begin)
	for b = b[recordSize+int(le.Uint32(b[4:])):]; len(b) >= recordSize; {
		r := bytes.Clone(b[:recordSize])
		n := payloadSize(r)
		clear(r[recordSize-32:])
		if le.Uint32(r) == recordEnd {
			clear(r[8:40])
		}
		out += string(r) + string(b[recordSize:recordSize+int(n)])
		b = b[recordSize+int(n):]
	}
	if len(b) > 0 {
		return ""
	}
	return out
}

// payloadSize returns the length of what follows a record in streams of encode.
func payloadSize(r []byte) uint64 {
	le := binary.LittleEndian
	switch le.Uint32(r) {
	case recordBegin:
		return uint64(le.Uint32(r[4:]))
	case recordObject:
		return (uint64(le.Uint32(r[28:])) + 7) &^ 7
	case recordWrite:
		return le.Uint64(r[32:])
	}
	return 0
}

// readStream decodes a stream of encode. s is nil if b has no stream's beginning;
// complete reports whether b has its end.
func readStream(b []byte) (s *stream, complete bool) {
	le := binary.LittleEndian
	inPackage, open := false, 0
	for len(b) >= recordSize {
		typ, n := le.Uint32(b), payloadSize(b)
		switch typ {
		case recordBegin:
			if le.Uint64(b[8:]) != streamMagic {
				return nil, false
			}
			if le.Uint64(b[16:])&3 == 2 {
				inPackage = true
			}
			open++
		case recordObject, recordWrite, recordFree, recordRange:
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
