package bench

import "fmt"

// Most pools hold more than one backup: sources that another backup selects, and copies of
// other machines. A search for the selected datasets opens them all.

// crowded returns the workloads on such pools: a first backup, one new snapshot on each
// dataset, and nothing to do.
func (b *bench) crowded() []*workload {
	full := func(string) bool { return b.Full }
	fullHere := func(place string) bool { return b.Full && place == "local" }
	// A network adds the same time to a crowd of any size, so one size is measured over it. A
	// small run has that size alone, and no network.
	small := func(place string) bool { return b.Full || place == "local" }
	var list []*workload
	for _, crowd := range []int{1, 10, 20} {
		usual := fullHere
		if crowd == 10 {
			usual = small
		}
		list = append(list, b.crowdedFamily(fmt.Sprintf("crowded-%d", crowd), 31, crowd, false, usual)...)
		list = append(list, b.crowdedFamily(fmt.Sprintf("crowded-mounted-%d", crowd), 31, crowd, true, fullHere)...)
	}
	return append(list, b.crowdedFamily("thousand", 1000, 1, false, full)...)
}

// crowdedFamily returns the three workloads on n datasets beside crowd times as many. With
// mounted, all copies are mounted but those that a first backup makes.
func (b *bench) crowdedFamily(family string, n, crowd int, mounted bool, usual func(string) bool) []*workload {
	beside := fmt.Sprintf(", beside %d times as many of other backups", crowd)
	if crowd == 1 {
		beside = ", beside as many of other backups"
	}
	if mounted {
		beside += ", whose copies are mounted"
	}
	searches := []string{"", "--within $SRC/d"}
	caches := []string{"", "--cache", "--within $SRC/d"}
	if b.Full || b.Tools != nil {
		caches = append(caches, "--within $SRC/d --cache")
	}
	// The snapshots of our copies, of their sources, and of the other sources. Counting those
	// of the other copies would open them all, which may take longer than the run.
	want := func(each int) func(n int) int {
		return func(n int) int { return 2*each*n + crowd*n/crowdTree*crowdTree }
	}
	list := []*workload{
		{name: "first", title: "a first backup of small datasets", fill: datasetTree(""), tools: b.tools(searches, sendAll), want: want(1)},
		{name: "one", title: "one new snapshot on each dataset", fill: datasetTree(snapshotSeries(1)), replica: true, change: writeEach, tools: b.tools(searches, sendNew), want: want(2)},
		{name: "nothing", title: "nothing to do", fill: datasetTree(snapshotSeries(1)), replica: true, tools: b.tools(caches, ""), want: want(1)},
	}
	for _, w := range list {
		w.name, w.title = family+"-"+w.name, w.title+beside
		w.unit, w.main, w.sizes = "datasets", n, []int{n}
		w.crowd, w.mounted, w.usual = crowd, mounted, usual
		w.count = b.dst + "/backup " + b.src
	}
	return list
}

// crowdTree is the number of datasets of one other backup, those of the crowded workloads
// themselves: several machines back up to one.
const crowdTree = 31

// makeCrowd creates the file of a pool with n datasets of other backups, a tree for each,
// and each dataset with a snapshot, unless it exists, and returns its name. A source and the pool of its copies begin
// as copies of this file.
func (b *bench) makeCrowd(n int, size int64) string {
	file := fmt.Sprintf("%s/crowd-%d-%d", b.root, n, size)
	if file == b.crowd {
		return file
	}
	b.must(crowdScript(file, n, size))
	b.crowd = file
	return file
}

// crowdScript returns the shell script of makeCrowd.
func crowdScript(file string, n int, size int64) string {
	return `set -e
rm -rf $ROOT/crowd-*
` + createSource(size) + fmt.Sprintf(`
# the import mounts them, several at once
for t in $(seq %d); do zfs create -u -o autobackup:other=true $SRC/other$t; done
for t in $(seq %d); do seq %d | sed "s,^,create -u $SRC/other$t/,"; done | xargs -r -P 2 -n 3 zfs
zfs snapshot -r $SRC@other-20260101000000
zfs destroy $SRC@other-20260101000000
zpool export $SRC
mv $ROOT/live/s/img %s
`, n/crowdTree, n/crowdTree, crowdTree-1, file)
}
