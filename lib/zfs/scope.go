package zfs

import (
	"errors"
	"fmt"
	"hash/maphash"
	"strings"

	"zab/lib/dataset"
	"zab/lib/record"
)

// scope has the names that the rows of one answer may be about: those that were asked for
// and their descendants, each once. A row about anything else was not printed by zfs.
type scope struct {
	// names are the names that were asked for, and whether a row came for each; empty
	// if the whole host was asked for.
	names map[string]bool
	// depth is how many levels below the names the rows may be; -1 means any level.
	depth int
	seen  map[uint64]struct{}
	seed  maphash.Seed
}

func newScope(names []string, depth int) *scope {
	s := &scope{names: make(map[string]bool, len(names)), depth: depth, seen: map[uint64]struct{}{}, seed: maphash.MakeSeed()}
	for _, n := range names {
		s.names[n] = false
	}
	return s
}

// once refuses a second row about the same name. It keeps a hash of each name, with a
// seed that no host knows.
func (s *scope) once(name string) error {
	h := maphash.String(s.seed, name)
	if _, ok := s.seen[h]; ok {
		return fmt.Errorf("'%s' comes twice", name)
	}
	s.seen[h] = struct{}{}
	return nil
}

// take checks the name of a dataset that a row is about, and notes it.
func (s *scope) take(name string) error {
	if _, err := dataset.ParseName(name); err != nil {
		return err
	}
	if err := s.within(name, s.depth); err != nil {
		return err
	}
	return s.once(name)
}

// within refuses a dataset that was not asked for; it notes that one of names came.
func (s *scope) within(name string, depth int) error {
	if _, ok := s.names[name]; ok {
		s.names[name] = true
		return nil
	}
	if len(s.names) == 0 {
		return nil
	}
	for up, n := name, 1; depth < 0 || n <= depth; n++ {
		i := strings.LastIndexByte(up, '/')
		if i < 0 {
			break
		}
		up = up[:i]
		if _, ok := s.names[up]; ok {
			return nil
		}
	}
	return fmt.Errorf("'%s' was not asked for", name)
}

// absent returns an error if a name that was asked for did not come, and zfs did not say
// that it does not exist. err is the result of the program.
func (s *scope) absent(err error) error {
	var e *Error
	if err != nil && (!errors.As(err, &e) || !e.Complete() || e.Kind == record.KindBadAnswer) {
		return nil // it is an error anyway
	}
	var missing []string
	for n, came := range s.names {
		if !came {
			missing = append(missing, n)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	told := map[string]bool{}
	if e != nil {
		if ignoreKind(e, record.KindNotFound) != nil {
			return nil // the error has other lines, so nobody takes it for an answer
		}
		for _, l := range e.Lines {
			for _, n := range quotedNames(l) {
				told[n] = true
			}
		}
	}
	for _, n := range missing {
		if !told[n] {
			return fmt.Errorf("'%s' was asked for and is not in it", n)
		}
	}
	return nil
}
