package xfer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"zab/lib/record"
	"zab/lib/zfs"
)

// This file ends transfers that would fail in the same way every night: a snapshot that
// cannot be read is left out, the part of it that a receive has saved is discarded, and
// its step holds are released.

// mostLeftOut is how many times a record's stream is begun anew without a snapshot that
// cannot be read; after that only the newest is tried. A lost block that is still part of
// the dataset is in all of its later snapshots, and each stream may be long.
const mostLeftOut = 2

// leaveOut replaces the rest of the record's receive steps, from step i on, after its
// stream came to a lost block, by steps that bring the snapshots after the one that
// cannot be read. It returns the names of the snapshots that these steps leave out; none
// if nothing can be sent. The saved part of the stream is discarded, unless remaining
// fails.
func (j *job) leaveOut(ctx context.Context, i int, lost map[string][]string) []string {
	s := &j.r.Steps[i]
	left, err := j.remaining(ctx, s, true)
	if err != nil {
		j.x.env.Verbosef("cannot try without it: %s", err)
		return nil
	}
	if len(left) == 0 {
		return nil
	}
	j.r.Target.Resume, j.r.Target.ResumeToken = nil, ""
	last := i
	for last+1 < len(j.r.Steps) && j.r.Steps[last+1].Do == record.DoReceive && j.r.Steps[last+1].From == j.r.Steps[last].To {
		last++
	}
	steps := append([]record.Step{left[0]}, j.r.Steps[i+1:last+1]...)
	j.leftOut++
	bad, steps := without(steps, lost, j.leftOut > mostLeftOut)
	if len(steps) == 0 {
		return nil
	}
	j.r.Steps = slices.Concat(j.r.Steps[:i+1], steps, j.r.Steps[last+1:])
	return bad
}

// without returns steps that bring the snapshots of the given receive steps, except the
// first, which cannot be read, and except all before the newest in which blocks are lost
// as well; with newest, they bring the newest alone. bad has the names of the snapshots
// left out. zpool (2.3) goes on naming files that were written anew since, until the pool
// has been scrubbed, so the newest is tried even if blocks of it are said to be lost.
func without(steps []record.Step, lost map[string][]string, newest bool) (bad []string, out []record.Step) {
	type point struct {
		record.Through
		step int
	}
	var all []point
	for k := range steps {
		for _, t := range append(slices.Clone(steps[k].Through), record.Through{Name: steps[k].To, GUID: steps[k].ToGUID}) {
			all = append(all, point{t, k})
		}
	}
	end := len(all) - 1
	if end == 0 {
		return nil, nil
	}
	first := steps[0]
	base := record.Through{Name: first.From, GUID: first.FromGUID} // of the next stream
	before := -1                                                   // the index in all of the last one taken
	// bare: snapshots to be left out lie between the base of the last stream and its end.
	// It cannot be extended, since zfs send -I would bring the left out ones as well.
	bare := true
	for i, p := range all {
		if i == 0 || i < end && (newest || lost[p.Name] != nil) {
			bad = append(bad, p.Name)
			continue
		}
		next := before >= 0 && before == i-1
		if n := len(out) - 1; next && !bare && all[before].step == p.step {
			out[n].Through = append(out[n].Through, record.Through{Name: out[n].To, GUID: out[n].ToGUID})
			out[n].To, out[n].ToGUID = p.Name, p.GUID
			before, base = i, p.Through
			continue
		}
		s := steps[p.step]
		s.From, s.FromGUID, s.Through, s.Origin, s.Force, s.Token = base.Name, base.GUID, nil, "", false, ""
		if len(out) == 0 {
			// The first stream starts from the base of the replaced ones, and makes the
			// copy if need be.
			s.Origin, s.Force, s.Set, s.Exclude = first.Origin, first.Force, first.Set, first.Exclude
		}
		s.To, s.ToGUID, s.Bytes = p.Name, p.GUID, nil
		s.Why = fmt.Sprintf("'%s' cannot be read", all[0].Name)
		out = append(out, s)
		before, base, bare = i, p.Through, !next
	}
	return bad, out
}

// stuck reports whether a stream that resumed from the part saved by an earlier run has
// brought nothing more, and failed because of itself and not of its surroundings, such as
// the network, space or permissions: it would fail the next time, too.
func (j *job) stuck(ctx context.Context, s *record.Step, f *failure) bool {
	if s.Token == "" || f.program != sender && f.program != receiver {
		return false
	}
	switch f.kind {
	case record.KindPartial, record.KindOther, record.KindStream, record.KindPoolIO, record.KindUnreadable:
	default:
		return false
	}
	token, err := resumeToken(ctx, j.x.target(j.r), s.Dataset)
	return err == nil && zfs.SamePlace(token, s.Token)
}

// giveUp releases the step holds for streams that cannot succeed, unless one of them has
// been received in part. Snapshots that did arrive stay held (P1).
func (j *job) giveUp(ctx context.Context) {
	held := j.holds.held
	if len(held) == 0 || ctx.Err() != nil {
		return
	}
	target := j.r.Target
	if token, err := resumeToken(ctx, j.x.target(j.r), target.Name); err != nil || token != "" {
		return
	}
	var there []string
	for _, full := range held {
		there = append(there, target.Name+strings.TrimPrefix(full, j.r.Name))
	}
	found, err := j.x.target(j.r).Find(ctx, there)
	if err != nil {
		return
	}
	var free []string
	for i, full := range held {
		if _, ok := found[there[i]]; !ok {
			free = append(free, full)
		}
	}
	if len(free) == 0 {
		return
	}
	if err := j.x.source(j.r).Release(ctx, target.Pin, free); err != nil {
		j.x.env.Verbosef("cannot let go of what was held to be sent: %s", err)
	}
}

// hopeless reports whether a stream that failed in this way will fail again until a
// person has done something about it.
func hopeless(k record.ErrorKind) bool {
	switch k {
	case record.KindUnreadable, record.KindFeature, record.KindEncryption, record.KindForeignStream:
		return true
	}
	return false
}
