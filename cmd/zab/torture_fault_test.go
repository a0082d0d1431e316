package main_test

import (
	"bytes"
	_ "embed"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

var messagesFile = flag.String("messages", "../../lib/zfs/errors_test.go", "file with the messages that stand-ins for programs fail with")

// messages returns the messages of the catalogue in the tests of lib/zfs.
var messages = sync.OnceValue(func() []string {
	var out []string
	data, _ := os.ReadFile(*messagesFile)
	for _, m := range regexp.MustCompile(`(?m)^\t\{"[^"]*", ("(?:[^"\\]|\\.)*"), record\.Kind`).FindAllStringSubmatch(string(data), -1) {
		if s, err := strconv.Unquote(m[1]); err == nil {
			out = append(out, s)
		}
	}
	if len(out) < 50 {
		panic(fmt.Sprintf("%d messages in %s", len(out), *messagesFile))
	}
	return out
})

// fault is a fault of a run.
type fault struct {
	how string
	// for faults of a stand-in: the k-th call of a program with sub as its first argument
	program, sub string
	k            int
	arg          string
	message      string
	// for all other faults: when they occur
	delay time.Duration
	// later calls with the same fault
	more []int
	far  bool // on the far side of ssh
	// commands to run after the run
	undo []string
	hits int
	twin func() // waits for the other of two runs
}

func (f *fault) String() string {
	if f.program != "" {
		s := fmt.Sprintf("%s: %s %s number %d", f.how, f.program, f.sub, f.k)
		for _, k := range f.more {
			s += fmt.Sprintf(", %d", k)
		}
		if f.far {
			s += " beyond ssh"
		}
		if f.message != "" {
			s += fmt.Sprintf(", %.60q", f.message)
		}
		return s + " " + f.arg
	}
	return fmt.Sprintf("%s after %.1fs", f.how, f.delay.Seconds())
}

// kind returns the name under which the fault is counted.
func (f *fault) kind() string {
	if f.program != "" {
		if f.far {
			return "far " + f.program + " " + f.how
		}
		return f.program + " " + f.how
	}
	return f.how
}

// kills reports whether the fault may end zab before it prints its records.
func (f *fault) kills() bool {
	return strings.HasPrefix(f.how, "kill") || f.how == "signal" || strings.HasPrefix(f.how, "hangs") || strings.HasPrefix(f.how, "zab dies") ||
		strings.HasPrefix(f.how, "its parent")
}

// timed reports whether the fault occurs at a time, not at a call of a program.
func (f *fault) timed() bool { return f.program == "" }

func (h *history) drawFault(a *attempt) *fault {
	f := &fault{delay: time.Duration((0.05 + 0.85*h.rng.Float64()) * float64(h.typical))}
	timed := []string{"kill -9", "kill -9", "kill -9", "kill -9 zab", "kill -9 send or receive", "kill -9 send or receive", "signal", "pool full", "quota", "export", "two at once", "two at once"}
	if a.remote {
		timed = append(timed, "ssh cut", "ssh cut", "ssh cut", "ssh cut")
	}
	if a.target == "" {
		timed = timed[:4]
	}
	if h.one(3) {
		f.how = pick(h, timed...)
		return f
	}
	f.program = "zfs"
	subs := []string{"send", "receive", "receive", "hold", "release", "destroy", "snapshot", "list", "get", "set", "*", "*", "*"}
	f.sub, f.k = pick(h, subs...), 1
	if f.sub == "get" {
		f.sub = "list"
	}
	switch f.sub {
	case "send", "receive", "hold", "release", "list":
		f.k += h.rng.Intn(3)
	case "*":
		f.k += h.rng.Intn(18)
		// zab may tolerate one failing call, but not two.
		for k := f.k; h.one(2); {
			k += 1 + h.rng.Intn(4)
			f.more = append(f.more, k)
		}
	}
	switch {
	case a.remote && h.one(3):
		f.program, f.sub, f.k = "ssh", "*", 1+h.rng.Intn(9)
	case a.remote && h.one(2):
		f.far = true
	case slices.Contains(a.args, "--compress=zstd-fast") && h.one(2):
		f.program, f.sub, f.k = "zstd", "*", 1+h.rng.Intn(4)
	case slices.Contains(a.args, "--compress=lz4") && h.one(2):
		f.program, f.sub, f.k = "lz4", "*", 1+h.rng.Intn(4)
	}
	hows := []string{"fails", "fails", "fails late", "dies", "dies late", "its parent dies", "its parent dies late", "zab dies", "zab dies late", "cut", "killed soon"}
	if f.program != "zfs" || f.sub == "send" || f.sub == "receive" {
		hows = append(hows, "cut", "garbled", "garbled")
	}
	if f.program == "zfs" && f.sub == "receive" {
		hows = append(hows, "swallows", "swallows")
	}
	if h.one(8) {
		hows = []string{"hangs", "hangs late"} // it takes seconds until the run gives up
	}
	if f.program == "zfs" && f.sub == "list" {
		hows = []string{"cut line", "cut line", "cut line and fails", "cut line and fails", "garbled line", "garbled line and fails", "fails", "fails late", "dies late", "hangs late"}
	}
	f.how = pick(h, hows...)
	f.arg = strconv.Itoa(pick(h, 0, 1, 100, 312, 1000, 5000, 50000, 400000))
	if strings.Contains(f.how, "line") {
		f.arg = strconv.Itoa(1 + h.rng.Intn(1500))
	}
	if strings.HasPrefix(f.how, "fails") {
		f.arg = pick(h, "1", "1", "2", "255")
		f.message = h.drawMessage(f)
	}
	return f
}

// drawMessage draws the message of a failing stand-in.
func (h *history) drawMessage(f *fault) string {
	for {
		m := pick(h, messages()...)
		// zfs would not claim that an existing hold does not exist, nor that a missing
		// one exists.
		if lie := strings.Contains(m, "exist") || strings.Contains(m, "no such"); f.how == "fails" && lie && f.program != "zstd" && f.program != "lz4" {
			continue
		}
		return m
	}
}

// standIn is a script that replaces a program and injects the fault described in the file
// fault.
const standIn = `#!/bin/sh
d='%[1]s' real='%[2]s'
prog= sub= k= how= arg=
[ -f "$d/fault" ] && . "$d/fault"
[ "$prog" = '%[3]s' ] || exec "$real" "$@"
case $sub in "$1" | '*') ;; *) exec "$real" "$@" ;; esac
# Nothing but a stream can arrive changed: it is zfs that guards it.
case "$how $prog $*" in
garbled*ssh*'zfs send'*) flow=out ;;
garbled*ssh*'zfs receive'*) flow=in ;;
garbled*ssh*) exec "$real" "$@" ;;
*receive*) flow=in ;;
*) flow=out ;;
esac
i=1
while ! mkdir "$d/call.$i" 2>/dev/null; do i=$((i + 1)); done
case " $k " in *" $i "*) ;; *) exec "$real" "$@" ;; esac
{ printf '%%s ' "$$" "$@"; echo; } >>"$d/hit"
# Whoever is above, but not the test itself.
grand() {
	read -r _ _ _ g _ <"/proc/$PPID/stat"
	case $g in %[4]d | %[5]d | 1) g=$PPID ;; esac
	kill -9 "$g"
}
case $how in
fails) cat "$d/message" >&2; exit $arg ;;
fails_late) "$real" "$@"; cat "$d/message" >&2; exit $arg ;;
dies) kill -9 $$ ;;
dies_late) "$real" "$@"; kill -9 $$ ;;
hangs) exec sleep 3600 ;;
hangs_late) "$real" "$@"; exec sleep 3600 ;;
its_parent_dies) kill -9 $PPID; exec "$real" "$@" ;;
its_parent_dies_late) "$real" "$@"; kill -9 $PPID ;;
zab_dies) grand; exec "$real" "$@" ;;
zab_dies_late) "$real" "$@"; grand ;;
killed_soon) (sleep 0.$arg; kill -9 $$) >/dev/null 2>&1 </dev/null & exec "$real" "$@" ;;
cut)
	case $flow in
	in) head -c $arg | "$real" "$@" ;;
	*) "$real" "$@" | head -c $arg; kill -9 $$ ;;
	esac ;;
garbled)
	case $flow in
	in) { head -c $arg; head -c 16 >/dev/null; printf 0123456789abcdef; cat; } | "$real" "$@" ;;
	*) "$real" "$@" | { head -c $arg; head -c 16 >/dev/null; printf 0123456789abcdef; cat; } ;;
	esac ;;
swallows) cat >/dev/null ;;
# A list that ends in the middle of a line, or where bytes are others.
cut_line*)
	"$real" "$@" >"$d/list.$$" || exit
	size=$(stat -c %%s "$d/list.$$")
	n=$((arg %% (size + 1)))
	case $(head -c $n "$d/list.$$" | tail -c 1 | od -An -tx1) in *0a*) n=$((n - 1)) ;; esac
	head -c $n "$d/list.$$"
	case $how in *fails) echo 'cannot iterate filesystems: I/O error' >&2; exit 1 ;; esac ;;
garbled_line*)
	"$real" "$@" >"$d/list.$$" || exit
	size=$(stat -c %%s "$d/list.$$")
	n=$((arg %% (size + 1)))
	head -c $n "$d/list.$$"
	printf '\t\001\377\t\t'
	tail -c +$((n + 6)) "$d/list.$$"
	case $how in *fails) echo 'cannot iterate filesystems: I/O error' >&2; exit 1 ;; esac ;;
esac
`

// arm prepares the fault and returns a prefix for PATH.
func (f *fault) arm(h *history) string {
	quiet := func(format string, a ...any) { h.sh(format, a...) }
	switch f.how {
	case "pool full":
		p := poolOf(h.targets[h.rng.Intn(len(h.targets))])
		quiet("a=$(zfs get -Hpo value available %[1]s); zfs create -V $((a / 1048576 - 1))M %[1]s/fill", p)
		f.undo = append(f.undo, "zfs destroy "+p+"/fill; zpool sync "+p)
	case "quota":
		t := h.targets[h.rng.Intn(len(h.targets))]
		quiet("u=$(zfs get -Hpo value used %[1]s); zfs set quota=$((u + 100000)) %[1]s", t)
		f.undo = append(f.undo, "zfs set quota=none "+t)
	}
	if f.program == "" {
		return ""
	}
	d := filepath.Join(h.dir, "fault")
	_ = os.RemoveAll(d)
	_ = os.MkdirAll(d, 0o777)
	path := h.path
	at := d
	if f.far {
		at = filepath.Join(h.sshd.dir, "far")
	}
	for _, name := range []string{"zfs", "ssh", "zstd", "lz4"} {
		if real := lookPath(path, name); real != "" {
			_ = os.WriteFile(filepath.Join(at, name), fmt.Appendf(nil, standIn, d, real, name, os.Getpid(), h.sshd.cmd.Process.Pid), 0o777)
		}
	}
	_ = os.WriteFile(filepath.Join(d, "message"), []byte(f.message+"\n"), 0o666)
	_ = os.WriteFile(filepath.Join(d, "fault"), fmt.Appendf(nil, "prog='%s' sub='%s' k='%s' how=%s arg=%s\n", f.program, f.sub, strings.Trim(fmt.Sprint(append([]int{f.k}, f.more...)), "[]"), strings.ReplaceAll(f.how, " ", "_"), f.arg), 0o666)
	if f.far {
		return ""
	}
	return d + ":"
}

// strike injects the fault while zab runs, and reports whether it took effect.
func (f *fault) strike(h *history, zab int, done <-chan struct{}) bool {
	over := func(d time.Duration) bool {
		select {
		case <-done:
			return true
		case <-time.After(d):
			return false
		}
	}
	if f.program != "" {
		hit := func() bool {
			data, err := os.ReadFile(filepath.Join(h.dir, "fault", "hit"))
			f.hits = bytes.Count(data, []byte("\n"))
			return err == nil
		}
		if strings.HasPrefix(f.how, "hangs") {
			for !over(100 * time.Millisecond) {
				if hit() {
					// An impatient user ends zab.
					if !over(pick(h, 200*time.Millisecond, 200*time.Millisecond, 3000*time.Millisecond)) {
						h.say("# kill -TERM zab, which waits")
						_ = syscall.Kill(zab, syscall.SIGTERM)
					}
					return true
				}
			}
		}
		<-done
		return hit()
	}
	switch f.how {
	case "pool full", "quota":
		<-done
		return true
	case "kill -9 send or receive":
		for !over(20 * time.Millisecond) {
			var all []process
			for _, p := range h.victims(zab) {
				if c := p.cmdline(); strings.HasPrefix(c, "zfs send") || strings.HasPrefix(c, "zfs receive") {
					all = append(all, p)
				}
			}
			if len(all) > 0 {
				if over(f.delay / 2) {
					return false
				}
				return h.kill(pick(h, all...))
			}
		}
		return false
	}
	if over(f.delay) {
		return false
	}
	switch f.how {
	case "kill -9":
		if all := h.victims(zab); len(all) > 0 {
			return h.kill(pick(h, all...))
		}
	case "kill -9 zab":
		return syscall.Kill(zab, syscall.SIGKILL) == nil
	case "signal":
		s := pick(h, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
		h.say("# kill -%d zab", s)
		return syscall.Kill(zab, s) == nil
	case "ssh cut":
		all := processes()
		var list []process
		for pid := range below(all, h.sshd.cmd.Process.Pid) {
			if strings.HasPrefix(all[pid].name, "sshd") {
				list = append(list, all[pid])
			}
		}
		slices.SortFunc(list, func(a, b process) int { return a.pid - b.pid })
		if len(list) > 0 {
			return h.kill(pick(h, list...))
		}
	case "two at once":
		// Run the same command a little later by its clock. Either run may find that the
		// other holds the lock.
		cmd := h.again()
		h.say("# and at once: %s", strings.Join(cmd.Args, " "))
		if cmd.Start() != nil {
			return false
		}
		f.twin = func() {
			end := time.AfterFunc(endsWithin, func() { _ = cmd.Process.Kill() })
			err := cmd.Wait()
			if !end.Stop() {
				h.breaks("P4", "the second of two runs does not end")
			}
			h.say("# the second: %v %s", err, cmd.Stderr)
		}
		<-done
		return true
	case "export":
		p := pick(h, h.pools()...)
		out, err := exec.Command("zpool", "export", "-f", p).CombinedOutput()
		h.say("zpool export -f %s # %s", p, strings.TrimSpace(string(out)))
		if err != nil {
			h.sum.add(&h.sum.impossible)
			return false
		}
		f.arg = p
		f.undo = append(f.undo, "zpool import -l -d "+h.dir+" "+p)
		<-done
		return true
	}
	return false
}

// victims returns the processes of a run, on both sides.
func (h *history) victims(zab int) []process {
	all := processes()
	set := below(all, zab)
	set[zab] = true
	for pid := range below(all, h.sshd.cmd.Process.Pid) {
		set[pid] = true
	}
	var out []process
	for pid := range set {
		if p, ok := all[pid]; ok && p.state != "Z" {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b process) int { return a.pid - b.pid })
	return out
}

func (h *history) kill(p process) bool {
	c := p.cmdline()
	h.say("# kill -9 %d %.100s", p.pid, c)
	return syscall.Kill(p.pid, syscall.SIGKILL) == nil
}

// disarm ends the fault and runs its undo commands.
func (f *fault) disarm(h *history) {
	_ = os.Remove(filepath.Join(h.dir, "fault", "fault"))
	if f.far {
		list, _ := filepath.Glob(filepath.Join(h.sshd.dir, "far", "*"))
		for _, name := range list {
			_ = os.Remove(name)
		}
	}
	if f.program != "" {
		if hit, err := os.ReadFile(filepath.Join(h.dir, "fault", "hit")); err == nil {
			h.say("# it was: %s", hit)
		}
	}
	h.left()
	for _, line := range f.undo {
		for i := range 20 {
			if _, ok := h.sh("%s", line); ok || i == 19 {
				break
			}
			time.Sleep(300 * time.Millisecond)
		}
	}
}
