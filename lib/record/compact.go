package record

import (
	"slices"
	"strings"

	"zab/lib/dataset"
)

// Compactor makes lists of snapshots take as little memory as they can, for stages that
// keep many of them.
type Compactor struct {
	// names are those of recent lists. Datasets that are snapshotted together have the
	// same names in their lists.
	names map[string]string
}

// maxNames bounds the memory of a Compactor: above this number it forgets all names.
const maxNames = 1 << 12

// Compact returns a copy of the list that does not keep alive the text, such as a line of
// input, from which the list was parsed: its guids and numbers are in two allocations of
// exactly their size, its names are shared with earlier lists.
func (c *Compactor) Compact(list []Snapshot) []Snapshot {
	if list == nil {
		return nil
	}
	out := make([]Snapshot, len(list))
	copy(out, list)
	size, count := 0, 0
	for i := range out {
		s := &out[i]
		size += len(s.GUID) + len(s.CreateTXG)
		for _, n := range []*int64{s.Creation, s.Written, s.UserRefs} {
			if n != nil {
				count++
			}
		}
	}
	var text strings.Builder
	text.Grow(size)
	for i := range out {
		text.WriteString(out[i].GUID)
		text.WriteString(out[i].CreateTXG)
	}
	texts, numbers := text.String(), make([]int64, 0, count)
	for i := range out {
		s := &out[i]
		s.Name = c.name(s.Name)
		if s.rare != nil {
			s.SetRare(s.rare.clone())
		}
		for _, t := range []*string{&s.GUID, &s.CreateTXG} {
			*t, texts = texts[:len(*t)], texts[len(*t):]
		}
		for _, n := range []**int64{&s.Creation, &s.Written, &s.UserRefs} {
			if *n != nil {
				numbers = append(numbers, **n)
				*n = &numbers[len(numbers)-1]
			}
		}
	}
	return out
}

// Collector adds the rows of a listing to the lists of their records, compacted. Rows of
// one record come together in the listings of zfs, and cost nothing more then.
type Collector struct {
	compactor            Compactor
	r                    *Record // whose rows are coming
	snapshots, bookmarks []Snapshot
}

// Snapshot adds a snapshot to a record.
func (c *Collector) Snapshot(r *Record, s Snapshot) {
	c.turn(r)
	c.snapshots = append(c.snapshots, s)
}

// Bookmark adds a bookmark to a record.
func (c *Collector) Bookmark(r *Record, s Snapshot) {
	c.turn(r)
	c.bookmarks = append(c.bookmarks, s)
}

// End must be called after the last row.
func (c *Collector) End() { c.turn(nil) }

// turn completes the lists of the record whose rows are over, if r is another one.
func (c *Collector) turn(r *Record) {
	if c.r == r {
		return
	}
	if c.r != nil {
		c.r.Snapshots = c.settle(c.r.Snapshots, c.snapshots)
		c.r.Bookmarks = c.settle(c.r.Bookmarks, c.bookmarks)
	}
	c.r, c.snapshots, c.bookmarks = r, c.snapshots[:0], c.bookmarks[:0]
}

// settle returns a list with the rows added.
func (c *Collector) settle(list, rows []Snapshot) []Snapshot {
	switch {
	case len(rows) == 0:
		return list
	case len(list) == 0:
		return c.compactor.Compact(rows)
	}
	return append(list, c.compactor.Compact(rows)...)
}

// clone returns a copy with texts of its own. Held and Unknown need none: lists with these
// are not cut from a line, but decoded, which copies.
func (x *Rare) clone() Rare {
	c := *x
	c.Needed = strings.Clone(c.Needed)
	c.Holds = slices.Clone(c.Holds)
	for i := range c.Holds {
		c.Holds[i] = strings.Clone(c.Holds[i])
	}
	return c
}

// name returns the name, in memory of its own or of an earlier list.
func (c *Compactor) name(s string) string {
	if known, ok := c.names[s]; ok {
		return known
	}
	s = strings.Clone(s)
	if len(s) > dataset.MaxName {
		return s // no name of zfs: the record will be refused
	}
	if c.names == nil || len(c.names) >= maxNames {
		c.names = map[string]string{}
	}
	c.names[s] = s
	return s
}
