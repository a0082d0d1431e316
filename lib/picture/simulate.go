// Package picture draws what a schedule keeps: a simulation in which a snapshot is made
// and thinned again and again, and its result as text for a terminal or as SVG.
//
// Goals: what is drawn is what package schedule decides, snapshot by snapshot.
//
// Non-goals: it knows no records and no zfs; what holds, clones and plans keep besides is
// not drawn.
package picture

import (
	"fmt"
	"math"

	"zab/lib/schedule"
)

// Simulation is a schedule with a rhythm in which snapshots are made and thinned.
type Simulation struct {
	schedule schedule.Schedule
	every    schedule.Age
	// settled is the step from which on only snapshots are left that the schedule, once
	// it has run for ever, would have left, too; steps is the number of all steps.
	settled, steps int64
}

// maxWork bounds the verdicts that a simulation may need, times the rules: some seconds.
const maxWork = 5e8

// Prepare returns the simulation of a schedule with a snapshot each time that every has
// passed. If every is 0, that is the shortest interval of the schedule, or a day if it has
// none. A simulation that would take minutes is an error, which says with
// which interval it would be a matter of seconds if there is one.
func Prepare(s schedule.Schedule, every schedule.Age) (*Simulation, error) {
	if every.Seconds() == 0 {
		every = mustAge("1d")
		first := true
		for _, it := range s.Items() {
			if it.Newest() == 0 && (first || it.Interval().Seconds() < every.Seconds()) {
				every, first = it.Interval(), false
			}
		}
	}
	settled, steps, work := effort(s, every.Seconds())
	if work <= maxWork {
		return &Simulation{s, every, int64(settled), int64(steps)}, nil
	}
	advice := ""
	for _, text := range []string{"1min", "5min", "15min", "1h", "6h", "1d", "1w", "1m", "1y"} {
		if _, _, work := effort(s, mustAge(text).Seconds()); work <= maxWork {
			advice = "; with one every " + text + " it would be possible"
			break
		}
	}
	return nil, fmt.Errorf("the schedule %s, with a snapshot every %s, is too much to simulate%s", s, every, advice)
}

// effort returns the number of steps until the schedule has settled and of all steps, and
// about how many verdicts they need, times the rules.
func effort(s schedule.Schedule, every int64) (settled, steps, work float64) {
	var newest, oldest, kept, rules float64
	interval := float64(longest(s).Seconds())
	for _, it := range s.Items() {
		if it.Newest() > 0 {
			newest = float64(it.Newest())
			continue
		}
		ttl, i := float64(it.TTL().Seconds()), float64(it.Interval().Seconds())
		oldest = max(oldest, ttl)
		kept += ttl/max(i, float64(every)) + 2
		rules++
	}
	// The oldest snapshot that counts may stand for a block that began an interval
	// earlier. Then one interval more shows how the number of snapshots changes.
	settled = max(newest, math.Ceil((oldest+interval)/float64(every))) + 1
	steps = settled + max(1, math.Ceil(interval/float64(every)))
	return settled, steps, steps * (newest + kept + 1) * (rules + 1)
}

// History is what a simulation kept.
type History struct {
	Schedule schedule.Schedule
	Every    schedule.Age
	// Samples are the snapshots that were there some time after the first, in the order
	// of these times; the last sample is at the end, when the schedule has settled.
	Samples []Sample
	// Items has for each item of the schedule the ages of the snapshots at the end that
	// it keeps.
	Items [][]int64
	// Only has the age of the newest snapshot if no item keeps it: the newest of a
	// dataset always stays.
	Only []int64
	// Least and Most are how many snapshots there are within the longest interval of the
	// schedule before the end.
	Least, Most int
}

// Sample is what was kept at one time.
type Sample struct {
	// After is the time since the first snapshot; the zero Age at the end.
	After schedule.Age
	// Ages are the ages of the snapshots in seconds, from the newest.
	Ages []int64
}

// Last returns what is kept at the end.
func (h *History) Last() Sample { return h.Samples[len(h.Samples)-1] }

// sampleTimes are the times after which people would look.
var sampleTimes = []string{"1min", "1h", "1d", "1w", "1m", "1y", "10y", "100y", "1000y"}

// Run simulates. The last snapshot is made at now, in seconds since 1970, and the others
// at whole multiples of the interval before. A schedule that reaches back further than
// 1970, where blocks begin to be counted, runs later by such a multiple.
func (sim *Simulation) Run(now int64) *History {
	h := &History{Schedule: sim.schedule, Every: sim.every}
	every := sim.every.Seconds()
	start := now - (sim.steps-1)*every
	if start < 0 {
		start = (now%every + every) % every
	}
	samples := map[int64]schedule.Age{}
	for _, text := range sampleTimes {
		after := mustAge(text)
		if n := (after.Seconds() + every - 1) / every; after.Seconds() >= every && n < sim.settled {
			samples[n] = after
		}
	}
	var snaps []schedule.Snapshot
	pin := []string{"the newest of the dataset"}
	for n := range sim.steps {
		t := start + n*every
		if len(snaps) > 0 {
			snaps[len(snaps)-1].Pins = nil
		}
		snaps = append(snaps, schedule.Snapshot{Time: t, CreateTXG: uint64(n), Pins: pin})
		verdicts := sim.schedule.Decide(snaps, t)
		last := n == sim.steps-1
		if last {
			h.sortByItem(snaps, verdicts, t)
		}
		kept := snaps[:0]
		for i, v := range verdicts {
			if v.Keep {
				kept = append(kept, snaps[i])
			}
		}
		snaps = kept
		if n >= sim.settled {
			if h.Most == 0 {
				h.Least = len(snaps)
			}
			h.Least, h.Most = min(h.Least, len(snaps)), max(h.Most, len(snaps))
		}
		if after, ok := samples[n]; ok || last {
			s := Sample{After: after}
			for i := len(snaps) - 1; i >= 0; i-- {
				s.Ages = append(s.Ages, t-snaps[i].Time)
			}
			h.Samples = append(h.Samples, s)
		}
	}
	return h
}

// sortByItem enters which item keeps which snapshot, from the newest.
func (h *History) sortByItem(snaps []schedule.Snapshot, verdicts []schedule.Verdict, now int64) {
	h.Items = make([][]int64, len(h.Schedule.Items()))
	for i := len(snaps) - 1; i >= 0; i-- {
		age, wanted := now-snaps[i].Time, false
		for item, wants := range verdicts[i].Wanted() {
			if wants {
				h.Items[item] = append(h.Items[item], age)
				wanted = true
			}
		}
		if verdicts[i].Keep && !wanted {
			h.Only = append(h.Only, age)
		}
	}
}

func mustAge(text string) schedule.Age {
	a, err := schedule.ParseAge(text)
	if err != nil {
		panic(err) // a constant of this package: a programming error
	}
	return a
}
