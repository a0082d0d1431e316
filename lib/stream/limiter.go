package stream

import (
	"io"
	"sync"
	"time"
)

// Limiter limits the common rate of all relays that share it. It starts without credit,
// and credit that is not used is lost except for burst, so that a link whose bandwidth is
// paid for sees no peaks.
type Limiter struct {
	rate  int64 // bytes a second
	now   func() time.Time
	sleep func(d time.Duration, stop <-chan struct{}) bool

	mu   sync.Mutex
	next time.Time // when the next byte may pass
}

const burst = 100 * time.Millisecond

// NewLimiter returns a limiter of rate bytes a second, which must be more than 0.
func NewLimiter(rate int64) *Limiter {
	return &Limiter{rate: rate, now: time.Now, sleep: sleep}
}

// Chunk returns how many bytes to move at once so that a stream flows evenly.
func (p *Limiter) Chunk() int {
	return int(max(1, min(p.rate/20, pipeSize)))
}

// Take waits until n bytes may pass. It returns false if stop was closed first.
func (p *Limiter) Take(n int, stop <-chan struct{}) bool {
	p.mu.Lock()
	now := p.now()
	if p.next.IsZero() {
		p.next = now
	}
	if oldest := now.Add(-burst); p.next.Before(oldest) {
		p.next = oldest
	}
	p.next = p.next.Add(p.time(n))
	// The bytes are charged before they pass, so that not even the first come early.
	wait := p.next.Sub(now)
	p.mu.Unlock()
	return wait <= 0 || p.sleep(wait, stop)
}

// Reader returns a reader that keeps the rate. It ends with io.ErrUnexpectedEOF if stop was
// closed.
func (p *Limiter) Reader(in io.Reader, stop <-chan struct{}) io.Reader {
	return &slowReader{in, p, stop}
}

type slowReader struct {
	in   io.Reader
	rate *Limiter
	stop <-chan struct{}
}

func (s *slowReader) Read(p []byte) (int, error) {
	p = p[:min(len(p), s.rate.Chunk())]
	n, err := s.in.Read(p)
	if n > 0 && !s.rate.Take(n, s.stop) {
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// Return gives back n bytes that were taken and not used.
func (p *Limiter) Return(n int) {
	if n <= 0 {
		return
	}
	p.mu.Lock()
	p.next = p.next.Add(-p.time(n))
	p.mu.Unlock()
}

func (p *Limiter) time(n int) time.Duration {
	return time.Duration(float64(n) / float64(p.rate) * float64(time.Second))
}

func sleep(d time.Duration, stop <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-stop:
		return false
	}
}
