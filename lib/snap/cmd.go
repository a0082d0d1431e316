// Package snap is zab-snap: it takes one atomic snapshot per pool of those datasets that
// have changed among the ones it reads.
//
// Goals: all datasets of a pool that can be snapshotted are, in one transaction group,
// and one that cannot fails alone; no snapshot where nothing changed; at most four zfs
// programs beyond the snapshots themselves, and one for each pool, regardless of the
// number of datasets.
//
// Non-goals: it selects nothing and destroys nothing.
package snap

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"zab/lib/cache"
	"zab/lib/cli"
	"zab/lib/record"
	"zab/lib/snapname"
	"zab/lib/zfs"
)

// Snap holds the options that the wrapper shares with zab-snap, besides those about
// names.
type Snap struct {
	NoSnapshot    bool     `long:"no-snapshot" section:"snapshots" description:"Make no new snapshots; use the existing ones"`
	MinChange     int64    `long:"min-change" section:"snapshots" value-name:"BYTES" default:"1" base:"10" description:"Only snapshot datasets with at least this many bytes written since our newest snapshot"`
	AllowEmpty    bool     `long:"allow-empty" section:"snapshots" description:"Also snapshot datasets that did not change"`
	SetProperties settings `long:"set-snapshot-properties" section:"snapshots" value-name:"P=V,..." unquote:"false" description:"User properties to set on the new snapshots"`
	PreCommand    []string `long:"pre-snapshot-cmd" section:"snapshots" value-name:"CMD" unquote:"false" description:"Run CMD on the source side before the snapshot; if it fails, none is made"`
	PostCommand   []string `long:"post-snapshot-cmd" section:"snapshots" value-name:"CMD" unquote:"false" description:"Run CMD on the source side after the snapshot, whatever happened"`
}

// Options of zab-snap.
type Options struct {
	cli.Common
	snapname.Options
	snapname.Exclusion
	Snap
	cache.Remembering
}

// Program describes zab-snap.
func Program() cli.Program {
	o := &Options{}
	return cli.Program{
		Name: "zab-snap", MaxArgs: 0, ReadsRecords: true,
		Summary: "Snapshot all datasets read from standard input, atomically, those only that changed.",
		Options: o,
		Check:   func([]string) error { return o.check() },
		Run:     func(ctx context.Context, env *cli.Env, _ []string) error { return o.run(ctx, env) },
	}
}

// Main is the command.
func Main(args []string) int { return cli.Main(Program(), args) }

func (o *Options) check() error {
	if o.MinChange < 0 {
		return fmt.Errorf("--min-change: %d is negative", o.MinChange)
	}
	return nil
}

// settings are user properties with their values; a snapshot takes no others.
type settings []string

// UnmarshalFlag adds the settings of a list with commas between them.
func (s *settings) UnmarshalFlag(list string) error {
	for p := range strings.SplitSeq(list, ",") {
		name, _, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return fmt.Errorf("%q is not of the form PROPERTY=VALUE", p)
		}
		if _, err := snapname.Property(name, ""); err != nil {
			return fmt.Errorf("%q is not a user property: %w", name, err)
		}
		*s = append(*s, p)
	}
	return nil
}

func (o *Options) run(ctx context.Context, env *cli.Env) error {
	all, bad, err := env.All(ctx, nil)
	if err != nil {
		return err
	}
	w := env.Writer(env.Stdout)
	s := &snapper{o: o, env: env, measured: map[*record.Record]bool{}}
	var work []*record.Record
	touched := map[*record.Record]bool{}
	for _, r := range all {
		if r.Skip() {
			continue
		}
		if r.Type != record.TypeDataset {
			continue
		}
		touched[r] = true
		r.Snapshot = nil // left by an earlier zab-snap
		if r.Backup == "" {
			r.Fail(record.Error{Stage: "snap", Kind: record.KindBadInput,
				Message: fmt.Sprintf("cannot snapshot '%s': its record does not say for which backup", r.Name),
				Hint:    "records come from zab-select, or from 'zab-list --backup NAME'"})
			env.Report(r)
			continue
		}
		if bad != nil {
			r.Fail(record.Error{Stage: "snap", Kind: record.KindBadInput,
				Message: fmt.Sprintf("cannot snapshot '%s': the set of datasets is not complete, for %s was not understood", r.Name, lineOf(bad))})
			continue
		}
		work = append(work, r)
	}
	err = s.do(ctx, work)
	if err != nil {
		return err
	}
	for _, r := range all {
		if touched[r] {
			err = w.Write(r)
		} else {
			err = w.Pass(r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func lineOf(err error) string {
	var in *record.InputError
	if errors.As(err, &in) {
		return fmt.Sprintf("line %d of the input", in.Line)
	}
	return "the input"
}

// snapper does the work of one run.
type snapper struct {
	o   *Options
	env *cli.Env
	// measured has the records whose Written was read after their pool was synced and
	// before their snapshots were listed.
	measured map[*record.Record]bool
}

// do lists and snapshots, host by host and pool by pool.
func (s *snapper) do(ctx context.Context, work []*record.Record) error {
	for _, set := range groups(work, func(r *record.Record) string { return r.Host }) {
		host := s.env.Machine.Host(set[0].Host)
		if !s.hooked() && !s.o.NoSnapshot {
			if err := s.measure(ctx, host, set); err != nil {
				return err
			}
			if set = standing(set); len(set) == 0 {
				continue
			}
		}
		if err := s.list(ctx, host, set); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			s.failAll(set, zfs.Failed("snap", err, "cannot list the snapshots of %s: %s", host, err))
			continue
		}
		if err := s.snapshots(ctx, host, set); err != nil {
			return err
		}
	}
	return nil
}

// failAll fails records, with one message for all of them.
func (s *snapper) failAll(set []*record.Record, e record.Error) {
	s.env.ReportError(&e)
	for _, r := range set {
		r.Fail(e)
	}
}

// groups returns the records in groups with the same key. Groups and their records are
// in order of appearance.
func groups(rs []*record.Record, key func(*record.Record) string) [][]*record.Record {
	at := map[string]int{}
	var out [][]*record.Record
	for _, r := range rs {
		k := key(r)
		i, ok := at[k]
		if !ok {
			i = len(out)
			at[k] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], r)
	}
	return out
}

// list fills in the snapshots and bookmarks of the records.
func (s *snapper) list(ctx context.Context, host *zfs.Host, set []*record.Record) error {
	failed, err := s.fill(ctx, host, set, s.o.Excludes)
	pools := groups(set, func(r *record.Record) string { return zfs.Pool(r.Name) })
	switch kind := zfs.KindOf(err); {
	case err == nil:
	case ctx.Err() == nil && len(pools) > 1 && (zfs.OfDatasets(err) || kind == record.KindPoolIO || kind == record.KindTimeout):
		failed = map[*record.Record]error{}
		// A pool in trouble must not stop the others.
		for _, of := range pools {
			some, err := host.Fill(ctx, of, s.o.Excludes)
			if ctx.Err() != nil {
				return err
			}
			if err != nil {
				s.failAll(of, zfs.Failed("snap", err, "cannot list the snapshots of pool '%s' on %s: %s", zfs.Pool(of[0].Name), host, err))
			}
			maps.Copy(failed, some)
		}
	default:
		return err
	}
	s.unlisted(set, failed)
	return s.ours(set)
}

// unlisted fails records whose snapshots could not be listed.
func (s *snapper) unlisted(set []*record.Record, failed map[*record.Record]error) {
	for _, r := range set {
		if err := failed[r]; err != nil {
			r.Fail(zfs.Unfilled("snap", "snapshot", r.Name, err))
			s.env.Report(r)
		}
	}
}

// again reads the written bytes and the snapshots of records once more, because they may
// have changed meanwhile.
func (s *snapper) again(ctx context.Context, host *zfs.Host, set []*record.Record) error {
	for _, r := range set {
		r.Written, r.Remembered = nil, false
	}
	if err := s.measure(ctx, host, set); err != nil {
		return err
	}
	set = standing(set)
	failed, err := host.Fill(ctx, set, s.o.Excludes)
	if err != nil {
		return err
	}
	s.unlisted(set, failed)
	return s.ours(set)
}

// ours marks the snapshots whose names have the format of their backup.
func (s *snapper) ours(set []*record.Record) error {
	formats := map[string]snapname.Format{}
	for _, r := range set {
		f, ok := formats[r.Backup]
		if !ok {
			var err error
			if f, err = s.o.Format(r.Backup); err != nil {
				return err
			}
			formats[r.Backup] = f
		}
		for i := range r.Snapshots {
			_, r.Snapshots[i].Ours = f.Time(r.Snapshots[i].Name)
		}
	}
	return nil
}

// gone fails records whose dataset no longer exists.
func (s *snapper) gone(set []*record.Record) {
	for _, r := range set {
		r.Fail(record.Error{Stage: "snap", Kind: record.KindNotFound,
			Message: fmt.Sprintf("cannot snapshot '%s': the dataset is gone since it was selected", r.Name)})
		s.env.Report(r)
	}
}

// snapshots decides which datasets get a snapshot and makes them.
func (s *snapper) snapshots(ctx context.Context, host *zfs.Host, set []*record.Record) error {
	live := standing(set)
	if s.o.NoSnapshot {
		for _, r := range live {
			r.Snapshot = &record.Made{None: "disabled"}
		}
		return nil
	}
	for _, byBackup := range groups(live, func(r *record.Record) string { return r.Backup }) {
		if err := s.snapshotAll(ctx, host, byBackup); err != nil {
			return err
		}
	}
	return nil
}

// standing returns the records that have neither failed nor been decided about.
func standing(set []*record.Record) []*record.Record {
	return slices.DeleteFunc(slices.Clone(set), func(r *record.Record) bool { return r.Error != nil || r.Snapshot != nil })
}
