package aside

import "testing"

const (
	former = "b/home"
	later  = "b/home_diverged-20261122030000"
)

func TestFind(t *testing.T) {
	at := func(name, guid, origin string) *Dataset { return &Dataset{name, guid, origin} }
	for _, c := range []struct {
		what           string
		place, renamed *Dataset
		want           Phase
		base           string
	}{
		{"nothing is left", nil, nil, Lost, ""},
		{"another copy in its place", at(former, "2", ""), nil, Lost, ""},
		{"before and after the mark", at(former, "1", "-"), nil, InPlace, ""},
		{"itself a clone", at(former, "1", "b/other@x"), nil, InPlace, ""},
		{"another has the name", at(former, "1", ""), at(later, "2", ""), Taken, ""},
		{"another has the name, and the copy is gone", nil, at(later, "2", ""), Taken, ""},
		{"renamed", nil, at(later, "1", "-"), Renamed, ""},
		{"a clone is renamed", nil, at(later, "1", "b/other@x"), Renamed, ""},
		{"cloned", at(former, "2", later+"@x"), at(later, "1", ""), Cloned, "x"},
		{"a clone is cloned", at(former, "2", later+"@x"), at(later, "1", "b/other@x"), Cloned, "x"},
		{"promoted", at(former, "2", "-"), at(later, "1", former+"@x"), Promoted, "x"},
		{"a clone is promoted", at(former, "2", "b/other@x"), at(later, "1", former+"@y"), Promoted, "y"},
		{"received in full", at(former, "2", "-"), at(later, "1", "-"), Replaced, ""},
		{"received as a clone", at(former, "2", "b/other@x"), at(later, "1", "b/other@x"), Replaced, ""},
		{"a clone of one with a longer name", at(former, "2", later+"-2@x"), at(later, "1", former+"s@x"), Replaced, ""},
	} {
		if got, base := Find("1", c.place, c.renamed); got != c.want || base != c.base {
			t.Errorf("%s: %d %q, should be %d %q", c.what, got, base, c.want, c.base)
		}
	}
}

// pool is as much of a pool as --rename-aside changes. The copy has the guid 1.
type pool map[string]Dataset

func (p pool) find() (Phase, string) {
	of := func(name string) *Dataset {
		if d, ok := p[name]; ok {
			return &d
		}
		return nil
	}
	return Find("1", of(former), of(later))
}

// act does to the pool what leads to a phase.
func (p pool) act(to Phase) {
	place, copied := p[former], p[later]
	switch to {
	case Renamed:
		copied = Dataset{later, place.GUID, place.Origin}
		delete(p, former)
		p[later] = copied
		return
	case Cloned:
		place = Dataset{former, "2", later + "@x"}
	case Promoted:
		place.Origin, copied.Origin = copied.Origin, former+"@x"
	case Replaced:
		place = Dataset{former, "3", ""}
	}
	p[former], p[later] = place, copied
}

// TestInterrupted holds P4: wherever a run was interrupted, the phase that is found tells
// the next run the acts that are left, and the same state is reached as without it.
func TestInterrupted(t *testing.T) {
	for _, acts := range [][]Phase{{Renamed, Cloned, Promoted}, {Renamed, Replaced}} {
		for _, origin := range []string{"", "b/other@x"} {
			run := func(p pool, most int) {
				for _, act := range acts {
					if got, _ := p.find(); got < act && most > 0 {
						most--
						p.act(act)
						if got, base := p.find(); got != act || (base == "x") != (act == Cloned || act == Promoted) {
							t.Errorf("after the act of %d: %d %q", act, got, base)
						}
					}
				}
			}
			whole := pool{former: {former, "1", origin}}
			run(whole, len(acts))
			for first := range len(acts) + 1 {
				for second := range len(acts) + 1 {
					p := pool{former: {former, "1", origin}}
					run(p, first)
					run(p, second)
					run(p, len(acts))
					if len(p) != 2 || p[former] != whole[former] || p[later] != whole[later] {
						t.Errorf("%v, interrupted after %d and %d acts: %v, should be %v", acts, first, second, p, whole)
					}
				}
			}
		}
	}
}
