package bench

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

func median(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	n := len(s)
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

// findCell returns the cell with measurements for these, or nil.
func (b *bench) findCell(w *workload, n int, place, tool string) *cell {
	for _, c := range b.cells {
		if c.w == w && c.n == n && c.p.name == place && c.tool == tool && len(c.seconds) > 0 {
			return c
		}
	}
	return nil
}

// printTable prints the measurements of a workload, and writes a line of JSON for each.
func (b *bench) printTable(w *workload) {
	var out strings.Builder
	for _, c := range b.cells {
		if c.w != w {
			continue
		}
		if out.Len() == 0 {
			fmt.Fprintf(&out, "\n%s: %s\n  %-9s %-10s %-26s %2s %8s %8s %8s %6s %5s %5s %4s %5s %6s %7s\n", w.name, w.title,
				w.unit, "place", "tool", "n", "median", "min", "max", "ratio", "zfs", "zpool", "ssh", "all", "trips", "memory")
		}
		if c.failed {
			fmt.Fprintf(&out, "  %-9d %-10s %-26s  0 failed\n", c.n, c.p.name, c.tool)
			continue
		}
		if len(c.seconds) == 0 {
			fmt.Fprintf(&out, "  %-9d %-10s %-26s  0 not run: it would take about %.0f s\n", c.n, c.p.name, c.tool, c.estimate)
			continue
		}
		m := median(c.seconds)
		ratio, trips, memory := "", "", ""
		if f := b.findCell(w, c.n, c.p.name, "floor"); f != nil {
			ratio = fmt.Sprintf("%.2f", m/median(f.seconds))
		}
		if near := b.findCell(w, c.n, "ssh", c.tool); near != nil && strings.HasPrefix(c.p.name, "ssh ") {
			// The time that the delay adds, in round trips.
			d, _ := time.ParseDuration(strings.TrimPrefix(c.p.name, "ssh "))
			trips = fmt.Sprintf("%.0f", (m-median(near.seconds))/d.Seconds())
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
		fmt.Fprintf(&out, "  %-9d %-10s %-26s %2d %8.2f %8.2f %8.2f %6s %s %6s %7s", c.n, c.p.name, c.tool, len(c.seconds), m,
			slices.Min(c.seconds), slices.Max(c.seconds), ratio, counts, trips, memory)
		if w.bytes != nil {
			mib := float64(w.bytes(c.n)) / (1 << 20)
			fmt.Fprintf(&out, "  %.0f MiB/s", mib/m)
			if x, ok := c.cpu["zab-xfer"]; ok {
				fmt.Fprintf(&out, ", zab-xfer used %.2f s of processor", x)
			}
		}
		out.WriteByte('\n')
		b.writeJSON(map[string]any{"case": w.name, "place": c.p.name, w.unit: c.n, "tool": c.tool, "repetitions": len(c.seconds), "median": m,
			"min": slices.Min(c.seconds), "max": slices.Max(c.seconds), "programs": c.programs, "memory": c.memory})
	}
	fmt.Print(out.String())
}

// writeJSON writes a line to bench.ndjson.
func (b *bench) writeJSON(v any) {
	data, err := json.Marshal(v)
	if err != nil {
		b.t.Fatal(err)
	}
	_, _ = b.ndjson.Write(append(data, '\n'))
}
