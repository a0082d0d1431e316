package digest

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestProgress checks that a line is printed as long as something is read, and none while
// nothing is.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		o := &options{}
		o.Every.Duration = 10 * time.Second
		p := o.progress(newLines(&out))
		in, feed := io.Pipe()
		go func() {
			_, _ = feed.Write(make([]byte, 100))
			time.Sleep(35 * time.Second)
			_, _ = feed.Write(make([]byte, 7))
			time.Sleep(10 * time.Second)
			feed.Close()
		}()
		got, err := await(context.Background(), p, func() (int64, error) { return io.Copy(io.Discard, p.reader(in)) })
		want := "{\"type\":\"progress\",\"read\":100}\n{\"type\":\"progress\",\"read\":107}\n"
		if err != nil || got != 107 || out.String() != want {
			t.Errorf("%d, %v, %q", got, err, out.String())
		}
		// An end from outside is not waited for.
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(io.ErrClosedPipe)
		never := make(chan struct{})
		defer close(never)
		if _, err := await(ctx, p, func() (int, error) { <-never; return 0, nil }); err != io.ErrClosedPipe {
			t.Errorf("%v", err)
		}
		// Without the option there is no line.
		out.Reset()
		p = (&options{}).progress(newLines(&out))
		n, err := await(context.Background(), p, func() (int, error) {
			defer time.Sleep(time.Hour)
			return p.reader(strings.NewReader("x")).Read(make([]byte, 1))
		})
		if n != 1 || err != nil || out.Len() > 0 {
			t.Errorf("%d, %v, %q", n, err, out.String())
		}
	})
}
