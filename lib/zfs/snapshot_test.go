package zfs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"

	"zab/lib/record"
)

// fakePool refuses sets of snapshots as zfs does: all or none.
type fakePool struct {
	names map[string]string // its message about a snapshot that it names
	blind map[string]bool   // snapshots refused without a name
	gone  map[string]bool   // datasets that no longer exist
	limit map[string]int    // room for snapshots below a dataset
	err   error             // result of every try
	tries int
	made  []string
}

func refused(lines ...string) error {
	return &Error{Kind: classify(lines), Argv: []string{"zfs", "snapshot"}, Code: 1, Lines: lines}
}

func (p *fakePool) try(set []string) error {
	p.tries++
	if p.err != nil {
		return p.err
	}
	var lines []string
	below := map[string]int{}
	nameless := false
	for _, n := range set {
		ds, _, _ := strings.Cut(n, "@")
		if p.gone[ds] {
			return refused("cannot open '" + ds + "': dataset does not exist")
		}
		if why := p.names[n]; why != "" {
			lines = append(lines, "cannot create snapshot '"+n+"': "+why)
		}
		nameless = nameless || p.blind[n]
		for top := range p.limit {
			if ds == top || strings.HasPrefix(ds, top+"/") {
				below[top]++
			}
		}
	}
	for _, top := range slices.Sorted(maps.Keys(below)) {
		if below[top] > p.limit[top] {
			return refused("cannot create snapshot '" + top + "': out of space")
		}
	}
	switch {
	case lines != nil:
		return refused(lines...)
	case nameless:
		return refused("cannot create snapshots : permission denied")
	}
	for top, n := range below {
		p.limit[top] -= n
	}
	p.made = append(p.made, set...)
	return nil
}

func (p *fakePool) missing(set []string) (out []string, err error) {
	for _, n := range set {
		if ds, _, _ := strings.Cut(n, "@"); p.gone[ds] {
			out = append(out, n)
		}
	}
	return out, nil
}

// run takes the snapshots names by SnapshotMost's algorithm.
func (p *fakePool) run(names []string, alone bool) *most {
	m := &most{try: p.try, gone: p.missing, alone: alone, failed: map[string]error{}}
	m.run(names)
	return m
}

func names(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("S/d%d@x", i))
	}
	return out
}

// Snapshots that zfs names fail alone, each with its own cause; the others are taken
// together, in one more try for any number of them.
func TestSnapshotNamed(t *testing.T) {
	p := &fakePool{names: map[string]string{"S/d3@x": "dataset is busy", "S/d5@x": "out of space", "S/d7@x": "insufficient privileges"}}
	m := p.run(names(1000), true)
	if len(m.made) != 997 || p.tries != 2 || len(m.failed) != 3 {
		t.Errorf("%d made, %d failed, %d tries", len(m.made), len(m.failed), p.tries)
	}
	for n, kind := range map[string]record.ErrorKind{"S/d3@x": record.KindBusy, "S/d5@x": record.KindNoSpace, "S/d7@x": record.KindPermission} {
		if err := m.failed[n]; KindOf(err) != kind || err.Error() != p.names[n] {
			t.Errorf("%s: %v", n, err)
		}
	}
}

// If zfs names all snapshots, none is tried again.
func TestSnapshotAllNamed(t *testing.T) {
	p := &fakePool{names: map[string]string{}}
	for _, n := range names(50) {
		p.names[n] = "out of space"
	}
	if m := p.run(names(50), true); p.tries != 1 || len(m.failed) != 50 || strings.Contains(m.failed["S/d7@x"].Error(), "d8") {
		t.Errorf("%d failed, %d tries", len(m.failed), p.tries)
	}
}

// If zfs names no culprit, one or two of n are found in 1 + 4 log n tries, and more
// culprits never take more tries.
func TestSnapshotBlind(t *testing.T) {
	for _, n := range []int{1, 2, 3, 10, 100, 1000, 1024, 5000} {
		for k := range 12 {
			if k > n {
				continue
			}
			p := &fakePool{blind: map[string]bool{}}
			all := names(n)
			for i := range k {
				p.blind[all[(i*7919+13)%n]] = true
			}
			m := p.run(all, false)
			if most := 1 + blindTries(n); p.tries > most {
				t.Errorf("%d of %d: %d tries, not %d", k, n, p.tries, most)
			}
			if len(m.made)+len(m.failed) != n || !slices.Equal(m.made, p.made) {
				t.Errorf("%d of %d: %d made, %d failed", k, n, len(m.made), len(m.failed))
			}
			if want := len(p.blind); want <= 2 && len(m.failed) != want {
				t.Errorf("%d of %d: %d failed", k, n, len(m.failed))
			}
			for name := range p.blind {
				if m.failed[name] == nil {
					t.Errorf("%d of %d: '%s' has not failed", k, n, name)
				}
			}
		}
	}
	p := &fakePool{blind: map[string]bool{}}
	all := names(300)
	for _, n := range all {
		p.blind[n] = true
	}
	if m := p.run(all, false); p.tries > 1+blindTries(300) || len(m.failed) != 300 {
		t.Errorf("%d tries, %d failed", p.tries, len(m.failed))
	}
}

// A failure that no dataset is to blame for is not tried again.
func TestSnapshotNobodysFault(t *testing.T) {
	for what, err := range map[string]error{
		"killed":      &Error{Kind: record.KindKilled, Code: -1, Signal: syscall.SIGKILL, Lines: []string{"cannot create snapshot 'S/d1@x': dataset is busy"}},
		"unreachable": &Error{Kind: record.KindUnreachable, Host: "nas", Code: 255, Lines: []string{"Connection closed by remote host"}},
		"suspended":   refused("cannot create snapshots : pool I/O is currently suspended"),
		"too long":    &Error{Kind: record.KindTooLong, Code: -1},
		"timeout":     &Error{Kind: record.KindTimeout, Code: -1},
	} {
		p := &fakePool{err: err}
		if m := p.run(names(20), false); p.tries != 1 || len(m.failed) != 20 || len(m.made) > 0 || m.taken || m.failed["S/d9@x"] != err {
			t.Errorf("%s: %d tries, %d failed", what, p.tries, len(m.failed))
		}
	}
}

// All datasets that are gone are found at once, though zfs names only one of them.
func TestSnapshotGone(t *testing.T) {
	p := &fakePool{gone: map[string]bool{"S/d1": true, "S/d4": true, "S/d9": true}, names: map[string]string{"S/d2@x": "dataset is busy"}}
	m := p.run(names(10), false)
	if p.tries != 3 || len(m.made) != 6 || len(m.failed) != 4 || KindOf(m.failed["S/d4@x"]) != record.KindNotFound {
		t.Errorf("%d tries, %q, %v", p.tries, m.made, m.failed)
	}
}

// A name that exists counts as another run's; with alone, only its dataset fails.
func TestSnapshotTaken(t *testing.T) {
	p := &fakePool{names: map[string]string{"S/d1@x": "dataset already exists", "S/d2@x": "dataset is busy"}}
	if m := p.run(names(4), false); !m.taken || len(m.made) > 0 || p.tries != 1 {
		t.Errorf("%v, %q", m.taken, m.made)
	}
	if m := p.run(names(4), true); m.taken || len(m.made) != 2 || KindOf(m.failed["S/d1@x"]) != record.KindExists {
		t.Errorf("%v, %q, %v", m.taken, m.made, m.failed)
	}
}

// A limit of a dataset fails only those snapshots below it that have no room.
func TestSnapshotLimit(t *testing.T) {
	set := []string{"S/a@x", "S/l@x", "S/l/1@x", "S/l/2@x", "S/l/3@x", "S/lx@x"}
	p := &fakePool{limit: map[string]int{"S/l": 2}}
	m := p.run(set, false)
	if len(m.made) != 4 || !slices.Equal(m.made[:2], []string{"S/a@x", "S/lx@x"}) || p.tries > 1+blindTries(len(set)) {
		t.Errorf("%d tries, %q, %v", p.tries, m.made, m.failed)
	}
	p = &fakePool{limit: map[string]int{"S/l/2": 0}}
	if m := p.run(set, false); len(m.made) != 5 || p.tries != 2 || KindOf(m.failed["S/l/2@x"]) != record.KindNoSpace {
		t.Errorf("%d tries, %q, %v", p.tries, m.made, m.failed)
	}
}
