package xfer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"zab/lib/groups"
	"zab/lib/record"
	"zab/lib/zfs"
)

func checkMark(r *record.Record, s *record.Step, _ bool) error {
	if len(s.Set) == 0 {
		return errors.New("the field \"set\" is missing")
	}
	for _, pv := range s.Set {
		if !isMark(pv) {
			return fmt.Errorf("%q is not a mark of zab's", pv)
		}
	}
	return isAbout(s, r.Target.Name)
}

// isMark reports whether a mark step may set P=V on a copy: a property of zab's own in
// the form in which zab writes it, or keylocation=prompt, with which --safe-properties
// undoes the keylocation of a raw stream.
func isMark(pv string) bool {
	name, value, _ := strings.Cut(pv, "=")
	switch name {
	case zfs.FromProp:
		return record.CheckFrom(value) == nil
	case zfs.StreamProp:
		return record.CheckStream(value) == nil
	case zfs.PoolProp:
		return record.CheckPool(value) == nil
	}
	return pv == "keylocation=prompt"
}

func (j *job) showMark(_ context.Context, i, _ int) ([]string, error) {
	s := &j.r.Steps[i]
	return shown(j.x.target(j.r), zfs.SetArgv(s.Set, s.Dataset))
}

// mark executes the mark steps of records, with one program for all copies that get the
// same properties. A copy without its mark is as good, so a mark that cannot be set is
// only a warning. With late, it executes the steps that set zab:pool alone, which come
// after the base is held for that pool; without late, all others, which may set zab:pool
// too, since the new base has had that pin since before it was sent.
func mark(ctx context.Context, batch []*job, late bool) {
	type group struct {
		host *zfs.Host
		set  string // the properties, quoted
	}
	var same groups.Of[group, held]
	for _, j := range batch {
		if j.r.Error != nil {
			continue
		}
		for _, i := range j.later {
			if s := &j.r.Steps[i]; s.Do == record.DoMark && late == (len(s.Set) == 1 && strings.HasPrefix(s.Set[0], zfs.PoolProp+"=")) {
				same.Add(group{j.x.target(j.r), fmt.Sprintf("%q", j.marks(s))}, held{j, i, s.Dataset})
			}
		}
	}
	for g, list := range same.All() {
		set := list[0].j.marks(&list[0].j.r.Steps[list[0].step])
		var names []string
		for _, h := range list {
			names = append(names, h.full)
		}
		err := g.host.Set(ctx, set, names)
		for _, h := range list {
			res := h.j.result(h.step)
			if e := errorFor(err, h.full); e != nil {
				res.Message = e.Error()
				if zfs.KindOf(e) == record.KindPermission {
					// It will be so every night, and is not worth a mail.
					h.j.x.env.Verbosef("cannot set %s on '%s': %s", strings.Join(set, " "), h.full, e)
				} else {
					h.j.r.Warn("cannot set %s on '%s': %s", strings.Join(set, " "), h.full, e)
				}
				continue
			}
			res.Done = true
		}
	}
}

// marks returns the properties that a mark step sets. The claim that the copy takes no
// sharing properties is left out unless its first stream was received with -x for them,
// from its beginning: zfs need not have kept the -x of a stream that was resumed with a
// token.
func (j *job) marks(s *record.Step) []string {
	if j.unshared {
		return s.Set
	}
	return zfs.WithoutUnshared(s.Set)
}
