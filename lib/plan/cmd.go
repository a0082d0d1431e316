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
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"unicode"

	"zab/lib/cache"
	"zab/lib/chain"
	"zab/lib/cli"
	"zab/lib/dataset"
	"zab/lib/record"
	"zab/lib/schedule"
	"zab/lib/snapname"
	"zab/lib/zfs"
)

// Plan are the options that the wrapper shares with zab-plan, besides those about names
// and the schedule.
type Plan struct {
	SSHTarget           string   `long:"ssh-target" section:"remote" often:"yes" value-name:"USER@HOST" unquote:"false" description:"Host that the target is on; this machine without it"`
	StripPath           int      `long:"strip-path" section:"sent" value-name:"N" default:"0" base:"10" description:"Leave out the first N parts of the source path in the target path"`
	OtherSnapshots      bool     `long:"other-snapshots" section:"sent" description:"Send all snapshots, not only ours"`
	NoGUIDCheck         bool     `long:"no-guid-check" section:"sent" description:"Find common snapshots by name only; dangerous"`
	NoHolds             bool     `long:"no-holds" section:"sent" description:"Put no holds on the newest snapshots in common"`
	HoldFormat          string   `long:"hold-format" section:"sent" value-name:"FORMAT" default:"zfs_autobackup:{}" unquote:"false" description:"Tag of our holds; {} is the backup name"`
	ClearRefreservation bool     `long:"clear-refreservation" section:"sent" description:"Set refreservation=none on the target"`
	ClearMountpoint     bool     `long:"clear-mountpoint" section:"sent" often:"yes" description:"Set canmount=noauto on the target"`
	SafeProperties      bool     `long:"safe-properties" section:"sent" often:"yes" description:"Take over no property that makes the target's host mount, run, share or reserve anything"`
	FilterProperties    []string `long:"filter-properties" section:"sent" value-name:"P,..." unquote:"false" description:"Properties not to take over to the target"`
	SetProperties       []string `long:"set-properties" section:"sent" value-name:"P=V,..." unquote:"false" description:"Properties to set on the target"`
	Rollback            bool     `long:"rollback" section:"sent" description:"Undo changes of the target since its newest snapshot, where there are any"`
	RenameAside         bool     `long:"rename-aside" section:"sent" often:"yes" description:"Rename a target that is in the way to NAME_diverged-TIME, and go on in its place; where a snapshot is in common, from a clone"`
	FollowRenames       bool     `long:"follow-renames" section:"sent" description:"Rename the copy of a source that was renamed, with all below it, so that an increment does"`
	Force               bool     `short:"F" long:"force" section:"sent" description:"Overwrite a target that exists without snapshots"`
	DestroyIncompatible bool     `long:"destroy-incompatible" section:"sent" description:"Destroy snapshots of the target that are in the way"`
	Decrypt             bool     `long:"decrypt" section:"sent" description:"Send encrypted datasets decrypted; their key must be loaded"`
	Encrypt             bool     `long:"encrypt" section:"sent" description:"Have the target's parent encrypt what it receives"`
	Clones              string   `long:"clones" section:"sent" value-name:"HOW" default:"never" unquote:"false" description:"What becomes of clones: never, their copies are none and take all the space again; simple, they are made from the copy of their origin"`
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
	Orphans     bool   `long:"orphans" section:"sent" description:"Print a record too for each dataset below the target that no dataset read maps to; the input must be the whole selection"`
	TargetState string `long:"target-state" section:"sent" value-name:"FILE" unquote:"false" description:"Take the state of the target from FILE, made by zab-list, and start no program"`

	filter, set []string
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
	if _, err := dataset.ParseHost(o.SSHTarget); err != nil {
		return fmt.Errorf("--ssh-target: %w", err)
	}
	if err := dataset.CheckStrip(o.StripPath); err != nil {
		return fmt.Errorf("--strip-path: %w", err)
	}
	if _, err := snapname.HoldTag(o.HoldFormat, "x"); err != nil {
		return fmt.Errorf("--hold-format: %w", err)
	}
	if _, err := o.Format("x"); err != nil {
		return err
	}
	if _, err := o.Compile(); err != nil {
		return err
	}
	if _, err := o.KeepTarget(); err != nil {
		return err
	}
	if o.Clones != clonesNever && o.Clones != clonesSimple {
		return fmt.Errorf("--clones: %q is neither %s nor %s", o.Clones, clonesNever, clonesSimple)
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
	return o.parseProperties()
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

// isProperty reports whether name can be the name of a property. It checks the form
// only, because zfs may be of a version with other properties.
func isProperty(name string) bool {
	return name != "" && len(name) <= dataset.MaxName && name[0] != '-' &&
		!strings.ContainsFunc(name, func(r rune) bool { return r == '=' || unicode.IsSpace(r) || !unicode.IsPrint(r) })
}

// parseProperties splits the lists of properties at their commas and checks them.
func (o *Options) parseProperties() error {
	for _, list := range o.FilterProperties {
		for p := range strings.SplitSeq(list, ",") {
			if p = strings.TrimSpace(p); !isProperty(p) {
				return fmt.Errorf("--filter-properties: %q is not the name of a property", p)
			}
			o.filter = append(o.filter, p)
		}
	}
	for _, list := range o.SetProperties {
		for p := range strings.SplitSeq(list, ",") {
			name, _, ok := strings.Cut(p, "=")
			if !ok || !isProperty(name) {
				return fmt.Errorf("--set-properties: %q is not of the form PROPERTY=VALUE", p)
			}
			for _, other := range o.set {
				if strings.HasPrefix(other, name+"=") && other != p {
					return fmt.Errorf("--set-properties: %q and %q contradict each other", other, p)
				}
			}
			if o.ClearMountpoint && p == "canmount=on" {
				return fmt.Errorf("--set-properties: %q contradicts --clear-mountpoint", p)
			}
			o.set = append(o.set, p)
		}
	}
	return nil
}

func (o *Options) run(ctx context.Context, env *cli.Env, target string) error {
	if os.Getenv("GOGC") == "" {
		// All records are held until the plan is made, so garbage may take only half as
		// much memory as they do, not as much again.
		debug.SetGCPercent(50)
	}
	host := env.Machine.Host(o.SSHTarget)
	excluded, err := o.Compile()
	if err != nil {
		return cli.UsageError{Err: err}
	}
	// List the target while the earlier stages still work.
	type listed struct {
		s   *state
		m   *memory
		err error
	}
	ready := make(chan listed, 1)
	go func() {
		var l listed
		switch {
		case o.TargetState != "":
			l.s, l.err = readState(o.TargetState, target, excluded)
		case o.Cache:
			if l.m, l.err = remember(ctx, env, host, target, excluded); l.m != nil {
				l.s = l.m.s
			}
		}
		if l.s == nil && l.err == nil {
			l.s, l.err = listState(ctx, host, target, excluded)
		}
		ready <- l
	}()
	all, bad, err := env.All(ctx)
	if err != nil {
		return err
	}
	l := <-ready
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var fatal *record.Error
	switch {
	case l.err != nil && (!zfs.Absent(l.err, target) || l.s.datasets[target] != nil):
		// If the target itself was listed, a dataset below it was not: the list is
		// incomplete.
		e := zfs.Failed("plan", l.err, "cannot list the target '%s': %s", target, l.err)
		fatal = &e
	case l.s.datasets[target] == nil:
		fatal = &record.Error{Stage: "plan", Kind: record.KindTargetMissing,
			Message: fmt.Sprintf("cannot back up to '%s': the target does not exist on %s", target, host),
			Hint:    fmt.Sprintf("please create this dataset first: 'zfs create %s'", zfs.Quote(target))}
		if o.TargetState == "" {
			var message string
			message, fatal.Hint = host.Missing(ctx, target)
			fatal.Message = fmt.Sprintf("cannot back up to '%s': %s", target, message)
		}
	}
	names, unnamed, err := Map(all, target, o.StripPath)
	if err != nil && fatal == nil {
		fatal = &record.Error{Stage: "plan", Kind: record.KindBadMapping, Message: err.Error(), Hint: "see --strip-path"}
	}
	if l.m != nil && fatal == nil {
		switch err := l.m.also(ctx, names); {
		case err == nil:
			l.m.save()
		case ctx.Err() != nil:
			return context.Cause(ctx)
		default:
			// A dataset that cannot be read must not stop the others.
			env.Verbosef("what is remembered of '%s' will not do: %s", target, err)
			if l.s, err = listState(ctx, host, target, excluded); err != nil {
				return fmt.Errorf("cannot list the target '%s': %w", target, err)
			}
		}
	}
	if fatal == nil {
		if err := l.s.mend(ctx, host, target, names, excluded); err != nil {
			return fmt.Errorf("cannot list the target '%s': %w", target, err)
		}
	}
	var failed map[*record.Record]bool
	if fatal == nil {
		for _, r := range all {
			if err := unnamed[r]; err != nil && !r.Skip() {
				r.Fail(record.Error{Stage: "plan", Kind: record.KindBadMapping, Message: err.Error(), Hint: tooLong})
				env.Report(r)
				continue
			}
			delete(unnamed, r)
		}
		doubtful := func(r *record.Record) bool { return o.needsRelist(r, l.s.datasets[names[r]]) }
		if failed, err = o.fill(ctx, env, all, doubtful, excluded); err != nil {
			return err
		}
		for r := range unnamed {
			failed[r] = true
		}
	}
	if fatal != nil {
		env.Errorf("%s", fatal.Message)
		env.Hintf("%s", fatal.Hint)
		env.Fail()
		return o.writeAll(env, all, func(r *record.Record) { r.Fail(*fatal) })
	}
	return o.plan(ctx, env, host, target, l.s, all, names, failed, bad == nil)
}

// tooLong is the hint for a name that is too long on the target.
const tooLong = "no name of ZFS is longer than 255 bytes: leave out the first parts of the source's with --strip-path, or take a target with a shorter name"

// writeAll applies f to the records that take part, and writes all records.
func (o *Options) writeAll(env *cli.Env, all []*record.Record, f func(*record.Record)) error {
	w := record.NewWriter(env.Stdout)
	for _, r := range all {
		write := w.Pass
		if !r.Skip() && r.Type == record.TypeDataset {
			f(r)
			write = w.Write
		}
		if err := write(r); err != nil {
			return err
		}
	}
	return nil
}

// plan plans all records and writes each as soon as it is planned, so that the first
// are on their way while the targets of the last are still being read.
func (o *Options) plan(ctx context.Context, env *cli.Env, host *zfs.Host, target string, s *state, all []*record.Record, names map[*record.Record]string, failed map[*record.Record]bool, whole bool) error {
	s.sources = map[string]bool{}
	keep, err := o.KeepTarget()
	if err != nil {
		return cli.UsageError{Err: err}
	}
	s.findAsides()
	p := &planner{o: o, now: env.Now.Unix(), keep: keep, target: target, state: s, drafts: map[string]*draft{}, copies: map[string]string{}}
	backup := ""
	drafts := map[*record.Record]*draft{}
	var list []*draft
	for _, r := range all {
		if r.Type == record.TypeDataset && r.Backup != "" {
			backup = r.Backup
		}
		if names[r] == "" {
			continue
		}
		s.sources[r.Name] = true
		if r.Error != nil && s.datasets[names[r]] == nil {
			// A record that failed in an earlier stage is not received in this run. A
			// parent made in its place would be in its way the next time.
			s.coming[names[r]] = r
		}
		if r.Skip() {
			continue
		}
		if err := p.names(r.Backup); err != nil {
			return cli.UsageError{Err: err}
		}
		if of, err := s.unreadable(names[r]); err != nil {
			r.Fail(zfs.Failed("plan", err, "cannot back up '%s': its copy, or what is above it, cannot be read: '%s': %s", r.Name, of, err))
			env.Report(r)
			if s.datasets[names[r]] == nil {
				s.coming[names[r]] = r
			}
			failed[r] = true
			continue
		}
		d := p.match(r, names[r])
		drafts[r], p.drafts[names[r]] = d, d
		list = append(list, d)
	}
	for _, r := range all {
		if r.Type != record.TypeUnlisted {
			continue
		}
		// As above: nothing is made in the place of a dataset that may be received
		// another time.
		if n, err := dataset.TargetName(r.Name, target, o.StripPath); err == nil && s.datasets[n] == nil && s.coming[n] == nil && p.drafts[n] == nil {
			s.coming[n] = r
		}
	}
	if s.broken != nil {
		env.Warnf("the list of the target '%s' is not whole, and no copy is called missing: %s", target, s.broken)
		env.Hintf("%s", zfs.HintOf(s.broken))
		env.Fail()
	}
	p.pools = pools(all)
	p.held = p.heldPlaces(all, names)
	if list, err = p.findMoved(ctx, host, list); err != nil {
		return err
	}
	all = inOrder(all, list)
	p.clones(list)
	p.findHeld(ctx, env, host, list)
	if p.features, err = o.features(ctx, env, host, target, list); err != nil {
		return err
	}
	if o.TargetState == "" && (slices.ContainsFunc(list, sends) || slices.ContainsFunc(list, p.unmarked) || slices.ContainsFunc(list, func(d *draft) bool { return d.held != nil })) {
		// If something is sent, the pool was asked just now, and the answer comes from
		// memory.
		all, err := host.Features(ctx, []string{zfs.Pool(target)})
		if err != nil {
			return fmt.Errorf("cannot read the guid of the target's pool on %s: %w", host, err)
		}
		p.pool, p.asked = all[zfs.Pool(target)].GUID, true
	}
	for _, d := range list {
		if err := p.names(d.r.Backup); err != nil {
			return cli.UsageError{Err: err}
		}
		d.r.Target.ZPoolGUID, d.r.Target.Pin, d.r.Target.OldPin = p.pool, p.pin(), p.oldPin()
		// Before any plan is made, because records may come in any order.
		if sends(d) {
			s.coming[d.r.Target.Name] = d.r
		}
	}
	if o.TargetState == "" {
		p.autoSnapshots = sync.OnceValue(func() map[string]zfs.AutoSnapshot {
			var names []string
			for _, d := range list {
				if t := d.r.Target; t != nil && t.Exists && d.has && d.base.Target < len(t.Snapshots)-1 {
					names = append(names, s.currentName(t.Name))
				}
			}
			// Errors are ignored, because the answer only makes a message better.
			found, _ := host.AutoSnapshot(ctx, names)
			return found
		})
	}
	w := record.NewWriter(env.Stdout)
	look := newLook(list, func(set []*draft) error {
		if err := s.loadFacts(ctx, host, set, o.RenameAside); err != nil {
			return fmt.Errorf("cannot read the properties of the target '%s': %w", target, err)
		}
		if !o.Rollback && !env.Common.DryRun {
			return s.findOnlyRead(ctx, host, set)
		}
		return nil
	})
	if err := p.newPool(ctx, host, list, look); err != nil {
		return err
	}
	for _, r := range all {
		d := drafts[r]
		if d == nil {
			write := w.Pass
			if failed[r] {
				write = w.Write
			}
			if err := write(r); err != nil {
				return err
			}
			continue
		}
		if err := p.names(r.Backup); err != nil {
			return cli.UsageError{Err: err}
		}
		if err := look.at(d); err != nil {
			return err
		}
		p.finish(d)
		if r.Error != nil {
			env.Report(r)
		}
		for _, m := range r.Warnings {
			if m == d.believed || slices.Contains(d.loud, m) {
				env.Warnf("%s", m) // before zab-xfer acts on it
				continue
			}
			env.Verbosef("warning: '%s': %s", r.Name, m)
		}
		if err := w.Write(r); err != nil {
			return err
		}
	}
	if !o.Orphans || !whole || backup == "" {
		return nil
	}
	return o.writeOrphans(env, w, p, target, backup, all, names)
}

// names sets the snapshot format and the hold tag to those of a backup.
func (p *planner) names(backup string) (err error) {
	if p.format, err = p.o.Format(backup); err != nil {
		return err
	}
	if p.hold, err = snapname.HoldTag(p.o.HoldFormat, backup); err != nil {
		return fmt.Errorf("--hold-format: %w", err)
	}
	return nil
}

// fill lists the snapshots of records that do not carry them, as when they come
// straight from zab-select, or whose remembered lists do not suffice. failed are the
// records whose snapshots cannot be listed.
func (o *Options) fill(ctx context.Context, env *cli.Env, all []*record.Record, doubtful func(*record.Record) bool, excluded func(string) bool) (failed map[*record.Record]bool, err error) {
	failed = map[*record.Record]bool{}
	var set []*record.Record
	virtual := map[*record.Record][]record.Snapshot{}
	for _, r := range all {
		if !r.Skip() && r.Type == record.TypeDataset && (r.Snapshots == nil || doubtful(r)) {
			r.Remembered = false
			virtual[r] = slices.DeleteFunc(slices.Clone(r.Snapshots), func(s record.Snapshot) bool { return !s.Virtual })
			set = append(set, r)
		}
	}
	unfilled, err := env.Machine.Fill(ctx, set, excluded)
	if err != nil {
		return nil, err
	}
	for r, list := range virtual {
		r.Snapshots = append(r.Snapshots, list...)
	}
	for _, r := range set {
		if err := unfilled[r]; err != nil {
			failed[r] = true
			r.Fail(zfs.Unfilled("plan", "plan for", r.Name, err))
			env.Report(r)
		}
	}
	return failed, nil
}

// sends reports whether something is to be sent.
func sends(d *draft) bool { return d.r.Error == nil && len(d.wanted) > 0 }

// features returns a function that gives the features supported by the pools on both
// sides. The pools are asked only if something is to be sent; for a plan from a file,
// the features are assumed that every pool has had for years.
func (o *Options) features(ctx context.Context, env *cli.Env, host *zfs.Host, target string, list []*draft) (func(string, string, string) zfs.Features, error) {
	if o.TargetState != "" {
		return func(string, string, string) zfs.Features {
			return zfs.Features{LargeBlocks: true, EmbeddedData: true, Resumable: true}
		}, nil
	}
	pools := map[string][]string{}
	for _, d := range list {
		if sends(d) {
			pools[d.r.Host] = append(pools[d.r.Host], zfs.Pool(d.r.Name))
			pools[o.SSHTarget] = append(pools[o.SSHTarget], zfs.Pool(target))
		}
	}
	for dest, names := range pools {
		if _, err := env.Machine.Host(dest).Features(ctx, names); err != nil {
			return nil, fmt.Errorf("cannot read the features of the pools on %s: %w", env.Machine.Host(dest), err)
		}
	}
	return func(source, from, to string) zfs.Features {
		// These answers come from memory, because the pools were asked above.
		a, _ := env.Machine.Host(source).Features(ctx, []string{from})
		b, _ := host.Features(ctx, []string{to})
		return zfs.Features{
			LargeBlocks:  a[from].LargeBlocks && b[to].LargeBlocks,
			EmbeddedData: a[from].EmbeddedData && b[to].EmbeddedData,
			Resumable:    b[to].Resumable,
		}
	}, nil
}

// writeOrphans writes a record for every dataset below the target that no selected
// source maps to. A dataset whose source was only left out of this run, by an option of
// zab-select, is not missing, and its record says so.
func (o *Options) writeOrphans(env *cli.Env, w *record.Writer, p *planner, target, backup string, all []*record.Record, names map[*record.Record]string) error {
	used := map[string]bool{target: true}
	holds := map[string]bool{} // datasets above a used one
	use := func(n string) {
		for i := range n {
			if n[i] == '/' {
				holds[n[:i]] = true
			}
		}
	}
	for _, n := range names {
		used[n] = true
		use(n)
	}
	excluded := map[string]*record.Record{}
	for _, r := range all {
		if r.Type != record.TypeDataset || !r.Excluded {
			continue
		}
		if n, err := dataset.TargetName(r.Name, target, o.StripPath); err == nil && !used[n] {
			excluded[n] = r
			use(n)
		}
	}
	if err := p.names(backup); err != nil {
		return cli.UsageError{Err: err}
	}
	// If all sources are on one host, those of the orphans would be there too.
	var hosts []string
	for _, r := range all {
		if r.Type == record.TypeDataset && !slices.Contains(hosts, r.Host) {
			hosts = append(hosts, r.Host)
		}
	}
	if p.state.broken != nil {
		return nil
	}
	// Children first, so that zab-thin can destroy a whole tree in one run, regardless
	// of the number of records that it handles together.
	for _, n := range slices.Backward(p.state.order) {
		r := p.state.datasets[n]
		if r.Name != n {
			continue // renamed in this run, alone or with a dataset above it
		}
		if p.state.aside(n) {
			env.Verbosef("'%s' was set aside by --rename-aside, and is left alone", n)
			continue
		}
		if used[n] || strings.Contains(n, "%") || holds[n] && len(r.Snapshots) == 0 {
			continue // a target, zfs's own, or a parent kept for its children
		}
		if u := o.unlisted(all, target, n); u != nil {
			env.Verbosef("'%s' may be the copy of what could not be listed at or below '%s': it is not called missing", n, u.Name)
			continue
		}
		t := &record.Target{Host: o.SSHTarget, Name: n, Exists: true, Pin: p.pin(), OldPin: p.oldPin(), Facts: r.Facts, Snapshots: r.Snapshots, Bookmarks: r.Bookmarks}
		for i := range t.Snapshots {
			_, t.Snapshots[i].Ours = p.format.Time(t.Snapshots[i].Name)
		}
		orphan := &record.Record{Type: record.TypeOrphan, Backup: backup, Host: o.SSHTarget, Name: n,
			Facts: record.Facts{GUID: r.GUID}, Reason: "no selected source maps to it", Target: t}
		if len(hosts) == 1 {
			orphan.Source = &record.Source{Host: hosts[0]}
			if o.StripPath == 0 {
				orphan.Source.Name = strings.TrimPrefix(n, target+"/")
			}
		}
		if src := p.copies[n]; src != "" {
			orphan.Excluded = true
			orphan.Reason = "it has snapshots of '" + src + "', which has another name now"
		}
		if x := excluded[n]; x != nil {
			orphan.Excluded = true
			orphan.Reason = "its source '" + x.Name + "' is left out of this run"
		}
		if err := w.Write(orphan); err != nil {
			return err
		}
	}
	return nil
}

// unlisted returns the record of a source that could not be listed, if the dataset of
// the target with this name may be a copy of that source or its descendants; nil
// otherwise.
func (o *Options) unlisted(all []*record.Record, target, name string) *record.Record {
	for _, r := range all {
		if r.Type != record.TypeUnlisted {
			continue
		}
		of, err := dataset.TargetName(r.Name, target, o.StripPath)
		if err != nil {
			of = target // too short for --strip-path: any dataset may be its copy
		}
		if dataset.Within(name, of) {
			return r
		}
	}
	return nil
}
