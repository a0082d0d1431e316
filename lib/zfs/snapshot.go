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

// SnapshotMost takes as many of the snapshots, all of one pool, as can be taken, and
// as many of these as possible in one transaction group. made are those that were
// taken, failed the causes of the others, each by its full name; an error that is not
// about single datasets is the same for all of those.
//
// With another run at work that gives the same names, taken is true and none was made:
// the caller looks again at what exists and chooses another name. With alone, a name
// that exists is a failure as any other.
func (h *Host) SnapshotMost(ctx context.Context, names, props []string, alone bool) (made []string, failed map[string]error, taken bool) {
	m := most{
		try:   func(set []string) error { return h.Snapshot(ctx, set, props) },
		gone:  func(set []string) ([]string, error) { return h.missing(ctx, set) },
		alone: alone, failed: map[string]error{},
	}
	m.run(names)
	return m.made, m.failed, m.taken
}

// most is the work of SnapshotMost. zfs makes all snapshots of one command or none,
// and in most cases names the datasets that are the cause: these fail, and the rest is
// tried again as one set. Where it names none, halves of the set are tried.
type most struct {
	try func(names []string) error
	// gone returns those of the snapshots whose datasets do not exist any more: zfs
	// names only one of them.
	gone  func(names []string) ([]string, error)
	alone bool

	todo   [][]string
	blind  int // tries left of sets whose culprits are not named
	made   []string
	failed map[string]error
	taken  bool
}

// blindTries is how many halves of a set of n are tried at most. Two culprits are
// always found with them, and more where they are neighbours.
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
			// Nothing is said of the sets that were not tried either, but that they
			// would fail in the same way.
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

// next takes the largest set that is left: what is good in it should be of one moment.
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

// fail fails a set with a cause that names none of it: one error for all that are told
// the same.
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

// apart parts a set that failed into those that err names and the rest.
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

// halve has the halves of a set tried, as long as there are tries left.
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

// blame returns the snapshots of a set that the lines of an error name, each with its
// own cause; and as groups those below a dataset that they name instead, as zfs (2.3)
// does where a limit of that dataset has room for some of them and not for all.
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

// errGone is the failure of a dataset that went while its snapshot was to be made.
var errGone = &Error{Kind: record.KindNotFound, Code: -1, Lines: []string{"the dataset is gone since it was selected"}}

// OfDatasets reports whether an error may be about single datasets, so that the same
// command with others may succeed. What it is not about is a connection, a program
// that was killed or is not there, a pool that is suspended, an answer that did not
// come.
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

// Snapshot takes snapshots, all of one pool, in one transaction group: all or
// none. names are full (dataset@name); props are P=V, set on each of them.
//
// A command line that the system would not take becomes a channel program,
// which reads the names from standard input; it needs root and sets no
// properties.
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
		// On a pool that hangs it would wait for ever. One that is given up is made whole
		// when the pool comes back, or not at all, and the next run finds it.
		return withoutSummary(h.do(ctx, call{argv: append(argv, names...), limited: true}))
	}
	if len(props) > 0 {
		return &Error{Kind: record.KindTooLong, Host: h.Dest, Argv: argv, Code: -1,
			Lines: []string{fmt.Sprintf("%d snapshots do not fit into one command, and a channel program cannot set properties on snapshots", len(names))}}
	}
	err := h.snapshotProgram(ctx, names)
	var e *Error
	if errors.As(err, &e) && e.Kind == record.KindPermission {
		// That is about channel programs, and fewer snapshots would need none; but they
		// would not be of one moment any more.
		one := *e
		one.Kind = record.KindTooLong
		return &one
	}
	return err
}

// withoutSummary drops zfs's last line, which says that no snapshots were created: of
// one command that is true, of the set that it is a part of it may not be.
func withoutSummary(err error) error {
	var e *Error
	if !errors.As(err, &e) || len(e.Lines) < 2 || e.Lines[len(e.Lines)-1] != "no snapshots were created" {
		return err
	}
	one := *e
	one.Lines = one.Lines[:len(one.Lines)-1]
	return &one
}

// snapshotProgram does the same through a channel program, whose one
// synchronous task is as atomic as one command.
func (h *Host) snapshotProgram(ctx context.Context, names []string) error {
	var lua strings.Builder
	// The message is ours to make: a channel program has none of its own.
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
