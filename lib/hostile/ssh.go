package hostile

import (
	"errors"
	"fmt"
	"net"
	"strings"
)

// ssh answers -G, listens on the socket of a master connection (-M), or runs a command
// line on another host.
func (c *call) ssh() int {
	if err := c.parse(c.entry.Argv[1:], "F:o:TaxMNS:GqknC"); err != nil {
		return c.bad("%s", err)
	}
	if len(c.operands) == 0 || len(c.operands) > 2 {
		return c.bad("%d operands", len(c.operands))
	}
	dest := c.operands[0]
	host, ok := c.conf.Dests[dest]
	if !ok {
		return c.bad("the unknown host %.80q", dest)
	}
	switch {
	case c.has("G"):
		path := "none"
		if c.conf.Shared {
			path = "/nonexistent/%r@%h"
		}
		fmt.Fprintf(c.client.stdout, "hostname %s\nserveraliveinterval 0\ncontrolpath %s\n", dest, path)
		return 0
	case c.has("M"):
		l, err := net.Listen("unix", c.opt("S"))
		if err != nil {
			return c.bad("%s", err)
		}
		<-c.client.gone
		l.Close()
		return 255
	case len(c.operands) != 2:
		return c.bad("no command")
	}
	line := c.operands[1]
	words, simple, err := splitLine(line)
	if err != nil {
		return c.bad("%s", err)
	}
	if simple && !c.conf.Shell {
		return (&call{server: c.server, host: host, prog: words[0], client: c.client, entry: Entry{Host: host, Argv: words}}).execute()
	}
	c.entry = Entry{Host: host, Argv: []string{"sh", line}}
	c.log()
	return c.client.shell(host)
}

// splitLine splits the command line for a remote shell into words. Unquoted special
// characters are an error, except in a line that begins with date, and so are expansions
// in double quotes. simple reports whether the line is a command of zfs or zpool that
// needs no shell.
func splitLine(line string) (words []string, simple bool, err error) {
	simple = true
	for _, script := range []string{"/bin/sh -c ", "date +%s; ", "env LC_ALL=C /bin/sh -c ", "LC_ALL=C "} {
		if strings.HasPrefix(line, script) {
			simple = false
		}
	}
	var word []byte
	in, quoted := false, byte(0)
	for i := 0; i < len(line); i++ {
		ch := line[i]
		switch {
		case quoted == '\'' && ch == '\'', quoted == '"' && ch == '"':
			quoted = 0
		case quoted == '\'':
			word = append(word, ch)
		case quoted == '"' && strings.IndexByte("$`\\", ch) >= 0:
			return nil, false, fmt.Errorf("a %q in double quotes in %.120q", ch, line)
		case quoted == '"':
			word = append(word, ch)
		case ch == '\'' || ch == '"':
			in, quoted = true, ch
		case ch == '\\' && i+1 < len(line) && line[i+1] != '\n':
			i++
			word, in = append(word, line[i]), true
		case ch == ' ':
			if in {
				words = append(words, string(word))
			}
			word, in = nil, false
		case ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' || ch >= '0' && ch <= '9' || strings.IndexByte("_@%+=:,./-", ch) >= 0:
			word, in = append(word, ch), true
		case strings.HasPrefix(line, "date +%s; "):
			return nil, false, nil
		default:
			return nil, false, fmt.Errorf("%q unquoted in %.120q", ch, line)
		}
	}
	if quoted != 0 {
		return nil, false, fmt.Errorf("a quote without end in %.120q", line)
	}
	if in {
		words = append(words, string(word))
	}
	if len(words) > 2 && words[0] == "env" && words[1] == "LC_ALL=C" && words[2] != "/bin/sh" {
		words = words[2:]
	}
	if len(words) == 0 {
		return nil, false, errors.New("an empty line")
	}
	return words, simple && (words[0] == "zfs" || words[0] == "zpool"), nil
}
