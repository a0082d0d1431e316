package hostile

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// observer looks at what a run has done to the honest host.
type observer struct {
	*outcome
	found []string
}

// observe gives the violations of a run. honest is the outcome of the same
// workflow without lies, which shows what the workflow is to bring.
func observe(o, honest *outcome) []string {
	v := &observer{outcome: o}
	v.commands()
	v.promises()
	v.status(honest)
	v.terminal()
	if o.timeout {
		v.add("it did not end within %s", maxTime)
	}
	if o.left != nil {
		v.add("still running at the end: %s", strings.Join(o.left, "; "))
	}
	if o.memory > maxMemory {
		v.add("a process took %d MiB of memory", o.memory>>20)
	}
	if o.canary {
		v.add("a shell ran what a host said")
	}
	return v.found
}

func (v *observer) add(format string, a ...any) {
	s := fmt.Sprintf(format, a...)
	if len(s) > 600 {
		s = s[:600] + "..."
	}
	if !slices.Contains(v.found, s) {
		v.found = append(v.found, s)
	}
}

// name is how the name of a dataset may look that zab makes or touches. OpenZFS
// would take spaces and colons, too.
var name = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.: -]*(/[A-Za-z0-9_.: -]+)*$`)

func cleanName(n string) bool {
	if !name.MatchString(n) || len(n) > 255 {
		return false
	}
	for part := range strings.SplitSeq(n, "/") {
		if part == "." || part == ".." {
			return false
		}
	}
	return true
}

var snapPart = regexp.MustCompile(`^[A-Za-z0-9_.: -]+$`)

// commands judges every command on the honest host.
func (v *observer) commands() {
	for i := range v.log {
		e := &v.log[i]
		if e.Bad != "" {
			v.add("on %q: %s: %.300q", e.Host, e.Bad, e.Argv)
			continue
		}
		if e.Host != v.w.honest() || e.Argv[0] == "sh" {
			continue
		}
		if e.Odd != "" {
			v.add("on the honest %s: %s: %.300q", e.Host, e.Odd, e.Argv)
		}
		c := &call{prog: e.Argv[0], sub: e.Argv[1]}
		if err := c.parse(e.Argv[2:], forms[c.prog+" "+c.sub].options); err != nil {
			v.add("on the honest %s: %s: %.300q", e.Host, err, e.Argv)
			continue
		}
		var why string
		if v.w.honest() == "dst" {
			why = v.onTarget(c, e)
		} else {
			why = v.onSource(c, e)
		}
		if why != "" {
			v.add("on the honest %s: %s: %.400q", e.Host, why, e.Argv)
		}
	}
}

// inside tells why a name is not that of something below the target.
func (v *observer) inside(full string) string {
	ds, rest, _ := strings.Cut(full, "@")
	ds, mark, _ := strings.Cut(ds, "#")
	switch {
	case v.w.root == "" || ds != v.w.root && !strings.HasPrefix(ds, v.w.root+"/"):
		return fmt.Sprintf("%q is not below the target", full)
	case !cleanName(ds):
		return fmt.Sprintf("%q is not a name", ds)
	}
	for s := range strings.SplitSeq(rest+mark, ",") {
		if strings.ContainsAny(full, "@#") && !snapPart.MatchString(s) {
			return fmt.Sprintf("%q is not the name of a snapshot", s)
		}
	}
	return ""
}

// below is inside, but for the target itself.
func (v *observer) below(full string) string {
	if full == v.w.root {
		return "it is the target of all copies"
	}
	return v.inside(full)
}

var (
	poolValue   = regexp.MustCompile(`^[0-9]{1,20}$`)
	fromValue   = regexp.MustCompile(`^[0-9]{1,20}(,[0-9]{1,20})*$`)
	streamValue = regexp.MustCompile(`^(none|parent|[Lwx](,[Lwx])*)$`)
	asideValue  = regexp.MustCompile(`^(begun|done):[A-Za-z0-9_.: -]+$`)
	otherValue  = regexp.MustCompile(`^[A-Za-z0-9_.:,+-]{1,200}$`)
	asideOf     = regexp.MustCompile(`_diverged-[0-9]{14}(-[0-9]+)?$`)
	tagValue    = regexp.MustCompile(`^zfs_autobackup:b1(:[0-9]{1,20}(\.[0-9]{1,20})?)?$`)
	propName    = regexp.MustCompile(`^[a-z][a-z0-9_:.-]*$`)
)

// harmless are the values that zab may give to properties of a copy by its own
// rules.
var harmless = map[string][]string{
	"canmount": {"noauto", "off"}, "readonly": {"on"}, "setuid": {"off"}, "devices": {"off"}, "exec": {"off"},
	"reservation": {"none"}, "refreservation": {"none"}, "quota": {"none"}, "volmode": {"none"}, "snapdev": {"hidden"},
	"sharenfs": {"off"}, "sharesmb": {"off"}, "mountpoint": {"none"}, "atime": {"off"}, "overlay": {"off"},
}

// property tells why P=V is none that zab sets on a dataset of the target.
func (v *observer) property(pv string) string {
	p, value, ok := strings.Cut(pv, "=")
	rule := otherValue
	switch {
	case !ok:
		return fmt.Sprintf("%q is no property with a value", pv)
	case p == "zab:from":
		rule = fromValue
	case p == "zab:stream":
		rule = streamValue
	case p == "zab:pool":
		rule = poolValue
	case p == "zab:aside":
		rule = asideValue
	case strings.HasPrefix(p, "zab:"):
	case slices.Contains(harmless[p], value):
		return ""
	case v.w.aside && v.ownProperty(p, value):
		return ""
	default:
		return fmt.Sprintf("zab does not set %q", pv)
	}
	if !rule.MatchString(value) {
		return fmt.Sprintf("%q is no value of a mark", pv)
	}
	return ""
}

// ownProperty reports whether a copy had the property from the target's own side.
func (v *observer) ownProperty(p, value string) bool {
	return slices.ContainsFunc(v.dstBefore.Datasets, func(d *Dataset) bool { return d.Local[p] == value && strings.HasPrefix(d.Name, v.w.root+"/") })
}

func first(reasons ...string) string {
	for _, r := range reasons {
		if r != "" {
			return r
		}
	}
	return ""
}

func all(list []string, f func(string) string) string {
	for _, x := range list {
		if why := f(x); why != "" {
			return why
		}
	}
	return ""
}

// reads judges what is only asked of the honest host.
func (v *observer) reads(c *call, where func(string) string) (known bool, why string) {
	names := c.operands
	switch c.prog + " " + c.sub {
	case "zfs get":
		if len(names) > 0 {
			why = all(strings.Split(names[0], ","), func(p string) string {
				if !propName.MatchString(strings.TrimPrefix(p, "written@")) {
					return fmt.Sprintf("%q is no property", p)
				}
				return ""
			})
			names = names[1:]
		}
	case "zfs list", "zfs holds", "zfs diff":
	case "zpool get", "zpool list", "zpool status", "zpool sync":
		if c.sub == "get" {
			names = names[1:]
		}
		return true, all(names, func(n string) string {
			if n != v.w.pool && n != "tank" {
				return fmt.Sprintf("%q is no pool of this host", n)
			}
			return ""
		})
	case "zfs mount":
		if len(names) > 0 {
			return false, ""
		}
	default:
		return false, ""
	}
	if c.host == "" && c.has("o") && strings.ContainsAny(c.opt("o"), " \t") {
		why = "odd columns"
	}
	return true, first(why, all(names, where))
}

// onTarget tells why a command should not have been started on an honest target.
func (v *observer) onTarget(c *call, e *Entry) string {
	if known, why := v.reads(c, v.inside); known {
		return why
	}
	w, ops := v.w, c.operands
	switch c.sub {
	case "receive":
		if c.has("A") {
			return v.below(ops[0])
		}
		for _, p := range c.opts["x"] {
			if !propName.MatchString(p) {
				return fmt.Sprintf("%q is no property", p)
			}
		}
		for _, pv := range c.opts["o"] {
			if of, ok := strings.CutPrefix(pv, "origin="); ok {
				if !w.clones {
					return "a clone that nobody asked for"
				}
				if why := v.below(of); why != "" {
					return why
				}
			} else if why := v.property(pv); why != "" {
				return why
			}
		}
		if !c.has("u") || !c.has("s") {
			return "without -u or -s"
		}
		if c.has("F") && !w.force {
			return "-F without --force"
		}
		return v.below(ops[0])
	case "create":
		if !slices.Contains(c.opts["o"], "canmount=off") {
			return "it would be mounted"
		}
		return first(all(c.opts["o"], v.property), v.below(ops[0]))
	case "set":
		n := 0
		for n < len(ops) && strings.Contains(ops[n], "=") {
			n++
		}
		return first(all(ops[:n], v.property), all(ops[n:], v.below))
	case "mount":
		if o := c.opt("o"); o != "ro" && !strings.HasPrefix(o, "ro,") {
			return "it is not mounted read-only"
		}
		if source, _, _ := strings.Cut(e.Note, " "); source == "received" {
			return "its mountpoint came with a stream (P5): " + e.Note
		}
		return v.below(ops[0])
	case "hold", "release":
		if !tagValue.MatchString(ops[0]) {
			return "a tag that is not zab's"
		}
		return all(ops[1:], v.below)
	case "destroy":
		ds, _, snap := strings.Cut(ops[0], "@")
		switch before := v.dstBefore.find(ds); {
		case snap, w.missing:
		case asideOf.MatchString(ds) && before == nil:
		default:
			return "a dataset is destroyed"
		}
		return v.below(ops[0])
	case "program":
		return v.program(e, v.below)
	case "rollback":
		return v.below(ops[0])
	case "rename":
		if !w.aside && !v.parentOnly(ops[0]) {
			return "nothing should be renamed"
		}
		return all(ops, v.below)
	case "inherit":
		if ops[0] == "zab:missing" || ops[0] == "canmount" && w.aside {
			return all(ops[1:], v.below)
		}
		return "a property that zab does not take away"
	case "clone", "promote":
		if !w.aside {
			return "nothing should be cloned"
		}
		return first(all(c.opts["o"], v.property), all(ops, v.below))
	case "unmount":
		if !w.missing {
			return "nothing should be unmounted"
		}
		return v.below(ops[0])
	}
	return "not on a target"
}

// parentOnly reports whether a dataset is one that zab made to be above others,
// which makes way by itself for what is received in its place, or is so made way
// for.
func (v *observer) parentOnly(ds string) bool {
	d := v.dstBefore.find(ds)
	return d == nil || d.Local["zab:stream"] == "parent" || asideOf.MatchString(parent(ds))
}

// program judges the objects of a channel program.
func (v *observer) program(e *Entry, where func(string) string) string {
	for _, m := range luaPair.FindAllStringSubmatch(e.Stdin, -1) {
		for k, q := range m[1:] {
			n, err := strconv.Unquote(q)
			if err != nil {
				return fmt.Sprintf("the string %q", q)
			}
			if k == 1 && strings.Contains(e.Stdin, "zfs.sync.destroy(") {
				continue // a guid
			}
			if why := where(n); why != "" {
				return why
			}
		}
	}
	return ""
}

// ofSource tells why a name is not one of the source's selected datasets, or of
// what is above.
func (v *observer) ofSource(full string) string {
	ds, rest, _ := strings.Cut(full, "@")
	ds, mark, _ := strings.Cut(ds, "#")
	if !slices.Contains(v.w.selected, ds) {
		return fmt.Sprintf("%q is not selected", full)
	}
	for s := range strings.SplitSeq(rest+mark, ",") {
		if strings.ContainsAny(full, "@#") && !snapPart.MatchString(s) {
			return fmt.Sprintf("%q is not the name of a snapshot", s)
		}
	}
	return ""
}

func (v *observer) onSource(c *call, e *Entry) string {
	anywhere := func(n string) string {
		ds, _, _ := strings.Cut(n, "@")
		ds, _, _ = strings.Cut(ds, "#")
		if v.srcBefore.find(ds) == nil && !cleanName(ds) {
			return fmt.Sprintf("%q is not a name", n)
		}
		return ""
	}
	if known, why := v.reads(c, anywhere); known {
		return why
	}
	ops := c.operands
	switch c.sub {
	case "send":
		ds := ""
		raw := c.has("w")
		if c.has("t") {
			pairs, err := decodeToken(c.opt("t"))
			if err != nil {
				return "the token is none that libzfs makes: " + err.Error()
			}
			var guid string
			raw = false
			for _, p := range pairs {
				switch p.name {
				case "toname":
					ds, _ = p.value.(string)
				case "toguid":
					n, _ := p.value.(uint64)
					guid = strconv.FormatUint(n, 10)
				case "rawok":
					raw = true
				case "fromguid", "object", "offset", "bytes", "compressok", "largeblockok", "embedok":
				default:
					return fmt.Sprintf("the token has the pair %q", p.name)
				}
			}
			if _, s := v.srcAfter.lookup(ds); s != nil && s.GUID != guid {
				return "the token names another snapshot"
			}
		} else {
			ds = ops[0]
			if from := or(c.opt("i"), c.opt("I")); from != "" && !strings.HasPrefix(from, "tank/home/alice@") {
				if why := v.ofSource(from); why != "" {
					return why
				}
			}
		}
		name, _, _ := strings.Cut(ds, "@")
		if d := v.srcBefore.find(name); d != nil && d.Cipher != "" && !raw {
			return "an encrypted dataset is sent decrypted (P10)"
		}
		return v.ofSource(ds)
	case "snapshot":
		for _, n := range ops {
			if _, snap, _ := strings.Cut(n, "@"); !strings.HasPrefix(snap, backup+"-20260301120") {
				return "another name than that of now"
			}
		}
		return all(ops, v.ofSource)
	case "hold", "release":
		if !tagValue.MatchString(ops[0]) {
			return "a tag that is not zab's"
		}
		if c.has("r") {
			return all(ops[1:], func(n string) string {
				ds, _, _ := strings.Cut(n, "@")
				for _, d := range v.srcBefore.below(ds) {
					if !slices.Contains(v.w.selected, d.Name) {
						return "-r reaches " + d.Name
					}
				}
				return ""
			})
		}
		return all(ops[1:], v.ofSource)
	case "bookmark":
		if !v.w.bookmark {
			return "without --bookmark"
		}
		return all(ops, v.ofSource)
	case "destroy":
		if !strings.ContainsAny(ops[0], "@#") {
			return "a dataset of the source"
		}
		return v.ofSource(ops[0])
	case "program":
		return v.program(e, v.ofSource)
	}
	return "not on a source"
}

// promises compares the honest host before and after: nothing of others has
// changed, what had to stay is there (P1), and nothing that travelled is in force.
func (v *observer) promises() {
	honest := v.w.honest()
	before, after := v.before(honest), v.after(honest)
	other := v.before(v.w.hostile)
	for _, d := range before.Datasets {
		mine := slices.Contains(v.w.selected, d.Name)
		if honest == "dst" {
			mine = v.w.root != "" && strings.HasPrefix(d.Name, v.w.root+"/")
		}
		now := after.find(d.Name)
		if !mine {
			if now == nil || !slices.EqualFunc(d.Snaps, now.Snaps, sameSnap) || !maps.Equal(d.Local, now.Local) || !maps.Equal(d.Received, now.Received) || d.Mounted != now.Mounted {
				v.add("'%s', which is none of this backup's, has changed", d.Name)
			}
			continue
		}
		if v.w.missing && v.srcBefore.find(strings.TrimPrefix(d.Name, v.w.root+"/")) == nil && honest == "dst" {
			v.orphanGone(d, after)
			continue
		}
		v.snapshotsStay(d, after, other)
	}
	if honest == "dst" {
		v.copies(after)
	}
}

func sameSnap(a, b *Snap) bool {
	return a.Name == b.Name && a.GUID == b.GUID && slices.Equal(a.Holds, b.Holds)
}

// ours is the time in the name of a snapshot of zab's, which is not in the future.
func ours(s *Snap) bool {
	t, ok := strings.CutPrefix(s.Name, backup+"-")
	return ok && len(t) == 14 && t <= now.Add(3e11).Format(snapStyle)
}

// snapshotsStay holds P1 and the schedule: of what was there, and of what came
// in truth, the newest of ours stay, and so do those of others.
func (v *observer) snapshotsStay(d *Dataset, after, other *Host) {
	is := func(s *Snap) bool { return after.byGUID(s.GUID) != nil }
	if s := d.newest(); s != nil && !is(s) {
		grown := false
		if now := after.find(d.Name); now != nil && now.newest() != nil {
			// What came since is newer.
			grown = slices.IndexFunc(d.Snaps, func(x *Snap) bool { return x.GUID == now.newest().GUID }) < 0 && ours(s)
		}
		if !grown {
			v.add("the newest snapshot of '%s', '%s', is gone (P1)", d.Name, s.Name)
		}
	}
	// The newest that both sides had in common, by what is true: unless the other
	// says, in a whole answer, that it has less. Nobody can know better then; the
	// schedule, below, holds all the same.
	less := slices.ContainsFunc(v.log, func(e Entry) bool { return e.Fair })
	for _, s := range slices.Backward(d.Snaps) {
		if other.byGUID(s.GUID) == nil {
			continue
		}
		if !is(s) && !less && !v.newer(d, s, after, v.after(v.w.hostile)) {
			v.add("the newest snapshot in common of '%s', '%s', is gone (P1)", d.Name, s.Name)
		}
		break
	}
	// The schedule keeps the newest of ours, of those that were there and those
	// that have come.
	list := slices.Clone(d.Snaps)
	if now := after.find(d.Name); now != nil {
		for _, s := range now.Snaps {
			if !slices.ContainsFunc(list, func(x *Snap) bool { return x.GUID == s.GUID }) {
				list = append(list, s)
			}
		}
	}
	kept := 0
	for _, s := range slices.Backward(list) {
		mine := ours(s)
		if mine {
			kept++
		}
		if !is(s) && (!mine || kept <= v.w.keep) {
			v.add("'%s@%s' was destroyed, which is number %d of the newest %d that stay", d.Name, s.Name, kept, v.w.keep)
		}
	}
}

// newer reports whether something newer than s is in common at the end.
func (v *observer) newer(d *Dataset, s *Snap, after, other *Host) bool {
	now := after.find(d.Name)
	if now == nil {
		return false
	}
	for _, x := range now.Snaps {
		if x.TXG > s.TXG && other.byGUID(x.GUID) != nil {
			return true
		}
	}
	return slices.ContainsFunc(now.Marks, func(m *Snap) bool { return other.byGUID(m.GUID) != nil && m.TXG >= s.TXG })
}

// orphanGone judges a copy whose source is no more: it may go when its time has
// come.
func (v *observer) orphanGone(d *Dataset, after *Host) {
	old := d.newest() == nil || d.newest().Creation < now.AddDate(0, 0, -10).Unix()
	if !old && after.find(d.Name) == nil {
		v.add("'%s' was destroyed, whose newest snapshot is younger than --destroy-missing says", d.Name)
	}
}

// copies judges the target as it is at the end.
func (v *observer) copies(after *Host) {
	for _, d := range after.Datasets {
		before := v.dstBefore.find(d.Name)
		if before != nil {
			for _, p := range sortedKeys(d.Local) {
				if was, ok := before.Local[p]; (!ok || was != d.Local[p]) && v.property(p+"="+d.Local[p]) != "" {
					v.add("'%s' has %s=%q now", d.Name, p, d.Local[p])
				}
			}
		}
		if !strings.HasPrefix(d.Name, v.w.pool) {
			v.add("the dataset %q was made", d.Name)
		}
		if d.Mounted && (before == nil || !before.Mounted) {
			at, source := after.get(d, "mountpoint")
			if x, ok := strings.CutPrefix(source, "inherited from "); ok {
				if up := after.find(x); up != nil {
					_, source = up.own("mountpoint")
				}
			}
			if source == "received" || !strings.HasPrefix(at, "/"+v.w.pool) {
				v.add("'%s' is mounted at %q, which is %s (P5)", d.Name, at, source)
			}
		}
		for _, s := range d.Snaps {
			for _, h := range s.Holds {
				if !tagValue.MatchString(h) {
					v.add("'%s@%s' is held by %q, which came with a stream", d.Name, s.Name, h)
				}
			}
		}
		if share, source := after.get(d, "sharenfs"); share != "off" && source == "received" {
			v.add("'%s' is shared because a stream said so", d.Name)
		}
	}
}

// status judges the exit status: 0 only if all is backed up.
func (v *observer) status(honest *outcome) {
	if v.exit != 0 || v.w.root == "" || honest == nil {
		return
	}
	said := func(guid string) bool {
		return slices.ContainsFunc(v.log, func(e Entry) bool { return e.Lie != "" && strings.Contains(e.Said, guid) })
	}
	fair := slices.ContainsFunc(v.log, func(e Entry) bool { return e.Fair })
	forged := len(v.lies) > 0 && v.lies[0].Sign == inProperty
	for _, n := range v.w.selected {
		if forged && n == liar {
			continue // its own affair
		}
		if v.w.hostile == "dst" {
			src := v.srcAfter.find(n)
			if src == nil || src.newest() == nil {
				continue
			}
			newest := src.newest()
			c := v.dstAfter.find(v.w.target(n))
			if c != nil && slices.ContainsFunc(c.Snaps, func(s *Snap) bool { return s.GUID == newest.GUID }) || said(newest.GUID) {
				continue
			}
			v.add("exit status 0, but '%s@%s' is not on the target, which never said that it had it", n, newest.Name)
			continue
		}
		want := honest.dstAfter.find(honest.w.target(n))
		c := v.dstAfter.find(v.w.target(n))
		if want == nil || want.newest() == nil || fair {
			continue
		}
		if c == nil || c.newest() == nil || !slices.ContainsFunc(c.Snaps, func(s *Snap) bool { return s.Name == want.newest().Name }) {
			v.add("exit status 0, but '%s@%s' was not backed up", n, want.newest().Name)
		}
	}
}

// terminal finds what a terminal would obey.
func (v *observer) terminal() {
	for _, t := range []struct{ where, text string }{{"stdout", v.stdout}, {"stderr", v.stderr}} {
		for i := 0; i < len(t.text); {
			r, n := utf8.DecodeRuneInString(t.text[i:])
			b := t.text[i]
			if r == utf8.RuneError && n == 1 && b >= 0x80 && b <= 0x9f || r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r <= 0x9f {
				v.add("a control character on %s: %q", t.where, around(t.text, i))
				break
			}
			i += n
		}
	}
}

func around(s string, i int) string { return s[max(0, i-60):min(len(s), i+30)] }
