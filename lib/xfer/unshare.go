package xfer

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"zab/lib/record"
	"zab/lib/sendstream"
	"zab/lib/zfs"
)

// send sends and receives s, which is step i or the rest of it, as one stream.
//
// zfs receive -x costs a transaction of the target's pool for each property and snapshot,
// whether or not the stream brings the property. So a stream of this machine is first
// received without -x for the sharing properties, and is given up before a byte of it has
// reached zfs if it brings one of them. Then it is sent again and received with -x.
//
// A stream of another host is always received with -x: it may hide a second package, with
// properties of its own, behind its first snapshot.
func (j *job) send(ctx context.Context, i int, what string, s *record.Step) error {
	var sharing []string
	for _, name := range s.Exclude {
		if isSharing(name) {
			sharing = append(sharing, name)
		}
	}
	// A crash may have come between a property of the first stream and its -x.
	begun := s.Token != "" && record.MakesDataset(s.From)
	switch {
	case sharing == nil:
		return j.run(ctx, i, what, s, nil, false)
	case !j.x.source(j.r).Here():
		j.shares = true
		return j.run(ctx, i, what, s, nil, false)
	case j.unshared:
		return j.run(ctx, i, what, s, sharing, false)
	case !begun:
		err := j.run(ctx, i, what, s, sharing, true)
		if b := (*sendstream.Brings)(nil); !errors.As(err, &b) {
			return err
		}
	}
	j.shares = true
	if err := j.run(ctx, i, what, s, nil, false); err != nil {
		return err
	}
	// zfs receive reports a property that the user may not set, and receives all the same.
	j.unshared = j.r.Unshares(s) && !strings.Contains(j.said, "share")
	return nil
}

func isSharing(property string) bool { return slices.Contains(record.Sharing, property) }

// unshare makes copies inherit the sharing properties that they have received despite -x.
// Some versions of zfs receive (seen on 2.1.11) ignore -x where the copy exists and an
// ancestor of it has the property set. looked is what look has found out about the batch.
func unshare(ctx context.Context, batch []*job, looked map[*zfs.Host]seen) {
	for _, j := range batch {
		if !j.shares {
			continue
		}
		j.shares = false
		host, name := j.x.target(j.r), j.r.Target.Name
		if err := looked[host].unread[name]; err != nil {
			fail(j.r, wrap(err, "cannot see whether '%s' is shared now", name))
		}
		for _, p := range record.Sharing {
			if looked[host].props[name].Props[p].Source == "received" {
				if err := host.Unset(ctx, p, []string{name}); err != nil {
					fail(j.r, wrap(err, "cannot undo that '%s' has received %s", name, p))
				}
			}
		}
	}
}

// unshareNow is unshare for a job that has failed; a signal does not keep it from that.
func (j *job) unshareNow(ctx context.Context) {
	if !j.shares {
		return
	}
	long, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	unshare(long, []*job{j}, look(long, []*job{j}))
}
