// Package aside has the rules by which --rename-aside sets a copy aside: its new name, the
// mark by which it is recognized, and the phases of a renaming that may have been
// interrupted between any two acts. Planner and executor find the phase by the same
// function, Find.
//
// Goals: pure functions over names and facts; for the state after every act there is one
// phase, from which the acts that are left follow.
//
// Non-goals: it runs no program, and knows neither records nor steps.
package aside

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"zab/lib/dataset"
)

// diverged joins the former name of a copy with the time in its new name.
const diverged = "_diverged-"

var form = regexp.MustCompile(diverged + `[0-9]{14}(-[0-9]+)?$`)

// Name returns the last part of the name that a copy gets when it is set aside: the first
// that is not taken.
func Name(copied string, at time.Time, taken func(name string) bool) string {
	_, last := dataset.Split(copied)
	last += diverged + at.Format("20060102150405")
	name := last
	for n := 2; taken(dataset.Beside(copied, name)); n++ {
		name = fmt.Sprintf("%s-%d", last, n)
	}
	return name
}

// IsNameOf reports whether last can be the last part of the name of a copy set aside. An
// administrator may have inserted something into the one that Name gave it.
func IsNameOf(copied, last string) bool {
	_, former := dataset.Split(copied)
	return form.MatchString(last) && strings.HasPrefix(last, former+"_")
}

// Former returns the name that a dataset called name had before it was set aside, if its
// name has the form that Name gives, so that reading its mark is worthwhile.
func Former(name string) (former string, ok bool) {
	at := form.FindStringIndex(name)
	if at == nil {
		return "", false
	}
	return name[:at[0]], true
}

// The mark of a copy set aside, its user property zab:aside, contains the last part of its
// former name. It is set before the copy is renamed, so it counts only once the copy has
// another name. It survives renames of the pool and of datasets above.
const (
	begun = "begun:" // the last acts may be outstanding
	done  = "done:"
)

// Mark returns the mark for a copy, by its former name: before it is renamed, or when
// nothing is left to do.
func Mark(copied string, finished bool) string {
	_, last := dataset.Split(copied)
	if finished {
		return done + last
	}
	return begun + last
}

// CheckMark returns an error unless s is a mark: the form in which Mark returns it.
func CheckMark(s string) error {
	_, _, err := parse(s)
	return err
}

func parse(mark string) (last string, finished bool, err error) {
	last, finished = strings.CutPrefix(mark, done)
	if !finished {
		var ok bool
		if last, ok = strings.CutPrefix(mark, begun); !ok {
			return "", false, fmt.Errorf("%q does not tell what was set aside", mark)
		}
	}
	if strings.Contains(last, "/") {
		return "", false, fmt.Errorf("%q is not the last part of a name", last)
	}
	_, err = dataset.ParseName("x/" + last)
	return last, finished, err
}

// Recognize reports in ok whether the dataset called name, with a mark or "", was set aside. It
// returns the last part of its former name, and whether nothing is left to do.
func Recognize(name, mark string) (last string, finished, ok bool) {
	if mark == "" {
		return "", false, false
	}
	last, finished, err := parse(mark)
	if parent, now := dataset.Split(name); err != nil || parent == "" || now == last {
		return "", false, false
	}
	return last, finished, true
}
