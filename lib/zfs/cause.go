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

// This file looks for the causes of a program's failure. It asks for nothing before a
// program has failed.

// spaceProps are the limits that a dataset may have, and how much of them is used.
var spaceProps = []string{
	"quota", "refquota", "used", "referenced", "available",
	"filesystem_limit", "filesystem_count", "snapshot_limit", "snapshot_count",
}

// Limits returns a dataset and its ancestors, those that exist, with their limits of
// space and number; the dataset itself comes first.
func (h *Host) Limits(ctx context.Context, name string) ([]Dataset, error) {
	names := append(slices.Collect(dataset.Ancestors(name)), name)
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

// Reservation is space that only a dataset and its descendants may fill.
type Reservation struct {
	Dataset string
	// Prop is reservation or refreservation.
	Prop string
	// Free is the unused part, in bytes.
	Free int64
}

// Reservations returns the reservations of a pool that have an unused part, the largest
// unused part first.
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

// StreamFeatures are the features that a pool must have to receive data that the source's
// pool stores with them.
var StreamFeatures = []string{
	"large_dnode", "longname", "large_blocks", "large_microzap",
	"lz4_compress", "zstd_compress", "encryption", "redacted_datasets",
}

// FeatureStates returns the state of each of StreamFeatures in a pool: enabled, active or
// disabled, or - if this version does not know the feature.
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

// PoolHealth is the report of zpool status on a pool.
type PoolHealth struct {
	// State is ONLINE, DEGRADED, SUSPENDED and the like; "" if it is not reported.
	State string
	// Lost are the files and objects with lost blocks, as zpool names them, at most a
	// few hundred. Count is the number that zpool reports.
	Lost  []string
	Count int
	// Errors: devices had read or checksum errors, or zpool reports lost blocks,
	// though it may name none: it forgets those that are only in snapshots (zfs 2.3).
	Errors bool
}

// healthTime is how long zpool status may take. It was seen to wait for ever if a block
// of a dataset itself is lost, because it looks the dataset up by name.
const healthTime = 30 * time.Second

// Health asks zpool status for the health of a pool.
func (h *Host) Health(ctx context.Context, pool string) (PoolHealth, error) {
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	var p healthParser
	err := h.ask(ctx, p.row, "zpool", "status", "-v", pool)
	return p.PoolHealth, err
}

const mostLost = 500

// healthParser reads zpool status's text for people; versions before 2.3 have no other
// form.
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
// CKSUM, counts read or checksum errors.
func deviceErrors(row string) bool {
	f := strings.Fields(row)
	if len(f) < 5 || !isCapitals(f[1]) {
		return false
	}
	counts := func(s string) bool { return s[0] >= '1' && s[0] <= '9' }
	return counts(f[2]) || counts(f[4])
}

// LostIn returns the lost files and objects of a dataset, by snapshot; "" is the dataset
// itself. zpool names a file of a mounted dataset by its path; mountpoint is valid UTF-8, as
// Facts.MountPoint is.
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
			mountpoint != "" && strings.HasPrefix(strings.ToValidUTF8(l, "\uFFFD"), strings.TrimSuffix(mountpoint, "/")+"/"):
			out[""] = append(out[""], l)
		}
	}
	return out
}

// AutoSnapshots are the properties by which zfs-auto-snapshot and similar programs choose
// the datasets to snapshot.
var AutoSnapshots = []string{
	"com.sun:auto-snapshot", "com.sun:auto-snapshot:frequent", "com.sun:auto-snapshot:hourly",
	"com.sun:auto-snapshot:daily", "com.sun:auto-snapshot:weekly", "com.sun:auto-snapshot:monthly",
}

// AutoSnapshot returns, for each of the datasets of which programs other than zab make
// snapshots, the property that says so: the first of AutoSnapshots that is true.
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

// AutoSnapshot is a property with the value true, and the source of the value.
type AutoSnapshot struct{ Prop, Source string }
