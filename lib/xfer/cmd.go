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

	"zab/lib/cache"
	"zab/lib/cli"
	"zab/lib/lock"
	"zab/lib/record"
	"zab/lib/stream"
)

// Options are the options of the transfer, shared with the wrapper zab.
type Options struct {
	Stream       stream.Options
	IgnoreErrors bool         `long:"ignore-transfer-errors" section:"stream" description:"Only warn when a program of a transfer fails but the snapshot has arrived"`
	Progress     bool         `long:"progress" description:"Show progress on stderr even if that is not a terminal"`
	NoProgress   bool         `long:"no-progress" description:"Show no progress"`
	Jobs         jobs         `short:"j" long:"jobs" section:"stream" value-name:"N" unquote:"false" description:"Send that many datasets at once (default: 4, but no two long streams)"`
	Retries      int          `long:"retries" section:"stream" value-name:"N" default:"2" base:"10" description:"Retry a transfer that many times if it fails for a transient reason, such as a lost connection"`
	Stall        cli.Duration `long:"stall-timeout" section:"stream" value-name:"DURATION" unquote:"false" default:"0" description:"End a transfer or comparison in which no byte has moved for that long, such as 10m; 0 is never"`
}

// The largest sizes accepted, in bytes: larger ones cannot be meant.
const (
	maxBuffer = 1 << 40
	maxChunk  = 1 << 30
)

// jobs is a number of datasets sent at once; 0: atOnce decides.
type jobs int

func (j *jobs) UnmarshalFlag(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 1000 {
		return fmt.Errorf("%q is not a number between 1 and 1000", s)
	}
	*j = jobs(n)
	return nil
}

// Check checks the options. An error is a usage error.
func (o *Options) Check() error {
	for _, s := range []struct {
		name       string
		size, most stream.Size
	}{
		{"rate", o.Stream.Rate, 1 << 50},
		{"buffer", o.Stream.Buffer, maxBuffer},
		{"buffer-chunk-size", o.Stream.Chunk, maxChunk},
	} {
		if s.size > s.most {
			return fmt.Errorf("--%s: %q is more than %s", s.name, s.size, s.most)
		}
	}
	if o.Stream.Buffer > 0 && o.Stream.Chunk > o.Stream.Buffer {
		return fmt.Errorf("--buffer-chunk-size: %q is more than the whole buffer", o.Stream.Chunk)
	}
	if o.Retries < 0 || o.Retries > 1000 {
		return fmt.Errorf("--retries: %d is not between 0 and 1000", o.Retries)
	}
	if o.Progress && o.NoProgress {
		return errors.New("--progress and --no-progress exclude each other")
	}
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

// lockFile is the path of the lock file, "" for the default; a variable for tests.
var lockFile = ""

// Run executes the steps of the records on standard input.
func Run(ctx context.Context, env *cli.Env, o *Options) error {
	x := &stage{env: env, o: o, locks: &lock.Table{Path: lockFile}}
	x.journal.Say = env.Verbosef
	if dir, err := cache.Dir(); err == nil {
		x.pinned.Dir = dir
		if !env.Common.DryRun {
			x.journal.Dir = dir
		}
	}
	defer x.journal.Close()
	defer func() {
		if err := x.pinned.Save(); err != nil {
			env.Verbosef("cannot note which snapshots are held: %s", err)
		}
	}()
	if r := o.Stream.Rate; r > 0 {
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
		readErr = env.Each(reading, env.Writer(stdout), func(r *record.Record) error {
			select {
			case in <- r:
				return nil
			case <-reading.Done():
				return context.Cause(reading)
			}
		})
		x.meter.Complete()
	}()
	c := newCoordinator(ctx, x, slots, long, env.Writer(stdout))
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
	case o.Jobs > 0:
		return int(o.Jobs), false
	case o.Stream.Buffer > 0 || len(o.Stream.SendPipe) > 0 || len(o.Stream.RecvPipe) > 0:
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
