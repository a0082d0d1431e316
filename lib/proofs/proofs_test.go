package proofs_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"zab/lib/proofs"
	"zab/lib/zabtest"
)

// TestProofs runs ZAB_PROOFS random histories, or without it a few that are always the
// same, with increments, and copies in which only a comparison finds the change; ZAB_PROOFS_SEED is the number of the first round. It checks P12: what is called
// equal is, and no difference is missed.
func TestProofs(t *testing.T) {
	zabtest.NeedZFS(t)
	programs, err := zabtest.Programs()
	if err != nil {
		t.Fatal(err)
	}
	c := proofs.Config{Bin: programs, Seed: 102, Histories: 6, Log: os.Stderr}
	if s := os.Getenv("ZAB_PROOFS"); s != "" {
		c.Seed = time.Now().UnixNano() % 1e6
		if c.Histories, err = strconv.Atoi(s); err != nil {
			t.Fatalf("ZAB_PROOFS: %v", err)
		}
	}
	if s := os.Getenv("ZAB_PROOFS_SEED"); s != "" {
		if c.Seed, err = strconv.ParseInt(s, 10, 64); err != nil {
			t.Fatalf("ZAB_PROOFS_SEED: %v", err)
		}
	}
	if c.Dir, err = os.MkdirTemp(zabtest.PoolDir(), "zabp-"); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(c.Dir)
	sum, err := proofs.Run(c)
	if err != nil {
		t.Error(err)
	}
	os.Stderr.WriteString(sum.String() + "\n")
	if sum.Broken > 0 || sum.Flipped == 0 || sum.Proved == 0 {
		t.Fail()
	}
}
