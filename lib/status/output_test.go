package status

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/mattn/go-runewidth"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"pgregory.net/rapid"

	"zab/lib/cli"
	"zab/lib/record"
)

// three returns a dataset that is ok, one without a copy, and a copy without a source.
func three() []*record.Record {
	lost := selected(9, snapshots("b-1/1"), nil)
	lost.Name, lost.Host, lost.Target = "tank/lost", "root@s", &record.Target{Host: "nas", Name: "bk/tank/lost"}
	orphan := &record.Record{Zab: 1, Type: record.TypeOrphan, Backup: "b", Name: "bk/z", Reason: "no selected source maps to it",
		Target: &record.Target{Name: "bk/z", Exists: true, Snapshots: snapshots("b-1/100")}}
	return []*record.Record{selected(2048, snapshots("b-1/3"), snapshots("b-1/3")), lost, orphan}
}

// output runs zab-status on records with options, up to what it asks of zfs.
func output(t *testing.T, all []*record.Record, incomplete error, args ...string) (string, error) {
	t.Helper()
	p := Program()
	o := p.Options.(*Options)
	if _, err := p.Parser().ParseArgs(args); err != nil {
		t.Fatal(err)
	}
	if err := p.Check(nil); err != nil {
		t.Fatal(err)
	}
	var out, stderr bytes.Buffer
	env := &cli.Env{Program: p.Name, Common: &o.Common, Stdout: &out, Stderr: &stderr, Now: time.Unix(now, 0)}
	err := o.write(env, newReport(all, o.rules(env), nil, incomplete))
	return out.String(), err
}

func TestOutput(t *testing.T) {
	for _, c := range []struct {
		args, want string
	}{
		{"--table", `VERDICT  AGE    WRITTEN  SOURCE  TARGET  DATASET
crit     -      -        1       -       root@s:tank/lost
    no copy: there is no 'bk/tank/lost'
warn     4d 4h  -        -       1       bk/z
    a copy without a source: no selected source maps to it
ok       3h     2.0 KiB  1       1       tank/a
1 crit, 1 warn, 1 ok
`},
		{"--nagios", `ZAB CRITICAL - b: 1 crit, 1 warn, 1 ok; root@s:tank/lost: no copy: there is no 'bk/tank/lost'; bk/z: a copy without a source: no selected source maps to it | oldest=10800s;93600;180000;0 ok=1;;;0 warn=1;;;0 unknown=0;;;0 crit=1;;;0
`},
		{"--nagios --warn 1h --crit 2h --orphans-are ok", `ZAB CRITICAL - b: 2 crit, 1 ok; tank/a: the newest common snapshot is 3h old, more than 2h; root@s:tank/lost: no copy: there is no 'bk/tank/lost' | oldest=10800s;3600;7200;0 ok=1;;;0 warn=0;;;0 unknown=0;;;0 crit=2;;;0
`},
		{"--zabbix", `- "zab.discovery[\"b\"]" "[{\"{#BACKUP}\":\"b\",\"{#DATASET}\":\"root@s:tank/lost\",\"{#TARGET}\":\"nas:bk/tank/lost\"},{\"{#BACKUP}\":\"b\",\"{#DATASET}\":\"\",\"{#TARGET}\":\"bk/z\"},{\"{#BACKUP}\":\"b\",\"{#DATASET}\":\"tank/a\",\"{#TARGET}\":\"bk/tank/a\"}]"
- "zab.worst[\"b\"]" "2"
- "zab.summary[\"b\"]" "1 crit, 1 warn, 1 ok"
- "zab.verdict[\"b\",\"root@s:tank/lost\",\"nas:bk/tank/lost\"]" "2"
- "zab.why[\"b\",\"root@s:tank/lost\",\"nas:bk/tank/lost\"]" "no copy: there is no 'bk/tank/lost'"
- "zab.newest.timestamp[\"b\",\"root@s:tank/lost\",\"nas:bk/tank/lost\"]" "1799996400"
- "zab.source.snapshots[\"b\",\"root@s:tank/lost\",\"nas:bk/tank/lost\"]" "1"
- "zab.conflict[\"b\",\"root@s:tank/lost\",\"nas:bk/tank/lost\"]" "0"
- "zab.verdict[\"b\",\"\",\"bk/z\"]" "1"
- "zab.why[\"b\",\"\",\"bk/z\"]" "a copy without a source: no selected source maps to it"
- "zab.copy.timestamp[\"b\",\"\",\"bk/z\"]" "1799640000"
- "zab.newest.timestamp[\"b\",\"\",\"bk/z\"]" "1799640000"
- "zab.target.snapshots[\"b\",\"\",\"bk/z\"]" "1"
- "zab.verdict[\"b\",\"tank/a\",\"bk/tank/a\"]" "0"
- "zab.why[\"b\",\"tank/a\",\"bk/tank/a\"]" "ok"
- "zab.copy.timestamp[\"b\",\"tank/a\",\"bk/tank/a\"]" "1799989200"
- "zab.common.timestamp[\"b\",\"tank/a\",\"bk/tank/a\"]" "1799989200"
- "zab.newest.timestamp[\"b\",\"tank/a\",\"bk/tank/a\"]" "1799989200"
- "zab.written[\"b\",\"tank/a\",\"bk/tank/a\"]" "2048"
- "zab.source.snapshots[\"b\",\"tank/a\",\"bk/tank/a\"]" "1"
- "zab.target.snapshots[\"b\",\"tank/a\",\"bk/tank/a\"]" "1"
- "zab.conflict[\"b\",\"tank/a\",\"bk/tank/a\"]" "0"
`},
	} {
		got, err := output(t, three(), nil, strings.Fields(c.args)...)
		if err != nil || got != c.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", c.args, err, got, c.want)
		}
	}
}

// TestOutputRecords checks that records come out in their order, with a status where
// there is a verdict, and byte for byte where there is none.
func TestOutputRecords(t *testing.T) {
	all := three()
	raw := `{ "zab":1,"type":"dataset","name":"tank/other","selected":false}`
	other, err := record.Parse([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	got, err := output(t, append(all, other), nil)
	lines := strings.Split(strings.TrimSpace(got), "\n")
	if err != nil || len(lines) != 4 || lines[3] != raw {
		t.Fatalf("%v\n%s", err, got)
	}
	for i, want := range []string{"ok", "crit", "warn"} {
		r, err := record.Parse([]byte(lines[i]))
		if err != nil || r.Name != all[i].Name || r.Status == nil || r.Status.Verdict != want {
			t.Errorf("%v, want %s: %s", err, want, lines[i])
		}
	}
}

// TestExit checks the exit status in all forms of output.
func TestExit(t *testing.T) {
	good := selected(0, snapshots("b-1/1"), snapshots("b-1/1"))
	bad := with(selected(0, snapshots("b-1/1"), nil), func(r *record.Record) { r.Name, r.Target.Exists = "tank/b", false })
	old := with(selected(5, snapshots("b-1/30"), snapshots("b-1/30")), func(r *record.Record) { r.Name = "tank/c" })
	unlisted := &record.Record{Type: record.TypeUnlisted, Backup: "b", Name: "usb", Error: &record.Error{Message: "I/O error"}}
	for _, c := range []struct {
		all        []*record.Record
		incomplete error
		want       int
	}{
		{[]*record.Record{good}, nil, 0},
		{[]*record.Record{good, old}, nil, 1},
		{[]*record.Record{good, old, bad}, nil, 2},
		{[]*record.Record{good, old, unlisted}, nil, 3},
		{[]*record.Record{good, unlisted, bad}, nil, 2},
		{nil, nil, 3}, // nothing selected is never well
		{three()[2:], nil, 3},
		{[]*record.Record{good}, errors.New("zab-plan failed"), 3},
	} {
		rep := newReport(c.all, testRules(), nil, c.incomplete)
		if got := exits[rep.verdict]; got != c.want {
			t.Errorf("%d records, %v: status %d, want %d", len(c.all), c.incomplete, got, c.want)
		}
	}
}

// TestIncomplete checks that no metrics are written where records may be missing, and
// that the line for Nagios says so.
func TestIncomplete(t *testing.T) {
	file := filepath.Join(t.TempDir(), "zab.prom")
	for _, args := range [][]string{{"--prometheus", file}, {"--prometheus", "-"}, {"--zabbix"}} {
		out, err := output(t, three(), errors.New("zab-plan failed"), args...)
		if err == nil || out != "" || !strings.Contains(err.Error(), "zab-plan failed") {
			t.Errorf("%s: %v, %q", args, err, out)
		}
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the file was written")
	}
	out, err := output(t, nil, errors.New("zab-select: no | such\nhost"), "--nagios")
	if want := "ZAB UNKNOWN - no dataset was found; zab-select: no / such; host | ok=0;;;0 warn=0;;;0 unknown=0;;;0 crit=0;;;0\n"; err != nil || out != want {
		t.Errorf("%v, %q, want %q", err, out, want)
	}
}

// TestPrometheus checks the metrics against another reader of the format, and the file.
func TestPrometheus(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "zab.prom")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := output(t, three(), nil, "--prometheus="+file); err != nil || out != "" {
		t.Fatalf("%v, %q", err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out, err := output(t, three(), nil, "--prometheus=-")
	if err != nil || out != string(text) {
		t.Errorf("%v: the file has\n%s\nstandard output\n%s", err, text, out)
	}
	if st, _ := os.Stat(file); st.Mode() != 0o644 {
		t.Errorf("the mode is %v", st.Mode())
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for name := range families {
		if !strings.HasPrefix(name, "zab_status_") {
			t.Errorf("%s is a name of somebody else", name)
		}
	}
	// what "promtool check metrics" checks
	problems, err := promlint.New(bytes.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, want := range []string{
		`zab_status_timestamp_seconds{backup="b"} 1.8e+09`,
		`zab_status_datasets{backup="b",verdict="unknown"} 0`,
		`zab_status_verdict{backup="b",dataset="tank/lost",host="root@s",target="bk/tank/lost",target_host="nas"} 2`,
		`zab_status_verdict{backup="b",target="bk/z"} 1`,
		`zab_status_copy_timestamp_seconds{backup="b",dataset="tank/a",target="bk/tank/a"} 1.7999892e+09`,
		`zab_status_written_bytes{backup="b",dataset="tank/a",target="bk/tank/a"} 2048`,
	} {
		if !strings.Contains(string(text), "\n"+want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if _, err := output(t, three(), nil, "--prometheus="+filepath.Join(dir, "none", "zab.prom")); err == nil {
		t.Error("a missing directory is no error")
	}
}

// TestTableFits checks that no line of the table is wider than the terminal, and that it
// is coloured only if asked for.
func TestTableFits(t *testing.T) {
	all := three()
	all[0].Name = "tank/" + strings.Repeat("long/", 20) + "end"
	rep := newReport(all, testRules(), nil, nil)
	for _, width := range []int{40, 60, 80, 132} {
		var b strings.Builder
		if err := rep.writeTable(&b, width, false); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if n := runewidth.StringWidth(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("%d of %d columns: %s", n, width, line)
			}
		}
		if strings.Contains(b.String(), "\x1b") || !strings.Contains(b.String(), "/end\n") {
			t.Errorf("width %d:\n%s", width, b.String())
		}
	}
	var b strings.Builder
	if err := rep.writeTable(&b, 80, true); err != nil || strings.Count(b.String(), "\x1b[31mcrit\x1b[0m") != 1 {
		t.Errorf("%v\n%q", err, b.String())
	}
}

// odd draws text that hosts may have put into names and messages.
var odd = rapid.Custom(func(t *rapid.T) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", " ", "\n", "\t", "\r", "\"", "\\", "\x1b[2J", "|", "%", "{", "}", "[", "]", ",", "'", "=", "\u202e", "\u009b", "ü", "漢", "\x00", "-"}), 1, 12).Draw(t, "parts"), "")
})

// TestOddNames checks that no text breaks the form of any output (P11).
func TestOddNames(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		all := three()
		for _, r := range all {
			r.Name, r.Reason, r.Backup = odd.Draw(rt, "name"), odd.Draw(rt, "reason"), odd.Draw(rt, "backup")
			r.Target.Name = odd.Draw(rt, "target")
			r.Status = nil
		}
		all[1].Error = &record.Error{Message: odd.Draw(rt, "message")}
		rep := newReport(all, testRules(), nil, nil)
		lines := func(write func(b *bytes.Buffer) error) []string {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				rt.Fatal(err)
			}
			text, ok := strings.CutSuffix(b.String(), "\n")
			if bad := slices.IndexFunc([]rune(text), func(c rune) bool { return c != '\n' && cli.Printable(string(c)) != string(c) }); bad >= 0 || !ok {
				rt.Fatalf("a terminal would act on %q", text)
			}
			return strings.Split(text, "\n")
		}
		if list := lines(func(b *bytes.Buffer) error { return rep.writeNagios(b) }); len(list) != 1 || strings.Count(list[0], "|") != 1 || strings.Contains(list[0], "\t") {
			rt.Fatalf("%q", list)
		}
		for _, line := range lines(func(b *bytes.Buffer) error { return rep.writeZabbix(b) }) {
			if !sender.MatchString(line) {
				rt.Fatalf("not a line for zabbix_sender: %s", line)
			}
		}
		width := rapid.IntRange(40, 100).Draw(rt, "width")
		for _, line := range lines(func(b *bytes.Buffer) error { return rep.writeTable(b, width, false) }) {
			if runewidth.StringWidth(line) > width {
				rt.Fatalf("wider than %d: %q", width, line)
			}
		}
		text, err := rep.metrics()
		if err != nil {
			rt.Fatal(err)
		}
		parser := expfmt.NewTextParser(model.LegacyValidation)
		families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
		if err != nil {
			rt.Fatalf("%v\n%s", err, text)
		}
		if got := families["zab_status_verdict"].GetMetric(); len(got) != len(rep.distinct()) {
			rt.Fatalf("%d verdicts\n%s", len(got), text)
		} else {
			for i, m := range got {
				for _, l := range m.GetLabel() {
					if l.GetName() == "target" && l.GetValue() != rep.distinct()[i].Target.Name {
						rt.Fatalf("%q came back as %q", rep.distinct()[i].Target.Name, l.GetValue())
					}
				}
			}
		}
	})
}

// sender matches a line for zabbix_sender.
var sender = regexp.MustCompile(`^- "zab\.[a-z.]+\[([^"\\]|\\.)*\]" "([^"\\]|\\.)*"$`)

// TestZabbixDiscovery checks that the discovery is JSON after the quotes of zabbix_sender
// are removed.
func TestZabbixDiscovery(t *testing.T) {
	out, err := output(t, three(), nil, "--zabbix")
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(out, "\n")
	_, value, _ := strings.Cut(first, `]" "`)
	value = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(strings.TrimSuffix(value, `"`))
	var list []map[string]string
	if err := json.Unmarshal([]byte(value), &list); err != nil || len(list) != 3 || list[0]["{#DATASET}"] != "root@s:tank/lost" {
		t.Errorf("%v: %s", err, value)
	}
}

func TestOptionsExclude(t *testing.T) {
	for _, args := range []string{"--table --nagios", "--zabbix --prometheus=-", "--html=- --table", "--html=- --prometheus=-", "--warn 2d --crit 1d", "--min-change=-1", "--show-pipeline"} {
		p := Program()
		rest, err := p.Parser().ParseArgs(strings.Fields(args))
		if err == nil {
			err = p.Check(rest)
		}
		if err == nil {
			t.Errorf("%s is not refused", args)
		}
	}
}

// TestMetricsInPage checks that zab-status(8) names all metrics, and no other.
func TestMetricsInPage(t *testing.T) {
	text, err := os.ReadFile("../../man/zab-status.8")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	names := map[string]bool{"zab_status_timestamp_seconds": true, "zab_status_datasets": true, "zab_status_verdict": true}
	for _, q := range quantities {
		names[q.prometheus] = true
		if !strings.Contains(page, "zab."+q.zabbix+"\n") && !strings.Contains(page, "zab."+q.zabbix+" ") {
			t.Errorf("zab-status.8 does not name zab.%s", q.zabbix)
		}
	}
	found := map[string]bool{}
	for _, line := range regexp.MustCompile(`(?m)^\.It Va (zab_.*)$`).FindAllStringSubmatch(page, -1) {
		for name := range strings.SplitSeq(line[1], " , ") {
			found[name] = true
			if !names[name] {
				t.Errorf("zab-status.8: there is no %s", name)
			}
		}
	}
	for name := range names {
		if !found[name] {
			t.Errorf("zab-status.8 does not name %s", name)
		}
	}
}
