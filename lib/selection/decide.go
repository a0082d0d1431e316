package selection

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"zab/lib/aside"
	"zab/lib/dataset"
	"zab/lib/record"
	"zab/lib/zfs"
)

// Rules is the input of a decision besides the datasets and their properties.
type Rules struct {
	// Property is the full name of the selecting property, such as autobackup:offsite1.
	Property string
	// ExcludePaths are left out with everything below them.
	ExcludePaths []string
	// ExcludeReceived leaves out datasets whose property was received.
	ExcludeReceived bool
	// ExcludeUnchanged leaves out datasets with fewer bytes written since
	// their newest snapshot; 0 is off.
	ExcludeUnchanged int64
	// Target, if set, is the receiving dataset, and TargetGUID its guid. TargetPools
	// has guids by name: of all pools of the target's host, or of the target's pool
	// alone if the datasets are on the same host; nil where no copy makes them matter.
	Target, TargetGUID string
	TargetPools        map[string]string
	// IncludeReceived keeps datasets that are left out only because they are copies.
	IncludeReceived bool
	// oneHost: the datasets are on the target's own host.
	oneHost bool
}

// Candidate is a dataset that was listed, with what its verdict and its record need. A
// search keeps those of all pools.
type Candidate struct {
	Name string
	record.Facts
	// Prop is the value of the selecting property.
	Prop zfs.Value
	Verdict
}

// Verdict is whether a dataset is selected, and why.
type Verdict struct {
	Selected bool
	Reason   string
	// Unset: the property is not set on the dataset nor above it.
	Unset bool
	// Excluded: the property selects it, and an option leaves it out.
	Excluded bool
	// Copy: it is excluded as a copy that would go back to a pool it came from, but it
	// inherits the property from a dataset where somebody may have meant just that.
	Copy bool
	// Illegal: the property was received with a stream, and its value means nothing.
	Illegal bool
}

// decide returns the verdict on one dataset. source is the value's source in ZFS: local
// or received; from is the dataset it is inherited from, "" where it is set here.
func (r *Rules) decide(name, value, source, from string, f *record.Facts) (Verdict, error) {
	if value == "-" || source == "-" || source == "default" || source == "none" {
		return Verdict{Reason: r.Property + " is not set", Unset: true}, nil
	}
	shown := value
	if !slices.Contains([]string{"true", "false", "child", "parent"}, value) {
		shown = strconv.Quote(value) // any bytes, and another host may have chosen them
	}
	reason := r.Property + "=" + shown
	switch {
	case from != "":
		reason += ", inherited from " + from
	default:
		reason += ", set here"
	}
	if source == "received" {
		reason += ", received"
	}
	no := func(why string) (Verdict, error) { return Verdict{Reason: reason + ": " + why}, nil }
	excluded := func(why string) (Verdict, error) {
		return Verdict{Reason: reason + ": excluded, " + why, Excluded: true}, nil
	}
	switch value {
	case "true":
	case "false":
		return no("excluded")
	case "child":
		if from == "" {
			return no("only what is below it")
		}
	case "parent":
		if from != "" {
			return no("only the dataset it is set on")
		}
	default:
		at := name
		if from != "" {
			at = from
		}
		illegal := &illegalValue{at, r.Property, value, source == "received"}
		if !illegal.received {
			return Verdict{}, illegal
		}
		v := Verdict{Reason: reason + ": not selected, for the value is none of true, false, child, parent", Illegal: true}
		if _, excluded := r.excludedBy(name); excluded || r.ExcludeReceived {
			return v, nil // it would be left out with any other value too
		}
		return v, illegal
	}
	if p, ok := r.excludedBy(name); ok {
		return no("excluded, being below '" + p + "'")
	}
	if _, _, was := aside.Recognize(name, f.Aside); was {
		return no("excluded, having been set aside by --rename-aside")
	}
	if source == "received" && r.ExcludeReceived {
		return excluded("having been received")
	}
	if why := r.back(name, source, from, f); why != "" {
		v, err := excluded(why)
		v.Copy = source != "received"
		return v, err
	}
	if r.ExcludeUnchanged > 0 && f.Written != nil && *f.Written < r.ExcludeUnchanged {
		return excluded(fmt.Sprintf("with %d bytes written since its newest snapshot", *f.Written))
	}
	return Verdict{Selected: true, Reason: reason}, nil
}

// back returns why a copy is not sent, or "" if it may be: it would return to a pool that
// it came from, or stay in its own. Otherwise two hosts that back each other up would
// send each other their copies, and copies of copies, without end.
//
// A property that was received with the stream was not meant for this host. If the target
// is on another host, every pool of that host counts. On the same host only the target's
// pool counts, so that pools may be backed up in a row, each from the one before, as by
// zfs-autobackup: there is no second host that would send anything back, and the row has
// an end because no copy goes to a pool that it came through. The target's pool alone
// counts also for a property that the copy inherits from above, because a copy may well
// go on to another disk.
//
// A copy that received the property does not go to another place in its own pool either,
// even if it is not marked yet, as while its first stream is under way: two backups into
// one pool would send each other's copies. A property that was set on the copy itself is
// its owner's wish.
func (r *Rules) back(name, source, from string, f *record.Facts) string {
	own := zfs.Pool(r.Target)
	if r.oneHost && !r.IncludeReceived && source == "received" && zfs.Pool(name) == own {
		return "being a copy in the target's own pool"
	}
	if f.From == "" || len(r.TargetPools) == 0 {
		return ""
	}
	through := strings.Split(f.From, ",")
	for pool, guid := range r.TargetPools {
		if !slices.Contains(through, guid) {
			continue
		}
		if source == "received" && !r.oneHost || (source == "received" || from != "") && pool == own {
			return "being a copy of what came from the pool '" + pool + "' on the target's host"
		}
	}
	return ""
}

// here returns the rules with the target excluded, if it is on the host of the datasets:
// among them, with the same guid.
func (r *Rules) here(datasets []*Candidate) *Rules {
	same := r.Target != "" && slices.ContainsFunc(datasets, func(d *Candidate) bool {
		return d.Name == r.Target && d.GUID == r.TargetGUID
	})
	if !same {
		return r
	}
	here := *r
	here.ExcludePaths = append(slices.Clone(r.ExcludePaths), r.Target)
	here.oneHost = true
	return &here
}

// ownPools returns TargetPools for a target on the host of the datasets: the target's
// pool alone, with its guid from the listing. It returns nil if the target is on another
// host, or its pool is not listed.
func (r *Rules) ownPools(datasets []*Candidate) map[string]string {
	pool := zfs.Pool(r.Target)
	if i := slices.IndexFunc(datasets, func(d *Candidate) bool { return d.Name == pool }); i >= 0 && r.here(datasets).oneHost {
		return map[string]string{pool: datasets[i].GUID}
	}
	return nil
}

// excludedBy returns the excluded path that a dataset is at or below.
func (r *Rules) excludedBy(name string) (path string, excluded bool) {
	for _, p := range r.ExcludePaths {
		if dataset.Within(name, p) {
			return p, true
		}
	}
	return "", false
}

// Copies reports whether any of the datasets, except the target and its descendants, may
// be left out as a copy that came from the target's host.
func (r *Rules) Copies(datasets []*Candidate) bool {
	r = r.here(datasets)
	return slices.ContainsFunc(datasets, func(d *Candidate) bool {
		_, excluded := r.excludedBy(d.Name)
		return d.From != "" && d.Prop.Source != "-" && d.Prop.Source != "local" && !excluded
	})
}

// illegalValue is the error that a property has a value that means nothing.
type illegalValue struct {
	dataset, property, value string
	// received: another host chose it.
	received bool
}

func (e *illegalValue) Error() string {
	if e.received {
		return fmt.Sprintf("'%s', and what inherits from it, is not selected: it has received '%s' with the value %q, which is none of true, false, child, parent", e.dataset, e.property, e.value)
	}
	return fmt.Sprintf("cannot select by '%s' of '%s': the value %q is none of true, false, child, parent", e.property, e.dataset, e.value)
}

// Decide sets the verdicts on datasets of a host, given in zfs's order, where parents
// come before their children. Those of around, which come before all, matter for others
// only: the datasets that inherit from them, and the question whether the target is on
// this host. Every illegal value is named once: one that was set here is an error; one
// that was received is a warning, because another host chose it, and the datasets that
// have it are not selected.
func (r *Rules) Decide(around, datasets []*Candidate) (warnings, errs []error) {
	source := map[string]string{}
	seen := map[illegalValue]bool{}
	all := slices.Concat(around, datasets)
	r = r.here(all)
	for i, d := range all {
		from, inherited := strings.CutPrefix(d.Prop.Source, "inherited from ")
		src := d.Prop.Source
		if inherited {
			src = "local"
			if s, ok := source[from]; ok {
				src = s
			}
		} else {
			from = ""
		}
		source[d.Name] = src
		if i < len(around) {
			continue
		}
		verdict, err := r.decide(d.Name, d.Prop.Value, src, from, &d.Facts)
		if e, ok := err.(*illegalValue); ok && !seen[*e] {
			seen[*e] = true
			if e.received {
				warnings = append(warnings, err)
			} else {
				errs = append(errs, err)
			}
		}
		d.Verdict = verdict
	}
	return warnings, errs
}

// Sort orders datasets by createtxg, oldest first, except that a dataset always
// comes after its parents and after the dataset of its origin: a rename can
// put an old dataset below a new one, and a promotion can make an old dataset
// the clone of a new one. A promotion can even make a dataset the clone of one of its
// children; then the parent comes first, because the child cannot exist without it.
func Sort(datasets []*Candidate) []*Candidate {
	byAge := slices.Clone(datasets)
	slices.SortStableFunc(byAge, func(a, b *Candidate) int {
		if x, y := a.TXG(), b.TXG(); x != y {
			if x < y {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	byName := make(map[string]*Candidate, len(datasets))
	for _, d := range datasets {
		byName[d.Name] = d
	}
	out := make([]*Candidate, 0, len(datasets))
	state := make(map[*Candidate]int, len(datasets)) // 1: under way, 2: placed
	var place func(d *Candidate)
	place = func(d *Candidate) {
		if state[d] != 0 {
			return
		}
		state[d] = 1
		for p := range above(d, byName) {
			place(p)
		}
		if origin, _, ok := strings.Cut(d.Origin, "@"); ok {
			if o := byName[origin]; o != nil && !below(o, byName, state) {
				place(o)
			}
		}
		state[d] = 2
		out = append(out, d)
	}
	for _, d := range byAge {
		place(d)
	}
	return out
}

// above yields the datasets above d, the outermost first.
func above(d *Candidate, byName map[string]*Candidate) iter.Seq[*Candidate] {
	return func(yield func(*Candidate) bool) {
		for name := range dataset.Ancestors(d.Name) {
			if p := byName[name]; p != nil && !yield(p) {
				return
			}
		}
	}
}

// below reports whether d is below a dataset whose placing is under way.
func below(d *Candidate, byName map[string]*Candidate, state map[*Candidate]int) bool {
	for p := range above(d, byName) {
		if state[p] == 1 {
			return true
		}
	}
	return false
}
