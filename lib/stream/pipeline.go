// Package stream sends a stream from one dataset to another: it builds the pipeline of
// the programs of both sides, with compression, buffers and rate limits between them,
// runs it, shows its progress, and finds out which program was the cause of a failure.
//
// Goals: the data is copied as seldom as the kernel allows; the received part is saved
// whichever program fails; no process that a signal can end is left behind; the cause of
// a failure is reported, not one of its consequences.
//
// Non-goals: the caller decides which stream is sent, and how to go on after a failure.
// Of zfs and ssh the package knows the messages and exit statuses that tell a cause from
// a consequence.
package stream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"zab/lib/pipesize"
	"zab/lib/proc"
	"zab/lib/record"
	"zab/lib/zfs"
)

// Link is one place of the chain: a program, or a relay in this process.
// Exactly one of them is set.
type Link struct {
	Program *Program
	Relay   *Relay
}

// Program is a program that is started here; it may be ssh, behind which several run.
type Program struct {
	// Name in messages, such as zfs send.
	Name string
	// Host is where the program does its work.
	Host *zfs.Host
	// Argv is the command that is started here.
	Argv []string
}

// ErrStalled is the cause of a transfer that was ended because no byte moved.
var ErrStalled = errors.New("no byte moved")

// RunOptions are the options of Run.
type RunOptions struct {
	// Stall ends a transfer in which no byte passed a relay for that long; 0 means never.
	Stall time.Duration
	// Grace is how long a program may take to end by itself when the transfer
	// is given up; 0 means 5 seconds.
	Grace time.Duration
	// Lost delivers the error with which to give the transfer up because a pool is
	// suspended. Programs may then wait for the pool in the kernel, where no signal ends
	// them; those are left behind.
	Lost <-chan error
}

// Outcome is the outcome of a chain.
type Outcome struct {
	// Failures are the programs that did not end well, in the order of the
	// chain; none means that all did.
	Failures []Failure
	// Err is set if the chain could not be built, or was given up from here: a stall, a
	// lost pool, the end of the context, or an error of a relay.
	Err error
	// Said is the stderr of the last program, which receives.
	Said string
	// Seconds is the duration, without the time that it waited for other long streams.
	Seconds float64
}

// Failure is a program that did not end well.
type Failure struct {
	// Name of the program, Place in the chain.
	Name  string
	Place int
	// Last: the program is the one that receives.
	Last bool
	Err  *zfs.Error
	// At orders the failures by the time they were seen.
	At time.Time
}

// saveTime is how long a receiver may take to save the received part, once its input has
// ended because another program failed.
const saveTime = time.Minute

// lostTime is how long the programs of a transfer may take to end after a kill when
// it is known that one of their pools does not answer.
const lostTime = 3 * time.Second

// child is a program of the chain while it runs.
type child struct {
	*Program
	place  int
	cmd    *proc.Group
	stderr zfs.Stderr
	err    error
	at     time.Time
	done   chan struct{}
	killed atomic.Bool // by us, so that its end is no failure
}

// leave stops waiting for a program that no signal ends.
func (c *child) leave() {
	c.killed.Store(true)
	c.cmd.Leave()
}

func (c *child) kill(sig syscall.Signal) {
	select {
	case <-c.done:
	default:
		c.killed.Store(true)
		_ = c.cmd.Signal(sig)
	}
}

type relay struct {
	*Relay
	place    int
	src, dst *os.File
	stop     func()
	err      error
	done     chan struct{}
}

// Run starts the chain and waits for its end. The first and the last link are
// programs, and no two relays are neighbours.
func Run(ctx context.Context, links []Link, o RunOptions) Outcome {
	if o.Grace == 0 {
		o.Grace = 5 * time.Second
	}
	start := time.Now()
	children, relays, err := build(links)
	if err != nil {
		return Outcome{Err: err}
	}
	out := Outcome{}
	// The last is started first, so that no stream begins if the receiver cannot start.
	for i := len(children) - 1; i >= 0; i-- {
		c := children[i]
		if err := c.cmd.Start(); err != nil {
			out.Failures = []Failure{{Name: c.Name, Place: c.place, Last: i == len(children)-1, Err: asError(c.Host.Failed(c.Argv, err, "")), At: time.Now()}}
			for _, d := range children[i+1:] {
				d.killed.Store(true)
				_ = d.cmd.Signal(syscall.SIGKILL)
			}
			closeEnds(children, relays)
			for _, d := range children[i+1:] {
				_ = d.cmd.Wait()
			}
			return out
		}
	}
	for _, c := range children {
		closeChild(c.cmd)
	}
	for _, j := range relays {
		go func() { defer close(j.done); j.err = j.run(j.dst, j.src) }()
	}
	ended := make(chan *child, len(children))
	for _, c := range children {
		go func() {
			err := c.cmd.Wait()
			if errors.Is(err, exec.ErrWaitDelay) {
				// The program ended well, a child of it still holds stderr.
				err = nil
			}
			c.err, c.at = err, time.Now()
			close(c.done)
			ended <- c
		}()
	}
	out.Err = watch(ctx, children, relays, ended, o)
	for _, j := range relays {
		j.stop()
		<-j.done
		if j.err != nil && out.Err == nil {
			out.Err = j.err
		}
	}
	took := time.Since(start)
	for _, j := range relays {
		_, waited := j.Waiting()
		took -= waited
	}
	out.Seconds = took.Seconds()
	last := children[len(children)-1]
	out.Said = last.stderr.String()
	for i, c := range children {
		failed := c.failures(i == len(children)-1)
		if len(failed) == 0 && c.err == nil && last.err != nil {
			failed = c.warned()
		}
		out.Failures = append(out.Failures, failed...)
	}
	return out
}

// watch waits until all children have ended, and ends them when one of them fails or the
// transfer is given up. It returns the error with which the transfer was given up.
func watch(ctx context.Context, children []*child, relays []*relay, ended <-chan *child, o RunOptions) (gaveUp error) {
	left := len(children)
	last := children[left-1]
	over := make(chan struct{})
	defer close(over)
	later := func(d time.Duration, f func()) {
		go func() {
			if sleep(d, over) {
				f()
			}
		}()
	}
	end := func(cs []*child, after time.Duration) {
		later(after, func() { each(cs, syscall.SIGTERM) })
		later(after+2*time.Second, func() { each(cs, syscall.SIGKILL) })
		later(after+2*time.Second+saveTime, func() { leave(cs) })
	}
	done := ctx.Done()
	var tick <-chan time.Time
	var seen int64
	since := time.Now()
	if o.Stall > 0 && len(relays) > 0 {
		t := time.NewTicker(max(min(o.Stall/4, time.Second), time.Millisecond))
		defer t.Stop()
		tick = t.C
	}
	giveUp := func(err error) {
		if gaveUp == nil {
			gaveUp = err
			// The relays stop: the senders' pipes break, and the receiver sees the
			// end of its input, saves the received part and ends by itself.
			stopAll(relays)
			end(children, o.Grace)
		}
	}
	collapsed := false
	for left > 0 {
		select {
		case c := <-ended:
			left--
			for _, j := range relays {
				j.hurry()
			}
			if (c.err == nil && c != last) || collapsed {
				continue
			}
			// A program failed, or the receiver has all it wanted. Programs before it
			// have no reader left, and may not notice while they wait for their disk
			// or network. Programs after it see the end of their input.
			collapsed = true
			var before, after []*child
			for _, d := range children {
				if d.place < c.place {
					before = append(before, d)
				} else {
					after = append(after, d)
				}
			}
			if c.err != nil || c == last {
				for _, j := range relays {
					if j.place < c.place {
						j.stop()
					}
				}
			}
			end(before, o.Grace)
			// Buffered data may still take its time to arrive.
			var late func()
			late = func() {
				if flowing(relays) {
					later(saveTime, late)
					return
				}
				each(after, syscall.SIGTERM)
				later(2*time.Second, func() { each(after, syscall.SIGKILL) })
			}
			later(saveTime, late)
		case <-done:
			done = nil
			giveUp(context.Cause(ctx))
		case err := <-o.Lost:
			giveUp(err)
			each(children, syscall.SIGTERM)
			later(lostTime, func() { each(children, syscall.SIGKILL) })
			later(2*lostTime, func() { leave(children) })
		case <-tick:
			n, waits := int64(0), false
			for _, j := range relays {
				n += j.Moved.Load()
				now, _ := j.Waiting()
				waits = waits || now
			}
			if n != seen || waits || !flowing(relays) {
				seen, since = n, time.Now()
			} else if time.Since(since) >= o.Stall {
				giveUp(fmt.Errorf("%w for %s", ErrStalled, o.Stall))
			}
		}
	}
	return gaveUp
}

// flowing reports whether a relay is still at work.
func flowing(relays []*relay) bool {
	for _, j := range relays {
		select {
		case <-j.done:
		default:
			return true
		}
	}
	return false
}

func stopAll(relays []*relay) {
	for _, j := range relays {
		j.stop()
	}
}

func leave(cs []*child) {
	for _, c := range cs {
		c.leave()
	}
}

func each(cs []*child, sig syscall.Signal) {
	for _, c := range cs {
		c.kill(sig)
	}
}

// build makes the children and the pipes between them.
func build(links []Link) (children []*child, relays []*relay, err error) {
	defer func() {
		if err != nil {
			closeEnds(children, relays)
		}
	}()
	var in *os.File // the input of the next link
	for i, l := range links {
		if p := l.Program; p != nil {
			c := &child{Program: p, place: i, cmd: zfs.Child(p.Argv), done: make(chan struct{})}
			c.cmd.Stderr = &c.stderr
			// A child of the child may hold stderr open for ever.
			c.cmd.WaitDelay = 5 * time.Second
			if in != nil {
				c.cmd.Stdin = in
			}
			children = append(children, c)
		} else {
			relays = append(relays, &relay{Relay: l.Relay, place: i, src: in, stop: sync.OnceFunc(l.Relay.interrupt), done: make(chan struct{})})
		}
		in = nil
		if i == len(links)-1 {
			break
		}
		r, w, err := os.Pipe()
		if err != nil {
			return children, relays, fmt.Errorf("cannot make a pipe: %w", err)
		}
		pipesize.Enlarge(w)
		if l.Program != nil {
			children[len(children)-1].cmd.Stdout = w
		} else {
			relays[len(relays)-1].dst = w
		}
		in = r
	}
	return children, relays, nil
}

// closeChild closes the ends of pipes that belong to the child.
func closeChild(cmd *proc.Group) {
	if f, ok := cmd.Stdin.(*os.File); ok && f != nil {
		_ = f.Close()
	}
	if f, ok := cmd.Stdout.(*os.File); ok && f != nil {
		_ = f.Close()
	}
}

func closeEnds(children []*child, relays []*relay) {
	for _, c := range children {
		closeChild(c.cmd)
	}
	for _, j := range relays {
		if j.src != nil {
			_ = j.src.Close()
		}
		if j.dst != nil {
			_ = j.dst.Close()
		}
	}
}

// Marker returns the text that a shell line prints on stderr, followed by the exit
// status, when a program that is not the last of its pipeline fails: the status would be
// lost otherwise.
func Marker(name string) string { return "zab: " + name + " failed: " }

// failures returns the failure of a child, and those of the programs in its shell line
// that were reported with a Marker.
func (c *child) failures(last bool) []Failure {
	var out []Failure
	var all, rest []string
	for line := range strings.Lines(c.stderr.String()) {
		line = strings.TrimRight(line, "\r\n")
		name, code, ok := parseMarker(line)
		if !ok {
			all, rest = append(all, line), append(rest, line)
			continue
		}
		// The lines before a marker were most likely printed by its program.
		out = append(out, Failure{Name: name, Place: c.place, Err: exited(c.Host, name, code, strings.Join(rest, "\n")), At: c.at})
		rest = nil
	}
	if c.err != nil && !c.killed.Load() {
		// The last program may have printed before the others' markers, so all of the
		// text goes with its status.
		e := asError(c.Host.Failed(c.Argv, c.err, strings.Join(all, "\n")))
		switch {
		case c.Host.Here():
			e.Argv = []string{c.Name}
		case e.Code != sshFailed && e.Signal == 0:
			e.Argv = []string{c.Name}
			signalled(e)
		}
		e = spoiled(c.Host, e)
		out = append(out, Failure{Name: c.Name, Place: c.place, Last: last, Err: e, At: c.at})
	}
	return out
}

// sshFailed is the exit status of ssh itself; any other is that of the remote command.
const sshFailed = 255

func parseMarker(line string) (name string, code int, ok bool) {
	rest, ok := strings.CutPrefix(line, "zab: ")
	if !ok {
		return "", 0, false
	}
	name, num, ok := strings.Cut(rest, " failed: ")
	if !ok {
		return "", 0, false
	}
	code, err := strconv.Atoi(num)
	return name, code, err == nil
}

// exited returns the error of a program whose exit status a shell reported.
func exited(h *zfs.Host, name string, code int, text string) *zfs.Error {
	e := asError(h.Failed([]string{name}, errors.New(""), text))
	e.Code = code
	if code == 127 {
		e.Kind = record.KindMissingProgram
	}
	signalled(e)
	return spoiled(h, e)
}

// warned returns the failure of a program that reported a read error and ended with
// status 0 all the same, as zfs send -I does (2.1); none if it reported no read error.
func (c *child) warned() []Failure {
	e := exited(c.Host, c.Name, 1, c.stderr.String())
	if e.Kind != record.KindPoolIO {
		return nil
	}
	return []Failure{{Name: c.Name, Place: c.place, Err: e, At: c.at}}
}

// spoiled returns e, or the read error of a program that reported one and died only then,
// of the pipe that its reader had closed: after a read error zfs send -I ends its stream
// with a record that makes no sense in its place, and goes on.
func spoiled(h *zfs.Host, e *zfs.Error) *zfs.Error {
	if e.Signal != syscall.SIGPIPE {
		return e
	}
	said := asError(h.Failed(e.Argv, errors.New(""), strings.Join(e.Lines, "\n")))
	if said.Kind != record.KindPoolIO {
		return e
	}
	said.Code = 1
	return said
}

// signalled sets the signal that a shell reported as an exit status above 128.
func signalled(e *zfs.Error) {
	if e.Code > 128 && e.Code < 128+65 {
		e.Signal = syscall.Signal(e.Code - 128)
		if e.Kind == record.KindOther {
			e.Kind = record.KindKilled
		}
	}
}

func asError(err error) *zfs.Error {
	var e *zfs.Error
	if errors.As(err, &e) {
		return e
	}
	return &zfs.Error{Kind: record.KindOther, Code: -1, Lines: []string{err.Error()}}
}
