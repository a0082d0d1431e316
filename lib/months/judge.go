package months

import (
	"context"
	"slices"
	"strings"
)

// source is a dataset that is selected.
type source struct {
	name   string
	pool   *pool
	volume bool
	// newest is the guid of its newest snapshot of the backup's, after which
	// written bytes came.
	newest, written string
	// copy has the guids of the snapshots of its copy.
	copy map[string]bool
	// unseen: its pool could not be asked, or that of the copies.
	unseen bool
}

// sources are the selected datasets, by name.
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
	ctx, cancel := context.WithTimeout(context.Background(), shTime/2)
	defer cancel()
	text, _ := m.output(ctx, append([]string{"zfs"}, argv...)...)
	for l := range strings.Lines(text) {
		if f := strings.Split(strings.TrimSuffix(l, "\n"), "\t"); len(f) > 1 {
			out = append(out, f)
		}
	}
	return out
}

// look reads how source and target are now. What of them cannot be read stays as
// it was known.
func (m *month) look() {
	copies := map[string]map[string]bool{}
	if !m.dst.silent() {
		for _, r := range m.rows("list", "-Hpr", "-t", "snapshot", "-o", "name,guid", m.target()) {
			ds, _, _ := strings.Cut(r[0], "@")
			if copies[ds] == nil {
				copies[ds] = map[string]bool{}
			}
			copies[ds][r[1]] = true
		}
	}
	for _, s := range m.known {
		s.unseen = s.pool.silent() || m.dst.silent()
		if !m.dst.silent() {
			s.copy = copies[m.copyOf(s.name)]
		}
	}
	for _, p := range []*pool{m.src, m.usb} {
		if p.silent() {
			continue
		}
		if !p.readOnly() {
			_, _ = m.sh("timeout 10 zpool sync %s", p.name)
		}
		if p.silent() {
			// Its disk is an unsteady one.
			for _, s := range m.known {
				s.unseen = s.unseen || s.pool == p
			}
			continue
		}
		for name, s := range m.known {
			if s.pool == p {
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
				s := &source{name: r[0], pool: p, volume: kind == "volume", copy: copies[m.copyOf(r[0])], unseen: m.dst.silent(), written: "-"}
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

// behind tells why a dataset is not backed up, and "" if it is.
func (m *month) behind(s *source) string {
	switch {
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

// judge looks after a night whether everything selected is backed up, or named in a
// report with an exit status that is not 0; and whether what no fault touches is
// backed up.
func (m *month) judge(status int, report string) {
	for _, s := range m.sources() {
		why := m.behind(s)
		if why == "" || s.unseen && !s.pool.gone && !m.dst.gone {
			continue // an unsteady disk may have failed after the run
		}
		var touching []string
		silent, general := false, false
		for _, f := range m.active {
			if f.touches(s) {
				touching = append(touching, f.what)
				silent = silent || f.silent
				general = general || f.general
			}
		}
		switch {
		case silent:
		case touching == nil:
			m.breaks("no fault touches '%s', and yet it is not backed up: %s", s.name, why)
		case status == 0:
			m.breaks("'%s' is not backed up (%s; %s), and the exit status is 0", s.name, why, strings.Join(touching, ", "))
		case general:
		case !names(report, s.name) && !names(report, m.copyOf(s.name)) &&
			!(s.pool.gone && names(report, s.pool.name)) && !(m.dst.gone && (names(report, m.target()) || names(report, m.dst.name))):
			m.breaks("'%s' is not backed up (%s; %s), and the report does not name it", s.name, why, strings.Join(touching, ", "))
		}
	}
}

// names tells whether a report says of a dataset that something went wrong with it.
func names(report, name string) bool {
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
