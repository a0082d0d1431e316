package zabtest

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The numbers of scripts by outcome.
var passed, failed, skipped atomic.Int32

// reporter prints the outcome of each script as soon as it has ended, since the whole run
// takes minutes, and counts the outcomes.
type reporter struct {
	*testing.T
	started *time.Time // nil except for a script
}

func (t reporter) Verbose() bool { return testing.Verbose() }

// Parallel waits until the script may run, from which its time counts.
func (t reporter) Parallel() {
	t.T.Parallel()
	*t.started = time.Now()
}

// Run runs a script.
func (t reporter) Run(name string, f func(testscript.T)) {
	t.T.Run(name, func(t *testing.T) {
		begun := time.Now()
		t.Cleanup(func() {
			count, word := &passed, "ok  "
			switch {
			case t.Failed():
				count, word = &failed, "FAIL"
			case t.Skipped():
				count, word = &skipped, "skip"
			}
			count.Add(1)
			if Required {
				fmt.Fprintf(os.Stderr, "%s %s (%.0f s)\n", word, name, time.Since(begun).Seconds())
			}
		})
		f(reporter{t, &begun})
	})
}
