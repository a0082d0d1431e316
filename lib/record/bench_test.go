package record

import (
	"bytes"
	"fmt"
	"io"
	"testing"
)

// long returns the line of a record as zab-thin passes it on, with n snapshots on each
// side.
func long(n int) []byte {
	r := &Record{Type: TypeDataset, Backup: "offsite1", Name: "tank/home/some/dataset", Facts: Facts{Kind: "filesystem", GUID: "1234567890123456789", CreateTXG: "1234"},
		Target: &Target{Name: "vault/tank/home/some/dataset", Exists: true}, Thin: &Thin{}}
	for i := range n {
		s := Snapshot{Name: fmt.Sprintf("offsite1-%014d", 20261122030000+i), GUID: fmt.Sprint(9234567890123456789 + uint64(i)), CreateTXG: fmt.Sprint(5000 + i), Ours: true}
		r.Snapshots = append(r.Snapshots, s)
		r.Target.Snapshots = append(r.Target.Snapshots, s)
		r.Thin.Source = append(r.Thin.Source, Verdict{Name: s.Name, Keep: true, Why: []string{"newest 10", "1d1w: first of 2026-11-20"}})
	}
	var out bytes.Buffer
	if err := NewWriter(&out).Write(r); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

func sizes(b *testing.B, f func(b *testing.B, line []byte)) {
	for _, n := range []int{0, 100, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			line := long(n)
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			f(b, line)
		})
	}
}

func BenchmarkParse(b *testing.B) {
	sizes(b, func(b *testing.B, line []byte) {
		for b.Loop() {
			if _, err := Parse(line); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkParseForeign measures parsing by the JSON library, which is used for lines not
// in zab's own form.
func BenchmarkParseForeign(b *testing.B) {
	sizes(b, func(b *testing.B, line []byte) {
		line = bytes.ReplaceAll(line, []byte(`,"guid":`), []byte(`, "guid":`))
		for b.Loop() {
			if _, err := Parse(line); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	sizes(b, func(b *testing.B, line []byte) {
		r, err := Parse(line)
		if err != nil {
			b.Fatal(err)
		}
		w := NewWriter(io.Discard)
		for b.Loop() {
			if err := w.Write(r); err != nil {
				b.Fatal(err)
			}
		}
	})
}
