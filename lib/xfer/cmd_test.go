package xfer

import (
	"testing"

	"zab/lib/record"
)

// How many records are worked on at once, and which of them are long.
func TestAtOnce(t *testing.T) {
	for _, c := range []struct {
		o     Options
		jobs  int
		turns bool
	}{
		{Options{}, 4, true},
		{Options{Compress: "zstd-fast", Rate: "1M"}, 4, true},
		{Options{Jobs: "8", Buffer: "1M"}, 8, false},
		{Options{Buffer: "1M"}, 1, false},
		{Options{SendPipe: []string{"cat"}}, 1, false},
		{Options{RecvPipe: []string{"cat"}}, 1, false},
	} {
		if err := c.o.Check(); err != nil {
			t.Fatal(err)
		}
		if jobs, turns := c.o.atOnce(); jobs != c.jobs || turns != c.turns {
			t.Errorf("%+v: %d, %v", c.o, jobs, turns)
		}
	}
	n := record.Ptr[int64]
	receive := func(s record.Step) record.Record {
		s.Do = record.DoReceive
		return record.Record{Facts: record.Facts{Referenced: n(1 << 30), Written: n(1 << 20)}, Steps: []record.Step{{Do: record.DoHold}, s}}
	}
	for _, c := range []struct {
		s    record.Step
		want bool
	}{
		{record.Step{To: "1"}, true},
		{record.Step{From: "1", To: "2"}, false},
		{record.Step{From: "1", To: "2", Bytes: n(1 << 25)}, true},
		{record.Step{To: "2", Bytes: n(1<<25 - 1)}, false},
	} {
		if r := receive(c.s); isLong(&r) != c.want {
			t.Errorf("%+v", c.s)
		}
	}
	if isLong(&record.Record{Facts: record.Facts{Referenced: n(1 << 30)}, Steps: []record.Step{{Do: record.DoHold}}}) {
		t.Error("nothing is sent")
	}
}
