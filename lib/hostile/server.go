package hostile

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// zfs, zpool and ssh in a run are one small program under three names. It hands its
// arguments and standard files over a socket to the process of the test, which keeps the
// model in memory and does the work: the program that is started most often has to start
// fast.

// server carries out the commands of the stand-ins of one run.
type server struct {
	conf     *runConfig
	listener *net.UnixListener

	mu     sync.Mutex
	hosts  map[string]*Host
	counts map[string]int // by signature, of the commands about which there are lies
	closed bool

	logMu   sync.Mutex
	entries []Entry
}

// client is the process of a stand-in that waits for the reply.
type client struct {
	stdin, stdout, stderr *os.File
	gone                  chan struct{} // closed when the process has ended
	reply                 []byte
}

// The first byte of a reply. The second is the exit status, the signal or the length of
// the host's name.
const (
	replyExit  = 0
	replyKill  = 1
	replyShell = 2 // run the last argument with /bin/sh on the host whose name follows
)

func (p *client) kill() int {
	p.reply = []byte{replyKill, byte(syscall.SIGKILL)}
	return 0
}

func (p *client) shell(host string) int {
	p.reply = append([]byte{replyShell, byte(len(host))}, host...)
	return 0
}

func startServer(dir string, run *runConfig, hosts map[string]*Host) (*server, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "sock"), Net: "unix"})
	if err != nil {
		return nil, err
	}
	s := &server{conf: run, listener: l, hosts: hosts, counts: map[string]int{}}
	go func() {
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			go s.serveClient(conn)
		}
	}()
	return s, nil
}

// logged returns how many entries the log has.
func (s *server) logged() int {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	return len(s.entries)
}

// close ends the server: later commands do nothing to the hosts.
func (s *server) close() {
	s.listener.Close()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
}

// serveClient carries out the command of one stand-in and sends the reply.
func (s *server) serveClient(conn *net.UnixConn) {
	defer conn.Close()
	p, words, err := readRequest(conn)
	if err != nil {
		return
	}
	defer func() {
		for _, f := range []*os.File{p.stdin, p.stdout, p.stderr} {
			f.Close()
		}
	}()
	go func() {
		// The stand-in sends nothing more: Read returns when its process ends.
		var b [1]byte
		_, _ = conn.Read(b[:])
		close(p.gone)
		// This ends a read of its input, which nobody needs any more.
		p.stdin.Close()
	}()
	host, argv := or(words[0], s.conf.Local), words[1:]
	c := &call{server: s, host: host, prog: argv[0], client: p, entry: Entry{Host: host, Argv: argv}}
	code := 0
	if argv[0] == "ssh" {
		c.host, c.entry.Host = "", ""
		code = c.ssh()
	} else {
		code = c.execute()
	}
	if p.reply == nil {
		p.reply = []byte{replyExit, byte(code)}
	}
	_, _ = conn.Write(p.reply)
}

// readRequest reads the request of a stand-in: the length of the rest, with the three
// standard files; then the host and the arguments, each ended by a NUL.
func readRequest(conn *net.UnixConn) (*client, []string, error) {
	head, oob := make([]byte, 4), make([]byte, 128)
	n, oobn, _, _, err := conn.ReadMsgUnix(head, oob)
	if err != nil || n != 4 {
		return nil, nil, fmt.Errorf("no stand-in: %v", err)
	}
	messages, err := syscall.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return nil, nil, fmt.Errorf("no files: %v", err)
	}
	fds, err := syscall.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 3 {
		return nil, nil, fmt.Errorf("not three files: %v", err)
	}
	for _, fd := range fds {
		syscall.CloseOnExec(fd)
	}
	// So that Close ends a read. The flag applies to all processes that share an open
	// file: stdin alone has no other reader.
	_ = syscall.SetNonblock(fds[0], true)
	p := &client{os.NewFile(uintptr(fds[0]), "stdin"), os.NewFile(uintptr(fds[1]), "stdout"), os.NewFile(uintptr(fds[2]), "stderr"), make(chan struct{}), nil}
	body := make([]byte, binary.LittleEndian.Uint32(head))
	if _, err := io.ReadFull(conn, body); err != nil {
		return nil, nil, err
	}
	words := strings.Split(strings.TrimSuffix(string(body), "\x00"), "\x00")
	if len(words) < 2 {
		return nil, nil, fmt.Errorf("too few words: %q", words)
	}
	return p, words, nil
}
