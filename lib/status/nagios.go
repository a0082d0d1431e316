package status

import (
	"fmt"
	"io"
	"strings"

	"zab/lib/cli"
	"zab/lib/record"
)

// nagiosWords are the words for verdicts that people look for in the line of a plugin.
var nagiosWords = map[string]string{record.StatusOK: "OK", record.StatusWarn: "WARNING", record.StatusCrit: "CRITICAL", record.StatusUnknown: "UNKNOWN"}

const (
	// mostNamed is how many datasets the line for Nagios names, longestReason how many
	// bytes of each reason it has.
	mostNamed, longestReason = 5, 200
)

// writeNagios writes one line: the verdict, the datasets that are not ok, and after a bar
// the performance data.
func (rep *report) writeNagios(w io.Writer) error {
	head := "ZAB " + nagiosWords[rep.verdict] + " - "
	if rep.backup != "" {
		head += rep.backup + ": "
	}
	parts := []string{rep.summary()}
	if rep.incomplete != nil {
		parts = append(parts, rep.incomplete.Error())
	}
	named := 0
	for _, r := range rep.rows {
		if r.s.Verdict == record.StatusOK {
			break // and all that follow
		}
		if named++; named <= mostNamed {
			parts = append(parts, r.label()+": "+shorten(strings.Join(r.s.Why, ", "), longestReason))
		}
	}
	if named > mostNamed {
		parts = append(parts, fmt.Sprintf("and %d more", named-mostNamed))
	}
	perf := ""
	if rep.oldest != nil {
		perf = fmt.Sprintf("oldest=%ds;%d;%d;0 ", *rep.oldest, rep.rules.Warn, rep.rules.Crit)
	}
	for _, v := range severity {
		perf += fmt.Sprintf("%s=%d;;;0 ", v, rep.counts[v])
	}
	_, err := io.WriteString(w, oneLine(head+strings.Join(parts, "; "))+" | "+strings.TrimSpace(perf)+"\n")
	return err
}

// oneLine returns text for a line that a program reads: printable, without tabs, and
// without the bar, after which Nagios expects performance data.
func oneLine(s string) string {
	return strings.NewReplacer("|", "/", "\t", " ").Replace(cli.Printable(strings.ReplaceAll(s, "\n", "; ")))
}

// shorten cuts a text to about n bytes, between characters.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}
