package plan

// look reads in detail how targets look, before the plans of their records are
// finished: a few at first, so that the first transfer begins while most are
// not planned yet, then ever more at once, so that the number of zfs programs
// grows with the logarithm of that of the records. Those with nothing to send
// need none.
type look struct {
	read     func([]*draft) error
	todo     []*draft
	byTarget map[string]*draft
	size     int // of the next set
}

const (
	lookFirst = 4
	lookMore  = 4 // times the set before
)

// newLook prepares for drafts, which will be finished in this order.
func newLook(list []*draft, read func([]*draft) error) *look {
	l := &look{read: read, byTarget: map[string]*draft{}, size: lookFirst}
	for _, d := range list {
		if d.r.Error == nil && len(d.wanted) > 0 {
			l.todo = append(l.todo, d)
			l.byTarget[d.r.Target.Name] = d
		}
	}
	return l
}

// at reads what the plan of d needs, if that was not done: that of its own
// target, and of those above it, which this run sends to as well. These come
// earlier, unless somebody has sorted the records in another way.
func (l *look) at(d *draft) error {
	if l.byTarget[d.r.Target.Name] == nil {
		return nil // nothing to send, or it was read
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
		for i := range name {
			if name[i] == '/' {
				add(l.byTarget[name[:i]])
			}
		}
		add(l.byTarget[name])
		l.todo = l.todo[1:]
	}
	l.size *= lookMore
	return l.read(set)
}
