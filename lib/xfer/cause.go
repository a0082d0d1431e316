package xfer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"zab/lib/record"
	"zab/lib/stream"
	"zab/lib/zfs"
)

// This file finds the cause of a failed transfer where the messages of its programs tell
// only a symptom. It asks nothing before a transfer has failed for good.

// cause is the cause found for a failure: its kind, if the messages suggested another
// one, text that is appended to the message, and a hint that replaces the failure's.
type cause struct {
	kind       record.ErrorKind
	text, hint string
	// lost has, by snapshot, the files and objects in which blocks are lost, as zpool
	// names them; the key "" is the dataset itself.
	lost map[string][]string
}

// The names of the programs at the ends of a stream, as failures have them.
const (
	sender   = "zfs send"
	receiver = "zfs receive"
)

// explain returns the error of a step's stream with its cause, as far as that can be
// found out.
func (j *job) explain(ctx context.Context, s *record.Step, err error) (*failure, *cause) {
	var f *failure
	if !errors.As(err, &f) {
		k := zfs.KindOf(err)
		return &failure{kind: k, text: err.Error(), hint: hint(k)}, &cause{}
	}
	c := &cause{}
	if ctx.Err() == nil {
		switch {
		case f.kind == record.KindNoSpace && f.program == receiver:
			c = j.noSpace(ctx, s.Dataset, f.from.Quota())
		case (f.kind == record.KindFeature || f.kind == record.KindStream) && f.program == receiver && j.redacted(ctx, s):
			c = redactedCopy(j.r, s)
		case f.kind == record.KindFeature && f.program == receiver:
			c = j.noFeature(ctx, s)
		case f.kind == record.KindPoolIO && f.program == receiver:
			c = poolHealth(ctx, j.x.target(j.r), s.Dataset, nil)
		case f.kind == record.KindPoolIO && f.program == sender:
			c = poolHealth(ctx, j.x.source(j.r), j.r.Name, &j.r.Facts)
		case f.kind == record.KindNotFound && f.program == receiver:
			// zfs receive says so of a dataset whose pool has lost its devices, too.
			if sick := poolHealth(ctx, j.x.target(j.r), s.Dataset, nil); sick.text != "" {
				sick.kind = record.KindPoolIO
				c = sick
			}
		}
	}
	one := *f
	if c.kind != "" {
		one.kind = c.kind
	}
	if c.text != "" {
		one.text = strings.TrimSuffix(one.text, ".") + "; " + c.text
	}
	if c.hint != "" {
		one.hint = c.hint
		if f.saved && c.kind == "" {
			one.hint += "; then " + record.KindPartial.Hint()
		}
	}
	return &one, c
}

// at returns a command for a hint, with the host to run it on.
func at(host *zfs.Host, argv ...string) string {
	text := "'" + zfs.Quote(argv...) + "'"
	if !host.Here() {
		text += " on " + host.Dest
	}
	return text
}

// noSpace finds the limit that the copy has reached: a quota, a limit on the number of
// filesystems or snapshots, or the size of the pool.
func (j *job) noSpace(ctx context.Context, copied string, quota bool) *cause {
	host := j.x.target(j.r)
	limits, err := host.Limits(ctx, copied)
	if err != nil || len(limits) == 0 {
		return &cause{}
	}
	l, ok := nearest(limits, copied, quota)
	switch {
	case !ok:
		return &cause{}
	case l.prop != "":
		return limited(host, l, copied)
	}
	c := &cause{
		text: fmt.Sprintf("the pool '%s' has %s left", l.dataset, stream.InBytes(l.left)),
		hint: "free space there: " + at(host, "zfs", "list", "-o", "space", "-r", l.dataset) + " shows what takes it",
	}
	reserved := j.x.reservations(ctx, host, l.dataset)
	var texts, commands []string
	for _, r := range reserved[:min(3, len(reserved))] {
		texts = append(texts, fmt.Sprintf("%s for '%s' (%s)", stream.InBytes(r.Free), r.Dataset, r.Prop))
		commands = append(commands, at(host, "zfs", "set", r.Prop+"=none", r.Dataset))
	}
	if texts != nil {
		c.text += ", and keeps free " + strings.Join(texts, ", ")
		c.hint += "; what is kept free is given up with " + strings.Join(commands, ", ")
	}
	return c
}

// limit is a limit set on a dataset, with the amount that is left; without prop it is the
// size of the pool.
type limit struct {
	dataset, prop, source string
	value, left           int64
}

// nearest returns the limit that leaves the least, of those of a copy and of the datasets
// above it; limits has the copy first. With quota, which says that zfs speaks of one, the
// size of the pool does not count.
func nearest(limits []zfs.Dataset, copied string, quota bool) (least limit, ok bool) {
	consider := func(l limit) {
		if !ok || l.left < least.left {
			least, ok = l, true
		}
	}
	number := func(d *zfs.Dataset, prop string) int64 {
		n, _ := d.Props[prop].Int()
		return n
	}
	for i := range limits {
		d := &limits[i]
		for _, p := range []struct{ prop, used string }{{"quota", "used"}, {"refquota", "referenced"}} {
			if n := number(d, p.prop); n > 0 && (p.prop == "quota" || d.Name == copied) {
				consider(limit{d.Name, p.prop, d.Props[p.prop].Source, n, n - number(d, p.used)})
			}
		}
	}
	if quota {
		for i := range limits {
			d := &limits[i]
			for _, p := range []struct{ prop, used string }{{"filesystem_limit", "filesystem_count"}, {"snapshot_limit", "snapshot_count"}} {
				n, set := d.Props[p.prop].Int()
				if used, counted := d.Props[p.used].Int(); set && counted && n < math.MaxInt64 && used >= n {
					// A limit on numbers that is reached explains more than a quota with
					// much left.
					if !ok || least.left > least.value/20 {
						least, ok = limit{d.Name, p.prop, d.Props[p.prop].Source, n, 0}, true
					}
				}
			}
		}
		return least, ok
	}
	pool := &limits[len(limits)-1]
	consider(limit{dataset: pool.Name, left: number(pool, "available")})
	return least, ok
}

// limited returns the cause that a limit is reached.
func limited(host *zfs.Host, l limit, copied string) *cause {
	c := &cause{}
	if strings.HasSuffix(l.prop, "_limit") {
		c.text = fmt.Sprintf("the %s of '%s' is %d, which is reached", l.prop, l.dataset, l.value)
	} else {
		c.text = fmt.Sprintf("the %s of '%s' is %s, of which %s are left", l.prop, l.dataset, stream.InBytes(l.value), stream.InBytes(l.left))
	}
	switch {
	case l.source == "received":
		c.text += "; it came with the stream"
		c.hint = at(host, "zfs", "set", l.prop+"=none", l.dataset) + "; --filter-properties " + l.prop + " keeps it from new copies"
	case l.dataset == copied:
		c.hint = at(host, "zfs", "set", l.prop+"=none", l.dataset)
	case strings.HasSuffix(l.prop, "_limit"):
		c.hint = "raise it: " + at(host, "zfs", "set", l.prop+"=N", l.dataset)
	default:
		c.hint = "free space below it, or raise it: " + at(host, "zfs", "set", l.prop+"=SIZE", l.dataset)
	}
	return c
}

// reservations returns the reservations of a pool, and asks only once for them, since zfs
// has to look at all datasets of the pool.
func (x *stage) reservations(ctx context.Context, host *zfs.Host, pool string) []zfs.Reservation {
	return x.reserved.get(location{host.Dest, pool}, func() []zfs.Reservation {
		list, _ := host.Reservations(ctx, pool)
		return list
	})
}

// redacted reports whether the copy that did not take an increment is redacted.
func (j *job) redacted(ctx context.Context, s *record.Step) bool {
	if s.From == "" {
		return false
	}
	found, _ := j.x.target(j.r).Redacted(ctx, []string{s.Dataset})
	return found[s.Dataset]
}

// redactedCopy returns the cause that a copy is redacted, for which zfs receive has no
// message of its own.
func redactedCopy(r *record.Record, s *record.Step) *cause {
	return &cause{kind: record.KindNoBase,
		text: fmt.Sprintf("'%s' was received redacted, and takes no increment from the complete snapshot", s.Dataset),
		hint: fmt.Sprintf("an increment from the redaction bookmark of '%s' brings what was left out: '%s', received into '%s'",
			r.Name, zfs.Quote("zfs", "send", "-i", "BOOKMARK", r.Name+"@"+s.To), s.Dataset)}
}

// noFeature finds the features in use on the source that the target's pool lacks.
func (j *job) noFeature(ctx context.Context, s *record.Step) *cause {
	host, pool := j.x.target(j.r), zfs.Pool(s.Dataset)
	from, err := j.x.source(j.r).FeatureStates(ctx, zfs.Pool(j.r.Name))
	if err != nil {
		return &cause{}
	}
	to, err := host.FeatureStates(ctx, pool)
	if err != nil {
		return &cause{}
	}
	// Whether the dataset itself uses a feature can be told for some features only; for
	// the others, use anywhere in its pool has to do.
	got, _ := j.x.source(j.r).Existing(ctx, []string{"dnodesize", "compression"}, []string{j.r.Name})
	missing := lacked(from, to, s.Flags)
	uses := slices.DeleteFunc(slices.Clone(missing), func(m [2]string) bool {
		p := got[j.r.Name].Props
		return m[0] == "large_dnode" && p["dnodesize"].Value == "legacy" ||
			m[0] == "zstd_compress" && p["compression"].Value != "" && !strings.HasPrefix(p["compression"].Value, "zstd")
	})
	if len(uses) > 0 {
		missing = uses
	}
	return lacking(host, pool, missing)
}

// lacked returns the features that are in use in the source's pool, that a stream with
// these flags needs, and that the target's pool lacks, each with its state there.
func lacked(from, to map[string]string, flags []string) (out [][2]string) {
	given := func(one ...string) bool {
		return slices.ContainsFunc(one, func(f string) bool { return slices.Contains(flags, f) })
	}
	for _, f := range zfs.StreamFeatures {
		asked := true
		switch f {
		case "large_blocks", "large_microzap":
			asked = given("-L", "-w")
		case "lz4_compress", "zstd_compress":
			asked = given("-c", "-w")
		case "encryption":
			asked = given("-w")
		}
		if asked && from[f] == "active" && to[f] != "active" && to[f] != "enabled" {
			out = append(out, [2]string{f, to[f]})
		}
	}
	return out
}

// lacking returns the cause that a pool lacks features, given with their states.
func lacking(host *zfs.Host, pool string, missing [][2]string) *cause {
	if len(missing) == 0 {
		return &cause{}
	}
	var names, hints []string
	unknown := false
	for _, m := range missing {
		names = append(names, "feature@"+m[0])
		if m[1] == "disabled" {
			hints = append(hints, at(host, "zpool", "set", "feature@"+m[0]+"=enabled", pool))
		} else {
			unknown = true
		}
	}
	if unknown {
		hints = append(hints, fmt.Sprintf("the ZFS of %s does not know all of them: update it first", host))
	}
	for _, m := range missing {
		switch m[0] {
		case "large_dnode":
			hints = append(hints, "a dataset that never had another dnodesize than legacy does without large_dnode")
		case "zstd_compress", "lz4_compress":
			if !slices.Contains(hints, withoutC) {
				hints = append(hints, withoutC)
			}
		}
	}
	return &cause{
		text: fmt.Sprintf("the pool '%s' is without %s, in use in the source's pool", pool, strings.Join(names, ", ")),
		hint: strings.Join(hints, "; "),
	}
}

const withoutC = "a stream without --zfs-compressed, where it is not raw, does without compression"

// poolHealth returns the cause that is found in the health of a dataset's pool. facts are
// those of the dataset if it is the source, else nil.
func poolHealth(ctx context.Context, host *zfs.Host, name string, facts *record.Facts) *cause {
	pool := zfs.Pool(name)
	h, err := host.Health(ctx, pool)
	if err == nil && h.Count == 0 && !h.Errors && (h.State == "ONLINE" || h.State == "DEGRADED") && facts != nil {
		// zpool status lists a block that could not be read only after the next
		// transaction group. On a pool that does not answer, zpool sync would wait for
		// ever.
		if len(host.Sync(ctx, []string{pool})) == 0 {
			h, err = host.Health(ctx, pool)
		}
	}
	status := at(host, "zpool", "status", "-v", pool)
	switch {
	case err != nil:
		return &cause{}
	case h.State == "SUSPENDED", h.State == "UNAVAIL", h.State == "FAULTED":
		return &cause{text: fmt.Sprintf("the pool '%s' is %s: its devices do not answer", pool, strings.ToLower(h.State)),
			hint: status + " shows which; when they are back, " + at(host, "zpool", "clear", pool)}
	case h.Count == 0 && !h.Errors:
		return &cause{hint: status + " shows what the pool suffers from"}
	case facts == nil:
		return &cause{text: fmt.Sprintf("blocks are lost in the pool '%s'", pool), hint: status + " names what they were in"}
	}
	mountpoint := ""
	if facts.Mounted == "yes" {
		mountpoint = facts.MountPoint
	}
	c := &cause{kind: record.KindUnreadable, lost: h.LostIn(name, mountpoint)}
	// The losses in this dataset are named first.
	var list []string
	for _, snap := range slices.Sorted(maps.Keys(c.lost)) {
		list = append(list, c.lost[snap]...)
	}
	for _, l := range h.Lost {
		if !slices.Contains(list, l) {
			list = append(list, l)
		}
	}
	shown := list[:min(3, len(list))]
	what := ", in '" + strings.Join(shown, "', '") + "'"
	switch more := h.Count - len(shown); {
	case h.Count == 0:
		what = ": its devices have errors"
	case len(shown) == 0:
		what = fmt.Sprintf(", in %d places", h.Count)
	case more > 0:
		what += fmt.Sprintf(" and %d more", more)
	}
	c.text = fmt.Sprintf("blocks are lost in the pool '%s'%s", pool, what)
	c.hint = fmt.Sprintf("%s names all that is lost: restore or remove it from '%s'; the first snapshot without it is sent then", status, name)
	return c
}
