package xfer

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"zab/lib/dataset"
	"zab/lib/groups"
	"zab/lib/record"
	"zab/lib/zfs"
)

// seen are the properties of datasets of one host, by name. unread has the errors of those
// that could not be read; one that does not exist is in neither.
type seen struct {
	props  map[string]zfs.Dataset
	unread map[string]error
}

// look reads, with one program for each target host, the properties that unshare and mount
// need: those of the copies, and of all datasets above the new ones, since a copy inherits
// its mountpoint from one of these, and from which is in the same answer.
func look(ctx context.Context, batch []*job) map[*zfs.Host]seen {
	var hosts groups.Of[*zfs.Host, *job]
	for _, j := range batch {
		if j.shares || j.mounts() {
			hosts.Add(j.x.target(j.r), j)
		}
	}
	out := map[*zfs.Host]seen{}
	for host, jobs := range hosts.All() {
		names := map[string]bool{}
		var sharing, mounting []string
		for _, j := range jobs {
			names[j.r.Target.Name] = true
			if j.shares {
				sharing = record.Sharing
			}
			if j.mounts() {
				mounting = mountProps
				for up := range dataset.Ancestors(j.r.Target.Name) {
					names[up] = true
				}
			}
		}
		s := seen{map[string]zfs.Dataset{}, map[string]error{}}
		_, unread, err := host.Readable(ctx, slices.Concat(sharing, mounting), slices.Sorted(maps.Keys(names)), 0,
			func(d zfs.Dataset) { s.props[d.Name] = d })
		for _, u := range unread {
			if s.unread[u.Name] = u.Err; u.Name == "" {
				err = u.Err
			}
		}
		if err != nil {
			for n := range names {
				s.unread[n] = err
			}
		}
		out[host] = s
	}
	return out
}

// mounts reports whether the copy is to be mounted, if it may be: it is a filesystem, and
// something was received into it for the first time.
func (j *job) mounts() bool {
	return j.first && j.r.Kind != "volume" && j.r.Error == nil && slices.ContainsFunc(j.arrived, func(i int) bool { return j.results[i].Done })
}

// failure returns the error of reading a dataset or one above it; nil if there is none.
func (s seen) failure(name string) error {
	err := s.unread[name]
	for up := range dataset.Ancestors(name) {
		err = cmp.Or(err, s.unread[up])
	}
	return err
}
