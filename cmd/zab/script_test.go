package main_test

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"zab/lib/zfs/zfstest"
)

var (
	scripts = flag.String("scripts", "../../testdata", "folder of the scripts")
	only    = flag.String("only", "", "run the scripts whose names match one of these, with wildcards and commas between")
	update  = flag.Bool("update", false, "write what commands printed into the scripts' golden files")
)

// needZFS says that this machine was made for these tests: anything missing on it is a
// failure and no reason to skip.
var needZFS = os.Getenv("ZAB_TEST_ZFS") != ""

// TestScripts runs the scripts. Those that need pools begin with [!zfs] skip, and run
// where ZFS is available: see `make test`.
func TestScripts(t *testing.T) {
	if needZFS && !haveZFS() {
		t.Fatal("this machine has no working ZFS")
	}
	p := testscript.Params{
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup:               setup,
		Condition:           condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": cmdStatus,
			"pools":  cmdPools,
			"spy":    cmdSpy,
			"count":  cmdCount,
			"files":  cmdFiles,
			"free":   cmdFree,
			"export": cmdExport,
			"forge":  cmdForge,
			"alone":  cmdAlone,
			"disk":   cmdDisk,
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
		p.Dir = *scripts
	}
	testscript.RunT(told{T: t}, p)
}

// told reports each script as soon as it is done, since the whole run takes minutes, and
// counts the outcomes.
type told struct {
	*testing.T
	begun *time.Time // nil except for a script
}

var passed, failed, skipped atomic.Int32

func (t told) Verbose() bool { return testing.Verbose() }

// Parallel waits until the script may run.
func (t told) Parallel() {
	t.T.Parallel()
	*t.begun = time.Now()
}

func (t told) Run(name string, f func(testscript.T)) {
	t.T.Run(name, func(t *testing.T) {
		begun := time.Now()
		t.Cleanup(func() {
			count, word := &passed, "ok  "
			switch {
			case t.Failed():
				count, word = &failed, "FAIL"
			case t.Skipped():
				count, word = &skipped, "skip"
			}
			count.Add(1)
			if needZFS {
				fmt.Fprintf(os.Stderr, "%s %s (%.0f s)\n", word, name, time.Since(begun).Seconds())
			}
		})
		f(told{t, &begun})
	})
}

func TestMain(m *testing.M) {
	if file := os.Getenv(sampleEnv); file != "" {
		if err := sampleMain(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	server.stop()
	if needZFS {
		fmt.Printf("%d passed, %d failed, %d skipped\n", passed.Load(), failed.Load(), skipped.Load())
	}
	os.Exit(code)
}

var haveZFS = sync.OnceValue(func() bool {
	return os.Getuid() == 0 && exec.Command("zpool", "list", "-H").Run() == nil
})

func condition(cond string) (bool, error) {
	switch cond {
	case "zfs":
		return haveZFS(), nil
	case "snapshots_changed": // since zfs 2.2
		out, err := exec.Command("zfs", "get", "-H", "snapshots_changed").CombinedOutput()
		return err == nil || !bytes.Contains(out, []byte("invalid property")), nil
	case "many":
		return os.Getenv("ZAB_TEST_MANY") != "", nil
	}
	return false, fmt.Errorf("unknown condition %q", cond)
}

// binaries builds the programs once and returns their directory, unless ZAB_TEST_BIN is
// that directory.
var binaries = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("ZAB_TEST_BIN"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := filepath.Abs("../../build/bin")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", dir, "../...")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the programs: %v\n%s", err, out)
	}
	return dir, nil
})

// setup gives each script its own names, so that scripts can run side by side on one
// machine:
//
//	$NAME  a backup name
//	$SRC   a pool for the source, $DST one for the target (see the command pools)
//	$SSH   a configuration for ssh that knows the hosts src.test, dst.test and others
//	$MANY  the number of datasets for long tests of the budgets (ZAB_TEST_MANY; the
//	       condition [many] reports whether it is set)
func setup(env *testscript.Env) error {
	bin, err := binaries()
	if err != nil {
		return err
	}
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		return err
	}
	machine.RLock()
	alone := new(bool)
	env.Values["machine"] = alone
	env.Defer(func() {
		if *alone {
			machine.Unlock()
		} else {
			machine.RUnlock()
		}
	})
	id := hex.EncodeToString(b[:])
	env.Setenv("PATH", bin+":"+os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin")
	env.Setenv("LC_ALL", "C.UTF-8")
	env.Setenv("TZ", "UTC")
	env.Setenv("NAME", "b"+id)
	env.Setenv("SRC", "zabs"+id)
	env.Setenv("DST", "zabd"+id)
	env.Setenv("TMPDIR", env.WorkDir)
	env.Setenv("MANY", os.Getenv("ZAB_TEST_MANY"))
	if haveZFS() {
		conf, err := server.start()
		if err != nil {
			return err
		}
		env.Setenv("SSH", conf)
	}
	return nil
}

// cmdStatus: status CODE PROGRAM [ARG...] runs a program and requires exactly that exit
// status; unlike `! exec` it fails if the program is missing.
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
		var exit *exec.ExitError
		if !asExit(err, &exit) {
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

func asExit(err error, to **exec.ExitError) bool {
	e, ok := err.(*exec.ExitError)
	*to = e
	return ok
}

// cmdPools: pools [SIZE] creates the pools $SRC and $DST in files of SIZE (default 256M)
// with the filesystem $DST/backup, mounted below $WORK. They are destroyed at the end of
// the script. pools -n SIZE NAME... creates others.
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
		// atime=off, because otherwise reading a file would count as a change.
		ts.Check(ts.Exec("zpool", "create", "-O", "atime=off", "-m", ts.MkAbs(n), n, file))
		ts.Defer(func() {
			counted(ts)
			leaves.Lock()
			defer leaves.Unlock()
			if err := destroyPool(n); err != nil {
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

// destroyPool destroys a pool. A receive left behind, which ends by itself, may keep the
// pool busy for a while.
func destroyPool(name string) error {
	var out []byte
	var err error
	for range 50 {
		if out, err = exec.Command("zpool", "destroy", "-f", name).CombinedOutput(); err == nil || bytes.Contains(out, []byte("no such pool")) {
			return nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	return fmt.Errorf("cannot destroy the pool %s: %s", name, out)
}

// leaves is locked while a pool leaves the machine, and locked for reading while programs
// are counted: if a pool has left meanwhile, zab lists all pools once more.
var leaves sync.RWMutex

// counting are the scripts that are counting programs.
var counting sync.Map

// counts keeps all pools in place until the script has counted its programs.
func counts(ts *testscript.TestScript) {
	if _, already := counting.LoadOrStore(ts, true); already {
		return
	}
	leaves.RLock()
	ts.Defer(func() { counted(ts) })
}

// counted allows pools to leave again.
func counted(ts *testscript.TestScript) {
	if _, was := counting.LoadAndDelete(ts); was {
		leaves.RUnlock()
	}
}

// cmdExport: export POOL exports a pool.
func cmdExport(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: export pool")
	}
	counted(ts)
	leaves.Lock()
	defer leaves.Unlock()
	ts.Check(ts.Exec("zpool", "export", args[0]))
}

// machine is locked for reading by every running script, and for writing by a script that
// changes the machine for all.
var machine sync.RWMutex

// cmdAlone: alone waits until no other script runs, and keeps others from beginning until
// this script has ended.
func cmdAlone(ts *testscript.TestScript, neg bool, args []string) {
	held := ts.Value("machine").(*bool)
	if *held {
		return
	}
	machine.RUnlock()
	machine.Lock()
	*held = true
}

// cmdDisk: disk pool NAME SIZE creates a pool on a disk that can be pulled out. disk pull
// NAME pulls it, writes to the pool, and waits until the pool is suspended; disk out NAME
// only pulls it, so that the pool notices at the next write; disk return NAME puts it
// back and resumes the pool. The disk returns at the end of the script. Since a suspended
// pool affects the whole machine, the script has to be alone.
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
	back := func() error {
		return sh(table + `case $(dmsetup table "$0") in *error*) set_table "0 $size linear $(losetup -nO NAME -j "$1") 0" ;; esac
i=0; while [ "$(state)" = SUSPENDED ] && [ $((i += 1)) -le 100 ]; do zpool clear "$0"; sleep 0.2; done
[ "$(state)" != SUSPENDED ]`)
	}
	switch args[0] {
	case "pool":
		if len(args) != 3 || !*ts.Value("machine").(*bool) {
			ts.Fatalf("disk pool: wants a size, and to be alone")
		}
		ts.Defer(func() {
			if err := back(); err != nil {
				ts.Logf("%v", err)
				return
			}
			if err := destroyPool(name); err != nil {
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
		ts.Check(back())
	default:
		ts.Fatalf("disk: unknown %q", args[0])
	}
}

// cmdSpy: spy on puts programs named zfs, zpool and ssh in front of the real ones, which
// write their arguments to $WORK/spy.log; spy clear empties the file.
func cmdSpy(ts *testscript.TestScript, neg bool, args []string) {
	counts(ts)
	log := ts.MkAbs("spy.log")
	if len(args) == 1 && args[0] == "clear" {
		ts.Check(os.WriteFile(log, nil, 0o666))
		return
	}
	dir := ts.MkAbs("spy")
	ts.Check(os.MkdirAll(dir, 0o777))
	path := ts.Getenv("PATH")
	for _, name := range []string{"zfs", "zpool", "ssh"} {
		real := lookPath(path, name)
		if real == "" {
			ts.Fatalf("spy: %s is not installed", name)
		}
		script := fmt.Sprintf("#!/bin/sh\nprintf '%%s\\n' \"%s $*\" >> '%s'\nexec %s \"$@\"\n", name, log, real)
		ts.Check(os.WriteFile(filepath.Join(dir, name), []byte(script), 0o777))
	}
	ts.Setenv("PATH", dir+":"+path)
	ts.Check(os.WriteFile(log, nil, 0o666))
}

// cmdForge: forge TOKEN OUT EDIT... reads the resume token in the file TOKEN and writes
// it to OUT with its pairs changed: -NAME removes a pair, NAME=VALUE sets one,
// +NAME=VALUE appends one, in which %00 is a NUL, and the single word trailing appends a
// byte to the zlib stream. @FILE is the edit in that file.
func cmdForge(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: forge token out edit...")
	}
	z, pairs, err := zfstest.Unpack(strings.TrimSpace(ts.ReadFile(args[0])))
	ts.Check(err)
	le := binary.LittleEndian
	size := len(zfstest.List(le, pairs...))
	at := func(name string) int {
		i := slices.IndexFunc(pairs, func(p zfstest.Pair) bool { return p.Name == name })
		if i < 0 {
			ts.Fatalf("forge: the token has no %q", name)
		}
		return i
	}
	typed := func(v string) any {
		if n, err := strconv.ParseUint(v, 10, 64); err == nil {
			return n
		}
		return v
	}
	for _, edit := range args[2:] {
		if edit[0] == '@' {
			edit = ts.ReadFile(edit[1:])
		}
		name, v, _ := strings.Cut(edit, "=")
		switch {
		case edit == "trailing":
			ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(zfstest.Around(le, append(z, 0), size)+"\n"), 0o666))
			return
		case edit[0] == '-':
			pairs = slices.Delete(pairs, at(edit[1:]), at(edit[1:])+1)
		case edit[0] == '+':
			pairs = append(pairs, zfstest.Pair{Name: strings.ReplaceAll(name[1:], "%00", "\x00"), Value: typed(v)})
		default:
			pairs[at(name)].Value = typed(v)
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(zfstest.Pack(le, zfstest.List(le, pairs...))+"\n"), 0o666))
}

func lookPath(path, name string) string {
	for _, dir := range filepath.SplitList(path) {
		p := filepath.Join(dir, name)
		if st, err := os.Stat(p); err == nil && !st.IsDir() && st.Mode()&0o111 != 0 {
			return p
		}
	}
	return ""
}

// cmdCount: count OP N PROGRAM compares how often the spy saw a program with N by OP,
// which is =, <= or >=.
func cmdCount(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: count op n program")
	}
	counted(ts)
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

// cmdFiles: files DATASET... requires the same files with the same contents in all of the
// mounted datasets.
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
// descendants, as an administrator would before destroying them.
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

// sshServer is an sshd used only by the tests, on a loopback port.
type sshServer struct {
	once sync.Once
	conf string
	err  error
	cmd  *exec.Cmd
	dir  string
}

var server sshServer

// start returns a configuration file of ssh that reaches the server as src.test, dst.test
// and third.test; nokey.test is refused, and down.test does not answer.
func (s *sshServer) start() (string, error) {
	s.once.Do(func() { s.err = s.run() })
	return s.conf, s.err
}

func (s *sshServer) run() error {
	sshd := lookPath(os.Getenv("PATH")+":/usr/sbin:/sbin:/usr/local/sbin", "sshd")
	if sshd == "" {
		return fmt.Errorf("sshd is not installed: the tests push and pull over ssh to this machine")
	}
	dir, err := os.MkdirTemp("", "zab-sshd-")
	if err != nil {
		return err
	}
	s.dir = dir
	for _, key := range []string{"host", "user", "other"} {
		out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ssh-keygen: %v: %s", err, out)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	pub, err := os.ReadFile(filepath.Join(dir, "user.pub"))
	if err != nil {
		return err
	}
	hostkey, err := os.ReadFile(filepath.Join(dir, "host.pub"))
	if err != nil {
		return err
	}
	write := func(name, text string) {
		if e := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); e != nil && err == nil {
			err = e
		}
	}
	write("authorized", string(pub))
	write("known", fmt.Sprintf("[127.0.0.1]:%d %s", port, hostkey))
	write("sshd_config", fmt.Sprintf(`Port %d
ListenAddress 127.0.0.1
HostKey %s/host
AuthorizedKeysFile %s/authorized
PidFile none
PermitRootLogin yes
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 100
MaxSessions 100
UsePAM no
SetEnv PATH=%s/far:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
`, port, dir, dir, dir))
	// Directory for stand-ins for programs on the far side.
	if e := os.Mkdir(filepath.Join(dir, "far"), 0o777); e != nil {
		return e
	}
	write("config", fmt.Sprintf(`Host src.test dst.test third.test
    Port %[1]d
    IdentityFile %[2]s/user
Host nokey.test
    Port %[1]d
    IdentityFile %[2]s/other
Host down.test
    Port 1
Host *
    HostName 127.0.0.1
    User root
    IdentitiesOnly yes
    UserKnownHostsFile %[2]s/known
    StrictHostKeyChecking yes
    ConnectTimeout 20
`, port, dir))
	if err != nil {
		return err
	}
	_ = os.MkdirAll("/run/sshd", 0o755) // sshd requires it
	s.cmd = exec.Command(sshd, "-D", "-e", "-f", filepath.Join(dir, "sshd_config"))
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.conf = filepath.Join(dir, "config")
	for range 100 {
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			c.Close()
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("the sshd for the tests does not answer")
}

func (s *sshServer) stop() {
	if s.cmd != nil && s.cmd.Process != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
	if s.dir != "" {
		os.RemoveAll(s.dir)
	}
}
