package zfs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Features are the features of a pool that decide how streams are sent to it or from it.
type Features struct {
	// LargeBlocks: blocks above 128 KiB; zfs send -L.
	LargeBlocks bool
	// Resumable: a partial receive can be saved; zfs receive -s, which needs
	// extensible_dataset.
	Resumable bool
	// Redacted: there are redacted datasets; see Redacted.
	Redacted bool
	// GUID identifies the pool by whichever name its host is reached. zpool reguid
	// changes it; a copy of the devices has the same.
	GUID string
}

type featureCache struct {
	mu    sync.Mutex
	pools map[string]Features
}

// Features returns the features of pools, and runs one program for all those that were
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
		if _, ok := c.pools[p]; !ok && !slices.Contains(ask, p) {
			ask = append(ask, p)
		}
	}
	if len(ask) == 0 {
		return maps.Clone(c.pools), nil
	}
	got, err := h.poolProps(ctx, []string{"feature@large_blocks", "feature@extensible_dataset", "feature@redacted_datasets"}, ask)
	if err != nil {
		return maps.Clone(c.pools), err
	}
	on := func(v string) bool { return v == "enabled" || v == "active" }
	for name, p := range got {
		f := Features{LargeBlocks: on(p["feature@large_blocks"]), Resumable: on(p["feature@extensible_dataset"]), Redacted: p["feature@redacted_datasets"] == "active"}
		if isGUID(p["guid"]) {
			f.GUID = p["guid"]
		}
		c.pools[name] = f
	}
	return maps.Clone(c.pools), nil
}

// poolProps returns features of pools, and their guids, by zpool get. A row counts only
// for a pool and a property that were asked for, once. The guid comes last, so an answer
// without it is incomplete. A feature that a version does not know has the value - (2.3),
// or no row (2.1).
func (h *Host) poolProps(ctx context.Context, features, pools []string) (map[string]map[string]string, error) {
	out := map[string]map[string]string{}
	props := append(slices.Clone(features), "guid")
	argv := append([]string{"zpool", "get", "-Hp", "-o", "name,property,value", strings.Join(props, ",")}, pools...)
	err := h.askFew(ctx, func(line string) error {
		f := strings.Split(line, "\t")
		if len(f) != 3 || !slices.Contains(pools, f[0]) || !slices.Contains(props, f[1]) {
			return fmt.Errorf("%q is not a property that was asked for", cutText(line))
		}
		if out[f[0]] == nil {
			out[f[0]] = map[string]string{}
		}
		if _, whole := out[f[0]]["guid"]; whole {
			return fmt.Errorf("'%s' of '%s' comes after its guid", f[1], f[0])
		}
		if _, twice := out[f[0]][f[1]]; twice {
			return fmt.Errorf("'%s' of '%s' comes twice", f[1], f[0])
		}
		out[f[0]][f[1]] = f[2]
		return nil
	}, argv...)
	if err != nil {
		return nil, err
	}
	for _, p := range pools {
		if _, whole := out[p]["guid"]; !whole {
			return nil, h.badAnswer(argv, "not all properties of '%s' are in it", p)
		}
	}
	return out, nil
}

// Pools returns the guids of the root datasets of all pools of the host, by pool.
func (h *Host) Pools(ctx context.Context) (map[string]string, error) {
	pools := map[string]string{}
	err := h.List(ctx, nil, ListOptions{Types: Datasets}, func(r Row) error {
		pools[r.Dataset] = r.GUID
		return nil
	})
	return pools, err
}

// Pool returns the pool of a dataset, snapshot or bookmark.
func Pool(dataset string) string {
	if i := strings.IndexAny(dataset, "/@#"); i >= 0 {
		return dataset[:i]
	}
	return dataset
}
