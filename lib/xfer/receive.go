package xfer

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"

	"zab/lib/pipeline"
	"zab/lib/record"
	"zab/lib/zfs"
)

// transfer is the stream of a receive step.
func (j *job) transfer(s *record.Step) (*transfer, error) {
	send, err := zfs.SendArgv(j.r.Name, s)
	if err != nil {
		return nil, err
	}
	return &transfer{
		src:  j.x.source(j.r),
		dst:  j.x.target(j.r),
		send: send,
		recv: zfs.RecvArgv(s.Dataset, s),
		o:    j.x.o,
		pace: j.x.pace,
	}, nil
}

// receive sends and receives one stream. That its programs ended well is not
// enough: the step is done when the flusher finds the guid.
func (j *job) receive(ctx context.Context, i int) error {
	s := &j.r.Steps[i]
	to, _ := wanted(s)
	what := "cannot send " + object(j.r.Name, to) + " to '" + s.Dataset + "'"
	t, err := j.transfer(s)
	if err != nil {
		return because(err, "%s", what)
	}
	c, err := t.build(ctx)
	if err != nil {
		return because(err, "%s", what)
	}
	if debug := j.x.env.Machine.Debug; debug != nil {
		debug(c.text)
	}
	res := j.result(i)
	res.To = to
	j.x.env.Verbosef("sending %s to '%s'", object(j.r.Name, to), s.Dataset)
	shown := j.x.meter.start(object(j.r.Name, to), s.Bytes, c)
	out := pipeline.Run(ctx, c.links, pipeline.Options{Stall: j.x.o.stall})
	j.x.meter.stop(shown)
	measure(res, c, out.Seconds)
	err = j.verdict(ctx, what, out)
	var f *failure
	switch {
	case err == nil:
	case ctx.Err() == nil && refused(out) && j.thereAlready(ctx, s):
		// A plan that is executed a second time has nothing to add.
		j.x.env.Verbosef("%s was there already: %s", object(s.Dataset, to), err)
		res.Message = "it was there already"
	case j.x.o.IgnoreErrors && errors.As(err, &f) && f.kind != KindInterrupted:
		j.ignored[i] = err
	default:
		return err
	}
	j.arrived = append(j.arrived, i)
	return nil
}

// refused tells whether it was the receiver that failed. Where it took all and
// another program failed, the stream is not to be trusted without being told.
func refused(out pipeline.Outcome) bool {
	return out.Err != nil || slices.ContainsFunc(out.Failures, func(f pipeline.Failure) bool { return f.Last })
}

// thereAlready tells whether the target has what a step that failed was to
// bring, by guid.
func (j *job) thereAlready(ctx context.Context, s *record.Step) bool {
	to, guid := wanted(s)
	if guid == "" {
		return false
	}
	full := s.Dataset + "@" + to
	found, err := j.x.target(j.r).Find(ctx, []string{full})
	return err == nil && found[full].GUID == guid
}

// measure fills in what went through.
func measure(res *record.Result, c *flow, seconds float64) {
	wire := c.wire.Moved.Load()
	bytes := wire
	if c.stream != nil {
		bytes = c.stream.Moved.Load()
	}
	res.Bytes = &bytes
	if bytes != wire {
		res.WireBytes = &wire
	}
	rounded := math.Round(seconds*1000) / 1000
	res.Seconds = &rounded
	if seconds > 0 {
		res.Rate = record.Ptr(int64(float64(bytes) / seconds))
	}
}

// verdict is the error of a transfer: its cause, with what is left of it.
func (j *job) verdict(ctx context.Context, what string, out pipeline.Outcome) error {
	saved := false
	for i := range out.Failures {
		saved = saved || out.Failures[i].Err.Saved()
	}
	switch {
	case out.Err != nil && ctx.Err() != nil:
		return failf(KindInterrupted, "%s: %s", what, context.Cause(ctx))
	case errors.Is(out.Err, pipeline.ErrStalled):
		return failf(KindStalled, "%s: %s", what, out.Err)
	}
	if out.Err != nil {
		// An error of our own made the programs fail.
		return because(out.Err, "%s", what)
	}
	cause, _ := pipeline.Cause(out.Failures)
	if cause == nil {
		return nil
	}
	f := &failure{cause.Err.Kind, what + ": " + cause.Err.Error(), hint(cause.Err.Kind)}
	if again := zfs.KindPartial.Hint(); saved && f.hint != again {
		f.hint = strings.TrimPrefix(f.hint+"; then "+again, "; then ")
	}
	return f
}
