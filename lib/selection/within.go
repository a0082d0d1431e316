package selection

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"zab/lib/dataset"
	"zab/lib/record"
	"zab/lib/zfs"
)

// This file is about a search that is limited to some datasets and their descendants: the
// roots. Nothing else is opened, except the few datasets on which a verdict may depend.

// within returns the outermost of the datasets in the operands; none means all pools.
func within(operands []string) (roots []string, err error) {
	for _, n := range operands {
		if _, err := dataset.ParseName(n); err != nil {
			return nil, err
		}
	}
	return outermost(operands), nil
}

// outermost returns those of the names that are below no other, each once.
func outermost(names []string) (out []string) {
	given, seen := nameSet(names), map[string]bool{}
	for _, n := range names {
		inner := seen[n]
		for up := range dataset.Ancestors(n) {
			inner = inner || given[up]
		}
		if seen[n] = true; !inner {
			out = append(out, n)
		}
	}
	return out
}

func nameSet(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, n := range names {
		set[n] = true
	}
	return set
}

// upward yields a dataset and then those above it, the pool first.
func upward(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if !yield(name) {
			return
		}
		for up := range dataset.Ancestors(name) {
			if !yield(up) {
				return
			}
		}
	}
}

// withinAny reports whether a dataset is one of a set or below one.
func withinAny(name string, set map[string]bool) bool {
	for n := range upward(name) {
		if set[n] {
			return true
		}
	}
	return false
}

// limitTo limits the search to roots; nil is the whole host.
func (l *listing) limitTo(roots []string) {
	l.roots, l.isRoot = roots, nameSet(roots)
}

// searched reports whether the search includes a dataset.
func (l *listing) searched(name string) bool {
	return l.roots == nil || withinAny(name, l.isRoot)
}

// place describes where the search goes, for messages.
func (l *listing) place() string {
	if l.roots == nil {
		return fmt.Sprint(l.host)
	}
	return fmt.Sprintf("%s at or below '%s'", l.host, strings.Join(l.roots, "', '"))
}

// bare returns the roots that could be listed and have the property nowhere.
func (l *listing) bare() (out []string) {
	listed, has := map[string]bool{}, map[string]bool{}
	for _, d := range l.datasets {
		for n := range upward(d.Name) {
			if l.isRoot[n] {
				listed[n], has[n] = true, has[n] || !d.Unset
			}
		}
	}
	for _, root := range l.roots {
		if listed[root] && !has[root] {
			out = append(out, root)
		}
	}
	return out
}

// getRoots lists the roots and their descendants down to depth. A root that does not
// exist, or that cannot be read, fails alone.
func (l *listing) getRoots(ctx context.Context, roots []string, depth int) error {
	got, absent, unread, err := l.read(ctx, roots, depth)
	if err != nil {
		return err
	}
	l.add(got)
	l.note(unread)
	l.absent = append(l.absent, absent...)
	return nil
}

// lookAround reads what verdicts need to know of datasets outside of the search: the
// datasets above the roots, from which they inherit the property, with their pools; the
// target, which tells whether it is on this host; and those of also.
func (l *listing) lookAround(ctx context.Context, target string) error {
	if l.roots == nil {
		return nil
	}
	var names []string
	asked := map[string]bool{}
	ask := func(n string) {
		if !asked[n] && !l.searched(n) {
			names = append(names, n)
		}
		asked[n] = true
	}
	for _, r := range l.roots {
		for up := range dataset.Ancestors(r) {
			ask(up)
		}
	}
	if target != "" {
		ask(zfs.Pool(target))
		ask(target)
	}
	for _, n := range l.also {
		ask(n)
	}
	if len(names) == 0 {
		return nil
	}
	around := listing{host: l.host, rules: l.rules, props: []string{"type", "guid", l.rules.Property}}
	got, _, unread, err := around.read(ctx, names, 0)
	if err != nil {
		return err
	}
	l.around = got
	// Without its value, the verdicts on what is below it are not known.
	needed := map[string]bool{}
	for _, d := range l.datasets {
		for up := range dataset.Ancestors(d.Name) {
			needed[up] = true
		}
	}
	l.above = append(l.above, slices.DeleteFunc(unread, func(u zfs.Unread) bool { return !needed[u.Name] })...)
	return nil
}

// missing returns the records of the roots that do not exist, and of the datasets above
// roots that cannot be read.
func (l *listing) missing(backup, host string) (out []*record.Record) {
	for i := range l.above {
		u := &l.above[i]
		out = append(out, &record.Record{Type: record.TypeUnlisted, Backup: backup, Host: host, Name: u.Name, Partial: true, Error: &record.Error{
			Stage: "select", Kind: u.Err.Kind, Hint: fmt.Sprintf("'zpool status %s' tells of the errors of its devices", zfs.Quote(zfs.Pool(u.Name))),
			Message: fmt.Sprintf("cannot read '%s': %s: whether the property was received there is not known, and counts as no", u.Name, u.Cause())}})
	}
	for _, n := range l.absent {
		out = append(out, &record.Record{Type: record.TypeUnlisted, Backup: backup, Host: host, Name: n, Partial: true, Error: &record.Error{
			Stage: "select", Kind: record.KindNotFound, Hint: "search other datasets, or all",
			Message: fmt.Sprintf("cannot search '%s' on %s: dataset does not exist", n, l.host)}})
	}
	return out
}

// errNoRoots is the error of a search of which the target leaves nothing.
func errNoRoots(target string) error {
	return errors.New("nothing to search: all of it is at or below the target '" + target + "'")
}
