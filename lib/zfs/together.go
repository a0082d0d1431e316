package zfs

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// zfs hold and zfs release wait for the pool to write a transaction group for
// each snapshot that they are given; with -r they wait once for a whole tree.
// So what lies together is held together, where nothing else is below that has
// a snapshot of that name: -r would hold that as well, and nobody would release
// it, or release it for those who still need it.

// fewTogether snapshots of one name are worth to ask what is below their tree.
const fewTogether = 8

// A tree is a dataset at the top of datasets that have a snapshot in common, by
// its full name, with the full names of all that -r is to reach.
type tree struct {
	top     string
	members []string
}

// treeKey orders datasets so that what is below one follows it at once.
func treeKey(dataset string) string { return strings.ReplaceAll(dataset, "/", "\x00") }

func treeName(key string) string { return strings.ReplaceAll(key, "\x00", "/") }

// under are the keys at and below top, of sorted ones.
func under(keys []string, top string) []string {
	from, _ := slices.BinarySearch(keys, top)
	to, _ := slices.BinarySearch(keys, top+"\x01")
	return keys[from:to]
}

// tops are those of sorted keys that are below none of the others. So many of
// them that lie side by side are below their parent.
func tops(keys []string) (out []string) {
	for i := 0; i < len(keys); {
		out = append(out, keys[i])
		i += len(under(keys[i:], keys[i]))
	}
	parent := func(key string) string { return key[:max(0, strings.LastIndexByte(key, 0))] }
	sides := map[string]int{}
	for _, k := range out {
		sides[parent(k)]++
	}
	for p, n := range sides {
		if p != "" && n >= fewTogether {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	var last string
	return slices.DeleteFunc(out, func(k string) bool {
		if last != "" && strings.HasPrefix(k, last+"\x00") {
			return true
		}
		last = k
		return false
	})
}

// cover gives trees of which each member has the snapshot and nothing else has,
// and the members that are left. Keys are sorted; strangers are the datasets
// that have the snapshot too.
func cover(snapshot string, keys, strangers []string) (trees []tree, rest []string) {
	full := func(key string) string { return treeName(key) + "@" + snapshot }
	list := func(keys []string) (out []string) {
		for _, k := range keys {
			out = append(out, full(k))
		}
		return out
	}
	var split func(keys []string)
	split = func(keys []string) {
		for _, top := range tops(keys) {
			mine := under(keys, top)
			switch {
			case len(mine) == 1:
				rest = append(rest, full(mine[0]))
			case len(under(strangers, top)) == 0:
				trees = append(trees, tree{full(top), list(mine)})
			case mine[0] == top:
				rest = append(rest, full(top))
				split(mine[1:])
			default:
				// A parent that is none of them: each for itself.
				for len(mine) > 0 {
					own := under(mine, mine[0])
					if len(under(strangers, mine[0])) == 0 && len(own) > 1 {
						trees = append(trees, tree{full(mine[0]), list(own)})
					} else {
						rest = append(rest, list(own)...)
					}
					mine = mine[len(own):]
				}
			}
		}
	}
	split(keys)
	return trees, rest
}

// together finds out which of the snapshots, by full names, can be reached by
// trees. It takes them to be there, for -r is silent about those that are not:
// callers have just seen them. Where it cannot find out, all are in the rest.
func (h *Host) together(ctx context.Context, snapshots []string) (trees []tree, rest []string) {
	groups := map[string][]string{}
	var names []string
	for _, full := range snapshots {
		ds, snap, _ := strings.Cut(full, "@")
		if groups[snap] == nil {
			names = append(names, snap)
		}
		groups[snap] = append(groups[snap], treeKey(ds))
	}
	var all []string
	for _, snap := range names {
		keys := groups[snap]
		slices.Sort(keys)
		keys = slices.Compact(keys)
		groups[snap] = keys
		if len(keys) >= fewTogether {
			all = append(all, tops(keys)...)
		}
	}
	if len(all) == 0 {
		return nil, snapshots
	}
	slices.Sort(all)
	var roots []string
	for _, k := range all {
		if n := len(roots); n == 0 || treeKey(roots[n-1]) != k && !strings.HasPrefix(k, treeKey(roots[n-1])+"\x00") {
			roots = append(roots, treeName(k))
		}
	}
	there, err := h.names(ctx, roots)
	if err != nil {
		return nil, snapshots
	}
	// What else is below, and might have one of the snapshots.
	var ask []string
	asked := map[string][]string{}
	for _, snap := range names {
		keys := groups[snap]
		if len(keys) < fewTogether {
			continue
		}
		others := []string{}
		for _, top := range tops(keys) {
			for _, k := range under(there, top) {
				if _, mine := slices.BinarySearch(keys, k); !mine {
					others = append(others, k)
				}
			}
		}
		if len(others) > 4*len(keys) {
			continue // to look at them takes as long
		}
		asked[snap] = others
		for _, k := range others {
			ask = append(ask, treeName(k)+"@"+snap)
		}
	}
	found, err := h.Find(ctx, ask)
	if err != nil {
		return nil, snapshots
	}
	for _, snap := range names {
		keys := groups[snap]
		full := func(k string) string { return treeName(k) + "@" + snap }
		others := asked[snap]
		if others == nil {
			for _, k := range keys {
				rest = append(rest, full(k))
			}
			continue
		}
		strangers := slices.DeleteFunc(others, func(k string) bool {
			_, ok := found[full(k)]
			return !ok
		})
		slices.Sort(strangers)
		t, r := cover(snap, keys, strangers)
		trees, rest = append(trees, t...), append(rest, r...)
	}
	return trees, rest
}

// treeFresh is how long it is taken for granted which datasets are below
// another: for the holds and releases of one batch. Whether a stranger has the
// snapshot is looked up each time.
const treeFresh = 30 * time.Second

// names are the keys, sorted, of all datasets at and below others.
func (h *Host) names(ctx context.Context, roots []string) (keys []string, err error) {
	h.trees.Lock()
	defer h.trees.Unlock()
	var ask []string
	now := time.Now()
	for _, r := range roots {
		if now.Sub(h.trees.at[r]) > treeFresh {
			ask = append(ask, r)
		}
	}
	var fresh []string
	err = h.batches([]string{"zfs", "list", "-H", "-t", "filesystem,volume", "-o", "name", "-s", "name", "-r"}, ask, func(argv []string) error {
		if len(ask) == 0 {
			return nil
		}
		return h.run(ctx, nil, func(line string) error {
			fresh = append(fresh, treeKey(line))
			return nil
		}, argv...)
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(fresh)
	if h.trees.at == nil {
		h.trees.at, h.trees.keys = map[string]time.Time{}, map[string][]string{}
	}
	for _, r := range ask {
		h.trees.at[r], h.trees.keys[r] = now, slices.Clone(under(fresh, treeKey(r)))
	}
	for _, r := range roots {
		keys = append(keys, h.trees.keys[r]...)
	}
	slices.Sort(keys)
	return keys, nil
}

// treeNames is what names remembers.
type treeNames struct {
	sync.Mutex
	at   map[string]time.Time
	keys map[string][]string
}
