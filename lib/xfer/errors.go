package xfer

import (
	"errors"
	"fmt"

	"zab/lib/record"
	"zab/lib/zfs"
)

// hint returns the hint for an error of this kind: the remedy, for a person to apply.
func hint(k record.ErrorKind) string {
	if k == record.KindKilled {
		return record.KindPartial.Hint() // it was a program of a stream
	}
	return k.Hint()
}

// hintOf returns the hint for an error of a program.
func hintOf(err error) string {
	if k := zfs.KindOf(err); k == record.KindKilled {
		return hint(k)
	}
	return zfs.HintOf(err)
}

// failure is an error in the words of this stage.
type failure struct {
	kind record.ErrorKind
	text string
	hint string
	// program is the name of the program of a stream that failed, from is its error;
	// saved: the target keeps the part that was received.
	program string
	from    *zfs.Error
	saved   bool
}

func (f *failure) Error() string { return f.text }

func failf(kind record.ErrorKind, format string, a ...any) error {
	return &failure{kind: kind, text: fmt.Sprintf(format, a...), hint: hint(kind)}
}

// wrap returns an error of a program in the words "cannot VERB 'object': cause".
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
	r.Fail(record.Error{Stage: "xfer", Kind: f.kind, Message: f.text, Hint: f.hint})
}
