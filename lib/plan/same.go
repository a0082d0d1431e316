package plan

import (
	"context"
	"slices"
	"strings"

	"zab/lib/zfs"
)

// A stream with properties (zfs send -p) makes zfs receive write them, for the
// dataset and for the snapshot, by a transaction group each. Most nights they
// are what the copy has received before: then the stream goes without, and the
// copy is the same. Whatever is in doubt goes with them.

// sameMost is how many snapshots of a dataset are looked at; the streams of
// more of them take longer than their properties.
const sameMost = 16

// compare finds those of the drafts whose copies have received all properties
// as they are now: one program on either side.
func (s *state) compare(ctx context.Context, p *planner, source func(dest string) *zfs.Host, target *zfs.Host, drafts []*draft) {
	if s.complete {
		return
	}
	var list []*draft
	from := map[string][]string{}
	var to []string
	for _, d := range drafts {
		r, t := d.r, d.r.Target
		if r.Error != nil || !d.has || !t.Exists || len(d.wanted) == 0 || len(d.wanted) > sameMost || d.begun != nil ||
			!slices.Contains(p.sendsRaw(r), "-p") {
			continue
		}
		list = append(list, d)
		from[r.Host] = append(from[r.Host], r.Name)
		for i := range d.wanted {
			if snap := &r.Snapshots[i]; !snap.Virtual {
				from[r.Host] = append(from[r.Host], snap.Full(r.Name))
			}
		}
		to = append(to, s.actual(t.Name))
	}
	if len(list) == 0 {
		return
	}
	has, err := target.Own(ctx, to)
	if err != nil {
		return
	}
	for dest, names := range from {
		own, err := source(dest).Own(ctx, names)
		if err != nil {
			continue // such as by a snapshot that is gone: the send will tell
		}
		for _, d := range list {
			if d.r.Host == dest {
				d.same = p.same(d, own, has[s.actual(d.r.Target.Name)])
			}
		}
	}
}

// same tells whether a stream with properties would change none, from what the
// source, its snapshots and the copy have of their own.
func (p *planner) same(d *draft, own map[string]map[string]zfs.Value, has map[string]zfs.Value) bool {
	r := d.r
	for i := range d.wanted {
		if len(own[r.Snapshots[i].Full(r.Name)]) > 0 {
			return false
		}
	}
	// What is set or left out does not come from the stream.
	exclude, set := p.properties(r, false)
	not := map[string]bool{}
	for _, name := range exclude {
		not[name] = true
	}
	for _, pv := range set {
		name, _, _ := strings.Cut(pv, "=")
		not[name] = true
	}
	sent := own[r.Name]
	for name, v := range sent {
		if got, ok := has[name]; !not[name] && (!ok || got.Source != "received" || got.Value != v.Value) {
			return false
		}
	}
	for name, v := range has {
		if _, ok := sent[name]; !ok && v.Source == "received" && !not[name] {
			return false
		}
	}
	return true
}

// without are flags without -p.
func without(flags []string) []string {
	return slices.DeleteFunc(slices.Clone(flags), func(f string) bool { return f == "-p" })
}
