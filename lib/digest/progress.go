package digest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// lines is a writer for several goroutines. Each writes whole lines.
type lines struct {
	mu sync.Mutex
	w  *bufio.Writer
}

func newLines(w io.Writer) *lines { return &lines{w: bufio.NewWriter(w)} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (l *lines) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Flush()
}

// progress tells that something is read, for those who wait for the digest and cannot see
// the stream.
type progress struct {
	w     *lines
	every time.Duration
	read  atomic.Int64
	said  int64
}

func (o *options) progress(w *lines) *progress { return &progress{w: w, every: o.Every.Duration} }

func (p *progress) add(n int) { p.read.Add(int64(n)) }

// reader returns a reader that counts what is read.
func (p *progress) reader(in io.Reader) io.Reader { return &counted{in, p} }

type counted struct {
	in io.Reader
	p  *progress
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.in.Read(b)
	c.p.add(n)
	return n, err
}

// say prints a line if something was read since the last.
func (p *progress) say() {
	if n := p.read.Load(); n != p.said {
		p.said = n
		fmt.Fprintf(p.w, "{\"type\":\"progress\",\"read\":%d}\n", n)
		_ = p.w.Flush() // an error comes back when the digest is written
	}
}

// await returns what read returns, and prints the progress meanwhile. It does not wait for
// read if the context ends, whose cause it returns then: a pool or a pipe may never answer.
func await[T any](ctx context.Context, p *progress, read func() (T, error)) (got T, err error) {
	done := make(chan struct{})
	var res T
	var failed error
	go func() {
		defer close(done)
		res, failed = read()
	}()
	var tick <-chan time.Time
	if p.every > 0 {
		t := time.NewTicker(p.every)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return got, context.Cause(ctx)
		case <-done:
			return res, failed
		case <-tick:
			p.say()
		}
	}
}
