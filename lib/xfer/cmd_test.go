package xfer

import (
	"strings"
	"testing"

	"zab/lib/record"
)

// The options decide how many records are worked on at once, and the sizes of its streams
// decide whether a record is long.
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

// The error about an option names the option.
func TestOptions(t *testing.T) {
	good := Options{}
	for name, c := range map[string]struct {
		change func(*Options)
		why    string
	}{
		"as it is":          {func(o *Options) {}, ""},
		"compress":          {func(o *Options) { o.Compress = "lz4" }, ""},
		"unknown type":      {func(o *Options) { o.Compress = "brotli" }, "--compress"},
		"no jobs":           {func(o *Options) { o.Jobs = "0" }, "--jobs"},
		"huge buffer":       {func(o *Options) { o.Buffer = "2T" }, "--buffer"},
		"chunk over buffer": {func(o *Options) { o.Buffer, o.BufferChunk = "1M", "2M" }, "--buffer-chunk-size"},
		"stall":             {func(o *Options) { o.Stall = "10m" }, ""},
		"negative stall":    {func(o *Options) { o.Stall = "-1s" }, "--stall-timeout"},
		"both":              {func(o *Options) { o.Progress, o.NoProgress = true, true }, "--no-progress"},
	} {
		o := good
		c.change(&o)
		err := o.Check()
		if (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
