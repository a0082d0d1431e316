package plan

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"zab/lib/cli"
	"zab/lib/dataset"
	"zab/lib/groups"
	"zab/lib/record"
	"zab/lib/zfs"
)

// run is one run of zab-plan: what it has read, and what it has planned.
type run struct {
	o      *Options
	env    *cli.Env
	host   *zfs.Host // where the target is
	target string
	all    []*record.Record          // in the order of the output
	whole  bool                      // no line of the input was refused
	names  map[*record.Record]string // the target of each record
	// failed are the records that have failed in this stage, before they were planned.
	failed map[*record.Record]bool
	inv    *inventory
	p      *planner
	list   []*draft // in the order in which they are planned
}

func (o *Options) run(ctx context.Context, env *cli.Env, target string) error {
	cli.SpareMemory()
	r := &run{o: o, env: env, host: env.Machine.Host(string(o.SSHTarget)), target: target, failed: map[*record.Record]bool{}}
	listed := r.startListing(ctx, o.Excludes)
	var bad, err error
	if r.all, bad, err = env.All(ctx, forgetLine); err != nil {
		return err
	}
	r.whole = bad == nil
	l := <-listed
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.inv = l.inv
	fatal := r.checkListing(ctx, l.err)
	if fatal == nil {
		fatal = r.mapNames()
	}
	if fatal != nil {
		return r.failAll(*fatal)
	}
	if err := r.completeInventory(ctx, l.memory); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return r.failAll(zfs.Failed("plan", err, "cannot list the target '%s': %s", target, err))
	}
	if err := r.listSources(ctx); err != nil {
		return err
	}
	return r.plan(ctx)
}

// forgetLine frees the line of a record that takes part: it gets a target or an error, so
// it is not written as it was read.
func forgetLine(x *record.Record) {
	if x.TakesPart() {
		x.ForgetLine()
	}
}

// listing is the inventory as it was first listed, or the error. With --cache, memory is
// what it was made from.
type listing struct {
	inv    *inventory
	memory *memory
	err    error
}

// startListing lists the target while the earlier stages are still at work.
func (r *run) startListing(ctx context.Context, excluded func(full string) bool) <-chan listing {
	done := make(chan listing, 1)
	go func() {
		var l listing
		switch {
		case r.o.TargetState != "":
			l.inv, l.err = readInventory(r.o.TargetState, r.target, excluded)
		case r.o.Cache:
			if l.memory, l.err = remember(ctx, r.env, r.host, r.target, excluded); l.memory != nil {
				l.inv = l.memory.inv
			}
		}
		if l.inv == nil && l.err == nil {
			l.inv, l.err = listInventory(ctx, r.host, r.target, excluded)
		}
		done <- l
	}()
	return done
}

// checkListing returns the error of all records if the target could not be listed or
// does not exist; nil otherwise.
func (r *run) checkListing(ctx context.Context, err error) *record.Error {
	listed := r.inv != nil && r.inv.datasets[r.target] != nil
	switch {
	case err != nil && (!zfs.Absent(err, r.target) || listed):
		// If the target itself was listed, a dataset below it was not: the list is
		// incomplete.
		e := zfs.Failed("plan", err, "cannot list the target '%s': %s", r.target, err)
		return &e
	case listed:
		return nil
	}
	fatal := &record.Error{Stage: "plan", Kind: record.KindTargetMissing,
		Message: fmt.Sprintf("cannot back up to '%s': the target does not exist on %s", r.target, r.host),
		Hint:    fmt.Sprintf("please create this dataset first: 'zfs create %s'", zfs.Quote(r.target))}
	if r.o.TargetState == "" {
		var message string
		message, fatal.Hint = r.host.Missing(ctx, r.target)
		fatal.Message = fmt.Sprintf("cannot back up to '%s': %s", r.target, message)
	}
	return fatal
}

// mapNames finds the target of each record. Records whose target's name would be too
// long fail alone.
func (r *run) mapNames() *record.Error {
	names, unnamed, err := Map(r.all, r.target, r.o.StripPath)
	if err != nil {
		return &record.Error{Stage: "plan", Kind: record.KindBadMapping, Message: err.Error(), Hint: "see --strip-path"}
	}
	r.names = names
	for _, x := range r.all {
		if err := unnamed[x]; err != nil && !x.Skip() {
			r.fail(x, record.Error{Stage: "plan", Kind: record.KindBadMapping, Message: err.Error(), Hint: tooLong})
		}
	}
	return nil
}

// fail makes a record that is not planned a failed one.
func (r *run) fail(x *record.Record, e record.Error) {
	x.Fail(e)
	r.failed[x] = true
	r.env.Report(x)
}

// completeInventory adds to the inventory what the first list may have left out, now
// that the names of the targets are known.
func (r *run) completeInventory(ctx context.Context, m *memory) error {
	if m != nil {
		switch err := m.lookUpNew(ctx, r.names); {
		case err == nil:
			m.save()
		case ctx.Err() != nil:
			return context.Cause(ctx)
		default:
			// A dataset that cannot be read must not stop the others.
			r.env.Verbosef("what is remembered of '%s' will not do: %s", r.target, err)
			if r.inv, err = listInventory(ctx, r.host, r.target, r.inv.excluded); err != nil {
				return err
			}
		}
	}
	if err := r.inv.mend(ctx, r.names); err != nil {
		return err
	}
	return r.inv.readAsides(ctx)
}

// tooLong is the hint for a name that is too long on the target.
const tooLong = "no name of ZFS is longer than 255 bytes: leave out the first parts of the source's with --strip-path, or take a target with a shorter name"

// failAll fails the records that take part, and writes all records.
func (r *run) failAll(e record.Error) error {
	r.env.Errorf("%s", e.Message)
	r.env.Hintf("%s", e.Hint)
	r.env.Fail()
	w := r.env.Writer(r.env.Stdout)
	for _, x := range r.all {
		write := w.Pass
		switch {
		case r.failed[x]:
			write = w.Write
		case x.TakesPart():
			x.Fail(e)
			write = w.Write
		}
		if err := write(x); err != nil {
			return err
		}
	}
	return nil
}

// listSources lists the snapshots of records that do not carry them, as when they come
// straight from zab-select, or whose remembered lists do not suffice.
func (r *run) listSources(ctx context.Context) error {
	var set []*record.Record
	virtual := map[*record.Record][]record.Snapshot{}
	for _, x := range r.all {
		if x.TakesPart() && (x.Snapshots == nil || r.o.needsRelist(x, r.inv.datasets[r.names[x]])) {
			x.Remembered = false
			virtual[x] = slices.DeleteFunc(slices.Clone(x.Snapshots), func(s record.Snapshot) bool { return !s.Virtual })
			set = append(set, x)
		}
	}
	unlisted, err := r.env.Machine.Fill(ctx, set, r.inv.excluded)
	if err != nil {
		return err
	}
	for x, list := range virtual {
		x.Snapshots = append(x.Snapshots, list...)
	}
	for _, x := range set {
		if err := unlisted[x]; err != nil {
			r.fail(x, zfs.Unfilled("plan", "plan for", x.Name, err))
		}
	}
	return nil
}

// plan makes the drafts of all records, and writes each record as soon as it is planned,
// so that the first are on their way while the targets of the last are still being read.
func (r *run) plan(ctx context.Context) error {
	r.inv.findAsides()
	p := newPlanner(r.o, r.inv, r.env.Now.Unix())
	r.p = p
	err := r.match()
	if err != nil {
		return err
	}
	if r.inv.broken != nil {
		r.env.Warnf("the list of the target '%s' is not whole, and no copy is called missing: %s", r.target, r.inv.broken)
		r.env.Hintf("%s", zfs.HintOf(r.inv.broken))
		r.env.Fail()
	}
	p.sourcePools = poolsOf(r.all)
	p.partial = r.partial()
	p.unplanned = p.unplannedTargets(r.all, r.names)
	if r.list, err = p.findMoved(ctx, r.list); err != nil {
		return err
	}
	r.all = inOrder(r.all, r.list)
	p.clones(r.list)
	p.readLeftHolds(ctx, r.env, r.list)
	if err := r.readPools(ctx); err != nil {
		return err
	}
	for _, d := range r.list {
		d.r.Target.ZPoolGUID, d.r.Target.Pin, d.r.Target.OldPin = p.pool, p.pin(d.naming), p.oldPin(d.naming)
		// Before any plan is made, because records may come in any order.
		if sends(d) {
			r.inv.expected[d.r.Target.Name] = d.r
		}
	}
	if r.inv.host != nil {
		p.autoSnapshots = sync.OnceValue(func() map[string]zfs.AutoSnapshot { return r.autoSnapshots(ctx) })
	}
	return r.write(ctx)
}

// match makes the drafts of the records that take part.
func (r *run) match() error {
	inv := r.inv
	inv.sources = map[string]bool{}
	// Nothing is made in the place of a dataset that is not received in this run, but may
	// be another time: a parent there would be in its way.
	later := func(x *record.Record, name string) {
		if inv.datasets[name] == nil {
			inv.expected[name] = x
		}
	}
	for _, x := range r.all {
		name := r.names[x]
		if name == "" {
			continue
		}
		inv.sources[x.Name] = true
		if x.Error != nil {
			later(x, name)
		}
		if x.Skip() {
			continue
		}
		n, err := r.p.naming(x.Backup)
		if err != nil {
			return err
		}
		if of, err := inv.unreadable(name); err != nil {
			r.fail(x, zfs.Failed("plan", err, "cannot back up '%s': its copy, or what is above it, cannot be read: '%s': %s", x.Name, of, err))
			later(x, name)
			continue
		}
		d := r.p.match(x, name, n)
		r.p.drafts[name] = d
		r.list = append(r.list, d)
	}
	for _, x := range r.all {
		if x.Type != record.TypeUnlisted {
			continue
		}
		if n, err := dataset.TargetName(x.Name, r.target, r.o.StripPath); err == nil && inv.expected[n] == nil && r.p.drafts[n] == nil {
			later(x, n)
		}
	}
	return nil
}

// readPools reads the features of the pools on both sides, if something is to be sent,
// and the guid of the target's pool, if a hold or bookmark may name it. For a plan from
// a file, the features are assumed that every pool has had for years.
func (r *run) readPools(ctx context.Context) error {
	if r.inv.host == nil {
		r.p.features = func(string, string, string) zfs.Features {
			return zfs.Features{LargeBlocks: true, Resumable: true}
		}
		return nil
	}
	machine, target := r.env.Machine, zfs.Pool(r.target)
	var pools groups.Of[string, string] // by host
	for _, d := range r.list {
		if sends(d) {
			pools.Add(d.r.Host, zfs.Pool(d.r.Name))
			pools.Add(r.host.Dest, target)
		}
	}
	asking, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	var hosts sync.WaitGroup
	for dest, names := range pools.All() {
		hosts.Go(func() {
			if _, err := machine.Host(dest).Features(asking, names); err != nil {
				giveUp(fmt.Errorf("cannot read the features of the pools on %s: %w", machine.Host(dest), err))
			}
		})
	}
	if hosts.Wait(); asking.Err() != nil {
		return context.Cause(asking)
	}
	r.p.features = func(source, from, to string) zfs.Features {
		// These answers come from memory, because the pools were asked above.
		a, _ := machine.Host(source).Features(ctx, []string{from})
		b, _ := r.host.Features(ctx, []string{to})
		return zfs.Features{
			LargeBlocks: a[from].LargeBlocks && b[to].LargeBlocks,
			Resumable:   b[to].Resumable,
			Redacted:    a[from].Redacted,
		}
	}
	if err := r.findRedacted(ctx); err != nil {
		return err
	}
	if !slices.ContainsFunc(r.list, func(d *draft) bool { return sends(d) || d.leftHolds != nil || r.p.unmarked(d) }) {
		return nil
	}
	all, err := r.host.Features(ctx, []string{target})
	if err != nil {
		return fmt.Errorf("cannot read the guid of the target's pool on %s: %w", r.host, err)
	}
	r.p.pool, r.p.asked = all[target].GUID, true
	return nil
}

// findRedacted finds the sources that are redacted among those with something to send. It
// starts a program only for a host with a pool that has such datasets.
func (r *run) findRedacted(ctx context.Context) error {
	var hosts groups.Of[string, *draft]
	for _, d := range r.list {
		if sends(d) && r.p.features(d.r.Host, zfs.Pool(d.r.Name), zfs.Pool(r.target)).Redacted {
			hosts.Add(d.r.Host, d)
		}
	}
	for dest, set := range hosts.All() {
		var names []string
		for _, d := range set {
			names = append(names, d.r.Name)
		}
		host := r.env.Machine.Host(dest)
		found, err := host.Redacted(ctx, names)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			r.env.Warnf("cannot find out which datasets on %s are redacted: %s", host, err)
		}
		for _, d := range set {
			d.redacted = found[d.r.Name]
		}
	}
	return nil
}

// autoSnapshots returns the copies with newer snapshots than the base of which other
// tools take snapshots. Errors are ignored, because the answer only makes a message
// better.
func (r *run) autoSnapshots(ctx context.Context) map[string]zfs.AutoSnapshot {
	var names []string
	for _, d := range r.list {
		if t := d.r.Target; t != nil && t.Exists && d.has && d.base.Target < len(t.Snapshots)-1 {
			names = append(names, r.inv.currentName(t.Name))
		}
	}
	found, _ := r.host.AutoSnapshot(ctx, names)
	return found
}

// write finishes the plans and writes all records.
func (r *run) write(ctx context.Context) error {
	facts := newLazyFacts(r.list, func(set []*draft) error {
		if err := r.inv.loadFacts(ctx, set, r.o.RenameAside); err != nil {
			return r.p.unreadFacts(err)
		}
		if !r.o.Rollback && !r.env.Common.DryRun {
			return r.inv.probeAtimeOnly(ctx, set)
		}
		return nil
	})
	if err := r.p.newPool(ctx, r.list, facts); err != nil {
		return err
	}
	w := r.env.Writer(r.env.Stdout)
	for _, x := range r.all {
		write := w.Pass
		if d := r.p.drafts[r.names[x]]; d != nil {
			if err := facts.load(d); err != nil {
				return err
			}
			r.p.finish(d)
			r.report(d)
			write = w.Write
		} else if r.failed[x] {
			write = w.Write
		}
		if err := write(x); err != nil {
			return err
		}
		x.Steps = nil // they can take more memory than all else, and no other plan needs them
	}
	return r.writeOrphans(w)
}

// report prints the error and the warnings of a planned record, before zab-xfer acts on
// it.
func (r *run) report(d *draft) {
	if d.r.Error != nil {
		r.env.Report(d.r)
	}
	for _, m := range d.r.Warnings {
		if m == d.believed || slices.Contains(d.loud, m) {
			r.env.Warnf("%s", m)
			continue
		}
		r.env.Verbosef("warning: '%s': %s", d.r.Name, m)
	}
}

// poolsOf returns the guids of the pools of all records.
func poolsOf(all []*record.Record) map[string]bool {
	out := map[string]bool{}
	for _, r := range all {
		if r.PoolGUID != "" {
			out[r.PoolGUID] = true
		}
	}
	return out
}

// inOrder returns the records in the order of their drafts; those without a draft keep
// their places.
func inOrder(all []*record.Record, list []*draft) []*record.Record {
	has := map[*record.Record]bool{}
	for _, d := range list {
		has[d.r] = true
	}
	out, k := slices.Clone(all), 0
	for i, r := range all {
		if has[r] {
			out[i] = list[k].r
			k++
		}
	}
	return out
}
