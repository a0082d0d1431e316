package zab

import (
	"maps"
	"slices"
	"strings"
	"time"

	"zab/lib/record"
)

// longAway is how long another target may be away before the report asks whether it is
// gone for good. Disks used in turn come back within weeks, a disk kept in a safe within
// three months.
const longAway = 90 * 24 * time.Hour

// manyNames is the number of names up to which the report prints a command to release
// holds.
const manyNames = 10

// away maps other targets to the snapshots that are kept for them alone.
type away map[otherTarget]*kept

type otherTarget struct{ host, tag string }

type kept struct {
	names []string // full names
	// last is when the newest of the holds was placed, so that the target was present;
	// unknown, if the time of any hold is not known.
	last    int64
	unknown bool
	also    map[string][]string // names by the shared tag that is to be released, too
}

func (a *away) add(rec *record.Record) {
	if rec.Thin == nil {
		return
	}
	for _, w := range rec.Thin.Waits {
		k := otherTarget{rec.Host, w.Tag}
		dataset := rec.Name
		if w.Side == record.SideTarget && rec.Target != nil {
			k.host, dataset = rec.Target.Host, rec.Target.Name
		}
		if *a == nil {
			*a = away{}
		}
		o := (*a)[k]
		if o == nil {
			o = &kept{also: map[string][]string{}}
			(*a)[k] = o
		}
		full := dataset + "@" + w.Snapshot
		o.names = append(o.names, full)
		if w.Also != "" {
			o.also[w.Also] = append(o.also[w.Also], full)
		}
		if w.Since == nil {
			o.unknown = true
		} else {
			o.last = max(o.last, *w.Since)
		}
	}
}

// tellAway reports once for each target long away how many snapshots are kept for it, and
// how to release them.
func (r *report) tellAway() {
	for _, k := range slices.SortedFunc(maps.Keys(r.away), func(a, b otherTarget) int {
		return strings.Compare(a.host+"\x00"+a.tag, b.host+"\x00"+b.tag)
	}) {
		o := r.away[k]
		last := time.Unix(o.last, 0)
		if o.unknown || r.env.Now.Sub(last) < longAway {
			continue
		}
		at := ""
		if k.host != "" {
			at = " on " + k.host
		}
		r.say("held for a target that was last here on %s: %s%s, by '%s'", last.Format(time.DateOnly), count(len(o.names), "snapshot"), at, k.tag)
		if len(o.names) > manyNames {
			r.say("    if it is gone for good: zab-list(8) tells how all that is held for it is let go")
			continue
		}
		// The tag that names the target is released last: it shows whose the shared one
		// is.
		var commands []string
		host := r.env.Machine.Host(k.host)
		for _, tag := range slices.Sorted(maps.Keys(o.also)) {
			commands = append(commands, host.Show(slices.Concat([]string{"zfs", "release", tag}, o.also[tag])...))
		}
		commands = append(commands, host.Show(slices.Concat([]string{"zfs", "release", k.tag}, o.names)...))
		r.say("    if it is gone for good: %s", strings.Join(commands, " && "))
	}
}
