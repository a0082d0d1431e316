package thin

import (
	"context"
	"maps"
	"slices"
	"sync"

	"zab/lib/chain"
	"zab/lib/record"
	"zab/lib/zfs"
)

// This file destroys snapshots, and releases the holds that were left on them.

// pruneTask is a dataset of a record, on the source or the target, with the names of the
// snapshots to be destroyed.
type pruneTask struct {
	r        *record.Record
	dataset  string
	list     *[]record.Snapshot
	verdicts []record.Verdict
	doomed   []string
}

// destroy carries out the verdicts of one side, host by host. Snapshots that no channel
// program has destroyed are looked up first, all at once: another snapshot of the same
// name is not the one that was decided about, and a held snapshot cannot be destroyed.
func (t *thinner) destroy(ctx context.Context, set []*record.Record, side string) error {
	byHost := map[string][]pruneTask{}
	for _, r := range set {
		if r.Error != nil || r.Thin == nil {
			continue
		}
		o := pruneTask{r: r, dataset: r.Name, list: &r.Snapshots, verdicts: r.Thin.Source}
		dest := r.Host
		if side == record.SideTarget {
			if r.Target == nil || elsewhere(r) {
				continue
			}
			o = pruneTask{r: r, dataset: r.Target.Name, list: &r.Target.Snapshots, verdicts: r.Thin.Target}
			dest = r.Target.Host
		}
		if o.doomed = doomed(o.verdicts); len(o.doomed) > 0 {
			byHost[dest] = append(byHost[dest], o)
		}
	}
	for dest, list := range byHost {
		if err := t.destroyOn(ctx, t.env.Machine.Host(dest), list); err != nil {
			return err
		}
	}
	return nil
}

// elsewhere reports whether the copy is not in its place yet, because it is still to be
// renamed, on its own or with a dataset above it.
func elsewhere(r *record.Record) bool {
	return r.Target.Exists && r.Target.Elsewhere != "" && !slices.ContainsFunc(r.Results, func(x record.Result) bool {
		return x.Done && (x.Do == record.DoRename || x.Do == record.DoReceive)
	})
}

func (t *thinner) destroyOn(ctx context.Context, host *zfs.Host, list []pruneTask) error {
	list = t.destroyTogether(ctx, host, list)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(list) == 0 {
		return nil
	}
	var full []string
	for _, o := range list {
		for _, n := range o.doomed {
			full = append(full, o.dataset+"@"+n)
		}
	}
	now, err := host.FindHeld(ctx, full)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for _, o := range list {
			t.fail(o, err)
		}
		return nil
	}
	ours, err := t.release(ctx, host, list, now)
	if err != nil {
		return err
	}
	for _, o := range list {
		guid := guids(*o.list)
		done := map[string]bool{}
		var names []string
		for _, n := range o.doomed {
			s, exists := now[o.dataset+"@"+n]
			switch {
			case !exists:
				done[n] = true // somebody else was faster
			case s.GUID != guid[n]:
				note(o.verdicts, n, "it is another snapshot now, with guid %s", s.GUID)
			case s.UserRefs != nil && *s.UserRefs > 0 && !ours[o.dataset+"@"+n]:
				note(o.verdicts, n, "held")
			default:
				names = append(names, n)
			}
		}
		err := t.destroyOne(ctx, host, o, names, done)
		t.recordDestroyed(o, done)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			t.fail(o, err)
		}
	}
	return nil
}

// fewDatasets is the largest number of datasets of a pool that get a zfs destroy each
// instead of a channel program, because the command needs only the permission to destroy.
const fewDatasets = 2

// destroyTogether destroys the doomed snapshots of filesystems by channel programs, pool
// by pool, where a pool has more than fewDatasets of them and channel programs are
// allowed. It returns the datasets with snapshots left to be destroyed.
func (t *thinner) destroyTogether(ctx context.Context, host *zfs.Host, list []pruneTask) []pruneTask {
	var pools []string
	byPool := map[string][]int{}
	for i, o := range list {
		if o.r.Kind != "filesystem" {
			continue
		}
		p := zfs.Pool(o.dataset)
		if byPool[p] == nil {
			pools = append(pools, p)
		}
		byPool[p] = append(byPool[p], i)
	}
	for _, p := range pools {
		if len(byPool[p]) <= fewDatasets || ctx.Err() != nil {
			continue
		}
		var doomed []zfs.SnapshotRef
		for _, i := range byPool[p] {
			o := list[i]
			guid := guids(*o.list)
			for _, n := range o.doomed {
				doomed = append(doomed, zfs.SnapshotRef{Name: o.dataset + "@" + n, GUID: guid[n]})
			}
		}
		gone := host.DestroyByProgram(ctx, p, doomed)
		for _, i := range byPool[p] {
			o := &list[i]
			done := map[string]bool{}
			for _, n := range o.doomed {
				if gone[o.dataset+"@"+n] {
					done[n] = true
				}
			}
			t.recordDestroyed(*o, done)
			o.doomed = slices.DeleteFunc(o.doomed, func(n string) bool { return done[n] })
		}
	}
	return slices.DeleteFunc(list, func(o pruneTask) bool { return len(o.doomed) == 0 })
}

// recordDestroyed removes the destroyed snapshots from the record, and marks their verdicts.
func (t *thinner) recordDestroyed(o pruneTask, done map[string]bool) {
	gone(o.verdicts, done)
	*o.list = without(*o.list, done)
	for _, n := range slices.Sorted(maps.Keys(done)) {
		t.env.Verbosef("destroyed '%s@%s'", o.dataset, n)
	}
}

// guids returns the guids of snapshots by their names.
func guids(list []record.Snapshot) map[string]string {
	guid := map[string]string{}
	for _, s := range list {
		guid[s.Name] = s.GUID
	}
	return guid
}

// release releases this target's pins from doomed snapshots, and the shared hold where
// it stands for nothing but this target: a run that was killed between a hold and a
// release leaves such holds. Holds for another target, such as a disk that is away, stay
// (P1), and so do zfs-autobackup's own, which do not say for which target they stand. It
// returns the full names of the snapshots that are free of holds now.
//
// A hold on a snapshot that is newer than the base is no leftover to be released: another
// run to the same target may have put it, which is at work or has moved the base since the
// snapshots were listed (P1). It goes when the base has moved past it.
func (t *thinner) release(ctx context.Context, host *zfs.Host, list []pruneTask, now map[string]record.Snapshot) (map[string]bool, error) {
	var held []string
	pin, tag := map[string]string{}, map[string]string{}
	copies := map[string]bool{} // the snapshots of the target
	newer := map[string]bool{}  // those of either side that are newer than the base
	for _, o := range list {
		if o.r.Target == nil || o.r.Target.OwnTag() == "" || o.r.Type != record.TypeDataset {
			continue
		}
		isNewer := sync.OnceValue(o.newerThanBase)
		for _, n := range o.doomed {
			full := o.dataset + "@" + n
			if s := now[full]; s.UserRefs != nil && *s.UserRefs > 0 {
				newer[full] = isNewer()(&s)
				held = append(held, full)
				pin[full] = o.r.Target.OwnTag()
				copies[full] = o.list == &o.r.Target.Snapshots
				tag[full] = t.rules[o.r.Backup].HoldTag
			}
		}
	}
	counts := map[string]int64{}
	for _, full := range held {
		counts[full] = *now[full].UserRefs
	}
	holders, err := host.Holds(ctx, counts)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		t.env.Verbosef("cannot list the holds on %d snapshots: %s", len(held), err)
		return nil, nil
	}
	t.withPool(ctx, list, holders, pin)
	pinned, others := map[string][]string{}, map[string]bool{}
	noteWaits(list, holders, pin, tag, copies)
	for _, h := range holders {
		switch {
		case isPin(pin[h.Snapshot], h.Tag, copies[h.Snapshot]) && !newer[h.Snapshot]:
			pinned[h.Snapshot] = append(pinned[h.Snapshot], h.Tag)
		case h.Tag == tag[h.Snapshot]:
		default:
			others[h.Snapshot] = true
		}
	}
	free := map[string]bool{}
	byTag := map[string][]string{}
	var order []string
	add := func(tag, full string) {
		if byTag[tag] == nil {
			order = append(order, tag)
		}
		byTag[tag] = append(byTag[tag], full)
	}
	for _, full := range held {
		if pinned[full] != nil && !others[full] {
			free[full] = true
			add(tag[full], full)
		}
	}
	for _, full := range held {
		// The pin goes last, because it says for which target the shared hold stands.
		// It goes also where another target needs the snapshot, or each of the two
		// targets would wait for the other.
		for _, pin := range pinned[full] {
			add(pin, full)
		}
	}
	stays := map[string]bool{} // snapshots from which a hold could not be released
	for _, tag := range order {
		names := slices.DeleteFunc(byTag[tag], func(full string) bool { return stays[full] })
		if len(names) == 0 {
			continue
		}
		if err := host.Release(ctx, tag, names); err != nil {
			t.env.Verbosef("cannot release '%s': %s", tag, err)
			for _, full := range names {
				stays[full] = true
				free[full] = false
			}
		}
	}
	return free, ctxCause(ctx)
}

// newerThanBase returns a function that reports whether a snapshot of the task's dataset is
// newer than the base. Without a base all are.
func (o *pruneTask) newerThanBase() func(*record.Snapshot) bool {
	t := o.r.Target
	base, has := chain.Find(o.r.Snapshots, o.r.Bookmarks, t.Snapshots)
	txg := base.TXG
	if has && o.list == &t.Snapshots {
		txg = t.Snapshots[base.Target].TXG()
	}
	return func(s *record.Snapshot) bool { return !has || s.TXG() > txg }
}

// withPool adds the guid of the target's pool to those of the pins, by snapshot, that
// lack it, as they do where nothing was sent. It does so only where the snapshot has a
// pin of the target dataset in some pool, because reading the guid takes a program.
func (t *thinner) withPool(ctx context.Context, list []pruneTask, holders []zfs.Holder, pins map[string]string) {
	tags := map[string][]string{}
	for _, h := range holders {
		tags[h.Snapshot] = append(tags[h.Snapshot], h.Tag)
	}
	for _, o := range list {
		for _, n := range o.doomed {
			full := o.dataset + "@" + n
			p, ok := chain.ParsePin(pins[full])
			if !ok || p.Pool != "" || !slices.ContainsFunc(tags[full], func(tag string) bool { return tag != pins[full] && p.OfCopy(tag) }) {
				continue
			}
			pool := zfs.Pool(o.r.Target.Name)
			// Features starts one program per pool, however often it is called.
			all, err := t.env.Machine.Host(o.r.Target.Host).Features(ctx, []string{pool})
			if err != nil {
				t.env.Verbosef("cannot tell the guid of the pool '%s': %s", pool, err)
				continue
			}
			p.Pool = all[pool].GUID
			pins[full] = p.String()
		}
	}
}

// noteWaits lists in the records which doomed snapshots are held for other targets of
// the backup. own and shared are this target's pin and the shared tag, by snapshot;
// copies are the snapshots of the target.
func noteWaits(list []pruneTask, holders []zfs.Holder, own, shared map[string]string, copies map[string]bool) {
	byName := map[string][]zfs.Holder{}
	for _, h := range holders {
		byName[h.Snapshot] = append(byName[h.Snapshot], h)
	}
	for _, o := range list {
		for _, n := range o.doomed {
			full := o.dataset + "@" + n
			var waits []record.Wait
			also, strangers := "", 0
			for _, h := range byName[full] {
				_, _, pinned := chain.PinTarget(h.Tag, shared[full])
				switch {
				case h.Tag == shared[full]:
					also = h.Tag
				case isPin(own[full], h.Tag, copies[full]):
				case pinned:
					w := record.Wait{Side: record.SideSource, Snapshot: n, Tag: h.Tag}
					if o.list != &o.r.Snapshots {
						w.Side = record.SideTarget
					}
					if !h.Since.IsZero() {
						w.Since = record.Ptr(h.Since.Unix())
					}
					waits = append(waits, w)
				default:
					strangers++
				}
			}
			if len(waits) == 1 && strangers == 0 {
				waits[0].Also = also
			}
			for _, w := range waits {
				same := func(x record.Wait) bool { return x.Side == w.Side && x.Snapshot == w.Snapshot && x.Tag == w.Tag }
				o.r.Thin.Waits = append(slices.DeleteFunc(o.r.Thin.Waits, same), w)
			}
		}
	}
}

// isPin reports whether a hold stands only for the target with the given pin: its tag is
// that pin, the form of it that earlier versions used, or, on a copy, a pin with the guid
// of another pool, where the copy was before it was split off or restored.
func isPin(pin, tag string, onCopy bool) bool {
	p, ok := chain.ParsePin(pin)
	return tag == pin || ok && (tag == p.Former() || onCopy && p.OfCopy(tag))
}

// destroyOne destroys snapshots of one dataset, and adds their names to done. Where zfs
// refuses the whole list because of one snapshot, it tries each alone.
func (t *thinner) destroyOne(ctx context.Context, host *zfs.Host, o pruneTask, names []string, done map[string]bool) error {
	if len(names) == 0 {
		return nil
	}
	mark := func(batch []string) {
		for _, n := range batch {
			done[n] = true
		}
	}
	err := host.DestroySnapshots(ctx, o.dataset, names, mark)
	if err == nil || ctx.Err() != nil {
		return err
	}
	var failed error
	for _, n := range names {
		if done[n] {
			continue
		}
		if len(names) > 1 { // else it is that one
			err = host.DestroySnapshots(ctx, o.dataset, []string{n}, mark)
		}
		switch k := zfs.KindOf(err); {
		case err == nil:
		case k == record.KindHeld, k == record.KindClones, k == record.KindBusy:
			note(o.verdicts, n, "%s: %s", k, err)
		case k == record.KindUnreachable || ctx.Err() != nil:
			return err
		default:
			failed = err
		}
	}
	return failed
}

func (t *thinner) fail(o pruneTask, err error) {
	o.r.Fail(zfs.Failed("thin", err, "cannot destroy snapshots of '%s': %s", o.dataset, err))
	t.env.Report(o.r)
}

func ctxCause(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}
