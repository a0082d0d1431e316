package bench

import (
	"fmt"

	"zab/lib/zabtest"
)

// destroyPools destroys both pools.
func (b *bench) destroyPools() {
	for _, p := range []string{b.src, b.dst} {
		if err := zabtest.DestroyPool(p); err != nil {
			b.t.Error(err)
		}
	}
}

// key returns the name of the template of a workload, the state of the pools in which its
// runs begin.
func (b *bench) key(w *workload, n int) string {
	return fmt.Sprintf("%s-%d", w.name, n)
}

// makeTemplate creates the template of a workload, unless it exists.
func (b *bench) makeTemplate(w *workload, n int) {
	key := b.key(w, n)
	if b.templates[key] {
		return
	}
	b.destroyPools()
	size := int64(512 << 20)
	if w.bytes != nil {
		size += w.bytes(n) * 5 / 4
	} else if w.unit == "datasets" {
		size += int64(n) << 20
	}
	b.must(fmt.Sprintf(`set -e
rm -rf $ROOT/live; mkdir -p $ROOT/live/s $ROOT/live/d
truncate -s %d $ROOT/live/s/img
zpool create -o cachefile=none -O atime=off -O compression=off -m $ROOT/mnt $SRC $ROOT/live/s/img
zfs create $SRC/d
zfs set autobackup:bench=true $SRC/d
`, size) + w.fill(n))
	if w.replica {
		mountpoint := "none"
		if w.mounted {
			mountpoint = "$ROOT/copies"
		}
		// A copy of the whole pool is far quicker than receiving its datasets, and keeps
		// their guids.
		b.must(`set -e
zpool export $SRC
cp --sparse=always $ROOT/live/s/img $ROOT/live/d/img
zpool import -o cachefile=none -N -d $ROOT/live/d $SRC $DST
zpool reguid $DST
zfs set mountpoint=` + mountpoint + ` $DST
zfs create -p -o canmount=off $DST/backup/$SRC
zfs rename $DST/d $DST/backup/$SRC/d
zfs inherit autobackup:bench $DST/backup/$SRC/d
zpool import -o cachefile=none -d $ROOT/live/s $SRC
# for the holds that an earlier run would have left
zab --no-snapshot --no-thinning bench $DST/backup
` + w.change)
	} else {
		b.must(fmt.Sprintf(`set -e
truncate -s %d $ROOT/live/d/img
zpool create -o cachefile=none -O atime=off -O compression=off -m none $DST $ROOT/live/d/img
zfs create -p -o canmount=off $DST/backup/$SRC`, size))
	}
	b.must(fmt.Sprintf(`set -e
zpool sync; zpool export $SRC; zpool export $DST
for x in s d; do mv $ROOT/live/$x/img $ROOT/%s.$x; done`, key))
	b.templates[key] = true
}

// dropTemplate removes a template.
func (b *bench) dropTemplate(key string) {
	b.destroyPools()
	b.must(fmt.Sprintf(`rm -rf $ROOT/live $ROOT/%[1]s.s $ROOT/%[1]s.d`, key))
	delete(b.templates, key)
}

// restore sets the pools to the template of a workload.
func (b *bench) restore(w *workload, n int) {
	b.makeTemplate(w, n)
	b.destroyPools()
	b.must(fmt.Sprintf(`set -e
rm -rf $ROOT/live $ROOT/cache; mkdir -p $ROOT/live/s $ROOT/live/d
for x in s d; do cp --sparse=always $ROOT/%s.$x $ROOT/live/$x/img; done
zpool import -o cachefile=none -d $ROOT/live/s $SRC
zpool import -o cachefile=none -d $ROOT/live/d $DST
zpool sync`, b.key(w, n)))
}
