package zfs

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"zab/lib/record"
)

// Messages that programs were seen to print, with the kind that each means. Those of zfs
// 2.3.2 were collected on a machine with real pools, those of "source" are in OpenZFS's
// libzfs, those of a tracker and a number in an issue there.
var messages = []struct {
	seen, message string
	kind          record.ErrorKind
}{
	// no zfs
	{"zfs 2.3.2", "/dev/zfs and /proc/self/mounts are required.\nTry running 'udevadm trigger' and 'mount -t proc proc /proc' as root.", record.KindNoZFS},
	{"source 2.3", "The ZFS modules are not loaded.\nTry running 'modprobe zfs' as root to load them.", record.KindNoZFS},
	{"source 2.3", "The ZFS modules cannot be auto-loaded.\nTry running 'modprobe zfs' as root to manually load them.", record.KindNoZFS},
	{"zfs 0.6", "Unable to open /dev/zfs: No such file or directory.", record.KindNoZFS},
	{"zfs 2.3.2", "internal error: failed to read pool configuration: Inappropriate ioctl for device\nAborted", record.KindOther},

	// does not exist
	{"zfs 2.3.2", "cannot open 'tank/nope': dataset does not exist", record.KindNotFound},
	{"zfs 2.3.2", "cannot open 'tank/a@nope': dataset does not exist\nno datasets available", record.KindNotFound},
	{"zfs 2.3.2", "cannot open 'tank/a#nope': no such pool or dataset", record.KindNotFound},
	{"zfs 2.3.2", "Cannot get properties of nopool: no such pool available.", record.KindNotFound},
	{"zfs 2.3.2", "cannot open 'nopool': no such pool\ncannot open pool 'nopool'", record.KindNotFound},
	{"zfs 2.3.2", "could not find any snapshots to destroy; check snapshot names.", record.KindNotFound},
	{"zfs 2.3.2", "bookmark 'tank/a#nope' does not exist.", record.KindNotFound},
	{"zfs 2.3.2", "cannot hold snapshot 'tank/a@nope': dataset does not exist", record.KindNotFound},
	{"zfs 2.3.2", "cannot release hold from snapshot 'tank/a@1': no such tag on this dataset", record.KindNotFound},
	{"zfs 2.3.2", "cannot open 'backup/x': dataset does not exist\ncannot receive new filesystem stream: unable to restore to destination", record.KindNotFound},
	{"zfs 2.3.2", "cannot receive incremental stream: destination 'backup/nope' does not exist", record.KindNotFound},
	{"zfs 2.3.2", "'backup/b' does not have any resumable receive state to abort", record.KindNotFound},
	{"zfs 2.3.2", "cannot create 'tank/x/y/z': parent does not exist", record.KindNotFound},

	// exists already
	{"zfs 2.3.2", "cannot create 'tank/a': dataset already exists", record.KindExists},
	{"zfs 2.3.2", "cannot create snapshot 'tank/a@1': dataset already exists", record.KindExists},
	{"zfs 2.3.2", "cannot create bookmark 'tank/a#1': bookmark exists", record.KindExists},
	{"zfs 2.3.2", "cannot hold snapshot 'tank/a@1': tag already exists on this dataset", record.KindExists},
	{"zfs 2.3.2", "cannot receive new filesystem stream: destination 'backup/b' exists\nmust specify -F to overwrite it", record.KindExists},
	{"zfs 2.3.2", "cannot receive new filesystem stream: destination has snapshots (eg. backup/new@1)\nmust destroy them to overwrite it", record.KindExists},
	{"source 2.3", "cannot restore to backup/new@1: destination already exists", record.KindExists},
	{"ZA #191", "cannot receive new filesystem stream: destination exists", record.KindExists},

	// in use
	{"zfs 2.3.2", "cannot destroy snapshot tank/a@1: it's being held. Run 'zfs holds -r tank/a@1' to see holders.", record.KindHeld},
	{"zfs 2.3.2", "cannot destroy 'tank/a@3': snapshot has dependent clones\nuse '-R' to destroy the following datasets:\ntank/clone", record.KindClones},
	{"zfs 2.3.2", "cannot destroy 'backup/new@3': snapshot has dependent clones\nuse '-R' to destroy the following datasets:\nbackup/new/%recv", record.KindClones},
	{"zfs 2.3.2", "cannot destroy snapshot backup/bi@1: snapshot is cloned", record.KindClones},
	{"zfs 2.3.2", "cannot destroy snapshot tank/huge@1: dataset is busy", record.KindBusy},
	{"zfs 2.3.2", "cannot destroy 'backup/bi/%recv': dataset is busy", record.KindBusy},
	{"zfs 2.3.2", "cannot create snapshot 'backup/busy@x': dataset is busy", record.KindBusy},
	{"zfs 2.3.2", "cannot unmount '/tank/a': pool or dataset is busy", record.KindBusy},
	{"source 2.3", "cannot export 'tank': pool is busy", record.KindBusy},
	{"zfs 2.3.2", "cannot mount 'tank/a': filesystem already mounted", record.KindMounted},
	{"zfs 2.3.2", "cannot mount '/backup/tank/a': failed to create mountpoint: Read-only file system", record.KindReadOnly},

	{"zfs 2.3.2", "cannot hold: pool is read-only", record.KindReadOnlyPool},
	{"zfs 2.3.2", "cannot release: pool is read-only", record.KindReadOnlyPool},
	{"zfs 2.3.2", "cannot create snapshots : pool is read-only", record.KindReadOnlyPool},
	{"zfs 2.3.2", "cannot create bookmark 'tank/a#x': pool is read-only", record.KindReadOnlyPool},
	{"zfs 2.3.2", "cannot destroy snapshots: pool is read-only", record.KindReadOnlyPool},
	{"zfs 2.3.2", "cannot receive incremental stream: 'sharenfs' cannot be set on dataset in a non-global zone\ncannot receive incremental stream: invalid property value", record.KindZoned},
	{"zfs 2.3.2", "cannot mount 'backup/z': dataset is exported to a local zone", record.KindZoned},

	// with the output of a login script
	{"dash", "mesg: ttyname failed: Inappropriate ioctl for device\ncannot release hold from snapshot 'tank/a@1': no such tag on this dataset", record.KindNotFound},
	{"bash 5", "/root/.bashrc: line 3: foo: command not found\ncannot open 'tank/nope': dataset does not exist", record.KindNotFound},
	{"bash 5", "bash: warning: setlocale: LC_ALL: cannot change locale (de_DE.UTF-8)\ncannot open 'tank/a': I/O error", record.KindPoolIO},
	{"bash 5", "-bash: /etc/profile.d/x.sh: Permission denied\ncannot hold snapshot 'tank/a@1': tag already exists on this dataset", record.KindExists},
	{"bash 5", "/root/.bashrc: line 3: foo: command not found", record.KindMissingProgram},

	// the copy does not fit
	{"zfs 2.3.2", "cannot receive incremental stream: destination backup/new has been modified\nsince most recent snapshot", record.KindModified},
	{"zfs 2.3.2", "cannot receive resume stream: destination backup/pp1 has been modified\nsince most recent snapshot", record.KindModified},
	{"zfs 2.3.2", "cannot receive incremental stream: most recent snapshot of backup/other does not\nmatch incremental source", record.KindNoBase},
	{"ZA #261", "cannot receive incremental stream: most recent snapshot of backup/other does not match incremental source", record.KindNoBase},
	{"zfs 2.3.2", "warning: cannot send 'tank/a@3': not an earlier snapshot from the same fs", record.KindNoBase},
	{"zfs 2.3", "warning: cannot send 'tank/a@3': incremental source (tank/a#base) does not exist", record.KindNoBase},

	// broken off: the partial receive is saved, and the token is good
	{"zfs 2.3.2", "cannot receive new filesystem stream: checksum mismatch or incomplete stream.\nPartially received snapshot is saved.\nA resuming stream can be generated on the sending system by running:\n    zfs send -t 1-c29ce4cef-b8-789c", record.KindPartial},
	{"zfs 2.3.2", "cannot receive resume stream: checksum mismatch or incomplete stream.\nPartially received snapshot is saved.\nA resuming stream can be generated on the sending system by running:\n    zfs send -t 1-c15cf64b3-b8-789c", record.KindPartial},
	{"source 2.1", "cannot receive incremental stream: checksum mismatch\nPartially received snapshot is saved.", record.KindPartial},
	{"zfs 2.3.2", "cannot receive new filesystem stream: incomplete stream", record.KindPartial},
	{"zfs 2.3.2", "cannot receive: failed to read from stream", record.KindPartial},
	{"zfs 2.3.2", "cannot receive: invalid stream (bad magic number)", record.KindStream},
	{"zfs 2.3.2", "cannot receive: cannot specify snapshot name for multi-snapshot stream", record.KindForeignStream},
	{"zfs 2.3.2", "cannot open 'backup/busy': dataset does not exist\ncannot receive new filesystem stream: invalid backup stream", record.KindStream},
	{"zfs 2.3.2", "cannot receive new filesystem stream: out of space", record.KindNoSpace},
	{"zfs 2.3.2", "cannot receive resume stream: out of space", record.KindNoSpace},
	{"zfs 2.3.2", "cannot receive new filesystem stream: destination backup/q/h space quota exceeded.", record.KindNoSpace},
	{"NAS-111800", "cannot receive resume stream:  space quota exceeded.", record.KindNoSpace},
	{"zstd 1.5", "zstd: error 70 : Write error : cannot write block : No space left on device", record.KindNoSpace},

	// the token is unusable
	{"zfs 2.3.2", "cannot resume send: 'tank/a@4' used in the initial send no longer exists", record.KindStaleToken},
	{"OZ #8801", "'tank/a@4' used in the initial send no longer exists", record.KindStaleToken},
	{"zfs 2.3.2", "cannot resume send: 'tank/a@4' is no longer the same snapshot used in the initial send", record.KindStaleToken},
	{"source 2.3", "cannot resume send: incremental source 0xa000000000000000 no longer exists", record.KindStaleToken},
	{"zfs 2.3.2", "cannot resume send: resume token is corrupt (incorrect checksum)", record.KindStaleToken},
	{"source 2.3", "resume token is corrupt (nvlist_unpack failed)", record.KindStaleToken},
	{"zfs 2.3.2", "cannot receive resume stream: kernel modules must be upgraded to receive this stream.", record.KindStaleToken},
	{"zfs 2.3.2", "cannot receive resume stream: destination 'backup/p3' does not exist", record.KindStaleToken},
	{"OZ #10234", "cannot receive resume stream: IV set guid missing. See errata 4 at https://openzfs.github.io/openzfs-docs/msg/ZFS-8000-ER.", record.KindStaleToken},
	{"OZ #12480", "cannot receive resume stream: incompatible embedded data stream feature with encrypted receive.", record.KindStaleToken},
	{"zfs 2.3.2", "cannot receive incremental stream: destination backup/new contains partially-complete state from \"zfs receive -s\".", record.KindBusy},
	{"zfs 2.3.2", "cannot receive resume stream: destination backup/new contains partially-complete state from \"zfs receive -s\".", record.KindBusy},

	// unsupported features
	{"ZA #259", "cannot receive incremental stream: kernel modules must be upgraded to receive this stream.", record.KindFeature},
	{"source 2.3", "cannot receive: stream has unsupported feature, feature flags = 3000000 (unknown flags = 2000000)", record.KindFeature},
	{"zfs 2.3.2", "cannot receive new filesystem stream: pool must be upgraded to receive this stream.", record.KindFeature},
	{"zfs 2.3.2", "cannot receive incremental stream: incremental send stream requires -L (--large-block), to match previous receive.", record.KindFeature},
	{"zfs 2.3.2", "cannot receive new filesystem stream: incompatible embedded data stream feature with encrypted receive.", record.KindFeature},
	{"zfs 2.3.2", "cannot create 'old/x': Encryption feature not enabled.", record.KindFeature},
	{"source 2.3", "cannot receive incremental stream: Spill block flag missing for raw send.\nThe zfs software on the sending system must be updated.", record.KindFeature},

	// encryption
	{"zfs 2.3.2", "cannot receive incremental stream: inherited key must be loaded", record.KindKey},
	{"zfs 2.3.2", "warning: cannot send 'tank/enc@1': dataset key must be loaded", record.KindKey},
	{"zfs 2.1", "warning: cannot send 'tank/enc@1': source key must be loaded", record.KindKey},
	{"zfs 2.3.2", "cannot mount 'tank/enc': encryption key not loaded", record.KindKey},
	{"zfs 2.3.2", "cannot create 'backup/enc/q': encryption root's key is not loaded or provided", record.KindKey},
	{"zfs 2.3.2", "Key load error: Incorrect key provided for 'backup/enc'.", record.KindKey},
	{"source 2.3", "cannot receive incremental stream: encryption key does not match existing key", record.KindKey},
	{"source 2.3", "cannot receive new filesystem stream: failed to create encryption key", record.KindKey},
	{"zfs 2.3.2", "cannot send tank/enc@1: encrypted dataset tank/enc may not be sent with properties without the raw flag\nwarning: cannot send 'tank/enc@1': backup failed", record.KindEncryption},
	{"zfs 2.3.2", "cannot receive incremental stream: cannot perform raw receive on top of existing unencrypted dataset", record.KindEncryption},
	{"zfs 2.3.2", "cannot receive incremental stream: IV set guid mismatch. See the 'zfs receive' man page section\n discussing the limitations of raw encrypted send streams.", record.KindEncryption},
	{"source 2.3", "cannot receive incremental stream: IV set guid missing. See errata 4 at https://openzfs.github.io/openzfs-docs/msg/ZFS-8000-ER.", record.KindEncryption},
	{"zfs 2.3.2", "cannot receive new filesystem stream: encryption property 'encryption' cannot be set or excluded for raw streams.", record.KindEncryption},
	{"zfs 2.1.11", "cannot receive incremental stream: encryption property 'encryption' cannot be set for incremental streams.", record.KindEncryption},
	{"zfs 2.3.2", "cannot receive resume stream: encryption property 'encryption' cannot be set for incremental streams.", record.KindStaleToken},
	{"zfs 2.3.2", "cannot receive incremental stream: Encryption must be turned on to set encryption properties.", record.KindEncryption},
	{"zfs 2.3.2", "cannot receive new filesystem stream: Keyformat required for new encryption root.", record.KindEncryption},
	{"zfs 2.3.2", "cannot receive new filesystem stream: inherited key must be loaded", record.KindKey},
	{"zfs 2.3.2", "cannot receive new filesystem stream: zfs receive -F cannot be used to destroy an encrypted filesystem or overwrite an unencrypted one with an encrypted one", record.KindEncryption},
	{"source 2.3", "cannot receive new filesystem stream: stream uses crypto parameters not compatible with this pool", record.KindEncryption},

	// the pool fails
	{"source 2.3", "cannot open 'tank': pool I/O is currently suspended", record.KindPoolIO},
	{"source 2.3", "cannot receive resume stream: pool I/O is currently suspended", record.KindPoolIO},
	{"source 2.3", "cannot open 'tank/a': pool is unavailable", record.KindPoolIO},
	{"source 2.3", "cannot open 'tank/a': I/O error", record.KindPoolIO},
	{"zstd 1.5", "zstd: /*stdin*\\: Input/output error", record.KindPoolIO},

	// not allowed
	{"zfs 2.3.2", "cannot create snapshots : permission denied", record.KindPermission},
	{"zfs 2.3.2", "cannot destroy snapshots: permission denied", record.KindPermission},
	{"source 2.3", "cannot receive resume stream: permission denied", record.KindPermission},
	{"zfs 2.3.2", "cannot receive canmount property on backup/pp: permission denied", record.KindPermission},
	{"zfs 2.3.2", "filesystem successfully created, but it may only be mounted by root", record.KindPermission},
	{"zfs 2.3.2", "Channel program execution failed:\nPermission denied. Channel programs must be run as root.", record.KindPermission},
	{"illumos", "cannot mount 'tank/a': Insufficient privileges", record.KindPermission},
	{"mount(2)", "cannot mount 'tank/a': Operation not permitted", record.KindPermission},

	// ssh
	{"OpenSSH 9.2", "No ED25519 host key is known for vault and you have requested strict checking.\nHost key verification failed.", record.KindHostKey},
	{"OpenSSH 9.2", "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @", record.KindHostKey},
	{"OpenSSH 9.2", "nobody@vault: Permission denied (publickey).", record.KindAuth},
	{"OpenSSH 9.2", "Received disconnect from 192.0.2.1 port 22:2: Too many authentication failures", record.KindAuth},
	{"OpenSSH 9.2", "ssh: Could not resolve hostname vault: Temporary failure in name resolution", record.KindUnreachable},
	{"OpenSSH 9.2", "ssh: connect to host vault port 22: Connection refused", record.KindUnreachable},
	{"OpenSSH 9.2", "ssh: connect to host vault port 22: Connection timed out", record.KindUnreachable},
	{"OpenSSH 9.2", "ssh: connect to host vault port 22: No route to host", record.KindUnreachable},
	{"OpenSSH 9.2", "ssh: connect to host vault port 22: Network is unreachable", record.KindUnreachable},
	{"OpenSSH 9.2", "Connection closed by UNKNOWN port 65535", record.KindUnreachable},
	{"OpenSSH 9.2", "Connection to vault closed by remote host.", record.KindUnreachable},
	{"OpenSSH 9.2", "Read from remote host vault: Connection reset by peer", record.KindUnreachable},
	{"OpenSSH 9.2", "kex_exchange_identification: read: Broken pipe", record.KindUnreachable},
	{"OpenSSH 9.2", "client_loop: send disconnect: Broken pipe", record.KindUnreachable},
	{"OpenSSH 9.2", "Timeout, server vault not responding.", record.KindUnreachable},
	{"OpenSSH 9.2", "mux_client_request_session: read from master failed: Broken pipe", record.KindUnreachable},
	{"OpenSSH 7.4", "packet_write_wait: Connection to 192.0.2.1 port 22: Broken pipe", record.KindUnreachable},

	// shells
	{"bash 5.2", "bash: line 1: zstd: command not found", record.KindMissingProgram},
	{"dash 0.5.12", "/bin/sh: 1: zstd: not found", record.KindMissingProgram},
	{"busybox 1.35", "sh: zstd: not found", record.KindMissingProgram},
	{"bash 5.2", "bash: line 1: /nosuch/program: No such file or directory", record.KindMissingProgram},
	{"Go 1.26", `exec: "zfs": executable file not found in $PATH`, record.KindMissingProgram},
	{"bash 5.2", "bash: line 1: /usr/sbin/zfs: Argument list too long", record.KindTooLong},
	{"dash 0.5.12", "/bin/sh: 1: /root/key: Permission denied", record.KindPermission},

	// messages that are in no catalogue keep zfs's own words and have no other kind
	{"zfs 2.3.2", "cannot mount '/mnt/x': directory is not empty\nfilesystem successfully created, but not mounted", record.KindOther},
	{"zfs 2.3.2", "cannot receive new filesystem stream: property 'mountpoint' does not apply to datasets of this type", record.KindOther},
	{"zfs 2.3.2", "cannot rollback to 'backup/new@3': more recent snapshots or bookmarks exist\nuse '-r' to force deletion of the following snapshots and bookmarks:\nbackup/new@x", record.KindOther},
	{"zfs 2.3.2", "cannot create snapshot 'tank/a@b;c': invalid character ';' in name", record.KindOther},
}

func TestClassify(t *testing.T) {
	for _, m := range messages {
		if got := classify(splitLines(m.message)); got != m.kind {
			t.Errorf("%s: %q is %s, should be %s", m.seen, m.message, got, m.kind)
		}
	}
}

// Every pattern decides a message of the table, and none follows one that matches all of
// its messages.
func TestCatalogueIsSeen(t *testing.T) {
	used := map[string]bool{}
	for _, m := range messages {
		for _, l := range splitLines(m.message) {
			for _, p := range catalogue {
				if strings.Contains(strings.ToLower(l), p.text) {
					used[p.text] = true
					break
				}
			}
		}
	}
	for i, p := range catalogue {
		if p.text != strings.ToLower(p.text) {
			t.Errorf("%q can match nothing: it is not in lower case", p.text)
		}
		if !used[p.text] {
			t.Errorf("no message in the table is decided by %q", p.text)
		}
		for _, before := range catalogue[:i] {
			if strings.Contains(p.text, before.text) {
				t.Errorf("%q is never reached, for %q takes its messages", p.text, before.text)
			}
		}
	}
}

// Messages are one line in zfs's own words, without the lines that nobody needs.
func TestOneLine(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"cannot open 'tank/x': dataset does not exist\n", "cannot open 'tank/x': dataset does not exist"},
		{"destination backup/new has been modified\nsince most recent snapshot\n", "destination backup/new has been modified; since most recent snapshot"},
		{"a\r\n\n\tb\tc\n", "a; b c"},
		{"cannot receive: incomplete stream.\nPartially received snapshot is saved.\nA resuming stream can be generated on the sending system by running:\n    zfs send -t 1-c2\n", "cannot receive: incomplete stream.; Partially received snapshot is saved."},
		{"cannot open 'tank/nope': dataset does not exist\nusage:\n\tsnapshot [-r] ...\n\nFor the property list, run: zfs set|get\n", "cannot open 'tank/nope': dataset does not exist"},
		{"Channel program execution failed:\ncannot create snapshot 'tank/a@1': dataset is busy\nstack traceback:\n\t[C]: in function 'error'\n", "Channel program execution failed:; cannot create snapshot 'tank/a@1': dataset is busy"},
		{"zfs: broken\nShared connection to vault closed.\n", "zfs: broken"},
		{"", ""},
	} {
		if got := (&Error{Lines: splitLines(c.in)}).Message(); got != c.want {
			t.Errorf("%q becomes %q, should be %q", c.in, got, c.want)
		}
	}
}

func TestTolerate(t *testing.T) {
	fail := func(text string) error {
		return &Error{Kind: classify(splitLines(text)), Argv: []string{"zfs"}, Code: 1, Lines: splitLines(text)}
	}
	gone := "cannot hold snapshot 'tank/a@1': dataset does not exist"
	tag := "cannot hold snapshot 'tank/a@2': tag already exists on this dataset"
	busy := "cannot hold snapshot 'tank/a@3': dataset is busy"
	for _, c := range []struct {
		text string
		fine record.ErrorKind
		left string
		kind record.ErrorKind
	}{
		{tag, record.KindExists, "", ""},
		{tag + "\n" + tag, record.KindExists, "", ""},
		{tag + "\n" + busy, record.KindExists, busy, record.KindBusy},
		{gone + "\n" + tag, record.KindNotFound, tag, record.KindExists},
		{busy, record.KindExists, busy, record.KindBusy},
		// A failure without a message is never ignored.
		{"", record.KindOther, "zfs failed without a word, exit status 1", record.KindOther},
	} {
		err := ignoreKind(fail(c.text), c.fine)
		switch {
		case c.left == "" && err != nil:
			t.Errorf("%q leaves %q", c.text, err)
		case c.left != "" && (err == nil || err.Error() != c.left || KindOf(err) != c.kind):
			t.Errorf("%q leaves %v (%s), should leave %q (%s)", c.text, err, KindOf(err), c.left, c.kind)
		}
	}
	if other := errors.New("x"); ignoreKind(other, record.KindExists) != other {
		t.Error("an error that is not zfs's is changed")
	}
}

// The exit status or signal of a program decides the kind if its messages do not.
func TestFailures(t *testing.T) {
	m := &Machine{}
	ctx := context.Background()
	for _, c := range []struct {
		argv    []string
		kind    record.ErrorKind
		message string
	}{
		{[]string{"/bin/sh", "-c", "exit 3"}, record.KindOther, "/bin/sh failed without a word, exit status 3"},
		{[]string{"/bin/sh", "-c", "exit 255"}, record.KindOther, "/bin/sh failed without a word, exit status 255"},
		{[]string{"/bin/sh", "-c", "exit 127"}, record.KindMissingProgram, "/bin/sh: command not found"},
		{[]string{"/bin/sh", "-c", "kill -9 $$"}, record.KindKilled, "/bin/sh was ended by signal 9 (killed)"},
		{[]string{"/bin/sh", "-c", "echo out of space >&2; kill -9 $$"}, record.KindKilled, "out of space"},
		{[]string{"zab-no-such-program"}, record.KindMissingProgram, `exec: "zab-no-such-program": executable file not found in $PATH`},
		{[]string{"/bin/echo", strings.Repeat("x", 200<<10)}, record.KindTooLong, "fork/exec /bin/echo: argument list too long"},
	} {
		err := m.Host("").run(ctx, c.argv...)
		if KindOf(err) != c.kind || err == nil || err.Error() != c.message {
			t.Errorf("%.60q: %v (%s), should be %q (%s)", c.argv, err, KindOf(err), c.message, c.kind)
		}
	}
	var e *Error
	if err := m.Host("").run(ctx, "/bin/sh", "-c", "kill -15 $$"); !errors.As(err, &e) || e.Signal != syscall.SIGTERM {
		t.Errorf("the signal is lost: %#v", err)
	}
}

// fakeSSH puts a program named ssh on PATH that runs its last argument here, as sshd
// would have the login shell do.
func fakeSSH(t *testing.T, script string) *Host {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/ssh", []byte("#!/bin/sh\nfor line; do :; done\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv(ControlEnv, "none")
	return (&Machine{}).Host("root@vault")
}

func TestRemoteFailures(t *testing.T) {
	h := fakeSSH(t, `exec /bin/sh -c "$line"`)
	ctx := context.Background()
	for _, c := range []struct {
		script, message string
		kind            record.ErrorKind
	}{
		// ssh's own status, with any message
		{"exit 255", "root@vault: /bin/sh failed without a word, exit status 255", record.KindUnreachable},
		{"echo 'ssh: some new trouble' >&2; exit 255", "root@vault: ssh: some new trouble", record.KindUnreachable},
		// zfs ends with 255 for a corrupt token
		{"echo 'cannot resume send: resume token is corrupt' >&2; exit 255", "root@vault: cannot resume send: resume token is corrupt", record.KindStaleToken},
		{"echo 'root@vault: Permission denied (publickey).' >&2; exit 255", "root@vault: root@vault: Permission denied (publickey).", record.KindAuth},
		// messages before the connection is lost are no answer (P11)
		{"echo \"cannot open 'tank/a': dataset does not exist\" >&2; exit 255", "root@vault: cannot open 'tank/a': dataset does not exist", record.KindUnreachable},
		{"exit 1", "root@vault: /bin/sh failed without a word, exit status 1", record.KindOther},
	} {
		err := h.run(ctx, "/bin/sh", "-c", c.script)
		if err == nil || err.Error() != c.message || KindOf(err) != c.kind {
			t.Errorf("%q: %v (%s), should be %q (%s)", c.script, err, KindOf(err), c.message, c.kind)
		}
	}
}

// The beginning and the end of a program's stderr are kept, and no more.
func TestStderrIsBounded(t *testing.T) {
	var s Stderr
	s.Write([]byte("the cause\n"))
	for range 1000 {
		s.Write([]byte(strings.Repeat("noise ", 200) + "\n"))
	}
	s.Write([]byte("the end\n"))
	got := s.String()
	if len(got) > 2*tailSize+10 || !strings.HasPrefix(got, "the cause\n") || !strings.HasSuffix(got, "the end") {
		t.Errorf("%d bytes, from %.20q to %q", len(got), got, got[max(0, len(got)-20):])
	}
}

// Of the errors of several programs that were asked for parts of one thing none hides a
// worse one: the result is not KindNotFound unless all are (P11).
func TestJoin(t *testing.T) {
	fail := func(code int, signal syscall.Signal, lines ...string) error {
		e := &Error{Kind: classify(lines), Code: code, Signal: signal, Lines: lines}
		if signal != 0 {
			e.Kind = record.KindKilled
		}
		return e
	}
	gone := fail(1, 0, "cannot open 'tank/a': dataset does not exist")
	for _, c := range []struct {
		name string
		errs []error
		want record.ErrorKind
	}{
		{"none", nil, record.KindOther},
		{"all gone", []error{gone, gone}, record.KindNotFound},
		{"a later one fails", []error{gone, fail(1, 0, "cannot open 'tank/b': I/O error")}, record.KindPoolIO},
		{"an earlier one fails", []error{fail(1, 0, "cannot open 'tank/b': I/O error"), gone}, record.KindPoolIO},
		{"one is killed", []error{gone, fail(-1, syscall.SIGKILL, "cannot open 'tank/b': dataset does not exist")}, record.KindKilled},
		{"the first is killed", []error{fail(-1, syscall.SIGKILL), gone}, record.KindKilled},
		{"no answer", []error{gone, &Error{Kind: record.KindBadAnswer, Code: -1}}, record.KindBadAnswer},
	} {
		err := join(c.errs)
		if KindOf(err) != c.want || (err == nil) != (c.errs == nil) {
			t.Errorf("%s: %v (%s), should be %s", c.name, err, KindOf(err), c.want)
		}
		if c.want != record.KindNotFound && err != nil && ignoreKind(err, record.KindNotFound) == nil {
			t.Errorf("%s: the error is taken for an answer", c.name)
		}
	}
	if join([]error{gone, context.Canceled}) != context.Canceled {
		t.Error("the end of the context is lost")
	}
}

// Of returns the lines about one name, and those about all.
func TestErrorOf(t *testing.T) {
	e := &Error{Code: 1, Kind: record.KindBusy, Lines: []string{
		"cannot hold snapshot 'tank/a@1': dataset is busy",
		"cannot hold snapshot 'tank/b@1': tag already exists on this dataset",
	}}
	snapshot := func(n string) bool { return strings.Contains(n, "@") }
	if err := e.Of("tank/b@1", snapshot); KindOf(err) != record.KindExists {
		t.Error(err)
	}
	if err := e.Of("tank/c@1", snapshot); err != nil {
		t.Error(err)
	}
	if err := (&Error{Code: 1, Lines: []string{"internal error"}}).Of("tank/c@1", snapshot); err == nil {
		t.Error("an error about all is not about one")
	}
	if err := (&Error{Code: -1, Signal: 9, Lines: e.Lines}).Of("tank/c@1", snapshot); err == nil {
		t.Error("a program that was killed has not said all")
	}
}

// Output of a login script does not turn an ignored error into a failure, and does not
// hide other errors.
func TestNoise(t *testing.T) {
	gone := "cannot release hold from snapshot 'tank/a@1': no such tag on this dataset"
	busy := "cannot release hold from snapshot 'tank/b@1': dataset is busy"
	new := "cannot release hold from snapshot 'tank/b@1': of a kind that nobody knew"
	for _, noise := range []string{
		"mesg: ttyname failed: Inappropriate ioctl for device",
		"stdin: is not a tty",
		"perl: warning: Setting locale failed.",
		"-bash: /etc/profile.d/x.sh: Permission denied",
		"/root/.bashrc: line 3: foo: command not found",
		"Welcome to nas, and mind the quota exceeded sign",
		"tput: No value for $TERM and no -T specified",
		"*** System restart required ***",
		"direnv: error .envrc is blocked",
	} {
		e := func(lines ...string) *Error {
			return &Error{Kind: classify(lines), Code: 1, Lines: lines}
		}
		tolerated := noise != "Welcome to nas, and mind the quota exceeded sign" // looks like a message of zfs
		if err := ignoreKind(e(noise, gone), record.KindNotFound); (err == nil) != tolerated {
			t.Errorf("%q: %v", noise, err)
		}
		for _, worse := range []string{busy, new} {
			if err := ignoreKind(e(noise, gone, worse), record.KindNotFound); err == nil {
				t.Errorf("%q hides %q", noise, worse)
			}
			all := func(n string) bool { return strings.Contains(n, "@") }
			if err := e(noise, worse).Of("tank/a@1", all); (err == nil) != tolerated {
				t.Errorf("%q with a failure of another: %v", noise, err)
			}
			if err := e(noise, worse).Of("tank/b@1", all); err == nil {
				t.Errorf("%q hides %q of the same", noise, worse)
			}
		}
		if err := ignoreKind(e(noise), record.KindNotFound); err == nil {
			t.Errorf("%q alone, with a status that is not 0, is tolerated", noise)
		}
	}
}

// If zfs is not found, the hint is about the PATH, of ssh or of cron; if another program
// of the same pipeline is not found, the hint is to install it.
func TestHintOfPath(t *testing.T) {
	for _, c := range []struct {
		e    *Error
		want string
	}{
		{&Error{Kind: record.KindMissingProgram, Host: "root@nas", Argv: []string{"zfs", "get"}, Code: 127}, "ssh root@nas 'echo $PATH'"},
		{&Error{Kind: record.KindMissingProgram, Host: "root@nas", Argv: []string{"zfs receive"}, Code: 127}, "ssh root@nas 'echo $PATH'"},
		{&Error{Kind: record.KindMissingProgram, Argv: []string{"zpool", "get"}, Code: -1}, "crontab"},
		{&Error{Kind: record.KindMissingProgram, Host: "root@nas", Argv: []string{"zstd"}, Code: 127}, "install the program"},
		{&Error{Kind: record.KindMissingProgram, Host: "nas", Argv: []string{"zfs receive"}, Lines: []string{"zstd: command not found"}}, "install the program"},
		{&Error{Kind: record.KindMissingProgram, Host: "nas", Argv: []string{"zfs receive"}, Lines: []string{"sh: 1: zfs: not found"}}, "/usr/sbin"},
		{&Error{Kind: record.KindMissingProgram, Host: "nas", Argv: []string{"zfs list"}}, "/usr/sbin"},
		{&Error{Kind: record.KindBusy}, ""},
	} {
		if got := HintOf(c.e); !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%v: %q", c.e.Argv, got)
		}
	}
}
