package xfer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"zab/lib/record"
	"zab/lib/sendstream/streamtest"
	"zab/lib/zfs/zfstest"
)

// sharing is a stand-in for zfs. A stream of tank/a@X is the
// file stream.X; a receive fails if nothing comes.
const sharing = `#!/bin/sh
cd "$POOL"
tab='	'
for x; do :; done
echo "$*" >>log
case $1 in
send) cat "stream.${x#*@}";;
receive)
	if [ "$(wc -c)" = 0 ]; then echo "cannot receive: failed to read from stream" >&2; exit 1; fi
	cat got >>list;;
list)
	rc=0
	for a; do case $a in *@*) grep "^$a$tab" list || { echo "cannot open '$a': dataset does not exist" >&2; rc=1; };; esac; done
	exit $rc;;
get)
	props=$(echo "$7" | tr , ' ')
	shift 7
	for d; do for p in $props; do
		case $p in type) v="filesystem${tab}-";; sharenfs) v="rw${tab}received";; sharesmb) v="off${tab}default";; *) v="-${tab}-";; esac
		echo "$d${tab}$p${tab}$v"
	done; done;;
esac
`

// P11: a stream of this machine that brings sharing properties is received with -x for
// them, and so is each of another host; what the copy has received all the same is undone.
// One question tells that, and where a new copy is to be mounted.
func TestSharing(t *testing.T) {
	for _, c := range []struct {
		what, host, from string
		props            map[string]string
		receives         string // the options of each
		marked, undone   bool
	}{
		{"nothing shared", "", "", map[string]string{"atime": "off"}, "x:y", false, false},
		{"first stream", "", "", map[string]string{"sharenfs": "rw"}, "x:y / x:y sharenfs sharesmb", true, true},
		{"increment", "", "s0", map[string]string{"sharesmb": "on"}, "x:y / x:y sharenfs sharesmb", false, true},
		{"another host, nothing shared", "far", "s0", map[string]string{"atime": "off"}, "x:y sharenfs sharesmb", false, true},
		{"another host, first stream", "far", "", map[string]string{"sharenfs": "rw"}, "x:y sharenfs sharesmb", false, true},
		{"another host, increment", "far", "s0", map[string]string{"sharenfs": "rw"}, "x:y sharenfs sharesmb", false, true},
	} {
		from := map[string]uint64{"s0": 100}[c.from]
		stream := streamtest.Package("tank/a@s1", c.props, streamtest.New(1, streamtest.Head{Name: "tank/a@s1", From: from}).Bytes())
		dir := machine(t, map[string]string{"zfs": sharing, "ssh": zfstest.FarSSH, "stream.s1": string(stream), "got": "pool/a@s1\t1\t9\n", "list": sourceList})
		r := toSend(1)
		r.Host = c.host
		s := &r.Steps[0]
		s.Exclude = []string{"x:y", "sharenfs", "sharesmb"}
		if c.from == "" {
			s.From, s.FromGUID = "", ""
			r.Target.Exists, r.Target.Snapshots = false, nil
		}
		r.Steps = append(r.Steps, record.Step{Do: record.DoMark, Side: record.SideTarget, Dataset: "pool/a", Set: []string{"zab:stream=L,x"}})
		out, stderr := runProgram(t, []string{"--no-progress", "--retries", "0"}, r)
		b, _ := os.ReadFile(filepath.Join(dir, "log"))
		var receives []string
		marked, undone, questions := false, false, 0
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			switch {
			case f[0] == "receive":
				var x []string
				for i := range f {
					if f[i] == "-x" {
						x = append(x, f[i+1])
					}
				}
				receives = append(receives, strings.Join(x, " "))
			case f[0] == "get":
				questions++
			case f[0] == "set":
				marked = marked || slices.Contains(f, "zab:stream=L,x")
			case f[0] == "inherit":
				undone = strings.Join(f[1:], " ") == "sharenfs pool/a"
			}
		}
		if got := strings.Join(receives, " / "); out[0].Error != nil || got != c.receives || marked != c.marked || undone != c.undone || questions > 1 {
			t.Errorf("%s: %+v, receives %q, marked %v, undone %v, %d questions\n%s\n%s", c.what, out[0].Error, got, marked, undone, questions, b, stderr)
		}
	}
}

// A dataset above the target that cannot be read keeps a copy from being mounted, and from
// nothing else; one that is the copy itself makes its transfer fail.
func TestUnread(t *testing.T) {
	for _, c := range []struct{ unread, message, warning string }{
		{"pool", "", "cannot mount 'pool/a': cannot ask for its mountpoint: cannot open 'pool': I/O error"},
		{"pool/a", "cannot see whether 'pool/a' is shared now: cannot open 'pool/a': I/O error", ""},
	} {
		script := strings.Replace(sharing, "for d; do for", `for d; do
		if [ $d = `+c.unread+` ]; then echo "cannot open '$d': I/O error" >&2; exit=1; continue; fi
		for`, 1) + "exit $exit\n"
		stream := streamtest.Package("tank/a@s1", map[string]string{"sharenfs": "rw"}, streamtest.New(1, streamtest.Head{Name: "tank/a@s1"}).Bytes())
		machine(t, map[string]string{"zfs": script, "ssh": zfstest.FarSSH, "stream.s1": string(stream), "got": "pool/a@s1\t1\t9\n", "list": sourceList})
		r := toSend(1)
		r.Host, r.Steps[0].Exclude = "far", record.Sharing
		r.Steps[0].From, r.Steps[0].FromGUID = "", ""
		r.Target.Exists, r.Target.Snapshots = false, nil
		out, stderr := runProgram(t, []string{"--no-progress", "--retries", "0"}, r)
		message := ""
		if out[0].Error != nil {
			message = out[0].Error.Message
		}
		if warning := strings.Join(out[0].Warnings, "; "); message != c.message || warning != c.warning {
			t.Errorf("'%s' is unreadable: %q, %q\n%s", c.unread, message, warning, stderr)
		}
	}
}
