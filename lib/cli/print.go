package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Printable escapes characters that a terminal would interpret rather than display:
// control characters (C0 except the tab, DEL, C1), characters that change the direction
// of writing, and bytes that are not UTF-8. Names, messages of hosts and the output of
// hooks pass through it on the way to a terminal or a mail; records keep them unchanged.
func Printable(s string) string {
	if strings.IndexFunc(s, commands) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1, commands(r) && r < utf8.RuneSelf:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case commands(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// commands reports whether a terminal may interpret the character as a command.
func commands(r rune) bool {
	switch {
	case r == '\t':
		return false
	case r < ' ', 0x7f <= r && r < 0xa0:
		return true
	case r == 0x061c, r == 0x200e, r == 0x200f, 0x2028 <= r && r <= 0x202e, 0x2066 <= r && r <= 0x2069:
		return true
	}
	return false
}

// Clean returns a writer that makes lines printable and passes them on to w. Close writes
// a last line that has no newline.
func Clean(w io.Writer) io.WriteCloser { return &cleaner{w: w} }

type cleaner struct {
	w    io.Writer
	rest []byte
}

// longLine is the number of bytes of an unfinished line that are kept back at most.
const longLine = 4096

func (c *cleaner) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		line, rest, ok := strings.Cut(string(p), "\n")
		p = []byte(rest)
		c.rest = append(c.rest, line...)
		if ok || len(c.rest) >= longLine {
			if err := c.flush(ok); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (c *cleaner) flush(newline bool) error {
	s := Printable(strings.TrimSuffix(string(c.rest), "\r"))
	c.rest = c.rest[:0]
	if newline {
		s += "\n"
	}
	_, err := io.WriteString(c.w, s)
	return err
}

func (c *cleaner) Close() error {
	if len(c.rest) == 0 {
		return nil
	}
	return c.flush(true)
}
