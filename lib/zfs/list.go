package zfs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"zab/lib/record"
)

// Value is a property's value with where it comes from: local, default,
// received, temporary, "inherited from X", or - for what cannot be set.
type Value struct {
	Value  string
	Source string
}

// Dataset is a filesystem or volume with the properties that were asked for.
type Dataset struct {
	Name  string
	Props map[string]Value
}

// eachLine calls row for every line. A line may be of any length.
func eachLine(r io.Reader, row func(string) error) error {
	br := bufio.NewReaderSize(r, 1<<16)
	for {
		line, err := br.ReadString('\n')
		if line != "" {
			if err := row(strings.TrimSuffix(line, "\n")); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read what zfs prints: %w", err)
		}
	}
}

// Existing is Get for datasets of which some may not exist: those are left out.
func (h *Host) Existing(ctx context.Context, props, names []string) (map[string]Dataset, error) {
	out := map[string]Dataset{}
	if len(names) == 0 {
		return out, nil
	}
	got, err := h.Get(ctx, props, names, false)
	for _, d := range got {
		out[d.Name] = d
	}
	return out, tolerate(err, KindNotFound)
}

// FactProps are the properties of record.Facts. mountpoint and the like are
// only worth their time where something is mounted or received.
var FactProps = []string{
	"type", "guid", "createtxg", "creation", "origin",
	"encryption", "encryptionroot", "keystatus", "keyguid",
	"written", "used", "referenced", "volsize",
	"mounted", "canmount", "mountpoint", "receive_resume_token", FromProp, StreamProp, AsideProp,
}

// FromProp is the user property of a copy that tells which pools it came
// through: their guids, with commas between. A copy that is received again
// takes it along, so that it is found out when it comes back to where it was.
const FromProp = "zab:from"

// ChangedProp tells when a snapshot of a dataset came or went last. zfs 2.1 does
// not know it.
const ChangedProp = "snapshots_changed"

// StreamProp is the user property of a copy that tells with which of the flags
// of zfs send it was begun that must not change in its life: L and w, with a
// comma between, or none. Old versions lose data where -L changes between two
// increments (OpenZFS issue 6224), new ones refuse.
const StreamProp = "zab:stream"

// StreamParent is what StreamProp says of a filesystem that CreateParent made:
// no stream has begun it, and nothing is in it.
const StreamParent = "parent"

// AsideProp is the user property of a copy that --rename-aside has renamed, or
// is about to: see record.Facts.SetAside.
const AsideProp = "zab:aside"

// MissingProp is the user property of a copy that tells since when its source is
// known to be missing, for --destroy-missing: seconds since the epoch, a colon,
// and a createtxg of the copy's pool that nothing received before is younger than.
// Only one that was set locally counts: one that came with a stream is the claim
// of another host.
const MissingProp = "zab:missing"

// Get reads properties of the named datasets (not snapshots) with their
// sources; of all below them too if recursive; of all on the host where no name
// is given. One program, or one for each batch of names too long for one.
func (h *Host) Get(ctx context.Context, props, names []string, recursive bool) ([]Dataset, error) {
	depth := 0
	if recursive {
		depth = -1
	}
	return h.GetDepth(ctx, props, names, depth)
}

// GetDepth is Get down to depth below the names, or the pools; -1 is all the way.
func (h *Host) GetDepth(ctx context.Context, props, names []string, depth int) ([]Dataset, error) {
	argv := []string{"zfs", "get", "-Hp", "-t", "filesystem,volume", "-o", "name,property,value,source"}
	switch {
	case len(names) == 0 && depth < 0, len(names) > 0 && depth == 0:
	case depth < 0:
		argv = append(argv, "-r")
	default:
		argv = append(argv, "-d", strconv.Itoa(depth))
	}
	argv = append(argv, strings.Join(props, ","))
	var out []Dataset
	err := h.batches(argv, names, func(argv []string) error {
		p := getParser{props: props}
		err := h.run(ctx, nil, p.row, argv...)
		if err2 := p.end(); err == nil {
			err = err2
		}
		out = append(out, p.out...)
		return err
	})
	return out, err
}

// getParser reads the four columns of `zfs get -H`: all the properties of one
// dataset, in the order in which they were asked for, then those of the next.
// A value may contain tabs and newlines, and so whatever looks like other rows,
// such as of a dataset that its owner would like to see in a backup. So a line
// that cannot come next belongs to the value before it.
type getParser struct {
	props []string
	out   []Dataset
	seen  map[string]bool
	// row under way: its text so far, its dataset, the place of its property
	text string
	name string
	at   int
}

func (p *getParser) row(line string) error {
	name, prop, ok := p.begins(line)
	if !ok {
		if p.text == "" {
			return fmt.Errorf("cannot read what 'zfs get' printed: %q", line)
		}
		p.text += "\n" + line
		return nil
	}
	if err := p.end(); err != nil {
		return err
	}
	if p.seen == nil {
		p.seen = map[string]bool{}
	}
	p.seen[name] = true
	p.text, p.name, p.at = line, name, prop
	return nil
}

// begins tells whether a line can be the first of the next row.
func (p *getParser) begins(line string) (name string, prop int, ok bool) {
	f := strings.SplitN(line, "\t", 3)
	if len(f) < 3 || f[0] == "" {
		return "", 0, false
	}
	prop = slices.Index(p.props, f[1])
	switch {
	case prop < 0:
		return "", 0, false
	case p.text == "":
		return f[0], prop, true
	case !isSource(p.text[strings.LastIndexByte(p.text, '\t')+1:]):
		return "", 0, false // the row under way is not complete
	case f[0] == p.name:
		return f[0], prop, prop > p.at
	}
	return f[0], prop, !p.seen[f[0]]
}

// end takes the row under way into the answer.
func (p *getParser) end() error {
	if p.text == "" {
		return nil
	}
	f := strings.Split(p.text, "\t")
	source := f[len(f)-1]
	if len(f) < 4 || !isSource(source) {
		return fmt.Errorf("cannot read what 'zfs get' printed: %q", p.text)
	}
	if n := len(p.out); n == 0 || p.out[n-1].Name != p.name {
		p.out = append(p.out, Dataset{Name: p.name, Props: make(map[string]Value, len(p.props))})
	}
	p.out[len(p.out)-1].Props[p.props[p.at]] = Value{strings.Join(f[2:len(f)-1], "\t"), source}
	p.text = ""
	return nil
}

func isSource(s string) bool {
	switch s {
	case "-", "local", "default", "received", "temporary", "none":
		return true
	}
	return strings.HasPrefix(s, "inherited from ")
}

// Facts takes the properties into a record's facts. What zfs gives as - or
// none stays absent.
func (d *Dataset) Facts() record.Facts {
	str := func(prop string) string {
		v := d.Props[prop].Value
		if v == "-" {
			return ""
		}
		return v
	}
	num := func(prop string) *int64 {
		n, err := strconv.ParseInt(str(prop), 10, 64)
		if err != nil {
			return nil
		}
		return &n
	}
	f := record.Facts{
		Kind:           str("type"),
		GUID:           str("guid"),
		CreateTXG:      str("createtxg"),
		Creation:       num("creation"),
		Origin:         str("origin"),
		EncryptionRoot: str("encryptionroot"),
		KeyStatus:      str("keystatus"),
		KeyGUID:        str("keyguid"),
		Written:        num("written"),
		Used:           num("used"),
		Referenced:     num("referenced"),
		VolSize:        num("volsize"),
		Mounted:        str("mounted"),
		CanMount:       str("canmount"),
		MountPoint:     str("mountpoint"),
		ResumeToken:    str("receive_resume_token"),
		From:           d.mark(FromProp, "local", "received"),
		Stream:         d.mark(StreamProp, "local"),
		Aside:          d.mark(AsideProp, "local"),

		SnapshotsChanged: num(ChangedProp),
	}
	if e := str("encryption"); e != "off" {
		f.Encryption = e
	}
	if f.MountPoint != "" {
		f.MountPointSource = d.Props["mountpoint"].Source
	}
	return f
}

// mark is a property that zab set on a copy itself. What a dataset inherits is
// another's mark.
func (d *Dataset) mark(prop string, sources ...string) string {
	if v := d.Props[prop]; slices.Contains(sources, v.Source) {
		return v.Value
	}
	return ""
}

// Types of rows in a listing.
const (
	Datasets  = 1 << iota // filesystems and volumes
	Snapshots             //
	Bookmarks             //
)

// Row is a line of a listing: a dataset, a snapshot or a bookmark.
type Row struct {
	Dataset string
	// Snapshot and Bookmark are the part after @ and #; at most one is set.
	Snapshot, Bookmark string
	GUID, CreateTXG    string
	// Extra are the further columns that were asked for, "" for -.
	Extra []string
}

// ListOptions say what List lists.
type ListOptions struct {
	Types int
	// Depth below the names: 0 for datasets means the names only, 1 for
	// snapshots means those of the names; -1 is everything below.
	Depth int
	// Extra columns. Without any, zfs 2.2 and later answers from the names
	// alone; each of these costs a look into every snapshot.
	Extra []string
}

// List lists what is below the names, ordered by name and not by age, for that
// costs nothing. One program, or one for each batch of names.
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
	columns := 3 + len(o.Extra)
	return h.batches(argv, names, func(argv []string) error {
		return h.run(ctx, nil, func(line string) error {
			r, err := parseRow(line, columns)
			if err != nil {
				return err
			}
			return row(r)
		}, argv...)
	})
}

// Find looks snapshots and bookmarks up by their full names. What is not there
// is not in the answer.
func (h *Host) Find(ctx context.Context, names []string) (map[string]Row, error) {
	return h.find(ctx, names, nil)
}

// FindHeld is Find for snapshots, with their number of holds: the check before
// one is destroyed.
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

func (h *Host) find(ctx context.Context, names, extra []string) (map[string]Row, error) {
	found := map[string]Row{}
	if len(names) == 0 {
		return found, nil
	}
	columns := append([]string{"name", "guid", "createtxg"}, extra...)
	argv := []string{"zfs", "list", "-Hp", "-t", "snapshot,bookmark", "-o", strings.Join(columns, ","), "-s", "name"}
	err := h.batches(argv, names, func(argv []string) error {
		err := h.run(ctx, nil, func(line string) error {
			r, err := parseRow(line, len(columns))
			if err == nil && r.Snapshot+r.Bookmark != "" {
				name, _, _ := strings.Cut(line, "\t")
				found[name] = r
			}
			return err
		}, argv...)
		// What is not there is a message for each, which must not hide others.
		return tolerate(err, KindNotFound)
	})
	return found, err
}

func parseRow(line string, columns int) (Row, error) {
	f := strings.Split(line, "\t")
	if len(f) != columns {
		return Row{}, fmt.Errorf("cannot read what 'zfs list' printed: %q", line)
	}
	for i, v := range f {
		if v == "-" {
			f[i] = ""
		}
	}
	r := Row{Dataset: f[0], GUID: f[1], CreateTXG: f[2], Extra: f[3:]}
	if ds, snap, ok := strings.Cut(f[0], "@"); ok {
		r.Dataset, r.Snapshot = ds, snap
	} else if ds, mark, ok := strings.Cut(f[0], "#"); ok {
		r.Dataset, r.Bookmark = ds, mark
	}
	return r, nil
}

// Entry is the row as a record has it.
func (r *Row) Entry() record.Snapshot {
	return record.Snapshot{Name: r.Snapshot + r.Bookmark, GUID: r.GUID, CreateTXG: r.CreateTXG}
}

// SortByAge orders snapshots or bookmarks oldest first. Within one transaction
// group, where only bookmarks can share createtxg, the name decides.
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

// The longest command that fits: for one string of a remote shell's command
// line, and for the whole argument space here. Both leave room to spare.
const (
	maxRemote = 100 << 10
	maxLocal  = 1 << 20
)

// batches calls do with argv and as many of the names as fit each time. It
// goes on after a failure, for what is missing in one batch says nothing of
// the next, and joins the errors.
func (h *Host) batches(argv, names []string, do func(argv []string) error) error {
	if len(names) == 0 {
		return do(argv)
	}
	limit := maxLocal
	if !h.Here() {
		limit = maxRemote
	}
	var errs []error
	for batch := range Batches(names, limit) {
		if err := do(append(slices.Clone(argv), batch...)); err != nil {
			errs = append(errs, err)
			if unrecoverable(err) {
				break
			}
		}
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// unrecoverable tells whether the next command would fail in the same way.
func unrecoverable(err error) bool {
	switch KindOf(err) {
	case KindUnreachable, KindAuth, KindHostKey, KindMissingProgram, KindNoZFS:
		return true
	}
	return errors.Is(err, context.Canceled)
}

// Batches cuts names into runs whose quoted length stays below limit bytes; a
// run has at least one name.
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

// Int is the value as a number; false for what has none.
func (v Value) Int() (int64, bool) {
	n, err := strconv.ParseInt(v.Value, 10, 64)
	return n, err == nil
}
