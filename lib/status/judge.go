package status

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"zab/lib/chain"
	"zab/lib/record"
)

// This file judges a record. It starts no program and looks at no clock.

// Rules are what a verdict depends on besides the record.
type Rules struct {
	Now        int64 // in seconds since the epoch
	Warn, Crit int64 // ages in seconds beyond which a copy is too old
	// Verified is the age in seconds beyond which a proof is too old; 0 asks for none.
	Verified int64
	// MinChange is the number of bytes from which on a dataset has changed; 0 if it gets
	// a new snapshot even without a change.
	MinChange int64
	// Hidden: snapshots may be missing from the lists of the sources, so that what a
	// dataset calls written may count from one that is not listed.
	Hidden bool
	// Orphan is the verdict on a copy without a source.
	Orphan string
}

// ahead is how far in the future, in seconds, a snapshot may be by the clock of another
// host before its age means nothing.
const ahead = 5 * 60

// severity orders the verdicts. An unknown state is worse than a warning, because it may
// hide anything.
var severity = []string{record.StatusOK, record.StatusWarn, record.StatusUnknown, record.StatusCrit}

// Worst returns the most severe verdict; "" counts as less severe than all.
func Worst(verdicts ...string) string {
	return slices.MaxFunc(verdicts, func(a, b string) int { return slices.Index(severity, a) - slices.Index(severity, b) })
}

// state is a status under judgement.
type state struct {
	record.Status
	rules *Rules
}

// is gives a verdict with its reason; the most severe verdict counts, all reasons stay.
func (s *state) is(verdict, format string, a ...any) {
	s.Verdict = Worst(s.Verdict, verdict)
	s.Why = append(s.Why, fmt.Sprintf(format, a...))
}

// Judge returns the status of a record of zab-plan, or, where there is no target, of
// zab-snap: nil for one that belongs to no backup, such as a dataset that is not selected,
// or one below the target that has no snapshot of this backup. Snapshots must be marked as
// ours. What only zab-status asks zfs for comes with the record: the creation of the
// snapshots whose age counts, and in its status, if it has one, the fields Written,
// Misplaced, Proof and ProofTime.
func Judge(r *record.Record, rules *Rules) *record.Status {
	s := &state{Status: record.Status{Verdict: record.StatusOK}, rules: rules}
	if r.Status != nil {
		s.Misplaced, s.Proof, s.ProofTime = r.Status.Misplaced, r.Status.Proof, r.Status.ProofTime
	}
	switch {
	case r.Type == record.TypeUnlisted:
		s.is(record.StatusUnknown, "cannot be listed: %s", r.Error.Message)
	case r.Type == record.TypeOrphan:
		if r.Target == nil || !slices.ContainsFunc(r.Target.Snapshots, isOurs) {
			return nil
		}
		s.orphan(r)
	case r.Selected != nil && !*r.Selected:
		return nil
	default:
		s.dataset(r)
	}
	return &s.Status
}

func isOurs(s record.Snapshot) bool { return s.Ours && !s.Virtual }

// newestOurs returns the newest snapshot of ours that exists, or nil.
func newestOurs(list []record.Snapshot) *record.Snapshot {
	for i := range slices.Backward(list) {
		if isOurs(list[i]) {
			return &list[i]
		}
	}
	return nil
}

// reference returns the snapshot whose age is that of the backup: the newest that both
// sides have in common, as it is on the target, or without a target the newest of ours;
// nil if there is none. source is its name on the source, with a leading # for a bookmark.
// newest: it is the newest of all on the source, as far as the list goes.
func reference(r *record.Record) (at *record.Snapshot, source string, newest bool) {
	guid := ""
	if r.Target != nil {
		b, ok := chain.Find(r.Snapshots, r.Bookmarks, r.Target.Snapshots)
		if !ok {
			return nil, "", false
		}
		at, source, guid = &r.Target.Snapshots[b.Target], b.Source, b.GUID
	} else if at = newestOurs(r.Snapshots); at != nil {
		source, guid = at.Name, at.GUID
	}
	for _, s := range slices.Backward(r.Snapshots) {
		if !s.Virtual {
			return at, source, s.GUID == guid
		}
	}
	return at, source, false
}

// count returns the number of snapshots that exist; nil if they were not listed.
func count(list []record.Snapshot) *int64 {
	if list == nil {
		return nil
	}
	n := int64(0)
	for i := range list {
		if !list[i].Virtual {
			n++
		}
	}
	return &n
}

// orphan judges a copy without a source. Nothing is said about its age, which only grows.
func (s *state) orphan(r *record.Record) {
	newest := newestOurs(r.Target.Snapshots)
	s.Newest, s.NewestTime = newest.Name, newest.Creation
	s.TargetSnapshots = count(r.Target.Snapshots)
	s.Age, _ = s.age(newest.Creation)
	switch {
	case r.Error != nil:
		s.is(record.StatusCrit, "%s", r.Error.Message)
	case r.Excluded:
		s.Notes = append(s.Notes, r.Reason)
	case s.rules.Orphan == record.StatusOK:
		s.Notes = append(s.Notes, "a copy without a source: "+r.Reason)
	default:
		s.is(s.rules.Orphan, "a copy without a source: %s", r.Reason)
	}
}

// dataset judges a selected dataset.
func (s *state) dataset(r *record.Record) {
	if newest := newestOurs(r.Snapshots); newest != nil {
		s.Newest, s.NewestTime = newest.Name, newest.Creation
	}
	s.Snapshots = count(r.Snapshots)
	s.measure(r)
	t := r.Target
	if t != nil {
		s.TargetSnapshots = count(t.Snapshots)
	}
	s.resume(r)
	if e := r.Failure(); e != nil {
		message := e.Message
		if r.Conflict != nil {
			message = "conflict: " + r.Conflict.Message
		}
		s.is(record.StatusCrit, "%s", message)
	}
	switch {
	case t == nil && r.Error != nil:
	case t == nil && r.Snapshots == nil:
		s.is(record.StatusUnknown, "its snapshots were not listed")
	case t == nil && s.Newest == "":
		s.is(record.StatusCrit, "no snapshot of this backup")
	case t == nil:
		s.old("the newest snapshot")
	case !t.Exists && t.Elsewhere != "":
		s.is(record.StatusCrit, "no copy at '%s': it is at '%s'; see --follow-renames of zab(8)", t.Name, t.Elsewhere)
	case !t.Exists:
		s.is(record.StatusCrit, "no copy: there is no '%s'", t.Name)
	case t.Snapshots == nil && r.Error != nil:
	case len(t.Snapshots) == 0:
		s.is(record.StatusCrit, "no copy: '%s' has no snapshot", t.Name)
	case s.Common == "" && r.Snapshots == nil:
		s.is(record.StatusUnknown, "its snapshots were not listed")
	case s.Common == "":
		if r.Conflict == nil {
			s.is(record.StatusCrit, "no snapshot in common with '%s'", t.Name)
		}
	default:
		s.old("the newest common snapshot")
		s.proof()
	}
	for _, note := range notes {
		if text := note(r, s); text != "" {
			s.Notes = append(s.Notes, text)
		}
	}
}

// measure finds the newest common snapshot, how much was written since, and the age of
// the copy. If too little was written for a new snapshot, the copy is current, and has the
// age 0: there is nothing newer to back up.
func (s *state) measure(r *record.Record) {
	at, _, newest := reference(r)
	if at == nil {
		return
	}
	if r.Target != nil {
		s.Common, s.CommonTime = at.Name, at.Creation
	}
	switch {
	case r.Status != nil && r.Status.Written != nil:
		s.Written = r.Status.Written
	case newest && !s.rules.Hidden:
		s.Written = r.Written
	}
	s.Age, _ = s.age(at.Creation)
	if s.Written != nil && *s.Written < s.rules.MinChange {
		s.Age = record.Ptr[int64](0)
	}
}

// age returns how long ago a time was, in seconds; nil if that is not known, or, with
// future set, if it is still to come.
func (s *state) age(at *int64) (age *int64, future bool) {
	if at == nil {
		return nil, false
	}
	if *at > s.rules.Now+ahead {
		return nil, true
	}
	return record.Ptr(max(s.rules.Now-*at, 0)), false
}

// old judges the age; of says what is as old.
func (s *state) old(of string) {
	at := s.NewestTime
	if s.Common != "" {
		at = s.CommonTime
	}
	switch _, future := s.age(at); {
	case s.Age == nil && future:
		s.is(record.StatusUnknown, "%s is from the future: is a clock wrong?", of)
	case s.Age == nil:
		s.is(record.StatusUnknown, "it is not known when %s was made", of)
	case *s.Age > s.rules.Crit:
		s.is(record.StatusCrit, "%s is %s old, more than %s", of, ageText(*s.Age), ageText(s.rules.Crit))
	case *s.Age > s.rules.Warn:
		s.is(record.StatusWarn, "%s is %s old, more than %s", of, ageText(*s.Age), ageText(s.rules.Warn))
	}
}

// resume notes how far an interrupted stream has come. The total is about what ZFS counts
// as stored: a stream that is not compressed is larger.
func (s *state) resume(r *record.Record) {
	t := r.Target
	if t == nil || t.Resume == nil || t.Resume.Bytes == nil {
		return
	}
	s.ResumeBytes = t.Resume.Bytes
	switch {
	case t.Resume.FromGUID != "":
		s.ResumeTotal = s.Written
	case slices.Contains(t.Resume.Flags, "raw"), slices.Contains(t.Resume.Flags, "compress"), r.LogicalReferenced == nil:
		s.ResumeTotal = r.Referenced
	default:
		s.ResumeTotal = r.LogicalReferenced
	}
	if s.ResumeTotal != nil && *s.ResumeTotal < *s.ResumeBytes {
		s.ResumeTotal = nil
	}
}

// notes are what else is worth knowing of a dataset, each a sentence or "". None of them
// changes the verdict.
var notes = []func(r *record.Record, s *state) string{resumeNote, keyNote, holdsNote}

func resumeNote(r *record.Record, s *state) string {
	switch {
	case r.Target == nil || r.Target.Resume == nil && r.Target.ResumeToken == "":
		return ""
	case s.ResumeBytes == nil:
		return "a transfer was interrupted, or is going on"
	case s.ResumeTotal == nil || *s.ResumeTotal == 0:
		return fmt.Sprintf("a transfer was interrupted, or is going on: %s received", size(*s.ResumeBytes))
	}
	return fmt.Sprintf("a transfer was interrupted, or is going on: %s received, about %.0f%%", size(*s.ResumeBytes), 100*float64(*s.ResumeBytes)/float64(*s.ResumeTotal))
}

func keyNote(r *record.Record, _ *state) string {
	var sides []string
	if r.Encrypted() && r.KeyStatus == "unavailable" {
		sides = append(sides, "source")
	}
	if t := r.Target; t != nil && t.Encrypted() && t.KeyStatus == "unavailable" {
		sides = append(sides, "target")
	}
	if sides == nil {
		return ""
	}
	return "key not loaded: " + strings.Join(sides, ", ")
}

func holdsNote(_ *record.Record, s *state) string {
	missing, left := 0, 0
	for _, m := range s.Misplaced {
		if m.Missing {
			missing++
		} else {
			left++
		}
	}
	var parts []string
	if missing > 0 {
		parts = append(parts, fmt.Sprintf("%d missing on the common snapshot", missing))
	}
	if left > 0 {
		parts = append(parts, fmt.Sprintf("%d on other snapshots", left))
	}
	if parts == nil {
		return ""
	}
	return "holds of ours out of place: " + strings.Join(parts, ", ")
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// ageText returns a span of time for people, in the two largest units that matter.
func ageText(seconds int64) string {
	const minute, hour, day = 60, 60 * 60, 24 * 60 * 60
	two := func(n int64, unit string, rest int64, small string) string {
		if rest == 0 {
			return fmt.Sprintf("%d%s", n, unit)
		}
		return fmt.Sprintf("%d%s %d%s", n, unit, rest, small)
	}
	switch {
	case seconds < minute:
		return fmt.Sprintf("%ds", seconds)
	case seconds < hour:
		return fmt.Sprintf("%dm", seconds/minute)
	case seconds < 3*day:
		return two(seconds/hour, "h", seconds%hour/minute, "m")
	}
	return two(seconds/day, "d", seconds%day/hour, "h")
}
