package plan

import (
	"fmt"
	"slices"
	"strings"

	"zab/lib/chain"
	"zab/lib/cli"
	"zab/lib/record"
	"zab/lib/schedule"
	"zab/lib/snapname"
	"zab/lib/zfs"
)

// planner computes the steps of records from the inventory and from facts that were
// read before. It starts no program, except through autoSnapshots. The passes before
// finish, in the order in which a run makes them, are match, findMoved and clones; the
// drafts say which pass sets what.
type planner struct {
	o    *Options
	now  int64 // seconds since the epoch
	keep *schedule.Schedule
	inv  *inventory
	// namings has the naming of each backup that a record belongs to.
	namings map[string]naming
	drafts  map[string]*draft // by target
	// unplanned maps the target names of sources that are not planned in this run to the
	// names of these sources.
	unplanned map[string]string
	// sourcePools are the guids of the sources' pools.
	sourcePools map[string]bool
	// partial: the source was searched in part only.
	partial bool
	// movedCopies maps datasets of the target to the source whose snapshots they have,
	// where the copy of that source should have another name.
	movedCopies map[string]string
	features    func(sourceHost, sourcePool, targetPool string) zfs.Features
	// pool is the guid of the target's pool, "" if it is not known; asked reports
	// whether it was read.
	pool  string
	asked bool
	// otherPool reports whether a copy was found whose base is not held for the pool that
	// the target is in now.
	otherPool bool
	// autoSnapshots returns the copies that other tools take snapshots of. It asks zfs
	// at the first call only; nil if no program may be started.
	autoSnapshots func() map[string]zfs.AutoSnapshot
}

func newPlanner(o *Options, inv *inventory, now int64) *planner {
	return &planner{o: o, now: now, keep: o.KeepTarget(), inv: inv,
		namings: map[string]naming{}, drafts: map[string]*draft{}, movedCopies: map[string]string{}}
}

// naming is how the snapshots and holds of one backup are named.
type naming struct {
	format snapname.Format
	hold   string // the shared tag of our holds
}

// naming returns the naming of a backup.
func (p *planner) naming(backup string) (n naming, err error) {
	if n, ok := p.namings[backup]; ok {
		return n, nil
	}
	if n.format, err = p.o.Format(backup); err != nil {
		return n, cli.UsageError{Err: err}
	}
	if n.hold, err = p.o.HoldTag(backup); err != nil {
		return n, cli.UsageError{Err: err}
	}
	p.namings[backup] = n
	return n, nil
}

// draft is a record that is being planned.
type draft struct {
	r *record.Record
	naming

	// Set by match, and by setAside where another dataset takes the target's place: base
	// is the incremental base, if has is true; wanted are the indexes in r.Snapshots of
	// those to send, sorted.
	base   chain.Base
	has    bool
	wanted []int
	// unfinished are the steps left by a run that died while it set the target aside.
	unfinished *unfinishedAside

	// Set by findMoved. follow is the rename that brings the copy to its place. needs are
	// the drafts whose copies must be renamed before the target is in the planned state.
	follow *follow
	needs  []*draft
	// copyAt is the name of a copy that is not renamed to its place; refused is the
	// reason why it cannot be, if there is one.
	copyAt, refused string

	// Set by clones. origin is the snapshot from which the copy of a clone is made,
	// noOrigin the conflict if that is impossible.
	origin   *origin
	noOrigin *record.Conflict

	// leftHolds are the holds on both sides, read only if a run died while it worked on
	// the copy.
	leftHolds tagsBySide
	// rehold reports whether nothing is to be sent, but the base must be held for the
	// target's pool.
	rehold bool
	// atimeOnly reports whether nothing but access times was written to the target.
	atimeOnly bool

	// redacted reports whether the source is, if something is to be sent: see zfs.Redacted.
	redacted bool

	// Set by finish. replaced reports whether the target is set aside, so that the
	// streams are received into another dataset than the one whose properties are known.
	replaced bool
	// movesBack reports whether the steps move datasets back from below a copy that was set
	// aside.
	movesBack bool
	// believed is the warning about the snapshots that --destroy-incompatible destroys.
	believed string
	// loud are the warnings that are printed even without --verbose.
	loud []string
}

// wants reports whether the snapshot with this index is to be sent.
func (d *draft) wants(i int) bool {
	_, found := slices.BinarySearch(d.wanted, i)
	return found
}

// want adds the snapshot with this index to those to be sent.
func (d *draft) want(i int) {
	if at, found := slices.BinarySearch(d.wanted, i); !found {
		d.wanted = slices.Insert(d.wanted, at, i)
	}
}

// sends reports whether something is to be sent.
func sends(d *draft) bool { return d.r.Error == nil && len(d.wanted) > 0 }

// unshared reports whether the copy is known to take no sharing properties from
// streams: see zfs.StreamUnshared. Of a copy whose source is on another host it is not
// known, because that host may have begun it with a stream without properties.
func (d *draft) unshared() bool {
	return d.has && d.r.Host == "" && !d.replaced && slices.Contains(strings.Split(d.r.Target.Stream, ","), zfs.StreamUnshared)
}

// newest returns the newest snapshot to be sent. There must be at least one.
func (d *draft) newest() record.Snapshot {
	return d.r.Snapshots[d.wanted[len(d.wanted)-1]]
}

// longest returns the longest full name, on the target, of the snapshots to be sent.
func (d *draft) longest() (full string) {
	for _, i := range d.wanted {
		if n := d.r.Snapshots[i].Full(d.r.Target.Name); len(n) > len(full) {
			full = n
		}
	}
	return full
}

// unreadFacts wraps the error of facts that could not be read.
func (p *planner) unreadFacts(err error) error {
	return fmt.Errorf("cannot read the properties of the target '%s': %w", p.inv.target, err)
}

func (p *planner) failure(kind record.ErrorKind, message, hint string) record.Error {
	return record.Error{Stage: "plan", Kind: kind, Message: message, Hint: hint}
}
