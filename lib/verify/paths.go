package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"zab/lib/filetree"
	"zab/lib/hashfunc"
	"zab/lib/record"
)

// namesTime is how long a host may look for names, for which the message about the
// difference waits.
const namesTime = 10 * time.Minute

// findPaths adds the paths of the objects of a filesystem: an object's number is that of
// its inode. The source names those that it has, the target the others and what the source
// could not name. With --fetch, no other host is asked.
func (v *verifier) findPaths(ctx context.Context, r *record.Record, t *task, list []record.DifferentObject) {
	if r.Kind != "filesystem" {
		return
	}
	for _, e := range v.ends(r, t) {
		unnamed := map[uint64]*record.DifferentObject{}
		for i := range list {
			if o := &list[i]; o.Path == "" && (o.Where == "" || o.Where == e.side) {
				unnamed[uint64(o.Object)] = o
			}
		}
		if len(unnamed) == 0 || ctx.Err() != nil || v.o.Fetch && !e.host.Here() {
			continue
		}
		names, err := v.askNames(ctx, e, slices.Sorted(maps.Keys(unnamed)))
		if err != nil {
			v.env.Verbosef("cannot tell the names of what differs in '%s': %s", e.name(), err)
			continue
		}
		for number, path := range names {
			unnamed[number].Path = strings.ToValidUTF8(path, "\uFFFD")
		}
	}
}

// askNames has the host of an end find names of its files, by the numbers of their objects.
func (v *verifier) askNames(ctx context.Context, e *end, numbers []uint64) (map[uint64]string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, namesTime, fmt.Errorf("it took longer than %s", namesTime))
	defer cancel()
	ctx, unwatch := v.watch(ctx, e)
	var options []string
	for _, n := range numbers {
		options = append(options, "--name-of="+strconv.FormatUint(n, 10))
	}
	var last filetree.Names
	names := map[uint64]string{}
	err := unwatch(e.host.DigestFiles(ctx, e.name(), hashfunc.SHA256, options, e.watch.signs(), func(line string) error {
		e.watch.alive()
		if last.GUID != "" {
			return errors.New("there is a line behind the last")
		}
		n, end, err := filetree.ParseName(line)
		if last = end; err != nil || last.GUID != "" {
			return err
		}
		if _, twice := names[n.Object]; twice || !slices.Contains(numbers, n.Object) {
			return fmt.Errorf("the name of object %d was not asked for", n.Object)
		}
		names[n.Object], err = filetree.Unescape(n.Path)
		return err
	}))
	switch {
	case err != nil:
		return nil, err
	case last.GUID == "" && len(names) == 0:
		return nil, notInstalled(e)
	case last.GUID != e.guid:
		return nil, fmt.Errorf("the names are of a snapshot with the guid %q, not %s", last.GUID, e.guid)
	}
	return names, nil
}
