package zfs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"zab/lib/record"
)

// Hold holds existing snapshots, given by full name, with tag. A snapshot that has the
// tag already is no failure.
func (h *Host) Hold(ctx context.Context, tag string, snapshots []string) error {
	trees, rest := h.recursiveGroups(ctx, snapshots)
	// zfs hold -r holds a whole tree or nothing of it, so if one member has the tag
	// already, the others were not held.
	if err := h.treeHolds(ctx, recursive(HoldArgv(tag)), trees, ""); err != nil {
		rest = snapshots
	}
	return h.holds(ctx, HoldArgv(tag), rest, record.KindExists)
}

// HoldNew is Hold, and returns which of the snapshots had the tag before.
func (h *Host) HoldNew(ctx context.Context, tag string, snapshots []string) (before map[string]bool, err error) {
	before = map[string]bool{}
	if len(snapshots) == 0 {
		return before, nil
	}
	trees, rest := h.recursiveGroups(ctx, snapshots)
	for i, t := range trees {
		// A command for each tree: if it fails, nothing of the tree was held, so
		// a tag that is found below was there before.
		if i >= manyTrees || h.run(ctx, append(recursive(HoldArgv(tag)), t.top)...) != nil {
			rest = append(rest, t.members...)
		}
	}
	if len(rest) == 0 {
		return before, nil
	}
	err = h.batches(HoldArgv(tag), rest, func(argv, _ []string) error {
		err := h.run(ctx, argv...)
		var e *Error
		if errors.As(err, &e) {
			for _, l := range e.Lines {
				// cannot hold snapshot 'tank/a@1': tag already exists on this dataset
				if names := quotedNames(l); len(names) > 0 && Classify(l) == record.KindExists {
					before[names[0]] = true
				}
			}
		}
		return ignoreKind(err, record.KindExists)
	})
	return before, err
}

// Release removes tag from snapshots. A tag or a snapshot that does not exist is no
// failure.
func (h *Host) Release(ctx context.Context, tag string, snapshots []string) error {
	trees, rest := h.recursiveGroups(ctx, snapshots)
	// zfs release -r passes over members without the tag.
	if err := h.treeHolds(ctx, recursive(ReleaseArgv(tag)), trees, record.KindNotFound); err != nil {
		rest = snapshots
	}
	return h.holds(ctx, ReleaseArgv(tag), rest, record.KindNotFound)
}

// manyTrees is how many trees HoldMore holds with a program each; it holds the members of
// the others without -r.
const manyTrees = 8

// recursive returns a command of HoldArgv or ReleaseArgv with -r.
func recursive(argv []string) []string { return slices.Insert(argv, 2, "-r") }

// treeHolds holds or releases trees, with a program for each pool at the same time,
// because one pool does not have to wait for another. Errors of the kind fine are
// ignored.
func (h *Host) treeHolds(ctx context.Context, argv []string, trees []tree, fine record.ErrorKind) error {
	tops := map[string][]string{}
	for _, t := range trees {
		pool := t.top[:strings.IndexAny(t.top, "/@")]
		tops[pool] = append(tops[pool], t.top)
	}
	var mu sync.Mutex
	var errs []error
	var pools sync.WaitGroup
	for _, list := range tops {
		pools.Go(func() {
			err := h.holds(ctx, argv, list, fine)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	pools.Wait()
	return join(errs)
}

// HoldArgv returns the command of Hold.
func HoldArgv(tag string, snapshots ...string) []string {
	return append([]string{"zfs", "hold", tag}, snapshots...)
}

// ReleaseArgv returns the command of Release.
func ReleaseArgv(tag string, snapshots ...string) []string {
	return append([]string{"zfs", "release", tag}, snapshots...)
}

func (h *Host) holds(ctx context.Context, argv, snapshots []string, fine record.ErrorKind) error {
	if len(snapshots) == 0 {
		return nil
	}
	do := func(snapshots []string) error {
		return h.batches(argv, snapshots, func(argv, _ []string) error {
			return ignoreKind(h.run(ctx, argv...), fine)
		})
	}
	err := do(snapshots)
	pools := map[string][]string{}
	for _, s := range snapshots {
		pools[Pool(s)] = append(pools[Pool(s)], s)
	}
	if KindOf(err) != record.KindReadOnlyPool || len(pools) < 2 {
		return err
	}
	// zfs reports a pool that is imported read-only without naming it, and the error
	// would count for the other pools, too. So run a command for each pool.
	var errs []error
	for _, pool := range slices.Sorted(maps.Keys(pools)) {
		err := do(pools[pool])
		var e *Error
		if errors.As(err, &e) && e.Kind == record.KindReadOnlyPool {
			one := *e
			one.Lines = nil
			for _, s := range pools[pool] {
				one.Lines = append(one.Lines, fmt.Sprintf("cannot %s '%s': pool is read-only", argv[1], s))
			}
			err = &one
		}
		errs = append(errs, err)
	}
	return join(errs)
}

// Holder is a hold on a snapshot.
type Holder struct {
	Snapshot string // full name
	Tag      string
	// Since is when the hold was made, to the minute; zero if zfs's text for the time
	// is not understood. It is taken to be in this host's time zone, even for another
	// host.
	Since time.Time
}

// Holds returns the holds on snapshots, which are given by full name with the number of
// holds that each has.
func (h *Host) Holds(ctx context.Context, snapshots map[string]int64) ([]Holder, error) {
	var out []Holder
	if len(snapshots) == 0 {
		return nil, nil
	}
	names := slices.Sorted(maps.Keys(snapshots))
	left, due := maxAnswer.allow(), maps.Clone(snapshots)
	err := h.batches([]string{"zfs", "holds", "-H"}, names, func(argv, _ []string) error {
		return h.askMore(ctx, left, func(line string) error {
			// name, tag, time; a tag may have tabs in it.
			name, rest, ok := strings.Cut(line, "\t")
			end := strings.LastIndexByte(rest, '\t')
			if _, asked := due[name]; !ok || end < 0 || !asked {
				return fmt.Errorf("%q is not a hold on a snapshot that was asked for", cutText(line))
			}
			// A tag with newlines in it looks like holds on other snapshots, so
			// compare the numbers.
			if due[name]--; due[name] < 0 {
				return fmt.Errorf("'%s' has more holds than zfs counts", name)
			}
			out = append(out, Holder{name, rest[:end], holdTime(rest[end+1:])})
			return nil
		}, argv...)
	})
	return out, err
}

// Tags returns the tags of the holds on snapshots, by full name. It runs at most two
// programs.
func (h *Host) Tags(ctx context.Context, snapshots []string) (map[string][]string, error) {
	found, err := h.FindHeld(ctx, snapshots)
	if err != nil {
		return nil, err
	}
	counts := map[string]int64{}
	for name, s := range found {
		if s.UserRefs != nil && *s.UserRefs > 0 {
			counts[name] = *s.UserRefs
		}
	}
	holders, err := h.Holds(ctx, counts)
	if err != nil {
		return nil, err
	}
	return TagsOf(holders), nil
}

// TagsOf returns the tags of holds by the full names of the snapshots.
func TagsOf(holders []Holder) map[string][]string {
	tags := map[string][]string{}
	for _, h := range holders {
		tags[h.Snapshot] = append(tags[h.Snapshot], h.Tag)
	}
	return tags
}

// holdTime parses the time of a hold, such as "Sun Nov 22 23:08 2026" or, of an early day
// or hour, "Sun Nov  1  3:08 2026". It returns the zero time for other texts.
func holdTime(s string) time.Time {
	t, err := time.ParseInLocation("Mon Jan 2 15:04 2006", strings.Join(strings.Fields(s), " "), time.Local)
	if err != nil {
		return time.Time{}
	}
	return t
}
