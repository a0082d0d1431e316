package hostile

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The same in all runs.
const (
	backup             = "b1"
	srcDest            = "root@client"
	dstDest            = "nas"
	snapshotTimeFormat = "20060102150405"
)

// now is the time of every run.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// workflow is one run of zab, and the hosts as they are before it.
type workflow struct {
	shape   int
	number  int    // of the run
	hostile string // src or dst
	// remote are the hosts that zab reaches over ssh.
	remote   map[string]bool
	kind     string
	args     []string // options of zab
	src, dst *Host
	pool     string // of the target
	poolGUID string // of pool, if the copies and their holds name it
	root     string // the target; "" to only snapshot and thin
	// selected are the datasets of the source to back up.
	selected []string
	keep     int // number of snapshots that both schedules keep
	shared   bool
	shell    bool
	programs bool
	retries  int
	stages   bool // run by hand, with the records in files
	// Set by the options.
	missing, aside, bookmark, clones, force bool
	// proves: zab-verify runs, with --fetch or without; postpones: with a budget.
	proves, fetch, postpones bool
	digest                   bool // zab-digest is installed on other hosts
	// damaged are the source datasets whose copies cannot be proved.
	damaged []string
	// output is the option of zab-status for the form of its output.
	output string
	// within is the operand of --within, "" without it; everywhere: otherwise all pools are
	// searched.
	within     string
	everywhere bool
}

// workflowCount is the number of workflows: each kind with four arrangements of hosts.
const workflowCount = 76

var workflowKinds = []string{"plain", "thin", "missing", "aside", "token", "raw", "volume", "clones", "bookmark", "many", "alone", "cache", "stages", "breaks", "options", "verify", "proves", "status", "within"}

// sharedTag is the tag of the holds that all targets share.
const sharedTag = "zfs_autobackup:" + backup

// snapName returns the name of a snapshot that zab took some days and hours ago.
func snapName(days int, hour int) string {
	return backup + "-" + now.AddDate(0, 0, -days).Add(-time.Duration(hour)*time.Hour).Format(snapshotTimeFormat)
}

// newWorkflow returns the n-th workflow. The target's pool is named after the run, since
// runs with one target would wait for each other's locks.
func newWorkflow(n, run int) *workflow {
	rng := rand.New(rand.NewPCG(uint64(n), 7))
	w := &workflow{shape: n, number: run, kind: workflowKinds[n%len(workflowKinds)], keep: 3, remote: map[string]bool{}, pool: fmt.Sprintf("vault%d", run)}
	switch n / len(workflowKinds) % 4 {
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
	w.makeHosts(rng)
	w.chooseOptions(rng)
	return w
}

// makeHosts makes the two hosts, with the copies of earlier runs and the state that the
// kind of workflow is about.
func (w *workflow) makeHosts(rng *rand.Rand) {
	newGUID := func() string { return strconv.FormatUint(rng.Uint64()|1<<50, 10) }
	host := func(pool string) *Host {
		h := &Host{TXG: 100, Now: now.Unix()}
		h.Pools = []*Pool{{Name: pool, LoadGUID: newGUID(), Features: map[string]string{}}}
		h.add(&Dataset{Name: pool, GUID: newGUID(), Local: map[string]string{}, Mounted: true, Creation: 1700000000})
		return h
	}
	w.src, w.dst = host("tank"), host(w.pool)
	s, d := w.src, w.dst
	d.add(&Dataset{Name: w.root, GUID: newGUID(), Local: map[string]string{"canmount": "off"}})
	// Another backup's copies, which must not change.
	other := d.add(&Dataset{Name: w.pool + "/other", GUID: newGUID(), Mounted: true, Local: map[string]string{"mountpoint": "/srv/other"}})
	for i := range 6 {
		other.Snaps = append(other.Snaps, &Snap{Name: snapName(6-i, 1), GUID: newGUID(), TXG: d.tick(), Creation: now.AddDate(0, 0, i-6).Unix(), Written: 5})
	}
	d.add(&Dataset{Name: w.pool + "/backup2", GUID: newGUID()})
	// An unselected dataset, with a secret.
	secret := s.add(&Dataset{Name: "tank/secret", GUID: newGUID(), Written: 4096, Mounted: true})
	secret.Snaps = append(secret.Snaps, &Snap{Name: snapName(2, 0), GUID: newGUID(), TXG: s.tick(), Creation: now.Unix() - 9000, Written: 1})

	s.find("tank").Local["compression"] = "zstd"
	names := []string{"tank/home", "tank/home/alice", "tank/home/bob", "tank/srv"}
	if w.kind == "many" {
		for i := range 10 {
			names = append(names, fmt.Sprintf("tank/many/d%d", i))
		}
		s.add(&Dataset{Name: "tank/many", GUID: newGUID(), Mounted: true})
		d.add(&Dataset{Name: w.root + "/tank", GUID: newGUID(), Local: map[string]string{"canmount": "off", "zab:stream": "parent"}})
		d.add(&Dataset{Name: w.root + "/tank/many", GUID: newGUID(), Local: map[string]string{"canmount": "off", "zab:stream": "parent"}})
	}
	if rng.IntN(3) == 0 {
		d.find(w.root).Local["sharenfs"] = "off"
	}
	pin := sharedTag + ":" + d.find(w.root).GUID
	if w.shape/len(workflowKinds)%2 == 1 { // otherwise the copies are those of an earlier version of zab
		w.poolGUID = guidFor("pool", d.Pools[0].LoadGUID)
		pin += "." + w.poolGUID
	}
	srcPool := s.find("tank").GUID
	for _, n := range names {
		ds := s.add(&Dataset{Name: n, GUID: newGUID(), Written: int64(1+rng.IntN(9)) << 12, Mounted: true,
			Local: map[string]string{"autobackup:" + backup: "true"}})
		w.selected = append(w.selected, n)
		if w.kind == "volume" && (n == "tank/srv" || n == "tank/home/bob") {
			ds.Kind, ds.Mounted = "volume", false
		}
		if ds.Kind != "volume" && rng.IntN(2) == 0 {
			ds.Local["sharenfs"] = "rw"
		}
		if w.kind == "raw" && strings.HasPrefix(n, "tank/home") {
			ds.Cipher, ds.EncryptionRoot, ds.KeyGUID, ds.Locked = "aes-256-gcm", "tank/home", guidFor("key"), rng.IntN(2) == 0
			ds.Mounted = !ds.Locked
		}
		count := 3 + rng.IntN(3)
		if w.kind == "thin" {
			count = 8
		}
		for i := range count {
			ds.Snaps = append(ds.Snaps, &Snap{Name: snapName(count-i, 2), GUID: newGUID(), TXG: s.tick(),
				Creation: now.AddDate(0, 0, i-count).Unix(), Written: int64(1+rng.IntN(5)) << 12})
		}
		if n == "tank/home/bob" && !slices.Contains([]string{"volume", "many", "verify"}, w.kind) {
			continue // not backed up yet
		}
		w.addCopy(ds, newGUID, count-1-rng.IntN(2), pin, srcPool)
	}
	switch w.kind {
	case "missing":
		w.addOrphan("tank/old", newGUID, srcPool, 30)
		w.addOrphan("tank/old/sub", newGUID, srcPool, 40)
		w.addOrphan("tank/new", newGUID, srcPool, 1)
	case "aside":
		c := d.find(w.root + "/tank/home/alice")
		if rng.IntN(2) == 0 {
			c.Written = 8192
		} else {
			c.Snaps = append(c.Snaps, &Snap{Name: "mine", GUID: newGUID(), TXG: d.tick(), Creation: now.Unix() - 50, Written: 9})
		}
		c = d.find(w.root + "/tank/srv")
		for _, x := range c.Snaps {
			x.GUID = newGUID()
		}
		c.Local["quota"], c.Local["canmount"] = "1000000000", "noauto"
	case "token":
		for _, n := range []string{"tank/home/alice", "tank/srv"} {
			c, ds := d.find(w.root+"/"+n), s.find(n)
			if i := len(c.Snaps); i < len(ds.Snaps) {
				c.Token = tokenFor(n+"@"+ds.Snaps[i].Name, ds.Snaps[i].GUID, c.newest().GUID, "largeblockok")
			}
		}
		ds := s.find("tank/home/bob")
		d.add(&Dataset{Name: w.root + "/tank/home/bob", GUID: newGUID(), Token: tokenFor("tank/home/bob@"+ds.Snaps[0].Name, ds.Snaps[0].GUID, "", "largeblockok")})
	case "clones":
		of := s.find("tank/home/alice")
		at := of.newest()
		s.add(&Dataset{Name: "tank/clone", GUID: newGUID(), Origin: of.Name + "@" + at.Name, Written: 4096, Local: map[string]string{"autobackup:" + backup: "true"}})
		w.selected = append(w.selected, "tank/clone")
	case "breaks":
		d.StreamsToBreak = 1
	case "status", "within":
		w.addOrphan("tank/old", newGUID, srcPool, 30)
		c := d.find(w.root + "/tank/srv") // which is up to date
		s.find("tank/srv").Snaps = s.find("tank/srv").Snaps[:len(c.Snaps)]
	}
	slices.Sort(w.selected)
	s.fill(d)
	d.fill(s)
	if w.kind == "verify" || w.kind == "proves" || w.kind == "status" {
		w.addProofs(rng)
	}
}

// addCopy adds to the target the copy of a dataset, with its first count snapshots.
func (w *workflow) addCopy(ds *Dataset, newGUID func() string, count int, pin, srcPool string) {
	d := w.dst
	for i, ch := range ds.Name {
		if up := w.root + "/" + ds.Name[:i]; ch == '/' && d.find(up) == nil {
			d.add(&Dataset{Name: up, GUID: newGUID(), Local: map[string]string{"canmount": "off", "zab:stream": "parent"}})
		}
	}
	if ds.Kind == "volume" {
		ds.Received = map[string]string{}
	}
	stream := "L"
	if ds.Cipher != "" {
		stream = "L,w"
	}
	c := d.add(&Dataset{Name: w.root + "/" + ds.Name, Kind: ds.Kind, GUID: newGUID(), Local: map[string]string{"zab:from": srcPool, "zab:stream": stream},
		Received: map[string]string{"autobackup:" + backup: "true"}, HasReceived: true, Cipher: ds.Cipher, KeyGUID: ds.KeyGUID, Locked: ds.Cipher != ""})
	if count%2 == 0 && c.Kind != "volume" {
		// As after an earlier run of this version.
		c.Local["zab:stream"] += ",x"
		c.Inherits = map[string]bool{"sharenfs": true, "sharesmb": true}
	}
	if w.poolGUID != "" {
		c.Local["zab:pool"] = w.poolGUID
	}
	if c.Cipher != "" {
		c.EncryptionRoot = c.Name
	}
	for _, s := range ds.Snaps[:count] {
		c.Snaps = append(c.Snaps, &Snap{Name: s.Name, GUID: s.GUID, TXG: d.tick(), Creation: s.Creation, Written: s.Written})
	}
	if n := len(c.Snaps); n > 0 && w.kind != "bookmark" {
		c.Snaps[n-1].Holds = []string{pin, sharedTag}
		ds.Snaps[n-1].Holds = []string{pin, sharedTag}
	}
}

// proofText is the value of zab:verified that says that a snapshot was compared with that of
// the source with a guid.
func proofText(guid string, at int64, how, source string) string {
	full := at
	if how == "different" {
		full = 0
	}
	return fmt.Sprintf("%s:%d:%s:%d:9:%s", guid, at, how, full, source)
}

// addProofs marks copies as if they had been verified, rightly or not, and damages some.
func (w *workflow) addProofs(rng *rand.Rand) {
	d := w.dst
	for _, n := range w.selected {
		c := d.find(w.copyName(n))
		if c == nil || len(c.Snaps) == 0 {
			continue
		}
		newest, at, source := c.newest(), now.Unix()-int64(rng.IntN(40))*86400-60, w.src.find(n).GUID
		switch rng.IntN(9) {
		case 0:
			c.Local[proofProp] = proofText(newest.GUID, at, "full", source)
		case 1, 2:
			c.Local[proofProp] = proofText(c.Snaps[0].GUID, at, "full", source)
		case 3: // by a wrong clock
			c.Local[proofProp] = proofText(newest.GUID, now.Unix()+int64(1+rng.IntN(400))*86400, "full", source)
		case 4: // in a stream
			c.Received[proofProp], c.HasReceived = proofText(newest.GUID, at, "full", source), true
		case 5:
			c.Local[proofProp] = proofText(c.Snaps[0].GUID, at, "different", source)
			c.Snaps[0].Holds = append(c.Snaps[0].Holds, differentTag)
			s := w.src.find(n).snap(c.Snaps[0].Name)
			s.Holds = append(s.Holds, differentTag)
		case 7: // of a comparison with another
			c.Local[proofProp] = proofText(newest.GUID, at, "full", guidFor("another", source))
		case 6: // nothing that zab writes
			c.Local[proofProp] = newest.GUID + ":" + strconv.FormatInt(at, 10) + ":full:-1:9"
		}
		switch {
		case w.kind != "verify" || c.Local[proofProp] != "":
		case rng.IntN(12) == 0: // nothing to compare
			w.damaged = append(w.damaged, n)
			for _, s := range c.Snaps {
				s.GUID = guidFor("foreign", s.GUID)
			}
		case rng.IntN(8) == 0:
			w.damaged = append(w.damaged, n)
			newest.Data = slices.Clone(newest.Data)
			newest.Data[rng.IntN(len(newest.Data))] = "a bad block"
		}
	}
	if c := d.find(w.copyName("tank/srv")); c != nil && len(c.Snaps) > 0 && rng.IntN(2) == 0 {
		// The copies inherit this one.
		d.find(w.root).Local[proofProp] = proofText(c.newest().GUID, now.Unix()-60, "full", w.src.find("tank/srv").GUID)
	}
}

// addOrphan adds a copy whose source no longer exists and whose newest snapshot is days+1
// days old.
func (w *workflow) addOrphan(name string, newGUID func() string, srcPool string, days int) {
	c := w.dst.add(&Dataset{Name: w.root + "/" + name, GUID: newGUID(), Local: map[string]string{"zab:from": srcPool, "zab:stream": "L"}})
	for i := range 4 {
		c.Snaps = append(c.Snaps, &Snap{Name: snapName(days+4-i, 2), GUID: newGUID(), TXG: w.dst.tick(), Creation: now.AddDate(0, 0, -days-4+i).Unix(), Written: 5})
	}
}

// chooseOptions chooses the options of zab for the kind of workflow, some at random.
func (w *workflow) chooseOptions(rng *rand.Rand) {
	add := func(a ...string) { w.args = append(w.args, a...) }
	chance := func(n int) bool { return rng.IntN(n) == 0 }
	w.digest = !chance(4)
	if w.kind == "verify" || w.kind == "status" {
		w.chooseOwnOptions(add, chance)
		return
	}
	add("--utc", "--now=2026-03-01T12:00:00Z", "-v", fmt.Sprintf("--keep-source=%d", w.keep), fmt.Sprintf("--keep-target=%d", w.keep))
	if w.remote["src"] {
		add("--ssh-source=" + srcDest)
	}
	if w.remote["dst"] && w.kind != "alone" {
		add("--ssh-target=" + dstDest)
	}
	if w.kind == "breaks" {
		w.retries = 1
	}
	add(fmt.Sprintf("--retries=%d", w.retries))
	if chance(2) {
		add("-j1")
	}
	switch w.kind {
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
			add("--no-holds")
		}
	case "alone":
		w.root = ""
		if w.hostile == "dst" { // without a target only the source can lie
			w.hostile, w.remote["src"] = "src", true
			if !slices.Contains(w.args, "--ssh-source="+srcDest) {
				add("--ssh-source=" + srcDest)
			}
		}
	case "cache":
		add("--cache")
	case "stages":
		w.stages = true
	case "proves":
		w.proves, w.fetch = true, chance(2)
		add("--verify", "--json")
		if w.fetch {
			add("--fetch")
		}
	case "within":
		w.within = "tank/home"
		if chance(3) {
			w.within = "tank/srv"
		}
		if !chance(3) {
			add("--cache")
		}
		if w.everywhere = !chance(3); !w.everywhere {
			add("--search-every=7d")
		}
	case "options":
		add("--rollback", "--clear-mountpoint", "--clear-refreservation", "--filter-properties=compression,quota", "--set-properties=readonly=on,atime=off")
		if chance(2) {
			w.force = true
			add("--force")
		}
	}
	if chance(4) && !w.missing && w.within == "" {
		add("--allow-empty")
	}
}

// chooseOwnOptions chooses the options of zab-verify or zab-status, which run without zab.
func (w *workflow) chooseOwnOptions(add func(a ...string), chance func(n int) bool) {
	add("--now=2026-03-01T12:00:00Z")
	if w.kind == "verify" {
		w.proves, w.fetch, w.postpones = true, chance(2), chance(8)
		add("-v", fmt.Sprintf("-j%d", 1+2*w.number%2))
		if w.fetch {
			add("--fetch")
		}
		if w.postpones {
			add("--budget=2K")
		}
		if chance(3) {
			add("--full-every=20d")
		}
		if chance(3) {
			add("--oldest-first")
		}
		return
	}
	// The output does not change which commands run.
	w.output = []string{"", "--table", "--nagios", "--prometheus=-", "--zabbix"}[w.number%5]
	add("--utc")
	if !chance(3) {
		add("--verified-within=30d")
	}
	if chance(2) {
		add("--check-holds")
	}
	if chance(3) {
		add("--min-change=0")
	}
}

// succeeds reports whether the exit status is 0 without lies.
func (w *workflow) succeeds() bool { return w.kind != "status" && w.damaged == nil }

// backsUp reports whether the source is backed up to the target.
func (w *workflow) backsUp() bool { return w.root != "" && w.kind != "verify" && w.kind != "status" }

// remoteOptions returns the options of the stages with the destinations of the hosts.
func (w *workflow) remoteOptions() (source, target []string) {
	if w.remote["src"] {
		source = []string{"--ssh-source=" + srcDest}
	}
	if w.remote["dst"] {
		target = []string{"--ssh-target=" + dstDest}
	}
	return source, target
}

// honestHost returns the host that tells the truth.
func (w *workflow) honestHost() string {
	if w.hostile == "src" {
		return "dst"
	}
	return "src"
}

// config returns the configuration of the stand-ins, without lies.
func (w *workflow) config() *runConfig {
	r := &runConfig{Dests: map[string]string{}, Shared: w.shared, Shell: w.shell, Programs: w.programs}
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

// copyName returns the name of the copy of a source dataset.
func (w *workflow) copyName(name string) string { return w.root + "/" + name }
