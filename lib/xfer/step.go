package xfer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"zab/lib/chain"
	"zab/lib/record"
	"zab/lib/zfs"
)

// kind has the functions for the steps of one kind. Those of a kind are in the file named
// after it.
type kind struct {
	// check returns why a step of a record may not be executed. In a dry run guids may be
	// missing, since snapshots may not exist yet.
	check func(r *record.Record, s *record.Step, dry bool) error
	// show returns, for a dry run, the commands that step i, or the n steps from it on,
	// would start; none if there is nothing to do.
	show func(j *job, ctx context.Context, i, n int) ([]string, error)
	// do executes the same steps. It is nil if they are executed when the record is
	// committed, together with those of other records: see commit.
	do func(j *job, ctx context.Context, i, n int) error
}

var kinds map[string]kind

func init() { // the functions refer to kinds, which would be an initialization cycle
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

// stepsTogether returns how many steps from the first on are executed by one program.
func stepsTogether(steps []record.Step) int {
	if steps[0].Do == record.DoDestroy {
		return destroyRun(steps)
	}
	return 1
}

// acts reports whether the record has steps to execute. A record of which a step was done
// already is not touched again.
func acts(r *record.Record) bool {
	done := slices.ContainsFunc(r.Results, func(s record.Result) bool { return s.Done })
	return len(r.Steps) > 0 && !done
}

// check refuses a record with a step that is not wholly understood, or that reaches
// beyond the record's own two datasets. In a dry run guids may be missing, since
// snapshots may not exist yet.
func check(r *record.Record, dry bool) error {
	for i := range r.Steps {
		if err := checkStep(r, &r.Steps[i], dry); err != nil {
			return failf(record.KindBadStep, "cannot execute the steps of '%s': step %d, %q: %s", r.Name, i+1, r.Steps[i].Do, err)
		}
	}
	return checkCommon(r)
}

// checkCommon enforces P1 against a plan that was changed by hand: no step may destroy
// the newest snapshot in common before a newer one has been sent. On the source it may go
// if a bookmark has its guid.
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

// need returns an error if a field is empty.
func need(name, v string) error {
	if v == "" {
		return fmt.Errorf("the field %q is missing", name)
	}
	return nil
}

// needGUID returns an error if the guid of a snapshot is missing, which is allowed only
// in a dry run, where the snapshot may not exist yet.
func needGUID(name, v string, dry bool) error {
	if v == "" && !dry {
		return fmt.Errorf("the field %q is missing: the plan is that of a dry run, or incomplete", name)
	}
	return nil
}

// isAbout returns an error if a step is about another dataset.
func isAbout(s *record.Step, dataset string) error {
	if s.Dataset != dataset {
		return fmt.Errorf("its dataset is %q, not %q", s.Dataset, dataset)
	}
	return nil
}

// isSided returns an error unless a step is about the record's dataset on its side.
func isSided(r *record.Record, s *record.Step) error {
	switch s.Side {
	case record.SideSource:
		return isAbout(s, r.Name)
	case record.SideTarget:
		return isAbout(s, r.Target.Name)
	}
	return fmt.Errorf("its side is %q, neither source nor target", s.Side)
}

// shown returns the one command of a step on a host, as text to paste into a shell.
func shown(host *zfs.Host, argv []string) ([]string, error) {
	return []string{host.Show(argv...)}, nil
}
