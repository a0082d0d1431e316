package bench

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"zab/lib/zabtest"
)

// cipher is the fastest one if the processor supports AES, also under emulation.
const cipher = "aes128-gcm@openssh.com"

// place is a host on which the target is.
type place struct {
	name           string
	host           string   // "" for this machine
	conf           string   // a configuration file of ssh that knows the host
	syncoidOptions []string // the same configuration
}

// sshPlace returns this machine, reached over ssh.
func (b *bench) sshPlace() place {
	port := ""
	data, _ := os.ReadFile(b.sshd.Config)
	for line := range strings.Lines(string(data)) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(line), "Port "); ok && port == "" {
			port = p
		}
	}
	return b.remotePlace("ssh", "near.test", "127.0.0.1", port)
}

// remotePlace writes the configuration of ssh for a host.
func (b *bench) remotePlace(name, host, addr, port string) place {
	// bzfs accepts no other name of the file.
	p := place{name: name, host: host, conf: filepath.Join(b.root, host+".bzfs_ssh_config")}
	var known []byte
	if key, err := os.ReadFile(filepath.Join(b.sshd.Dir, "host.pub")); err == nil {
		known = append([]byte(host+" "), key...)
	}
	file := filepath.Join(b.root, host+".known")
	_ = os.WriteFile(file, known, 0o600)
	text := "Host " + host + "\n"
	for _, o := range []string{
		"HostName=" + addr, "Port=" + port, "User=root", "IdentityFile=" + filepath.Join(b.sshd.Dir, "user"), "IdentitiesOnly=yes",
		"HostKeyAlias=" + host, "UserKnownHostsFile=" + file, "StrictHostKeyChecking=yes", "LogLevel=ERROR",
		"Ciphers=" + cipher,
	} {
		text += "    " + o + "\n"
		p.syncoidOptions = append(p.syncoidOptions, "--sshoption="+o)
	}
	_ = os.WriteFile(p.conf, []byte(text), 0o600)
	return p
}

// slowPlace starts a second sshd behind a slow network, in a network namespace of its own.
// Nothing else is separate, so that its mounts are visible here.
func (b *bench) slowPlace() (place, error) {
	ns := b.src
	link, peer := "zb0"+b.src[4:], "zb1"+b.src[4:]
	b.cleanup = append(b.cleanup, func() {
		_ = exec.Command("ip", "link", "del", link).Run()
		_ = exec.Command("ip", "netns", "del", ns).Run()
	})
	half := strconv.FormatInt(b.Delay.Microseconds()/2, 10) + "us"
	script := strings.NewReplacer("NS", ns, "LINK", link, "PEER", peer, "HALF", half).Replace(`set -e
modprobe -q sch_netem || :
ip netns add NS
ip link add LINK type veth peer name PEER netns NS
ip addr add 10.213.77.1/30 dev LINK
ip link set LINK up
ip -n NS addr add 10.213.77.2/30 dev PEER
ip -n NS link set PEER up
tc qdisc add dev LINK root netem delay HALF limit 1000000
tc -n NS qdisc add dev PEER root netem delay HALF limit 1000000
`)
	if out, err := b.sh(script); err != nil {
		return place{}, fmt.Errorf("%v: %s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(b.sshd.Dir, "sshd_config"))
	if err != nil {
		return place{}, err
	}
	file := filepath.Join(b.root, "far.sshd")
	if err := os.WriteFile(file, bytes.Replace(data, []byte("ListenAddress 127.0.0.1"), []byte("ListenAddress 10.213.77.2"), 1), 0o600); err != nil {
		return place{}, err
	}
	cmd := exec.Command("nsenter", "--net=/run/netns/"+ns, zabtest.LookPath(b.path, "sshd"), "-D", "-e", "-f", file)
	if err := cmd.Start(); err != nil {
		return place{}, err
	}
	b.cleanup = append(b.cleanup, func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	port := strings.Fields(string(data))[1]
	for range 100 {
		c, err := net.DialTimeout("tcp", "10.213.77.2:"+port, 10*time.Second)
		if err == nil {
			c.Close()
			begun := time.Now() // now that both sides have resolved each other's address
			if c, err := net.Dial("tcp", "10.213.77.2:"+port); err == nil {
				c.Close()
			}
			b.say("a round trip of the slow network takes %.1f ms", time.Since(begun).Seconds()*1000)
			return b.remotePlace("ssh "+b.Delay.String(), "far.test", "10.213.77.2", port), nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return place{}, fmt.Errorf("the sshd behind it does not answer")
}
