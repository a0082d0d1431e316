package svg

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"
)

// TestEscaped checks that text and values cannot become elements.
func TestEscaped(t *testing.T) {
	const evil = `</text><script>"&'`
	d := &Drawing{Width: 10, Height: 20, Title: evil, Description: evil, Style: "a>b{fill:red}", Dark: ".x{fill:blue}"}
	d.Text(evil, "x", 1.25, "y", 3, "class", evil)
	d.Element("rect", "width", "100%")
	var elements, texts []string
	for dec := xml.NewDecoder(strings.NewReader(d.String())); ; {
		tok, err := dec.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			elements = append(elements, tok.Name.Local)
		case xml.CharData:
			if s := strings.TrimSpace(string(tok)); s != "" {
				texts = append(texts, s)
			}
		}
	}
	if got := strings.Join(elements, " "); got != "svg title desc style text rect" {
		t.Errorf("the elements are %s", got)
	}
	if len(texts) != 4 || texts[0] != evil || texts[1] != evil || texts[3] != evil || !strings.Contains(texts[2], "a>b") {
		t.Errorf("the texts are %q", texts)
	}
}

func TestNumber(t *testing.T) {
	for f, want := range map[float64]string{1: "1", 1.25: "1.2", 10.04: "10", 0: "0"} {
		if got := Number(f); got != want {
			t.Errorf("%v: %s, want %s", f, got, want)
		}
	}
}
