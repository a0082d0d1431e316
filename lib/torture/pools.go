package torture

import (
	"fmt"
	"os"
	"strings"

	"zab/lib/zabtest"
)

// poolOf returns the pool of a dataset.
func poolOf(name string) string {
	pool, _, _ := strings.Cut(name, "/")
	return pool
}

// pools returns the pools of a history: that of the source first, then those of the
// targets.
func (h *history) pools() []string {
	out := []string{h.source}
	for _, t := range h.targets {
		out = append(out, poolOf(t))
	}
	return out
}

// createPools creates the pools and datasets from which a history begins.
func (h *history) createPools() {
	defer h.tally.timed("setup")()
	if err := os.MkdirAll(h.dir, 0o777); err != nil {
		h.t.Fatal(err)
	}
	for _, p := range h.pools() {
		h.must("truncate -s 96M %[1]s/%[2]s.img && zpool create -O atime=off -O sync=disabled -m %[1]s/%[2]s %[2]s %[1]s/%[2]s.img", h.dir, p)
	}
	key := ""
	if h.encryption != "" {
		h.must("head -c 32 /dev/zero | tr '\\0' k >%s/key", h.dir)
		key = fmt.Sprintf("-o encryption=on -o keyformat=raw -o keylocation=file://%s/key ", h.dir)
	}
	sourceKey, targetKey := key, ""
	if h.encryption == "encrypt" {
		sourceKey, targetKey = "", key
	}
	for _, t := range h.targets {
		h.must("zfs create %s%s", targetKey, t)
	}
	h.must("zfs create %[3]s%[1]s/t && zfs create %[2]s", h.source, quote(h.source+"/t/a b"), sourceKey)
	switch h.rng.Intn(3) {
	case 0:
		h.must("zfs create %s", quote(h.source+"/t/a b/c:d"))
	case 1:
		// Its mountpoint is a local property, which is sent with the stream.
		h.must("zfs create -o mountpoint=%s/live %s/t/live", h.dir, h.source)
	case 2:
		h.must("zfs create -s -V 1M %s/t/vol", h.source)
	}
	h.must("zfs set autobackup:%s=true %s/t", h.backup, h.source)
	h.otherMounts = mountsWhere(isForeign)
}

// destroyPools destroys the pools and all files of a history.
func (h *history) destroyPools() {
	defer h.tally.timed("clean-up")()
	for _, p := range h.pools() {
		if err := zabtest.DestroyPool(p); err != nil {
			h.t.Errorf("seed %d: %v", h.seed, err)
		}
	}
	os.RemoveAll(h.dir)
}
