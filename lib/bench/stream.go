package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"zab/lib/record"
)

// RunStreams measures the stages that change nothing on streams of many records, beside jq,
// which reads and writes the same stream unchanged. It needs no pools.
func RunStreams(t testing.TB, c Config) {
	if err := os.MkdirAll(c.Results, 0o777); err != nil {
		t.Fatal(err)
	}
	lines, err := os.Create(filepath.Join(c.Results, "stream.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	defer lines.Close()
	dir := t.TempDir()
	in, empty, copies := filepath.Join(dir, "in"), filepath.Join(dir, "empty"), filepath.Join(dir, "copies")
	tools := []tool{
		{name: "zab-thin -n", argv: []string{filepath.Join(c.Programs, "zab-thin"), "-n", "--utc"}},
		{name: "zab-plan, first backup", argv: []string{filepath.Join(c.Programs, "zab-plan"), "--utc", "--target-state", empty, "vault"}},
		{name: "zab-plan, one new", argv: []string{filepath.Join(c.Programs, "zab-plan"), "--utc", "--target-state", copies, "vault"}},
	}
	if p, err := exec.LookPath("jq"); err == nil {
		tools = slices.Insert(tools, 0, tool{name: "jq -c .", argv: []string{p, "-c", "."}})
	}
	many := &workload{name: "datasets", title: "datasets with 100 snapshots each", unit: "datasets"}
	long := &workload{name: "snapshots", title: "snapshots of one dataset", unit: "snapshots"}
	b := &bench{t: t, Config: c}
	fmt.Printf("  %8s %9s %6s %-24s %7s %7s %7s %8s %6s %9s\n", "datasets", "snapshots", "MB", "program", "median", "min", "max", "memory", "to jq", "us each")
	for _, s := range []struct {
		w                         *workload
		size, datasets, snapshots int
	}{
		{long, 10, 1, 10}, {long, 100, 1, 100}, {long, 1000, 1, 1000}, {long, 10000, 1, 10000},
		{many, 1000, 1000, 100}, {many, 2000, 2000, 100}, {many, 5000, 5000, 100}, {many, 10000, 10000, 100},
	} {
		writeStream(t, in, "", s.datasets, s.snapshots)
		writeStream(t, empty, "vault", 0, 0)
		writeStream(t, copies, "vault", s.datasets, s.snapshots-1)
		info, err := os.Stat(in)
		if err != nil {
			t.Fatal(err)
		}
		var jq float64
		for _, tl := range tools {
			cell := &cell{w: s.w, n: s.size, tool: tl.name}
			for range c.repetitions() {
				took, memory := runOnStream(t, tl.argv, in, s.datasets)
				cell.seconds, cell.memory = append(cell.seconds, took), max(cell.memory, memory)
			}
			b.cells = append(b.cells, cell)
			m, ratio := median(cell.seconds), ""
			if tl.name == "jq -c ." {
				jq = m
			} else if jq > 0 {
				ratio = fmt.Sprintf("%.2f", m/jq)
			}
			fmt.Printf("  %8d %9d %6.1f %-24s %7.3f %7.3f %7.3f %4d MiB %6s %9.2f\n", s.datasets, s.snapshots, float64(info.Size())/1e6, tl.name,
				m, slices.Min(cell.seconds), slices.Max(cell.seconds), cell.memory>>20, ratio, m*1e6/float64(s.datasets*s.snapshots))
			data, err := json.Marshal(map[string]any{"case": "stream", "datasets": s.datasets, "snapshots": s.snapshots, "bytes": info.Size(), "tool": tl.name,
				"median": m, "min": slices.Min(cell.seconds), "max": slices.Max(cell.seconds), "memory": cell.memory})
			if err != nil {
				t.Fatal(err)
			}
			_, _ = lines.Write(append(data, '\n'))
		}
	}
	b.drawPicture("stream.svg", []string{"datasets", "snapshots"})
}

// writeStream writes a file with the records of datasets, each with snapshots an hour apart.
// If root is not "", they are those of the copies below it.
func writeStream(t testing.TB, file, root string, datasets, snapshots int) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := bufio.NewWriter(f)
	w := record.NewWriter(buf)
	write := func(r *record.Record) {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	prefix, guid := "tank/home", uint64(1e15)
	if root != "" {
		prefix, guid = root+"/tank/home", 2e15
		for i, name := range []string{root, root + "/tank", prefix} {
			write(&record.Record{Type: record.TypeDataset, Name: name, Facts: record.Facts{Kind: "filesystem", GUID: fmt.Sprint(3e15 + i)}, Snapshots: []record.Snapshot{}})
		}
	}
	first := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	seconds := func(at time.Time) *int64 { s := at.Unix(); return &s }
	for d := range datasets {
		r := &record.Record{Type: record.TypeDataset, Backup: "b", Name: fmt.Sprintf("%s/user%05d", prefix, d),
			Facts:     record.Facts{Kind: "filesystem", GUID: fmt.Sprint(guid + uint64(d)), CreateTXG: "100", Creation: seconds(first)},
			Snapshots: make([]record.Snapshot, 0, snapshots)}
		for i := range snapshots {
			at := first.Add(time.Duration(i) * time.Hour)
			r.Snapshots = append(r.Snapshots, record.Snapshot{Name: at.Format("b-20060102150405"), GUID: fmt.Sprint(uint64(d)<<32 + uint64(i) + 1),
				CreateTXG: fmt.Sprint(200 + i*10), Creation: seconds(at)})
		}
		write(r)
	}
	if err := buf.Flush(); err != nil {
		t.Fatal(err)
	}
}

// runOnStream runs a program that reads the file in, and checks that its output has want
// lines. It returns the run time in seconds and the peak of the memory in bytes.
func runOnStream(t testing.TB, argv []string, in string, want int) (seconds float64, memory int64) {
	t.Helper()
	from, err := os.Open(in)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.Create(in + ".out")
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = from, to, os.Stderr
	// The peak of the program includes the memory that it inherits from this process.
	runtime.GC()
	begun := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%q: %v", argv, err)
	}
	seconds = time.Since(begun).Seconds()
	if _, err := to.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	n := 0
	buf := make([]byte, 1<<16)
	for {
		k, err := to.Read(buf)
		for _, c := range buf[:k] {
			if c == '\n' {
				n++
			}
		}
		if err != nil {
			break
		}
	}
	if n != want {
		t.Fatalf("%q wrote %d lines of %d", argv, n, want)
	}
	return seconds, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
}
