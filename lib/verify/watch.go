package verify

import (
	"context"
	"fmt"
	"io"
	"time"

	"zab/lib/record"
	"zab/lib/zfs"
)

// This file ends a comparison that does not go on, as when a pool does not answer or a host
// falls silent.

// watch waits for signs of life of both ends. They are watched together, because one may
// wait for the other. A nil watch waits for ever.
type watch struct {
	limit time.Duration // --stall-timeout
	timer *time.Timer
}

// watch gives the ends one watch. The context ends when it has waited too long; unwatch ends the
// watch, and returns that as the error in place of another one.
func (v *verifier) watch(ctx context.Context, ends ...*end) (watched context.Context, unwatch func(error) error) {
	limit := v.o.Stall.Duration
	if limit == 0 {
		return ctx, func(err error) error { return err }
	}
	watched, cancel := context.WithCancelCause(ctx)
	stalled := &record.Error{Kind: record.KindStalled, Message: fmt.Sprintf("nothing was read for %s (--stall-timeout)", limit),
		Hint: "see whether the pools and the hosts of both sides answer"}
	w := &watch{limit, time.AfterFunc(limit, func() { cancel(stalled) })}
	for _, e := range ends {
		e.watch = w
	}
	return watched, func(err error) error {
		w.timer.Stop()
		if err != nil && context.Cause(watched) == error(stalled) {
			err = stalled
		}
		cancel(nil)
		return err
	}
}

// alive notes a sign of life.
func (w *watch) alive() {
	if w != nil {
		w.timer.Reset(w.limit)
	}
}

// signs asks programs out of sight for signs of life.
func (w *watch) signs() zfs.Signs {
	if w == nil {
		return zfs.Signs{}
	}
	return zfs.Signs{Every: max(w.limit/4, time.Second), Alive: w.alive}
}

// reader returns a reader of which each byte is a sign of life.
func (w *watch) reader(in io.Reader) io.Reader {
	if w == nil {
		return in
	}
	return &watchedReader{in, w}
}

type watchedReader struct {
	in io.Reader
	w  *watch
}

func (r *watchedReader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	if n > 0 {
		r.w.alive()
	}
	return n, err
}
