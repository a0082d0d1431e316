package hostile

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Host is the model of one machine.
type Host struct {
	Pools    []*Pool
	Datasets []*Dataset // sorted by name
	TXG      uint64
	Now      int64
	// StreamsToBreak is how many of the next receives break off; resumed ones do not.
	StreamsToBreak int
}

// Pool is a pool with the properties that zpool get reports. Features that are not listed
// are enabled.
type Pool struct {
	Name, LoadGUID string
	Features       map[string]string
}

// Dataset is a filesystem or volume.
type Dataset struct {
	Name, Kind, GUID string
	TXG              uint64
	Creation         int64
	Origin           string
	// Local are the properties set on the dataset, Received those that came in streams.
	Local, Received map[string]string
	// HasReceived: a stream with properties was received. Only then does zfs remember
	// receive -x (in Inherits), which disables the received values of later streams too.
	HasReceived bool
	Inherits    map[string]bool
	// Excluded are the properties whose received values are without effect until the next
	// stream with properties, by a receive -x.
	Excluded map[string]bool
	Written  int64
	// Cipher is "" for an unencrypted dataset. KeyGUID is the guid of the master key.
	Cipher, KeyGUID string
	Locked          bool
	EncryptionRoot  string
	Mounted         bool
	Token           string
	Snaps           []*Snap // oldest first
	Bookmarks       []*Snap
	// Changed is when snapshots were last made or destroyed, in seconds since the epoch; 0
	// if not in this run.
	Changed int64
}

// Snap is a snapshot or a bookmark; Name is the part after @ or #.
type Snap struct {
	Name, GUID        string
	TXG               uint64
	Creation, Written int64
	Holds             []string
	// Data is what the snapshot contains: the contents of its objects. A later snapshot has
	// those of the one before, and one more.
	Data []string
}

// fill gives the snapshots of the host that have none contents: those of a snapshot with
// the same guid on the other host, if there is one.
func (h *Host) fill(other *Host) {
	for _, d := range h.Datasets {
		var before []string
		if _, s := h.lookup(d.Origin); s != nil {
			before = s.Data
		}
		for _, s := range d.Snaps {
			if x := other.byGUID(s.GUID); s.Data == nil && x != nil && x.Data != nil {
				s.Data = x.Data
			}
			if s.Data == nil {
				s.Data = append(slices.Clone(before), s.GUID)
			}
			before = s.Data
		}
	}
}

// clone returns a copy of the host that shares nothing with it.
func (h *Host) clone() *Host {
	b, err := json.Marshal(h)
	c := &Host{}
	if err != nil || json.Unmarshal(b, c) != nil {
		panic("a host is not JSON")
	}
	return c
}

func (h *Host) find(name string) *Dataset {
	i, ok := slices.BinarySearchFunc(h.Datasets, name, func(d *Dataset, n string) int { return strings.Compare(d.Name, n) })
	if !ok {
		return nil
	}
	return h.Datasets[i]
}

// add adds a dataset, with defaults for the fields that are not set.
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

func (h *Host) descendants(name string) (out []*Dataset) {
	for _, d := range h.Datasets {
		if strings.HasPrefix(d.Name, name+"/") {
			out = append(out, d)
		}
	}
	return out
}

// byGUID returns the snapshot with a guid, nil if no dataset of the host has it.
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

// lookup returns the snapshot or bookmark of a full name and its dataset, nil if there is
// none.
func (h *Host) lookup(full string) (*Dataset, *Snap) {
	if ds, name, ok := strings.Cut(full, "@"); ok {
		if d := h.find(ds); d != nil {
			return d, d.snap(name)
		}
	} else if ds, name, ok := strings.Cut(full, "#"); ok {
		if d := h.find(ds); d != nil {
			return d, d.bookmark(name)
		}
	}
	return nil, nil
}

// clonesOf returns the names of the clones of a snapshot.
func (h *Host) clonesOf(full string) (out []string) {
	for _, d := range h.Datasets {
		if d.Origin == full {
			out = append(out, d.Name)
		}
	}
	return out
}

func (d *Dataset) snap(name string) *Snap     { return findSnap(d.Snaps, name) }
func (d *Dataset) bookmark(name string) *Snap { return findSnap(d.Bookmarks, name) }

func findSnap(list []*Snap, name string) *Snap {
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

func (d *Dataset) removeSnap(s *Snap) {
	d.Snaps = slices.DeleteFunc(d.Snaps, func(x *Snap) bool { return x == s })
	d.Bookmarks = slices.DeleteFunc(d.Bookmarks, func(x *Snap) bool { return x == s })
}

func parent(name string) string { return name[:max(0, strings.LastIndexByte(name, '/'))] }

func poolOf(name string) string {
	pool, _, _ := strings.Cut(name, "/")
	pool, _, _ = strings.Cut(pool, "@")
	return pool
}

// guidFor returns a guid that is always the same for the same words.
func guidFor(words ...string) string {
	h := uint64(14695981039346656037)
	for _, c := range []byte(strings.Join(words, "\x00")) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	h ^= h >> 29
	return strconv.FormatUint(h|1<<40, 10)
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
