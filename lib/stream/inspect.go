package stream

import (
	"errors"
	"io"
	"math"
)

// Inspector inspects a stream before it passes a relay.
type Inspector interface {
	// Next inspects b, the bytes that follow those that it has let pass. pass is how many
	// bytes may pass from there, which may be more than b has, and math.MaxInt64 for all
	// the rest; 0 if at least need bytes are needed to tell.
	Next(b []byte) (pass int64, need int, err error)
}

// inspected is a reader of the bytes that an Inspector lets pass.
type inspected struct {
	src  io.Reader
	look Inspector
	// buf[from:to] has the bytes that were read and have not passed.
	buf      []byte
	from, to int
	pass     int64 // how many bytes may pass
	ended    bool
	oneByOne bool  // no more is read than the Inspector needs
	failed   error // the Inspector's
}

func newInspected(src io.Reader, look Inspector, oneByOne bool) *inspected {
	return &inspected{src: src, look: look, buf: make([]byte, defaultChunk), oneByOne: oneByOne}
}

// Read reads bytes that may pass.
func (r *inspected) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if r.pass == 0 {
			if n > 0 && r.from == r.to {
				return n, nil // no bytes wait in buf
			}
			if err := r.next(); err != nil {
				if n > 0 {
					return n, nil // the next call returns the error
				}
				return 0, err
			}
		}
		most := p[n:min(int64(len(p)), int64(n)+min(r.pass, math.MaxInt64-int64(n)))]
		var k int
		switch {
		case r.from < r.to:
			k = copy(most, r.buf[r.from:r.to])
			r.from += k
		case n > 0:
			return n, nil
		default:
			k, err = r.src.Read(most)
		}
		n += k
		if r.pass != math.MaxInt64 {
			r.pass -= int64(k)
		}
		if err != nil || r.rest() {
			return n, err
		}
	}
	return n, nil
}

// rest reports whether all bytes that have not passed are in src and may pass.
func (r *inspected) rest() bool { return r.pass == math.MaxInt64 && r.from == r.to }

// next sets pass to the number of bytes that may pass, and reads the bytes needed to
// tell. A stream that is cut off passes up to its end: its receiver will notice.
func (r *inspected) next() error {
	if r.failed != nil {
		return r.failed
	}
	for {
		pass, need, err := r.look.Next(r.buf[r.from:r.to])
		if err != nil {
			r.failed = err
			return err
		}
		if pass > 0 {
			r.pass = pass
			return nil
		}
		if need <= r.to-r.from {
			r.failed = errors.New("cannot look at the stream: no part of it may pass")
			return r.failed
		}
		if r.ended {
			if r.pass = int64(r.to - r.from); r.pass == 0 {
				return io.EOF
			}
			return nil
		}
		copy(r.buf, r.buf[r.from:r.to])
		r.from, r.to = 0, r.to-r.from
		if need > len(r.buf) {
			// No more at once than has come, since a stream may claim any length.
			r.buf = append(r.buf, make([]byte, min(need-len(r.buf), max(defaultChunk, len(r.buf))))...)
		}
		end := len(r.buf)
		if r.oneByOne {
			end = min(end, need)
		}
		if r.to == end {
			continue
		}
		k, err := r.src.Read(r.buf[r.to:end])
		r.to += k
		if err == io.EOF {
			r.ended = true
			continue
		}
		if err != nil {
			return err
		}
	}
}

// begin passes on the beginning of a stream, until the Inspector lets all the rest
// pass or the stream has ended.
func (j *Relay) begin(dst io.Writer, r *inspected) error {
	buf := make([]byte, defaultChunk)
	for !r.rest() {
		n, err := r.Read(buf)
		if n > 0 {
			m, werr := dst.Write(buf[:n])
			j.Moved.Add(int64(m))
			if werr != nil {
				return werr
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
