package thin

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"zab/lib/record"
	"zab/lib/schedule"
	"zab/lib/snapname"
	"zab/lib/zfs"
)

// This file destroys datasets of the target that are missing on the source,
// for those who ask for it with --destroy-missing.

// missing deals with the orphans of a set, the deepest first, so that a whole
// tree can go in one run.
func (t *thinner) missing(ctx context.Context, set []*record.Record) error {
	if t.o.DestroyMissing == "" {
		return nil
	}
	age, err := schedule.ParseAge(t.o.DestroyMissing)
	if err != nil {
		return err
	}
	var late []*record.Record
	for _, r := range set {
		if r.Type != record.TypeOrphan || r.Excluded || r.Error != nil || r.Target == nil || !r.Target.Exists || r.Thin == nil {
			continue
		}
		if r.Thin.Dataset = t.waits(r, age); r.Thin.Dataset == "" {
			late = append(late, r)
		}
	}
	slices.SortStableFunc(late, func(a, b *record.Record) int {
		return strings.Count(b.Name, "/") - strings.Count(a.Name, "/")
	})
	before, sides := map[*record.Record]int64{}, map[string]*sourceSide{}
	if !t.env.Common.DryRun {
		if sides, err = t.sources(ctx, late); err != nil {
			return err
		}
		t.written(ctx, late, before)
	}
	var done []string
	for _, r := range late {
		if t.env.Common.DryRun {
			r.Thin.Dataset = "missing on the source: would be destroyed, unless its source is there, or it has children, clones, or holds or snapshots of others, or was written to"
			continue
		}
		below := slices.ContainsFunc(done, func(n string) bool { return strings.HasPrefix(n, r.Name+"/") })
		var side *sourceSide
		if r.Source != nil {
			side = sides[r.Source.Host]
		}
		if err := t.destroyMissing(ctx, r, side, func(now int64) int64 {
			if n, ok := before[r]; ok && below {
				// zfs takes the mountpoint of what it destroys out of the
				// filesystem above, and this counts as written there.
				return n
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

// sourceSide is what the host of the sources has at this moment.
type sourceSide struct {
	host     *zfs.Host
	err      error             // it could not be asked
	pools    map[string]string // guids by name
	selected map[string]bool   // those orphans' sources that are there and selected
}

// sources asks the hosts of the orphans' sources what is there. That nothing
// mapped to an orphan when the datasets were selected does not prove that its
// source is no more: its pool may not be imported, as after a failure of its
// disks, when the copy is all that is left; or it went and came while zfs
// listed, which leaves out what it does not find and says nothing.
func (t *thinner) sources(ctx context.Context, late []*record.Record) (map[string]*sourceSide, error) {
	sides, names := map[string]*sourceSide{}, map[string]map[string][]string{}
	for _, r := range late {
		if r.Source == nil {
			continue
		}
		s := sides[r.Source.Host]
		if s == nil {
			s = &sourceSide{host: t.env.Machine.Host(r.Source.Host), selected: map[string]bool{}}
			s.pools, s.err = s.host.Pools(ctx)
			sides[r.Source.Host], names[r.Source.Host] = s, map[string][]string{}
		}
		if n := r.Source.Name; n != "" {
			prop, err := t.o.Property(r.Backup)
			if err != nil {
				return nil, err
			}
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
	return sides, ctxCause(ctx)
}

// lives tells why the source of an orphan is not known to be missing; "" if it
// is. from are the pools that the copy came through, if it tells.
func (s *sourceSide) lives(r *record.Record, from string) string {
	if s == nil {
		return ""
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

// written asks what was written to orphans since their newest snapshots, before
// anything is destroyed.
func (t *thinner) written(ctx context.Context, late []*record.Record, out map[*record.Record]int64) {
	type side struct {
		pools, names []string
		byName       map[string]*record.Record
	}
	sides := map[string]*side{}
	for _, r := range late {
		s := sides[r.Target.Host]
		if s == nil {
			s = &side{byName: map[string]*record.Record{}}
			sides[r.Target.Host] = s
		}
		s.names = append(s.names, r.Name)
		s.byName[r.Name] = r
		if p := zfs.Pool(r.Name); !slices.Contains(s.pools, p) {
			s.pools = append(s.pools, p)
		}
	}
	for dest, s := range sides {
		host := t.env.Machine.Host(dest)
		// What was written in the last seconds does not count before.
		if err := host.Sync(ctx, s.pools); err != nil {
			t.env.Verbosef("cannot sync: %s", err)
		}
		// Whoever is not in the answer is looked at again anyway.
		_ = host.List(ctx, s.names, zfs.ListOptions{Types: zfs.Datasets, Extra: []string{"written"}}, func(row zfs.Row) error {
			if n, err := strconv.ParseInt(row.Extra[0], 10, 64); err == nil && s.byName[row.Dataset] != nil {
				out[s.byName[row.Dataset]] = n
			}
			return nil
		})
	}
}

// waits tells why an orphan stays, as far as its record knows; "" when its
// time has come.
func (t *thinner) waits(r *record.Record, age int64) string {
	rules := t.rules[r.Backup]
	for i := len(r.Target.Snapshots) - 1; i >= 0; i-- {
		at, ours := rules.Format.Time(r.Target.Snapshots[i].Name)
		if !ours {
			continue
		}
		if deadline := at + age; deadline > rules.Now {
			return fmt.Sprintf("missing on the source: kept until %s", time.Unix(deadline, 0).UTC().Format(time.RFC3339))
		}
		return ""
	}
	return "missing on the source: kept, for it has no snapshot of ours"
}

// destroyMissing destroys what can go of an orphan whose time has come: all
// our snapshots but the last, to save space in any case; and the last one
// with the dataset itself, where nothing else depends on it. The last one goes
// only when the dataset can follow. side is where its source would be, written
// tells what counts as written to it.
func (t *thinner) destroyMissing(ctx context.Context, r *record.Record, side *sourceSide, written func(now int64) int64) error {
	host := t.env.Machine.Host(r.Target.Host)
	rules := t.rules[r.Backup]
	o := one{r: r, dataset: r.Name, list: &r.Target.Snapshots, verdicts: r.Thin.Target}
	keep := func(format string, a ...any) error {
		r.Thin.Dataset = "missing on the source: kept, for " + fmt.Sprintf(format, a...)
		return ctxCause(ctx)
	}
	var ours []record.Snapshot
	for _, s := range r.Target.Snapshots {
		if _, ok := rules.Format.Time(s.Name); ok {
			ours = append(ours, s)
		}
	}
	is, err := look(ctx, host, r.Name)
	if err == nil && is.guid == r.GUID && side.lives(r, is.from) == "" && !is.receiving && is.held(ours) {
		if err := t.freeOrphan(ctx, host, r, ours); err != nil {
			return err
		}
		is, err = look(ctx, host, r.Name)
	}
	switch {
	case zfs.KindOf(err) == zfs.KindNotFound:
		r.Target.Exists = false
		r.Thin.Dataset = "missing on the source: gone already"
		return nil
	case err != nil:
		t.fail(o, err)
		return keep("it cannot be looked at")
	case is.guid != r.GUID:
		return keep("it is another dataset now")
	case side.lives(r, is.from) != "":
		return keep("%s", side.lives(r, is.from))
	case is.aside:
		// zab-plan knows it by its name, which somebody may have changed.
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
		// What is in use could not be destroyed, and would be left without
		// its last snapshot.
		if err := host.Unmount(ctx, r.Name); zfs.KindOf(err) == zfs.KindBusy {
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
		r.Fail(record.Error{Stage: "thin", Kind: string(zfs.KindOf(err)), Hint: zfs.KindOf(err).Hint(),
			Message: fmt.Sprintf("cannot destroy '%s', which is missing on the source: %s", r.Name, err)})
		t.env.Report(r)
		return keep("zfs refused: %s", err)
	}
	r.Target.Exists = false
	r.Thin.Dataset = "missing on the source: destroyed"
	return nil
}

// orphan is what an orphan looks like just before it may be destroyed, with
// all that its record does not tell.
type orphan struct {
	guid                         string
	written                      int64
	receiving, mounted, children bool
	aside                        bool
	from                         string
	snapshots                    map[string]record.Snapshot
	clones                       map[string]bool
}

// look asks for an orphan: one program.
func look(ctx context.Context, host *zfs.Host, name string) (*orphan, error) {
	is := &orphan{snapshots: map[string]record.Snapshot{}, clones: map[string]bool{}}
	o := zfs.ListOptions{Types: zfs.Datasets | zfs.Snapshots, Depth: 1,
		Extra: []string{"written", "receive_resume_token", "mounted", "userrefs", "clones", zfs.AsideProp, zfs.FromProp}}
	err := host.List(ctx, []string{name}, o, func(row zfs.Row) error {
		switch {
		case row.Dataset == name && row.Snapshot != "":
			s := row.Entry()
			if n, err := strconv.ParseInt(row.Extra[3], 10, 64); err == nil {
				s.UserRefs = &n
			}
			is.snapshots[s.Name] = s
			is.clones[s.Name] = row.Extra[4] != ""
			// The hidden clone that a stream is received into.
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
			is.from = row.Extra[6]
			_, _, is.aside = (&record.Facts{Aside: row.Extra[5]}).SetAside(name)
		case row.Snapshot == "":
			is.children = true
		}
		return nil
	})
	return is, err
}

// held tells whether somebody holds one of the snapshots.
func (is *orphan) held(list []record.Snapshot) bool {
	return slices.ContainsFunc(list, func(s record.Snapshot) bool {
		n := is.snapshots[s.Name].UserRefs
		return n != nil && *n > 0
	})
}

// protects tells why a snapshot cannot go; "" if it can.
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

// destroyAll destroys snapshots of an orphan whatever the schedule said, and
// tells why one of them is left; "" if none is.
func (t *thinner) destroyAll(ctx context.Context, host *zfs.Host, o one, is *orphan, list []record.Snapshot) (left string, err error) {
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

// freeOrphan releases our own holds from an orphan: what they protected a base
// for is gone.
func (t *thinner) freeOrphan(ctx context.Context, host *zfs.Host, r *record.Record, ours []record.Snapshot) error {
	tag, err := snapname.HoldTag(t.o.HoldFormat, r.Backup)
	if err != nil {
		return err
	}
	var full []string
	for _, s := range ours {
		full = append(full, s.Full(r.Name))
	}
	for _, tag := range []string{tag, r.Target.Pin} {
		if tag == "" {
			continue
		}
		if err := host.Release(ctx, tag, full); err != nil {
			t.env.Verbosef("cannot release '%s' from '%s': %s", tag, r.Name, err)
		}
	}
	return ctxCause(ctx)
}
