package bench

import (
	"bytes"
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestBenchPicture checks, without pools, that the picture is well-formed and shows each
// measurement at its place.
func TestBenchPicture(t *testing.T) {
	w := &workload{name: "nothing", title: "nothing to do", unit: "datasets"}
	b := &bench{t: t, Config: Config{Results: t.TempDir()}}
	for _, n := range []int{1, 10, 100} {
		b.cells = append(b.cells,
			&cell{w: w, n: n, tool: "zab", seconds: []float64{0.5, 0.4, 0.6}},
			&cell{w: w, n: n, tool: "syncoid", seconds: []float64{float64(n)}})
	}
	b.cells = append(b.cells, &cell{w: w, n: 1000, tool: "syncoid", estimate: 1000})
	b.picture()
	data, err := os.ReadFile(filepath.Join(b.Results, "growth.svg"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	if bytes.Contains(data, []byte("%!")) {
		t.Errorf("a value is missing: %s", data)
	}
	circles := map[string]bool{}
	for d := xml.NewDecoder(bytes.NewReader(data)); ; {
		tok, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := tok.(xml.StartElement); ok {
			attr := map[string]string{}
			for _, a := range e.Attr {
				attr[a.Name.Local] = a.Value
			}
			switch e.Name.Local {
			case "polyline":
				lines = append(lines, attr["points"])
			case "circle":
				circles[attr["cx"]+","+attr["cy"]] = true
			}
		}
	}
	if len(lines) != 2 {
		t.Fatalf("there are %d curves, not 2: %s", len(lines), data)
	}
	ys := func(line string) (out []float64) {
		for _, p := range strings.Fields(line) {
			if !circles[p] {
				t.Errorf("there is no point at %s", p)
			}
			_, text, _ := strings.Cut(p, ",")
			y, err := strconv.ParseFloat(text, 64)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, y)
		}
		return out
	}
	if y := ys(lines[0]); len(y) != 3 || y[0] != y[1] || y[1] != y[2] {
		t.Errorf("what takes the same time is no flat line: %v", y)
	}
	if y := ys(lines[1]); len(y) != 3 || y[0] <= y[1] || y[1] <= y[2] {
		t.Errorf("what takes longer does not rise: %v", y)
	}
}
