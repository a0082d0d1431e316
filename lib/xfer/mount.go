package xfer

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"unicode"

	"zab/lib/record"
	"zab/lib/zfs"
)

// mountJobs is how many programs mount at once.
const mountJobs = 4

// What mount asks of a filesystem that has just been received.
var mountProps = []string{"type", "canmount", "mountpoint", "mounted", "keystatus", "readonly", zfs.FromProp}

// mount mounts what was received for the first time, where its mountpoint is
// the target's own and the way there is not through what a copy brought: one
// question or two for all, and a program for each, some of them at once.
//
// zfs has no command that mounts the filesystems it is given: "zfs mount" takes
// one, and -a and -R (since 2.3) mount whatever else is there as well, be its
// mountpoint its own or one that came with another program's stream a moment
// ago (P5).
func mount(ctx context.Context, batch []*job) {
	var hosts groups[*zfs.Host, *job]
	for _, j := range batch {
		if j.first && j.r.Kind != "volume" && j.r.Error == nil && slices.ContainsFunc(j.arrived, func(i int) bool { return j.results[i].Done }) {
			hosts.add(j.x.target(j.r), j)
		}
	}
	for host, jobs := range hosts.all() {
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
		var able []*job
		for _, j := range jobs {
			switch {
			case err != nil:
				j.r.Warn("cannot mount '%s': cannot ask for its mountpoint: %s", j.r.Target.Name, err)
			case mountable(props, j.r.Target.Name):
				able = append(able, j)
			}
		}
		place := func(j *job) string { return props[j.r.Target.Name].Props["mountpoint"].Value }
		m := &mounter{host: host, props: props, new: names[:len(jobs)]}
		for _, level := range levels(able, place) {
			m.mount(ctx, level)
		}
		m.verify(ctx)
	}
}

// mountOptions: reading a copy must not change it, and nothing in it is to be
// run as another user or to be a device of this machine.
const mountOptions = "ro,nosuid,nodev,noexec"

// mounter mounts new copies of one host, level by level.
type mounter struct {
	host  *zfs.Host
	props map[string]zfs.Dataset
	new   []string // all that were received just now
	// unverified are the copies that zfs has mounted, with the place where that
	// should be.
	unverified map[*job]string
}

// look asks the host about paths and mounts, and sees to it that the copies
// mounted before are where they should be.
func (m *mounter) look(ctx context.Context, paths []string) (map[string]zfs.Path, []zfs.Mounted, error) {
	kinds, mounted, err := m.host.Paths(ctx, paths)
	for j, want := range m.unverified {
		name := j.r.Target.Name
		i := slices.IndexFunc(mounted, func(d zfs.Mounted) bool { return d.Dataset == name })
		switch {
		case err != nil:
			j.r.Warn("cannot see where '%s' was mounted: %s", name, err)
		case i < 0:
			j.x.env.Verbosef("'%s' was mounted, and is not any more", name)
		case mounted[i].Dir != want:
			j.r.Warn("'%s' was mounted at '%s' and not at '%s', for a directory on the way has changed: it is unmounted again", name, mounted[i].Dir, want)
			if err := m.host.Unmount(ctx, name); err != nil {
				j.r.Warn("cannot unmount '%s': %s", name, err)
			}
		default:
			j.r.Target.Mounted = "yes"
		}
	}
	m.unverified = nil
	return kinds, mounted, err
}

func (m *mounter) verify(ctx context.Context) {
	if len(m.unverified) > 0 {
		_, _, _ = m.look(ctx, nil)
	}
}

// mount mounts copies of which none is below another.
func (m *mounter) mount(ctx context.Context, level []*job) {
	var paths []string
	seen := map[string]bool{}
	for _, j := range level {
		for _, p := range pathsTo(m.mountpoint(j)) {
			if !seen[p] {
				seen[p] = true
				paths = append(paths, p)
			}
		}
	}
	kinds, mounted, err := m.look(ctx, paths)
	m.unverified = map[*job]string{}
	var mu sync.Mutex
	sem := make(chan struct{}, mountJobs)
	var all sync.WaitGroup
	for _, j := range level {
		name, at := j.r.Target.Name, m.mountpoint(j)
		if err != nil {
			j.r.Warn("cannot mount '%s': cannot look at '%s': %s", name, at, err)
			continue
		}
		// Copies below it that are mounted already would be hidden, and nobody
		// could unmount them.
		if i := slices.IndexFunc(mounted, func(d zfs.Mounted) bool { return strings.HasPrefix(d.Dir, strings.TrimSuffix(at, "/")+"/") }); i >= 0 {
			j.x.env.Verbosef("'%s' stays unmounted: '%s' is a mountpoint below its own", name, mounted[i].Dir)
			continue
		}
		want, why := wayTo(at, inheritedPlace(m.props[name]), kinds, mounted)
		if why == "" {
			why = m.foreign(ctx, name, want, mounted)
		}
		if why != "" {
			j.r.Warn("'%s' is not mounted at '%s': %s; 'zfs set mountpoint=PATH %s' gives it a place of its own", name, at, why, zfs.Quote(name))
			continue
		}
		sem <- struct{}{}
		all.Go(func() {
			if j.mount(ctx, m.host) {
				mu.Lock()
				m.unverified[j] = want
				mu.Unlock()
			}
			<-sem
		})
	}
	all.Wait()
}

func (m *mounter) mountpoint(j *job) string {
	return m.props[j.r.Target.Name].Props["mountpoint"].Value
}

// mount mounts the record's copy, and reports whether it did.
func (j *job) mount(ctx context.Context, host *zfs.Host) bool {
	name := j.r.Target.Name
	switch err := host.Mount(ctx, name, mountOptions); {
	case err == nil:
		return true
	case zfs.KindOf(err) == record.KindZoned:
		j.x.env.Verbosef("'%s' stays unmounted, which is for its zone to do: %s", name, err)
	case zfs.KindOf(err) == record.KindReadOnly:
		// Its parent's copy does not have the directory yet, and is
		// mounted read-only, as it should be.
		j.x.env.Verbosef("'%s' stays unmounted: %s", name, err)
	default:
		j.r.Warn("cannot mount '%s': %s", name, err)
	}
	return false
}

// pathsTo are a path and all above it but the root, the uppermost first.
func pathsTo(path string) (out []string) {
	path = strings.TrimSuffix(path, "/")
	for i := 1; i < len(path); i++ {
		if path[i] == '/' {
			out = append(out, path[:i])
		}
	}
	return append(out, path)
}

// inheritedPlace is the part of a mountpoint that the administrator chose: that of
// the dataset that it is inherited from, of the pool by default, or all of it.
func inheritedPlace(d zfs.Dataset) string {
	mp := d.Props["mountpoint"]
	above, ok := strings.CutPrefix(mp.Source, "inherited from ")
	if mp.Source == "default" {
		above, ok = zfs.Pool(d.Name), true
	}
	if rest, below := strings.CutPrefix(d.Name, above+"/"); ok && below {
		return strings.TrimSuffix(mp.Value, "/"+rest)
	}
	return mp.Value
}

// wayTo is the place that a mountpoint leads to, or why nothing may be mounted
// there. What is in a mounted copy came from its source, so zfs mount, which
// follows symbolic links, could be led to any place by it. Links that are the
// administrator's are followed: those above all of ZFS on the way, and in the part
// of the path that is not made of the datasets' names.
func wayTo(at, chosen string, kinds map[string]zfs.Path, mounted []zfs.Mounted) (place, why string) {
	if strings.ContainsFunc(at, unicode.IsControl) || path.Clean(at) != at {
		return "", "its mountpoint is no plain path"
	}
	for _, d := range mounted {
		if d.Dir != "/" && len(d.Dir) < len(chosen) && strings.HasPrefix(at, d.Dir+"/") {
			chosen = d.Dir
		}
	}
	place = at
	for _, p := range pathsTo(at) {
		k, known := kinds[p]
		switch below := len(p) > len(chosen); {
		case !known:
			return "", fmt.Sprintf("it is not known what '%s' is", p)
		case k.Kind == zfs.PathMissing:
			return place, "" // and so is all below it: zfs mount makes it
		case k.Kind == zfs.PathLink && below:
			return "", fmt.Sprintf("'%s' is a symbolic link", p)
		case k.Kind == zfs.PathLink && k.Real == "", k.Kind == zfs.PathOther:
			return "", fmt.Sprintf("'%s' is not a directory", p)
		case k.Kind == zfs.PathLink:
			place = k.Real + at[len(p):]
		}
	}
	return place, ""
}

// foreign is why nothing may be mounted at a place: it is in another dataset's
// copy, and not where the copy's own name would have it.
func (m *mounter) foreign(ctx context.Context, name, place string, mounted []zfs.Mounted) (why string) {
	var in zfs.Mounted
	for _, d := range mounted {
		if strings.HasPrefix(place, strings.TrimSuffix(d.Dir, "/")+"/") && len(d.Dir) >= len(in.Dir) {
			in = d
		}
	}
	if rest, below := strings.CutPrefix(name, in.Dataset+"/"); in.Dataset == "" || below && place == strings.TrimSuffix(in.Dir, "/")+"/"+rest {
		return ""
	}
	if _, known := m.props[in.Dataset]; !known {
		got, err := m.host.Get(ctx, mountProps, []string{in.Dataset}, false)
		if err != nil {
			return fmt.Sprintf("it is not known what '%s' is, which it would be in: %s", in.Dataset, err)
		}
		for _, d := range got {
			m.props[d.Name] = d
		}
	}
	if d := m.props[in.Dataset]; !slices.Contains(m.new, in.Dataset) && !isCopy(d) {
		return ""
	}
	return fmt.Sprintf("that is within the copy '%s'", in.Dataset)
}

// isCopy reports whether a dataset was received from another.
func isCopy(d zfs.Dataset) bool {
	for _, v := range d.Props {
		if v.Source == "received" {
			return true
		}
	}
	return d.Props[zfs.FromProp].Source == "local"
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
