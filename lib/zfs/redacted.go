package zfs

import (
	"context"
	"fmt"

	"zab/lib/dataset"
	"zab/lib/record"
)

// A dataset that was received from zfs send --redact lacks blocks, and says so only in a
// property and in the beginning of its streams. In their place it has holes, so that a copy
// of it reads zeros there and looks complete (tried on 2.3.9).

// redactedProp is the property of a dataset or snapshot that was received redacted, or is
// made from such a one. ZFS before 2.0 does not know it.
const redactedProp = "redacted"

// notComplete is what zfs says when it refuses to mount such a dataset.
const notComplete = "is not complete, was created by receiving a redacted zfs send stream"

// Redacted returns those of the datasets that are redacted now. Those that do not exist
// are not.
func (h *Host) Redacted(ctx context.Context, names []string) (map[string]bool, error) {
	got, err := h.Existing(ctx, []string{redactedProp}, names)
	out := map[string]bool{}
	for name, d := range got {
		if d.Props[redactedProp].Value == "1" {
			out[name] = true
		}
	}
	return out, err
}

// complete returns an error if a snapshot is redacted, or if that cannot be found out.
func (h *Host) complete(ctx context.Context, p dataset.Point) error {
	found, err := h.find(ctx, []string{p.String()}, []string{redactedProp})
	switch row, ok := found[p.String()]; {
	case err != nil:
		return err
	case !ok:
		return &Error{Kind: record.KindNotFound, Code: -1, Lines: []string{fmt.Sprintf("'%s' does not exist", p)}}
	case row.Extra[0] == "1":
		return &Error{Kind: record.KindUnproved, Code: -1, Lines: []string{fmt.Sprintf("cannot mount '%s': it %s", p, notComplete)}}
	}
	return nil
}
