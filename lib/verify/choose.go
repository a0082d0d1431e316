package verify

import (
	"fmt"

	"zab/lib/record"
)

// task is one comparison of a snapshot with its copy.
type task struct {
	// source and target are the names of the snapshot on both sides, guid its guid.
	source, target, guid string
	// sourceFrom, targetFrom and fromGUID are those of the snapshot from which an increment
	// is compared; "" in full.
	sourceFrom, targetFrom, fromGUID string
	raw                              bool
	// last is the number that no object of the increment's base exceeds.
	last uint64
}

func (t *task) increment() bool { return t.fromGUID != "" }

// full returns the task that compares the same snapshot in full.
func (t task) full() task {
	t.sourceFrom, t.targetFrom, t.fromGUID, t.last = "", "", "", 0
	return t
}

// state is what decides how a copy is compared.
type state struct {
	// proof is the last proof that is marked on the copy; nil if there is none.
	proof *record.Proof
	// copy has the facts of the copy.
	copy record.Facts
	// again: a copy that was last compared in full before then, in seconds since the
	// epoch, is compared in full; 0 means never.
	again int64
}

// choose returns the comparison that proves the newest common snapshot of a record, nil if
// it is proved. why is why nothing can be compared, kind the kind of that error.
func choose(r *record.Record, s state) (t *task, kind record.ErrorKind, why string) {
	if r.Target == nil {
		return nil, record.KindUnproved, "the record does not say where the copy is"
	}
	if r.Name == r.Target.Name && r.Host == r.Target.Host {
		return nil, record.KindUnproved, "it is named as its own source"
	}
	there := map[string]string{} // names by guid
	for _, x := range r.Target.Snapshots {
		there[x.GUID] = x.Name
	}
	at, from := -1, -1
	for i := len(r.Snapshots) - 1; i >= 0; i-- {
		x := &r.Snapshots[i]
		if x.GUID == "" || x.Virtual || there[x.GUID] == "" {
			continue
		}
		if at < 0 {
			at = i
		}
		if s.proof != nil && x.GUID == s.proof.GUID && s.proof.How != record.ProofDifferent {
			from = i
			break
		}
	}
	if at < 0 {
		return nil, record.KindUnproved, "it has no snapshot in common with its source"
	}
	old := s.proof == nil || s.proof.Full <= s.again
	if from == at && !old {
		return nil, "", ""
	}
	x := &r.Snapshots[at]
	t = &task{source: x.Name, target: there[x.GUID], guid: x.GUID}
	if from >= 0 && from < at && !old {
		b := &r.Snapshots[from]
		t.sourceFrom, t.targetFrom, t.fromGUID, t.last = b.Name, there[b.GUID], b.GUID, s.proof.Last
	}
	source, target := r.Encrypted(), s.copy.Encrypted()
	t.raw = source && target && r.KeyGUID != "" && r.KeyGUID == s.copy.KeyGUID
	switch {
	case t.raw:
	case source && r.KeyStatus != "available":
		return nil, record.KindKey, fmt.Sprintf("the copy is stored otherwise than '%s', whose key is not loaded", r.Name)
	case target && s.copy.KeyStatus != "available":
		return nil, record.KindKey, fmt.Sprintf("it is stored otherwise than its source, and the key of '%s' is not loaded", r.Target.Name)
	}
	return t, "", ""
}
