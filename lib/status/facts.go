package status

import (
	"context"
	"slices"

	"zab/lib/cli"
	"zab/lib/groups"
	"zab/lib/record"
)

// This file asks zfs for what a judgement needs and the records lack: when a few
// snapshots were made, and what was written since. It starts one program for the first on
// each host, and one for the second on each host with such datasets.

// facts completes the records. What cannot be read stays unknown; only the end of the
// context is an error.
func (o *Options) facts(ctx context.Context, env *cli.Env, all []*record.Record) error {
	if err := o.markOurs(all); err != nil {
		return err
	}
	if err := o.date(ctx, env, all); err != nil {
		return err
	}
	o.dateByName(all)
	if err := o.readWritten(ctx, env, all); err != nil {
		return err
	}
	if o.Verified.Seconds() > 0 || o.HTML != "" {
		if err := o.readProofs(ctx, env, all); err != nil {
			return err
		}
	}
	if o.Holds {
		return o.readHolds(ctx, env, all)
	}
	return nil
}

// markOurs marks the snapshots of ours in records that come from zab-list.
func (o *Options) markOurs(all []*record.Record) error {
	for _, r := range all {
		if r.Backup == "" {
			continue
		}
		format, err := o.Format(r.Backup)
		if err != nil {
			return cli.UsageError{Err: err}
		}
		for i := range r.Snapshots {
			_, r.Snapshots[i].Ours = format.Time(r.Snapshots[i].Name)
		}
		if r.Target != nil {
			for i := range r.Target.Snapshots {
				_, r.Target.Snapshots[i].Ours = format.Time(r.Target.Snapshots[i].Name)
			}
		}
	}
	return nil
}

// undated calls f for each snapshot whose age counts, with its full name and the host
// where that can be asked for.
func undated(all []*record.Record, f func(host, full string, s *record.Snapshot)) {
	for _, r := range all {
		if s := newestOurs(r.Snapshots); s != nil && s.Creation == nil {
			f(r.Host, s.Full(r.Name), s)
		}
		t := r.Target
		switch s, source, _ := reference(r); {
		case r.Type == record.TypeOrphan && t != nil:
			if s := newestOurs(t.Snapshots); s != nil && s.Creation == nil {
				f(t.Host, s.Full(t.Name), s)
			}
		case t == nil || s == nil || s.Creation != nil:
		case source[0] == '#':
			f(t.Host, s.Full(t.Name), s)
		default:
			f(r.Host, r.Name+"@"+source, s)
		}
	}
}

// date finds out when the snapshots were made whose age counts. A snapshot keeps that
// time wherever it is sent.
func (o *Options) date(ctx context.Context, env *cli.Env, all []*record.Record) error {
	var hosts groups.Of[string, string]
	undated(all, func(host, full string, _ *record.Snapshot) { hosts.Add(host, full) })
	made := map[string]*int64{} // by guid
	for dest, names := range hosts.All() {
		host := env.Machine.Host(dest)
		found, err := host.FindCreated(ctx, names)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			o.warn(env, "cannot read when the snapshots of %s were made, and the times in their names count: %s", host, err)
		}
		for _, s := range found {
			made[s.GUID] = s.Creation
		}
	}
	undated(all, func(_, _ string, s *record.Snapshot) { s.Creation = made[s.GUID] })
	return nil
}

// dateByName takes the time of the snapshots whose creation could not be read from their
// names.
func (o *Options) dateByName(all []*record.Record) {
	for _, r := range all {
		format, err := o.Format(r.Backup)
		if err != nil {
			continue // a record without a backup
		}
		undated([]*record.Record{r}, func(_, _ string, s *record.Snapshot) {
			if at, ok := format.Time(s.Name); ok {
				s.Creation = &at
			}
		})
	}
}

// readWritten finds out how much was written since the snapshot whose age counts, where
// the newest of all is another.
func (o *Options) readWritten(ctx context.Context, env *cli.Env, all []*record.Record) error {
	since := map[*record.Record]string{}
	var hosts groups.Of[string, *record.Record]
	for _, r := range all {
		s, source, newest := reference(r)
		if r.Type != record.TypeDataset || s == nil || source[0] == '#' || newest && !o.rules(env).Hidden {
			continue
		}
		since[r] = "written@" + source
		hosts.Add(r.Host, r)
	}
	for dest, set := range hosts.All() {
		host := env.Machine.Host(dest)
		var props, names []string
		for _, r := range set {
			names = append(names, r.Name)
			if !slices.Contains(props, since[r]) {
				props = append(props, since[r])
			}
		}
		got, err := host.Existing(ctx, props, names)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			o.warn(env, "cannot read how much was written on %s: %s", host, err)
		}
		for _, r := range set {
			if n, ok := got[r.Name].Props[since[r]].Int(); ok {
				asked(r).Written = &n
			}
		}
	}
	return nil
}

// warn warns, except beside a line for a monitor, which joins both streams.
func (o *Options) warn(env *cli.Env, format string, a ...any) {
	if o.Nagios {
		env.Verbosef(format, a...)
		return
	}
	env.Warnf(format, a...)
}

// asked returns the status of a record that holds what only zab-status asks for.
func asked(r *record.Record) *record.Status {
	if r.Status == nil {
		r.Status = &record.Status{}
	}
	return r.Status
}
