package plan

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"zab/lib/dataset"
	"zab/lib/record"
	"zab/lib/zfs"
)

// state is the known state of the target: the names and guids of all datasets, which
// are listed quickly, and the facts of those that are to change.
type state struct {
	datasets map[string]*record.Record
	// order are the names as zfs lists them: parents first.
	order []string
	// complete reports whether the state came from a file and has all facts.
	complete bool
	// sources are the names of the source datasets in this run.
	sources map[string]bool
	// coming maps target names to the records that will be received there in this run,
	// or that have failed and may be received there by a later run.
	coming map[string]*record.Record
	// asides are the present names of the datasets that were set aside. begun maps the
	// former names of those that are not finished to their records.
	asides map[string]bool
	begun  map[string]*record.Record
	// asked are the names of the datasets whose facts were read.
	asked map[string]bool
	// broken is the error of a list from which zfs left something out without a name:
	// absence from such a list proves nothing. unread has the errors of datasets that
	// were asked for by name and that cannot be read, or whose snapshots cannot.
	broken error
	unread map[string]error
}

func newState() *state {
	return &state{datasets: map[string]*record.Record{}, coming: map[string]*record.Record{}, asked: map[string]bool{}, unread: map[string]error{}}
}

func (s *state) add(r *record.Record) *record.Record {
	if s.datasets[r.Name] == nil {
		s.order = append(s.order, r.Name)
	}
	s.datasets[r.Name] = r
	return r
}

// missingParents returns the filesystems between target and name that do not exist and
// that no record of this run brings, outermost first.
func (s *state) missingParents(name, target string) []string {
	var out []string
	for i := len(target) + 1; i < len(name); i++ {
		if name[i] == '/' && s.datasets[name[:i]] == nil && s.coming[name[:i]] == nil {
			out = append(out, name[:i])
		}
	}
	return out
}

// lost returns the failed record of a missing dataset above name, which this run will
// therefore not receive; nil if there is none.
func (s *state) lost(name string) *record.Record {
	for i := range name {
		if name[i] != '/' || s.datasets[name[:i]] != nil {
			continue
		}
		if r := s.coming[name[:i]]; r != nil && r.Error != nil {
			return r
		}
	}
	return nil
}

// nearest returns the closest dataset above name that exists, or nil.
func (s *state) nearest(name string) *record.Record {
	for i := strings.LastIndexByte(name, '/'); i > 0; i = strings.LastIndexByte(name[:i], '/') {
		if r := s.datasets[name[:i]]; r != nil {
			return r
		}
	}
	return nil
}

// readState reads the state of the target from the output of zab-list in a file.
func readState(path, target string, excluded func(string) bool) (*state, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the state of the target: %w", err)
	}
	defer f.Close()
	all, err := record.NewReader(f).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("cannot read the state of the target from '%s': %w", path, err)
	}
	s := newState()
	s.complete = true
	for _, r := range all {
		if dataset.Within(r.Name, target) {
			r.Snapshots = slices.DeleteFunc(r.Snapshots, func(x record.Snapshot) bool { return excluded(x.Full(r.Name)) })
			s.add(r)
		}
	}
	return s, nil
}

// listState lists the target's tree with one zfs program, which needs no more than
// names and guids. Bookmarks of the target are not listed: nothing can be received onto
// them, so a plan does not need them, and zfs would open each dataset once more.
func listState(ctx context.Context, host *zfs.Host, target string, excluded func(string) bool) (s *state, err error) {
	for range 3 {
		// List again if a dataset vanished while zfs listed: others may not have been
		// listed.
		s = newState()
		err = s.list(ctx, host, target, excluded)
		if zfs.KindOf(err) != record.KindNotFound || s.datasets[target] == nil {
			break
		}
	}
	if zfs.IsPartial(err) && s.datasets[target] != nil {
		s.broken, err = err, nil
	}
	for _, r := range s.datasets {
		zfs.SortByAge(r.Snapshots)
	}
	if err == nil {
		err = s.readAsides(ctx, host)
	}
	return s, err
}

func (s *state) list(ctx context.Context, host *zfs.Host, target string, excluded func(string) bool) error {
	o := zfs.ListOptions{Types: zfs.Datasets | zfs.Snapshots, Depth: -1}
	return host.List(ctx, []string{target}, o, func(row zfs.Row) error {
		r := s.datasets[row.Dataset]
		if r == nil {
			r = s.add(&record.Record{Type: record.TypeDataset, Host: host.Dest, Name: row.Dataset, Snapshots: []record.Snapshot{}})
		}
		switch e := row.Entry(); {
		case row.Snapshot != "":
			if !excluded(e.Full(r.Name)) {
				r.Snapshots = append(r.Snapshots, e)
			}
		default:
			r.GUID, r.CreateTXG = row.GUID, row.CreateTXG
		}
		return nil
	})
}

// mend asks by name for the datasets that zfs may have left out of the list of the
// target: the copies of this run and the datasets above them, each with its snapshots.
// Those that cannot be read fail alone.
func (s *state) mend(ctx context.Context, host *zfs.Host, target string, names map[*record.Record]string, excluded func(string) bool) error {
	if s.broken == nil {
		return nil
	}
	want := map[string]bool{target: true}
	for _, name := range names {
		for i := len(target) + 1; i <= len(name); i++ {
			if i == len(name) || name[i] == '/' {
				want[name[:i]] = true
			}
		}
	}
	list := slices.Sorted(maps.Keys(want))
	found, _, unread, err := host.Readable(ctx, []string{"guid", "createtxg"}, list, 0)
	if err != nil {
		return err
	}
	for _, u := range unread {
		if u.Name == "" {
			return u.Err
		}
		s.unread[u.Name] = u.Err
	}
	var set []*record.Record
	for i := range found {
		d := &found[i]
		r := s.datasets[d.Name]
		if r == nil {
			r = s.add(&record.Record{Type: record.TypeDataset, Host: host.Dest, Name: d.Name})
		}
		f := d.Facts()
		r.GUID, r.CreateTXG = f.GUID, f.CreateTXG
		set = append(set, r)
	}
	slices.Sort(s.order) // parents first
	failed, err := host.Fill(ctx, set, excluded)
	for r, err := range failed {
		s.unread[r.Name] = err
	}
	return err
}

// unreadable returns the name and the error of a copy that cannot be read, or of a
// dataset above it; a nil error if none is known.
func (s *state) unreadable(name string) (of string, err error) {
	for i := range len(name) + 1 {
		if i == len(name) || name[i] == '/' {
			if err := s.unread[name[:i]]; err != nil {
				return name[:i], err
			}
		}
	}
	return "", nil
}

// loadFacts reads the facts of the targets that something is sent to, and of the datasets
// below which new copies are made. Of snapshots that a target has beyond the base, it
// reads how much was written in them. It runs at most two zfs programs for all drafts
// given.
func (s *state) loadFacts(ctx context.Context, host *zfs.Host, drafts []*draft, aside bool) error {
	if s.complete {
		return nil
	}
	var names, later []string
	ask := func(name string) {
		if !s.asked[name] {
			s.asked[name] = true
			names = append(names, name)
		}
	}
	for _, d := range drafts {
		if d.r.Error != nil || len(d.wanted) == 0 {
			continue
		}
		t := d.r.Target
		if len(t.Snapshots) == 0 {
			// The dataset above decides the encryption of a new copy, also if a first
			// receive was interrupted.
			if n := s.nearest(t.Name); n != nil {
				ask(n.Name)
			}
		}
		if !t.Exists {
			continue
		}
		ask(s.currentName(t.Name))
		if aside && !d.has {
			// Descendants may have their key from a dataset that is to be set aside.
			for _, n := range s.below(t.Name) {
				ask(s.currentName(n))
			}
		}
		if d.has {
			for _, x := range t.Snapshots[d.base.Target+1:] {
				later = append(later, x.Full(s.currentName(t.Name)))
			}
		}
	}
	var got []zfs.Dataset
	var err error
	if len(names) > 0 {
		got, err = host.Get(ctx, zfs.FactProps, names, false)
	}
	if err != nil && zfs.KindOf(err) != record.KindNotFound {
		return err
	}
	for i := range got {
		if r := s.datasets[got[i].Name]; r != nil {
			r.Facts = got[i].Facts()
		}
	}
	written := map[string]*int64{}
	if len(later) > 0 {
		o := zfs.ListOptions{Types: zfs.Snapshots, Extra: []string{"written"}}
		err := host.List(ctx, later, o, func(row zfs.Row) error {
			if n, err := strconv.ParseInt(row.Extra[0], 10, 64); err == nil {
				written[row.Dataset+"@"+row.Snapshot] = &n
			}
			return nil
		})
		if err != nil && zfs.KindOf(err) != record.KindNotFound {
			return err
		}
	}
	for _, d := range drafts {
		t := d.r.Target
		if t == nil || !t.Exists {
			continue
		}
		t.Facts = s.datasets[t.Name].Facts
		for i := range t.Snapshots {
			if n := written[t.Snapshots[i].Full(s.currentName(t.Name))]; n != nil {
				t.Snapshots[i].Written = n
			}
		}
	}
	return nil
}

// findOnlyRead sets draft.read of the targets that seem to have been changed, but were only
// read: the access times of a mounted copy count as written. It runs one zfs program
// for each target that seems changed.
func (s *state) findOnlyRead(ctx context.Context, host *zfs.Host, drafts []*draft) error {
	if s.complete {
		return nil
	}
	for _, d := range drafts {
		t := d.r.Target
		if d.r.Error != nil || len(d.wanted) == 0 || !d.has || !t.Exists || t.Kind != "filesystem" || t.Mounted != "yes" ||
			t.Written == nil || *t.Written == 0 {
			continue
		}
		newest := t.Snapshots[len(t.Snapshots)-1]
		only, err := host.OnlyRead(ctx, s.currentName(t.Name), newest.Full(s.currentName(t.Name)))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		d.read = err == nil && only // if it cannot be told, it is a conflict
	}
	return nil
}
