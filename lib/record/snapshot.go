package record

import (
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Snapshot is a snapshot or bookmark of the record's dataset. A stage may keep those of a
// whole pool, so the struct is small: facts that few snapshots have are behind a pointer.
// SnapshotFields is its form in JSON.
type Snapshot struct {
	// Name is the part after @ or #.
	Name string
	// GUID and CreateTXG are decimal; "" if they are absent.
	GUID, CreateTXG string
	// Creation is in seconds since the epoch.
	Creation *int64
	// Written is the number of bytes written since the previous snapshot.
	Written *int64
	// UserRefs is the number of holds.
	UserRefs *int64
	// Ours: the name matches the snapshot format of the record's backup.
	Ours bool
	// Virtual: a dry run would have made the snapshot; it has no guid.
	Virtual bool

	rare *Rare // nil if all are absent; never changed, because copies of the snapshot share it
}

// Rare are the facts that few snapshots have.
type Rare struct {
	// Holds are the tags of the holds, where they were listed.
	Holds []string
	// Held are our own holds among them, with their details.
	Held []Held
	// Needed is the clone to be made in this run from the copy of this snapshot, which
	// therefore must be kept on both sides.
	Needed string
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value
}

// SnapshotFields are the fields of a Snapshot in JSON, in the order in which they are
// written.
type SnapshotFields struct {
	Name      string         `json:"name"`
	GUID      string         `json:"guid,omitzero"`
	CreateTXG string         `json:"createtxg,omitzero"`
	Creation  *int64         `json:"creation,omitzero"`
	Written   *int64         `json:"written,omitzero"`
	UserRefs  *int64         `json:"userrefs,omitzero"`
	Holds     []string       `json:"holds,omitzero"`
	Held      []Held         `json:"held,omitzero"`
	Ours      bool           `json:"ours,omitzero"`
	Virtual   bool           `json:"virtual,omitzero"`
	Needed    string         `json:"needed,omitzero"`
	Unknown   jsontext.Value `json:",embed"`
}

// Rare returns the rare facts of the snapshot, to be read only.
func (s *Snapshot) Rare() Rare {
	if s.rare == nil {
		return Rare{}
	}
	return *s.rare
}

// SetRare replaces the rare facts of the snapshot, but not those of its copies.
func (s *Snapshot) SetRare(x Rare) {
	s.rare = nil
	if x.Holds != nil || x.Held != nil || x.Needed != "" || x.Unknown != nil {
		c := x // so that x itself, which most snapshots do not need, is not allocated
		s.rare = &c
	}
}

// MarshalJSONTo writes the fields of the snapshot.
func (s *Snapshot) MarshalJSONTo(to *jsontext.Encoder) error {
	x := s.Rare()
	return json.MarshalEncode(to, &SnapshotFields{Name: s.Name, GUID: s.GUID, CreateTXG: s.CreateTXG, Creation: s.Creation, Written: s.Written, UserRefs: s.UserRefs,
		Holds: x.Holds, Held: x.Held, Ours: s.Ours, Virtual: s.Virtual, Needed: x.Needed, Unknown: x.Unknown})
}

// UnmarshalJSONFrom reads the fields of the snapshot.
func (s *Snapshot) UnmarshalJSONFrom(from *jsontext.Decoder) error {
	var f SnapshotFields
	if err := json.UnmarshalDecode(from, &f); err != nil {
		return err
	}
	*s = f.Snapshot()
	return nil
}

// Snapshot returns the snapshot that has these fields.
func (f *SnapshotFields) Snapshot() Snapshot {
	s := Snapshot{Name: f.Name, GUID: f.GUID, CreateTXG: f.CreateTXG, Creation: f.Creation, Written: f.Written, UserRefs: f.UserRefs, Ours: f.Ours, Virtual: f.Virtual}
	s.SetRare(Rare{Holds: f.Holds, Held: f.Held, Needed: f.Needed, Unknown: f.Unknown})
	return s
}

// Full returns the snapshot's full name on dataset.
func (s *Snapshot) Full(dataset string) string { return dataset + "@" + s.Name }

// TXG returns createtxg as a number; 0 if it is absent.
func (s *Snapshot) TXG() uint64 { return txg(s.CreateTXG) }

// TXG returns createtxg as a number; 0 if it is absent.
func (f *Facts) TXG() uint64 { return txg(f.CreateTXG) }

func txg(s string) uint64 {
	n, _ := strconv.ParseUint(s, 10, 64)
	return n
}
