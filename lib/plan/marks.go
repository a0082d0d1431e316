package plan

import (
	"slices"
	"strings"

	"zab/lib/record"
	"zab/lib/zfs"
)

// mark returns the steps that note on the copy the pools that it came through, the
// flags that it was begun with, and the pool for which its base is held. It also resets
// a property that zfs receive cannot be kept from setting. Copies made by
// zfs-autobackup are marked with their next snapshot.
func (p *planner) mark(d *draft, flags []string, streams []record.Step) (steps []record.Step) {
	r := d.r
	mark := func(set ...string) {
		steps = append(steps, record.Step{Do: record.DoMark, Side: record.SideTarget, Dataset: r.Target.Name, Set: set})
	}
	if set := p.marks(d, flags, streams); set != nil {
		mark(set...)
	}
	if p.o.SafeProperties && p.raw(r) && r.Origin == "" && r.Target.Origin == "" {
		// zfs receive (2.3) gives an encryption root the keylocation of a raw stream as
		// its last act, despite -x and -o. A clone has none.
		mark("keylocation=prompt")
	}
	return steps
}

// marks returns the marks, each P=V, that the copy does not have yet; none if the record
// does not come from zab-select, and so does not tell the source's pool.
func (p *planner) marks(d *draft, flags []string, streams []record.Step) (set []string) {
	r := d.r
	if r.PoolGUID == "" {
		return nil
	}
	from := r.PoolGUID
	if r.From != "" {
		from = r.From
		if !slices.Contains(strings.Split(r.From, ","), r.PoolGUID) {
			from += "," + r.PoolGUID
		}
	}
	switch err := record.CheckFrom(from); {
	case r.Target.From == from:
	case err != nil:
		r.Warn("'%s' is not marked with the pools that it came through, so that a backup back to one of them would not be refused: %s", r.Target.Name, err)
	default:
		set = append(set, zfs.FromProp+"="+from)
	}
	unshared := d.unshared() || slices.ContainsFunc(streams, func(s record.Step) bool { return r.Unshares(&s) })
	if s := frozen(flags, unshared); r.Target.Stream != s {
		set = append(set, zfs.StreamProp+"="+s)
	}
	if pool := p.pinnedIn(d); pool != "" && r.Target.Pool != pool {
		set = append(set, zfs.PoolProp+"="+pool)
	}
	return set
}

// frozen returns the value of zab:stream: the flags that decide how a copy is stored,
// and whether the copy takes no sharing properties from streams.
func frozen(flags []string, unshared bool) string {
	var out []string
	for _, f := range flags {
		if f == "-L" || f == "-w" {
			out = append(out, f[1:])
		}
	}
	if unshared {
		out = append(out, zfs.StreamUnshared)
	}
	if out == nil {
		return "none"
	}
	return strings.Join(out, ",")
}

// isParent reports whether the target is a filesystem that zab created only to be above
// another copy. Such a filesystem must not be in the way when there is something to
// receive into it.
func isParent(t *record.Target) bool {
	return t.Exists && len(t.Snapshots) == 0 && zfs.IsParent(&t.Facts)
}
