package stream

import (
	"fmt"
	"io"
	"sync"

	"golang.org/x/sys/unix"
)

// ring is a buffer between one reader and one writer. Its memory is mapped and not
// allocated, so that too large a size is an error and not the end of the process, and so
// that only pages that were used take memory.
type ring struct {
	mu     sync.Mutex
	cond   sync.Cond
	mem    []byte
	start  int // of the bytes that wait
	n      int // how many bytes wait
	eof    bool
	closed bool
}

func newRing(size int64) (*ring, error) {
	mem, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("cannot get %d bytes for the buffer: %w", size, err)
	}
	r := &ring{mem: mem}
	r.cond.L = &r.mu
	return r, nil
}

func (r *ring) free() { _ = unix.Munmap(r.mem) }

// room waits for free space and returns it, at most that many bytes; nil after close.
func (r *ring) room(most int) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.n == len(r.mem) && !r.closed {
		r.cond.Wait()
	}
	if r.closed {
		return nil
	}
	if r.n == 0 {
		// A ring that starts over whenever it is empty touches little memory.
		r.start = 0
	}
	pos := (r.start + r.n) % len(r.mem)
	end := len(r.mem)
	if pos < r.start {
		end = r.start
	}
	return r.mem[pos:min(end, pos+most)]
}

// put notes that n bytes of room are filled.
func (r *ring) put(n int) {
	r.mu.Lock()
	r.n += n
	r.mu.Unlock()
	r.cond.Broadcast()
}

// fill reads src into the ring until its end, or until close.
func (r *ring) fill(src io.Reader, chunk int) error {
	defer func() {
		r.mu.Lock()
		r.eof = true
		r.mu.Unlock()
		r.cond.Broadcast()
	}()
	for {
		b := r.room(chunk)
		if b == nil {
			return nil
		}
		n, err := src.Read(b)
		r.put(n)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// peek waits for bytes and returns them, at most that many; nil when there are no more.
func (r *ring) peek(most int) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.n == 0 && !r.eof && !r.closed {
		r.cond.Wait()
	}
	if r.n == 0 || r.closed {
		return nil
	}
	return r.mem[r.start:min(len(r.mem), r.start+r.n, r.start+most)]
}

// drop notes that n bytes of peek are used up.
func (r *ring) drop(n int) {
	r.mu.Lock()
	r.start = (r.start + n) % len(r.mem)
	r.n -= n
	r.mu.Unlock()
	r.cond.Broadcast()
}

// close ends fill.
func (r *ring) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cond.Broadcast()
}
