package hostile

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// This file has the commands that change a host, as far as zab can tell the
// difference from zfs.

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// dataset finds an operand, or fails as zfs does.
func (c *call) dataset(name string) *Dataset {
	d := c.h.find(name)
	if d == nil {
		c.fail("cannot open '%s': dataset does not exist", name)
	}
	return d
}

func (c *call) zfsMount() {
	if len(c.operands) == 0 {
		for _, d := range c.h.Datasets {
			if d.Mounted {
				at, _ := c.h.get(d, "mountpoint")
				fmt.Fprintf(&c.out, "%-30s  %s\n", d.Name, at)
			}
		}
		return
	}
	d := c.dataset(c.operands[0])
	if d == nil {
		return
	}
	at, source := c.h.get(d, "mountpoint")
	if x, ok := strings.CutPrefix(source, "inherited from "); ok {
		_, source = c.h.find(x).own("mountpoint")
	}
	c.entry.Note = source + " " + at
	switch can, _ := c.h.get(d, "canmount"); {
	case d.Mounted:
		c.fail("cannot mount '%s': filesystem already mounted", d.Name)
	case can == "off" || d.Kind == "volume":
		c.fail("cannot mount '%s': 'canmount' property is set to 'off'", d.Name)
	case d.Locked:
		c.fail("cannot mount '%s': encryption key not loaded", d.Name)
	default:
		d.Mounted = true
	}
}

func (c *call) zfsUnmount() {
	if d := c.dataset(c.operands[0]); d != nil {
		if !d.Mounted {
			c.fail("cannot unmount '%s': not currently mounted", d.Name)
		}
		d.Mounted = false
	}
}

// take makes snapshots, all or none.
func (c *call) take(names []string) (failed string) {
	for _, n := range names {
		ds, snap, _ := strings.Cut(n, "@")
		switch d := c.h.find(ds); {
		case d == nil:
			return fmt.Sprintf("cannot open '%s': dataset does not exist", ds)
		case d.snap(snap) != nil:
			return fmt.Sprintf("cannot create snapshot '%s': dataset already exists", n)
		}
	}
	txg := c.h.tick()
	for _, n := range names {
		ds, snap, _ := strings.Cut(n, "@")
		d := c.h.find(ds)
		d.Snaps = append(d.Snaps, &Snap{Name: snap, GUID: guidFor(d.GUID, n), TXG: txg, Creation: c.h.Now, Written: d.Written})
		d.Written = 0
	}
	return ""
}

func (c *call) zfsSnapshot() {
	if why := c.take(c.operands); why != "" {
		c.fail("%s\nno snapshots were created", why)
	}
}

func (c *call) bookmark(of, full string) (failed string) {
	d, s := c.h.lookup(of)
	ds, mark, _ := strings.Cut(full, "#")
	switch {
	case s == nil || d.Name != ds:
		return fmt.Sprintf("cannot create bookmark '%s': dataset does not exist", full)
	case d.mark(mark) != nil:
		return fmt.Sprintf("cannot create bookmark '%s': bookmark exists", full)
	}
	d.Marks = append(d.Marks, &Snap{Name: mark, GUID: s.GUID, TXG: s.TXG, Creation: s.Creation})
	return ""
}

func (c *call) zfsBookmark() {
	if why := c.bookmark(c.operands[0], c.operands[1]); why != "" {
		c.fail("%s", why)
	}
}

// busy is why a snapshot cannot be destroyed.
func (c *call) busy(full string, s *Snap) string {
	switch {
	case len(s.Holds) > 0:
		return fmt.Sprintf("cannot destroy snapshot %s: it's being held. Run 'zfs holds -r %s' to see holders.", full, full)
	case len(c.h.clones(full)) > 0:
		return fmt.Sprintf("cannot destroy '%s': snapshot has dependent clones", full)
	}
	return ""
}

func (d *Dataset) drop(s *Snap) {
	d.Snaps = slices.DeleteFunc(d.Snaps, func(x *Snap) bool { return x == s })
	d.Marks = slices.DeleteFunc(d.Marks, func(x *Snap) bool { return x == s })
}

func (c *call) zfsDestroy() {
	name := c.operands[0]
	if ds, mark, ok := strings.Cut(name, "#"); ok {
		d := c.h.find(ds)
		if d == nil || d.mark(mark) == nil {
			c.fail("bookmark '%s' does not exist.", name)
			return
		}
		d.drop(d.mark(mark))
		return
	}
	ds, list, ok := strings.Cut(name, "@")
	d := c.dataset(ds)
	if d == nil {
		return
	}
	if !ok {
		switch {
		case len(c.h.below(ds)) > 0 || len(d.Snaps) > 0:
			c.fail("cannot destroy '%s': filesystem has children\nuse '-r' to destroy the following datasets:", ds)
		default:
			c.h.remove(ds)
		}
		return
	}
	var gone []*Snap
	for n := range strings.SplitSeq(list, ",") {
		s := d.snap(n)
		if s == nil {
			continue
		}
		if why := c.busy(ds+"@"+n, s); why != "" {
			c.fail("%s", why)
			return
		}
		gone = append(gone, s)
	}
	if gone == nil {
		c.fail("could not find any snapshots to destroy; check snapshot names.")
	}
	for _, s := range gone {
		d.drop(s)
	}
}

// trees are the snapshots that -r reaches.
func (c *call) trees(names []string) (out []string) {
	for _, n := range names {
		out = append(out, n)
		if ds, snap, _ := strings.Cut(n, "@"); c.has("r") {
			for _, d := range c.h.below(ds) {
				if d.snap(snap) != nil {
					out = append(out, d.Name+"@"+snap)
				}
			}
		}
	}
	return out
}

func (c *call) zfsHold() {
	tag := c.operands[0]
	for _, n := range c.trees(c.operands[1:]) {
		_, s := c.h.lookup(n)
		switch {
		case s == nil:
			c.fail("cannot hold snapshot '%s': dataset does not exist", n)
		case slices.Contains(s.Holds, tag):
			c.fail("cannot hold snapshot '%s': tag already exists on this dataset", n)
		default:
			s.Holds = append(s.Holds, tag)
		}
	}
}

func (c *call) zfsRelease() {
	tag := c.operands[0]
	for _, n := range c.trees(c.operands[1:]) {
		_, s := c.h.lookup(n)
		switch {
		case s == nil:
			c.fail("cannot release hold from snapshot '%s': dataset does not exist", n)
		case !slices.Contains(s.Holds, tag):
			if !c.has("r") {
				c.fail("cannot release hold from snapshot '%s': no such tag on this dataset", n)
			}
		default:
			s.Holds = slices.DeleteFunc(s.Holds, func(t string) bool { return t == tag })
		}
	}
}

// local are the properties of -o.
func (c *call) local() map[string]string {
	out := map[string]string{}
	for _, pv := range c.opts["o"] {
		p, v, _ := strings.Cut(pv, "=")
		out[p] = v
	}
	return out
}

func (c *call) zfsCreate() {
	name := c.operands[0]
	switch {
	case c.h.find(name) != nil:
		c.fail("cannot create '%s': dataset already exists", name)
	case c.h.find(parent(name)) == nil:
		c.fail("cannot create '%s': parent does not exist", name)
	default:
		d := c.h.add(&Dataset{Name: name, GUID: guidFor("created", name), Local: c.local()})
		can, _ := c.h.get(d, "canmount")
		d.Mounted = can == "on"
	}
}

func (c *call) zfsSet() {
	for i, a := range c.operands {
		if !strings.Contains(a, "=") {
			for _, n := range c.operands[i:] {
				d := c.dataset(n)
				if d == nil {
					continue
				}
				for _, pv := range c.operands[:i] {
					p, v, _ := strings.Cut(pv, "=")
					d.Local[p] = v
				}
			}
			return
		}
	}
	c.fail("missing dataset name")
}

func (c *call) zfsInherit() {
	for _, n := range c.operands[1:] {
		if d := c.dataset(n); d != nil {
			delete(d.Local, c.operands[0])
		}
	}
}

func (c *call) zfsRollback() {
	d, s := c.h.lookup(c.operands[0])
	switch {
	case s == nil:
		c.fail("cannot open '%s': dataset does not exist", c.operands[0])
	case s != d.newest():
		c.fail("cannot rollback to '%s': more recent snapshots or bookmarks exist", c.operands[0])
	default:
		d.Written = 0
	}
}

func (c *call) zfsRename() {
	from, to := c.operands[0], c.operands[1]
	if c.dataset(from) == nil {
		return
	}
	if c.h.find(to) != nil || c.h.find(parent(to)) == nil {
		c.fail("cannot rename '%s': dataset already exists", from)
		return
	}
	move := func(n string) string {
		if n == from || strings.HasPrefix(n, from+"/") || strings.HasPrefix(n, from+"@") {
			return to + n[len(from):]
		}
		return n
	}
	for _, d := range c.h.Datasets {
		d.Name, d.Origin, d.Root = move(d.Name), move(d.Origin), move(d.Root)
	}
	c.h.sort()
}

func (c *call) zfsClone() {
	of, s := c.h.lookup(c.operands[0])
	name := c.operands[1]
	switch {
	case s == nil:
		c.fail("cannot open '%s': dataset does not exist", c.operands[0])
	case c.h.find(name) != nil:
		c.fail("cannot create '%s': dataset already exists", name)
	default:
		c.h.add(&Dataset{Name: name, Kind: of.Kind, GUID: guidFor("clone", name, s.GUID), Origin: c.operands[0], Local: c.local(),
			Cipher: of.Cipher, KeyGUID: of.KeyGUID, Locked: of.Locked, Root: of.Root})
	}
}

func (c *call) zfsPromote() {
	d := c.dataset(c.operands[0])
	if d == nil {
		return
	}
	of, s := c.h.lookup(d.Origin)
	if s == nil {
		c.fail("cannot promote '%s': not a cloned filesystem", d.Name)
		return
	}
	i := slices.Index(of.Snaps, s)
	d.Snaps, of.Snaps = slices.Concat(of.Snaps[:i+1], d.Snaps), slices.Clone(of.Snaps[i+1:])
	d.Origin, of.Origin = of.Origin, d.Name+"@"+s.Name
	if of.Root == of.Name {
		d.Root = d.Name
		of.Root = d.Name
	}
}

var (
	luaPair = regexp.MustCompile(`\{("(?:[^"\\]|\\.)*"), ("(?:[^"\\]|\\.)*")\}`)
	luaName = regexp.MustCompile(`(?m)^("(?:[^"\\]|\\.)*"),$`)
)

// zfsProgram knows zab's own programs by their calls.
func (c *call) zfsProgram() {
	if !c.run.Programs {
		c.fail("Channel program execution failed:\nYou must be root to run a channel program.: permission denied")
		return
	}
	lua := string(c.in)
	result := map[string]bool{}
	pairs := func(f func(a, b string)) {
		for _, m := range luaPair.FindAllStringSubmatch(lua, -1) {
			a, err1 := strconv.Unquote(m[1])
			b, err2 := strconv.Unquote(m[2])
			if err1 == nil && err2 == nil {
				f(a, b)
			}
		}
	}
	switch {
	case strings.Contains(lua, "zfs.sync.destroy("):
		pairs(func(full, guid string) {
			d, s := c.h.lookup(full)
			n, _ := strconv.ParseInt(guid, 10, 64)
			if s != nil && s.GUID == strconv.FormatUint(uint64(n), 10) && c.busy(full, s) == "" {
				d.drop(s)
				result[full] = true
			}
		})
	case strings.Contains(lua, "zfs.sync.bookmark("):
		pairs(func(of, full string) {
			if c.bookmark(of, full) != "" {
				result[full] = true
			}
		})
	case strings.Contains(lua, "zfs.sync.snapshot"):
		var names []string
		for _, m := range luaName.FindAllStringSubmatch(lua, -1) {
			n, _ := strconv.Unquote(m[1])
			names = append(names, n)
		}
		if why := c.take(names); why != "" {
			c.fail("Channel program execution failed:\n%s", why)
			return
		}
	default:
		c.entry.Bad = "an unknown channel program"
		c.rc = exitUnknown
		return
	}
	b, _ := json.Marshal(map[string]any{"return": result})
	c.out.Write(append(b, '\n'))
}

// plan is the stream that a send command stands for.
func (c *call) plan() *stream {
	st := &stream{Raw: c.has("w")}
	if c.has("L") {
		st.Flags = append(st.Flags, "largeblockok")
	}
	if c.has("e") && !st.Raw {
		st.Flags = append(st.Flags, "embedok")
	}
	if c.has("c") || st.Raw {
		st.Flags = append(st.Flags, "compressok")
	}
	if st.Raw {
		st.Flags = append(st.Flags, "rawok")
	}
	var d *Dataset
	if c.has("t") {
		pairs, err := decodeToken(c.opt("t"))
		if err != nil {
			c.fail("cannot resume send: the resume token is corrupt")
			return nil
		}
		st.Resumed = true
		to := ""
		for _, p := range pairs {
			switch v := p.value.(type) {
			case uint64:
				if p.name == "toguid" {
					to = strconv.FormatUint(v, 10)
				}
				if p.name == "fromguid" {
					st.From = strconv.FormatUint(v, 10)
				}
			case string:
				st.Name = v
			}
			st.Raw = st.Raw || p.name == "rawok"
			if p.value == nil {
				st.Flags = append(st.Flags, p.name)
			}
		}
		var s *Snap
		if d, s = c.h.lookup(st.Name); s == nil || s.GUID != to {
			c.fail("cannot resume send: '%s' used in the initial send no longer exists", st.Name)
			return nil
		}
		st.Snaps = []*Snap{s}
	} else {
		if len(c.operands) == 0 {
			c.fail("missing snapshot argument")
			return nil
		}
		st.Name = c.operands[0]
		var s, base *Snap
		if d, s = c.h.lookup(st.Name); s == nil {
			c.fail("cannot open '%s': dataset does not exist", st.Name)
			return nil
		}
		st.Snaps = []*Snap{s}
		if from := or(c.opt("i"), c.opt("I")); from != "" {
			if _, base = c.h.lookup(from); base == nil {
				c.fail("cannot open '%s': dataset does not exist", from)
				return nil
			}
			st.From = base.GUID
			if c.has("I") {
				st.Snaps = nil
				for _, x := range d.Snaps {
					if x.TXG > base.TXG && x.TXG <= s.TXG {
						st.Snaps = append(st.Snaps, x)
					}
				}
			}
		}
	}
	if d.Locked && !st.Raw {
		c.fail("cannot send '%s': dataset key must be loaded", st.Name)
		return nil
	}
	st.Kind, st.Cipher, st.KeyGUID = d.Kind, d.Cipher, d.KeyGUID
	if c.has("p") {
		st.Props = map[string]string{}
		maps.Copy(st.Props, d.Received)
		maps.Copy(st.Props, d.Local)
	}
	return st
}

func (c *call) zfsSend() {
	st := c.plan()
	if st == nil {
		return
	}
	if c.has("n") {
		fmt.Fprintf(&c.out, "full\t%s\t4096\nsize\t4096\n", st.Name)
		return
	}
	c.out.Write(st.encode())
}

func (c *call) zfsReceive() {
	name, snap, named := strings.Cut(c.operands[0], "@")
	d := c.h.find(name)
	if c.has("A") {
		switch {
		case d == nil || d.Token == "":
			c.fail("'%s' does not have any resumable receive state to abort", name)
		case len(d.Snaps) == 0:
			c.h.remove(name)
		default:
			d.Token = ""
		}
		return
	}
	st, whole := readStream(c.in)
	if st == nil {
		if len(c.in) == 0 {
			c.fail("cannot receive: failed to read from stream")
		} else {
			c.fail("cannot receive: invalid stream (bad magic number)")
		}
		return
	}
	if named {
		// Of a stream of several, zfs would not know which of them it means.
		if len(st.Snaps) > 1 || st.Children != nil {
			c.fail("cannot receive: cannot specify snapshot name for multi-snapshot stream")
			return
		}
		st.Snaps[0].Name = snap
	}
	if c.h.Break > 0 && !st.Resumed {
		c.h.Break--
		whole = false
	}
	c.receive(st, name, whole)
	for _, child := range st.Children {
		if c.rc == 0 {
			c.receive(child, name+"/"+child.Name, whole)
		}
	}
}

// receive takes one dataset of a stream.
func (c *call) receive(st *stream, name string, whole bool) {
	d := c.h.find(name)
	fresh := d == nil
	what := "incremental"
	if st.From == "" {
		what = "new filesystem"
	}
	origin := c.local()["origin"]
	switch {
	case d != nil && d.Token != "" && !st.Resumed:
		c.fail("cannot receive %s stream: destination %s contains partially-complete state from \"zfs receive -s\".", what, name)
	case st.Resumed && (d == nil || d.Token == ""):
		c.fail("cannot receive resume stream: kernel modules must be upgraded to receive this stream.")
	case d == nil && c.h.find(parent(name)) == nil:
		c.fail("cannot receive %s stream: dataset does not exist", what)
	case d == nil && st.From != "" && origin == "":
		c.fail("cannot receive incremental stream: destination '%s' does not exist", name)
	case d != nil && st.From == "" && !st.Resumed && (!c.has("F") || len(d.Snaps) > 0):
		c.fail("cannot receive new filesystem stream: destination '%s' exists\nmust specify -F to overwrite it", name)
	case d != nil && st.From != "" && (d.newest() == nil || d.newest().GUID != st.From):
		c.fail("cannot receive incremental stream: most recent snapshot of %s does not\nmatch incremental source", name)
	case d != nil && st.From != "" && d.Written > 0 && !st.Resumed:
		c.fail("cannot receive incremental stream: destination %s has been modified\nsince most recent snapshot", name)
	}
	if c.rc != 0 {
		return
	}
	if fresh {
		d = c.h.add(&Dataset{Name: name, Kind: or(st.Kind, "filesystem"), GUID: guidFor("received", name), Origin: origin})
		if up := c.h.find(parent(name)); st.Raw && st.Cipher != "" {
			d.Cipher, d.KeyGUID, d.Locked, d.Root = st.Cipher, st.KeyGUID, true, name
		} else if up != nil && up.Cipher != "" && (slices.Contains(c.opts["x"], "encryption") || st.Props == nil) {
			d.Cipher, d.KeyGUID, d.Locked, d.Root = up.Cipher, up.KeyGUID, up.Locked, up.Root
		}
	}
	first := st.Snaps[0]
	if !whole {
		of, _, _ := strings.Cut(st.Name, "@")
		d.Token = tokenFor(of+"@"+first.Name, first.GUID, st.From, st.Flags...)
		c.fail("cannot receive %s stream: checksum mismatch or incomplete stream.\nPartially received snapshot is saved.\n"+
			"A resuming stream can be generated on the sending system by running:\n    zfs send -t %s", what, d.Token)
		return
	}
	d.Token = ""
	txg := c.h.tick()
	for i, s := range st.Snaps {
		if d.snap(s.Name) != nil {
			c.fail("cannot receive %s stream: destination '%s@%s' already exists", what, name, s.Name)
			return
		}
		n := &Snap{Name: s.Name, GUID: s.GUID, TXG: txg + uint64(i), Creation: s.Creation, Written: s.Written}
		if !c.has("h") {
			n.Holds = slices.Clone(st.Holds)
		}
		d.Snaps = append(d.Snaps, n)
	}
	c.h.TXG += uint64(len(st.Snaps))
	d.HasReceived = d.HasReceived || st.Props != nil
	for _, p := range sortedKeys(st.Props) {
		d.Received[p] = st.Props[p]
	}
	for p, v := range c.local() {
		if p != "origin" {
			d.Local[p] = v
		}
	}
	for _, p := range c.opts["x"] {
		_, source := c.h.get(d, p)
		switch {
		case strings.HasPrefix(defaults[p], "."): // not inherited
			delete(d.Received, p)
		case source == "local" || !fresh && strings.HasPrefix(source, "inherited"):
			// zfs leaves out -x of what has a value that was not received.
		case d.HasReceived:
			if d.Inherits == nil {
				d.Inherits = map[string]bool{}
			}
			d.Inherits[p] = true
		}
	}
	if !c.has("u") && d.Kind == "filesystem" {
		d.Mounted = true
	}
}
