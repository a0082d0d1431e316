package hostile

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// lieKind is a way to falsify an answer. weight says how often it is drawn, compared to
// the others of its list. change is nil if the command is not carried out and seems to
// succeed.
type lieKind struct {
	name   string
	weight int
	change func(m *mutator)
}

var (
	tableLies  []lieKind // for commands that print a table
	streamLies []lieKind // for zfs send
	digestLies []lieKind // for zab-digest
	changeLies []lieKind // for commands that change a host
)

func init() {
	endings := []lieKind{
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
	tableLies = append([]lieKind{
		{"nul", 3, field(func(m *mutator, old string) string { return old + "\x00mountpoint=/etc\x00canmount=on" })},
		{"nul-short", 1, field(func(m *mutator, old string) string { return old + "\x00" })},
		{"newline-rows", 4, field(func(m *mutator, old string) string { return old + m.sourceColumn() + "\n" + m.forgedRows() })},
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
				m.misfit = true
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
		{"forged-first", 2, func(m *mutator) { m.out = append([]byte(m.forgedRows()), m.out...) }},
		{"forged-last", 3, func(m *mutator) { m.out = append(m.out, m.forgedRows()...) }},
		{"token", 6, func(m *mutator) { m.token() }},
		{"deselect", 1, func(m *mutator) { m.deselect() }},
		{"garbage", 1, func(m *mutator) {
			m.out = make([]byte, 100+m.IntN(5000))
			for i := range m.out {
				m.out[i] = byte(m.Uint32())
			}
		}},
		{"endless-line", 1, func(m *mutator) { m.endless = []byte("A") }},
		{"endless-rows", 1, func(m *mutator) { m.endless = []byte(m.forgedRows()) }},
		{"silence", 1, func(m *mutator) { m.hang = true }},
	}, endings...)
	streamLies = append([]lieKind{
		{"stream-guid", 3, onStream(func(m *mutator, s *stream) { s.Snaps[len(s.Snaps)-1].GUID = m.someGUID() })},
		{"stream-name", 2, onStream(func(m *mutator, s *stream) {
			s.Snaps[len(s.Snaps)-1].Name = pickOf(m, "other", "x"+m.escape(), "b1-20990101000000")
		})},
		{"stream-more", 2, onStream(func(m *mutator, s *stream) {
			s.Snaps = append(s.Snaps, &Snap{Name: "b1-20990101000000", GUID: strconv.FormatUint(m.Uint64(), 10)})
		})},
		{"stream-base", 2, onStream(func(m *mutator, s *stream) { s.From = m.someGUID() })},
		{"stream-full", 1, onStream(func(m *mutator, s *stream) { s.From = "" })},
		{"stream-props", 6, onStream(func(m *mutator, s *stream) {
			if s.Props == nil {
				s.Props = map[string]string{}
			}
			for range 1 + m.IntN(4) {
				p := pickOf(m, "mountpoint=/etc", "mountpoint=/\xff", "canmount=on", "sharenfs=on", "sharesmb=on", "setuid=on", "devices=on", "readonly=off", "reservation=1T", "refreservation=1T",
					"zab:from=1,2", "zab:from=1"+strings.Repeat(",18446744073709551615", 380), "zab:stream=none", "zab:aside=begun:x", "zab:aside=done:other", "autobackup:b1=true", "autobackup:b1=bogus", "autobackup:b1=\xff", "zab:missing=1", "zab:verified="+proofText(s.Snaps[len(s.Snaps)-1].GUID, now.Unix(), "full", m.sentGUID(s)), "keylocation=file:///etc/shadow", "exec=on", "volmode=full", "snapdev=visible")
				k, v, _ := strings.Cut(p, "=")
				s.Props[k] = v
			}
		})},
		{"stream-shares", 3, onStream(func(m *mutator, s *stream) {
			if s.Props == nil || m.IntN(2) == 0 {
				s.Props = map[string]string{}
			}
			s.Props[pickOf(m, "sharenfs", "sharesmb")] = pickOf(m, "on", "rw", "off")
		})},
		{"stream-bare", 2, onStream(func(_ *mutator, s *stream) { s.Props = nil })},
		{"stream-package", 3, onStream(func(m *mutator, s *stream) {
			s.Children = []*stream{{Name: pickOf(m, "sub", "etc"), Snaps: []*Snap{{Name: "x", GUID: strconv.FormatUint(m.Uint64(), 10)}}, Props: map[string]string{"mountpoint": "/etc", "canmount": "on"}}}
		})},
		{"stream-holds", 2, onStream(func(m *mutator, s *stream) {
			s.Holds = []string{pickOf(m, "for-ever", "f\xfcr-ever", "zfs_autobackup:b1", "zfs_autobackup:b1:1")}
		})},
		{"stream-plain", 1, onStream(func(m *mutator, s *stream) { s.Raw = !s.Raw })},
		{"stream-kind", 1, onStream(func(m *mutator, s *stream) { s.Kind = "volume" })},
		{"stream-data", 6, onStream(func(m *mutator, s *stream) {
			x := s.Snaps[len(s.Snaps)-1]
			if len(x.Data) <= s.FromData {
				return
			}
			x.Data = slices.Clone(x.Data)
			switch i := s.FromData + m.IntN(len(x.Data)-s.FromData); m.IntN(3) {
			case 0:
				x.Data = x.Data[:len(x.Data)-1]
			case 1:
				x.Data = append(x.Data, "one more")
			default:
				x.Data[i] = "something else"
			}
		})},
		{"stream-bit", 2, func(m *mutator) {
			if len(m.out) > 0 {
				m.out[m.IntN(len(m.out))] ^= 1 << m.IntN(8)
			}
		}},
		{"stream-twice", 1, func(m *mutator) { m.out = append(m.out, m.out...) }},
		{"stream-none", 1, func(m *mutator) { m.out = nil }},
		{"stream-garbage", 1, func(m *mutator) { m.out = bytes.Repeat([]byte{0xff, 0}, 5000) }},
		{"endless", 1, func(m *mutator) { m.endless = bytes.Repeat([]byte("0"), 1000) }},
	}, endings...)
	digestLies = append([]lieKind{
		{"digest-other", 4, field(func(m *mutator, old string) string {
			if len(old) != 64 {
				m.misfit = true
			}
			return pickOf(m, strings.Repeat("0", 64), old[:len(old)/2], strings.ToUpper(old), "", old+"00")
		})},
		{"digest-number", 4, func(m *mutator) { m.digestNumber() }},
	}, slices.DeleteFunc(slices.Clone(tableLies), func(k lieKind) bool {
		return slices.Contains([]string{"token", "deselect", "hide", "future", "swap", "swap-fields", "forged-first", "forged-last"}, k.name)
	})...)
	changeLies = append([]lieKind{
		{"pretend", 6, nil}, // see skipsCommand
		{"refuse", 3, func(m *mutator) { m.message(); m.rc = 1 }},
		{"done-but-255", 3, func(m *mutator) { m.rc = 255 }},
		{"done-but-killed", 2, func(m *mutator) { m.kill = true }},
	}, endings...)
}

// fairLies are the kinds of lies that zab cannot recognize, with the reason: the host
// claims to have less, or to select less. zab may then exit with 0, although it backs up
// less than in the honest run.
var fairLies = map[string]string{
	"deselect": "the source says that a dataset is not selected, which is its own affair",
	"hide":     "the source says that it does not have a dataset",
}

// liesFor returns the kinds of lies about commands with a signature.
func liesFor(signature string) []lieKind {
	f := strings.Fields(signature)
	switch form := forms[f[0]+" "+f[1]]; {
	case form.writes && signature != "zfs mount":
		return changeLies
	case f[1] == "send" && !strings.Contains(signature, " -n"):
		return streamLies
	case f[0] == "zab-digest":
		return digestLies
	}
	return tableLies
}
