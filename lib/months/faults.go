package months

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// fault is a problem that lasts for some nights.
type fault struct {
	kind, what string
	until      int // the fault ends before the run of this night
	begin, end func()
	// meanwhile runs beside zab, until stop is closed; nil for nothing.
	meanwhile func(stop <-chan struct{})
	// touches reports whether the fault may keep a dataset from being backed up.
	touches func(*source) bool
	// stopsRun: the fault stops whole runs, so the report need not name each dataset.
	stopsRun bool
	// unjudged: zab may not see the touched datasets, or they change while it runs. They
	// are not judged.
	unjudged bool
	// options are added to zab's command line while the fault lasts.
	options []string
}

func touchesAll(*source) bool { return true }

func (p *pool) has(s *source) bool { return s.pool == p }

// touchesBelow returns a touches function for a dataset and its descendants.
func touchesBelow(name string) func(*source) bool {
	return func(s *source) bool { return s.name == name || strings.HasPrefix(s.name, name+"/") }
}

// faultKinds are all faults. make returns nil if the fault is not possible now.
var faultKinds = []struct {
	kind string
	make func(m *month) *fault
}{
	{"source's disk pulled", func(m *month) *fault { return m.pulled(m.usb) }},
	{"target's disk pulled", func(m *month) *fault { return m.pulled(m.dst) }},
	{"source's disk unsteady", func(m *month) *fault {
		if m.usb.gone || m.usb.unsteady || m.usb.readOnly() {
			return nil
		}
		p := m.usb
		return &fault{touches: p.has, begin: func() { p.setDevice("flakey"); p.unsteady = true }, end: func() { p.unsteady = false; p.restore() }}
	}},
	{"source full", func(m *month) *fault { return m.full(m.src) }},
	{"target full", func(m *month) *fault { return m.full(m.dst) }},
	{"source imported read-only", func(m *month) *fault {
		if m.usb.gone || m.usb.unsteady {
			return nil
		}
		p := m.usb
		return &fault{touches: p.has, begin: func() { p.reimport("-o readonly=on") }, end: func() { p.reimport("") }}
	}},
	{"source exported", func(m *month) *fault {
		if m.usb.gone || m.usb.unsteady {
			return nil
		}
		p := m.usb
		return &fault{touches: p.has, unjudged: true,
			begin: func() { m.must("%s", p.export()); p.gone = true },
			end:   func() { m.must("zpool import -d /dev/mapper %s", p.name); p.gone = false }}
	}},
	{"quota of a copy", func(m *month) *fault {
		s := m.randomSource(func(s *source) bool { return !s.volume && s.copy != nil && !m.dst.gone })
		if s == nil {
			return nil
		}
		c := m.copyOf(s.name)
		return &fault{touches: touchesBelow(s.name), begin: func() { m.sh("zfs set quota=$(zfs get -Hpo value used '%[1]s') '%[1]s'", c) },
			end: func() { m.onTarget("zfs set quota=none '%s'", c) }}
	}},
	{"limit of snapshots on the source", func(m *month) *fault {
		s := m.randomSource(func(s *source) bool { return !s.volume && !m.src.gone && s.pool == m.src })
		if s == nil {
			return nil
		}
		return &fault{touches: touchesBelow(s.name), begin: func() { m.sh("zfs set snapshot_limit=1 '%s'", s.name) },
			end: func() { m.sh("zfs set snapshot_limit=none '%s'", s.name) }}
	}},
	{"limit of snapshots on a copy", func(m *month) *fault {
		s := m.randomSource(func(s *source) bool { return !s.volume && s.copy != nil && !m.dst.gone })
		if s == nil {
			return nil
		}
		c := m.copyOf(s.name)
		return &fault{touches: touchesBelow(s.name), begin: func() { m.sh("zfs set snapshot_limit=1 '%s'", c) },
			end: func() { m.onTarget("zfs set snapshot_limit=none '%s'", c) }}
	}},
	{"thick volume without room", func(m *month) *fault {
		if m.src.gone {
			return nil
		}
		m.counter++
		v := fmt.Sprintf("%s/t/thick%d", m.src.name, m.counter)
		return &fault{touches: touchesBelow(v),
			begin: func() {
				m.sh("zfs create -V 16M '%[1]s' && { udevadm settle -t 10; dd if=/dev/zero of='/dev/zvol/%[1]s' bs=1M count=16 oflag=direct 2>&1; } && zpool sync %[2]s && zfs set reservation=$(($(zfs get -Hpo value available %[2]s) - 4000000)) %[2]s/other", v, m.src.name)
			},
			end: func() { m.sh("zfs set reservation=none %s/other; zfs destroy -r '%s'", m.src.name, v) }}
	}},
	{"half of a foreign receive", func(m *month) *fault {
		if m.src.gone {
			return nil
		}
		m.counter++
		in, stream := fmt.Sprintf("%s/t/in%d", m.src.name, m.counter), fmt.Sprintf("%s/stream%d", m.dir, m.counter)
		return &fault{touches: touchesBelow(in),
			begin: func() {
				m.writeForeignStream(stream)
				m.sh("head -c 1000000 %s | zfs receive -s -u '%s'", stream, in)
			},
			end: func() {
				m.sh("zfs receive -A '%s'", in)
				os.Remove(stream)
			}}
	}},
	{"a foreign receive meanwhile", func(m *month) *fault {
		if m.src.gone {
			return nil
		}
		m.counter++
		in, stream := fmt.Sprintf("%s/t/received%d", m.src.name, m.counter), fmt.Sprintf("%s/stream%d", m.dir, m.counter)
		// The received dataset may appear before or after zab lists the source, and it
		// stays.
		return &fault{touches: touchesBelow(in), unjudged: true, begin: func() { m.writeForeignStream(stream) }, end: func() { os.Remove(stream) },
			meanwhile: func(<-chan struct{}) {
				_ = exec.Command("sh", "-c", fmt.Sprintf("(head -c 1000000; sleep 2; cat) <%s | zfs receive -u '%s'", stream, in)).Run()
			}}
	}},
	{"another tool's snapshots", func(m *month) *fault {
		if m.src.gone {
			return nil
		}
		// Touches nothing: everything must still be backed up.
		return &fault{touches: func(*source) bool { return false }, begin: func() {}, end: func() {},
			meanwhile: func(stop <-chan struct{}) {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					case <-time.After(300 * time.Millisecond):
						_ = exec.Command("zfs", "snapshot", "-r", fmt.Sprintf("%s/t@auto-%d-%d", m.src.name, m.nights, i)).Run()
					}
				}
			}}
	}},
	{"a copy written to", func(m *month) *fault {
		s := m.randomSource(func(s *source) bool {
			return !s.volume && s.copy != nil && !m.dst.gone && !strings.Contains(s.name, "/enc")
		})
		if s == nil {
			return nil
		}
		c := m.copyOf(s.name)
		return &fault{touches: touchesBelow(s.name),
			begin: func() {
				m.sh("zfs set readonly=off '%[1]s'; zfs mount '%[1]s'; mount -o remount,rw '%[2]s'; echo x >'%[2]s/foreign'", c, m.dir+"/"+c)
			},
			end: func() {
				m.rollBack(c)
				m.onTarget("zfs inherit readonly '%s'", c)
			}}
	}},
	{"a key that is not loaded", func(m *month) *fault {
		if m.src.gone {
			return nil
		}
		e := m.src.name + "/t/enc"
		return &fault{touches: touchesBelow(e), begin: func() { m.sh("zfs unmount -f '%[1]s'; zfs unload-key '%[1]s'", e) },
			end: func() { m.sh("zfs load-key '%[1]s' && zfs mount '%[1]s'", e) }}
	}},
	{"a hook that fails", func(m *month) *fault {
		return &fault{touches: touchesAll, stopsRun: true, begin: func() {}, end: func() {}, options: []string{"--pre-snapshot-cmd=exit 3"}}
	}},
	{"a value that means nothing", func(m *month) *fault {
		if m.src.gone {
			return nil
		}
		return &fault{touches: touchesAll, stopsRun: true, begin: func() { m.sh("zfs set autobackup:%s=yes %s/other", m.name, m.src.name) },
			end: func() { m.sh("zfs inherit autobackup:%s %s/other", m.name, m.src.name) }}
	}},
	{"another's hold", func(m *month) *fault {
		s := m.randomSource(func(s *source) bool { return !m.src.gone && s.pool == m.src && s.newest != "" })
		if s == nil {
			return nil
		}
		m.counter++
		tag := fmt.Sprintf("other%d", m.counter)
		list := fmt.Sprintf("zfs list -Hr -d 1 -t snapshot -o name '%s'", s.name)
		// Thinning fails; the backup must not.
		return &fault{touches: func(*source) bool { return false }, begin: func() { m.sh("%s | xargs -d '\\n' -r zfs hold %s", list, tag) },
			end: func() {
				m.sh("zfs list -Hr -t snapshot -o name %s | xargs -d '\\n' -r zfs release %s 2>/dev/null; true", m.src.name, tag)
			}}
	}},
}

// writeForeignStream writes to a file the send stream of a snapshot that no run of zab has seen.
func (m *month) writeForeignStream(file string) {
	m.sh("head -c 3000000 /dev/zero >'%[1]s/%[2]s/other/f'; zfs snapshot %[2]s/other@foreign && { zfs send %[2]s/other@foreign >%[3]s; zfs destroy %[2]s/other@foreign; }", m.dir, m.src.name, file)
}

// draw returns a random fault, or nil if its kind is excluded by Only, already active or
// not possible now.
func (m *month) draw() *fault {
	k := faultKinds[m.rng.Intn(len(faultKinds))]
	if !strings.Contains(k.kind, m.c.Only) {
		return nil
	}
	for _, f := range m.active {
		if f.kind == k.kind {
			return nil
		}
	}
	f := k.make(m)
	if f != nil {
		f.kind = k.kind
		f.what = k.kind
	}
	return f
}

// randomSource returns a random source for which fits reports true, or nil if there is none.
func (m *month) randomSource(fits func(*source) bool) *source {
	var list []*source
	for _, s := range m.sources() {
		if fits(s) {
			list = append(list, s)
		}
	}
	if list == nil {
		return nil
	}
	return list[m.rng.Intn(len(list))]
}

// onTarget runs a shell command that changes the target. While the target's disk is away,
// the command is put off until the disk is back.
func (m *month) onTarget(format string, a ...any) {
	if m.dst.gone {
		// As a fault that ends the next night, which tries again.
		m.active = append(m.active, &fault{kind: "put right later", what: "put right later", touches: touchesAll, begin: func() {},
			until: m.nights + 1, end: func() { m.onTarget(format, a...) }})
		return
	}
	_, _ = m.sh(format, a...)
}

func (m *month) pulled(p *pool) *fault {
	if p.gone || p.unsteady || p.readOnly() {
		return nil
	}
	touches := p.has
	if p == m.dst {
		touches = touchesAll
	}
	seen := m.oneIn(2)
	cold := !seen && m.oneIn(2)
	return &fault{touches: touches, end: p.restore, begin: func() {
		if cold {
			p.reimport("") // with an empty cache
			if p == m.dst {
				m.madeMountpoints()
			}
		}
		p.pull(seen)
	}}
}

// madeMountpoints begins a fault for each copy in which an import of the target has made
// directories to mount other copies on: where a source was renamed or destroyed, its parent,
// and so the parent's copy, has no directory for it.
func (m *month) madeMountpoints() {
	m.sh("zpool sync %s", m.dst.name)
	for _, s := range m.sources() {
		c := m.copyOf(s.name)
		if s.copy == nil || s.volume {
			continue
		}
		if r := m.rows("get", "-Hp", "-o", "name,value", "written", c); len(r) != 1 || r[0][1] == "0" {
			continue
		}
		m.active = append(m.active, &fault{kind: "directories made for mounting", what: "directories made for mounting", touches: touchesBelow(s.name),
			begin: func() {}, until: m.nights + 2, end: func() { m.rollBack(c) }})
	}
}

// rollBack rolls a copy back to its newest snapshot. The copy is unmounted before, or zfs
// mounts the copies below it anew and makes directories in it for them.
func (m *month) rollBack(c string) {
	m.onTarget("zfs unmount -f '%[1]s'; zfs rollback \"$(zfs list -Hd 1 -t snapshot -o name -s createtxg '%[1]s' | tail -n 1)\"", c)
}

func (m *month) full(p *pool) *fault {
	if p.gone {
		return nil
	}
	touches := p.has
	if p == m.dst {
		touches = touchesAll
	}
	file := m.dir + "/" + p.name + "/fill/f"
	return &fault{touches: touches, begin: func() { m.sh("dd if=/dev/zero of=%s bs=1M 2>&1 | tail -n 1; zpool sync %s", file, p.name) },
		end: func() {
			if p.gone {
				p.restore()
			}
			m.sh("rm -f %s; zpool sync %s", file, p.name)
		}}
}

// reimport exports the pool and imports it with the given options; a pool that is gone stays
// as it is.
func (p *pool) reimport(options string) {
	if p.gone {
		return
	}
	if p.unsteady {
		p.restore() // it may be suspended, and could not be exported then
		defer p.setDevice("flakey")
	}
	p.m.must("%s && zpool import %s -d /dev/mapper %s", p.export(), options, p.name)
}

// export returns the command that exports the pool. A program that has just ended, or that
// udev has started, may keep it busy for a moment.
func (p *pool) export() string {
	return fmt.Sprintf("for i in $(seq 50); do zpool export -f %[1]s && break; sleep 0.2; done; ! zpool list %[1]s 2>/dev/null", p.name)
}
