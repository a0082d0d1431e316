package pipeline

import (
	"context"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"zab/lib/zfs"
)

// meetingSSH is a stand-in for ssh: it makes the socket of a shared connection only when a
// second connection is being made, refuses to connect to the host "gone", hangs for "silent", and refuses "shy" at the first try.
const meetingSSH = `#!/bin/sh
for dest; do :; done
case " $* " in
*" -G "*) echo "controlpath none"; exit;;
esac
[ "$dest" != silent ] || exec sleep 1000
[ "$dest" != gone ] || { echo "Connection refused" >&2; exit 255; }
echo >>"$MEETING/$dest"
[ "$dest" != shy ] || [ $(wc -l <"$MEETING/shy") -gt 1 ] || { echo "Connection refused" >&2; exit 255; }
while [ "$1" != -S ]; do shift; done
while [ ! -e "$MEETING/a" ] || [ ! -e "$MEETING/b" ]; do sleep 0.01; done
mkdir "$2"
exec sleep 1000
`

// Connections to several hosts are made at once, and the host that cannot be reached is
// named.
func TestConnect(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/ssh", []byte(meetingSSH), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("MEETING", dir)
	t.Setenv("TMPDIR", dir)
	t.Setenv(zfs.ControlEnv, "")
	var dialled atomic.Int32
	m := &zfs.Machine{Debug: func(line string) {
		if strings.Contains(line, " -M ") && strings.HasSuffix(line, " shy") {
			dialled.Add(1)
		}
	}}
	defer m.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := Connect(ctx, m, 0, "a", "b", "", "a"); err != nil {
		t.Error(err)
	}
	if os.Getenv(zfs.ControlEnv) == "" {
		t.Error("the stages are not told of the connections")
	}
	// A host that is source and target has one connection, also after a second try.
	t.Setenv(zfs.ControlEnv, "")
	if err := Connect(ctx, m, 3, "shy", "shy"); err != nil {
		t.Error(err)
	}
	if n := dialled.Load(); n != 2 {
		t.Errorf("%d attempts to connect, not 2", n)
	}
	// A host that does not answer is not waited for when another cannot be reached.
	t.Setenv(zfs.ControlEnv, "")
	if err := Connect(ctx, m, 0, "silent", "gone"); err == nil || !strings.HasPrefix(err.Error(), "cannot connect to 'gone': ") {
		t.Errorf("%v", err)
	}
}
