package thin

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"zab/lib/aside"
	"zab/lib/chain"
	"zab/lib/record"
	"zab/lib/zfs"
)

// This file destroys datasets of the target that are missing on the source, with
// --destroy-missing.

// missing decides about the orphans of a set and destroys those whose time has come, the
// deepest first, so that a whole tree can go in one run.
func (t *thinner) missing(ctx context.Context, set []*record.Record) error {
	if t.o.DestroyMissing == nil {
		return nil
	}
	var ask []*orphanAge
	for _, r := range set {
		if r.Type != record.TypeOrphan || r.Excluded || r.Error != nil || r.Target == nil || !r.Target.Exists || r.Thin == nil {
			continue
		}
		a := &orphanAge{r: r, age: t.o.DestroyMissing.Seconds()}
		if ours := t.ours(r); len(ours) == 0 {
			r.Thin.Dataset = "missing on the source: kept, for it has no snapshot of ours"
			continue
		} else {
			a.named, _ = t.rules[r.Backup].Format.Time(ours[len(ours)-1].Name)
			for i := range ours {
				a.txg = max(a.txg, ours[i].TXG())
			}
		}
		if since := r.Thin.MissingSince; since != nil && t.waits(a, *since) {
			continue // found out by an earlier zab-thin
		}
		ask = append(ask, a)
	}
	late, err := t.since(ctx, ask)
	if err != nil {
		return err
	}
	slices.SortStableFunc(late, func(a, b *orphanAge) int {
		return strings.Count(b.r.Name, "/") - strings.Count(a.r.Name, "/")
	})
	var done []string
	for _, a := range late {
		r := a.r
		if t.env.Common.DryRun {
			r.Thin.Dataset = "missing on the source: would be destroyed, unless its source is there, or it has children, clones, or holds or snapshots of others, or was written to"
			continue
		}
		below := slices.ContainsFunc(done, func(n string) bool { return strings.HasPrefix(n, r.Name+"/") })
		if err := t.destroyMissing(ctx, r, a.side, func(now int64) int64 {
			if below {
				// zfs removes the mountpoint of a destroyed dataset from the
				// filesystem above, which counts as written there.
				return a.written
			}
			return now
		}); err != nil {
			return err
		}
		if !r.Target.Exists {
			done = append(done, r.Name)
		}
		t.env.Verbosef("'%s': %s", r.Name, r.Thin.Dataset)
	}
	return nil
}

// orphanAge is an orphan with the facts that say when its time has come.
type orphanAge struct {
	r   *record.Record
	age int64 // of --destroy-missing, in seconds
	// named is the time in the name of its newest snapshot of ours, txg the highest
	// createtxg of its snapshots of ours.
	named int64
	txg   uint64
	// written is the number of bytes written to it since its newest snapshot, read
	// before anything was destroyed.
	written int64
	side    *sourceSide
}

// ours returns the snapshots of ours on the target of a record.
func (t *thinner) ours(r *record.Record) (ours []record.Snapshot) {
	format := t.rules[r.Backup].Format
	for _, s := range r.Target.Snapshots {
		if _, ok := format.Time(s.Name); ok {
			ours = append(ours, s)
		}
	}
	return ours
}

// since reads when the sources of orphans were first seen missing, marks the orphans
// that have no such mark yet, and returns those whose time has come.
//
// The age counts from that moment by the clock of this machine, because the source
// chooses the names of snapshots. It counts from the time in the newest of these names as
// well, as in zfs-autobackup, which can only make it later.
func (t *thinner) since(ctx context.Context, ask []*orphanAge) (late []*orphanAge, err error) {
	byHost := map[string][]*orphanAge{}
	for _, a := range ask {
		byHost[a.r.Target.Host] = append(byHost[a.r.Target.Host], a)
	}
	var fresh []*orphanAge
	from := map[*orphanAge]string{}
	for dest, list := range byHost {
		host := t.env.Machine.Host(dest)
		found, err := t.marks(ctx, host, list)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		for _, a := range list {
			d, exists := found[a.r.Name]
			written, ok := d.Props["written"].Int()
			switch since, marked := missingSince(d.Props[zfs.MissingProp], a.txg); {
			case err != nil:
				t.cannotDate(a.r, "look up", err)
			case !exists:
				a.r.Target.Exists = false
				a.r.Thin.Dataset = "missing on the source: gone already"
			case !ok:
				t.cannotDate(a.r, "look up", fmt.Errorf("cannot read what was written to it: %q", d.Props["written"].Value))
			case !marked:
				if v := d.Props[zfs.FromProp]; v.Source == "local" || v.Source == "received" {
					from[a] = v.Value
				}
				a.written = written
				fresh = append(fresh, a)
			default:
				a.written = written
				a.r.Thin.MissingSince = &since
				if !t.waits(a, since) {
					late = append(late, a)
				}
			}
		}
	}
	if t.env.Common.DryRun {
		for _, a := range fresh {
			a.r.Thin.Dataset = fmt.Sprintf("missing on the source: not seen missing before, so that it would be kept until %s", a.until(t.rules[a.r.Backup].Now))
		}
		return late, nil
	}
	if err := t.sources(ctx, slices.Concat(late, fresh)); err != nil {
		return nil, err
	}
	fresh = slices.DeleteFunc(fresh, func(a *orphanAge) bool {
		why := a.side.keepReason(a.r, from[a])
		if why != "" {
			a.r.Thin.Dataset = "missing on the source: kept, for " + why
		}
		return why != ""
	})
	if err := t.mark(ctx, fresh); err != nil {
		return nil, err
	}
	for _, a := range fresh {
		if a.r.Error == nil && !t.waits(a, *a.r.Thin.MissingSince) {
			late = append(late, a)
		}
	}
	return late, nil
}

// marks reads the marks of orphans, and the bytes written to them since their newest
// snapshots.
func (t *thinner) marks(ctx context.Context, host *zfs.Host, list []*orphanAge) (map[string]zfs.Dataset, error) {
	var names, pools []string
	for _, a := range list {
		names = append(names, a.r.Name)
		if p := zfs.Pool(a.r.Name); a.named+a.age <= t.rules[a.r.Backup].Now && !slices.Contains(pools, p) {
			pools = append(pools, p)
		}
	}
	if len(pools) > 0 && !t.env.Common.DryRun {
		// Bytes written in the last seconds do not count before a sync.
		for pool, err := range host.Sync(ctx, pools) {
			return nil, fmt.Errorf("cannot find out what was written to pool '%s': %w", pool, err)
		}
	}
	return host.Existing(ctx, []string{"written", zfs.FromProp, zfs.MissingProp}, names)
}

// mark notes on orphans that they were first seen missing now, with one program per pool.
func (t *thinner) mark(ctx context.Context, fresh []*orphanAge) error {
	type where struct{ host, pool string }
	by := map[where][]*orphanAge{}
	for _, a := range fresh {
		w := where{a.r.Target.Host, zfs.Pool(a.r.Name)}
		by[w] = append(by[w], a)
	}
	for w, list := range by {
		var names []string
		var txg uint64
		now := t.rules[list[0].r.Backup].Now
		for _, a := range list {
			names = append(names, a.r.Name)
			txg = max(txg, a.txg)
		}
		err := t.env.Machine.Host(w.host).Set(ctx, []string{fmt.Sprintf("%s=%d:%d", zfs.MissingProp, now, txg)}, names)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for _, a := range list {
			if err != nil {
				t.cannotDate(a.r, "note", err)
				continue
			}
			since := now
			a.r.Thin.MissingSince = &since
			a.r.Thin.Dataset = "missing on the source: first seen missing now, kept until " + a.until(since)
			t.env.Verbosef("'%s': %s", a.r.Name, a.r.Thin.Dataset)
		}
	}
	return nil
}

// cannotDate fails a record whose mark cannot be read or set.
func (t *thinner) cannotDate(r *record.Record, verb string, err error) {
	r.Fail(zfs.Failed("thin", err, "cannot %s since when the source of '%s' is missing: %s", verb, r.Name, err))
	r.Thin.Dataset = "missing on the source: kept, for it cannot be told since when"
	t.env.Report(r)
}

// missingSince parses the mark of a copy whose newest snapshot of ours has the given
// createtxg. It returns the marked time in seconds since 1970. A mark from before that
// snapshot was received is outdated, so that ok is false.
func missingSince(v zfs.Value, newest uint64) (since int64, ok bool) {
	seconds, txg, ok := strings.Cut(v.Value, ":")
	since, err := strconv.ParseInt(seconds, 10, 64)
	last, err2 := strconv.ParseUint(txg, 10, 64)
	return since, ok && err == nil && err2 == nil && v.Source == "local" && newest <= last && since >= 0 && since <= maxTime
}

// maxTime is far in the future, and far from the end of int64.
const maxTime = 1 << 40

// until returns from when on an orphan that was first seen missing at since may be
// destroyed, as RFC 3339 in UTC.
func (a *orphanAge) until(since int64) string {
	return time.Unix(max(since, a.named)+a.age, 0).UTC().Format(time.RFC3339)
}

// waits reports whether an orphan that was first seen missing at since stays for the
// time being, and says so in its record.
func (t *thinner) waits(a *orphanAge, since int64) bool {
	if max(since, a.named)+a.age <= t.rules[a.r.Backup].Now {
		return false
	}
	// Keep the text of the zab-thin before the transfers, which says whether it saw the
	// orphan missing for the first time.
	if end := "kept until " + a.until(since); !strings.HasSuffix(a.r.Thin.Dataset, end) {
		a.r.Thin.Dataset = "missing on the source: " + end
	}
	return true
}

// returned removes the marks of copies whose sources are back, so that their time begins
// anew if the sources go missing again. A snapshot received in between makes a mark void
// by itself, and a copy is not destroyed before its newest snapshot is as old as
// --destroy-missing says; so only copies with such an old one are looked at.
func (t *thinner) returned(ctx context.Context, set []*record.Record) error {
	if t.o.DestroyMissing == nil || t.env.Common.DryRun {
		return nil
	}
	names := map[string][]string{}
	for _, r := range set {
		if r.Type != record.TypeDataset || r.Error != nil || r.Target == nil || !r.Target.Exists || len(chain.Pending(r)) > 0 {
			continue
		}
		if ours := t.ours(r); len(ours) > 0 {
			if at, _ := t.rules[r.Backup].Format.Time(ours[len(ours)-1].Name); at+t.o.DestroyMissing.Seconds() <= t.rules[r.Backup].Now {
				names[r.Target.Host] = append(names[r.Target.Host], r.Target.Name)
			}
		}
	}
	for dest, list := range names {
		host := t.env.Machine.Host(dest)
		found, err := host.Existing(ctx, []string{zfs.MissingProp}, list)
		var marked []string
		for _, n := range list {
			if found[n].Props[zfs.MissingProp].Source == "local" {
				marked = append(marked, n)
			}
		}
		if err == nil && len(marked) > 0 {
			err = host.Unset(ctx, zfs.MissingProp, marked)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			t.env.Warnf("cannot take the mark '%s' off copies whose sources are there: %s", zfs.MissingProp, err)
		}
	}
	return nil
}

// sourceSide is the present state of a host that has the sources of orphans.
type sourceSide struct {
	host     *zfs.Host
	err      error             // why the host could not be asked
	pools    map[string]string // guids by name
	selected map[string]bool   // sources of orphans that exist and are selected
}

// sources asks the hosts of the orphans' sources for their pools and for those sources.
// That no selected dataset mapped to an orphan does not prove that its source is gone:
// the source's pool may not be imported, as after a disk failure, when the copy is all
// that is left; or the source was gone for a moment while zfs listed, which leaves out
// datasets that it does not find without a message.
func (t *thinner) sources(ctx context.Context, list []*orphanAge) error {
	sides, names := map[string]*sourceSide{}, map[string]map[string][]string{}
	for _, a := range list {
		r := a.r
		if r.Source == nil {
			continue
		}
		s := sides[r.Source.Host]
		if s == nil {
			s = &sourceSide{host: t.env.Machine.Host(r.Source.Host), selected: map[string]bool{}}
			s.pools, s.err = s.host.Pools(ctx)
			sides[r.Source.Host], names[r.Source.Host] = s, map[string][]string{}
		}
		a.side = s
		if n := r.Source.Name; n != "" {
			prop := t.rules[r.Backup].Property
			names[r.Source.Host][prop] = append(names[r.Source.Host][prop], n)
		}
	}
	for dest, s := range sides {
		for prop, list := range names[dest] {
			if s.err != nil {
				break
			}
			var there map[string]zfs.Dataset
			there, s.err = s.host.Existing(ctx, []string{prop}, list)
			for n, d := range there {
				if v := d.Props[prop].Value; v != "-" && v != "false" {
					s.selected[n] = true
				}
			}
		}
	}
	return ctxCause(ctx)
}

// keepReason returns why the source of an orphan is not known to be missing, or "" if it is.
// from lists the guids of the pools that the copy came through, if its mark has them.
func (s *sourceSide) keepReason(r *record.Record, from string) string {
	if s == nil {
		return "it cannot be told on which machine its source was"
	}
	name := r.Source.Name
	switch guid := from[strings.LastIndexByte(from, ',')+1:]; {
	case s.err != nil:
		return fmt.Sprintf("it cannot be told whether its source is there: %s", s.err)
	case s.selected[name]:
		return fmt.Sprintf("its source '%s' is there and selected, though it was not found when datasets were selected", name)
	case guid != "":
		for _, g := range s.pools {
			if g == guid {
				return ""
			}
		}
		return fmt.Sprintf("the pool of its source, with the guid %s, is not imported on %s", guid, s.host)
	case name != "" && s.pools[zfs.Pool(name)] == "":
		return fmt.Sprintf("the pool of its source '%s' is not imported on %s", name, s.host)
	}
	return ""
}

// destroyMissing destroys an orphan whose time has come, as far as it can: all our
// snapshots but the last, to save space in any case; then the last snapshot with the
// dataset itself, if nothing else depends on it. The last snapshot goes only when the
// dataset can follow. side is the host where the source would be; written returns how
// many of the bytes now written since the newest snapshot count.
func (t *thinner) destroyMissing(ctx context.Context, r *record.Record, side *sourceSide, written func(now int64) int64) error {
	host := t.env.Machine.Host(r.Target.Host)
	rules := t.rules[r.Backup]
	o := pruneTask{r: r, dataset: r.Name, list: &r.Target.Snapshots, verdicts: r.Thin.Target}
	keep := func(format string, a ...any) error {
		r.Thin.Dataset = "missing on the source: kept, for " + fmt.Sprintf(format, a...)
		return ctxCause(ctx)
	}
	ours := t.ours(r)
	is, err := look(ctx, host, r.Name)
	if err == nil && is.guid == r.GUID && side.keepReason(r, is.from) == "" && !is.receiving && is.held(ours) {
		if err := t.freeOrphan(ctx, host, r, is, ours); err != nil {
			return err
		}
		is, err = look(ctx, host, r.Name)
	}
	switch {
	case zfs.KindOf(err) == record.KindNotFound:
		r.Target.Exists = false
		r.Thin.Dataset = "missing on the source: gone already"
		return nil
	case err != nil:
		t.fail(o, err)
		return keep("it cannot be looked at")
	case is.guid != r.GUID:
		return keep("it is another dataset now")
	case side.keepReason(r, is.from) != "":
		return keep("%s", side.keepReason(r, is.from))
	case is.aside:
		// zab-plan recognises such a dataset by its name, which somebody may have
		// changed.
		return keep("it was set aside by --rename-aside")
	case is.receiving:
		return keep("a receive into it is not finished")
	}
	older, last := ours[:len(ours)-1], ours[len(ours)-1]
	if why, err := t.destroyAll(ctx, host, o, is, older); err != nil {
		t.fail(o, err)
		return keep("not all of its older snapshots can go")
	} else if why != "" {
		return keep("%s", why)
	}
	for name := range is.snapshots {
		if _, ok := rules.Format.Time(name); !ok {
			return keep("it still has snapshots of others")
		}
		if !slices.ContainsFunc(ours, func(s record.Snapshot) bool { return s.Name == name }) {
			return keep("it still has the snapshot '@%s'", name)
		}
	}
	switch why := is.protects(last); {
	case is.children:
		return keep("it still has children")
	case written(is.written) != 0:
		return keep("%d bytes were written to it since its newest snapshot", is.written)
	case why != "":
		return keep("%s", why)
	}
	if is.mounted {
		// A filesystem in use could not be destroyed, and would be left without its
		// last snapshot.
		if err := host.Unmount(ctx, r.Name); zfs.KindOf(err) == record.KindBusy {
			return keep("it is in use")
		} else if err != nil {
			return keep("it cannot be unmounted: %s", err)
		}
	}
	if why, err := t.destroyAll(ctx, host, o, is, []record.Snapshot{last}); err != nil {
		t.fail(o, err)
		return keep("its last snapshot cannot go")
	} else if why != "" {
		return keep("%s", why)
	}
	if err := host.DestroyDataset(ctx, r.Name); err != nil {
		r.Fail(zfs.Failed("thin", err, "cannot destroy '%s', which is missing on the source: %s", r.Name, err))
		t.env.Report(r)
		return keep("zfs refused: %s", err)
	}
	r.Target.Exists = false
	r.Thin.Dataset = "missing on the source: destroyed"
	return nil
}

// orphan is the state of an orphan just before it may be destroyed, with the facts that
// its record lacks.
type orphan struct {
	guid                         string
	written                      int64
	receiving, mounted, children bool
	aside                        bool
	from                         string
	snapshots                    map[string]record.Snapshot
	clones                       map[string]bool
}

// look reads the state of an orphan, with two programs.
func look(ctx context.Context, host *zfs.Host, name string) (*orphan, error) {
	is := &orphan{snapshots: map[string]record.Snapshot{}, clones: map[string]bool{}}
	o := zfs.ListOptions{Types: zfs.Datasets | zfs.Snapshots, Depth: 1,
		Extra: []string{"written", "receive_resume_token", "mounted", "userrefs", "clones"}}
	err := host.List(ctx, []string{name}, o, func(row zfs.Row) error {
		switch {
		case row.Dataset == name && row.Snapshot != "":
			s := row.Entry()
			if n, err := strconv.ParseInt(row.Extra[3], 10, 64); err == nil {
				s.UserRefs = &n
			}
			is.snapshots[s.Name] = s
			is.clones[s.Name] = row.Extra[4] != ""
			// A stream is received into this hidden clone.
			is.receiving = is.receiving || slices.Contains(strings.Split(row.Extra[4], ","), name+"/%recv")
		case row.Dataset == name:
			is.guid = row.GUID
			n, err := strconv.ParseInt(row.Extra[0], 10, 64)
			if err != nil {
				return fmt.Errorf("cannot read what was written to '%s': %q", name, row.Extra[0])
			}
			is.written = n
			is.receiving = is.receiving || row.Extra[1] != ""
			is.mounted = row.Extra[2] == "yes"
		case row.Snapshot == "":
			is.children = true
		}
		return nil
	})
	if err != nil {
		return is, err
	}
	// User properties are free text: Existing can tell where their values end, List
	// cannot.
	got, err := host.Existing(ctx, []string{zfs.AsideProp, zfs.FromProp}, []string{name})
	if d, ok := got[name]; ok {
		f := d.Facts()
		is.from = f.From
		_, _, is.aside = aside.Recognize(name, f.Aside)
	}
	return is, err
}

// held reports whether one of the snapshots is held.
func (is *orphan) held(list []record.Snapshot) bool {
	return slices.ContainsFunc(list, func(s record.Snapshot) bool {
		n := is.snapshots[s.Name].UserRefs
		return n != nil && *n > 0
	})
}

// protects returns why a snapshot cannot be destroyed, or "" if it can.
func (is *orphan) protects(s record.Snapshot) string {
	now, exists := is.snapshots[s.Name]
	switch {
	case !exists:
		return ""
	case now.GUID != s.GUID:
		return fmt.Sprintf("its snapshot '@%s' is another one now", s.Name)
	case now.UserRefs != nil && *now.UserRefs > 0:
		return fmt.Sprintf("its snapshot '@%s' is held", s.Name)
	case is.clones[s.Name]:
		return fmt.Sprintf("a clone depends on its snapshot '@%s'", s.Name)
	}
	return ""
}

// destroyAll destroys snapshots of an orphan regardless of the schedule. left says why
// one of them stays; it is "" if none does.
func (t *thinner) destroyAll(ctx context.Context, host *zfs.Host, o pruneTask, is *orphan, list []record.Snapshot) (left string, err error) {
	var names []string
	done := map[string]bool{}
	for _, s := range list {
		if why := is.protects(s); why != "" {
			left = why
			note(o.verdicts, s.Name, "%s", why)
			continue
		}
		for i := range o.verdicts {
			if v := &o.verdicts[i]; v.Keep && v.Name == s.Name {
				v.Keep = false
				v.Why = append([]string{"missing on the source for longer than --destroy-missing"}, v.Why...)
			}
		}
		if _, exists := is.snapshots[s.Name]; exists {
			names = append(names, s.Name)
		} else {
			done[s.Name] = true // somebody else was faster
		}
	}
	err = t.destroyOne(ctx, host, o, names, done)
	gone(o.verdicts, done)
	for n := range done {
		delete(is.snapshots, n)
	}
	*o.list = without(*o.list, done)
	for _, n := range names {
		if !done[n] && left == "" {
			left = fmt.Sprintf("its snapshot '@%s' cannot go", n)
		}
	}
	return left, err
}

// freeOrphan releases our own holds from an orphan: they protected the incremental base
// for a source that is gone.
func (t *thinner) freeOrphan(ctx context.Context, host *zfs.Host, r *record.Record, is *orphan, ours []record.Snapshot) error {
	var full []string
	counts := map[string]int64{}
	for _, s := range ours {
		full = append(full, s.Full(r.Name))
		if n := is.snapshots[s.Name].UserRefs; n != nil && *n > 0 {
			counts[s.Full(r.Name)] = *n
		}
	}
	tags := []string{t.rules[r.Backup].HoldTag, r.Target.OwnTag()}
	// Nothing was sent to the orphan in this run, so the guid of its pool may be unknown.
	if pin, ok := chain.ParsePin(r.Target.OwnTag()); ok {
		holders, err := host.Holds(ctx, counts)
		if err != nil {
			t.env.Verbosef("cannot list the holds on '%s': %s", r.Name, err)
		}
		for _, h := range holders {
			if pin.OfCopy(h.Tag) && !slices.Contains(tags, h.Tag) {
				tags = append(tags, h.Tag)
			}
		}
	}
	for _, tag := range tags {
		if tag == "" {
			continue
		}
		if err := host.Release(ctx, tag, full); err != nil {
			t.env.Verbosef("cannot release '%s' from '%s': %s", tag, r.Name, err)
		}
	}
	return ctxCause(ctx)
}
