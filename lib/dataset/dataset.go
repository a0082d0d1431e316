// Package dataset is the one place where names of ZFS and other identifiers from outside
// are parsed: names of datasets, snapshots and bookmarks, guids, tags of holds,
// properties, ssh destinations.
//
// Goals: each such string from a command line, a record or another host becomes a value
// of its own type, or an error, so that no unchecked string can reach an argument list.
//
// Non-goals: it knows neither zfs's output nor any decision about backups.
package dataset

import (
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
)

// MaxName is the maximal length of a name in bytes: OpenZFS's ZFS_MAX_DATASET_NAME_LEN
// without its final NUL. It applies to the name of a dataset, and to the full name of a
// snapshot.
const MaxName = 255

// Name is the full name of a filesystem or volume, such as tank/home.
type Name string

// ParseName returns an error unless s is a valid name of a filesystem or volume, so that
// no name can be taken for an option or anything else.
func ParseName(s string) (Name, error) {
	switch {
	case s == "":
		return "", errors.New("a dataset's name is missing")
	case len(s) > MaxName:
		return "", fmt.Errorf("the dataset's name %s is longer than %d bytes", brief(s), MaxName)
	case s[0] == '-':
		return "", fmt.Errorf("%q is not a dataset's name: it begins with a dash", s)
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part == "." || part == ".." {
			return "", fmt.Errorf("%q is not a dataset's name: it has an empty part, or one of dots alone", s)
		}
		if err := checkChars(s, part); err != nil {
			return "", err
		}
	}
	return Name(s), nil
}

// UnmarshalFlag parses the value of an option.
func (n *Name) UnmarshalFlag(s string) (err error) {
	*n, err = ParseName(s)
	return err
}

// Pool returns the name of the dataset's pool.
func (n Name) Pool() string {
	pool, _, _ := strings.Cut(string(n), "/")
	return pool
}

// Below reports whether the dataset is a descendant of top, at any depth.
func (n Name) Below(top Name) bool {
	return len(n) > len(top) && n[:len(top)] == top && n[len(top)] == '/'
}

// Within reports whether the dataset name is top or a descendant of it.
func Within(name, top string) bool {
	return name == top || Name(name).Below(Name(top))
}

// Ancestors yields the names of the datasets above one, the pool first.
func Ancestors(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range len(name) {
			if name[i] == '/' && !yield(name[:i]) {
				return
			}
		}
	}
}

// Split splits a dataset's name before its last part; parent is "" for a pool.
func Split(name string) (parent, last string) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", name
	}
	return name[:i], name[i+1:]
}

// Beside returns the name of the sibling of a dataset whose last part is last.
func Beside(name, last string) string {
	parent, _ := Split(name)
	return parent + "/" + last
}

// Depth returns the number of the dataset's ancestors.
func (n Name) Depth() int { return strings.Count(string(n), "/") }

// Short is the part of a snapshot's or bookmark's name after its @ or #.
type Short string

// ParseShort returns an error unless s may follow @ or #.
func ParseShort(s string) (Short, error) {
	switch {
	case s == "":
		return "", errors.New("a snapshot's name is missing")
	case len(s) > MaxName:
		return "", fmt.Errorf("the snapshot's name %s is longer than %d bytes", brief(s), MaxName)
	case strings.Contains(s, "%"):
		// In a dataset's name % marks datasets that zfs made for itself, such as %recv;
		// here it would turn one name into a range of snapshots.
		return "", fmt.Errorf("%q is not a name of ZFS: it contains %q", s, "%")
	}
	if err := checkChars(s, s); err != nil {
		return "", err
	}
	return Short(s), nil
}

// Point is a snapshot or bookmark of a dataset.
type Point struct {
	Dataset Name
	Name    Short
	// Bookmark: it is a bookmark, not a snapshot.
	Bookmark bool
}

// ParsePoint parses the full name of a snapshot or bookmark.
func ParsePoint(s string) (Point, error) {
	at := strings.IndexAny(s, "@#")
	if at < 0 {
		return Point{}, fmt.Errorf("%s is not the full name of a snapshot or bookmark", brief(s))
	}
	if len(s) > MaxName {
		return Point{}, fmt.Errorf("the name %s is longer than %d bytes", brief(s), MaxName)
	}
	name, err := ParseName(s[:at])
	if err != nil {
		return Point{}, err
	}
	short, err := ParseShort(s[at+1:])
	if err != nil {
		return Point{}, err
	}
	return Point{name, short, s[at] == '#'}, nil
}

// ParseSnapshot parses the full name of a snapshot.
func ParseSnapshot(s string) (Point, error) {
	p, err := ParsePoint(s)
	if err == nil && p.Bookmark {
		err = fmt.Errorf("%q is not the full name of a snapshot, but of a bookmark", s)
	}
	return p, err
}

// ParseBookmark parses the full name of a bookmark.
func ParseBookmark(s string) (Point, error) {
	p, err := ParsePoint(s)
	if err == nil && !p.Bookmark {
		err = fmt.Errorf("%q is not the full name of a bookmark, but of a snapshot", s)
	}
	return p, err
}

func (p Point) String() string {
	if p.Bookmark {
		return string(p.Dataset) + "#" + string(p.Name)
	}
	return string(p.Dataset) + "@" + string(p.Name)
}

func checkChars(whole, part string) error {
	for i := 0; i < len(part); i++ {
		b := part[i]
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		case strings.IndexByte("-_.: %", b) >= 0:
		default:
			return fmt.Errorf("%s is not a name of ZFS: it contains %q", brief(whole), part[i:i+1])
		}
	}
	return nil
}

// GUID identifies a dataset, snapshot or bookmark: a decimal number of 64 bits, not 0. It
// is text because records contain it as text.
type GUID string

// ParseGUID accepts a guid only in the form in which zfs prints it.
func ParseGUID(s string) (GUID, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || strconv.FormatUint(n, 10) != s || n == 0 {
		return "", fmt.Errorf("%s is not a guid: not a decimal number of 64 bits", brief(s))
	}
	return GUID(s), nil
}

// CheckNumber returns an error unless s is a decimal number of 64 bits, such as a
// transaction group, in the form in which zfs prints it.
func CheckNumber(s string) error {
	if n, err := strconv.ParseUint(s, 10, 64); err != nil || strconv.FormatUint(n, 10) != s {
		return fmt.Errorf("%s is not a decimal number of 64 bits", brief(s))
	}
	return nil
}

// ParseGUIDs parses the property zab:from: the guids of the pools that a copy came
// through, the first pool first, separated by commas.
func ParseGUIDs(s string) ([]GUID, error) {
	var out []GUID
	for part := range strings.SplitSeq(s, ",") {
		g, err := ParseGUID(part)
		if err != nil {
			return nil, err
		}
		out = append(out, g)
	}
	return out, nil
}

// CheckProperty returns an error unless s can be the name of a zfs property, including
// those of newer versions, user properties, userquota@NAME and written@SNAPSHOT.
func CheckProperty(s string) error {
	switch {
	case s == "":
		return errors.New("a property's name is missing")
	case len(s) > MaxName:
		return fmt.Errorf("the property's name %s is longer than %d bytes", brief(s), MaxName)
	case s[0] == '-':
		return fmt.Errorf("%q is not the name of a property: it begins with a dash", s)
	}
	for i := 0; i < len(s); i++ {
		b := s[i]
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		case strings.IndexByte("-_.:@# /\\", b) >= 0, b >= 0x80: // as in userquota@DOMAIN\NAME
		default:
			return fmt.Errorf("%s is not the name of a property: it contains %q", brief(s), s[i:i+1])
		}
	}
	return nil
}

// CheckValue returns an error unless s can be the value of a property: a NUL would
// truncate it, and zfs limits its length (ZAP_MAXVALUELEN).
func CheckValue(s string) error {
	switch {
	case len(s) > maxValue:
		return fmt.Errorf("the value %s is longer than %d bytes", brief(s), maxValue)
	case strings.Contains(s, "\x00"):
		return fmt.Errorf("the value %q contains a NUL", s)
	}
	return nil
}

const maxValue = 8192

// CheckSetting returns an error unless s has the form PROPERTY=VALUE.
func CheckSetting(s string) error {
	name, value, ok := strings.Cut(s, "=")
	if !ok {
		return fmt.Errorf("%s is not of the form PROPERTY=VALUE", brief(s))
	}
	if err := CheckProperty(name); err != nil {
		return err
	}
	return CheckValue(value)
}

// CheckTag returns an error unless s can be the tag of a hold that zfs hold does not take
// for an option.
func CheckTag(s string) error {
	switch {
	case s == "":
		return errors.New("a hold's tag is missing")
	case len(s) > MaxName:
		return fmt.Errorf("the tag %s is longer than %d bytes", brief(s), MaxName)
	case s[0] == '-' || s[0] == '.':
		return fmt.Errorf("%q is not a tag: it begins with %q", s, s[:1])
	}
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return fmt.Errorf("%q is not a tag: it contains a control character", s)
		}
	}
	return nil
}

// brief quotes a string for a message, and shortens a long one.
func brief(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.Quote(s[:most]) + "..."
	}
	return strconv.Quote(s)
}
