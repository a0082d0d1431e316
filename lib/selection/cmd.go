// Package selection is zab-select: it finds the datasets that a ZFS property
// selects for a backup, with the reason for each.
//
// Goals: a constant number of programs regardless of the number of datasets: one zfs get,
// up to five for a target on the same host, one for what is above a limited search, and one
// that lists the pools of another host; the same verdicts as
// zfs-autobackup; a reason for every one; a list that is complete, or names the pools and
// datasets that are missing from it.
//
// Non-goals: it changes nothing and reads no snapshots.
package selection

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"zab/lib/cache"
	"zab/lib/cli"
	"zab/lib/dataset"
	"zab/lib/record"
	"zab/lib/schedule"
	"zab/lib/snapname"
	"zab/lib/zfs"
)

// Select holds the options that the wrapper shares with zab-select.
type Select struct {
	SSHSource        dataset.Host `long:"ssh-source" section:"remote" often:"yes" value-name:"USER@HOST" unquote:"false" description:"Host that the source datasets are on; this machine without it"`
	ExcludeUnchanged int64        `long:"exclude-unchanged" section:"selection" value-name:"BYTES" default:"0" base:"10" description:"Leave out datasets with fewer bytes written since their newest snapshot"`
	ExcludeReceived  bool         `long:"exclude-received" section:"selection" description:"Leave out datasets whose property was received with a stream"`
	IncludeReceived  bool         `long:"include-received" section:"selection" description:"Keep datasets whose property was received, and copies of what the target's host has itself"`
	SearchEvery      schedule.Age `long:"search-every" section:"selection" value-name:"AGE" default:"0d" unquote:"false" description:"Search all pools only once in AGE, such as 1d, and else only where the property was set then"`
	IgnoreReplicated bool         `long:"ignore-replicated" section:"selection" hidden:"yes" description:"Obsolete: leave out datasets without changes; see --exclude-unchanged"`
}

// Options of zab-select.
type Options struct {
	cli.Common
	snapname.Selecting
	Select
	cache.Remembering
	Target      dataset.Name   `long:"target" section:"selection" value-name:"TARGET" unquote:"false" description:"Leave out TARGET, if it is on the same host, and copies of what its host has itself"`
	SSHTarget   dataset.Host   `long:"ssh-target" section:"remote" often:"yes" value-name:"USER@HOST" unquote:"false" description:"Host that the target is on; this machine without it"`
	StripPath   int            `long:"strip-path" section:"sent" value-name:"N" default:"0" base:"10" description:"Strip the first N components of a source's name from the name of its copy"`
	ExcludePath []dataset.Name `long:"exclude-path" section:"selection" value-name:"DATASET" unquote:"false" description:"Leave out DATASET and everything below it, such as the target on the same host"`
	Excluded    bool           `long:"excluded" section:"selection" description:"Also print the datasets that --exclude-received, --exclude-unchanged or, as copies, --target leaves out, with the reason"`
	All         bool           `long:"all" section:"selection" description:"Also print the datasets that are not selected, with the reason"`
}

// Program describes zab-select.
func Program() cli.Program {
	o := &Options{}
	var rules *Rules
	var roots []string
	return cli.Program{
		Name: "zab-select", Usage: "BACKUP-NAME [DATASET...]", MinArgs: 1, MaxArgs: -1,
		Summary: "Print a record for every dataset, at or below each DATASET, that the property autobackup:BACKUP-NAME selects.",
		Options: o,
		Check: func(args []string) (err error) {
			if roots, err = within(args[1:]); err != nil {
				return err
			}
			rules, err = o.rules(args[0])
			return err
		},
		Run: func(ctx context.Context, env *cli.Env, args []string) error {
			return o.run(ctx, env, args[0], rules, roots)
		},
	}
}

// Main is the command.
func Main(args []string) int { return cli.Main(Program(), args) }

func (o *Options) rules(backup string) (*Rules, error) {
	if err := snapname.BackupName(backup); err != nil {
		return nil, err
	}
	prop, err := o.Property(backup)
	if err != nil {
		return nil, err
	}
	if err := dataset.CheckStrip(o.StripPath); err != nil {
		return nil, fmt.Errorf("--strip-path: %w", err)
	}
	if o.ExcludeUnchanged < 0 {
		return nil, fmt.Errorf("--exclude-unchanged: %d is negative", o.ExcludeUnchanged)
	}
	r := &Rules{Property: prop,
		ExcludeReceived: o.ExcludeReceived && !o.IncludeReceived, IncludeReceived: o.IncludeReceived, ExcludeUnchanged: o.ExcludeUnchanged}
	if o.IgnoreReplicated && r.ExcludeUnchanged == 0 {
		r.ExcludeUnchanged = 1
	}
	for _, p := range o.ExcludePath {
		r.ExcludePaths = append(r.ExcludePaths, string(p))
	}
	return r, nil
}

func (o *Options) run(ctx context.Context, env *cli.Env, backup string, rules *Rules, roots []string) (err error) {
	host := env.Machine.Host(string(o.SSHSource))
	// The property last: its value is the user's and may contain anything.
	props := append(append([]string{}, zfs.FactProps...), rules.Property)
	var all *listing
	if o.Cache {
		more := slices.Insert(slices.Clone(props), len(zfs.FactProps), zfs.ChangedProp)
		if all, err = o.search(ctx, env, host, rules, roots, more); err != nil && strings.Contains(err.Error(), "'"+zfs.ChangedProp+"'") {
			env.Verbosef("nothing can be remembered of %s: %s", host, err)
			all, err = o.search(ctx, env, host, rules, roots, props)
		}
	} else {
		all, err = o.search(ctx, env, host, rules, roots, props)
	}
	if err != nil {
		return err
	}
	datasets := all.datasets
	if err := o.findCopies(ctx, env, rules, slices.Concat(all.around, datasets)); err != nil {
		return err
	}
	warnings, errs := rules.Decide(all.around, datasets)
	for _, w := range warnings {
		env.Warnf("%s", w)
	}
	if len(errs) > 0 {
		// Selecting some and not others would look like a complete backup.
		for _, err := range errs {
			env.Errorf("%s", err)
		}
		return &record.Error{Stage: "select", Kind: record.KindBadProperty,
			Message: "nothing was selected", Hint: fmt.Sprintf("'zfs set %s=true DATASET', or false, child or parent", rules.Property)}
	}
	pools := map[string]string{}
	for _, d := range slices.Concat(all.around, datasets) {
		if !strings.Contains(d.Name, "/") {
			pools[d.Name] = d.GUID
		}
	}
	var out []*Candidate
	set, selected, copies := false, 0, 0
	for _, d := range datasets {
		set = set || !d.Unset && !d.Illegal
		if d.Selected {
			selected++
		}
		if d.Copy {
			copies++
		}
		// zfs's own temporary datasets are nobody's data.
		if strings.Contains(d.Name, "%") || !d.Selected && !o.All && !(o.Excluded && d.Excluded) {
			if !d.Unset {
				env.Verbosef("'%s': %s", d.Name, d.Reason)
			}
			continue
		}
		out = append(out, d)
	}
	if roots != nil && set {
		for _, root := range all.bare() {
			env.Warnf("nothing at or below '%s' has the property '%s'", root, rules.Property)
		}
	}
	w := env.Writer(env.Stdout)
	for _, d := range Sort(out) {
		if d.Selected {
			env.Verbosef("'%s': selected, %s", d.Name, d.Reason)
		}
		err := w.Write(&record.Record{
			Type: record.TypeDataset, Backup: backup, Host: host.Dest,
			Name: d.Name, Facts: d.Facts, PoolGUID: pools[zfs.Pool(d.Name)],
			Selected: &d.Selected, Reason: d.Reason, Excluded: d.Excluded, Partial: all.roots != nil,
		})
		if err != nil {
			return err
		}
	}
	unread := append(all.missing(backup, host.Dest), all.records(backup, host.Dest)...)
	for _, r := range unread {
		env.Report(r)
		if err := w.Write(r); err != nil {
			return err
		}
	}
	if selected == 0 && copies > 0 {
		return &record.Error{Stage: "select", Kind: record.KindNoneSelected,
			Message: fmt.Sprintf("nothing to back up on %s: what the property '%s' selects are copies of what the target's pool has itself", all.place(), rules.Property),
			Hint:    "--include-received sends them back all the same, as for a restore"}
	}
	if !set && len(unread) == 0 {
		return &record.Error{Stage: "select", Kind: record.KindNoneSelected,
			Message: fmt.Sprintf("no source filesystems selected: no dataset on %s has the property '%s'", all.place(), rules.Property),
			Hint:    fmt.Sprintf("please do a 'zfs set %s=true' on the datasets to back up", rules.Property)}
	}
	return nil
}

// list returns the datasets of the source's host, or those at and below the roots, and
// looks up the target: without the target nothing must be done, and its guid tells
// whether it is on the same host, regardless of that host's name. also are further
// datasets to look at around the roots.
//
// Where the target is known to be on the same host, nothing below it is listed:
// unmounted replicas are the datasets that take zfs the longest.
func (o *Options) list(ctx context.Context, env *cli.Env, host *zfs.Host, rules *Rules, roots, also, props []string) (*listing, error) {
	l := &listing{host: host, rules: rules, props: props, also: also}
	l.limitTo(roots)
	target, here := string(o.Target), o.SSHSource == o.SSHTarget
	leaveOut := here && target != "" && !o.All
	if leaveOut && roots != nil {
		l.limitTo(slices.DeleteFunc(slices.Clone(roots), func(r string) bool { return dataset.Within(r, target) }))
		if len(l.roots) == 0 {
			return nil, errNoRoots(target)
		}
	}
	found := make(chan error, 1)
	if !here {
		// At the same time, because the target's host may be far away.
		go func() { found <- o.findTarget(ctx, env, rules) }()
	}
	var err error
	if leaveOut && l.searched(target) {
		err = l.getBeside(ctx, target)
	} else {
		err = l.get(ctx, l.roots, -1)
	}
	if !here {
		if err := <-found; err != nil {
			return nil, err
		}
	}
	if err == nil {
		err = l.lookAround(ctx, target)
	}
	if err != nil {
		return nil, cannotList(host, err)
	}
	if here && !l.hasTarget(target) {
		// Its absence from a list proves nothing, so zfs is asked for it by name.
		if err := o.findTarget(ctx, env, rules); err != nil {
			return nil, err
		}
	}
	if err := l.mend(ctx, env, o); err != nil {
		return nil, cannotList(host, err)
	}
	return l, nil
}

func cannotList(host *zfs.Host, err error) error {
	return fmt.Errorf("cannot list the datasets of %s: %w", host, err)
}

// hasTarget reports whether the target was listed, and notes its guid.
func (l *listing) hasTarget(target string) bool {
	for _, d := range slices.Concat(l.around, l.datasets) {
		if d.Name == target {
			l.rules.Target, l.rules.TargetGUID = target, d.GUID
			return true
		}
	}
	return false
}

// getBeside lists what is searched, but not below the target, which is on the same host
// and within the search.
func (l *listing) getBeside(ctx context.Context, target string) error {
	depth := strings.Count(target, "/")
	var above, beside []string // of the roots
	for _, r := range l.roots {
		if dataset.Within(target, r) {
			above = append(above, r)
			depth -= strings.Count(r, "/")
		} else {
			beside = append(beside, r)
		}
	}
	if err := l.get(ctx, above, depth); err != nil {
		return err
	}
	path, tops := around(l.datasets, target)
	l.datasets = path
	if len(tops) > 0 {
		deep, gone, err := l.below(ctx, tops)
		if err != nil {
			return err
		}
		l.datasets = append(path, deep...)
		if gone {
			// One of them was destroyed or renamed in between.
			if err := l.get(ctx, above, -1); err != nil {
				return err
			}
		}
	}
	if len(beside) > 0 {
		return l.getRoots(ctx, beside, -1)
	}
	return nil
}

// whole lists all pools, and tries again, up to three times in all, if a pool went away
// meanwhile: zfs fails then, even if that pool is none of ours.
func whole(list func() error) (err error) {
	for range 3 {
		if err = list(); zfs.KindOf(err) != record.KindNotFound {
			break
		}
	}
	return err
}

// around splits a listing down to the depth of the target: path has the target and the
// datasets above it, roots the names of the topmost others, at or below which all other
// datasets are.
func around(shallow []*Candidate, target string) (path []*Candidate, roots []string) {
	for _, d := range shallow {
		up := d.Name[:max(0, strings.LastIndexByte(d.Name, '/'))]
		switch {
		case d.Name == target || strings.HasPrefix(target, d.Name+"/"):
			path = append(path, d)
		case up == "" || strings.HasPrefix(target, up+"/"):
			roots = append(roots, d.Name)
		}
	}
	return path, roots
}

// findTarget looks the target up on its own host.
func (o *Options) findTarget(ctx context.Context, env *cli.Env, rules *Rules) error {
	target := string(o.Target)
	if target == "" {
		return nil
	}
	host := env.Machine.Host(string(o.SSHTarget))
	got, err := host.Get(ctx, []string{"guid"}, []string{target}, false)
	switch {
	case zfs.Absent(err, target):
		message, hint := host.Missing(ctx, target)
		return &record.Error{Stage: "select", Kind: record.KindTargetMissing, Hint: hint,
			Message: fmt.Sprintf("cannot back up to '%s': %s", target, message)}
	case err != nil:
		return fmt.Errorf("cannot look up the target '%s': %w", target, err)
	}
	rules.Target, rules.TargetGUID = target, got[0].Facts().GUID
	return nil
}

// findCopies asks for the pools of the target's host, if any of the datasets may be a
// copy that came from there.
func (o *Options) findCopies(ctx context.Context, env *cli.Env, rules *Rules, datasets []*Candidate) error {
	if o.Target == "" || o.IncludeReceived || !rules.Copies(datasets) {
		return nil
	}
	if rules.TargetPools = rules.ownPools(datasets); rules.TargetPools != nil {
		return nil
	}
	host := env.Machine.Host(string(o.SSHTarget))
	pools, err := host.Pools(ctx)
	if err != nil {
		return fmt.Errorf("cannot list the pools of %s: %w", host, err)
	}
	rules.TargetPools = pools
	return nil
}
