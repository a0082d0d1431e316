package zfs

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// fakeMaster is a stand-in for ssh: it makes the socket of a shared connection and stays,
// prints the configuration, and runs lines. It logs each call in a line.
const fakeMaster = `#!/bin/sh
echo "$*" >>"$SSH_LOG"
for line; do :; done
case " $* " in
*" -G "*) echo "controlpath none"; exit;;
*" -M "*)
	while [ "$1" != -S ]; do shift; done
	echo $$ >"$SSH_LOG.pid"
	mkdir "$2"
	exec sleep 1000;;
esac
exec /bin/sh -c "$line"
`

func masterSSH(t *testing.T) (log func() string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/ssh", []byte(fakeMaster), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("SSH_LOG", dir+"/log")
	t.Setenv("TMPDIR", dir)
	t.Setenv(ControlEnv, "")
	return func() string {
		b, _ := os.ReadFile(dir + "/log")
		return string(b)
	}
}

// Any number of concurrent calls share one connection, which is gone with its directory
// at the end; no call forwards anything of this machine.
func TestSharedConnection(t *testing.T) {
	log := masterSSH(t)
	m := &Machine{}
	h := m.Host("root@vault")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := h.run(context.Background(), "true"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	m.Close()
	m.Close()
	if err := h.run(context.Background(), "true"); err != nil {
		t.Error(err) // without a shared connection; the stand-in needs none
	}
	if err := (m.Host("other")).Connect(context.Background(), 0); err == nil {
		t.Error("a connection was made after Close")
	}
	lines := strings.Split(strings.TrimSpace(log()), "\n")
	if n := strings.Count(log(), " -M "); n != 1 {
		t.Errorf("%d connections were made", n)
	}
	for _, l := range lines {
		for _, o := range []string{"-a", "-x", "-T", "-o BatchMode=yes", "-o ClearAllForwardings=yes", "-o Tunnel=no", "-o PermitLocalCommand=no"} {
			if !strings.Contains(l, o+" ") {
				t.Errorf("%s is missing: ssh %s", o, l)
			}
		}
	}
	if left, _ := filepath.Glob(os.Getenv("TMPDIR") + "/" + dirPrefix + "*"); len(left) > 0 {
		t.Errorf("left: %s", left)
	}
}

// A directory of control sockets that is not private is an error, because anyone who can
// write to it could read and answer all traffic.
func TestControlDirectory(t *testing.T) {
	log := masterSSH(t)
	dir := filepath.Join(t.TempDir(), "control")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv(ControlEnv, dir)
	connect := func() error { return (&Machine{}).Host("root@vault").Connect(context.Background(), 0) }
	if err := connect(); err != nil {
		t.Error(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := connect(); err == nil || !strings.Contains(err.Error(), "can be written to by others") {
		t.Errorf("%v", err)
	}
	link := dir + "-link"
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	t.Setenv(ControlEnv, link)
	if err := connect(); err == nil || !strings.Contains(err.Error(), "is a link") {
		t.Errorf("%v", err)
	}
	t.Setenv(ControlEnv, NoControl)
	if err := connect(); err != nil {
		t.Error(err)
	}
	if log() != "" {
		t.Errorf("ssh was started: %s", log())
	}
}

// A user's hook runs in the user's locale; all other programs run in the C locale, which
// is parsed.
func TestHookLanguage(t *testing.T) {
	t.Setenv("LC_ALL", "de_DE.UTF-8")
	masterSSH(t)
	t.Setenv(ControlEnv, NoControl)
	m := &Machine{}
	for _, dest := range []string{"", "vault"} {
		h := m.Host(dest)
		var got []string
		err := h.ask(context.Background(), func(line string) error { got = append(got, line); return nil }, "/bin/sh", "-c", "echo $LC_ALL")
		if err != nil || !slices.Equal(got, []string{"C"}) {
			t.Errorf("%s: %q, %v", h, got, err)
		}
		var out strings.Builder
		if err := h.Hook(context.Background(), "echo $LC_ALL", nil, nil, &out); err != nil || out.String() != "de_DE.UTF-8\n" {
			t.Errorf("%s: %q, %v", h, out.String(), err)
		}
	}
}

// One program returns the features and guids of pools, once for each pool; an incomplete
// answer is an error.
func TestFeatures(t *testing.T) {
	answer := "tank\tfeature@large_blocks\tdisabled\ntank\tfeature@extensible_dataset\tactive\ntank\tguid\t12345678901234567890\n"
	want := Features{Resumable: true, GUID: "12345678901234567890"}
	h, started := fakeZFS(t, `printf '%s' "$ANSWER"`)
	for _, c := range []struct {
		what, answer string
		ok           bool
	}{
		{"cut off", answer[:strings.Index(answer, "tank\tguid")], false},
		{"cut off in a feature's place", "tank\tguid\t12345678901234567890\n" + answer[:strings.Index(answer, "tank\tguid")], false},
		{"twice", "tank\tfeature@large_blocks\tdisabled\n" + answer, false},
		{"of another pool", strings.Replace(answer, "tank", "usb", 1), false},
		{"as 2.1 has it, for what it does not know", strings.Replace(answer, "tank\tfeature@large_blocks\tdisabled\n", "", 1), true},
	} {
		t.Setenv("ANSWER", c.answer)
		h := (&Machine{}).Host("")
		got, err := h.Features(context.Background(), []string{"tank"})
		if (err == nil) != c.ok || c.ok && got["tank"] != want {
			t.Errorf("%s: %+v, %v", c.what, got, err)
		}
	}
	n := len(started())
	t.Setenv("ANSWER", answer)
	got, err := h.Features(context.Background(), []string{"tank"})
	if err != nil || got["tank"] != want {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := h.Features(context.Background(), []string{"tank"}); err != nil || len(started()) != n+1 {
		t.Errorf("%q, %v", started(), err)
	}
}
