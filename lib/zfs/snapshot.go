package zfs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"

	"zab/lib/dataset"
	"zab/lib/record"
)

// SnapshotMost takes as many of the snapshots, all of one pool, as can be taken, and as
// many of these as possible in one transaction group. made are the full names of those
// that were taken; failed has the cause for each of the others by full name. Snapshots
// that failed for the same general reason share one error.
//
// If another run that uses the same names is at work, taken is true and no snapshot was
// made: the caller lists again and chooses another name. With alone, a name that exists
// is a failure like any other.
func (h *Host) SnapshotMost(ctx context.Context, names, props []string, alone bool) (made []string, failed map[string]error, taken bool) {
	m := most{
		try:   func(set []string) error { return h.Snapshot(ctx, set, props) },
		gone:  func(set []string) ([]string, error) { return h.missing(ctx, set) },
		alone: alone, failed: map[string]error{},
	}
	m.run(names)
	return m.made, m.failed, m.taken
}

// most does the work of SnapshotMost. zfs makes all snapshots of one command or none, and
// usually names the datasets at fault: these fail, and the rest is tried again as one
// set. If it names none, halves of the set are tried.
type most struct {
	try func(names []string) error
	// gone returns the snapshots whose datasets no longer exist; zfs names only one
	// of them.
	gone  func(names []string) ([]string, error)
	alone bool

	todo   [][]string
	blind  int // tries left of sets in which zfs names no culprit
	made   []string
	failed map[string]error
	taken  bool
}

// blindTries returns how many halves of a set of n are tried at most. That always finds
// two culprits, and more if they are neighbours.
func blindTries(n int) int { return 4 * bits.Len(uint(max(0, n-1))) }

func (m *most) run(names []string) {
	m.todo, m.blind = [][]string{names}, blindTries(len(names))
	for len(m.todo) > 0 {
		set := m.next()
		if len(set) == 0 {
			continue
		}
		err := m.try(set)
		if err == nil {
			m.made = append(m.made, set...)
			continue
		}
		if !OfDatasets(err) {
			// The sets that were not tried yet would fail in the same way.
			for _, s := range append(m.todo, set) {
				m.fail(s, err)
			}
			return
		}
		if m.apart(set, err); m.taken {
			return
		}
	}
}

// next removes and returns the largest set that is left, so that as many snapshots as
// possible are of one moment.
func (m *most) next() []string {
	at := 0
	for i := range m.todo {
		if len(m.todo[i]) > len(m.todo[at]) {
			at = i
		}
	}
	set := m.todo[at]
	m.todo = slices.Delete(m.todo, at, at+1)
	return set
}

// fail fails a set with a cause that names none of its members. Sets with the same cause
// share one error.
func (m *most) fail(set []string, err error) {
	for _, e := range m.failed {
		if KindOf(e) == KindOf(err) && e.Error() == err.Error() {
			err = e
			break
		}
	}
	for _, n := range set {
		m.failed[n] = err
	}
}

// apart splits a set that failed into the snapshots that err names, which fail, and the
// rest, which is tried again.
func (m *most) apart(set []string, err error) {
	if KindOf(err) == record.KindNotFound {
		gone, e := m.gone(set)
		if e != nil {
			m.fail(set, e)
			return
		}
		if len(gone) > 0 {
			for _, n := range gone {
				m.failed[n] = errGone
			}
			m.todo = append(m.todo, leaveOut(set, gone))
			return
		}
	}
	culprits, groups := blame(err, set)
	if !m.alone && len(m.made) == 0 && slices.ContainsFunc(slices.Collect(maps.Values(culprits)), func(e error) bool { return KindOf(e) == record.KindExists }) {
		m.taken = true
		return
	}
	if len(culprits) == 0 && len(groups) == 0 {
		groups = [][]string{set}
	}
	named := slices.Collect(maps.Keys(culprits))
	maps.Copy(m.failed, culprits)
	for _, g := range groups {
		if g = leaveOut(g, named); len(g) > 0 {
			named = append(named, g...)
			m.halve(g, err)
		}
	}
	m.todo = slices.Insert(m.todo, 0, leaveOut(set, named))
}

// halve queues the halves of a set for a try, as long as there are tries left; otherwise
// the set fails.
func (m *most) halve(set []string, err error) {
	if len(set) < 2 || m.blind < 2 {
		m.fail(set, err)
		return
	}
	m.blind -= 2
	half := len(set) / 2
	m.todo = append(m.todo, set[:half], set[half:])
}

func leaveOut(set, drop []string) []string {
	gone := make(map[string]bool, len(drop))
	for _, n := range drop {
		gone[n] = true
	}
	return slices.DeleteFunc(slices.Clone(set), func(n string) bool { return gone[n] })
}

// blame returns the snapshots of a set that the lines of an error name, each with its own
// cause. If a line names a dataset above snapshots instead, these are one of groups: zfs
// (2.3) does so if a limit of that dataset has room for some of them but not for all.
func blame(err error, set []string) (culprits map[string]error, groups [][]string) {
	culprits = map[string]error{}
	var e *Error
	if !errors.As(err, &e) {
		return culprits, nil
	}
	of := make(map[string]bool, len(set))
	for _, n := range set {
		of[n] = true
	}
	lines := map[string][]string{}
	inGroup := map[string]bool{}
	for _, l := range e.Lines {
		for _, q := range quotedNames(l) {
			if of[q] {
				lines[q] = append(lines[q], strings.TrimPrefix(l, "cannot create snapshot '"+q+"': "))
				continue
			}
			var group []string
			for _, n := range set {
				if ds, _, _ := strings.Cut(n, "@"); dataset.Within(ds, q) && !inGroup[n] {
					group = append(group, n)
				}
			}
			switch {
			case len(group) == 1:
				lines[group[0]] = append(lines[group[0]], l)
			case len(group) > 1 && len(group) < len(set):
				groups = append(groups, group)
				for _, n := range group {
					inGroup[n] = true
				}
			}
		}
	}
	for n, own := range lines {
		one := *e
		one.Lines, one.Kind = own, classify(own)
		culprits[n] = &one
	}
	return culprits, groups
}

// errGone is the failure of a dataset that disappeared before its snapshot was made.
var errGone = &Error{Kind: record.KindNotFound, Code: -1, Lines: []string{"the dataset is gone since it was selected"}}

// OfDatasets reports whether an error may concern single datasets, so that the same
// command with others may succeed. It is false for a lost connection, a program that was
// killed or is missing, a suspended pool, and an answer that did not come.
func OfDatasets(err error) bool {
	var e *Error
	if !errors.As(err, &e) || !e.Complete() {
		return false
	}
	switch e.Kind {
	case record.KindPoolIO, record.KindTooLong:
		return false
	}
	return !unrecoverable(err)
}

// missing returns the snapshots whose datasets do not exist.
func (h *Host) missing(ctx context.Context, names []string) ([]string, error) {
	var datasets []string
	for _, n := range names {
		ds, _, _ := strings.Cut(n, "@")
		datasets = append(datasets, ds)
	}
	exists := map[string]bool{}
	err := h.List(ctx, datasets, ListOptions{Types: Datasets}, func(row Row) error {
		exists[row.Dataset] = true
		return nil
	})
	if err != nil && KindOf(err) != record.KindNotFound {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		ds, _, _ := strings.Cut(n, "@")
		return exists[ds]
	}), nil
}

// Snapshot takes snapshots, all of one pool, in one transaction group: all or none. names
// are full (dataset@name); props, each P=V, are set on every snapshot.
//
// If the command line would be too long, a channel program takes the snapshots; it is
// sent over standard input, needs root and cannot set properties.
func (h *Host) Snapshot(ctx context.Context, names, props []string) error {
	argv := []string{"zfs", "snapshot"}
	for _, p := range props {
		argv = append(argv, "-o", p)
	}
	limit := maxLocal
	if !h.Here() {
		limit = maxRemote
	}
	batches := slices.Collect(Batches(names, limit))
	if len(batches) <= 1 {
		// On a pool that hangs, zfs would wait for ever. If it is ended, the
		// snapshots are all made when the pool comes back, or none is, and the
		// next run finds them.
		return withoutSummary(h.do(ctx, call{argv: append(argv, names...), limited: true}))
	}
	if len(props) > 0 {
		return &Error{Kind: record.KindTooLong, Host: h.Dest, Argv: argv, Code: -1,
			Lines: []string{fmt.Sprintf("%d snapshots do not fit into one command, and a channel program cannot set properties on snapshots", len(names))}}
	}
	err := h.snapshotProgram(ctx, names)
	var e *Error
	if errors.As(err, &e) && e.Kind == record.KindPermission {
		// The permission concerns channel programs, which fewer snapshots would
		// not need; but they would not be of one moment any more.
		one := *e
		one.Kind = record.KindTooLong
		return &one
	}
	return err
}

// withoutSummary drops zfs's last line, "no snapshots were created": it is true of one
// command, but maybe not of the set that the command is a part of.
func withoutSummary(err error) error {
	var e *Error
	if !errors.As(err, &e) || len(e.Lines) < 2 || e.Lines[len(e.Lines)-1] != "no snapshots were created" {
		return err
	}
	one := *e
	one.Lines = one.Lines[:len(one.Lines)-1]
	return &one
}

// snapshotProgram is Snapshot by a channel program, whose single synchronous task is as
// atomic as one command.
func (h *Host) snapshotProgram(ctx context.Context, names []string) error {
	var lua strings.Builder
	// Channel programs have no messages of their own, so the messages are made here.
	lua.WriteString(`
errors = {[2] = "dataset does not exist", [16] = "dataset is busy", [17] = "dataset already exists",
  [28] = "out of space", [122] = "out of space"}
failed = {}
function try(how, name)
  local err = how(name)
  if err ~= 0 then
    failed[#failed + 1] = "cannot create snapshot '" .. name .. "': " .. (errors[err] or "error " .. err)
  end
end
function done()
  if #failed > 0 then error(table.concat(failed, "\n"), 0) end
end
names = {
`)
	for _, n := range names {
		name, err := luaPoint(n)
		if err != nil {
			return err
		}
		lua.WriteString(name + ",\n")
	}
	// All are checked before the first is made, so that none is made in vain.
	lua.WriteString(`}
for i, name in ipairs(names) do try(zfs.check.snapshot, name) end
done()
for i, name in ipairs(names) do try(zfs.sync.snapshot, name) end
done()
return #names
`)
	return h.program(ctx, Pool(names[0]), lua.String(), nil)
}
