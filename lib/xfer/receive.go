package xfer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"zab/lib/record"
	"zab/lib/sendstream"
	"zab/lib/stream"
	"zab/lib/zfs"
)

// transfer returns the stream of a receive step. It is received without the -x of the
// properties that are unneeded; with watch, it may not bring them.
func (j *job) transfer(s *record.Step, unneeded []string, watch bool) (*stream.Transfer, error) {
	send, err := zfs.SendArgv(j.r.Name, s)
	if err != nil {
		return nil, err
	}
	recv := *s
	recv.Set = mergeProps(s.Set, s.Exclude, j.keep)
	recv.Exclude = slices.DeleteFunc(slices.Clone(s.Exclude), func(name string) bool { return slices.Contains(unneeded, name) })
	if j.zoned {
		recv.Set, recv.Exclude = forZone(recv.Set, recv.Exclude)
	}
	return &stream.Transfer{
		Source:      j.x.source(j.r),
		Target:      j.x.target(j.r),
		Send:        send,
		Recv:        zfs.RecvArgv(s.Dataset, &recv),
		Options:     &j.x.o.Stream,
		Limiter:     j.x.limiter,
		LongStreams: j.x.longStreams,
		Rule:        j.rule(s, unneeded, watch),
	}, nil
}

func checkReceive(r *record.Record, s *record.Step, dry bool) error {
	if err := isAbout(s, r.Target.Name); err != nil {
		return err
	}
	if s.To == "" {
		return errors.New("the field \"to\" is missing")
	}
	if err := needGUID("to_guid", s.ToGUID, dry); err != nil {
		return err
	}
	// SendArgv also checks whether a resume token fits the step.
	if _, err := zfs.SendArgv(r.Name, s); err != nil {
		return err
	}
	for _, p := range s.Set {
		if k, _, ok := strings.Cut(p, "="); !ok || k == "" {
			return fmt.Errorf("%q is not a property with its value", p)
		}
	}
	for _, p := range s.Exclude {
		if p == "" || strings.Contains(p, "=") {
			return fmt.Errorf("%q is not the name of a property", p)
		}
	}
	return nil
}

// showReceive returns the pipeline as text, and notes in the result how many bytes it
// would send.
func (j *job) showReceive(ctx context.Context, i, _ int) ([]string, error) {
	s, res := &j.r.Steps[i], j.result(i)
	t, err := j.transfer(s, nil, false)
	if err != nil {
		return nil, err
	}
	res.To, res.Bytes = s.To, j.estimate(ctx, s)
	return []string{t.Text()}, nil
}

// estimate returns the size of a step's stream in bytes; nil if unknown. For a snapshot
// that is not made yet it is the bytes written since the last one.
func (j *job) estimate(ctx context.Context, s *record.Step) *int64 {
	if s.ToGUID == "" || j.virtual(s.To) {
		return j.r.Written
	}
	if from := strings.TrimPrefix(s.From, "#"); j.virtual(from) {
		return nil
	}
	argv, err := zfs.SendArgv(j.r.Name, s)
	if err != nil {
		return s.Bytes
	}
	n, err := j.x.source(j.r).Estimate(ctx, argv)
	if err != nil {
		return s.Bytes
	}
	return &n
}

// sizeOf returns the size of all streams of a record; nil if that of one is not known.
func sizeOf(r *record.Record) *int64 {
	all := int64(0)
	for i := range r.Steps {
		if s := &r.Steps[i]; s.Do == record.DoReceive {
			if s.Bytes == nil {
				return nil
			}
			all += *s.Bytes
		}
	}
	return &all
}

func (j *job) virtual(snapshot string) bool {
	for i := range j.r.Snapshots {
		if s := &j.r.Snapshots[i]; s.Name == snapshot {
			return s.Virtual
		}
	}
	return false
}

// receive executes a receive step. The step is not done when its programs have ended
// well, but when its commit finds the guid on the target.
//
// A stream that broke off for a transient reason is retried from where it broke off. A
// stream that cannot be resumed with its token is sent anew, once.
func (j *job) receive(ctx context.Context, i, _ int) error {
	s := &j.r.Steps[i]
	what := "cannot send " + object(j.r.Name, s.To) + " to '" + s.Dataset + "'"
	if err := j.origin(ctx, what, s); err != nil {
		return err
	}
	res := j.result(i)
	res.To = s.To
	j.x.env.Verbosef("sending %s to '%s'", object(j.r.Name, s.To), s.Dataset)
	todo := j.visible([]record.Step{*s})
	anew := false   // a token was given up
	undone := false // the target was rolled back
	for try := 0; len(todo) > 0; {
		err := j.send(ctx, i, what, &todo[0])
		if err == nil {
			todo = todo[1:]
			continue
		}
		if ctx.Err() != nil {
			return err
		}
		if !undone && modified(err) && todo[0].FromGUID == s.FromGUID && j.undo(ctx, s) {
			undone = true
			continue
		}
		refused := !anew && todo[0].Token != "" && tokenRefused(err)
		if !refused && j.zoneRefuses(&todo[0], err) {
			continue
		}
		if !refused && !transient(err) {
			return j.failed(ctx, i, err)
		}
		if refused && j.movedOn(ctx, &todo[0]) {
			// The receive that saved the token was still running when the token was read.
			refused = false
		}
		if refused && setsMore(s) {
			// A stream sent anew has to set more properties, which the next plan knows.
			j.discardPartial(ctx, s)
			return j.finalError(ctx, i, err)
		}
		if !refused {
			if try++; try > j.x.o.Retries {
				return j.failed(ctx, i, receiving(err, &todo[0]))
			}
			j.x.env.Verbosef("%s; trying again, %d of %d", err, try, j.x.o.Retries)
			if e := zfs.Pause(ctx, try); e != nil {
				return err
			}
		}
		rest, e := j.remaining(ctx, s, refused)
		for e != nil && zfs.KindOf(e).Transient() && try < j.x.o.Retries {
			// A network that is down for the stream is down for these queries, too.
			try++
			j.x.env.Verbosef("%s; trying again, %d of %d", e, try, j.x.o.Retries)
			if zfs.Pause(ctx, try) != nil {
				return err
			}
			rest, e = j.remaining(ctx, s, refused)
		}
		if e != nil {
			var f *failure
			if errors.As(e, &f) && f.kind == record.KindReceiving {
				return failf(f.kind, "%s: %s", what, f.text)
			}
			j.x.env.Verbosef("cannot try again: %s", e)
			return j.finalError(ctx, i, err)
		}
		if refused {
			anew = true
			j.r.Warn("an interrupted receive into '%s' could not go on, and was begun anew: %s", s.Dataset, err)
		}
		todo = j.visible(rest)
	}
	j.arrived = append(j.arrived, i)
	return nil
}

// failed adds the cause to the error of a step whose stream has failed for good, and
// returns finalError's result. If the stream would fail in the same way again, its saved
// part is discarded. If a snapshot cannot be read, the remaining steps are replaced by
// steps without it, and failed returns nil.
func (j *job) failed(ctx context.Context, i int, err error) error {
	s := &j.r.Steps[i]
	f, c := j.explain(ctx, s, err)
	if ctx.Err() != nil {
		return j.finalError(ctx, i, f)
	}
	if f.kind == record.KindUnreadable {
		if without := j.leaveOut(ctx, i, c.lost); without != nil {
			j.result(i).Message = f.Error()
			what := object(j.r.Name, without[0])
			switch more := len(without) - 1; {
			case more == 1:
				what += " and a later one"
			case more > 1:
				what += fmt.Sprintf(" and %d later ones", more)
			}
			j.omitted = append(j.omitted, fmt.Sprintf("%s cannot be sent, for a block of it cannot be read, and the copy goes on without: %s", what, c.text))
			return nil
		}
		return j.finalError(ctx, i, f)
	}
	if j.stuck(ctx, s, f) {
		f.text += "; it broke off where it had broken off before, so what was saved is given up"
		f.hint = "run again: the stream begins anew"
		j.discardPartial(ctx, s)
	}
	if s.NoResume && strings.HasPrefix(f.hint, record.KindPartial.Hint()) {
		f.hint = "run again: the stream begins anew, for the target's pool cannot keep a part of one"
	}
	return j.finalError(ctx, i, f)
}

// zoneRefuses reports whether a stream was refused for properties that zfs does not set
// from outside on the dataset of a zone. Then the stream is sent again without them: the
// values that they got when the copy was made stay.
func (j *job) zoneRefuses(s *record.Step, err error) bool {
	var f *failure
	if j.zoned || !errors.As(err, &f) || f.kind != record.KindZoned || f.program != receiver {
		return false
	}
	set, _ := forZone(mergeProps(s.Set, s.Exclude, j.keep), nil)
	if len(set) == len(mergeProps(s.Set, s.Exclude, j.keep)) {
		return false
	}
	j.zoned = true
	j.x.env.Verbosef("%s; '%s' belongs to a zone (zoned=on), so the stream goes without setting that", err, s.Dataset)
	return true
}

// forZone returns the properties that a stream sets, P=V, without those that zfs (2.1 to
// 2.4) does not set where zoned is on, and the excluded properties with them.
func forZone(set, exclude []string) (zset, zexclude []string) {
	exclude = slices.Clone(exclude)
	for _, pv := range set {
		name, value, _ := strings.Cut(pv, "=")
		if !slices.Contains(record.Sharing, name) && (name != "mountpoint" || !strings.HasPrefix(value, "/")) {
			zset = append(zset, pv)
		} else if !slices.Contains(exclude, name) {
			exclude = append(exclude, name)
		}
	}
	return zset, exclude
}

// finalError returns the error of a step whose stream has failed for good. It returns
// nil, and leaves the step to verification, if the target already has the snapshot or
// --ignore-transfer-errors is given.
func (j *job) finalError(ctx context.Context, i int, err error) error {
	s := &j.r.Steps[i]
	var f *failure
	switch {
	case j.refused && j.thereAlready(ctx, s):
		// The plan is executed a second time.
		j.x.env.Verbosef("%s was there already: %s", object(s.Dataset, j.result(i).To), err)
		j.result(i).Message = "it was there already"
	case j.x.o.IgnoreErrors && errors.As(err, &f) && f.kind != record.KindInterrupted:
		j.ignored[i] = err
	default:
		return err
	}
	j.arrived = append(j.arrived, i)
	return nil
}

// run sends and receives s, which is step i or the rest of it, as one stream; see transfer.
// The error is a sendstream.Brings if the stream brings a property that is watched for, and
// then nothing of it has been received.
func (j *job) run(ctx context.Context, i int, what string, s *record.Step, unneeded []string, watch bool) error {
	t, err := j.transfer(s, unneeded, watch)
	if err != nil {
		return wrap(err, "%s", what)
	}
	c, err := t.Build(ctx)
	if err != nil {
		return wrap(err, "%s", what)
	}
	if debug := j.x.env.Machine.Debug; debug != nil {
		debug(c.Text)
	}
	j.progress.Start(j.r.Name, s.To, s.Bytes, c)
	lost := make(chan error, 2)
	give := func(err error) { lost <- err }
	defer j.x.source(j.r).Watch(ctx, []string{zfs.Pool(j.r.Name)}, give)()
	defer j.x.target(j.r).Watch(ctx, []string{zfs.Pool(s.Dataset)}, give)()
	out := stream.Run(ctx, c.Links, stream.RunOptions{Stall: j.x.o.Stall.Duration, Lost: lost})
	j.progress.Stop()
	if b := (*sendstream.Brings)(nil); errors.As(out.Err, &b) {
		return b
	}
	measure(j.result(i), c, out.Seconds)
	j.refused, j.said = refused(out), out.Said
	return j.verdict(ctx, what, out)
}

// refused reports whether the receiver failed, or the stream was given up here. If the
// receiver ended well and another program failed, the stream is not trusted unless
// --ignore-transfer-errors says so.
func refused(out stream.Outcome) bool {
	return out.Err != nil || slices.ContainsFunc(out.Failures, func(f stream.Failure) bool { return f.Last })
}

// receiving rewords the error that the target is busy for a resumed stream: another
// program is receiving into it.
func receiving(err error, s *record.Step) error {
	var f *failure
	if s.Token == "" || !errors.As(err, &f) || f.kind != record.KindBusy {
		return err
	}
	return failf(record.KindReceiving, "%s (another program is receiving into it at this moment)", f.text)
}

// modified reports whether zfs refused a stream because the target was changed since
// its newest snapshot.
func modified(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.kind == record.KindModified
}

// transient reports whether the same stream may succeed a little later.
func transient(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.kind.Transient()
}

// tokenRefused reports whether a resumed stream failed because its resume token, or the
// stream that it stands for, is unusable, so that retrying with it cannot succeed.
func tokenRefused(err error) bool {
	var f *failure
	if !errors.As(err, &f) {
		return false
	}
	switch f.kind {
	case record.KindStaleToken, record.KindFeature, record.KindEncryption, record.KindNoBase, record.KindModified, record.KindStream, record.KindExists:
		return true
	}
	return false
}

// remaining looks at both sides and returns the streams that a step still has to send;
// none if all of its snapshots have arrived. With abort, the saved part of an interrupted
// receive is discarded.
func (j *job) remaining(ctx context.Context, s *record.Step, abort bool) ([]record.Step, error) {
	host := j.x.target(j.r)
	chain := append(slices.Clone(s.Through), record.Through{Name: s.To, GUID: s.ToGUID})
	var there, here []string
	for _, c := range chain {
		there = append(there, s.Dataset+"@"+c.Name)
		here = append(here, j.r.Name+"@"+c.Name)
	}
	source, err := j.x.source(j.r).Find(ctx, here)
	if err != nil {
		return nil, err
	}
	target, err := host.Find(ctx, there)
	if err != nil {
		return nil, err
	}
	rest := record.Step{Do: s.Do, Side: s.Side, Dataset: s.Dataset, From: s.From, FromGUID: s.FromGUID,
		NoResume: s.NoResume, Flags: s.Flags, Set: s.Set, Exclude: s.Exclude, Force: s.Force, Origin: s.Origin, Why: s.Why}
	if len(rest.Flags) == 0 && s.Token != "" {
		// Without its flags an encrypted dataset would be sent decrypted (P10).
		return nil, errors.New("the plan does not say with which flags to send it anew")
	}
	for len(chain) > 0 && target[s.Dataset+"@"+chain[0].Name].GUID == chain[0].GUID {
		rest.From, rest.FromGUID, rest.Origin, rest.Force = chain[0].Name, chain[0].GUID, "", false
		chain = chain[1:]
	}
	if len(chain) == 0 {
		return nil, nil
	}
	for _, c := range chain {
		if source[j.r.Name+"@"+c.Name].GUID != c.GUID {
			return nil, fmt.Errorf("'%s@%s' is not on the source any more", j.r.Name, c.Name)
		}
	}
	token, err := resumeToken(ctx, host, s.Dataset)
	if err != nil {
		return nil, err
	}
	if token != "" {
		misfit := fits(token, j.r.Name, upTo(rest, chain[:1]))
		if abort || misfit != nil {
			if err := j.abortReceive(ctx, s.Dataset); err != nil {
				return nil, err
			}
			token = ""
		}
		if misfit != nil && !abort {
			j.r.Warn("an interrupted receive into '%s' could not go on, and was aborted: %s", s.Dataset, misfit)
		}
	}
	if token == "" {
		if s.Token != "" && setsMore(s) && rest.From == "" {
			return nil, errors.New("what an interrupted receive has saved is gone; the next run sends it anew")
		}
		return []record.Step{upTo(rest, chain)}, nil
	}
	out := []record.Step{upTo(rest, chain[:1])}
	out[0].Token, out[0].Origin = token, ""
	if !slices.Contains(s.Flags, "-w") {
		out[0].Set = zfs.WithoutKey(out[0].Set)
	}
	if len(chain) > 1 {
		rest.From, rest.FromGUID, rest.Origin, rest.Force = chain[0].Name, chain[0].GUID, "", false
		out = append(out, upTo(rest, chain[1:]))
	}
	return out, nil
}

// fits returns why a token from the target may not be used for a step; nil if it may. The
// target is not trusted: a token without rawok would make zfs send the data decrypted
// (P10).
func fits(token, source string, s record.Step) error {
	t, err := zfs.DecodeToken(token)
	if err != nil {
		return err
	}
	return t.Fits(zfs.TokenWant{Source: source, To: s.To, ToGUID: s.ToGUID, FromGUID: s.FromGUID, Flags: s.Flags})
}

// setsMore reports whether a step, sent from its beginning, sets more properties than a
// resumed one, above all those of encryption: it sends the first snapshot, and not raw.
func setsMore(s *record.Step) bool {
	return s.From == "" && !slices.Contains(s.Flags, "-w")
}

// movedOn reports whether the target has another token by now than the step, as when
// another program was still receiving when the token was read and has ended since.
func (j *job) movedOn(ctx context.Context, s *record.Step) bool {
	token, err := resumeToken(ctx, j.x.target(j.r), s.Dataset)
	return err == nil && token != s.Token
}

// upTo returns s as a step that brings all of the snapshots: the last one is its To, the
// others are its Through.
func upTo(s record.Step, all []record.Through) record.Step {
	last := len(all) - 1
	s.To, s.ToGUID = all[last].Name, all[last].GUID
	s.Through = slices.Clone(all[:last])
	if len(s.Through) == 0 {
		s.Through = nil
	}
	return s
}

// resumeToken returns the token that an interrupted receive has left on a dataset; "" if
// there is no token or no dataset.
func resumeToken(ctx context.Context, host *zfs.Host, dataset string) (string, error) {
	got, err := host.Get(ctx, []string{"receive_resume_token"}, []string{dataset}, false)
	switch {
	case zfs.KindOf(err) == record.KindNotFound:
		return "", nil
	case err != nil:
		return "", err
	case len(got) == 0 || got[0].Props["receive_resume_token"].Value == "-":
		return "", nil
	}
	return got[0].Props["receive_resume_token"].Value, nil
}

// origin returns an error if the target does not have the snapshot that a clone is to be
// made from: the transfer of its dataset may have failed a moment ago.
func (j *job) origin(ctx context.Context, what string, s *record.Step) error {
	if s.Origin == "" || s.Token != "" {
		return nil
	}
	found, err := j.x.target(j.r).Find(ctx, []string{s.Origin})
	switch row, ok := found[s.Origin]; {
	case err != nil:
		return wrap(err, "%s", what)
	case !ok:
		return failf(record.KindNoOrigin, "%s: it is a clone, and '%s', from which its copy is to be made, is not on the target", what, s.Origin)
	case row.GUID != s.FromGUID:
		return failf(record.KindNoOrigin, "%s: it is a clone, and '%s', from which its copy is to be made, is another snapshot than its origin", what, s.Origin)
	}
	return nil
}

// thereAlready reports whether the target has the snapshot, by guid, that a failed step
// was to bring.
func (j *job) thereAlready(ctx context.Context, s *record.Step) bool {
	full := s.Dataset + "@" + s.To
	found, err := j.x.target(j.r).Find(ctx, []string{full})
	return err == nil && found[full].GUID == s.ToGUID
}

// measure adds the bytes and the duration of a stream to the result of its step.
func measure(res *record.Result, c *stream.Flow, seconds float64) {
	wire := c.Wire.Moved.Load()
	bytes := wire
	if c.Stream != nil {
		bytes = c.Stream.Moved.Load()
	}
	if res.Bytes != nil {
		before := *res.Bytes
		if res.WireBytes != nil {
			before = *res.WireBytes
		}
		wire += before
		bytes += *res.Bytes
		seconds += *res.Seconds
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

// verdict returns the error of a transfer: its cause, and whether the target saved a part
// of the stream; nil if the transfer did not fail.
func (j *job) verdict(ctx context.Context, what string, out stream.Outcome) error {
	saved := false
	for i := range out.Failures {
		saved = saved || out.Failures[i].Err.Saved()
	}
	switch {
	case out.Err != nil && ctx.Err() != nil:
		return failf(record.KindInterrupted, "%s: %s", what, context.Cause(ctx))
	case errors.Is(out.Err, stream.ErrStalled):
		return failf(record.KindStalled, "%s: %s", what, out.Err)
	}
	if errors.Is(out.Err, sendstream.ErrForeign) {
		return failf(record.KindForeignStream, "%s: %s", what, out.Err)
	}
	if out.Err != nil {
		// An error in this process made the programs fail.
		return wrap(out.Err, "%s", what)
	}
	cause, _ := stream.Cause(out.Failures)
	if cause == nil {
		return nil
	}
	f := &failure{kind: cause.Err.Kind, text: what + ": " + cause.Err.Error(), hint: hintOf(cause.Err), program: cause.Name, from: cause.Err, saved: saved}
	if again := record.KindPartial.Hint(); saved && f.hint != again {
		f.hint = strings.TrimPrefix(f.hint+"; then "+again, "; then ")
	}
	return f
}
