package record

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// InputError is the error for a line that was not understood. Nothing may be done for
// that line.
type InputError struct {
	Line int // from 1
	Err  error
}

func (e *InputError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }
func (e *InputError) Unwrap() error { return e.Err }

// Reader reads records, one a line. After an error it returns that error again: the lines
// after one that was not understood cannot be trusted.
type Reader struct {
	r    *bufio.Reader
	line int
	err  error
}

// NewReader returns a Reader of the records in r.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, 1<<16)}
}

// Read returns the next record, io.EOF after the last, or an *InputError.
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

// Next reads the next line without parsing it: the caller decides when, and in which
// goroutine, to call parse. The caller must not trust the lines after one that parse
// refuses.
func (r *Reader) Next() (parse func() (*Record, error), err error) {
	line, err := r.readLine()
	if err != nil {
		return nil, err
	}
	n := r.line
	return func() (*Record, error) {
		rec, err := parseLine(line)
		if err != nil {
			return nil, &InputError{n, err}
		}
		rec.Line = n
		return rec, nil
	}, nil
}

// readLine returns one line of any length, without its newline.
func (r *Reader) readLine() (string, error) {
	r.line++
	line, err := r.r.ReadString('\n')
	switch {
	case err == nil:
		return line[:len(line)-1], nil
	case errors.Is(err, io.EOF) && len(line) == 0:
		return "", io.EOF
	case errors.Is(err, io.EOF):
		return "", &InputError{r.line, errors.New("the record is cut off: no newline ends it")}
	}
	return "", fmt.Errorf("cannot read records: %w", err)
}

// ForgetLine frees the line from which the record was read, for a stage that keeps many
// records and will change this one, so that it will not be passed on as it was read.
func (r *Record) ForgetLine() { r.raw = "" }

// Records returns the remaining records; an error ends them.
func (r *Reader) Records() iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		for {
			rec, err := r.Read()
			if err == io.EOF || !yield(rec, err) || err != nil {
				return
			}
		}
	}
}

// ReadAll reads all remaining records. On an error it returns those before it, too.
func (r *Reader) ReadAll() (all []*Record, err error) {
	for rec, err := range r.Records() {
		if err != nil {
			return all, err
		}
		all = append(all, rec)
	}
	return all, nil
}

// Parse parses one line, given without its newline, and checks the record.
func Parse(line []byte) (*Record, error) { return parseLine(string(line)) }

func parseLine(line string) (*Record, error) {
	if strings.TrimSpace(line) == "" {
		return nil, errors.New("an empty line is not a record")
	}
	rec, ok := parseCut(line)
	if !ok {
		rec = &Record{raw: line}
		if err := json.Unmarshal([]byte(line), rec); err != nil {
			return nil, tidy(err)
		}
	}
	if err := rec.check(); err != nil {
		return nil, err
	}
	return rec, nil
}

// parseCut parses a line whose long lists are in the form that zab writes. It returns
// false for any other line, which may still be a record.
func parseCut(line string) (*Record, bool) {
	rec := &Record{raw: line}
	lists, ok := cut(line)
	if !ok {
		return nil, false
	}
	if err := json.Unmarshal(lists.plain, rec); err != nil {
		return nil, false
	}
	lists.put(rec)
	return rec, true
}

// tidy removes the JSON library's prefixes from its messages.
func tidy(err error) error {
	s := err.Error()
	s = strings.TrimPrefix(s, "json: ")
	s = strings.TrimPrefix(s, "jsontext: ")
	return errors.New("not a record: " + s)
}

// Writer writes records, one a line and each by a single write, so that a reader of a
// pipe never waits for the rest of a record.
type Writer struct {
	w    io.Writer
	buf  bytes.Buffer
	rest bytes.Buffer // a record with long lists, without these lists

	// Stage is the stage that writes, for the errors of records that cannot be written.
	Stage string
	// Failed, if not nil, gets each record that failed because it could not be written.
	Failed func(*Record)
}

// NewWriter returns a Writer of records to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write writes a record that was made or changed by this program. A record that no reader
// would accept is written as a failed one, because whatever is wrong with one dataset must
// not end the run for the others.
func (w *Writer) Write(r *Record) error {
	r.Zab = Version
	if w.format(r) != nil {
		if err := w.format(r.legible()); err != nil {
			failed := r.unwritable(w.Stage, err)
			if w.format(failed) != nil {
				failed = r.bare(w.Stage, err)
				if w.format(failed) != nil {
					return fmt.Errorf("cannot write the record of '%s': %w", r.Name, err)
				}
			}
			if w.Failed != nil && r.Error == nil {
				w.Failed(failed)
			}
		}
	}
	return w.flush()
}

// format puts the line of a record into w.buf, or returns why it cannot be a record.
func (w *Writer) format(r *Record) error {
	if err := r.check(); err != nil {
		return err
	}
	return w.encode(r)
}

// encode is format for a record that was checked.
func (w *Writer) encode(r *Record) error {
	w.buf.Reset()
	if !w.writeCut(r) {
		w.buf.Reset()
		if err := marshal(&w.buf, r); err != nil {
			return unencodable(err)
		}
	}
	w.buf.WriteByte('\n')
	return nil
}

// marshal writes raw strings unchanged, so that unknown fields leave as they came.
func marshal(to *bytes.Buffer, r *Record) error {
	return json.MarshalWrite(to, r, jsontext.PreserveRawStrings(true))
}

// writeCut formats a record with long lists into w.buf. It returns false if the record
// needs the JSON library as a whole.
func (w *Writer) writeCut(r *Record) bool {
	c, ok := withoutLists(r)
	if !ok {
		return false
	}
	w.rest.Reset()
	return marshal(&w.rest, c) == nil && withLists(&w.buf, w.rest.String(), r)
}

// Pass writes a record byte for byte as it was read, unless its line was forgotten.
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

// OutputError is the error of a failed write: the reader of the pipe has gone away, or
// the disk is full.
type OutputError struct{ Err error }

func (e *OutputError) Error() string {
	err := e.Err
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err
	}
	return fmt.Sprintf("cannot write records: %v", err)
}

func (e *OutputError) Unwrap() error { return e.Err }
