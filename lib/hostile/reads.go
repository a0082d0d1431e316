package hostile

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// depth returns the depth that -r and -d ask for, -1 for all levels.
func (c *call) depth(otherwise int) int {
	switch {
	case c.has("r"):
		return -1
	case c.has("d"):
		n, _ := strconv.Atoi(c.opt("d"))
		return n
	}
	return otherwise
}

func (c *call) zfsGet() {
	props := strings.Split(c.operands[0], ",")
	var names []string
	depth := c.depth(0)
	if len(c.operands) > 1 {
		names = c.operands[1:]
	} else {
		depth = c.depth(-1)
	}
	objects, missing := c.h.objects(names, depth, strings.Split(or(c.opt("t"), "filesystem,volume,snapshot,bookmark"), ","))
	columns := strings.Split(or(c.opt("o"), "name,property,value,source"), ",")
	sources := strings.Split(c.opt("s"), ",")
	if c.has("j") {
		c.json("zfs get", objects, props, true)
	} else {
		for _, o := range objects {
			ask := props
			if props[0] == "all" && o.s == nil {
				ask = sortedKeys(o.d.Local)
			}
			for _, p := range ask {
				v, source := c.h.value(o, p), "-"
				if o.s == nil {
					v, source = c.h.get(o.d, p)
				}
				if c.has("s") && !slices.Contains(sources, source) {
					continue
				}
				row := map[string]string{"name": o.name(), "property": p, "value": v, "source": source}
				c.row(columns, func(col string) string { return row[col] })
			}
		}
	}
	if missing != nil {
		c.err.WriteString(notThere(missing))
		c.rc = 1
	}
}

func (c *call) row(columns []string, value func(string) string) {
	for i, col := range columns {
		if i > 0 {
			c.out.WriteByte('\t')
		}
		c.out.WriteString(value(col))
	}
	c.out.WriteByte('\n')
}

func (c *call) zfsList() {
	var names []string
	depth := c.depth(0)
	types := strings.Split(or(c.opt("t"), "filesystem,volume"), ",")
	if len(c.operands) > 0 {
		names = c.operands
		if !c.has("r") && !c.has("d") && slices.Contains(types, "snapshot") {
			depth = 1
		}
	} else {
		depth = c.depth(-1)
	}
	objects, missing := c.h.objects(names, depth, types)
	slices.SortStableFunc(objects, func(a, b object) int {
		if n := strings.Compare(a.d.Name, b.d.Name); n != 0 || a.s == nil || b.s == nil {
			return n
		}
		return strings.Compare(a.name(), b.name())
	})
	columns := strings.Split(or(c.opt("o"), "name"), ",")
	if c.has("j") {
		c.json("zfs list", objects, columns, false)
	} else {
		for _, o := range objects {
			c.row(columns, func(col string) string { return c.h.value(o, col) })
		}
	}
	if missing != nil {
		c.err.WriteString(notThere(missing))
		c.rc = 1
	}
}

// json prints the output of -j, which OpenZFS has since 2.3.
func (c *call) json(command string, objects []object, props []string, sources bool) {
	type source struct {
		Type string `json:"type"`
		Data string `json:"data"`
	}
	type value struct {
		Value  string `json:"value"`
		Source source `json:"source"`
	}
	quote := func(v any) string { b, _ := json.Marshal(v); return string(b) }
	fmt.Fprintf(&c.out, `{"output_version":{"command":%s,"vers_major":0,"vers_minor":1},"datasets":{`, quote(command))
	for i, o := range objects {
		if i > 0 {
			c.out.WriteByte(',')
		}
		fmt.Fprintf(&c.out, `%s:{"name":%s,"type":%s,"pool":%s,"createtxg":%s,"properties":{`, quote(o.name()), quote(o.name()),
			quote(strings.ToUpper(c.h.value(o, "type"))), quote(poolOf(o.d.Name)), quote(c.h.value(o, "createtxg")))
		for k, p := range props {
			if k > 0 {
				c.out.WriteByte(',')
			}
			v := value{c.h.value(o, p), source{"NONE", "-"}}
			if o.s == nil {
				_, s := c.h.get(o.d, p)
				switch from, inherited := strings.CutPrefix(s, "inherited from "); {
				case inherited:
					v.Source = source{"INHERITED", from}
				case s != "-":
					v.Source = source{strings.ToUpper(s), "-"}
				}
			}
			fmt.Fprintf(&c.out, "%s:%s", quote(p), quote(v))
		}
		c.out.WriteString("}}")
	}
	c.out.WriteString("}}\n")
}

func (c *call) zfsHolds() {
	for _, n := range c.operands {
		_, s := c.h.lookup(n)
		if s == nil {
			c.fail("cannot open '%s': dataset does not exist", n)
			continue
		}
		for _, tag := range s.Holds {
			fmt.Fprintf(&c.out, "%s\t%s\tWed Feb 25 12:00 2026\n", n, tag)
		}
	}
}

func (c *call) zpoolGet() {
	props := strings.Split(c.operands[0], ",")
	for _, p := range c.h.Pools {
		if len(c.operands) > 1 && !slices.Contains(c.operands[1:], p.Name) {
			continue
		}
		for _, prop := range props {
			v := p.Features[prop]
			switch {
			case prop == "load_guid":
				v = p.LoadGUID
			case prop == "health":
				v = "ONLINE"
			case prop == "guid":
				v = guidFor("pool", p.LoadGUID)
			case v == "":
				v = "enabled"
			}
			row := map[string]string{"name": p.Name, "property": prop, "value": v, "source": "-"}
			c.row(strings.Split(or(c.opt("o"), "name,property,value,source"), ","), func(col string) string { return row[col] })
		}
	}
	for _, n := range c.operands[1:] {
		if !slices.ContainsFunc(c.h.Pools, func(p *Pool) bool { return p.Name == n }) {
			c.fail("cannot open '%s': no such pool", n)
		}
	}
}

func (c *call) zpoolList() {
	for _, p := range c.h.Pools {
		if len(c.operands) > 0 && !slices.Contains(c.operands, p.Name) {
			continue
		}
		row := map[string]string{"name": p.Name, "guid": guidFor("pool", p.LoadGUID), "health": "ONLINE", "load_guid": p.LoadGUID}
		c.row(strings.Split(or(c.opt("o"), "name"), ","), func(col string) string { return or(row[col], "-") })
	}
}

func (c *call) zpoolStatus() {
	for _, p := range c.h.Pools {
		if p.Name == c.operands[0] {
			fmt.Fprintf(&c.out, "  pool: %s\n state: ONLINE\nconfig:\n\n\tNAME  STATE\n\t%[1]s  ONLINE\n\nerrors: No known data errors\n", p.Name)
			return
		}
	}
	c.fail("cannot open '%s': no such pool", c.operands[0])
}
