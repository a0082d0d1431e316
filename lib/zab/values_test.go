package zab

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"zab/lib/cli"
)

// huge does not fit into 64 bits.
const huge = "99999999999999999999"

// freeText marks an option that accepts any text except an empty one.
var freeText = []string{}

// badSchedules are invalid schedules.
var badSchedules = []string{"x", "-5", huge, "1e9", "1.5", "1d", "1w1d", "0s1d", "1d0s", "1d1w,", ",1d1w", "1d1w,,2", "2,3", "1d1w x", huge + "d" + huge + "y", "99999y99999y", "1x1y"}

// values has a row for each option that takes a value: a valid value, and invalid ones in
// addition to the empty value, which is always invalid.
var values = map[string]struct {
	good string
	bad  []string
}{
	"now":        {"2026-11-22T03:00:00Z", []string{"yesterday", "-1", "2026-13-01", "2026-11-22T25:00:00Z", huge, "1e9", "0"}},
	"ssh-config": {"/etc/ssh/other", freeText},

	"query-timeout": {"10m", []string{"soon", "-1", "-1s", "10", huge, huge + "s", "1e9s", "10d", "1m x", "1ns"}},

	"ssh-source": {"root@server1", []string{"-oProxyCommand=reboot", "-1", "a b", "a\tb", "a\nb"}},
	"ssh-target": {"root@server1", []string{"-oProxyCommand=reboot", "-1", "a b", "a\tb", "a\nb"}},
	"ssh":        {"root@server1", []string{"-oProxyCommand=reboot", "-1", "a b", "a\tb", "a\nb"}},

	"property-format":   {"backup:{}", []string{"{}", "nocolon", "-a:{}", "Upper:{}", "a b:{}", "a:{}" + long, "a,b:{}", "a=b:{}"}},
	"exclude-unchanged": {"1000", []string{"many", "-1", "0x10", huge, "1e9", "1.5", "10k"}},
	"target":            {"tank/a", []string{"/tank", "-tank", "tank/", "tank//a", "tank@a", "tank/a#b", "ta,nk", "tank/../a", "tank/" + long}},
	"within":            {"tank/a", []string{"/tank", "-tank", "tank/", "tank//a", "tank@a", "tank/a#b", "ta,nk", "tank/../a", "tank/" + long}},
	"exclude-path":      {"tank/a", []string{"/tank", "-tank", "tank/", "tank//a", "tank@a", "tank/a#b", "ta,nk", "tank/../a", "tank/" + long}},

	"snapshot-format":          {"{}-%Y%m%d", []string{"{}", "x", "%", "%Q", "{}@%Y", "{}/%Y", "%H%M", "{}-%Y%H", "{}-%Y" + long, "{}-%Y%%", "-1"}},
	"exclude-snapshot-pattern": {"@manual-", []string{"(", "[", "*", "(?=a)", "a{99999}", `\`}},
	"min-change":               {"0", []string{"many", "-1", "0x10", huge, "1e9", "1.5", "10k"}},
	"set-snapshot-properties":  {"a:b=c", []string{"a:b", "=c", "a:b=c,", ",a:b=c", "-a:b=c", "compression=on", "a=c", "A:b=c", long + ":b=c"}},
	"pre-snapshot-cmd":         {"true", freeText},
	"post-snapshot-cmd":        {"true", freeText},

	"strip-path":        {"1", []string{"x", "-1", huge, "1e9", "1000000", "1.5", "0x10"}},
	"hold-format":       {"keep:{}", []string{".{}", "-{}", "a\nb", "a\x01b", long}},
	"hash":              {"blake3", []string{"x", "BLAKE3", "sha-256", "sha512", "-1", huge, "sha256,blake3"}},
	"clones":            {"simple", []string{"x", "always", "Simple", "-1", huge, "simple,never"}},
	"filter-properties": {"mountpoint,a:b", []string{",", "a,", ",a", "a,,b", "a=b", "a b", "a$b", "-F", long, "a\nb"}},
	"set-properties": {"readonly=on,a:b=c=d", []string{",", "a", "a=b,", ",a=b", "=b", "a=b,c", "-F=x", "a b=c", "a$b=c", "a=" + strings.Repeat("x", 9000), "atime=on,atime=off",
		long + "=b", "a\nb=c"}},
	"target-state": {"state.ndjson", freeText},

	"compress":          {"lz4", []string{"zip", "zstd", "9", "-1", "ZSTD-FAST", "lz4;reboot", huge}},
	"rate":              {"10M", []string{"fast", "-1", "0", "0k", huge, "1e9", "1.5M", "1Q", "10MM", "10MB", "9999999T", "+1", " 1"}},
	"buffer":            {"128M", []string{"big", "-1", "0", "0M", huge, "1e9", "1.5M", "1Q", "10MM", "9999T", "M"}},
	"buffer-chunk-size": {"128k", []string{"big", "-1", "0", "0M", huge, "1e9", "1.5M", "1Q", "10MM", "9999T", "M"}},
	"send-pipe":         {"cat", freeText},
	"recv-pipe":         {"cat", freeText},
	"jobs":              {"4", []string{"x", "-1", "0", huge, "1e9", "1000000", "1.5", "0x10"}},
	"retries":           {"0", []string{"x", "-1", huge, "1e9", "1000000", "1.5", "0x10"}},
	"progress-every":    {"10s", []string{"soon", "-1", "-1s", "10", huge, huge + "s", "1e9s", "10d", "1m x", "1ns"}},
	"stall-timeout":     {"10m", []string{"soon", "-1", "-1s", "10", huge, huge + "s", "1e9s", "10d", "1m x", "1ns"}},

	"keep-source":     {"10,1d1w", badSchedules},
	"explain":         {"10,1d1w", badSchedules},
	"picture":         {"svg", []string{"x", "png", "SVG", "-1", "text,svg", "out.svg"}},
	"every":           {"6h", []string{"soon", "30", "-1d", "0d", "1d1w", huge + "d", "30x", "1.5d"}},
	"keep-target":     {"10,1d1w", badSchedules},
	"search-every":    {"1d", []string{"soon", "30", "-1d", "1d1w", huge + "d", "30x"}},
	"destroy-missing": {"30d", []string{"soon", "30", "-1d", "1d1w", huge, huge + "d", "99999y", "30x", "1.5d", "1e9d"}},

	"warn":        {"20h", []string{"soon", "30", "-1d", "1d1w", huge + "d", "30x", "1.5h"}},
	"crit":        {"3d", []string{"soon", "30", "-1d", "1d1w", huge + "d", "30x", "1.5h", "1h"}},
	"orphans-are": {"ok", []string{"OK", "bad", "unknown", "1"}},
	"prometheus":  {"zab.prom", freeText},
	"html":        {"zab.html", freeText},

	"base-last": {"433", []string{"x", "-1", "1.5", "0x10", "1e9", huge + "0"}},
	"name-of":   {"433", []string{"x", "-1", "1.5", "0x10", "1e9", huge + "0"}},

	"verified-within": {"35d", []string{"soon", "30", "-1d", huge, huge + "d", "30x", "1.5d"}},
	"full-every":      {"30d", []string{"soon", "30", "-1d", huge, huge + "d", "30x", "1.5d"}},
	"budget":          {"500G", []string{"big", "-1", "0", "0M", huge, "1e9", "1.5M", "1Q", "10MM", "M"}},

	"depth":  {"0", []string{"x", "-2", huge, "1e9", "1.5", "0x10"}},
	"backup": {"offsite1", []string{"Upper", "a b", "-a", long}},
}

// long is longer than any name of ZFS.
var long = strings.Repeat("a", 300)

// operands are the operands that each program requires.
var operands = map[string][]string{"zab": {"x", "tank"}, "zab-select": {"x"}, "zab-list": {"tank"}, "zab-plan": {"tank"}}

// beside has the options without which another is refused, of a program or of all.
var beside = map[string][]string{"picture": {"--explain=10,1d1w"}, "every": {"--explain=10,1d1w", "--picture"}, "name-of": {"--files", "tank@x"},
	"zab full-every": {"--verify"}, "zab budget": {"--verify"}}

// TestValues checks that every program refuses invalid values of every option before its
// work begins.
func TestValues(t *testing.T) {
	known := map[string]bool{}
	for _, name := range names {
		for _, o := range options(programs[name]()) {
			if o.ValueName == "" {
				continue
			}
			row, ok := values[o.LongName]
			if !ok {
				t.Errorf("--%s has no row of bad values", o.LongName)
				continue
			}
			if !known[o.LongName] && len(row.bad) == 0 && reflect.ValueOf(row.bad).Pointer() != reflect.ValueOf(freeText).Pointer() {
				t.Errorf("--%s: no bad values", o.LongName)
			}
			known[o.LongName] = true
			if code, ran, stderr := tried(t, name, o.LongName, row.good); !ran || stderr != "" {
				t.Errorf("%s --%s=%q is refused: %d, %q", name, o.LongName, row.good, code, stderr)
			}
			for _, v := range append([]string{"", " ", "\t"}, row.bad...) {
				code, ran, stderr := tried(t, name, o.LongName, v)
				want := 2
				switch name {
				case "zab-status":
					want = 3
				case "zab":
					want = 255
				}
				line, _, _ := strings.Cut(stderr, "\n")
				if ran || code != want || !strings.HasPrefix(line, name+": ") || !strings.Contains(line, "--"+o.LongName) {
					t.Errorf("%s --%s=%.60q: ran %v, status %d, %.200q", name, o.LongName, v, ran, code, stderr)
				}
			}
		}
	}
	for long := range values {
		if !known[long] {
			t.Errorf("no program has --%s", long)
		}
	}
}

// tried runs a program with one option, up to the point where its work would begin.
func tried(t *testing.T, name, long, value string) (code int, ran bool, stderr string) {
	t.Helper()
	p := programs[name]()
	p.ReadsRecords = false // standard input may be a terminal
	p.Run = func(context.Context, *cli.Env, []string) error { ran = true; return nil }
	p.Answer = nil
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	old := os.Stderr
	os.Stderr = file
	code = cli.Main(p, slices.Concat([]string{"--" + long + "=" + value}, beside[long], beside[name+" "+long], operands[name]))
	os.Stderr = old
	b, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return code, ran, string(b)
}
