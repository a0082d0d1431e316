package plan

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"zab/lib/dataset"
	"zab/lib/record"
	"zab/lib/zfs"
)

// inventory is what is known of the target's tree: the names and guids of all datasets
// and snapshots, which one program lists quickly, and the facts of those datasets that a
// plan needs. The passes of a run that come before the plans adapt it: unfinished work of
// setting aside and the renames of --follow-renames are entered as if they were done.
type inventory struct {
	// host is where the target is; nil if the inventory came from a file, which has all
	// facts.
	host     *zfs.Host
	target   string
	excluded func(full string) bool // snapshots that do not take part
	datasets map[string]*record.Record
	// order are the names as zfs lists them: parents first.
	order []string
	// sources are the names of the source datasets in this run.
	sources map[string]bool
	// expected maps target names to the records that will be received there in this run,
	// or that have failed and may be received there by a later run.
	expected map[string]*record.Record
	// setAside are the present names of the datasets that were set aside. unfinished maps
	// the former names of those whose setting aside is not finished to their records.
	setAside   map[string]bool
	unfinished map[string]*record.Record
	// asked has the datasets whose facts were asked for: true if they were read, false if
	// the dataset is gone.
	asked map[*record.Record]bool
	// broken is the error of a list from which zfs left something out without a name:
	// absence from such a list proves nothing. unread has the errors of datasets that
	// were asked for by name and that cannot be read, or whose snapshots cannot.
	broken error
	unread map[string]error
}

func newInventory(host *zfs.Host, target string, excluded func(full string) bool) *inventory {
	return &inventory{host: host, target: target, excluded: excluded,
		datasets: map[string]*record.Record{}, expected: map[string]*record.Record{},
		setAside: map[string]bool{}, unfinished: map[string]*record.Record{},
		asked: map[*record.Record]bool{}, unread: map[string]error{}}
}

// add enters a dataset. The caller keeps order sorted.
func (s *inventory) add(r *record.Record) *record.Record {
	if s.datasets[r.Name] == nil {
		s.order = append(s.order, r.Name)
	}
	s.datasets[r.Name] = r
	return r
}

// missingParents returns the filesystems between the target and name that do not exist
// and that no record of this run brings, outermost first.
func (s *inventory) missingParents(name string) []string {
	var out []string
	for i := len(s.target) + 1; i < len(name); i++ {
		if name[i] == '/' && s.datasets[name[:i]] == nil && s.expected[name[:i]] == nil {
			out = append(out, name[:i])
		}
	}
	return out
}

// failedAbove returns the failed record of a missing dataset above name, which this run
// will therefore not receive; nil if there is none.
func (s *inventory) failedAbove(name string) *record.Record {
	for i := range name {
		if name[i] != '/' || s.datasets[name[:i]] != nil {
			continue
		}
		if r := s.expected[name[:i]]; r != nil && r.Error != nil {
			return r
		}
	}
	return nil
}

// nearest returns the closest dataset above name that exists, or nil.
func (s *inventory) nearest(name string) *record.Record {
	for i := strings.LastIndexByte(name, '/'); i > 0; i = strings.LastIndexByte(name[:i], '/') {
		if r := s.datasets[name[:i]]; r != nil {
			return r
		}
	}
	return nil
}

// below returns the names of the datasets of the target that are below a name.
func (s *inventory) below(name string) (out []string) {
	for _, n := range s.order {
		if strings.HasPrefix(n, name+"/") {
			out = append(out, n)
		}
	}
	return out
}

// readInventory reads the inventory from the output of zab-list in a file.
func readInventory(path, target string, excluded func(string) bool) (*inventory, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the state of the target: %w", err)
	}
	defer f.Close()
	s := newInventory(nil, target, excluded)
	for r, err := range record.NewReader(f).Records() {
		if err != nil {
			return nil, fmt.Errorf("cannot read the state of the target from '%s': %w", path, err)
		}
		if dataset.Within(r.Name, target) {
			r.ForgetLine() // records of the inventory are never written
			r.Snapshots = slices.DeleteFunc(r.Snapshots, func(x record.Snapshot) bool { return excluded(x.Full(r.Name)) })
			s.add(r)
		}
	}
	return s, nil
}

// unreadable returns the name and the error of a copy that cannot be read, or of a
// dataset above it; a nil error if none is known.
func (s *inventory) unreadable(name string) (of string, err error) {
	for i := range len(name) + 1 {
		if i == len(name) || name[i] == '/' {
			if err := s.unread[name[:i]]; err != nil {
				return name[:i], err
			}
		}
	}
	return "", nil
}
