package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"zab/lib/cli"
	"zab/lib/record"
)

// row is a judged record.
type row struct {
	*record.Record
	s   *record.Status
	now int64 // of the report
}

// report is the judgement of all records.
type report struct {
	all  []*record.Record
	rows []row // the worst first
	now  int64
	// backup is the name of the backup; "" if the records are of several.
	backup string
	// target is the operand; "" without one.
	target string
	rules  *Rules
	// verdict is the worst of all, counts has how many have each, and oldest is the
	// largest age of a dataset, in seconds.
	verdict string
	counts  map[string]int
	oldest  *int64
	// incomplete is why records may be missing; nil if none is.
	incomplete error
	// nothing: there is no selected dataset, which must not look as if all were well.
	nothing bool
}

// newReport judges all records.
func newReport(all []*record.Record, rules *Rules, args []string, incomplete error) *report {
	rep := &report{all: all, now: rules.Now, rules: rules, counts: map[string]int{}, incomplete: incomplete, nothing: true}
	var backups []string
	for _, r := range all {
		if !slices.Contains(backups, r.Backup) {
			backups = append(backups, r.Backup)
		}
		r.Status = Judge(r, rules)
		if r.Status == nil {
			continue
		}
		rep.rows = append(rep.rows, row{r, r.Status, rules.Now})
		rep.counts[r.Status.Verdict]++
		rep.verdict = Worst(rep.verdict, r.Status.Verdict)
		if r.Type == record.TypeOrphan {
			continue
		}
		rep.nothing = false
		if age := r.Status.Age; age != nil && (rep.oldest == nil || *age > *rep.oldest) {
			rep.oldest = age
		}
	}
	if rep.nothing || incomplete != nil {
		rep.verdict = Worst(rep.verdict, record.StatusUnknown)
	}
	if len(args) > 0 {
		rep.backup = args[0]
	} else if len(backups) == 1 {
		rep.backup = backups[0]
	}
	if len(args) > 1 {
		rep.target = args[1]
	}
	slices.SortStableFunc(rep.rows, func(a, b row) int {
		return cmp.Or(slices.Index(severity, b.s.Verdict)-slices.Index(severity, a.s.Verdict), cmp.Compare(a.order(), b.order()),
			cmp.Compare(b.ageOr(-1), a.ageOr(-1)), strings.Compare(a.label(), b.label()))
	})
	return rep
}

// order puts copies without a source after the datasets.
func (r row) order() int {
	if r.Type == record.TypeOrphan {
		return 1
	}
	return 0
}

func (r row) ageOr(unknown int64) int64 {
	if r.s.Age == nil {
		return unknown
	}
	return *r.s.Age
}

// label names the dataset with its host, or the copy without a source.
func (r row) label() string { return at(r.Host, r.Name) }

// at returns a dataset in the form HOST:NAME, or NAME on this machine.
func at(host, name string) string {
	if host == "" {
		return name
	}
	return host + ":" + name
}

// copy returns the host and name of the copy; "" if there is none.
func (r row) copy() (host, name string) {
	if r.Target == nil {
		return "", ""
	}
	return r.Target.Host, r.Target.Name
}

// remarks returns the reasons of the verdict, then the notes.
func (r row) remarks() []string { return slices.Concat(r.s.Why, r.s.Notes) }

// summary says how many datasets have which verdict.
func (rep *report) summary() string {
	if rep.nothing && len(rep.rows) == 0 {
		return "no dataset was found"
	}
	var parts []string
	for _, v := range slices.Backward(severity) {
		if n := rep.counts[v]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, v))
		}
	}
	s := strings.Join(parts, ", ")
	if rep.nothing {
		s = "no dataset was found, only copies without a source: " + s
	}
	return s
}

// writeRecords writes all records, those with a status that were judged.
func (rep *report) writeRecords(env *cli.Env) error {
	w := env.Writer(env.Stdout)
	for _, r := range rep.all {
		write := w.Pass
		if r.Status != nil {
			write = w.Write
		}
		if err := write(r); err != nil {
			return err
		}
	}
	return nil
}
