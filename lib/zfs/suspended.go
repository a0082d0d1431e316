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

// A program that touches a suspended pool waits in the kernel until the pool's
// devices answer, which may be never, and no signal ends it. So while a program runs
// it is looked from time to time whether one of its pools is suspended; if so, the
// program is left behind, and what it was to do has failed.

// How often it is looked whether a pool is suspended: where a file of the kernel
// tells, and where a program must be started for it.
const (
	lookAtFile    = 2 * time.Second
	lookByProgram = time.Minute
)

// lostPools are those of a host that were found suspended, and when.
type lostPools struct {
	mu sync.Mutex
	at map[string]time.Time
}

const suspendedState = "SUSPENDED"

// PoolsOf returns the pools that a command of zfs or zpool names; other words come
// with them, which no pool has as its name. None is all.
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

// poolLost is the error of a pool that does not answer. Its words are zfs's own.
func (h *Host) poolLost(pool string) *Error {
	return &Error{Kind: record.KindPoolIO, Host: h.Dest, Code: -1, Lines: []string{fmt.Sprintf("cannot use the pool '%s': pool I/O is currently suspended", pool)}}
}

// suspended returns why a command should not be started: a pool of it is known to
// be suspended. It starts no program. Questions are zfs's to answer, for it answers
// many of them from its memory.
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

// Watch calls lost, at most once, when one of the pools is suspended: given those
// that programs are at work on. The caller ends it.
func (h *Host) Watch(ctx context.Context, pools []string, lost func(error)) (end func()) {
	return h.watch(ctx, pools, func() bool { return true }, lost)
}

// watch is Watch for a program that does not wait for every pool that is suspended:
// stuck tells whether it seems to. No pools are all of the host.
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
			// A pool that was suspended for a moment only goes on.
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

// findSuspended returns a suspended pool, one of those given or of all if none is;
// "" where there is none, or where it cannot be told.
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

// stuckIn returns a function that reports whether a process of this machine sleeps in
// the kernel, where no signal wakes it, and has done nothing since it was asked before.
func stuckIn(pid int) func() bool {
	before := ""
	return func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		// The name, in parentheses, may contain anything.
		_, rest, ok := strings.Cut(string(b[bytes.LastIndexByte(b, ')')+1:]), " ")
		f := strings.Fields(rest)
		if err != nil || !ok || len(f) < 13 || f[0] != "D" {
			before = ""
			return false
		}
		used := f[11] + " " + f[12] // processor time, in the kernel and out of it
		same := used == before
		before = used
		return same
	}
}
