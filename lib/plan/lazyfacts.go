package plan

import "zab/lib/dataset"

// lazyFacts reads the properties of targets before the plans of their records are finished.
// The first set is small, so that the first transfer begins while most records are not
// planned yet; the following sets grow, so that the number of zfs programs grows with
// the logarithm of the number of records. Records with nothing to send need no
// properties.
type lazyFacts struct {
	read     func([]*draft) error
	todo     []*draft
	byTarget map[string]*draft
	size     int // of the next set
}

const (
	firstSet = 4
	growth   = 4 // times the size of the previous set
)

// newLazyFacts returns lazyFacts for drafts that will be finished in the order of list;
// read is called with each set of drafts.
func newLazyFacts(list []*draft, read func([]*draft) error) *lazyFacts {
	l := &lazyFacts{read: read, byTarget: map[string]*draft{}, size: firstSet}
	for _, d := range list {
		if sends(d) {
			l.todo = append(l.todo, d)
			l.byTarget[d.r.Target.Name] = d
		}
	}
	return l
}

// load reads the properties that the plan of d needs, unless they were read before: those
// of its target, and of the targets above it that this run also sends to. Parents come
// earlier in the list, unless somebody has sorted the records in another way.
func (l *lazyFacts) load(d *draft) error {
	if l.byTarget[d.r.Target.Name] == nil {
		return nil // nothing to send, or read before
	}
	var set []*draft
	add := func(d *draft) {
		if d != nil {
			set = append(set, d)
			delete(l.byTarget, d.r.Target.Name)
		}
	}
	for len(l.todo) > 0 && len(set) < l.size {
		name := l.todo[0].r.Target.Name
		for up := range dataset.Ancestors(name) {
			add(l.byTarget[up])
		}
		add(l.byTarget[name])
		l.todo = l.todo[1:]
	}
	l.size *= growth
	return l.read(set)
}
