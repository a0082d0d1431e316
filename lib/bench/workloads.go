package bench

import "fmt"

// workload is work that each tool does in turn.
type workload struct {
	name, title string
	// sizes are the values of n for the target on this machine; at other places only main
	// is measured.
	sizes []int
	main  int
	unit  string
	// fill returns shell commands that create the data of the source. With replica the
	// target gets a copy of everything, and then the commands change are run.
	fill    func(n int) string
	replica bool
	// mounted: the copies are mounted. The kernel opens mounted datasets ten times as fast
	// as others.
	mounted bool
	change  string
	tools   func(p place, n int) []tool
	// crowd: the pools also have the sources and the copies of other backups, so many times
	// as many datasets as are backed up.
	crowd int
	// usual reports whether the workload is measured at a place if no cases are selected; nil
	// for everywhere.
	usual func(place string) bool
	// count is the datasets that must have want snapshots, with their descendants, when the
	// work is done.
	count string
	want  func(n int) int
	// bytes is the amount of data sent; nil where the time does not depend on it.
	bytes func(n int) int64
}

// datasetTree returns shell commands that create n datasets in total, including $SRC/d.
func datasetTree(each string) func(n int) string {
	return func(n int) string {
		return fmt.Sprintf(`
seq -w %d | sed "s,^,create $SRC/d/," | xargs -r -P 2 -n 2 zfs
for d in $(zfs list -Hro mountpoint $SRC/d); do head -c 20000 /dev/urandom >$d/file; done
zpool sync
`, n-1) + each
	}
}

// snapshotSeries returns shell commands that take k snapshots of everything, a minute apart.
func snapshotSeries(k int) string {
	return fmt.Sprintf(`
for i in $(seq 0 %d); do
	zfs snapshot -r $SRC/d@bench-$(date -u -d "2026-01-01 $i minutes" +%%Y%%m%%d%%H%%M%%S)
done
`, k-1)
}

// programSeries is snapshotSeries for thousands of datasets: zfs snapshot opens each of them
// every time, while a channel program takes seconds.
func programSeries(k int) string {
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

// writeEach is shell commands that change each dataset.
const writeEach = "for d in $(zfs list -Hro mountpoint $SRC/d); do echo new >$d/new; done; zpool sync\n"

// workloads returns all workloads, in the sizes of the scale.
func (b *bench) workloads() []*workload {
	pickInt := func(small, full int) int {
		if b.Full {
			return full
		}
		return small
	}
	sizes := func(small, full []int) []int {
		if b.Full {
			return full
		}
		return small
	}
	many := pickInt(200, 1000)
	jobs := []string{"", "-j 1"}
	if b.Full || b.Tools != nil {
		jobs = []string{"", "-j 1", "-j 2", "-j 4", "-j 8"}
	}
	thick := 100
	large := func(n int) int64 { return int64(n) << 20 }
	here := func(place string) bool { return place == "local" }
	fullHere := func(place string) bool { return b.Full && here(place) }
	return append([]*workload{
		{
			name: "first", title: "a first backup of small datasets", unit: "datasets", main: pickInt(10, 100), sizes: []int{pickInt(10, 100)},
			fill:  datasetTree(""),
			tools: b.tools(jobs, sendAll),
			count: b.dst, want: func(n int) int { return n },
		},
		{
			name: "one", title: "one new snapshot on each dataset", unit: "datasets", main: pickInt(10, 100), sizes: sizes([]int{1, 10, 30}, []int{1, 10, 30, 100}),
			fill: datasetTree(snapshotSeries(1)), replica: true, change: writeEach,
			tools: b.tools(jobs, sendNew),
			count: b.dst, want: func(n int) int { return 2 * n },
		},
		{
			name: "series", usual: here, title: "a first backup of datasets with ten snapshots each", unit: "datasets", main: pickInt(10, 100), sizes: []int{pickInt(10, 100)},
			fill:  datasetTree(snapshotSeries(10)),
			tools: b.ownTools([]string{"--keep-source 11 --keep-target 11"}, sendSeries),
			count: b.dst, want: func(n int) int { return 11 * n },
		},
		{
			name: "turn", usual: here, title: "one new snapshot on each dataset, which displaces the oldest of ten on both sides", unit: "datasets", main: pickInt(10, 100), sizes: []int{pickInt(10, 100)},
			fill: datasetTree(snapshotSeries(10)), replica: true, change: writeEach,
			tools: b.ownTools([]string{"--keep-source 10 --keep-target 10"}, sendInTurn),
			count: b.dst, want: func(n int) int { return 10 * n },
		},
		{
			name: "mounted", title: "one new snapshot on each dataset, whose copies are mounted", unit: "datasets", main: pickInt(10, 100), sizes: []int{pickInt(10, 100)},
			fill: datasetTree(snapshotSeries(1)), replica: true, mounted: true, change: writeEach,
			tools: b.tools(jobs, sendNew),
			count: b.dst, want: func(n int) int { return 2 * n },
		},
		{
			name: "nothing", title: "nothing to do", unit: "datasets", main: pickInt(30, 100), sizes: sizes([]int{1, 10, 30, 100}, []int{1, 10, 30, 100, 300}),
			fill: datasetTree(snapshotSeries(1)), replica: true,
			tools: b.tools([]string{"", "--cache"}, ""),
			count: b.dst, want: func(n int) int { return n },
		},
		{
			name: "snapshots", title: "one new snapshot on a dataset with many, on both sides", unit: "snapshots", main: many, sizes: []int{many},
			fill: func(n int) string { return snapshotSeries(n) }, replica: true, change: writeEach,
			tools: b.tools([]string{"--keep-source 100000 --keep-target 100000"},
				`zfs send -i @$(zfs list -Ho name -t snapshot -s name -d 1 $d | tail -n 2 | head -n 1 | cut -d@ -f2) $d@floor | R zfs receive -u $DST/backup/$d`),
			count: b.dst, want: func(n int) int { return n + 1 },
		},
		{
			name: "large", title: "a first backup of one large dataset", unit: "MiB", main: pickInt(256, 2048), sizes: []int{pickInt(256, 2048)},
			fill: func(n int) string {
				return fmt.Sprintf("head -c %d /dev/urandom >$ROOT/mnt/d/file; zpool sync\n", large(n))
			},
			tools: b.tools([]string{"--progress", "--progress --buffer 128M"}, sendAll),
			count: b.dst, want: func(n int) int { return 1 }, bytes: large,
		},
		{
			name: "thin", title: fmt.Sprintf("destroying all snapshots but the newest of each dataset, which has %d at most", thick), unit: "snapshots",
			main: pickInt(1000, 10000), sizes: []int{pickInt(1000, 10000)},
			fill:  func(n int) string { return datasetTree(snapshotSeries(min(n, thick)))(n / min(n, thick)) },
			tools: b.thinners, count: b.src, want: func(n int) int { return n / min(n, thick) },
		},
		{
			name: "tree", usual: fullHere, title: "nothing to do, where each dataset has 20 snapshots", unit: "datasets", main: pickInt(200, 2000), sizes: []int{pickInt(200, 2000)},
			fill: datasetTree(programSeries(20)), replica: true, mounted: true,
			tools: b.tools([]string{"--no-thinning", "--no-thinning --cache"}, ""),
			count: b.dst, want: func(n int) int { return 20 * n },
		},
		{
			name: "snapshot", usual: fullHere, title: "a snapshot of each dataset, all of which changed, and no backup", unit: "datasets", main: pickInt(200, 2000), sizes: []int{pickInt(200, 2000)},
			fill: datasetTree(programSeries(1) + writeEach),
			tools: func(p place, _ int) []tool {
				return []tool{b.floor(p, "zfs snapshot -r $SRC/d@floor\n"), {name: "zab", argv: []string{"zab", "--no-thinning", "bench"}}}
			},
			count: b.src, want: func(n int) int { return 2 * n },
		},
		{
			// Measures the cost of options.
			name: "options", usual: fullHere, title: "one new snapshot on each dataset, with various options", unit: "datasets", main: 10, sizes: []int{10},
			fill: datasetTree(snapshotSeries(1)), replica: true, change: writeEach,
			tools: b.tools([]string{"", "--progress", "--no-holds", "--bookmark", "--no-thinning", "--buffer 16M", "--compress zstd-fast", "--rate 1G", "-j 1", "-j 2", "-j 4", "-j 8"},
				sendNew),
			count: b.dst, want: func(n int) int { return 2 * n },
		},
	}, b.crowded()...)
}
