package record

import (
	"regexp"
	"strings"
)

// A copy that --rename-aside has set aside is recognized by its user property zab:aside,
// which contains the last part of its former name and the phase reached. The property is
// set before the copy is renamed, so it counts only once the copy has another name. It
// survives renames of the pool and of datasets above.
const (
	AsideBegun = "begun:" // the last steps may be outstanding
	AsideDone  = "done:"
)

// diverged joins the former name of a copy with the time in its new name.
const diverged = "_diverged-"

var asideName = regexp.MustCompile(diverged + `[0-9]{14}(-[0-9]+)?$`)

// AsideName returns the last part of the name that a copy gets when it is set aside.
func AsideName(dataset, time string) string {
	_, last := SplitName(dataset)
	return last + diverged + time
}

// IsAsideName reports whether the name has the form of AsideName, so that reading the
// dataset's zab:aside is worthwhile.
func IsAsideName(dataset string) bool { return asideName.MatchString(dataset) }

// FormerName returns the name that a dataset called name had before it was set aside, if
// its name has the form of AsideName.
func FormerName(name string) (former string, ok bool) {
	at := asideName.FindStringIndex(name)
	if at == nil {
		return "", false
	}
	return name[:at[0]], true
}

// SplitName splits a dataset's name before its last part; parent is "" for a pool.
func SplitName(dataset string) (parent, last string) {
	i := strings.LastIndexByte(dataset, '/')
	if i < 0 {
		return "", dataset
	}
	return dataset[:i], dataset[i+1:]
}

// Beside returns the name of the sibling of dataset whose last part is last.
func Beside(dataset, last string) string {
	parent, _ := SplitName(dataset)
	return parent + "/" + last
}

// SetAside reports in ok whether the dataset called name was set aside. It returns the
// last part of its former name, and whether nothing is left to do.
func (f *Facts) SetAside(name string) (last string, done, ok bool) {
	last, done = strings.CutPrefix(f.Aside, AsideDone)
	if !done {
		if last, ok = strings.CutPrefix(f.Aside, AsideBegun); !ok {
			return "", false, false
		}
	}
	_, now := SplitName(name)
	if last == "" || strings.Contains(last, "/") || last == now || now == name {
		return "", false, false
	}
	return last, done, true
}
