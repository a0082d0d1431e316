// Package list implements zab-list, which prints a tree of datasets as records, with
// their snapshots and bookmarks.
//
// Goals: two zfs programs for trees of any size, and up to three more for the holds; the
// records contain everything that a plan asks of a target, so that a plan can be made
// from a file.
//
// Non-goals: it changes and decides nothing.
package list

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"zab/lib/cli"
	"zab/lib/dataset"
	"zab/lib/record"
	"zab/lib/snapname"
	"zab/lib/zfs"
)

// Options are the options of zab-list.
type Options struct {
	cli.Common
	SSH         dataset.Host `long:"ssh" section:"remote" value-name:"USER@HOST" unquote:"false" description:"Host that the datasets are on; this machine without it"`
	Depth       int          `long:"depth" value-name:"N" default:"-1" base:"10" description:"How many levels below the datasets to list; -1 is all, 0 none"`
	NoSnapshots bool         `long:"no-snapshots" description:"List the datasets only, not their snapshots and bookmarks"`
	Holds       bool         `long:"holds" description:"Also list the holds on snapshots, and of ours since when and for which target"`
	snapname.Holding
	Backup snapname.Backup `long:"backup" value-name:"NAME" unquote:"false" description:"Backup name to put into the records, for the commands that read them"`
}

// Program describes zab-list.
func Program() cli.Program {
	o := &Options{}
	return cli.Program{
		Name: "zab-list", Usage: "DATASET...", MinArgs: 1, MaxArgs: -1,
		Summary: "Print a record for every dataset of the trees, with snapshots and bookmarks.",
		Options: o,
		Check:   o.check,
		Run:     o.run,
	}
}

// Main runs zab-list and returns its exit status.
func Main(args []string) int { return cli.Main(Program(), args) }

func (o *Options) check(args []string) error {
	for _, a := range args {
		if _, err := dataset.ParseName(a); err != nil {
			return err
		}
	}
	if o.Holds && o.NoSnapshots {
		return errors.New("--holds and --no-snapshots exclude each other")
	}
	if o.Depth < -1 {
		return fmt.Errorf("--depth: %d is neither -1 nor a depth", o.Depth)
	}
	return nil
}

func (o *Options) run(ctx context.Context, env *cli.Env, args []string) error {
	tree, err := Tree(ctx, env.Machine.Host(string(o.SSH)), args, o.Depth, !o.NoSnapshots)
	if err != nil {
		return err
	}
	if o.Holds {
		if err := o.holds(ctx, env, tree); err != nil {
			return err
		}
	}
	w := env.Writer(env.Stdout)
	for _, r := range tree {
		r.Backup = string(o.Backup)
		if err := w.Write(r); err != nil {
			return err
		}
	}
	return nil
}

// Tree returns records of the roots and their descendants down to depth (-1: all), in
// zfs's order, with all facts that records have. It starts one zfs program, or two with
// snapshots.
func Tree(ctx context.Context, host *zfs.Host, roots []string, depth int, snapshots bool) ([]*record.Record, error) {
	var out []*record.Record
	byName := map[string]*record.Record{}
	err := host.GetEach(ctx, zfs.FactProps, roots, depth, func(d zfs.Dataset) {
		if byName[d.Name] != nil {
			return // roots may overlap
		}
		r := &record.Record{Type: record.TypeDataset, Host: host.Dest, Name: d.Name, Facts: d.Facts()}
		if snapshots {
			r.Snapshots, r.Bookmarks = []record.Snapshot{}, []record.Snapshot{}
		}
		byName[d.Name] = r
		out = append(out, r)
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list the datasets of %s: %w", host, err)
	}
	if !snapshots {
		return out, nil
	}
	if depth >= 0 {
		depth++ // a snapshot counts as one level below its dataset
	}
	seen := map[string]bool{}
	o := zfs.ListOptions{Types: zfs.Snapshots | zfs.Bookmarks, Depth: depth, Extra: []string{"creation", "written", "userrefs"}}
	err = host.List(ctx, roots, o, func(row zfs.Row) error {
		r := byName[row.Dataset]
		key := row.Dataset + "@" + row.Snapshot + "#" + row.Bookmark
		if r == nil || seen[key] {
			return nil // created or destroyed between the two listings
		}
		seen[key] = true
		e := row.Entry()
		for i, to := range []**int64{&e.Creation, &e.Written, &e.UserRefs} {
			if n, err := strconv.ParseInt(row.Extra[i], 10, 64); err == nil {
				*to = &n
			}
		}
		if row.Bookmark != "" {
			e.Written, e.UserRefs = nil, nil
			r.Bookmarks = append(r.Bookmarks, e)
		} else {
			r.Snapshots = append(r.Snapshots, e)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list the snapshots of %s: %w", host, err)
	}
	for _, r := range out {
		zfs.SortByAge(r.Snapshots)
		zfs.SortByAge(r.Bookmarks)
	}
	return out, nil
}
