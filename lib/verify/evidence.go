package verify

import (
	"context"
	"errors"

	"zab/lib/record"
	"zab/lib/zfs"
)

// evidenceTag is the tag of the holds on a snapshot and its copy that differ, so that no
// schedule destroys what is needed to find out why.
const evidenceTag = "zab:different"

// holdEvidence holds both snapshots of a comparison that found a difference.
func (v *verifier) holdEvidence(ctx context.Context, r *record.Record, t *task) error {
	var all []error
	for _, e := range v.ends(r, t) {
		all = append(all, e.host.Hold(ctx, evidenceTag, []string{e.dataset + "@" + e.snapshot}))
	}
	return errors.Join(all...)
}

// releaseEvidence releases those holds, of the snapshot with this guid, when a later one
// was found equal in full.
func (v *verifier) releaseEvidence(ctx context.Context, r *record.Record, guid string) {
	for _, side := range []struct {
		host, dataset string
		list          []record.Snapshot
	}{{r.Host, r.Name, r.Snapshots}, {r.Target.Host, r.Target.Name, r.Target.Snapshots}} {
		for _, s := range side.list {
			if s.GUID != guid {
				continue
			}
			err := v.env.Machine.Host(side.host).Release(ctx, evidenceTag, []string{s.Full(side.dataset)})
			if err != nil && zfs.KindOf(err) != record.KindNotFound {
				v.env.Verbosef("cannot release the hold %s of '%s': %s", evidenceTag, s.Full(side.dataset), err)
			}
		}
	}
}
