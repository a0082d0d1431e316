package xfer

import (
	"context"
	"errors"
	"slices"
	"strings"

	"zab/lib/record"
	"zab/lib/sendstream"
	"zab/lib/stream"
)

// send sends and receives s, which is step i or the rest of it, as one stream.
//
// zfs receive -x costs a transaction of the target's pool for each property and snapshot,
// whether or not the stream brings the property. So a stream is first received without -x
// for the sharing properties, and is given up before a byte of it has reached zfs if it
// brings one of them. Then it is sent again and received with -x.
func (j *job) send(ctx context.Context, i int, what string, s *record.Step) error {
	plain := *s
	plain.Exclude = slices.DeleteFunc(slices.Clone(s.Exclude), isSharing)
	if len(plain.Exclude) == len(s.Exclude) {
		return j.run(ctx, i, what, s, nil)
	}
	if j.unshared {
		return j.run(ctx, i, what, &plain, nil)
	}
	if !j.seen() {
		return j.run(ctx, i, what, s, nil)
	}
	err := j.run(ctx, i, what, &plain, slices.DeleteFunc(slices.Clone(s.Exclude), func(p string) bool { return !isSharing(p) }))
	if b := (*sendstream.Brings)(nil); !errors.As(err, &b) {
		return err
	}
	if err := j.run(ctx, i, what, s, nil); err != nil {
		return err
	}
	// zfs receive reports a property that the user may not set, and receives all the same.
	j.unshared = j.r.Unshares(s) && !strings.Contains(j.said, "share")
	return j.stillUnshared(ctx, what, s)
}

func isSharing(property string) bool { return slices.Contains(record.Sharing, property) }

// seen reports whether this process sees the job's streams as zfs sends them.
func (j *job) seen() bool {
	t := stream.Transfer{Source: j.x.source(j.r), Target: j.x.target(j.r), Options: &j.x.o.Stream}
	return t.SeenHere()
}

// stillUnshared makes a copy inherit the sharing properties that it has received despite
// -x: zfs receive (2.1) ignores -x where an ancestor of the copy has the property set and
// the copy has never received properties, as after a first stream without any. Only
// another host sends such streams.
func (j *job) stillUnshared(ctx context.Context, what string, s *record.Step) error {
	if j.x.source(j.r).Here() || record.MakesDataset(s.From) {
		return nil
	}
	target := j.x.target(j.r)
	got, err := target.Get(ctx, record.Sharing, []string{s.Dataset}, false)
	if err != nil {
		return wrap(err, "%s: cannot see whether '%s' is shared now", what, s.Dataset)
	}
	for _, d := range got {
		for _, p := range record.Sharing {
			if d.Props[p].Source != "received" {
				continue
			}
			if err := target.Unset(ctx, p, []string{s.Dataset}); err != nil {
				return wrap(err, "%s: cannot undo that '%s' is shared", what, s.Dataset)
			}
		}
	}
	return nil
}
