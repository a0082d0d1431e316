// Package filetree reads a tree of files and computes a digest of all that users see of it:
// names, types, contents, modes, owners, times, extended attributes, links. Two trees with
// the same digest are the same, wherever they are. It also finds the names of files by their
// inodes.
//
// Goals: names and contents are foreign bytes, which no line or digest takes for anything
// else; nothing is followed out of the tree, and no device or FIFO is opened; what cannot
// be read is an error that names the file, and then there is no digest (P12); a search for
// names passes it over. The memory
// that a tree can have this use is limited.
//
// Non-goals: it mounts nothing, and knows nothing of ZFS. Times of access, of changes of
// inodes and of creation, and sizes of directories are not read.
package filetree

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"zab/lib/dataset"
	"zab/lib/hashfunc"
)

// Version is that of the form that is digested. zab-digest(8) describes it.
const Version = 1

// The kinds of entries.
const (
	KindFile      = "file"
	KindDirectory = "directory"
	KindLink      = "link"
	KindFIFO      = "fifo"
	KindSocket    = "socket"
	KindBlock     = "block"
	KindCharacter = "character"
)

// Entry is a name of a tree. Its texts are ASCII without quotation marks, backslashes and
// control characters: see Escape.
type Entry struct {
	Type string `json:"type"` // "entry"
	// Path is the path below the top, which itself is ".".
	Path string `json:"path"`
	Kind string `json:"kind"`
	// Same is the first path in the tree of a file that has several. Then nothing else is
	// set, because all names have it in common.
	Same  string `json:"same,omitempty"`
	Mode  string `json:"mode,omitempty"`  // permissions, octal
	Owner string `json:"owner,omitempty"` // UID:GID
	// MTime is SECONDS.NANOSECONDS since the epoch; SECONDS may be negative.
	MTime string `json:"mtime,omitempty"`
	// Flags are letters as of lsattr: i (immutable), a (append only), d (no dump).
	Flags string `json:"flags,omitempty"`
	// Size and Content, the digest of all bytes, are those of a file.
	Size    int64  `json:"size,omitempty"`
	Content string `json:"content,omitempty"`
	// Target is that of a symbolic link, Device MAJOR:MINOR of a device.
	Target string `json:"target,omitempty"`
	Device string `json:"device,omitempty"`
	// Attributes is the digest of all extended attributes; "" if there are none.
	Attributes string `json:"attributes,omitempty"`
}

// String returns the line of the entry, without a newline. The digest of a tree is that of
// all lines, each with its newline.
func (e *Entry) String() string {
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // there is nothing in it that JSON cannot say
	}
	return string(b)
}

// ParseEntry parses the line of an entry. It accepts only what String returns.
func ParseEntry(line string) (e Entry, err error) {
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		return Entry{}, fmt.Errorf("it is not the line of an entry: %w", err)
	}
	if e.Type != "entry" || e.String() != line {
		return Entry{}, fmt.Errorf("it is not the line of an entry: %.200q", line)
	}
	switch {
	case !isPath(e.Path):
		return Entry{}, fmt.Errorf("it is not the line of an entry: %.200q is not a path", e.Path)
	case e.Same != "" && !isPath(e.Same):
		return Entry{}, fmt.Errorf("it is not the line of an entry: %.200q is not a path", e.Same)
	}
	if raw, err := Unescape(e.Target); err != nil || Escape(raw) != e.Target {
		return Entry{}, fmt.Errorf("it is not the line of an entry: %.200q is not a target", e.Target)
	}
	return e, nil
}

// Difference returns in which ways two entries with the same path differ, nil if they are
// the same.
func (e *Entry) Difference(o *Entry) (what []string) {
	add := func(word string, differ bool) {
		if differ {
			what = append(what, word)
		}
	}
	if e.Kind != o.Kind {
		return []string{"kind"}
	}
	if e.Same != o.Same {
		return []string{"links"}
	}
	add("size", e.Size != o.Size)
	add("content", e.Content != o.Content)
	add("target", e.Target != o.Target)
	add("device", e.Device != o.Device)
	add("mode", e.Mode != o.Mode)
	add("owner", e.Owner != o.Owner)
	add("mtime", e.MTime != o.MTime)
	add("flags", e.Flags != o.Flags)
	add("attributes", e.Attributes != o.Attributes)
	return what
}

// Compare returns the order of two paths of entries in a tree, negative if a comes first: a
// directory precedes what is in it, and the names in one have the order of their bytes.
func Compare(a, b string) int {
	if a == "." || b == "." {
		switch {
		case a == b:
			return 0
		case a == ".":
			return -1
		}
		return 1
	}
	// No name contains a NUL, so that what precedes all other bytes ends a name.
	key := func(s string) string {
		raw, err := Unescape(s)
		if err != nil {
			raw = s // ParseEntry refuses it
		}
		return strings.ReplaceAll(raw, "/", "\x00")
	}
	return strings.Compare(key(a), key(b))
}

// Escape returns s with each byte that is not a printable ASCII character, and each of "%\,
// and of <>& which JSON may escape, as % and two hexadecimal digits.
func Escape(s string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c < 0x20 || c > 0x7e || strings.IndexByte(`"%\<>&`, c) >= 0 {
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			c = hexDigits[c&15]
		}
		b.WriteByte(c)
	}
	return b.String()
}

// Unescape returns the bytes of a text that Escape returned.
func Unescape(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", errors.New("it ends within an escaped byte")
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", fmt.Errorf("%q is not an escaped byte", s[i:i+3])
		}
		b.WriteByte(byte(n))
		i += 2
	}
	return b.String(), nil
}

// Line is the digest of the files of a snapshot, as zab-digest prints it. Its type is another
// than that of a stream's, so that none can be taken for the other.
type Line struct {
	Type      string `json:"type"` // "files"
	Version   int    `json:"version"`
	Algorithm string `json:"algorithm"`
	Name      string `json:"name"`
	GUID      string `json:"guid"`
	// XAttr and ACLType are the properties of ZFS that decide whether extended attributes
	// and ACLs are seen: "on" or "off"; "posix" or "off".
	XAttr   string `json:"xattr"`
	ACLType string `json:"acltype"`
	Entries int64  `json:"entries"`
	Bytes   int64  `json:"bytes"`
	Digest  string `json:"digest"`
}

// NewLine returns the line of a tree that was read.
func NewLine(name, guid, xattr, acltype string, r Result) Line {
	return Line{"files", Version, r.Hash.String(), name, guid, xattr, acltype, r.Entries, r.Bytes, r.Digest.String()}
}

// ParseLine parses a line that zab-digest --files printed. A digest of another form than this
// version computes, or with another hash function, is an error.
func ParseLine(text string, hash hashfunc.Func) (l Line, err error) {
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return Line{}, fmt.Errorf("it is not the digest of files: %w", err)
	}
	answered, digest := hash.CheckAnswer(l.Version, Version, l.Algorithm), hashfunc.CheckSum(l.Digest)
	switch {
	case l.Type != "files":
		return Line{}, fmt.Errorf("it is not the digest of files: its type is %.40q", l.Type)
	case answered != nil:
		return Line{}, answered
	case digest != nil:
		return Line{}, digest
	case l.Entries < 1 || l.Bytes < 0:
		return Line{}, errors.New("it has a number that is none of files")
	}
	if _, err := dataset.ParseGUID(l.GUID); err != nil {
		return Line{}, err
	}
	return l, nil
}

// Result is a tree that was read to its end.
type Result struct {
	// Entries is the number of its names, with the top.
	Entries int64
	// Bytes is the length of the contents of all files.
	Bytes  int64
	Hash   hashfunc.Func
	Digest hashfunc.Sum
}

// Options are what a Read does besides.
type Options struct {
	// Hash computes all digests.
	Hash hashfunc.Func
	// Each, if set, is called for each entry in the order of the tree. Its error ends the
	// reading.
	Each func(*Entry) error
	// Took, if set, is called with the number of bytes of content after each part that
	// was read. Its error ends the reading.
	Took func(n int) error
	// Names limits the bytes that names of the tree may take in memory; 0 means 1 GiB.
	Names int64
}

// maxNames is the limit for the names that are in memory at the same time: those of a
// directory and of those above that are still to be read, and the paths of files that have
// several.
const maxNames = 1 << 30

// maxPath is the longest path of an entry in bytes. Lines with escaped paths, where a byte
// takes three, are shorter than 64 KiB.
const maxPath = 16 << 10

// perName is about what a name takes in memory besides its bytes.
const perName = 32

// ErrUnsupported is the error of Read on systems where it does not know how to read all that
// belongs to a file.
var ErrUnsupported = errors.New("files are only digested on Linux")

// PathError is a file that cannot be read.
type PathError struct {
	Path string // escaped
	Err  error
}

func (e *PathError) Error() string { return fmt.Sprintf("'%s': %s", e.Path, e.Err) }

func (e *PathError) Unwrap() error { return e.Err }
