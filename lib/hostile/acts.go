package hostile

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// This file carries out the commands that change a host, with as much of zfs's behavior
// as zab can observe.

// dataset returns the dataset of an operand; if there is none, it fails as zfs does and
// returns nil.
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
	c.entry.Mountpoint = source + " " + at
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

// takeSnapshots makes all the snapshots or, if one is not possible, none, and returns
// zfs's message.
func (c *call) takeSnapshots(names []string) (failed string) {
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
		_, base := c.h.lookup(d.Origin)
		if s := d.newest(); s != nil {
			base = s
		}
		s := &Snap{Name: snap, GUID: guidFor(d.GUID, n), TXG: txg, Creation: c.h.Now, Written: d.Written}
		if base != nil {
			s.Data = slices.Clone(base.Data)
		}
		s.Data = append(s.Data, s.GUID)
		d.Snaps = append(d.Snaps, s)
		d.Written, d.Changed = 0, c.h.Now
	}
	return ""
}

func (c *call) zfsSnapshot() {
	if why := c.takeSnapshots(c.operands); why != "" {
		c.fail("%s\nno snapshots were created", why)
	}
}

// bookmark makes a bookmark of a snapshot and returns zfs's message if that fails.
func (c *call) bookmark(of, full string) (failed string) {
	d, s := c.h.lookup(of)
	ds, mark, _ := strings.Cut(full, "#")
	switch {
	case s == nil || d.Name != ds:
		return fmt.Sprintf("cannot create bookmark '%s': dataset does not exist", full)
	case d.bookmark(mark) != nil:
		return fmt.Sprintf("cannot create bookmark '%s': bookmark exists", full)
	}
	d.Bookmarks = append(d.Bookmarks, &Snap{Name: mark, GUID: s.GUID, TXG: s.TXG, Creation: s.Creation, Data: s.Data})
	return ""
}

func (c *call) zfsBookmark() {
	if why := c.bookmark(c.operands[0], c.operands[1]); why != "" {
		c.fail("%s", why)
	}
}

// busy returns zfs's message why a snapshot cannot be destroyed, "" if it can.
func (c *call) busy(full string, s *Snap) string {
	switch {
	case len(s.Holds) > 0:
		return fmt.Sprintf("cannot destroy snapshot %s: it's being held. Run 'zfs holds -r %s' to see holders.", full, full)
	case len(c.h.clonesOf(full)) > 0:
		return fmt.Sprintf("cannot destroy '%s': snapshot has dependent clones", full)
	}
	return ""
}

func (c *call) zfsDestroy() {
	name := c.operands[0]
	if ds, mark, ok := strings.Cut(name, "#"); ok {
		d := c.h.find(ds)
		if d == nil || d.bookmark(mark) == nil {
			c.fail("bookmark '%s' does not exist.", name)
			return
		}
		d.removeSnap(d.bookmark(mark))
		return
	}
	ds, list, ok := strings.Cut(name, "@")
	d := c.dataset(ds)
	if d == nil {
		return
	}
	if !ok {
		switch {
		case len(c.h.descendants(ds)) > 0 || len(d.Snaps) > 0:
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
		d.removeSnap(s)
		d.Changed = c.h.Now
	}
}

// withDescendants returns the snapshots and, with -r, those of the same name of all
// descendants.
func (c *call) withDescendants(names []string) (out []string) {
	for _, n := range names {
		out = append(out, n)
		if ds, snap, _ := strings.Cut(n, "@"); c.has("r") {
			for _, d := range c.h.descendants(ds) {
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
	for _, n := range c.withDescendants(c.operands[1:]) {
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
	for _, n := range c.withDescendants(c.operands[1:]) {
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

// optionProperties returns the properties that -o sets.
func (c *call) optionProperties() map[string]string {
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
		d := c.h.add(&Dataset{Name: name, GUID: guidFor("created", name), Local: c.optionProperties()})
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
		d := c.dataset(n)
		if d == nil {
			continue
		}
		delete(d.Local, c.operands[0])
		if _, ok := d.Received[c.operands[0]]; ok {
			if d.Inherits == nil {
				d.Inherits = map[string]bool{}
			}
			d.Inherits[c.operands[0]] = true
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
		d.Name, d.Origin, d.EncryptionRoot = move(d.Name), move(d.Origin), move(d.EncryptionRoot)
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
		c.h.add(&Dataset{Name: name, Kind: of.Kind, GUID: guidFor("clone", name, s.GUID), Origin: c.operands[0], Local: c.optionProperties(),
			Cipher: of.Cipher, KeyGUID: of.KeyGUID, Locked: of.Locked, EncryptionRoot: of.EncryptionRoot})
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
	if of.EncryptionRoot == of.Name {
		d.EncryptionRoot = d.Name
		of.EncryptionRoot = d.Name
	}
}

var (
	luaPair = regexp.MustCompile(`\{("(?:[^"\\]|\\.)*"), ("(?:[^"\\]|\\.)*")\}`)
	luaName = regexp.MustCompile(`(?m)^("(?:[^"\\]|\\.)*"),$`)
)

// zfsProgram recognizes zab's own channel programs by the functions that they call.
func (c *call) zfsProgram() {
	if !c.conf.Programs {
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
				d.removeSnap(s)
				d.Changed = c.h.Now
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
		if why := c.takeSnapshots(names); why != "" {
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
