package months_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"zab/lib/months"
	"zab/lib/zabtest"
)

// The short form has always the same faults: those of the first nights of one month. No
// night begins after shortTime; then all faults are repaired.
const (
	shortSeed   = 1
	shortNights = 8
	shortTime   = time.Minute
)

// TestMonths runs the first nights of one month. ZAB_MONTHS is another number of months,
// of 30 nights each, ZAB_MONTHS_SEED the number of the first, ZAB_MONTHS_NIGHTS the number
// of nights of each; ZAB_MONTHS_ONLY selects faults by a part of the name of their kind;
// ZAB_MONTHS_VERBOSE prints everything.
//
// It checks P4 and P11: if some of the selected datasets have faults, all others are
// backed up, the failed ones are named and the exit status is not 0, and everything
// recovers when the faults are gone.
func TestMonths(t *testing.T) {
	zabtest.NeedZFS(t)
	programs, err := zabtest.Programs()
	if err != nil {
		t.Fatal(err)
	}
	c := months.Config{Bin: programs, Seed: shortSeed, Months: 1, Nights: shortNights, Until: time.Now().Add(shortTime),
		Only: os.Getenv("ZAB_MONTHS_ONLY"), Log: os.Stderr, Verbose: os.Getenv("ZAB_MONTHS_VERBOSE") != ""}
	if os.Getenv("ZAB_MONTHS") != "" {
		c.Seed, c.Nights, c.Until = time.Now().UnixNano()%1e6, 30, time.Time{}
	}
	for env, to := range map[string]*int{"ZAB_MONTHS": &c.Months, "ZAB_MONTHS_NIGHTS": &c.Nights} {
		if s := os.Getenv(env); s != "" {
			if *to, err = strconv.Atoi(s); err != nil {
				t.Fatalf("%s: %v", env, err)
			}
		}
	}
	if s := os.Getenv("ZAB_MONTHS_SEED"); s != "" {
		if c.Seed, err = strconv.ParseInt(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	if c.Dir, err = os.MkdirTemp(zabtest.PoolDir(), "zabm-"); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(c.Dir)
	sum, err := months.Run(c)
	if err != nil {
		t.Error(err)
	}
	t.Log(sum.ByKind)
	os.Stderr.WriteString(sum.String() + "\n")
	if sum.Broken > 0 {
		t.Fail()
	}
}
