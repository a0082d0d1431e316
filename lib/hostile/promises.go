package hostile

import (
	"maps"
	"slices"
	"strings"
)

// checkPromises compares the honest host before and after the run: datasets outside the
// backup have not changed, the snapshots that must stay are there (P1), and nothing that
// came in a stream has taken effect (P5).
func (v *observer) checkPromises() {
	honest := v.w.honestHost()
	before, after := v.before(honest), v.after(honest)
	other := v.before(v.w.hostile)
	for _, d := range before.Datasets {
		mine := slices.Contains(v.w.selected, d.Name)
		if honest == "dst" {
			mine = v.w.root != "" && strings.HasPrefix(d.Name, v.w.root+"/")
		}
		current := after.find(d.Name)
		if !mine {
			if current == nil || !slices.EqualFunc(d.Snaps, current.Snaps, sameSnap) || !maps.Equal(d.Local, current.Local) || !maps.Equal(d.Received, current.Received) || d.Mounted != current.Mounted {
				v.add("'%s', which is not part of the backup, has changed", d.Name)
			}
			continue
		}
		if v.w.missing && v.srcBefore.find(strings.TrimPrefix(d.Name, v.w.root+"/")) == nil && honest == "dst" {
			v.checkOrphan(d, after)
			continue
		}
		v.checkSnapshots(d, after, other)
	}
	if honest == "dst" {
		v.checkCopies(after)
	}
}

func sameSnap(a, b *Snap) bool {
	return a.Name == b.Name && a.GUID == b.GUID && slices.Equal(a.Holds, b.Holds)
}

// ours reports whether a snapshot has a name of zab's with a time that is not in the
// future, give or take five minutes.
func ours(s *Snap) bool {
	t, ok := strings.CutPrefix(s.Name, backup+"-")
	return ok && len(t) == 14 && t <= now.Add(3e11).Format(snapshotTimeFormat)
}

// checkSnapshots checks P1 and the schedule for one dataset of the honest host, with the
// state of that host after the run and of the other before it. Of the snapshots that were
// there or were added, the newest of ours stay, and all those of others.
func (v *observer) checkSnapshots(d *Dataset, after, other *Host) {
	exists := func(s *Snap) bool { return after.byGUID(s.GUID) != nil }
	if s := d.newest(); s != nil && !exists(s) {
		superseded := false
		if current := after.find(d.Name); current != nil && current.newest() != nil {
			// A snapshot was added that is newer.
			superseded = slices.IndexFunc(d.Snaps, func(x *Snap) bool { return x.GUID == current.newest().GUID }) < 0 && ours(s)
		}
		if !superseded {
			v.add("the newest snapshot of '%s', '%s', is gone (P1)", d.Name, s.Name)
		}
	}
	// The newest common snapshot, as things really are. If the other host claims in a
	// complete answer to have less, or another one in its place, zab cannot know it; the
	// schedule below holds even then.
	saysLess := slices.ContainsFunc(v.log, func(e Entry) bool { return e.Fair || e.Lie == "wrong-guid" || e.Lie == "other-guid" })
	for _, s := range slices.Backward(d.Snaps) {
		if other.byGUID(s.GUID) == nil {
			continue
		}
		if !exists(s) && !saysLess && !v.newer(d, s, after, v.after(v.w.hostile)) {
			v.add("the newest snapshot in common of '%s', '%s', is gone (P1)", d.Name, s.Name)
		}
		break
	}
	// The schedule keeps the newest of ours, old and added.
	list := slices.Clone(d.Snaps)
	if current := after.find(d.Name); current != nil {
		for _, s := range current.Snaps {
			if !slices.ContainsFunc(list, func(x *Snap) bool { return x.GUID == s.GUID }) {
				list = append(list, s)
			}
		}
	}
	kept := 0
	for _, s := range slices.Backward(list) {
		mine := ours(s)
		if mine {
			kept++
		}
		if !exists(s) && (!mine || kept <= v.w.keep) {
			v.add("'%s@%s' was destroyed; it is number %d of the newest, of which the schedule keeps %d", d.Name, s.Name, kept, v.w.keep)
		}
	}
}

// newer reports whether a snapshot newer than s, or a bookmark at least as new, is common
// to both hosts at the end.
func (v *observer) newer(d *Dataset, s *Snap, after, other *Host) bool {
	current := after.find(d.Name)
	if current == nil {
		return false
	}
	for _, x := range current.Snaps {
		if x.TXG > s.TXG && other.byGUID(x.GUID) != nil {
			return true
		}
	}
	return slices.ContainsFunc(current.Bookmarks, func(m *Snap) bool { return other.byGUID(m.GUID) != nil && m.TXG >= s.TXG })
}

// checkOrphan judges a copy whose source no longer exists: it may be destroyed if its
// newest snapshot is older than the ten days of --destroy-missing.
func (v *observer) checkOrphan(d *Dataset, after *Host) {
	old := d.newest() == nil || d.newest().Creation < now.AddDate(0, 0, -10).Unix()
	if !old && after.find(d.Name) == nil {
		v.add("'%s' was destroyed, although its newest snapshot is younger than --destroy-missing allows", d.Name)
	}
}

// checkCopies judges the properties, mounts, holds and shares of the target at the end.
func (v *observer) checkCopies(after *Host) {
	for _, d := range after.Datasets {
		before := v.dstBefore.find(d.Name)
		if before != nil {
			for _, p := range sortedKeys(d.Local) {
				if was, ok := before.Local[p]; (!ok || was != d.Local[p]) && v.checkProperty(p+"="+d.Local[p]) != "" {
					v.add("'%s' has %s=%q now", d.Name, p, d.Local[p])
				}
			}
		}
		if !strings.HasPrefix(d.Name, v.w.pool) {
			v.add("the dataset %q is not in the target's pool", d.Name)
		}
		if d.Mounted && (before == nil || !before.Mounted) {
			at, source := after.get(d, "mountpoint")
			if x, ok := strings.CutPrefix(source, "inherited from "); ok {
				if up := after.find(x); up != nil {
					_, source = up.own("mountpoint")
				}
			}
			if source == "received" || !strings.HasPrefix(at, "/"+v.w.pool) {
				v.add("'%s' is mounted at %q, which is %s (P5)", d.Name, at, source)
			}
		}
		for _, s := range d.Snaps {
			for _, h := range s.Holds {
				if !v.ownTag(h) && !(before != nil && heldBefore(before, s, h)) {
					v.add("'%s@%s' is held by %q, which came with a stream", d.Name, s.Name, h)
				}
			}
		}
		if d.Kind == "filesystem" && slices.Contains(strings.Split(d.Local["zab:stream"], ","), "x") && !d.Inherits["sharenfs"] {
			v.add("'%s' is marked as taking no sharing from streams, but would take it (P11)", d.Name)
		}
		if share, source := after.get(d, "sharenfs"); share != "off" && source == "received" {
			v.add("'%s' is shared because a stream said so", d.Name)
		}
	}
}

// heldBefore reports whether a snapshot was held by a tag before the run.
func heldBefore(d *Dataset, s *Snap, tag string) bool {
	return slices.ContainsFunc(d.Snaps, func(x *Snap) bool { return x.GUID == s.GUID && slices.Contains(x.Holds, tag) })
}
