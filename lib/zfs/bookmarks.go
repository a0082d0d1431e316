package zfs

import (
	"context"
	"fmt"
	"strings"

	"zab/lib/record"
)

// Mark is a bookmark to be made.
type Mark struct {
	Dataset string
	Of      string // the snapshot or bookmark, with its leading @ or #
	Name    string // after #
}

// Full is the full name of the bookmark.
func (m Mark) Full() string { return m.Dataset + "#" + m.Name }

// fewMarks are made by a command each, which needs no more than the permission
// to make bookmarks.
const fewMarks = 2

// Bookmarks makes bookmarks and gives the errors by their full names; one that
// is there already is what was wanted. "zfs bookmark" makes one; so many of one
// pool are made by a channel program, where that is allowed.
func (h *Host) Bookmarks(ctx context.Context, marks []Mark) map[string]error {
	errs := map[string]error{}
	var order []string
	byPool := map[string][]Mark{}
	for _, m := range marks {
		p := Pool(m.Dataset)
		if byPool[p] == nil {
			order = append(order, p)
		}
		byPool[p] = append(byPool[p], m)
	}
	for _, p := range order {
		rest := byPool[p]
		if len(rest) > fewMarks {
			rest = h.bookmarkProgram(ctx, p, rest)
		}
		for _, m := range rest {
			if err := h.Bookmark(ctx, m.Dataset, m.Of, m.Name); err != nil && KindOf(err) != record.KindExists {
				errs[m.Full()] = err
			}
		}
	}
	return errs
}

// bookmarkProgram makes bookmarks of one pool and gives those that it did not
// make, of which a command will tell why.
func (h *Host) bookmarkProgram(ctx context.Context, pool string, marks []Mark) []Mark {
	var lua strings.Builder
	lua.WriteString("failed = {}\nfor i, m in ipairs({\n")
	for _, m := range marks {
		of, err := luaPoint(m.Dataset + m.Of)
		if err != nil {
			return marks // their commands tell why
		}
		to, err := luaPoint(m.Full())
		if err != nil {
			return marks
		}
		fmt.Fprintf(&lua, "{%s, %s},\n", of, to)
	}
	lua.WriteString("}) do\n  if zfs.sync.bookmark(m[1], m[2]) ~= 0 then failed[m[2]] = true end\nend\nreturn failed\n")
	var got struct {
		Return map[string]bool `json:"return"`
	}
	if h.program(ctx, pool, lua.String(), &got) != nil {
		return marks // each that was made is found by its command
	}
	var rest []Mark
	for _, m := range marks {
		if got.Return[m.Full()] {
			rest = append(rest, m)
		}
	}
	return rest
}
