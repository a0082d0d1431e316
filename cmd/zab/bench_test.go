package main_test

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestBench measures zab and other tools that do the same work on real pools:
//
//	floor    plain zfs commands written by hand, without any unnecessary check:
//	         the cost of ZFS itself
//	zab      as users run it; zab -j 1 and others where that makes a difference
//	syncoid  if it is installed
//
// All tools begin each run with identical pools, which are restored from copies of their
// files. The tools take turns, so that other load on the machine affects all of them
// alike. A run with a wrong outcome is a failure and not a measurement.
//
// ZAB_BENCH is the directory for the results (a picture and a line of JSON for each
// measurement), ZAB_BENCH_SCALE is small or full, ZAB_BENCH_REPS is the number of
// repetitions, ZAB_BENCH_ONLY selects cases, such as one/local,large/*, ZAB_BENCH_TOOLS
// selects tools, such as floor,zab*, ZAB_BENCH_SIZE is the number of datasets, snapshots
// or MiB, ZAB_BENCH_DELAY is the round trip time of the slow network. One more case,
// rate/local, measures how well --rate is kept.
func TestBench(t *testing.T) {
	dir := os.Getenv("ZAB_BENCH")
	if dir == "" {
		t.Skip("ZAB_BENCH is not set")
	}
	if !haveZFS() {
		t.Fatal("this machine has no working ZFS")
	}
	b := newBench(t, dir)
	defer b.close()
	for _, w := range b.workloads() {
		if b.size > 0 {
			w.main, w.sizes = b.size, []int{b.size}
		}
		for _, n := range w.sizes {
			for _, p := range b.places {
				if (p.host == "" || n == w.main) && b.wanted(w.name+"/"+p.name) {
					b.measure(w, n, p)
				}
			}
			b.drop(b.key(w, n))
		}
		b.print(w)
	}
	if b.wanted("rate/local") {
		b.rate()
	}
	b.picture()
}

// bench is one run of the benchmark.
type bench struct {
	t         *testing.T
	root, out string // directories: for the pools, for the results
	bin, path string
	src, dst  string // the pools
	full      bool
	reps      int
	only      []string      // patterns of cases
	of        []string      // patterns of tools
	size      int           // 0 for the sizes of the scale
	limit     time.Duration // runs that are expected to take longer are skipped
	budget    time.Duration // no more repetitions once they have taken so long
	places    []place
	lines     *os.File
	cells     []*cell
	undo      []func()
	made      map[string]bool // existing templates, by key
}

// place is the location of the target.
type place struct {
	name string
	host string // "" for this machine
	conf string // the configuration of ssh
	opts []string
}

// workload is work to be done by each tool in turn.
type workload struct {
	name, what string
	// sizes are the values of n on this machine; main is the one measured at all places.
	sizes []int
	main  int
	unit  string
	// fill returns the shell commands that create the source's data. With replica the
	// target has a copy of everything, and change is applied to the source afterwards.
	fill    func(n int) string
	replica bool
	// mounted: the copies are mounted; the kernel opens mounted datasets ten times as
	// fast as others.
	mounted bool
	change  string
	tools   func(p place, n int) []tool
	// count is the pool that has want snapshots when the work is done.
	count string
	want  func(n int) int
	// bytes is the amount of data sent, where the time depends on it.
	bytes func(n int) int64
}

type tool struct {
	name string
	argv []string
	// warm: the tool has a cache, so it is run twice before the measurement: a list is
	// trusted only if it was made when the dataset had not changed for a while.
	warm bool
}

// cell holds the measurements of one tool with one workload at one place.
type cell struct {
	w     *workload
	p     place
	n     int
	tool  string
	took  []float64
	guess float64 // the expected time of a run that was skipped
	// programs is the number of started programs, by name; nil if they were not counted.
	programs map[string]int
	cpu      map[string]float64
	memory   int64
}

// repetitions returns the number of repetitions from ZAB_BENCH_REPS, or else three.
func repetitions(t *testing.T) (n int, given bool) {
	s := os.Getenv("ZAB_BENCH_REPS")
	if s == "" {
		return 3, false
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("ZAB_BENCH_REPS: %q is not a number of repetitions", s)
	}
	return n, true
}

func newBench(t *testing.T, dir string) *bench {
	b := &bench{t: t, out: dir, made: map[string]bool{}, full: os.Getenv("ZAB_BENCH_SCALE") == "full", reps: 3, limit: 30 * time.Second, budget: 15 * time.Second}
	switch s := os.Getenv("ZAB_BENCH_SCALE"); s {
	case "", "small":
	case "full":
		b.limit, b.budget = 20*time.Minute, 20*time.Minute
	default:
		t.Fatalf("ZAB_BENCH_SCALE: %q is neither small nor full", s)
	}
	if n, given := repetitions(t); given {
		b.reps, b.budget = n, 20*time.Minute
	}
	patterns := func(env string) (out []string) {
		if s := os.Getenv(env); s != "" {
			out = strings.Split(s, ",")
		}
		for _, p := range out {
			if _, err := path.Match(p, ""); err != nil {
				t.Fatalf("%s: %q: %v", env, p, err)
			}
		}
		return out
	}
	b.only, b.of = patterns("ZAB_BENCH_ONLY"), patterns("ZAB_BENCH_TOOLS")
	if s := os.Getenv("ZAB_BENCH_SIZE"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("ZAB_BENCH_SIZE: %q is no size", s)
		}
		b.size = n
	}
	delay := 50 * time.Millisecond
	if s := os.Getenv("ZAB_BENCH_DELAY"); s != "" {
		var err error
		if delay, err = time.ParseDuration(s); err != nil {
			t.Fatalf("ZAB_BENCH_DELAY: %v", err)
		}
	}
	var err error
	if b.bin, err = binaries(); err != nil {
		t.Fatal(err)
	}
	b.path = b.bin + ":" + os.Getenv("PATH") + ":/usr/local/sbin:/usr/sbin:/sbin"
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if b.lines, err = os.Create(filepath.Join(dir, "bench.ndjson")); err != nil {
		t.Fatal(err)
	}
	if b.root, err = os.MkdirTemp(memory(), "zabb-"); err != nil {
		t.Fatal(err)
	}
	var id [3]byte
	_, _ = rand.Read(id[:])
	b.src, b.dst = "zabs"+hex.EncodeToString(id[:]), "zabd"+hex.EncodeToString(id[:])
	b.undo = append(b.undo, func() { os.RemoveAll(b.root) }, func() { b.lines.Close() }, b.pools0)
	b.places = []place{{name: "local"}}
	if conf, err := server.start(); err != nil {
		b.say("no ssh: %v", err)
	} else {
		b.places = append(b.places, b.near(conf))
		if far, err := b.far(delay); err != nil {
			b.say("no slow network: %v", err)
		} else {
			b.places = append(b.places, far)
		}
	}
	if lookPath(b.path, "syncoid") == "" {
		b.say("syncoid is not installed, so it is not measured (Debian's package is sanoid)")
	}
	return b
}

func (b *bench) close() {
	for _, f := range slices.Backward(b.undo) {
		f()
	}
}

func (b *bench) say(format string, a ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", a...)
}

// wanted reports whether a case is among those requested.
func (b *bench) wanted(name string) bool {
	kind, place, _ := strings.Cut(name, "/")
	if b.only == nil {
		switch kind {
		case "tree", "snapshot", "options":
			return b.full && place == "local"
		}
		return true
	}
	return slices.ContainsFunc(b.only, func(p string) bool {
		whole, _ := path.Match(p, name)
		part, _ := path.Match(p, kind)
		return whole || part
	})
}

// ---- the network

// near returns this machine, reached over ssh.
func (b *bench) near(conf string) place {
	port := ""
	data, _ := os.ReadFile(conf)
	for line := range strings.Lines(string(data)) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(line), "Port "); ok && port == "" {
			port = p
		}
	}
	return b.remote("ssh", "near.test", "127.0.0.1", port)
}

// remote writes the configuration of ssh for a host to a file, and returns it as options,
// too.
func (b *bench) remote(name, host, addr, port string) place {
	p := place{name: name, host: host, conf: filepath.Join(b.root, host+".conf")}
	var known []byte
	if key, err := os.ReadFile(filepath.Join(server.dir, "host.pub")); err == nil {
		known = append([]byte(host+" "), key...)
	}
	file := filepath.Join(b.root, host+".known")
	_ = os.WriteFile(file, known, 0o600)
	text := "Host " + host + "\n"
	for _, o := range []string{
		"HostName=" + addr, "Port=" + port, "User=root", "IdentityFile=" + filepath.Join(server.dir, "user"), "IdentitiesOnly=yes",
		"HostKeyAlias=" + host, "UserKnownHostsFile=" + file, "StrictHostKeyChecking=yes", "LogLevel=ERROR",
		// The fastest cipher if the processor supports AES, also under emulation.
		"Ciphers=aes128-gcm@openssh.com",
	} {
		text += "    " + o + "\n"
		p.opts = append(p.opts, "--sshoption="+o)
	}
	_ = os.WriteFile(p.conf, []byte(text), 0o600)
	return p
}

// far starts a second sshd in its own network namespace, behind a delay. Only the network
// is separate: its mounts are visible here.
func (b *bench) far(delay time.Duration) (place, error) {
	ns := b.src
	link, peer := "zb0"+b.src[4:], "zb1"+b.src[4:]
	b.undo = append(b.undo, func() {
		_ = exec.Command("ip", "link", "del", link).Run()
		_ = exec.Command("ip", "netns", "del", ns).Run()
	})
	half := strconv.FormatInt(delay.Microseconds()/2, 10) + "us"
	script := strings.NewReplacer("NS", ns, "LINK", link, "PEER", peer, "HALF", half).Replace(`set -e
modprobe -q sch_netem || :
ip netns add NS
ip link add LINK type veth peer name PEER netns NS
ip addr add 10.213.77.1/30 dev LINK
ip link set LINK up
ip -n NS addr add 10.213.77.2/30 dev PEER
ip -n NS link set PEER up
tc qdisc add dev LINK root netem delay HALF limit 1000000
tc -n NS qdisc add dev PEER root netem delay HALF limit 1000000
`)
	if out, err := b.sh(script); err != nil {
		return place{}, fmt.Errorf("%v: %s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(server.dir, "sshd_config"))
	if err != nil {
		return place{}, err
	}
	file := filepath.Join(b.root, "far.sshd")
	if err := os.WriteFile(file, bytes.Replace(data, []byte("ListenAddress 127.0.0.1"), []byte("ListenAddress 10.213.77.2"), 1), 0o600); err != nil {
		return place{}, err
	}
	cmd := exec.Command("nsenter", "--net=/run/netns/"+ns, lookPath(b.path, "sshd"), "-D", "-e", "-f", file)
	if err := cmd.Start(); err != nil {
		return place{}, err
	}
	b.undo = append(b.undo, func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	port := strings.Fields(string(data))[1]
	for range 100 {
		c, err := net.DialTimeout("tcp", "10.213.77.2:"+port, 10*time.Second)
		if err == nil {
			c.Close()
			begun := time.Now() // now that both sides have resolved each other's address
			if c, err := net.Dial("tcp", "10.213.77.2:"+port); err == nil {
				c.Close()
			}
			b.say("a round trip of the slow network takes %.1f ms", time.Since(begun).Seconds()*1000)
			return b.remote("ssh "+delay.String(), "far.test", "10.213.77.2", port), nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return place{}, fmt.Errorf("the sshd behind it does not answer")
}

// ---- the pools

func (b *bench) sh(script string) (string, error) {
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = b.env()
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (b *bench) env() []string {
	return append(os.Environ(), "PATH="+b.path, "LC_ALL=C.UTF-8", "TZ=UTC", "TMPDIR="+b.root, "CACHE_DIRECTORY="+b.root+"/cache", "SRC="+b.src, "DST="+b.dst, "ROOT="+b.root)
}

func (b *bench) must(script string) string {
	b.t.Helper()
	out, err := b.sh(script)
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return out
}

// pools0 destroys both pools.
func (b *bench) pools0() {
	for _, p := range []string{b.src, b.dst} {
		if err := destroyPool(p); err != nil {
			b.t.Error(err)
		}
	}
}

// key identifies the initial state of a workload's pools.
func (b *bench) key(w *workload, n int) string {
	return fmt.Sprintf("%s-%d", w.name, n)
}

// template creates, once, the files from which a workload's runs begin.
func (b *bench) template(w *workload, n int) {
	key := b.key(w, n)
	if b.made[key] {
		return
	}
	b.pools0()
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
		// Give the target a copy of the whole pool, which is far quicker than receiving
		// it, and keeps the guids.
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
# the holds that an earlier run would have left
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
	b.made[key] = true
}

func (b *bench) drop(key string) {
	b.pools0()
	b.must(fmt.Sprintf(`rm -rf $ROOT/live $ROOT/%[1]s.s $ROOT/%[1]s.d`, key))
	delete(b.made, key)
}

// restore resets the pools to the initial state of a workload.
func (b *bench) restore(w *workload, n int) {
	b.template(w, n)
	b.pools0()
	b.must(fmt.Sprintf(`set -e
rm -rf $ROOT/live $ROOT/cache; mkdir -p $ROOT/live/s $ROOT/live/d
for x in s d; do cp --sparse=always $ROOT/%s.$x $ROOT/live/$x/img; done
zpool import -o cachefile=none -d $ROOT/live/s $SRC
zpool import -o cachefile=none -d $ROOT/live/d $DST
zpool sync`, b.key(w, n)))
}

// ---- the work

// children returns shell commands that create n datasets in total, including $SRC/d.
func children(each string) func(n int) string {
	return func(n int) string {
		return fmt.Sprintf(`
seq -w %d | sed "s,^,create $SRC/d/," | xargs -r -P 2 -n 2 zfs
for d in $(zfs list -Hro mountpoint $SRC/d); do head -c 20000 /dev/urandom >$d/file; done
zpool sync
`, n-1) + each
	}
}

// series returns shell commands that take k snapshots of everything, a minute apart.
func series(k int) string {
	return fmt.Sprintf(`
for i in $(seq 0 %d); do
	zfs snapshot -r $SRC/d@bench-$(date -u -d "2026-01-01 $i minutes" +%%Y%%m%%d%%H%%M%%S)
done
`, k-1)
}

// together is series for thousands of datasets: zfs snapshot opens each of them again,
// while a channel program takes seconds.
func together(k int) string {
	return fmt.Sprintf(`
cat >$ROOT/together.lua <<'LUA'
args = ...
name = args["argv"][2]
function all(dataset)
	assert(zfs.sync.snapshot(dataset .. "@" .. name) == 0, dataset)
	for child in zfs.list.children(dataset) do
		all(child)
	end
end
all(args["argv"][1])
LUA
for i in $(seq 0 %d); do
	zfs program -t 100000000 -m 100000000 $SRC $ROOT/together.lua $SRC/d bench-$(date -u -d "2026-01-01 $i minutes" +%%Y%%m%%d%%H%%M%%S) >/dev/null
done
`, k-1)
}

func (b *bench) workloads() []*workload {
	pickInt := func(small, full int) int {
		if b.full {
			return full
		}
		return small
	}
	sizes := func(small, full []int) []int {
		if b.full {
			return full
		}
		return small
	}
	one := "for d in $(zfs list -Hro mountpoint $SRC/d); do echo new >$d/new; done; zpool sync\n"
	many := pickInt(200, 1000)
	jobs := []string{"", "-j 1"}
	if b.full || b.of != nil {
		jobs = []string{"", "-j 1", "-j 2", "-j 4", "-j 8"}
	}
	thick := 100
	large := func(n int) int64 { return int64(n) << 20 }
	return []*workload{
		{
			name: "first", what: "a first backup of small datasets", unit: "datasets", main: pickInt(10, 100), sizes: []int{pickInt(10, 100)},
			fill:  children(""),
			tools: b.tools(jobs, nil, `zfs send $d@floor | R zfs receive -u $DST/backup/$d`),
			count: b.dst, want: func(n int) int { return n },
		},
		{
			name: "one", what: "one new snapshot on each dataset", unit: "datasets", main: pickInt(10, 100), sizes: sizes([]int{1, 10, 30}, []int{1, 10, 30, 100}),
			fill: children(series(1)), replica: true, change: one,
			tools: b.tools(jobs, nil, `zfs send -i @bench-20260101000000 $d@floor | R zfs receive -u $DST/backup/$d`),
			count: b.dst, want: func(n int) int { return 2 * n },
		},
		{
			name: "mounted", what: "one new snapshot on each dataset, whose copies are mounted", unit: "datasets", main: pickInt(10, 100), sizes: []int{pickInt(10, 100)},
			fill: children(series(1)), replica: true, mounted: true, change: one,
			tools: b.tools(jobs, nil, `zfs send -i @bench-20260101000000 $d@floor | R zfs receive -u $DST/backup/$d`),
			count: b.dst, want: func(n int) int { return 2 * n },
		},
		{
			name: "nothing", what: "nothing to do", unit: "datasets", main: pickInt(30, 100), sizes: sizes([]int{1, 10, 30, 100}, []int{1, 10, 30, 100, 300}),
			fill: children(series(1)), replica: true,
			tools: b.tools([]string{"", "--cache"}, []string{"--no-sync-snap"}, ""),
			count: b.dst, want: func(n int) int { return n },
		},
		{
			name: "snapshots", what: "one new snapshot on a dataset with many, on both sides", unit: "snapshots", main: many, sizes: []int{many},
			fill: func(n int) string { return series(n) }, replica: true, change: one,
			tools: b.tools([]string{"--keep-source 100000 --keep-target 100000"}, nil,
				`zfs send -i @$(zfs list -Ho name -t snapshot -s name -d 1 $d | tail -n 2 | head -n 1 | cut -d@ -f2) $d@floor | R zfs receive -u $DST/backup/$d`),
			count: b.dst, want: func(n int) int { return n + 1 },
		},
		{
			name: "large", what: "a first backup of one large dataset", unit: "MiB", main: pickInt(256, 2048), sizes: []int{pickInt(256, 2048)},
			fill: func(n int) string {
				return fmt.Sprintf("head -c %d /dev/urandom >$ROOT/mnt/d/file; zpool sync\n", large(n))
			},
			tools: b.tools([]string{"--progress", "--progress --buffer 128M"}, nil, `zfs send $d@floor | R zfs receive -u $DST/backup/$d`),
			count: b.dst, want: func(n int) int { return 1 }, bytes: large,
		},
		{
			name: "thin", what: fmt.Sprintf("destroying all snapshots but the newest of each dataset, which has %d at most", thick), unit: "snapshots",
			main: pickInt(1000, 10000), sizes: []int{pickInt(1000, 10000)},
			fill:  func(n int) string { return children(series(min(n, thick)))(n / min(n, thick)) },
			tools: b.thinners, count: b.src, want: func(n int) int { return n / min(n, thick) },
		},
		{
			// The workloads from here on are not part of a small run.
			name: "tree", what: "nothing to do, where each dataset has 20 snapshots", unit: "datasets", main: pickInt(200, 2000), sizes: []int{pickInt(200, 2000)},
			fill: children(together(20)), replica: true, mounted: true,
			tools: b.tools([]string{"--no-thinning", "--no-thinning --cache"}, []string{"--no-sync-snap"}, ""),
			count: b.dst, want: func(n int) int { return 20 * n },
		},
		{
			name: "snapshot", what: "a snapshot of each dataset, all of which changed, and no backup", unit: "datasets", main: pickInt(200, 2000), sizes: []int{pickInt(200, 2000)},
			fill: children(together(1) + one),
			tools: func(p place, _ int) []tool {
				return []tool{b.floor(p, "zfs snapshot -r $SRC/d@floor\n"), {name: "zab", argv: []string{"zab", "--no-thinning", "bench"}}}
			},
			count: b.src, want: func(n int) int { return 2 * n },
		},
		{
			// Measures the cost of options.
			name: "options", what: "one new snapshot on each dataset, with various options", unit: "datasets", main: 10, sizes: []int{10},
			fill: children(series(1)), replica: true, change: one,
			tools: b.tools([]string{"", "--progress", "--no-holds", "--bookmark", "--no-thinning", "--buffer 16M", "--compress zstd-fast", "--rate 1G", "-j 1", "-j 2", "-j 4", "-j 8"},
				nil, `zfs send -i @bench-20260101000000 $d@floor | R zfs receive -u $DST/backup/$d`),
			count: b.dst, want: func(n int) int { return 2 * n },
		},
	}
}

// floor returns a script of plain commands; R runs the rest of its line on the side of
// the target.
func (b *bench) floor(p place, body string) tool {
	head := "R() { \"$@\"; }\n"
	if p.host != "" {
		ssh := "ssh -F " + p.conf + " -S $ROOT/floor.sock"
		head = ssh + " -M -N -f " + p.host + "\nR() { " + ssh + " " + p.host + " \"$@\"; }\n"
		body += ssh + " -O exit " + p.host + " 2>/dev/null\n"
	}
	return tool{name: "floor", argv: []string{"sh", "-c", "set -e\n" + head + body}}
}

// tools returns the tools that back up. If send is not "", it is the command by which the
// floor backs up a dataset, and all tools take a new snapshot first.
func (b *bench) tools(zab, syncoid []string, send string) func(p place, n int) []tool {
	return func(p place, _ int) []tool {
		body := "zfs list -Hpro name,guid -t filesystem,snapshot $SRC/d >$ROOT/floor.src\nR zfs list -Hpro name,guid -t filesystem,snapshot $DST/backup/$SRC >/dev/null\n"
		if send != "" {
			body = "zfs snapshot -r $SRC/d@floor\n" + body + "for d in $(cut -f 1 $ROOT/floor.src | grep -v @); do " + send + "; done\n"
		}
		list := []tool{b.floor(p, body)}
		var side []string
		if p.host != "" {
			side = []string{"--ssh-config", p.conf, "--ssh-target", p.host}
		}
		for _, o := range zab {
			argv := append(append([]string{"zab"}, side...), strings.Fields(o)...)
			list = append(list, tool{name: strings.TrimSpace("zab " + shortened(o)), argv: append(argv, "bench", b.dst+"/backup"),
				warm: slices.Contains(argv, "--cache")})
		}
		if lookPath(b.path, "syncoid") != "" {
			to := b.dst + "/backup/" + b.src + "/d"
			// Random bytes do not compress, and no other tool tries to compress them.
			argv := append([]string{"syncoid", "--quiet", "--recursive", "--compress=none"}, syncoid...)
			if p.host != "" {
				argv = append(argv, p.opts...)
				to = "root@" + p.host + ":" + to
			}
			list = append(list, tool{name: "syncoid", argv: append(argv, b.src+"/d", to)})
		}
		return list
	}
}

// shortened returns options as the table shows them.
func shortened(o string) string {
	o, _, _ = strings.Cut(o, "--keep-")
	return strings.TrimSpace(o)
}

// thinners returns the tools that destroy all snapshots of the source but the newest.
// syncoid does not thin.
func (b *bench) thinners(p place, _ int) []tool {
	body := `R zfs list -Hpro name -t snapshot -s name $SRC/d >$ROOT/floor.src
for d in $(cut -d@ -f1 $ROOT/floor.src | uniq); do
	first=$(grep -m 1 "^$d@" $ROOT/floor.src | cut -d@ -f2)
	last=$(grep "^$d@" $ROOT/floor.src | head -n -1 | tail -n 1 | cut -d@ -f2)
	[ -z "$last" ] || R zfs destroy $d@$first%$last </dev/null
done
`
	zab := []string{"zab", "--no-snapshot", "--keep-source=1"}
	if p.host != "" {
		zab = append(zab, "--ssh-config", p.conf, "--ssh-source", p.host)
	}
	return []tool{b.floor(p, body), {name: "zab", argv: append(zab, "bench")}}
}

// ---- measuring

func (b *bench) measure(w *workload, n int, p place) {
	var list []*cell
	tools := slices.DeleteFunc(w.tools(p, n), func(tl tool) bool {
		return b.of != nil && !slices.ContainsFunc(b.of, func(p string) bool {
			ok, _ := path.Match(p, tl.name)
			return ok
		})
	})
	for _, tl := range tools {
		c := &cell{w: w, p: p, n: n, tool: tl.name}
		c.guess = b.expect(c)
		list = append(list, c)
		b.cells = append(b.cells, c)
	}
	b.say("%s, %d %s, %s", w.what, n, w.unit, p.name)
	for rep := range b.reps {
		order := slices.Clone(tools)
		if rep%2 == 1 {
			slices.Reverse(order)
		}
		for _, tl := range order {
			c := list[slices.IndexFunc(tools, func(o tool) bool { return o.name == tl.name })]
			if rep == 0 && c.guess > b.limit.Seconds() {
				b.say("    %-24s not run: it would take about %.0f s", tl.name, c.guess)
			} else if len(c.took) == rep && sum(c.took) < b.budget.Seconds() {
				c.guess = 0
				b.once(c, tl, rep)
			}
		}
	}
	if p.host != "" {
		return
	}
	for i, tl := range tools {
		// Observing the processes takes time, so it has a run of its own.
		if c := list[i]; len(c.took) > 0 && strings.HasPrefix(tl.name, "zab") && n == w.main && sum(c.took) < b.budget.Seconds() {
			b.begin(c, tl)
			_, c.memory = b.run(c, tl, true)
		}
	}
}

func sum(list []float64) float64 {
	s := 0.0
	for _, x := range list {
		s += x
	}
	return s
}

// expect returns the expected time of a run in seconds, from a run of the same or a
// smaller size, or at a nearer place; 0 if there was none.
func (b *bench) expect(c *cell) float64 {
	guess := 0.0
	for _, o := range b.cells {
		if o.w == c.w && o.tool == c.tool && o.n <= c.n {
			if len(o.took) > 0 {
				guess = o.took[0] * float64(c.n) / float64(max(o.n, 1))
				if o.n == 1 {
					guess /= 2 // most of that time was startup
				}
			} else {
				guess = o.guess * float64(c.n) / float64(o.n)
			}
		}
	}
	return guess
}

// begin restores the state in which a tool begins.
func (b *bench) begin(c *cell, tl tool) {
	b.restore(c.w, c.n)
	if tl.warm {
		b.run(c, tl, false)
		b.run(c, tl, false)
	}
}

func (b *bench) once(c *cell, tl tool, rep int) {
	b.begin(c, tl)
	var acct *accounting
	if rep == 0 {
		acct = account(filepath.Join(b.root, "acct"))
	}
	took, _ := b.run(c, tl, false)
	if acct != nil {
		c.programs, c.cpu = acct.stop()
	}
	c.took = append(c.took, took)
	got := b.must("zfs list -Hro name -t snapshot " + c.w.count + " | wc -l")
	if got != strconv.Itoa(c.w.want(c.n)) {
		b.t.Fatalf("%s: after '%s' there are %s snapshots on %s, and there should be %d", c.w.name, tl.name, got, c.w.count, c.w.want(c.n))
	}
	b.say("    %-24s %8.2f s", tl.name, took)
	b.line(map[string]any{"case": c.w.name, "place": c.p.name, c.w.unit: c.n, "tool": c.tool, "repetition": rep, "seconds": took,
		"programs": c.programs, "cpu_seconds": c.cpu})
}

func (b *bench) line(v any) {
	data, err := json.Marshal(v)
	if err != nil {
		b.t.Fatal(err)
	}
	_, _ = b.lines.Write(append(data, '\n'))
}

// run runs a tool once. Its output goes to a file and not to a pipe, which a connection
// left behind by the tool would keep open.
func (b *bench) run(c *cell, tl tool, watch bool) (seconds float64, memory int64) {
	out, err := os.Create(filepath.Join(b.root, "out"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer out.Close()
	argv := slices.Clone(tl.argv)
	if p := lookPath(b.path, argv[0]); p != "" {
		argv[0] = p
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = b.env(), out, out
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	peak := make(chan int64, 1)
	done := make(chan struct{})
	if watch {
		go func() { peak <- resident(cmd.Process.Pid, done) }()
	} else {
		peak <- 0
	}
	err = cmd.Wait()
	seconds = time.Since(begun).Seconds()
	close(done)
	if err != nil {
		text, _ := os.ReadFile(out.Name())
		b.t.Fatalf("%s: '%s' failed: %v\n%s", c.w.name, strings.Join(tl.argv, " "), err, text)
	}
	return seconds, <-peak
}

// resident returns the peak of the memory used by a process and its descendants together,
// in bytes. It counts only zab's own programs: zfs, zpool and ssh are not ours to make
// smaller.
func resident(pid int, done <-chan struct{}) int64 {
	peak := int64(0)
	for {
		select {
		case <-done:
			return peak
		case <-time.After(20 * time.Millisecond):
		}
		all := processes()
		tree := below(all, pid)
		tree[pid] = true
		now := int64(0)
		for p := range tree {
			if !strings.HasPrefix(all[p].name, "zab") {
				continue
			}
			data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p))
			for line := range strings.Lines(string(data)) {
				if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
					n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
					now += n << 10
				}
			}
		}
		peak = max(peak, now)
	}
}

// ---- the rate

// rate measures how well --rate is kept, at the output of zab-xfer.
func (b *bench) rate() {
	const mib, limit = 220, 20 << 20
	w := &workload{name: "rate", fill: func(n int) string {
		return fmt.Sprintf("head -c %d /dev/urandom >$ROOT/mnt/d/file; zpool sync\n", int64(n)<<20)
	}}
	self, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	out := filepath.Join(b.root, "sample")
	tl := tool{name: "zab --rate 20M", argv: []string{"zab", "--rate=20M", "--recv-pipe=" + sampleEnv + "=" + out + " " + self, "bench", b.dst + "/backup"}}
	fmt.Printf("\nrate: %d MiB at %d MiB/s\n  %8s %18s %26s\n", mib, limit>>20, "seconds", "mean to the rate", "most in a second to it")
	for rep := range b.reps {
		c := &cell{w: w, n: mib, tool: tl.name}
		b.begin(c, tl)
		b.run(c, tl, false)
		var s sample
		data, err := os.ReadFile(out)
		if err == nil {
			err = json.Unmarshal(data, &s)
		}
		if err != nil || s.Bytes < mib<<20 {
			b.t.Fatalf("the stream was not measured: %v %s", err, data)
		}
		mean, peak := float64(s.Bytes)/s.Seconds/limit, float64(s.Peak)/limit
		fmt.Printf("  %8.2f %18.4f %26.4f\n", s.Seconds, mean, peak)
		b.line(map[string]any{"case": "rate", "place": "local", "tool": tl.name, "repetition": rep, "seconds": s.Seconds, "bytes": s.Bytes, "mean": mean, "peak": peak})
	}
	b.drop(b.key(w, mib))
}

// sample describes the data that passed through a pipe.
type sample struct {
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"` // from the first byte to the last
	Peak    int64   `json:"peak"`    // bytes in the busiest second
}

// sampleEnv is the environment variable with the file for the sample; if it is set, this
// program is part of a pipe.
const sampleEnv = "ZAB_BENCH_SAMPLE"

// sampleMain copies its input, and writes the sample to the file.
func sampleMain(file string) error {
	type piece struct {
		at time.Duration
		n  int
	}
	var pieces []piece
	var begun time.Time
	buf := make([]byte, 1<<20)
	for {
		n, err := os.Stdin.Read(buf)
		if n > 0 {
			if begun.IsZero() {
				begun = time.Now()
			}
			pieces = append(pieces, piece{time.Since(begun), n})
			if _, err := os.Stdout.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	var s sample
	first, second := 0, int64(0)
	for _, p := range pieces {
		s.Bytes, s.Seconds = s.Bytes+int64(p.n), p.at.Seconds()
		second += int64(p.n)
		for ; p.at-pieces[first].at >= time.Second; first++ {
			second -= int64(pieces[first].n)
		}
		s.Peak = max(s.Peak, second)
	}
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o666)
}

// ---- process accounting

// accounting is a file into which the kernel writes a line for each process that ends:
// its cost is not measurable, and it includes processes on the far side of ssh. It also
// includes unrelated processes, so a benchmark needs a machine of its own.
type accounting struct{ file string }

func (a *accounting) stop() (programs map[string]int, cpu map[string]float64) {
	_ = accountTo("")
	data, err := os.ReadFile(a.file)
	if err != nil {
		return nil, nil
	}
	programs, cpu = map[string]int{}, map[string]float64{}
	// struct acct_v3 of linux/acct.h
	for ; len(data) >= 64; data = data[64:] {
		const forked = 1 // AFORK: the process did not exec
		name := string(bytes.TrimRight(data[48:64], "\x00"))
		cpu[name] += ticks(data[32:]) + ticks(data[34:])
		if data[0]&forked == 0 {
			programs[name]++
		}
	}
	return programs, cpu
}

// ticks decodes a comp_t, 13 bits of mantissa and 3 bits of exponent, in hundredths of a
// second, and returns seconds.
func ticks(b []byte) float64 {
	v := binary.NativeEndian.Uint16(b)
	return float64(int(v&0x1fff)<<(3*(v>>13))) / 100
}

// ---- the table

func median(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	n := len(s)
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

func (b *bench) find(w *workload, n int, place, tool string) *cell {
	for _, c := range b.cells {
		if c.w == w && c.n == n && c.p.name == place && c.tool == tool && len(c.took) > 0 {
			return c
		}
	}
	return nil
}

func (b *bench) print(w *workload) {
	var out strings.Builder
	for _, c := range b.cells {
		if c.w != w {
			continue
		}
		if out.Len() == 0 {
			fmt.Fprintf(&out, "\n%s: %s\n  %-9s %-10s %-26s %2s %8s %8s %8s %6s %5s %5s %4s %5s %6s %7s\n", w.name, w.what,
				w.unit, "place", "tool", "n", "median", "min", "max", "ratio", "zfs", "zpool", "ssh", "all", "trips", "memory")
		}
		if len(c.took) == 0 {
			fmt.Fprintf(&out, "  %-9d %-10s %-26s  0 not run: it would take about %.0f s\n", c.n, c.p.name, c.tool, c.guess)
			continue
		}
		m := median(c.took)
		ratio, trips, memory := "", "", ""
		if f := b.find(w, c.n, c.p.name, "floor"); f != nil {
			ratio = fmt.Sprintf("%.2f", m/median(f.took))
		}
		if near := b.find(w, c.n, "ssh", c.tool); near != nil && strings.HasPrefix(c.p.name, "ssh ") {
			// The time added by the delay, in round trips.
			d, _ := time.ParseDuration(strings.TrimPrefix(c.p.name, "ssh "))
			trips = fmt.Sprintf("%.0f", (m-median(near.took))/d.Seconds())
		}
		if c.memory > 0 {
			memory = fmt.Sprintf("%.0f MiB", float64(c.memory)/(1<<20))
		}
		counts := fmt.Sprintf("%5s %5s %4s %5s", "?", "?", "?", "?")
		if c.programs != nil {
			all := 0
			for _, k := range c.programs {
				all += k
			}
			counts = fmt.Sprintf("%5d %5d %4d %5d", c.programs["zfs"], c.programs["zpool"], c.programs["ssh"], all)
		}
		fmt.Fprintf(&out, "  %-9d %-10s %-26s %2d %8.2f %8.2f %8.2f %6s %s %6s %7s", c.n, c.p.name, c.tool, len(c.took), m,
			slices.Min(c.took), slices.Max(c.took), ratio, counts, trips, memory)
		if w.bytes != nil {
			mib := float64(w.bytes(c.n)) / (1 << 20)
			fmt.Fprintf(&out, "  %.0f MiB/s", mib/m)
			if x, ok := c.cpu["zab-xfer"]; ok {
				fmt.Fprintf(&out, ", zab-xfer used %.2f s of processor", x)
			}
		}
		out.WriteByte('\n')
		b.line(map[string]any{"case": w.name, "place": c.p.name, w.unit: c.n, "tool": c.tool, "repetitions": len(c.took), "median": m,
			"min": slices.Min(c.took), "max": slices.Max(c.took), "programs": c.programs, "memory": c.memory})
	}
	fmt.Print(out.String())
}

// ---- the picture

// picture draws the growth of the run time with the number of datasets, by tool.
func (b *bench) picture() { b.draw("growth.svg", []string{"nothing", "one"}) }

// draw draws side by side the workloads that were measured at more than one size.
func (b *bench) draw(name string, workloads []string) {
	var parts []string
	for _, name := range workloads {
		if p := b.panel(name, len(parts)); p != "" {
			parts = append(parts, p)
		}
	}
	if len(parts) == 0 {
		return
	}
	const style = "text{font:12px sans-serif;fill:#222}.t{font-size:14px;font-weight:bold}.g{stroke:#ddd}.a{stroke:#222}polyline{fill:none;stroke-width:2}"
	svg := fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%[1]d\" height=\"420\" viewBox=\"0 0 %[1]d 420\">\n<style>%[2]s</style>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n%[3]s</svg>\n",
		len(parts)*panelWidth, style, strings.Join(parts, ""))
	file := filepath.Join(b.out, name)
	if err := os.WriteFile(file, []byte(svg), 0o666); err != nil {
		b.t.Fatal(err)
	}
}

const panelWidth = 560

var colours = map[string]string{"floor": "#888", "zab": "#0a62c4", "zab -j 1": "#17a398", "zab --cache": "#17a398", "syncoid": "#d1495b",
	"jq -c .": "#888", "zab-thin -n": "#17a398", "zab-plan, first backup": "#e09f3e", "zab-plan, one new": "#0a62c4"}

// panel returns one diagram with two logarithmic axes: constant work is a flat line, and
// work per dataset rises in proportion to their number.
func (b *bench) panel(name string, at int) string {
	type point struct {
		n            int
		mid, low, up float64
	}
	curves := map[string][]point{}
	var order []string
	var sizes []int
	low, high, what, unit := math.Inf(1), 0.0, "", ""
	for _, c := range b.cells {
		if c.w.name != name || c.p.host != "" || len(c.took) == 0 {
			continue
		}
		what, unit = c.w.what, c.w.unit
		if curves[c.tool] == nil {
			order = append(order, c.tool)
		}
		p := point{c.n, median(c.took), slices.Min(c.took), slices.Max(c.took)}
		curves[c.tool] = append(curves[c.tool], p)
		low, high = min(low, p.low), max(high, p.up)
		if !slices.Contains(sizes, c.n) {
			sizes = append(sizes, c.n)
		}
	}
	slices.Sort(sizes)
	if len(sizes) < 2 {
		return ""
	}
	const left, right, top, bottom = 60, 400, 50, 360
	low, high = math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high)))
	x := func(n int) float64 {
		f := math.Log(float64(n)/float64(sizes[0])) / math.Log(float64(sizes[len(sizes)-1])/float64(sizes[0]))
		return float64(at*panelWidth) + left + f*(right-left)
	}
	y := func(s float64) float64 { return bottom - math.Log(s/low)/math.Log(high/low)*(bottom-top) }
	x0, x1 := x(sizes[0]), x(sizes[len(sizes)-1])
	var s strings.Builder
	fmt.Fprintf(&s, "<text class=\"t\" x=\"%.0f\" y=\"28\">%s</text>\n", x0, what)
	for _, n := range sizes {
		fmt.Fprintf(&s, "<line class=\"g\" x1=\"%.1[1]f\" y1=\"%[2]d\" x2=\"%.1[1]f\" y2=\"%[3]d\"/><text x=\"%.1[1]f\" y=\"%[4]d\" text-anchor=\"middle\">%[5]d</text>\n",
			x(n), top, bottom, bottom+18, n)
	}
	for e := low; e <= high*1.01; e *= 10 {
		for _, k := range []float64{1, 2, 5} {
			if v := e * k; v <= high*1.01 {
				fmt.Fprintf(&s, "<line class=\"g\" x1=\"%.1[1]f\" y1=\"%.1[3]f\" x2=\"%.1[2]f\" y2=\"%.1[3]f\"/><text x=\"%.1[4]f\" y=\"%.1[5]f\" text-anchor=\"end\">%[6]g s</text>\n",
					x0, x1, y(v), x0-8, y(v)+4, v)
			}
		}
	}
	fmt.Fprintf(&s, "<line class=\"a\" x1=\"%.1[1]f\" y1=\"%[3]d\" x2=\"%.1[2]f\" y2=\"%[3]d\"/><line class=\"a\" x1=\"%.1[1]f\" y1=\"%[4]d\" x2=\"%.1[1]f\" y2=\"%[3]d\"/>\n", x0, x1, bottom, top)
	fmt.Fprintf(&s, "<text x=\"%.0f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", (x0+x1)/2, bottom+38, unit)
	for i, tool := range order {
		colour := colours[tool]
		if colour == "" {
			colour = "#b5739d"
		}
		var line []string
		for _, p := range curves[tool] {
			line = append(line, fmt.Sprintf("%.1f,%.1f", x(p.n), y(p.mid)))
			fmt.Fprintf(&s, "<line stroke=\"%[1]s\" x1=\"%.1[2]f\" y1=\"%.1[3]f\" x2=\"%.1[2]f\" y2=\"%.1[4]f\"/><circle cx=\"%.1[2]f\" cy=\"%.1[5]f\" r=\"3\" fill=\"%[1]s\"/>\n",
				colour, x(p.n), y(p.low), y(p.up), y(p.mid))
		}
		fmt.Fprintf(&s, "<polyline stroke=\"%s\" points=\"%s\"/>\n", colour, strings.Join(line, " "))
		fmt.Fprintf(&s, "<rect x=\"%.0f\" y=\"%d\" width=\"14\" height=\"4\" fill=\"%s\"/><text x=\"%.0f\" y=\"%d\">%s</text>\n",
			x1+14, top+8+i*20, colour, x1+34, top+14+i*20, tool)
	}
	return s.String()
}

// TestBenchPicture checks, without pools, that the picture is well-formed and shows each
// measurement at its place.
func TestBenchPicture(t *testing.T) {
	w := &workload{name: "nothing", what: "nothing to do", unit: "datasets"}
	b := &bench{t: t, out: t.TempDir()}
	for _, n := range []int{1, 10, 100} {
		b.cells = append(b.cells,
			&cell{w: w, n: n, tool: "zab", took: []float64{0.5, 0.4, 0.6}},
			&cell{w: w, n: n, tool: "syncoid", took: []float64{float64(n)}})
	}
	b.cells = append(b.cells, &cell{w: w, n: 1000, tool: "syncoid", guess: 1000})
	b.picture()
	data, err := os.ReadFile(filepath.Join(b.out, "growth.svg"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	if bytes.Contains(data, []byte("%!")) {
		t.Errorf("a value is missing: %s", data)
	}
	circles := map[string]bool{}
	for d := xml.NewDecoder(bytes.NewReader(data)); ; {
		tok, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := tok.(xml.StartElement); ok {
			attr := map[string]string{}
			for _, a := range e.Attr {
				attr[a.Name.Local] = a.Value
			}
			switch e.Name.Local {
			case "polyline":
				lines = append(lines, attr["points"])
			case "circle":
				circles[attr["cx"]+","+attr["cy"]] = true
			}
		}
	}
	if len(lines) != 2 {
		t.Fatalf("there are %d curves, not 2: %s", len(lines), data)
	}
	ys := func(line string) (out []float64) {
		for _, p := range strings.Fields(line) {
			if !circles[p] {
				t.Errorf("there is no point at %s", p)
			}
			_, text, _ := strings.Cut(p, ",")
			y, err := strconv.ParseFloat(text, 64)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, y)
		}
		return out
	}
	if y := ys(lines[0]); len(y) != 3 || y[0] != y[1] || y[1] != y[2] {
		t.Errorf("what takes the same time is no flat line: %v", y)
	}
	if y := ys(lines[1]); len(y) != 3 || y[0] <= y[1] || y[1] <= y[2] {
		t.Errorf("what takes longer does not rise: %v", y)
	}
}

func TestBenchTicks(t *testing.T) {
	for v, want := range map[uint16]float64{0: 0, 150: 1.5, 0x1fff: 81.91, 1<<13 | 1024: 81.92, 2<<13 | 1000: 640} {
		if got := ticks(binary.NativeEndian.AppendUint16(nil, v)); got != want {
			t.Errorf("%#x is %v seconds, want %v", v, got, want)
		}
	}
}
