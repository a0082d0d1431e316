package xfer

import (
	"context"
	"slices"
	"strings"
	"sync"

	"zab/lib/zfs"
)

// mountJobs is how many programs mount at once.
const mountJobs = 4

// What mount asks of a filesystem that has just been received.
var mountProps = []string{"type", "canmount", "mountpoint", "mounted", "keystatus", "readonly", zfs.FromProp}

// mount mounts what was received for the first time, where its mountpoint is
// the target's own: one question or two for all, and a program for each, some
// of them at once. Reading the copy must not change it, so it is mounted
// read-only.
//
// zfs has no command that mounts the filesystems it is given: "zfs mount" takes
// one, and -a and -R (since 2.3) mount whatever else is there as well, be its
// mountpoint its own or one that came with another program's stream a moment
// ago (P5).
func mount(ctx context.Context, batch []*job) {
	news := slices.DeleteFunc(slices.Clone(batch), func(j *job) bool {
		return !j.first || j.r.Kind == "volume" || j.r.Error != nil || !slices.ContainsFunc(j.arrived, func(i int) bool { return j.results[i].Done })
	})
	for host, jobs := range byHost(news, func(j *job) *zfs.Host { return j.x.target(j.r) }) {
		slices.SortFunc(jobs, func(a, b *job) int { return strings.Compare(a.r.Target.Name, b.r.Target.Name) })
		var names []string
		for _, j := range jobs {
			j.first = false
			names = append(names, j.r.Target.Name)
		}
		for _, j := range jobs {
			if p := parentOf(j.r.Target.Name); p != "" && !slices.Contains(names, p) {
				names = append(names, p)
			}
		}
		props, err := mountState(ctx, host, names)
		var places []string
		if err == nil {
			places, err = host.MountPoints(ctx)
		}
		var able []*job
		for _, j := range jobs {
			switch {
			case err != nil:
				j.r.Warn("cannot mount '%s': cannot ask for its mountpoint: %s", j.r.Target.Name, err)
			case mountable(props, j.r.Target.Name):
				// Copies below it that are mounted already would be hidden, and
				// nobody could unmount them.
				at := props[j.r.Target.Name].Props["mountpoint"].Value
				if i := slices.IndexFunc(places, func(p string) bool { return strings.HasPrefix(p, strings.TrimSuffix(at, "/")+"/") }); i >= 0 {
					j.x.env.Verbosef("'%s' stays unmounted: '%s' is a mountpoint below its own", j.r.Target.Name, places[i])
					continue
				}
				able = append(able, j)
			}
		}
		for _, level := range levels(able, func(j *job) string { return props[j.r.Target.Name].Props["mountpoint"].Value }) {
			sem := make(chan struct{}, mountJobs)
			var all sync.WaitGroup
			for _, j := range level {
				sem <- struct{}{}
				all.Go(func() {
					j.mount(ctx, host)
					<-sem
				})
			}
			all.Wait()
		}
	}
}

// mount mounts the record's copy.
func (j *job) mount(ctx context.Context, host *zfs.Host) {
	name := j.r.Target.Name
	switch err := host.Mount(ctx, name, "ro"); {
	case err == nil:
		j.r.Target.Mounted = "yes"
	case zfs.KindOf(err) == zfs.KindReadOnly:
		// Its parent's copy does not have the directory yet, and is
		// mounted read-only, as it should be.
		j.x.env.Verbosef("'%s' stays unmounted: %s", name, err)
	default:
		j.r.Warn("cannot mount '%s': %s", name, err)
	}
}

// levels parts what is to be mounted into sets of which each can be mounted at
// once when those before are: none is below another, or at the same place. They
// keep their order otherwise.
func levels[T any](list []T, mountpoint func(T) string) (out [][]T) {
	at := map[string]int{} // the level after the last one at a mountpoint
	depth := func(x T) int { return strings.Count(strings.TrimSuffix(mountpoint(x), "/"), "/") }
	sorted := slices.SortedStableFunc(slices.Values(list), func(a, b T) int { return depth(a) - depth(b) })
	for _, x := range sorted {
		mp := mountpoint(x)
		n := max(at[mp], at["/"])
		for i := range mp {
			if mp[i] == '/' {
				n = max(n, at[mp[:i]])
			}
		}
		if n == len(out) {
			out = append(out, nil)
		}
		out[n] = append(out[n], x)
		at[mp] = n + 1
	}
	return out
}

// mountState gets the properties of datasets, and of those that they inherit
// their mountpoint from.
func mountState(ctx context.Context, host *zfs.Host, names []string) (map[string]zfs.Dataset, error) {
	props := map[string]zfs.Dataset{}
	for len(names) > 0 {
		list, err := host.Get(ctx, mountProps, names, false)
		if err != nil {
			return nil, err
		}
		for _, d := range list {
			props[d.Name] = d
		}
		names = nil
		for _, d := range list {
			if x, ok := strings.CutPrefix(d.Props["mountpoint"].Source, "inherited from "); ok && !slices.Contains(names, x) {
				if _, known := props[x]; !known {
					names = append(names, x)
				}
			}
		}
	}
	return props, nil
}

// mountable tells whether a filesystem may be mounted: it wants to be, it can
// be, and its mountpoint did not travel with a stream, neither its own nor that
// of a dataset above it.
func mountable(props map[string]zfs.Dataset, name string) bool {
	p := props[name].Props
	mp := p["mountpoint"]
	if p["type"].Value != "filesystem" || p["canmount"].Value != "on" || p["mounted"].Value == "yes" {
		return false
	}
	if mp.Value == "" || mp.Value == "none" || mp.Value == "legacy" || mp.Value == "-" {
		return false
	}
	if k := p["keystatus"].Value; k != "available" && k != "-" && k != "" && k != "none" {
		return false
	}
	if up := props[parentOf(name)].Props; up["mounted"].Value == "yes" && up["readonly"].Value == "off" && up[zfs.FromProp].Source == "local" {
		// The directory to mount at might be made in the copy above, which
		// would be changed by that, and refuse its next snapshot.
		return false
	}
	source := mp.Source
	if x, ok := strings.CutPrefix(source, "inherited from "); ok {
		above, known := props[x]
		if !known {
			return false
		}
		source = above.Props["mountpoint"].Source
	}
	return source == "local" || source == "default"
}

// parentOf is the dataset above, "" for a pool.
func parentOf(name string) string {
	i := strings.LastIndexByte(name, '/')
	return name[:max(i, 0)]
}
