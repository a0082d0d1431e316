package zabtest

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdStatus: status CODE PROGRAM [ARG...] runs a program, which must end with exactly that
// exit status, or 128 and the number of the signal that ended it. Unlike `! exec` it fails
// if the program is missing.
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status code program [arg...]")
	}
	want, err := strconv.Atoi(args[0])
	if err != nil {
		ts.Fatalf("status: %q is not a number", args[0])
	}
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if err != nil {
		exit, ok := err.(*exec.ExitError)
		if !ok {
			ts.Fatalf("status: %v", err)
		}
		got = exit.ExitCode()
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			got = 128 + int(ws.Signal())
		}
	}
	if got != want {
		ts.Fatalf("%s: exit status %d, want %d", args[1], got, want)
	}
}

// cmdWrite: write TEXT FILE... writes a line to each file of a mounted dataset, which is
// named by the dataset, and syncs the pools.
func cmdWrite(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: write text file...")
	}
	sync := []string{"sync"}
	for _, file := range args[1:] {
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(args[0]+"\n"), 0o666))
		if pool, _, _ := strings.Cut(file, "/"); !slices.Contains(sync, pool) {
			sync = append(sync, pool)
		}
	}
	ts.Check(ts.Exec("zpool", sync...))
}

// cmdHistory: history FILE POOL... writes all that was ever done to the pools to a file,
// to be compared with that of another moment.
func cmdHistory(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: history file pool...")
	}
	out, err := exec.Command("zpool", append([]string{"history", "-i"}, args[1:]...)...).Output()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), out, 0o666))
}

// cmdFiles: files DATASET... requires that all of these mounted datasets have the same
// files with the same contents; `! files`, that each differs from the first.
func cmdFiles(ts *testscript.TestScript, neg bool, args []string) {
	want := ""
	for i, dir := range args {
		out, err := exec.Command("sh", "-c", `cd "$1" && find . -type f -exec sha256sum {} + | sort -k2`, "sh", ts.MkAbs(dir)).Output()
		ts.Check(err)
		switch {
		case i == 0:
			want = string(out)
			if want == "" {
				ts.Fatalf("there are no files in %s", dir)
			}
		case (string(out) == want) == neg:
			ts.Fatalf("%s:\n%s%s:\n%s", args[0], want, dir, out)
		}
	}
}

// cmdFree: free DATASET... releases all holds on the snapshots of datasets and of their
// descendants, as an administrator does before destroying them.
func cmdFree(ts *testscript.TestScript, neg bool, args []string) {
	for _, ds := range args {
		out, err := exec.Command("sh", "-c", `zfs list -Ho name -t snapshot -r "$1" | while read -r s; do zfs holds -H "$s"; done`, "sh", ds).Output()
		ts.Check(err)
		for line := range strings.Lines(string(out)) {
			f := strings.Split(line, "\t")
			ts.Check(ts.Exec("zfs", "release", f[1], f[0]))
		}
	}
}
