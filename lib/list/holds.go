package list

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"zab/lib/chain"
	"zab/lib/cli"
	"zab/lib/record"
	"zab/lib/zfs"
)

// holds adds the tags of all holds to the snapshots that have any, and details of our
// own. It starts one more zfs program; another if any of our holds is for a single
// target; and zpool get where a pool must be identified.
func (o *Options) holds(ctx context.Context, env *cli.Env, tree []*record.Record) error {
	host := env.Machine.Host(string(o.SSH))
	counts := map[string]int64{}
	at := map[string]*record.Snapshot{}
	for _, r := range tree {
		for i := range r.Snapshots {
			if s := &r.Snapshots[i]; s.UserRefs != nil && *s.UserRefs > 0 {
				counts[s.Full(r.Name)] = *s.UserRefs
				at[s.Full(r.Name)] = s
			}
		}
	}
	got, err := host.Holds(ctx, counts)
	if err != nil && zfs.KindOf(err) != record.KindNotFound {
		return fmt.Errorf("cannot list the holds on snapshots of %s: %w", host, err)
	}
	shared := o.shared()
	pins := false
	for _, h := range got {
		s := at[h.Snapshot]
		// Anybody's tags may be in any encoding; ours are ASCII.
		x := s.Rare()
		x.Holds = append(x.Holds, strings.ToValidUTF8(h.Tag, "\uFFFD"))
		s.SetRare(x)
		held := record.Held{Tag: h.Tag}
		if m := shared.FindString(h.Tag); m == "" {
			continue
		} else if m != h.Tag {
			var ok bool
			if held.TargetGUID, held.TargetPoolGUID, ok = chain.PinTarget(h.Tag, m); !ok {
				continue
			}
			pins = true
		}
		if !h.Since.IsZero() {
			held.Since = record.Ptr(h.Since.Unix())
		}
		x.Held = append(x.Held, held)
		s.SetRare(x)
	}
	if !pins {
		return nil
	}
	return findTargets(ctx, env, host, slices.Collect(maps.Values(at)))
}

// findTargets finds the target datasets of holds by their guids, and by the guids of
// their pools where the tags contain these: several pools may have a dataset of the same
// guid, as after zpool split.
func findTargets(ctx context.Context, env *cli.Env, host *zfs.Host, snapshots []*record.Snapshot) error {
	datasets := map[string][]string{} // by guid
	err := host.List(ctx, nil, zfs.ListOptions{Types: zfs.Datasets, Depth: -1}, func(r zfs.Row) error {
		datasets[r.GUID] = append(datasets[r.GUID], r.Dataset)
		return nil
	})
	var pools []string
	for _, s := range snapshots {
		for _, h := range s.Rare().Held {
			if h.TargetPoolGUID != "" {
				for _, name := range datasets[h.TargetGUID] {
					if !slices.Contains(pools, zfs.Pool(name)) {
						pools = append(pools, zfs.Pool(name))
					}
				}
			}
		}
	}
	var guids map[string]zfs.Features
	if len(pools) > 0 {
		var e error
		if guids, e = host.Features(ctx, pools); err == nil {
			err = e
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		// Targets that were found are still marked as known.
		env.Warnf("cannot tell which targets %s does not know: %s", host, err)
	}
	for _, s := range snapshots {
		x := s.Rare()
		x.Held = slices.Clone(x.Held)
		for i := range x.Held {
			h := &x.Held[i]
			if h.TargetGUID == "" {
				continue
			}
			for _, name := range datasets[h.TargetGUID] {
				if h.TargetPoolGUID == "" || guids[zfs.Pool(name)].GUID == h.TargetPoolGUID {
					h.Target = name
				}
			}
			if h.Target != "" || err == nil {
				h.Known = record.Ptr(h.Target != "")
			}
		}
		s.SetRare(x)
	}
	return nil
}

// guidAfter matches the guids that a tag for a single target has after the shared tag. No
// random guid is as short as a number in a backup's name.
const guidAfter = `(:[0-9]{10,20}(\.[0-9]{1,20})?)?$`

// shared returns a matcher for the part of our tags that all targets of the backup share.
// Without --backup it matches the tags of any backup.
func (o *Options) shared() matcher {
	name := regexp.QuoteMeta(string(o.Backup))
	if o.Backup == "" {
		name = `[a-z0-9:._][a-z0-9:._-]*?`
	}
	parts := strings.Split(string(o.HoldFormat), "{}")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return matcher{regexp.MustCompile("^(" + strings.Join(parts, name) + ")" + guidAfter)}
}

type matcher struct{ *regexp.Regexp }

// FindString returns the shared part of a tag; "" if the tag is not ours.
func (m matcher) FindString(tag string) string {
	if f := m.FindStringSubmatch(tag); f != nil {
		return f[1]
	}
	return ""
}
