package stream

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// splicer moves pages from pipe to pipe without copying them through this process.
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
	// splice does not tell which of its two pipes would block. So it is called only
	// when there is something to read, and then only the writing can block.
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

// ownSplicer is a splicer that waits by itself. The runtime would be woken by every piece
// that either program writes or reads, even if no goroutine waits for it, and take a
// fifth of a processor for a stream that passes through ssh.
type ownSplicer struct{ src, dst, stop int }

// newOwnMover returns a mover with descriptors of its own, and closes src and dst. If it
// cannot get them, it returns that of newMover and leaves src and dst open. When stopped
// is closed, move returns os.ErrDeadlineExceeded. free is to be called at the end.
func newOwnMover(dst, src *os.File, stopped <-chan struct{}) (m mover, free func()) {
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return newMover(dst, src), func() {}
	}
	r, err := duplicate(src)
	if err != nil {
		unix.Close(stop)
		return newMover(dst, src), func() {}
	}
	w, err := duplicate(dst)
	if err != nil {
		unix.Close(stop)
		unix.Close(r)
		return newMover(dst, src), func() {}
	}
	src.Close()
	dst.Close()
	over, told := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(told)
		select {
		case <-stopped:
			_, _ = unix.Write(stop, []byte{1, 0, 0, 0, 0, 0, 0, 0})
			<-over
		case <-over:
		}
	}()
	return &ownSplicer{r, w, stop}, func() {
		close(over)
		<-told
		unix.Close(r)
		unix.Close(w)
		unix.Close(stop)
	}
}

// duplicate returns a descriptor of the same file that the runtime does not know.
func duplicate(f *os.File) (fd int, err error) {
	c, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	cerr := c.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(cerr, err)
}

func (s *ownSplicer) move(most int) (int, error) {
	for {
		n, err := unix.Splice(s.src, nil, s.dst, nil, most, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		switch {
		case err == nil && n == 0:
			return 0, io.EOF
		case err == nil:
			return int(n), nil
		case err != unix.EAGAIN && err != unix.EINTR:
			return 0, err
		}
		// splice does not tell which of its two pipes would block.
		p := []unix.PollFd{{Fd: int32(s.stop), Events: unix.POLLIN}, {Fd: int32(s.src), Events: unix.POLLIN}}
		if readable(s.src) {
			p[1] = unix.PollFd{Fd: int32(s.dst), Events: unix.POLLOUT}
		}
		if _, err := unix.Poll(p, -1); err != nil && err != unix.EINTR {
			return 0, err
		}
		if p[0].Revents != 0 {
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// pause waits for d, or until the mover is stopped. It costs less than a timer of the
// runtime.
func (s *ownSplicer) pause(d time.Duration) {
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(s.stop), Events: unix.POLLIN}}, int(d.Milliseconds()))
}

// readable reports whether a read would return data, or the end, at once.
func readable(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, 0)
		if err != unix.EINTR {
			return n > 0 || err != nil
		}
	}
}
