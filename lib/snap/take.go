package snap

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"zab/lib/cli"
	"zab/lib/record"
	"zab/lib/zfs"
)

// This file is the one that changes pools: it makes the snapshots.

// take snapshots the records, all of one host and backup, with one name.
func (s *snapper) take(ctx context.Context, host *zfs.Host, set []*record.Record) error {
	if len(set) == 0 {
		return nil
	}
	format, err := s.o.Format(set[0].Backup)
	if err != nil {
		return cli.UsageError{Err: err}
	}
	name, err := s.freeName(format.Name, set)
	if err != nil {
		s.failAll(set, zfs.KindExists, err.Error())
		return nil
	}
	hooks := hooks{env: s.env, host: host, o: s.o, backup: set[0].Backup, snapshot: name, set: set}
	defer hooks.post(ctx)
	if err := hooks.pre(ctx); err != nil {
		s.failAll(set, "hook", err.Error())
		return nil
	}
	var made []*record.Record
	for _, pool := range groups(set, func(r *record.Record) string { return zfs.Pool(r.Name) }) {
		ok, err := s.pool(ctx, host, pool, name)
		if err != nil {
			return err
		}
		if ok {
			made = append(made, pool...)
		}
	}
	return s.identify(ctx, host, made, name)
}

// freeName is the name for a snapshot made now that none of the datasets has:
// within one second, and in the hour that comes twice when the clocks go back,
// the time alone gives a name again that exists.
func (s *snapper) freeName(name func(time.Time) string, set []*record.Record) (string, error) {
	taken := func(n string) bool {
		return slices.ContainsFunc(set, func(r *record.Record) bool {
			return slices.ContainsFunc(r.Snapshots, func(x record.Snapshot) bool { return x.Name == n })
		})
	}
	for i := range 120 {
		if n := name(s.env.Now.Add(time.Duration(i) * time.Second)); !taken(n) {
			return n, nil
		}
	}
	n := name(s.env.Now)
	return "", fmt.Errorf("cannot snapshot '%s@%s': the name is taken, and so are those of the next two minutes", set[0].Name, n)
}

// pool makes the snapshots of one pool. It tells whether they were made; err
// ends the command.
func (s *snapper) pool(ctx context.Context, host *zfs.Host, set []*record.Record, name string) (bool, error) {
	props, err := s.o.properties()
	if err != nil {
		return false, err
	}
	if s.env.Common.DryRun {
		for _, r := range set {
			r.Snapshot = &record.Made{Name: name, Virtual: true}
			r.Snapshots = append(r.Snapshots, record.Snapshot{Name: name, Ours: true, Virtual: true})
			s.env.Verbosef("would snapshot '%s@%s'", r.Name, name)
		}
		return false, nil
	}
	for {
		var full []string
		for _, r := range set {
			full = append(full, r.Name+"@"+name)
		}
		if len(full) == 0 {
			return false, nil
		}
		err := host.Snapshot(ctx, full, props)
		if err == nil {
			return true, nil
		}
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if zfs.KindOf(err) == zfs.KindNotFound {
			// None was made. The others are made without what is gone, which
			// cannot be part of any consistent set now.
			before := len(set)
			gone, err := host.Gone(ctx, set)
			if err != nil {
				return false, err
			}
			s.gone(gone)
			// A copy, for the caller goes on with its own.
			set = slices.DeleteFunc(slices.Clone(set), func(r *record.Record) bool { return r.Error != nil })
			if len(set) < before {
				continue
			}
		}
		pool := zfs.Pool(set[0].Name)
		s.failAll(set, zfs.KindOf(err), fmt.Sprintf("cannot snapshot %d datasets of pool '%s' as '@%s', so none was: %s", len(set), pool, name, err))
		return false, nil
	}
}

// identify reads the guids of the new snapshots, which a plan matches by.
func (s *snapper) identify(ctx context.Context, host *zfs.Host, made []*record.Record, name string) error {
	byName := map[string]*record.Record{}
	var full []string
	for _, r := range made {
		if r.Error == nil {
			byName[r.Name] = r
			full = append(full, r.Name+"@"+name)
		}
	}
	if len(full) == 0 {
		return nil
	}
	err := host.List(ctx, full, zfs.ListOptions{Types: zfs.Snapshots}, func(row zfs.Row) error {
		if r := byName[row.Dataset]; r != nil {
			e := row.Entry()
			e.Ours = true
			r.Snapshots = append(r.Snapshots, e)
			r.Snapshot = &record.Made{Name: name}
			s.env.Verbosef("snapshot '%s@%s'", r.Name, name)
		}
		return nil
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, r := range made {
		if r.Error == nil && r.Snapshot == nil {
			why := "it is gone again"
			if err != nil {
				why = err.Error()
			}
			r.Fail(record.Error{Stage: "snap", Kind: string(zfs.KindOf(err)),
				Message: fmt.Sprintf("cannot look up the new snapshot '%s@%s': %s", r.Name, name, why)})
			s.env.Report(r)
		}
	}
	return nil
}

// hooks are the commands before and after the snapshot.
type hooks struct {
	env      *cli.Env
	host     *zfs.Host
	o        *Options
	backup   string
	snapshot string
	set      []*record.Record
}

// pre runs the commands before; the first that fails ends it.
func (h *hooks) pre(ctx context.Context) error {
	for _, c := range h.o.PreCommand {
		if err := h.run(ctx, c); err != nil {
			return fmt.Errorf("cannot snapshot: the command before it, %q, failed, so no snapshot was made: %w", c, err)
		}
	}
	return nil
}

// post runs the commands after, all of them, also after a failure or a signal.
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
	// Names of ZFS hold no newline, so a line each is safe to read.
	vars := map[string]string{"ZAB_BACKUP": h.backup, "ZAB_SNAPSHOT": h.snapshot}
	if all := strings.Join(names, "\n"); len(all) <= maxVariable {
		vars["ZAB_DATASETS"] = all
	}
	out := cli.Clean(h.env.Stderr)
	defer out.Close()
	return h.host.Hook(ctx, command, vars, names, out)
}

// maxVariable is what fits into a variable everywhere: Linux takes 128 KiB with
// the name, and a shell that is given more starts no program at all.
const maxVariable = 100 << 10
