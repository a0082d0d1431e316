// Command client is the stand-in for zfs, zpool and ssh in the tests of package
// hostile: it hands its arguments and files to the test and ends as it is told.
// It is started many thousand times, so it needs nothing but the system's calls.
package main

import (
	"os"
	"syscall"
)

func main() {
	dir, host := os.Getenv("ZAB_HOSTILE_RUN"), os.Getenv("ZAB_HOSTILE_HOST")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		os.Exit(98)
	}
	syscall.CloseOnExec(fd)
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: dir + "/sock"}); err != nil {
		os.Exit(98)
	}
	name := os.Args[0]
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '/' {
			name = name[i+1:]
			break
		}
	}
	body := append([]byte(host), 0)
	body = append(append(body, name...), 0)
	for _, a := range os.Args[1:] {
		body = append(append(body, a...), 0)
	}
	n := len(body)
	head := []byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}
	if err := syscall.Sendmsg(fd, head, syscall.UnixRights(0, 1, 2), nil, 0); err != nil {
		os.Exit(98)
	}
	for len(body) > 0 {
		k, err := syscall.Write(fd, body)
		if err != nil {
			os.Exit(98)
		}
		body = body[k:]
	}
	read := func(n int) []byte {
		b := make([]byte, n)
		for i := 0; i < n; {
			k, err := syscall.Read(fd, b[i:])
			if err == syscall.EINTR {
				continue
			}
			if err != nil || k == 0 {
				os.Exit(98)
			}
			i += k
		}
		return b
	}
	switch reply := read(2); reply[0] {
	case 0:
		os.Exit(int(reply[1]))
	case 1:
		_ = syscall.Kill(syscall.Getpid(), syscall.Signal(reply[1]))
		select {}
	case 2:
		_ = os.Setenv("ZAB_HOSTILE_HOST", string(read(int(reply[1]))))
		_ = syscall.Exec("/bin/sh", []string{"sh", "-c", os.Args[len(os.Args)-1]}, os.Environ())
	}
	os.Exit(98)
}
