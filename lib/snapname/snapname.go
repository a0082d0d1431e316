// Package snapname makes the names of snapshots, properties and hold tags from formats in
// which {} stands for the name of the backup, and reads times back from snapshots' names.
//
// The formats and their defaults are those of zfs-autobackup 3.3; its snapshots are
// recognised here, with the same times. zfs-autobackup reads more names than it writes
// (Python's strptime takes single digits and any case); here a name is ours only if we
// could have given it.
package snapname

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Format names snapshots after the time at which they are made. Make one with [New]; it
// can be used by many goroutines. The zero Format makes only empty names and recognises
// none.
type Format struct {
	items []item
	has   directives
	loc   *time.Location
	// extra is set if directives repeat information of others, so that the parts of a
	// name could disagree.
	extra bool
}

// item is a literal, or a directive if it has a code.
type item struct {
	code    byte
	literal string
}

// directives is a set of directives, which are letters.
type directives uint64

func (d directives) has(codes string) bool {
	for _, c := range []byte(codes) {
		if d&(1<<(c-'A')) != 0 {
			return true
		}
	}
	return false
}

// known holds the directives and the most characters that each can become.
var known = [utf8.RuneSelf]int{
	'Y': 4, 'y': 2, 'm': 2, 'd': 2, 'j': 3, 'H': 2, 'I': 2, 'p': 2, 'M': 2, 'S': 2, 'f': 6, 's': 12,
	'b': 3, 'B': 9, 'a': 3, 'A': 9,
}

const knownText = "%Y %y %m %b %B %d %j %a %A %H %I %p %M %S %f %s %F %T %R"

// New makes a snapshot format of text such as {}-%Y%m%d%H%M%S. Each {} is replaced by the
// backup name, literally; {} may be absent. Times are in the zone loc: time.UTC or
// time.Local.
//
// The directives are those of Python's strftime and strptime that express a time: %Y
// (0001 to 9999), %y (1969 to 2068), %m, %d, %j (day of the year), %H, %I with %p, %M,
// %S, %f (microseconds), the English names %b, %B, %a and %A; moreover %s (seconds since
// 1970), %F (%Y-%m-%d), %T (%H:%M:%S) and %R (%H:%M), which Python only writes.
//
// It is an error if the text has a directive that is not among these, or a character that
// ZFS does not allow in snapshot names (it allows A-Z, a-z, 0-9, ' ', '_', '.', ':' and
// '-', which excludes %% and the sign of %z); the error then says where, in characters
// from 1. It is also an error if names could exceed 255 bytes, or do not determine a
// time, so that the snapshots could not be thinned: formats without a year, and those
// with a gap, such as minutes without hours. Coarse formats are accepted: {}-%Y%m%d means
// midnight.
func New(format, backup string, loc *time.Location) (Format, error) {
	if loc == nil {
		return Format{}, errors.New("cannot use snapshot format: no time zone")
	}
	f := Format{loc: loc}
	if err := f.compile(format, backup); err != nil {
		return Format{}, fmt.Errorf("cannot use snapshot format %q: %w", format, err)
	}
	if err := f.check(); err != nil {
		return Format{}, fmt.Errorf("cannot use snapshot format %q: %w", format, err)
	}
	return f, nil
}

func (f *Format) compile(format, backup string) error {
	literal := ""
	flush := func() {
		if literal != "" {
			f.items = append(f.items, item{literal: literal})
			literal = ""
		}
	}
	for i := 0; i < len(format); {
		at := utf8.RuneCountInString(format[:i]) + 1
		if strings.HasPrefix(format[i:], "{}") {
			for _, r := range backup {
				if !isLegal(r) {
					return fmt.Errorf("at character %d: backup name %q has %q, which ZFS does not allow in snapshot names", at, backup, r)
				}
			}
			literal += backup
			i += 2
			continue
		}
		r, size := utf8.DecodeRuneInString(format[i:])
		if r != '%' {
			if !isLegal(r) {
				return fmt.Errorf("at character %d: ZFS does not allow %q in snapshot names", at, format[i:i+size])
			}
			literal += string(r)
			i += size
			continue
		}
		r, size = utf8.DecodeRuneInString(format[i+1:])
		codes := []byte{byte(r)}
		switch {
		case size == 0:
			return fmt.Errorf("at character %d: %% at the end: expected a directive, one of %s", at, knownText)
		case r == '%':
			return fmt.Errorf("at character %d: ZFS does not allow the %% that %%%% stands for in snapshot names", at)
		case r == 'z':
			return fmt.Errorf("at character %d: ZFS does not allow the + that %%z begins with in snapshot names", at)
		case r == 'F':
			codes = []byte("Y-m-d")
		case r == 'T':
			codes = []byte("H:M:S")
		case r == 'R':
			codes = []byte("H:M")
		case r >= utf8.RuneSelf || known[byte(r)] == 0:
			return fmt.Errorf("at character %d: unknown directive %q: expected one of %s", at, "%"+format[i+1:i+1+size], knownText)
		}
		for _, c := range codes {
			if known[c] == 0 {
				literal += string(c)
				continue
			}
			flush()
			f.items = append(f.items, item{code: c})
			f.extra = f.extra || f.has.has(string(c))
			f.has |= 1 << (c - 'A')
		}
		i += 1 + size
	}
	flush()
	return nil
}

// isLegal reports whether ZFS allows a character in names, as valid_char of
// zfs_namecheck.c in OpenZFS.
func isLegal(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_.: ", r)
}

// check refuses formats whose names could be too long or do not determine a time.
func (f *Format) check() error {
	length := 0
	for i, it := range f.items {
		length += len(it.literal) + known[it.code]
		if it.code == 's' && i+1 < len(f.items) && (f.items[i+1].code != 0 || isDigit(f.items[i+1].literal[0])) {
			return errors.New("%s has no fixed length: expected the end or a character that is not a digit after it")
		}
	}
	if length > maxName {
		return fmt.Errorf("names can have %d bytes: expected at most %d", length, maxName)
	}
	if f.has.has("s") {
		f.extra = f.extra || f.has&^(1<<('s'-'A')|1<<('f'-'A')) != 0
		return nil
	}
	const example = "expected for example {}-%Y%m%d%H%M%S"
	if f.has == 0 {
		return errors.New("there is no time in it, so snapshots could not be told apart or thinned: " + example)
	}
	if !f.has.has("Yy") {
		return errors.New("there is no year in it (%Y), so it does not tell when a snapshot was made: " + example)
	}
	var (
		month  = f.has.has("mbB")
		day    = f.has.has("d") && month || f.has.has("j")
		hour   = f.has.has("H") || f.has.has("I") && f.has.has("p")
		minute = f.has.has("M")
		second = f.has.has("S")
	)
	for _, need := range []struct {
		codes, what, without string
		ok                   bool
	}{
		{"d", "the day", "a month (%m)", month},
		{"aA", "the weekday", "a day (%d)", day},
		{"I", "the hour of 12 (%I)", "%p", f.has.has("Hp")},
		{"HIp", "the hour", "a day (%d)", day},
		{"p", "%p", "an hour (%I)", f.has.has("HI")},
		{"M", "the minute", "an hour (%H)", hour},
		{"S", "the second", "a minute (%M)", minute},
		{"f", "the microsecond", "a second (%S)", second},
	} {
		if f.has.has(need.codes) && !need.ok {
			return fmt.Errorf("%s is in it without %s, so it does not tell when a snapshot was made: %s", need.what, need.without, example)
		}
	}
	several := func(codes ...string) bool {
		n := 0
		for _, c := range codes {
			if f.has.has(c) {
				n++
			}
		}
		return n > 1
	}
	f.extra = f.extra || f.has.has("aA") || several("Y", "y") || several("m", "b", "B", "j") || several("H", "I") || several("H", "p")
	return nil
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

// moment is a time as shown by a clock and a calendar in the format's zone.
type moment struct {
	year, month, day          int
	hour, minute, sec, micros int
	unix                      int64
}

// Name returns the name of a snapshot made at t. Names repeat within the finest unit that
// the format has, and in the hour that comes twice when summer time ends. A year that
// does not fit %Y gives a name that Time does not take for ours; one that does not fit %y
// is read back as another year.
func (f Format) Name(t time.Time) string {
	if f.loc == nil {
		return ""
	}
	var buf [64]byte
	return string(f.append(buf[:0], f.at(t)))
}

func (f *Format) at(t time.Time) moment {
	t = t.In(f.loc)
	year, month, day := t.Date()
	hour, minute, sec := t.Clock()
	return moment{year, int(month), day, hour, minute, sec, t.Nanosecond() / 1000, t.Unix()}
}

func (f *Format) append(dst []byte, m moment) []byte {
	for _, it := range f.items {
		switch it.code {
		case 0:
			dst = append(dst, it.literal...)
		case 'Y':
			dst = appendPadded(dst, m.year, 4)
		case 'y':
			dst = appendPadded(dst, m.year%100, 2)
		case 'm':
			dst = appendPadded(dst, m.month, 2)
		case 'b':
			dst = append(dst, months[m.month-1][:3]...)
		case 'B':
			dst = append(dst, months[m.month-1]...)
		case 'd':
			dst = appendPadded(dst, m.day, 2)
		case 'j':
			dst = appendPadded(dst, m.date().YearDay(), 3)
		case 'a':
			dst = append(dst, weekdays[m.date().Weekday()][:3]...)
		case 'A':
			dst = append(dst, weekdays[m.date().Weekday()]...)
		case 'H':
			dst = appendPadded(dst, m.hour, 2)
		case 'I':
			dst = appendPadded(dst, (m.hour+11)%12+1, 2)
		case 'p':
			dst = append(dst, halves[m.hour/12]...)
		case 'M':
			dst = appendPadded(dst, m.minute, 2)
		case 'S':
			dst = appendPadded(dst, m.sec, 2)
		case 'f':
			dst = appendPadded(dst, m.micros, 6)
		case 's':
			dst = strconv.AppendInt(dst, m.unix, 10)
		}
	}
	return dst
}

func (m *moment) date() time.Time {
	return time.Date(m.year, time.Month(m.month), m.day, 0, 0, 0, 0, time.UTC)
}

func appendPadded(dst []byte, n, width int) []byte {
	limit := 1
	for range width - 1 {
		limit *= 10
	}
	for ; n < limit && limit > 1; limit /= 10 {
		dst = append(dst, '0')
	}
	return strconv.AppendInt(dst, int64(n), 10)
}

var (
	months = []string{"January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
		"November", "December"}
	weekdays = []string{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"}
	halves   = []string{"AM", "PM"}
)

// Time returns the time in a snapshot's name, in seconds since 1970 UTC, a fraction cut
// off; name is the part after the @. ok is true, and the snapshot ours, only if Name
// returns the whole name for some time, or if the name has a time that the clocks of the
// zone skip.
//
// A local time that comes twice is read as the first, the one in summer time; one that is
// skipped as if the clocks had not changed yet, so 02:30 becomes 03:30. Both are as in
// zfs-autobackup (Python's datetime.timestamp). So Time(Name(t)) is t, except for the
// units that the format cuts off, and except in the second of the two hours. The names do
// not tell the order in which snapshots were made; createtxg does.
func (f Format) Time(name string) (unix int64, ok bool) {
	if f.loc == nil {
		return 0, false
	}
	m := moment{month: 1, day: 1}
	var yearDay, hour12, half int
	rest := name
	for i := range f.items {
		it := &f.items[i]
		n, size := 0, 0
		switch it.code {
		case 0:
			if !strings.HasPrefix(rest, it.literal) {
				return 0, false
			}
			rest = rest[len(it.literal):]
			continue
		case 'b':
			n, size = index(months, rest, 3)
		case 'B':
			n, size = index(months, rest, 0)
		case 'a':
			n, size = index(weekdays, rest, 3)
		case 'A':
			n, size = index(weekdays, rest, 0)
		case 'p':
			n, size = index(halves, rest, 0)
		case 's':
			m.unix, size = secondsIn(rest)
		default:
			n, size = number(rest, known[it.code])
		}
		if size == 0 {
			return 0, false
		}
		rest = rest[size:]
		switch it.code {
		case 'Y':
			m.year = n
		case 'y':
			if !f.has.has("Y") {
				// The century is as in POSIX.
				m.year = 1900 + n
				if n < 69 {
					m.year += 100
				}
			}
		case 'm':
			m.month = n
		case 'b', 'B':
			m.month = n + 1
		case 'd':
			m.day = n
		case 'j':
			yearDay = n
		case 'H':
			m.hour = n
		case 'I':
			hour12 = n
		case 'p':
			half = n
		case 'M':
			m.minute = n
		case 'S':
			m.sec = n
		case 'f':
			m.micros = n
		}
	}
	if rest != "" {
		return 0, false
	}

	if f.has.has("s") {
		unix = m.unix
		m = f.at(time.Unix(unix, int64(m.micros)*1000))
		return unix, !f.extra || f.tells(m, name)
	}
	if f.has.has("j") {
		if yearDay < 1 || m.year < 1 {
			return 0, false
		}
		date := time.Date(m.year, time.January, yearDay, 0, 0, 0, 0, time.UTC)
		if date.Year() != m.year {
			return 0, false
		}
		m.month, m.day = int(date.Month()), date.Day()
	}
	if f.has.has("I") && !f.has.has("H") {
		if hour12 < 1 || hour12 > 12 {
			return 0, false
		}
		m.hour = hour12%12 + 12*half
	}
	if m.year < 1 || m.month < 1 || m.month > 12 || m.day < 1 || m.day > daysIn(m.year, m.month) ||
		m.hour > 23 || m.minute > 59 || m.sec > 59 {
		return 0, false
	}
	if f.extra && !f.tells(m, name) {
		return 0, false
	}
	unix = time.Date(m.year, time.Month(m.month), m.day, m.hour, m.minute, m.sec, 0, time.UTC).Unix()
	if f.loc != time.UTC {
		unix = f.fromLocal(unix)
	}
	return unix, true
}

// tells reports whether name is the one for m.
func (f *Format) tells(m moment, name string) bool {
	var buf [64]byte
	return string(f.append(buf[:0], m)) == name
}

// fromLocal returns the time at which the local clocks show the given time. shown and the
// result are in seconds since 1970, shown as if it were UTC. A day before and after is
// far enough for the offsets on both sides of a change, and near enough not to meet the
// next one.
func (f *Format) fromLocal(shown int64) int64 {
	const day = 86400
	before, after := f.offset(shown-day), f.offset(shown+day)
	unix := shown - before
	if before == after || f.offset(unix) == before {
		return unix
	}
	if later := shown - after; f.offset(later) == after {
		return later
	}
	return unix
}

func (f *Format) offset(unix int64) int64 {
	_, offset := time.Unix(unix, 0).In(f.loc).Zone()
	return int64(offset)
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// number reads exactly width digits; size is 0 if s does not begin with them.
func number(s string, width int) (n, size int) {
	if len(s) < width {
		return 0, 0
	}
	for i := range width {
		d := s[i] - '0'
		if d > 9 {
			return 0, 0
		}
		n = n*10 + int(d)
	}
	return n, width
}

// maxUnix is the end of the year 9999.
const maxUnix = 253402300799

// secondsIn reads seconds since 1970 as they are written: without sign or leading zeros.
func secondsIn(s string) (unix int64, size int) {
	for size < len(s) && isDigit(s[size]) {
		unix = unix*10 + int64(s[size]-'0')
		size++
		if unix > maxUnix {
			return 0, 0
		}
	}
	if size > 1 && s[0] == '0' {
		return 0, 0
	}
	return unix, size
}

// index finds the word, cut to length unless that is 0, that s begins with; size is 0 if
// there is none.
func index(words []string, s string, length int) (i, size int) {
	i = slices.IndexFunc(words, func(word string) bool {
		if length > 0 {
			word = word[:length]
		}
		return strings.HasPrefix(s, word)
	})
	if i < 0 {
		return 0, 0
	}
	if length > 0 {
		return i, length
	}
	return i, len(words[i])
}
