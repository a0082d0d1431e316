package months

import (
	"context"
	"slices"
	"strconv"
	"strings"
)

// source is a dataset that is selected for backup.
type source struct {
	name   string
	pool   *pool
	volume bool
	// newest is the guid of the newest snapshot with this backup's name, "" if there is
	// none; written is the number of bytes written since, "-" if unknown.
	newest, written string
	// copy has the guids of the snapshots of the dataset's copy when the target's pool was
	// last readable; nil if there was no copy.
	copy map[string]bool
	// unseen: the dataset's pool or the target's could not be read.
	unseen bool
}

// sources returns the selected datasets, sorted by name.
func (m *month) sources() (out []*source) {
	for _, s := range m.known {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *source) int { return strings.Compare(a.name, b.name) })
	return out
}

// rows returns the fields of the lines that zfs prints before it ends, or hangs because
// a pool was suspended just then.
func (m *month) rows(argv ...string) (out [][]string) {
	ctx, cancel := context.WithTimeout(context.Background(), shTimeout/2)
	defer cancel()
	text, _ := m.output(ctx, append([]string{"zfs"}, argv...)...)
	for l := range strings.Lines(text) {
		if f := strings.Split(strings.TrimSuffix(l, "\n"), "\t"); len(f) > 1 {
			out = append(out, f)
		}
	}
	return out
}

// readState reads the state of the sources and their copies. The datasets of a pool that
// cannot be read stay as they were known.
func (m *month) readState() {
	copies := map[string]map[string]bool{}
	if !m.dst.unreadable() {
		for _, r := range m.rows("list", "-Hpr", "-t", "snapshot", "-o", "name,guid", m.target()) {
			ds, _, _ := strings.Cut(r[0], "@")
			if copies[ds] == nil {
				copies[ds] = map[string]bool{}
			}
			copies[ds][r[1]] = true
		}
	}
	for _, s := range m.known {
		s.unseen = s.pool.unreadable() || m.dst.unreadable()
		if !m.dst.unreadable() {
			s.copy = copies[m.copyOf(s.name)]
		}
	}
	for _, p := range []*pool{m.src, m.usb} {
		if p.unreadable() {
			continue
		}
		if !p.readOnly() {
			_, _ = m.sh("timeout 10 zpool sync %s", p.name)
		}
		if p.unreadable() {
			// the sync found the fault of an unsteady disk
			for _, s := range m.known {
				s.unseen = s.unseen || s.pool == p
			}
			continue
		}
		before := map[string]*source{}
		for name, s := range m.known {
			if s.pool == p {
				before[name] = s
				delete(m.known, name)
			}
		}
		newest := map[string][]string{}
		for _, r := range m.rows("list", "-Hpr", "-t", "snapshot", "-o", "name,guid", "-s", "createtxg", p.name) {
			if ds, snap, _ := strings.Cut(r[0], "@"); strings.HasPrefix(snap, m.name+"-") {
				newest[ds] = []string{snap, r[1]}
			}
		}
		bySnapshot := map[string][]string{}
		for _, kind := range []string{"filesystem", "volume"} {
			for _, r := range m.rows("get", "-Hpr", "-t", kind, "-o", "name,value", "autobackup:"+m.name, p.name) {
				if r[1] != "true" || strings.Contains(r[0], "%") {
					continue
				}
				s := &source{name: r[0], pool: p, volume: kind == "volume", copy: copies[m.copyOf(r[0])], unseen: m.dst.unreadable(), written: "-"}
				if b := before[s.name]; b != nil && s.unseen {
					s.copy = b.copy
				}
				if n := newest[s.name]; n != nil {
					s.newest = n[1]
					bySnapshot[n[0]] = append(bySnapshot[n[0]], s.name)
				}
				m.known[s.name] = s
			}
		}
		for snap, names := range bySnapshot {
			for _, r := range m.rows(append([]string{"get", "-Hp", "-o", "name,value", "written@" + snap}, names...)...) {
				m.known[r[0]].written = r[1]
			}
		}
	}
}

// steady reports whether a pool is as it was when it was last read: nothing is written to
// one whose disk is pulled. Where nothing is to be sent, a run need not touch the disk, and
// cannot know that it is gone.
func (p *pool) steady() bool { return p.gone || !p.unreadable() }

// whyBehind returns why a dataset is not backed up, "" if it is.
func (m *month) whyBehind(s *source) string {
	switch {
	case s.unseen && s.pool.steady() && m.dst.steady() && s.newest != "" && s.written == "0" && s.copy[s.newest]:
		return ""
	case s.unseen:
		return "it could not be looked at"
	case s.newest == "":
		return "it has no snapshot"
	case s.written != "0":
		return s.written + " bytes were written since its newest snapshot"
	case !s.copy[s.newest]:
		return "its newest snapshot is not in the copy"
	}
	return ""
}

// judge checks after a night that every selected dataset is backed up, or that the exit
// status is not 0 and the report names the dataset. Only a dataset touched by a fault may
// fail.
func (m *month) judge(status int, report string) {
	for _, s := range m.sources() {
		why := m.whyBehind(s)
		if why == "" || s.unseen && !(s.pool.steady() && m.dst.steady()) {
			continue // an unsteady disk may have failed after the run
		}
		var touching []string
		unjudged, stopsRun := false, false
		for _, f := range m.active {
			if f.touches(s) {
				touching = append(touching, f.what)
				unjudged = unjudged || f.unjudged
				stopsRun = stopsRun || f.stopsRun
			}
		}
		for _, p := range []*pool{s.pool, m.dst} {
			if touching == nil && p.cramped() {
				touching = append(touching, "no space left in "+p.name)
			}
		}
		switch {
		case unjudged:
		case touching == nil:
			m.broke("no fault touches '%s', and yet it is not backed up: %s", s.name, why)
		case status == 0:
			m.broke("'%s' is not backed up (%s; %s), and the exit status is 0", s.name, why, strings.Join(touching, ", "))
		case stopsRun:
		case !reportsFailure(report, s.name) && !reportsFailure(report, m.copyOf(s.name)) &&
			!(s.pool.gone && reportsFailure(report, s.pool.name)) && !(m.dst.gone && (reportsFailure(report, m.target()) || reportsFailure(report, m.dst.name))):
			m.broke("'%s' is not backed up (%s; %s), and the report does not name it", s.name, why, strings.Join(touching, ", "))
		}
	}
}

// leastRoom is the space in bytes without which ZFS may refuse to snapshot the datasets of
// a month: it reserves three blocks of 16 KiB for each.
const leastRoom = 1 << 20

// cramped reports whether the faults of a month together have filled a pool.
func (p *pool) cramped() bool {
	if p.unreadable() {
		return false
	}
	for _, r := range p.m.rows("get", "-Hpo", "name,value", "available", p.name) {
		n, err := strconv.ParseInt(r[1], 10, 64)
		return err == nil && n < leastRoom
	}
	return false
}

// reportsFailure reports whether a report says that something went wrong with a dataset.
func reportsFailure(report, name string) bool {
	for line := range strings.Lines(report) {
		if rest, ok := strings.CutPrefix(line, name+": "); ok && strings.Contains(rest, "FAILED") {
			return true
		}
		if _, _, ok := strings.Cut(line, "cannot "); !ok {
			continue
		}
		for _, end := range []string{"'", "@", "#"} {
			if strings.Contains(line, "'"+name+end) {
				return true
			}
		}
	}
	return false
}
