package bench

import (
	"os/exec"
	"strings"
	"testing"
)

// testBench returns a benchmark that measures nothing.
func testBench(t *testing.T, c Config) *bench {
	return &bench{Config: c, t: t, root: "/root", src: "SRC", dst: "DST", path: "/bin", others: others, places: []place{{name: "local"}, {name: "ssh"}, {name: "ssh 50ms"}}}
}

// cases returns the crowded cases that are measured.
func cases(b *bench) string {
	var list []string
	for _, w := range b.workloads() {
		for _, p := range b.places {
			if w.crowd > 0 && b.wanted(w.name+"/"+p.name, w.usual(p.name)) {
				list = append(list, w.name+"/"+p.name)
			}
		}
	}
	return strings.Join(list, ", ")
}

func TestBenchCrowdedCases(t *testing.T) {
	want := "crowded-10-first/local, crowded-10-one/local, crowded-10-nothing/local"
	if got := cases(testBench(t, Config{})); got != want {
		t.Errorf("a small run measures %s", got)
	}
	want = "crowded-1-one/local, crowded-mounted-1-one/local, crowded-10-one/local, crowded-mounted-10-one/local, crowded-20-one/local, crowded-mounted-20-one/local"
	if got := cases(testBench(t, Config{Cases: []string{"crowded-*-one/local"}})); got != want {
		t.Errorf("the pattern selects %s", got)
	}
	full := cases(testBench(t, Config{Full: true}))
	for _, name := range []string{"crowded-1-first/local", "crowded-10-nothing/ssh 50ms", "crowded-mounted-20-one/local", "thousand-one/ssh"} {
		if !strings.Contains(full+",", name+",") {
			t.Errorf("a full run does not measure %s: %s", name, full)
		}
	}
}

func TestBenchCrowdedOutcome(t *testing.T) {
	for _, w := range testBench(t, Config{}).workloads() {
		for name, want := range map[string]int{
			"crowded-10-first":          31 + 31 + 310,
			"crowded-10-one":            62 + 62 + 310,
			"crowded-mounted-20-one":    62 + 62 + 620,
			"crowded-mounted-1-nothing": 31 + 31 + 31,
			"thousand-one":              2000 + 2000 + 992,
		} {
			if w.name == name && w.want(w.main) != want {
				t.Errorf("%s: %d snapshots are expected, not %d", name, w.want(w.main), want)
			}
		}
	}
}

// TestBenchScripts checks the syntax of all shell scripts.
func TestBenchScripts(t *testing.T) {
	b := testBench(t, Config{Full: true})
	check := func(name, script string) {
		if out, err := exec.Command("sh", "-n", "-c", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s\n%s", name, err, out, script)
		}
		if strings.Contains(script, "%!") {
			t.Errorf("%s: a value is missing: %s", name, script)
		}
	}
	for _, w := range b.workloads() {
		n := w.main
		check(w.name, "set -e\n"+createSource(1<<30)+w.copySource("file")+w.fill(n)+w.change)
		for _, tl := range w.tools(place{name: "ssh", host: "near.test", conf: "conf"}, n) {
			if tl.name == "floor" {
				check(w.name+", floor", tl.argv[2])
			}
		}
	}
	check("crowd", crowdScript("file", 310, 1<<30))
}
