// Package status is zab-status: it judges from both sides, as they are now, how current the
// copy of each dataset is.
//
// Goals: a verdict for each selected dataset and each copy without a source; what is not
// known is never called well; the verdict is a pure function of the record; one judgement
// in all forms of output.
//
// Non-goals: it changes nothing, reads no logs, and keeps no state of its own. What it
// judges is found out by zab-select and zab-plan.
package status

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"zab/lib/cli"
	"zab/lib/dataset"
	"zab/lib/pipeline"
	"zab/lib/record"
	"zab/lib/schedule"
	"zab/lib/snapname"
	"zab/lib/zfs"
)

// Options of zab-status.
type Options struct {
	cli.Common
	Warn       schedule.Age `long:"warn" section:"verdict" value-name:"AGE" default:"26h" unquote:"false" description:"Warn of a copy that is older, such as 26h or 2d"`
	Crit       schedule.Age `long:"crit" section:"verdict" value-name:"AGE" default:"50h" unquote:"false" description:"Call a copy critical that is older"`
	OrphansAre verdict      `long:"orphans-are" section:"verdict" value-name:"VERDICT" default:"warn" unquote:"false" description:"Verdict on copies without a source: ok, warn or crit"`
	Verified   schedule.Age `long:"verified-within" section:"verdict" value-name:"AGE" unquote:"false" description:"Warn of a copy that zab-verify did not prove within AGE, such as 35d"`
	Holds      bool         `long:"check-holds" section:"verdict" description:"Also look for holds of ours that are missing or left over"`
	MinChange  int64        `long:"min-change" section:"snapshots" value-name:"BYTES" default:"1" base:"10" description:"Only snapshot datasets with at least this many bytes written since our newest snapshot"`

	Table      bool   `long:"table" section:"output" description:"Print a table, as on a terminal"`
	Nagios     bool   `long:"nagios" section:"output" description:"Print one line for Nagios or Icinga"`
	Prometheus string `long:"prometheus" section:"output" value-name:"FILE" unquote:"false" description:"Write metrics for Prometheus to FILE, whole or not at all; - is standard output"`
	Zabbix     bool   `long:"zabbix" section:"output" description:"Print items, and their discovery, for zabbix_sender"`
	HTML       string `long:"html" section:"output" value-name:"FILE" unquote:"false" description:"Write a page for browsers to FILE, whole or not at all; - is standard output"`

	SSHSource       dataset.Host   `long:"ssh-source" section:"remote" often:"yes" value-name:"USER@HOST" unquote:"false" description:"Host that the source datasets are on; this machine without it"`
	SSHTarget       dataset.Host   `long:"ssh-target" section:"remote" often:"yes" value-name:"USER@HOST" unquote:"false" description:"Host that the target is on; this machine without it"`
	StripPath       int            `long:"strip-path" section:"sent" value-name:"N" default:"0" base:"10" description:"Strip the first N components of a source's name from the name of its copy"`
	OtherSnapshots  bool           `long:"other-snapshots" section:"sent" description:"Send all snapshots, not only ours"`
	ExcludeReceived bool           `long:"exclude-received" section:"selection" description:"Leave out datasets whose property was received with a stream"`
	IncludeReceived bool           `long:"include-received" section:"selection" description:"Keep datasets whose property was received, and copies of what the target's host has itself"`
	Within          []dataset.Name `long:"within" section:"selection" value-name:"DATASET" unquote:"false" description:"Search for selected datasets only at and below DATASET"`
	ShowPipeline    bool           `long:"show-pipeline" description:"Print the shell pipeline that does the same, and do nothing"`
	snapname.Selecting
	snapname.Options
	snapname.Exclusion
	snapname.Holding
	schedule.Source
	schedule.Target
}

// verdict is the value of an option that is a verdict.
type verdict string

// UnmarshalFlag parses a verdict.
func (v *verdict) UnmarshalFlag(s string) error {
	if !slices.Contains([]string{record.StatusOK, record.StatusWarn, record.StatusCrit}, s) {
		return fmt.Errorf("%q is not one of ok, warn and crit", s)
	}
	*v = verdict(s)
	return nil
}

// sections are the sections of zab-status(8).
var sections = []cli.Section{
	{Title: "General"},
	{Tag: "verdict", Title: "The verdict"},
	{Tag: "output", Title: "The output"},
	{Tag: "remote", Title: "Remote sides"},
	{Tag: "selection", Title: "Selection"},
	{Tag: "snapshots", Title: "Snapshots"},
	{Tag: "sent", Title: "What is sent"},
	{Tag: "thinning", Title: "Thinning"},
}

// Exit codes of zab-status, which are those of plugins of Nagios.
const exitUnknown = 3

var exits = map[string]int{record.StatusOK: 0, record.StatusWarn: 1, record.StatusCrit: 2, record.StatusUnknown: exitUnknown}

// Program describes zab-status.
func Program() cli.Program {
	o := &Options{}
	return cli.Program{
		Name: "zab-status", Usage: "[BACKUP-NAME [TARGET]]", MinArgs: 0, MaxArgs: 2,
		Summary: "Judge how current the copies of a backup are, from both sides; without BACKUP-NAME, the records read from standard input.",
		Options: o, Sections: sections,
		Check:     o.check,
		Run:       o.run,
		UsageExit: exitUnknown, FailExit: exitUnknown,
	}
}

// Main runs zab-status and returns its exit status.
func Main(args []string) int { return cli.Main(Program(), args) }

func (o *Options) check(args []string) error {
	outputs := 0
	for _, given := range []bool{o.Table, o.Nagios, o.Prometheus != "", o.Zabbix, o.HTML != "", o.ShowPipeline} {
		if given {
			outputs++
		}
	}
	switch {
	case outputs > 1:
		return errors.New("--table, --nagios, --prometheus, --zabbix, --html and --show-pipeline exclude each other")
	case o.Crit.Seconds() < o.Warn.Seconds():
		return fmt.Errorf("--crit: %s is less than the %s of --warn", o.Crit, o.Warn)
	case o.MinChange < 0:
		return fmt.Errorf("--min-change: %d is negative", o.MinChange)
	}
	if err := dataset.CheckStrip(o.StripPath); err != nil {
		return fmt.Errorf("--strip-path: %w", err)
	}
	if len(args) == 0 {
		if o.ShowPipeline {
			return errors.New("--show-pipeline: there is no pipeline without a backup name")
		}
		return nil
	}
	return pipeline.Check(o.stages(args))
}

func (o *Options) rules(env *cli.Env) *Rules {
	return &Rules{Now: env.Now.Unix(), Warn: o.Warn.Seconds(), Crit: o.Crit.Seconds(), MinChange: o.MinChange,
		Verified: o.Verified.Seconds(), Hidden: len(o.Patterns) > 0, Orphan: string(o.OrphansAre)}
}

func (o *Options) run(ctx context.Context, env *cli.Env, args []string) error {
	if o.ShowPipeline {
		_, err := fmt.Fprint(env.Stdout, pipeline.Text(o.wholePipeline(args)))
		return err
	}
	cli.SpareMemory()
	all, incomplete, err := o.records(ctx, env, args)
	if err != nil {
		return err
	}
	if err := o.facts(ctx, env, all); err != nil {
		return err
	}
	return o.write(env, newReport(all, o.rules(env), args, incomplete))
}

// write writes the report in the form that was asked for, and sets the exit status.
func (o *Options) write(env *cli.Env, rep *report) error {
	metrics := o.Prometheus != "" || o.Zabbix
	// What is missing would look as if it did not exist.
	switch {
	case metrics && rep.incomplete != nil:
		return fmt.Errorf("no metrics were written: %w", rep.incomplete)
	case metrics && rep.nothing:
		return fmt.Errorf("no metrics were written: %s", rep.summary())
	}
	if rep.incomplete != nil && !o.Nagios {
		env.Errorf("records may be missing: %s", rep.incomplete)
		env.Hintf("%s", zfs.HintOf(rep.incomplete))
	}
	if !metrics {
		env.Status(exits[rep.verdict])
	}
	terminal := isTerminal(env.Stdout)
	switch {
	case o.Prometheus != "":
		return rep.writePrometheus(env.Stdout, o.Prometheus)
	case o.HTML != "":
		return rep.writeHTML(env.Stdout, o.HTML, o.outlook)
	case o.Zabbix:
		return rep.writeZabbix(env.Stdout)
	case o.Nagios:
		return rep.writeNagios(env.Stdout)
	case o.Table || terminal:
		width := 0
		if terminal {
			width = cli.Width(env.Stdout.(*os.File))
		}
		return rep.writeTable(env.Stdout, width, cli.Redraws(env.Stdout) && os.Getenv("NO_COLOR") == "")
	}
	return rep.writeRecords(env)
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && cli.IsTerminal(f)
}

// records returns the records to judge; incomplete is why some may be missing.
func (o *Options) records(ctx context.Context, env *cli.Env, args []string) (all []*record.Record, incomplete, err error) {
	if len(args) > 0 {
		remote := []dataset.Host{o.SSHSource}
		if len(args) == 2 {
			remote = append(remote, o.SSHTarget)
		}
		if incomplete = pipeline.Connect(ctx, env.Machine, 0, remote...); incomplete == nil {
			all, incomplete = o.collect(ctx, env, args)
		}
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		return all, incomplete, nil
	}
	if isTerminal(env.Stdin) {
		return nil, nil, cli.UsageError{Err: errors.New("an operand is missing: give the name of a backup, or pipe records in from zab-plan")}
	}
	all, err = read(ctx, env.Stdin)
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	if err != nil {
		incomplete = fmt.Errorf("cannot read records: %w", err)
	}
	return all, incomplete, nil
}

// forStages are the options that zab-status only passes on.
var forStages = map[string]bool{"property-format": true, "ssh-source": true, "ssh-target": true, "strip-path": true, "other-snapshots": true,
	"exclude-received": true, "include-received": true, "within": true, "show-pipeline": true}

// wholePipeline returns the stages with zab-status itself.
func (o *Options) wholePipeline(args []string) []pipeline.Stage {
	return append(o.stages(args), pipeline.New(Program(), pipeline.Given(o), forStages, nil, nil))
}
