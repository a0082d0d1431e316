package xfer

import (
	"bytes"
	"io"
	"testing"

	"zab/lib/cli"
	"zab/lib/record"
)

// What is known of a record goes with it, or a long run would keep them all.
func TestEarlyForgets(t *testing.T) {
	var out bytes.Buffer
	x := &stage{env: &cli.Env{Stderr: io.Discard, Common: &cli.Common{}}, early: newEarly(),
		out: &sink{w: record.NewWriter(&out), pending: map[where]int{}, blocked: map[where][]*record.Record{}}}
	done, waits := to("a"), to("b")
	for _, r := range []*record.Record{done, waits} {
		x.out.expect(r)
		x.early.seen[r] = true
		x.early.held[r] = []string{"x"}
		x.early.fresh[r] = []string{"x"}
		x.early.moved[r] = nil
		x.early.userrefs[r] = nil
	}
	(&job{x: x, r: done, unlock: func() {}}).end()
	if out.Len() == 0 {
		t.Error("the record was not written")
	}
	e := &x.early
	for what, n := range map[string]int{"seen": len(e.seen), "held": len(e.held), "fresh": len(e.fresh), "moved": len(e.moved), "userrefs": len(e.userrefs)} {
		if n != 1 {
			t.Errorf("%s: %d records are remembered, and one still waits", what, n)
		}
	}
}
