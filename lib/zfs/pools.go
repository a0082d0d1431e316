package zfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"zab/lib/dataset"
)

// poolStates is the directory of Linux for statistics of ZFS. It has a directory for each
// imported pool, with a file "state" in it (from 0.8 on).
const poolStates = "/proc/spl/kstat/zfs"

// maxPools is how many pools a host may have.
const maxPools = 10_000

// PoolStates returns the state of every pool that the host has imported, such as ONLINE
// or SUSPENDED, by name, including the pools that zfs silently leaves out of its
// listings. It starts no program here on Linux, and one elsewhere, up to three times if pools
// go away meanwhile; neither way reads from a pool, so neither waits for a suspended one.
func (h *Host) PoolStates(ctx context.Context) (map[string]string, error) {
	if states, told := h.toldStates(); told {
		return states, nil
	}
	for range 2 {
		states, nameless, err := h.listPools(ctx)
		if !nameless {
			return states, err
		}
	}
	states, _, err := h.listPools(ctx)
	return states, err
}

// listPools asks zpool for the states of all pools. nameless is true if its answer could not
// be used because a pool has no name in it, as one that goes away while zpool lists it.
func (h *Host) listPools(ctx context.Context) (states map[string]string, nameless bool, err error) {
	states = map[string]string{}
	argv := []string{"zpool", "list", "-Hp", "-o", "name,health"}
	err = h.askFew(ctx, func(line string) error {
		name, state, ok := strings.Cut(line, "\t")
		if isTrial(name) {
			return nil
		}
		nameless = nameless || line == "-\t-"
		if !ok || !isPoolState(name, state) {
			return fmt.Errorf("%q is not a pool with its state", cutText(line))
		}
		if _, twice := states[name]; twice {
			return fmt.Errorf("'%s' comes twice", name)
		}
		if states[name] = state; len(states) > maxPools {
			return fmt.Errorf("it has more than %d pools", maxPools)
		}
		return nil
	}, argv...)
	if err != nil {
		return nil, nameless, err
	}
	return states, false, nil
}

// toldStates returns the pool states that this machine's kernel reports; told is false if
// it reports none, and for other hosts.
func (h *Host) toldStates() (states map[string]string, told bool) {
	if !h.Here() {
		return nil, false
	}
	states, err := readStates(cmp.Or(h.m.Kstat, poolStates))
	return states, err == nil
}

// isTrial reports whether a name is a temporary one, under which ZFS opens a pool to see
// whether it could be imported, such as $import-ffff8881277e1840-tank (2.3). No pool can
// have such a name.
func isTrial(name string) bool { return strings.HasPrefix(name, "$import") }

// isPoolState reports whether texts are a pool and its state, as zpool prints them.
func isPoolState(name, state string) bool {
	_, err := dataset.ParseName(name)
	return err == nil && !strings.Contains(name, "/") && (state == "-" || isCapitals(state))
}

// isCapitals reports whether a text is a word in capitals, as zpool's states are.
func isCapitals(s string) bool {
	return s != "" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// readStates reads the states of pools from the kernel. It returns an error if the kernel
// does not report them, as in a container without that directory.
func readStates(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	states := map[string]string{}
	for _, e := range entries {
		if !e.IsDir() || isTrial(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name(), "state"))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			// Either the pool was exported after the directory was read, or
			// this version of zfs has no such file.
			if _, err := os.Stat(filepath.Join(dir, e.Name())); err == nil {
				return nil, fmt.Errorf("the state of '%s' is not told", e.Name())
			}
			continue
		case err != nil:
			return nil, err
		}
		states[e.Name()] = strings.TrimSpace(string(text))
	}
	return states, nil
}

// Missing returns a message and a hint for a target that does not exist according to zfs:
// either the dataset is missing or its pool. It looks at the pools only now, after the
// failure.
func (h *Host) Missing(ctx context.Context, target string) (message, hint string) {
	states, err := h.PoolStates(ctx)
	if _, ok := states[Pool(target)]; err == nil && !ok {
		return fmt.Sprintf("the target does not exist on %s: no pool '%s' is imported there", h, Pool(target)),
			"'zpool import' lists the pools that can be imported"
	}
	return fmt.Sprintf("the target does not exist on %s", h),
		fmt.Sprintf("please create this dataset first: 'zfs create %s'", Quote(target))
}
