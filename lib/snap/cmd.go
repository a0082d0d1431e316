// Package snap is zab-snap: one atomic snapshot a pool of all the datasets
// that it reads, of those only that changed.
//
// Goals: all or none within a pool, in one transaction group; nothing where
// nothing changed; two zfs programs beyond the snapshots themselves, whatever
// the number of datasets.
//
// Non-goals: it selects nothing and destroys nothing.
package snap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"zab/lib/cache"
	"zab/lib/cli"
	"zab/lib/record"
	"zab/lib/snapname"
	"zab/lib/zfs"
)

// Snap are the options that the wrapper has in common with zab-snap, besides
// those about names.
type Snap struct {
	NoSnapshot    bool     `long:"no-snapshot" description:"Make no new snapshot; work with those that are there"`
	MinChange     int64    `long:"min-change" value-name:"BYTES" default:"1" base:"10" description:"Only snapshot datasets with at least this many bytes written since our newest snapshot"`
	AllowEmpty    bool     `long:"allow-empty" description:"Snapshot datasets too that did not change"`
	SetProperties []string `long:"set-snapshot-properties" value-name:"P=V,..." unquote:"false" description:"User properties to set on the new snapshots"`
	PreCommand    []string `long:"pre-snapshot-cmd" value-name:"CMD" unquote:"false" description:"Run CMD on the source side before the snapshot; if it fails, none is made"`
	PostCommand   []string `long:"post-snapshot-cmd" value-name:"CMD" unquote:"false" description:"Run CMD on the source side after the snapshot, whatever happened"`
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
	if _, err := o.Format("x"); err != nil {
		return err
	}
	if o.MinChange < 0 {
		return fmt.Errorf("--min-change: %d is negative", o.MinChange)
	}
	if _, err := o.properties(); err != nil {
		return err
	}
	_, err := o.Compile()
	return err
}

func (o *Options) properties() ([]string, error) {
	var out []string
	for _, list := range o.SetProperties {
		for p := range strings.SplitSeq(list, ",") {
			name, _, ok := strings.Cut(p, "=")
			if !ok || name == "" {
				return nil, fmt.Errorf("--set-snapshot-properties: %q is not of the form PROPERTY=VALUE", p)
			}
			// A snapshot takes no other properties.
			if _, err := snapname.Property(name, ""); err != nil {
				return nil, fmt.Errorf("--set-snapshot-properties: %q is not a user property: %w", name, err)
			}
			out = append(out, p)
		}
	}
	return out, nil
}

func (o *Options) run(ctx context.Context, env *cli.Env) error {
	all, bad, err := env.All(ctx)
	if err != nil {
		return err
	}
	w := record.NewWriter(env.Stdout)
	s := &snapper{o: o, env: env}
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
		if r.Backup == "" {
			r.Fail(record.Error{Stage: "snap", Kind: "bad-input",
				Message: fmt.Sprintf("cannot snapshot '%s': its record does not say for which backup", r.Name),
				Hint:    "records come from zab-select, or from 'zab-list --backup NAME'"})
			env.Report(r)
			continue
		}
		if bad != nil {
			r.Fail(record.Error{Stage: "snap", Kind: "bad-input",
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
}

// do lists and snapshots, host by host and pool by pool.
func (s *snapper) do(ctx context.Context, work []*record.Record) error {
	for _, set := range groups(work, func(r *record.Record) string { return r.Host }) {
		host := s.env.Machine.Host(set[0].Host)
		if err := s.list(ctx, host, set); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			s.failAll(set, zfs.KindOf(err), fmt.Sprintf("cannot list the snapshots of %s: %s", host, err))
			continue
		}
		if err := s.snapshots(ctx, host, set); err != nil {
			return err
		}
	}
	return nil
}

// failAll fails records that still stand, with one message for all of them.
func (s *snapper) failAll(set []*record.Record, kind zfs.Kind, message string) {
	s.env.Errorf("%s", message)
	s.env.Hintf("%s", kind.Hint())
	s.env.Fail()
	for _, r := range set {
		r.Fail(record.Error{Stage: "snap", Kind: string(kind), Message: message, Hint: kind.Hint()})
	}
}

// groups cuts records into runs with the same key, in order of appearance.
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
	excluded, err := s.o.Compile()
	if err != nil {
		return err
	}
	failed, err := s.fill(ctx, host, set, excluded)
	if err != nil {
		return err
	}
	for _, r := range set {
		if err := failed[r]; err != nil {
			r.Fail(zfs.Unfilled("snap", "snapshot", r.Name, err))
			s.env.Report(r)
		}
	}
	formats := map[string]snapname.Format{}
	for _, r := range set {
		f, ok := formats[r.Backup]
		if !ok {
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

// gone fails records whose dataset is no more.
func (s *snapper) gone(set []*record.Record) {
	for _, r := range set {
		r.Fail(record.Error{Stage: "snap", Kind: string(zfs.KindNotFound),
			Message: fmt.Sprintf("cannot snapshot '%s': the dataset is gone since it was selected", r.Name)})
		s.env.Report(r)
	}
}

// snapshots decides which datasets get a snapshot and makes them.
func (s *snapper) snapshots(ctx context.Context, host *zfs.Host, set []*record.Record) error {
	var live []*record.Record
	for _, r := range set {
		if r.Error == nil {
			live = append(live, r)
		}
	}
	if s.o.NoSnapshot {
		for _, r := range live {
			r.Snapshot = &record.Made{None: "disabled"}
		}
		return nil
	}
	changed, err := s.changed(ctx, host, live)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.failAll(live, zfs.KindOf(err), fmt.Sprintf("cannot find out what changed on %s: %s", host, err))
		return nil
	}
	for _, byBackup := range groups(changed, func(r *record.Record) string { return r.Backup }) {
		if err := s.take(ctx, host, byBackup); err != nil {
			return err
		}
	}
	return nil
}

// newestOurs is the index of the newest snapshot of ours, or -1.
func newestOurs(r *record.Record) int {
	for i := len(r.Snapshots) - 1; i >= 0; i-- {
		if r.Snapshots[i].Ours {
			return i
		}
	}
	return -1
}

// changed gives the records that need a snapshot and notes it in the others.
// Where our newest snapshot is the newest of all, what select read in written
// is the answer; else, and where some were left out of the listing, zfs is
// asked for written@OURS, in one program.
func (s *snapper) changed(ctx context.Context, host *zfs.Host, set []*record.Record) ([]*record.Record, error) {
	if s.o.AllowEmpty || s.o.MinChange == 0 {
		return set, nil
	}
	written := map[*record.Record]int64{}
	var props, names []string
	for _, r := range set {
		i := newestOurs(r)
		switch {
		case i < 0:
			continue
		case i == len(r.Snapshots)-1 && r.Written != nil && len(s.o.Patterns) == 0:
			written[r] = *r.Written
			continue
		}
		names = append(names, r.Name)
		if p := "written@" + r.Snapshots[i].Name; !slices.Contains(props, p) {
			props = append(props, p)
		}
	}
	if len(names) > 0 {
		got, err := host.Get(ctx, props, names, false)
		if err != nil {
			return nil, err
		}
		byName := map[string]map[string]zfs.Value{}
		for _, d := range got {
			byName[d.Name] = d.Props
		}
		for _, r := range set {
			if i := newestOurs(r); i >= 0 {
				if _, known := written[r]; !known {
					if n, ok := byName[r.Name]["written@"+r.Snapshots[i].Name].Int(); ok {
						written[r] = n
					}
				}
			}
		}
	}
	var out []*record.Record
	for _, r := range set {
		if n, ok := written[r]; ok && n < s.o.MinChange {
			r.Snapshot = &record.Made{None: "unchanged"}
			s.env.Verbosef("'%s': unchanged, %d bytes written since our newest snapshot", r.Name, n)
			continue
		}
		out = append(out, r)
	}
	return out, nil
}
