package snap

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"zab/lib/cli"
	"zab/lib/dataset"
	"zab/lib/record"
	"zab/lib/snapname"
	"zab/lib/zfs"
)

// This file is the one that changes pools: it makes the snapshots.

// snapshotAll makes snapshots with one name of the datasets that changed. The records are all
// of one host and backup.
func (s *snapper) snapshotAll(ctx context.Context, host *zfs.Host, set []*record.Record) error {
	if len(set) == 0 {
		return nil
	}
	format, err := s.o.Format(set[0].Backup)
	if err != nil {
		return cli.UsageError{Err: err}
	}
	t := &taking{snapper: s, host: host, format: format, made: map[string]*record.Record{}}
	t.name, _ = s.freeName(format.Name, set, nil)
	t.hooks = hooks{env: s.env, host: host, o: s.o, backup: set[0].Backup, snapshot: t.name, set: set}
	defer t.hooks.post(ctx)
	if err := t.hooks.pre(ctx); err != nil {
		s.failAll(set, record.Error{Stage: "snap", Kind: record.KindHook, Message: err.Error()})
		return nil
	}
	fail := func(err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.failAll(standing(set), zfs.Failed("snap", err, "cannot find out what changed on %s: %s", host, err))
		return nil
	}
	if s.hooked() {
		// Data that the commands wrote counts, and so do datasets and snapshots that
		// they created or destroyed.
		if err := s.again(ctx, host, set); err != nil {
			return fail(err)
		}
	}
	changed, err := s.changed(ctx, host, standing(set))
	if err != nil {
		return fail(err)
	}
	if holders(changed, t.name) > 0 {
		t.name, _ = s.freeName(format.Name, changed, nil)
	}
	for _, pool := range groups(changed, func(r *record.Record) string { return zfs.Pool(r.Name) }) {
		if err := t.pool(ctx, pool); err != nil {
			return err
		}
	}
	return t.identify(ctx)
}

// taking is the state of take, for the snapshots of one host and backup.
type taking struct {
	*snapper
	host   *zfs.Host
	format snapname.Format
	hooks  hooks
	name   string
	made   map[string]*record.Record // by the full name of the new snapshot
}

// holders returns how many of the records have a snapshot of the given name.
func holders(set []*record.Record, name string) (n int) {
	for _, r := range set {
		if hasSnapshot(r, name) {
			n++
		}
	}
	return n
}

func hasSnapshot(r *record.Record, name string) bool {
	return slices.ContainsFunc(r.Snapshots, func(x record.Snapshot) bool { return x.Name == name })
}

// freeName returns a name for snapshots made now that none of the datasets has and that
// was not tried: that of the current second, or of the first later one, within two
// minutes, whose name is free. The time alone gives the same name again within one
// second, and in the hour that comes twice when the clocks go back. If no name is free it
// returns that of the current second, and false.
func (s *snapper) freeName(name func(time.Time) string, set []*record.Record, tried map[string]bool) (string, bool) {
	for i := range 120 {
		if n := name(s.env.Now.Add(time.Duration(i) * time.Second)); !tried[n] && holders(set, n) == 0 {
			return n, true
		}
	}
	return name(s.env.Now), false
}

// rounds is the largest number of names tried where other runs take the same names.
const rounds = 10

// pool makes the snapshots of one pool. An error ends the command.
//
// Another run of the backup that began in the same second chooses the same name. The
// second run looks again: datasets that have not changed since the other run's snapshots
// need none, and those that have get the next free name. So each of the two runs has a
// snapshot of all datasets, and both list the other's snapshots like any existing ones.
func (t *taking) pool(ctx context.Context, set []*record.Record) error {
	if t.env.Common.DryRun {
		for _, r := range t.nameable(set) {
			r.Snapshot = &record.Made{Name: t.name, Virtual: true}
			r.Snapshots = append(r.Snapshots, record.Snapshot{Name: t.name, Ours: true, Virtual: true})
			t.env.Verbosef("would snapshot '%s@%s'", r.Name, t.name)
		}
		return nil
	}
	if holders(set, t.name) > 0 {
		// The name changed after a collision in another pool, and may exist in this one.
		t.name, _ = t.freeName(t.format.Name, set, nil)
		t.hooks.snapshot = t.name
	}
	tried := map[string]bool{}
	for round := 1; ; round++ {
		set = t.nameable(set)
		if len(set) == 0 {
			return nil
		}
		byFull := map[string]*record.Record{}
		var full []string
		for _, r := range set {
			n := r.Name + "@" + t.name
			byFull[n] = r
			full = append(full, n)
		}
		made, failed, taken := t.host.SnapshotMost(ctx, full, t.o.SetProperties, round == rounds)
		for _, n := range made {
			t.made[n] = byFull[n]
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !taken {
			t.failed(set, failed)
			return nil
		}
		tried[t.name] = true
		t.env.Verbosef("another run has just made snapshots '@%s' in pool '%s': looking again at what is there", t.name, zfs.Pool(set[0].Name))
		err := t.again(ctx, t.host, set)
		if err == nil {
			set, err = t.changed(ctx, t.host, standing(set))
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			t.failAll(standing(set), zfs.Failed("snap", err, "cannot look again at what changed on %s: %s", t.host, err))
			return nil
		}
		name, free := t.freeName(t.format.Name, set, tried)
		if !free {
			round = rounds - 1 // there is no other name: the next try is the last
		}
		t.name, t.hooks.snapshot = name, name
	}
}

// nameable returns the records that can have a snapshot with the chosen name, and fails
// the others.
func (t *taking) nameable(set []*record.Record) (out []*record.Record) {
	for _, r := range set {
		switch {
		case len(r.Name)+1+len(t.name) > dataset.MaxName:
			t.fail(r, record.Error{Kind: record.KindBadArgument,
				Message: fmt.Sprintf("cannot snapshot '%s': its name with that of the snapshot, '@%s', is longer than %d bytes", r.Name, t.name, dataset.MaxName),
				Hint:    "--snapshot-format can give a shorter one"})
		case hasSnapshot(r, t.name):
			t.fail(r, record.Error{Kind: record.KindExists,
				Message: fmt.Sprintf("cannot snapshot '%s@%s': the name is taken, and so are those of the next two minutes", r.Name, t.name)})
		default:
			out = append(out, r)
		}
	}
	return out
}

// fail notes that no snapshot could be made of a record, and reports it.
func (s *snapper) fail(r *record.Record, e record.Error) {
	e.Stage = "snap"
	r.Snapshot = &record.Made{Error: &e}
	s.env.ReportError(&e)
}

// failed reports the snapshots that could not be made, once for each cause. A failure of
// a pool or a host ends the record's part in this run; a failure of the snapshot alone
// does not.
func (t *taking) failed(set []*record.Record, failed map[string]error) {
	same := map[error][]*record.Record{}
	var order []error
	for _, r := range set {
		err := failed[r.Name+"@"+t.name]
		switch {
		case err == nil:
		case zfs.KindOf(err) == record.KindNotFound:
			t.gone([]*record.Record{r})
		default:
			if same[err] == nil {
				order = append(order, err)
			}
			same[err] = append(same[err], r)
		}
	}
	for _, err := range order {
		list := same[err]
		what := fmt.Sprintf("cannot snapshot %d datasets of pool '%s' as '@%s': %s", len(list), zfs.Pool(list[0].Name), t.name, err)
		if len(list) == 1 {
			what = fmt.Sprintf("cannot snapshot '%s@%s': %s", list[0].Name, t.name, err)
		}
		e := zfs.Failed("snap", err, "%s", what)
		if !zfs.OfDatasets(err) {
			t.failAll(list, e)
			continue
		}
		e.Hint = cmp.Or(hint(zfs.KindOf(err), list[0]), e.Hint)
		if len(list) == 1 {
			t.fail(list[0], e)
		} else {
			t.env.ReportError(&e)
			for _, r := range list {
				one := e
				r.Snapshot = &record.Made{Error: &one}
			}
		}
	}
}

// hint returns advice on how to make a snapshot of this dataset possible, where it can
// say more than zfs.HintOf; else "".
func hint(kind record.ErrorKind, r *record.Record) string {
	switch {
	case kind == record.KindBusy:
		return fmt.Sprintf("where a first receive into it is under way it gets a snapshot when that is complete; 'zfs receive -A %s' gives up one that broke off", zfs.Quote(r.Name))
	case kind == record.KindNoSpace && r.Kind == "volume":
		return fmt.Sprintf("a snapshot of a volume with a refreservation needs as much free space as the volume holds: free space, or 'zfs set refreservation=none %s'", zfs.Quote(r.Name))
	case kind == record.KindNoSpace:
		return "free space, or raise the quota or the snapshot_limit of what it is below; snapshots that exist are sent and thinned all the same"
	}
	return ""
}

// identify reads the guids of the new snapshots, by which a plan matches them.
func (t *taking) identify(ctx context.Context) error {
	full := slices.Sorted(maps.Keys(t.made))
	if len(full) == 0 {
		return nil
	}
	err := t.host.List(ctx, full, zfs.ListOptions{Types: zfs.Snapshots}, func(row zfs.Row) error {
		if r := t.made[row.Full()]; r != nil {
			e := row.Entry()
			e.Ours = true
			// A new snapshot taken for an older one would never be sent, and be
			// thinned at once.
			for _, before := range r.Snapshots {
				if e.TXG() <= before.TXG() {
					return fmt.Errorf("'%s' was made just now, and its createtxg %s is not after that of '@%s', %s", row.Full(), e.CreateTXG, before.Name, before.CreateTXG)
				}
			}
			r.Snapshots = append(r.Snapshots, e)
			r.Snapshot = &record.Made{Name: row.Snapshot}
			t.env.Verbosef("snapshot '%s'", row.Full())
		}
		return nil
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, n := range full {
		if r := t.made[n]; r.Snapshot == nil {
			why := "it is gone again"
			if err != nil {
				why = err.Error()
			}
			r.Fail(record.Error{Stage: "snap", Kind: zfs.KindOf(err),
				Message: fmt.Sprintf("cannot look up the new snapshot '%s': %s", n, why)})
			t.env.Report(r)
		}
	}
	return nil
}

// hooks runs the commands before and after the snapshot.
type hooks struct {
	env      *cli.Env
	host     *zfs.Host
	o        *Options
	backup   string
	snapshot string
	set      []*record.Record
}

// pre runs the commands before the snapshot, up to the first that fails.
func (h *hooks) pre(ctx context.Context) error {
	for _, c := range h.o.PreCommand {
		if err := h.run(ctx, c); err != nil {
			return fmt.Errorf("cannot snapshot: the command before it, %q, failed, so no snapshot was made: %w", c, err)
		}
	}
	return nil
}

// post runs all commands after the snapshot, also after a failure or a signal.
func (h *hooks) post(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	for _, c := range h.o.PostCommand {
		if err := h.run(ctx, c); err != nil {
			h.env.Errorf("cannot run the command after the snapshot, %q: %s", c, err)
			h.env.Fail()
		}
	}
}

func (h *hooks) run(ctx context.Context, command string) error {
	if h.env.Common.DryRun {
		h.env.Verbosef("would run on %s: %s", h.host, command)
		return nil
	}
	h.env.Verbosef("running on %s: %s", h.host, command)
	names := make([]string, 0, len(h.set))
	for _, r := range h.set {
		names = append(names, r.Name)
	}
	// ZFS names contain no newline, so one name per line is unambiguous.
	vars := map[string]string{"ZAB_BACKUP": h.backup, "ZAB_SNAPSHOT": h.snapshot}
	if all := strings.Join(names, "\n"); len(all) <= maxVariable {
		vars["ZAB_DATASETS"] = all
	}
	out := cli.Clean(h.env.Stderr)
	defer out.Close()
	return h.host.Hook(ctx, command, vars, names, out)
}

// maxVariable is the largest value, in bytes, that fits into an environment variable
// everywhere: Linux takes 128 KiB with the name, and a shell that is given more starts no
// program at all.
const maxVariable = 100 << 10
