// Package zab is the wrapper: it chains the commands of the toolkit into a whole backup
// and reports the outcome.
//
// Goals: it starts the real commands with real pipes, so that its work can be printed,
// pasted into a shell and run in parts; the command line of zfs-autobackup; every
// selected dataset has a verdict at the end.
//
// Non-goals: no step of a backup is done here.
package zab

import (
	"context"
	"errors"
	"fmt"

	"zab/lib/cache"
	"zab/lib/chain"
	"zab/lib/cli"
	"zab/lib/dataset"
	"zab/lib/pipeline"
	"zab/lib/plan"
	"zab/lib/schedule"
	"zab/lib/selection"
	"zab/lib/snap"
	"zab/lib/snapname"
	"zab/lib/thin"
	"zab/lib/verify"
	"zab/lib/xfer"
)

// Exit codes of the wrapper beyond the count of failed datasets.
const (
	exitNothing = 255 // nothing could be attempted, or the command line is wrong
	exitMost    = 254 // the largest count of failed datasets
)

// Transfer is xfer.Options under another name, since the name Options is taken by an
// embedded field.
type Transfer = xfer.Options

// Options are the options of zab: those of the stages, under the same names, and its own.
type Options struct {
	cli.Common
	selection.Select
	snapname.Selecting
	snapname.Options
	snapname.Exclusion
	snap.Snap
	plan.Plan
	schedule.Source
	schedule.Target
	thin.Thin
	chain.Keeping
	cache.Remembering
	Transfer
	verify.Verify
	Within       []dataset.Name `long:"within" section:"selection" value-name:"DATASET" unquote:"false" description:"Search for selected datasets only at and below DATASET"`
	Prove        bool           `long:"verify" section:"verification" description:"After the transfers, compare the copies with their sources, and mark those that are equal"`
	NoSend       bool           `long:"no-send" section:"sent" description:"Send nothing: snapshot and thin only"`
	ShowPipeline bool           `long:"show-pipeline" description:"Print the shell pipeline that does the same, and do nothing"`
	JSON         bool           `long:"json" description:"Print the final records instead of a report"`
	DebugOutput  bool           `long:"debug-output" hidden:"yes" description:"The same as --debug"`
	Resume       bool           `long:"resume" hidden:"yes" description:"Obsolete: interrupted transfers are always resumed"`
	Raw          bool           `long:"raw" hidden:"yes" description:"Obsolete: encrypted datasets are always sent raw, see --decrypt"`
}

// sections are the sections of zab(8), after the most frequently used options.
var sections = []cli.Section{
	{Tag: cli.Often, Title: "Used most"},
	{Title: "General"},
	{Tag: "remote", Title: "Remote sides"},
	{Tag: "selection", Title: "Selection"},
	{Tag: "snapshots", Title: "Snapshots"},
	{Tag: "sent", Title: "What is sent, and how it is received"},
	{Tag: "stream", Title: "The stream"},
	{Tag: "thinning", Title: "Thinning"},
	{Tag: "verification", Title: "Verification"},
}

// Program describes zab.
func Program() cli.Program {
	o := &Options{}
	return cli.Program{
		Name: "zab", Usage: "BACKUP-NAME [TARGET]", MinArgs: 1, MaxArgs: 2,
		Summary: "Back up the datasets that the property autobackup:BACKUP-NAME selects to TARGET; without a target, snapshot and thin.",
		Options: o, Sections: sections,
		Check: o.check,
		Run:   o.run,
		// As in zfs-autobackup, all lower numbers count failed datasets.
		UsageExit: exitNothing, FailExit: exitNothing,
	}
}

// Main runs zab and returns its exit status.
func Main(args []string) int { return cli.Main(Program(), args) }

// check has every stage check its options, so that an invalid option is found before
// anything is done.
func (o *Options) check(args []string) error {
	if err := snapname.BackupName(args[0]); err != nil {
		return err
	}
	if o.DebugOutput {
		o.Debug = true
	}
	if len(args) == 1 {
		if o.SSHTarget != "" {
			return fmt.Errorf("--ssh-target: there is no target, only the backup name %q", args[0])
		}
		if o.Prove {
			return fmt.Errorf("--verify: there is no target, only the backup name %q", args[0])
		}
	}
	if len(args) == 2 {
		if err := plan.CheckTarget(args[1]); err != nil {
			return err
		}
	}
	limit := ""
	if len(o.Within) > 0 {
		limit = "--within"
	} else if o.SearchEvery.Seconds() > 0 {
		limit = "--search-every"
	}
	switch {
	case limit != "" && o.FollowRenames:
		return fmt.Errorf("--follow-renames: needs a search of all pools, without %s", limit)
	case limit == "--within" && o.DestroyMissing != nil:
		return errors.New("--destroy-missing: with --within, what is elsewhere on the source would look missing")
	}
	for _, of := range []struct {
		name  string
		given bool
	}{{"files", o.Files}, {"fetch", o.Fetch}, {"full-every", o.FullEvery != nil}, {"budget", o.Budget > 0}, {"oldest-first", o.Oldest}} {
		if of.given && !o.Prove {
			return fmt.Errorf("--%s: nothing is compared without --verify", of.name)
		}
	}
	// Stages that will not be started check their options, too: an invalid option is
	// always an error.
	all := *o
	all.NoSend, all.NoThinning, all.Prove = false, false, true
	if len(args) == 1 {
		args = append(args, "no-target")
	}
	return pipeline.Check(all.stages(args))
}

// keeps describes the schedules of source and target.
func (o *Options) keeps(hasTarget bool) string {
	source, target := o.Source.Keep.Words(), o.Target.Keep.Words()
	switch {
	case o.NoThinning:
		return "no schedule is applied, for --no-thinning was given"
	case !hasTarget:
		return "source keeps " + source
	case source == target:
		return "source and target keep " + source
	}
	return "source keeps " + source + "; target keeps " + target
}

func (o *Options) run(ctx context.Context, env *cli.Env, args []string) error {
	if o.Resume {
		env.Warnf("--resume is obsolete: interrupted transfers are always resumed")
	}
	if o.Raw {
		env.Warnf("--raw is obsolete: encrypted datasets are always sent raw")
	}
	stages := o.stages(args)
	if o.ShowPipeline {
		_, err := fmt.Fprint(env.Stdout, pipeline.Text(stages))
		return err
	}
	if err := pipeline.Connect(ctx, env.Machine, o.Retries, o.SSHSource, o.SSHTarget); err != nil {
		return err
	}
	r := newReport(o, env, args)
	return r.end(o.chain(ctx, env, stages, r))
}
