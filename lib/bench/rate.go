package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// measureRate measures how well --rate is kept. The pipe before zfs receive starts this
// binary again, which samples the stream: see copyAndSample.
func (b *bench) measureRate() {
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
	for rep := range b.repetitions() {
		c := &cell{w: w, n: mib, tool: tl.name}
		err := b.reset(c, tl)
		if err == nil {
			_, _, err = b.runTool(c, tl, false)
		}
		if err != nil {
			b.t.Fatal(err)
		}
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
		b.writeJSON(map[string]any{"case": "rate", "place": "local", "tool": tl.name, "repetition": rep, "seconds": s.Seconds, "bytes": s.Bytes, "mean": mean, "peak": peak})
	}
	b.dropTemplate(b.key(w, mib))
}

// sample describes the data that passed through the pipe.
type sample struct {
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"` // from the first byte to the last
	Peak    int64   `json:"peak"`    // bytes in the busiest second
}

// sampleEnv is the environment variable with the file for the sample. If it is set, this
// process is part of a pipe.
const sampleEnv = "ZAB_BENCH_SAMPLE"

// copyAndSample copies stdin to stdout, and writes the sample to the file.
func copyAndSample(file string) error {
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
