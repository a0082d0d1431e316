package schedule

import (
	"fmt"
	"strconv"
)

// Item is one part of a schedule: the number of newest snapshots, or a rule.
type Item struct {
	newest int // 0 for a rule
	rule   rule
}

// Items returns the parts of the schedule in the order of its text. A number of 0 is none.
func (s Schedule) Items() []Item {
	var items []Item
	if s.newest > 0 {
		items = append(items, Item{newest: s.newest})
	}
	for _, r := range s.rules {
		items = append(items, Item{rule: r})
	}
	return items
}

// String returns the item as it stands in the text of the schedule.
func (it Item) String() string {
	if it.newest > 0 {
		return strconv.Itoa(it.newest)
	}
	return it.rule.String()
}

// Words describes what the item keeps, such as "the newest 10" or "one a day for a week".
func (it Item) Words() string {
	switch {
	case it.newest == 1:
		return "the newest"
	case it.newest > 1:
		return fmt.Sprintf("the newest %d", it.newest)
	}
	return "one " + it.rule.interval.Every() + " for " + it.rule.ttl.Words()
}

// Newest returns the number of newest snapshots that the item keeps; 0 for a rule.
func (it Item) Newest() int { return it.newest }

// Interval and TTL return the spans of a rule, and the zero Age for a number of newest
// snapshots.
func (it Item) Interval() Age { return it.rule.interval }

// TTL: see Interval.
func (it Item) TTL() Age { return it.rule.ttl }
