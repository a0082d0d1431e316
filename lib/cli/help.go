package cli

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/jessevdk/go-flags"
	"golang.org/x/sys/unix"
)

// Section is a section of the list of options that --help prints. An option belongs to
// the section named by the tag "section" of its field.
type Section struct {
	// Tag is "" for the section of options without a tag, and Often for the first
	// section, which takes from the others the options with the tag often:"yes".
	Tag   string
	Title string
}

// Often is the tag of the section of the most frequently used options.
const Often = "often"

const (
	helpWidth  = 80 // without a terminal
	leastWidth = 40
	// textColumn is the column of the descriptions, which begin on a new line after
	// longer names; narrowColumn that in lines of fewer than narrow columns.
	textColumn, narrowColumn, narrow = 30, 10, 70
)

// writeHelp prints the text of --help in lines of at most width columns.
func (p Program) writeHelp(w io.Writer, parser *flags.Parser, width int) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s\n\n", strings.TrimSpace(p.Name+" [options] "+p.Usage))
	for _, line := range wrap(p.Summary, width) {
		b.WriteString(line + "\n")
	}
	for _, s := range p.sections(parser) {
		fmt.Fprintf(&b, "\n%s:\n", s.title)
		for _, o := range s.options {
			writeOption(&b, o, width)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// part is a section with its options.
type part struct {
	title   string
	options []*flags.Option
}

// sections returns the sections of the program that have a visible option. Options whose
// section the program does not have go to the section without a tag.
func (p Program) sections(parser *flags.Parser) (all []part) {
	sections := p.Sections
	if sections == nil {
		sections = []Section{{Title: "Options"}}
	}
	for _, s := range sections {
		all = append(all, part{title: s.Title})
	}
	EachOption(parser, func(o *flags.Option) {
		if o.Hidden {
			return
		}
		tags := []string{o.Field().Tag.Get("section"), ""}
		if o.Field().Tag.Get("often") != "" {
			tags = append([]string{Often}, tags...)
		}
		for _, tag := range tags {
			if i := slices.IndexFunc(sections, func(s Section) bool { return s.Tag == tag }); i >= 0 {
				all[i].options = append(all[i].options, o)
				return
			}
		}
	})
	return slices.DeleteFunc(all, func(s part) bool { return s.options == nil })
}

// writeOption prints one option: its names and, beside or below them, its description.
func writeOption(b *strings.Builder, o *flags.Option, width int) {
	names := "      --" + o.LongName
	if o.ShortName != 0 {
		names = fmt.Sprintf("  -%c, --%s", o.ShortName, o.LongName)
	}
	value := "=" + cmp.Or(o.ValueName, "VALUE")
	switch _, isFlag := o.Value().(bool); {
	case isFlag:
	case o.OptionalArgument:
		names += "[" + value + "]"
	default:
		names += value
	}
	text := o.Description
	if len(o.Default) > 0 {
		text += " (default: " + strings.Join(o.Default, ", ") + ")"
	}
	column := textColumn
	if width < narrow {
		column = narrowColumn
	}
	if len(names) > column-2 {
		b.WriteString(names + "\n")
		names = ""
	}
	for _, line := range wrap(text, width-column) {
		fmt.Fprintf(b, "%-*s%s\n", column, names, line)
		names = ""
	}
}

// wrap breaks a text between words into lines of at most width bytes, except for longer
// words.
func wrap(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}

// Width returns the number of columns of the terminal f, less one because some
// terminals break full lines; helpWidth if f is no terminal.
func Width(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		return helpWidth
	}
	return max(int(size.Col)-1, leastWidth)
}

// nearest returns the visible option most similar to a wrong one, or "" if none is
// similar.
func nearest(parser *flags.Parser, wrong string) string {
	best, least := "", 2+len(wrong)/5
	EachOption(parser, func(o *flags.Option) {
		if d := levenshtein.ComputeDistance(wrong, o.LongName); d < least && !o.Hidden {
			best, least = o.LongName, d
		}
	})
	return best
}
