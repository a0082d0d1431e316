// Package xfer is the stage that executes the steps of a plan: it sends and receives
// snapshots, and carries out the steps before and after a transfer, such as destroying,
// renaming, holding and bookmarking.
//
// Goals: a transfer counts only once the target has the snapshot's guid; a snapshot or
// bookmark is looked up just before it is destroyed; a failure stays confined to its
// dataset; few programs for many datasets.
//
// Non-goals: the stage decides nothing. The steps to execute are in the records.
package xfer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"zab/lib/cache"
	"zab/lib/cli"
	"zab/lib/lock"
	"zab/lib/record"
	"zab/lib/stream"
)

// Options are the options of the transfer, shared with the wrapper zab.
type Options struct {
	Compress     stream.Compression `long:"compress" section:"stream" optional:"yes" optional-value:"zstd-fast" value-name:"TYPE" unquote:"false" description:"Compress what is sent: gzip, pigz-fast, pigz-slow, zstd-fast (default), zstd-slow, zstd-adapt, xz, lzo, lz4"`
	Rate         string             `long:"rate" section:"stream" value-name:"DATARATE" unquote:"false" description:"Send at most that many bytes a second, such as 10M"`
	Buffer       string             `long:"buffer" section:"stream" value-name:"SIZE" unquote:"false" description:"Buffer the stream with that much memory, such as 128M"`
	BufferChunk  string             `long:"buffer-chunk-size" section:"stream" value-name:"SIZE" unquote:"false" description:"Read and write that much at once when buffering"`
	SendPipe     []string           `long:"send-pipe" section:"stream" value-name:"COMMAND" unquote:"false" description:"Pipe the stream through a shell command on the source; may be given several times"`
	RecvPipe     []string           `long:"recv-pipe" section:"stream" value-name:"COMMAND" unquote:"false" description:"Pipe the stream through a shell command on the target; may be given several times"`
	IgnoreErrors bool               `long:"ignore-transfer-errors" section:"stream" description:"Only warn when a program of a transfer fails but the snapshot has arrived"`
	Progress     bool               `long:"progress" description:"Show progress on stderr even if that is not a terminal"`
	NoProgress   bool               `long:"no-progress" description:"Show no progress"`
	Jobs         string             `short:"j" long:"jobs" section:"stream" value-name:"N" unquote:"false" description:"Send that many datasets at once (default: 4, but no two long streams)"`
	Retries      int                `long:"retries" section:"stream" value-name:"N" default:"2" base:"10" description:"Retry a transfer that many times if it fails for a transient reason, such as a lost connection"`
	Stall        string             `long:"stall-timeout" section:"stream" value-name:"DURATION" unquote:"false" default:"0" description:"End a transfer in which no byte has moved for that long, such as 10m; 0 is never"`

	jobs   int // 0: atOnce decides
	stream stream.Options
	stall  time.Duration
}

// The largest sizes accepted, in bytes: larger ones cannot be meant.
const (
	maxBuffer = 1 << 40
	maxChunk  = 1 << 30
)

// Check parses the values of the options. An error is a usage error.
func (o *Options) Check() error {
	if err := o.Compress.Check(); err != nil {
		return fmt.Errorf("--compress: %w", err)
	}
	o.stream = stream.Options{Compress: o.Compress, SendPipe: o.SendPipe, RecvPipe: o.RecvPipe}
	for _, s := range []struct {
		name, text string
		to         *stream.Size
		most       stream.Size
	}{
		{"rate", o.Rate, &o.stream.Rate, 1 << 50},
		{"buffer", o.Buffer, &o.stream.Buffer, maxBuffer},
		{"buffer-chunk-size", o.BufferChunk, &o.stream.Chunk, maxChunk},
	} {
		if s.text == "" {
			continue
		}
		n, err := stream.ParseSize(s.text)
		if err == nil && n > s.most {
			err = fmt.Errorf("%q is more than %s", s.text, s.most)
		}
		if err != nil {
			return fmt.Errorf("--%s: %w", s.name, err)
		}
		*s.to = n
	}
	if o.stream.Chunk > 0 && o.stream.Buffer > 0 && o.stream.Chunk > o.stream.Buffer {
		return fmt.Errorf("--buffer-chunk-size: %q is more than the whole buffer", o.BufferChunk)
	}
	if o.Jobs != "" {
		n, err := strconv.Atoi(o.Jobs)
		if err != nil || n < 1 || n > 1000 {
			return fmt.Errorf("--jobs: %q is not a number between 1 and 1000", o.Jobs)
		}
		o.jobs = n
	}
	if o.Retries < 0 || o.Retries > 1000 {
		return fmt.Errorf("--retries: %d is not between 0 and 1000", o.Retries)
	}
	if o.Progress && o.NoProgress {
		return errors.New("--progress and --no-progress exclude each other")
	}
	d, err := cli.ParseDuration(o.Stall)
	if err != nil {
		return fmt.Errorf("--stall-timeout: %w", err)
	}
	o.stall = d
	return nil
}

type command struct {
	cli.Common
	Options
}

// Program describes the command for cli.Main and for the tests of its page.
func Program() cli.Program {
	c := &command{}
	return cli.Program{
		Name:         "zab-xfer",
		Summary:      "Execute the steps that zab-plan wrote: send, receive, hold, release, destroy.",
		Options:      c,
		ReadsRecords: true,
		Check:        func([]string) error { return c.Options.Check() },
		Run: func(ctx context.Context, env *cli.Env, _ []string) error {
			return Run(ctx, env, &c.Options)
		},
	}
}

// Main runs the command.
func Main(args []string) int { return cli.Main(Program(), args) }

// Run executes the steps of the records on standard input.
func Run(ctx context.Context, env *cli.Env, o *Options) error {
	x := &stage{env: env, o: o, locks: &lock.Table{}}
	x.journal.Say = env.Verbosef
	if dir, err := cache.Dir(); err == nil && !env.Common.DryRun {
		x.journal.Dir = dir
	}
	defer x.journal.Close()
	if r := o.stream.Rate; r > 0 {
		x.limiter = stream.NewLimiter(int64(r))
	}
	if o.Progress || !o.NoProgress && cli.Redraws(env.Stderr) {
		x.meter = stream.NewMeter(env.Stderr)
		env.Stderr = x.meter
		defer x.meter.Close()
		// A second signal ends the process at once.
		defer context.AfterFunc(ctx, x.meter.Close)()
	}
	defer x.locks.Close()
	stdout := &lockedWriter{w: env.Stdout}
	slots, turns := o.atOnce()
	long := func(*record.Record) bool { return false }
	if turns {
		x.longStreams, long = stream.NewLongStreams(longStream), isLong
	}
	// When stdout breaks, no more records are read and no more jobs begun; the jobs under
	// way are finished, verified and held.
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	in := make(chan *record.Record)
	var readErr error
	go func() {
		defer close(in)
		readErr = env.Each(reading, record.NewWriter(stdout), func(r *record.Record) error {
			select {
			case in <- r:
				return nil
			case <-reading.Done():
				return context.Cause(reading)
			}
		})
		x.meter.Complete()
	}()
	c := newCoordinator(ctx, x, slots, long, record.NewWriter(stdout))
	failed := func() bool { return readErr != nil && ctx.Err() == nil }
	if err := c.run(in, failed, stop); err != nil {
		return err
	}
	return readErr
}

// shortJobs is the number of short streams that run side by side without --jobs. Two are
// too few on a distant network, where each stream waits for several round trips; more
// than four gain nothing on the machines that were measured.
const shortJobs = 4

// longStream is the size in bytes from which a stream is a long one: about as much as a
// spinning disk delivers while the programs of a short stream wait for their pools.
const longStream = 32 << 20

// atOnce returns how many records are worked on at once, and whether long streams take
// turns. With a buffer or a pipe command the default is one record: the user granted the
// buffer's memory once, and the command may not be able to run twice at a time.
func (o *Options) atOnce() (jobs int, turns bool) {
	switch {
	case o.jobs > 0:
		return o.jobs, false
	case o.stream.Buffer > 0 || len(o.SendPipe) > 0 || len(o.RecvPipe) > 0:
		return 1, false
	}
	return shortJobs, true
}

// isLong reports whether a record is likely to have a long stream. Such a record is not
// begun beside another one, so that its stream does not have to wait half-way.
func isLong(r *record.Record) bool {
	n := int64(0)
	add := func(p *int64) {
		if p != nil {
			n += *p
		}
	}
	for i := range r.Steps {
		switch s := &r.Steps[i]; {
		case s.Do != record.DoReceive:
		case s.Bytes != nil:
			add(s.Bytes)
		case s.From == "":
			add(r.Referenced)
		default:
			add(r.Written)
		}
	}
	return n >= longStream
}

// object names a snapshot in messages.
func object(dataset, snapshot string) string {
	return "'" + strings.TrimSuffix(dataset+"@"+snapshot, "@") + "'"
}
