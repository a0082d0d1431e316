package zfs

import (
	"context"
	"sync"
)

// Sync makes pools write out the data in their memory, so that the property written
// counts everything written before. It changes nothing and needs no privilege. It runs
// one program for each pool at the same time, so that a pool that hangs or fails does not
// affect the others. It returns the errors by pool.
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
