// Package record defines the one thing that travels through zab's pipes: a
// line of JSON for each dataset, which every command reads, enriches and
// passes on. zab-record(5) specifies it for users.
//
// Goals: a line stands alone; exact names; nothing lost on the way (fields
// that this version does not know pass through byte for byte); nothing acted
// on that was not understood.
//
// Non-goals: the package knows no command, starts no program, and decides
// nothing about backups.
package record

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Version is the major version of the format. A reader refuses every other.
const Version = 1

// The values of Record.Type.
const (
	// TypeDataset is a dataset on the source, or one listed by zab-list.
	TypeDataset = "dataset"
	// TypeOrphan is a dataset below the target that no selected source maps to.
	TypeOrphan = "orphan"
	// TypeUnlisted stands for datasets of the source that could not be listed: the
	// one of its name, unless there is a record of type dataset for that, and all
	// below it that there is no record for. It has an error, and nothing is concluded
	// from the absence of those datasets.
	TypeUnlisted = "unlisted"
)

// Record is one dataset and all that the commands learned of it or did to it.
// Fields are in the order in which they are written. An absent fact is an
// absent field: a nil slice was never listed, an empty one was and is empty.
type Record struct {
	// Zab is the format's major version.
	Zab int `json:"zab"`
	// Type is TypeDataset, TypeOrphan or TypeUnlisted.
	Type string `json:"type"`
	// Backup is the backup name, such as offsite1; {} of the formats.
	Backup string `json:"backup,omitzero"`
	// Host is the ssh destination the dataset lives on; absent: this machine.
	Host string `json:"host,omitzero"`
	// Name is the dataset's full name.
	Name string `json:"name"`
	// Facts are the properties of ZFS that the commands work with.
	Facts `json:",embed"`
	// PoolGUID is the guid of the pool's own dataset, by which the pool is known
	// wherever it goes.
	PoolGUID string `json:"pool_guid,omitzero"`
	// Selected tells whether the property selects this dataset, Reason why.
	Selected *bool  `json:"selected,omitzero"`
	Reason   string `json:"reason,omitzero"`
	// Excluded: the property selects the dataset, and an option left it out of
	// this run; of an orphan, that this is so of its source.
	Excluded bool `json:"excluded,omitzero"`
	// Source is what an orphan would be the copy of.
	Source *Source `json:"source,omitzero"`
	// Snapshots and Bookmarks are oldest first, by createtxg.
	Snapshots []Snapshot `json:"snapshots,omitzero"`
	Bookmarks []Snapshot `json:"bookmarks,omitzero"`
	// Remembered: the lists were not made by this run but by an earlier one, and
	// nothing has changed since. There are no bookmarks in them.
	Remembered bool `json:"remembered,omitzero"`
	// Snapshot is what zab-snap made now, or why it made nothing.
	Snapshot *Made `json:"snapshot,omitzero"`
	// Target is the dataset that receives, as zab-plan found it.
	Target *Target `json:"target,omitzero"`
	// Steps are what is to be done, in order.
	Steps []Step `json:"steps,omitzero"`
	// Conflict tells why nothing can be sent as things stand.
	Conflict *Conflict `json:"conflict,omitzero"`
	// Results are what zab-xfer did, a result for each step that it tried.
	Results []Result `json:"results,omitzero"`
	// Thin holds the verdicts of the schedules.
	Thin *Thin `json:"thin,omitzero"`
	// Warnings are what a careful reader wants to know though nothing failed.
	Warnings []string `json:"warnings,omitzero"`
	// Error stops every later command from touching this record.
	Error *Error `json:"error,omitzero"`

	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`

	// Line is where the record was read, from 1; 0 where it was made here.
	Line int `json:"-"`
	raw  string
}

// Source is a dataset that a copy may have come from, whether it exists or not.
type Source struct {
	// Host is the ssh destination of its machine; absent: this one.
	Host string `json:"host,omitzero"`
	// Name is its full name; absent where the name of the copy does not tell it,
	// because --strip-path left parts of it out.
	Name string `json:"name,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// Facts are properties of a filesystem or volume, with ZFS's own names and
// with the values that `zfs get -p` gives. The zero value is an absent fact,
// save for quantities, which are pointers.
type Facts struct {
	// Kind is filesystem or volume.
	Kind string `json:"kind,omitzero"`
	// GUID and CreateTXG are decimal; strings because they exceed 2^53.
	GUID      string `json:"guid,omitzero"`
	CreateTXG string `json:"createtxg,omitzero"`
	// Creation is in seconds since the epoch.
	Creation *int64 `json:"creation,omitzero"`
	// Origin is the snapshot that a clone was made from, in full.
	Origin string `json:"origin,omitzero"`
	// Encryption is the cipher, absent where the dataset is not encrypted.
	Encryption     string `json:"encryption,omitzero"`
	EncryptionRoot string `json:"encryptionroot,omitzero"`
	KeyStatus      string `json:"keystatus,omitzero"`
	// KeyGUID is the master key's identity, which a copy received raw has too.
	KeyGUID string `json:"keyguid,omitzero"`
	// Written is in bytes since the newest snapshot; Used and Referenced too.
	Written    *int64 `json:"written,omitzero"`
	Used       *int64 `json:"used,omitzero"`
	Referenced *int64 `json:"referenced,omitzero"`
	// VolSize is a volume's size in bytes.
	VolSize *int64 `json:"volsize,omitzero"`
	// Mounted, CanMount and MountPoint as ZFS says them; MountPointSource is
	// local, default, received or "inherited from X".
	Mounted          string `json:"mounted,omitzero"`
	CanMount         string `json:"canmount,omitzero"`
	MountPoint       string `json:"mountpoint,omitzero"`
	MountPointSource string `json:"mountpoint_source,omitzero"`
	// SnapshotsChanged is when a snapshot of it came or went last, in seconds
	// since the epoch; it is asked for only with --cache.
	SnapshotsChanged *int64 `json:"snapshots_changed,omitzero"`
	// ResumeToken is receive_resume_token where a receive broke off.
	ResumeToken string `json:"receive_resume_token,omitzero"`
	// From are the guids of the pools (see PoolGUID) that a copy came through, the
	// first one's first, with commas between: zab's own mark on what it has received.
	From string `json:"zab:from,omitzero"`
	// Stream are the flags of zfs send that decided how a copy is stored when it
	// was begun, with commas between: L, w; or none.
	Stream string `json:"zab:stream,omitzero"`
	// Aside: --rename-aside has given the dataset another name, or was about to;
	// see SetAside.
	Aside string `json:"zab:aside,omitzero"`
	// Pool is the guid of the pool that the copy was in when its base was held for
	// it last: see chain.Pin.
	Pool string `json:"zab:pool,omitzero"`
}

// Encrypted tells whether the data is stored encrypted.
func (f *Facts) Encrypted() bool { return f.Encryption != "" && f.Encryption != "off" }

// Snapshot is a snapshot or bookmark of the record's dataset.
type Snapshot struct {
	// Name is the part after @ or #.
	Name      string `json:"name"`
	GUID      string `json:"guid,omitzero"`
	CreateTXG string `json:"createtxg,omitzero"`
	Creation  *int64 `json:"creation,omitzero"`
	// Written is in bytes since the snapshot before it.
	Written *int64 `json:"written,omitzero"`
	// UserRefs is the number of holds.
	UserRefs *int64 `json:"userrefs,omitzero"`
	// Holds are the tags of the holds, where they were asked for.
	Holds []string `json:"holds,omitzero"`
	// Held are those of them that are ours, with what is known of each.
	Held []Held `json:"held,omitzero"`
	// Ours: the name has the snapshot format of the record's backup.
	Ours bool `json:"ours,omitzero"`
	// Virtual: a dry run would have made it; it has no guid.
	Virtual bool `json:"virtual,omitzero"`
	// Needed is the clone that is to be made from its copy in this run, so that
	// it stays on both sides.
	Needed string `json:"needed,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// Held is a hold of ours.
type Held struct {
	Tag string `json:"tag"`
	// Since is when it was put, by the clock of its host, in seconds since the epoch.
	Since *int64 `json:"since,omitzero"`
	// TargetGUID is the guid of the dataset below which the copies of the target are
	// for which it stands; absent from the tag that all targets of a backup share.
	TargetGUID string `json:"target_guid,omitzero"`
	// TargetPoolGUID is the guid of its pool, as zpool get tells it, where the tag has it.
	TargetPoolGUID string `json:"target_pool_guid,omitzero"`
	// Known tells whether a dataset of that guid is on the host that was listed;
	// Target is its name.
	Known  *bool  `json:"known,omitzero"`
	Target string `json:"target,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// Made is the outcome of zab-snap for one dataset.
type Made struct {
	// Name is the snapshot made now; absent where none was.
	Name string `json:"name,omitzero"`
	// Virtual: a dry run would have made it.
	Virtual bool `json:"virtual,omitzero"`
	// None tells why no snapshot was made: unchanged, or disabled.
	None string `json:"none,omitzero"`
	// Error is why none could be made. The record takes part in all else: what is
	// older is sent, and thinned, so that a full pool recovers.
	Error *Error `json:"error,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// Target is the state of the receiving dataset when the plan was made.
type Target struct {
	Host   string `json:"host,omitzero"`
	Name   string `json:"name"`
	Exists bool   `json:"exists"`
	Facts  `json:",embed"`
	// Snapshots and Bookmarks are oldest first, by createtxg.
	Snapshots []Snapshot `json:"snapshots,omitzero"`
	Bookmarks []Snapshot `json:"bookmarks,omitzero"`
	// ZPoolGUID is the guid of its pool as zpool get tells it; absent where it was
	// not asked for, because nothing is to be sent.
	ZPoolGUID string `json:"zpool_guid,omitzero"`
	// Elsewhere is the name of the copy where it has another than Name: a dataset
	// below the same target that has snapshots of the source.
	Elsewhere string `json:"elsewhere,omitzero"`
	// ElsewhereGUID is the guid of the newest snapshot in common with that, where it
	// keeps its name.
	ElsewhereGUID string `json:"elsewhere_guid,omitzero"`
	// Pin is the tag of the holds that stand for this target alone, beside the
	// one that all targets of a backup share.
	Pin string `json:"pin,omitzero"`
	// OldPin is that tag in a run that puts no holds: what still has it is let go
	// when it is not needed any more.
	OldPin string `json:"old_pin,omitzero"`
	// Resume is the decoded token, where there is one.
	Resume *Resume `json:"resume,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// OwnTag is the tag of the holds that stand for this target alone, whether this
// run puts such holds or only takes old ones away; "" where it is not known.
func (t *Target) OwnTag() string {
	if t.Pin != "" {
		return t.Pin
	}
	return t.OldPin
}

// Resume is what a receive_resume_token stands for.
type Resume struct {
	Token  string `json:"token"`
	ToName string `json:"toname,omitzero"`
	ToGUID string `json:"toguid,omitzero"`
	// FromGUID is absent for a full stream.
	FromGUID string `json:"fromguid,omitzero"`
	// Bytes already received.
	Bytes *int64 `json:"bytes,omitzero"`
	// Flags are those frozen in the token: raw, compress, large-block, embed.
	Flags []string `json:"flags,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// What a Step does.
const (
	DoAbortResume  = "abort-resume"
	DoRollback     = "rollback"
	DoDestroy      = "destroy"
	DoRenameAside  = "rename-aside"
	DoRenameBack   = "rename-back"
	DoRenameDone   = "rename-done"
	DoRename       = "rename"
	DoCreateParent = "create-parent"
	DoReceive      = "receive"
	DoHold         = "hold"
	DoRelease      = "release"
	DoBookmark     = "bookmark"
	DoUnbookmark   = "unbookmark"
	DoMark         = "mark"
)

// Dos are all that steps do.
var Dos = []string{DoAbortResume, DoRollback, DoDestroy, DoRenameAside, DoRenameBack, DoRenameDone, DoRename, DoCreateParent, DoReceive, DoHold, DoRelease, DoBookmark, DoUnbookmark, DoMark}

// What a receive may undo.
const (
	UndoChanges = "changes" // all that was written since the newest snapshot
	UndoReads   = "reads"   // that, if it is no more than access times
)

// The sides of a Step.
const (
	SideSource = "source"
	SideTarget = "target"
)

// Step is one thing to do. Which fields it has depends on Do; zab-record(5)
// has the table.
type Step struct {
	Do string `json:"do"`
	// Side is source or target: where the step acts.
	Side string `json:"side,omitzero"`
	// Dataset is what the step acts on, in full.
	Dataset string `json:"dataset,omitzero"`
	// Snapshot and GUID name the one snapshot that a destroy, rollback, hold,
	// release or bookmark is about; the guid is checked before acting.
	Snapshot string `json:"snapshot,omitzero"`
	GUID     string `json:"guid,omitzero"`
	// Tag of a hold or release.
	Tag string `json:"tag,omitzero"`

	// From is the base of an incremental stream: a snapshot's name, or a
	// bookmark's with its leading #; absent for a full stream. In a stream
	// made from a clone's origin it is the full name of the origin.
	From     string `json:"from,omitzero"`
	FromGUID string `json:"from_guid,omitzero"`
	// To is the newest snapshot in the stream.
	To     string `json:"to,omitzero"`
	ToGUID string `json:"to_guid,omitzero"`
	// Through are the snapshots between From and To that travel in the same
	// stream (zfs send -I), oldest first.
	Through []Through `json:"through,omitzero"`
	// Flags for zfs send, such as -L.
	Flags []string `json:"flags,omitzero"`
	// Set and Exclude are properties for zfs recv -o and -x; Set is also what a
	// mark sets on the dataset.
	Set     []string `json:"set,omitzero"`
	Exclude []string `json:"exclude,omitzero"`
	// Force: zfs recv -F.
	Force bool `json:"force,omitzero"`
	// NoResume: the target's pool cannot keep what came of a stream that breaks
	// off, so zfs recv is not asked to (-s).
	NoResume bool `json:"no_resume,omitzero"`
	// Token resumes the stream that broke off.
	Token string `json:"token,omitzero"`
	// Origin is the full name on the target of the snapshot to clone from.
	Origin string `json:"origin,omitzero"`
	// Bytes is the estimated size of the stream.
	Bytes *int64 `json:"bytes,omitzero"`
	// OnlyRead: a rollback only if nothing but access times has changed.
	OnlyRead bool `json:"only_read,omitzero"`
	// IfHeld: a release only of what is held, and of the tag that all targets share
	// only where no other target's is; nothing fails where it cannot be done.
	IfHeld bool `json:"if_held,omitzero"`
	// Undo is what may be rolled back where a receive finds that the target was
	// changed, which was not on its disks yet when the plan was made: UndoChanges, or
	// UndoReads.
	Undo string `json:"undo,omitzero"`
	// Why says what made the step necessary.
	Why string `json:"why,omitzero"`

	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// Sharing are the properties by which a filesystem is shared over the network.
var Sharing = []string{"sharenfs", "sharesmb"}

// MakesDataset reports whether a stream from this base makes the dataset that it is
// received into: a full one, or one from the origin of a clone.
func MakesDataset(from string) bool { return from == "" || strings.Contains(from, "@") }

// Unshares reports whether a receive step keeps the copy from sharing anything, also
// when later streams bring such a wish and are received without a word of it: it makes
// the dataset, from a stream with properties. To one that exists zfs does not apply -x
// where the property is set on it or on something above it.
func (s *Step) Unshares() bool {
	return s.Do == DoReceive && s.Token == "" && !s.Force && MakesDataset(s.From) &&
		slices.Contains(s.Flags, "-p") &&
		!slices.ContainsFunc(Sharing, func(name string) bool { return !slices.Contains(s.Exclude, name) })
}

// Through is a snapshot that travels inside a stream.
type Through struct {
	Name string `json:"name"`
	GUID string `json:"guid,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// Conflict is why nothing can be sent as things stand.
type Conflict struct {
	Kind ConflictKind `json:"kind"`
	// Message is the conflict in one sentence.
	Message string `json:"message"`
	// Snapshots are the offending ones.
	Snapshots []Snapshot `json:"snapshots,omitzero"`
	// Remedies are what could be done, the safest first.
	Remedies []string `json:"remedies,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// Result is what became of one step.
type Result struct {
	// Step is its index in Steps, from 0.
	Step int    `json:"step"`
	Do   string `json:"do"`
	Done bool   `json:"done"`
	// To is the newest snapshot received, GUID the one the target has.
	To   string `json:"to,omitzero"`
	GUID string `json:"guid,omitzero"`
	// Bytes that zfs recv was given, and the seconds it took.
	Bytes *int64 `json:"bytes,omitzero"`
	// WireBytes went between the programs that compress and decompress, where
	// that is another number and known.
	WireBytes *int64   `json:"wire_bytes,omitzero"`
	Seconds   *float64 `json:"seconds,omitzero"`
	// Rate is in bytes a second.
	Rate *int64 `json:"rate,omitzero"`
	// Commands are what a dry run would have started.
	Commands []string `json:"commands,omitzero"`
	// Message tells why a step was not done.
	Message string `json:"message,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// Thin holds the verdicts of the last zab-thin, for each side that it saw.
type Thin struct {
	Source []Verdict `json:"source,omitzero"`
	Target []Verdict `json:"target,omitzero"`
	// Dataset is what became of an orphan itself: see --destroy-missing.
	Dataset string `json:"dataset,omitzero"`
	// MissingSince is when the source of an orphan was first seen missing, in
	// seconds since the epoch by the clock of the machine where zab runs.
	MissingSince *int64 `json:"missing_since,omitzero"`
	// Waits are the snapshots that would be destroyed, and are held for another
	// target of this backup.
	Waits []Wait `json:"waits,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// Wait is a snapshot that stays for the sake of another target.
type Wait struct {
	// Side is source or target, Snapshot the name of the snapshot.
	Side     string `json:"side"`
	Snapshot string `json:"snapshot"`
	// Tag is that of the hold which stands for the other target alone, Since when it
	// was put.
	Tag   string `json:"tag"`
	Since *int64 `json:"since,omitzero"`
	// Also is the tag that all targets share, where it stands for nobody else.
	Also string `json:"also,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// Verdict is what the schedule says of one snapshot.
type Verdict struct {
	Name string `json:"name"`
	Keep bool   `json:"keep"`
	// Why are all the reasons.
	Why []string `json:"why"`
	// Destroyed: it is gone from the pool.
	Destroyed bool `json:"destroyed,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// Error is why a record takes no further part.
type Error struct {
	// Stage is the command that failed, such as plan.
	Stage string    `json:"stage"`
	Kind  ErrorKind `json:"kind"`
	// Message is what could not be done to what, with zfs's own words.
	Message string `json:"message"`
	// Hint is what to do about it.
	Hint string `json:"hint,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

func (e *Error) Error() string { return e.Message }

// Fail marks the record as failed at stage, unless an earlier stage already
// did: the first error is the cause.
func (r *Record) Fail(e Error) {
	if r.Error == nil {
		e.Message = strings.ToValidUTF8(e.Message, "\uFFFD")
		r.Error = &e
	}
}

// Failure returns why the dataset is not, or not wholly, backed up: its error, or that
// no snapshot of it could be made; nil where neither is so.
func (r *Record) Failure() *Error {
	if r.Error == nil && r.Snapshot != nil {
		return r.Snapshot.Error
	}
	return r.Error
}

// Warn adds a warning once.
func (r *Record) Warn(format string, a ...any) {
	s := strings.ToValidUTF8(fmt.Sprintf(format, a...), "\uFFFD")
	for _, w := range r.Warnings {
		if w == s {
			return
		}
	}
	r.Warnings = append(r.Warnings, s)
}

// Skip tells whether a stage must leave the record alone: it failed, or it is
// listed only to say why it was not selected.
func (r *Record) Skip() bool {
	return r.Error != nil || r.Selected != nil && !*r.Selected
}

// Ptr gives the address of a value, for the fields that may be absent.
func Ptr[T any](v T) *T { return &v }
