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

// holds lists the holds on those snapshots that have any, and what is known of ours:
// one zfs program more, and another where one of ours stands for a target.
func (o *Options) holds(ctx context.Context, env *cli.Env, tree []*record.Record) error {
	host := env.Machine.Host(o.SSH)
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
		s.Holds = append(s.Holds, h.Tag)
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
		s.Held = append(s.Held, held)
	}
	if !pins {
		return nil
	}
	return findTargets(ctx, env, host, slices.Collect(maps.Values(at)))
}

// findTargets looks for the datasets that holds stand for, and where their pools have
// to be known also for those: datasets of one guid may be in several pools, as after
// zpool split.
func findTargets(ctx context.Context, env *cli.Env, host *zfs.Host, snapshots []*record.Snapshot) error {
	datasets := map[string][]string{} // by guid
	err := host.List(ctx, nil, zfs.ListOptions{Types: zfs.Datasets, Depth: -1}, func(r zfs.Row) error {
		datasets[r.GUID] = append(datasets[r.GUID], r.Dataset)
		return nil
	})
	var pools []string
	for _, s := range snapshots {
		for i := range s.Held {
			if h := &s.Held[i]; h.TargetPoolGUID != "" {
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
		// One that was found is known all the same.
		env.Warnf("cannot tell which targets %s does not know: %s", host, err)
	}
	for _, s := range snapshots {
		for i := range s.Held {
			h := &s.Held[i]
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
	}
	return nil
}

// guidAfter is what follows the shared tag in one that stands for a single target.
// No guid that was drawn at random is as short as a number in a backup's name.
const guidAfter = `(:[0-9]{10,20}(\.[0-9]{1,20})?)?$`

// shared finds in a tag of ours the part that all targets of its backup share.
// Without --backup that is any backup's.
func (o *Options) shared() matcher {
	name := regexp.QuoteMeta(o.Backup)
	if o.Backup == "" {
		name = `[a-z0-9:._][a-z0-9:._-]*?`
	}
	parts := strings.Split(o.HoldFormat, "{}")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return matcher{regexp.MustCompile("^(" + strings.Join(parts, name) + ")" + guidAfter)}
}

type matcher struct{ *regexp.Regexp }

// FindString returns the shared part of a tag; "" of one that is not ours.
func (m matcher) FindString(tag string) string {
	if f := m.FindStringSubmatch(tag); f != nil {
		return f[1]
	}
	return ""
}
