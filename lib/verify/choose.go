package verify

import (
	"cmp"
	"fmt"
	"slices"

	"zab/lib/chain"
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

// newest returns the comparison in full of the newest snapshot that both sides have. why is
// why nothing can be compared, kind the kind of that error.
func newest(r *record.Record) (t *task, txg uint64, kind record.ErrorKind, why string) {
	if r.Target == nil {
		return nil, 0, record.KindUnproved, "the record does not say where the copy is"
	}
	if r.Name == r.Target.Name && r.Host == r.Target.Host {
		return nil, 0, record.KindUnproved, "it is named as its own source"
	}
	base, ok := chain.Find(r.Snapshots, nil, r.Target.Snapshots)
	if !ok {
		return nil, 0, record.KindUnproved, "it has no snapshot in common with its source"
	}
	return &task{source: base.Source, target: r.Target.Snapshots[base.Target].Name, guid: base.GUID}, base.TXG, "", ""
}

// chooseFiles returns the comparison of the files of the newest snapshot that both sides
// have, and errors like newest.
func chooseFiles(r *record.Record, copy record.Facts) (t *task, kind record.ErrorKind, why string) {
	if t, _, kind, why = newest(r); t == nil {
		return nil, kind, why
	}
	locked := func(f *record.Facts) bool { return f.Encrypted() && f.KeyStatus != "available" }
	switch {
	case r.Kind != "filesystem":
		return nil, record.KindUnproved, fmt.Sprintf("it is a %s, which has no files", cmp.Or(r.Kind, "dataset of an unknown kind"))
	case locked(&r.Facts):
		return nil, record.KindKey, fmt.Sprintf("the files of '%s' cannot be read, because its key is not loaded", r.Name)
	case locked(&copy):
		return nil, record.KindKey, fmt.Sprintf("the files of '%s' cannot be read, because its key is not loaded", r.Target.Name)
	}
	return t, "", ""
}

// choose returns the comparison of streams that proves the newest common snapshot of a
// record, nil if it is proved. The errors are like those of newest.
func choose(r *record.Record, s state) (t *task, kind record.ErrorKind, why string) {
	t, txg, kind, why := newest(r)
	if t == nil {
		return nil, kind, why
	}
	if s.proof != nil && s.proof.How != record.ProofDifferent && s.proof.Full > s.again {
		of := func(x record.Snapshot) bool { return x.GUID == s.proof.GUID }
		from, there := slices.IndexFunc(r.Snapshots, of), slices.IndexFunc(r.Target.Snapshots, of)
		switch {
		case s.proof.GUID == t.guid:
			return nil, "", ""
		case from >= 0 && there >= 0 && r.Snapshots[from].TXG() < txg:
			t.sourceFrom, t.targetFrom, t.fromGUID, t.last = r.Snapshots[from].Name, r.Target.Snapshots[there].Name, s.proof.GUID, s.proof.Last
		}
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
