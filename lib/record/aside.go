package record

import (
	"regexp"
	"strings"
)

// A copy that --rename-aside has set aside is known by a user property of its
// own, zab:aside: what its last part was before, with what became of it. The
// value is set before the copy is renamed, so it means something only once
// the name is another one. It survives the renaming of what is above, and of
// the pool.
const (
	AsideBegun = "begun:" // something may be left to do
	AsideDone  = "done:"
)

// diverged is between a copy's name and the time in the name that it gets.
const diverged = "_diverged-"

var asideName = regexp.MustCompile(diverged + `[0-9]{14}(-[0-9]+)?$`)

// AsideName is the last part of the name of a copy that is set aside.
func AsideName(dataset, time string) string {
	_, last := SplitName(dataset)
	return last + diverged + time
}

// IsAsideName tells whether a dataset has a name that AsideName gives, so that
// it is worth to look for its property.
func IsAsideName(dataset string) bool { return asideName.MatchString(dataset) }

// SplitName cuts a dataset's name before its last part; parent is "" for a pool.
func SplitName(dataset string) (parent, last string) {
	i := strings.LastIndexByte(dataset, '/')
	if i < 0 {
		return "", dataset
	}
	return dataset[:i], dataset[i+1:]
}

// Beside is the dataset next to another, below the same one.
func Beside(dataset, last string) string {
	parent, _ := SplitName(dataset)
	return parent + "/" + last
}

// SetAside tells whether the dataset of that name was set aside, what the last
// part of its name was before, and whether nothing is left to do.
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
