package chain

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"zab/lib/record"
)

// Keeping holds the options of the commands that know how the incremental base is kept.
type Keeping struct {
	Bookmark bool `long:"bookmark" section:"sent" description:"Keep the incremental base on the source as a bookmark, so that no snapshot has to stay there"`
}

// Mark is a bookmark of ours. Its name has the marked snapshot and the targets that start
// from it: there is one for a snapshot, however many the targets, and it is destroyed
// when the last of them has moved on.
type Mark struct {
	// Name is all that follows the #, Snapshot the name of the marked snapshot.
	Name, Snapshot string
	GUID           string
	// Targets are the keys of the targets that start from it, in order.
	Targets []string
}

// TargetKey returns the key of a target in the names of bookmarks: eight hexadecimal
// digits, a hash of the target's pin (see Pin), which has the backup, the guid of the
// dataset that its copies are below, and the guid of its pool.
func TargetKey(pin string) string {
	h := fnv.New32a()
	h.Write([]byte(pin))
	return fmt.Sprintf("%08x", h.Sum32())
}

// Marks returns those of the bookmarks whose names have keys of targets.
func Marks(bookmarks []record.Snapshot) []Mark {
	var out []Mark
	for _, b := range bookmarks {
		m := Mark{Name: b.Name, Snapshot: b.Name, GUID: b.GUID}
		for {
			i := strings.LastIndexByte(m.Snapshot, ':')
			if i < 0 || !isKey(m.Snapshot[i+1:]) {
				break
			}
			m.Targets = append(m.Targets, m.Snapshot[i+1:])
			m.Snapshot = m.Snapshot[:i]
		}
		if len(m.Targets) > 0 && m.Snapshot != "" {
			slices.Sort(m.Targets)
			out = append(out, m)
		}
	}
	return out
}

func isKey(s string) bool { return len(s) == 8 && strings.Trim(s, "0123456789abcdef") == "" }

// MarkName returns the name of the bookmark of a snapshot for targets.
func MarkName(snapshot string, targets []string) string {
	return strings.Join(append([]string{snapshot}, slices.Sorted(slices.Values(targets))...), ":")
}

// Has reports whether a target starts from the mark.
func (m *Mark) Has(target string) bool { return slices.Contains(m.Targets, target) }

// With returns the name of the mark when a target joins, without the target's former key.
func (m *Mark) With(target, former string) string {
	rest := slices.DeleteFunc(slices.Clone(m.Targets), func(t string) bool { return t == target || t == former })
	return MarkName(m.Snapshot, append(rest, target))
}

// Without returns the name of the mark when a target, given by all its keys, has moved
// on, or "" if it was the last.
func (m *Mark) Without(target ...string) string {
	rest := slices.DeleteFunc(slices.Clone(m.Targets), func(t string) bool { return slices.Contains(target, t) })
	if len(rest) == 0 {
		return ""
	}
	return MarkName(m.Snapshot, rest)
}
