package months

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// pool is a pool on a device-mapper device, whose disk can be pulled.
type pool struct {
	m    *month
	name string
	loop string
	// gone: the disk is pulled, or the pool is exported. Commands on it would hang or
	// fail.
	gone bool
	// unsteady: the disk fails now and then.
	unsteady bool
}

// poolSize is the size of a pool in MiB.
const poolSize = 96

func (p *pool) table(kind string) string {
	sectors := poolSize << 11
	switch kind {
	case "error":
		return fmt.Sprintf("0 %d error", sectors)
	case "flakey":
		// up for four seconds, then down for one, in which all I/O fails
		return fmt.Sprintf("0 %d flakey %s 0 4 1", sectors, p.loop)
	}
	return fmt.Sprintf("0 %d linear %s 0", sectors, p.loop)
}

// setDevice replaces the device-mapper table under the pool.
func (p *pool) setDevice(kind string) {
	p.m.must("dmsetup suspend --noflush --nolockfs %[1]s && dmsetup load %[1]s --table '%[2]s' && dmsetup resume %[1]s", p.name, p.table(kind))
}

// unreadable reports whether the pool cannot be read now.
func (p *pool) unreadable() bool { return p.gone || p.state() == "SUSPENDED" }

func (p *pool) state() string {
	b, _ := os.ReadFile("/proc/spl/kstat/zfs/" + p.name + "/state")
	return strings.TrimSpace(string(b))
}

// pull pulls the disk. With seen, it waits until the pool is suspended; otherwise the
// pool notices the loss at the next write, which may be zab's.
func (p *pool) pull(seen bool) {
	_, _ = p.m.sh("zpool sync %s", p.name)
	p.m.readState() // the last nights may not have let it be read
	p.gone = true
	p.setDevice("error")
	if !seen {
		return
	}
	p.m.log("zfs set zab.test:x=1 %[1]s & zpool sync %[1]s &", p.name)
	for _, argv := range [][]string{{"zfs", "set", fmt.Sprintf("zab.test:x=%d", p.m.nights), p.name}, {"zpool", "sync", p.name}} {
		cmd := exec.Command(argv[0], argv[1:]...)
		if cmd.Start() == nil {
			go func() { _ = cmd.Wait() }() // ends when the pool is back
		}
	}
	for range 200 {
		if p.state() == "SUSPENDED" {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	panic(testError{fmt.Errorf("the pool %s is not suspended but '%s'", p.name, p.state())})
}

// restore brings the disk back and waits until the pool is online.
func (p *pool) restore() {
	p.setDevice("linear")
	for range 100 {
		_, _ = p.m.sh("timeout 20 zpool clear %s", p.name)
		if p.state() == "ONLINE" {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	if p.state() != "ONLINE" {
		panic(testError{fmt.Errorf("the pool %s does not come back: '%s'", p.name, p.state())})
	}
	p.gone = false
	// Otherwise zpool status goes on to report the errors of writes in between.
	_, _ = p.m.sh("zpool sync %[1]s; zpool clear %[1]s", p.name)
}

func (p *pool) create() {
	m := p.m
	file := m.dir + "/" + p.name + ".img"
	m.must("truncate -s %dM %s", poolSize, file)
	_, _ = m.sh("modprobe -a loop dm-mod dm-flakey")
	p.loop = strings.TrimSpace(m.must("losetup -f --show %s", file))
	m.must("dmsetup create %s --table '%s'", p.name, p.table("linear"))
	m.must("zpool create -O atime=off -O compression=off -O sync=disabled -m %[1]s/%[2]s %[2]s /dev/mapper/%[2]s", m.dir, p.name)
}

func (p *pool) destroy() {
	m := p.m
	if p.loop == "" {
		return
	}
	_, _ = m.sh("dmsetup suspend --noflush --nolockfs %[1]s; dmsetup load %[1]s --table '%[2]s'; dmsetup resume %[1]s", p.name, p.table("linear"))
	if p.state() == "SUSPENDED" {
		_, _ = m.sh("zpool clear %s", p.name)
	}
	for range 50 {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		out, err := m.output(ctx, "zpool", "destroy", "-f", p.name)
		cancel()
		if err == nil || strings.Contains(out, "no such pool") {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	_, _ = m.sh("dmsetup remove --retry %s; losetup -d %s", p.name, p.loop)
}

func (m *month) setup() {
	if err := os.MkdirAll(m.dir, 0o777); err != nil {
		panic(testError{err})
	}
	for _, p := range m.pools() {
		p.create()
	}
	m.must("zfs create %s", m.target())
	m.must("zfs create %[1]s/t && zfs create '%[1]s/t/a b' && zfs create '%[1]s/t/a b/c' && zfs create %[1]s/t/d && zfs create -s -V 4M %[1]s/t/vol", m.src.name)
	m.must("head -c 32 /dev/zero | tr '\\0' k >%[1]s/key && zfs create -o encryption=on -o keyformat=raw -o keylocation=file://%[1]s/key %[2]s/t/enc", m.dir, m.src.name)
	m.must("zfs create %[1]s/x && zfs create %[1]s/x/y", m.usb.name)
	// Not selected for backup: faults reserve space in the first and fill the second.
	m.must("zfs create %[1]s/other && zfs create %[2]s/other && zfs create %[1]s/fill && zfs create %[2]s/fill", m.src.name, m.dst.name)
	m.must("zfs set autobackup:%[1]s=true %[2]s/t %[3]s/x", m.name, m.src.name, m.usb.name)
	m.readState()
}

func (m *month) clean() {
	for _, p := range m.pools() {
		p.destroy()
	}
	os.RemoveAll(m.dir)
}

// day plays the users between two nights: one in three selected datasets is written
// to, and now and then a dataset is created or renamed.
func (m *month) day() {
	locked, readOnly := map[string]bool{}, map[*pool]bool{}
	if !m.src.gone {
		for _, r := range m.rows("get", "-Hpr", "-t", "filesystem,volume", "-o", "name,value", "keystatus", m.src.name) {
			locked[r[0]] = r[1] == "unavailable"
		}
	}
	for _, p := range []*pool{m.src, m.usb} {
		readOnly[p] = !p.gone && p.readOnly()
	}
	for _, s := range m.sources() {
		if s.pool.gone || readOnly[s.pool] || m.rng.Intn(3) > 0 || locked[s.name] {
			continue
		}
		if s.volume {
			_, _ = m.sh("dd if=/dev/urandom of='/dev/zvol/%s' bs=64k count=1 seek=%d conv=notrunc 2>&1", s.name, m.rng.Intn(60))
			continue
		}
		_, _ = m.sh("head -c %d /dev/urandom >'%s/f%d'", 1+m.rng.Intn(100000), m.dir+"/"+s.name, m.rng.Intn(5))
	}
	if m.oneIn(6) && !m.src.gone {
		m.counter++
		_, _ = m.sh("zfs create '%s/t/new%d'", m.src.name, m.counter)
	}
	if m.oneIn(10) && !m.src.gone {
		m.counter++
		_, _ = m.sh("zfs rename '%[1]s/t/d' '%[1]s/t/d%[2]d'", m.src.name, m.counter)
		if m.aside {
			// The copy of the renamed dataset has the new dataset's name.
			_, _ = m.sh("zfs create '%[1]s/t/d'", m.src.name)
		}
	}
}

func (p *pool) readOnly() bool {
	out, err := exec.Command("zpool", "get", "-H", "-o", "value", "readonly", p.name).Output()
	return err != nil || strings.TrimSpace(string(out)) == "on"
}
