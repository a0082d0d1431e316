package zfs

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"zab/lib/dataset"
)

// This file asks for what may have made a program fail. Nothing here is asked for
// before one has failed.

// spaceProps are the limits that a dataset may have, and how far they are used.
var spaceProps = []string{
	"quota", "refquota", "used", "referenced", "available",
	"filesystem_limit", "filesystem_count", "snapshot_limit", "snapshot_count",
}

// Limits returns, of a dataset and all above it, those that exist with their
// limits of space and number, the dataset's own first.
func (h *Host) Limits(ctx context.Context, name string) ([]Dataset, error) {
	names := append(slices.Collect(above(name)), name)
	slices.Reverse(names)
	got, err := h.Existing(ctx, spaceProps, names)
	if err != nil {
		return nil, err
	}
	var out []Dataset
	for _, n := range names {
		if d, ok := got[n]; ok {
			out = append(out, d)
		}
	}
	return out, nil
}

// above yields the names above a dataset's, the pool's first.
func above(name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i := range name {
			if name[i] == '/' && !yield(name[:i]) {
				return
			}
		}
	}
}

// Reservation is space that nothing but a dataset and what is below it may fill.
type Reservation struct {
	Dataset string
	// Prop is reservation or refreservation.
	Prop string
	// Free is the part that is empty, in bytes.
	Free int64
}

// Reservations returns the reservations of a pool of which something is empty, the
// emptiest first.
func (h *Host) Reservations(ctx context.Context, pool string) ([]Reservation, error) {
	all, err := h.Get(ctx, []string{"reservation", "used", "usedbyrefreservation"}, []string{pool}, true)
	var out []Reservation
	for _, d := range all {
		reserved, _ := d.Props["reservation"].Int()
		used, _ := d.Props["used"].Int()
		if free := reserved - used; free > 0 {
			out = append(out, Reservation{d.Name, "reservation", free})
		}
		if free, _ := d.Props["usedbyrefreservation"].Int(); free > 0 {
			out = append(out, Reservation{d.Name, "refreservation", free})
		}
	}
	slices.SortStableFunc(out, func(a, b Reservation) int {
		switch {
		case a.Free > b.Free:
			return -1
		case a.Free < b.Free:
			return 1
		}
		return 0
	})
	return out, err
}

// StreamFeatures are the features that a pool must have to receive what the
// source's pool stores with them.
var StreamFeatures = []string{
	"large_dnode", "longname", "large_blocks", "large_microzap", "embedded_data",
	"lz4_compress", "zstd_compress", "encryption", "redacted_datasets",
}

// FeatureStates returns enabled, active or disabled for each of StreamFeatures of a
// pool; - is one that this version does not know.
func (h *Host) FeatureStates(ctx context.Context, pool string) (map[string]string, error) {
	var props []string
	for _, f := range StreamFeatures {
		props = append(props, "feature@"+f)
	}
	got, err := h.poolProps(ctx, props, []string{pool})
	out := map[string]string{}
	for _, f := range StreamFeatures {
		out[f] = cmp.Or(got[pool]["feature@"+f], "-")
	}
	return out, err
}

// PoolHealth is what zpool status tells of a pool.
type PoolHealth struct {
	// State is ONLINE, DEGRADED, SUSPENDED and the like; "" where it is not told.
	State string
	// Lost are the files and objects in which blocks are lost, as zpool names
	// them, at most some hundred. Count is how many zpool speaks of.
	Lost  []string
	Count int
	// Errors: devices have failed to read, or zpool speaks of lost blocks, though it
	// may name none: those that are left in snapshots alone it forgets (zfs 2.3).
	Errors bool
}

// healthTime is how long zpool status may take. It was seen to wait for ever where a
// dataset's own block is lost, which it looks up by name.
const healthTime = 30 * time.Second

// Health asks what a pool suffers from.
func (h *Host) Health(ctx context.Context, pool string) (PoolHealth, error) {
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	var p healthParser
	err := h.ask(ctx, p.row, "zpool", "status", "-v", pool)
	return p.PoolHealth, err
}

const mostLost = 500

// healthParser reads the text of zpool status for people, which is all that
// versions before 2.3 have.
type healthParser struct {
	PoolHealth
	listing bool
}

func (p *healthParser) row(line string) error {
	text := strings.TrimSpace(line)
	switch {
	case p.listing:
		if text == "" {
			return nil
		}
		if p.Count++; len(p.Lost) < mostLost {
			p.Lost = append(p.Lost, strings.ToValidUTF8(cutText(text), "\uFFFD"))
		}
	case strings.HasPrefix(text, "state: "):
		if s := strings.TrimPrefix(text, "state: "); p.State == "" && len(s) < 20 && isCapitals(s) {
			p.State = s
		}
	case deviceErrors(text):
		p.Errors = true
	case strings.HasPrefix(text, "errors: "):
		n := 0
		switch rest := strings.TrimPrefix(text, "errors: "); {
		case strings.HasPrefix(rest, "Permanent errors"):
			p.listing, p.Errors = true, true
		case strings.Contains(rest, " data errors"):
			if _, err := fmt.Sscanf(rest, "%d data errors", &n); err == nil && n > 0 {
				p.Count = n
			}
		}
	}
	return nil
}

// deviceErrors reports whether a row of the table of devices, NAME STATE READ WRITE
// CKSUM, counts errors of reading.
func deviceErrors(row string) bool {
	f := strings.Fields(row)
	if len(f) < 5 || !isCapitals(f[1]) {
		return false
	}
	counts := func(s string) bool { return s[0] >= '1' && s[0] <= '9' }
	return counts(f[2]) || counts(f[4])
}

// LostIn returns those of the lost files and objects that are of a dataset, by
// snapshot; "" is the dataset itself. zpool names a file of a mounted dataset by its
// path.
func (p *PoolHealth) LostIn(name, mountpoint string) map[string][]string {
	out := map[string][]string{}
	for _, l := range p.Lost {
		rest, mine := strings.CutPrefix(l, name)
		switch {
		case mine && strings.HasPrefix(rest, "@"):
			snap, _, _ := strings.Cut(rest[1:], ":")
			if _, err := dataset.ParseSnapshot(name + "@" + snap); err == nil {
				out[snap] = append(out[snap], l)
			}
		case mine && strings.HasPrefix(rest, ":"),
			mountpoint != "" && strings.HasPrefix(l, strings.TrimSuffix(mountpoint, "/")+"/"):
			out[""] = append(out[""], l)
		}
	}
	return out
}

// AutoSnapshots are the properties by which zfs-auto-snapshot and its like choose
// what they take snapshots of.
var AutoSnapshots = []string{
	"com.sun:auto-snapshot", "com.sun:auto-snapshot:frequent", "com.sun:auto-snapshot:hourly",
	"com.sun:auto-snapshot:daily", "com.sun:auto-snapshot:weekly", "com.sun:auto-snapshot:monthly",
}

// AutoSnapshot returns for those of the datasets of which others than zab make
// snapshots the property that says so, which is one of AutoSnapshots and true.
func (h *Host) AutoSnapshot(ctx context.Context, names []string) (map[string]AutoSnapshot, error) {
	got, err := h.Existing(ctx, AutoSnapshots, names)
	out := map[string]AutoSnapshot{}
	for _, n := range slices.Sorted(maps.Keys(got)) {
		for _, p := range AutoSnapshots {
			if v := got[n].Props[p]; v.Value == "true" {
				out[n] = AutoSnapshot{p, v.Source}
				break
			}
		}
	}
	return out, err
}

// AutoSnapshot is a property with the value true, and where that comes from.
type AutoSnapshot struct{ Prop, Source string }
