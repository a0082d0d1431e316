package hostile

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// datasetName matches the names that OpenZFS allows for datasets. They may contain spaces
// and colons.
var datasetName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.: -]*(/[A-Za-z0-9_.: -]+)*$`)

func cleanName(n string) bool {
	if !datasetName.MatchString(n) || len(n) > 255 {
		return false
	}
	for part := range strings.SplitSeq(n, "/") {
		if part == "." || part == ".." {
			return false
		}
	}
	return true
}

var snapshotName = regexp.MustCompile(`^[A-Za-z0-9_.: -]+$`)

// checkCommands judges all commands on the honest host, and reports those that the
// stand-ins do not know on either host.
func (v *observer) checkCommands() {
	for i := range v.log {
		e := &v.log[i]
		if e.Bad != "" {
			v.add("on %q: %s: %.300q", e.Host, e.Bad, e.Argv)
			continue
		}
		if e.Host != v.w.honestHost() || e.Argv[0] == "sh" {
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
		if v.w.honestHost() == "dst" {
			why = v.checkOnTarget(c, e)
		} else {
			why = v.checkOnSource(c, e)
		}
		if why != "" {
			v.add("on the honest %s: %s: %.400q", e.Host, why, e.Argv)
		}
	}
}

// checkOnTarget returns why a command must not be started on an honest target, "" if it
// may.
func (v *observer) checkOnTarget(c *call, e *Entry) string {
	where := v.checkInTarget
	if c.sub == "get" && !c.has("r") && !c.has("d") {
		// A copy may have its mountpoint from a dataset above the target.
		where = func(n string) string {
			if strings.HasPrefix(v.w.root, n+"/") {
				return ""
			}
			return v.checkInTarget(n)
		}
	}
	if known, why := v.checkRead(c, where); known {
		return why
	}
	w, ops := v.w, c.operands
	switch c.sub {
	case "send":
		if !w.proves {
			return "zab does not send from a target"
		}
		return v.checkPlainSend(c, v.checkBelowTarget)
	case "receive":
		if c.has("A") {
			return v.checkBelowTarget(ops[0])
		}
		for _, p := range c.opts["x"] {
			if !propName.MatchString(p) {
				return fmt.Sprintf("%q is not a property", p)
			}
		}
		for _, pv := range c.opts["o"] {
			if of, ok := strings.CutPrefix(pv, "origin="); ok {
				if !w.clones {
					return "a clone without --clones"
				}
				if why := v.checkBelowTarget(of); why != "" {
					return why
				}
			} else if why := v.checkProperty(pv); why != "" {
				return why
			}
		}
		if !c.has("u") || !c.has("s") {
			return "without -u or -s"
		}
		if c.has("F") && !w.force {
			return "-F without --force"
		}
		return v.checkBelowTarget(ops[0])
	case "create":
		if !slices.Contains(c.opts["o"], "canmount=off") {
			return "it would be mounted"
		}
		return firstReason(firstReasonOf(c.opts["o"], v.checkProperty), v.checkBelowTarget(ops[0]))
	case "set":
		n := 0
		for n < len(ops) && strings.Contains(ops[n], "=") {
			n++
		}
		return firstReason(firstReasonOf(ops[:n], v.checkProperty), firstReasonOf(ops[n:], v.checkBelowTarget))
	case "mount":
		if o := c.opt("o"); o != "ro" && !strings.HasPrefix(o, "ro,") {
			return "it is not mounted read-only"
		}
		if source, _, _ := strings.Cut(e.Mountpoint, " "); source == "received" {
			return "its mountpoint came with a stream (P5): " + e.Mountpoint
		}
		return v.checkBelowTarget(ops[0])
	case "hold", "release":
		if !v.ownTag(ops[0]) {
			return "a tag that is not zab's"
		}
		return firstReasonOf(ops[1:], v.checkBelowTarget)
	case "destroy":
		ds, _, snap := strings.Cut(ops[0], "@")
		switch before := v.dstBefore.find(ds); {
		case snap, w.missing:
		case asideName.MatchString(ds) && before == nil:
		default:
			return "it destroys a dataset"
		}
		return v.checkBelowTarget(ops[0])
	case "program":
		return v.checkProgram(e, v.checkBelowTarget)
	case "rollback":
		return v.checkBelowTarget(ops[0])
	case "rename":
		if !w.aside && !v.mayRename(ops[0]) {
			return "a rename without --rename-aside"
		}
		return firstReasonOf(ops, v.checkBelowTarget)
	case "inherit":
		if ops[0] == "zab:missing" || ops[0] == "canmount" && w.aside || slices.Contains([]string{"sharenfs", "sharesmb"}, ops[0]) {
			return firstReasonOf(ops[1:], v.checkBelowTarget)
		}
		return "zab does not inherit this property"
	case "clone", "promote":
		if !w.aside {
			return "a clone without --rename-aside"
		}
		return firstReason(firstReasonOf(c.opts["o"], v.checkProperty), firstReasonOf(ops, v.checkBelowTarget))
	case "unmount":
		if !w.missing {
			return "an unmount without --destroy-missing"
		}
		return v.checkBelowTarget(ops[0])
	}
	return "zab does not use this on a target"
}

// checkOnSource returns why a command must not be started on an honest source, "" if it
// may.
func (v *observer) checkOnSource(c *call, e *Entry) string {
	anywhere := func(n string) string {
		ds, _, _ := strings.Cut(n, "@")
		ds, _, _ = strings.Cut(ds, "#")
		if v.srcBefore.find(ds) == nil && !cleanName(ds) {
			return fmt.Sprintf("%q is not a name", n)
		}
		return ""
	}
	if known, why := v.checkRead(c, anywhere); known {
		return why
	}
	ops := c.operands
	switch c.sub {
	case "send":
		if v.w.proves && !c.has("L") && !c.has("p") && !c.has("t") {
			return v.checkPlainSend(c, v.checkSelected)
		}
		ds := ""
		raw := c.has("w")
		if c.has("t") {
			pairs, err := decodeToken(c.opt("t"))
			if err != nil {
				return "libzfs would not make this token: " + err.Error()
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
				if why := v.checkSelected(from); why != "" {
					return why
				}
			}
		}
		name, _, _ := strings.Cut(ds, "@")
		if d := v.srcBefore.find(name); d != nil && d.Cipher != "" && !raw {
			return "an encrypted dataset is sent decrypted (P10)"
		}
		return v.checkSelected(ds)
	case "snapshot":
		for _, n := range ops {
			if _, snap, _ := strings.Cut(n, "@"); !strings.HasPrefix(snap, backup+"-20260301120") {
				return "the snapshot is not named after the time of the run"
			}
		}
		return firstReasonOf(ops, v.checkSelected)
	case "hold", "release":
		if !v.ownTag(ops[0]) {
			return "a tag that is not zab's"
		}
		if c.has("r") {
			return firstReasonOf(ops[1:], func(n string) string {
				ds, _, _ := strings.Cut(n, "@")
				for _, d := range v.srcBefore.descendants(ds) {
					if !slices.Contains(v.w.selected, d.Name) {
						return "-r reaches " + d.Name
					}
				}
				return ""
			})
		}
		return firstReasonOf(ops[1:], v.checkSelected)
	case "bookmark":
		if !v.w.bookmark {
			return "without --bookmark"
		}
		return firstReasonOf(ops, v.checkSelected)
	case "destroy":
		if !strings.ContainsAny(ops[0], "@#") {
			return "it destroys a dataset of the source"
		}
		return v.checkSelected(ops[0])
	case "program":
		return v.checkProgram(e, v.checkSelected)
	}
	return "zab does not use this on a source"
}

// ownTag reports whether a tag of a hold is one of zab's.
func (v *observer) ownTag(tag string) bool {
	return tagValue.MatchString(tag) || v.w.proves && tag == differentTag
}

// checkPlainSend judges a stream that is to be digested.
func (v *observer) checkPlainSend(c *call, where func(string) string) string {
	for o := range c.opts {
		if o != "i" && o != "w" {
			return "a stream to digest with -" + o
		}
	}
	names := c.operands
	if c.has("i") {
		names = append(names[:len(names):len(names)], c.opt("i"))
	}
	for _, n := range names {
		if !strings.Contains(n, "@") {
			return fmt.Sprintf("%q is no snapshot", n)
		}
	}
	return firstReasonOf(names, where)
}

// checkRead judges a command that only reads; known is false for other commands. where
// checks the names of datasets.
func (v *observer) checkRead(c *call, where func(string) string) (known bool, why string) {
	names := c.operands
	switch c.prog + " " + c.sub {
	case "zfs get":
		if len(names) > 0 {
			why = firstReasonOf(strings.Split(names[0], ","), func(p string) string {
				if !propName.MatchString(strings.TrimPrefix(p, "written@")) {
					return fmt.Sprintf("%q is not a property", p)
				}
				return ""
			})
			names = names[1:]
		}
	case "date +%s":
		return true, ""
	case "zab-digest stream":
		for _, s := range c.opts["-"] {
			if !digestOption.MatchString(s) {
				return true, "the option --" + s
			}
		}
		return true, ""
	case "zfs list", "zfs holds", "zfs diff":
	case "zpool get", "zpool list", "zpool status", "zpool sync":
		if c.sub == "get" {
			names = names[1:]
		}
		return true, firstReasonOf(names, func(n string) string {
			if n != v.w.pool && n != "tank" {
				return fmt.Sprintf("%q is not a pool of this host", n)
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
	return true, firstReason(why, firstReasonOf(names, where))
}

// checkInTarget returns why a name is not that of the target, of a dataset below it, or
// of a snapshot or bookmark of these.
func (v *observer) checkInTarget(full string) string {
	ds, rest, _ := strings.Cut(full, "@")
	ds, mark, _ := strings.Cut(ds, "#")
	switch {
	case v.w.root == "" || ds != v.w.root && !strings.HasPrefix(ds, v.w.root+"/"):
		return fmt.Sprintf("%q is not below the target", full)
	case !cleanName(ds):
		return fmt.Sprintf("%q is not a name", ds)
	}
	for s := range strings.SplitSeq(rest+mark, ",") {
		if strings.ContainsAny(full, "@#") && !snapshotName.MatchString(s) {
			return fmt.Sprintf("%q is not the name of a snapshot", s)
		}
	}
	return ""
}

// checkBelowTarget is like checkInTarget, but refuses the target itself.
func (v *observer) checkBelowTarget(full string) string {
	if full == v.w.root {
		return "it is the target itself"
	}
	return v.checkInTarget(full)
}

// checkSelected returns why a name is not that of a selected dataset of the source, or of
// a snapshot or bookmark of one.
func (v *observer) checkSelected(full string) string {
	ds, rest, _ := strings.Cut(full, "@")
	ds, mark, _ := strings.Cut(ds, "#")
	if !slices.Contains(v.w.selected, ds) && !(v.w.within != "" && ds == lateDataset) {
		return fmt.Sprintf("%q is not selected", full)
	}
	for s := range strings.SplitSeq(rest+mark, ",") {
		if strings.ContainsAny(full, "@#") && !snapshotName.MatchString(s) {
			return fmt.Sprintf("%q is not the name of a snapshot", s)
		}
	}
	return ""
}

var (
	poolValue    = regexp.MustCompile(`^[0-9]{1,20}$`)
	fromValue    = regexp.MustCompile(`^[0-9]{1,20}(,[0-9]{1,20})*$`)
	streamValue  = regexp.MustCompile(`^(none|parent|[Lwx](,[Lwx])*)$`)
	asideValue   = regexp.MustCompile(`^(begun|done):[A-Za-z0-9_.: -]+$`)
	otherValue   = regexp.MustCompile(`^[A-Za-z0-9_.:,+-]{1,200}$`)
	asideName    = regexp.MustCompile(`_diverged-[0-9]{14}(-[0-9]+)?$`)
	tagValue     = regexp.MustCompile(`^zfs_autobackup:b1(:[0-9]{1,20}(\.[0-9]{1,20})?)?$`)
	digestOption = regexp.MustCompile(`^(base-last=[0-9]{1,20}|hash=blake3)$`)
	propName     = regexp.MustCompile(`^[a-z][a-z0-9_:.-]*$`)
)

// harmless are the values that zab sets by its own rules on the properties of a copy.
var harmless = map[string][]string{
	"canmount": {"noauto", "off"}, "readonly": {"on"}, "setuid": {"off"}, "devices": {"off"}, "exec": {"off"},
	"reservation": {"none"}, "refreservation": {"none"}, "quota": {"none"}, "volmode": {"none"}, "snapdev": {"hidden"},
	"sharenfs": {"off"}, "sharesmb": {"off"}, "mountpoint": {"none"}, "atime": {"off"}, "overlay": {"off"},
}

// checkProperty returns why zab must not set P=V on a dataset of the target.
func (v *observer) checkProperty(pv string) string {
	p, value, ok := strings.Cut(pv, "=")
	rule := otherValue
	switch {
	case !ok:
		return fmt.Sprintf("%q is not a property with a value", pv)
	case p == "zab:from":
		rule = fromValue
	case p == "zab:stream":
		rule = streamValue
	case p == "zab:pool":
		rule = poolValue
	case p == "zab:aside":
		rule = asideValue
	case p == proofProp:
		rule = proofValue
	case strings.HasPrefix(p, "zab:"):
	case slices.Contains(harmless[p], value):
		return ""
	case v.w.aside && v.ownProperty(p, value):
		return ""
	default:
		return fmt.Sprintf("zab does not set %q", pv)
	}
	if !rule.MatchString(value) {
		return fmt.Sprintf("%q is not a value of this mark", pv)
	}
	return ""
}

// ownProperty reports whether a copy had this local value before the run.
func (v *observer) ownProperty(p, value string) bool {
	return slices.ContainsFunc(v.dstBefore.Datasets, func(d *Dataset) bool { return d.Local[p] == value && strings.HasPrefix(d.Name, v.w.root+"/") })
}

// mayRename reports whether zab may rename a dataset even without --rename-aside: it was
// not there before the run, zab made it as the parent of copies, or it is below a dataset
// that was set aside.
func (v *observer) mayRename(ds string) bool {
	d := v.dstBefore.find(ds)
	return d == nil || d.Local["zab:stream"] == "parent" || asideName.MatchString(parent(ds))
}

// checkProgram judges the names in a channel program.
func (v *observer) checkProgram(e *Entry, where func(string) string) string {
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

func firstReason(reasons ...string) string {
	for _, r := range reasons {
		if r != "" {
			return r
		}
	}
	return ""
}

func firstReasonOf(list []string, f func(string) string) string {
	for _, x := range list {
		if why := f(x); why != "" {
			return why
		}
	}
	return ""
}
