package aside

import "strings"

// Phase is how far a renaming has come. A phase from Renamed on is named after the act
// that led to it, and the phases are in the order of the acts: an act is left to do if
// the phase is before its own.
type Phase int

const (
	// Taken: another dataset has the new name of the copy.
	Taken Phase = iota
	// Lost: the copy has neither name.
	Lost
	// InPlace: the copy has its former name; perhaps it is marked.
	InPlace
	// Renamed: the copy has its new name, and there is no dataset in its place.
	Renamed
	// Cloned: in its place is a clone of one of its snapshots, the base.
	Cloned
	// Promoted: the clone has taken over the snapshots up to the base. Only zfs promote
	// makes the copy a clone of the dataset in its place.
	Promoted
	// Replaced: in its place is a dataset that shares nothing with it, which a first
	// full stream made.
	Replaced
)

// Dataset has the facts that show the phase. Origin is the full name of the snapshot of
// which the dataset is a clone.
type Dataset struct{ Name, GUID, Origin string }

// Find returns the phase in which the copy with a guid is, and in the phases Cloned and
// Promoted the name of the base. place is the dataset with its former name, renamed that
// with its new one; nil if there is none.
func Find(guid string, place, renamed *Dataset) (p Phase, base string) {
	switch {
	case renamed != nil && renamed.GUID != guid:
		return Taken, ""
	case renamed == nil && place != nil && place.GUID == guid:
		return InPlace, ""
	case renamed == nil:
		return Lost, ""
	case place == nil:
		return Renamed, ""
	}
	if of, snapshot, _ := strings.Cut(place.Origin, "@"); of == renamed.Name {
		return Cloned, snapshot
	}
	if of, snapshot, _ := strings.Cut(renamed.Origin, "@"); of == place.Name {
		return Promoted, snapshot
	}
	return Replaced, ""
}
