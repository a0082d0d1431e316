package hostile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The environment of a stand-in: the folder of its run, and the host it is on,
// which the stand-in for ssh sets. client/main.go knows them too.
const (
	runEnv  = "ZAB_HOSTILE_RUN"
	hostEnv = "ZAB_HOSTILE_HOST"
)

// maxInput is what a stand-in reads of its standard input; an honest stream is
// shorter.
const maxInput = 1 << 20

// exitUnknown is the exit status of a command that the stand-ins do not know.
const exitUnknown = 97

// Run is what the stand-ins of one run have to know. It does not change.
type Run struct {
	// Local is the host that zab runs on; "" where both are far away.
	Local string
	// Dests are the hosts by ssh destination.
	Dests map[string]string
	// Hostile is the host that lies, "" for none.
	Hostile string
	Lies    []*Lie
	// Shared: ssh says that the user shares connections already, so that zab
	// starts none of its own.
	Shared bool
	// Shell: every line goes through a real shell, else those only that need one.
	Shell bool
	// Programs: channel programs are allowed.
	Programs bool
}

// Entry is a line of the log: a command that was started on a host.
type Entry struct {
	Host string // "" where zab runs, if nothing should be started there
	Argv []string
	// Stdin of a channel program, or of a shell.
	Stdin string
	// Sign is the command without its names, by which lies find it.
	Sign string
	// Bad is why the command is none that zab may use.
	Bad string
	// Odd is what an argument has that none should have that goes to the host
	// that is to be protected.
	Odd string
	// Lie is the lie that was told in its place, Said what it said.
	Lie  string
	Said string
	// Fair: the lie is a whole answer that a host might have given which has less
	// than it said before, or is told about nothing that would be sent.
	Fair bool
	// Note is what only the moment can tell, such as where a mount was made.
	Note string
}

// call is a command while it is carried out.
type call struct {
	*server
	host     string // name of the host, "" for a machine that has no zfs
	h        *Host
	prog     string
	sub      string
	opts     map[string][]string
	operands []string
	out, err bytes.Buffer
	rc       int
	entry    Entry
	in       []byte
	peer     *peer
}

// log keeps the entry.
func (c *call) log() {
	c.logMu.Lock()
	defer c.logMu.Unlock()
	c.entries = append(c.entries, c.entry)
}

func (c *call) bad(format string, a ...any) int {
	c.entry.Bad = fmt.Sprintf(format, a...)
	c.log()
	fmt.Fprintf(c.peer.stderr, "stand-in: %s: %q\n", c.entry.Bad, c.entry.Argv)
	return exitUnknown
}

// parse cuts the arguments as getopt does, but for options after operands.
func (c *call) parse(args []string, spec string) error {
	c.opts = map[string][]string{}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") && args[0] != "-" {
		a := args[0][1:]
		args = args[1:]
		if a == "-" {
			break
		}
		for a != "" {
			o := a[:1]
			a = a[1:]
			i := strings.Index(spec, o)
			if i < 0 || o == ":" {
				return fmt.Errorf("the option -%s", o)
			}
			v := ""
			if i+1 < len(spec) && spec[i+1] == ':' {
				if v = a; v == "" {
					if len(args) == 0 {
						return fmt.Errorf("the option -%s without a value", o)
					}
					v, args = args[0], args[1:]
				}
				a = ""
			}
			c.opts[o] = append(c.opts[o], v)
		}
	}
	c.operands = args
	for _, a := range args {
		if strings.HasPrefix(a, "-") && a != "-" {
			return fmt.Errorf("%q in the place of an operand", a)
		}
	}
	return nil
}

func (c *call) opt(o string) string {
	if v := c.opts[o]; v != nil {
		return v[len(v)-1]
	}
	return ""
}

func (c *call) has(o string) bool { return c.opts[o] != nil }

// fail prints zfs's words and sets the exit status.
func (c *call) fail(format string, a ...any) {
	fmt.Fprintf(&c.err, format+"\n", a...)
	c.rc = 1
}

// do carries the command out, or tells a lie in its place.
func (c *call) do() int {
	argv := c.entry.Argv
	for _, a := range argv {
		if strings.ContainsFunc(a, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }) {
			c.entry.Odd = fmt.Sprintf("a control character in %.80q", a)
		}
	}
	if len(argv) < 2 {
		return c.bad("no command")
	}
	c.sub = argv[1]
	f, ok := forms[c.prog+" "+c.sub]
	if !ok {
		return c.bad("an unknown command")
	}
	if err := c.parse(argv[2:], f.options); err != nil {
		return c.bad("%s", err)
	}
	if n := len(c.operands); n < f.min || f.max >= 0 && n > f.max {
		return c.bad("%d operands", n)
	}
	if c.host == "" {
		return c.bad("a command on the machine between the hosts")
	}
	c.entry.Sign = c.sign()
	if f.reads {
		// What a stream or a program says is read before the host is locked.
		c.in, _ = io.ReadAll(io.LimitReader(c.peer.stdin, maxInput))
		_, _ = io.Copy(io.Discard, c.peer.stdin)
		if c.sub == "program" {
			c.entry.Stdin = string(c.in)
		}
	}
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return exitUnknown
	}
	c.h = c.hosts[c.host]
	lie := c.lie()
	if lie == nil || !lie.before() {
		f.do(c)
	}
	if lie != nil {
		defer c.mu.Unlock()
		m := c.mutate(lie)
		c.log()
		return m.tell()
	}
	c.log()
	c.mu.Unlock()
	_, err := c.peer.stdout.Write(c.out.Bytes())
	_, _ = c.peer.stderr.Write(c.err.Bytes())
	if err != nil && c.rc == 0 {
		c.rc = 141
	}
	return c.rc
}

// nonce is a property whose name is another each time.
var nonce = regexp.MustCompile(`zab:[0-9a-f]{8,}`)

// sign is the command without what names datasets.
func (c *call) sign() string {
	s := c.prog + " " + c.sub
	for _, o := range []string{"j", "r", "d", "t", "o", "i", "I", "A", "n"} {
		for _, v := range c.opts[o] {
			v = nonce.ReplaceAllString(v, "zab:NONCE")
			if o == "t" && c.sub == "send" || o == "i" || o == "I" || c.sub == "receive" {
				v = ""
			}
			s += " -" + o + v
		}
	}
	switch {
	case c.prog == "zfs" && c.sub == "get" && len(c.operands) > 0:
		s += " " + nonce.ReplaceAllString(c.operands[0], "zab:NONCE")
	case c.sub == "destroy" && len(c.operands) > 0 && strings.Contains(c.operands[0], "@"):
		s += " @"
	case c.sub == "mount" && len(c.operands) > 0:
		s += " one"
	}
	return s
}

// A form is a command that zab may use.
type form struct {
	options  string // as for getopt
	min, max int    // operands; -1 for any number
	reads    bool   // its standard input
	writes   bool   // to the host
	do       func(c *call)
}

// forms are all commands, by program and sub-command.
var forms map[string]form

func init() {
	forms = map[string]form{
		"zfs get":      {"Hprjd:o:s:t:", 1, -1, false, false, (*call).zfsGet},
		"zfs list":     {"Hprjd:o:t:s:S:", 0, -1, false, false, (*call).zfsList},
		"zfs holds":    {"Hpr", 1, -1, false, false, (*call).zfsHolds},
		"zfs diff":     {"H", 2, 2, false, false, func(c *call) {}},
		"zfs mount":    {"o:", 0, 1, false, true, (*call).zfsMount},
		"zfs unmount":  {"", 1, 1, false, true, (*call).zfsUnmount},
		"zfs send":     {"LecpwnPvi:I:t:", 0, 1, false, false, (*call).zfsSend},
		"zfs receive":  {"usFhAx:o:", 1, 1, true, true, (*call).zfsReceive},
		"zfs snapshot": {"o:", 1, -1, false, true, (*call).zfsSnapshot},
		"zfs program":  {"jnt:m:", 2, 2, true, true, (*call).zfsProgram},
		"zfs bookmark": {"", 2, 2, false, true, (*call).zfsBookmark},
		"zfs destroy":  {"", 1, 1, false, true, (*call).zfsDestroy},
		"zfs hold":     {"r", 2, -1, false, true, (*call).zfsHold},
		"zfs release":  {"r", 2, -1, false, true, (*call).zfsRelease},
		"zfs create":   {"uo:", 1, 1, false, true, (*call).zfsCreate},
		"zfs set":      {"u", 2, -1, false, true, (*call).zfsSet},
		"zfs inherit":  {"S", 2, -1, false, true, (*call).zfsInherit},
		"zfs rollback": {"", 1, 1, false, true, (*call).zfsRollback},
		"zfs rename":   {"u", 2, 2, false, true, (*call).zfsRename},
		"zfs clone":    {"uo:", 2, 2, false, true, (*call).zfsClone},
		"zfs promote":  {"", 1, 1, false, true, (*call).zfsPromote},
		"zpool get":    {"Hpo:", 1, -1, false, false, (*call).zpoolGet},
		"zpool list":   {"Hpo:", 0, -1, false, false, (*call).zpoolList},
		"zpool status": {"v", 1, 1, false, false, (*call).zpoolStatus},
		"zpool sync":   {"", 0, -1, false, false, func(c *call) {}},
	}
}

func (c *call) depth(otherwise int) int {
	switch {
	case c.has("r"):
		return -1
	case c.has("d"):
		n, _ := strconv.Atoi(c.opt("d"))
		return n
	}
	return otherwise
}

func (c *call) zfsGet() {
	props := strings.Split(c.operands[0], ",")
	var names []string
	depth := c.depth(0)
	if len(c.operands) > 1 {
		names = c.operands[1:]
	} else {
		depth = c.depth(-1)
	}
	objects, missing := c.h.objects(names, depth, strings.Split(or(c.opt("t"), "filesystem,volume,snapshot,bookmark"), ","))
	columns := strings.Split(or(c.opt("o"), "name,property,value,source"), ",")
	sources := strings.Split(c.opt("s"), ",")
	if c.has("j") {
		c.json("zfs get", objects, props, true)
	} else {
		for _, o := range objects {
			ask := props
			if props[0] == "all" && o.s == nil {
				ask = sortedKeys(o.d.Local)
			}
			for _, p := range ask {
				v, source := c.h.value(o, p), "-"
				if o.s == nil {
					v, source = c.h.get(o.d, p)
				}
				if c.has("s") && !slices.Contains(sources, source) {
					continue
				}
				row := map[string]string{"name": o.name(), "property": p, "value": v, "source": source}
				c.row(columns, func(col string) string { return row[col] })
			}
		}
	}
	if missing != nil {
		c.err.WriteString(notThere(missing))
		c.rc = 1
	}
}

func (c *call) row(columns []string, value func(string) string) {
	for i, col := range columns {
		if i > 0 {
			c.out.WriteByte('\t')
		}
		c.out.WriteString(value(col))
	}
	c.out.WriteByte('\n')
}

func (c *call) zfsList() {
	var names []string
	depth := c.depth(0)
	types := strings.Split(or(c.opt("t"), "filesystem,volume"), ",")
	if len(c.operands) > 0 {
		names = c.operands
		if !c.has("r") && !c.has("d") && slices.Contains(types, "snapshot") {
			depth = 1
		}
	} else {
		depth = c.depth(-1)
	}
	objects, missing := c.h.objects(names, depth, types)
	slices.SortStableFunc(objects, func(a, b object) int {
		if n := strings.Compare(a.d.Name, b.d.Name); n != 0 || a.s == nil || b.s == nil {
			return n
		}
		return strings.Compare(a.name(), b.name())
	})
	columns := strings.Split(or(c.opt("o"), "name"), ",")
	if c.has("j") {
		c.json("zfs list", objects, columns, false)
	} else {
		for _, o := range objects {
			c.row(columns, func(col string) string { return c.h.value(o, col) })
		}
	}
	if missing != nil {
		c.err.WriteString(notThere(missing))
		c.rc = 1
	}
}

// json prints what -j prints since 2.3.
func (c *call) json(command string, objects []object, props []string, sources bool) {
	type source struct {
		Type string `json:"type"`
		Data string `json:"data"`
	}
	type value struct {
		Value  string `json:"value"`
		Source source `json:"source"`
	}
	quote := func(v any) string { b, _ := json.Marshal(v); return string(b) }
	fmt.Fprintf(&c.out, `{"output_version":{"command":%s,"vers_major":0,"vers_minor":1},"datasets":{`, quote(command))
	for i, o := range objects {
		if i > 0 {
			c.out.WriteByte(',')
		}
		fmt.Fprintf(&c.out, `%s:{"name":%s,"type":%s,"pool":%s,"createtxg":%s,"properties":{`, quote(o.name()), quote(o.name()),
			quote(strings.ToUpper(c.h.value(o, "type"))), quote(poolOf(o.d.Name)), quote(c.h.value(o, "createtxg")))
		for k, p := range props {
			if k > 0 {
				c.out.WriteByte(',')
			}
			v := value{c.h.value(o, p), source{"NONE", "-"}}
			if o.s == nil {
				_, s := c.h.get(o.d, p)
				switch from, inherited := strings.CutPrefix(s, "inherited from "); {
				case inherited:
					v.Source = source{"INHERITED", from}
				case s != "-":
					v.Source = source{strings.ToUpper(s), "-"}
				}
			}
			fmt.Fprintf(&c.out, "%s:%s", quote(p), quote(v))
		}
		c.out.WriteString("}}")
	}
	c.out.WriteString("}}\n")
}

func (c *call) zfsHolds() {
	for _, n := range c.operands {
		_, s := c.h.lookup(n)
		if s == nil {
			c.fail("cannot open '%s': dataset does not exist", n)
			continue
		}
		for _, tag := range s.Holds {
			fmt.Fprintf(&c.out, "%s\t%s\tWed Feb 25 12:00 2026\n", n, tag)
		}
	}
}

func (c *call) zpoolGet() {
	props := strings.Split(c.operands[0], ",")
	for _, p := range c.h.Pools {
		if len(c.operands) > 1 && !slices.Contains(c.operands[1:], p.Name) {
			continue
		}
		for _, prop := range props {
			v := p.Features[prop]
			switch {
			case prop == "load_guid":
				v = p.Load
			case prop == "guid":
				v = guidFor("pool", p.Load)
			case v == "":
				v = "enabled"
			}
			row := map[string]string{"name": p.Name, "property": prop, "value": v, "source": "-"}
			c.row(strings.Split(or(c.opt("o"), "name,property,value,source"), ","), func(col string) string { return row[col] })
		}
	}
	for _, n := range c.operands[1:] {
		if !slices.ContainsFunc(c.h.Pools, func(p *Pool) bool { return p.Name == n }) {
			c.fail("cannot open '%s': no such pool", n)
		}
	}
}

func (c *call) zpoolList() {
	for _, p := range c.h.Pools {
		if len(c.operands) > 0 && !slices.Contains(c.operands, p.Name) {
			continue
		}
		row := map[string]string{"name": p.Name, "guid": guidFor("pool", p.Load), "health": "ONLINE", "load_guid": p.Load}
		c.row(strings.Split(or(c.opt("o"), "name"), ","), func(col string) string { return or(row[col], "-") })
	}
}

func (c *call) zpoolStatus() {
	for _, p := range c.h.Pools {
		if p.Name == c.operands[0] {
			fmt.Fprintf(&c.out, "  pool: %s\n state: ONLINE\nconfig:\n\n\tNAME  STATE\n\t%[1]s  ONLINE\n\nerrors: No known data errors\n", p.Name)
			return
		}
	}
	c.fail("cannot open '%s': no such pool", c.operands[0])
}

// ssh answers -G, keeps a master's socket, or runs a line on another host.
func (c *call) ssh() int {
	if err := c.parse(c.entry.Argv[1:], "F:o:TaxMNS:GqknC"); err != nil {
		return c.bad("%s", err)
	}
	if len(c.operands) == 0 || len(c.operands) > 2 {
		return c.bad("%d operands", len(c.operands))
	}
	dest := c.operands[0]
	host, ok := c.run.Dests[dest]
	if !ok {
		return c.bad("the unknown host %.80q", dest)
	}
	switch {
	case c.has("G"):
		path := "none"
		if c.run.Shared {
			path = "/nonexistent/%r@%h"
		}
		fmt.Fprintf(c.peer.stdout, "hostname %s\nserveraliveinterval 0\ncontrolpath %s\n", dest, path)
		return 0
	case c.has("M"):
		l, err := net.Listen("unix", c.opt("S"))
		if err != nil {
			return c.bad("%s", err)
		}
		<-c.peer.gone
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
	if simple && !c.run.Shell {
		return (&call{server: c.server, host: host, prog: words[0], peer: c.peer, entry: Entry{Host: host, Argv: words}}).do()
	}
	c.entry = Entry{Host: host, Argv: []string{"sh", line}}
	c.log()
	return c.peer.shell(host)
}

// splitLine cuts a line for the other host's shell into words. It takes quotes
// for what they are, and refuses what a shell would do something with, but for
// lines that begin as zab's own scripts do.
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
