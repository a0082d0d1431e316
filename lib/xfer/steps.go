package xfer

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"zab/lib/chain"
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

// acts tells whether there is anything to do for the record. One whose steps
// were carried out already is not touched again.
func acts(r *record.Record) bool {
	done := slices.ContainsFunc(r.Results, func(s record.Result) bool { return s.Done })
	return len(r.Steps) > 0 && !done
}

// check refuses a record with a step that is not wholly understood, or that
// reaches beyond the record's own two datasets. In a dry run snapshots may not
// exist yet, so that guids are missing.
func check(r *record.Record, dry bool) error {
	for i := range r.Steps {
		if err := checkStep(r, &r.Steps[i], dry); err != nil {
			return failf(KindBadStep, "cannot execute the steps of '%s': step %d, %q: %s", r.Name, i+1, r.Steps[i].Do, err)
		}
	}
	return checkCommon(r)
}

// checkCommon holds P1 against a plan that was changed by hand: what source and
// target have in common is never destroyed, unless something newer has been
// sent before.
func checkCommon(r *record.Record) error {
	if r.Target == nil {
		return nil
	}
	base, ok := chain.Find(r.Snapshots, r.Bookmarks, r.Target.Snapshots)
	if !ok {
		return nil
	}
	marked := slices.ContainsFunc(r.Bookmarks, func(b record.Snapshot) bool { return b.GUID == base.GUID })
	for i := range r.Steps {
		s := &r.Steps[i]
		if s.Do == record.DoReceive {
			return nil
		}
		if s.Do == record.DoDestroy && s.GUID == base.GUID && (s.Side == record.SideTarget || !marked) {
			return failf(KindBadStep, "cannot execute the steps of '%s': step %d, %q: '%s@%s' is the newest snapshot that source and target have in common", r.Name, i+1, s.Do, s.Dataset, s.Snapshot)
		}
	}
	return nil
}

func checkStep(r *record.Record, s *record.Step, dry bool) error {
	if r.Target == nil {
		return errors.New("the record has no target")
	}
	need := func(name, v string) error {
		if v == "" {
			return fmt.Errorf("the field %q is missing", name)
		}
		return nil
	}
	guid := func(name, v string) error {
		if v == "" && !dry {
			return fmt.Errorf("the field %q is missing: the plan is that of a dry run, or incomplete", name)
		}
		return nil
	}
	dataset := func(want string) error {
		if s.Dataset != want {
			return fmt.Errorf("its dataset is %q, not %q", s.Dataset, want)
		}
		return nil
	}
	sided := func() error {
		switch s.Side {
		case record.SideSource:
			return dataset(r.Name)
		case record.SideTarget:
			return dataset(r.Target.Name)
		}
		return fmt.Errorf("its side is %q, neither source nor target", s.Side)
	}
	switch s.Do {
	case record.DoAbortResume:
		return dataset(r.Target.Name)
	case record.DoCreateParent:
		if !strings.HasPrefix(r.Target.Name, s.Dataset+"/") {
			return fmt.Errorf("%q is not above the target %q", s.Dataset, r.Target.Name)
		}
		return nil
	case record.DoDestroy:
		return errors.Join(sided(), need("snapshot", s.Snapshot), need("guid", s.GUID))
	case record.DoRollback:
		return errors.Join(dataset(r.Target.Name), need("snapshot", s.Snapshot), need("guid", s.GUID))
	case record.DoHold, record.DoRelease:
		if strings.HasPrefix(s.Tag, "-") {
			return fmt.Errorf("%q is not a tag", s.Tag)
		}
		return errors.Join(sided(), need("snapshot", s.Snapshot), need("tag", s.Tag))
	case record.DoBookmark:
		return errors.Join(sided(), need("to", s.To), need("snapshot", s.Snapshot+s.From), guid("guid", bookmarkGUID(s)))
	case record.DoUnbookmark:
		if !isBookmark(s.From) {
			return fmt.Errorf("%q is not a bookmark", s.From)
		}
		return errors.Join(sided(), need("guid", s.GUID))
	case record.DoMark:
		if len(s.Set) == 0 {
			return errors.New("the field \"set\" is missing")
		}
		for _, pv := range s.Set {
			if !isMark(pv) {
				return fmt.Errorf("%q is not a mark of zab's", pv)
			}
		}
		return dataset(r.Target.Name)
	case record.DoRenameAside, record.DoRenameBack, record.DoRenameDone:
		return errors.Join(dataset(r.Target.Name), need("guid", s.GUID), checkAside(s))
	case record.DoRename:
		return errors.Join(need("guid", s.GUID), need("snapshot", s.Snapshot), need("from", s.From), checkRename(r, s))
	case record.DoReceive:
		return errors.Join(dataset(r.Target.Name), checkReceive(r, s, guid))
	}
	return errors.New("this version does not know such a step")
}

// isMark reports whether P=V is what a mark may set on a copy: what zab says of it,
// in the form in which zab says it, and what --safe-properties takes back.
func isMark(pv string) bool {
	name, value, _ := strings.Cut(pv, "=")
	switch name {
	case zfs.FromProp:
		return record.CheckFrom(value) == nil
	case zfs.StreamProp:
		return record.CheckStream(value) == nil
	case zfs.PoolProp:
		return record.CheckPool(value) == nil
	}
	return pv == "keylocation=prompt"
}

func checkReceive(r *record.Record, s *record.Step, guid func(name, v string) error) error {
	if s.To == "" {
		return errors.New("the field \"to\" is missing")
	}
	if err := guid("to_guid", s.ToGUID); err != nil {
		return err
	}
	// A token is looked at here as well, whether it fits the step.
	if _, err := zfs.SendArgv(r.Name, s); err != nil {
		return err
	}
	for _, p := range s.Set {
		if k, _, ok := strings.Cut(p, "="); !ok || k == "" {
			return fmt.Errorf("%q is not a property with its value", p)
		}
	}
	for _, p := range s.Exclude {
		if p == "" || strings.Contains(p, "=") {
			return fmt.Errorf("%q is not the name of a property", p)
		}
	}
	return nil
}

// bookmarkOf is what a bookmark step marks, with its leading @ or #.
func bookmarkOf(s *record.Step) string {
	switch {
	case s.Snapshot != "":
		return "@" + s.Snapshot
	case isBookmark(s.From):
		return s.From
	}
	return "@" + s.From
}

func bookmarkGUID(s *record.Step) string {
	if s.GUID != "" {
		return s.GUID
	}
	return s.FromGUID
}
