package bench

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"zab/lib/svg"
)

// picture draws how the times of tools grow with the number of datasets.
func (b *bench) picture() { b.drawPicture("growth.svg", []string{"nothing", "one"}) }

// drawPicture draws, side by side, the workloads that were measured at more than one size.
func (b *bench) drawPicture(name string, workloads []string) {
	d := &svg.Drawing{Height: 420, Title: "Times by number", Description: "Times that the tools take, in seconds, beside the number of datasets or the like. Both axes are logarithmic.",
		Style: "text{font:12px sans-serif;fill:#222}.t{font-size:14px;font-weight:bold}.g{stroke:#ddd}.a{stroke:#222}.p{fill:#fff}polyline{fill:none;stroke-width:2}",
		Dark:  "text{fill:#ddd}.g{stroke:#333}.a{stroke:#ddd}.p{fill:#111}"}
	d.Element("rect", "class", "p", "width", "100%", "height", "100%")
	for _, name := range workloads {
		if b.diagram(d, name, d.Width) {
			d.Width += diagramWidth
		}
	}
	if d.Width == 0 {
		return
	}
	file := filepath.Join(b.Results, name)
	if err := os.WriteFile(file, []byte(d.String()), 0o666); err != nil {
		b.t.Fatal(err)
	}
}

const diagramWidth = 560

var colours = map[string]string{"floor": "#888", "zab": "#0a62c4", "zab -j 1": "#17a398", "zab --cache": "#17a398", "syncoid": "#d1495b", "bzfs": "#e09f3e", "zelta": "#7b5ea7",
	"jq -c .": "#888", "zab-thin -n": "#17a398", "zab-plan, first backup": "#e09f3e", "zab-plan, one new": "#0a62c4"}

// diagram draws a workload, from the given place to the right, and reports whether it was
// measured at more than one size; else nothing is drawn. Both axes are logarithmic: a time that does not depend on the
// size is a flat line, and a time in proportion to it a rising one.
func (b *bench) diagram(d *svg.Drawing, name string, from int) bool {
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
		return false
	}
	const left, right, top, bottom = 60, 400, 50, 360
	low, high = math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high)))
	x := func(n int) float64 {
		f := math.Log(float64(n)/float64(sizes[0])) / math.Log(float64(sizes[len(sizes)-1])/float64(sizes[0]))
		return float64(from) + left + f*(right-left)
	}
	y := func(s float64) float64 { return bottom - math.Log(s/low)/math.Log(high/low)*(bottom-top) }
	x0, x1 := x(sizes[0]), x(sizes[len(sizes)-1])
	d.Text(what, "class", "t", "x", x0, "y", 28)
	for _, n := range sizes {
		d.Element("line", "class", "g", "x1", x(n), "y1", top, "x2", x(n), "y2", bottom)
		d.Text(fmt.Sprint(n), "x", x(n), "y", bottom+18, "text-anchor", "middle")
	}
	for e := low; e <= high*1.01; e *= 10 {
		for _, k := range []float64{1, 2, 5} {
			if v := e * k; v <= high*1.01 {
				d.Element("line", "class", "g", "x1", x0, "y1", y(v), "x2", x1, "y2", y(v))
				d.Text(fmt.Sprintf("%g s", v), "x", x0-8, "y", y(v)+4, "text-anchor", "end")
			}
		}
	}
	d.Element("line", "class", "a", "x1", x0, "y1", bottom, "x2", x1, "y2", bottom)
	d.Element("line", "class", "a", "x1", x0, "y1", top, "x2", x0, "y2", bottom)
	d.Text(unit, "x", (x0+x1)/2, "y", bottom+38, "text-anchor", "middle")
	for i, tool := range order {
		colour := colours[tool]
		if colour == "" {
			colour = "#b5739d"
		}
		var line []string
		for _, p := range curves[tool] {
			line = append(line, svg.Number(x(p.n))+","+svg.Number(y(p.mid)))
			d.Element("line", "stroke", colour, "x1", x(p.n), "y1", y(p.low), "x2", x(p.n), "y2", y(p.up))
			d.Element("circle", "cx", x(p.n), "cy", y(p.mid), "r", 3, "fill", colour)
		}
		d.Element("polyline", "stroke", colour, "points", strings.Join(line, " "))
		d.Element("rect", "x", x1+14, "y", top+8+i*20, "width", 14, "height", 4, "fill", colour)
		d.Text(tool, "x", x1+34, "y", top+14+i*20)
	}
	return true
}
