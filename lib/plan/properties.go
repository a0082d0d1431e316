package plan

import (
	"slices"
	"strings"

	"zab/lib/record"
)

// properties returns the arguments of zfs receive -x and -o for a stream; first is true
// if the stream makes the dataset. Each property is given once, and only if the
// record's kind has it, because zfs refuses a whole stream for one property that it
// does not accept.
func (p *planner) properties(d *draft, first bool) (exclude, set []string) {
	r := d.r
	taken := map[string]bool{}
	add := func(to *[]string, name, arg string) {
		if !taken[name] && !hasNot(r.Kind, name) && !streamOnly(r.Kind, name) {
			*to = append(*to, arg)
		}
		taken[name] = true
	}
	// Properties to set come first: they are not taken from the stream, so need no -x.
	for _, pv := range p.o.SetProperties {
		name, _, _ := strings.Cut(pv, "=")
		add(&set, name, pv)
	}
	if p.o.ClearMountpoint {
		add(&set, "canmount", "canmount=noauto")
	}
	if p.o.SafeProperties {
		for _, pv := range safeValues {
			name, _, _ := strings.Cut(pv, "=")
			add(&set, name, pv)
		}
	}
	if p.o.ClearRefreservation {
		add(&set, "refreservation", "refreservation=none")
	}
	for _, name := range p.o.FilterProperties {
		// When zfs (2.3) receives an increment, it ignores -x for a property that is
		// not inherited, unless the copy has a value of its own.
		if none := unset(name); none != "" && first {
			add(&set, name, name+"="+none)
			continue
		}
		add(&exclude, name, name)
	}
	if p.o.SafeProperties {
		for _, name := range notTakenOver {
			add(&exclude, name, name)
		}
	}
	// No stream may make a copy shared, regardless of the options.
	if first || !d.unshared() {
		for _, name := range record.Sharing {
			add(&exclude, name, name)
		}
	}
	exclude, set = p.encrypting(r, exclude, set)
	return exclude, set
}

// --safe-properties sets safeValues on a copy, so that the target's machine uses
// nothing in it on its own, and excludes notTakenOver, which are settings for the
// source's machine. zfs keeps the source's values beside them: zfs get -o received
// shows them, zfs send -b sends them, zfs inherit -S puts them into effect.
var (
	safeValues = []string{
		"readonly=on", "canmount=noauto", "setuid=off", "devices=off", "exec=off",
		"reservation=none", "refreservation=none", "volmode=none", "snapdev=hidden",
	}
	notTakenOver = []string{"mountpoint", "dedup", "copies", "special_small_blocks", "keylocation"}
)

// inStream returns the properties of --set-properties and --filter-properties that only
// the stream can bring.
func (p *planner) inStream(r *record.Record) (names []string) {
	for _, pv := range slices.Concat([]string(p.o.SetProperties), p.o.FilterProperties) {
		name, _, _ := strings.Cut(pv, "=")
		if streamOnly(r.Kind, name) && !hasNot(r.Kind, name) {
			names = append(names, name)
		}
	}
	return names
}

// hasNot reports whether datasets of a kind do not have a property.
func hasNot(kind, name string) bool {
	if kind == "volume" {
		return notForVolumes(name)
	}
	return notForFilesystems(name)
}

// streamOnly reports whether only the stream can bring a property to datasets of a kind:
// zfs receive (2.3) accepts it neither with -x nor with -o.
func streamOnly(kind, name string) bool {
	if kind == "volume" {
		return fixedForVolumes(name)
	}
	return fixedForFilesystems(name)
}

// unset returns the value that means "not set" for a property that is not inherited, ""
// for all other properties.
func unset(name string) string {
	switch name {
	case "quota", "refquota", "reservation", "refreservation", "filesystem_limit", "snapshot_limit":
		return "none"
	case "canmount":
		return "on"
	}
	return ""
}

// Properties that a kind of dataset does not have, from zfsprops(7) and
// zfs_prop.c of 2.3. snapdev and volmode are not among them: a filesystem has
// them for the volumes below it.
func notForVolumes(name string) bool {
	switch name {
	case "aclinherit", "aclmode", "acltype", "atime", "canmount", "defaultuserquota", "defaultgroupquota",
		"defaultprojectquota", "defaultuserobjquota", "defaultgroupobjquota", "defaultprojectobjquota", "devices",
		"direct", "dnodesize", "exec", "filesystem_limit", "jailed", "longname", "mountpoint", "nbmand", "overlay",
		"quota", "recordsize", "refquota", "relatime", "setuid", "sharenfs", "sharesmb", "snapdir",
		"special_small_blocks", "vscan", "xattr", "zoned":
		return true
	}
	return fixedForFilesystems(name)
}

func notForFilesystems(name string) bool { return name == "volthreading" || fixedForVolumes(name) }

func fixedForVolumes(name string) bool { return name == "volsize" || name == "volblocksize" }

func fixedForFilesystems(name string) bool {
	switch name {
	case "casesensitivity", "normalization", "utf8only", "version":
		return true
	}
	return strings.Contains(name, "@") // userquota@alice
}
