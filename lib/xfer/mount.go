package xfer

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"unicode"

	"zab/lib/groups"
	"zab/lib/record"
	"zab/lib/zfs"
)

// mountJobs is how many programs mount at once.
const mountJobs = 4

// mountProps are the properties that mount needs of a filesystem just received.
var mountProps = []string{"type", "canmount", "mountpoint", "mounted", "keystatus", "readonly", zfs.FromProp}

// mount mounts the filesystems that were received for the first time, if the mountpoint
// is the target's own and its path does not lead through the files of a copy. It starts a
// program for each, several at once. looked is what look has found out about the batch.
//
// zfs has no command that mounts the filesystems it is given: "zfs mount" takes one, and
// -a and -R (since 2.3) also mount all others, at their own mountpoint or at one that
// came with another program's stream a moment ago (P5).
func mount(ctx context.Context, batch []*job, looked map[*zfs.Host]seen) {
	var hosts groups.Of[*zfs.Host, *job]
	for _, j := range batch {
		if j.mounts() {
			hosts.Add(j.x.target(j.r), j)
		}
	}
	for host, jobs := range hosts.All() {
		slices.SortFunc(jobs, func(a, b *job) int { return strings.Compare(a.r.Target.Name, b.r.Target.Name) })
		m := &mounter{host: host, props: looked[host].props}
		var able []*job
		for _, j := range jobs {
			j.first = false
			name := j.r.Target.Name
			m.new = append(m.new, name)
			if err := looked[host].failure(name); err != nil {
				j.r.Warn("cannot mount '%s': cannot ask for its mountpoint: %s", name, err)
			} else if mountable(m.props, name) {
				able = append(able, j)
			}
		}
		for _, level := range levels(able, m.mountpoint) {
			m.mount(ctx, level)
		}
		m.verify(ctx)
	}
}

// mountOptions keep a copy from being changed by reading it, and its files from being
// run, from changing the user, and from being devices of this machine.
const mountOptions = "ro,nosuid,nodev,noexec"

// mounter mounts new copies of one host, level by level.
type mounter struct {
	host  *zfs.Host
	props map[string]zfs.Dataset
	new   []string // the names of all copies received just now
	// unverified has the copies that zfs has mounted, each with the directory where it
	// should be.
	unverified map[*job]string
}

// look asks the host about paths and mounts, and checks the copies mounted before: one
// that is not where it should be is unmounted.
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
		// A filesystem that is mounted there or below would be hidden, and nobody could
		// unmount it.
		if i := slices.IndexFunc(mounted, func(d zfs.Mounted) bool { return strings.HasPrefix(d.Dir+"/", strings.TrimSuffix(at, "/")+"/") }); i >= 0 {
			j.x.env.Verbosef("'%s' stays unmounted: '%s' is mounted at '%s', where it would be hidden", name, mounted[i].Dataset, mounted[i].Dir)
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
		// The copy of its parent is mounted read-only, as it should be, and does not
		// have the directory yet.
		j.x.env.Verbosef("'%s' stays unmounted: %s", name, err)
	default:
		j.r.Warn("cannot mount '%s': %s", name, err)
	}
	return false
}

// pathsTo returns a path and all paths above it except the root, the uppermost first.
func pathsTo(path string) (out []string) {
	path = strings.TrimSuffix(path, "/")
	for i := 1; i < len(path); i++ {
		if path[i] == '/' {
			out = append(out, path[:i])
		}
	}
	return append(out, path)
}

// inheritedPlace returns the part of a mountpoint that the administrator chose: the
// mountpoint of the dataset from which it is inherited, by default of the pool, or else
// all of it.
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

// wayTo returns the directory that a mountpoint leads to, or why nothing may be mounted
// there. zfs mount follows symbolic links, so those in the files of a mounted copy, which
// came from its source, could lead it anywhere. Only the administrator's links are
// followed: those that are above every filesystem of ZFS on the way but /, and in the
// part of the path that is not made of the names of datasets.
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
			return place, "" // and so is all below it: zfs mount makes the directories
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

// foreign returns why the copy may not be mounted at a place: the place is within another
// copy, and not where the name of the dataset would put it; "" if it may.
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

// levels splits a list of copies into sets, each of which can be mounted at once when the
// sets before it are: none in a set is below another one, or at the same mountpoint.
// Copies whose mountpoints are equally deep keep their order.
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

// mountable reports whether a filesystem may be mounted: its properties ask for it and
// allow it, and its mountpoint did not come with a stream, neither with its own nor with
// that of the dataset above from which it inherits.
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
		// zfs mount might make the directory in the copy above, which would be changed
		// by that and refuse its next snapshot.
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

// parentOf returns the parent of a dataset, "" for a pool.
func parentOf(name string) string {
	i := strings.LastIndexByte(name, '/')
	return name[:max(i, 0)]
}
