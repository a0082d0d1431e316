package zfs

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Epoch is the state of a host's clock and pools. Now is the clock and Boot the time of
// the host's start by that clock, both in seconds; Boot is 0 if it is not known. Loads
// has the load_guid of each pool that keeps snapshots_changed for its datasets; a pool
// gets another load_guid with every import. States has the state of every pool, as
// PoolStates returns it.
type Epoch struct {
	Now, Boot     int64
	Loads, States map[string]string
}

// epochLine opens no dataset. Linux has the time of its start in /proc/stat, FreeBSD in a
// sysctl.
const epochLine = `date +%s; zpool get -Hpo name,property,value load_guid,health,feature@extensible_dataset; ` +
	`grep ^btime /proc/stat 2>/dev/null || sysctl -n kern.boottime 2>/dev/null; :`

// Epoch asks the host for its clock and pools.
func (h *Host) Epoch(ctx context.Context) (Epoch, error) {
	e := Epoch{Loads: map[string]string{}, States: map[string]string{}}
	loads := map[string]string{}
	first := true
	err := h.do(ctx, call{argv: []string{"/bin/sh", "-c", epochLine}, question: true, left: maxFew.allow(), row: func(line string) (err error) {
		switch f := strings.Split(line, "\t"); {
		case first:
			first = false
			if e.Now, err = strconv.ParseInt(line, 10, 64); err != nil {
				return fmt.Errorf("cannot read what 'date +%%s' printed: %q", line)
			}
		case isTrial(f[0]): // no pool
		case len(f) == 3 && f[1] == "load_guid":
			if loads[f[0]] = f[2]; len(loads) > maxPools {
				return fmt.Errorf("it has more than %d pools", maxPools)
			}
		case len(f) == 3 && f[1] == "health":
			if !isPoolState(f[0], f[2]) {
				return fmt.Errorf("%q is not a pool with its state", cutText(line))
			}
			e.States[f[0]] = f[2]
		case len(f) == 3:
			// Without its load_guid, a pool cannot be recognized.
			if load := loads[f[0]]; (f[2] == "enabled" || f[2] == "active") && load != "" && load != "-" && load != "0" {
				e.Loads[f[0]] = load
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
	return e, err
}
