package zabtest

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var (
	scripts = flag.String("scripts", "../../testdata", "directory of the scripts")
	only    = flag.String("only", "", "run only the scripts whose names match one of these patterns, separated by commas")
	shard   = flag.String("shard", "1/1", "run only this part of the scripts, such as 1/2, the first of two")
	update  = flag.Bool("update", false, "write the output of commands to the scripts' golden files")
)

// server is the sshd of all scripts.
var server SSHServer

func TestMain(m *testing.M) {
	code := m.Run()
	server.Stop()
	if Required {
		fmt.Printf("%d passed, %d failed, %d skipped\n", passed.Load(), failed.Load(), skipped.Load())
	}
	os.Exit(code)
}

// TestScripts runs the scripts. Scripts that need pools begin with [!zfs] skip, so that
// the others also run on a machine without ZFS.
func TestScripts(t *testing.T) {
	if Required || HaveZFS() {
		NeedZFS(t)
	}
	p := testscript.Params{
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup:               setup,
		Condition:           condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status":  cmdStatus,
			"pools":   cmdPools,
			"spy":     cmdSpy,
			"count":   cmdCount,
			"files":   cmdFiles,
			"write":   cmdWrite,
			"history": cmdHistory,
			"free":    cmdFree,
			"export":  cmdExport,
			"forge":   cmdForge,
			"alone":   cmdAlone,
			"disk":    cmdDisk,
		},
	}
	if *only != "" {
		for pattern := range strings.SplitSeq(*only, ",") {
			files, err := filepath.Glob(filepath.Join(*scripts, pattern+".txtar"))
			if err != nil || len(files) == 0 {
				t.Fatalf("no script matches %q: %v", pattern, err)
			}
			p.Files = append(p.Files, files...)
		}
	} else {
		part, err := shardOf(*scripts, *shard)
		if err != nil {
			t.Fatal(err)
		}
		p.Files = part
	}
	testscript.RunT(reporter{T: t}, p)
}

// slow has the scripts that take longest, with about how many seconds, so that all parts of
// the scripts take about as long. A script that is not here takes usual seconds.
var slow = map[string]int{"digest_equal": 120, "bookmarks": 74, "field_listing": 72, "opt_safe": 66, "zab_programs": 40, "ssh_cut": 40, "opt_errors": 20,
	"xfer_retry": 44, "crypt_encrypt": 36, "clones": 44, "budget_new": 41, "crypt_none": 38, "cache": 40, "crypt_decrypt": 34, "field_snapshots": 36,
	"aside_raw": 22, "aside_killed": 35, "field_identity": 32, "zab_remote": 31, "crypt_change": 30, "jobs": 26, "aside_base": 29, "missing_states": 28,
	"two_hosts": 28, "holds_together": 28, "xfer_trouble": 22, "field_written": 27, "hold_before_send": 26, "crypt_tree": 26, "aside_killed_full": 26,
	"field_killed": 25, "xfer_resume": 22, "relay_rotate": 24}

const usual = 13

// What the first and the last part have besides scripts, in seconds; see contrib/make/test.
const (
	monthsTime  = 50 // the first
	tortureTime = 76 // the last, with the proofs
)

// shardOf returns the k-th of n parts, as "k/n" says, of the scripts in a directory. The
// slowest script goes to the part that takes the shortest time so far, and so does each
// further one. The slowest come last, since of tests that may run in parallel the last
// usually begin first.
func shardOf(dir, shard string) (part []string, err error) {
	k, n, err := parseShard(shard)
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no scripts in %s: %v", dir, err)
	}
	slices.SortStableFunc(files, func(a, b string) int { return seconds(b) - seconds(a) })
	load := otherLoad(n)
	for _, f := range files {
		i := slices.Index(load, slices.Min(load))
		load[i] += seconds(f)
		if i == k-1 {
			part = append(part, f)
		}
	}
	slices.Reverse(part)
	return part, nil
}

func parseShard(shard string) (k, n int, err error) {
	if _, err := fmt.Sscanf(shard, "%d/%d", &k, &n); err != nil || k < 1 || k > n {
		return 0, 0, fmt.Errorf("-shard %q is not a part such as 1/2", shard)
	}
	return k, n, nil
}

// seconds returns about how long a script takes.
func seconds(file string) int {
	return cmp.Or(slow[strings.TrimSuffix(filepath.Base(file), ".txtar")], usual)
}

// otherLoad returns the seconds that each of n parts takes without scripts.
func otherLoad(n int) []int {
	load := make([]int, n)
	load[0] += monthsTime
	load[n-1] += tortureTime
	return load
}

// condition decides the conditions of scripts: [zfs], [snapshots_changed], [many].
func condition(cond string) (bool, error) {
	switch cond {
	case "zfs":
		return HaveZFS(), nil
	case "snapshots_changed": // since zfs 2.2
		out, err := exec.Command("zfs", "get", "-H", "snapshots_changed").CombinedOutput()
		return err == nil || !bytes.Contains(out, []byte("invalid property")), nil
	case "many":
		return os.Getenv("ZAB_TEST_MANY") != "", nil
	}
	return false, fmt.Errorf("unknown condition %q", cond)
}

// setup gives each script names of its own, so that scripts can run side by side on one
// machine:
//
//	$NAME  the name of a backup
//	$SRC   the pool of the source, $DST that of the target (see cmdPools)
//	$SSH   a configuration of ssh that knows src.test, dst.test and others (see SSHServer)
//	$PAGES the directory of the manual pages
//	$MANY  ZAB_TEST_MANY, the number of datasets in long tests of the budgets; the
//	       condition [many] reports whether it is set
func setup(env *testscript.Env) error {
	bin, err := Programs()
	if err != nil {
		return err
	}
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		return err
	}
	shareMachine(env)
	id := hex.EncodeToString(b[:])
	env.Setenv("PATH", SearchPath(bin))
	env.Setenv("LC_ALL", "C.UTF-8")
	env.Setenv("TZ", "UTC")
	env.Setenv("NAME", "b"+id)
	env.Setenv("SRC", "zabs"+id)
	env.Setenv("DST", "zabd"+id)
	env.Setenv("TMPDIR", env.WorkDir)
	pages, err := filepath.Abs(filepath.Join(*scripts, "..", "man"))
	if err != nil {
		return err
	}
	env.Setenv("PAGES", pages)
	env.Setenv("MANY", os.Getenv("ZAB_TEST_MANY"))
	if HaveZFS() {
		if err := server.Start(); err != nil {
			return err
		}
		env.Setenv("SSH", server.Config)
	}
	return nil
}
