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

// mutator changes one answer, out and err with the exit status rc.
type mutator struct {
	*rand.Rand
	c       *call
	out     []byte
	err     []byte
	rc      int
	kill    bool
	hang    bool
	endless []byte
	misfit  bool // the drawn field does not suit the kind of lie; another is drawn
}

// mutate returns the lie made from the true answer, and notes it in the log entry.
func (c *call) mutate(l *Lie) *mutator {
	m := &mutator{Rand: rand.New(rand.NewPCG(l.Seed, 1)), c: c, out: bytes.Clone(c.out.Bytes()), err: bytes.Clone(c.err.Bytes()), rc: c.rc}
	for _, k := range liesFor(l.Signature) {
		if k.name == l.Kind && k.change != nil {
			for range 20 {
				m.misfit = false
				if k.change(m); !m.misfit {
					break
				}
				m.out = bytes.Clone(c.out.Bytes())
			}
		}
	}
	_, fair := fairLies[l.Kind]
	c.entry.Lie = l.Kind
	c.entry.Said = string(m.out[:min(len(m.out), 20000)])
	if c.sub == "send" {
		c.entry.Sent = nil
		if m.endless == nil && !m.hang {
			c.entry.Sent = bytes.Clone(m.out[:min(len(m.out), 1<<20)])
		}
	}
	c.entry.Fair = fair || c.sub != "send" && m.rc == 0 && !m.kill && !m.hang && m.endless == nil && fewer(c.out.Bytes(), m.out)
	return m
}

// endlessCap is the length at which an endless answer ends if zab goes on reading.
const endlessCap = 48 << 20

// answer writes the answer to the client and returns the exit status: 141, as after
// SIGPIPE, if nobody reads.
func (m *mutator) answer() int {
	p := m.c.client
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

// pickOf returns a random element.
func pickOf[T any](m *mutator, list ...T) T { return list[m.IntN(len(list))] }

// rows changes the rows of a table. An empty table gets forged rows instead.
func (m *mutator) rows(f func(rows []string) []string) {
	rows := strings.Split(strings.TrimSuffix(string(m.out), "\n"), "\n")
	if len(m.out) == 0 {
		m.out = []byte(m.forgedRows())
		return
	}
	m.out = []byte(strings.Join(f(rows), "\n") + "\n")
}

// field changes a random field of a table, often the value of a property, or a random
// value of a JSON answer.
func (m *mutator) field(f func(m *mutator, old string) string) {
	if (m.c.has("j") || m.c.prog == "zab-digest") && bytes.HasPrefix(m.out, []byte("{")) {
		m.leaf(f)
		return
	}
	m.rows(func(rows []string) []string {
		i := m.IntN(len(rows))
		cols := strings.Split(rows[i], "\t")
		k := m.IntN(len(cols))
		if len(cols) == 4 && m.IntN(4) > 0 {
			k = 2 // the value of a property
			if i = m.decisiveRow(rows, i); strings.Count(rows[i], "\t") == 3 {
				cols = strings.Split(rows[i], "\t")
				if strings.HasPrefix(cols[1], "zab:") && cols[2] == "-" {
					cols[2], cols[3] = "7", "local" // an unset mark becomes a set one
				}
			}
		}
		cols[k] = f(m, cols[k])
		rows[i] = strings.Join(cols, "\t")
		return rows
	})
}

// decisiveRow returns, every other time, the index of a random row with a property on
// which zab's decisions depend, and otherwise the given index.
func (m *mutator) decisiveRow(rows []string, otherwise int) int {
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

// leaf changes a random string in a JSON answer, or the name of a member that is no
// string.
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

// digestNumber changes a number of the line of zab-digest.
func (m *mutator) digestNumber() {
	var v map[string]any
	if json.Unmarshal(m.out, &v) != nil {
		return
	}
	v[pickOf(m, "last_object", "bytes", "stream", "objects", "version", "raw")] = pickOf[any](m, -1, 0, 1, 1e300, uint64(1)<<63, uint64(1<<64-1), true, "7", nil)
	m.out, _ = json.Marshal(v)
	m.out = append(m.out, '\n')
}

// guid changes a random field that looks like a guid.
func (m *mutator) guid(f func(string) string) {
	m.field(func(m *mutator, old string) string {
		if len(old) < 12 || strings.IndexFunc(old, func(r rune) bool { return r < '0' || r > '9' }) >= 0 {
			m.misfit = true
		}
		return f(old)
	})
}

// cut ends the answer early, half the time after a whole row.
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

// hide removes all rows of one dataset and its snapshots.
func (m *mutator) hide() {
	m.rows(func(rows []string) []string {
		name, _, _ := strings.Cut(rows[m.IntN(len(rows))], "\t")
		ds, _, _ := strings.Cut(name, "@")
		return slices.DeleteFunc(rows, func(r string) bool { return strings.HasPrefix(r, ds+"\t") || strings.HasPrefix(r, ds+"@") })
	})
}

// deselect reports all datasets, or some, as not selected.
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

// future adds snapshots with names of the years 2030 to 2089, or renames snapshots to
// such names.
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

// onStream returns a change of a stream by f. An answer that is no stream stays as it is.
func onStream(f func(m *mutator, s *stream)) func(m *mutator) {
	return func(m *mutator) {
		if s, _ := readStream(m.out); s != nil {
			f(m, s)
			m.out = s.encode()
		}
	}
}
