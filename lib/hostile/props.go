package hostile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// defaults has the default values of the native properties that can be set. A dot before
// the value marks a property that is not inherited.
var defaults = map[string]string{
	"readonly": "off", "sharenfs": "off", "sharesmb": "off", "setuid": "on", "devices": "on", "exec": "on",
	"compression": "on", "atime": "on", "recordsize": "131072", "snapdev": "hidden", "volmode": "default",
	"dedup": "off", "copies": "1", "special_small_blocks": "0", "keylocation": "none", "checksum": "on", "sync": "standard",
	"overlay": "on", "snapdir": "hidden", "redundant_metadata": "all", "xattr": "on", "acltype": "off",
	"dnodesize":        "legacy",
	"filesystem_limit": ".none", "filesystem_count": ".none", "snapshot_limit": ".none", "snapshot_count": ".none",
	"canmount": ".on", "quota": ".0", "refquota": ".0", "reservation": ".0", "refreservation": ".0",
}

// onlyFilesystems are the properties of filesystems alone, onlyVolumes those of volumes
// alone. Datasets of the other kind have the value "-".
var (
	onlyFilesystems = []string{"canmount", "mountpoint", "mounted", "sharenfs", "sharesmb", "setuid", "devices", "exec", "atime", "recordsize", "quota", "refquota", "overlay", "snapdir", "xattr", "acltype", "special_small_blocks", "dnodesize", "filesystem_limit", "filesystem_count"}
	onlyVolumes     = []string{"volsize", "volblocksize"}
)

// own returns the value and source of a property set on the dataset itself, or received
// by it; "" if there is none.
func (d *Dataset) own(prop string) (value, source string) {
	if v, ok := d.Local[prop]; ok {
		return v, "local"
	}
	if v, ok := d.Received[prop]; ok && !d.Inherits[prop] && !d.Excluded[prop] {
		return v, "received"
	}
	return "", ""
}

// get returns the value and source of a property as zfs get prints them.
func (h *Host) get(d *Dataset, prop string) (value, source string) {
	if snap, ok := strings.CutPrefix(prop, "written@"); ok {
		n, seen := d.Written, false
		for _, s := range d.Snaps {
			if seen {
				n += s.Written
			}
			seen = seen || s.Name == snap
		}
		if !seen {
			return "-", "-"
		}
		return strconv.FormatInt(n, 10), "-"
	}
	if d.Kind == "volume" && slices.Contains(onlyFilesystems, prop) || d.Kind != "volume" && slices.Contains(onlyVolumes, prop) {
		return "-", "-"
	}
	if v, ok := h.computedProperty(d, prop); ok {
		if v == "" {
			v = "-"
		}
		return v, "-"
	}
	def := defaults[prop]
	single := strings.HasPrefix(def, ".")
	for at := d; at != nil; at = h.find(parent(at.Name)) {
		if v, source := at.own(prop); source != "" {
			if at == d {
				return v, source
			}
			if prop == "mountpoint" && v != "none" && v != "legacy" {
				v = strings.TrimSuffix(v, "/") + strings.TrimPrefix(d.Name, at.Name)
			}
			return v, "inherited from " + at.Name
		}
		if single {
			break
		}
	}
	switch {
	case prop == "mountpoint":
		return "/" + d.Name, "default"
	case strings.Contains(prop, ":"):
		return "-", "-"
	}
	return strings.TrimPrefix(def, "."), "default"
}

// computedProperty returns the value of a property that is not stored in Local or
// Received, and whether prop is one.
func (h *Host) computedProperty(d *Dataset, prop string) (string, bool) {
	num := func(n int64) string { return strconv.FormatInt(n, 10) }
	used := int64(98304) + d.Written
	for _, s := range d.Snaps {
		used += s.Written
	}
	switch prop {
	case "name":
		return d.Name, true
	case "type":
		return d.Kind, true
	case "guid":
		return d.GUID, true
	case "createtxg":
		return strconv.FormatUint(d.TXG, 10), true
	case "creation":
		return num(d.Creation), true
	case "origin":
		return d.Origin, true
	case "encryption":
		return or(d.Cipher, "off"), true
	case "encryptionroot":
		return d.EncryptionRoot, true
	case "keystatus":
		switch {
		case d.Cipher == "":
			return "", true
		case d.Locked:
			return "unavailable", true
		}
		return "available", true
	case "keyguid":
		return d.KeyGUID, true
	case "written":
		return num(d.Written), true
	case "used", "referenced", "available", "usedbydataset", "usedbysnapshots", "logicalused", "logicalreferenced":
		return num(used), true
	case "usedbyrefreservation":
		return "0", true
	case "volsize":
		return "1048576", true
	case "volblocksize":
		return "16384", true
	case "mounted":
		if d.Mounted {
			return "yes", true
		}
		return "no", true
	case "receive_resume_token":
		return d.Token, true
	case "snapshots_changed":
		if s := d.newest(); s != nil {
			return num(max(s.Creation, d.Changed)), true
		}
		return "", true
	case "objsetid":
		return strconv.FormatUint(d.TXG, 10), true
	case "inconsistent", "redacted", "numclones", "userrefs", "clones":
		return "", true
	}
	return "", false
}

// snapProperty returns a property of a snapshot or bookmark; sep is @ or #.
func (h *Host) snapProperty(d *Dataset, s *Snap, sep, col string) string {
	switch col {
	case "name":
		return d.Name + sep + s.Name
	case "guid":
		return s.GUID
	case "createtxg":
		return strconv.FormatUint(s.TXG, 10)
	case "creation":
		return strconv.FormatInt(s.Creation, 10)
	case "type":
		if sep == "#" {
			return "bookmark"
		}
		return "snapshot"
	}
	if sep == "#" {
		return "-"
	}
	switch col {
	case "written", "used", "referenced":
		return strconv.FormatInt(s.Written, 10)
	case "userrefs":
		return strconv.Itoa(len(s.Holds))
	case "clones":
		list := h.clonesOf(d.Name + "@" + s.Name)
		if d.Token != "" && s == d.newest() {
			list = append(list, d.Name+"/%recv")
		}
		return or(strings.Join(list, ","), "-")
	case "origin", "mounted", "receive_resume_token", "mountpoint", "canmount":
		return "-"
	}
	if strings.Contains(col, ":") {
		v, _ := h.get(d, col)
		return v
	}
	return "-"
}

// object is a dataset, or one of its snapshots or bookmarks.
type object struct {
	d   *Dataset
	s   *Snap
	sep string
}

func (o object) name() string {
	if o.s != nil {
		return o.d.Name + o.sep + o.s.Name
	}
	return o.d.Name
}

// value returns a property of an object as zfs list prints it.
func (h *Host) value(o object, col string) string {
	if o.s != nil {
		return h.snapProperty(o.d, o.s, o.sep, col)
	}
	v, _ := h.get(o.d, col)
	return v
}

// objects returns the objects of the given types that names select, with descendants down
// to a depth, -1 for all. Without names it returns all of the host. missing are the names
// that do not exist.
func (h *Host) objects(names []string, depth int, types []string) (out []object, missing []string) {
	has := func(t string) bool { return slices.Contains(types, t) || slices.Contains(types, "all") }
	add := func(d *Dataset, level int) {
		if has(d.Kind) {
			out = append(out, object{d: d})
		}
		if depth >= 0 && level+1 > depth {
			return
		}
		if has("snapshot") {
			for _, s := range slices.SortedFunc(slices.Values(d.Snaps), byName) {
				out = append(out, object{d, s, "@"})
			}
		}
		if has("bookmark") {
			for _, s := range slices.SortedFunc(slices.Values(d.Bookmarks), byName) {
				out = append(out, object{d, s, "#"})
			}
		}
	}
	if names == nil {
		for _, d := range h.Datasets {
			if level := strings.Count(d.Name, "/"); depth < 0 || level <= depth {
				add(d, level)
			}
		}
		return out, nil
	}
	for _, n := range names {
		if d, s := h.lookup(n); s != nil {
			sep := n[len(d.Name) : len(d.Name)+1]
			out = append(out, object{d, s, sep})
			continue
		}
		d := h.find(n)
		if d == nil {
			missing = append(missing, n)
			continue
		}
		add(d, 0)
		for _, b := range h.descendants(n) {
			if level := strings.Count(b.Name, "/") - strings.Count(n, "/"); depth < 0 || level <= depth {
				add(b, level)
			}
		}
	}
	return out, missing
}

func byName(a, b *Snap) int { return strings.Compare(a.Name, b.Name) }

// notThere returns zfs's messages about names that do not exist.
func notThere(names []string) string {
	var b strings.Builder
	for _, n := range names {
		fmt.Fprintf(&b, "cannot open '%s': dataset does not exist\n", n)
	}
	return b.String()
}
