package zfs

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"

	"zab/lib/dataset"
	"zab/lib/record"
)

// This file is about answers that are not whole. zfs list and zfs get go on where a
// pool or a dataset cannot be read: they print a line on stderr or none, leave out
// what they did not get, and may end with status 0.

// failureLine is the form of what libzfs prints of a failure: "cannot open 'tank/a':
// I/O error", "cannot iterate filesystems: I/O error" (zfs 0.8 to 2.4). Login shells,
// locales and ssh print other things there.
var failureLine = regexp.MustCompile(`^(?:cannot [a-z]+(?: [a-z]+)* '([^']*)'[^:]*: .|cannot iterate filesystems: .|internal error: )`)

// isFailure reports whether zfs printed the line because it could not read something.
func isFailure(line string) bool {
	m := failureLine.FindStringSubmatch(line)
	return m != nil && (m[1] == "" || argNameOrPoint(m[1]) == nil)
}

// isListing reports whether argv is one of the commands whose messages tell, also
// where they end with status 0, that something was left out.
func isListing(argv []string) bool {
	return len(argv) > 1 && (argv[1] == "list" || argv[1] == "get") && (argv[0] == "zfs" || argv[0] == "zpool")
}

// notWhole returns the error of a listing that ended well and said that it could not
// read something; nil where it said no such thing.
func (h *Host) notWhole(argv []string, stderr string) error {
	var lines []string
	for _, l := range splitLines(stderr) {
		switch {
		case isFailure(l):
			lines = append(lines, l)
		case h.m.Noise != nil:
			h.m.Noise(h, l)
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return &Error{Kind: classify(lines), Host: h.Dest, Argv: argv, Partial: true, Lines: lines}
}

// IsPartial reports whether err is that of an answer that ended well, and of which
// zfs said that something is not in it.
func IsPartial(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Partial
}

// Absent reports whether err is what zfs said of the very name: that it does not
// exist.
func Absent(err error, name string) bool {
	var e *Error
	if !errors.As(err, &e) || !e.answered() {
		return false
	}
	absent := false
	for _, l := range e.Lines {
		if slices.Contains(quotedNames(l), name) {
			if Classify(l) != record.KindNotFound {
				return false
			}
			absent = true
		}
	}
	return absent
}

// Unread is something that zfs could not read.
type Unread struct {
	// Name is a dataset, or a pool; "" where zfs did not say which.
	Name string
	// Below: it could be read itself, and not all that is below it could be listed.
	Below bool
	Err   *Error
}

// Cause is zfs's words without the name, which they quote.
func (u *Unread) Cause() string {
	s := u.Err.Message()
	if _, cause, ok := strings.Cut(s, "'"+u.Name+"': "); ok && u.Name != "" {
		return cause
	}
	return strings.TrimPrefix(s, "cannot iterate filesystems: ")
}

// parts takes apart what was said of names: those that do not exist, and what could
// not be read. ok is false where err says something else, so that it is no answer at
// all. Lines in no form of zfs's are noise beside one that is.
func parts(err error, names []string) (absent []string, unread []Unread, ok bool) {
	var e *Error
	if !errors.As(err, &e) || !e.answered() {
		return nil, nil, false
	}
	for _, l := range e.Lines {
		if !isFailure(l) {
			continue
		}
		one := *e
		one.Lines, one.Kind = []string{l}, Classify(l)
		at := slices.IndexFunc(quotedNames(l), func(n string) bool { return slices.Contains(names, n) })
		switch {
		case at >= 0 && one.Kind == record.KindNotFound:
			absent = append(absent, quotedNames(l)[at])
		case at >= 0:
			unread = append(unread, Unread{Name: quotedNames(l)[at], Err: &one})
		default:
			unread = append(unread, Unread{Err: &one})
		}
	}
	return absent, unread, len(absent)+len(unread) > 0
}

// Readable is GetDepth for names of which some cannot be read: what could be read,
// the names of which zfs said that they do not exist, and what it said of the others.
// An error is one that concerns all of them.
func (h *Host) Readable(ctx context.Context, props, names []string, depth int) (got []Dataset, absent []string, unread []Unread, err error) {
	if len(names) == 0 {
		return nil, nil, nil, nil
	}
	got, err = h.GetDepth(ctx, props, names, depth)
	if err == nil {
		return got, nil, nil, nil
	}
	absent, unread, ok := parts(err, names)
	if !ok {
		return nil, nil, nil, err
	}
	told := func(name string) bool {
		return slices.Contains(absent, name) || slices.ContainsFunc(got, func(d Dataset) bool { return d.Name == name }) ||
			slices.ContainsFunc(unread, func(u Unread) bool { return u.Name == name })
	}
	for _, n := range names {
		if !told(n) {
			return nil, nil, nil, err
		}
	}
	return got, absent, unread, nil
}

// Unlisted finds the filesystems, at or below the given ones, whose children zfs did
// not list to the end: the next one could not be opened, and zfs said so without a
// name. It halves the set, and goes down where one filesystem is left.
func (h *Host) Unlisted(ctx context.Context, names []string) ([]Unread, error) {
	if len(names) == 0 {
		return nil, nil
	}
	props := []string{"guid"}
	unnamed := func(list []Unread) *Unread {
		if i := slices.IndexFunc(list, func(u Unread) bool { return u.Name == "" }); i >= 0 {
			return &list[i]
		}
		return nil
	}
	_, _, unread, err := h.Readable(ctx, props, names, -1)
	if err != nil {
		return nil, err
	}
	if unnamed(unread) == nil {
		return unread, nil
	}
	if len(names) > 1 {
		a, err := h.Unlisted(ctx, names[:len(names)/2])
		if err != nil {
			return nil, err
		}
		b, err := h.Unlisted(ctx, names[len(names)/2:])
		return append(a, b...), err
	}
	children, _, unread, err := h.Readable(ctx, props, names, 1)
	if err != nil {
		return nil, err
	}
	var out []Unread
	for _, u := range unread {
		if u.Name == "" {
			u.Name, u.Below = names[0], true
		}
		if !slices.ContainsFunc(out, func(o Unread) bool { return o.Name == u.Name }) {
			out = append(out, u)
		}
	}
	var below []string
	for _, c := range children {
		if dataset.Name(c.Name).Below(dataset.Name(names[0])) {
			below = append(below, c.Name)
		}
	}
	more, err := h.Unlisted(ctx, below)
	return append(out, more...), err
}
