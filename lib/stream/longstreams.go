package stream

import "time"

// LongStreams lets short streams pass side by side and long ones one after the other.
// A short stream is dominated by the latency of pools and network, and short ones overlap
// well; a long one takes all the bandwidth of the disks, and two of them make spinning
// disks seek between the two.
type LongStreams struct {
	after int64
	turn  chan struct{}
}

// NewLongStreams returns LongStreams for all relays that are to take turns, each once
// that many bytes of its stream have passed.
func NewLongStreams(after int64) *LongStreams { return &LongStreams{after, make(chan struct{}, 1)} }

// acquire waits, if the stream has become a long one, until no other long one moves, or
// one of its own programs has ended: then only the contents of the pipes are left. It
// returns false if the relay was stopped first.
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

// hurry lets the rest of the stream pass without waiting for its turn.
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

// release gives up the turn, so that the next long stream has it.
func (j *Relay) release() {
	if j.hasTurn {
		<-j.LongStreams.turn
		j.hasTurn = false
	}
}

// Waiting reports whether the stream waits for its turn, and for how long it has done so
// in all.
func (j *Relay) Waiting() (now bool, all time.Duration) {
	all = time.Duration(j.waited.Load())
	if since := j.waits.Load(); since != 0 {
		return true, all + time.Since(time.Unix(0, since))
	}
	return false, all
}
