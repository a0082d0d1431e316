package xfer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"zab/lib/chain"
	"zab/lib/record"
)

// kind is all that is known of the steps of one kind. Each stands in the file of its
// name.
type kind struct {
	// check returns why a step of a record may not be executed. In a dry run guids may be
	// missing, for snapshots may not exist yet.
	check func(r *record.Record, s *record.Step, dry bool) error
	// show returns, for a dry run, the commands that step i, or the n steps from it on,
	// would start; none where nothing is to be done.
	show func(j *job, ctx context.Context, i, n int) ([]string, error)
	// do executes them. Without it they are executed when the record is committed, with
	// those of others: commit calls what does.
	do func(j *job, ctx context.Context, i, n int) error
}

var kinds map[string]kind

func init() { // for what the functions call looks here
	kinds = map[string]kind{
		record.DoAbortResume:  {checkAbort, (*job).showAbort, (*job).abort},
		record.DoCreateParent: {checkCreateParent, (*job).showParent, (*job).createParent},
		record.DoRename:       {checkRename, (*job).showRename, (*job).rename},
		record.DoRenameAside:  {checkAside, (*job).showRenameAside, (*job).renameAside},
		record.DoRenameBack:   {checkAside, (*job).showRenameBack, (*job).renameBack},
		record.DoRenameDone:   {checkAside, (*job).showRenameDone, (*job).renameDone},
		record.DoDestroy:      {checkDestroy, (*job).showDestroy, (*job).destroy},
		record.DoRollback:     {checkRollback, (*job).showRollback, (*job).rollback},
		record.DoReceive:      {checkReceive, (*job).showReceive, (*job).receive},
		record.DoMark:         {checkMark, (*job).showMark, nil},
		record.DoHold:         {checkHold, (*job).showHold, nil},
		record.DoRelease:      {checkHold, (*job).showRelease, nil},
		record.DoBookmark:     {checkBookmark, (*job).showBookmark, nil},
		record.DoUnbookmark:   {checkUnbookmark, (*job).showUnbookmark, nil},
	}
}

// stepsTogether is how many steps from the first on are executed by one program.
func stepsTogether(steps []record.Step) int {
	if steps[0].Do == record.DoDestroy {
		return destroyRun(steps)
	}
	return 1
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
			return failf(record.KindBadStep, "cannot execute the steps of '%s': step %d, %q: %s", r.Name, i+1, r.Steps[i].Do, err)
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
			return failf(record.KindBadStep, "cannot execute the steps of '%s': step %d, %q: '%s@%s' is the newest snapshot that source and target have in common", r.Name, i+1, s.Do, s.Dataset, s.Snapshot)
		}
	}
	return nil
}

func checkStep(r *record.Record, s *record.Step, dry bool) error {
	if r.Target == nil {
		return errors.New("the record has no target")
	}
	k, known := kinds[s.Do]
	if !known {
		return errors.New("this version does not know such a step")
	}
	return k.check(r, s, dry)
}

// need fails where a field is empty.
func need(name, v string) error {
	if v == "" {
		return fmt.Errorf("the field %q is missing", name)
	}
	return nil
}

// needGUID fails where the guid of what is to exist already is missing.
func needGUID(name, v string, dry bool) error {
	if v == "" && !dry {
		return fmt.Errorf("the field %q is missing: the plan is that of a dry run, or incomplete", name)
	}
	return nil
}

// isAbout fails where a step is about another dataset.
func isAbout(s *record.Step, dataset string) error {
	if s.Dataset != dataset {
		return fmt.Errorf("its dataset is %q, not %q", s.Dataset, dataset)
	}
	return nil
}

// isSided fails where a step is not about the dataset on its side.
func isSided(r *record.Record, s *record.Step) error {
	switch s.Side {
	case record.SideSource:
		return isAbout(s, r.Name)
	case record.SideTarget:
		return isAbout(s, r.Target.Name)
	}
	return fmt.Errorf("its side is %q, neither source nor target", s.Side)
}

// shown is the only command of a step, as text to paste into a shell.
func (j *job) shown(s *record.Step, argv []string) ([]string, error) {
	return []string{j.side(s).Show(argv...)}, nil
}
