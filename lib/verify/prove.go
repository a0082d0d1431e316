package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"

	"zab/lib/hashfunc"
	"zab/lib/record"
	"zab/lib/sendstream"
	"zab/lib/streamsum"
	"zab/lib/zfs"
)

// end is a snapshot on one side, of which the digest is computed.
type end struct {
	host                    *zfs.Host
	side                    string // record.SideSource or record.SideTarget
	dataset, from, snapshot string
	guid, fromGUID          string
	raw                     bool
	last                    uint64
	hash                    hashfunc.Func // the same for both
	watch                   *watch
}

func (e *end) name() string { return e.dataset + "@" + e.snapshot }

func (e *end) argv() []string { return zfs.PlainSendArgv(e.dataset, e.from, e.snapshot, e.raw) }

// ends returns both ends of a comparison.
func (v *verifier) ends(r *record.Record, t *task) [2]*end {
	both := [2]*end{
		{host: v.env.Machine.Host(r.Host), side: record.SideSource, dataset: r.Name, from: t.sourceFrom, snapshot: t.source},
		{host: v.env.Machine.Host(r.Target.Host), side: record.SideTarget, dataset: r.Target.Name, from: t.targetFrom, snapshot: t.target},
	}
	hash := v.hashing()
	for _, e := range both {
		e.hash = hash
		e.guid, e.fromGUID, e.raw, e.last = t.guid, t.fromGUID, t.raw, t.last
	}
	return both
}

// sum is the digest of one end.
type sum struct {
	streamsum.Line
	fetched bool // the stream was sent here
}

// digest computes the digest of an end: where its host has zab-digest, there, else here.
func (v *verifier) digest(ctx context.Context, e *end) (sum, error) {
	argv := e.argv()
	if !e.host.Here() && !v.o.Fetch {
		var last *uint64
		if e.from != "" {
			last = &e.last
		}
		text, err := e.host.Digest(ctx, argv, e.hash, last, e.watch.signs())
		if err != nil {
			return sum{}, err
		}
		if text != "" {
			l, err := streamsum.ParseLine(text, e.hash)
			if err != nil {
				return sum{}, fmt.Errorf("cannot use what zab-digest on %s printed: %w", e.host, err)
			}
			return sum{Line: l}, e.check(&l)
		}
	}
	var res streamsum.Result
	err := e.host.Send(ctx, argv, func(in io.Reader) (err error) {
		res, err = streamsum.Read(e.watch.reader(v.limited(ctx, in)), e.options())
		return err
	})
	if err != nil {
		return sum{}, err
	}
	l := res.Line()
	return sum{Line: l, fetched: !e.host.Here()}, e.check(&l)
}

func (e *end) options() streamsum.Options {
	o := streamsum.Options{Hash: e.hash, Base: math.MaxUint64}
	if e.from != "" {
		o.Base = e.last
	}
	return o
}

// check returns an error if a digest is not that of the stream that was asked for.
func (e *end) check(l *streamsum.Line) error {
	why := ""
	switch {
	case l.GUID != e.guid:
		why = fmt.Sprintf("it has the guid %s, not %s", l.GUID, e.guid)
	case l.FromGUID != e.fromGUID:
		why = "it has another base"
	case l.Raw != e.raw:
		why = "only one of them is raw"
	default:
		return nil
	}
	return &record.Error{Kind: record.KindMovedOn, Message: fmt.Sprintf("the stream of '%s@%s' is not the one that was asked for: %s", e.dataset, e.snapshot, why)}
}

// outcome is what a comparison found.
type outcome struct {
	equal             bool
	digest, algorithm string
	last              uint64
	bytes             int64
	fetched           []string
}

// hashing returns the hash function of the next comparison.
func (v *verifier) hashing() hashfunc.Func {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.hash
}

// digestBoth has digest digest both ends of a comparison at the same time. If one of their
// hosts knows SHA-256 alone, this comparison and all that follow use that.
func digestBoth[T any](ctx context.Context, v *verifier, r *record.Record, t *task, digest func(context.Context, *end) (T, error)) (ends [2]*end, sums [2]T, err error) {
	for {
		ends = v.ends(r, t)
		watched, unwatch := v.watch(ctx, ends[:]...)
		sums, err = bothEnds(watched, ends, digest)
		if err = unwatch(err); !errors.Is(err, zfs.ErrHash) {
			return ends, sums, err
		}
		v.env.Verbosef("%s; so does this run", err)
		v.mu.Lock()
		v.hash = hashfunc.SHA256
		v.mu.Unlock()
	}
}

// bothEnds calls digest for both ends at the same time. The error is that of the end that
// failed first.
func bothEnds[T any](ctx context.Context, ends [2]*end, digest func(context.Context, *end) (T, error)) (sums [2]T, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var errs [2]error
	var all sync.WaitGroup
	for i, e := range ends {
		all.Go(func() {
			if sums[i], errs[i] = digest(ctx, e); errs[i] != nil {
				cancel(errOther)
			}
		})
	}
	all.Wait()
	for i := range errs {
		if errs[i] != nil && !errors.Is(errs[i], errOther) {
			return sums, fmt.Errorf("cannot read '%s': %w", ends[i].name(), errs[i])
		}
	}
	return sums, nil
}

// compare compares the streams of both ends, which are read at the same time.
func (v *verifier) compare(ctx context.Context, r *record.Record, t *task) (outcome, error) {
	ends, sums, err := digestBoth(ctx, v, r, t, v.digest)
	if err != nil {
		return outcome{}, err
	}
	out := outcome{equal: sums[0].Digest == sums[1].Digest && sums[0].Kind == sums[1].Kind, digest: sums[0].Digest, algorithm: sums[0].Algorithm,
		last: max(sums[0].Last, sums[1].Last, t.last), bytes: sums[0].Stream}
	for i, s := range sums {
		if s.fetched {
			out.fetched = append(out.fetched, ends[i].side)
		}
	}
	return out, nil
}

var errOther = errors.New("the other side failed")

// limited returns a reader that keeps --rate.
func (v *verifier) limited(ctx context.Context, in io.Reader) io.Reader {
	if v.limiter == nil {
		return in
	}
	return v.limiter.Reader(in, ctx.Done())
}

// maxDifferences is how many of the objects, or files, that differ are named.
const maxDifferences = 20

// differences returns the first objects that differ between both ends, which are read once
// more, and whether there are others. Both streams are digested here.
func (v *verifier) differences(ctx context.Context, r *record.Record, t *task) (list []record.DifferentObject, more bool, err error) {
	read := func(ctx context.Context, e *end, each func(streamsum.Object) error) error {
		o := e.options()
		o.Each = each
		return e.host.Send(ctx, e.argv(), func(in io.Reader) error {
			_, err := streamsum.Read(e.watch.reader(v.limited(ctx, in)), o)
			return err
		})
	}
	byNumber := func(a, b *streamsum.Object) int { return cmp.Compare(a.Number, b.Number) }
	ends := v.ends(r, t)
	ctx, unwatch := v.watch(ctx, ends[:]...)
	err = readBoth(ctx, ends, read, byNumber, func(a, b *streamsum.Object) bool {
		if a != nil && b != nil && a.Digest == b.Digest {
			return true
		}
		if more = len(list) == maxDifferences; !more {
			list = append(list, record.DifferentObject{Object: int64(cmp.Or(a, b).Number), Where: where(a, b)})
		}
		return !more
	})
	if err = unwatch(err); err != nil {
		return nil, false, err
	}
	return list, more, nil
}

// readBoth reads both ends at the same time, and calls each with what they have, in the
// order of both, until it returns false; see merge. read calls its each in that order.
func readBoth[T any](ctx context.Context, ends [2]*end, read func(ctx context.Context, e *end, each func(T) error) error, order func(a, b *T) int, each func(source, target *T) bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var chans [2]chan T
	var all sync.WaitGroup
	for i, e := range ends {
		chans[i] = make(chan T, 1024)
		all.Go(func() {
			defer close(chans[i])
			err := read(ctx, e, func(x T) error {
				select {
				case chans[i] <- x:
					return nil
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			})
			if err != nil {
				cancel(err) // before the channel looks as if the side had no more
			}
		})
	}
	if !merge(chans[0], chans[1], order, each) {
		cancel(errEnough)
	}
	for _, c := range chans {
		for range c { // until both have ended
		}
	}
	all.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, errEnough) {
		return err
	}
	return nil
}

var errEnough = errors.New("enough was found")

// merge calls each with what is in both channels at the same place of their order, or in one
// of them, where the other is nil. It returns false when each has.
func merge[T any](source, target <-chan T, order func(a, b *T) int, each func(source, target *T) bool) bool {
	next := func(c <-chan T) *T {
		if x, ok := <-c; ok {
			return &x
		}
		return nil
	}
	a, b := next(source), next(target)
	for a != nil || b != nil {
		turn := 0
		switch {
		case b == nil:
			turn = -1
		case a == nil:
			turn = 1
		default:
			turn = order(a, b)
		}
		x, y := a, b
		if turn <= 0 {
			a = next(source)
		} else {
			x = nil
		}
		if turn >= 0 {
			b = next(target)
		} else {
			y = nil
		}
		if !each(x, y) {
			return false
		}
	}
	return true
}

// where returns which side alone has something, "" if both have it.
func where[T any](source, target *T) string {
	switch {
	case target == nil:
		return record.SideSource
	case source == nil:
		return record.SideTarget
	}
	return ""
}

// refused reports whether an error means that a stream says what cannot be compared, or is
// none, and returns the hint for a copy of a kind, filesystem or volume.
func refused(err error, kind string) (hint string, ok bool) {
	var bad *sendstream.ReadError
	switch {
	case !errors.As(err, &bad):
		return "", false
	case bad.Err.Error() == streamsum.ErrRedacted.Error(): // of another host's error there is the text alone
		return "", true
	case kind != "filesystem":
		return bad.Hint, true
	}
	return cmp.Or(bad.Hint, record.KindUnproved.Hint()) + "; 'zab-verify --files' may prove that the files are equal", true
}

// names returns the objects as a message lists them.
func names(list []record.DifferentObject, more bool) string {
	var out string
	for i, o := range list[:min(len(list), 5)] {
		if i > 0 {
			out += ", "
		}
		switch {
		case o.Path != "":
			out += quoted(o.Path)
		default:
			out += "object " + strconv.FormatInt(o.Object, 10)
		}
		if o.Where != "" {
			out += " (only on the " + o.Where + ")"
		}
	}
	if more || len(list) > 5 {
		out += " and others"
	}
	return out
}

// quoted returns a path as messages show it: another host may have made up a long one.
func quoted(path string) string {
	const most = 200
	if len(path) <= most {
		return strconv.Quote(path)
	}
	return strconv.Quote(strings.ToValidUTF8(path[:most], "")) + "..."
}
