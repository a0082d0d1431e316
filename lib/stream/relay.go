package stream

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"zab/lib/pipesize"
)

// Relay is a place in the chain where this process itself stands between two programs: it
// counts the bytes that pass and, if asked to, buffers them and limits their rate. The
// zero value only counts.
type Relay struct {
	// Buffer is the size in bytes of the buffer for data that waits for its reader; 0 is
	// no more than the pipes hold.
	Buffer int64
	// Chunk is the most bytes to move at once, where there is a buffer; 0 is a default.
	Chunk int
	// Limiter limits the rate of writing; nil does not.
	Limiter *Limiter
	// LongStreams makes the relay take turns with others once its stream is long; nil
	// does not.
	LongStreams *LongStreams
	// Inspect inspects the stream, and ends it with its error; nil does not.
	Inspect Inspector
	// Whole lets Inspect see the whole stream, which then is copied through this process,
	// and not only its beginning.
	Whole bool
	// Moved counts the bytes written.
	Moved atomic.Int64

	hasTurn       bool         // among the long streams
	waits, waited atomic.Int64 // for its turn: since when, Unix nanoseconds; how long before

	mu       sync.Mutex
	src, dst *os.File
	stopped  chan struct{}
	ending   chan struct{} // closed when one of the programs has ended
}

const (
	pipeSize     = pipesize.Large
	defaultChunk = 128 << 10
)

// errStop ends a relay that was interrupted.
var errStop = errors.New("stopped")

// interrupt makes run return soon.
func (j *Relay) interrupt() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.init()
	close(j.stopped)
	j.expire()
}

func (j *Relay) init() {
	if j.stopped == nil {
		j.stopped = make(chan struct{})
		j.ending = make(chan struct{})
	}
}

// expire lets pending reads and writes fail at once.
func (j *Relay) expire() {
	past := time.Unix(1, 0)
	if j.src != nil {
		_ = j.src.SetReadDeadline(past)
	}
	if j.dst != nil {
		_ = j.dst.SetWriteDeadline(past)
	}
}

// run moves everything from src to dst and closes both: the program before the relay then
// sees a broken pipe, the one after it the end of its input. A reader that went away, and
// interrupt, are no errors: the program at fault reports its own.
func (j *Relay) run(dst, src *os.File) error {
	j.mu.Lock()
	j.init()
	j.src, j.dst = src, dst
	select {
	case <-j.stopped:
		j.expire()
	default:
	}
	j.mu.Unlock()
	defer src.Close()
	defer dst.Close()
	defer j.release()
	in, err := io.Reader(src), error(nil)
	var looked *inspected
	if j.Inspect != nil {
		looked = newInspected(src, j.Inspect, !j.Whole)
		if in = looked; !j.Whole {
			in, err = src, j.begin(dst, looked)
		}
	}
	switch {
	case err != nil:
	case j.Buffer > 0 && !pipesize.Set(src, j.Buffer):
		err = j.ringed(dst, in, cmp.Or(j.Chunk, defaultChunk))
	case in != io.Reader(src):
		err = j.direct(newCopier(dst, in), pipeSize, false)
	default:
		// Nothing is copied, not even where a buffer is asked for: the pipe src is large
		// enough to be that, and its writer goes on filling it while its reader waits.
		chunk := pipeSize
		if j.Buffer > 0 && j.Chunk > 0 {
			chunk = max(j.Chunk, os.Getpagesize())
		}
		room := pipesize.IsLarge(dst) && pipesize.IsLarge(src)
		m, free := newOwnMover(dst, src, j.stopped)
		err = j.direct(m, chunk, room)
		free()
	}
	if looked != nil && looked.failed != nil {
		return looked.failed
	}
	switch {
	case err == nil, err == io.EOF, errors.Is(err, errStop), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, os.ErrClosed), errors.Is(err, syscall.EPIPE):
		return nil
	}
	return fmt.Errorf("cannot pass the stream on: %w", err)
}

// direct moves the stream without a buffer, in the kernel where it can, at most chunk
// bytes at once. room says that both pipes are large.
func (j *Relay) direct(m mover, chunk int, room bool) error {
	p, able := m.(pauser)
	g := coalescer{on: j.Limiter == nil && room && able, at: time.Now()}
	for {
		most := chunk
		select {
		case <-j.stopped:
			return errStop
		default:
		}
		if !j.acquire() {
			return errStop
		}
		if j.Limiter != nil {
			most = min(most, j.Limiter.Chunk())
			if !j.Limiter.Take(most, j.stopped) {
				return errStop
			}
		}
		n, err := m.move(most)
		j.Moved.Add(int64(n))
		if j.Limiter != nil {
			j.Limiter.Return(most - n)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if wait := g.wait(n, time.Now()); wait > 0 && n < most {
			p.pause(wait)
		}
	}
}

// coalescer lets a slow stream collect in its pipe for a moment before it is moved on:
// waking up for each of its pieces costs more processor time than moving it, and takes
// that from the programs that encrypt and decrypt. A short stream is not delayed, and a
// long one does not become slower, since the pipes have room for four times as much.
type coalescer struct {
	on    bool
	moved int64     // in all
	since int64     // since at
	at    time.Time // when the rate was looked at last
	rate  float64   // bytes a second
}

const (
	coalesceAfter = 4 << 20   // bytes
	coalesceBelow = 64 << 20  // bytes a second
	coalescePiece = 256 << 10 // bytes that are worth waking up for
	coalesceMost  = 25 * time.Millisecond
	coalesceLook  = 50 * time.Millisecond // how often the rate is looked at
)

// wait returns for how long to let the stream collect, after n bytes were moved.
func (g *coalescer) wait(n int, now time.Time) time.Duration {
	g.moved += int64(n)
	g.since += int64(n)
	if took := now.Sub(g.at); took >= coalesceLook {
		g.rate = float64(g.since) / took.Seconds()
		g.since, g.at = 0, now
	}
	if !g.on || g.rate <= 0 || g.rate > coalesceBelow || g.moved < coalesceAfter || n >= coalescePiece {
		return 0
	}
	return min(coalesceMost, time.Duration(coalescePiece/g.rate*float64(time.Second)))
}

type mover interface {
	// move moves at most that many bytes and returns how many; io.EOF at the end.
	move(most int) (int, error)
}

// pauser is a mover that can wait for a while, or until it is stopped.
type pauser interface{ pause(time.Duration) }

// copier is the mover that works everywhere.
type copier struct {
	dst io.Writer
	src io.Reader
	buf []byte
}

func newCopier(dst io.Writer, src io.Reader) *copier {
	return &copier{dst, src, make([]byte, defaultChunk)}
}

// move moves at most that many bytes and returns how many; io.EOF at the end.
func (c *copier) move(most int) (int, error) {
	n, err := c.src.Read(c.buf[:min(most, len(c.buf))])
	if n > 0 {
		n, werr := c.dst.Write(c.buf[:n])
		return n, werr
	}
	if err == nil {
		return 0, nil
	}
	return 0, err
}

// endRead lets pending and later reads fail.
func (j *Relay) endRead() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.src != nil {
		_ = j.src.SetReadDeadline(time.Unix(1, 0))
	}
}

// ringed moves the stream through a buffer in memory, where no pipe may be large enough.
// It reads ahead of its writing by up to Buffer bytes.
func (j *Relay) ringed(dst io.Writer, src io.Reader, chunk int) error {
	ring, err := newRing(j.Buffer)
	if err != nil {
		return err
	}
	defer ring.free()
	filled := make(chan error, 1)
	go func() { filled <- ring.fill(src, chunk) }()
	err = j.drain(dst, ring, chunk)
	ring.close()
	j.endRead()
	if ferr := <-filled; err == nil {
		err = ferr
	}
	return err
}

func (j *Relay) drain(dst io.Writer, ring *ring, chunk int) error {
	for {
		most := chunk
		if j.Limiter != nil {
			most = min(most, j.Limiter.Chunk())
		}
		b := ring.peek(most)
		if b == nil {
			return nil
		}
		if !j.acquire() || j.Limiter != nil && !j.Limiter.Take(len(b), j.stopped) {
			return errStop
		}
		n, err := dst.Write(b)
		j.Moved.Add(int64(n))
		if err != nil {
			return err
		}
		ring.drop(n)
	}
}
