// Package hostile tries to make zab act on a lie. It runs the real programs
// against stand-ins for zfs, zpool and ssh, which keep a model of two hosts and
// answer as OpenZFS would; then one of the hosts, the hostile one, has some of
// its answers changed, by a seed, and an observer looks at all that was done to
// the other.
//
// Goals: every form of command that zab uses, and a complaint about every other;
// the same seed gives the same lies; an honest run of each workflow succeeds, so
// that a lie and not the model is what makes a run fail; runs so short that tens
// of thousands are made in an hour; no pool and no root.
//
// Non-goals: it is no zfs. Streams are a line of JSON and some bytes, properties
// are kept and not obeyed, and nothing is said about programs that zab does not
// start. What only a real pool can show is shown by the scripts in testdata.
//
// A run is replayed by its number:
//
//	ZAB_HOSTILE=1 ZAB_HOSTILE_SEED=N go test -run TestHostile -v ./lib/hostile
//
// That the observer is not blind is shown by TestObserverSees, which hands it
// commands that no run may have, and on the product itself by taking a check
// away: for example, join the properties of a mark with NULs in lib/xfer again,
// and a few hundred runs find zfs set mountpoint=/etc.
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

// Host is what one machine has.
type Host struct {
	Pools    []*Pool
	Datasets []*Dataset // by name
	TXG      uint64
	Now      int64
	// Break is how many of the next streams break off half-way.
	Break int
}

// Pool has what zpool get is asked for.
type Pool struct {
	Name, Load string
	Features   map[string]string
}

// Dataset is a filesystem or volume.
type Dataset struct {
	Name, Kind, GUID string
	TXG              uint64
	Creation         int64
	Origin           string
	// Local and Received are the properties that were set or came in a stream.
	Local, Received map[string]string
	// HasReceived: a stream with properties came; only then does zfs keep receive -x,
	// as Inherits, in the way of what later streams bring.
	HasReceived bool
	Inherits    map[string]bool
	Written     int64
	// Cipher is "" for plain data; KeyGUID is that of the master key.
	Cipher, KeyGUID string
	Locked          bool
	// Root is the encryption root's name.
	Root    string
	Mounted bool
	Token   string
	Snaps   []*Snap // by age
	Marks   []*Snap
}

// Snap is a snapshot or, with a name after #, a bookmark.
type Snap struct {
	Name, GUID        string
	TXG               uint64
	Creation, Written int64
	Holds             []string
}

func (h *Host) find(name string) *Dataset {
	i, ok := slices.BinarySearchFunc(h.Datasets, name, func(d *Dataset, n string) int { return strings.Compare(d.Name, n) })
	if !ok {
		return nil
	}
	return h.Datasets[i]
}

// add makes a dataset; its place in the list is that of its name.
func (h *Host) add(d *Dataset) *Dataset {
	if d.TXG == 0 {
		d.TXG = h.tick()
	}
	if d.Creation == 0 {
		d.Creation = h.Now
	}
	if d.Kind == "" {
		d.Kind = "filesystem"
	}
	if d.Local == nil {
		d.Local = map[string]string{}
	}
	if d.Received == nil {
		d.Received = map[string]string{}
	}
	h.Datasets = append(h.Datasets, d)
	h.sort()
	return d
}

func (h *Host) sort() {
	slices.SortFunc(h.Datasets, func(a, b *Dataset) int { return strings.Compare(a.Name, b.Name) })
}

func (h *Host) remove(name string) {
	h.Datasets = slices.DeleteFunc(h.Datasets, func(d *Dataset) bool { return d.Name == name })
}

func (h *Host) tick() uint64 { h.TXG += 3; return h.TXG }

func (h *Host) below(name string) (out []*Dataset) {
	for _, d := range h.Datasets {
		if strings.HasPrefix(d.Name, name+"/") {
			out = append(out, d)
		}
	}
	return out
}

func (d *Dataset) snap(name string) *Snap { return named(d.Snaps, name) }
func (d *Dataset) mark(name string) *Snap { return named(d.Marks, name) }

func named(list []*Snap, name string) *Snap {
	for _, s := range list {
		if s.Name == name {
			return s
		}
	}
	return nil
}

func (d *Dataset) newest() *Snap {
	if len(d.Snaps) == 0 {
		return nil
	}
	return d.Snaps[len(d.Snaps)-1]
}

// byGUID finds a snapshot anywhere on the host.
func (h *Host) byGUID(guid string) *Snap {
	for _, d := range h.Datasets {
		for _, s := range d.Snaps {
			if s.GUID == guid {
				return s
			}
		}
	}
	return nil
}

// lookup finds a snapshot or bookmark by its full name.
func (h *Host) lookup(full string) (*Dataset, *Snap) {
	if ds, name, ok := strings.Cut(full, "@"); ok {
		if d := h.find(ds); d != nil {
			return d, d.snap(name)
		}
	} else if ds, name, ok := strings.Cut(full, "#"); ok {
		if d := h.find(ds); d != nil {
			return d, d.mark(name)
		}
	}
	return nil, nil
}

// clones are the datasets made from a snapshot.
func (h *Host) clones(full string) (out []string) {
	for _, d := range h.Datasets {
		if d.Origin == full {
			out = append(out, d.Name)
		}
	}
	return out
}

func parent(name string) string { return name[:max(0, strings.LastIndexByte(name, '/'))] }

func poolOf(name string) string {
	pool, _, _ := strings.Cut(name, "/")
	pool, _, _ = strings.Cut(pool, "@")
	return pool
}

// guidFor is a guid that depends on nothing but its words.
func guidFor(words ...string) string {
	h := uint64(14695981039346656037)
	for _, c := range []byte(strings.Join(words, "\x00")) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	h ^= h >> 29
	return strconv.FormatUint(h|1<<40, 10)
}

// pair is an nvpair of a resume token: a number, a string, or a flag.
type pair struct {
	name  string
	value any // uint64, string, nil
}

// encodeToken makes a receive_resume_token as libzfs does: version, checksum,
// length, and the zlib stream of a packed nvlist in hex. tail is put after the
// list's end, where nothing should be.
func encodeToken(pairs []pair, tail []byte) string {
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

func fletcher(b []byte) (sum uint64) {
	for ; len(b) >= 4; b = b[4:] {
		sum += uint64(binary.LittleEndian.Uint32(b))
	}
	return sum
}

// decodeToken reads a token of encodeToken and refuses everything that libzfs
// would not have made: it tells what zab handed on, not what it might mean.
func decodeToken(token string) ([]pair, error) {
	parts := strings.Split(token, "-")
	if len(parts) != 4 || parts[0] != "1" {
		return nil, errors.New("it has not four parts")
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
		return nil, fmt.Errorf("not a list: %v", err)
	}
	le := binary.LittleEndian
	var out []pair
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
		p := pair{name: string(b[16 : 16+l-1])}
		if strings.ContainsRune(p.name, 0) || slices.ContainsFunc(out, func(q pair) bool { return q.name == p.name }) {
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

// tokenFor is the token of a stream that broke off, with flags such as rawok, in
// the order that zfs has them in.
func tokenFor(toname, toguid, fromguid string, flags ...string) string {
	to, _ := strconv.ParseUint(toguid, 10, 64)
	pairs := []pair{}
	if fromguid != "" {
		from, _ := strconv.ParseUint(fromguid, 10, 64)
		pairs = append(pairs, pair{"fromguid", from})
	}
	pairs = append(pairs, pair{"object", uint64(2)}, pair{"offset", uint64(0x140000)}, pair{"bytes", uint64(1234)},
		pair{"toguid", to}, pair{"toname", toname})
	for _, f := range flags {
		pairs = append(pairs, pair{f, nil})
	}
	return encodeToken(pairs, nil)
}
