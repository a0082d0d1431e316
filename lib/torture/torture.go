// Package torture tries to break the promises of zab(7) on real pools. A history is a
// random sequence of steps: changes that users make to their datasets, and runs of zab
// that are killed, cut off and given false answers. After each run an observer that uses
// only plain zfs commands reads the pools, and judges compare their states before and after.
// At the end of a history the faults stop, and zab must bring all copies up to date.
//
// A history is determined by its seed, except for the moments of the kills.
//
//	history.go, shorten.go     a history; the search for its shortest form
//	pools.go, changes.go       the pools of a history; changes that users make
//	attempt.go, run.go         random options of zab; one run of zab
//	stages.go                  runs of single stages
//	faults.go                  which faults there are, and how often
//	standin.go, timed.go       faults at a call of a program; faults at a time
//	world.go, processes.go     the observer: the state of the pools; the processes
//	judge.go, judge_*.go       a judge for each promise; judge.go has the list
//	converge.go                the end of a history, where zab must recover
//	tally.go                   the counts of all histories
//
// Goal: judges that share no code with zab. Non-goals: the faults that administrators
// report and lies of a host, which the packages months and hostile have.
package torture

import (
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"zab/lib/zabtest"
)

// Config says which histories are run.
type Config struct {
	// Programs is the directory of zab's programs, Dir one for the files of the pools.
	Programs, Dir string
	// Messages are those that failing stand-ins for programs print.
	Messages []string
	// Length is how long histories are begun, Histories how many at most, and Jobs how many
	// run in parallel.
	Length    time.Duration
	Histories int64
	Jobs      int
	// Seed is that of the first history; the others follow in order.
	Seed int64
	// Skip has the steps that are left out of each history.
	Skip map[int]bool
	// Logs is a directory for the log of each history, or "".
	Logs string
}

const (
	// Runs longer than this print their counts meanwhile, since a history takes minutes on
	// a busy machine, and shorten histories that break a promise.
	longRun = 2 * time.Minute
	// maxBroken is the number of broken promises after which no more histories are begun.
	maxBroken = 8
)

// Run runs histories, and fails the test if one breaks a promise.
func Run(t testing.TB, c Config) {
	fmt.Fprintf(os.Stderr, "torture: %s, first seed %d\n", c.Length, c.Seed)
	counts := &tally{faults: map[string]int{}, spent: map[string]time.Duration{}, until: time.Now().Add(c.Length)}
	if c.Length > longRun {
		tick := time.NewTicker(time.Minute)
		defer tick.Stop()
		go func() {
			for range tick.C {
				counts.print()
			}
		}()
	}
	var next sync.Mutex
	seed := c.Seed
	var wait sync.WaitGroup
	for range c.Jobs {
		wait.Go(func() {
			var sshd zabtest.SSHServer
			if err := sshd.Start(); err != nil {
				t.Error(err)
				return
			}
			defer sshd.Stop()
			for {
				next.Lock()
				mine := seed
				seed++
				next.Unlock()
				if mine-c.Seed >= c.Histories || time.Now().After(counts.until) || counts.value(&counts.broken) >= maxBroken {
					return
				}
				h := newHistory(t, &c, &sshd, counts, mine)
				h.skipped = c.Skip
				h.play()
				if h.brokenPromise != "" && c.Length > longRun && len(c.Skip) == 0 {
					h.shorten()
				}
			}
		})
	}
	wait.Wait()
	counts.print()
}
