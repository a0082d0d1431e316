// Package svg writes drawings as SVG files that stand alone: without scripts or other
// files, with a title and a description for those who cannot see them, and with colours
// for light and for dark surroundings.
//
// Non-goals: it lays nothing out; places are in pixels, from the top left.
package svg

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// Drawing is a drawing. The zero value with its fields set is empty.
type Drawing struct {
	Width, Height int
	// Title is a few words, Description sentences that say what is to be seen.
	Title, Description string
	// Style has rules of CSS, and Dark those that differ in dark surroundings. Classes and
	// not variables carry the colours, because some viewers know no variables.
	Style, Dark string

	body strings.Builder
}

// Element adds an empty element. attributes are names, each followed by its value: a
// string, an int or a float64.
func (d *Drawing) Element(name string, attributes ...any) {
	d.begin(name, attributes)
	d.body.WriteString("/>\n")
}

// Text adds a line of text; attributes as for Element.
func (d *Drawing) Text(text string, attributes ...any) {
	d.begin("text", attributes)
	d.body.WriteString(">" + escape(text) + "</text>\n")
}

func (d *Drawing) begin(name string, attributes []any) {
	d.body.WriteString("<" + name)
	for i := 0; i < len(attributes); i += 2 {
		value := attributes[i+1]
		if f, ok := value.(float64); ok {
			value = Number(f)
		}
		fmt.Fprintf(&d.body, ` %s="%s"`, attributes[i], escape(fmt.Sprint(value)))
	}
}

// Number returns a place as text, to a tenth of a pixel.
func Number(f float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", f), ".0") }

// String returns the file.
func (d *Drawing) String() string {
	dark := ""
	if d.Dark != "" {
		dark = "@media (prefers-color-scheme:dark){" + d.Dark + "}"
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%[1]d" height="%[2]d" viewBox="0 0 %[1]d %[2]d" role="img" aria-labelledby="title desc">
<title id="title">%[3]s</title>
<desc id="desc">%[4]s</desc>
<style>%[5]s</style>
%[6]s</svg>
`, d.Width, d.Height, escape(d.Title), escape(d.Description), escape("svg{max-width:100%;height:auto}"+d.Style+dark), d.body.String())
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes all
	return b.String()
}
