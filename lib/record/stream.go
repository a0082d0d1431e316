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

// check refuses whatever a command could not act on safely.
func (r *Record) check() error {
	if r.Zab == 0 {
		return errors.New("not a record: the field \"zab\" with the format's version is missing")
	}
	if r.Zab != Version {
		return fmt.Errorf("format version %d is not known here, only %d", r.Zab, Version)
	}
	if r.Type != TypeDataset && r.Type != TypeOrphan {
		return fmt.Errorf("unknown type %q", r.Type)
	}
	c := checker{}
	c.dataset("name", r.Name)
	c.host("host", r.Host)
	c.facts("", &r.Facts)
	if s := r.Source; s != nil {
		c.host("source.host", s.Host)
		if s.Name != "" {
			c.dataset("source.name", s.Name)
		}
	}
	c.snapshots("snapshots", r.Snapshots)
	c.snapshots("bookmarks", r.Bookmarks)
	if r.Snapshot != nil && r.Snapshot.Name != "" {
		c.short("snapshot.name", r.Snapshot.Name)
	}
	if t := r.Target; t != nil {
		c.dataset("target.name", t.Name)
		c.host("target.host", t.Host)
		c.number("target.zpool_guid", t.ZPoolGUID)
		c.facts("target.", &t.Facts)
		c.snapshots("target.snapshots", t.Snapshots)
		c.snapshots("target.bookmarks", t.Bookmarks)
	}
	for i := range r.Steps {
		c.step(fmt.Sprintf("steps[%d]", i), &r.Steps[i])
	}
	return c.err
}

// checker remembers the first thing found wrong.
type checker struct{ err error }

func (c *checker) fail(field string, err error) {
	if c.err == nil && err != nil {
		c.err = fmt.Errorf("field %s: %w", field, err)
	}
}

func (c *checker) dataset(field, s string) { c.fail(field, CheckDataset(s)) }
func (c *checker) short(field, s string)   { c.fail(field, CheckSnapshot(s)) }

func (c *checker) number(field, s string) {
	if s == "" {
		return
	}
	if _, err := strconv.ParseUint(s, 10, 64); err != nil {
		c.fail(field, fmt.Errorf("%q is not a decimal number of 64 bits", s))
	}
}

func (c *checker) host(field, s string) {
	c.fail(field, CheckHost(s))
}

func (c *checker) facts(prefix string, f *Facts) {
	c.number(prefix+"guid", f.GUID)
	c.number(prefix+"createtxg", f.CreateTXG)
	if f.Kind != "" && f.Kind != "filesystem" && f.Kind != "volume" {
		c.fail(prefix+"kind", fmt.Errorf("%q is neither filesystem nor volume", f.Kind))
	}
	if f.Origin != "" {
		c.full(prefix+"origin", f.Origin)
	}
}

// full checks the full name of a snapshot.
func (c *checker) full(field, s string) {
	ds, snap, ok := strings.Cut(s, "@")
	if !ok {
		c.fail(field, fmt.Errorf("%q is not the full name of a snapshot", s))
		return
	}
	c.dataset(field, ds)
	c.short(field, snap)
}

func (c *checker) snapshots(field string, list []Snapshot) {
	for i := range list {
		s := &list[i]
		if c.err != nil {
			return
		}
		if err := CheckSnapshot(s.Name); err != nil {
			c.fail(fmt.Sprintf("%s[%d].name", field, i), err)
		}
		// The field's name is made only where it is needed.
		if !isNumber(s.GUID) {
			c.number(field+".guid", s.GUID)
		}
		if !isNumber(s.CreateTXG) {
			c.number(field+".createtxg", s.CreateTXG)
		}
	}
}

// isNumber tells of most numbers at once that they are decimal of 64 bits.
func isNumber(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) < 20
}

func (c *checker) step(field string, s *Step) {
	if s.Dataset != "" {
		c.dataset(field+".dataset", s.Dataset)
	}
	for _, n := range []string{s.Snapshot, s.To} {
		if n != "" {
			c.short(field, n)
		}
	}
	if s.From != "" {
		if strings.Contains(s.From, "@") {
			c.full(field+".from", s.From)
		} else {
			c.short(field+".from", strings.TrimPrefix(s.From, "#"))
		}
	}
	if s.Origin != "" {
		c.full(field+".origin", s.Origin)
	}
	for _, t := range s.Through {
		c.short(field+".through", t.Name)
		c.number(field+".through.guid", t.GUID)
	}
	for _, n := range []string{s.GUID, s.FromGUID, s.ToGUID} {
		c.number(field, n)
	}
	if strings.HasPrefix(s.Token, "-") || strings.ContainsAny(s.Token, " \t\n\x00") {
		c.fail(field+".token", fmt.Errorf("%q is not a resume token", s.Token))
	}
}

// The lengths are those of ZFS_MAX_DATASET_NAME_LEN, less its final NUL.
const maxName = 255

// CheckDataset refuses what cannot be the name of a filesystem or volume, so
// that no name is ever taken for an option or for something else than it is.
func CheckDataset(name string) error {
	if name == "" {
		return errors.New("a dataset's name is missing")
	}
	if len(name) > maxName {
		return fmt.Errorf("the dataset's name %q is longer than %d bytes", name, maxName)
	}
	if name[0] == '-' {
		return fmt.Errorf("%q is not a dataset's name: it begins with a dash", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("%q is not a dataset's name: it has an empty part, or one of dots alone", name)
		}
		if err := checkChars(name, part); err != nil {
			return err
		}
	}
	return nil
}

// CheckSnapshot refuses what cannot stand after @ or #.
func CheckSnapshot(name string) error {
	if name == "" {
		return errors.New("a snapshot's name is missing")
	}
	if len(name) > maxName {
		return fmt.Errorf("the snapshot's name %q is longer than %d bytes", name, maxName)
	}
	// In a dataset's name it marks what zfs made for itself, such as %recv;
	// here it would make two snapshots and all between them out of one name.
	if strings.Contains(name, "%") {
		return fmt.Errorf("%q is not a name of ZFS: it contains %q", name, "%")
	}
	return checkChars(name, name)
}

func checkChars(whole, part string) error {
	for i := 0; i < len(part); i++ {
		b := part[i]
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		case strings.IndexByte("-_.: %", b) >= 0:
		default:
			return fmt.Errorf("%q is not a name of ZFS: it contains %q", whole, part[i:i+1])
		}
	}
	return nil
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
