package pipesize

import (
	"os"

	"golang.org/x/sys/unix"
)

// Enlarge makes a pipe large. It is only for speed, so it may fail, and does nothing to
// other files.
func Enlarge(f *os.File) { room(f, unix.F_SETPIPE_SZ, Large) }

// IsLarge reports whether a file is a large pipe.
func IsLarge(f *os.File) bool { return room(f, unix.F_GETPIPE_SZ, 0) >= Large }

// Set makes a pipe so large that at least size bytes can wait in it, and reports whether it
// could. Only root may have more than a megabyte, and nobody more than 2 GiB.
func Set(f *os.File, size int64) bool {
	return int64(room(f, unix.F_GETPIPE_SZ, 0)) >= size ||
		size <= 1<<31 && int64(room(f, unix.F_SETPIPE_SZ, int(size))) >= size
}

// room gets or sets the size of a pipe, as the fcntl cmd says, and returns it in bytes; 0
// if that fails, as for a file that is no pipe.
func room(f *os.File, cmd, arg int) (got int) {
	c, err := f.SyscallConn()
	if err != nil {
		return 0
	}
	cerr := c.Control(func(fd uintptr) { got, err = unix.FcntlInt(fd, cmd, arg) })
	if err != nil || cerr != nil {
		return 0
	}
	return got
}
