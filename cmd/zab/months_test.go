package main_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"zab/lib/months"
)

// The short form is the first nights of one month, for monthsTime plus the time to repair
// all faults. Its faults are always the same; `make months` looks for more.
const (
	monthsSeed   = 1
	monthsNights = 8
	monthsTime   = time.Minute
)

// TestMonths checks P4 and P11: if some of the selected datasets have faults, all others
// are backed up, the failed ones are named with an exit status that is not 0, and
// everything recovers when the faults are gone. ZAB_MONTHS is the number of months,
// ZAB_MONTHS_SEED the number of the first, ZAB_MONTHS_NIGHTS the number of nights of
// each; ZAB_MONTHS_ONLY selects faults by a part of the names of their kinds;
// ZAB_MONTHS_VERBOSE prints everything.
func TestMonths(t *testing.T) {
	if !haveZFS() {
		t.Skip("needs a real ZFS")
	}
	if *only != "" && os.Getenv("ZAB_MONTHS") == "" {
		t.Skip("only some scripts are wanted")
	}
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.MkdirTemp(memory(), "zabm-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(root)
	c := months.Config{Bin: bin, Dir: root, Seed: monthsSeed, Months: 1, Nights: monthsNights, Until: time.Now().Add(monthsTime), Only: os.Getenv("ZAB_MONTHS_ONLY"), Log: os.Stderr, Verbose: os.Getenv("ZAB_MONTHS_VERBOSE") != ""}
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
