package zfs

import "context"

// Bookmark makes a bookmark (name after #) of a snapshot or bookmark of the
// same dataset (with its leading @ or #).
func (h *Host) Bookmark(ctx context.Context, dataset, of, mark string) error {
	return h.run(ctx, BookmarkArgv(dataset, of, mark)...)
}

// BookmarkArgv is the command of Bookmark.
func BookmarkArgv(dataset, of, mark string) []string {
	return []string{"zfs", "bookmark", dataset + of, dataset + "#" + mark}
}
