package zfs

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"zab/lib/dataset"
	"zab/lib/record"
)

// This file is about incomplete answers. zfs list and zfs get go on if a pool or a
// dataset cannot be read: they print a line on stderr or none, leave out the unreadable
// part, and may end with status 0.

// failureLine matches the lines that libzfs prints about a failure: "cannot open
// 'tank/a': I/O error", "cannot iterate filesystems: I/O error" (zfs 0.8 to 2.4). Login
// shells, locales and ssh print other lines.
var failureLine = regexp.MustCompile(`^(?:cannot [a-z]+(?: [a-z]+)* '([^']*)'[^:]*: .|cannot iterate filesystems: .|internal error: )`)

// isFailure reports whether zfs printed the line because it could not read something.
func isFailure(line string) bool {
	m := failureLine.FindStringSubmatch(line)
	return m != nil && (m[1] == "" || argNameOrPoint(m[1]) == nil)
}

// isListing reports whether argv is a listing, a command whose messages may say, even if
// it ends with status 0, that something was left out.
func isListing(argv []string) bool {
	return len(argv) > 1 && (argv[1] == "list" || argv[1] == "get") && (argv[0] == "zfs" || argv[0] == "zpool")
}

// notWhole returns the error of a listing that ended with status 0 but said that it could
// not read something; nil if it said no such thing.
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

// IsPartial reports whether err is that of a listing that ended with status 0, but of
// which zfs said that it is incomplete.
func IsPartial(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Partial
}

// Absent reports whether err is zfs's message that exactly this name does not exist.
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

// Unread is a dataset or pool that zfs could not read.
type Unread struct {
	// Name is the dataset or pool; "" if zfs did not say which.
	Name string
	// Below: the dataset itself could be read, but not all of its descendants could
	// be listed.
	Below bool
	Err   *Error
}

// Cause returns zfs's message without the name that it quotes.
func (u *Unread) Cause() string {
	s := u.Err.Message()
	if _, cause, ok := strings.Cut(s, "'"+u.Name+"': "); ok && u.Name != "" {
		return cause
	}
	return strings.TrimPrefix(s, "cannot iterate filesystems: ")
}

// parts splits an error by the names that it is about: absent do not exist, unread could
// not be read. ok is false if err says something else, so that there is no usable answer.
// Lines that do not have zfs's form (see failureLine) are ignored if another line has it.
func parts(err error, names []string) (absent []string, unread []Unread, ok bool) {
	var e *Error
	if !errors.As(err, &e) || !e.answered() {
		return nil, nil, false
	}
	asked := make(map[string]bool, len(names))
	for _, n := range names {
		asked[n] = true
	}
	for _, l := range e.Lines {
		if !isFailure(l) {
			continue
		}
		one := *e
		one.Lines, one.Kind = []string{l}, Classify(l)
		quoted := quotedNames(l)
		at := slices.IndexFunc(quoted, func(n string) bool { return asked[n] })
		switch {
		case at >= 0 && one.Kind == record.KindNotFound:
			absent = append(absent, quoted[at])
		case at >= 0:
			unread = append(unread, Unread{Name: quoted[at], Err: &one})
		default:
			unread = append(unread, Unread{Err: &one})
		}
	}
	return absent, unread, len(absent)+len(unread) > 0
}

// Readable is GetEach for names some of which cannot be read. It returns the names that
// do not exist according to zfs, and its messages about the others that could not be read.
// err is set only for an error that concerns all of them: then nothing that each got
// counts.
func (h *Host) Readable(ctx context.Context, props, names []string, depth int, each func(Dataset)) (absent []string, unread []Unread, err error) {
	if len(names) == 0 {
		return nil, nil, nil
	}
	silent := make(map[string]bool, len(names))
	for _, n := range names {
		silent[n] = true
	}
	err = h.GetEach(ctx, props, names, depth, func(d Dataset) {
		delete(silent, d.Name)
		each(d)
	})
	absent, unread, ok := parts(err, names)
	if !ok {
		return nil, nil, err
	}
	for _, n := range absent {
		delete(silent, n)
	}
	for i := range unread {
		delete(silent, unread[i].Name)
	}
	if len(silent) > 0 {
		return nil, nil, err
	}
	return absent, unread, nil
}

// Unlisted finds the filesystems, at or below the given ones, whose children zfs did not
// list to the end, because the next child could not be opened, and zfs said so without a
// name. It halves the set of filesystems, and descends once only one is left. After
// maxSearch queries it gives up, and takes every filesystem that is left for one of them.
func (h *Host) Unlisted(ctx context.Context, names []string) ([]Unread, error) {
	s := unlistedSearch{h: h, left: maxSearch}
	return s.among(ctx, names, nil)
}

// maxSearch is how many queries Unlisted may make; a variable for tests. A filesystem in
// trouble takes some twenty among ten thousand, but a host may invent ever more of them.
var maxSearch = 1000

// unlistedSearch is a call of Unlisted. left is how many queries it may still make.
type unlistedSearch struct {
	h    *Host
	left int
}

// among is Unlisted for some of the names of a query to which zfs answered why: that it
// left something out. why is nil for the first query.
func (s *unlistedSearch) among(ctx context.Context, names []string, why *Error) ([]Unread, error) {
	if len(names) == 0 {
		return nil, nil
	}
	if s.left <= 0 {
		return s.giveUp(names, why), nil
	}
	_, unread, err := s.ask(ctx, names, -1)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(unread, func(u Unread) bool { return u.Name == "" })
	if at < 0 {
		return unread, nil
	}
	why = unread[at].Err
	if len(names) > 1 {
		a, err := s.among(ctx, names[:len(names)/2], why)
		if err != nil {
			return nil, err
		}
		b, err := s.among(ctx, names[len(names)/2:], why)
		return append(a, b...), err
	}
	if s.left <= 0 {
		return s.giveUp(names, why), nil
	}
	children, unread, err := s.ask(ctx, names, 1)
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
		if dataset.Name(c).Below(dataset.Name(names[0])) {
			below = append(below, c)
		}
	}
	more, err := s.among(ctx, below, why)
	return append(out, more...), err
}

func (s *unlistedSearch) ask(ctx context.Context, names []string, depth int) (got []string, unread []Unread, err error) {
	s.left--
	_, unread, err = s.h.Readable(ctx, []string{"guid"}, names, depth, func(d Dataset) { got = append(got, d.Name) })
	return got, unread, err
}

// giveUp returns the names as filesystems of which not all descendants could be listed.
func (s *unlistedSearch) giveUp(names []string, why *Error) (out []Unread) {
	one := *why
	one.Lines = []string{fmt.Sprintf("after %d queries it is not known where %s leaves out datasets", maxSearch, s.h)}
	for _, n := range names {
		out = append(out, Unread{Name: n, Below: true, Err: &one})
	}
	return out
}
