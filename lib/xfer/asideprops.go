package xfer

import (
	"slices"
	"strings"

	"zab/lib/zfs"
)

// cloneProps returns the properties for the clone: those that were set on the target
// itself, and a canmount that keeps zfs clone from mounting it. renameAside puts canmount
// right afterwards.
func cloneProps(kind string, local []string) []string {
	local = zfs.ForClone(local)
	if kind != "filesystem" {
		return local
	}
	for i, pv := range local {
		switch pv {
		case "canmount=noauto", "canmount=off":
			return local
		case "canmount=on":
			return slices.Insert(slices.Delete(local, i, i+1), 0, "canmount=noauto")
		}
	}
	return slices.Insert(local, 0, "canmount=noauto")
}

// reverts reports whether the clone's canmount is to be reverted: canmount was not set on
// the target itself, or was on, which needs no setting.
func reverts(was *zfs.Dataset) bool {
	can := was.Props["canmount"]
	return kindOf(was) == "filesystem" && (can.Source != "local" || can.Value == "on")
}

// isParent reports whether the dataset set aside is a filesystem that zab made only as a
// parent of others, so that there is no data in it.
func isParent(was *zfs.Dataset) bool {
	if was == nil {
		return false
	}
	f := was.Facts()
	return zfs.IsParent(&f)
}

// parentProps returns the properties of a parent set aside that the copy in its place
// keeps: those that somebody has set, since they apply to the descendants, too.
func parentProps(local []string) []string {
	return slices.DeleteFunc(zfs.ForClone(local), func(pv string) bool {
		name, _, _ := strings.Cut(pv, "=")
		return name == "canmount" || name == zfs.FromProp || name == zfs.StreamProp || name == zfs.PoolProp
	})
}

// mergeProps returns the properties, P=V, that a stream sets, and those of more that the
// stream neither sets nor excludes itself.
func mergeProps(set, exclude, more []string) []string {
	has := map[string]bool{}
	for _, pv := range slices.Concat(set, exclude) {
		name, _, _ := strings.Cut(pv, "=")
		has[name] = true
	}
	out := slices.Clone(set)
	for _, pv := range more {
		if name, _, _ := strings.Cut(pv, "="); !has[name] {
			out = append(out, pv)
		}
	}
	return out
}
