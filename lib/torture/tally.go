package torture

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// tally has the counts of all histories.
type tally struct {
	until time.Time // no history begins later

	mu                     sync.Mutex
	runs, histories, steps int
	broken                 int                      // promises
	interruptions          int                      // faults that took effect
	faults                 map[string]int           // these by category
	tooLate, impossible    int                      // faults that did not take effect
	spent                  map[string]time.Duration // time, by activity
}

// timed adds the time until the returned function is called to the time spent on an
// activity.
func (c *tally) timed(activity string) func() {
	begun := time.Now()
	return func() {
		c.mu.Lock()
		c.spent[activity] += time.Since(begun)
		c.mu.Unlock()
	}
}

// increment adds 1 to one of the counts.
func (c *tally) increment(n *int) {
	c.mu.Lock()
	*n++
	c.mu.Unlock()
}

// value returns one of the counts.
func (c *tally) value(n *int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *n
}

// countFault counts a fault that took effect.
func (c *tally) countFault(category string) {
	c.mu.Lock()
	c.interruptions++
	c.faults[category]++
	c.mu.Unlock()
}

// print writes the counts to stderr, those of the faults at the end only.
func (c *tally) print() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []string
	for _, k := range slices.Sorted(maps.Keys(c.faults)) {
		list = append(list, fmt.Sprintf("%d %s", c.faults[k], k))
	}
	var spent []string
	for _, k := range slices.Sorted(maps.Keys(c.spent)) {
		spent = append(spent, fmt.Sprintf("%.0f s %s", c.spent[k].Seconds(), k))
	}
	fmt.Fprintf(os.Stderr, "torture: time: %s\n", strings.Join(spent, ", "))
	if time.Now().After(c.until) {
		fmt.Fprintf(os.Stderr, "torture: faults: %s; %d came too late, %d were not possible\n", strings.Join(list, ", "), c.tooLate, c.impossible)
	}
	fmt.Fprintf(os.Stderr, "torture: %d interruptions survived, %d histories, %d steps, %d zab runs, %d promises broken\n", c.interruptions, c.histories, c.steps, c.runs, c.broken)
}
