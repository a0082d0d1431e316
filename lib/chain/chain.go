// Package chain relates the snapshots of a source to those of its copy: which are in
// common, which are still to be sent, and in which streams.
//
// Goals: identity is the guid, order is createtxg; pure functions over facts.
//
// Non-goals: no schedule, no programs, no decision about conflicts.
package chain

import "zab/lib/record"

// Base is the incremental base: the newest snapshot of the target that the source has
// too, as a snapshot or as a bookmark.
type Base struct {
	// Source is the name on the source, with a leading # for a bookmark.
	Source string
	GUID   string
	// TXG is the createtxg on the source.
	TXG uint64
	// Target is the index in the target's snapshots.
	Target int
}

// Bookmark reports whether only a bookmark is left on the source.
func (b Base) Bookmark() bool { return b.Source[0] == '#' }

// Find returns the newest snapshot that source and target have in common, by guid. A
// snapshot is preferred to a bookmark of the same guid, because only a snapshot can begin
// a stream of several snapshots.
func Find(snapshots, bookmarks, target []record.Snapshot) (Base, bool) {
	at := make(map[string]int, len(snapshots)+len(bookmarks)) // indexes: snapshots, then bookmarks
	for i := range bookmarks {
		at[bookmarks[i].GUID] = len(snapshots) + i
	}
	for i := range snapshots {
		at[snapshots[i].GUID] = i
	}
	delete(at, "")
	// The age decides, not the place, because a record may have been made by hand.
	source, common := 0, -1
	for i := range target {
		if k, ok := at[target[i].GUID]; ok && (common < 0 || target[i].TXG() >= target[common].TXG()) {
			source, common = k, i
		}
	}
	switch {
	case common < 0:
		return Base{}, false
	case source < len(snapshots):
		s := &snapshots[source]
		return Base{Source: s.Name, GUID: s.GUID, TXG: s.TXG(), Target: common}, true
	}
	b := &bookmarks[source-len(snapshots)]
	return Base{Source: "#" + b.Name, GUID: b.GUID, TXG: b.TXG(), Target: common}, true
}

// FindByName is Find by name alone, for users who ask for that; the guid is the source's.
func FindByName(snapshots, target []record.Snapshot) (Base, bool) {
	at := make(map[string]int, len(snapshots))
	for j := len(snapshots) - 1; j >= 0; j-- {
		at[snapshots[j].Name] = j
	}
	for i := len(target) - 1; i >= 0; i-- {
		if j, ok := at[target[i].Name]; ok {
			s := &snapshots[j]
			return Base{Source: s.Name, GUID: s.GUID, TXG: s.TXG(), Target: i}, true
		}
	}
	return Base{}, false
}

// SameName returns the snapshots of the target that have the name of a snapshot of the
// source but another guid: they are different snapshots in spite of their names.
func SameName(source, target []record.Snapshot) []record.Snapshot {
	guid := make(map[string]string, len(source))
	for i := range source {
		guid[source[i].Name] = source[i].GUID
	}
	var out []record.Snapshot
	for i := range target {
		if g, ok := guid[target[i].Name]; ok && g != "" && g != target[i].GUID {
			out = append(out, target[i])
		}
	}
	return out
}

// Stream is one zfs send.
type Stream struct {
	From, FromGUID string // "" for a full stream
	To, ToGUID     string
	Through        []record.Through
}

// Streams returns as few streams as possible that send the wanted snapshots. all are the
// source's snapshots, oldest first; wanted reports whether a snapshot after the base, by
// its index, is wanted. Several snapshots go in one stream if no other lies between
// them; the first after a bookmark, and the first of all, go alone.
func Streams(all []record.Snapshot, wanted func(int) bool, base Base, has bool) []Stream {
	var out []Stream
	from, fromGUID := "", ""
	mayExtend := false // the next snapshot may join the last stream
	gap := false       // an unwanted snapshot lies after the last wanted one
	if has {
		from, fromGUID = base.Source, base.GUID
	}
	for i := range all {
		s := &all[i]
		if has && !s.Virtual && s.TXG() <= base.TXG {
			continue
		}
		if !wanted(i) {
			mayExtend, gap = false, true
			continue
		}
		if last := len(out) - 1; mayExtend {
			t := &out[last]
			t.Through = append(t.Through, record.Through{Name: t.To, GUID: t.ToGUID})
			t.To, t.ToGUID = s.Name, s.GUID
		} else {
			out = append(out, Stream{From: from, FromGUID: fromGUID, To: s.Name, ToGUID: s.GUID})
			// zfs send -I starts from a snapshot only, and sends every snapshot that
			// lies between.
			mayExtend = from != "" && from[0] != '#' && !gap
		}
		gap = false
		from, fromGUID = s.Name, s.GUID
	}
	return out
}

// FromOrigin makes the first of the streams of a clone without a base start from the
// clone's origin, given by its full name.
func FromOrigin(streams []Stream, origin, guid string) {
	if len(streams) > 0 && streams[0].From == "" {
		streams[0].From, streams[0].FromGUID = origin, guid
	}
}

// Pending returns the snapshots that the record's steps still have to send, and those
// that these streams start from. Its keys are guids, and names after an @.
func Pending(r *record.Record) map[string]bool {
	done := map[int]bool{}
	for _, res := range r.Results {
		done[res.Step] = res.Done
	}
	out := map[string]bool{}
	add := func(name, guid string) {
		if guid != "" {
			out[guid] = true
		}
		out["@"+name] = true
	}
	for i, s := range r.Steps {
		if s.Do != record.DoReceive || done[i] {
			continue
		}
		add(s.To, s.ToGUID)
		for _, t := range s.Through {
			add(t.Name, t.GUID)
		}
		if s.From != "" {
			add(s.From, s.FromGUID)
		}
	}
	return out
}
