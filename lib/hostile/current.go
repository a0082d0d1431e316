package hostile

import (
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// This file judges zab-status: it changes nothing, shows every dataset that an honest
// source has selected, calls none well whose copy is old, and its output can be read by
// what reads it.

var verdicts = []string{"ok", "warn", "crit", "unknown"}

// checkStatus judges a run of zab-status.
func (v *observer) checkStatus() {
	if v.w.kind != "status" {
		return
	}
	for i := range v.log {
		e := &v.log[i]
		if len(e.Argv) > 2 && forms[e.Argv[0]+" "+e.Argv[1]].writes || len(e.Argv) > 1 && e.Argv[1] == "sync" {
			v.add("zab-status changes the %s: %.300q", e.Host, e.Argv)
		}
	}
	for _, h := range []string{"src", "dst"} {
		if !reflect.DeepEqual(v.before(h).clone(), v.after(h).clone()) {
			v.add("the %s has changed", h)
		}
	}
	var found map[string]string // verdicts by dataset; nil if there is no output
	switch v.w.output {
	case "":
		found = v.statusRecords()
	case "--table":
		found = v.statusTable()
	case "--nagios":
		v.statusNagios()
	case "--prometheus=-":
		found = v.statusPrometheus()
	case "--zabbix":
		found = v.statusZabbix()
	}
	if found == nil || v.unselected() && v.exit == 3 {
		return
	}
	for _, n := range v.w.selected {
		verdict, ok := found[n]
		switch {
		case !ok && v.w.hostile == "dst":
			v.add("'%s' is not in the output", n)
		case !ok && v.exit == 0 && !v.planted(n) && !slices.ContainsFunc(v.log, func(e Entry) bool { return e.Fair }):
			v.add("'%s' is not in the output, and the exit status is 0", n)
		case ok && !slices.Contains(verdicts, verdict):
			v.add("the verdict on '%s' is %q", n, verdict)
		case ok && verdict == "ok" && v.w.hostile == "dst" && !v.recent(n):
			v.add("'%s' is called ok, but no recent snapshot of it was ever claimed to be on the target", n)
		}
	}
	worst := 0
	for _, verdict := range found {
		worst = max(worst, slices.Index(verdicts, verdict))
	}
	if worst > 0 && v.exit == 0 && v.w.output != "--prometheus=-" && v.w.output != "--zabbix" {
		v.add("exit status 0, but the worst verdict is %s", verdicts[worst])
	}
}

// unselected reports whether zab-select failed, or in a pipeline by hand another stage, so
// that zab-status could not know the datasets.
func (v *observer) unselected() bool {
	if v.exits != nil {
		return slices.Max(v.exits[:2]) > 0 && (v.exits[0] > 0 || !strings.Contains(v.stdout, v.w.selected[0]))
	}
	return strings.Contains(v.stdout+v.stderr, "zab-select")
}

// recent reports whether the target has, or said that it has, a snapshot of an honest
// source that is at most 26 hours old. In no workflow is a dataset unchanged.
func (v *observer) recent(name string) bool {
	d := v.srcBefore.find(name)
	for _, s := range d.Snaps {
		if now.Unix()-s.Creation <= 26*3600 && (v.dstBefore.byGUID(s.GUID) != nil ||
			slices.ContainsFunc(v.log, func(e Entry) bool { return e.Lie != "" && strings.Contains(e.Said, s.GUID) })) {
			return true
		}
	}
	return false
}

func (v *observer) statusRecords() map[string]string {
	found := map[string]string{}
	for _, r := range v.lines(v.stdout) {
		if r.Type != "dataset" || r.Excluded {
			continue
		}
		if r.Status == nil {
			v.add("'%s' has no verdict", r.Name)
			continue
		}
		if _, double := found[r.Name]; double {
			v.add("'%s' comes twice", r.Name)
		}
		found[r.Name] = r.Status.Verdict
	}
	return found
}

var tableLine = regexp.MustCompile(`^(ok|warn|crit|unknown) +\S.* (\S+)$`)

func (v *observer) statusTable() map[string]string {
	found := map[string]string{}
	lines := strings.Split(strings.TrimSuffix(v.stdout, "\n"), "\n")
	for _, l := range lines[:len(lines)-1] { // the last has the counts
		switch m := tableLine.FindStringSubmatch(l); {
		case m != nil:
			_, name, isRemote := strings.Cut(m[2], ":")
			if !isRemote {
				name = m[2]
			}
			if _, double := found[name]; double {
				v.add("'%s' comes twice in the table", name)
			}
			found[name] = m[1]
		case !strings.HasPrefix(l, "VERDICT ") && !strings.HasPrefix(l, "    "):
			v.add("a line of the table is %.200q", l)
		}
	}
	return found
}

var nagiosLine = regexp.MustCompile(`^ZAB (OK|WARNING|CRITICAL|UNKNOWN) - [^|\t]+ \| (oldest=[0-9]+s;[0-9]+;[0-9]+;0 )?ok=([0-9]+);;;0 warn=([0-9]+);;;0 unknown=([0-9]+);;;0 crit=([0-9]+);;;0\n$`)

func (v *observer) statusNagios() {
	m := nagiosLine.FindStringSubmatch(v.stdout)
	if m == nil || strings.Count(v.stdout, "\n") != 1 || v.stderr != "" && v.exits == nil {
		v.add("not one line of Nagios: %.400q, stderr %.100q", v.stdout, v.stderr)
		return
	}
	if exit := slices.Index([]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}, m[1]); exit != v.exit {
		v.add("exit status %d and %s", v.exit, m[1])
	}
	total := 0
	for _, s := range m[3:] {
		n, _ := strconv.Atoi(s)
		total += n
	}
	if total < len(v.w.selected) && v.w.hostile == "dst" && !(v.unselected() && v.exit == 3) {
		v.add("%d of %d datasets are counted: %.300q", total, len(v.w.selected), v.stdout)
	}
}

func (v *observer) statusPrometheus() map[string]string {
	if v.exit != 0 {
		if v.stdout != "" {
			v.add("exit status %d, and metrics: %.200q", v.exit, v.stdout)
		}
		return v.without("metrics")
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(v.stdout))
	if err != nil {
		v.add("Prometheus cannot read the metrics: %s: %.300q", err, v.stdout)
		return nil
	}
	found := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if !strings.HasPrefix(name, "zab_status_") {
			v.add("a metric is named %q", name)
		}
		seen := map[string]bool{}
		for _, m := range families[name].Metric {
			labels := map[string]string{}
			text := ""
			for _, l := range m.Label {
				labels[l.GetName()] = l.GetValue()
				text += l.GetName() + "\x00" + l.GetValue() + "\x00"
			}
			if seen[text] {
				v.add("the metric %s comes twice for %v", name, labels)
			}
			if seen[text] = true; name == "zab_status_verdict" && labels["dataset"] != "" {
				if i := int(m.GetGauge().GetValue()); i >= 0 && i < len(verdicts) {
					found[labels["dataset"]] = verdicts[i]
				}
			}
		}
	}
	return found
}

// without judges that there is no output for a monitor, which then knows nothing.
func (v *observer) without(what string) map[string]string {
	if v.stderr == "" {
		v.add("there are no %s, and nobody says why", what)
	}
	return nil
}

var zabbixLine = regexp.MustCompile(`^- ("(?:[^"\\]|\\["\\])*") ("(?:[^"\\]|\\["\\])*")\n$`)

func (v *observer) statusZabbix() map[string]string {
	if v.exit != 0 {
		if v.stdout != "" {
			v.add("exit status %d, and items: %.200q", v.exit, v.stdout)
		}
		return v.without("items")
	}
	unquote := func(s string) string { return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(s[1 : len(s)-1]) }
	var discovered []map[string]string
	values := map[string]string{}
	for l := range strings.Lines(v.stdout) {
		m := zabbixLine.FindStringSubmatch(l)
		if m == nil {
			v.add("not a line of zabbix_sender: %.300q", l)
			continue
		}
		key, value := unquote(m[1]), unquote(m[2])
		if _, double := values[key]; double {
			v.add("the item %.200q comes twice", key)
		}
		if values[key] = value; strings.HasPrefix(key, "zab.discovery[") && json.Unmarshal([]byte(value), &discovered) != nil {
			v.add("the discovery is %.300q", value)
		}
	}
	found := map[string]string{}
	for _, d := range discovered {
		quote := func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }
		key := "zab.verdict[" + quote(d["{#BACKUP}"]) + "," + quote(d["{#DATASET}"]) + "," + quote(d["{#TARGET}"]) + "]"
		i, err := strconv.Atoi(values[key])
		if err != nil || i < 0 || i >= len(verdicts) {
			v.add("%.300q is discovered, and its verdict is %.100q", key, values[key])
			continue
		}
		name := d["{#DATASET}"]
		if v.w.remote["src"] {
			name = strings.TrimPrefix(name, srcDest+":")
		}
		found[name] = verdicts[i]
	}
	return found
}
