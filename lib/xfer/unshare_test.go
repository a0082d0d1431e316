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
	for p in $(echo "$7" | tr , ' '); do
		case $p in sharenfs) v="rw${tab}received";; sharesmb) v="off${tab}default";; *) v="-${tab}-";; esac
		echo "pool/a${tab}$p${tab}$v"
	done;;
esac
`

// P11: a stream of this machine that brings sharing properties is received with -x for
// them, and so is each of another host; what the copy has received all the same is undone.
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
		marked, undone := false, false
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
			case f[0] == "set":
				marked = marked || slices.Contains(f, "zab:stream=L,x")
			case f[0] == "inherit":
				undone = strings.Join(f[1:], " ") == "sharenfs pool/a"
			}
		}
		if got := strings.Join(receives, " / "); out[0].Error != nil || got != c.receives || marked != c.marked || undone != c.undone {
			t.Errorf("%s: %+v, receives %q, marked %v, undone %v\n%s\n%s", c.what, out[0].Error, got, marked, undone, b, stderr)
		}
	}
}
