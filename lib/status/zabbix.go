package status

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"

	"zab/lib/cli"
	"zab/lib/record"
)

// found is a dataset as Zabbix discovers it: the macros of its items.
type found struct {
	Backup  string `json:"{#BACKUP}"`
	Dataset string `json:"{#DATASET}"`
	Target  string `json:"{#TARGET}"`
}

// identity returns the names by which a row is known to a monitor: the dataset, which is
// absent for a copy without a source, and the copy, each with its host.
func (r row) identity() found {
	f := found{Backup: oneLine(r.Backup), Target: oneLine(at(r.copy()))}
	if r.Type != record.TypeOrphan {
		f.Dataset = oneLine(r.label())
	}
	return f
}

// distinct returns the rows without those that have the identity of a worse one: a monitor
// refuses the same item twice.
func (rep *report) distinct() (rows []row) {
	seen := map[found]bool{}
	for _, r := range rep.rows {
		if id := r.identity(); !seen[id] {
			seen[id] = true
			rows = append(rows, r)
		}
	}
	return rows
}

// writeZabbix writes lines for zabbix_sender -i: host (- is the one given to it), key,
// value. The first has the discovery.
func (rep *report) writeZabbix(w io.Writer) error {
	var b strings.Builder
	item := func(name string, params []string, value string) {
		quoted := make([]string, len(params))
		for i, p := range params {
			quoted[i] = `"` + strings.ReplaceAll(oneLine(p), `"`, `\"`) + `"`
		}
		fmt.Fprintf(&b, "- %s %s\n", senderQuote("zab."+name+"["+strings.Join(quoted, ",")+"]"), senderQuote(value))
	}
	rows := rep.distinct()
	list := make([]found, len(rows))
	for i, r := range rows {
		list[i] = r.identity()
	}
	text, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("cannot write the discovery: %w", err)
	}
	item("discovery", []string{rep.backup}, string(text))
	item("worst", []string{rep.backup}, fmt.Sprint(exits[rep.verdict]))
	item("summary", []string{rep.backup}, cli.Printable(rep.summary()))
	for _, r := range rows {
		id := r.identity()
		params := []string{id.Backup, id.Dataset, id.Target}
		item("verdict", params, fmt.Sprint(exits[r.s.Verdict]))
		item("why", params, cmp.Or(oneLine(strings.Join(r.remarks(), "; ")), record.StatusOK))
		for _, q := range quantities {
			if v := q.of(r); v != nil {
				item(q.zabbix, params, fmt.Sprint(*v))
			}
		}
	}
	_, err = io.WriteString(w, b.String())
	return err
}

// senderQuote quotes a word for the input of zabbix_sender.
func senderQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
