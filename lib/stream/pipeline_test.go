package stream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"zab/lib/record"
	"zab/lib/zfs"
)

var here = (&zfs.Machine{}).Host("")

func sh(name, line string) Link {
	return Link{Program: &Program{Name: name, Host: here, Argv: []string{"/bin/sh", "-c", line}}}
}

func between(j *Relay) Link { return Link{Relay: j} }

// stream makes a file of that size in which no two places have the same data.
func stream(t *testing.T, size int) (path string, data []byte) {
	t.Helper()
	data = make([]byte, size)
	for i := 0; i+32 <= size; i += 32 {
		sum := sha256.Sum256(fmt.Append(nil, i))
		copy(data[i:], sum[:])
	}
	path = filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, data
}

func TestStreamArrivesWhole(t *testing.T) {
	in, data := stream(t, 3<<20+17)
	for name, j := range map[string]func() *Relay{
		"counting":       func() *Relay { return &Relay{} },
		"buffer":         func() *Relay { return &Relay{Buffer: 1 << 20} },
		"tiny buffer":    func() *Relay { return &Relay{Buffer: 1000, Chunk: 333} },
		"rate":           func() *Relay { return &Relay{Limiter: NewLimiter(1 << 40)} },
		"buffer, rate":   func() *Relay { return &Relay{Buffer: 70_001, Limiter: NewLimiter(1 << 40)} },
		"one byte chunk": func() *Relay { return &Relay{Buffer: 4096, Chunk: 4097} },
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			a, b := j(), j()
			res := Run(t.Context(), []Link{
				sh("send", "cat "+zfs.Quote(in)), between(a), sh("filter", "cat"), sh("filter", "cat"), between(b), sh("receive", "cat >"+zfs.Quote(out)),
			}, RunOptions{})
			if res.Err != nil || len(res.Failures) > 0 {
				t.Fatalf("%+v", res)
			}
			got, err := os.ReadFile(out)
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("what arrived differs: %d bytes, %v", len(got), err)
			}
			if a.Moved.Load() != int64(len(data)) || b.Moved.Load() != int64(len(data)) {
				t.Fatalf("counted %d and %d, not %d", a.Moved.Load(), b.Moved.Load(), len(data))
			}
		})
	}
}

func TestCauseOfFailure(t *testing.T) {
	for _, c := range []struct {
		name  string
		links []Link
		cause string // its name
		words string
	}{
		{"the sender fails, the receiver misses the rest", []Link{
			sh("send", "echo x; echo 'cannot send: I/O error' >&2; exit 1"), between(&Relay{}),
			sh("receive", "cat >/dev/null; echo 'cannot receive: failed to read from stream' >&2; exit 1"),
		}, "send", "I/O error"},
		{"the receiver fails, the sender's pipe breaks", []Link{
			sh("send", "exec cat /dev/zero"), between(&Relay{Buffer: 1 << 20}),
			sh("receive", "read x </dev/null; echo 'cannot receive: out of space' >&2; exit 1"),
		}, "receive", "out of space"},
		{"a sender that cannot read spoils its stream", []Link{
			sh("send", "echo \"warning: cannot send 'a@b': Input/output error\" >&2; exec cat /dev/zero"), between(&Relay{}),
			sh("receive", "sleep 0.1; echo 'cannot receive incremental stream: incompatible embedded data stream feature with encrypted receive.' >&2; exit 1"),
		}, "send", "Input/output error"},
		{"and ends as if all were well", []Link{
			sh("send", "echo \"warning: cannot send 'a@b': Input/output error\" >&2"), between(&Relay{}),
			sh("receive", "cat; echo 'cannot receive incremental stream: kernel modules must be upgraded to receive this stream.' >&2; exit 1"),
		}, "send", "Input/output error"},
		{"and behind a shell", []Link{
			sh("mbuffer", `{ sh -c "echo 'warning: cannot send: Input/output error' >&2; exec cat /dev/zero" || echo "zab: zfs send failed: $?" >&2; } | head -c 1`), between(&Relay{}),
			sh("receive", "cat >/dev/null; echo 'cannot receive incremental stream: invalid backup stream' >&2; exit 1"),
		}, "zfs send", "Input/output error"},
		{"a filter is killed", []Link{
			sh("send", "exec cat /dev/zero"), between(&Relay{}), sh("filter", "kill -9 $$"), between(&Relay{}),
			sh("receive", "cat >/dev/null; echo 'cannot receive incremental stream: checksum mismatch or incomplete stream.' >&2; exit 1"),
		}, "filter", "signal 9"},
		{"the receiver fails while the sender waits for ever", []Link{
			sh("send", "exec sleep 1000"), between(&Relay{}), sh("receive", "echo 'cannot receive: dataset is busy' >&2; exit 1"),
		}, "receive", "busy"},
		{"a failure behind a shell is told by its marker", []Link{
			sh("mbuffer", `{ sh -c "echo 'cannot send: dataset does not exist' >&2; exit 1" || echo "zab: zfs send failed: $?" >&2; } | cat`), between(&Relay{}),
			sh("receive", "cat >/dev/null; echo 'cannot receive: failed to read from stream' >&2; exit 1"),
		}, "zfs send", "does not exist"},
		{"the receiver behind a shell speaks before the marker of its consequence", []Link{
			sh("send", "exec cat /dev/zero"), between(&Relay{}),
			sh("zfs receive", `{ cat || echo "zab: gzip -d failed: $?" >&2; } | { sleep 0.1; echo 'cannot receive: out of space' >&2; exec 0<&-; sleep 0.1; exit 1; }`),
		}, "zfs receive", "out of space"},
		{"a program is not installed", []Link{
			{Program: &Program{Name: "send", Host: here, Argv: []string{"/no/such/program"}}}, between(&Relay{}), sh("receive", "cat >/dev/null"),
		}, "send", "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := Run(t.Context(), c.links, RunOptions{Grace: 200 * time.Millisecond})
			cause, _ := Cause(res.Failures)
			if cause == nil {
				t.Fatalf("no cause in %+v", res)
			}
			if cause.Name != c.cause || !strings.Contains(cause.Err.Error(), c.words) {
				t.Fatalf("the cause is %s: %s", cause.Name, cause.Err)
			}
		})
	}
}

func TestReceiverThatHasAllIsNoFailure(t *testing.T) {
	res := Run(t.Context(), []Link{
		sh("send", "exec cat /dev/zero"), between(&Relay{}), sh("receive", "head -c 1000 >/dev/null"),
	}, RunOptions{Grace: 200 * time.Millisecond})
	if cause, _ := Cause(res.Failures); cause != nil || res.Err != nil {
		t.Fatalf("%+v, %v", cause, res.Err)
	}
}

// P4: the receiver of an interrupted transfer sees the end of its input and ends by
// itself.
func TestInterruptLetsReceiverSave(t *testing.T) {
	dir := t.TempDir()
	saved := filepath.Join(dir, "saved")
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the user said so")
	j := &Relay{}
	go func() {
		for j.Moved.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel(why)
	}()
	res := Run(ctx, []Link{
		sh("send", "exec cat /dev/zero"), between(j), sh("receive", "cat >/dev/null; echo >"+zfs.Quote(saved)),
	}, RunOptions{})
	if !errors.Is(res.Err, why) {
		t.Fatalf("%v", res.Err)
	}
	if _, err := os.Stat(saved); err != nil {
		t.Fatal("the receiver was not allowed to end by itself")
	}
}

func TestInterruptEndsWhatDoesNotEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	res := Run(ctx, []Link{
		sh("send", "trap '' TERM; sleep 1000"), between(&Relay{Buffer: 4096}), sh("receive", "sleep 1000"),
	}, RunOptions{Grace: 10 * time.Millisecond})
	if !errors.Is(res.Err, context.Canceled) {
		t.Fatalf("%v", res.Err)
	}
}

func TestStallEnds(t *testing.T) {
	res := Run(t.Context(), []Link{
		sh("send", "echo x; exec sleep 1000"), between(&Relay{}), sh("receive", "cat >/dev/null"),
	}, RunOptions{Stall: 50 * time.Millisecond, Grace: 10 * time.Millisecond})
	if !errors.Is(res.Err, ErrStalled) {
		t.Fatalf("%v", res.Err)
	}
}

func TestCauseTable(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	fail := func(name string, ms int, last bool, kind record.ErrorKind, sig syscall.Signal, code int, msg string) Failure {
		return Failure{Name: name, Last: last, At: at(ms), Err: &zfs.Error{Kind: kind, Signal: sig, Code: code, Lines: []string{msg}}}
	}
	send := func(ms int, kind record.ErrorKind, msg string) Failure {
		return fail("send", ms, false, kind, 0, 1, msg)
	}
	recv := func(ms int, kind record.ErrorKind, msg string) Failure {
		return fail("recv", ms, true, kind, 0, 1, msg)
	}
	for _, c := range []struct {
		name string
		in   []Failure
		want string
	}{
		{"none", nil, ""},
		{"broken pipe before full pool", []Failure{send(1, record.KindOther, "warning: cannot send 'a@b': Broken pipe"), recv(2, record.KindNoSpace, "out of space")}, "recv"},
		{"sender first", []Failure{send(1, record.KindKey, "key not loaded"), recv(2, record.KindPartial, "failed to read from stream")}, "send"},
		{"sender seen later", []Failure{send(2, record.KindKey, "key not loaded"), recv(1, record.KindPartial, "failed to read from stream")}, "send"},
		{"connection lost", []Failure{fail("ssh", 3, false, record.KindUnreachable, 0, 255, "client_loop: send disconnect: Broken pipe"), recv(1, record.KindPartial, "incomplete")}, "ssh"},
		{"decompressor cut off", []Failure{send(1, record.KindOther, "boom"), fail("zstd -d", 2, false, record.KindOther, 0, 1, "zstd: /*stdin*\\: unexpected end of file"), recv(3, record.KindPartial, "incomplete stream")}, "send"},
		{"sender seen later, and a stream that it spoiled", []Failure{send(2, record.KindUnreadable, "warning: cannot send 'a@b': Input/output error"), recv(1, record.KindFeature, "cannot receive incremental stream: incompatible embedded data stream feature with encrypted receive.")}, "send"},
		{"a stream that is not understood", []Failure{fail("send", 1, false, record.KindKilled, syscall.SIGPIPE, -1, ""), recv(2, record.KindFeature, "cannot receive new filesystem stream: kernel modules must be upgraded to receive this stream.")}, "recv"},
		{"only a bad stream", []Failure{fail("send", 2, false, record.KindKilled, syscall.SIGPIPE, -1, ""), recv(1, record.KindPartial, "checksum mismatch")}, "recv"},
		{"the receiver was content", []Failure{fail("send", 2, false, record.KindKilled, syscall.SIGPIPE, -1, "")}, ""},
		{"a marker of SIGPIPE", []Failure{fail("zfs send", 1, false, record.KindKilled, 0, 141, ""), recv(2, record.KindModified, "modified")}, "recv"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cause, others := Cause(c.in)
			got := ""
			if cause != nil {
				got = cause.Name
				if len(others) != len(c.in)-1 {
					t.Fatalf("%d others", len(others))
				}
			}
			if got != c.want {
				t.Fatalf("the cause is %q, not %q", got, c.want)
			}
		})
	}
}

// clock is a clock that advances only by sleeping.
type clock struct{ t time.Time }

func (c *clock) pace(rate int64) *Limiter {
	p := NewLimiter(rate)
	p.now = func() time.Time { return c.t }
	p.sleep = func(d time.Duration, _ <-chan struct{}) bool { c.t = c.t.Add(d); return true }
	return p
}

func TestLimiterHoldsFromTheStart(t *testing.T) {
	for _, rate := range []int64{1, 1000, 10 << 20} {
		c := &clock{time.Unix(0, 0)}
		p := c.pace(rate)
		sent := int64(0)
		for range 100 {
			n := p.Chunk()
			p.Take(n, nil)
			sent += int64(n)
			if most := float64(rate)*c.t.Sub(time.Unix(0, 0)).Seconds() + 1; float64(sent) > most {
				t.Fatalf("rate %d: %d bytes in %s", rate, sent, c.t.Sub(time.Unix(0, 0)))
			}
		}
	}
}

func TestLimiterAfterPause(t *testing.T) {
	c := &clock{time.Unix(0, 0)}
	p := c.pace(1000)
	p.Take(50, nil)
	c.t = c.t.Add(time.Hour)
	start, sent := c.t, 0
	for c.t.Sub(start) < time.Second {
		p.Take(50, nil)
		sent += 50
	}
	if most := 1000 + 100 + 50; sent > most {
		t.Fatalf("%d bytes in the second after a pause, at most %d were expected", sent, most)
	}
	p.Take(50, nil)
	before := c.t
	p.Return(50)
	p.Take(50, nil)
	if c.t != before {
		t.Fatal("what was given back was not to be had again")
	}
}

// Of two long streams one waits half-way until the other has ended, however long that
// takes; a short stream passes.
func TestLongStreams(t *testing.T) {
	in, data := stream(t, 3<<20)
	for _, buffer := range []int64{0, 70_001} {
		long := NewLongStreams(1 << 20)
		dir := t.TempDir()
		run := func(name, send string) (*Relay, chan Outcome) {
			j := &Relay{LongStreams: long, Buffer: buffer}
			done := make(chan Outcome, 1)
			go func() {
				done <- Run(t.Context(), []Link{sh("send", send), between(j), sh("receive", "cat >"+zfs.Quote(filepath.Join(dir, name)))}, RunOptions{Stall: 5 * time.Second})
			}()
			return j, done
		}
		whole := func(name string, size int, done chan Outcome) Outcome {
			res := <-done
			got, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || res.Err != nil || len(res.Failures) > 0 || !bytes.Equal(got, data[:size]) {
				t.Fatalf("%s: %+v, %d bytes, %v", name, res, len(got), err)
			}
			return res
		}
		until := func(what string, f func() bool) {
			for i := 0; !f(); i++ {
				if i > 10_000 {
					t.Fatal("waited in vain: " + what)
				}
				time.Sleep(time.Millisecond)
			}
		}
		signal := filepath.Join(dir, "go")
		first, done1 := run("first", "head -c 2000000 "+zfs.Quote(in)+"; while test ! -e "+zfs.Quote(signal)+"; do sleep 0.01; done; tail -c +2000001 "+zfs.Quote(in))
		until("the first is inside", func() bool { return first.Moved.Load() == 2000000 })
		second, done2 := run("second", "cat "+zfs.Quote(in))
		until("the second waits", func() bool { now, _ := second.Waiting(); return now })
		_, done3 := run("third", "head -c 1000000 "+zfs.Quote(in))
		whole("third", 1000000, done3)
		if now, _ := second.Waiting(); !now || len(done2) > 0 || second.Moved.Load() < 1<<20 {
			t.Errorf("the second does not wait: %d bytes", second.Moved.Load())
		}
		until("a while", func() bool { _, all := second.Waiting(); return all > 200*time.Millisecond })
		if err := os.WriteFile(signal, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		whole("first", len(data), done1)
		whole("second", len(data), done2)
		now, all := second.Waiting()
		if now || all < 200*time.Millisecond {
			t.Errorf("%v, %v", now, all)
		}
	}
}

// A long stream whose sender has ended does not wait for its turn.
func TestLongStreamsLetsTheRestPass(t *testing.T) {
	in, data := stream(t, 1<<20+100_000)
	long := NewLongStreams(1 << 20)
	long.turn <- struct{}{} // somebody else's
	out := filepath.Join(t.TempDir(), "out")
	res := Run(t.Context(), []Link{sh("send", "cat "+zfs.Quote(in)), between(&Relay{LongStreams: long}), sh("receive", "cat >"+zfs.Quote(out))}, RunOptions{})
	got, err := os.ReadFile(out)
	if res.Err != nil || len(res.Failures) > 0 || err != nil || !bytes.Equal(got, data) {
		t.Errorf("%+v, %d bytes, %v", res, len(got), err)
	}
	if len(long.turn) != 1 {
		t.Error("it gave back a turn that was not its own")
	}
}

// A long stream that waits for its turn is not stalled, and can be interrupted.
func TestLongStreamsEnds(t *testing.T) {
	in, _ := stream(t, 3<<20)
	long := NewLongStreams(1 << 20)
	long.turn <- struct{}{} // somebody else's
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	j := &Relay{LongStreams: long}
	const stall = 2 * time.Second // more than it takes to become long
	go func() {
		for {
			if _, all := j.Waiting(); all > stall+stall/4 || ctx.Err() != nil {
				cancel(why)
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	res := Run(ctx, []Link{sh("send", "cat "+zfs.Quote(in)), between(j), sh("receive", "cat >/dev/null")}, RunOptions{Stall: stall})
	if !errors.Is(res.Err, why) {
		t.Errorf("%+v", res)
	}
	if len(long.turn) != 1 {
		t.Error("it gave back a turn that was not its own")
	}
}

func TestRingTooLarge(t *testing.T) {
	if _, err := newRing(1 << 62); err == nil {
		t.Fatal("a buffer larger than all memory")
	}
}

func TestMarker(t *testing.T) {
	for _, c := range []struct {
		line, name string
		code       int
		ok         bool
	}{
		{Marker("zfs send") + "1", "zfs send", 1, true},
		{Marker("the send pipe") + "141", "the send pipe", 141, true},
		{"zab: zstd: command not found", "", 0, false},
		{"cannot send 'x failed: 1'", "", 0, false},
		{Marker("x") + "", "x", 0, false},
	} {
		name, code, ok := parseMarker(c.line)
		if ok != c.ok || ok && (name != c.name || code != c.code) {
			t.Errorf("%q: %q %d %v", c.line, name, code, ok)
		}
	}
}

func BenchmarkRelay(b *testing.B) {
	for name, j := range map[string]func() *Relay{
		"splice": func() *Relay { return &Relay{} },
		"buffer": func() *Relay { return &Relay{Buffer: 64 << 20} },
		"rate":   func() *Relay { return &Relay{Limiter: NewLimiter(1 << 50)} },
	} {
		b.Run(name, func(b *testing.B) {
			const size = 1 << 30
			b.SetBytes(size)
			for b.Loop() {
				Run(b.Context(), []Link{sh("send", fmt.Sprintf("exec head -c %d /dev/zero", size)), between(j()), sh("receive", "exec cat >/dev/null")}, RunOptions{})
			}
		})
	}
	b.Run("no relay", func(b *testing.B) {
		const size = 1 << 30
		b.SetBytes(size)
		for b.Loop() {
			Run(b.Context(), []Link{sh("send", fmt.Sprintf("exec head -c %d /dev/zero", size)), sh("receive", "exec cat >/dev/null")}, RunOptions{})
		}
	})
}

// A buffer in memory, for users who may not have large pipes, passes all bytes in their
// order with any sizes of buffer and chunk.
func TestRinged(t *testing.T) {
	data := make([]byte, 1<<20+17)
	for i := range data {
		data[i] = byte(i * 7 >> 3)
	}
	for _, c := range []struct {
		buffer int64
		chunk  int
		pace   *Limiter
	}{{1 << 20, 128 << 10, nil}, {1000, 333, nil}, {4096, 4097, nil}, {70_001, 10, nil}, {70_001, 9000, NewLimiter(1 << 40)}, {8 << 20, 1 << 20, nil}} {
		j := &Relay{Buffer: c.buffer, Limiter: c.pace}
		j.init()
		var out bytes.Buffer
		if err := j.ringed(&out, bytes.NewReader(data), c.chunk); err != nil || !bytes.Equal(out.Bytes(), data) {
			t.Errorf("%+v: %v, %d bytes of %d, or others", c, err, out.Len(), len(data))
		}
		if j.Moved.Load() != int64(len(data)) {
			t.Errorf("%+v: counted %d", c, j.Moved.Load())
		}
	}
	j := &Relay{Buffer: 1000}
	j.init()
	if err := j.ringed(&failing{after: 5000}, bytes.NewReader(data), 300); !errors.Is(err, errFull) {
		t.Errorf("a writer that fails: %v", err)
	}
}

var errFull = errors.New("full")

type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if f.after -= len(p); f.after < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// A buffer holds as many bytes as were asked for, and besides only the pipes hold some.
func TestBufferHoldsItsSize(t *testing.T) {
	const size = 8 << 20
	srcR, srcW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	dstR, dstW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	j := &Relay{Buffer: size}
	done := make(chan error, 1)
	go func() { done <- j.run(dstW, srcR) }()
	// Nobody reads, so the bytes taken are those in the buffer and in the two pipes.
	taken := 0
	page := make([]byte, 4096)
	_ = srcW.SetWriteDeadline(time.Now().Add(time.Second))
	for {
		n, err := srcW.Write(page)
		taken += n
		if err != nil {
			break
		}
		if n > 0 {
			_ = srcW.SetWriteDeadline(time.Now().Add(time.Second))
		}
	}
	if taken < size || taken > size+4<<20 {
		t.Errorf("%d bytes are taken by a buffer of %d", taken, size)
	}
	srcW.Close()
	n, err := io.Copy(io.Discard, dstR)
	if err != nil || int(n) != taken {
		t.Errorf("%d bytes went in, %d came out: %v", taken, n, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A slow stream never collects so long that it fills its pipe; one that is short, fast or
// comes in large pieces does not collect at all.
func TestCoalescer(t *testing.T) {
	for _, c := range []struct {
		name  string
		rate  float64 // bytes a second
		piece int
		after time.Duration
		waits bool
	}{
		{"slow", 20 << 20, 64 << 10, time.Second, true},
		{"very slow", 100 << 10, 4 << 10, time.Minute, true},
		{"fast", 200 << 20, 64 << 10, time.Second, false},
		{"in large pieces", 20 << 20, 512 << 10, time.Second, false},
		{"short", 20 << 20, 64 << 10, 100 * time.Millisecond, false},
	} {
		g := coalescer{on: true, at: time.Unix(0, 0)}
		now, waited := time.Unix(0, 0), false
		for now.Sub(time.Unix(0, 0)) < c.after {
			now = now.Add(time.Duration(float64(c.piece) / c.rate * float64(time.Second)))
			d := g.wait(c.piece, now)
			waited = waited || d > 0
			if held := d.Seconds() * c.rate; held > pipeSize/2 {
				t.Errorf("%s: %v at %.0f bytes a second would be %.0f bytes", c.name, d, c.rate, held)
				break
			}
		}
		if waited != c.waits {
			t.Errorf("%s: it waits: %v", c.name, waited)
		}
	}
	if d := (&coalescer{at: time.Unix(0, 0), rate: 1, moved: coalesceAfter}).wait(1, time.Unix(0, 1)); d != 0 {
		t.Errorf("it waits %v where pipes are narrow", d)
	}
}

// A stream that never has to wait can be stopped, too.
func TestStopsBusyStream(t *testing.T) {
	j := &Relay{}
	over := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(over)
		Run(ctx, []Link{sh("send", "trap '' INT TERM; cat /dev/zero"), between(j), sh("receive", "exec cat >/dev/null")}, RunOptions{})
	}()
	for j.Moved.Load() < 64<<20 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-over
}
