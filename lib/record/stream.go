package record

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// InputError is a line that was not understood. Nothing may be done for it.
type InputError struct {
	Line int // from 1
	Err  error
}

func (e *InputError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }
func (e *InputError) Unwrap() error { return e.Err }

// Reader reads records, a line each. After an error it gives that error again:
// what follows a line that was not understood cannot be trusted.
type Reader struct {
	r    *bufio.Reader
	line int
	err  error
}

// NewReader reads records from r.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, 1<<16)}
}

// Read gives the next record, io.EOF after the last, or an *InputError.
func (r *Reader) Read() (*Record, error) {
	if r.err != nil {
		return nil, r.err
	}
	rec, err := r.read()
	if err != nil {
		r.err = err
	}
	return rec, err
}

func (r *Reader) read() (*Record, error) {
	parse, err := r.Next()
	if err != nil {
		return nil, err
	}
	return parse()
}

// Next reads the next line and leaves it to the caller when, and in which
// goroutine, it is understood. The caller must not trust what follows a line
// that was not.
func (r *Reader) Next() (parse func() (*Record, error), err error) {
	line, err := r.readLine()
	if err != nil {
		return nil, err
	}
	n := r.line
	return func() (*Record, error) {
		rec, err := Parse(line)
		if err != nil {
			return nil, &InputError{n, err}
		}
		rec.Line = n
		return rec, nil
	}, nil
}

// readLine gives one line of whatever length without its newline.
func (r *Reader) readLine() ([]byte, error) {
	r.line++
	line, err := r.r.ReadBytes('\n')
	switch {
	case err == nil:
		return line[:len(line)-1], nil
	case errors.Is(err, io.EOF) && len(line) == 0:
		return nil, io.EOF
	case errors.Is(err, io.EOF):
		return nil, &InputError{r.line, errors.New("the record is cut off: no newline ends it")}
	}
	return nil, fmt.Errorf("cannot read records: %w", err)
}

// ReadAll reads all records that are left.
func (r *Reader) ReadAll() ([]*Record, error) {
	var all []*Record
	for {
		rec, err := r.Read()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, rec)
	}
}

// Parse understands one line, without its newline, or says why not.
func Parse(line []byte) (*Record, error) {
	if len(bytes.TrimSpace(line)) == 0 {
		return nil, errors.New("an empty line is not a record")
	}
	rec, ok := parseCut(line)
	if !ok {
		rec = &Record{raw: string(line)}
		if err := json.Unmarshal(line, rec); err != nil {
			return nil, tidy(err)
		}
	}
	if err := rec.check(); err != nil {
		return nil, err
	}
	return rec, nil
}

// parseCut understands a line whose long lists are in the form that zab
// writes. Of any other it tells only that it is not for it.
func parseCut(line []byte) (*Record, bool) {
	rec := &Record{raw: string(line)}
	lists, ok := cut(rec.raw)
	if !ok {
		return nil, false
	}
	if err := json.Unmarshal(lists.plain, rec); err != nil {
		return nil, false
	}
	lists.put(rec)
	return rec, true
}

// tidy takes the library's prefixes from its messages.
func tidy(err error) error {
	s := err.Error()
	s = strings.TrimPrefix(s, "json: ")
	s = strings.TrimPrefix(s, "jsontext: ")
	return errors.New("not a record: " + s)
}

// Writer writes records, a line and a write each, so that a reader of a pipe
// never waits for the rest of one.
type Writer struct {
	w    io.Writer
	buf  bytes.Buffer
	rest bytes.Buffer // of a record with long lists, all but these
}

// NewWriter writes records to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write writes a record that was made or changed here.
func (w *Writer) Write(r *Record) error {
	r.Zab = Version
	w.buf.Reset()
	if !w.writeCut(r) {
		w.buf.Reset()
		if err := marshal(&w.buf, r); err != nil {
			return fmt.Errorf("cannot write the record of '%s': %w", r.Name, tidy(err))
		}
	}
	w.buf.WriteByte('\n')
	return w.flush()
}

// marshal writes raw strings as they are, so that unknown fields leave as they
// came.
func marshal(to *bytes.Buffer, r *Record) error {
	return json.MarshalWrite(to, r, jsontext.PreserveRawStrings(true))
}

// writeCut writes a record with long lists; it tells whether it could.
func (w *Writer) writeCut(r *Record) bool {
	c, ok := hollow(r)
	if !ok {
		return false
	}
	w.rest.Reset()
	return marshal(&w.rest, c) == nil && fillIn(&w.buf, w.rest.String(), r)
}

// Pass writes a record as it was read, byte for byte.
func (w *Writer) Pass(r *Record) error {
	if r.raw == "" {
		return w.Write(r)
	}
	w.buf.Reset()
	w.buf.WriteString(r.raw)
	w.buf.WriteByte('\n')
	return w.flush()
}

func (w *Writer) flush() error {
	if _, err := w.w.Write(w.buf.Bytes()); err != nil {
		return &OutputError{err}
	}
	return nil
}

// OutputError is the error of a Writer that could not write: the reader of the
// pipe went away, or the disk is full.
type OutputError struct{ Err error }

func (e *OutputError) Error() string {
	err := e.Err
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err
	}
	return fmt.Sprintf("cannot write records: %v", err)
}

func (e *OutputError) Unwrap() error { return e.Err }

// Full is the snapshot's full name on dataset.
func (s *Snapshot) Full(dataset string) string { return dataset + "@" + s.Name }

// TXG is createtxg as a number; 0 where it is absent.
func (s *Snapshot) TXG() uint64 { return txg(s.CreateTXG) }

// TXG is createtxg as a number; 0 where it is absent.
func (f *Facts) TXG() uint64 { return txg(f.CreateTXG) }

func txg(s string) uint64 {
	n, _ := strconv.ParseUint(s, 10, 64)
	return n
}
