package picture

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// leastPlot is the number of columns that the snapshots have at least, in however narrow a
// terminal.
const leastPlot = 20

// signs are the characters of a picture.
type signs struct{ snapshot, line, mark string }

var (
	ascii   = signs{"o", "-", "+"}
	unicode = signs{"●", "─", "┴"}
)

// Text draws the history in lines of at most width columns, if its labels leave room for
// leastPlot. Without utf8 all characters are ASCII.
func (h *History) Text(width int, utf8 bool) string {
	sign := ascii
	if utf8 {
		sign = unicode
	}
	samples, items := h.rows()
	left, right := 0, len("kept")
	for _, r := range samples {
		left, right = max(left, len(r.label)), max(right, len(strconv.Itoa(len(r.ages))))
	}
	for i := range items {
		items[i].label = "  " + items[i].label
		left = max(left, len(items[i].label))
	}
	plot := max(width-left-right-4, leastPlot)
	a := h.axis(float64(plot - 1))
	column := func(place float64) int { return int(math.Round(place)) }

	var b strings.Builder
	line := func(label string, cells []string, count string) {
		fmt.Fprintf(&b, "%-*s  %s  %*s\n", left, label, strings.Join(cells, ""), right, count)
	}
	several := false
	draw := func(r row) {
		counts := make([]int, plot)
		for _, age := range r.ages {
			counts[column(a.At(age))]++
		}
		cells := make([]string, plot)
		for i, n := range counts {
			switch {
			case n == 0:
				cells[i] = " "
			case n == 1:
				cells[i] = sign.snapshot
			case n < 10:
				cells[i] = strconv.Itoa(n)
			default:
				cells[i] = "#"
			}
			several = several || n > 1
		}
		line(r.label, cells, strconv.Itoa(len(r.ages)))
	}

	b.WriteString(h.summary() + ":\n\n")
	labels, ticks := blank(plot), strings.Split(strings.Repeat(sign.line, plot), "")
	for _, m := range a.Marks(h.Schedule, func(s string) float64 { return float64(len(s) + 2) }) {
		ticks[column(m.Place)] = sign.mark
		from := min(max(column(m.Place)-len(m.Label)/2, 0), plot-len(m.Label))
		for i, c := range strings.Split(m.Label, "") {
			labels[from+i] = c
		}
	}
	line("", labels, "kept")
	line("", ticks, "")
	for _, r := range samples {
		draw(r)
	}
	for _, r := range items {
		draw(r)
	}
	if several {
		fmt.Fprintf(&b, "\na number stands for so many snapshots, # for 10 or more\n")
	}
	return trimLines(b.String())
}

func blank(n int) []string { return strings.Split(strings.Repeat(" ", n), "") }

func trimLines(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// UTF8 reports whether the characters of the locale are those of UTF-8; getenv returns the
// variables of the environment.
func UTF8(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := getenv(name); v != "" {
			v = strings.ToLower(strings.ReplaceAll(v, "-", ""))
			return strings.Contains(v, "utf8")
		}
	}
	return false
}
