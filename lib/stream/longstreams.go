package stream

import "time"

// LongStreams lets short streams pass side by side and long ones one after the other:
// what a short one takes is programs that wait for their pools and the network,
// which is better waited for together; a long one takes what the disks can give,
// and two of them make disks that turn seek between the two.
type LongStreams struct {
	after int64
	turn  chan struct{}
}

// NewLongStreams is for all relays that are to take turns once that many bytes of
// theirs have passed.
func NewLongStreams(after int64) *LongStreams { return &LongStreams{after, make(chan struct{}, 1)} }

// acquire waits, where the stream has become a long one, until no other long one
// moves, or one of its own programs has ended: what is left then is what the pipes
// hold. It is false if the relay was stopped first.
func (j *Relay) acquire() bool {
	if j.LongStreams == nil || j.hasTurn || j.Moved.Load() < j.LongStreams.after {
		return true
	}
	since := time.Now()
	j.waits.Store(since.UnixNano())
	defer func() {
		j.waited.Add(int64(time.Since(since)))
		j.waits.Store(0)
	}()
	select {
	case j.LongStreams.turn <- struct{}{}:
		j.hasTurn = true
		return true
	case <-j.ending:
		return true
	case <-j.stopped:
		return false
	}
}

// hurry lets what is left of the stream pass.
func (j *Relay) hurry() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.init()
	select {
	case <-j.ending:
	default:
		close(j.ending)
	}
}

// release lets the next one in.
func (j *Relay) release() {
	if j.hasTurn {
		<-j.LongStreams.turn
		j.hasTurn = false
	}
}

// Waiting tells whether the stream waits for its turn, and for how long it has
// done so in all.
func (j *Relay) Waiting() (now bool, all time.Duration) {
	all = time.Duration(j.waited.Load())
	if since := j.waits.Load(); since != 0 {
		return true, all + time.Since(time.Unix(0, since))
	}
	return false, all
}
