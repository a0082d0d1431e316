package zabtest

import (
	"fmt"
	"os/exec"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdDisk: disk pool NAME SIZE creates a pool on a disk that can be pulled out. disk pull
// NAME pulls it out, writes to the pool, and waits until the pool is suspended; disk out
// NAME only pulls it out, so that the pool is suspended at its next write; disk return NAME
// puts it back and resumes the pool, which also happens at the end of the script. Since a
// suspended pool affects the whole machine, the script has to be alone.
func cmdDisk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: disk pool|pull|out|return name [size]")
	}
	name := args[1]
	sh := func(script string, more ...string) error {
		out, err := exec.Command("sh", append([]string{"-ec", script, name, ts.MkAbs(name + ".img")}, more...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("disk %s %s: %w: %s", args[0], name, err, out)
		}
		return nil
	}
	const table = `set_table() { dmsetup reload "$0" --table "$1"; dmsetup suspend --noflush --nolockfs "$0"; dmsetup resume "$0"; }
state() { cat "/proc/spl/kstat/zfs/$0/state" 2>/dev/null || :; }
size=$(blockdev --getsz "/dev/mapper/$0")
`
	putBack := func() error {
		return sh(table + `case $(dmsetup table "$0") in *error*) set_table "0 $size linear $(losetup -nO NAME -j "$1") 0" ;; esac
i=0; while [ "$(state)" = SUSPENDED ] && [ $((i += 1)) -le 100 ]; do zpool clear "$0"; sleep 0.2; done
[ "$(state)" != SUSPENDED ]`)
	}
	switch args[0] {
	case "pool":
		if len(args) != 3 || !*ts.Value("alone").(*bool) {
			ts.Fatalf("disk pool: wants a size, and to be alone")
		}
		ts.Defer(func() {
			if err := putBack(); err != nil {
				ts.Logf("%v", err)
				return
			}
			if err := DestroyPool(name); err != nil {
				ts.Logf("%v", err)
			}
			if err := sh(`dmsetup remove --retry "$0"; losetup -d $(losetup -nO NAME -j "$1"); rm "$1"`); err != nil {
				ts.Logf("%v", err)
			}
		})
		ts.Check(sh(`modprobe -q loop || :; modprobe -q dm_mod || :
truncate -s "$2" "$1"
loop=$(losetup -f --show "$1")
dmsetup create "$0" --table "0 $(blockdev --getsz $loop) linear $loop 0"
zpool create -f -O atime=off -m "$3" "$0" "/dev/mapper/$0"`, args[2], ts.MkAbs(name)))
	case "pull":
		// The writers block until the disk is back.
		ts.Check(sh(table + `set_table "0 $size error"
mnt=$(zfs get -Ho value mountpoint "$0")
setsid sh -c 'head -c 3000000 /dev/urandom >"$1/written"; zpool sync "$0"' "$0" "$mnt" </dev/null >/dev/null 2>&1 &
i=0; while [ "$(state)" != SUSPENDED ]; do [ $((i += 1)) -le 300 ]; sleep 0.2; done`))
	case "out":
		ts.Check(sh(table + `set_table "0 $size error"`))
	case "return":
		ts.Check(putBack())
	default:
		ts.Fatalf("disk: unknown %q", args[0])
	}
}
