package picture

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"zab/lib/schedule"
)

// axis is the axis of ages, from the oldest at the left to now at the right. It is
// logarithmic, so that hours and years have room beside each other.
type axis struct {
	every, oldest float64 // seconds
	width         float64
}

// axis returns the axis of a history, which reaches as far back as a snapshot or rule.
func (h *History) axis(width float64) axis {
	a := axis{every: float64(h.Every.Seconds()), width: width}
	for _, s := range h.Samples {
		a.oldest = max(a.oldest, float64(s.Ages[len(s.Ages)-1]))
	}
	for _, it := range h.Schedule.Items() {
		a.oldest = max(a.oldest, float64(it.TTL().Seconds()))
	}
	a.oldest = max(a.oldest, a.every)
	return a
}

// at returns the place of an age between 0 and the width.
func (a axis) at(age int64) float64 {
	return a.width * (1 - math.Log1p(float64(age)/a.every)/math.Log1p(a.oldest/a.every))
}

// mark is a labelled place on an axis.
type mark struct {
	place float64
	label string
}

// The ages to be marked, if there is room: first where rules end, and then these.
var (
	roundAges = []string{"1y", "1m", "1w", "1d", "1h", "1min", "1s", "10y", "100y", "1000y"}
	otherAges = []string{"3m", "3d", "6h", "10min", "10s", "3y", "30y", "300y", "3000y"}
)

// marks returns the ages to be marked, from the left. room is the width of a label, with
// the distance to the next.
func (h *History) marks(a axis, room func(label string) float64) []mark {
	marks := []mark{{a.width, "now"}}
	add := func(age int64, label string) {
		m := mark{a.at(age), label}
		clash := func(other mark) bool {
			return math.Abs(m.place-other.place) < (room(m.label)+room(other.label))/2
		}
		if age >= int64(a.every) && age <= int64(a.oldest) && !slices.ContainsFunc(marks, clash) {
			marks = append(marks, m)
		}
	}
	items := h.Schedule.Items()
	slices.Reverse(items)
	for _, it := range items {
		if it.Newest() == 0 {
			add(it.TTL().Seconds(), it.TTL().String())
		}
	}
	for _, text := range slices.Concat(roundAges, otherAges) {
		add(mustAge(text).Seconds(), text)
	}
	slices.SortFunc(marks, func(a, b mark) int { return cmp.Compare(a.place, b.place) })
	return marks
}

// row is one line of a picture.
type row struct {
	label string
	// words explain the label; "" if it needs no explanation.
	words string
	ages  []int64
}

// rows returns what was kept at the sample times, with the end last, and then what each
// item keeps at the end.
func (h *History) rows() (samples, items []row) {
	for _, s := range h.Samples {
		label := "in the long run"
		if s.After.Seconds() > 0 {
			label = "after " + s.After.Words()
		}
		samples = append(samples, row{label: label, ages: s.Ages})
	}
	for i, it := range h.Schedule.Items() {
		r := row{it.String(), it.Words(), h.Items[i]}
		if it.Newest() > 0 {
			r.label, r.words = "newest "+r.label, ""
		}
		items = append(items, r)
	}
	if len(h.Only) > 0 {
		items = append(items, row{"must stay", "the newest of a dataset", h.Only})
	}
	return samples, items
}

// summary says how often there is a snapshot and how many are kept.
func (h *History) summary() string {
	kept := "1 is kept"
	if n := len(h.Last().Ages); n > 1 {
		kept = fmt.Sprintf("%d are kept", n)
	}
	s := fmt.Sprintf("with one snapshot %s, %s in the long run", h.Every.Every(), kept)
	if h.Least < h.Most {
		s += fmt.Sprintf(" (%d to %d within %s)", h.Least, h.Most, longest(h.Schedule).Words())
	}
	return s
}

// longest returns the longest interval of a schedule; the zero Age if it has no rule.
func longest(s schedule.Schedule) (interval schedule.Age) {
	for _, it := range s.Items() {
		if it.Interval().Seconds() > interval.Seconds() {
			interval = it.Interval()
		}
	}
	return interval
}
