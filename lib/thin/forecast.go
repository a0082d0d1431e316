package thin

import (
	"encoding/binary"
	"slices"
	"strconv"
	"time"

	"zab/lib/chain"
	"zab/lib/record"
)

// Course says how a backup goes on in a forecast: every run succeeds, sends the snapshots
// that wait, and thins.
type Course struct {
	// Every is the number of seconds between two snapshots of the dataset, Run that
	// between two runs. A run without a new snapshot thins all the same.
	Every, Run int64
}

// Fates says when each snapshot of a record is destroyed, in the order of its lists: in
// seconds since the epoch, or Stays. A list is nil where nothing is thinned: on a side
// without snapshots or a schedule, and while an error keeps zab-thin from the record.
type Fates struct{ Source, Target []int64 }

// Stays is the fate of a snapshot that exists at the end of the forecast, or that no
// schedule concerns, because it does not exist yet.
const Stays = 0

// Forecaster predicts what the schedules will destroy, by deciding for each run to come as
// Decide does for a run. It remembers what it found out: datasets of one backup often have
// snapshots of the same times.
type Forecaster struct {
	rules Rules
	until int64 // the end, in seconds since the epoch
	known map[string]Fates
}

// NewForecaster returns a Forecaster from rules.Now, when the records were made, until a
// time in seconds since the epoch.
func NewForecaster(rules *Rules, until int64) *Forecaster {
	f := &Forecaster{rules: *rules, until: until, known: map[string]Fates{}}
	f.rules.brief, f.rules.times, f.rules.DryRun = true, map[string]namedTime{}, false
	return f
}

// Forecast returns the fates of the snapshots of a record. The result must not be changed.
func (f *Forecaster) Forecast(r *record.Record, course Course) Fates {
	if r.Skip() {
		return Fates{}
	}
	sim := simplified(r)
	key := situation(sim, course)
	fates, ok := f.known[key]
	if !ok {
		fates = f.simulate(sim, course)
		f.known[key] = fates
	}
	return fates
}

// simplified returns a copy of what decisions need of a record, with guids and createtxgs
// replaced by small numbers in the same order, so that datasets in the same situation have
// the same copy.
func simplified(r *record.Record) *record.Record {
	guids := map[string]string{"": ""}
	guid := func(g string) string {
		n, ok := guids[g]
		if !ok {
			n = strconv.Itoa(len(guids))
			guids[g] = n
		}
		return n
	}
	list := func(from []record.Snapshot) []record.Snapshot {
		if from == nil {
			return nil
		}
		var txgs []uint64
		for i := range from {
			txgs = append(txgs, order(&from[i]))
		}
		slices.Sort(txgs)
		txgs = slices.Compact(txgs)
		out := make([]record.Snapshot, len(from))
		for i := range from {
			s := &from[i]
			out[i] = record.Snapshot{Name: s.Name, GUID: guid(s.GUID), Virtual: s.Virtual}
			out[i].SetRare(record.Rare{Needed: s.Rare().Needed})
			if at, ok := slices.BinarySearch(txgs, order(s)); ok && !s.Virtual && s.CreateTXG != "" {
				out[i].CreateTXG = strconv.Itoa(at + 1)
			}
			if s.UserRefs != nil && *s.UserRefs > 0 {
				out[i].UserRefs = record.Ptr[int64](1)
			}
		}
		return out
	}
	sim := &record.Record{Type: r.Type, Name: "source", Snapshots: list(r.Snapshots), Bookmarks: list(r.Bookmarks)}
	if t := r.Target; t != nil {
		sim.Target = &record.Target{Name: "target", Exists: t.Exists, Snapshots: list(t.Snapshots), ElsewhereGUID: guid(t.ElsewhereGUID)}
	}
	pending := chain.Pending(r)
	for i := range r.Snapshots {
		if s := &r.Snapshots[i]; s.GUID != "" && pending[s.GUID] || s.GUID == "" && pending["@"+s.Name] {
			sim.Steps = append(sim.Steps, record.Step{Do: record.DoReceive, To: s.Name, ToGUID: guid(s.GUID)})
		}
	}
	return sim
}

// situation returns all that the simulation of a record depends on as text.
func situation(sim *record.Record, course Course) string {
	var b []byte
	number := func(n int64) { b = binary.AppendVarint(b, n) }
	text := func(s string) {
		number(int64(len(s)))
		b = append(b, s...)
	}
	list := func(l []record.Snapshot) {
		number(int64(len(l)))
		if l == nil {
			number(-1)
		}
		for i := range l {
			s := &l[i]
			text(s.Name)
			text(s.GUID)
			text(s.CreateTXG)
			flags := int64(0)
			for bit, set := range []bool{s.UserRefs != nil, s.Virtual, s.Rare().Needed != ""} {
				if set {
					flags |= 1 << bit
				}
			}
			number(flags)
		}
	}
	text(sim.Type)
	list(sim.Snapshots)
	list(sim.Bookmarks)
	if t := sim.Target; t != nil {
		list(t.Snapshots)
		text(t.ElsewhereGUID)
	} else {
		number(-1)
	}
	for i := range sim.Steps {
		text(sim.Steps[i].To + "@" + sim.Steps[i].ToGUID)
	}
	number(-1)
	number(course.Every)
	number(course.Run)
	return string(b)
}

// simulate lets runs follow each other until the end.
func (f *Forecaster) simulate(r *record.Record, course Course) Fates {
	rules := f.rules
	fates := Fates{Source: make([]int64, len(r.Snapshots))}
	next := f.rules.Now // the time of the next snapshot
	for i := range r.Snapshots {
		if at, ours := rules.time(r.Snapshots[i].Name); ours && !r.Snapshots[i].Virtual && at <= f.rules.Now {
			next = max(next, at+course.Every)
		}
	}
	source := numbered(r.Snapshots)
	r.Snapshots = source.list
	target := lane{}
	if t := r.Target; t != nil {
		fates.Target = make([]int64, len(t.Snapshots))
		target = numbered(t.Snapshots)
		t.Snapshots = target.list
		pending := map[string]bool{}
		for i := range r.Steps {
			pending[r.Steps[i].ToGUID] = true
		}
		target.add(coming(r, func(s *record.Snapshot) bool { return s.GUID != "" && pending[s.GUID] })...)
	}
	r.Steps = nil
	for i := range source.list {
		source.list[i].SetRare(record.Rare{}) // the first run makes the clone
	}
	made := uint64(0)
	for now := next - (next-f.rules.Now)/course.Run*course.Run; now <= f.until; now += course.Run {
		rules.Now = now
		if now >= next && r.Type == record.TypeDataset {
			made++
			s := record.Snapshot{Name: rules.Format.Name(time.Unix(now, 0)), GUID: "made" + strconv.FormatUint(made, 10),
				CreateTXG: strconv.FormatUint(afterAll+1<<32+made, 10)}
			source.add(s)
			if r.Target != nil {
				target.add(s)
			}
			next += course.Every
		}
		r.Snapshots = source.list
		if r.Target != nil {
			r.Target.Snapshots = target.list
		}
		verdicts := Decide(r, &rules)
		source.carryOut(verdicts.Source, now, fates.Source)
		target.carryOut(verdicts.Target, now, fates.Target)
	}
	if rules.Source == nil || r.Type != record.TypeDataset || len(fates.Source) == 0 {
		fates.Source = nil
	}
	if rules.Target == nil || len(fates.Target) == 0 {
		fates.Target = nil
	}
	return fates
}

// lane has the snapshots of one side in a simulation.
type lane struct {
	list []record.Snapshot
	// index has for each its place in the record; -1 for those that the simulation added.
	index []int
}

// numbered returns a lane with the snapshots that exist.
func numbered(list []record.Snapshot) (l lane) {
	for i := range list {
		if !list[i].Virtual {
			l.list, l.index = append(l.list, list[i]), append(l.index, i)
		}
	}
	return l
}

func (l *lane) add(list ...record.Snapshot) {
	for _, s := range list {
		l.list, l.index = append(l.list, s), append(l.index, -1)
	}
}

// carryOut removes what is not to be kept, and enters the time.
func (l *lane) carryOut(verdicts []record.Verdict, now int64, fates []int64) {
	if verdicts == nil {
		return
	}
	n := 0
	for i, v := range verdicts {
		switch {
		case v.Keep:
			l.list[n], l.index[n] = l.list[i], l.index[i]
			n++
		case l.index[i] >= 0:
			fates[l.index[i]] = now
		}
	}
	l.list, l.index = l.list[:n], l.index[:n]
}
