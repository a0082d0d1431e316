package bench

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// picture draws how the times of tools grow with the number of datasets.
func (b *bench) picture() { b.drawPicture("growth.svg", []string{"nothing", "one"}) }

// drawPicture draws, side by side, the workloads that were measured at more than one size.
func (b *bench) drawPicture(name string, workloads []string) {
	var parts []string
	for _, name := range workloads {
		if p := b.diagram(name, len(parts)); p != "" {
			parts = append(parts, p)
		}
	}
	if len(parts) == 0 {
		return
	}
	const style = "text{font:12px sans-serif;fill:#222}.t{font-size:14px;font-weight:bold}.g{stroke:#ddd}.a{stroke:#222}polyline{fill:none;stroke-width:2}"
	svg := fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%[1]d\" height=\"420\" viewBox=\"0 0 %[1]d 420\">\n<style>%[2]s</style>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n%[3]s</svg>\n",
		len(parts)*diagramWidth, style, strings.Join(parts, ""))
	file := filepath.Join(b.Results, name)
	if err := os.WriteFile(file, []byte(svg), 0o666); err != nil {
		b.t.Fatal(err)
	}
}

const diagramWidth = 560

var colours = map[string]string{"floor": "#888", "zab": "#0a62c4", "zab -j 1": "#17a398", "zab --cache": "#17a398", "syncoid": "#d1495b", "bzfs": "#e09f3e", "zelta": "#7b5ea7",
	"jq -c .": "#888", "zab-thin -n": "#17a398", "zab-plan, first backup": "#e09f3e", "zab-plan, one new": "#0a62c4"}

// diagram returns the diagram of a workload, the at-th in the picture, or "" if it was
// measured at one size only. Both axes are logarithmic: a time that does not depend on the
// size is a flat line, and a time in proportion to it a rising one.
func (b *bench) diagram(name string, at int) string {
	type point struct {
		n            int
		mid, low, up float64
	}
	curves := map[string][]point{}
	var order []string
	var sizes []int
	low, high, what, unit := math.Inf(1), 0.0, "", ""
	for _, c := range b.cells {
		if c.w.name != name || c.p.host != "" || len(c.seconds) == 0 {
			continue
		}
		what, unit = c.w.title, c.w.unit
		if curves[c.tool] == nil {
			order = append(order, c.tool)
		}
		p := point{c.n, median(c.seconds), slices.Min(c.seconds), slices.Max(c.seconds)}
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
		return float64(at*diagramWidth) + left + f*(right-left)
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
