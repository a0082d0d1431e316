package plan

import (
	"math/big"
	"slices"

	"zab/lib/record"
)

// streamSize returns the estimated size of a stream in bytes, as far as facts tell it that
// are read anyway; nil otherwise. That is so for a first stream up to the newest
// snapshot, which has all that the dataset refers to, and for the stream from the
// snapshot before this run to the one that it made, which has what was written in
// between. Of any other, ZFS would have to be asked, which takes a program for each.
//
// Both facts count bytes as they are stored. A stream that is neither compressed nor raw
// has the data as it was written, whose size is known of all data of the dataset; its
// ratio is taken to be that of each part.
func streamSize(r *record.Record, s *record.Step) *int64 {
	n := len(r.Snapshots)
	if s.Token != "" || n == 0 || r.Snapshots[n-1].Name != s.To {
		return nil
	}
	var stored *int64
	switch {
	case s.From == "":
		stored = r.Referenced
	case n > 1 && r.Snapshots[n-2].Name == s.From && r.Snapshot != nil && r.Snapshot.Name == s.To:
		stored = r.Written
	}
	if stored == nil || slices.Contains(s.Flags, "-c") || slices.Contains(s.Flags, "-w") {
		return stored
	}
	if r.Referenced == nil || r.LogicalReferenced == nil || *r.Referenced == 0 {
		return nil
	}
	size := new(big.Int).Mul(big.NewInt(*stored), big.NewInt(*r.LogicalReferenced))
	size.Div(size, big.NewInt(*r.Referenced))
	if !size.IsInt64() {
		return nil
	}
	return record.Ptr(size.Int64())
}
