package hostile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// Lie is one answer, or all of a kind, that the hostile host gives in place of
// the true one.
type Lie struct {
	Sign string // of the command, see call.sign
	N    int    // which of them, from 0; -1 for all
	Kind string
	Seed uint64
}

// inProperty is the sign of a lie that no host tells: somebody who may set the user
// properties of one dataset of the source, liar, has set one to what looks like the
// rows of another. Both hosts are honest then, and zfs prints values as they are.
const (
	inProperty = "a user property"
	liar       = "tank/home/bob"
)

// facts are the properties that zab asks for first, in its order.
var facts = strings.Split("type,guid,createtxg,creation,origin,encryption,encryptionroot,keystatus,keyguid,written,used,referenced,volsize,"+
	"mounted,canmount,mountpoint,receive_resume_token,zab:from,zab:stream,zab:aside,zab:pool,autobackup:"+backup, ",")

// set puts the value of such a property into the source.
func (l *Lie) set(src *Host) {
	rng := rand.New(rand.NewPCG(l.Seed, 2))
	d, victim := src.find(liar), src.find([]string{"tank/srv", "tank/home/alice"}[rng.IntN(2)])
	prop := []string{"autobackup:" + backup, "zab:from", "zab:stream", "zab:aside", "zab:pool"}[rng.IntN(5)]
	with := map[string]string{"written": "0"}
	switch rng.IntN(3) {
	case 0:
		with["autobackup:"+backup] = "false"
	case 1:
		with = map[string]string{"mountpoint": "/etc", "receive_resume_token": "1-2-3", "zab:from": "1"}
	}
	row := func(p string) string {
		v, source := src.get(victim, p)
		return victim.Name + "\t" + p + "\t" + or(with[p], v) + "\t" + source
	}
	value := "true"
	if prop != facts[len(facts)-1] {
		value = "7"
	}
	value += "\tlocal"
	if rng.IntN(2) == 0 {
		for _, p := range facts {
			value += "\n" + row(p)
		}
	} else {
		value += "\n" + row("written")
	}
	d.Local[prop] = strings.TrimSuffix(value, "\tlocal")
}

func (l *Lie) String() string {
	if l.Sign == inProperty {
		return fmt.Sprintf("%s (%d)", inProperty, l.Seed)
	}
	return l.told()
}

func (l *Lie) told() string { return fmt.Sprintf("%s in answer %d of %q", l.Kind, l.N, l.Sign) }

// The kinds of lies, with how often each is drawn. Those of rows are for
// commands that print a table, those of streams for zfs send, those of acts for
// commands that change something.
type kind struct {
	name   string
	weight int
	tell   func(m *mutator)
}

var (
	rowKinds    []kind
	streamKinds []kind
	actKinds    []kind
)

func init() {
	ends := []kind{
		{"truncated", 3, func(m *mutator) { m.cut() }},
		{"truncated-255", 2, func(m *mutator) { m.cut(); m.rc = 255 }},
		{"truncated-killed", 2, func(m *mutator) { m.cut(); m.kill = true }},
		{"truncated-137", 1, func(m *mutator) { m.cut(); m.rc = 137 }},
		{"not-there-255", 2, func(m *mutator) { m.cut(); m.notThere(); m.rc = 255 }},
		{"not-there-killed", 2, func(m *mutator) { m.cut(); m.notThere(); m.kill = true }},
		{"not-there-1", 2, func(m *mutator) { m.cut(); m.notThere(); m.rc = 1 }},
		{"other-language", 1, func(m *mutator) {
			m.cut()
			m.err = []byte("kann '" + m.someName() + "' nicht \u00f6ffnen: Dataset existiert nicht\n")
			m.rc = 1
		}},
		{"message-1", 2, func(m *mutator) { m.message(); m.rc = 1 }},
		{"message-0", 1, func(m *mutator) { m.message() }},
		{"messages-endless", 1, func(m *mutator) { m.err = bytes.Repeat([]byte(m.escape()+" cannot open 'x'\n"), 20000); m.rc = 1 }},
		{"nothing", 1, func(m *mutator) { m.out = nil }},
		{"nothing-1", 1, func(m *mutator) { m.out = nil; m.rc = 1 }},
	}
	field := func(f func(m *mutator, old string) string) func(m *mutator) {
		return func(m *mutator) { m.field(f) }
	}
	rowKinds = append([]kind{
		{"nul", 3, field(func(m *mutator, old string) string { return old + "\x00mountpoint=/etc\x00canmount=on" })},
		{"nul-short", 1, field(func(m *mutator, old string) string { return old + "\x00" })},
		{"newline-rows", 4, field(func(m *mutator, old string) string { return old + m.source() + "\n" + m.forged() })},
		{"newline", 2, field(func(m *mutator, old string) string { return old + "\nx" })},
		{"tab", 1, field(func(m *mutator, old string) string { return old + "\tlocal" })},
		{"dash", 3, field(func(m *mutator, old string) string { return "-" + pickOf(m, "R", "r", "rf", "-", "o", "F") + old })},
		{"odd-name", 4, field(func(m *mutator, old string) string { return m.oddName(old) })},
		{"shell", 3, field(func(m *mutator, old string) string {
			return old + pickOf(m, "$(touch canary)", "`touch canary`", ";touch canary", "'\ntouch canary\n'", "'$(touch canary)'", "|touch canary", "\\';touch canary")
		})},
		{"escape", 3, field(func(m *mutator, old string) string { return old + m.escape() })},
		{"huge", 1, field(func(m *mutator, old string) string { return old + strings.Repeat("A", 1<<20) })},
		{"long", 1, field(func(m *mutator, old string) string { return old + strings.Repeat("b", 200+m.IntN(200)) })},
		{"wrong-guid", 3, func(m *mutator) { m.guid(func(string) string { return strconv.FormatUint(m.Uint64(), 10) }) }},
		{"other-guid", 3, func(m *mutator) { m.guid(func(string) string { return m.someGUID() }) }},
		{"number", 4, field(func(m *mutator, old string) string {
			if _, err := strconv.ParseUint(old, 10, 64); err != nil {
				m.again = true
			}
			return pickOf(m, "-1", "-9223372036854775808", "18446744073709551615", "18446744073709551616", "99999999999999999999999", "0x10", "1e9", "5 ", " 5", "+7", "07", "", "none", "1.5T", "²")
		})},
		{"empty", 2, field(func(m *mutator, old string) string { return "" })},
		{"future", 3, func(m *mutator) { m.future() }},
		{"drop", 3, func(m *mutator) { m.drop(1) }},
		{"drop-many", 1, func(m *mutator) { m.drop(1 + m.IntN(8)) }},
		{"hide", 2, func(m *mutator) { m.hide() }},
		{"double", 3, func(m *mutator) {
			m.rows(func(r []string) []string { i := m.IntN(len(r)); return slices.Insert(r, i, r[i]) })
		}},
		{"double-late", 2, func(m *mutator) { m.rows(func(r []string) []string { return append(r, r[m.IntN(len(r))]) }) }},
		{"swap", 3, func(m *mutator) {
			m.rows(func(r []string) []string {
				i, j := m.IntN(len(r)), m.IntN(len(r))
				r[i], r[j] = r[j], r[i]
				return r
			})
		}},
		{"swap-fields", 2, func(m *mutator) {
			m.rows(func(r []string) []string {
				i, j := m.IntN(len(r)), m.IntN(len(r))
				a, b := strings.Split(r[i], "\t"), strings.Split(r[j], "\t")
				if k := m.IntN(min(len(a), len(b))); k > 0 {
					a[k], b[k] = b[k], a[k]
				}
				r[i], r[j] = strings.Join(a, "\t"), strings.Join(b, "\t")
				return r
			})
		}},
		{"forged-first", 2, func(m *mutator) { m.out = append([]byte(m.forged()), m.out...) }},
		{"forged-last", 3, func(m *mutator) { m.out = append(m.out, m.forged()...) }},
		{"token", 6, func(m *mutator) { m.token() }},
		{"deselect", 1, func(m *mutator) { m.deselect() }},
		{"garbage", 1, func(m *mutator) {
			m.out = make([]byte, 100+m.IntN(5000))
			for i := range m.out {
				m.out[i] = byte(m.Uint32())
			}
		}},
		{"endless-line", 1, func(m *mutator) { m.endless = []byte("A") }},
		{"endless-rows", 1, func(m *mutator) { m.endless = []byte(m.forged()) }},
		{"silence", 1, func(m *mutator) { m.hang = true }},
	}, ends...)
	streamKinds = append([]kind{
		{"stream-guid", 3, stream1(func(m *mutator, s *stream) { s.Snaps[len(s.Snaps)-1].GUID = m.someGUID() })},
		{"stream-name", 2, stream1(func(m *mutator, s *stream) {
			s.Snaps[len(s.Snaps)-1].Name = pickOf(m, "other", "x"+m.escape(), "b1-20990101000000")
		})},
		{"stream-more", 2, stream1(func(m *mutator, s *stream) {
			s.Snaps = append(s.Snaps, &Snap{Name: "b1-20990101000000", GUID: strconv.FormatUint(m.Uint64(), 10)})
		})},
		{"stream-base", 2, stream1(func(m *mutator, s *stream) { s.From = m.someGUID() })},
		{"stream-full", 1, stream1(func(m *mutator, s *stream) { s.From = "" })},
		{"stream-props", 6, stream1(func(m *mutator, s *stream) {
			if s.Props == nil {
				s.Props = map[string]string{}
			}
			for range 1 + m.IntN(4) {
				p := pickOf(m, "mountpoint=/etc", "canmount=on", "sharenfs=on", "sharesmb=on", "setuid=on", "devices=on", "readonly=off", "reservation=1T", "refreservation=1T",
					"zab:from=1,2", "zab:stream=none", "zab:aside=begun:x", "zab:aside=done:other", "autobackup:b1=true", "autobackup:b1=bogus", "zab:missing=1", "keylocation=file:///etc/shadow", "exec=on", "volmode=full", "snapdev=visible")
				k, v, _ := strings.Cut(p, "=")
				s.Props[k] = v
			}
		})},
		{"stream-package", 3, stream1(func(m *mutator, s *stream) {
			s.Children = []*stream{{Name: pickOf(m, "sub", "etc"), Snaps: []*Snap{{Name: "x", GUID: strconv.FormatUint(m.Uint64(), 10)}}, Props: map[string]string{"mountpoint": "/etc", "canmount": "on"}}}
		})},
		{"stream-holds", 2, stream1(func(m *mutator, s *stream) {
			s.Holds = []string{pickOf(m, "for-ever", "zfs_autobackup:b1", "zfs_autobackup:b1:1")}
		})},
		{"stream-plain", 1, stream1(func(m *mutator, s *stream) { s.Raw = !s.Raw })},
		{"stream-kind", 1, stream1(func(m *mutator, s *stream) { s.Kind = "volume" })},
		{"stream-none", 1, func(m *mutator) { m.out = nil }},
		{"stream-garbage", 1, func(m *mutator) { m.out = bytes.Repeat([]byte{0xff, 0}, 5000) }},
		{"endless", 1, func(m *mutator) { m.endless = bytes.Repeat([]byte("0"), 1000) }},
	}, ends...)
	actKinds = append([]kind{
		{"pretend", 6, nil}, // see before
		{"refuse", 3, func(m *mutator) { m.message(); m.rc = 1 }},
		{"done-but-255", 3, func(m *mutator) { m.rc = 255 }},
		{"done-but-killed", 2, func(m *mutator) { m.kill = true }},
	}, ends...)
}

// Weird answers that a hostile host may give without any risk of being found
// out: it claims to have less, or that less of it is to be backed up. zab cannot
// know better, so that it may end with 0 though the honest run sent more.
var fairKinds = map[string]string{
	"deselect": "the source says that a dataset is not selected, which is its own affair",
	"hide":     "the source says that it does not have a dataset",
}

// mutator changes one answer.
type mutator struct {
	*rand.Rand
	c       *call
	out     []byte
	err     []byte
	rc      int
	kill    bool
	hang    bool
	endless []byte
	again   bool // the field drawn was none for this kind
}

// lie is the one to be told in place of the answer, nil for none.
func (c *call) lie() *Lie {
	if c.host != c.run.Hostile {
		return nil
	}
	n := -1
	for _, l := range c.run.Lies {
		if l.Sign != c.entry.Sign {
			continue
		}
		if l.N < 0 {
			return l
		}
		if n < 0 {
			n = c.counts[l.Sign]
			c.counts[l.Sign]++
		}
		if l.N == n {
			return l
		}
	}
	return nil
}

// before reports whether nothing is to be done at all.
func (l *Lie) before() bool { return l.Kind == "pretend" || l.Kind == "refuse" }

func kindsFor(sign string) []kind {
	f := strings.Fields(sign)
	switch form := forms[f[0]+" "+f[1]]; {
	case form.writes && sign != "zfs mount":
		return actKinds
	case f[1] == "send" && !strings.Contains(sign, " -n"):
		return streamKinds
	}
	return rowKinds
}

// draw chooses a lie about one of the commands of an honest run.
func draw(rng *rand.Rand, signs []string, silence bool) *Lie {
	var l Lie
	count := map[string]int{}
	for _, s := range signs {
		count[s]++
	}
	all := sortedKeys(count)
	l.Sign = all[rng.IntN(len(all))]
	l.N = rng.IntN(count[l.Sign])
	if rng.IntN(3) == 0 {
		l.N = -1
	}
	total := 0
	kinds := kindsFor(l.Sign)
	weight := func(k *kind) int {
		switch {
		case k.name == "silence" && !silence:
			return 0
		case k.name == "token" && !strings.Contains(l.Sign, "receive_resume_token"):
			return 0
		case k.name == "deselect" && !strings.Contains(l.Sign, "autobackup:"):
			return 0
		}
		return k.weight
	}
	for i := range kinds {
		total += weight(&kinds[i])
	}
	for n, i := rng.IntN(total), 0; ; i++ {
		if n -= weight(&kinds[i]); n < 0 {
			l.Kind = kinds[i].name
			break
		}
	}
	l.Seed = rng.Uint64()
	return &l
}

// endlessCap is where an endless answer ends if nobody stops reading.
const endlessCap = 48 << 20

// mutate makes the lie out of the true answer.
func (c *call) mutate(l *Lie) *mutator {
	m := &mutator{Rand: rand.New(rand.NewPCG(l.Seed, 1)), c: c, out: bytes.Clone(c.out.Bytes()), err: bytes.Clone(c.err.Bytes()), rc: c.rc}
	for _, k := range kindsFor(l.Sign) {
		if k.name == l.Kind && k.tell != nil {
			for range 20 {
				m.again = false
				if k.tell(m); !m.again {
					break
				}
				m.out = bytes.Clone(c.out.Bytes())
			}
		}
	}
	_, fair := fairKinds[l.Kind]
	c.entry.Lie = l.Kind
	c.entry.Said = string(m.out[:min(len(m.out), 20000)])
	c.entry.Fair = fair || c.sub != "send" && m.rc == 0 && !m.kill && !m.hang && m.endless == nil && fewer(c.out.Bytes(), m.out)
	return m
}

// tell gives the answer and the exit status.
func (m *mutator) tell() int {
	p := m.c.peer
	if m.hang {
		<-p.gone
		return 0
	}
	_, _ = p.stderr.Write(m.err)
	if _, err := p.stdout.Write(m.out); err != nil {
		return 141
	}
	if m.endless != nil {
		chunk := bytes.Repeat(m.endless, 1+65536/len(m.endless))
		for n := 0; n < endlessCap; n += len(chunk) {
			if _, err := p.stdout.Write(chunk); err != nil {
				return 141
			}
		}
	}
	if m.kill {
		return p.kill()
	}
	return m.rc
}

// fewer reports whether an answer is the true one without some of its objects:
// one that a host could give whose datasets or snapshots are fewer.
func fewer(honest, said []byte) bool {
	if bytes.Equal(honest, said) {
		return true
	}
	if len(said) > 0 && said[len(said)-1] != '\n' {
		return false
	}
	count := func(b []byte) map[string]int {
		n := map[string]int{}
		for line := range strings.Lines(string(b)) {
			name, _, _ := strings.Cut(line, "\t")
			n[name]++
		}
		return n
	}
	was, is := count(honest), count(said)
	rest := strings.SplitAfter(string(honest), "\n")
	for line := range strings.Lines(string(said)) {
		i := slices.Index(rest, line)
		if i < 0 {
			return false
		}
		rest = rest[i+1:]
	}
	for name, n := range is {
		if n != was[name] {
			return false
		}
	}
	return true
}

func pickOf[T any](m *mutator, list ...T) T { return list[m.IntN(len(list))] }

// rows changes the lines of a table.
func (m *mutator) rows(f func(rows []string) []string) {
	rows := strings.Split(strings.TrimSuffix(string(m.out), "\n"), "\n")
	if len(m.out) == 0 {
		m.out = []byte(m.forged())
		return
	}
	m.out = []byte(strings.Join(f(rows), "\n") + "\n")
}

// field changes one field of the table, or one value of JSON.
func (m *mutator) field(f func(m *mutator, old string) string) {
	if m.c.has("j") && bytes.HasPrefix(m.out, []byte("{")) {
		m.leaf(f)
		return
	}
	m.rows(func(rows []string) []string {
		i := m.IntN(len(rows))
		cols := strings.Split(rows[i], "\t")
		k := m.IntN(len(cols))
		if len(cols) == 4 && m.IntN(4) > 0 {
			k = 2 // a property's value
			if i = m.telling(rows, i); strings.Count(rows[i], "\t") == 3 {
				cols = strings.Split(rows[i], "\t")
				if strings.HasPrefix(cols[1], "zab:") && cols[2] == "-" {
					cols[2], cols[3] = "7", "local" // a mark that nobody has set
				}
			}
		}
		cols[k] = f(m, cols[k])
		rows[i] = strings.Join(cols, "\t")
		return rows
	})
}

// telling is often a row with a property that decides something.
func (m *mutator) telling(rows []string, otherwise int) int {
	var at []int
	for i, r := range rows {
		f := strings.Split(r, "\t")
		if len(f) != 4 {
			continue
		}
		switch {
		case f[1] == "guid" && !strings.Contains(f[0], "/"), f[1] == "receive_resume_token", f[1] == "mountpoint", f[1] == "written" && f[2] != "-",
			strings.HasPrefix(f[1], "zab:"), strings.HasPrefix(f[1], "autobackup:"):
			at = append(at, i)
		}
	}
	if at == nil || m.IntN(2) == 0 {
		return otherwise
	}
	return pickOf(m, at...)
}

// leaf changes one string of a JSON answer, or the name of one of its members.
func (m *mutator) leaf(f func(m *mutator, old string) string) {
	var v any
	if json.Unmarshal(m.out, &v) != nil {
		return
	}
	var sets []func()
	var walk func(v any)
	walk = func(v any) {
		obj, ok := v.(map[string]any)
		if !ok {
			return
		}
		for _, k := range sortedKeys(obj) {
			if s, ok := obj[k].(string); ok {
				sets = append(sets, func() { obj[k] = f(m, s) })
			} else {
				sets = append(sets, func() { x := obj[k]; delete(obj, k); obj[f(m, k)] = x })
			}
			walk(obj[k])
		}
	}
	walk(v)
	sets[m.IntN(len(sets))]()
	m.out, _ = json.Marshal(v)
	m.out = append(m.out, '\n')
}

// guid changes one field that is a guid.
func (m *mutator) guid(f func(string) string) {
	m.field(func(m *mutator, old string) string {
		if len(old) < 12 || strings.IndexFunc(old, func(r rune) bool { return r < '0' || r > '9' }) >= 0 {
			m.again = true
		}
		return f(old)
	})
}

// cut ends the answer early, at a row's end or anywhere.
func (m *mutator) cut() {
	n := m.IntN(len(m.out) + 1)
	if m.IntN(2) == 0 {
		if i := bytes.LastIndexByte(m.out[:n], '\n'); i >= 0 {
			n = i + 1
		}
	}
	m.out = m.out[:n]
}

func (m *mutator) drop(n int) {
	m.rows(func(rows []string) []string {
		for range n {
			if len(rows) > 0 {
				i := m.IntN(len(rows))
				rows = slices.Delete(rows, i, i+1)
			}
		}
		return rows
	})
}

// hide leaves out all about one dataset.
func (m *mutator) hide() {
	m.rows(func(rows []string) []string {
		name, _, _ := strings.Cut(rows[m.IntN(len(rows))], "\t")
		ds, _, _ := strings.Cut(name, "@")
		return slices.DeleteFunc(rows, func(r string) bool { return strings.HasPrefix(r, ds+"\t") || strings.HasPrefix(r, ds+"@") })
	})
}

// deselect says of one dataset, or of all, that it is not to be backed up.
func (m *mutator) deselect() {
	all := m.IntN(2) == 0
	m.rows(func(rows []string) []string {
		for i, r := range rows {
			if f := strings.Split(r, "\t"); len(f) == 4 && strings.HasPrefix(f[1], "autobackup:") && f[2] != "-" && (all || m.IntN(3) == 0) {
				f[2] = "false"
				rows[i] = strings.Join(f, "\t")
			}
		}
		return rows
	})
}

// future adds snapshots whose names are those of years to come, or gives
// snapshots such names.
func (m *mutator) future() {
	rename := m.IntN(2) == 0
	m.rows(func(rows []string) []string {
		var out []string
		for _, r := range rows {
			ds, rest, ok := strings.Cut(r, "@")
			snap, cols, _ := strings.Cut(rest, "\t")
			if !ok || m.IntN(2) == 0 {
				out = append(out, r)
				continue
			}
			name := fmt.Sprintf("b1-20%d0101000000", 30+m.IntN(60))
			if !rename {
				f := strings.Split(cols, "\t")
				f[0] = strconv.FormatUint(m.Uint64(), 10)
				out = append(out, r, ds+"@"+name+"\t"+strings.Join(f, "\t"))
				continue
			}
			_ = snap
			out = append(out, ds+"@"+name+"\t"+cols)
		}
		return out
	})
}

func (m *mutator) message() { m.err = []byte(m.words()) }

func (m *mutator) notThere() {
	m.err = []byte("cannot open '" + m.someName() + "': dataset does not exist\n")
}

// words is a message of zfs, or what looks like one.
func (m *mutator) words() string {
	n := m.someName()
	return pickOf(m,
		"cannot open '"+n+"': dataset does not exist\n",
		"cannot hold snapshot '"+n+"@x': tag already exists on this dataset\n",
		"cannot open '"+n+m.escape()+"': permission denied\n",
		"cannot destroy '"+n+"@x': dataset is busy\n",
		"cannot receive resume stream: kernel modules must be upgraded to receive this stream.\n",
		"cannot receive incremental stream: destination has been modified\nsince most recent snapshot\n",
		"filesystem successfully created, but it may only be mounted by root\n",
		"cannot mount '"+n+"': filesystem already mounted\n",
		"no such tag on this dataset\n",
		"\x1b]0;owned\x07\x1b[2J"+m.escape()+"\n",
		"internal error: "+strings.Repeat("x", 100000)+"\n",
		"\n\n\n", "\x00\x00\n", "usage:\n\tzfs\n")
}

// escape is what a terminal would obey.
func (m *mutator) escape() string {
	return pickOf(m, "\x1b]0;owned\x07", "\x1b[2J", "\u009b31m", "\x9b31m", "\x7f", "\r", "\x08\x08\x08", "\u0085", "\x90q\x9c")
}

// oddName is a name that is none, or that leads elsewhere.
func (m *mutator) oddName(old string) string {
	return pickOf(m, "../../etc", old+"/..", old+"/../other", "/etc", old+"//x", old+"/", old+"@", old+"@a@b", old+"#c", old+"%recv", old+",x", old+"@x,y", old+"@x%y",
		"other/"+old, old+" ", " "+old, old+"/a b", old+"=x", old+"\\", "*", old+"@-", "..", ".", old+"\u202e", old+"\ufeff", strings.ToUpper(old), old+":x", m.someName(), m.someName()+"/x")
}

// someName is the name of one of the hosts' datasets.
func (m *mutator) someName() string {
	if m.c.h == nil || len(m.c.h.Datasets) == 0 {
		return "tank/x"
	}
	return m.c.h.Datasets[m.IntN(len(m.c.h.Datasets))].Name
}

// someGUID is a guid of another object of the hosts.
func (m *mutator) someGUID() string {
	var all []string
	for _, host := range []string{"src", "dst"} {
		for _, d := range m.c.hosts[host].Datasets {
			all = append(all, d.GUID)
			for _, s := range d.Snaps {
				all = append(all, s.GUID)
			}
		}
	}
	return all[m.IntN(len(all))]
}

func (m *mutator) source() string {
	if m.c.sub == "get" {
		return "\tlocal"
	}
	return ""
}

// forged are rows as the command prints them, with what would do harm.
func (m *mutator) forged() string {
	n := m.someName()
	if m.c.sub == "get" && len(m.c.operands) > 0 {
		props := strings.Split(m.c.operands[0], ",")
		out := ""
		for range 1 + m.IntN(3) {
			p := pickOf(m, props...)
			v := map[string]string{"written": "0", "mountpoint": "/etc", "canmount": "on", "guid": m.someGUID(), "zab:from": "1\x00mountpoint=/etc",
				"readonly": "off", "type": "filesystem", "zab:stream": "none", "mounted": "no", "keystatus": "none", "encryption": "off"}[p]
			out += n + "\t" + p + "\t" + or(v, "true") + "\tlocal\n"
		}
		return out
	}
	switch m.c.sub {
	case "holds":
		return n + "@x\t" + pickOf(m, "zfs_autobackup:b1", "-r", "a\tb", "x"+m.escape()) + "\tWed Feb 25 12:00 2026\n"
	case "mount":
		return n + "  " + pickOf(m, "/", "/etc", "  /x  /y") + "\n"
	}
	cols := strings.Split(m.c.opt("o"), ",")
	for i, c := range cols {
		switch c {
		case "name":
			cols[i] = n + pickOf(m, "", "@b1-20260227000000", "@b1-20990101000000", "#x", "/new", "/new@x")
		case "guid":
			cols[i] = m.someGUID()
		default:
			cols[i] = pickOf(m, "0", "7", "-")
		}
	}
	return strings.Join(cols, "\t") + "\n"
}

// token puts a resume token in the place of one, or of none.
func (m *mutator) token() {
	src := m.c.hosts["src"]
	var d *Dataset
	for d == nil || len(d.Snaps) == 0 {
		d = src.Datasets[m.IntN(len(src.Datasets))]
	}
	s := d.Snaps[m.IntN(len(d.Snaps))]
	if m.IntN(2) == 0 {
		s = d.newest()
	}
	to, _ := strconv.ParseUint(s.GUID, 10, 64)
	var from uint64
	if i := slices.Index(d.Snaps, s); i > 0 && m.IntN(2) == 0 {
		from, _ = strconv.ParseUint(d.Snaps[i-1].GUID, 10, 64)
	}
	pairs := []pair{{"object", uint64(1)}, {"offset", uint64(0)}, {"bytes", uint64(99)}, {"toguid", to}, {"toname", d.Name + "@" + s.Name}}
	if from != 0 {
		pairs = slices.Insert(pairs, 0, pair{"fromguid", from})
	}
	for _, f := range []string{"largeblockok", "embedok", "compressok", "rawok"} {
		if m.IntN(3) > 0 == (f == "largeblockok" || f == "embedok") {
			pairs = append(pairs, pair{f, nil})
		}
	}
	other := m.Uint64()
	var tail []byte
	switch m.IntN(10) {
	case 0:
		pairs = append(pairs, pair{"toguid\x00x", other})
	case 1:
		pairs = append([]pair{{"toguid\x00x", other}}, pairs...)
	case 2:
		pairs = append(pairs, pair{"toguid", other})
	case 3:
		pairs = append(pairs, pair{"toname", d.Name + "@other"})
	case 4:
		pairs = append(pairs, pair{"redact_snaps", uint64(3)}, pair{"savedok", nil})
	case 5:
		tail = []byte("\x00\x00\x00\x00more")
	case 6:
		pairs = append(pairs, pair{"toname\x00", "x"})
	}
	t := encodeToken(pairs, tail)
	switch m.IntN(12) {
	case 0:
		t = "-t" + t
	case 1:
		t = t[:len(t)/2]
	case 2:
		t += m.escape()
	}
	m.rows(func(rows []string) []string {
		var at []int
		for i, r := range rows {
			if strings.Contains(r, "\treceive_resume_token\t") {
				at = append(at, i)
			}
		}
		if at != nil {
			i := at[m.IntN(len(at))]
			f := strings.Split(rows[i], "\t")
			f[2] = t
			rows[i] = strings.Join(f, "\t")
		}
		return rows
	})
}

// stream1 changes the head of a stream.
func stream1(f func(m *mutator, s *stream)) func(m *mutator) {
	return func(m *mutator) {
		if s, _ := readStream(m.out); s != nil {
			f(m, s)
			m.out = s.encode()
		}
	}
}
