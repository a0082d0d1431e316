package zfs

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// zfs hold and zfs release wait for the pool to write a transaction group for each
// snapshot that they are given; with -r they wait once for a whole tree. So the snapshots
// of one name in a tree are held together, unless another dataset in the tree has a
// snapshot of that name: -r would hold that as well, and nobody would release it; or -r
// would release it for those who still need it.

// fewTogether is how many snapshots of one name it takes to ask which datasets are below
// their tree.
const fewTogether = 8

// A tree has the snapshots of one name at and below a dataset. top is that dataset with
// the name after @, even if the dataset has no such snapshot; members are the full names
// of all that -r is to reach.
type tree struct {
	top     string
	members []string
}

// treeKey returns a key by which the descendants of a dataset sort directly after it.
func treeKey(dataset string) string { return strings.ReplaceAll(dataset, "/", "\x00") }

func treeName(key string) string { return strings.ReplaceAll(key, "\x00", "/") }

// under returns the keys at and below top, from sorted keys.
func under(keys []string, top string) []string {
	from, _ := slices.BinarySearch(keys, top)
	to, _ := slices.BinarySearch(keys, top+"\x01")
	return keys[from:to]
}

// outermost returns those of sorted keys that are below none of the others.
func outermost(keys []string) (out []string) {
	for len(keys) > 0 {
		out = append(out, keys[0])
		for top := keys[0]; len(keys) > 0 && (keys[0] == top || strings.HasPrefix(keys[0], top+"\x00")); {
			keys = keys[1:]
		}
	}
	return out
}

// tops returns the outermost of sorted keys, with their parent in place of fewTogether or
// more siblings.
func tops(keys []string) []string {
	out := outermost(keys)
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
	return outermost(out)
}

// cover returns trees in which every member has the snapshot and no other dataset has it,
// and the members that are in no tree. keys are the sorted datasets of the members;
// strangers, sorted too, are other datasets that have a snapshot of that name.
func cover(snapshot string, keys, strangers []string) (trees []tree, rest []string) {
	var split func(keys, tops []string)
	split = func(keys, at []string) {
		for _, top := range at {
			mine := under(keys, top)
			switch {
			case len(mine) == 1:
				rest = append(rest, fullNames(snapshot, mine)...)
			case len(under(strangers, top)) == 0:
				trees = append(trees, tree{treeName(top) + "@" + snapshot, fullNames(snapshot, mine)})
			case mine[0] == top:
				rest = append(rest, fullNames(snapshot, mine[:1])...)
				split(mine[1:], tops(mine[1:]))
			default:
				// The top is no member itself: split into its outermost
				// members.
				split(mine, outermost(mine))
			}
		}
	}
	split(keys, tops(keys))
	return trees, rest
}

// fullNames returns the full names of the snapshots of one name of datasets.
func fullNames(snapshot string, keys []string) (out []string) {
	for _, k := range keys {
		out = append(out, treeName(k)+"@"+snapshot)
	}
	return out
}

// recursiveGroups finds out which of the snapshots, given by full name, can be reached by
// trees. It takes them to exist, because -r is silent about those that do not: callers have
// just seen them. If it cannot find out, all are in rest.
//
// A snapshot of the same name that another receive brings into a tree after this look is
// held by -r as well. The commit of its own record, or the plan after a run that died
// (P4), puts its holds right.
func (h *Host) recursiveGroups(ctx context.Context, snapshots []string) (trees []tree, rest []string) {
	groups, many, rest := byName(snapshots)
	if many == nil {
		return nil, snapshots
	}
	there, err := h.names(ctx, roots(groups, many))
	if err != nil {
		return nil, snapshots
	}
	// Other datasets in the trees, which might have a snapshot of the same name.
	others := map[string][]string{}
	var ask []string
	for _, snap := range many {
		for _, top := range tops(groups[snap]) {
			for _, k := range under(there, top) {
				if _, mine := slices.BinarySearch(groups[snap], k); !mine {
					others[snap] = append(others[snap], k)
				}
			}
		}
		if worthwhile(groups[snap], others[snap]) {
			ask = append(ask, fullNames(snap, others[snap])...)
		}
	}
	found, err := h.Find(ctx, ask)
	if err != nil {
		return nil, snapshots
	}
	for _, snap := range many {
		if !worthwhile(groups[snap], others[snap]) {
			rest = append(rest, fullNames(snap, groups[snap])...)
			continue
		}
		strangers := slices.DeleteFunc(others[snap], func(k string) bool {
			_, ok := found[treeName(k)+"@"+snap]
			return !ok
		})
		slices.Sort(strangers)
		t, r := cover(snap, groups[snap], strangers)
		trees, rest = append(trees, t...), append(rest, r...)
	}
	return trees, rest
}

// byName groups snapshots, given by full name, by the name after @. groups has the sorted
// keys of the datasets for each name. many are the names, in the order of the snapshots,
// with enough snapshots to look for trees; rest are the full names of the other
// snapshots.
func byName(snapshots []string) (groups map[string][]string, many, rest []string) {
	groups = map[string][]string{}
	var names []string
	for _, full := range snapshots {
		ds, snap, _ := strings.Cut(full, "@")
		if groups[snap] == nil {
			names = append(names, snap)
		}
		groups[snap] = append(groups[snap], treeKey(ds))
	}
	for _, snap := range names {
		slices.Sort(groups[snap])
		groups[snap] = slices.Compact(groups[snap])
		if len(groups[snap]) < fewTogether {
			rest = append(rest, fullNames(snap, groups[snap])...)
			continue
		}
		many = append(many, snap)
	}
	return groups, many, rest
}

// roots returns the keys at and below which the trees of many groups may lie. A member
// that is alone below its top is in no tree, so what is below that need not be known.
func roots(groups map[string][]string, many []string) []string {
	var all []string
	for _, snap := range many {
		for _, top := range tops(groups[snap]) {
			if len(under(groups[snap], top)) > 1 {
				all = append(all, top)
			}
		}
	}
	slices.Sort(all)
	return outermost(all)
}

// Prefetch lists in advance the datasets that Hold and Release will need to know for
// snapshots, given by full name. They ask again for those that it could not list.
func (h *Host) Prefetch(ctx context.Context, snapshots []string) {
	if groups, many, _ := byName(snapshots); many != nil {
		h.names(ctx, roots(groups, many))
	}
}

// worthwhile reports whether looking up the snapshots of the other datasets in a tree takes
// less time than it saves.
func worthwhile(keys, others []string) bool { return len(others) <= 4*len(keys) }

// treeFresh is how long a list of the datasets below another is reused: for the holds and
// releases of one batch. Whether a stranger has the snapshot is looked up each time.
const treeFresh = 30 * time.Second

// names returns the sorted keys of all datasets at and below roots, which are keys, too.
func (h *Host) names(ctx context.Context, roots []string) (keys []string, err error) {
	h.trees.Lock()
	defer h.trees.Unlock()
	if h.trees.at == nil {
		h.trees.at, h.trees.keys = map[string]time.Time{}, map[string][]string{}
	}
	now := time.Now()
	var ask, fresh []string
	for _, r := range roots {
		if now.Sub(h.trees.at[r]) > treeFresh {
			ask = append(ask, treeName(r))
		}
	}
	if len(ask) > 0 {
		left := maxAnswer.allow()
		err = h.batches([]string{"zfs", "list", "-H", "-t", "filesystem,volume", "-o", "name", "-s", "name", "-r"}, ask, func(argv, names []string) error {
			in := newScope(names, -1)
			err := h.askMore(ctx, left, func(line string) error {
				if err := in.take(line); err != nil {
					return err
				}
				fresh = append(fresh, treeKey(line))
				return nil
			}, argv...)
			if e := in.absent(err); e != nil {
				return h.badAnswer(argv, "%s", e)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(fresh)
	for _, n := range ask {
		r := treeKey(n)
		h.trees.at[r], h.trees.keys[r] = now, slices.Clone(under(fresh, r))
	}
	for _, r := range roots {
		keys = append(keys, h.trees.keys[r]...)
	}
	slices.Sort(keys)
	return keys, nil
}

// treeNames is the cache of Host.names.
type treeNames struct {
	sync.Mutex
	at   map[string]time.Time
	keys map[string][]string
}
