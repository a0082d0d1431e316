package picture

import (
	"fmt"
	"strings"

	"zab/lib/svg"
)

// Sizes in pixels. The widths of texts are estimates, since every viewer has other fonts.
const (
	margin    = 20
	plotWidth = 520
	rowHeight = 38
	tick      = 16 // the height of the line that stands for a snapshot
	labelSize = 7.3
	wordsSize = 6.2
	titleSize = 10.5
	gap       = 18 // between labels, plot and numbers
)

// hues are the colours of the schedule's items in light and in dark surroundings.
var hues = [][2]string{
	{"#0a62c4", "#6cb2ff"}, {"#b3530a", "#ffa657"}, {"#16803c", "#5bd083"}, {"#a0266f", "#ff8fcf"}, {"#6b4fb8", "#bda4ff"}, {"#0f7f86", "#4fd0d8"},
}

// style has the colours of ink, of what is less important, of lines and of paper.
func style(ink, faint, line, paper string, which int) string {
	s := fmt.Sprintf("text{fill:%s}.f{fill:%s}.g{stroke:%s}.p{fill:%s}.s{stroke:%s}", ink, faint, line, paper, ink)
	for i, hue := range hues {
		s += fmt.Sprintf(".i%d{stroke:%s}", i, hue[which])
	}
	return s
}

// SVG draws the history as a file that stands alone.
func (h *History) SVG() string {
	samples, items := h.rows()
	title := "What " + h.Schedule.String() + " keeps"
	left := 0.0
	for _, r := range append(samples, items...) {
		left = max(left, labelSize*float64(len(r.label)), wordsSize*float64(len(r.words)))
	}
	x0 := margin + left + gap
	right := labelSize * float64(max(4, len(fmt.Sprint(h.Most))))
	width := max(x0+plotWidth+gap+right, 2*margin+max(titleSize*float64(len(title)), labelSize*float64(len(h.summary())))) + margin
	d := &svg.Drawing{Width: int(width), Title: title, Description: h.describe(),
		Style: "text{font:13px system-ui,sans-serif}.t{font-size:18px;font-weight:600}.b{font-weight:600}.w{font-size:12px}.g{stroke-width:1}path{fill:none;stroke-width:2;stroke-linecap:round}" +
			style("#1f2328", "#59636e", "#d8dee4", "#ffffff", 0),
		Dark: style("#e6edf3", "#9aa4af", "#30363d", "#0d1117", 1)}
	a := h.axis(plotWidth)
	marks := a.Marks(h.Schedule, func(s string) float64 { return labelSize*float64(len(s)) + 10 })

	d.Element("rect", "class", "p", "width", "100%", "height", "100%")
	d.Text(title, "class", "t", "x", margin, "y", 34)
	d.Text(capital(h.summary())+".", "class", "f", "x", margin, "y", 56)
	y := 56.0
	// panel draws rows below a heading and the labelled axis, with a line at each mark.
	panel := func(heading string, rows []row, label string, class func(i int) string) {
		y += 42
		d.Text(heading, "class", "b", "x", margin, "y", y)
		y += 20 // a long heading would reach the labels of the axis
		for _, m := range marks {
			d.Text(m.Label, "class", "f w", "x", x0+m.Place, "y", y, "text-anchor", "middle")
			d.Element("line", "class", "g", "x1", x0+m.Place, "y1", y+8, "x2", x0+m.Place, "y2", y+8+rowHeight*float64(len(rows)))
		}
		d.Text("kept", "class", "f w", "x", x0+plotWidth+gap+right, "y", y, "text-anchor", "end")
		y += 8
		for i, r := range rows {
			middle := y + rowHeight/2
			if r.words == "" {
				d.Text(r.label, "class", label, "x", margin, "y", middle+4)
			} else {
				d.Text(r.label, "class", label, "x", margin, "y", middle-2)
				d.Text(r.words, "class", "f w", "x", margin, "y", middle+13)
			}
			d.Element("path", "class", class(i), "d", ticks(r.ages, a, x0, middle))
			d.Text(fmt.Sprint(len(r.ages)), "x", x0+plotWidth+gap+right, "y", middle+4, "text-anchor", "end")
			y += rowHeight
		}
	}
	panel("As time goes on", samples, "", func(int) string { return "s" })
	if len(items) > 0 {
		panel("In the long run, by rule", items, "b", func(i int) string { return fmt.Sprintf("i%d", i%len(hues)) })
	}
	d.Height = int(y) + margin
	return d.String()
}

// ticks returns the path of an upright line for each age. Lines at the same tenth of a
// pixel are drawn once.
func ticks(ages []int64, a Axis, x0, middle float64) string {
	var b strings.Builder
	before := ""
	for _, age := range ages {
		if x := svg.Number(x0 + a.At(age)); x != before {
			fmt.Fprintf(&b, "M%s %sv%d", x, svg.Number(middle-tick/2), tick)
			before = x
		}
	}
	return b.String()
}

// describe says in sentences what the drawing shows.
func (h *History) describe() string {
	s := capital("keeps "+h.Schedule.Words()) + ". " + capital(h.summary()) + "."
	samples, items := h.rows()
	for _, r := range samples[:len(samples)-1] {
		s += fmt.Sprintf(" %s: %d.", capital(r.label), len(r.ages))
	}
	for _, r := range items {
		s += fmt.Sprintf(" %s: %d.", r.label, len(r.ages))
	}
	return s
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
