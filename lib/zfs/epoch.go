package zfs

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
)

// Epoch is what a host says of its clock and of its pools: the clock and the
// time of its start, both in seconds by that clock, the latter 0 where it is not
// to be had; and the load_guid, another with every import, of each pool that
// keeps for its datasets when their snapshots changed.
type Epoch struct {
	Now, Boot int64
	Loads     map[string]string
}

// No dataset is opened by any of it. Linux tells when it was started in
// /proc/stat, FreeBSD in a sysctl.
const epochLine = `date +%s; zpool get -Hpo name,property,value load_guid,feature@extensible_dataset; ` +
	`grep ^btime /proc/stat 2>/dev/null || sysctl -n kern.boottime 2>/dev/null; :`

// Epoch asks the host.
func (h *Host) Epoch(ctx context.Context) (Epoch, error) {
	e := Epoch{Loads: map[string]string{}}
	loads := map[string]string{}
	first := true
	err := h.do(ctx, call{argv: []string{"/bin/sh", "-c", epochLine}, question: true, row: func(line string) (err error) {
		switch f := strings.Split(line, "\t"); {
		case first:
			first = false
			if e.Now, err = strconv.ParseInt(line, 10, 64); err != nil {
				return fmt.Errorf("cannot read what 'date +%%s' printed: %q", line)
			}
		case len(f) == 3 && f[1] == "load_guid":
			loads[f[0]] = f[2]
		case len(f) == 3:
			if f[2] == "enabled" || f[2] == "active" {
				e.Loads[f[0]] = loads[f[0]]
			}
		case strings.HasPrefix(line, "btime "):
			e.Boot, _ = strconv.ParseInt(line[len("btime "):], 10, 64)
		case strings.HasPrefix(line, "{ sec = "):
			// { sec = 1795408080, usec = 123456 } Mon Nov 23 04:28:00 2026
			sec, _, _ := strings.Cut(line[len("{ sec = "):], ",")
			e.Boot, _ = strconv.ParseInt(sec, 10, 64)
		}
		return nil
	}})
	// A pool whose load_guid is not told is one that cannot be recognized.
	maps.DeleteFunc(e.Loads, func(_, load string) bool { return load == "" || load == "-" || load == "0" })
	return e, err
}
