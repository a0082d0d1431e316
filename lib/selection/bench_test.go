package selection

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zab/lib/cli"
	"zab/lib/zabtest/heap"
	"zab/lib/zfs"
)

// BenchmarkSelect measures all of zab-select. B/dataset is the memory in use for each
// dataset.
func BenchmarkSelect(b *testing.B) {
	for _, n := range []int{100, 20000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				selectMany(b, n, io.Discard)
			}
			b.StopTimer()
			b.ReportMetric(keptOf(b, n), "B/dataset")
		})
	}
}

// TestMemory checks that a dataset takes little more memory than its Candidate, the rows
// that its facts are parts of, and its reason.
func TestMemory(t *testing.T) {
	each := keptOf(t, 2000)
	if each > 1300 {
		t.Errorf("a dataset takes %.0f bytes", each)
	}
	t.Logf("%.0f bytes for each dataset", each)
}

// keptOf returns how many bytes zab-select has in use for each of so many datasets.
func keptOf(tb testing.TB, datasets int) float64 {
	m := heap.Meter{Before: heap.InUse()}
	selectMany(tb, datasets, &m)
	return float64(m.Grown) / float64(datasets)
}

// selectMany runs zab-select on a machine with so many datasets.
func selectMany(tb testing.TB, datasets int, out io.Writer) {
	tb.Helper()
	kernel := tb.TempDir()
	if err := os.Mkdir(filepath.Join(kernel, "tank"), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(kernel, "tank", "state"), []byte("ONLINE\n"), 0o644); err != nil {
		tb.Fatal(err)
	}
	p := Program()
	args, err := p.Parser().ParseArgs([]string{"b"})
	if err == nil {
		err = p.Check(args)
	}
	if err != nil {
		tb.Fatal(err)
	}
	env := &cli.Env{Program: p.Name, Common: &p.Options.(*Options).Common, Machine: &zfs.Machine{Kstat: kernel, Runner: manyDatasets(datasets)}, Stdout: out, Stderr: io.Discard, Now: time.Unix(0, 0)}
	if err := p.Run(context.Background(), env, args); err != nil {
		tb.Fatal(err)
	}
}

// manyDatasets is a zfs.Runner for a machine with so many datasets in one pool, which has
// the property set.
type manyDatasets int

// Run prints the answer to zfs get piece by piece, so that it is never in memory as a whole.
func (n manyDatasets) Run(_ context.Context, _ *zfs.Host, p *zfs.Program) error {
	var b bytes.Buffer
	for i := range int(n) {
		name, source := fmt.Sprintf("tank/home/user%06d", i), "inherited from tank"
		if i == 0 {
			name, source = "tank", "local"
		}
		number := fmt.Sprint(12_345_678 + i)
		values := map[string]string{
			"type": "filesystem\t-", "guid": "100000000000" + number + "\t-", "createtxg": number + "\t-", "creation": number + "\t-",
			"encryption": "off\tdefault", "written": number + "\t-", "used": number + "\t-", "referenced": number + "\t-", "logicalreferenced": number + "\t-",
			"mounted": "yes\t-", "canmount": "on\tdefault", "mountpoint": "/" + name + "\tdefault", prop: "true\t" + source,
		}
		for asked := range strings.SplitSeq(p.Argv[len(p.Argv)-1], ",") {
			value, set := values[asked]
			if !set {
				value = "-\t-"
			}
			b.WriteString(name + "\t" + asked + "\t" + value + "\n")
		}
		if _, err := b.WriteTo(p.Stdout); err != nil {
			return err
		}
	}
	return nil
}
