package status

import (
	"math"
	"slices"

	"zab/lib/record"
	"zab/lib/schedule"
	"zab/lib/thin"
)

// This file finds out what the schedules will do with the snapshots of a record.

// span is how far a page looks ahead, soon what it calls soon; in seconds.
const (
	span = 4 * 7 * 86400
	soon = 7 * 86400
)

// outlook is what the schedules of one backup will do.
type outlook struct {
	rules      *thin.Rules
	forecaster *thin.Forecaster
}

// outlook returns the outlook of the backup of a name, from a time in seconds since the
// epoch on.
func (o *Options) outlook(backup string, now int64) (*outlook, error) {
	rules, err := thin.NewRules(o, &o.Source, &o.Target, backup, now)
	if err != nil {
		return nil, err
	}
	return &outlook{rules, thin.NewForecaster(rules, now+span)}, nil
}

// fate is what a page tells apart of a snapshot.
type fate int

const (
	kept fate = iota // exists at the end of the outlook
	goesLater
	goesSoon
	held    // a hold keeps what the schedule would not
	foreign // not of this backup; no schedule concerns it
	fates
)

// placed is a snapshot with its place in time and its fate.
type placed struct {
	at    int64 // when it was made, in seconds since the epoch
	dated bool  // at is known, or about known
	fate  fate
	goes  int64 // when it goes, if it does
}

// prospect is one side of a record as it will be.
type prospect struct {
	snapshots []placed // those that exist
	// thinned: a schedule decides. Without, nothing is destroyed.
	thinned bool
}

// rhythms are the intervals between snapshots that a forecast assumes.
var rhythms = []string{"15min", "30min", "1h", "2h", "3h", "4h", "6h", "8h", "12h", "1d", "2d", "3d", "1w", "2w", "4w"}

// recent is the number of intervals from which the rhythm of a dataset is taken.
const recent = 9

// rhythm returns the usual interval between the newest snapshots of ours, a day if there
// are too few to tell. The usual one is the median: a night without a backup changes
// nothing.
func (l *outlook) rhythm(list []record.Snapshot) schedule.Age {
	var times []int64
	for i := range list {
		if at, ours := l.rules.Format.Time(list[i].Name); ours && !list[i].Virtual {
			times = append(times, at)
		}
	}
	slices.Sort(times)
	times = slices.Compact(times)
	times = times[max(0, len(times)-recent-1):]
	if len(times) < 3 {
		return mustAge("1d")
	}
	var gaps []int64
	for i := 1; i < len(times); i++ {
		gaps = append(gaps, times[i]-times[i-1])
	}
	slices.Sort(gaps)
	usual := float64(gaps[len(gaps)/2])
	best, distance := schedule.Age{}, math.Inf(1)
	for _, text := range rhythms {
		a := mustAge(text)
		if d := math.Abs(math.Log(float64(a.Seconds()) / usual)); d < distance {
			best, distance = a, d
		}
	}
	return best
}

// prospects returns both sides of a record as they will be if a snapshot is made in the
// given rhythm, and a run thins once a day or more often.
func (l *outlook) prospects(r *record.Record, every schedule.Age) (source, target prospect) {
	fates := l.forecaster.Forecast(r, thin.Course{Every: every.Seconds(), Run: min(every.Seconds(), 86400)})
	source = l.side(r.Snapshots, fates.Source)
	if r.Target != nil {
		target = l.side(r.Target.Snapshots, fates.Target)
	}
	return source, target
}

// side returns one side. A snapshot that is not ours has a time only if it was asked for;
// otherwise it stands between its neighbours, which the order of the list tells.
func (l *outlook) side(list []record.Snapshot, goes []int64) prospect {
	p := prospect{thinned: goes != nil}
	var unplaced []int // indices in p.snapshots
	before, has := int64(0), false
	place := func(after int64, more bool) {
		for n, i := range unplaced {
			switch {
			case has && more:
				p.snapshots[i].at = before + (after-before)/int64(len(unplaced)+1)*int64(n+1)
			case more:
				p.snapshots[i].at = after
			default:
				p.snapshots[i].at = before
			}
			p.snapshots[i].dated = has || more
		}
		unplaced = unplaced[:0]
	}
	for i := range list {
		s := &list[i]
		if s.Virtual {
			continue
		}
		at, ours := l.rules.Format.Time(s.Name)
		v := placed{at: at, dated: ours}
		switch {
		case !ours:
			v.fate = foreign
		case goes == nil || goes[i] == thin.Stays:
		case heldByOthers(s):
			v.fate = held
		case goes[i] <= l.rules.Now+soon:
			v.fate, v.goes = goesSoon, goes[i]
		default:
			v.fate, v.goes = goesLater, goes[i]
		}
		if s.Creation != nil && !ours {
			v.at, v.dated = *s.Creation, true
		}
		p.snapshots = append(p.snapshots, v)
		if !v.dated {
			unplaced = append(unplaced, len(p.snapshots)-1)
			continue
		}
		place(v.at, true)
		before, has = v.at, true
	}
	place(0, false)
	return p
}

// heldByOthers reports whether a snapshot has a hold that the backup will not release, as
// far as the record says.
func heldByOthers(s *record.Snapshot) bool {
	if x := s.Rare(); x.Holds != nil {
		return len(x.Holds) > len(x.Held)
	}
	return s.UserRefs != nil && *s.UserRefs > 0
}

func mustAge(text string) schedule.Age {
	a, err := schedule.ParseAge(text)
	if err != nil {
		panic(err) // a constant of this package: a programming error
	}
	return a
}
