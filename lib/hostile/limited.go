package hostile

import (
	"reflect"
	"slices"
	"strings"
)

// This file judges a backup with --within, and the one of everything after it: the first
// does nothing to what is not in its operand, and the second misses nothing.

// inside reports whether a source dataset is in the operand.
func (w *workflow) inside(name string) bool {
	return name == w.within || strings.HasPrefix(name, w.within+"/")
}

// checkWithin judges the steps of such a run.
func (v *observer) checkWithin(honest *outcome) {
	if len(v.steps) != 3 {
		return
	}
	host := v.w.honestHost()
	before, limited, after := &v.steps[0], &v.steps[1], &v.steps[2]
	state := func(s *step) *Host {
		if host == "src" {
			return s.src
		}
		return s.dst
	}
	for _, d := range state(before).Datasets {
		name, isCopy := strings.CutPrefix(d.Name, v.w.root+"/")
		if host == "dst" && isCopy && (v.w.inside(name) || strings.HasPrefix(v.w.within, name+"/")) || host == "src" && v.w.inside(d.Name) {
			continue
		}
		is := state(limited).find(d.Name)
		if is == nil {
			v.add("'%s' is gone after a run that was limited to '%s'", d.Name, v.w.within)
			continue
		}
		was := *d
		was.Written = is.Written
		if !reflect.DeepEqual(&was, is) {
			v.add("'%s' was changed by a run that was limited to '%s'", d.Name, v.w.within)
		}
	}
	for i := range v.log[limited.from:limited.to] {
		e := &v.log[limited.from+i]
		if len(e.Argv) < 2 || !(forms[e.Argv[0]+" "+e.Argv[1]].writes || e.Argv[1] == "send") || e.Argv[1] == "mount" && len(e.Argv) == 2 {
			continue
		}
		for _, a := range slices.Concat(e.Argv[2:], luaStrings(e.Stdin)) {
			ds, _, _ := strings.Cut(a, "@")
			ds, _, _ = strings.Cut(ds, "#")
			name := strings.TrimPrefix(ds, v.w.root+"/")
			if (v.srcBefore.find(name) != nil || name == lateDataset || name == "tank/old") && strings.Contains(name, "/") && !v.w.inside(name) && !strings.HasPrefix(v.w.within, name+"/") {
				v.add("a run that was limited to '%s' does %.300q on the %s", v.w.within, e.Argv, e.Host)
			}
		}
	}
	for l := range strings.Lines(limited.stdout) {
		// The report begins a line with the dataset that it is about.
		if strings.Contains(l, "without a source") || strings.HasPrefix(l, v.w.copyName("tank/old")+":") {
			v.add("a limited run speaks of a copy without a source: %.300q", l)
		}
	}
	if limited.exit == 0 {
		v.checkStep(limited, &honest.steps[1], func(n string) bool { return v.w.inside(n) })
	}
	if after.exit == 0 {
		v.checkStep(after, &honest.steps[2], func(string) bool { return true })
	}
}

// checkStep checks that a step with the exit status 0 has backed up the datasets, as far
// as zab could know.
func (v *observer) checkStep(s, honest *step, wanted func(string) bool) {
	fair := false
	said := func(guid string) bool {
		return slices.ContainsFunc(v.log, func(e Entry) bool { return e.Lie != "" && strings.Contains(e.Said, guid) })
	}
	for _, e := range v.log[:s.to] {
		fair = fair || e.Fair && v.w.hostile == "src"
	}
	if fair {
		return
	}
	for _, n := range append(slices.Clone(v.w.selected), lateDataset) {
		if !wanted(n) || v.planted(n) || n == lateDataset && !v.w.everywhere {
			continue
		}
		// Against a hostile target the honest source tells what is to be there, against a
		// hostile source the run without lies.
		from := s.src
		if v.w.hostile == "src" {
			from = honest.src
		}
		d := from.find(n)
		if d == nil || d.newest() == nil {
			if d != nil && v.w.hostile == "dst" {
				v.add("exit status 0 of the run '%s', but '%s' has no snapshot", s.name, n)
			}
			continue
		}
		newest := d.newest()
		if v.w.hostile == "dst" && newest.Creation != s.src.Now && n != quietDataset {
			v.add("exit status 0 of the run '%s', but '%s' got no snapshot", s.name, n)
		}
		c := s.dst.find(v.w.copyName(n))
		// What the first run could not back up is backed up later, by a newer name.
		if (c == nil || !slices.ContainsFunc(c.Snaps, func(x *Snap) bool { return ours(x) && x.Name >= newest.Name })) && !said(newest.GUID) {
			v.add("exit status 0 of the run '%s', but '%s@%s' is not on the target", s.name, n, newest.Name)
		}
	}
}

// luaStrings returns the strings in a channel program.
func luaStrings(text string) (out []string) {
	for i, s := range strings.Split(text, `"`) {
		if i%2 == 1 {
			out = append(out, s)
		}
	}
	return out
}
