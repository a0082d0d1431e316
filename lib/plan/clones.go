package plan

import (
	"fmt"
	"slices"
	"strings"

	"zab/lib/record"
)

// cloning is how clones are sent.
type cloning string

const (
	clonesNever  cloning = "never"
	clonesSimple cloning = "simple"
)

// UnmarshalFlag parses the value of an option.
func (c *cloning) UnmarshalFlag(s string) error {
	if *c = cloning(s); *c != clonesNever && *c != clonesSimple {
		return fmt.Errorf("%q is neither %s nor %s", s, clonesNever, clonesSimple)
	}
	return nil
}

// origin is the snapshot from which the copy of a clone is to be made.
type origin struct {
	of   *draft // the dataset of the origin
	at   int    // its index in the snapshots of that dataset
	from string // its full name on the source
}

// clones chooses the origin for each clone whose copy is to be made in this run. It
// runs before any plan is finished, because the origin must be sent too and must stay,
// even if the schedule does not want it or it is not ours.
//
// The last drafts come first, because a clone may itself have the origin of a later
// clone and be sent for the sake of that alone.
func (p *planner) clones(list []*draft) {
	type key struct{ host, name string }
	place := map[key]int{}
	for i, d := range list {
		place[key{d.r.Host, d.r.Name}] = i
	}
	for i := len(list) - 1; i >= 0; i-- {
		d := list[i]
		r := d.r
		if r.Error != nil || r.Origin == "" || d.has || len(d.wanted) == 0 || len(r.Target.Snapshots) > 0 {
			continue
		}
		if p.o.Clones != clonesSimple {
			r.Warn("'%s' is a clone of '%s', and its copy will be none: it takes all of its space again (see --clones)", r.Name, r.Origin)
			continue
		}
		ds, snap, _ := strings.Cut(r.Origin, "@")
		no := func(format string, a ...any) {
			d.noOrigin = p.noOrigin(r, fmt.Sprintf(format, a...))
		}
		at, ok := place[key{r.Host, ds}]
		if !ok {
			no("'%s' is %s", ds, p.elsewhere())
			continue
		}
		if at > i {
			no("'%s' comes later, being below it or read after it", ds)
			continue
		}
		o := list[at]
		k := slices.IndexFunc(o.r.Snapshots, func(s record.Snapshot) bool { return s.Name == snap })
		if k < 0 {
			no("that snapshot is left out of this run")
			continue
		}
		s := &o.r.Snapshots[k]
		_, there := o.copied(s.GUID)
		switch {
		case there || o.wants(k):
		case o.r.Error != nil:
			no("'%s' is in trouble itself", ds)
			continue
		case !o.has || s.TXG() > o.base.TXG:
			o.want(k)
		default:
			no("the copy of '%s' is beyond that snapshot and does not have it", ds)
			continue
		}
		x := s.Rare()
		x.Needed = r.Name
		s.SetRare(x)
		d.origin = &origin{of: o, at: k, from: r.Origin}
	}
}

// copied returns the snapshot of the target with the given guid.
func (d *draft) copied(guid string) (s record.Snapshot, ok bool) {
	t := d.r.Target
	i := slices.IndexFunc(t.Snapshots, func(s record.Snapshot) bool { return s.GUID == guid })
	if i < 0 {
		return s, false
	}
	return t.Snapshots[i], true
}

// cloned returns the full name that the clone's origin has on the target.
func (o *origin) cloned() string {
	s, ok := o.of.copied(o.guid())
	if !ok {
		s = o.of.r.Snapshots[o.at]
	}
	return s.Full(o.of.r.Target.Name)
}

// guid returns the guid of the origin.
func (o *origin) guid() string { return o.of.r.Snapshots[o.at].GUID }

// ready returns the conflict of a clone whose origin neither is nor will be on the
// target, else nil. The origin's dataset must have been planned before.
func (p *planner) ready(d *draft) *record.Conflict {
	if d.noOrigin != nil {
		return d.noOrigin
	}
	o := d.origin
	if o == nil || o.of.r.Error == nil {
		return nil
	}
	if _, there := o.of.copied(o.guid()); there {
		return nil // the failure does not matter, the origin is there
	}
	return p.noOrigin(d.r, fmt.Sprintf("'%s' cannot be sent", o.of.r.Name))
}

// noOrigin returns the conflict of a clone that --clones simple cannot reproduce.
func (p *planner) noOrigin(r *record.Record, why string) *record.Conflict {
	ds, _, _ := strings.Cut(r.Origin, "@")
	return &record.Conflict{Kind: record.ConflictNoOrigin,
		Message: fmt.Sprintf("it is a clone of '%s', from which its copy cannot be made: %s", r.Origin, why),
		Remedies: []string{
			fmt.Sprintf("back up '%s' with it, to the same target", ds),
			"--clones never to send all of it",
		}}
}
