package record

// ErrorKind classifies an error by a word that scripts can rely on. zab-record(5) lists
// the kinds.
type ErrorKind string

// The kinds of errors that the commands detect themselves.
const (
	KindBadStep       ErrorKind = "bad-step"       // a step is not understood; nothing was done for the record
	KindMovedOn       ErrorKind = "moved-on"       // the pool has changed since the plan was made
	KindLocked        ErrorKind = "locked"         // another zab is at work on the target dataset
	KindParentFailed  ErrorKind = "parent-failed"  // a dataset above the target should have been received and was not
	KindNotReceived   ErrorKind = "not-received"   // after the receive the target lacks the snapshot
	KindNoOrigin      ErrorKind = "no-origin"      // the target lacks the origin of a clone
	KindStalled       ErrorKind = "stalled"        // no byte of the stream moved during --stall-timeout
	KindReceiving     ErrorKind = "receiving"      // another program is receiving into the target
	KindInterrupted   ErrorKind = "interrupted"    // a signal ended the command
	KindBadInput      ErrorKind = "bad-input"      // a line was not understood, so the set of datasets is incomplete
	KindBadMapping    ErrorKind = "bad-mapping"    // no target name can be formed, or two datasets map to one target
	KindBadProperty   ErrorKind = "bad-property"   // the selecting property has an invalid value
	KindNoneSelected  ErrorKind = "none-selected"  // no dataset has the selecting property
	KindTargetMissing ErrorKind = "target-missing" // the target does not exist
	KindHook          ErrorKind = "hook"           // a command to be run before the snapshots failed
	KindLoop          ErrorKind = "loop"           // the dataset is part of the target itself
	KindConflict      ErrorKind = "conflict"       // the record's Conflict says why
	KindDifferent     ErrorKind = "different"      // the copy is not what the source is
	KindUnproved      ErrorKind = "unproved"       // the copy cannot be compared with the source
)

// The kinds of errors derived from messages of zfs, zpool, ssh and the shell.
const (
	KindUnreachable    ErrorKind = "unreachable"     // ssh could not connect, or lost the connection
	KindAuth           ErrorKind = "auth"            // authentication by ssh was refused
	KindHostKey        ErrorKind = "host-key"        // ssh does not trust the host's key
	KindMissingProgram ErrorKind = "missing-program" // a program is not installed
	KindNoZFS          ErrorKind = "no-zfs"          // the kernel module is not loaded, or /dev/zfs is missing
	KindPermission     ErrorKind = "permission"
	KindNotFound       ErrorKind = "not-found" // no such dataset or snapshot
	KindExists         ErrorKind = "exists"
	KindBusy           ErrorKind = "busy"
	KindHeld           ErrorKind = "held"           // a hold protects the snapshot
	KindMounted        ErrorKind = "mounted"        // the dataset is mounted already
	KindReadOnly       ErrorKind = "read-only"      // a file system is mounted read-only
	KindReadOnlyPool   ErrorKind = "read-only-pool" // the pool is imported read-only
	KindClones         ErrorKind = "has-clones"     // a clone depends on the snapshot
	KindNoSpace        ErrorKind = "no-space"       // the pool or a quota is full
	KindModified       ErrorKind = "modified"       // the target changed since its newest snapshot
	KindNoBase         ErrorKind = "no-base"        // the target lacks the stream's incremental base
	KindStaleToken     ErrorKind = "stale-token"    // the resume token cannot be used any more
	KindPartial        ErrorKind = "partial"        // the stream broke off; the received part was saved
	KindStream         ErrorKind = "stream"         // the received data is not a ZFS stream
	KindForeignStream  ErrorKind = "foreign-stream" // the stream reaches beyond the requested dataset
	KindFeature        ErrorKind = "feature"        // the pool or this version of zfs lacks a feature
	KindKey            ErrorKind = "key"            // an encryption key is not loaded, or is a different one
	KindEncryption     ErrorKind = "encryption"     // incompatible with the encryption of the data or the copy
	KindPoolIO         ErrorKind = "pool-io"        // the pool is suspended or has I/O errors
	KindUnreadable     ErrorKind = "unreadable"     // a block of the data to send is lost
	KindZoned          ErrorKind = "zoned"          // only possible within the zone that the dataset belongs to
	KindTooLong        ErrorKind = "too-long"       // more arguments than the system accepts
	KindKilled         ErrorKind = "killed"         // the program was killed by a signal
	KindTimeout        ErrorKind = "timeout"        // a query was not answered in time
	KindBadAnswer      ErrorKind = "bad-answer"     // a host's output is not a valid answer to the query
	KindBadArgument    ErrorKind = "bad-argument"   // a name or value that must not be passed to any command
	KindOther          ErrorKind = "other"          // the message is not in the catalogue
)

// ErrorKinds lists all kinds of errors.
var ErrorKinds = []ErrorKind{
	KindUnreachable,
	KindAuth,
	KindHostKey,
	KindMissingProgram,
	KindNoZFS,
	KindPermission,
	KindNotFound,
	KindExists,
	KindBusy,
	KindHeld,
	KindMounted,
	KindReadOnly,
	KindReadOnlyPool,
	KindClones,
	KindNoSpace,
	KindModified,
	KindNoBase,
	KindStaleToken,
	KindPartial,
	KindStream,
	KindForeignStream,
	KindFeature,
	KindKey,
	KindEncryption,
	KindPoolIO,
	KindUnreadable,
	KindZoned,
	KindTooLong,
	KindKilled,
	KindTimeout,
	KindBadAnswer,
	KindBadArgument,
	KindOther,
	KindBadStep,
	KindMovedOn,
	KindLocked,
	KindParentFailed,
	KindNotReceived,
	KindNoOrigin,
	KindStalled,
	KindReceiving,
	KindInterrupted,
	KindBadInput,
	KindBadMapping,
	KindBadProperty,
	KindNoneSelected,
	KindTargetMissing,
	KindHook,
	KindLoop,
	KindConflict,
	KindDifferent,
	KindUnproved,
}

// ConflictKind classifies the cause of a Conflict.
type ConflictKind string

// The kinds of conflicts; zab-record(5) describes them.
const (
	ConflictKindMismatch           ConflictKind = "kind-mismatch"
	ConflictEncryptionMismatch     ConflictKind = "encryption-mismatch"
	ConflictTargetNotEncrypted     ConflictKind = "target-not-encrypted"
	ConflictTargetWithoutSnapshots ConflictKind = "target-without-snapshots"
	ConflictSameNameOtherGUID      ConflictKind = "same-name-other-guid"
	ConflictNoCommonSnapshot       ConflictKind = "no-common-snapshot"
	ConflictSourceRolledBack       ConflictKind = "source-rolled-back"
	ConflictNewerSnapshots         ConflictKind = "newer-snapshots"
	ConflictModified               ConflictKind = "modified"
	ConflictNoOrigin               ConflictKind = "no-origin"
	ConflictRenamed                ConflictKind = "renamed"
)

// ConflictKinds lists all kinds of conflicts.
var ConflictKinds = []ConflictKind{
	ConflictKindMismatch,
	ConflictEncryptionMismatch,
	ConflictTargetNotEncrypted,
	ConflictTargetWithoutSnapshots,
	ConflictSameNameOtherGUID,
	ConflictNoCommonSnapshot,
	ConflictSourceRolledBack,
	ConflictNewerSnapshots,
	ConflictModified,
	ConflictNoOrigin,
	ConflictRenamed,
}

// Transient reports whether repeating the same command a little later may succeed.
func (k ErrorKind) Transient() bool {
	switch k {
	case KindUnreachable, KindBusy, KindPartial, KindKilled, KindTimeout, KindStalled:
		return true
	}
	return false
}

// Hint returns advice on how to resolve an error of this kind, or "" where the message
// suffices.
func (k ErrorKind) Hint() string { return hints[k] }

const goesOn = "run again: the stream goes on where it broke off"

var hints = map[ErrorKind]string{
	KindDifferent:      "the data is as it was, and both snapshots are held with the tag zab:different; look at 'zpool status -v' on both sides, compare the files with 'zab-verify --files', and see zab-verify(8) for how to get a good copy",
	KindUnproved:       "see zab-verify(8) for what can be compared",
	KindUnreachable:    "check that the host is up and that 'ssh -o BatchMode=yes HOST true' works for this user",
	KindAuth:           "install this user's ssh key on the host; zab never asks for a password",
	KindHostKey:        "connect once by hand with ssh and check the host's key",
	KindMissingProgram: "install the program on the machine that the message names, or choose another",
	KindNoZFS:          "load the module with 'modprobe zfs'",
	KindPermission:     "run as root, or allow it with 'zfs allow'",
	KindHeld:           "'zfs holds SNAPSHOT' shows who holds it",
	KindClones:         "a clone depends on the snapshot: promote or destroy the clone first",
	KindReadOnlyPool:   "import the pool without '-o readonly=on', or leave it as it is with --no-snapshot, --no-thinning and --no-holds",
	KindNoSpace:        "free space or raise the quota",
	KindModified:       "'zfs diff' shows what changed; see the remedies of the conflict that zab-plan reports, such as --rollback",
	KindStaleToken:     "run again: the token is aborted and the stream starts anew",
	KindPartial:        goesOn,
	KindStream:         "something else came in the place of the stream: a login shell that prints, or a pipe that does not give back what was put into it",
	KindForeignStream:  "the source sent something else than it was asked for: find out why before you trust it again",
	KindKey:            "load the key with 'zfs load-key'",
	KindEncryption:     "a copy goes on as it was begun, raw or not: see Encryption in zab-plan(8)",
	KindPoolIO:         "'zpool status POOL' shows what the pool suffers from; 'zpool clear POOL' has it go on once its devices are back",
	KindFeature:        "compare what the pools on both sides can do: 'zpool get all POOL' lists their features, 'zfs version' tells the software's age",
	KindUnreadable:     "'zpool status -v' names what is lost: restore or destroy it; what is sent then is the first snapshot without it",
	KindZoned:          "'zfs get zoned' shows it: where zoned is on, mount and share the dataset inside of its zone, or 'zfs set zoned=off' on the copy",
	KindTooLong:        "select fewer datasets for each run",
	KindTimeout:        "check the host and its pools with 'zpool status'; --query-timeout sets how long an answer may take",
	KindBadAnswer:      "nothing was done with this answer; most often the login shell of that host prints it, from a file such as .bashrc or .profile: 'ssh HOST true' must print nothing",
	KindBadStep:        "the plan was made by another version or changed by hand; run zab-plan again",
	KindMovedOn:        "run zab-plan again: the plan does not fit the pools any more",
	KindLocked:         "wait until the other run has ended",
	KindParentFailed:   "run again when the parent's trouble is solved",
	KindNotReceived:    "look at the target's snapshots with 'zfs list -t snapshot -o name,guid'; run zab-plan again",
	KindNoOrigin:       "run zab-plan again, with --clones never if the origin cannot be sent",
	KindStalled:        goesOn,
	KindReceiving:      "wait until it has ended: 'fuser -v /dev/zfs' and 'ps' on the target tell which it is",
	KindInterrupted:    goesOn,
}
