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

// createSource returns shell commands that create an empty pool of sources.
func createSource(size int64) string {
	return fmt.Sprintf(`truncate -s %d $ROOT/live/s/img
zpool create -o cachefile=none -O atime=off -O compression=off -m $ROOT/mnt $SRC $ROOT/live/s/img
`, size)
}

// copySource returns shell commands that make a pool of copies of a file of the pool of
// sources, which must not be imported. That is far quicker than receiving its datasets, and
// keeps their guids.
func (w *workload) copySource(file string) string {
	mountpoint, options := "none", "-o canmount=off"
	if w.mounted {
		mountpoint = "$ROOT/copies"
	}
	if !w.replica {
		options += " -o mountpoint=none"
	}
	return fmt.Sprintf(`cp --sparse=always %s $ROOT/live/d/img
zpool import -o cachefile=none -N -d $ROOT/live/d $SRC $DST
zpool reguid $DST
zfs set mountpoint=%s $DST
zfs create -p %s $DST/backup/$SRC
`, file, mountpoint, options)
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
		size += int64(n*(1+w.crowd)) << 20
	}
	b.must("rm -rf $ROOT/live; mkdir -p $ROOT/live/s $ROOT/live/d")
	begin := createSource(size)
	if w.crowd > 0 {
		crowd := b.makeCrowd(w.crowd*n, size)
		begin = "cp --sparse=always " + crowd + ` $ROOT/live/s/img
zpool import -o cachefile=none -N -d $ROOT/live/s $SRC
zfs mount $SRC
`
		if !w.replica {
			begin = w.copySource(crowd) + begin
		}
	}
	b.must("set -e\n" + begin + `zfs create $SRC/d
zfs set autobackup:bench=true $SRC/d
` + w.fill(n))
	switch {
	case w.replica:
		b.must("set -e\nzpool export $SRC\n" + w.copySource("$ROOT/live/s/img") + `
zfs rename $DST/d $DST/backup/$SRC/d
zfs inherit autobackup:bench $DST/backup/$SRC/d
zpool import -o cachefile=none -d $ROOT/live/s $SRC
# for the holds that an earlier run would have left
zab --no-snapshot --no-thinning bench $DST/backup
` + w.change)
	case w.crowd == 0:
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
	options := ""
	if w.crowd > 0 && !w.mounted {
		options = "-N" // to find out that none is to be mounted, the import would open them all
	}
	b.must(fmt.Sprintf(`set -e
rm -rf $ROOT/live $ROOT/cache; mkdir -p $ROOT/live/s $ROOT/live/d
for x in s d; do cp --sparse=always $ROOT/%s.$x $ROOT/live/$x/img; done
zpool import -o cachefile=none -d $ROOT/live/s $SRC
zpool import -o cachefile=none %s -d $ROOT/live/d $DST
zpool sync`, b.key(w, n), options))
}
