// Package groups collects values by key in the order in which they come, such as the
// datasets of each host, so that one program can be started for all of a group.
//
// Non-goals: it is not safe for use by several goroutines at once.
package groups

import "iter"

// Of collects values by key, and keeps the order in which the keys came. The zero value is
// empty.
type Of[K comparable, V any] struct {
	keys []K
	of   map[K][]V
}

// Add adds a value to the group of a key.
func (g *Of[K, V]) Add(key K, v V) {
	if g.of == nil {
		g.of = map[K][]V{}
	}
	if _, ok := g.of[key]; !ok {
		g.keys = append(g.keys, key)
	}
	g.of[key] = append(g.of[key], v)
}

// All iterates over the groups, each with its values in the order in which they came.
func (g *Of[K, V]) All() iter.Seq2[K, []V] {
	return func(yield func(K, []V) bool) {
		for _, k := range g.keys {
			if !yield(k, g.of[k]) {
				return
			}
		}
	}
}

// Group returns the values of a key; nil if there is none.
func (g *Of[K, V]) Group(key K) []V { return g.of[key] }
