package plan

import (
	"fmt"
	"slices"
	"strings"

	"zab/lib/chain"
	"zab/lib/dataset"
	"zab/lib/record"
	"zab/lib/schedule"
	"zab/lib/snapname"
	"zab/lib/zfs"
)

// planner computes the steps of records, one record at a time, from facts that were
// read before.
type planner struct {
	o      *Options
	now    int64 // seconds since the epoch
	keep   *schedule.Schedule
	format snapname.Format
	hold   string // the shared tag of our holds
	target string // the operand TARGET
	// pool is the guid of the target's pool, "" if it is not known; asked reports
	// whether it was read.
	pool  string
	asked bool
	// moved reports whether a copy was found whose base is not held for the pool that
	// the target is in now.
	moved    bool
	state    *state
	features func(sourceHost, sourcePool, targetPool string) zfs.Features
	drafts   map[string]*draft // by target
	// pools are the guids of the sources' pools. held maps the target names of sources
	// that are not planned in this run to the names of these sources.
	pools map[string]bool
	held  map[string]string
	// copies maps datasets of the target to the source whose snapshots they have, where
	// the copy of that source should have another name.
	copies map[string]string
	// autoSnapshots returns the copies that other tools take snapshots of. It asks zfs
	// at the first call only; nil with --target-state, where no program is started.
	autoSnapshots func() map[string]zfs.AutoSnapshot
}

// draft is a record that is being planned: its snapshots are chosen, but the properties
// of its target may not be read yet.
type draft struct {
	r      *record.Record
	base   chain.Base
	has    bool
	wanted map[int]bool
	// read reports whether nothing but access times was written to the target.
	read bool
	// believed is the warning about the snapshots that --destroy-incompatible destroys.
	believed string
	// origin is the snapshot from which the copy of a clone is made, clone the conflict
	// if that is impossible.
	origin *origin
	clone  *record.Conflict
	// loud are the warnings that are printed even without --verbose.
	loud []string
	// follow is the rename that brings the copy to its place. needs are the drafts
	// whose copies must be renamed before the target is in the planned state.
	follow *follow
	needs  []*draft
	// copyAt is the name of a copy that is not renamed to its place; refused is the
	// reason why it cannot be, if there is one.
	copyAt, refused string
	// again reports whether nothing is to be sent, but the base must be held for the
	// target's pool.
	again bool
	// begun are the steps left by a run that died while it set the target aside.
	begun *unfinishedRename
	// held are the holds on both sides, read only if a run died while working on the
	// copy.
	held held
	// replaced reports whether the target is set aside, so that the streams are
	// received into another dataset than the one whose properties are known.
	replaced bool
}

// unshared reports whether the copy is known to take no sharing properties from
// streams: see zfs.StreamUnshared.
func (d *draft) unshared() bool {
	return d.has && !d.replaced && slices.Contains(strings.Split(d.r.Target.Stream, ","), zfs.StreamUnshared)
}

// newest returns the newest snapshot to be sent. There must be at least one.
func (d *draft) newest() record.Snapshot {
	newest := -1
	for i := range d.wanted {
		newest = max(newest, i)
	}
	return d.r.Snapshots[newest]
}

// longest returns the longest full name, on the target, of the snapshots to be sent.
func (d *draft) longest() (full string) {
	for i := range d.wanted {
		if n := d.r.Snapshots[i].Full(d.r.Target.Name); len(n) > len(full) {
			full = n
		}
	}
	return full
}

// match finds the incremental base of a record and the snapshots to send. It needs only
// the names and guids of both sides.
func (p *planner) match(r *record.Record, name string) *draft {
	d := &draft{r: r}
	t := &record.Target{Host: p.o.SSHTarget, Name: name}
	r.Target = t
	if known := p.state.datasets[name]; known != nil {
		t.Exists = true
		t.Facts = known.Facts
		t.Snapshots = known.Snapshots
		t.Bookmarks = known.Bookmarks
	}
	if own := p.state.datasets[r.Name]; own != nil && own.GUID == r.GUID && r.GUID != "" {
		// The guids are compared, so the loop is also found if one machine is reached
		// over ssh.
		r.Fail(p.failure(record.KindLoop, fmt.Sprintf("cannot back up '%s', which is part of the target, into the target", r.Name),
			fmt.Sprintf("leave it out with 'zab-select --target %s'", zfs.Quote(p.target))))
		return d
	}
	p.unfinished(d)
	for i := range r.Snapshots {
		_, r.Snapshots[i].Ours = p.format.Time(r.Snapshots[i].Name)
	}
	for i := range t.Snapshots {
		_, t.Snapshots[i].Ours = p.format.Time(t.Snapshots[i].Name)
	}
	p.findBase(d)
	d.wanted = p.wanted(r, d)
	return d
}

func (p *planner) findBase(d *draft) {
	r, t := d.r, d.r.Target
	if p.o.NoGUIDCheck {
		d.base, d.has = chain.FindByName(r.Snapshots, t.Snapshots)
	} else {
		d.base, d.has = chain.Find(r.Snapshots, r.Bookmarks, t.Snapshots)
	}
}

// wanted returns the indexes in r.Snapshots of the snapshots to send: those newer than
// the base that are ours (or all, with --other-snapshots), except those that the
// target's schedule would destroy on arrival.
func (p *planner) wanted(r *record.Record, d *draft) map[int]bool {
	var want []int
	for i := range r.Snapshots {
		s := &r.Snapshots[i]
		if d.has && !s.Virtual && s.TXG() <= d.base.TXG {
			continue
		}
		if s.Ours || p.o.OtherSnapshots {
			want = append(want, i)
		}
	}
	out := map[int]bool{}
	if len(want) == 0 {
		return out
	}
	if p.keep == nil {
		for _, i := range want {
			out[i] = true
		}
		return out
	}
	// Decide as if all had been sent: first the target's snapshots, then those that
	// would be sent. The order replaces createtxg, because each pool counts its own
	// transaction groups.
	var all []schedule.Snapshot
	var index []int
	add := func(s *record.Snapshot, i int) {
		t, ok := p.format.Time(s.Name)
		if !ok {
			return
		}
		all = append(all, schedule.Snapshot{Name: s.Name, Time: t, CreateTXG: uint64(len(all) + 1)})
		index = append(index, i)
	}
	for i := range r.Target.Snapshots {
		add(&r.Target.Snapshots[i], -1)
	}
	for _, i := range want {
		if r.Snapshots[i].Ours {
			add(&r.Snapshots[i], i)
		} else {
			out[i] = true
		}
	}
	for n, v := range p.keep.Decide(all, p.now) {
		if index[n] >= 0 && v.Keep {
			out[index[n]] = true
		}
	}
	// The newest is always sent: it is the next base.
	out[want[len(want)-1]] = true
	return out
}

// finish sets the steps of the record, or the error or conflict that prevents them.
func (p *planner) finish(d *draft) {
	r := d.r
	if r.Error != nil {
		return
	}
	if len(r.Snapshots) == 0 {
		if r.Failure() == nil {
			r.Warn("there is no snapshot to send")
		}
		r.Steps = []record.Step{}
		return
	}
	if len(d.wanted) == 0 && !slices.ContainsFunc(r.Snapshots, func(s record.Snapshot) bool { return s.Ours || p.o.OtherSnapshots }) {
		r.Warn("there is no snapshot of this backup to send; --other-snapshots sends others")
		r.Steps = []record.Step{}
		return
	}
	if e := p.forsaken(d); e != nil {
		r.Fail(*e)
		return
	}
	p.state.finalRoot(&r.Target.Facts)
	if e := p.checkPlace(d); e != nil {
		r.Fail(*e)
		return
	}
	var steps, renames []record.Step
	if d.follow != nil && d.has {
		renames = d.follow.steps(d)
		steps = renames
	}
	if b := d.begun; b != nil {
		d.tidy()
		steps = slices.Concat(b.before, b.after)
		r.Warn("'%s' was set aside as '%s' by a run that did not come to its end: this is finished now", r.Target.Name, b.at.Name)
	}
	if len(d.wanted) > 0 {
		if up := p.state.lost(r.Target.Name); up != nil {
			r.Fail(p.failure(record.KindParentFailed, fmt.Sprintf("cannot back up '%s' to '%s': '%s', whose copy is above it, cannot be sent", r.Name, r.Target.Name, up.Name),
				"run again when the parent's trouble is solved"))
			return
		}
		c := p.ready(d)
		if d.refused != "" && p.o.FollowRenames && !r.Target.Exists && c == nil {
			c = p.notFollowed(d)
		}
		var pre []record.Step
		if c == nil {
			pre, c = p.prepare(d)
		}
		var after []record.Step
		if c != nil {
			pre, after, c = p.setAside(d, c)
		}
		if c == nil {
			c = p.notEncrypted(d)
		}
		if c != nil {
			p.conflict(r, d.misplaced(p.otherMachine(r, c)))
			return
		}
		if e := p.locked(d, pre); e != nil {
			r.Fail(*e)
			return
		}
		if b := d.begun; b != nil {
			pre, after = slices.Concat(b.before, pre), slices.Concat(b.after, after)
		}
		if full := d.longest(); len(full) > dataset.MaxName {
			r.Fail(p.failure(record.KindBadMapping, fmt.Sprintf("cannot back up '%s' to '%s': the name of the snapshot '%s' is longer than %d bytes", r.Name, r.Target.Name, full, dataset.MaxName), tooLong))
			return
		}
		d.replaced = d.begun != nil || slices.ContainsFunc(pre, func(s record.Step) bool { return s.Do == record.DoRenameAside })
		streams := p.streams(d)
		steps = slices.Concat(renames, pre, streams, after, p.mark(d, p.flags(d), streams))
		for _, w := range p.encryptionWarnings(d) {
			r.Warn("%s", w)
		}
	}
	steps = append(steps, p.holds(d)...)
	r.Steps = append(steps, p.bookmarks(d)...)
	if r.Steps == nil {
		r.Steps = []record.Step{}
	}
}

// prepare returns the steps that make the target ready to receive, or the conflict that
// prevents it.
func (p *planner) prepare(d *draft) ([]record.Step, *record.Conflict) {
	r, t := d.r, d.r.Target
	var steps []record.Step
	if !t.Exists {
		for _, parent := range p.state.missingParents(t.Name, p.target) {
			steps = append(steps, record.Step{Do: record.DoCreateParent, Side: record.SideTarget, Dataset: parent})
		}
		return steps, nil
	}
	if t.Kind != "" && r.Kind != "" && t.Kind != r.Kind {
		return nil, &record.Conflict{Kind: record.ConflictKindMismatch,
			Message:  fmt.Sprintf("'%s' is a %s, but its target '%s' is a %s", r.Name, r.Kind, t.Name, t.Kind),
			Remedies: []string{keepAside, "rename or destroy '" + t.Name + "'"}}
	}
	abort, reason := p.token(d)
	if abort {
		steps = append(steps, record.Step{Do: record.DoAbortResume, Side: record.SideTarget, Dataset: t.Name, Why: reason})
	}
	if t.Resume != nil && !abort && len(t.Snapshots) == 0 {
		return steps, nil // the interrupted first receive goes on
	}
	if len(t.Snapshots) == 0 {
		switch {
		case abort:
			// The dataset held only the partial first receive, so aborting that
			// destroys it.
			return steps, nil
		case p.o.Force && !isParent(t) && p.overwrites(r):
			if d.origin != nil {
				r.Warn("'%s' is a clone of '%s', but '%s' exists and cannot become one: it is overwritten in full", r.Name, r.Origin, t.Name)
				d.origin = nil
			}
			return steps, nil
		}
		return nil, noSnapshots(r, p.overwrites(r))
	}
	if !d.has {
		return nil, noBase(r)
	}
	more, c := p.diverged(d)
	return append(steps, more...), c
}

// token decides whether the interrupted receive of a target is resumed, and sets
// t.Resume if so. If its token is of no use, abort is true and reason says why.
func (p *planner) token(d *draft) (abort bool, reason string) {
	r, t := d.r, d.r.Target
	if t.ResumeToken == "" {
		return false, ""
	}
	token, err := zfs.DecodeToken(t.ResumeToken)
	if err != nil {
		return true, err.Error()
	}
	t.Resume = token.Resume() // p.flags depends on it
	next := p.cut(d)[0]
	want := zfs.TokenWant{Source: r.Name, To: next.To, ToGUID: next.ToGUID, FromGUID: next.FromGUID, Flags: p.flags(d)}
	if len(next.Through) > 0 {
		want.To, want.ToGUID = next.Through[0].Name, next.Through[0].GUID
	}
	misfit := token.Fits(want)
	switch {
	case misfit != nil:
		reason = misfit.Error()
	case !d.has && p.begunOtherwise(r):
		reason = "it was begun with other options about encryption"
	case d.has && d.base.Target < len(t.Snapshots)-1:
		// zfs (2.3) resumes a receive only onto the snapshot that it started from.
		reason = fmt.Sprintf("the target has the newer snapshot '%s'", t.Snapshots[len(t.Snapshots)-1].Name)
	default:
		return false, ""
	}
	t.Resume = nil
	return true, reason
}

// cut returns the streams that bring the wanted snapshots.
func (p *planner) cut(d *draft) []chain.Stream {
	all := chain.Streams(d.r.Snapshots, func(i int) bool { return d.wanted[i] }, d.base, d.has)
	if d.origin != nil {
		chain.FromOrigin(all, d.origin.from, d.origin.guid())
	}
	if len(p.o.Patterns) == 0 {
		return all
	}
	// Excluded snapshots are not in the record, but zfs send -I would include them: so
	// each wanted snapshot gets a stream of its own.
	var out []chain.Stream
	for _, s := range all {
		for _, t := range s.Through {
			out = append(out, chain.Stream{From: s.From, FromGUID: s.FromGUID, To: t.Name, ToGUID: t.GUID})
			s.From, s.FromGUID = t.Name, t.GUID
		}
		s.Through = nil
		out = append(out, s)
	}
	return out
}

// streams returns the receive steps.
func (p *planner) streams(d *draft) []record.Step {
	r, t := d.r, d.r.Target
	flags := p.flags(d)
	for _, name := range p.inStream(r) {
		r.Warn("'%s' comes with the stream: it can be neither set nor filtered", name)
	}
	if !p.able(r).Resumable {
		r.Warn("the pool '%s' has no feature@extensible_dataset, so that a stream that breaks off begins anew", zfs.Pool(t.Name))
	}
	var steps []record.Step
	streams := p.cut(d)
	if t.Resume != nil {
		// The resumed receive brings one snapshot; the rest of its stream follows.
		s := &streams[0]
		exclude, set := p.properties(d, record.MakesDataset(s.From))
		steps = append(steps, record.Step{Do: record.DoReceive, Side: record.SideTarget, Dataset: t.Name,
			From: s.From, FromGUID: s.FromGUID, To: s.To, ToGUID: s.ToGUID, Token: t.Resume.Token,
			Flags: flags, Set: set, Exclude: exclude, Why: "an interrupted receive goes on"})
		last := &steps[0]
		dropCreateOnly(last, p.raw(r))
		if len(s.Through) > 0 {
			first := s.Through[0]
			last.To, last.ToGUID = first.Name, first.GUID
			s.From, s.FromGUID = first.Name, first.GUID
			s.Through = s.Through[1:]
			if len(s.Through) == 0 {
				s.Through = nil
			}
		} else {
			streams = streams[1:]
		}
	}
	for _, s := range streams {
		exclude, set := p.properties(d, record.MakesDataset(s.From))
		step := record.Step{Do: record.DoReceive, Side: record.SideTarget, Dataset: t.Name,
			From: s.From, FromGUID: s.FromGUID, To: s.To, ToGUID: s.ToGUID, Through: s.Through,
			Flags: flags, Set: set, Exclude: exclude, NoResume: !p.able(r).Resumable}
		if s.From == "" && t.Exists && t.Resume == nil && len(t.Snapshots) == 0 && p.o.Force {
			step.Force = true
			step.Why = "the target exists without snapshots, and --force overwrites it"
		}
		if d.origin != nil && s.From == d.origin.from {
			step.Origin = d.origin.cloned()
		}
		if d.has && len(steps) == 0 {
			step.Undo = p.undo(t)
		}
		dropCreateOnly(&step, p.raw(r))
		steps = append(steps, step)
	}
	return steps
}

// undo returns the changes of the target that the first receive may roll back:
// UndoChanges, UndoReads, or "" for none. The plan does not see writes of the last
// seconds, because the property written counts only data on disk; zfs receive finds
// them.
func (p *planner) undo(t *record.Target) string {
	switch {
	case p.o.Rollback:
		return record.UndoChanges
	case t.Kind == "filesystem" && t.Mounted == "yes":
		return record.UndoReads
	}
	return ""
}

// isParent reports whether the target is a filesystem that zab created only to be above
// another copy. Such a filesystem must not be in the way when there is something to
// receive into it.
func isParent(t *record.Target) bool {
	return t.Exists && len(t.Snapshots) == 0 && t.Kind == "filesystem" && t.Stream == zfs.StreamParent &&
		t.CanMount == "off" && t.Mounted != "yes"
}

// mark returns the steps that note on the copy the pools that it came through, the
// flags that it was begun with, and the pool for which its base is held. It also resets
// a property that zfs receive cannot be kept from setting. Copies made by
// zfs-autobackup are marked with their next snapshot.
func (p *planner) mark(d *draft, flags []string, streams []record.Step) []record.Step {
	r := d.r
	if r.PoolGUID == "" {
		return nil // the record does not come from zab-select
	}
	from := r.PoolGUID
	if r.From != "" {
		from = r.From
		if !slices.Contains(strings.Split(r.From, ","), r.PoolGUID) {
			from += "," + r.PoolGUID
		}
	}
	var set []string
	if r.Target.From != from {
		set = append(set, zfs.FromProp+"="+from)
	}
	unshared := d.unshared() || slices.ContainsFunc(streams, func(s record.Step) bool { return s.Unshares() })
	if s := frozen(flags, unshared); r.Target.Stream != s {
		set = append(set, zfs.StreamProp+"="+s)
	}
	if pool := p.pinnedIn(); pool != "" && r.Target.Pool != pool {
		set = append(set, zfs.PoolProp+"="+pool)
	}
	var steps []record.Step
	mark := func(set ...string) {
		steps = append(steps, record.Step{Do: record.DoMark, Side: record.SideTarget, Dataset: r.Target.Name, Set: set})
	}
	if set != nil {
		mark(set...)
	}
	if p.o.SafeProperties && p.raw(r) && r.Origin == "" && r.Target.Origin == "" {
		// zfs receive (2.3) gives an encryption root the keylocation of a raw stream as
		// its last act, despite -x and -o. A clone has none.
		mark("keylocation=prompt")
	}
	return steps
}

// able returns the features that the pools on both sides allow a stream of the record
// to use.
func (p *planner) able(r *record.Record) zfs.Features {
	return p.features(r.Host, zfs.Pool(r.Name), zfs.Pool(p.target))
}

// frozen returns the value of zab:stream: the flags that decide how a copy is stored,
// and whether the copy takes no sharing properties from streams.
func frozen(flags []string, unshared bool) string {
	var out []string
	for _, f := range flags {
		if f == "-L" || f == "-w" {
			out = append(out, f[1:])
		}
	}
	if unshared {
		out = append(out, zfs.StreamUnshared)
	}
	if out == nil {
		return "none"
	}
	return strings.Join(out, ",")
}

// flags returns the flags of zfs send. A copy goes on with or without -L as it was
// begun, even if the pools support something else by now.
func (p *planner) flags(d *draft) []string {
	r := d.r
	f := p.able(r)
	if begun := r.Target.Stream; begun != "" && begun != zfs.StreamParent && d.has {
		f.LargeBlocks = slices.Contains(strings.Split(begun, ","), "L")
	}
	var flags []string
	if f.LargeBlocks {
		flags = append(flags, "-L")
	}
	if f.EmbeddedData && p.embeds(r) {
		flags = append(flags, "-e")
	}
	if p.o.ZFSCompressed {
		flags = append(flags, "-c")
	}
	return append(flags, p.sendsRaw(r)...)
}

// properties returns the arguments of zfs receive -x and -o for a stream; first is true
// if the stream makes the dataset. Each property is given once, and only if the
// record's kind has it, because zfs refuses a whole stream for one property that it
// does not accept.
func (p *planner) properties(d *draft, first bool) (exclude, set []string) {
	r := d.r
	taken := map[string]bool{}
	add := func(to *[]string, name, arg string) {
		if !taken[name] && !foreign(r.Kind, name) && !fixed(r.Kind, name) {
			*to = append(*to, arg)
		}
		taken[name] = true
	}
	// Properties to set come first: they are not taken from the stream, so need no -x.
	for _, pv := range p.o.set {
		name, _, _ := strings.Cut(pv, "=")
		add(&set, name, pv)
	}
	if p.o.ClearMountpoint {
		add(&set, "canmount", "canmount=noauto")
	}
	if p.o.SafeProperties {
		for _, pv := range safeValues {
			name, _, _ := strings.Cut(pv, "=")
			add(&set, name, pv)
		}
	}
	if p.o.ClearRefreservation {
		add(&set, "refreservation", "refreservation=none")
	}
	for _, name := range p.o.filter {
		// When zfs (2.3) receives an increment, it ignores -x for a property that is
		// not inherited, unless the copy has a value of its own.
		if none := unset(name); none != "" && first {
			add(&set, name, name+"="+none)
			continue
		}
		add(&exclude, name, name)
	}
	if p.o.SafeProperties {
		for _, name := range notTakenOver {
			add(&exclude, name, name)
		}
	}
	// No stream may make a copy shared, regardless of the options.
	if first || !d.unshared() {
		for _, name := range record.Sharing {
			add(&exclude, name, name)
		}
	}
	exclude, set = p.encrypting(r, exclude, set)
	return exclude, set
}

// --safe-properties sets safeValues on a copy, so that the target's machine uses
// nothing in it on its own, and excludes notTakenOver, which are settings for the
// source's machine. zfs keeps the source's values beside them: zfs get -o received
// shows them, zfs send -b sends them, zfs inherit -S puts them into effect.
var (
	safeValues = []string{
		"readonly=on", "canmount=noauto", "setuid=off", "devices=off", "exec=off",
		"reservation=none", "refreservation=none", "volmode=none", "snapdev=hidden",
	}
	notTakenOver = []string{"mountpoint", "dedup", "copies", "special_small_blocks", "keylocation"}
)

// inStream returns the properties of --set-properties and --filter-properties that only
// the stream can bring.
func (p *planner) inStream(r *record.Record) (names []string) {
	for _, pv := range slices.Concat(p.o.set, p.o.filter) {
		name, _, _ := strings.Cut(pv, "=")
		if fixed(r.Kind, name) && !foreign(r.Kind, name) {
			names = append(names, name)
		}
	}
	return names
}

// foreign reports whether datasets of a kind do not have a property, fixed whether zfs
// receive (2.3) accepts the property neither with -x nor with -o.
func foreign(kind, name string) bool {
	if kind == "volume" {
		return notForVolumes(name)
	}
	return notForFilesystems(name)
}

func fixed(kind, name string) bool {
	if kind == "volume" {
		return fixedForVolumes(name)
	}
	return fixedForFilesystems(name)
}

// unset returns the value that means "not set" for a property that is not inherited, ""
// for all other properties.
func unset(name string) string {
	switch name {
	case "quota", "refquota", "reservation", "refreservation", "filesystem_limit", "snapshot_limit":
		return "none"
	case "canmount":
		return "on"
	}
	return ""
}

// Properties that a kind of dataset does not have, from zfsprops(7) and
// zfs_prop.c of 2.3. snapdev and volmode are not among them: a filesystem has
// them for the volumes below it.
func notForVolumes(name string) bool {
	switch name {
	case "aclinherit", "aclmode", "acltype", "atime", "canmount", "defaultuserquota", "defaultgroupquota",
		"defaultprojectquota", "defaultuserobjquota", "defaultgroupobjquota", "defaultprojectobjquota", "devices",
		"direct", "dnodesize", "exec", "filesystem_limit", "jailed", "longname", "mountpoint", "nbmand", "overlay",
		"quota", "recordsize", "refquota", "relatime", "setuid", "sharenfs", "sharesmb", "snapdir",
		"special_small_blocks", "vscan", "xattr", "zoned":
		return true
	}
	return fixedForFilesystems(name)
}

func notForFilesystems(name string) bool { return name == "volthreading" || fixedForVolumes(name) }

func fixedForVolumes(name string) bool { return name == "volsize" || name == "volblocksize" }

func fixedForFilesystems(name string) bool {
	switch name {
	case "casesensitivity", "normalization", "utf8only", "version":
		return true
	}
	return strings.Contains(name, "@") // userquota@alice
}

// bookmarks returns the steps after which exactly one bookmark of ours has the key of
// this target: that of the newest common snapshot. Other targets that start from the
// same snapshot share the bookmark. The bookmark is also corrected if nothing is sent.
func (p *planner) bookmarks(d *draft) []record.Step {
	r := d.r
	mine := p.targetPin()
	if !p.o.Bookmark || mine.String() == "" || !d.has && len(d.wanted) == 0 || !p.asked && p.o.TargetState == "" {
		return nil
	}
	key, former := chain.TargetKey(mine.String()), ""
	if f := mine.Former(); f != "" {
		former = chain.TargetKey(f)
	}
	to, of := record.Snapshot{}, d.base.Source // with a leading # if it is a bookmark
	if d.has {
		to = record.Snapshot{Name: strings.TrimPrefix(of, "#"), GUID: d.base.GUID}
	}
	if len(d.wanted) > 0 {
		to = d.newest()
		of = to.Name
	}
	var steps, gone []record.Step
	bookmark := func(of, guid, name string) {
		s := record.Step{Do: record.DoBookmark, Side: record.SideSource, Dataset: r.Name, GUID: guid, To: name}
		if strings.HasPrefix(of, "#") {
			s.From = of
		} else {
			s.Snapshot = of
		}
		steps = append(steps, s)
	}
	drop := func(m chain.Mark) {
		gone = append(gone, record.Step{Do: record.DoUnbookmark, Side: record.SideSource, Dataset: r.Name, From: "#" + m.Name, GUID: m.GUID})
	}
	marked := false
	for _, m := range chain.Marks(r.Bookmarks) {
		switch own := m.Has(key) || m.Has(former); {
		case m.GUID == to.GUID && m.Has(key) && !m.Has(former):
			marked = true
		case m.GUID == to.GUID && (!marked || own):
			bookmark("#"+m.Name, m.GUID, m.With(key, former))
			drop(m)
			marked = true
		case m.GUID != to.GUID && own:
			if name := m.Without(key, former); name != "" {
				bookmark("#"+m.Name, m.GUID, name)
			}
			drop(m)
		}
	}
	if !marked {
		bookmark(of, to.GUID, chain.MarkName(to.Name, []string{key}))
	}
	return append(steps, gone...)
}

// pin returns the tag of holds for this target alone; "" without holds.
//
// All targets of a backup share zfs-autobackup's tag. If two of them had the same base
// and one has moved on, only the pin says that the other, which may be a disk in a
// safe, still needs the base (promise P1). And because each of our holds comes with a
// pin, holds left by a killed run can be told from those of other targets.
func (p *planner) pin() string {
	if p.o.NoHolds {
		return ""
	}
	return p.targetPin().String()
}

// oldPin returns that tag in a run without holds, because earlier runs may have put it;
// "" in other runs.
func (p *planner) oldPin() string {
	if !p.o.NoHolds {
		return ""
	}
	return p.targetPin().String()
}

// holds returns the steps that move our holds from the old newest common snapshot to
// the new one, on both sides. The pin is put first and released last. In a run without
// holds, the holds of earlier runs are released as the base moves on.
func (p *planner) holds(d *draft) []record.Step {
	r, t := d.r, d.r.Target
	if len(d.wanted) == 0 {
		switch {
		case p.o.NoHolds:
			return nil
		case d.held != nil:
			return p.putRight(d)
		}
		return p.holdAgain(d)
	}
	to := d.newest()
	tags := p.tags(t)
	var steps []record.Step
	each := func(do, side, dataset, name, guid string, tags []string) {
		for _, tag := range tags {
			steps = append(steps, record.Step{Do: do, Side: side, Dataset: dataset, Snapshot: name, GUID: guid, Tag: tag,
				IfHeld: do == record.DoRelease && p.o.NoHolds})
		}
	}
	if !p.o.NoHolds {
		if !p.o.Bookmark {
			each(record.DoHold, record.SideSource, r.Name, to.Name, to.GUID, tags)
		}
		each(record.DoHold, record.SideTarget, t.Name, to.Name, to.GUID, tags)
	}
	slices.Reverse(tags)
	stays := map[string]bool{to.GUID: true}
	if d.has {
		stays[d.base.GUID] = true // the steps below release it, not letGo
		source, target := p.formerPins(d)
		if !d.base.Bookmark() {
			each(record.DoRelease, record.SideSource, r.Name, d.base.Source, d.base.GUID, slices.Concat(tags, source))
		}
		old := t.Snapshots[d.base.Target]
		stays[old.GUID] = true
		each(record.DoRelease, record.SideTarget, t.Name, old.Name, old.GUID, slices.Concat(tags, target))
	}
	return append(steps, p.letGo(d, func(_, guid string) bool { return stays[guid] })...)
}

// tags returns the tags of our holds, the pin first.
func (p *planner) tags(t *record.Target) []string {
	if own := t.OwnTag(); own != "" {
		return []string{own, p.hold}
	}
	return []string{p.hold}
}

func (p *planner) failure(kind record.ErrorKind, message, hint string) record.Error {
	return record.Error{Stage: "plan", Kind: kind, Message: message, Hint: hint}
}
