package xfer

import (
	"context"

	"zab/lib/groups"
	"zab/lib/record"
	"zab/lib/zfs"
)

// verify looks up the guids of the received snapshots, with one listing for each target
// host. The same listing has the number of holds of snapshots that IfHeld steps release.
func verify(ctx context.Context, batch []*job) {
	var hosts groups.Of[*zfs.Host, *job]
	for _, j := range batch {
		if len(j.arrived) > 0 {
			hosts.Add(j.x.target(j.r), j)
		}
	}
	for host, jobs := range hosts.All() {
		var names, old []string
		for _, j := range jobs {
			for _, i := range j.arrived {
				s := &j.r.Steps[i]
				for _, t := range s.Through {
					names = append(names, s.Dataset+"@"+t.Name)
				}
				names = append(names, s.Dataset+"@"+s.To)
			}
			old = append(old, j.ifHeld(record.SideTarget)...)
		}
		found, err := findAlso(ctx, host, names, old)
		for _, j := range jobs {
			if err == nil {
				for _, full := range j.ifHeld(record.SideTarget) {
					j.setHoldCount(record.SideTarget, full, found)
				}
			}
			for _, i := range j.arrived {
				j.verify(i, found, err)
			}
		}
	}
}

// verify decides whether receive step i is done; found has the snapshots on the target by
// full name, err is the error of listing them.
func (j *job) verify(i int, found map[string]record.Snapshot, err error) {
	s, res := &j.r.Steps[i], j.result(i)
	full := s.Dataset + "@" + s.To
	row, ok := found[full]
	switch {
	case ok && row.GUID == s.ToGUID:
	case j.ignored[i] != nil:
		err = j.ignored[i]
	case err != nil:
		err = wrap(err, "cannot verify '%s'", full)
	case !ok:
		err = failf(record.KindNotReceived, "cannot verify '%s': all programs ended well, but the target has no such snapshot", full)
	default:
		err = failf(record.KindNotReceived, "cannot verify '%s': it has the guid %s, the plan says %s", full, row.GUID, s.ToGUID)
	}
	if !ok || row.GUID != s.ToGUID {
		res.Message = err.Error()
		fail(j.r, err)
		return
	}
	if e := j.ignored[i]; e != nil {
		j.r.Warn("%s; but the snapshot has arrived", e)
	}
	res.Done, res.GUID = true, s.ToGUID
	t := j.r.Target
	t.Exists, t.Resume, t.ResumeToken = true, nil, ""
	for _, th := range s.Through {
		if row, ok := found[s.Dataset+"@"+th.Name]; ok {
			row.UserRefs = nil // listed only for the IfHeld steps
			insert(&t.Snapshots, row)
		}
	}
	row.UserRefs = nil
	insert(&t.Snapshots, row)
}
