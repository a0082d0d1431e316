package hostile

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// runEnv is the environment variable with the directory of a stand-in's run.
// client/main.go and testdata/client.c have it too.
const runEnv = "ZAB_HOSTILE_RUN"

// maxInput is how much of its standard input a stand-in keeps; an honest stream is
// shorter.
const maxInput = 1 << 20

// exitUnknown is the exit status of a command that the stand-ins do not know, or that is
// started after the end of the run.
const exitUnknown = 97

// runConfig configures the stand-ins of one run. It does not change during the run.
type runConfig struct {
	// Local is the host that zab runs on, "" if both are remote.
	Local string
	// Dests has the hosts by ssh destination.
	Dests map[string]string
	// Hostile is the lying host, "" for none.
	Hostile string
	Lies    []*Lie
	// Shared: ssh -G reports the ControlPath of a user who shares connections, so zab
	// starts no master of its own.
	Shared bool
	// Shell: a real shell runs every remote command line; otherwise only those that need
	// one.
	Shell bool
	// Programs: zfs program is permitted.
	Programs bool
	// Digest is the path of the real zab-digest.
	Digest string
}

// Entry is an entry of the log: a command that was started.
type Entry struct {
	Host string // "" for ssh, and for a machine without pools
	Argv []string
	// Stdin is the text of a channel program.
	Stdin string
	// Signature is the command without names, by which a lie finds it.
	Signature string
	// Bad is why zab must not use the command.
	Bad string
	// Odd names an argument with a control character, which the honest host must not get.
	Odd string
	// Lie is the kind of the lie that was told, Said the beginning of its text.
	Lie  string
	Said string
	// Sent is the stream that a zfs send wrote.
	Sent []byte
	// Fair: the lie is a complete answer as an honest host would give it that has fewer
	// datasets or snapshots, or selects fewer.
	Fair bool
	// Mountpoint is the source and value of mountpoint when the dataset was mounted.
	Mountpoint string
}

// call is a command that is being carried out.
type call struct {
	*server
	host     string // "" for a machine without pools
	h        *Host
	prog     string
	sub      string
	opts     map[string][]string
	operands []string
	out, err bytes.Buffer
	rc       int
	entry    Entry
	in       []byte
	client   *client
}

// execute carries out the command, or tells a lie about it, and returns the exit status.
func (c *call) execute() int {
	argv := c.entry.Argv
	if c.prog == "zab-digest" {
		argv = slices.Insert(slices.Clone(argv), 1, "stream")
		c.entry.Argv = argv
	}
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
	c.entry.Signature = c.signature()
	if f.reads {
		// Read before the host is locked: the sender of a stream needs the host too.
		c.in, _ = io.ReadAll(io.LimitReader(c.client.stdin, maxInput))
		_, _ = io.Copy(io.Discard, c.client.stdin)
		if c.sub == "program" {
			c.entry.Stdin = string(c.in)
		}
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return exitUnknown
	}
	c.h = c.hosts[c.host]
	lie := c.matchLie()
	if lie == nil || !lie.skipsCommand() {
		f.execute(c)
	}
	if lie != nil {
		defer c.mu.Unlock()
		m := c.mutate(lie)
		c.log()
		return m.answer()
	}
	c.log()
	c.mu.Unlock()
	_, err := c.client.stdout.Write(c.out.Bytes())
	_, _ = c.client.stderr.Write(c.err.Bytes())
	if err != nil && c.rc == 0 {
		c.rc = 141
	}
	return c.rc
}

func (c *call) log() {
	c.logMu.Lock()
	defer c.logMu.Unlock()
	c.entries = append(c.entries, c.entry)
}

// bad logs the command as one that zab must not use, and returns its exit status.
func (c *call) bad(format string, a ...any) int {
	c.entry.Bad = fmt.Sprintf(format, a...)
	c.log()
	fmt.Fprintf(c.client.stderr, "stand-in: %s: %q\n", c.entry.Bad, c.entry.Argv)
	return exitUnknown
}

// parse parses options as getopt does. An option after an operand is an error.
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

// opt returns the last value of an option.
func (c *call) opt(o string) string {
	if v := c.opts[o]; v != nil {
		return v[len(v)-1]
	}
	return ""
}

func (c *call) has(o string) bool { return c.opts[o] != nil }

// fail prints an error message of zfs and sets the exit status.
func (c *call) fail(format string, a ...any) {
	fmt.Fprintf(&c.err, format+"\n", a...)
	c.rc = 1
}

// nonce matches user properties with a random name.
var nonce = regexp.MustCompile(`zab:[0-9a-f]{8,}`)

// signature returns the command with its options, but without the names of datasets.
func (c *call) signature() string {
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

// form describes a command that zab may use.
type form struct {
	options  string // as for getopt
	min, max int    // number of operands; max is -1 for any
	reads    bool   // reads its standard input
	writes   bool   // changes the host
	execute  func(c *call)
}

// forms has all commands by program and subcommand, such as "zfs get".
var forms map[string]form

func init() {
	forms = map[string]form{
		"zfs get":      {"Hprjd:o:s:t:", 1, -1, false, false, (*call).zfsGet},
		"zfs list":     {"Hprjd:o:t:s:S:", 0, -1, false, false, (*call).zfsList},
		"zfs holds":    {"Hpr", 1, -1, false, false, (*call).zfsHolds},
		"zfs diff":     {"H", 2, 2, false, false, func(c *call) {}},
		"zfs mount":    {"o:", 0, 1, false, true, (*call).zfsMount},
		"zfs unmount":  {"", 1, 1, false, true, (*call).zfsUnmount},
		"zfs send":     {"LcpwnPvi:I:t:", 0, 1, false, false, (*call).zfsSend},
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
		// What else runs on a host, by the names of its one use.
		"zab-digest stream": {"-:", 0, 0, true, false, (*call).digest},
		"date +%s":          {"", 0, 0, false, false, func(c *call) { fmt.Fprintln(&c.out, c.h.Now) }},
	}
}

// digest has the real zab-digest read the stream.
func (c *call) digest() {
	cmd := exec.Command(c.conf.Digest, c.entry.Argv[2:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(c.in), &c.out, &c.err
	if err := cmd.Run(); err != nil {
		c.rc = 1
	}
	c.entry.Said = c.out.String()
}
