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

// The stand-ins are a small program under several names. It hands its arguments
// and its standard files to the test's process over a socket, which has the
// model in its memory and does the work: what is started most often is then what
// takes the least time to start.

// server does the work of the stand-ins of one run.
type server struct {
	run      *Run
	listener *net.UnixListener

	mu     sync.Mutex
	hosts  map[string]*Host
	counts map[string]int // of the commands that are lied about
	ended  bool

	logMu   sync.Mutex
	entries []Entry
}

// peer is a stand-in that waits for its work to be done.
type peer struct {
	stdin, stdout, stderr *os.File
	gone                  chan struct{} // closed when its process is gone
	reply                 []byte
}

// What a stand-in is told at the end: what to do, and with which number.
const (
	doExit  = 0
	doKill  = 1
	doShell = 2 // run the last argument with /bin/sh; the host follows
)

func (p *peer) kill() int {
	p.reply = []byte{doKill, byte(syscall.SIGKILL)}
	return 0
}

func (p *peer) shell(host string) int {
	p.reply = append([]byte{doShell, byte(len(host))}, host...)
	return 0
}

func serve(dir string, run *Run, hosts map[string]*Host) (*server, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "sock"), Net: "unix"})
	if err != nil {
		return nil, err
	}
	s := &server{run: run, listener: l, hosts: hosts, counts: map[string]int{}}
	go func() {
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	return s, nil
}

// close lets nothing more happen to the hosts.
func (s *server) close() {
	s.listener.Close()
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
}

// serve does what one stand-in is there for.
func (s *server) serve(conn *net.UnixConn) {
	defer conn.Close()
	p, words, err := receive(conn)
	if err != nil {
		return
	}
	defer func() {
		for _, f := range []*os.File{p.stdin, p.stdout, p.stderr} {
			f.Close()
		}
	}()
	go func() {
		// It says nothing more: the end of what it says is its own.
		var b [1]byte
		_, _ = conn.Read(b[:])
		close(p.gone)
		// What it read it would read no more.
		p.stdin.Close()
	}()
	host, argv := or(words[0], s.run.Local), words[1:]
	c := &call{server: s, host: host, prog: argv[0], peer: p, entry: Entry{Host: host, Argv: argv}}
	code := 0
	if argv[0] == "ssh" {
		c.host, c.entry.Host = "", ""
		code = c.ssh()
	} else {
		code = c.do()
	}
	if p.reply == nil {
		p.reply = []byte{doExit, byte(code)}
	}
	_, _ = conn.Write(p.reply)
}

// receive reads what a stand-in was started with: its host and its arguments,
// each ended by a NUL, after their length; and its files.
func receive(conn *net.UnixConn) (*peer, []string, error) {
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
	// Only the end that nobody else reads from is waited for in a way that a
	// close ends.
	_ = syscall.SetNonblock(fds[0], true)
	p := &peer{os.NewFile(uintptr(fds[0]), "stdin"), os.NewFile(uintptr(fds[1]), "stdout"), os.NewFile(uintptr(fds[2]), "stderr"), make(chan struct{}), nil}
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
