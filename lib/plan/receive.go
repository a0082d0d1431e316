package plan

import (
	"fmt"
	"slices"
	"strings"

	"zab/lib/chain"
	"zab/lib/record"
	"zab/lib/zfs"
)

// token decides whether the interrupted receive of a target is resumed, and sets
// t.Resume if so. If its token is of no use, abort is true and reason says why.
func (p *planner) token(d *draft) (abort bool, reason string) {
	r, t := d.r, d.r.Target
	if t.ResumeToken == "" {
		return false, ""
	}
	token, err := zfs.DecodeToken(t.ResumeToken)
	if err != nil {
		return true, err.Error()
	}
	t.Resume = token.Resume() // p.flags depends on it
	next := p.cut(d)[0]
	want := zfs.TokenWant{Source: r.Name, To: next.To, ToGUID: next.ToGUID, FromGUID: next.FromGUID, Flags: p.flags(d)}
	if len(next.Through) > 0 {
		want.To, want.ToGUID = next.Through[0].Name, next.Through[0].GUID
	}
	misfit := token.Fits(want)
	switch {
	case misfit != nil:
		reason = misfit.Error()
	case !d.has && p.begunOtherwise(r):
		reason = "it was begun with other options about encryption"
	case d.has && d.base.Target < len(t.Snapshots)-1:
		// zfs (2.3) resumes a receive only onto the snapshot that it started from.
		reason = fmt.Sprintf("the target has the newer snapshot '%s'", t.Snapshots[len(t.Snapshots)-1].Name)
	default:
		return false, ""
	}
	t.Resume = nil
	return true, reason
}

// cut returns the streams that bring the wanted snapshots.
func (p *planner) cut(d *draft) []chain.Stream {
	all := chain.Streams(d.r.Snapshots, d.wants, d.base, d.has)
	if d.origin != nil {
		chain.FromOrigin(all, d.origin.from, d.origin.guid())
	}
	if len(p.o.Patterns) == 0 {
		return all
	}
	// Excluded snapshots are not in the record, but zfs send -I would include them: so
	// each wanted snapshot gets a stream of its own.
	var out []chain.Stream
	for _, s := range all {
		for _, t := range s.Through {
			out = append(out, chain.Stream{From: s.From, FromGUID: s.FromGUID, To: t.Name, ToGUID: t.GUID})
			s.From, s.FromGUID = t.Name, t.GUID
		}
		s.Through = nil
		out = append(out, s)
	}
	return out
}

// streams returns the receive steps.
func (p *planner) streams(d *draft) []record.Step {
	r, t := d.r, d.r.Target
	flags := p.flags(d)
	for _, name := range p.inStream(r) {
		r.Warn("'%s' comes with the stream: it can be neither set nor filtered", name)
	}
	if !p.able(r).Resumable {
		r.Warn("the pool '%s' has no feature@extensible_dataset, so that a stream that breaks off begins anew", zfs.Pool(t.Name))
	}
	var steps []record.Step
	streams := p.cut(d)
	if t.Resume != nil {
		// The resumed receive brings one snapshot; the rest of its stream follows.
		s := &streams[0]
		exclude, set := p.properties(d, record.MakesDataset(s.From))
		steps = append(steps, record.Step{Do: record.DoReceive, Side: record.SideTarget, Dataset: t.Name,
			From: s.From, FromGUID: s.FromGUID, To: s.To, ToGUID: s.ToGUID, Token: t.Resume.Token,
			Flags: flags, Set: set, Exclude: exclude, Why: "an interrupted receive goes on"})
		last := &steps[0]
		dropCreateOnly(last, p.raw(r))
		if len(s.Through) > 0 {
			first := s.Through[0]
			last.To, last.ToGUID = first.Name, first.GUID
			s.From, s.FromGUID = first.Name, first.GUID
			s.Through = s.Through[1:]
			if len(s.Through) == 0 {
				s.Through = nil
			}
		} else {
			streams = streams[1:]
		}
	}
	for _, s := range streams {
		exclude, set := p.properties(d, record.MakesDataset(s.From))
		step := record.Step{Do: record.DoReceive, Side: record.SideTarget, Dataset: t.Name,
			From: s.From, FromGUID: s.FromGUID, To: s.To, ToGUID: s.ToGUID, Through: s.Through,
			Flags: flags, Set: set, Exclude: exclude, NoResume: !p.able(r).Resumable}
		if s.From == "" && t.Exists && t.Resume == nil && len(t.Snapshots) == 0 && p.o.Force {
			step.Force = true
			step.Why = "the target exists without snapshots, and --force overwrites it"
		}
		if d.origin != nil && s.From == d.origin.from {
			step.Origin = d.origin.cloned()
		}
		if d.has && len(steps) == 0 {
			step.Undo = p.undo(t)
		}
		dropCreateOnly(&step, p.raw(r))
		step.Bytes = streamSize(r, &step)
		steps = append(steps, step)
	}
	return steps
}

// undo returns the changes of the target that the first receive may roll back:
// UndoChanges, UndoReads, or "" for none. The plan does not see writes of the last
// seconds, because the property written counts only data on disk; zfs receive finds
// them.
func (p *planner) undo(t *record.Target) string {
	switch {
	case p.o.Rollback:
		return record.UndoChanges
	case t.Kind == "filesystem" && t.Mounted == "yes":
		return record.UndoReads
	}
	return ""
}

// flags returns the flags of zfs send. A copy goes on with or without -L as it was
// begun, even if the pools support something else by now. -e is never among them: OpenZFS
// 2.3 then sends a small spill block as data of its file, and the copy of the file has
// lost its extended attributes and ACL (OpenZFS pull request 19091).
func (p *planner) flags(d *draft) []string {
	r := d.r
	f := p.able(r)
	if begun := r.Target.Stream; begun != "" && begun != zfs.StreamParent && d.has {
		f.LargeBlocks = slices.Contains(strings.Split(begun, ","), "L")
	}
	var flags []string
	if f.LargeBlocks {
		flags = append(flags, "-L")
	}
	if p.o.ZFSCompressed {
		flags = append(flags, "-c")
	}
	return append(flags, p.sendsRaw(r)...)
}

// able returns the features that the pools on both sides allow a stream of the record
// to use.
func (p *planner) able(r *record.Record) zfs.Features {
	return p.features(r.Host, zfs.Pool(r.Name), zfs.Pool(p.inv.target))
}
