// Package schedule is the thinning schedule: its text form, and the decision
// which snapshots of one dataset it keeps.
//
// The text and the decision are those of zfs-autobackup 3.3 (its Thinner and
// ThinnerRule), so that a tree which that program thinned stays as it is.
// The package is pure: it uses no clock and no zfs, and uses names only to order and to
// print them. The caller decides which snapshots may be thinned at all, and which are
// needed for other reasons (see [Snapshot.Pins]).
package schedule

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// year is 365.25 days, as in zfs-autobackup.
const year = 31557600

// maxAge bounds intervals and ages, so that sums of times and ages stay far from the
// ends of int64.
const maxAge = 10000 * year

const maxNewest = math.MaxInt32

// units has the units of a span, with their names in words.
var units = map[string]struct {
	name    string
	seconds int64
}{
	"s": {"second", 1}, "min": {"minute", 60}, "h": {"hour", 3600}, "d": {"day", 86400},
	"w": {"week", 7 * 86400}, "m": {"month", 30 * 86400}, "y": {"year", year},
}

const unitNames = "s, min, h, d, w, m (30 days) or y (365.25 days)"

// Schedule says which snapshots to keep: always the newest N, and for every rule the
// first of each block of time. The zero Schedule keeps only snapshots that are pinned or
// ahead of the clock, and is written "0". Make others with [Parse].
type Schedule struct {
	newest int
	rules  []rule
}

// rule keeps the first snapshot of each interval until it is older than ttl.
type rule struct {
	interval, ttl Age
}

func (r rule) String() string { return r.interval.String() + r.ttl.String() }

// Age is a span of time as written: count of units. Make one with [ParseAge].
type Age struct {
	count   int64
	unit    string
	seconds int64
}

// String returns the span as text that ParseAge reads back to the same span.
func (a Age) String() string { return strconv.FormatInt(a.count, 10) + a.unit }

// Seconds returns the length of the span.
func (a Age) Seconds() int64 { return a.seconds }

// UnmarshalFlag parses the value of an option.
func (a *Age) UnmarshalFlag(text string) (err error) {
	*a, err = ParseAge(text)
	return err
}

// String returns the schedule as text that Parse reads back to the same schedule: no
// spaces, units in lower case, no leading zeros, the number of newest snapshots first
// unless it is 0, then the rules, with their order and units as given.
func (s Schedule) String() string {
	if len(s.Items()) == 0 {
		return "0"
	}
	var items []string
	for _, it := range s.Items() {
		items = append(items, it.String())
	}
	return strings.Join(items, ",")
}

// UnmarshalFlag parses the value of an option.
func (s *Schedule) UnmarshalFlag(text string) (err error) {
	*s, err = Parse(text)
	return err
}

// Parse reads a schedule: items separated by commas, each either N (always keep the
// newest N, at most once, 0 for none) or <interval><ttl> such as 1d1w (keep the first
// snapshot of each day for a week). Both parts of a rule are a whole number and a unit:
// s, min, h, d, w, m (30 days) or y (365.25 days), in upper or lower case as in
// zfs-autobackup. Spaces and tabs around items are skipped.
//
// An error quotes the text and says where the fault is in it, counted in characters from
// 1, and which text was expected there. Among the errors are an empty text or item, an
// interval of 0 or longer than its ttl, spans above 10000 years, and text left over after
// an item.
func Parse(text string) (Schedule, error) {
	var s Schedule
	seen := false
	for start := 0; start <= len(text); {
		end := len(text)
		if i := strings.IndexByte(text[start:], ','); i >= 0 {
			end = start + i
		}
		p := parser{what: "schedule", text: text, at: start, end: end}
		for p.at < p.end && isBlank(text[p.at]) {
			p.at++
		}
		for p.end > p.at && isBlank(text[p.end-1]) {
			p.end--
		}
		r, n, isRule, err := p.item()
		switch {
		case err != nil:
			return Schedule{}, err
		case isRule:
			s.rules = append(s.rules, r)
		case seen:
			return Schedule{}, p.errorf(p.item0, "a second number of newest snapshots: expected one at most")
		default:
			s.newest, seen = n, true
		}
		start = end + 1
	}
	return s, nil
}

// ParseAge reads one span such as 30d, in the syntax of a rule's ttl. 0 is allowed, with
// a unit. Spaces and tabs around it are skipped. Errors are like those of Parse.
func ParseAge(text string) (Age, error) {
	p := parser{what: "age", text: text, end: len(text)}
	for p.at < p.end && isBlank(text[p.at]) {
		p.at++
	}
	for p.end > p.at && isBlank(text[p.end-1]) {
		p.end--
	}
	if p.at == p.end {
		return Age{}, p.errorf(p.at, "nothing there: expected <number><unit> such as 30d")
	}
	a, err := p.age("age")
	if err != nil {
		return Age{}, err
	}
	if p.at < p.end {
		return Age{}, p.errorf(p.at, "%s after the age %s: expected the end", p.rest(), a)
	}
	return a, nil
}

func isBlank(b byte) bool { return b == ' ' || b == '\t' }

// parser reads one item, text[at:end].
type parser struct {
	what, text     string
	item0, at, end int
}

func (p *parser) errorf(at int, format string, args ...any) error {
	return fmt.Errorf("cannot parse %s %q: at character %d: %s", p.what, p.text,
		utf8.RuneCountInString(p.text[:at])+1, fmt.Sprintf(format, args...))
}

func (p *parser) rest() string { return strconv.Quote(p.text[p.at:p.end]) }

func (p *parser) item() (r rule, newest int, isRule bool, err error) {
	p.item0 = p.at
	if p.at == p.end {
		return r, 0, false, p.errorf(p.at, "empty item: expected a number of newest snapshots, or a rule such as 1d1w")
	}
	digits := p.digits()
	if p.at == p.end && digits != "" {
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n > maxNewest {
			return r, 0, false, p.errorf(p.item0, "%s is too many: expected at most %d", digits, maxNewest)
		}
		return r, int(n), false, nil
	}
	p.at = p.item0
	if r.interval, err = p.age("interval"); err != nil {
		return r, 0, true, err
	}
	ttlAt := p.at
	if p.at == p.end {
		return r, 0, true, p.errorf(p.at, "no ttl after the interval %s: expected <number><unit> such as 1w", r.interval)
	}
	if r.ttl, err = p.age("ttl"); err != nil {
		return r, 0, true, err
	}
	switch {
	case p.at < p.end:
		return r, 0, true, p.errorf(p.at, "%s after the rule %s: expected ',' or the end", p.rest(), r)
	case r.interval.seconds == 0:
		return r, 0, true, p.errorf(p.item0, "interval %s: expected more than 0", r.interval)
	case r.ttl.seconds == 0:
		return r, 0, true, p.errorf(ttlAt, "ttl %s: expected more than 0", r.ttl)
	case r.interval.seconds > r.ttl.seconds:
		return r, 0, true, p.errorf(ttlAt, "the interval %s is longer than the ttl %s: expected <interval><ttl>", r.interval, r.ttl)
	}
	return r, 0, true, nil
}

func (p *parser) digits() string {
	start := p.at
	for p.at < p.end && p.text[p.at] >= '0' && p.text[p.at] <= '9' {
		p.at++
	}
	return p.text[start:p.at]
}

func (p *parser) age(what string) (Age, error) {
	start := p.at
	digits := p.digits()
	if digits == "" {
		if p.text[p.at] == '-' {
			return Age{}, p.errorf(p.at, "a negative number: expected a whole number, 0 or more")
		}
		return Age{}, p.errorf(p.at, "%s: expected a whole number", p.rest())
	}
	unitAt := p.at
	for p.at < p.end && isLetter(p.text[p.at]) {
		p.at++
	}
	if unitAt == p.at {
		found := "the end"
		if p.at < p.end {
			found = p.rest()
		}
		return Age{}, p.errorf(p.at, "%s in place of the unit of the %s: expected %s", found, what, unitNames)
	}
	a := Age{unit: strings.ToLower(p.text[unitAt:p.at])}
	scale := units[a.unit].seconds
	if scale == 0 {
		return Age{}, p.errorf(unitAt, "unknown unit %q: expected %s", p.text[unitAt:p.at], unitNames)
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > maxAge/scale {
		return Age{}, p.errorf(start, "%s is too long: expected at most 10000 years", p.text[start:p.at])
	}
	a.count, a.seconds = n, n*scale
	return a, nil
}

func isLetter(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' }
