package hostile

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// planStream returns the stream of a zfs send command, nil after an error.
func (c *call) planStream() *stream {
	st := &stream{Raw: c.has("w")}
	if c.has("L") {
		st.Flags = append(st.Flags, "largeblockok")
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
		if b := c.h.byGUID(st.From); b != nil {
			st.FromData = len(b.Data)
		}
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
			st.FromData = len(base.Data)
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
	st := c.planStream()
	if st == nil {
		return
	}
	if c.has("n") {
		fmt.Fprintf(&c.out, "full\t%s\t4096\nsize\t4096\n", st.Name)
		return
	}
	c.out.Write(st.encode())
	c.entry.Sent = bytes.Clone(c.out.Bytes())
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
	st, complete := readStream(c.in)
	if st == nil {
		if len(c.in) == 0 {
			c.fail("cannot receive: failed to read from stream")
		} else {
			c.fail("cannot receive: invalid stream (bad magic number)")
		}
		return
	}
	if named {
		// zfs does not know which of the snapshots the name is for.
		if len(st.Snaps) > 1 || st.Children != nil {
			c.fail("cannot receive: cannot specify snapshot name for multi-snapshot stream")
			return
		}
		st.Snaps[0].Name = snap
	}
	if c.h.StreamsToBreak > 0 && !st.Resumed {
		c.h.StreamsToBreak--
		complete = false
	}
	c.receiveDataset(st, name, complete)
	for _, child := range st.Children {
		if c.rc == 0 {
			c.receiveDataset(child, name+"/"+child.Name, complete)
		}
	}
}

// receiveDataset receives one dataset of a stream.
func (c *call) receiveDataset(st *stream, name string, complete bool) {
	d := c.h.find(name)
	fresh := d == nil
	what := "incremental"
	if st.From == "" {
		what = "new filesystem"
	}
	origin := c.optionProperties()["origin"]
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
			d.Cipher, d.KeyGUID, d.Locked, d.EncryptionRoot = st.Cipher, st.KeyGUID, true, name
		} else if up != nil && up.Cipher != "" && (slices.Contains(c.opts["x"], "encryption") || st.Props == nil) {
			d.Cipher, d.KeyGUID, d.Locked, d.EncryptionRoot = up.Cipher, up.KeyGUID, up.Locked, up.EncryptionRoot
		}
	}
	first := st.Snaps[0]
	if !complete {
		of, _, _ := strings.Cut(st.Name, "@")
		d.Token = tokenFor(of+"@"+first.Name, first.GUID, st.From, st.Flags...)
		c.fail("cannot receive %s stream: checksum mismatch or incomplete stream.\nPartially received snapshot is saved.\n"+
			"A resuming stream can be generated on the sending system by running:\n    zfs send -t %s", what, d.Token)
		return
	}
	d.Token = ""
	txg := c.h.tick()
	// An increment changes what the copy has.
	var base []string
	if b := c.h.byGUID(st.From); b != nil {
		base = b.Data
	}
	for i, s := range st.Snaps {
		if d.snap(s.Name) != nil {
			c.fail("cannot receive %s stream: destination '%s@%s' already exists", what, name, s.Name)
			return
		}
		n := &Snap{Name: s.Name, GUID: s.GUID, TXG: txg + uint64(i), Creation: s.Creation, Written: s.Written}
		n.Data = slices.Concat(base[:min(len(base), st.FromData)], s.Data[min(len(s.Data), st.FromData):])
		d.Changed = c.h.Now
		if !c.has("h") {
			n.Holds = slices.Clone(st.Holds)
		}
		d.Snaps = append(d.Snaps, n)
	}
	c.h.TXG += uint64(len(st.Snaps))
	before := d.HasReceived
	sources := map[string]string{}
	for _, p := range c.opts["x"] {
		_, sources[p] = c.h.get(d, p)
	}
	if st.Props != nil {
		d.HasReceived, d.Excluded = true, map[string]bool{}
	}
	for _, p := range sortedKeys(st.Props) {
		d.Received[p] = st.Props[p]
	}
	for p, v := range c.optionProperties() {
		if p != "origin" {
			d.Local[p] = v
		}
	}
	for _, p := range c.opts["x"] {
		switch source := sources[p]; {
		case strings.HasPrefix(defaults[p], "."): // not inheritable
			delete(d.Received, p)
		case source == "local":
		case !fresh && strings.HasPrefix(source, "inherited"):
			// zfs (2.1) ignores this -x if no properties were received before.
			if before && st.Props != nil {
				d.Excluded[p] = true
			}
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
