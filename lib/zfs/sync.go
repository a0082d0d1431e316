package zfs

import (
	"context"
	"sync"
)

// Sync has pools write what they have in memory, so that the property written counts
// all that was written before. It changes nothing and takes no privilege. One program
// for each pool, side by side: a pool that hangs, or fails, is no other's trouble. The
// errors are by the names of the pools.
func (h *Host) Sync(ctx context.Context, pools []string) map[string]error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	errs := map[string]error{}
	for _, p := range pools {
		wg.Go(func() {
			err := h.do(ctx, call{argv: []string{"zpool", "sync", p}, limited: true})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs[p] = err
			}
		})
	}
	wg.Wait()
	return errs
}
