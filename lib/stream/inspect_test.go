package stream

import (
	"bytes"
	"errors"
	"io"
	"math"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"zab/lib/zfs"
)

// lengths is an Inspector of pieces that begin with their length, of one byte. After 0 it
// lets all the rest pass; 255 is forbidden.
type lengths struct{}

var errForbidden = errors.New("forbidden")

func (lengths) Next(b []byte) (int64, int, error) {
	switch {
	case len(b) < 2:
		return 0, 2, nil
	case b[0] == 0:
		return math.MaxInt64, 0, nil
	case b[0] == 255:
		return 0, 0, errForbidden
	}
	return int64(b[0]) + 1, 0, nil
}

// pieces returns a stream of n pieces for lengths, with an end.
func pieces(n int, end ...byte) []byte {
	var b bytes.Buffer
	for range n {
		k := 1 + rand.Intn(254)
		b.WriteByte(byte(k))
		b.WriteString(strings.Repeat("x", k))
	}
	b.Write(end)
	return b.Bytes()
}

func TestInspected(t *testing.T) {
	long := append(pieces(3), 0, 7)
	long = append(long, bytes.Repeat([]byte("y"), 1<<20)...)
	for _, c := range []struct {
		what string
		in   []byte
		want int // bytes that pass
		err  error
	}{
		{"nothing", nil, 0, nil},
		{"pieces", pieces(5000), -1, nil},
		{"one that is cut off", append(pieces(10), 100, 'x'), -1, nil},
		{"the beginning of one", append(pieces(10), 9), -1, nil},
		{"all the rest", long, -1, nil},
		{"what is forbidden", pieces(5000, 255, 255), -2, errForbidden},
	} {
		if c.want < 0 {
			c.want += len(c.in) + 1
			if c.err != nil {
				c.want--
			}
		}
		for how, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "halves": iotest.HalfReader, "with the end": iotest.DataErrReader,
		} {
			for _, one := range []bool{false, true} {
				got, err := io.ReadAll(newInspected(wrap(bytes.NewReader(c.in)), lengths{}, one))
				if err != c.err || !bytes.Equal(got, c.in[:c.want]) {
					t.Errorf("%s, %s, %v: %d of %d bytes, %v", c.what, how, one, len(got), c.want, err)
				}
			}
		}
	}
}

// An inspected stream arrives whole if it is spliced, copied or buffered, and forbidden
// parts of it do not arrive.
func TestRelayInspects(t *testing.T) {
	dir := t.TempDir()
	good, bad := append(pieces(2000), 0, 0), pieces(2000, 255, 255)
	good = append(good, bytes.Repeat([]byte("y"), 3<<20)...)
	for name, j := range map[string]func() *Relay{
		"beginning":           func() *Relay { return &Relay{Inspect: lengths{}} },
		"whole":               func() *Relay { return &Relay{Inspect: lengths{}, Whole: true} },
		"beginning, buffered": func() *Relay { return &Relay{Inspect: lengths{}, Buffer: 1 << 20} },
		"whole, buffered":     func() *Relay { return &Relay{Inspect: lengths{}, Whole: true, Buffer: 1 << 20} },
		"whole, paced, chunked": func() *Relay {
			return &Relay{Inspect: lengths{}, Whole: true, Buffer: 1 << 20, Chunk: 5000, Limiter: NewLimiter(1 << 30)}
		},
	} {
		for _, data := range [][]byte{good, bad} {
			in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
			if err := os.WriteFile(in, data, 0o600); err != nil {
				t.Fatal(err)
			}
			relay := j()
			res := Run(t.Context(), []Link{sh("send", "cat "+zfs.Quote(in)), between(relay), sh("receive", "cat >"+zfs.Quote(out))}, RunOptions{})
			got, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Equal(data, bad) {
				if !errors.Is(res.Err, errForbidden) || !bytes.HasPrefix(bad, got) || len(got) > len(bad)-2 {
					t.Errorf("%s: %d bytes arrive of what is forbidden, %v", name, len(got), res.Err)
				}
				continue
			}
			if res.Err != nil || len(res.Failures) > 0 || !bytes.Equal(got, data) || relay.Moved.Load() != int64(len(data)) {
				t.Errorf("%s: %d bytes of %d, %d counted, %+v", name, len(got), len(data), relay.Moved.Load(), res)
			}
		}
	}
}
