package xfer

import (
	"errors"
	"fmt"

	"zab/lib/record"
	"zab/lib/zfs"
)

// The kinds of errors that are this stage's own; the others are zfs's.
const (
	// KindBadStep: a step that is not understood; nothing was done for the record.
	KindBadStep zfs.Kind = "bad-step"
	// KindMovedOn: the pool is not any more as the plan found it.
	KindMovedOn zfs.Kind = "moved-on"
	// KindLocked: another zab is at work on the target dataset.
	KindLocked zfs.Kind = "locked"
	// KindParentFailed: the target's parent was to be received and was not.
	KindParentFailed zfs.Kind = "parent-failed"
	// KindNotReceived: the target does not have the snapshot afterwards.
	KindNotReceived zfs.Kind = "not-received"
	// KindNoOrigin: the target does not have what a clone is to be made from.
	KindNoOrigin zfs.Kind = "no-origin"
	// KindStalled: no byte moved for the time of --stall-timeout.
	KindStalled zfs.Kind = "stalled"
	// KindReceiving: another program is receiving into the target.
	KindReceiving zfs.Kind = "receiving"
	// KindInterrupted: a signal ended zab-xfer.
	KindInterrupted zfs.Kind = "interrupted"
)

var ownHints = map[zfs.Kind]string{
	KindBadStep:      "the plan was made by another version or changed by hand; run zab-plan again",
	KindMovedOn:      "run zab-plan again: the plan does not fit the pools any more",
	KindLocked:       "wait until the other run has ended",
	KindParentFailed: "run again when the parent's trouble is solved",
	KindNotReceived:  "look at the target's snapshots with 'zfs list -t snapshot -o name,guid'; run zab-plan again",
	KindNoOrigin:     "run zab-plan again, with --clones never if the origin cannot be sent",
	KindStalled:      goesOn,
	KindReceiving:    "wait until it has ended: 'fuser -v /dev/zfs' and 'ps' on the target tell which it is",
	zfs.KindKilled:   goesOn,
	KindInterrupted:  goesOn,
}

var goesOn = zfs.KindPartial.Hint()

func hint(k zfs.Kind) string {
	if h := ownHints[k]; h != "" {
		return h
	}
	return k.Hint()
}

// hintOf is the hint of an error of a program.
func hintOf(err error) string {
	if h := ownHints[zfs.KindOf(err)]; h != "" {
		return h
	}
	return zfs.HintOf(err)
}

// failure is an error with the words of this stage.
type failure struct {
	kind zfs.Kind
	text string
	hint string
	// program is the one of a stream that failed, from its error; saved: what was
	// received is kept.
	program string
	from    *zfs.Error
	saved   bool
}

func (f *failure) Error() string { return f.text }

func failf(kind zfs.Kind, format string, a ...any) error {
	return &failure{kind: kind, text: fmt.Sprintf(format, a...), hint: hint(kind)}
}

// wrap is an error of a program in the words "cannot VERB 'object': cause".
func wrap(err error, format string, a ...any) error {
	one := failure{kind: zfs.KindOf(err), hint: hintOf(err)}
	var f *failure
	if errors.As(err, &f) {
		one.kind, one.hint = f.kind, hint(f.kind)
	}
	one.text = fmt.Sprintf(format, a...) + ": " + err.Error()
	return &one
}

// fail puts an error into the record.
func fail(r *record.Record, err error) {
	var f *failure
	if !errors.As(err, &f) {
		f = &failure{kind: zfs.KindOf(err), text: err.Error(), hint: hintOf(err)}
	}
	r.Fail(record.Error{Stage: "xfer", Kind: string(f.kind), Message: f.text, Hint: f.hint})
}
