// Package plan is zab-plan: it compares each source dataset with its target and writes
// down the steps that bring the target up to date. Reading the plan is the dry run.
//
// Goals: bases by guid; a conflict is a result with remedies, never a guess; pure if
// the target's state is given in a file; the number of programs grows with the
// logarithm of the number of records with something to send.
//
// Non-goals: it changes nothing, and thins nothing. One exception: to find out whether
// a mounted copy was written to or only read, it runs zfs diff, which makes a snapshot
// for as long as it runs; not with -n.
package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"zab/lib/cache"
	"zab/lib/chain"
	"zab/lib/cli"
	"zab/lib/dataset"
	"zab/lib/schedule"
	"zab/lib/snapname"
	"zab/lib/zfs"
)

// Plan are the options that the wrapper shares with zab-plan, besides those about names
// and the schedule.
type Plan struct {
	SSHTarget      dataset.Host `long:"ssh-target" section:"remote" often:"yes" value-name:"USER@HOST" unquote:"false" description:"Host that the target is on; this machine without it"`
	StripPath      int          `long:"strip-path" section:"sent" value-name:"N" default:"0" base:"10" description:"Strip the first N components of a source's name from the name of its copy"`
	OtherSnapshots bool         `long:"other-snapshots" section:"sent" description:"Send all snapshots, not only ours"`
	NoGUIDCheck    bool         `long:"no-guid-check" section:"sent" description:"Find the newest common snapshot by name instead of guid; dangerous"`
	NoHolds        bool         `long:"no-holds" section:"sent" description:"Put no holds on the newest common snapshots"`
	SharedHolds    bool         `long:"shared-holds" section:"sent" description:"Put zfs-autobackup's hold, too, which all targets share, for a zfs-autobackup that thins the same snapshots"`
	snapname.Holding
	ClearRefreservation bool     `long:"clear-refreservation" section:"sent" description:"Set refreservation=none on the target"`
	ClearMountpoint     bool     `long:"clear-mountpoint" section:"sent" often:"yes" description:"Set canmount=noauto on the target"`
	SafeProperties      bool     `long:"safe-properties" section:"sent" often:"yes" description:"Copy no property that makes the target's host mount, run, share or reserve anything"`
	FilterProperties    names    `long:"filter-properties" section:"sent" value-name:"P,..." unquote:"false" description:"Properties not to copy to the target"`
	SetProperties       settings `long:"set-properties" section:"sent" value-name:"P=V,..." unquote:"false" description:"Properties to set on the target"`
	Rollback            bool     `long:"rollback" section:"sent" description:"Roll a target that was written to back to its newest snapshot"`
	RenameAside         bool     `long:"rename-aside" section:"sent" often:"yes" description:"Rename a target that blocks the stream to NAME_diverged-TIME, and continue in its place, from a clone if a snapshot is in common"`
	FollowRenames       bool     `long:"follow-renames" section:"sent" description:"Rename the copy of a renamed source, with its descendants, so that the stream is incremental"`
	Force               bool     `short:"F" long:"force" section:"sent" description:"Overwrite a target that exists without snapshots with a full stream"`
	DestroyIncompatible bool     `long:"destroy-incompatible" section:"sent" description:"Destroy snapshots of the target that block the stream"`
	Decrypt             bool     `long:"decrypt" section:"sent" description:"Send encrypted datasets decrypted; their key must be loaded"`
	Encrypt             bool     `long:"encrypt" section:"sent" description:"Let the target's parent encrypt new copies"`
	Clones              cloning  `long:"clones" section:"sent" value-name:"HOW" default:"never" unquote:"false" description:"How to send clones: never (as full datasets) or simple (as clones of the copy of their origin)"`
	ZFSCompressed       bool     `long:"zfs-compressed" section:"sent" description:"Send blocks compressed as they are on disk"`
}

// Options are the options of zab-plan.
type Options struct {
	cli.Common
	snapname.Options
	snapname.Exclusion
	Plan
	schedule.Target
	chain.Keeping
	cache.Remembering
	Orphans     bool   `long:"orphans" section:"sent" description:"Also print a record for each dataset below the target that no record read maps to; the input must be the whole selection"`
	TargetState string `long:"target-state" section:"sent" value-name:"FILE" unquote:"false" description:"Take the state of the target from FILE, made by zab-list, and start no program"`
}

// Program describes zab-plan.
func Program() cli.Program {
	o := &Options{}
	return cli.Program{
		Name: "zab-plan", Usage: "TARGET", MinArgs: 1, MaxArgs: 1, ReadsRecords: true,
		Summary: "Add to each record read the steps that bring its copy below TARGET up to date.",
		Options: o,
		Check:   o.check,
		Run:     func(ctx context.Context, env *cli.Env, args []string) error { return o.run(ctx, env, args[0]) },
	}
}

// Main runs zab-plan and returns its exit status.
func Main(args []string) int { return cli.Main(Program(), args) }

func (o *Options) check(args []string) error {
	if err := CheckTarget(args[0]); err != nil {
		return err
	}
	if err := dataset.CheckStrip(o.StripPath); err != nil {
		return fmt.Errorf("--strip-path: %w", err)
	}
	if o.RenameAside {
		for _, other := range []struct {
			given bool
			name  string
		}{{o.Rollback, "rollback"}, {o.DestroyIncompatible, "destroy-incompatible"}, {o.Force, "force"}} {
			if other.given {
				return fmt.Errorf("--rename-aside and --%s exclude each other: what is in the way is either kept or not", other.name)
			}
		}
	}
	if o.ClearMountpoint && slices.Contains(o.SetProperties, "canmount=on") {
		return errors.New(`--set-properties: "canmount=on" contradicts --clear-mountpoint`)
	}
	return nil
}

// CheckTarget returns an error if target cannot be the target of a backup.
func CheckTarget(target string) error {
	if strings.HasPrefix(target, "/") {
		return fmt.Errorf("the target %q should not begin with a /: it is a dataset, not a directory", target)
	}
	if host, name, ok := strings.Cut(target, ":"); ok && strings.Contains(host, "@") {
		return fmt.Errorf("the target %q: a host and a dataset are given apart, as --ssh-target %s and %s", target, zfs.Quote(host), zfs.Quote(name))
	}
	if _, err := dataset.ParseName(target); err != nil {
		return fmt.Errorf("the target: %w", err)
	}
	return nil
}

// checkProperty returns an error unless name can be the name of a property. Only what
// follows an @, as in userquota@NAME, may have blanks.
func checkProperty(name string) error {
	if before, _, _ := strings.Cut(name, "@"); strings.Contains(before, " ") {
		return fmt.Errorf("%q is not the name of a property: it contains a blank", name)
	}
	return dataset.CheckProperty(name)
}

// names are names of properties.
type names []string

// UnmarshalFlag adds the names of a list with commas between them.
func (n *names) UnmarshalFlag(list string) error {
	for p := range strings.SplitSeq(list, ",") {
		p = strings.TrimSpace(p)
		if err := checkProperty(p); err != nil {
			return err
		}
		*n = append(*n, p)
	}
	return nil
}

// settings are properties with their values, in the form PROPERTY=VALUE.
type settings []string

// UnmarshalFlag adds the settings of a list with commas between them.
func (s *settings) UnmarshalFlag(list string) error {
	for p := range strings.SplitSeq(list, ",") {
		if err := dataset.CheckSetting(p); err != nil {
			return err
		}
		name, _, _ := strings.Cut(p, "=")
		if err := checkProperty(name); err != nil {
			return err
		}
		for _, other := range *s {
			if strings.HasPrefix(other, name+"=") && other != p {
				return fmt.Errorf("%q and %q contradict each other", other, p)
			}
		}
		*s = append(*s, p)
	}
	return nil
}
