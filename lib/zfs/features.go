package zfs

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
)

// Features of a pool that decide how streams are sent to it or from it.
type Features struct {
	// LargeBlocks: blocks above 128 KiB; zfs send -L.
	LargeBlocks bool
	// EmbeddedData: small blocks inside their pointers; zfs send -e.
	EmbeddedData bool
	// GUID is that of the pool, by which it is the same pool whatever its host is
	// called here; another with every zpool reguid, and of every copy.
	GUID string
}

type featureCache struct {
	mu    sync.Mutex
	pools map[string]Features
}

// Features asks for the features of pools, one program for all those that were
// not asked for before.
func (h *Host) Features(ctx context.Context, pools []string) (map[string]Features, error) {
	c := &h.features
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pools == nil {
		c.pools = map[string]Features{}
	}
	var ask []string
	for _, p := range pools {
		if _, ok := c.pools[p]; !ok {
			ask = append(ask, p)
			c.pools[p] = Features{}
		}
	}
	if len(ask) == 0 {
		return maps.Clone(c.pools), nil
	}
	argv := append([]string{"zpool", "get", "-Hp", "-o", "name,property,value", "guid,feature@large_blocks,feature@embedded_data"}, ask...)
	err := h.run(ctx, nil, func(line string) error {
		f := strings.Split(line, "\t")
		if len(f) != 3 {
			return fmt.Errorf("cannot read what 'zpool get' printed: %q", line)
		}
		on := f[2] == "enabled" || f[2] == "active"
		p := c.pools[f[0]]
		switch f[1] {
		case "guid":
			if _, err := strconv.ParseUint(f[2], 10, 64); err == nil {
				p.GUID = f[2]
			}
		case "feature@large_blocks":
			p.LargeBlocks = on
		case "feature@embedded_data":
			p.EmbeddedData = on
		}
		c.pools[f[0]] = p
		return nil
	}, argv...)
	return maps.Clone(c.pools), err
}

// Pools gives the guids of the datasets that all pools of the host begin with,
// by name.
func (h *Host) Pools(ctx context.Context) (map[string]string, error) {
	pools := map[string]string{}
	err := h.List(ctx, nil, ListOptions{Types: Datasets}, func(r Row) error {
		pools[r.Dataset] = r.GUID
		return nil
	})
	return pools, err
}

// Pool is the pool of a dataset.
func Pool(dataset string) string {
	pool, _, _ := strings.Cut(dataset, "/")
	return pool
}
