package plan

import (
	"slices"
	"strings"

	"zab/lib/dataset"
	"zab/lib/record"
)

// writeOrphans writes, with --orphans, a record for every dataset below the target that
// no selected source maps to. A dataset whose source was only left out of this run, by an
// option of zab-select, is not missing, and its record says so.
func (r *run) writeOrphans(w *record.Writer) error {
	backup, hosts := "", []string{}
	for _, x := range r.all {
		if x.Type != record.TypeDataset {
			continue
		}
		if x.Backup != "" {
			backup = x.Backup
		}
		if !slices.Contains(hosts, x.Host) {
			hosts = append(hosts, x.Host)
		}
	}
	if !r.o.Orphans || !r.whole || backup == "" {
		return nil
	}
	if r.partial() {
		r.env.Verbosef("no copy is called missing: only a part of the source was searched")
		return nil
	}
	n, err := r.p.naming(backup)
	if err != nil {
		return err
	}
	if r.inv.broken != nil {
		return nil
	}
	used, leftOut := map[string]bool{r.target: true}, map[string]*record.Record{}
	above := map[string]bool{} // datasets above those
	use := func(name string) {
		for up := range dataset.Ancestors(name) {
			above[up] = true
		}
	}
	for _, name := range r.names {
		used[name] = true
		use(name)
	}
	for _, x := range r.all {
		if x.Type != record.TypeDataset || !x.Excluded {
			continue
		}
		if name, err := dataset.TargetName(x.Name, r.target, r.o.StripPath); err == nil && !used[name] {
			leftOut[name] = x
			use(name)
		}
	}
	// Children first, so that zab-thin can destroy a whole tree in one run, regardless
	// of the number of records that it handles together.
	for _, name := range slices.Backward(r.inv.order) {
		has := r.inv.datasets[name]
		if has.Name != name {
			continue // renamed in this run, alone or with a dataset above it
		}
		if r.inv.aside(name) {
			r.env.Verbosef("'%s' was set aside by --rename-aside, and is left alone", name)
			continue
		}
		if used[name] || strings.Contains(name, "%") || above[name] && len(has.Snapshots) == 0 {
			continue // a target, zfs's own, or a parent kept for its children
		}
		if _, err := r.inv.unreadable(name); err != nil {
			r.env.Verbosef("'%s' cannot be read, and is not called missing: %s", name, err)
			continue
		}
		if u := r.unlisted(name); u != nil {
			r.env.Verbosef("'%s' may be the copy of what could not be listed at or below '%s': it is not called missing", name, u.Name)
			continue
		}
		x := r.orphan(has, backup, n)
		if len(hosts) == 1 {
			// If all sources are on one host, that of the orphan would be there too.
			x.Source = &record.Source{Host: hosts[0]}
			if r.o.StripPath == 0 {
				x.Source.Name = strings.TrimPrefix(name, r.target+"/")
			}
		}
		if source := r.p.movedCopies[name]; source != "" {
			x.Excluded = true
			x.Reason = "it has snapshots of '" + source + "', which has another name now"
		}
		if source := leftOut[name]; source != nil {
			x.Excluded = true
			x.Reason = "its source '" + source.Name + "' is left out of this run"
		}
		if err := w.Write(x); err != nil {
			return err
		}
	}
	return nil
}

// partial reports whether the source was searched in part only: then a source that is in
// none of the records may well exist.
func (r *run) partial() bool {
	return slices.ContainsFunc(r.all, func(x *record.Record) bool { return x.Partial })
}

// elsewhere describes a dataset of the source that is in none of the records.
func (p *planner) elsewhere() string {
	if p.partial {
		return "not in what this run has searched"
	}
	return "not part of this backup"
}

// orphan returns the record of a dataset of the target that no source maps to.
func (r *run) orphan(has *record.Record, backup string, n naming) *record.Record {
	t := &record.Target{Host: r.host.Dest, Name: has.Name, Exists: true, Pin: r.p.pin(n), OldPin: r.p.oldPin(n),
		Facts: has.Facts, Snapshots: has.Snapshots, Bookmarks: has.Bookmarks}
	for i := range t.Snapshots {
		_, t.Snapshots[i].Ours = n.format.Time(t.Snapshots[i].Name)
	}
	return &record.Record{Type: record.TypeOrphan, Backup: backup, Host: r.host.Dest, Name: has.Name,
		Facts: record.Facts{GUID: has.GUID}, Reason: "no selected source maps to it", Target: t}
}

// unlisted returns the record of a source that could not be listed, if the dataset of
// the target with this name may be a copy of that source or of its descendants; nil
// otherwise.
func (r *run) unlisted(name string) *record.Record {
	for _, x := range r.all {
		if x.Type != record.TypeUnlisted {
			continue
		}
		of, err := dataset.TargetName(x.Name, r.target, r.o.StripPath)
		if err != nil {
			of = r.target // too short for --strip-path: any dataset may be its copy
		}
		if dataset.Within(name, of) {
			return x
		}
	}
	return nil
}
