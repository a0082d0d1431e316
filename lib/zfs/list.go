package zfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"zab/lib/dataset"
	"zab/lib/record"
)

// Limits of the input from a host. The longest rows of zfs are those of datasets whose
// snapshots have hundreds of clones.
const (
	// maxLine is the longest row in bytes.
	maxLine = 64 << 10
	// maxMessages is the length in bytes of the beginning, and of the end, of a
	// program's stderr that are kept: enough for a line about each name that one
	// command takes.
	maxMessages = 4 << 20
)

// Types of rows in a listing.
const (
	Datasets  = 1 << iota // filesystems and volumes
	Snapshots             //
	Bookmarks             //
)

// Row is a line of a listing: a dataset, a snapshot or a bookmark.
type Row struct {
	Dataset string
	// Snapshot is the part after @, Bookmark that after #; at most one is set.
	Snapshot, Bookmark string
	GUID, CreateTXG    string
	// Extra are the values of the additional columns that were requested, "" for -.
	Extra []string
}

// ListOptions select the rows and columns of List.
type ListOptions struct {
	Types int
	// Depth is the number of levels below the names: 0 for datasets means the named
	// ones only, 1 for snapshots means those of the named datasets; -1 means all
	// levels.
	Depth int
	// Extra are additional columns. Without any, zfs 2.2 and later answers from the
	// names alone; each extra column makes it look into every snapshot.
	Extra []string
}

// List calls row for the datasets, snapshots and bookmarks at and below the names, sorted
// by name rather than age, because that order costs zfs nothing. It runs one program, or
// one per batch of names.
func (h *Host) List(ctx context.Context, names []string, o ListOptions, row func(Row) error) error {
	var types []string
	if o.Types&Datasets != 0 {
		types = append(types, "filesystem", "volume")
	}
	if o.Types&Snapshots != 0 {
		types = append(types, "snapshot")
	}
	if o.Types&Bookmarks != 0 {
		types = append(types, "bookmark")
	}
	argv := []string{"zfs", "list", "-Hp", "-t", strings.Join(types, ","),
		"-o", strings.Join(append([]string{"name", "guid", "createtxg"}, o.Extra...), ","), "-s", "name"}
	if o.Depth < 0 {
		argv = append(argv, "-r")
	} else {
		argv = append(argv, "-d", strconv.Itoa(o.Depth))
	}
	parser := rowParser{types: o.Types, extra: o.Extra}
	if err := parser.check(); err != nil {
		return err
	}
	left := maxAnswer.allow()
	return h.batches(argv, names, func(argv, names []string) error {
		in := newScope(names, o.Depth)
		err := h.askMore(ctx, left, func(line string) error {
			r, err := parser.parse(line)
			if err != nil {
				return err
			}
			if err := in.takeRow(&r); err != nil {
				return err
			}
			return row(r)
		}, argv...)
		if o.Types&Datasets == 0 && !slices.ContainsFunc(names, isPoint) {
			return err // a dataset may have no snapshots or bookmarks
		}
		if e := in.absent(err); e != nil {
			return h.badAnswer(argv, "%s", e)
		}
		return err
	})
}

func isPoint(name string) bool { return strings.ContainsAny(name, "@#") }

// Find looks up snapshots and bookmarks by full name. The result leaves out those that do
// not exist.
func (h *Host) Find(ctx context.Context, names []string) (map[string]Row, error) {
	return h.find(ctx, names, nil)
}

// FindHeld is Find for snapshots, with their number of holds, for the check before one is
// destroyed.
func (h *Host) FindHeld(ctx context.Context, snapshots []string) (map[string]record.Snapshot, error) {
	found, err := h.find(ctx, snapshots, []string{"userrefs"})
	out := make(map[string]record.Snapshot, len(found))
	for name, row := range found {
		e := row.Entry()
		if n, ok := (Value{Value: row.Extra[0]}).Int(); ok {
			e.UserRefs = &n
		}
		out[name] = e
	}
	return out, err
}

// FindCreated is Find, with when each was made.
func (h *Host) FindCreated(ctx context.Context, names []string) (map[string]record.Snapshot, error) {
	found, err := h.find(ctx, names, []string{"creation"})
	out := make(map[string]record.Snapshot, len(found))
	for name, row := range found {
		e := row.Entry()
		if n, ok := (Value{Value: row.Extra[0]}).Int(); ok {
			e.Creation = &n
		}
		out[name] = e
	}
	return out, err
}

func (h *Host) find(ctx context.Context, names, extra []string) (map[string]Row, error) {
	found := map[string]Row{}
	if len(names) == 0 {
		return found, nil
	}
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	columns := append([]string{"name", "guid", "createtxg"}, extra...)
	argv := []string{"zfs", "list", "-Hp", "-t", "snapshot,bookmark", "-o", strings.Join(columns, ","), "-s", "name"}
	parser := rowParser{types: Snapshots | Bookmarks, extra: extra}
	if err := parser.check(); err != nil {
		return nil, err
	}
	left := maxAnswer.allow()
	err := h.batches(argv, names, func(argv, names []string) error {
		in := newScope(names, 0)
		err := h.askMore(ctx, left, func(line string) error {
			r, err := parser.parse(line)
			if err != nil {
				return err
			}
			if err := in.takeRow(&r); err != nil {
				return err
			}
			found[r.Full()] = r
			return nil
		}, argv...)
		if e := in.absent(err); e != nil {
			return h.badAnswer(argv, "%s", e)
		}
		return err
	})
	// zfs prints a line for each name that does not exist; these lines must not hide
	// other errors.
	if err = ignoreKind(err, record.KindNotFound); err != nil {
		return nil, err
	}
	return found, nil
}

// takeRow is take for a row of any type.
func (s *scope) takeRow(r *Row) error {
	if r.Snapshot == "" && r.Bookmark == "" {
		return s.take(r.Dataset)
	}
	full := r.Full()
	if _, ok := s.names[full]; ok {
		s.names[full] = true
	} else if err := s.within(r.Dataset, s.depth-1); err != nil || s.depth == 0 && len(s.names) > 0 {
		return fmt.Errorf("'%s' was not asked for", full)
	}
	return s.once(full)
}

// rowParser reads rows of `zfs list -H -o name,guid,createtxg` and further columns.
type rowParser struct {
	types int
	extra []string
}

// check refuses columns of free text, such as user properties, because a value could
// imitate any separator of the row. Use Get for those.
func (p *rowParser) check() error {
	for _, c := range p.extra {
		if shapes[c] == nil {
			return fmt.Errorf("cannot list the property '%s': its values are free text", c)
		}
	}
	return nil
}

func (p *rowParser) parse(line string) (Row, error) {
	bad := func(err error) (Row, error) {
		if err != nil {
			return Row{}, fmt.Errorf("%q is not a row of it: %w", cutText(line), err)
		}
		return Row{}, fmt.Errorf("%q is not a row of it", cutText(line))
	}
	f := strings.Split(line, "\t")
	if len(f) != 3+len(p.extra) {
		return bad(nil)
	}
	r := Row{Dataset: f[0], GUID: f[1], CreateTXG: f[2], Extra: f[3:]}
	typ := Datasets
	if isPoint(f[0]) {
		point, err := dataset.ParsePoint(f[0])
		if err != nil {
			return bad(err)
		}
		r.Dataset = string(point.Dataset)
		if point.Bookmark {
			typ, r.Bookmark = Bookmarks, string(point.Name)
		} else {
			typ, r.Snapshot = Snapshots, string(point.Name)
		}
	} else if _, err := dataset.ParseName(f[0]); err != nil {
		return bad(err)
	}
	if p.types&typ == 0 {
		return bad(errors.New("it is of a type that was not asked for"))
	}
	if _, err := dataset.ParseGUID(r.GUID); err != nil {
		return bad(err)
	}
	if err := dataset.CheckNumber(r.CreateTXG); err != nil {
		return bad(err)
	}
	for i, v := range r.Extra {
		switch {
		case v == "-":
			r.Extra[i] = ""
		case v == "" && p.extra[i] == "clones":
			// a snapshot without clones
		case !shapes[p.extra[i]](v):
			return bad(fmt.Errorf("%q is not a value of '%s'", cutText(v), p.extra[i]))
		}
	}
	return r, nil
}

// Full returns the full name of the dataset, snapshot or bookmark.
func (r *Row) Full() string {
	switch {
	case r.Snapshot != "":
		return r.Dataset + "@" + r.Snapshot
	case r.Bookmark != "":
		return r.Dataset + "#" + r.Bookmark
	}
	return r.Dataset
}

// Entry returns the snapshot or bookmark in the form of a record.
func (r *Row) Entry() record.Snapshot {
	return record.Snapshot{Name: r.Snapshot + r.Bookmark, GUID: r.GUID, CreateTXG: r.CreateTXG}
}

// SortByAge sorts snapshots or bookmarks by createtxg, oldest first. Those of the same
// transaction group, which can only be bookmarks, are sorted by name.
func SortByAge(list []record.Snapshot) {
	slices.SortFunc(list, func(a, b record.Snapshot) int {
		if x, y := a.TXG(), b.TXG(); x != y {
			if x < y {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
}

// The longest command in bytes: over ssh it must fit into one string of a remote shell's
// command line, here into the whole argument space. Both leave room to spare.
const (
	maxRemote = 100 << 10
	maxLocal  = 1 << 20
)

// batches calls do once per batch, with argv completed by as many names as fit, and with
// those names. It goes on after a failure, because a name that does not exist in one
// batch says nothing about the next, and joins the errors. It stops if the error is
// unrecoverable.
func (h *Host) batches(argv, names []string, do func(argv, names []string) error) error {
	if len(names) == 0 {
		return do(argv, nil)
	}
	limit := maxLocal
	if !h.Here() {
		limit = maxRemote
	}
	var errs []error
	for batch := range Batches(names, limit) {
		if err := do(append(slices.Clone(argv), batch...), batch); err != nil {
			errs = append(errs, err)
			if unrecoverable(err) {
				break
			}
		}
	}
	return join(errs)
}

// unrecoverable reports whether the next command would fail in the same way.
func unrecoverable(err error) bool {
	switch KindOf(err) {
	case record.KindUnreachable, record.KindAuth, record.KindHostKey, record.KindMissingProgram, record.KindNoZFS, record.KindTimeout, record.KindBadAnswer, record.KindBadArgument:
		return true
	}
	var e *Error
	return !errors.As(err, &e) // the context has ended
}

// Batches splits names into runs whose quoted length stays below limit bytes; a run has
// at least one name.
func Batches(names []string, limit int) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		start, size := 0, 0
		for i, n := range names {
			// Room for quotes, a space, and the pointer that argv needs.
			w := len(n) + 12
			if i > start && size+w > limit {
				if !yield(names[start:i]) {
					return
				}
				start, size = i, 0
			}
			size += w
		}
		if start < len(names) {
			yield(names[start:])
		}
	}
}
