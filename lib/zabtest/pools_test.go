package zabtest

import (
	"os"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdPools: pools [SIZE] creates the pools $SRC and $DST, mounted below $WORK, in files of
// SIZE (default 256M), and the filesystem $DST/backup. pools -n SIZE NAME... creates other
// pools. All are destroyed at the end of the script.
func cmdPools(ts *testscript.TestScript, neg bool, args []string) {
	size := "256M"
	names := []string{ts.Getenv("SRC"), ts.Getenv("DST")}
	if len(args) > 0 && args[0] == "-n" {
		size, names = args[1], args[2:]
	} else if len(args) > 0 {
		size = args[0]
	}
	for _, n := range names {
		file := ts.MkAbs(n + ".img")
		ts.Check(ts.Exec("truncate", "-s", size, file))
		// With atime, reading a file would be a change.
		ts.Check(ts.Exec("zpool", "create", "-O", "atime=off", "-m", ts.MkAbs(n), n, file))
		ts.Defer(func() {
			releasePools(ts)
			removal.Lock()
			defer removal.Unlock()
			if err := DestroyPool(n); err != nil {
				ts.Logf("%v", err)
				return
			}
			os.Remove(file)
		})
	}
	if len(args) == 0 || args[0] != "-n" {
		ts.Check(ts.Exec("zfs", "create", names[1]+"/backup"))
	}
}

// cmdExport: export POOL exports a pool.
func cmdExport(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: export pool")
	}
	releasePools(ts)
	removal.Lock()
	defer removal.Unlock()
	ts.Check(ts.Exec("zpool", "export", args[0]))
}
