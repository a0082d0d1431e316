package schedule

import (
	"fmt"
	"strings"
)

// Words describes which snapshots the schedule keeps, to follow a word such as "keeps":
// "the newest 10, one a day for a week, one a month for a year".
func (s Schedule) Words() string {
	var items []string
	switch {
	case s.newest == 1:
		items = append(items, "the newest")
	case s.newest > 1:
		items = append(items, fmt.Sprintf("the newest %d", s.newest))
	}
	for _, r := range s.rules {
		every := "every " + r.interval.words()
		if r.interval.count == 1 {
			every = r.interval.words()
		}
		items = append(items, "one "+every+" for "+r.ttl.words())
	}
	if items == nil {
		return "nothing but what must stay"
	}
	return strings.Join(items, ", ")
}

// words returns the span in words, such as "a day" or "2 days".
func (a Age) words() string {
	name := units[a.unit].name
	switch {
	case a.count == 1 && a.unit == "h":
		return "an hour"
	case a.count == 1:
		return "a " + name
	}
	return fmt.Sprintf("%d %ss", a.count, name)
}
