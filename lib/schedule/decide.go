package schedule

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Snapshot has the facts about a snapshot that a decision needs.
type Snapshot struct {
	// Name is shown in reasons, and breaks ties in the order.
	Name string
	// Time is the time in the snapshot's name, in seconds since 1970 UTC.
	Time int64
	// CreateTXG orders the snapshots of a dataset as they were made, even if the clock
	// was wrong. All snapshots given to one decision have numbers from the same pool.
	CreateTXG uint64
	// Pins are reasons to keep the snapshot regardless of the schedule. A pinned
	// snapshot takes part in the rules like any other.
	Pins []string
}

// Verdict is the decision about one snapshot.
type Verdict struct {
	Keep bool

	// rank is the place among the snapshots that are not ahead of the clock, from the
	// oldest; -1 for a snapshot that is ahead.
	index, rank int32
	d           *decision
}

// Ahead reports whether the snapshot is kept because its name lies in the future.
func (v Verdict) Ahead() bool { return v.d != nil && v.rank < 0 }

// Tolerance is the number of seconds by which a name may lie ahead of now and still count
// like any other. The clocks of two hosts differ by seconds if they are synchronized and
// by a few minutes if they are not, and where a name is taken the snapshot gets that of a
// second or two later. A block or two of minutes filled ahead of time is not worth a
// warning.
const Tolerance = 5 * 60

// decision is the data that the verdicts of one call share, from which reasons are made
// when they are asked for.
type decision struct {
	schedule Schedule
	snaps    []Snapshot
	now      int64
	// counted is the number of snaps that are not ahead of the clock.
	counted int
	grids   []grid
	// first holds, for snapshot i and grid g at i*len(grids)+g, the index of the first
	// snapshot of i's block, or -1 if i is too old for every rule of the grid, or ahead
	// of the clock.
	first []int32
	// said has the words that many reasons share. They are made with the first reason,
	// so only one goroutine at a time may ask for reasons.
	said *words
}

// words are the parts of reasons that many verdicts share: those about the newest, and
// for each rule its name, its grid and the reason of snapshots too old for it.
type words struct {
	newest, notNewest string
	rules             []ruleWords
}

type ruleWords struct {
	name, older string
	grid        int
}

func (d *decision) words() *words {
	if d.said != nil {
		return d.said
	}
	w := &words{newest: fmt.Sprintf("newest %d", d.schedule.newest)}
	w.notNewest = w.newest + ": not among them"
	for _, r := range d.schedule.rules {
		w.rules = append(w.rules, ruleWords{name: r.String() + ": ", older: fmt.Sprintf("%s: older than %s", r, r.ttl),
			grid: slices.IndexFunc(d.grids, func(g grid) bool { return g.interval == r.interval.seconds })})
	}
	d.said = w
	return w
}

// grid is the time line cut into blocks of one interval. Rules with the same interval
// share it, so a block that one of them has filled is filled for the others.
type grid struct {
	interval int64 // seconds
	oldest   int64 // the earliest time that any of its rules wants
}

// Decide returns a verdict on each snapshot, in the order of snaps; now is in seconds
// since 1970 UTC.
//
// The snapshots are taken in the order in which they were made: by CreateTXG, then Time,
// then Name; the order of snaps does not matter. The newest N by that order are kept. For
// every rule, of the snapshots not older than its ttl (now-Time <= ttl) the first in each
// block is kept; a snapshot's block is Time / interval, truncated, so blocks are counted
// from 1970 UTC and know no time zone. One reason is enough to keep a snapshot.
//
// A snapshot whose Time is more than Tolerance ahead of now is kept, does not count among
// the newest N and fills no block: a host that lies about the time cannot have other
// snapshots destroyed in its favour, and names in the local time of a zone further east
// do no harm.
//
// Deciding again at the same now about the snapshots kept changes nothing. Deciding at a
// later now can keep less than if the earlier decision had not been carried out: when a
// block straddles the ttl, its first snapshot gets too old, and the snapshots that could
// have followed it are gone already.
//
// snaps must not be changed as long as the verdicts are used.
func (s Schedule) Decide(snaps []Snapshot, now int64) []Verdict {
	d := &decision{schedule: s, snaps: snaps, now: now, grids: s.grids(now)}
	d.first = make([]int32, len(snaps)*len(d.grids))
	verdicts := make([]Verdict, len(snaps))
	order, rising := chronological(snaps)
	at := func(rank int) int32 {
		if order == nil {
			return int32(rank)
		}
		return order[rank]
	}
	ahead := func(i int32) bool { return snaps[i].Time > now+Tolerance }
	for i := range snaps {
		if !ahead(int32(i)) {
			d.counted++
		}
	}
	counted := 0
	for rank := range snaps {
		i := at(rank)
		if ahead(i) {
			verdicts[i] = Verdict{Keep: true, index: i, rank: -1, d: d}
			continue
		}
		keep := counted >= d.counted-s.newest || len(snaps[i].Pins) > 0
		verdicts[i] = Verdict{Keep: keep, index: i, rank: int32(counted), d: d}
		counted++
	}
	for g, grid := range d.grids {
		// If time never runs backwards, only the last block filled can be met again.
		var taken map[int64]int32
		if !rising {
			taken = make(map[int64]int32)
		}
		filled, by := int64(0), int32(-1)
		for rank := range snaps {
			i := at(rank)
			first := &d.first[int(i)*len(d.grids)+g]
			if snaps[i].Time < grid.oldest || ahead(i) {
				*first = -1
				continue
			}
			block := snaps[i].Time / grid.interval
			if by < 0 || block != filled {
				winner, ok := taken[block]
				if !ok {
					winner = i
					verdicts[i].Keep = true
					if taken != nil {
						taken[block] = i
					}
				}
				filled, by = block, winner
			}
			*first = by
		}
	}
	return verdicts
}

func (s Schedule) grids(now int64) []grid {
	var grids []grid
	for _, r := range s.rules {
		oldest := now - r.ttl.seconds
		i := slices.IndexFunc(grids, func(g grid) bool { return g.interval == r.interval.seconds })
		if i < 0 {
			grids = append(grids, grid{r.interval.seconds, oldest})
		} else {
			grids[i].oldest = min(grids[i].oldest, oldest)
		}
	}
	return grids
}

// chronological returns the indices of snaps in the order in which they were made, or nil
// if snaps are in that order already, and whether their times never fall in that order.
func chronological(snaps []Snapshot) (order []int32, rising bool) {
	inOrder := true
	rising = true
	for i := 1; i < len(snaps) && inOrder; i++ {
		inOrder = compare(&snaps[i-1], &snaps[i]) <= 0
		rising = rising && snaps[i-1].Time <= snaps[i].Time
	}
	if inOrder {
		return nil, rising
	}
	order = make([]int32, len(snaps))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		if c := compare(&snaps[a], &snaps[b]); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
	rising = slices.IsSortedFunc(order, func(a, b int32) int { return cmp.Compare(snaps[a].Time, snaps[b].Time) })
	return order, rising
}

func compare(a, b *Snapshot) int {
	if c := cmp.Compare(a.CreateTXG, b.CreateTXG); c != 0 {
		return c
	}
	if c := cmp.Compare(a.Time, b.Time); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}

// Why returns every reason for the verdict, in a fixed order and wording. A snapshot to
// be kept has every reason to keep it: its pins as given; "newest 10"; and for each rule
// that wants it "1d1w: first of 2026-11-20". A snapshot ahead of the clock has its pins
// and "named for 2027-11-20T12:00:00Z, which is still to come". A snapshot to be
// destroyed has the reasons why nothing wants it: "newest 10: not among them"; and for
// each rule "1d1w: older than 1w" or
// "1d1w: 2026-11-20 is kept by offsite1-20261120000000"; under a schedule without any of
// these, "0: keeps nothing". A block is named by its start in UTC: a date where the
// interval is in whole days, else a date and time, as in RFC 3339. Weeks begin on
// Thursday, as 1970 did.
//
// The reasons are made anew with every call. The zero Verdict has no reasons.
func (v Verdict) Why() []string {
	d := v.d
	if d == nil {
		return nil
	}
	s := d.schedule
	snap := &d.snaps[v.index]
	why := make([]string, 0, len(snap.Pins)+1+len(s.rules))
	why = append(why, snap.Pins...)
	if v.Ahead() {
		return append(why, "named for "+time.Unix(snap.Time, 0).UTC().Format(time.RFC3339)+", which is still to come")
	}
	words := d.words()
	if s.newest > 0 {
		if v.newest() {
			why = append(why, words.newest)
		} else if !v.Keep {
			why = append(why, words.notNewest)
		}
	}
	for i, r := range s.rules {
		said := &words.rules[i]
		first := d.first[int(v.index)*len(d.grids)+said.grid]
		switch {
		case snap.Time < d.now-r.ttl.seconds:
			if !v.Keep {
				why = append(why, said.older)
			}
		case first == v.index:
			why = append(why, said.name+"first of "+blockStart(snap.Time, r.interval.seconds))
		case !v.Keep:
			why = append(why, said.name+blockStart(snap.Time, r.interval.seconds)+" is kept by "+d.snaps[first].Name)
		}
	}
	if len(why) == 0 {
		why = append(why, "0: keeps nothing")
	}
	return why
}

// newest reports whether the snapshot is among the newest N.
func (v Verdict) newest() bool { return int(v.rank) >= v.d.counted-v.d.schedule.newest }

// Wanted reports for each of the schedule's Items whether it keeps the snapshot. No item
// keeps a snapshot that is ahead of the clock.
func (v Verdict) Wanted() []bool {
	d := v.d
	if d == nil {
		return nil
	}
	items := d.schedule.Items()
	wanted := make([]bool, len(items))
	if v.Ahead() {
		return wanted
	}
	for i, it := range items {
		if it.newest > 0 {
			wanted[i] = v.newest()
			continue
		}
		g := slices.IndexFunc(d.grids, func(g grid) bool { return g.interval == it.rule.interval.seconds })
		wanted[i] = d.snaps[v.index].Time >= d.now-it.rule.ttl.seconds && d.first[int(v.index)*len(d.grids)+g] == v.index
	}
	return wanted
}

func blockStart(t, interval int64) string {
	start := time.Unix(t/interval*interval, 0).UTC()
	if interval%86400 == 0 {
		return start.Format(time.DateOnly)
	}
	return start.Format(time.RFC3339)
}
