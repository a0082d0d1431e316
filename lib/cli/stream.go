package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"zab/lib/record"
)

type read struct {
	rec *record.Record
	err error
}

// records reads records from standard input in the background, so that a signal ends a
// command that waits for its next line. The channel is closed after the last record or
// the first error. Lines are parsed on all cores and delivered in order; no more lines
// than cores are in progress, so memory is bounded by the longest lines.
func (e *Env) records(ctx context.Context) <-chan read {
	cores := runtime.GOMAXPROCS(0)
	out := make(chan read)
	under := make(chan (<-chan read), cores)
	go func() {
		defer close(under)
		r := record.NewReader(e.Stdin)
		for {
			parse, err := r.Next()
			if err == io.EOF {
				return
			}
			one := make(chan read, 1)
			if err != nil {
				one <- read{nil, err}
			} else {
				go func() {
					rec, err := parse()
					one <- read{rec, err}
				}()
			}
			select {
			case under <- one:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	go func() {
		defer close(out)
		for one := range under {
			in := <-one
			select {
			case out <- in:
			case <-ctx.Done():
				return
			}
			if in.err != nil {
				return
			}
		}
	}()
	return out
}

// Each calls f with every record that Skip does not exclude, and writes the others to w
// unchanged. A line that is not understood is reported and ends the reading; nothing is
// done for it or for any line after it.
func (e *Env) Each(ctx context.Context, w *record.Writer, f func(*record.Record) error) error {
	ch := e.records(ctx)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case in, ok := <-ch:
			switch {
			case !ok:
				return ctx.Err()
			case in.err != nil:
				e.BadInput(in.err)
				return nil
			case in.rec.Skip():
				if err := w.Pass(in.rec); err != nil {
					return err
				}
			default:
				if err := f(in.rec); err != nil {
					return err
				}
			}
		}
	}
}

// All reads every record, including those that Skip excludes, and calls got, if it is not
// nil, with each when it has been read. bad is the error of a line that was not
// understood; it has been reported.
func (e *Env) All(ctx context.Context, got func(*record.Record)) (all []*record.Record, bad error, err error) {
	ch := e.records(ctx)
	for {
		select {
		case <-ctx.Done():
			return all, nil, context.Cause(ctx)
		case in, ok := <-ch:
			switch {
			case !ok:
				return all, nil, ctx.Err()
			case in.err != nil:
				e.BadInput(in.err)
				return all, in.err, nil
			}
			if got != nil {
				got(in.rec)
			}
			all = append(all, in.rec)
		}
	}
}

// SpareMemory is called by commands that keep all records: garbage may take only half as
// much memory as they do, not as much again, unless the environment says otherwise.
func SpareMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

// BadInput reports a line that was not understood.
func (e *Env) BadInput(err error) {
	e.Errorf("cannot read records: %s", err)
	var in *record.InputError
	if errors.As(err, &in) {
		e.Hintf("nothing was done for this line or any after it; see zab-record(5)")
	}
	e.Fail()
}

// Batches calls f with consecutive records in batches: n at most, fewer when the previous
// stage delivers no more for the moment.
func (e *Env) Batches(ctx context.Context, n int, f func([]*record.Record) error) error {
	ch := e.records(ctx)
	var set []*record.Record
	flush := func() error {
		if len(set) == 0 {
			return nil
		}
		s := set
		set = nil
		return f(s)
	}
	for {
		var idle <-chan time.Time
		if len(set) > 0 {
			idle = time.After(pause)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-idle:
			if err := flush(); err != nil {
				return err
			}
		case in, ok := <-ch:
			switch {
			case !ok:
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				return flush()
			case in.err != nil:
				e.BadInput(in.err)
				return flush()
			}
			if set = append(set, in.rec); len(set) >= n {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
}

// pause is how long an incomplete batch waits for further records.
const pause = 300 * time.Millisecond
