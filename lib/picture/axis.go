package picture

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"zab/lib/schedule"
)

// Axis is an axis of ages, from the oldest at the left to now at the right. It is
// logarithmic, so that hours and years have room beside each other.
type Axis struct {
	every, oldest float64 // seconds
	width         float64
}

// NewAxis returns an axis that is so wide. every is the time between two snapshots in
// seconds: younger ages are hardly told apart. It must not be 0.
func NewAxis(every, oldest int64, width float64) Axis {
	return Axis{every: float64(every), oldest: float64(max(oldest, every)), width: width}
}

// axis returns the axis of a history, which reaches as far back as a snapshot or rule.
func (h *History) axis(width float64) Axis {
	oldest := int64(0)
	for _, s := range h.Samples {
		oldest = max(oldest, s.Ages[len(s.Ages)-1])
	}
	for _, it := range h.Schedule.Items() {
		oldest = max(oldest, it.TTL().Seconds())
	}
	return NewAxis(h.Every.Seconds(), oldest, width)
}

// At returns the place of an age between 0 and the width.
func (a Axis) At(age int64) float64 {
	return a.width * (1 - math.Log1p(float64(age)/a.every)/math.Log1p(a.oldest/a.every))
}

// Mark is a labelled place on an axis.
type Mark struct {
	Place float64
	Label string
}

// The ages to be marked, if there is room: first where rules end, and then these.
var (
	roundAges = []string{"1y", "1m", "1w", "1d", "1h", "1min", "1s", "10y", "100y", "1000y"}
	otherAges = []string{"3m", "3d", "6h", "10min", "10s", "3y", "30y", "300y", "3000y"}
)

// Marks returns the ages to be marked, from the left: now, the ages where the rules of a
// schedule end, and round ones. room is the width of a label, with the distance to the
// next.
func (a Axis) Marks(s schedule.Schedule, room func(label string) float64) []Mark {
	marks := []Mark{{a.width, "now"}}
	add := func(age int64, label string) {
		m := Mark{a.At(age), label}
		clash := func(other Mark) bool {
			return math.Abs(m.Place-other.Place) < (room(m.Label)+room(other.Label))/2
		}
		if age >= int64(a.every) && age <= int64(a.oldest) && !slices.ContainsFunc(marks, clash) {
			marks = append(marks, m)
		}
	}
	items := s.Items()
	slices.Reverse(items)
	for _, it := range items {
		if it.Newest() == 0 {
			add(it.TTL().Seconds(), it.TTL().String())
		}
	}
	for _, text := range slices.Concat(roundAges, otherAges) {
		add(mustAge(text).Seconds(), text)
	}
	slices.SortFunc(marks, func(a, b Mark) int { return cmp.Compare(a.Place, b.Place) })
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
