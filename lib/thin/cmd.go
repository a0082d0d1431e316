// Package thin is zab-thin: it applies a schedule to the snapshots of each
// record, on the source and on the target, and destroys those that it does not keep.
//
// Goals: a verdict with every reason for every snapshot; the incremental base and the
// snapshots still to be sent are never destroyed (promises P1 and P2); one zfs destroy
// per dataset, or a channel program for many datasets of a pool. With -n it is a
// simulator, which starts no program for records that carry their snapshots (but
// --destroy-missing reads the marks of orphans).
//
// Non-goals: it sends nothing and creates nothing.
package thin

import (
	"context"
	"slices"

	"zab/lib/chain"
	"zab/lib/cli"
	"zab/lib/record"
	"zab/lib/schedule"
	"zab/lib/snapname"
	"zab/lib/zfs"
)

// Thin holds the options that the wrapper shares with zab-thin, besides those about
// names and schedules.
type Thin struct {
	DestroyMissing *schedule.Age `long:"destroy-missing" section:"thinning" often:"yes" value-name:"AGE" unquote:"false" description:"Destroy datasets of the target whose source is missing, once it was first seen missing AGE ago, such as 30d, and their newest snapshot of ours is as old"`
}

// Options of zab-thin.
type Options struct {
	cli.Common
	snapname.Options
	snapname.Selecting
	schedule.Source
	schedule.Target
	Thin
	chain.Keeping
	snapname.Holding
	Explain *schedule.Schedule `long:"explain" section:"thinning" value-name:"SCHEDULE" unquote:"false" description:"Print in words what a schedule keeps, and exit"`
	Picture drawing            `long:"picture" section:"thinning" optional:"yes" optional-value:"text" value-name:"TYPE" unquote:"false" description:"With --explain, also draw what is kept as time goes on: text (default), svg"`
	Every   schedule.Age       `long:"every" section:"thinning" value-name:"AGE" unquote:"false" description:"With --picture, the time between two snapshots, such as 1d; else the shortest interval of the schedule"`
}

// Program describes zab-thin.
func Program() cli.Program {
	o := &Options{}
	return cli.Program{
		Name: "zab-thin", MaxArgs: 0, ReadsRecords: true,
		Summary: "Destroy the snapshots of the records read that the schedules do not want.",
		Options: o,
		Check:   func([]string) error { return o.check() },
		Answer:  o.explain,
		Run:     func(ctx context.Context, env *cli.Env, _ []string) error { return o.run(ctx, env) },
	}
}

// Main is the command.
func Main(args []string) int { return cli.Main(Program(), args) }

func (o *Options) rules(backup string, now int64) (*Rules, error) {
	r, err := NewRules(o, &o.Source, &o.Target, backup, now)
	if err != nil {
		return nil, err
	}
	if r.Property, err = o.Property(backup); err != nil {
		return nil, err
	}
	r.Bookmark, r.DryRun = o.Bookmark, o.DryRun
	return r, nil
}

// batch is the number of records that are thinned together and share their listings.
const batch = 200

func (o *Options) run(ctx context.Context, env *cli.Env) error {
	w := env.Writer(env.Stdout)
	t := &thinner{o: o, env: env, rules: map[string]*Rules{}}
	err := env.Batches(ctx, batch, func(set []*record.Record) error {
		var work []*record.Record
		for _, r := range set {
			if !r.Skip() {
				work = append(work, r)
			}
		}
		if err := t.do(ctx, work); err != nil {
			return err
		}
		for _, r := range set {
			write := w.Pass
			if slices.Contains(work, r) {
				write = w.Write
			}
			if err := write(r); err != nil {
				return err
			}
		}
		return nil
	})
	if t.ahead > 0 {
		env.Warnf("snapshots named for a time still to come are kept, and no schedule counts them until then: in %d records, such as '%s'; is a clock wrong, or a time zone another (see --utc)?", t.ahead, t.firstAhead)
	}
	return err
}

// thinner does the work of one run.
type thinner struct {
	o     *Options
	env   *cli.Env
	rules map[string]*Rules // by backup
	// ahead is the number of records with names in the future that no earlier
	// zab-thin has warned about; firstAhead is the first such name.
	ahead      int
	firstAhead string
}

func (t *thinner) do(ctx context.Context, set []*record.Record) error {
	if err := t.fill(ctx, set); err != nil {
		return err
	}
	var first []*record.Record // not seen by an earlier zab-thin
	for _, r := range set {
		if r.Error != nil {
			continue
		}
		rules, err := t.rulesFor(r.Backup)
		if err != nil {
			return cli.UsageError{Err: err}
		}
		if !t.env.Common.DryRun {
			// A snapshot that a dry run would have made does not exist, so it must
			// not count as the newest.
			r.Snapshots = slices.DeleteFunc(r.Snapshots, func(s record.Snapshot) bool { return s.Virtual })
		}
		before := r.Thin
		if before == nil {
			first = append(first, r)
		}
		r.Thin = Decide(r, rules)
		if before != nil {
			r.Thin.Source = merge(before.Source, r.Thin.Source)
			r.Thin.Target = merge(before.Target, r.Thin.Target)
			r.Thin.Dataset, r.Thin.MissingSince, r.Thin.Waits = before.Dataset, before.MissingSince, before.Waits
		}
		if first := warnAhead(r, rules); first != "" && before == nil {
			if t.ahead++; t.firstAhead == "" {
				t.firstAhead = first
			}
		}
	}
	if t.env.Common.DryRun {
		for _, r := range set {
			if r.Thin == nil {
				continue
			}
			for _, n := range doomed(r.Thin.Source) {
				t.env.Verbosef("would destroy '%s@%s'", r.Name, n)
			}
			for _, n := range doomed(r.Thin.Target) {
				t.env.Verbosef("would destroy '%s@%s'", r.Target.Name, n)
			}
		}
		return t.missing(ctx, set)
	}
	if err := t.returned(ctx, first); err != nil {
		return err
	}
	if err := t.destroy(ctx, set, record.SideSource); err != nil {
		return err
	}
	if err := t.destroy(ctx, set, record.SideTarget); err != nil {
		return err
	}
	return t.missing(ctx, set)
}

func (t *thinner) rulesFor(backup string) (*Rules, error) {
	if r := t.rules[backup]; r != nil {
		return r, nil
	}
	r, err := t.o.rules(backup, t.env.Now.Unix())
	t.rules[backup] = r
	return r, err
}

// fill lists the snapshots of records that do not carry them.
func (t *thinner) fill(ctx context.Context, set []*record.Record) error {
	var bare []*record.Record
	for _, r := range set {
		if r.Type == record.TypeDataset && r.Snapshots == nil {
			bare = append(bare, r)
		}
	}
	failed, err := t.env.Machine.Fill(ctx, bare, func(string) bool { return false })
	if err != nil {
		return err
	}
	for _, r := range bare {
		if err := failed[r]; err != nil {
			r.Fail(zfs.Unfilled("thin", "thin", r.Name, err))
			t.env.Report(r)
		}
	}
	return nil
}
