package zfs

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"zab/lib/record"
)

// A program that touches a suspended pool waits in the kernel until the pool's devices
// answer, which may be never, and no signal ends it. So while a program runs, its pools
// are checked from time to time; if one is suspended, the program is left behind, and its
// operation has failed.

// Intervals between two checks for suspended pools: by reading a file of the kernel, and
// by starting a program.
const (
	lookAtFile    = 2 * time.Second
	lookByProgram = time.Minute
)

// lostPools are the pools of a host that were found suspended, and when.
type lostPools struct {
	mu sync.Mutex
	at map[string]time.Time
}

const suspendedState = "SUSPENDED"

// PoolsOf returns the pools that a command of zfs or zpool names, and maybe other words,
// such as tags, which are no pool's name. No pools means all.
func PoolsOf(argv []string) []string {
	pools := map[string]bool{}
	for _, w := range argv[min(2, len(argv)):] {
		if w == "" || w[0] == '-' || strings.ContainsAny(w, "=,") && !isPoint(w) {
			continue
		}
		pools[Pool(w)] = true
	}
	return slices.Sorted(maps.Keys(pools))
}

// poolLost returns the error of a pool that does not answer, in zfs's own words.
func (h *Host) poolLost(pool string) *Error {
	return &Error{Kind: record.KindPoolIO, Host: h.Dest, Code: -1, Lines: []string{fmt.Sprintf("cannot use the pool '%s': pool I/O is currently suspended", pool)}}
}

// suspended returns an error if one of the pools of a command is known to be suspended,
// so that the command should not be started. It starts no program. It never stops a
// listing, because zfs answers many of them from its memory.
func (h *Host) suspended(argv []string) error {
	if len(argv) == 0 || argv[0] != "zfs" && argv[0] != "zpool" || isListing(argv) {
		return nil
	}
	h.lost.mu.Lock()
	defer h.lost.mu.Unlock()
	states, told := h.toldStates()
	for _, p := range PoolsOf(argv) {
		if state, ok := states[p]; told && ok {
			if state == suspendedState {
				return h.poolLost(p)
			}
			continue
		}
		if at, ok := h.lost.at[p]; ok && time.Since(at) < lookByProgram {
			return h.poolLost(p)
		}
	}
	return nil
}

// Watch calls lost, at most once, when one of the pools is suspended. pools are those
// that programs are at work on. The caller ends the watch by end.
func (h *Host) Watch(ctx context.Context, pools []string, lost func(error)) (end func()) {
	return h.watch(ctx, pools, func() bool { return true }, lost)
}

// watch is Watch for a program that does not wait for every suspended pool: stuck reports
// whether the program seems to wait. No pools means all of the host.
func (h *Host) watch(ctx context.Context, pools []string, stuck func() bool, lost func(error)) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		every := lookByProgram
		if _, told := h.toldStates(); told {
			every = lookAtFile
		}
		tick := time.NewTicker(every)
		defer tick.Stop()
		before := ""
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if !stuck() {
				before = ""
				continue
			}
			pool := h.findSuspended(ctx, pools)
			if ctx.Err() != nil {
				return
			}
			// The kernel's file must report the pool at two checks in a row:
			// a pool that was suspended only for a moment goes on.
			if pool != "" && (pool == before || every == lookByProgram) {
				h.lost.mu.Lock()
				if h.lost.at == nil {
					h.lost.at = map[string]time.Time{}
				}
				h.lost.at[pool] = time.Now()
				h.lost.mu.Unlock()
				lost(h.poolLost(pool))
				return
			}
			before = pool
		}
	}()
	return cancel
}

// findSuspended returns a suspended pool, one of those given, or any if none is given; ""
// if there is none or that cannot be determined.
func (h *Host) findSuspended(ctx context.Context, pools []string) string {
	ctx, cancel := context.WithTimeout(ctx, lookByProgram/2)
	defer cancel()
	states, err := h.PoolStates(ctx)
	if err != nil {
		return ""
	}
	for pool, state := range states {
		if state == suspendedState && (len(pools) == 0 || slices.Contains(pools, pool)) {
			return pool
		}
	}
	return ""
}

// stuckIn returns a function that reports whether a process of this machine sleeps in the
// kernel, where no signal wakes it, and has used no processor time since the previous
// call.
func stuckIn(pid int) func() bool {
	before := ""
	return func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		// The process name, in parentheses, may contain anything.
		_, rest, ok := strings.Cut(string(b[bytes.LastIndexByte(b, ')')+1:]), " ")
		f := strings.Fields(rest)
		if err != nil || !ok || len(f) < 13 || f[0] != "D" {
			before = ""
			return false
		}
		used := f[11] + " " + f[12] // processor time of the user and of the kernel
		same := used == before
		before = used
		return same
	}
}
