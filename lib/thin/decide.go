package thin

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"zab/lib/chain"
	"zab/lib/record"
	"zab/lib/schedule"
	"zab/lib/snapname"
)

// Rules is the input of a decision besides the record.
type Rules struct {
	// Source and Target are the schedules; with nil nothing is thinned on that side.
	Source, Target *schedule.Schedule
	// Format tells which snapshots are ours, and their times.
	Format snapname.Format
	// Property is the selecting property, HoldTag the tag of our holds.
	Property, HoldTag string
	// Now is in seconds since the epoch.
	Now int64
	// Bookmark lets the source drop the incremental base, even if it is the newest
	// snapshot of all, where the source has a bookmark of it.
	Bookmark bool
	// DryRun: snapshots that zab-xfer would receive, as its dry run has shown, count as
	// received.
	DryRun bool

	// brief: verdicts without reasons; a forecast makes many.
	brief bool
	// times remembers what Format reads in names, for a forecast; nil without one.
	times map[string]namedTime
}

// Naming is the part of a command's options that says how a backup names its snapshots and
// holds.
type Naming interface {
	Format(backup string) (snapname.Format, error)
	HoldTag(backup string) (string, error)
}

// NewRules returns the rules for the snapshots of a backup at a time in seconds since the
// epoch, for a backup whose schedules alone decide.
func NewRules(names Naming, source *schedule.Source, target *schedule.Target, backup string, now int64) (*Rules, error) {
	format, err := names.Format(backup)
	if err != nil {
		return nil, err
	}
	tag, err := names.HoldTag(backup)
	if err != nil {
		return nil, err
	}
	r := &Rules{Source: &source.Keep, Target: target.KeepTarget(), Format: format, HoldTag: tag, Now: now}
	if target.NoThinning {
		r.Source = nil
	}
	return r, nil
}

// namedTime is the time in the name of a snapshot, if it is ours.
type namedTime struct {
	at   int64
	ours bool
}

// time returns the time in the name of a snapshot; ours is false if it has none.
func (rules *Rules) time(name string) (at int64, ours bool) {
	if n, ok := rules.times[name]; ok {
		return n.at, n.ours
	}
	at, ours = rules.Format.Time(name)
	if rules.times != nil {
		rules.times[name] = namedTime{at, ours}
	}
	return at, ours
}

// Decide returns the verdicts on all snapshots of the record, on each side. It is a
// pure function: the same record, rules and time give the same verdicts, regardless of
// the order of the snapshots.
//
// A snapshot that the target is still to receive causes no other to be destroyed before
// it has arrived, because until then it is only a claim of the source. Nor does a
// snapshot whose name lies in the future (see schedule.Decide).
//
// These snapshots stay, regardless of the schedules (promises P1 and P2): the newest in
// common, on both sides; the newest of each side (Rules.Bookmark makes an exception to
// both on the source); the snapshots that the steps still have to send, and those that
// these streams start from; held ones, where nothing tells whether the hold is still
// needed, as on a source without a target and on an orphan; and all that are not ours.
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
		s := &r.Snapshots[i]
		if clone := s.Rare().Needed; clone != "" && s.GUID != "" {
			clones[s.GUID] = clone
		}
	}
	isOrigin := func(s *record.Snapshot) []string {
		if c := clones[s.GUID]; c != "" {
			return []string{"the copy of the clone '" + c + "' is to be made from it"}
		}
		return nil
	}
	if r.Type == record.TypeDataset && r.Snapshots != nil && rules.Source != nil {
		// Once the dataset has a copy at its place, the other one needs no base.
		moved := ""
		if r.Target != nil && !has && !(rules.DryRun && len(pending) > 0 && shown(r)) {
			moved = r.Target.ElsewhereGUID
		}
		alone := r.Target == nil
		free := func(s *record.Snapshot) bool { return marked && isBase(s) }
		t.Source = side(r.Snapshots, rules.Source, rules, free, func(s *record.Snapshot) (pins []string) {
			if isBase(s) && !marked {
				pins = append(pins, "the newest in common with the target")
			}
			if isPending(s) {
				pins = append(pins, "still to be sent")
			}
			if moved != "" && s.GUID == moved {
				pins = append(pins, "the newest in common with its copy '"+r.Target.Elsewhere+"'")
			}
			pins = append(pins, isOrigin(s)...)
			if alone && s.UserRefs != nil && *s.UserRefs > 0 {
				pins = append(pins, "held")
			}
			return pins
		})
	}
	if r.Target != nil && r.Target.Snapshots != nil && rules.Target != nil {
		pins := func(s *record.Snapshot) (pins []string) {
			if isBase(s) {
				pins = append(pins, "the newest in common with the source")
			}
			pins = append(pins, isOrigin(s)...)
			if r.Type == record.TypeOrphan && s.UserRefs != nil && *s.UserRefs > 0 {
				pins = append(pins, "held")
			}
			return pins
		}
		t.Target = side(r.Target.Snapshots, rules.Target, rules, nil, pins)
		if coming := coming(r, isPending); len(coming) > 0 {
			with := side(slices.Concat(r.Target.Snapshots, coming), rules.Target, rules, nil, pins)
			arrived := rules.DryRun && shown(r)
			newest := youngest(r.Target.Snapshots)
			for i := range t.Target {
				switch v := &t.Target[i]; {
				case !v.Keep || with[i].Keep || i == newest:
				case arrived:
					*v = with[i]
				default:
					v.Why = append(v.Why, "kept until what is coming has arrived")
				}
			}
		}
	}
	return t
}

// coming returns the snapshots that the target is still to receive, oldest first. Each
// pool counts its own transaction groups, so their createtxgs are set to numbers after
// those of all existing snapshots.
func coming(r *record.Record, pending func(*record.Snapshot) bool) []record.Snapshot {
	have := map[string]bool{}
	for i := range r.Target.Snapshots {
		have[r.Target.Snapshots[i].GUID] = true
	}
	var out []record.Snapshot
	for i := range r.Snapshots {
		if s := &r.Snapshots[i]; pending(s) && (s.GUID == "" || !have[s.GUID]) {
			c := *s
			c.Virtual = false
			c.CreateTXG = strconv.FormatUint(afterAll+uint64(len(out)), 10)
			out = append(out, c)
		}
	}
	return out
}

// shown reports whether a dry run of zab-xfer has shown each transfer of the
// record.
func shown(r *record.Record) bool {
	for i := range r.Steps {
		if r.Steps[i].Do == record.DoReceive && !slices.ContainsFunc(r.Results, func(x record.Result) bool {
			return x.Step == i && (x.Done || len(x.Commands) > 0)
		}) {
			return false
		}
	}
	return true
}

// side returns the verdicts on the snapshots of one side. free reports whether a snapshot
// may go even if it is the newest; with nil none may. pins returns the reasons to keep a
// snapshot regardless of the schedule.
func side(have []record.Snapshot, keep *schedule.Schedule, rules *Rules, free func(*record.Snapshot) bool, pins func(*record.Snapshot) []string) []record.Verdict {
	verdicts := make([]record.Verdict, len(have))
	newest := youngest(have)
	var in []schedule.Snapshot
	var index []int
	for i := range have {
		s := &have[i]
		verdicts[i] = record.Verdict{Name: s.Name, Keep: true}
		at, ours := rules.time(s.Name)
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
	decided := keep.Decide(in, rules.Now)
	for n, i := range index {
		verdicts[i].Keep = decided[n].Keep
		if !rules.brief {
			verdicts[i].Why = decided[n].Why()
		}
	}
	return verdicts
}

const afterAll = 1 << 63

// order returns the createtxg of a snapshot, by which a dataset's snapshots are ordered.
// A snapshot that a dry run would make comes after all existing ones.
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

// youngest returns the index of the newest snapshot, or -1 if the list is empty.
func youngest(list []record.Snapshot) int {
	newest := -1
	for i := range list {
		if newest < 0 || younger(&list[i], &list[newest]) {
			newest = i
		}
	}
	return newest
}

// warnAhead adds a warning to the record for each of its datasets that has snapshots of
// ours whose names lie in the future. It returns the full name of the first such
// snapshot, or "" if there is none.
func warnAhead(r *record.Record, rules *Rules) (first string) {
	about := func(dataset string, list []record.Snapshot) {
		n, example := 0, ""
		for i := range list {
			if at, ours := rules.Format.Time(list[i].Name); ours && at > rules.Now+schedule.Tolerance {
				if n++; example == "" {
					example = list[i].Name
				}
			}
		}
		// Replace the warning of an earlier stage, which may have counted fewer.
		text := fmt.Sprintf("snapshots of '%s' named for a time still to come: ", dataset)
		r.Warnings = slices.DeleteFunc(r.Warnings, func(w string) bool { return strings.HasPrefix(w, text) })
		if n == 0 {
			return
		}
		if first == "" {
			first = dataset + "@" + example
		}
		r.Warn("%s%d, such as '@%s'; they are kept, and no schedule counts them until then", text, n, example)
	}
	if rules.Source != nil {
		about(r.Name, r.Snapshots)
	}
	if rules.Target != nil && r.Target != nil {
		about(r.Target.Name, r.Target.Snapshots)
	}
	return first
}

// merge returns the verdicts of this zab-thin, preceded by the earlier verdicts on the
// snapshots that an earlier zab-thin destroyed.
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

// doomed returns the names of the snapshots that are still to be destroyed.
func doomed(verdicts []record.Verdict) []string {
	var out []string
	for _, v := range verdicts {
		if !v.Keep && !v.Destroyed {
			out = append(out, v.Name)
		}
	}
	return out
}

// without returns the snapshots except the named ones.
func without(list []record.Snapshot, names map[string]bool) []record.Snapshot {
	return slices.DeleteFunc(list, func(s record.Snapshot) bool { return names[s.Name] })
}

// note changes the verdict on a snapshot that was to be destroyed and stays after all,
// and puts the reason first.
func note(verdicts []record.Verdict, name, format string, a ...any) {
	for i := range verdicts {
		if v := &verdicts[i]; v.Name == name && !v.Destroyed {
			v.Keep = true
			v.Why = append([]string{fmt.Sprintf(format, a...)}, v.Why...)
		}
	}
}

// gone marks the verdicts on the named snapshots as carried out.
func gone(verdicts []record.Verdict, names map[string]bool) {
	for i := range verdicts {
		if !verdicts[i].Keep && names[verdicts[i].Name] {
			verdicts[i].Destroyed = true
		}
	}
}
