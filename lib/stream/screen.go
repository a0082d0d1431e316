package stream

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// screen draws the lines of the display, and is mpb's ConsoleWriter. That of mpb itself
// leaves the cursor below the lines and goes up again before it draws them anew. This one
// leaves it where they begin, so that nothing is erased that another program has written
// meanwhile, nor what stood above when a narrower terminal makes two rows of a line. And
// it writes a message at once, since one that waits would be lost with the process. The
// lines are written by a goroutine, since a terminal may be stopped (Ctrl-S), or its ssh
// hang, which is no reason to stop the transfers.
type screen struct {
	w    io.Writer
	size func() (columns, rows int)
	next []string // the lines to draw, used by mpb alone
	// frames has the text that draws the lines, "" to remove them. One waits at most.
	frames chan string
	ended  chan struct{} // closed when all frames are drawn

	mu     sync.Mutex
	drawn  string // on the terminal; "" if nothing is
	closed bool
}

// closeTime is how long close waits for a terminal.
const closeTime = time.Second

func newScreen(w io.Writer, size func() (columns, rows int)) *screen {
	s := &screen{w: w, size: size, frames: make(chan string, 1), ended: make(chan struct{})}
	go s.draw()
	return s
}

const (
	toLineEnd   = "\x1b[K" // erases from the cursor
	toScreenEnd = "\x1b[J"
)

// Write writes a message above the lines.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drawn == "" {
		return s.w.Write(p)
	}
	_, err := io.WriteString(s.w, "\r"+toScreenEnd+string(p)+s.drawn)
	return len(p), err
}

// ReadFrom adds a line to those to draw, unless it is empty; mpb then does not count it.
func (s *screen) ReadFrom(r io.Reader) (int64, error) {
	b, err := io.ReadAll(r)
	line := strings.TrimSuffix(string(b), "\n")
	if line == "" {
		return 0, err
	}
	s.next = append(s.next, line)
	return int64(len(b)), err
}

// Flush has the lines drawn, unless the terminal does not take those before.
func (s *screen) Flush(int) error {
	drawn := ""
	if n := len(s.next); n > 0 {
		drawn = "\r" + strings.Join(s.next, toLineEnd+"\n") + toScreenEnd + "\r"
		if n > 1 {
			drawn += fmt.Sprintf("\x1b[%dA", n-1)
		}
	}
	s.next = nil
	select {
	case s.frames <- drawn:
	default:
	}
	return nil
}

func (s *screen) draw() {
	defer close(s.ended)
	for frame := range s.frames {
		s.mu.Lock()
		if frame == "" {
			s.clear()
		} else if !s.closed {
			_, _ = io.WriteString(s.w, frame)
			s.drawn = frame
		}
		s.mu.Unlock()
	}
}

func (s *screen) clear() {
	if s.drawn != "" {
		_, _ = io.WriteString(s.w, "\r"+toScreenEnd)
		s.drawn = ""
	}
}

// close removes the lines, if the terminal takes what is written. Flush must not be called
// any more.
func (s *screen) close() {
	close(s.frames)
	late := time.NewTimer(closeTime)
	defer late.Stop()
	select {
	case <-s.ended:
	case <-late.C:
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	s.closed = true
}

// IsTerminal makes mpb draw.
func (s *screen) IsTerminal() bool { return true }

// GetTermSize returns the size of the terminal without its last column, since some break
// full lines, and one row, for the last message.
func (s *screen) GetTermSize() (width, height int, err error) {
	columns, rows := s.size()
	return max(columns-1, 1), max(rows-1, 1), nil
}

// sizeOf returns the size of a terminal; that of a usual one for anything else, and for
// one that does not know its size.
func sizeOf(w io.Writer) (columns, rows int) {
	if f, ok := w.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 && size.Row > 0 {
			return int(size.Col), int(size.Row)
		}
	}
	return 80, 24
}
