package status

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the parts of the page
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"zab/lib/cli"
	"zab/lib/picture"
	"zab/lib/record"
	"zab/lib/schedule"
	"zab/lib/thin"
)

// This file writes the page for browsers. Whatever a host may have chosen, such as a name,
// goes through text and then through html/template, which knows the context.

//go:embed page/page.html
var pageHTML string

//go:embed page/page.css
var pageCSS string

//go:embed page/page.js
var pageJS string

// page is what the template shows.
type page struct {
	Style  template.CSS
	Script template.JS
	// Policy allows this style and this script, and nothing else, from wherever it is.
	Policy string

	Title, Backup, Target string
	Read                  stamp
	Verdict, Summary      string
	Incomplete            string
	Counts                []tally
	Oldest, Warn, Crit    string
	Outlook               bool   // there are time lines
	KeepSource            string // in words, after "keeps"; "" if nothing is thinned
	KeepTarget            string
	Axis                  []picture.Mark // in percent of the width
	Grid                  string         // the lines of the axis
	Legend                []legend
	Sections              []section
}

// stamp is a time for machines and for people.
type stamp struct{ Machine, Text string }

// tally says how many datasets have a verdict.
type tally struct {
	Verdict, Meaning string
	Number           int
}

type legend struct{ Class, Path, Text string }

// section has the datasets of one verdict.
type section struct {
	Verdict string
	Rows    []entry
}

// entry is a dataset, or a copy without a source.
type entry struct {
	Verdict, Name, Copy string
	Orphan              bool
	Age                 string
	Bar                 *bar
	Why, Notes          []string
	Hint                string
	Facts, More         []fact
	Lines               []line
}

// bar shows an age: places between 0 and 1000, and a text for those who do not see it.
type bar struct {
	Age, Warn, Crit int
	Text            string
}

// fact is a term with a text, a time, or both.
type fact struct {
	Term, Text string
	At         *stamp
}

// line is the time line of one side.
type line struct {
	Side, Says string
	Paths      []path
}

// path draws snapshots of one class.
type path struct{ Class, D string }

// The time line is past wide up to now, and as wide as a whole at the end of the outlook.
const (
	past   = 700
	whole  = 1000
	height = 20
)

// ticks has for each fate the class of its ticks, and how they are drawn: from where,
// relative to the top, how far down. Their form tells them apart where colours do not.
var ticks = [fates]struct{ class, form, text string }{
	kept:      {"k", "2v16", "stays"},
	goesLater: {"l", "8v10", "is destroyed within four weeks"},
	goesSoon:  {"s", "13v5", "is destroyed within a week"},
	held:      {"h", "2v6m0 4v6", "would be destroyed, but is held"},
	foreign:   {"f", "2v5", "is not of this backup"},
}

// verdictMeans says what the verdicts mean, in a few words.
var verdictMeans = map[string]string{record.StatusOK: "current", record.StatusWarn: "to be looked at", record.StatusCrit: "too old, missing or failed", record.StatusUnknown: "not found out"}

// text returns text of unknown origin as one line without characters that command.
func text(s string) string { return cli.Printable(strings.ReplaceAll(s, "\n", "; ")) }

func texts(list []string) (out []string) {
	for _, s := range list {
		out = append(out, text(s))
	}
	return out
}

// writeHTML writes the page to a file, or for - to stdout. look returns the outlook of a
// backup.
func (rep *report) writeHTML(stdout io.Writer, file string, look func(backup string, now int64) (*outlook, error)) error {
	b, err := rep.html(look, time.Local)
	if err != nil {
		return fmt.Errorf("cannot make the page: %w", err)
	}
	if err := writeFile(stdout, file, b); err != nil {
		return fmt.Errorf("cannot write the page: %w", err)
	}
	return nil
}

// html returns the page with times in a zone.
func (rep *report) html(look func(backup string, now int64) (*outlook, error), zone *time.Location) ([]byte, error) {
	t, err := template.New("page").Parse(pageHTML)
	if err != nil {
		return nil, err
	}
	p, err := rep.page(look, zone)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// sum returns what a policy calls the text of an element.
func sum(text string) string {
	h := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(h[:]) + "'"
}

// pageMaker makes the parts of a page.
type pageMaker struct {
	rep  *report
	zone *time.Location
	axis picture.Axis
}

func (rep *report) page(look func(backup string, now int64) (*outlook, error), zone *time.Location) (*page, error) {
	p := &page{Style: template.CSS(pageCSS), Script: template.JS(pageJS),
		Policy: fmt.Sprintf("default-src 'none'; style-src %s; script-src %s; base-uri 'none'; form-action 'none'", sum(pageCSS), sum(pageJS)),
		Backup: text(rep.backup), Target: text(rep.target), Verdict: rep.verdict, Summary: rep.summary(),
		Warn: ageText(rep.rules.Warn), Crit: ageText(rep.rules.Crit)}
	m := &pageMaker{rep: rep, zone: zone}
	p.Read = m.stamp(rep.now)
	p.Title = rep.verdict + ": backup " + p.Backup
	if p.Backup == "" {
		p.Title = rep.verdict + ": backups"
	}
	if rep.incomplete != nil {
		p.Incomplete = text(rep.incomplete.Error())
	}
	if rep.oldest != nil {
		p.Oldest = ageText(*rep.oldest)
	}
	for _, v := range slices.Backward(severity) {
		if n := rep.counts[v]; n > 0 {
			p.Counts = append(p.Counts, tally{v, verdictMeans[v], n})
		}
	}

	futures, rules, err := m.futures(look)
	if err != nil {
		return nil, err
	}
	target := schedule.Schedule{}
	if p.Outlook = rules != nil; rules != nil {
		if rules.Source != nil {
			p.KeepSource = rules.Source.Words()
		}
		if rules.Target != nil {
			p.KeepTarget, target = rules.Target.Words(), *rules.Target
		}
	}
	m.frame(p, target)
	for i, r := range rep.rows {
		e := m.entry(r)
		if s := futures[i]; s != nil {
			e.Lines = m.lines(r, s.source, s.target)
			if len(r.Snapshots) > 0 && r.Type == record.TypeDataset {
				e.More = append(e.More, fact{Term: "outlook", Text: "with one snapshot " + s.every.Every()})
			}
		}
		if n := len(p.Sections); n == 0 || p.Sections[n-1].Verdict != e.Verdict {
			p.Sections = append(p.Sections, section{Verdict: e.Verdict})
		}
		last := &p.Sections[len(p.Sections)-1]
		last.Rows = append(last.Rows, e)
	}
	return p, nil
}

// future is what becomes of the snapshots of a row.
type future struct {
	every          schedule.Age // the rhythm that the forecast assumes
	source, target prospect
}

// futures returns the future of each row; nil for one without a backup. rules are those of
// all backups but for names; nil if there is no future. It sets the axis, which all time
// lines share so that datasets can be compared.
func (m *pageMaker) futures(look func(backup string, now int64) (*outlook, error)) (all []*future, rules *thin.Rules, err error) {
	now := m.rep.now
	outlooks := map[string]*outlook{}
	all = make([]*future, len(m.rep.rows))
	least, oldest := int64(86400), int64(30*86400)
	for i, r := range m.rep.rows {
		if r.Backup == "" {
			continue
		}
		l := outlooks[r.Backup]
		if l == nil {
			if l, err = look(r.Backup, now); err != nil {
				return nil, nil, cli.UsageError{Err: err}
			}
			outlooks[r.Backup] = l
		}
		f := &future{every: l.rhythm(r.Snapshots)}
		f.source, f.target = l.prospects(r.Record, f.every)
		all[i], rules = f, l.rules
		least = min(least, f.every.Seconds())
		for _, v := range slices.Concat(f.source.snapshots, f.target.snapshots) {
			if v.dated {
				oldest = max(oldest, now-v.at)
			}
		}
	}
	m.axis = picture.NewAxis(least, oldest, past)
	return all, rules, nil
}

func (m *pageMaker) stamp(at int64) stamp {
	t := time.Unix(at, 0).In(m.zone)
	return stamp{t.Format(time.RFC3339), t.Format("2006-01-02 15:04 MST")}
}

// frame draws what all time lines share: the axis, its grid and the legend.
func (m *pageMaker) frame(p *page, rules schedule.Schedule) {
	var grid strings.Builder
	// On a narrow telephone a label of three characters takes this part of the line.
	room := func(label string) float64 { return 26 + 28*float64(len(label)) }
	for _, mark := range m.axis.Marks(rules, room) {
		fmt.Fprintf(&grid, "M%.0f 0v%d", mark.Place, height)
		mark.Place *= 100.0 / whole
		p.Axis = append(p.Axis, mark)
	}
	for weeks := int64(1); weeks*7*86400 <= span; weeks++ {
		place := m.place(m.rep.now + weeks*7*86400)
		fmt.Fprintf(&grid, "M%d 0v%d", place, height)
		if weeks%2 == 0 {
			p.Axis = append(p.Axis, picture.Mark{Place: float64(place) * 100 / whole, Label: fmt.Sprintf("+%dw", weeks)})
		}
	}
	p.Grid = grid.String()
	for _, t := range ticks {
		p.Legend = append(p.Legend, legend{t.class, "M6 " + t.form, t.text})
	}
}

// place returns the place of a time on the time line: its past as an age, its future in
// equal weeks.
func (m *pageMaker) place(at int64) int {
	if at <= m.rep.now {
		return int(math.Round(max(0, m.axis.At(m.rep.now-at))))
	}
	return past + int(math.Round(min(1, float64(at-m.rep.now)/span)*(whole-past)))
}

// entry says what is known of a dataset.
func (m *pageMaker) entry(r row) entry {
	e := entry{Verdict: r.s.Verdict, Name: text(r.label()), Why: texts(r.s.Why), Notes: texts(r.s.Notes), Age: "unknown"}
	host, name := r.copy()
	switch {
	case r.Type == record.TypeOrphan:
		e.Orphan, e.Name = true, text(at(host, name))
	case name != "":
		e.Copy = text(at(host, name))
	}
	if r.s.Age != nil {
		e.Age = ageText(*r.s.Age)
		if !e.Orphan {
			e.Bar = m.bar(*r.s.Age)
		}
	}
	if f := r.Failure(); f != nil {
		e.Hint = text(f.Hint)
	}
	add := func(to *[]fact, term, s string, at *int64) {
		f := fact{Term: term, Text: text(s)}
		if at != nil {
			f.At = record.Ptr(m.stamp(*at))
		}
		if f.Text != "" || at != nil {
			*to = append(*to, f)
		}
	}
	bytes := func(n *int64, of string) string {
		if n == nil {
			return ""
		}
		return size(*n) + of
	}
	if r.s.Written != nil {
		add(&e.Facts, "written since", bytes(r.s.Written, ""), nil)
	}
	if r.Type != record.TypeOrphan {
		add(&e.Facts, "source", bytes(r.Used, " used"), nil)
	}
	if r.Target != nil && r.Target.Exists {
		add(&e.Facts, "copy", bytes(r.Target.Used, " used"), nil)
	}
	if r.s.Proof != "" {
		add(&e.Facts, "verified", proofText[r.s.Proof], r.s.ProofTime)
	}
	add(&e.More, "newest common snapshot", r.s.Common, r.s.CommonTime)
	add(&e.More, "newest snapshot", r.s.Newest, r.s.NewestTime)
	if r.Type != record.TypeOrphan {
		add(&e.More, "source", bytes(r.Referenced, " referenced"), nil)
	}
	for _, h := range r.s.Misplaced {
		what := "left over"
		if h.Missing {
			what = "missing"
		}
		add(&e.More, "hold "+what, h.Tag+" on "+h.Snapshot+", "+h.Side, nil)
	}
	for _, w := range r.Warnings {
		add(&e.More, "warning", w, nil)
	}
	return e
}

// proofText says how a copy was verified last.
var proofText = map[string]string{record.ProofFull: "equal, compared in full", record.ProofIncrement: "equal, compared since the proof before",
	record.ProofDifferent: "different from its source", record.StatusNeverProved: "never"}

// bar shows an age beside the ages from which on a copy is too old.
func (m *pageMaker) bar(age int64) *bar {
	rules := m.rep.rules
	full := max(float64(rules.Crit)*1.25, 1)
	at := func(n int64) int { return int(math.Round(1000 * min(1, float64(n)/full))) }
	return &bar{at(age), at(rules.Warn), at(rules.Crit),
		fmt.Sprintf("%s old; a warning from %s, critical from %s", ageText(age), ageText(rules.Warn), ageText(rules.Crit))}
}

// lines returns the time lines of the sides that have snapshots, or should have.
func (m *pageMaker) lines(r row, source, target prospect) (lines []line) {
	add := func(side string, p prospect, listed bool) {
		l := line{Side: side}
		switch {
		case !listed:
			l.Says = "not listed"
		case len(p.snapshots) == 0:
			l.Says = "no snapshot"
		default:
			l.Says, l.Paths = m.says(p, r.Failure() != nil && r.Error != nil), m.paths(p)
		}
		lines = append(lines, l)
	}
	if r.Type == record.TypeDataset {
		add("source", source, r.Snapshots != nil)
	}
	switch t := r.Target; {
	case t == nil:
	case !t.Exists:
		lines = append(lines, line{Side: "target", Says: "no copy"})
	default:
		add("target", target, t.Snapshots != nil)
	}
	return lines
}

// says puts a time line into words.
func (m *pageMaker) says(p prospect, failed bool) string {
	var n [fates]int
	first := int64(math.MaxInt64)
	for _, v := range p.snapshots {
		n[v.fate]++
		if v.goes != 0 {
			first = min(first, v.goes)
		}
	}
	s := many(len(p.snapshots), "snapshot", "snapshots")
	var parts []string
	goes := n[goesSoon] + n[goesLater]
	switch {
	case n[foreign] == len(p.snapshots):
	case !p.thinned && failed:
		parts = append(parts, "nothing is destroyed while the error lasts")
	case !p.thinned:
		parts = append(parts, "nothing is destroyed")
	case goes == 0:
		parts = append(parts, "none is destroyed within four weeks")
	default:
		part := many(goes, "is", "are") + " destroyed within four weeks, " + when(first-m.rep.now)
		if goes > 1 {
			part = many(goes, "is", "are") + " destroyed within four weeks, the first " + when(first-m.rep.now)
		}
		parts = append(parts, part)
	}
	if n[held] > 0 {
		parts = append(parts, many(n[held], "is", "are")+" held")
	}
	if n[foreign] > 0 {
		parts = append(parts, many(n[foreign], "is", "are")+" not of this backup")
	}
	return s + ": " + strings.Join(parts, "; ")
}

// many returns a number with the word for one or for several.
func many(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// when says in how many seconds something happens, as exactly as a forecast can be.
func when(seconds int64) string {
	switch days := (seconds + 43200) / 86400; days {
	case 0:
		return "with the next run"
	case 1:
		return "in about a day"
	default:
		return fmt.Sprintf("in about %d days", days)
	}
}

// paths draws the snapshots at their times, and at the time when they go those that do.
func (m *pageMaker) paths(p prospect) (paths []path) {
	var places [fates][]int
	for _, v := range p.snapshots {
		if v.dated {
			places[v.fate] = append(places[v.fate], m.place(v.at))
		}
		if v.goes != 0 {
			places[v.fate] = append(places[v.fate], m.place(v.goes))
		}
	}
	for f, list := range places {
		slices.Sort(list)
		var b strings.Builder
		for _, x := range slices.Compact(list) {
			fmt.Fprintf(&b, "M%d %s", x, ticks[f].form)
		}
		if b.Len() > 0 {
			paths = append(paths, path{ticks[f].class, b.String()})
		}
	}
	return paths
}
