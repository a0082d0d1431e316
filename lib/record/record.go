// Package record defines the record: one line of JSON for each dataset, which every
// command of zab reads, extends and passes on through a pipe. zab-record(5) specifies
// records for users.
//
// Goals: each line stands alone; names are exact; nothing is lost on the way (fields that
// this version does not know pass through byte for byte); no command acts on input that
// it has not understood.
//
// Non-goals: the package knows no command, starts no program, and decides nothing about
// backups.
package record

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Version is the major version of the format. A reader refuses any other.
const Version = 1

// The values of Record.Type.
const (
	// TypeDataset is a dataset of the source, or one listed by zab-list.
	TypeDataset = "dataset"
	// TypeOrphan is a dataset below the target that no selected source maps to.
	TypeOrphan = "orphan"
	// TypeUnlisted stands for datasets of the source that could not be listed: the named
	// dataset, unless it has a record of type dataset, and all its descendants without a
	// record. Such a record has an error, and nothing is concluded from the absence of
	// those datasets.
	TypeUnlisted = "unlisted"
)

// Record is one dataset with everything the commands found out about it or did to it.
// Fields are declared in the order in which they are written. An absent fact is an absent
// field: a nil slice was never listed, an empty slice was listed and is empty.
type Record struct {
	// Zab is the format's major version.
	Zab int `json:"zab"`
	// Type is TypeDataset, TypeOrphan or TypeUnlisted.
	Type string `json:"type"`
	// Backup is the backup name, such as offsite1; {} in formats stands for it.
	Backup string `json:"backup,omitzero"`
	// Host is the ssh destination of the dataset's machine; absent for this machine.
	Host string `json:"host,omitzero"`
	// Name is the dataset's full name.
	Name string `json:"name"`
	// Facts are the ZFS properties that the commands work with.
	Facts `json:",embed"`
	// PoolGUID is the guid of the pool's root dataset, which identifies the pool even
	// when it is renamed or moved.
	PoolGUID string `json:"pool_guid,omitzero"`
	// Selected is whether the property selects this dataset, Reason why.
	Selected *bool  `json:"selected,omitzero"`
	Reason   string `json:"reason,omitzero"`
	// Excluded: the property selects the dataset, but an option excludes it from this
	// run. For an orphan: its source is excluded in this way.
	Excluded bool `json:"excluded,omitzero"`
	// Partial: the search that found the dataset was limited to some datasets of its
	// host, so that nothing follows from the absence of others.
	Partial bool `json:"partial,omitzero"`
	// Source is the dataset that an orphan would be the copy of.
	Source *Source `json:"source,omitzero"`
	// Snapshots and Bookmarks are oldest first, by createtxg.
	Snapshots []Snapshot `json:"snapshots,omitzero"`
	Bookmarks []Snapshot `json:"bookmarks,omitzero"`
	// Remembered: the lists come from an earlier run, not from this one, and nothing has
	// changed since. They contain no bookmarks.
	Remembered bool `json:"remembered,omitzero"`
	// Snapshot is the snapshot that zab-snap made in this run, or why it made none.
	Snapshot *Made `json:"snapshot,omitzero"`
	// Target is the receiving dataset, as zab-plan found it.
	Target *Target `json:"target,omitzero"`
	// Steps are the steps to execute, in order.
	Steps []Step `json:"steps,omitzero"`
	// Conflict is why nothing can be sent in the present state.
	Conflict *Conflict `json:"conflict,omitzero"`
	// Results are the outcomes of zab-xfer, one for each step that it tried.
	Results []Result `json:"results,omitzero"`
	// Thin holds the verdicts of the schedules.
	Thin *Thin `json:"thin,omitzero"`
	// Verify is the outcome of zab-verify.
	Verify *Verify `json:"verify,omitzero"`
	// Status is how current the copy is, as zab-status judged it.
	Status *Status `json:"status,omitzero"`
	// Warnings are notes for an attentive reader, about things that are no failures.
	Warnings []string `json:"warnings,omitzero"`
	// Error keeps every later command from acting on this record.
	Error *Error `json:"error,omitzero"`

	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`

	// Line is the number of the line it was read from, from 1; 0 for a record made here.
	Line int `json:"-"`
	raw  string
}

// Source is a dataset, existing or not, that a copy may have come from.
type Source struct {
	// Host is the ssh destination of its machine; absent for this machine.
	Host string `json:"host,omitzero"`
	// Name is its full name; absent where it cannot be derived from the name of the copy,
	// because --strip-path removed parts of it.
	Name string `json:"name,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// Facts are properties of a filesystem or volume, with ZFS's own names and with the
// values that `zfs get -p` gives. The zero value means an absent fact, except for
// quantities, which are pointers.
type Facts struct {
	// Kind is filesystem or volume.
	Kind string `json:"kind,omitzero"`
	// GUID and CreateTXG are decimal; strings because they exceed 2^53.
	GUID      string `json:"guid,omitzero"`
	CreateTXG string `json:"createtxg,omitzero"`
	// Creation is in seconds since the epoch.
	Creation *int64 `json:"creation,omitzero"`
	// Origin is the full name of the snapshot that a clone was made from.
	Origin string `json:"origin,omitzero"`
	// Encryption is the cipher; absent for an unencrypted dataset.
	Encryption     string `json:"encryption,omitzero"`
	EncryptionRoot string `json:"encryptionroot,omitzero"`
	KeyStatus      string `json:"keystatus,omitzero"`
	// KeyGUID identifies the master key; a copy received raw has the same.
	KeyGUID string `json:"keyguid,omitzero"`
	// Written is the number of bytes written since the newest snapshot; the others are in
	// bytes, too. All but LogicalReferenced count data as it is stored.
	Written           *int64 `json:"written,omitzero"`
	Used              *int64 `json:"used,omitzero"`
	Referenced        *int64 `json:"referenced,omitzero"`
	LogicalReferenced *int64 `json:"logicalreferenced,omitzero"`
	// VolSize is a volume's size in bytes.
	VolSize *int64 `json:"volsize,omitzero"`
	// Mounted, CanMount and MountPoint are the values of ZFS; MountPointSource is local,
	// default, received or "inherited from X".
	Mounted          string `json:"mounted,omitzero"`
	CanMount         string `json:"canmount,omitzero"`
	MountPoint       string `json:"mountpoint,omitzero"`
	MountPointSource string `json:"mountpoint_source,omitzero"`
	// SnapshotsChanged is when a snapshot of the dataset was last created or destroyed,
	// in seconds since the epoch; it is requested only with --cache.
	SnapshotsChanged *int64 `json:"snapshots_changed,omitzero"`
	// ResumeToken is the receive_resume_token of an interrupted receive.
	ResumeToken string `json:"receive_resume_token,omitzero"`
	// From lists the guids of the pools (see PoolGUID) that a copy came through, the
	// first pool first, separated by commas: a mark that zab sets on the datasets it
	// receives.
	From string `json:"zab:from,omitzero"`
	// Stream lists the flags of zfs send that determined, when the copy was begun, how it
	// is stored, separated by commas: L, w, and x for a copy that no later stream can
	// make share anything; or none. For a filesystem made only to be above a copy it is
	// parent.
	Stream string `json:"zab:stream,omitzero"`
	// Aside: --rename-aside has renamed the dataset, or was about to; see aside.Recognize.
	Aside string `json:"zab:aside,omitzero"`
	// Pool is the guid of the pool that the copy was in when its base was last held for
	// it: see chain.Pin.
	Pool string `json:"zab:pool,omitzero"`
}

// Encrypted reports whether the data is stored encrypted.
func (f *Facts) Encrypted() bool { return f.Encryption != "" && f.Encryption != "off" }

// Held is a hold of ours.
type Held struct {
	Tag string `json:"tag"`
	// Since is when the hold was placed, in seconds since the epoch by the clock of its
	// host.
	Since *int64 `json:"since,omitzero"`
	// TargetGUID is the guid of the dataset below which the copies are for which the hold
	// was placed; absent for the tag that all targets of a backup share.
	TargetGUID string `json:"target_guid,omitzero"`
	// TargetPoolGUID is the guid of that dataset's pool, as zpool get gives it, if the
	// tag contains it.
	TargetPoolGUID string `json:"target_pool_guid,omitzero"`
	// Known is whether the listed host has a dataset of that guid; Target is its name.
	Known  *bool  `json:"known,omitzero"`
	Target string `json:"target,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// Made is the outcome of zab-snap for one dataset.
type Made struct {
	// Name is the snapshot made in this run; absent if there is none.
	Name string `json:"name,omitzero"`
	// Virtual: a dry run would have made the snapshot.
	Virtual bool `json:"virtual,omitzero"`
	// None is why no snapshot was made: unchanged, or disabled.
	None string `json:"none,omitzero"`
	// Error is why making the snapshot failed. The record takes part in everything else:
	// its older snapshots are sent and thinned, so that a full pool recovers.
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
	// ZPoolGUID is the guid of the target's pool as zpool get gives it; absent where it
	// was not requested because nothing is to be sent.
	ZPoolGUID string `json:"zpool_guid,omitzero"`
	// Elsewhere is the name of the copy where it differs from Name: a dataset below the
	// same target that has snapshots of the source.
	Elsewhere string `json:"elsewhere,omitzero"`
	// ElsewhereGUID is the guid of the newest snapshot that Elsewhere has in common with
	// the source, if Elsewhere keeps its name.
	ElsewhereGUID string `json:"elsewhere_guid,omitzero"`
	// Pin is the tag of the holds for this target alone: see chain.Pin.
	Pin string `json:"pin,omitzero"`
	// OldPin is that tag in a run that places no holds: snapshots still held by it are
	// released when they are not needed any more.
	OldPin string `json:"old_pin,omitzero"`
	// Resume is the decoded resume token, if there is one.
	Resume *Resume `json:"resume,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// OwnTag returns the tag of the holds for this target alone, whether this run places such
// holds or only releases old ones; "" if it is not known.
func (t *Target) OwnTag() string {
	if t.Pin != "" {
		return t.Pin
	}
	return t.OldPin
}

// Resume is the content of a receive_resume_token.
type Resume struct {
	Token  string `json:"token"`
	ToName string `json:"toname,omitzero"`
	ToGUID string `json:"toguid,omitzero"`
	// FromGUID is absent for a full stream.
	FromGUID string `json:"fromguid,omitzero"`
	// Bytes is the number of bytes already received.
	Bytes *int64 `json:"bytes,omitzero"`
	// Flags are the send flags stored in the token: raw, compress, large-block, embed.
	Flags []string `json:"flags,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// The values of Step.Do.
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

// Dos lists all values of Step.Do.
var Dos = []string{DoAbortResume, DoRollback, DoDestroy, DoRenameAside, DoRenameBack, DoRenameDone, DoRename, DoCreateParent, DoReceive, DoHold, DoRelease, DoBookmark, DoUnbookmark, DoMark}

// The values of Step.Undo: changes of the target that a receive may roll back.
const (
	UndoChanges = "changes" // everything written since the newest snapshot
	UndoReads   = "reads"   // the same, provided that only access times changed
)

// The values of Step.Side.
const (
	SideSource = "source"
	SideTarget = "target"
)

// Step is one step of a plan. Do determines which other fields it has; zab-record(5) has
// the table.
type Step struct {
	Do string `json:"do"`
	// Side is source or target: the side on which the step acts.
	Side string `json:"side,omitzero"`
	// Dataset is the full name of the dataset that the step acts on.
	Dataset string `json:"dataset,omitzero"`
	// Snapshot and GUID identify the snapshot that a destroy, rollback, hold, release or
	// bookmark acts on; before a destroy, rollback or bookmark the guid is looked up and
	// compared.
	Snapshot string `json:"snapshot,omitzero"`
	GUID     string `json:"guid,omitzero"`
	// Tag is the tag of a hold or release.
	Tag string `json:"tag,omitzero"`

	// From is the base of an incremental stream: the name of a snapshot, or of a bookmark
	// with its leading #; absent for a full stream. For a stream from a clone's origin it
	// is the full name of the origin.
	From     string `json:"from,omitzero"`
	FromGUID string `json:"from_guid,omitzero"`
	// To is the newest snapshot in the stream.
	To     string `json:"to,omitzero"`
	ToGUID string `json:"to_guid,omitzero"`
	// Through are the snapshots between From and To that are sent in the same stream (zfs
	// send -I), oldest first.
	Through []Through `json:"through,omitzero"`
	// Flags are flags of zfs send, such as -L.
	Flags []string `json:"flags,omitzero"`
	// Set and Exclude are properties for zfs recv -o and -x; Set also holds the
	// properties that a mark sets on the dataset.
	Set     []string `json:"set,omitzero"`
	Exclude []string `json:"exclude,omitzero"`
	// Force: run zfs recv -F.
	Force bool `json:"force,omitzero"`
	// NoResume: the target's pool cannot save the received part of an interrupted stream,
	// so zfs recv runs without -s.
	NoResume bool `json:"no_resume,omitzero"`
	// Token resumes an interrupted stream.
	Token string `json:"token,omitzero"`
	// Origin is the full name, on the target, of the snapshot to clone from.
	Origin string `json:"origin,omitzero"`
	// Bytes is the estimated size of the stream.
	Bytes *int64 `json:"bytes,omitzero"`
	// OnlyRead: roll back only if nothing but access times has changed.
	OnlyRead bool `json:"only_read,omitzero"`
	// IfHeld: release only tags that the snapshot has. In a run without holds, the tag
	// that all targets share is released only if no other target's tag is on the
	// snapshot, and an impossible release is not an error.
	IfHeld bool `json:"if_held,omitzero"`
	// Undo is which changes may be rolled back if the receive finds the target modified,
	// by writes that were not yet on disk when the plan was made: UndoChanges or
	// UndoReads.
	Undo string `json:"undo,omitzero"`
	// Why is the reason for the step.
	Why string `json:"why,omitzero"`

	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// Sharing are the properties by which a filesystem is shared over the network.
var Sharing = []string{"sharenfs", "sharesmb"}

// MakesDataset reports whether a stream from this base creates the dataset that receives
// it: a full stream, or one from the origin of a clone.
func MakesDataset(from string) bool { return from == "" || strings.Contains(from, "@") }

// Unshares reports whether a receive step of the record, if it is executed with -x for the
// sharing properties, keeps the copy from ever being shared, even if later streams bring
// them and are received without -x: the step must create the dataset, from a stream with
// properties; only a source on this machine is trusted to send them.
func (r *Record) Unshares(s *Step) bool {
	return r.Host == "" && s.Do == DoReceive && s.Token == "" && !s.Force && MakesDataset(s.From) &&
		slices.Contains(s.Flags, "-p") &&
		!slices.ContainsFunc(Sharing, func(name string) bool { return !slices.Contains(s.Exclude, name) })
}

// Through is a snapshot within a stream, between its base and its newest snapshot.
type Through struct {
	Name string `json:"name"`
	GUID string `json:"guid,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// Conflict is why nothing can be sent in the present state.
type Conflict struct {
	Kind ConflictKind `json:"kind"`
	// Message describes the conflict in one sentence.
	Message string `json:"message"`
	// Snapshots are the snapshots that cause the conflict.
	Snapshots []Snapshot `json:"snapshots,omitzero"`
	// Remedies are possible remedies, the safest first.
	Remedies []string `json:"remedies,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// Result is the outcome of one step.
type Result struct {
	// Step is the index of the step in Steps, from 0.
	Step int    `json:"step"`
	Do   string `json:"do"`
	Done bool   `json:"done"`
	// To is the newest snapshot received, GUID its guid on the target.
	To   string `json:"to,omitzero"`
	GUID string `json:"guid,omitzero"`
	// Bytes is the number of bytes given to zfs recv, Seconds how long that took.
	Bytes *int64 `json:"bytes,omitzero"`
	// WireBytes is the number of bytes sent from the compressing to the decompressing
	// program, if that is known and differs from Bytes.
	WireBytes *int64   `json:"wire_bytes,omitzero"`
	Seconds   *float64 `json:"seconds,omitzero"`
	// Rate is in bytes per second.
	Rate *int64 `json:"rate,omitzero"`
	// Commands are the commands that a dry run would have started.
	Commands []string `json:"commands,omitzero"`
	// Message is why the step was not done.
	Message string `json:"message,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// Thin holds the verdicts of the latest zab-thin, for each side that it examined.
type Thin struct {
	Source []Verdict `json:"source,omitzero"`
	Target []Verdict `json:"target,omitzero"`
	// Dataset is the outcome for the orphan itself: see --destroy-missing.
	Dataset string `json:"dataset,omitzero"`
	// MissingSince is when the source of an orphan was first seen missing, in
	// seconds since the epoch by the clock of the machine where zab runs.
	MissingSince *int64 `json:"missing_since,omitzero"`
	// Waits are the snapshots that would be destroyed if they were not held for another
	// target of this backup.
	Waits []Wait `json:"waits,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// Wait is a snapshot that is kept because of another target.
type Wait struct {
	// Side is source or target, Snapshot the name of the snapshot.
	Side     string `json:"side"`
	Snapshot string `json:"snapshot"`
	// Tag is the tag of the hold for that other target alone, Since when it was placed.
	Tag   string `json:"tag"`
	Since *int64 `json:"since,omitzero"`
	// Also is the tag that all targets share, if it is on the snapshot for that other
	// target alone.
	Also string `json:"also,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// Verdict is the decision of the schedule on one snapshot.
type Verdict struct {
	Name string `json:"name"`
	Keep bool   `json:"keep"`
	// Why lists all reasons.
	Why []string `json:"why"`
	// Destroyed: the snapshot has been destroyed.
	Destroyed bool `json:"destroyed,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// The values of Status.Verdict.
const (
	StatusOK      = "ok"
	StatusWarn    = "warn"
	StatusCrit    = "crit"
	StatusUnknown = "unknown" // not enough was found out to say another
)

// Status is the state of the backup of one dataset: how current its copy is.
type Status struct {
	Verdict string `json:"verdict"`
	// Why lists the reasons of a verdict other than ok, Notes what else is worth knowing.
	Why   []string `json:"why,omitzero"`
	Notes []string `json:"notes,omitzero"`
	// Newest is the newest snapshot of ours on the source, or of an orphan; NewestTime is
	// when it was made, in seconds since the epoch.
	Newest     string `json:"newest,omitzero"`
	NewestTime *int64 `json:"newest_time,omitzero"`
	// Common is the newest snapshot that both sides have in common, by its name on the
	// target; CommonTime is when it was made.
	Common     string `json:"common,omitzero"`
	CommonTime *int64 `json:"common_time,omitzero"`
	// Age is how old the state is, in seconds, that the copy has: 0 if the source has not
	// changed since.
	Age *int64 `json:"age,omitzero"`
	// Written is the number of bytes written to the source since Common.
	Written *int64 `json:"written,omitzero"`
	// Snapshots and TargetSnapshots are the numbers of snapshots on both sides.
	Snapshots       *int64 `json:"snapshots,omitzero"`
	TargetSnapshots *int64 `json:"target_snapshots,omitzero"`
	// ResumeBytes is the part of an interrupted stream that the target has, in bytes;
	// ResumeTotal is about the size of that stream.
	ResumeBytes *int64 `json:"resume_bytes,omitzero"`
	ResumeTotal *int64 `json:"resume_total,omitzero"`
	// Proof is how the copy was verified last: ProofFull, ProofIncrement, ProofDifferent or
	// StatusNeverProved; ProofTime is when. Both are absent if that was not asked for.
	Proof     string `json:"proof,omitzero"`
	ProofTime *int64 `json:"proof_time,omitzero"`
	// Misplaced are the holds of ours that are missing on Common, or left on other
	// snapshots; nil if the holds were not listed.
	Misplaced []Misplaced `json:"misplaced,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// StatusNeverProved is the Status.Proof of a copy that was never verified.
const StatusNeverProved = "never"

// Misplaced is a hold of ours that is missing, or left where nothing needs it.
type Misplaced struct {
	// Side is source or target, Snapshot the name of the snapshot.
	Side     string `json:"side"`
	Snapshot string `json:"snapshot"`
	Tag      string `json:"tag"`
	// Missing: the snapshot should have the hold; otherwise it should not.
	Missing bool `json:"missing,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

// Error is why a record is not processed further.
type Error struct {
	// Stage is the command that failed, such as plan.
	Stage string    `json:"stage"`
	Kind  ErrorKind `json:"kind"`
	// Message says which action failed on which object, with zfs's own words.
	Message string `json:"message"`
	// Hint is advice on how to resolve the error.
	Hint string `json:"hint,omitzero"`
	// Unknown are the fields that this version does not know.
	Unknown jsontext.Value `json:",embed"`
}

func (e *Error) Error() string { return e.Message }

// Fail marks the record as failed at stage, unless an earlier stage already failed it:
// the first error is the cause.
func (r *Record) Fail(e Error) {
	if r.Error == nil {
		e.Message = strings.ToValidUTF8(e.Message, "\uFFFD")
		r.Error = &e
	}
}

// Failure returns why the dataset is not, or not completely, backed up: the record's
// error or, without one, the error of making its snapshot; nil if there is neither.
func (r *Record) Failure() *Error {
	if r.Error == nil && r.Snapshot != nil {
		return r.Snapshot.Error
	}
	return r.Error
}

// Warn adds a warning, unless the record has the same already.
func (r *Record) Warn(format string, a ...any) {
	s := strings.ToValidUTF8(fmt.Sprintf(format, a...), "\uFFFD")
	for _, w := range r.Warnings {
		if w == s {
			return
		}
	}
	r.Warnings = append(r.Warnings, s)
}

// Skip reports whether a stage must leave the record alone: it failed, or it is listed
// only to show why it was not selected.
func (r *Record) Skip() bool {
	return r.Error != nil || r.Selected != nil && !*r.Selected
}

// TakesPart reports whether a stage that works on datasets has to do with the record.
func (r *Record) TakesPart() bool { return r.Type == TypeDataset && !r.Skip() }

// Ptr returns a pointer to a copy of v, for fields that may be absent.
func Ptr[T any](v T) *T { return &v }
