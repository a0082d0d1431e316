package torture

import (
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// world is the state of the pools of a history at one moment: their datasets by name.
type world struct{ datasets map[string]*dataset }

// dataset is a filesystem or volume. Its fields are properties as zfs list prints them.
type dataset struct {
	name       string
	kind       string // filesystem or volume
	guid       string
	origin     string // "-" if it is no clone
	token      string // receive_resume_token, "-" if there is none
	selected   string // the property autobackup:NAME
	mountpoint string // "" if it is not mounted
	encryption string // "off" if it is not encrypted
	// In the order of their transaction groups:
	snapshots []*snapshot
	bookmarks []*snapshot
}

// snapshot is a snapshot without the name of its dataset, or a bookmark, whose name begins
// with #.
type snapshot struct {
	name, guid string
	txg        uint64
	holds      int
}

// newest returns the newest snapshot of a dataset, or nil.
func (d *dataset) newest() *snapshot {
	if d == nil || len(d.snapshots) == 0 {
		return nil
	}
	return d.snapshots[len(d.snapshots)-1]
}

// randomSnapshot returns one of the snapshots of a dataset, or nil.
func (d *dataset) randomSnapshot(h *history) *snapshot {
	if len(d.snapshots) == 0 {
		return nil
	}
	return pick(h, d.snapshots...)
}

// find returns the snapshot with a guid, or nil; d may be nil.
func (d *dataset) find(guid string) *snapshot {
	if d != nil {
		for _, s := range d.snapshots {
			if s.guid == guid {
				return s
			}
		}
	}
	return nil
}

// look reads the pools with zfs list. If it cannot, it ends the history and returns nil.
func (h *history) look() *world {
	defer h.tally.timed("observer")()
	args := append([]string{"list", "-Hp", "-r", "-t", "filesystem,volume,snapshot,bookmark", "-o",
		"name,type,guid,createtxg,userrefs,origin,receive_resume_token,mounted,mountpoint,autobackup:" + h.backup + ",encryption"}, h.pools()...)
	out, err := exec.Command("zfs", args...).Output()
	if err != nil {
		var e *exec.ExitError
		if errors.As(err, &e) {
			err = fmt.Errorf("%s", e.Stderr)
		}
		h.stuck(fmt.Sprintf("cannot look at the pools: %v", err))
		return nil
	}
	w := &world{map[string]*dataset{}}
	var snaps []*snapshot
	of := map[*snapshot]string{}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if ds, mark, ok := strings.Cut(f[0], "#"); ok {
			s := &snapshot{name: "#" + mark, guid: f[2]}
			s.txg, _ = strconv.ParseUint(f[3], 10, 64)
			snaps = append(snaps, s)
			of[s] = ds
			continue
		}
		if ds, snap, ok := strings.Cut(f[0], "@"); ok {
			s := &snapshot{name: snap, guid: f[2]}
			s.txg, _ = strconv.ParseUint(f[3], 10, 64)
			s.holds, _ = strconv.Atoi(f[4])
			snaps = append(snaps, s)
			of[s] = ds
			continue
		}
		d := &dataset{name: f[0], kind: f[1], guid: f[2], origin: f[5], token: f[6], selected: f[9], encryption: f[10]}
		if f[7] == "yes" {
			d.mountpoint = f[8]
		}
		w.datasets[d.name] = d
	}
	slices.SortStableFunc(snaps, func(a, b *snapshot) int { return int(int64(a.txg) - int64(b.txg)) })
	for _, s := range snaps {
		if d := w.datasets[of[s]]; d == nil {
		} else if strings.HasPrefix(s.name, "#") {
			d.bookmarks = append(d.bookmarks, s)
		} else {
			d.snapshots = append(d.snapshots, s)
		}
	}
	h.seen, h.stale = w, false
	return w
}

// commonBase returns the newest snapshot that a dataset and its copy have in common, of
// which the source may have only a bookmark; the zero value if there is none. Both may be
// nil.
func commonBase(d, c *dataset) snapshot {
	var b snapshot
	if d != nil && c != nil {
		for _, list := range [][]*snapshot{d.bookmarks, d.snapshots} {
			for _, s := range list {
				if c.find(s.guid) != nil && s.txg >= b.txg {
					b = *s
				}
			}
		}
	}
	return b
}

// isOurs reports whether a snapshot was made by zab.
func (h *history) isOurs(s *snapshot) bool { return strings.HasPrefix(s.name, h.backup+"-") }

// newestOurs returns the guid of the newest snapshot made by zab, or "".
func newestOurs(h *history, d *dataset) string {
	for _, s := range slices.Backward(d.snapshots) {
		if h.isOurs(s) {
			return s.guid
		}
	}
	return ""
}

// newestOursTXG returns the transaction group of that snapshot, or 0.
func newestOursTXG(h *history, d *dataset) uint64 {
	if s := d.find(newestOurs(h, d)); s != nil {
		return s.txg
	}
	return 0
}

// selected returns the datasets of the source that are selected for the backup.
func (h *history) selected(w *world) []*dataset {
	return slices.DeleteFunc(h.datasets(w, ""), func(d *dataset) bool { return d.selected != "true" })
}

// datasets returns the datasets of the source, ordered by name; of one kind only, unless
// kind is "".
func (h *history) datasets(w *world, kind string) []*dataset {
	var out []*dataset
	for _, n := range slices.Sorted(maps.Keys(w.datasets)) {
		if d := w.datasets[n]; strings.HasPrefix(n, h.source+"/t") && (kind == "" || d.kind == kind) {
			out = append(out, d)
		}
	}
	return out
}

// String returns a line for each dataset with its snapshots and their holds.
func (w *world) String() string {
	var b strings.Builder
	for _, n := range slices.Sorted(maps.Keys(w.datasets)) {
		d := w.datasets[n]
		fmt.Fprintf(&b, "%s %s %s", n, d.guid, d.token)
		for _, s := range d.snapshots {
			fmt.Fprintf(&b, " %s=%s:%d", s.name, s.guid, s.holds)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// asideSuffix matches the suffix that --rename-aside adds to a name.
var asideSuffix = regexp.MustCompile(`_diverged-[^/]*`)

// copyWithAside returns a copy merged with the datasets that were set aside for it, or nil
// if there is none: when a run dies between renaming the copy and promoting its clone, the
// snapshots may be in either.
func (w *world) copyWithAside(name string) *dataset {
	var list []*dataset
	for n, d := range w.datasets {
		if n == name || asideSuffix.ReplaceAllString(n, "") == name {
			list = append(list, d)
		}
	}
	if len(list) == 0 {
		return nil
	}
	all := *list[0]
	for _, d := range list[1:] {
		all.snapshots = append(slices.Clone(all.snapshots), d.snapshots...)
	}
	return &all
}

// wasSetAside reports whether a copy, or a dataset above it, has been set aside, and all
// snapshots of the copy still exist, under its new name or in the clone in its place.
func (h *history) wasSetAside(w *world, d *dataset) bool {
	for n, now := range w.datasets {
		if now.guid != d.guid || poolOf(n) != poolOf(d.name) || !asideSuffix.MatchString(n) {
			continue
		}
		for _, s := range d.snapshots {
			if now.find(s.guid) == nil && w.copyWithAside(d.name).find(s.guid) == nil {
				return false
			}
		}
		return true
	}
	return false
}
