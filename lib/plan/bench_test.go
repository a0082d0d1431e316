package plan

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"zab/lib/cli"
	"zab/lib/record"
	"zab/lib/zabtest/heap"
	"zab/lib/zfs"
)

// BenchmarkPlan measures all of zab-plan with the target's state in a file: datasets
// with the given number of snapshots each, of which the target lacks the newest.
// B/snapshot is the memory in use for each snapshot of either side.
func BenchmarkPlan(b *testing.B) {
	for _, size := range []struct{ datasets, snapshots int }{{1, 100}, {1, 10000}, {100, 100}, {1000, 10}, {1000, 100}} {
		b.Run(fmt.Sprintf("%dx%d", size.datasets, size.snapshots), func(b *testing.B) {
			var in, have bytes.Buffer
			source, target := record.NewWriter(&in), record.NewWriter(&have)
			for _, name := range []string{"vault", "vault/tank"} {
				if err := target.Write(&record.Record{Type: record.TypeDataset, Name: name, Facts: record.Facts{Kind: "filesystem"}, Snapshots: []record.Snapshot{}}); err != nil {
					b.Fatal(err)
				}
			}
			for d := range size.datasets {
				r := &record.Record{Type: record.TypeDataset, Backup: "b", Name: fmt.Sprintf("tank/d%d", d), Facts: record.Facts{Kind: "filesystem", GUID: fmt.Sprint(d + 1)}}
				for i := range size.snapshots {
					at := time.Unix(now, 0).Add(time.Duration(i-size.snapshots) * time.Hour).UTC()
					r.Snapshots = append(r.Snapshots, record.Snapshot{Name: at.Format("b-20060102150405"), GUID: fmt.Sprint(d*size.snapshots + i + 1), CreateTXG: fmt.Sprint(i + 1)})
				}
				if err := source.Write(r); err != nil {
					b.Fatal(err)
				}
				r.Name = "vault/" + r.Name
				r.GUID = fmt.Sprint(1e9 + d)
				r.Snapshots = r.Snapshots[:size.snapshots-1]
				if err := target.Write(r); err != nil {
					b.Fatal(err)
				}
			}
			file := filepath.Join(b.TempDir(), "state")
			if err := os.WriteFile(file, have.Bytes(), 0o600); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(in.Len()))
			b.ReportAllocs()
			run := func(out io.Writer) {
				p := Program()
				o := p.Options.(*Options)
				if _, err := p.Parser().ParseArgs([]string{"--target-state", file, "--utc"}); err != nil {
					b.Fatal(err)
				}
				env := &cli.Env{Program: "zab-plan", Common: &o.Common, Machine: &zfs.Machine{}, Stdin: bytes.NewReader(in.Bytes()), Stdout: out, Stderr: io.Discard, Now: time.Unix(now, 0)}
				if err := p.Run(context.Background(), env, []string{"vault"}); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				run(io.Discard)
			}
			b.StopTimer()
			m := heap.Meter{Before: heap.InUse()}
			run(&m)
			b.ReportMetric(float64(m.Grown)/float64(size.datasets*(2*size.snapshots-1)), "B/snapshot")
		})
	}
}
