package zabtest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// SSHServer is an sshd used only by the tests, on a loopback port.
type SSHServer struct {
	// Dir has the keys (host.pub, user, user.pub), sshd_config, and in its subdirectory
	// far programs that come first in the PATH of sessions.
	Dir string
	// Config is a configuration file of ssh that reaches the server as src.test, dst.test
	// and third.test; nokey.test is refused, and down.test does not answer.
	Config string

	once sync.Once
	err  error
	cmd  *exec.Cmd
}

// Start starts the server, unless it has been started already, and waits until it answers.
func (s *SSHServer) Start() error {
	s.once.Do(func() { s.err = s.start() })
	return s.err
}

// PID returns the process id of a started server, whose descendants are its sessions.
func (s *SSHServer) PID() int { return s.cmd.Process.Pid }

func (s *SSHServer) start() error {
	sshd := LookPath(os.Getenv("PATH")+":/usr/sbin:/sbin:/usr/local/sbin", "sshd")
	if sshd == "" {
		return fmt.Errorf("sshd is not installed: the tests push and pull over ssh to this machine")
	}
	dir, err := os.MkdirTemp("", "zab-sshd-")
	if err != nil {
		return err
	}
	s.Dir = dir
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
	// For stand-ins for programs on the far side of ssh.
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
	s.Config = filepath.Join(dir, "config")
	for range 100 {
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			c.Close()
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("the sshd for the tests does not answer")
}

// Stop kills the server and removes its files. Sessions end by themselves.
func (s *SSHServer) Stop() {
	if s.cmd != nil && s.cmd.Process != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
	if s.Dir != "" {
		os.RemoveAll(s.Dir)
	}
}
