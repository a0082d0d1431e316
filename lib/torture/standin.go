package torture

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"zab/lib/zabtest"
)

// drawAction draws the action of a stand-in for the program and command of a fault. Each
// name is a case of the script standIn, with _ for spaces.
func (h *history) drawAction(f *fault) {
	actions := []string{"fails", "fails", "fails late", "dies", "dies late", "its parent dies", "its parent dies late", "zab dies", "zab dies late", "cut", "killed soon"}
	if f.program != "zfs" || f.command == "send" || f.command == "receive" {
		actions = append(actions, "cut", "garbled", "garbled")
	}
	if f.program == "zfs" && f.command == "receive" {
		actions = append(actions, "swallows", "swallows")
	}
	if h.oneIn(8) {
		actions = []string{"hangs", "hangs late"} // it takes seconds until the run gives up
	}
	if f.program == "zfs" && f.command == "list" {
		actions = []string{"cut line", "cut line", "cut line and fails", "cut line and fails", "garbled line", "garbled line and fails", "fails", "fails late", "dies late", "hangs late"}
	}
	f.action = pick(h, actions...)
	f.arg = strconv.Itoa(pick(h, 0, 1, 100, 312, 1000, 5000, 50000, 400000))
	if strings.Contains(f.action, "line") {
		f.arg = strconv.Itoa(1 + h.rng.Intn(1500))
	}
	if strings.HasPrefix(f.action, "fails") {
		f.arg = pick(h, "1", "1", "2", "255")
		f.message = h.drawMessage(f)
	}
}

// drawStageAction is drawAction for a stage that runs alone.
func (h *history) drawStageAction(f *fault) {
	f.action = pick(h, "dies", "dies late", "its parent dies", "its parent dies", "its parent dies late", "its parent dies late", "killed soon", "cut", "fails", "fails late")
	if h.oneIn(15) {
		f.action = pick(h, "hangs", "hangs late") // it takes seconds until the run gives up
	}
	if f.command == "receive" && h.oneIn(4) {
		f.action = pick(h, "swallows", "garbled")
	}
	if f.action == "killed soon" || strings.HasPrefix(f.action, "fails") {
		f.arg = "1"
	}
	if strings.HasPrefix(f.action, "fails") {
		f.message = h.drawMessage(f)
	}
}

// drawMessage draws the message of a failing stand-in.
func (h *history) drawMessage(f *fault) string {
	for {
		m := pick(h, h.config.Messages...)
		// zfs would not claim that an existing hold does not exist, nor that a missing
		// one exists.
		if lie := strings.Contains(m, "exist") || strings.Contains(m, "no such"); f.action == "fails" && lie && f.program != "zstd" && f.program != "lz4" {
			continue
		}
		return m
	}
}

// standIn is the script that stands in for a program and performs the action that is
// described in the file fault; other calls it hands on to the program.
const standIn = `#!/bin/sh
d='%[1]s' real='%[2]s'
program= command= calls= action= arg=
[ -f "$d/fault" ] && . "$d/fault"
[ "$program" = '%[3]s' ] || exec "$real" "$@"
case $command in "$1" | '*') ;; *) exec "$real" "$@" ;; esac
# Through ssh only streams are garbled: zfs checks them.
case "$action $program $*" in
garbled*ssh*'zfs send'*) flow=out ;;
garbled*ssh*'zfs receive'*) flow=in ;;
garbled*ssh*) exec "$real" "$@" ;;
*receive*) flow=in ;;
*) flow=out ;;
esac
i=1
while ! mkdir "$d/call.$i" 2>/dev/null; do i=$((i + 1)); done
case " $calls " in *" $i "*) ;; *) exec "$real" "$@" ;; esac
{ printf '%%s ' "$$" "$@"; echo; } >>"$d/hit"
# Kills the grandparent, or the parent if that is the test, its sshd or init.
kill_grandparent() {
	read -r _ _ _ pid _ <"/proc/$PPID/stat"
	case $pid in %[4]d | %[5]d | 1) pid=$PPID ;; esac
	kill -9 "$pid"
}
case $action in
fails) cat "$d/message" >&2; exit $arg ;;
fails_late) "$real" "$@"; cat "$d/message" >&2; exit $arg ;;
dies) kill -9 $$ ;;
dies_late) "$real" "$@"; kill -9 $$ ;;
hangs) exec sleep 3600 ;;
hangs_late) "$real" "$@"; exec sleep 3600 ;;
its_parent_dies) kill -9 $PPID; exec "$real" "$@" ;;
its_parent_dies_late) "$real" "$@"; kill -9 $PPID ;;
zab_dies) kill_grandparent; exec "$real" "$@" ;;
zab_dies_late) "$real" "$@"; kill_grandparent ;;
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
# A list that ends within a line, or in which some bytes are others.
cut_line*)
	"$real" "$@" >"$d/list.$$" || exit
	size=$(stat -c %%s "$d/list.$$")
	n=$((arg %% (size + 1)))
	case $(head -c $n "$d/list.$$" | tail -c 1 | od -An -tx1) in *0a*) n=$((n - 1)) ;; esac
	head -c $n "$d/list.$$"
	case $action in *fails) echo 'cannot iterate filesystems: I/O error' >&2; exit 1 ;; esac ;;
garbled_line*)
	"$real" "$@" >"$d/list.$$" || exit
	size=$(stat -c %%s "$d/list.$$")
	n=$((arg %% (size + 1)))
	head -c $n "$d/list.$$"
	printf '\t\001\377\t\t'
	tail -c +$((n + 6)) "$d/list.$$"
	case $action in *fails) echo 'cannot iterate filesystems: I/O error' >&2; exit 1 ;; esac ;;
esac
`

// standIns are the programs that get stand-ins.
var standIns = []string{"zfs", "ssh", "zstd", "lz4"}

// placeStandIns writes the stand-ins and the file fault. It returns a prefix for PATH,
// which is "" on the far side of ssh, where PATH has them already.
func (f *fault) placeStandIns(h *history) string {
	dir := filepath.Join(h.dir, "fault")
	_ = os.RemoveAll(dir)
	_ = os.MkdirAll(dir, 0o777)
	bin := dir
	if f.overSSH {
		bin = filepath.Join(h.sshd.Dir, "far")
	}
	for _, name := range standIns {
		if real := zabtest.LookPath(h.path, name); real != "" {
			_ = os.WriteFile(filepath.Join(bin, name), fmt.Appendf(nil, standIn, dir, real, name, os.Getpid(), h.sshd.PID()), 0o777)
		}
	}
	calls := strings.Trim(fmt.Sprint(append([]int{f.call}, f.moreCalls...)), "[]")
	_ = os.WriteFile(filepath.Join(dir, "message"), []byte(f.message+"\n"), 0o666)
	_ = os.WriteFile(filepath.Join(dir, "fault"), fmt.Appendf(nil, "program='%s' command='%s' calls='%s' action=%s arg=%s\n", f.program, f.command, calls, strings.ReplaceAll(f.action, " ", "_"), f.arg), 0o666)
	if f.overSSH {
		return ""
	}
	return dir + ":"
}

// removeStandIns removes the file fault, and the stand-ins on the far side of ssh.
func (f *fault) removeStandIns(h *history) {
	_ = os.Remove(filepath.Join(h.dir, "fault", "fault"))
	if f.overSSH {
		list, _ := filepath.Glob(filepath.Join(h.sshd.Dir, "far", "*"))
		for _, name := range list {
			_ = os.Remove(name)
		}
	}
	if hit, err := os.ReadFile(filepath.Join(h.dir, "fault", "hit")); err == nil {
		h.say("# it was: %s", hit)
	}
}

// awaitHit waits until zab ends, and reports whether a stand-in performed its action.
func (f *fault) awaitHit(h *history, zab running) bool {
	hit := func() bool {
		data, err := os.ReadFile(filepath.Join(h.dir, "fault", "hit"))
		f.hits = bytes.Count(data, []byte("\n"))
		return err == nil
	}
	if strings.HasPrefix(f.action, "hangs") {
		for !zab.endsWithin(100 * time.Millisecond) {
			if hit() {
				// An impatient user ends zab.
				if !zab.endsWithin(pick(h, 200*time.Millisecond, 200*time.Millisecond, 3000*time.Millisecond)) {
					h.say("# kill -TERM zab, which waits")
					_ = syscall.Kill(zab.pid, syscall.SIGTERM)
				}
				return true
			}
		}
	}
	<-zab.done
	return hit()
}
