package thin

import (
	"fmt"
	"slices"

	"zab/lib/chain"
	"zab/lib/record"
	"zab/lib/schedule"
	"zab/lib/snapname"
)

// Rules are what a decision depends on besides the record.
type Rules struct {
	// Source and Target are the schedules; nil thins nothing on that side.
	Source, Target *schedule.Schedule
	// Format tells which snapshots are ours, and their times.
	Format snapname.Format
	// Now is in seconds since the epoch.
	Now int64
	// Bookmark: where the newest in common has a bookmark on the source, it need
	// not stay there as a snapshot, not even as the newest of all.
	Bookmark bool
}

// Decide gives the verdicts on all snapshots that the record has, on each
// side. It is a pure function: the same record, rules and time give the same
// verdicts, in whatever order the snapshots come.
//
// Whatever the schedules say, these stay (promises P1 and P2): the newest
// snapshot in common, on both sides; the newest of each side; what the steps
// still have to send, and what they start from; what is held, where no target
// is known that could tell whether the hold is still needed; and whatever is
// not ours.
func Decide(r *record.Record, rules *Rules) *record.Thin {
	t := &record.Thin{}
	pending := chain.Pending(r)
	var base chain.Base
	var has bool
	if r.Target != nil && r.Type == record.TypeDataset {
		base, has = chain.Find(r.Snapshots, r.Bookmarks, r.Target.Snapshots)
	}
	marked := rules.Bookmark && has && slices.ContainsFunc(r.Bookmarks, func(b record.Snapshot) bool { return b.GUID == base.GUID })
	isBase := func(s *record.Snapshot) bool { return has && s.GUID == base.GUID && s.GUID != "" }
	isPending := func(s *record.Snapshot) bool {
		return s.GUID != "" && pending[s.GUID] || s.GUID == "" && pending["@"+s.Name]
	}
	clones := map[string]string{}
	for i := range r.Snapshots {
		if s := &r.Snapshots[i]; s.Needed != "" && s.GUID != "" {
			clones[s.GUID] = s.Needed
		}
	}
	isOrigin := func(s *record.Snapshot) []string {
		if c := clones[s.GUID]; c != "" {
			return []string{"the copy of the clone '" + c + "' is to be made from it"}
		}
		return nil
	}
	if r.Type == record.TypeDataset && r.Snapshots != nil && rules.Source != nil {
		alone := r.Target == nil
		free := func(s *record.Snapshot) bool { return marked && isBase(s) }
		t.Source = side(r.Snapshots, nil, rules.Source, rules, free, func(s *record.Snapshot) (pins []string) {
			if isBase(s) && !marked {
				pins = append(pins, "the newest in common with the target")
			}
			if isPending(s) {
				pins = append(pins, "still to be sent")
			}
			pins = append(pins, isOrigin(s)...)
			if alone && s.UserRefs != nil && *s.UserRefs > 0 {
				pins = append(pins, "held")
			}
			return pins
		})
	}
	if r.Target != nil && r.Target.Snapshots != nil && rules.Target != nil {
		// As if all had been sent: what comes takes its place in the schedule
		// before it is there.
		var coming []record.Snapshot
		have := map[string]bool{}
		for i := range r.Target.Snapshots {
			have[r.Target.Snapshots[i].GUID] = true
		}
		for i := range r.Snapshots {
			s := &r.Snapshots[i]
			if isPending(s) && (s.GUID == "" || !have[s.GUID]) {
				coming = append(coming, *s)
			}
		}
		t.Target = side(r.Target.Snapshots, coming, rules.Target, rules, nil, func(s *record.Snapshot) (pins []string) {
			if isBase(s) {
				pins = append(pins, "the newest in common with the source")
			}
			pins = append(pins, isOrigin(s)...)
			if r.Type == record.TypeOrphan && s.UserRefs != nil && *s.UserRefs > 0 {
				pins = append(pins, "held")
			}
			return pins
		})
	}
	return t
}

// side decides about one side. coming are snapshots that will be there soon:
// they take part in the schedule and get no verdict. free tells of the newest
// whether even it may go.
func side(have, coming []record.Snapshot, keep *schedule.Schedule, rules *Rules, free func(*record.Snapshot) bool, pins func(*record.Snapshot) []string) []record.Verdict {
	verdicts := make([]record.Verdict, len(have))
	newest := -1
	for i := range have {
		if newest < 0 || younger(&have[i], &have[newest]) {
			newest = i
		}
	}
	var in []schedule.Snapshot
	var index []int
	for i := range have {
		s := &have[i]
		verdicts[i] = record.Verdict{Name: s.Name, Keep: true}
		at, ours := rules.Format.Time(s.Name)
		if !ours {
			verdicts[i].Why = []string{"not ours"}
			continue
		}
		p := pins(s)
		if i == newest && (free == nil || !free(s)) {
			p = append(p, "the newest of the dataset")
		}
		in = append(in, schedule.Snapshot{Name: s.Name, Time: at, CreateTXG: order(s), Pins: p})
		index = append(index, i)
	}
	for i := range coming {
		if at, ours := rules.Format.Time(coming[i].Name); ours {
			// The pools count transaction groups differently: after all others.
			in = append(in, schedule.Snapshot{Name: coming[i].Name, Time: at, CreateTXG: afterAll + uint64(i)})
		}
	}
	decided := keep.Decide(in, rules.Now)
	for n, i := range index {
		verdicts[i].Keep = decided[n].Keep
		verdicts[i].Why = decided[n].Why()
	}
	return verdicts
}

const afterAll = 1 << 63

// order is where a snapshot stands in the life of its dataset. One that a dry
// run would make comes after all that exist.
func order(s *record.Snapshot) uint64 {
	if s.Virtual || s.CreateTXG == "" {
		return afterAll
	}
	return s.TXG()
}

func younger(a, b *record.Snapshot) bool {
	if x, y := order(a), order(b); x != y {
		return x > y
	}
	return a.Name > b.Name
}

// merge keeps what an earlier zab-thin destroyed in the story of the record.
func merge(before, now []record.Verdict) []record.Verdict {
	var gone []record.Verdict
	for _, v := range before {
		if v.Destroyed {
			gone = append(gone, v)
		}
	}
	if gone == nil {
		return now
	}
	return append(gone, now...)
}

// doomed are the names that a verdict wants gone.
func doomed(verdicts []record.Verdict) []string {
	var out []string
	for _, v := range verdicts {
		if !v.Keep && !v.Destroyed {
			out = append(out, v.Name)
		}
	}
	return out
}

// without gives the snapshots less those named.
func without(list []record.Snapshot, names map[string]bool) []record.Snapshot {
	return slices.DeleteFunc(list, func(s record.Snapshot) bool { return names[s.Name] })
}

// note changes the verdict on a snapshot that was to go and stays after all.
func note(verdicts []record.Verdict, name, format string, a ...any) {
	for i := range verdicts {
		if v := &verdicts[i]; v.Name == name && !v.Destroyed {
			v.Keep = true
			v.Why = append([]string{fmt.Sprintf(format, a...)}, v.Why...)
		}
	}
}

// gone marks verdicts as carried out.
func gone(verdicts []record.Verdict, names map[string]bool) {
	for i := range verdicts {
		if !verdicts[i].Keep && names[verdicts[i].Name] {
			verdicts[i].Destroyed = true
		}
	}
}
