package zfs

import (
	"context"
	"fmt"
	"strings"

	"zab/lib/record"
)

// Mark is a bookmark to be created.
type Mark struct {
	Dataset string
	Of      string // the snapshot or bookmark, with its leading @ or #
	Name    string // after #
}

// Full returns the full name of the bookmark.
func (m Mark) Full() string { return m.Dataset + "#" + m.Name }

// fewMarks is how many bookmarks of a pool are created by a command each, which needs no
// more than the permission to create bookmarks.
const fewMarks = 2

// Bookmarks creates bookmarks and returns the errors by the bookmarks' full names; an
// existing bookmark is no failure. "zfs bookmark" creates only one, so more than fewMarks
// of one pool are created by a channel program, if that is allowed.
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

// bookmarkProgram creates bookmarks of one pool and returns those that it did not create,
// of which a command will tell why.
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
		return marks // each that was created is found by its command
	}
	var rest []Mark
	for _, m := range marks {
		if got.Return[m.Full()] {
			rest = append(rest, m)
		}
	}
	return rest
}
