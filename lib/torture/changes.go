package torture

import (
	"fmt"
	"slices"
	"time"
)

// change makes a random change to the pools, as users and other tools do. It chooses among
// the datasets and snapshots of the observer's last look.
func (h *history) change() {
	w := h.seen
	if w == nil {
		w = h.look()
	}
	if w == nil {
		return
	}
	all, fs := h.datasets(w, ""), h.datasets(w, "filesystem")
	if len(fs) == 0 {
		return
	}
	d := pick(h, all...)
	f := pick(h, fs...)
	h.serial++
	switch h.rng.Intn(24) {
	case 0, 1, 2, 3, 4:
		h.write(f, 20000+h.rng.Intn(300000))
	case 5:
		h.write(f, 3000000)
	case 6:
		for _, d := range all {
			if d.kind == "volume" {
				h.sh("test -b /dev/zvol/%[1]s && dd if=/dev/urandom of=/dev/zvol/%[1]s bs=8k count=4 seek=%[2]d conv=fsync 2>/dev/null; zpool sync %[3]s", d.name, h.rng.Intn(20), h.source)
				return
			}
		}
		h.write(f, 5000)
	case 7, 8:
		h.sh("zfs snapshot %s", quote(fmt.Sprintf("%s@x%d", d.name, h.serial)))
	case 9, 10:
		h.destroySnapshot(w, d)
	case 11:
		if s := d.newest(); s != nil {
			h.sh("zfs rollback %s", quote(d.name+"@"+s.name))
		}
	case 12:
		h.sh("zfs create %s", quote(fmt.Sprintf("%s/n%d", f.name, h.serial)))
	case 13:
		if d.name != h.source+"/t" {
			to := fmt.Sprintf("%s/t/r%d", h.source, h.serial%3)
			if h.oneIn(3) {
				to = fmt.Sprintf("%s/t/moved here %d", h.source, h.serial)
			}
			h.sh("zfs rename %s %s", quote(d.name), quote(to))
		}
	case 14:
		if s := d.randomSnapshot(h); s != nil {
			h.sh("zfs clone %s %s", quote(d.name+"@"+s.name), quote(fmt.Sprintf("%s/t/k%d", h.source, h.serial)))
		}
	case 15:
		for _, d := range all {
			if d.origin != "-" {
				h.sh("zfs promote %s", quote(d.name))
				break
			}
		}
	case 16:
		h.sh("zfs set %s %s", pick(h, "compression=lz4", "compression=off", "org.test:x=a' b'", "recordsize=16k", "quota=100M", "readonly=off"), quote(f.name))
	case 17:
		by := time.Duration(1+h.rng.Intn(48*3600)) * time.Second
		if h.oneIn(3) {
			by = -time.Duration(1+h.rng.Intn(3*3600)) * time.Second
		}
		h.now = h.now.Add(by)
		h.say("# the clock goes on by %s", by)
	case 18, 19, 20:
		h.modifyCopy(w)
	case 21:
		if d.name != h.source+"/t" && h.oneIn(2) {
			h.sh("zfs set autobackup:%s=%s %s", h.backup, pick(h, "false", "true"), quote(d.name))
		} else {
			h.sh("zfs inherit autobackup:%s %s", h.backup, quote(f.name+"/none"))
		}
	case 22:
		h.moveOn(w, f)
	case 23:
		h.sh("rm -f %s/cache/pinned-*", h.dir)
	}
}

// moveOn sends a new snapshot of a filesystem to its copy and moves the shared hold, as
// zfs-autobackup does, which knows nothing of the holds for single targets.
func (h *history) moveOn(w *world, d *dataset) {
	if len(h.targets) > 1 || h.encryption != "" || d.selected != "true" {
		return // the shared hold does not say for which target it is
	}
	c := w.datasets[h.targets[0]+"/"+d.name]
	b := commonBase(d, c)
	if b.guid == "" || d.find(b.guid) == nil || c.token != "-" || c.newest().guid != b.guid {
		return
	}
	h.advanceClock()
	name := h.backup + "-" + h.now.Format("20060102150405")
	tag := "zfs_autobackup:" + h.backup
	if slices.Contains(h.options, "--hold-format") {
		tag = "mine_" + h.backup
	}
	base, next := quote(d.name+"@"+d.find(b.guid).name), quote(d.name+"@"+name)
	h.sh("zfs snapshot %[1]s && { zfs send -p -i %[2]s %[1]s | zfs receive -u %[3]s; } && { zfs hold %[5]s %[1]s %[4]s; zfs release %[5]s %[2]s %[6]s; }",
		next, base, quote(c.name), quote(c.name+"@"+name), tag, quote(c.name+"@"+c.newest().name))
}

// write writes a file of random bytes to a mounted filesystem.
func (h *history) write(f *dataset, size int) {
	if f.mountpoint == "" {
		return
	}
	h.sh("head -c %d /dev/urandom >%s; zpool sync %s", size, quote(fmt.Sprintf("%s/f%d", f.mountpoint, h.rng.Intn(6))), h.source)
}

// destroySnapshot destroys a snapshot of a dataset or of its copy, but neither the base of
// any target nor the newest that zab made.
func (h *history) destroySnapshot(w *world, d *dataset) {
	owner := d
	if h.oneIn(3) {
		if c := w.datasets[pick(h, h.targets...)+"/"+d.name]; c != nil {
			owner = c
		}
	}
	s := owner.randomSnapshot(h)
	if s == nil || s.guid == newestOurs(h, d) || s == owner.newest() {
		return
	}
	for _, t := range h.targets {
		if s.guid == commonBase(d, w.datasets[t+"/"+d.name]).guid {
			return
		}
	}
	h.sh("zfs destroy %s", quote(owner.name+"@"+s.name))
}

// modifyCopy writes to a copy or takes a snapshot of it, which users should not do.
func (h *history) modifyCopy(w *world) {
	t := pick(h, h.targets...)
	d := pick(h, h.datasets(w, "filesystem")...)
	c := w.datasets[t+"/"+d.name]
	if c == nil || c.token != "-" {
		return
	}
	switch h.rng.Intn(3) {
	case 0:
		h.modified[t] = true
		h.sh("mkdir -p %[1]s/m && mount -t zfs -o zfsutil %[2]s %[1]s/m && { echo x >%[1]s/m/mine%[3]d; zfs snapshot %[4]s; umount %[1]s/m; zpool sync %[5]s; }",
			h.dir, quote(c.name), h.serial, quote(fmt.Sprintf("%s@y%d", c.name, h.serial)), poolOf(t))
	case 1:
		h.modified[t] = true
		h.sh("mkdir -p %[1]s/m && mount -t zfs -o zfsutil %[2]s %[1]s/m && { echo x >%[1]s/m/mine%[3]d; umount %[1]s/m; zpool sync %[4]s; }",
			h.dir, quote(c.name), h.serial, poolOf(t))
	case 2:
		h.modified[t] = true
		h.sh("zfs snapshot %s", quote(fmt.Sprintf("%s@y%d", c.name, h.serial)))
	}
}
