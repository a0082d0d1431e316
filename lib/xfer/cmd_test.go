package xfer

import (
	"strings"
	"testing"

	"zab/lib/record"
	"zab/lib/stream"
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
		{Options{Stream: stream.Options{Compress: "zstd-fast", Rate: 1 << 20}}, 4, true},
		{Options{Jobs: 8, Stream: stream.Options{Buffer: 1 << 20}}, 8, false},
		{Options{Stream: stream.Options{Buffer: 1 << 20}}, 1, false},
		{Options{Stream: stream.Options{SendPipe: []string{"cat"}}}, 1, false},
		{Options{Stream: stream.Options{RecvPipe: []string{"cat"}}}, 1, false},
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
	for args, why := range map[string]string{
		"":                                      "",
		"--compress=lz4":                        "",
		"--compress=brotli":                     "--compress",
		"--jobs=0":                              "--jobs",
		"--buffer=2T":                           "--buffer: \"2T\" is more than 1T",
		"--buffer=1M --buffer-chunk-size=2048k": "--buffer-chunk-size: \"2M\" is more than the whole buffer",
		"--stall-timeout=10m":                   "",
		"--stall-timeout=-1s":                   "--stall-timeout",
		"--progress --no-progress":              "--no-progress",
	} {
		p := Program()
		_, err := p.Parser().ParseArgs(strings.Fields(args))
		if err == nil {
			err = p.Check(nil)
		}
		if (err == nil) != (why == "") || err != nil && !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", args, err)
		}
	}
}
