package verify

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"zab/lib/groups"
	"zab/lib/record"
	"zab/lib/zfs"
)

// examine asks for the marks and the encryption of the copies, with one program for each
// target host, and returns a job for each record that is to be verified.
func (v *verifier) examine(ctx context.Context, all []*record.Record) (jobs []*job) {
	var hosts groups.Of[string, *job]
	for _, r := range all {
		if !r.TakesPart() {
			continue
		}
		j := &job{r: r, done: make(chan struct{})}
		jobs = append(jobs, j)
		if r.Target != nil && len(r.Target.Snapshots) > 0 {
			hosts.Add(r.Target.Host, j)
		}
	}
	for host, list := range hosts.All() {
		copies := map[string]*zfs.Dataset{}
		var names []string
		for _, j := range list {
			names = append(names, j.r.Target.Name)
		}
		got, err := v.env.Machine.Host(host).Get(ctx, []string{"guid", "encryption", "keystatus", "keyguid", zfs.ProofProp}, names, false)
		for i := range got {
			copies[got[i].Name] = &got[i]
		}
		for _, j := range list {
			d := copies[j.r.Target.Name]
			if d == nil {
				if err == nil {
					err = errors.New("zfs did not list it")
				}
				v.fail(j.r, zfs.KindOf(err), fmt.Sprintf("cannot verify '%s': %s", j.r.Target.Name, err), "")
				continue
			}
			j.copy, j.mark = d.Facts(), d.Proof()
			switch {
			case j.mark == nil:
			case max(j.mark.At, j.mark.Full) > v.now().Unix()+ahead: // a clock was wrong, and nobody knows when it was made
			case !j.mark.Of(j.r.GUID): // a copy of a copy can be compared with either
			default:
				j.proof = j.mark
			}
		}
	}
	return jobs
}

func (v *verifier) fail(r *record.Record, kind record.ErrorKind, message, hint string) {
	if hint == "" {
		hint = kind.Hint()
	}
	r.Fail(record.Error{Stage: "verify", Kind: kind, Message: message, Hint: hint})
	v.env.Report(r)
}

// work verifies the jobs in order, and writes all records in theirs.
func (v *verifier) work(ctx context.Context, all []*record.Record, jobs, order []*job) error {
	queue := make(chan *job, len(order))
	for _, j := range order {
		queue <- j
	}
	close(queue)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var workers sync.WaitGroup
	for range v.o.Jobs {
		workers.Go(func() {
			for j := range queue {
				if j.r.Error == nil {
					v.verify(ctx, j)
				}
				close(j.done)
			}
		})
	}
	defer workers.Wait()
	w := v.env.Writer(v.env.Stdout)
	next := jobs
	for _, r := range all {
		write := w.Pass
		if len(next) > 0 && next[0].r == r {
			<-next[0].done
			write, next = w.Write, next[1:]
		}
		if err := write(r); err != nil {
			cancel(err) // what nobody reads is not compared
			return err
		}
	}
	return context.Cause(ctx)
}

// verify verifies one copy.
func (v *verifier) verify(ctx context.Context, j *job) {
	r := j.r
	out := &record.Verify{}
	if j.proof != nil && j.proof.How != record.ProofDifferent {
		out.At = &j.proof.At
		if j.proof.Full > 0 {
			out.Full = &j.proof.Full
		}
	}
	r.Verify = out
	s := state{proof: j.proof, copy: j.copy}
	if v.o.FullEvery != nil {
		s.again = v.now().Unix() - v.o.FullEvery.Seconds()
	}
	t, kind, why := choose(r, s)
	if v.o.Files {
		out.Method = record.VerifyByFiles
		t, kind, why = chooseFiles(r, j.copy)
	}
	what := "'" + r.Name + "'"
	if r.Target != nil {
		what = "'" + r.Target.Name + "'"
	}
	switch {
	case ctx.Err() != nil:
		v.fail(r, record.KindInterrupted, fmt.Sprintf("cannot verify %s: %s", what, context.Cause(ctx)), "")
		return
	case why != "" && v.env.Common.DryRun:
		out.Result, out.Why = record.VerifyPostponed, why
		return
	case why != "":
		out.Result, out.Why = record.VerifyUnproved, why
		v.fail(r, kind, fmt.Sprintf("cannot verify %s: %s", what, why), "")
		return
	case t == nil:
		out.Result, out.Why = record.VerifyProved, "no snapshot was received since"
		out.GUID = j.proof.GUID
		v.env.Verbosef("%s: nothing new since %s", what, time.Unix(j.proof.At, 0).Format(time.DateTime))
		return
	case v.overBudget():
		out.Result, out.Why = record.VerifyPostponed, "the budget is spent"
		v.env.Verbosef("%s: %s", what, out.Why)
		return
	}
	what = fmt.Sprintf("'%s@%s'", r.Target.Name, t.target)
	if v.env.Common.DryRun {
		out.Result, out.Why = record.VerifyPostponed, "this is a dry run"
		for _, e := range v.ends(r, t) {
			argv := e.argv()
			if v.o.Files {
				argv = []string{"zab-digest", "--files", e.name()}
			}
			v.env.Verbosef("would digest %s", e.host.Show(argv...))
		}
		return
	}
	v.prove(ctx, j, t, what)
}

// prove compares a copy with its source, and notes the outcome. what names the copy's
// snapshot.
func (v *verifier) prove(ctx context.Context, j *job, t *task, what string) {
	r, out := j.r, j.r.Verify
	begin := time.Now()
	compare := v.compare
	if v.o.Files {
		compare = v.compareFiles
	}
	res, err := compare(ctx, r, t)
	v.spend(res.bytes)
	if err == nil && !res.equal && t.increment() {
		// Two sides can remember differently when a hole was made, so increments of
		// equal snapshots may differ.
		v.env.Verbosef("%s: the increments differ, which does not mean that the copy does; comparing it in full", what)
		full := t.full()
		t = &full
		res, err = v.compare(ctx, r, t)
		v.spend(res.bytes)
	}
	seconds := math.Round(time.Since(begin).Seconds()*1000) / 1000
	out.Seconds, out.Raw, out.Snapshot, out.GUID, out.From, out.Fetched = &seconds, t.raw, t.source, t.guid, t.sourceFrom, res.fetched
	if err != nil {
		v.broken(ctx, r, out, what, err)
		return
	}
	out.Bytes = &res.bytes
	at := v.now().Unix()
	proof := record.Proof{GUID: t.guid, At: at, How: record.ProofFull, Full: at, Last: res.last, Source: r.GUID}
	if t.increment() {
		proof.How, proof.Full = record.ProofIncrement, j.proof.Full
	}
	if !res.equal {
		proof.How, proof.Full = record.ProofDifferent, 0
		v.different(ctx, j, t, proof, what)
		return
	}
	out.Result, out.Digest, out.Algorithm = record.VerifyEqual, res.digest, res.algorithm
	if v.o.Files {
		// No mark: neither may an increment begin with what streams did not prove, nor does
		// that disprove a difference that they found.
		v.env.Verbosef("the files of %s are equal to those of '%s@%s'", what, r.Name, t.source)
		return
	}
	out.At, out.Full = &proof.At, &proof.Full
	v.env.Verbosef("%s is equal to '%s@%s'", what, r.Name, t.source)
	if j.differed() {
		v.releaseEvidence(ctx, r, j.proof.GUID)
	}
	if j.mark != nil && j.mark.How == record.ProofDifferent && !j.mark.Of(r.GUID) {
		v.env.Verbosef("the mark of %s stays, that it differs from another source", what)
		return
	}
	if err := v.mark(ctx, j, proof); err != nil {
		r.Warn("cannot note on '%s' that it was verified: %s", r.Target.Name, err)
		v.env.Warnf("cannot note on '%s' that it was verified, so that the next verification reads more: %s", r.Target.Name, err)
	}
}

// broken reports a comparison that did not come to its end.
func (v *verifier) broken(ctx context.Context, r *record.Record, out *record.Verify, what string, err error) {
	out.Result, out.Why = record.VerifyUnproved, strings.ToValidUTF8(err.Error(), "\uFFFD")
	kind := zfs.KindOf(err)
	hint := ""
	var mine *record.Error
	switch {
	case ctx.Err() != nil:
		kind, out.Why = record.KindInterrupted, context.Cause(ctx).Error()
	case v.o.Files && kind == record.KindPermission:
		hint = zfs.HintOfFiles(err)
	case errors.As(err, &mine):
		kind, hint = mine.Kind, mine.Hint
	default:
		if h, ok := refused(err, r.Kind); ok {
			kind, hint = record.KindUnproved, h
		}
	}
	v.fail(r, kind, fmt.Sprintf("cannot verify %s: %s", what, out.Why), hint)
}

// different notes and reports a copy that is not what the source is.
func (v *verifier) different(ctx context.Context, j *job, t *task, proof record.Proof, what string) {
	r, out := j.r, j.r.Verify
	out.Result = record.VerifyDifferent
	if j.differed() {
		proof.GUID = j.proof.GUID // whose evidence is held
	}
	// Marked at once: what follows reads everything again, and may be interrupted.
	unmarked := v.mark(ctx, j, proof)
	if !j.differed() {
		if err := v.holdEvidence(ctx, r, t); err != nil {
			r.Warn("what differs is not held, so that a schedule may destroy it: %s", err)
			v.env.Warnf("what differs in %s is not held, so that a schedule may destroy it: %s", what, err)
		}
	}
	message := fmt.Sprintf("%s is not equal to '%s@%s'", what, r.Name, t.source)
	if v.o.Files {
		list, more, err := v.differentFiles(ctx, r, t)
		if err != nil {
			v.env.Warnf("cannot tell in which files %s differs: %s", what, err)
		}
		if out.Files = list; len(list) > 0 {
			message += ": they differ in " + fileNames(list, more)
		}
	} else {
		list, more, err := v.differences(ctx, r, t)
		if err != nil {
			v.env.Warnf("cannot tell in which objects %s differs: %s", what, err)
		}
		v.findPaths(ctx, r, t, list)
		if out.Objects = list; len(list) > 0 {
			message += ": they differ in " + names(list, more)
		}
	}
	if unmarked != nil {
		message += fmt.Sprintf("; that cannot be noted on the copy (%s), so a later run without --full-every may not find it", unmarked)
	}
	v.fail(r, record.KindDifferent, message, "")
}

// mark notes a proof on the copy, unless that is another dataset by now, or another run has
// marked it meanwhile. A signal does not keep it from that.
func (v *verifier) mark(ctx context.Context, j *job, p record.Proof) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	host, name := v.env.Machine.Host(j.r.Target.Host), j.r.Target.Name
	got, err := host.Get(ctx, []string{"guid", zfs.ProofProp}, []string{name}, false)
	switch {
	case err != nil:
		return err
	case len(got) != 1 || got[0].Facts().GUID != j.copy.GUID:
		return errors.New("another dataset has its name now")
	}
	now, before := got[0].Proof(), j.mark
	same := now == before || now != nil && before != nil && *now == *before
	if !same && p.How != record.ProofDifferent {
		return errors.New("another run has verified it meanwhile")
	}
	return host.Set(ctx, []string{zfs.ProofProp + "=" + p.String()}, []string{name})
}

// ahead is how far in the future, in seconds, a proof may be by the clock of another host.
const ahead = 5 * 60

// now is the present: that of --now stands still.
func (v *verifier) now() time.Time {
	if v.env.Fixed {
		return v.env.Now
	}
	return time.Now()
}

func (v *verifier) spend(n int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.spent += n
}

// overBudget reports whether no further comparison is to begin.
func (v *verifier) overBudget() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.o.Budget > 0 && v.spent >= int64(v.o.Budget)
}
