package status

import (
	"fmt"
	"io"
	"strings"

	"github.com/mattn/go-runewidth"

	"zab/lib/cli"
	"zab/lib/record"
)

// colours are the escape sequences for verdicts on a terminal.
var colours = map[string]string{record.StatusOK: "\x1b[32m", record.StatusWarn: "\x1b[33m", record.StatusCrit: "\x1b[31m", record.StatusUnknown: "\x1b[35m"}

const plain = "\x1b[0m"

// column is a column of the table, besides the last, which has the names.
type column struct {
	title string
	text  func(row) string
}

// columns are in the order in which they are shown. On a narrow terminal the last are left
// out first.
var columns = []column{
	{"VERDICT", func(r row) string { return r.s.Verdict }},
	{"AGE", func(r row) string {
		if r.s.Age == nil {
			return "-"
		}
		return ageText(*r.s.Age)
	}},
	{"WRITTEN", func(r row) string {
		if r.s.Written == nil {
			return "-"
		}
		return size(*r.s.Written)
	}},
	{"SOURCE", func(r row) string { return number(r.s.Snapshots) }},
	{"TARGET", func(r row) string { return number(r.s.TargetSnapshots) }},
}

// number returns a number of snapshots, or - if it is not known.
func number(n *int64) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}

const (
	indent = 4
	// leastName is the width that names get before columns are left out.
	leastName = 24
)

// writeTable writes a table for people, in lines of at most width columns; 0 is no limit.
func (rep *report) writeTable(w io.Writer, width int, coloured bool) error {
	cells := make([][]string, len(rep.rows)+1)
	for _, c := range columns {
		cells[0] = append(cells[0], c.title)
		for i, r := range rep.rows {
			cells[i+1] = append(cells[i+1], c.text(r))
		}
	}
	widths := make([]int, len(columns))
	total := 0
	for k := range columns {
		for i := range cells {
			widths[k] = max(widths[k], len(cells[i][k]))
		}
		total += widths[k] + 2
	}
	shown := len(columns)
	for width > 0 && shown > 1 && width-total < leastName {
		shown--
		total -= widths[shown] + 2
	}
	var b strings.Builder
	for i := range cells {
		if len(rep.rows) == 0 {
			break
		}
		for k, text := range cells[i][:shown] {
			pad := strings.Repeat(" ", widths[k]-len(text)+2)
			if k == 0 && i > 0 && coloured {
				text = colours[text] + text + plain
			}
			b.WriteString(text + pad)
		}
		if i == 0 {
			b.WriteString("DATASET\n")
			continue
		}
		r := rep.rows[i-1]
		b.WriteString(fit(cli.Printable(r.label()), width-total, width > 0) + "\n")
		for _, remark := range r.remarks() {
			for _, line := range wrap(cli.Printable(strings.ReplaceAll(remark, "\n", "; ")), width-indent, width > 0) {
				b.WriteString(strings.Repeat(" ", indent) + line + "\n")
			}
		}
	}
	b.WriteString(rep.summary() + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// fit cuts the beginning of a name that is wider than n columns: names of datasets differ
// at the end.
func fit(name string, n int, limited bool) string {
	if n = max(n, 2); !limited || runewidth.StringWidth(name) <= n {
		return name
	}
	rest := []rune(name)
	for len(rest) > 0 && runewidth.StringWidth(string(rest)) > n-1 {
		rest = rest[1:]
	}
	return "…" + string(rest)
}

// wrap breaks a text into lines of at most n columns, between words where that is
// possible.
func wrap(text string, n int, limited bool) (lines []string) {
	if n = max(n, 8); !limited {
		return []string{text}
	}
	line := ""
	for word := range strings.FieldsSeq(text) {
		for runewidth.StringWidth(word) > n {
			if line != "" {
				lines, line = append(lines, line), ""
			}
			head := runewidth.Truncate(word, n, "")
			lines, word = append(lines, head), word[len(head):]
		}
		switch {
		case line == "":
			line = word
		case runewidth.StringWidth(line)+1+runewidth.StringWidth(word) <= n:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
