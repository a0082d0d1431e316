package record

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
)

// A long record consists almost entirely of its lists of snapshots and verdicts, nearly
// always in the one form that zab writes: no white space, no escapes, no unknown fields.
// These lists are read and written here by hand; the JSON library gets the record with
// empty lists in their place. A line in any other form goes to the library as a whole, so
// that the library alone decides which lines are records and how an error is worded.

// slots are the lists cut out of a line, in any order.
type slots struct {
	lists []slot
	plain []byte // the line with empty lists in their place
}

// slot is one list: the two keys that lead to it, and its elements.
type slot struct {
	parent, key string
	snapshots   []Snapshot
	verdicts    []Verdict
}

// isSlot reports whether the list under these keys is read by hand.
func isSlot(parent, key string) bool {
	switch parent {
	case "", "target":
		return key == "snapshots" || key == "bookmarks"
	case "thin":
		return key == "source" || key == "target"
	}
	return false
}

// eachSlot calls f at the beginning of each such list; at is the index of its bracket. f
// returns the index after the list, or false to give up.
//
// eachSlot does not validate the line. In valid JSON it finds exactly these lists; an
// invalid line stays invalid when whole values in it are replaced by other values.
func eachSlot(line string, f func(parent, key string, at int) (end int, ok bool)) bool {
	depth, parent, key, last := 0, "", "", ""
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '"':
			from := i + 1
			for i++; i < len(line) && line[i] != '"'; i++ {
				if line[i] == '\\' {
					i++
				}
			}
			if i >= len(line) {
				return false
			}
			last = line[from:i]
		case ':':
			if key = last; depth == 1 {
				parent = key
			}
		case '{', '[':
			above := parent
			if depth == 1 {
				above = ""
			}
			if line[i] == '[' && (depth == 1 || depth == 2) && isSlot(above, key) {
				end, ok := f(above, key, i)
				if !ok {
					return false
				}
				i, key = end-1, ""
				continue
			}
			depth++
			if line[i] == '[' {
				key = "" // elements of a list have no key
				if depth == 2 {
					parent = ""
				}
			}
		case '}', ']':
			depth--
		case ',':
			key = ""
		}
	}
	return true
}

// cut parses the lists of a line and keeps the rest of the line with empty lists. It
// returns false if a list is not in zab's own form.
func cut(line string) (s slots, ok bool) {
	from := 0
	ok = eachSlot(line, func(parent, key string, at int) (int, bool) {
		p := scanner{s: line, i: at}
		l := slot{parent: parent, key: key}
		if parent == "thin" {
			l.verdicts = p.verdicts()
		} else {
			l.snapshots = p.snapshots()
		}
		s.plain = append(append(s.plain, line[from:at]...), "[]"...)
		from = p.i
		s.lists = append(s.lists, l)
		return p.i, !p.bad
	})
	s.plain = append(s.plain, line[from:]...)
	return s, ok
}

// put stores the lists that were cut out of the line in its record.
func (s *slots) put(r *Record) {
	for _, l := range s.lists {
		switch {
		case l.parent == "thin" && l.key == "source":
			r.Thin.Source = l.verdicts
		case l.parent == "thin":
			r.Thin.Target = l.verdicts
		case l.parent == "target" && l.key == "snapshots":
			r.Target.Snapshots = l.snapshots
		case l.parent == "target":
			r.Target.Bookmarks = l.snapshots
		case l.key == "snapshots":
			r.Snapshots = l.snapshots
		default:
			r.Bookmarks = l.snapshots
		}
	}
}

// scanner parses only the form that zab writes: bad means that the JSON library has to
// parse the line.
type scanner struct {
	s   string
	i   int
	bad bool
	// Words come from larger allocations.
	words []string
	// numbers has the numbers of the list that is being parsed, because a number is kept
	// by its address.
	numbers []int64
}

// Lists grow in pooled slices and are then copied to slices of exactly their size: a
// stage may keep all records of a run.
var (
	snapshotRooms = sync.Pool{New: func() any { return &snapshotRoom{list: []Snapshot{}} }}
	verdictRooms  = sync.Pool{New: func() any { return new([]Verdict) }}
)

// snapshotRoom is where a list of snapshots grows.
type snapshotRoom struct {
	list      []Snapshot
	numbers   []int64
	compactor Compactor
}

func (p *scanner) has(s string) bool {
	if !strings.HasPrefix(p.s[p.i:], s) {
		return false
	}
	p.i += len(s)
	return true
}

func (p *scanner) need(s string) {
	if !p.has(s) {
		p.bad = true
	}
}

// plain reports whether a byte stands for itself in a JSON string: printable ASCII except
// the two special characters. Strings with other bytes go to the library.
func plain(b byte) bool { return b >= ' ' && b < 0x7f && b != '"' && b != '\\' }

func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		if !plain(s[i]) {
			return false
		}
	}
	return true
}

// text parses a string without escapes; the result is a part of the line.
func (p *scanner) text() string {
	p.need(`"`)
	from := p.i
	for p.i < len(p.s) && plain(p.s[p.i]) {
		p.i++
	}
	s := p.s[from:p.i]
	p.need(`"`)
	return s
}

func (p *scanner) number() *int64 {
	from := p.i
	for p.i < len(p.s) && p.s[p.i] >= '0' && p.s[p.i] <= '9' {
		p.i++
	}
	s := p.s[from:p.i]
	// JSON allows no leading zeros, and 18 digits always fit an int64.
	if s == "" || len(s) > 18 || s[0] == '0' && len(s) > 1 {
		p.bad = true
		return nil
	}
	n, _ := strconv.ParseInt(s, 10, 64)
	p.numbers = append(p.numbers, n) // earlier numbers stay where they are if it moves
	return &p.numbers[len(p.numbers)-1]
}

func (p *scanner) flag() bool {
	if p.has("true") {
		return true
	}
	p.need("false")
	return false
}

// list calls f for each element of a list.
func (p *scanner) list(f func()) {
	p.need("[")
	if p.has("]") {
		return
	}
	for !p.bad {
		f()
		if p.has("]") {
			return
		}
		p.need(",")
	}
}

// object calls f with each key of an object, and refuses keys that come twice; f returns
// the bit of the key, 0 for an unknown key.
func (p *scanner) object(f func(key string) (bit uint)) {
	p.need("{")
	seen := uint(0)
	for !p.bad {
		key := p.text()
		p.need(":")
		if p.bad {
			return
		}
		bit := f(key)
		if bit == 0 || seen&bit != 0 {
			p.bad = true
			return
		}
		seen |= bit
		if p.has("}") {
			return
		}
		p.need(",")
	}
}

// texts parses a list of strings. They come from a larger allocation; a list that
// outgrows it moves to a new one.
func (p *scanner) texts() []string {
	if len(p.words) == cap(p.words) {
		p.words = make([]string, 0, 64)
	}
	from := len(p.words)
	p.list(func() { p.words = append(p.words, p.text()) })
	return p.words[from:len(p.words):len(p.words)]
}

func (p *scanner) snapshots() []Snapshot {
	room := snapshotRooms.Get().(*snapshotRoom)
	defer snapshotRooms.Put(room)
	p.numbers = room.numbers[:0]
	out := room.list[:0]
	var s *Snapshot
	var x Rare
	fields := func(key string) uint {
		switch key {
		case "name":
			s.Name = p.text()
			return 1
		case "guid":
			s.GUID = p.text()
			return 2
		case "createtxg":
			s.CreateTXG = p.text()
			return 4
		case "creation":
			s.Creation = p.number()
			return 8
		case "written":
			s.Written = p.number()
			return 16
		case "userrefs":
			s.UserRefs = p.number()
			return 32
		case "ours":
			s.Ours = p.flag()
			return 64
		case "virtual":
			s.Virtual = p.flag()
			return 128
		case "needed":
			x.Needed = p.text()
			return 256
		case "holds":
			x.Holds = p.texts()
			return 512
		}
		return 0
	}
	p.list(func() {
		out = append(out, Snapshot{})
		s, x = &out[len(out)-1], Rare{}
		p.object(fields)
		s.SetRare(x)
	})
	list := room.compactor.Compact(out)
	clear(out)
	room.list, room.numbers = out, p.numbers
	return list
}

func (p *scanner) verdicts() []Verdict {
	room := verdictRooms.Get().(*[]Verdict)
	defer verdictRooms.Put(room)
	out := (*room)[:0]
	var v *Verdict
	fields := func(key string) uint {
		switch key {
		case "name":
			v.Name = p.text()
			return 1
		case "keep":
			v.Keep = p.flag()
			return 2
		case "why":
			v.Why = p.texts()
			return 4
		case "destroyed":
			v.Destroyed = p.flag()
			return 8
		}
		return 0
	}
	p.list(func() {
		out = append(out, Verdict{})
		v = &out[len(out)-1]
		p.object(fields)
	})
	list := make([]Verdict, len(out))
	copy(list, out)
	clear(out)
	*room = out
	return list
}

// withoutLists returns a copy of the record with empty lists in place of those that can be
// written by hand, or false if the lists are too short to be worth it.
func withoutLists(r *Record) (*Record, bool) {
	few := len(r.Snapshots) + len(r.Bookmarks)
	if r.Target != nil {
		few += len(r.Target.Snapshots) + len(r.Target.Bookmarks)
	}
	if r.Thin != nil {
		few += len(r.Thin.Source) + len(r.Thin.Target)
	}
	if few < 4 {
		return r, false
	}
	c := *r
	c.Snapshots, c.Bookmarks = r.Snapshots[:0], r.Bookmarks[:0]
	if r.Target != nil {
		t := *r.Target
		t.Snapshots, t.Bookmarks = t.Snapshots[:0], t.Bookmarks[:0]
		c.Target = &t
	}
	if r.Thin != nil {
		t := *r.Thin
		t.Source, t.Target = t.Source[:0], t.Target[:0]
		c.Thin = &t
	}
	return &c, true
}

// withLists appends the line of a hollow record with the lists of r inserted. It returns
// false if a list cannot be written by hand.
func withLists(to *bytes.Buffer, line string, r *Record) bool {
	from := 0
	ok := eachSlot(line, func(parent, key string, at int) (int, bool) {
		if !strings.HasPrefix(line[at:], "[]") {
			return at, false
		}
		to.WriteString(line[from:at])
		from = at + len("[]")
		b, ok := to.AvailableBuffer(), false
		switch {
		case parent == "thin" && key == "source":
			b, ok = appendVerdicts(b, r.Thin.Source)
		case parent == "thin":
			b, ok = appendVerdicts(b, r.Thin.Target)
		case parent == "target" && key == "snapshots":
			b, ok = appendSnapshots(b, r.Target.Snapshots)
		case parent == "target":
			b, ok = appendSnapshots(b, r.Target.Bookmarks)
		case key == "snapshots":
			b, ok = appendSnapshots(b, r.Snapshots)
		default:
			b, ok = appendSnapshots(b, r.Bookmarks)
		}
		to.Write(b)
		return from, ok
	})
	to.WriteString(line[from:])
	return ok
}

func appendText(b []byte, key, s string) ([]byte, bool) {
	b = append(b, key...)
	b = append(b, s...)
	return append(b, '"'), isPlain(s)
}

func appendTexts(b []byte, key string, list []string) ([]byte, bool) {
	b = append(b, key...)
	for i, s := range list {
		if !isPlain(s) {
			return b, false
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), s...), '"')
	}
	return append(b, ']'), true
}

func appendNumber(b []byte, key string, n *int64) []byte {
	if n == nil {
		return b
	}
	return strconv.AppendInt(append(b, key...), *n, 10)
}

func appendSnapshots(b []byte, list []Snapshot) ([]byte, bool) {
	b = append(b, '[')
	for i := range list {
		s := &list[i]
		x := s.Rare()
		if len(x.Unknown) > 0 || x.Held != nil {
			return b, false
		}
		if i > 0 {
			b = append(b, ',')
		}
		good := true
		text := func(key, v string) {
			var ok bool
			b, ok = appendText(b, key, v)
			good = good && ok
		}
		text(`{"name":"`, s.Name)
		if s.GUID != "" {
			text(`,"guid":"`, s.GUID)
		}
		if s.CreateTXG != "" {
			text(`,"createtxg":"`, s.CreateTXG)
		}
		b = appendNumber(b, `,"creation":`, s.Creation)
		b = appendNumber(b, `,"written":`, s.Written)
		b = appendNumber(b, `,"userrefs":`, s.UserRefs)
		if x.Holds != nil {
			var ok bool
			b, ok = appendTexts(b, `,"holds":[`, x.Holds)
			good = good && ok
		}
		if s.Ours {
			b = append(b, `,"ours":true`...)
		}
		if s.Virtual {
			b = append(b, `,"virtual":true`...)
		}
		if x.Needed != "" {
			text(`,"needed":"`, x.Needed)
		}
		if !good {
			return b, false
		}
		b = append(b, '}')
	}
	return append(b, ']'), true
}

func appendVerdicts(b []byte, list []Verdict) ([]byte, bool) {
	b = append(b, '[')
	for i := range list {
		v := &list[i]
		if len(v.Unknown) > 0 {
			return b, false
		}
		if i > 0 {
			b = append(b, ',')
		}
		var named, said bool
		b, named = appendText(b, `{"name":"`, v.Name)
		b = strconv.AppendBool(append(b, `,"keep":`...), v.Keep)
		b, said = appendTexts(b, `,"why":[`, v.Why)
		if !named || !said {
			return b, false
		}
		if v.Destroyed {
			b = append(b, `,"destroyed":true`...)
		}
		b = append(b, '}')
	}
	return append(b, ']'), true
}
