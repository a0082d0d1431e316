package zabtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdSpy: spy on puts programs named zfs, zpool and ssh before the real ones in PATH,
// which append their arguments to $WORK/spy.log; spy clear empties that file.
func cmdSpy(ts *testscript.TestScript, neg bool, args []string) {
	keepPools(ts)
	log := ts.MkAbs("spy.log")
	if len(args) == 1 && args[0] == "clear" {
		ts.Check(os.WriteFile(log, nil, 0o666))
		return
	}
	dir := ts.MkAbs("spy")
	ts.Check(os.MkdirAll(dir, 0o777))
	path := ts.Getenv("PATH")
	for _, name := range []string{"zfs", "zpool", "ssh"} {
		real := LookPath(path, name)
		if real == "" {
			ts.Fatalf("spy: %s is not installed", name)
		}
		script := fmt.Sprintf("#!/bin/sh\nprintf '%%s\\n' \"%s $*\" >> '%s'\nexec %s \"$@\"\n", name, log, real)
		ts.Check(os.WriteFile(filepath.Join(dir, name), []byte(script), 0o777))
	}
	ts.Setenv("PATH", dir+":"+path)
	ts.Check(os.WriteFile(log, nil, 0o666))
}

// cmdCount: count OP N PROGRAM compares the number of starts of a program in
// $WORK/spy.log with N; OP is =, <= or >=.
func cmdCount(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: count op n program")
	}
	releasePools(ts)
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	data, err := os.ReadFile(ts.MkAbs("spy.log"))
	ts.Check(err)
	got := 0
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, args[2]+" ") {
			got++
		}
	}
	ok := false
	switch args[0] {
	case "=":
		ok = got == n
	case "<=":
		ok = got <= n
	case ">=":
		ok = got >= n
	}
	if ok == neg {
		ts.Fatalf("%s was started %d times, want %s %d:\n%s", args[2], got, args[0], n, data)
	}
	ts.Logf("%s was started %d times", args[2], got)
}
