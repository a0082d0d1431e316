package zab

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jessevdk/go-flags"

	"zab/lib/cli"
	"zab/lib/digest"
	"zab/lib/list"
	"zab/lib/plan"
	"zab/lib/record"
	"zab/lib/selection"
	"zab/lib/snap"
	"zab/lib/status"
	"zab/lib/thin"
	"zab/lib/verify"
	"zab/lib/xfer"
)

// The tests of this file compare the manual pages and the README with the programs.

const root = "../.."

var programs = map[string]func() cli.Program{
	"zab": Program, "zab-select": selection.Program, "zab-list": list.Program, "zab-snap": snap.Program,
	"zab-plan": plan.Program, "zab-xfer": xfer.Program, "zab-thin": thin.Program, "zab-digest": digest.Program, "zab-verify": verify.Program, "zab-status": status.Program,
}

// names are the names of the programs, in the order of the pipeline.
var names = []string{"zab", "zab-select", "zab-list", "zab-snap", "zab-plan", "zab-xfer", "zab-thin", "zab-verify", "zab-digest", "zab-status"}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func pages(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(root, "man", "*.[578]"))
	if err != nil || len(list) < 9 {
		t.Fatalf("pages: %v %v", list, err)
	}
	return list
}

func options(p cli.Program) []*flags.Option {
	var out []*flags.Option
	cli.EachOption(p.Parser(), func(o *flags.Option) { out = append(out, o) })
	return out
}

// item is an option in a manual page, in one of the forms
//
//	.It Fl n , -dry-run
//	.It Fl j , -jobs Ns = Ns Ar N
//	.It Fl -compress Ns Op = Ns Ar TYPE
type item struct {
	short, value string
	optional     bool
	text         string
}

var (
	itemForm    = regexp.MustCompile(`^\.It Fl (?:(\w) , )?-([a-z][a-z-]*)(?: Ns (Op )?= Ns Ar (\S+))?$`)
	defaultForm = regexp.MustCompile(`(?m)^The default is\n\.Ql (\S+)(?: [.,;])?$`)
)

// items returns the options in a page, by long name.
func items(t *testing.T, page string) map[string]*item {
	t.Helper()
	out := map[string]*item{}
	var now *item
	for i, line := range strings.Split(read(t, "man/"+page+".8"), "\n") {
		switch {
		case strings.HasPrefix(line, ".It Fl"):
			m := itemForm.FindStringSubmatch(line)
			if m == nil {
				t.Errorf("%s.8:%d: the form of the option is not known: %s", page, i+1, line)
				continue
			}
			if out[m[2]] != nil {
				t.Errorf("%s.8:%d: --%s is documented twice", page, i+1, m[2])
			}
			now = &item{short: m[1], optional: m[3] != "", value: m[4]}
			out[m[2]] = now
		case strings.HasPrefix(line, ".It"), strings.HasPrefix(line, ".El"):
			now = nil
		case now != nil:
			now.text += line + "\n"
		}
	}
	return out
}

func TestDocsOptions(t *testing.T) {
	for _, name := range names {
		documented := items(t, name)
		known := map[string]bool{}
		for _, o := range options(programs[name]()) {
			known[o.LongName] = true
			it := documented[o.LongName]
			if it == nil {
				if !o.Hidden {
					t.Errorf("%s.8: --%s is not documented", name, o.LongName)
				}
				continue
			}
			short, def := "", ""
			if o.ShortName != 0 {
				short = string(o.ShortName)
			}
			if m := defaultForm.FindStringSubmatch(it.text); m != nil {
				def = m[1]
			}
			check := func(what, page, program string) {
				if page != program {
					t.Errorf("%s.8: --%s: the %s is %q in the page, %q in the program", name, o.LongName, what, page, program)
				}
			}
			check("short name", it.short, short)
			check("value's name", it.value, o.ValueName)
			check("default", def, strings.Join(o.Default, ","))
			check("value's being optional", fmt.Sprint(it.optional), fmt.Sprint(o.OptionalArgument))
			for _, v := range o.OptionalValue {
				if !strings.Contains(it.text, ".Ql "+v+" ") {
					t.Errorf("%s.8: --%s does not tell of %s", name, o.LongName, v)
				}
			}
			if strings.TrimSpace(it.text) == "" {
				t.Errorf("%s.8: --%s has no text", name, o.LongName)
			}
		}
		for long := range documented {
			if !known[long] {
				t.Errorf("%s.8: there is no --%s", name, long)
			}
		}
	}
}

// TestDocsHelpSections checks that --help lists the options of zab in the sections of its
// page, after the most frequently used options.
func TestDocsHelpSections(t *testing.T) {
	of := map[string]string{}
	for _, s := range sections {
		of[s.Tag] = s.Title
	}
	order, parts := sectionsOf(read(t, "man/zab.8"), "Ss")
	documented := map[string]string{}
	for _, title := range append([]string{""}, order...) {
		for _, m := range regexp.MustCompile(`(?m)^\.It Fl (?:\w , )?-([a-z][a-z-]*)`).FindAllStringSubmatch(parts[title], -1) {
			documented[m[1]] = cmp.Or(title, "General")
		}
	}
	often := 0
	for _, o := range options(Program()) {
		if o.Hidden {
			continue
		}
		if o.Field().Tag.Get("often") != "" {
			often++
		}
		title, known := of[o.Field().Tag.Get("section")]
		if !known || title != documented[o.LongName] {
			t.Errorf("--%s is in the section %q of --help and in %q of the page", o.LongName, title, documented[o.LongName])
		}
	}
	if often != 10 {
		t.Errorf("%d options are used most", often)
	}
	var titles, want []string
	for _, s := range sections[2:] {
		titles = append(titles, s.Title)
	}
	for _, s := range order {
		if slices.Contains(titles, s) {
			want = append(want, s)
		}
	}
	if !slices.Equal(titles, want) {
		t.Errorf("--help has the sections\n\t%q, the page\n\t%q", titles, want)
	}
}

// TestDocsOptionsAgree checks that an option means the same in every command that has it.
func TestDocsOptionsAgree(t *testing.T) {
	type meaning struct{ short, value, def, description string }
	first := map[string]string{}
	all := map[string]meaning{}
	for _, name := range names {
		longs, shorts := map[string]bool{}, map[rune]string{}
		for _, o := range options(programs[name]()) {
			if longs[o.LongName] {
				t.Errorf("%s has --%s twice", name, o.LongName)
			}
			longs[o.LongName] = true
			if o.ShortName != 0 {
				if other := shorts[o.ShortName]; other != "" {
					t.Errorf("%s has -%c twice: --%s, --%s", name, o.ShortName, other, o.LongName)
				}
				shorts[o.ShortName] = o.LongName
			}
			m := meaning{string(o.ShortName), o.ValueName, strings.Join(o.Default, ","), o.Description}
			if name == "zab-digest" && o.LongName == "rate" || name == "zab-verify" && (o.LongName == "rate" || o.LongName == "jobs") {
				continue // of what it reads, not of what is sent
			}
			if other, ok := all[o.LongName]; ok && other != m {
				t.Errorf("--%s is\n\t%q in %s, but\n\t%q in %s", o.LongName, other, first[o.LongName], m, name)
			} else if !ok {
				all[o.LongName], first[o.LongName] = m, name
			}
		}
	}
}

// TestDocsOptionTextsAgree checks that the pages describe an option in the same words,
// except where the descriptions have to differ.
func TestDocsOptionTextsAgree(t *testing.T) {
	differ := []string{"dry-run", "files", "verbose", "debug", "now", "rate", "jobs", "min-change", "within"}
	// Pages refer differently to their own sections and to those of other pages.
	see := regexp.MustCompile(`See\n\.Sx [^\n]*\n(in\n\.Xr [^\n]*\n)?`)
	first := map[string]string{}
	text := map[string]string{}
	for _, name := range names {
		for long, it := range items(t, name) {
			s := see.ReplaceAllString(it.text, "")
			s = strings.ReplaceAll(s, " .\n", "\n")
			if slices.Contains(differ, long) {
				continue
			}
			if other, ok := text[long]; ok && other != s {
				t.Errorf("%s.8 and %s.8 say different things of --%s:\n%s\n%s", first[long], name, long, other, s)
			} else if !ok {
				text[long], first[long] = s, name
			}
		}
	}
}

// TestDocsWrapperHasAll checks that the wrapper has every option of the stages, except
// those that concern records or replace them.
func TestDocsWrapperHasAll(t *testing.T) {
	alone := map[string][]string{
		"zab-select": {"exclude-path", "all", "target", "excluded"},
		"zab-list":   {"ssh", "depth", "holds", "no-snapshots", "backup"},
		"zab-plan":   {"orphans", "target-state"},
		"zab-thin":   {"explain", "picture", "every"},
		"zab-digest": {"objects", "name-of", "hash", "base-last", "progress-every"},
		"zab-status": {"warn", "crit", "orphans-are", "check-holds", "verified-within", "table", "nagios", "prometheus", "zabbix", "html"},
	}
	has := map[string]bool{}
	for _, o := range options(Program()) {
		has[o.LongName] = true
	}
	for _, name := range names[1:] {
		for _, o := range options(programs[name]()) {
			if !has[o.LongName] && !slices.Contains(alone[name], o.LongName) {
				t.Errorf("zab has no --%s, which %s has", o.LongName, name)
			}
		}
	}
}

// sectionsOf returns the sections of a page by heading, and the headings in order.
func sectionsOf(text, macro string) (order []string, parts map[string]string) {
	parts = map[string]string{}
	heading := ""
	for line := range strings.Lines(text) {
		if s, ok := strings.CutPrefix(line, "."+macro+" "); ok {
			heading = strings.TrimSpace(s)
			order = append(order, heading)
			continue
		}
		if strings.HasPrefix(line, ".Sh ") {
			heading = ""
		}
		parts[heading] += line
	}
	return order, parts
}

func TestDocsSections(t *testing.T) {
	order := []string{"NAME", "SYNOPSIS", "DESCRIPTION", "RECORDS", "ENVIRONMENT", "FILES", "EXIT STATUS", "EXAMPLES", "SEE ALSO", "CAVEATS"}
	for _, path := range pages(t) {
		name := filepath.Base(path)
		have, _ := sectionsOf(read(t, "man/"+name), "Sh")
		var want []string
		for _, s := range order {
			optional := s == "ENVIRONMENT" || s == "FILES"
			if !strings.HasSuffix(name, ".8") {
				optional = optional || s == "SYNOPSIS" || s == "RECORDS" || s == "EXIT STATUS" || s == "EXAMPLES"
			}
			if !optional || slices.Contains(have, s) {
				want = append(want, s)
			}
		}
		if !slices.Equal(have, want) {
			t.Errorf("%s has the sections\n\t%v, not\n\t%v", name, have, want)
		}
	}
}

// field matches a field in zab-record(5).
var field = regexp.MustCompile(`(?m)^\.It Va ([\w:]+) Pq (\w+)\n((?:[^.].*\n|\.[^IE].*\n)*)`)

func TestDocsRecordFields(t *testing.T) {
	_, parts := sectionsOf(read(t, "man/zab-record.5"), "Ss")
	for heading, structs := range map[string][]any{
		"The record":              {record.Record{}},
		"Facts":                   {record.Facts{}},
		"Snapshots and bookmarks": {record.SnapshotFields{}, record.Held{}},
		"The snapshot made":       {record.Made{}},
		"The target":              {record.Target{}, record.Resume{}},
		"Steps":                   {record.Step{}},
		"Conflicts":               {record.Conflict{}},
		"Results":                 {record.Result{}},
		"Verdicts":                {record.Thin{}, record.Verdict{}, record.Wait{}},
		"Verification":            {record.Verify{}, record.DifferentObject{}, record.DifferentFile{}},
		"The status":              {record.Status{}, record.Misplaced{}},
		"Errors":                  {record.Error{}},
	} {
		var want, have []string
		for _, s := range structs {
			want = append(want, fields(reflect.TypeOf(s))...)
		}
		for _, m := range field.FindAllStringSubmatch(parts[heading], -1) {
			have = append(have, m[1]+" "+m[2])
		}
		if !slices.Equal(have, want) {
			t.Errorf("zab-record.5, %s: the page has\n\t%v, the program\n\t%v", heading, have, want)
		}
	}
	// The fields of the snapshots within a stream are described in one sentence.
	for _, m := range field.FindAllStringSubmatch(parts["Steps"], -1) {
		if m[1] != "through" {
			continue
		}
		for _, f := range fields(reflect.TypeOf(record.Through{})) {
			name, _, _ := strings.Cut(f, " ")
			if !strings.Contains(m[3], ".Va "+name) {
				t.Errorf("zab-record.5, Steps: through has no %s", name)
			}
		}
	}
}

// fields returns the JSON names and types of a struct's fields.
func fields(t reflect.Type) []string {
	var out []string
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue // embedded, or not written to JSON
		}
		out = append(out, name+" "+jsonType(f.Type))
	}
	return out
}

func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return jsonType(t.Elem())
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int64:
		return "integer"
	case reflect.Float64:
		return "number"
	case reflect.Slice:
		return "array"
	case reflect.Struct:
		return "object"
	}
	return t.String()
}

// TestDocsRecordExample checks that the example of a record, with its lines joined, is a
// record.
func TestDocsRecordExample(t *testing.T) {
	var rec string
	for _, b := range literals(read(t, "man/zab-record.5")) {
		if strings.HasPrefix(b, `{"zab":`) {
			rec = strings.ReplaceAll(b, "\n", "")
		}
	}
	r, err := record.Parse([]byte(rec))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Unknown) > 0 || len(r.Target.Unknown) > 0 || len(r.Steps[0].Unknown) > 0 {
		t.Errorf("the example has unknown fields: %s", rec)
	}
}

// TestDocsKinds checks that zab-record(5) explains exactly the kinds of package record.
func TestDocsKinds(t *testing.T) {
	_, parts := sectionsOf(read(t, "man/zab-record.5"), "Ss")
	word := regexp.MustCompile(`(?m)^\.It Cm ([a-z-]+)(?: Ta.*)?$`)
	errs, conflicts, steps := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, k := range record.ErrorKinds {
		errs[string(k)] = true
	}
	for _, k := range record.ConflictKinds {
		conflicts[string(k)] = true
	}
	for _, k := range record.Dos {
		steps[k] = true
	}
	for heading, want := range map[string]map[string]bool{"Errors": errs, "Conflicts": conflicts, "Steps": steps} {
		if len(want) < 5 {
			t.Fatalf("%s: only %v are known", heading, want)
		}
		have := map[string]bool{}
		for _, m := range word.FindAllStringSubmatch(parts[heading], -1) {
			if have[m[1]] {
				t.Errorf("zab-record.5, %s: %s comes twice", heading, m[1])
			}
			have[m[1]] = true
			if !want[m[1]] {
				t.Errorf("zab-record.5, %s: there is no %s", heading, m[1])
			}
		}
		for k := range want {
			if !have[k] {
				t.Errorf("zab-record.5, %s: %s is not documented", heading, k)
			}
		}
	}
}

func TestDocsLint(t *testing.T) {
	mandoc, err := exec.LookPath("mandoc")
	if err != nil {
		t.Skip("mandoc is not installed")
	}
	out, err := exec.Command(mandoc, append([]string{"-T", "lint", "-W", "warning"}, pages(t)...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("mandoc: %v\n%s", err, out)
	}
}

// TestDocsReferences checks that each of our own pages to which a page refers exists.
func TestDocsReferences(t *testing.T) {
	ref := regexp.MustCompile(`(?m)^\.(?:It )?Xr (zab\S*) (\d)`)
	for _, path := range pages(t) {
		for _, m := range ref.FindAllStringSubmatch(read(t, "man/"+filepath.Base(path)), -1) {
			if _, err := os.Stat(filepath.Join(root, "man", m[1]+"."+m[2])); err != nil {
				t.Errorf("%s refers to %s(%s): %v", filepath.Base(path), m[1], m[2], err)
			}
		}
	}
}

func TestDocsReadme(t *testing.T) {
	readme := read(t, "README.md")
	if n := strings.Count(readme, "\n"); n > 150 {
		t.Errorf("README.md has %d lines, more than 150", n)
	}
	for _, m := range regexp.MustCompile(`\]\(([^):]+)\)`).FindAllStringSubmatch(readme, -1) {
		if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
			t.Errorf("README.md links to what is not there: %v", err)
		}
	}
	for _, name := range names {
		if !strings.Contains(readme, "(man/"+name+".8)") {
			t.Errorf("README.md does not link to the page of %s", name)
		}
	}
	makefile := read(t, "Makefile")
	for _, m := range regexp.MustCompile(`(?m)^ {4}make ([a-z]+)`).FindAllStringSubmatch(readme, -1) {
		if !strings.Contains(makefile, "\n"+m[1]+":") {
			t.Errorf("README.md tells of 'make %s', which there is not", m[1])
		}
	}
}

// literals returns the literal displays of a page, as a reader sees them.
func literals(page string) []string {
	var out []string
	seen := strings.NewReplacer(`\(aq`, "'", `\e`, `\`, `\&`, "", `\-`, "-", `\(ha`, "^")
	for _, m := range regexp.MustCompile(`(?ms)^\.Bd -literal[^\n]*\n(.*?)^\.Ed$`).FindAllStringSubmatch(page, -1) {
		out = append(out, seen.Replace(m[1]))
	}
	return out
}

// TestDocsExamples checks that the programs accept the commands in all examples.
func TestDocsExamples(t *testing.T) {
	examples := map[string][]string{}
	readme := ""
	for _, path := range pages(t) {
		name := filepath.Base(path)
		examples[name] = literals(read(t, "man/"+name))
	}
	for line := range strings.Lines(read(t, "README.md")) {
		if code, ok := strings.CutPrefix(line, "    "); ok {
			readme += code
		}
	}
	examples["README.md"] = []string{readme}
	comment := regexp.MustCompile(`(?m)^\s*#.*$`)
	for _, f := range []string{"cron/zab.cron", "systemd/zab@.service", "systemd/zab-verify@.service", "monitoring/zab-textfile"} {
		examples[f] = []string{comment.ReplaceAllString(read(t, "contrib/"+f), "")}
	}
	found := 0
	for where, texts := range examples {
		for _, s := range texts {
			for _, argv := range commands(s) {
				found++
				checkCommand(t, where, argv)
			}
		}
	}
	if found < 60 {
		t.Errorf("only %d commands found in the examples", found)
	}
}

func checkCommand(t *testing.T, where string, argv []string) {
	t.Helper()
	p := programs[argv[0]]()
	parser := p.Parser()
	rest, err := parser.ParseArgs(cli.JoinOptional(argv[1:], parser))
	switch {
	case err != nil:
		t.Errorf("%s: %q: %v", where, argv, err)
	case len(rest) < p.MinArgs || p.MaxArgs >= 0 && len(rest) > p.MaxArgs:
		t.Errorf("%s: %q: the operands are %q", where, argv, rest)
	case p.Check != nil:
		if err := p.Check(rest); err != nil {
			t.Errorf("%s: %q: %v", where, argv, err)
		}
	}
}

// commands returns our commands in a shell text, which may also contain their output. It
// understands quotes, pipes and redirections, and the few programs that start others in
// our examples.
func commands(text string) [][]string {
	var out [][]string
	text = strings.ReplaceAll(text, "\\\n", " ")
	text = strings.NewReplacer("${ZAB_LIST_OPTIONS-}", "", `"$@"`, "", "$OPTIONS", "", "$VERIFY", "--budget=500G", "%i", "offsite1",
		`"$target"`, "backup", "$TARGET", "backup", `"$backup"`, "offsite1").Replace(text)
	var argv []string
	end := func() {
		for i, w := range argv {
			if programs[filepath.Base(w)] != nil {
				argv[i] = filepath.Base(w)
				if i == 0 || starts(argv[:i]) {
					out = append(out, argv[i:])
				}
				break
			}
		}
		argv = nil
	}
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '\n' || c == '|' || c == ';' || c == '&':
			end()
			i++
		case c == ' ' || c == '\t':
			i++
		case c == '<' || c == '>':
			// Skip the redirection and its file.
			for i++; i < len(text) && strings.IndexByte(" >&", text[i]) >= 0; i++ {
			}
			for ; i < len(text) && strings.IndexByte(" \n|;", text[i]) < 0; i++ {
			}
		default:
			w, n := word(text[i:])
			i += n
			if w == "2" && i < len(text) && text[i] == '>' {
				continue
			}
			argv = append(argv, w)
		}
	}
	end()
	return out
}

// starts reports whether a command may follow these words: a prompt, the fields of a
// crontab or a unit, parallel, or ssh.
func starts(before []string) bool {
	if len(before) == 1 && (before[0] == "#" || before[0] == "$") || len(before) == 6 && before[5] == "root" {
		return true
	}
	return before[0] == "parallel" || before[0] == "ssh" || before[0] == "#" && before[1] == "parallel"
}

// word parses a word of shell and returns it with its length in s.
func word(s string) (w string, n int) {
	var quote byte
	for n = 0; n < len(s); n++ {
		c := s[n]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			w += string(c)
		case c == '\'' || c == '"':
			quote = c
		case strings.IndexByte(" \t\n|;&<>", c) >= 0:
			return w, n
		default:
			w += string(c)
		}
	}
	return w, n
}

// TestDocsRelease runs the example of zab-list(8) that prints the commands which release
// all that is held for one target. Disks made from one another have datasets with the
// same guid, so it must go by the tag (P1).
func TestDocsRelease(t *testing.T) {
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skip("jq is not installed")
	}
	const mine, other = "zfs_autobackup:offsite1:9270436180317845291.1508", "zfs_autobackup:offsite1:9270436180317845291.1509"
	example := ""
	for _, block := range strings.Split(read(t, "man/zab-list.8"), ".Bd -literal -offset indent\n") {
		if block, _, _ = strings.Cut(block, ".Ed\n"); strings.Contains(block, "zfs release") {
			example = strings.NewReplacer(`\(aq`, `'`, `\e`, `\`, "zab-list --holds tank", "cat").Replace(block)
		}
	}
	held := func(name string, tags ...string) string {
		list := []string{`{"tag":"zfs_autobackup:offsite1"}`}
		for _, tag := range tags {
			list = append(list, fmt.Sprintf(`{"tag":%q,"target_guid":"9270436180317845291"}`, tag))
		}
		return fmt.Sprintf(`{"name":%q,"held":[%s]}`, name, strings.Join(list, ","))
	}
	cmd := exec.Command("sh", "-c", example)
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`{"name":"tank/a","snapshots":[%s,%s,%s,{"name":"none"}]}`,
		held("both", mine, other), held("mine", mine), held("other", other)))
	out, err := cmd.CombinedOutput()
	want := "zfs release '" + mine + "' 'tank/a@both'\nzfs release 'zfs_autobackup:offsite1' 'tank/a@mine'\nzfs release '" + mine + "' 'tank/a@mine'\n"
	if err != nil || string(out) != want {
		t.Errorf("%v\n%s\nwant\n%s\nby\n%s", err, out, want, example)
	}
}

// TestDocsPromises checks that each promise of zab(7) is named by a test.
func TestDocsPromises(t *testing.T) {
	promise := regexp.MustCompile(`(?m)^\.It (P[0-9]+)$`)
	found := promise.FindAllStringSubmatch(read(t, "man/zab.7"), -1)
	if len(found) != 12 {
		t.Fatalf("zab.7 has %d promises", len(found))
	}
	var tests strings.Builder
	for _, pattern := range []string{"testdata/*.txtar", "lib/*/*_test.go", "cmd/*/*_test.go", "lib/hostile/*.go"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			tests.Write(b)
		}
	}
	for _, m := range found {
		if !regexp.MustCompile(`\b` + m[1] + `\b`).MatchString(tests.String()) {
			t.Errorf("no test names the promise %s", m[1])
		}
	}
}
