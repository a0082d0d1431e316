package pipeline

import "time"

// Gate lets short streams pass side by side and long ones one after the other:
// what a short one takes is programs that wait for their pools and the network,
// which is better waited for together; a long one takes what the disks can give,
// and two of them make disks that turn seek between the two.
type Gate struct {
	after int64
	turn  chan struct{}
}

// NewGate is for all joints that are to take turns once that many bytes of
// theirs have passed.
func NewGate(after int64) *Gate { return &Gate{after, make(chan struct{}, 1)} }

// turn waits, where the stream has become a long one, until no other long one
// moves, or one of its own programs has ended: what is left then is what the pipes
// hold. It is false if the joint was stopped first.
func (j *Joint) turn() bool {
	if j.Gate == nil || j.inside || j.Moved.Load() < j.Gate.after {
		return true
	}
	since := time.Now()
	j.waits.Store(since.UnixNano())
	defer func() {
		j.waited.Add(int64(time.Since(since)))
		j.waits.Store(0)
	}()
	select {
	case j.Gate.turn <- struct{}{}:
		j.inside = true
		return true
	case <-j.ending:
		return true
	case <-j.stopped:
		return false
	}
}

// hurry lets what is left of the stream pass.
func (j *Joint) hurry() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.init()
	select {
	case <-j.ending:
	default:
		close(j.ending)
	}
}

// leave lets the next one in.
func (j *Joint) leave() {
	if j.inside {
		<-j.Gate.turn
		j.inside = false
	}
}

// Waiting tells whether the stream stands at its gate, and for how long it has
// done so in all.
func (j *Joint) Waiting() (now bool, all time.Duration) {
	all = time.Duration(j.waited.Load())
	if since := j.waits.Load(); since != 0 {
		return true, all + time.Since(time.Unix(0, since))
	}
	return false, all
}
