package hostile

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The names that all worlds have in common.
const (
	backup    = "b1"
	srcDest   = "root@client"
	dstDest   = "nas"
	snapStyle = "20060102150405"
)

// now is when every run happens.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// workflow is what one run does, and the world in which it does it.
type workflow struct {
	shape   int
	number  int    // of the run
	hostile string // src or dst
	// remote are the hosts that are not the one zab runs on.
	remote   map[string]bool
	what     string
	args     []string // of zab
	src, dst *Host
	pool     string // of the target
	inPool   string // the guid of that, if the copies say that they are held for it
	root     string // the target; "" to snapshot and thin only
	// selected are the source's datasets that are to be backed up.
	selected []string
	keep     int // both schedules: that many
	shared   bool
	shell    bool
	programs bool
	retries  int
	stages   bool // by hand, with the records saved in between
	// What the options allow.
	missing, aside, bookmark, noHolds, clones, force, rollback bool
}

// shapes is how many workflows there are.
const shapes = 60

var kinds = []string{"plain", "thin", "missing", "aside", "token", "raw", "volume", "clones", "bookmark", "many", "alone", "cache", "stages", "breaks", "options"}

// tag is of the holds that all targets share.
const tag = "zfs_autobackup:" + backup

func snapName(days int, hour int) string {
	return backup + "-" + now.AddDate(0, 0, -days).Add(-time.Duration(hour)*time.Hour).Format(snapStyle)
}

// shape makes the n-th workflow. The name of the target's pool is that of the
// run, for runs at the same time would otherwise wait for each other's locks.
func shape(n, run int) *workflow {
	rng := rand.New(rand.NewPCG(uint64(n), 7))
	w := &workflow{shape: n, number: run, what: kinds[n%len(kinds)], keep: 3, remote: map[string]bool{}, pool: fmt.Sprintf("vault%d", run)}
	switch n / len(kinds) % 4 {
	case 0: // pull
		w.hostile, w.remote["src"] = "src", true
	case 1: // push
		w.hostile, w.remote["dst"] = "dst", true
	case 2:
		w.hostile, w.remote["src"], w.remote["dst"] = "src", true, true
	case 3:
		w.hostile, w.remote["src"], w.remote["dst"] = "dst", true, true
	}
	w.shared, w.shell, w.programs = rng.IntN(4) > 0, rng.IntN(6) == 0, rng.IntN(2) == 0
	w.root = w.pool + "/backup"
	w.world(rng)
	w.arguments(rng)
	return w
}

func (w *workflow) world(rng *rand.Rand) {
	g := func() string { return strconv.FormatUint(rng.Uint64()|1<<50, 10) }
	host := func(pool string) *Host {
		h := &Host{TXG: 100, Now: now.Unix()}
		h.Pools = []*Pool{{Name: pool, Load: g(), Features: map[string]string{}}}
		h.add(&Dataset{Name: pool, GUID: g(), Local: map[string]string{}, Mounted: true, Creation: 1700000000})
		return h
	}
	w.src, w.dst = host("tank"), host(w.pool)
	s, d := w.src, w.dst
	d.add(&Dataset{Name: w.root, GUID: g(), Local: map[string]string{"canmount": "off"}})
	// The copies of somebody else, which nothing may happen to.
	other := d.add(&Dataset{Name: w.pool + "/other", GUID: g(), Mounted: true, Local: map[string]string{"mountpoint": "/srv/other"}})
	for i := range 6 {
		other.Snaps = append(other.Snaps, &Snap{Name: snapName(6-i, 1), GUID: g(), TXG: d.tick(), Creation: now.AddDate(0, 0, i-6).Unix(), Written: 5})
	}
	d.add(&Dataset{Name: w.pool + "/backup2", GUID: g()})
	// A dataset that nobody selected, with a secret.
	secret := s.add(&Dataset{Name: "tank/secret", GUID: g(), Written: 4096, Mounted: true})
	secret.Snaps = append(secret.Snaps, &Snap{Name: snapName(2, 0), GUID: g(), TXG: s.tick(), Creation: now.Unix() - 9000, Written: 1})

	s.find("tank").Local["compression"] = "zstd"
	names := []string{"tank/home", "tank/home/alice", "tank/home/bob", "tank/srv"}
	if w.what == "many" {
		for i := range 10 {
			names = append(names, fmt.Sprintf("tank/many/d%d", i))
		}
		s.add(&Dataset{Name: "tank/many", GUID: g(), Mounted: true})
		d.add(&Dataset{Name: w.root + "/tank", GUID: g(), Local: map[string]string{"canmount": "off", "zab:stream": "parent"}})
		d.add(&Dataset{Name: w.root + "/tank/many", GUID: g(), Local: map[string]string{"canmount": "off", "zab:stream": "parent"}})
	}
	pin := tag + ":" + d.find(w.root).GUID
	if w.shape/len(kinds)%2 == 1 { // else the copies are an earlier version's
		w.inPool = guidFor("pool", d.Pools[0].Load)
		pin += "." + w.inPool
	}
	srcPool := s.find("tank").GUID
	for _, n := range names {
		ds := s.add(&Dataset{Name: n, GUID: g(), Written: int64(1+rng.IntN(9)) << 12, Mounted: true,
			Local: map[string]string{"autobackup:" + backup: "true"}})
		w.selected = append(w.selected, n)
		if w.what == "volume" && (n == "tank/srv" || n == "tank/home/bob") {
			ds.Kind, ds.Mounted = "volume", false
		}
		if ds.Kind != "volume" {
			ds.Local["sharenfs"] = "rw"
		}
		if w.what == "raw" && strings.HasPrefix(n, "tank/home") {
			ds.Cipher, ds.Root, ds.KeyGUID, ds.Locked = "aes-256-gcm", "tank/home", guidFor("key"), rng.IntN(2) == 0
			ds.Mounted = !ds.Locked
		}
		count := 3 + rng.IntN(3)
		if w.what == "thin" {
			count = 8
		}
		for i := range count {
			ds.Snaps = append(ds.Snaps, &Snap{Name: snapName(count-i, 2), GUID: g(), TXG: s.tick(),
				Creation: now.AddDate(0, 0, i-count).Unix(), Written: int64(1+rng.IntN(5)) << 12})
		}
		if n == "tank/home/bob" && w.what != "volume" && w.what != "many" {
			continue // without a copy as yet
		}
		w.copyOf(ds, g, count-1-rng.IntN(2), pin, srcPool)
	}
	switch w.what {
	case "missing":
		w.orphan("tank/old", g, srcPool, 30)
		w.orphan("tank/old/sub", g, srcPool, 40)
		w.orphan("tank/new", g, srcPool, 1)
	case "aside":
		c := d.find(w.root + "/tank/home/alice")
		if rng.IntN(2) == 0 {
			c.Written = 8192
		} else {
			c.Snaps = append(c.Snaps, &Snap{Name: "mine", GUID: g(), TXG: d.tick(), Creation: now.Unix() - 50, Written: 9})
		}
		c = d.find(w.root + "/tank/srv")
		for _, x := range c.Snaps {
			x.GUID = g()
		}
		c.Local["quota"], c.Local["canmount"] = "1000000000", "noauto"
	case "token":
		for _, n := range []string{"tank/home/alice", "tank/srv"} {
			c, ds := d.find(w.root+"/"+n), s.find(n)
			if i := len(c.Snaps); i < len(ds.Snaps) {
				c.Token = tokenFor(n+"@"+ds.Snaps[i].Name, ds.Snaps[i].GUID, c.newest().GUID, "largeblockok", "embedok")
			}
		}
		ds := s.find("tank/home/bob")
		d.add(&Dataset{Name: w.root + "/tank/home/bob", GUID: g(), Token: tokenFor("tank/home/bob@"+ds.Snaps[0].Name, ds.Snaps[0].GUID, "", "largeblockok", "embedok")})
	case "clones":
		of := s.find("tank/home/alice")
		at := of.newest()
		s.add(&Dataset{Name: "tank/clone", GUID: g(), Origin: of.Name + "@" + at.Name, Written: 4096, Local: map[string]string{"autobackup:" + backup: "true"}})
		w.selected = append(w.selected, "tank/clone")
	case "breaks":
		d.Break = 1
	}
	slices.Sort(w.selected)
}

// copyOf makes the copy of a dataset with its first count snapshots.
func (w *workflow) copyOf(ds *Dataset, g func() string, count int, pin, srcPool string) {
	d := w.dst
	for i, ch := range ds.Name {
		if up := w.root + "/" + ds.Name[:i]; ch == '/' && d.find(up) == nil {
			d.add(&Dataset{Name: up, GUID: g(), Local: map[string]string{"canmount": "off", "zab:stream": "parent"}})
		}
	}
	if ds.Kind == "volume" {
		ds.Received = map[string]string{}
	}
	stream := "L"
	if ds.Cipher != "" {
		stream = "L,w"
	}
	c := d.add(&Dataset{Name: w.root + "/" + ds.Name, Kind: ds.Kind, GUID: g(), Local: map[string]string{"zab:from": srcPool, "zab:stream": stream},
		Received: map[string]string{"autobackup:" + backup: "true"}, HasReceived: true, Cipher: ds.Cipher, KeyGUID: ds.KeyGUID, Locked: ds.Cipher != ""})
	if count%2 == 0 && c.Kind != "volume" {
		// As after a night of zab's.
		c.Local["zab:stream"] += ",x"
		c.Inherits = map[string]bool{"sharenfs": true, "sharesmb": true}
	}
	if w.inPool != "" {
		c.Local["zab:pool"] = w.inPool
	}
	if c.Cipher != "" {
		c.Root = c.Name
	}
	for _, s := range ds.Snaps[:count] {
		c.Snaps = append(c.Snaps, &Snap{Name: s.Name, GUID: s.GUID, TXG: d.tick(), Creation: s.Creation, Written: s.Written})
	}
	if n := len(c.Snaps); n > 0 && w.what != "bookmark" {
		c.Snaps[n-1].Holds = []string{pin, tag}
		ds.Snaps[n-1].Holds = []string{pin, tag}
	}
}

// orphan is a copy whose source is no more.
func (w *workflow) orphan(name string, g func() string, srcPool string, days int) {
	c := w.dst.add(&Dataset{Name: w.root + "/" + name, GUID: g(), Local: map[string]string{"zab:from": srcPool, "zab:stream": "L"}})
	for i := range 4 {
		c.Snaps = append(c.Snaps, &Snap{Name: snapName(days+4-i, 2), GUID: g(), TXG: w.dst.tick(), Creation: now.AddDate(0, 0, -days-4+i).Unix(), Written: 5})
	}
}

func (w *workflow) arguments(rng *rand.Rand) {
	add := func(a ...string) { w.args = append(w.args, a...) }
	chance := func(n int) bool { return rng.IntN(n) == 0 }
	add("--utc", "--now=2026-03-01T12:00:00Z", "-v", fmt.Sprintf("--keep-source=%d", w.keep), fmt.Sprintf("--keep-target=%d", w.keep))
	if w.remote["src"] {
		add("--ssh-source=" + srcDest)
	}
	if w.remote["dst"] && w.what != "alone" {
		add("--ssh-target=" + dstDest)
	}
	if w.what == "breaks" {
		w.retries = 1
	}
	add(fmt.Sprintf("--retries=%d", w.retries))
	if chance(2) {
		add("-j1")
	}
	switch w.what {
	case "missing":
		w.missing = true
		add("--destroy-missing=10d")
	case "aside":
		w.aside = true
		add("--rename-aside")
	case "clones":
		w.clones = true
		add("--clones=simple")
	case "bookmark":
		w.bookmark = true
		add("--bookmark")
		if chance(2) {
			w.noHolds = true
			add("--no-holds")
		}
	case "alone":
		w.root = ""
		if w.hostile == "dst" { // there is no target: the source lies, or nobody
			w.hostile, w.remote["src"] = "src", true
			if !slices.Contains(w.args, "--ssh-source="+srcDest) {
				add("--ssh-source=" + srcDest)
			}
		}
	case "cache":
		add("--cache")
	case "stages":
		w.stages = true
	case "options":
		w.rollback = true
		add("--rollback", "--clear-mountpoint", "--clear-refreservation", "--filter-properties=compression,quota", "--set-properties=readonly=on,atime=off")
		if chance(2) {
			w.force = true
			add("--force")
		}
	}
	if chance(4) && !w.missing {
		add("--allow-empty")
	}
}

// honest is the host that tells the truth.
func (w *workflow) honest() string {
	if w.hostile == "src" {
		return "dst"
	}
	return "src"
}

// run is what the stand-ins are told, without lies.
func (w *workflow) run() *Run {
	r := &Run{Dests: map[string]string{}, Shared: w.shared, Shell: w.shell, Programs: w.programs}
	for _, h := range []string{"src", "dst"} {
		switch {
		case !w.remote[h]:
			r.Local = h
		case h == "src":
			r.Dests[srcDest] = h
		default:
			r.Dests[dstDest] = h
		}
	}
	return r
}

// target is where a source dataset's copy is.
func (w *workflow) target(name string) string { return w.root + "/" + name }
