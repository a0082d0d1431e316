package schedule

import (
	"fmt"
	"strings"
)

// Words describes which snapshots the schedule keeps, to follow a word such as "keeps":
// "the newest 10, one a day for a week, one a month for a year".
func (s Schedule) Words() string {
	var items []string
	for _, it := range s.Items() {
		items = append(items, it.Words())
	}
	if items == nil {
		return "nothing but what must stay"
	}
	return strings.Join(items, ", ")
}

// Words returns the span in words, such as "a day" or "2 days".
func (a Age) Words() string {
	name := units[a.unit].name
	switch {
	case a.count == 1 && a.unit == "h":
		return "an hour"
	case a.count == 1:
		return "a " + name
	}
	return fmt.Sprintf("%d %ss", a.count, name)
}

// Every returns how often something happens once in each span, such as "a day" or
// "every 2 days".
func (a Age) Every() string {
	if a.count == 1 {
		return a.Words()
	}
	return "every " + a.Words()
}
