package zfs

import "context"

// Bookmark creates the bookmark mark, a name without #, of a snapshot or bookmark of the
// same dataset; of has its leading @ or #.
func (h *Host) Bookmark(ctx context.Context, dataset, of, mark string) error {
	return h.run(ctx, BookmarkArgv(dataset, of, mark)...)
}

// BookmarkArgv returns the command of Bookmark.
func BookmarkArgv(dataset, of, mark string) []string {
	return []string{"zfs", "bookmark", dataset + of, dataset + "#" + mark}
}
