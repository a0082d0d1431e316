package pipeline

import (
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

type mover interface {
	// move moves at most that many bytes, io.EOF at the end.
	move(most int) (int, error)
}

// splicer moves pages from pipe to pipe without their passing through here.
type splicer struct {
	src, dst syscall.RawConn
}

func newMover(dst, src *os.File) mover {
	r, err := src.SyscallConn()
	if err != nil {
		return newCopier(dst, src)
	}
	w, err := dst.SyscallConn()
	if err != nil {
		return newCopier(dst, src)
	}
	return &splicer{r, w}
}

func (s *splicer) move(most int) (int, error) {
	var n int64
	var err error
	// splice does not tell which of its two pipes would block. So it is only
	// called when there is something to read, and whatever blocks then is the
	// writing.
	rerr := s.src.Read(func(r uintptr) bool {
		if !readable(int(r)) {
			return false
		}
		werr := s.dst.Write(func(w uintptr) bool {
			for {
				n, err = unix.Splice(int(r), nil, int(w), nil, most, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
				if err != unix.EINTR {
					return err != unix.EAGAIN
				}
			}
		})
		if werr != nil {
			err = werr
		}
		return true
	})
	switch {
	case rerr != nil:
		return 0, rerr
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return int(n), nil
}

// readable tells whether a read would give something or the end at once.
func readable(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, 0)
		if err != unix.EINTR {
			return n > 0 || err != nil
		}
	}
}

// widen gives a pipe the most room that an ordinary user may have. It is only
// for speed, so it may fail.
func widen(f *os.File) {
	c, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = c.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
}

// roomy tells whether a file is a pipe with the room that widen gives.
func roomy(f *os.File) bool {
	got := 0
	if c, err := f.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { got, err = unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0) })
		if err != nil {
			return false
		}
	}
	return got >= pipeSize
}

// widePipe makes a pipe with room for size bytes. Beyond a megabyte only root
// may have it.
func widePipe(size int64) (r, w *os.File, ok bool) {
	if size > 1<<30 {
		return nil, nil, false // the kernel takes no more than 2 GiB
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, false
	}
	got := 0
	if c, err := w.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { got, err = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, int(size)) })
	}
	if int64(got) < size {
		r.Close()
		w.Close()
		return nil, nil, false
	}
	return r, w, true
}
