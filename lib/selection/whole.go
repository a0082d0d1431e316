package selection

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"zab/lib/cli"
	"zab/lib/dataset"
	"zab/lib/record"
	"zab/lib/zfs"
)

// This file makes the listing of a host complete, or names the pools and datasets that
// are missing from it. zfs leaves out a suspended pool without a message, and a dataset
// that cannot be opened, together with those after it, with a line on stderr; and it ends
// with status 0. These checks cost nothing where all can be read, except the list of
// pools on another host.

// listing is the list of the datasets of a host, with its known gaps.
type listing struct {
	host  *zfs.Host
	rules *Rules
	props []string
	// roots limit the search to them and their descendants; nil is the whole host. isRoot
	// has the same names: a source may have named many of them (see listKnown).
	roots    []string
	isRoot   map[string]bool
	datasets []*Candidate
	// around are datasets outside of the search on which verdicts may depend, with few
	// properties; absent are roots that do not exist.
	around []*Candidate
	absent []string
	// also are further datasets to be read for around; above are those above the roots
	// that could not be read.
	also  []string
	above []zfs.Unread
	// pools are the pools that the host knows, with their states, if all are searched.
	pools map[string]string
	// unread are the pools and datasets that could not be read.
	unread []zfs.Unread
	// broken: zfs said that it left something out, without a name.
	broken bool
}

// add adds the datasets that are not in the listing yet.
func (l *listing) add(more []*Candidate) {
	seen := l.names()
	for _, d := range more {
		if !seen[d.Name] {
			l.datasets = append(l.datasets, d)
		}
	}
}

func (l *listing) names() map[string]bool {
	seen := make(map[string]bool, len(l.datasets))
	for _, d := range l.datasets {
		seen[d.Name] = true
	}
	return seen
}

// note adds pools and datasets that were asked for by name and could not be read.
func (l *listing) note(unread []zfs.Unread) {
	noted := make(map[string]bool, len(l.unread))
	for i := range l.unread {
		noted[l.unread[i].Name] = true
	}
	for _, u := range unread {
		switch {
		case u.Name == "":
			l.broken = true
		case !noted[u.Name]:
			noted[u.Name] = true
			l.unread = append(l.unread, u)
		}
	}
}

// get lists the roots, or without any all pools, and what is below them down to depth, or
// all the way with -1. Then it asks by name for each pool that the host knows and that is
// not in the list: only then does zfs report the failure of a suspended pool.
func (l *listing) get(ctx context.Context, roots []string, depth int) error {
	l.datasets = nil
	if roots != nil {
		return l.getRoots(ctx, roots, depth)
	}
	type known struct {
		pools map[string]string
		err   error
	}
	// The pools are asked for before or during the listing, so that a pool imported
	// later is not missed.
	pools := make(chan known, 1)
	go func() {
		p, err := l.host.PoolStates(ctx)
		pools <- known{p, err}
	}()
	var k known
	if l.host.Here() {
		k = <-pools
	}
	var datasets []*Candidate
	err := whole(func() error {
		datasets = nil
		return l.host.GetEach(ctx, l.props, nil, depth, l.appendTo(&datasets))
	})
	if !l.host.Here() {
		k = <-pools
	}
	switch {
	case zfs.IsPartial(err):
		l.broken = true
	case stuck(err) && k.err == nil:
		// No pool has answered: each is asked by itself below.
		datasets = nil
	case err != nil:
		return err
	}
	if k.err != nil {
		return k.err
	}
	l.datasets, l.pools = datasets, k.pools
	came := l.names()
	var silent []string
	for _, p := range slices.Sorted(maps.Keys(k.pools)) {
		if _, excluded := l.rules.excludedBy(p); !came[p] && !excluded {
			silent = append(silent, p)
		}
	}
	more, _, unread, err := l.read(ctx, silent, depth)
	if err != nil {
		return err
	}
	l.add(more)
	l.note(unread)
	return nil
}

// stuck reports whether zfs gave no answer because one pool does not answer.
func stuck(err error) bool { return zfs.KindOf(err) == record.KindPoolIO }

// appendTo returns a function that appends a dataset of zfs's answer to a list.
func (l *listing) appendTo(list *[]*Candidate) func(zfs.Dataset) {
	return func(d zfs.Dataset) {
		*list = append(*list, &Candidate{Name: d.Name, Facts: d.Facts(), Prop: d.Props[l.rules.Property]})
	}
}

// read is Host.Readable for names in several pools. If one pool keeps zfs from answering
// for any of them, each is asked by itself, and the stuck pool is in unread.
func (l *listing) read(ctx context.Context, names []string, depth int) (got []*Candidate, absent []string, unread []zfs.Unread, err error) {
	absent, unread, err = l.host.Readable(ctx, l.props, names, depth, l.appendTo(&got))
	var of *zfs.Error
	if !stuck(err) || !errors.As(err, &of) {
		return got, absent, unread, err
	}
	byPool := map[string][]string{}
	for _, n := range names {
		byPool[zfs.Pool(n)] = append(byPool[zfs.Pool(n)], n)
	}
	if len(byPool) == 1 {
		return nil, nil, []zfs.Unread{{Name: zfs.Pool(names[0]), Err: of}}, ctx.Err()
	}
	got, absent, unread = nil, nil, nil
	for _, pool := range slices.Sorted(maps.Keys(byPool)) {
		g, a, u, err := l.read(ctx, byPool[pool], depth)
		if err != nil {
			return nil, nil, nil, err
		}
		got, absent, unread = append(got, g...), append(absent, a...), append(unread, u...)
	}
	return got, absent, unread, nil
}

// A listing opens one dataset after the other, so several listings at the same time take
// less time: two, of 320 unmounted copies, half of it on two processors. But each is a
// program more, so there is one for every treesEach trees, and mostListings at most.
const (
	treesEach    = 4
	mostListings = 4
)

// below lists the named datasets, which were listed just now, and all below them. gone
// reports that one of the named datasets no longer exists.
func (l *listing) below(ctx context.Context, names []string) (deep []*Candidate, gone bool, err error) {
	type answer struct {
		got    []*Candidate
		absent []string
		unread []zfs.Unread
		err    error
	}
	answers := make([]answer, min(max(len(names)/treesEach, 1), mostListings))
	var listings sync.WaitGroup
	for i := range answers {
		// Neighbours are likely to be alike, such as the copies of one machine.
		var mine []string
		for k := i; k < len(names); k += len(answers) {
			mine = append(mine, names[k])
		}
		listings.Go(func() {
			a := &answers[i]
			a.got, a.absent, a.unread, a.err = l.read(ctx, mine, -1)
		})
	}
	listings.Wait()
	for _, a := range answers {
		if a.err != nil || len(a.absent) > 0 {
			return nil, len(a.absent) > 0, a.err
		}
		deep = append(deep, a.got...)
		l.note(a.unread)
	}
	return deep, false, nil
}

// mend looks for the datasets that zfs left out of the listing without a name. It finds
// the filesystems below which something is missing, and asks by name for the datasets
// below them that are known from elsewhere, because they are mounted or have a copy on
// the target. The names of the others cannot be obtained: a channel program that looks
// for them crashes the kernel when it meets the dataset that cannot be opened.
func (l *listing) mend(ctx context.Context, env *cli.Env, o *Options) error {
	if !l.broken {
		return nil
	}
	outside := func(n string) bool {
		_, excluded := l.rules.excludedBy(n)
		return !excluded && l.searched(n) && (o.SSHSource != o.SSHTarget || o.Target == "" || !dataset.Within(n, string(o.Target)))
	}
	var tops []string
	for n := range l.names() {
		if outside(n) && (l.roots == nil && !strings.Contains(n, "/") || l.isRoot[n]) {
			tops = append(tops, n)
		}
	}
	slices.Sort(tops)
	places, err := l.host.Unlisted(ctx, tops)
	if err != nil {
		return err
	}
	places = slices.DeleteFunc(places, func(u zfs.Unread) bool { return !outside(u.Name) })
	l.note(places)
	// There may be many places, and many copies.
	seen, isPlace := l.names(), map[string]bool{}
	for _, p := range places {
		isPlace[p.Name] = true
	}
	missing := map[string]bool{}
	may := func(n string) {
		up, _ := dataset.Split(n)
		if _, err := dataset.ParseName(n); err == nil && !seen[n] && outside(n) && withinAny(up, isPlace) {
			missing[n] = true
		}
	}
	// A failure here only leaves more datasets without a name.
	if _, mounted, err := l.host.Paths(ctx, nil); err == nil {
		for _, m := range mounted {
			may(m.Dataset)
		}
	}
	if o.Target != "" {
		var copies []string
		_, _, err := env.Machine.Host(string(o.SSHTarget)).Readable(ctx, []string{"guid"}, []string{string(o.Target)}, -1,
			func(d zfs.Dataset) { copies = append(copies, d.Name) })
		switch {
		case err != nil && ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			copies = nil
		}
		copyOf := map[string][]string{}
		for _, p := range places {
			of, err := dataset.TargetName(p.Name, string(o.Target), o.StripPath)
			if err != nil {
				continue // it has no name on the target to look below
			}
			copyOf[of] = append(copyOf[of], p.Name)
		}
		for _, c := range copies {
			for up := range dataset.Ancestors(c) {
				for _, p := range copyOf[up] {
					may(p + c[len(up):])
				}
			}
		}
	}
	more, _, unread, err := l.read(ctx, slices.Sorted(maps.Keys(missing)), -1)
	if err != nil {
		return err
	}
	for _, d := range more {
		env.Verbosef("'%s' was left out of the list, and asked for by name", d.Name)
	}
	l.add(more)
	l.note(unread)
	// Parents come before their children.
	slices.SortStableFunc(l.datasets, func(a, b *Candidate) int { return strings.Compare(a.Name, b.Name) })
	return ctx.Err()
}

// records returns the records of the pools and datasets that could not be read, so that
// the following stages count them as failed and conclude nothing from their absence.
func (l *listing) records(backup, host string) (out []*record.Record) {
	for i := range l.unread {
		u := &l.unread[i]
		if _, excluded := l.rules.excludedBy(u.Name); excluded {
			continue
		}
		pool := zfs.Pool(u.Name)
		e := record.Error{Stage: "select", Kind: u.Err.Kind, Hint: fmt.Sprintf("'zpool status %s' tells of the errors of its devices", zfs.Quote(pool))}
		switch {
		case u.Below:
			e.Message = fmt.Sprintf("cannot list all that is below '%s': %s: what is not in the list is not backed up", u.Name, u.Cause())
		case u.Name == pool:
			e.Message = fmt.Sprintf("cannot read the pool '%s': %s: what is selected there is not backed up", u.Name, u.Cause())
			e.Hint = fmt.Sprintf("'zpool status %s' shows what is wrong, and 'zpool clear %s' has it go on once its devices are back", zfs.Quote(pool), zfs.Quote(pool))
		default:
			e.Message = fmt.Sprintf("cannot read '%s': %s: it is not backed up, nor what is below it", u.Name, u.Cause())
		}
		out = append(out, &record.Record{Type: record.TypeUnlisted, Backup: backup, Host: host, Name: u.Name, Partial: l.roots != nil, Error: &e})
	}
	return out
}
