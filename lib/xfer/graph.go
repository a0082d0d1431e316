package xfer

import (
	"strings"

	"zab/lib/dataset"
	"zab/lib/record"
)

// location is a dataset on a host.
type location struct{ host, dataset string }

// above calls f with each dataset above, the nearest first, until f returns true, and
// reports whether it did.
func (l location) above(f func(location) bool) bool {
	for {
		i := strings.LastIndexByte(l.dataset, '/')
		if i < 0 {
			return false
		}
		l.dataset = l.dataset[:i]
		if f(l) {
			return true
		}
	}
}

func targetOf(r *record.Record) location { return location{r.Target.Host, r.Target.Name} }
func sourceOf(r *record.Record) location { return location{r.Host, r.Name} }

// graph knows which jobs depend on which. A job begins when all earlier jobs are executed
// whose target is the same or above, whose target is the dataset of its clone's origin,
// or that are touched by the same rename.
type graph struct {
	// open has, by target, the newest job that is not done; moving has, by its old and by
	// its new name, the newest rename that is not done.
	open, moving map[location]*node
}

// node is a job in the graph.
type node struct {
	job       *job
	long      bool // likely to have a long stream
	dependsOn []*node
	done      bool // its steps are executed
	// refused is why it may not be begun.
	refused error
	// holding: it waits while its step holds are put; asking: it has a slot, and waits for
	// its step holds.
	holding, asking bool
}

func newGraph() graph {
	return graph{open: map[location]*node{}, moving: map[location]*node{}}
}

// add adds a job that came after all others.
func (g *graph) add(n *node) {
	r := n.job.r
	if r.Target == nil {
		return
	}
	depend := func(l location) bool {
		for _, o := range []*node{g.open[l], g.moving[l]} {
			if o != nil {
				n.dependsOn = append(n.dependsOn, o)
			}
		}
		return false
	}
	me := targetOf(r)
	depend(me)
	me.above(depend)
	for i := range r.Steps {
		s := &r.Steps[i]
		if s.Origin != "" {
			ds, _, _ := strings.Cut(s.Origin, "@")
			depend(location{r.Target.Host, ds})
		}
		if s.Do == record.DoRename {
			g.addRename(n, location{r.Target.Host, s.From}, location{r.Target.Host, s.Dataset})
		}
	}
	g.open[me] = n
}

// addRename makes a job that renames a dataset with its descendants depend on all jobs
// at, above or below either name, and later jobs on it.
func (g *graph) addRename(n *node, from, to location) {
	for _, open := range []map[location]*node{g.open, g.moving} {
		for l, o := range open {
			if l.host == from.host && (related(l.dataset, from.dataset) || related(l.dataset, to.dataset)) {
				n.dependsOn = append(n.dependsOn, o)
			}
		}
	}
	g.moving[from], g.moving[to] = n, n
}

// related reports whether two datasets are the same, or one is above the other.
func related(a, b string) bool {
	return dataset.Within(a, b) || dataset.Within(b, a)
}

// ready reports whether all jobs that it depends on are done.
func (n *node) ready() bool {
	for _, o := range n.dependsOn {
		if !o.done {
			return false
		}
	}
	return true
}

// finish notes that the steps of a job are executed.
func (g *graph) finish(n *node) {
	n.done = true
	n.dependsOn = nil // or each node would keep all earlier ones in memory
	if r := n.job.r; r.Target != nil {
		if me := targetOf(r); g.open[me] == n {
			delete(g.open, me)
		}
		for l, o := range g.moving {
			if o == n {
				delete(g.moving, l)
			}
		}
	}
}
