package zfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"zab/lib/record"
)

// answers is a Runner that writes the answer to a program line by line, and ends early if
// the program is ended.
type answers func(argv []string, say func(format string, a ...any) (goOn bool))

func (f answers) Run(ctx context.Context, _ *Host, p *Program) error {
	f(p.Argv, func(format string, a ...any) bool {
		out := p.Stdout
		if strings.HasPrefix(format, "cannot ") {
			out = p.Stderr
		}
		_, err := fmt.Fprintf(out, format+"\n", a...)
		return err == nil && ctx.Err() == nil
	})
	if ctx.Err() != nil {
		return errors.New("signal: killed")
	}
	return nil
}

func (f answers) host() *Host { return (&Machine{Runner: f}).Host("srv1") }

// lowLimits has a test run with lower limits than the real ones.
func lowLimits(t *testing.T, lines, bytes int64) {
	answer, few := maxAnswer, maxFew
	t.Cleanup(func() { maxAnswer, maxFew = answer, few })
	maxAnswer, maxFew = limits{lines, bytes}, limits{lines, bytes}
}

// An answer without end is refused, with the name of its host and what to do, whatever
// the question; one within the limits is not.
func TestAnswerWithoutEnd(t *testing.T) {
	const more = 100_000
	// columns has the rows of zfs get for a dataset, as its -o and its properties ask.
	columns := func(argv []string, say func(string, ...any) bool, name string) bool {
		for p := range strings.SplitSeq(argv[7], ",") {
			value := "-"
			if p == "guid" {
				value = "7"
			}
			if !say("%s\t%s\t%s\t-", name, p, value) {
				return false
			}
		}
		return true
	}
	for _, c := range []struct {
		what string
		ask  func(ctx context.Context, h *Host) error
		row  func(argv []string, say func(string, ...any) bool, i int) bool
	}{
		{"datasets", func(ctx context.Context, h *Host) error {
			_, err := h.Get(ctx, []string{"guid", "x:y"}, nil, true)
			return err
		}, func(argv []string, say func(string, ...any) bool, i int) bool {
			return columns(argv, say, fmt.Sprintf("p/%d", i))
		}},
		{"datasets, asked for by name", func(ctx context.Context, h *Host) error {
			var names []string
			for i := range 3000 {
				names = append(names, fmt.Sprintf("p/%d/%s", i, strings.Repeat("x", 200)))
			}
			_, err := h.Get(ctx, []string{"guid", "x:y"}, names, false)
			return err
		}, func(argv []string, say func(string, ...any) bool, i int) bool {
			// Each batch is within the limits.
			return i < len(argv)-8 && columns(argv, say, argv[8+i])
		}},
		{"snapshots", func(ctx context.Context, h *Host) error {
			return h.List(ctx, []string{"p"}, ListOptions{Types: Snapshots, Depth: 1}, func(Row) error { return nil })
		}, func(_ []string, say func(string, ...any) bool, i int) bool { return say("p@%d\t7\t8", i) }},
		{"holds", func(ctx context.Context, h *Host) error {
			_, err := h.Holds(ctx, map[string]int64{"p@1": 1 << 62})
			return err
		}, func(_ []string, say func(string, ...any) bool, i int) bool {
			return say("p@1\t%d\tSun Nov 22 23:08 2026", i)
		}},
		{"mounts", func(ctx context.Context, h *Host) error { _, err := h.zfsMount(ctx); return err },
			func(_ []string, say func(string, ...any) bool, i int) bool { return say("p/%d  /m/%d", i, i) }},
		{"the mount table", func(ctx context.Context, h *Host) error { _, _, err := h.Paths(ctx, nil); return err },
			func(_ []string, say func(string, ...any) bool, i int) bool {
				if i == 0 {
					return say(tableFollows)
				}
				return say("p/%d /m/%d zfs ro 0 0", i, i)
			}},
		{"mounts, for want of a table", func(ctx context.Context, h *Host) error { _, _, err := h.Paths(ctx, nil); return err },
			func(_ []string, say func(string, ...any) bool, i int) bool {
				if i == 0 {
					return say(zfsFollows)
				}
				return say("p/%d  /m/%d", i, i)
			}},
		{"pools", func(ctx context.Context, h *Host) error { _, err := h.Epoch(ctx); return err },
			func(_ []string, say func(string, ...any) bool, i int) bool {
				if i == 0 {
					return say("1800000000")
				}
				return say("p%d\tload_guid\t7", i)
			}},
		{"noise beside pools", func(ctx context.Context, h *Host) error { _, err := h.Epoch(ctx); return err },
			func(_ []string, say func(string, ...any) bool, i int) bool { return say("1800000000") }},
	} {
		for _, l := range []struct {
			lines, bytes int64
			want         string
		}{{2000, 1 << 40, "it has more than 2000 lines: "}, {1 << 40, 50_000, "it has more than 50000 bytes: "}} {
			lowLimits(t, l.lines, l.bytes)
			said := 0
			h := answers(func(argv []string, say func(string, ...any) bool) {
				for i := range more {
					if !c.row(argv, say, i) {
						break
					}
					said++
				}
			}).host()
			err := c.ask(t.Context(), h)
			var e *Error
			if !errors.As(err, &e) || e.Kind != record.KindBadAnswer || !strings.HasPrefix(err.Error(), "srv1: cannot use the answer of ") ||
				!strings.Contains(err.Error(), l.want) || !strings.Contains(err.Error(), "ask it for fewer") {
				t.Errorf("%s: %v", c.what, err)
			}
			if said == more {
				t.Errorf("%s: all was read", c.what)
			}
		}
	}
	lowLimits(t, 3, 12)
	for _, c := range []struct {
		lines string
		ok    bool
	}{{"abc\nabc\nabc\n", true}, {"\n\n\n", true}, {"\n\n\n\n", false}, {"abc\nabcd\nabc\n", false}, {"abcdefghijk\n", true}, {"abcdefghijkl\n", false}} {
		n := 0
		w := &rowWriter{row: func(string) error { n++; return nil }, end: func(error) {}, limit: maxLine, left: maxAnswer.allow()}
		_, _ = io.WriteString(w, c.lines)
		if err := w.close(); (err == nil) != c.ok || c.ok && n != strings.Count(c.lines, "\n") {
			t.Errorf("%q: %d lines, %v", c.lines, n, err)
		}
	}
}

// More pools than a machine has, and more holds than were counted, are refused at the
// first too many, before any limit on lines.
func TestAnswerTooLong(t *testing.T) {
	said := 0
	h := answers(func(argv []string, say func(string, ...any) bool) {
		for said = 0; said < 200_000; said++ {
			ok := true
			switch {
			case argv[1] == "holds":
				ok = say("p@1\t%d%s\tSun Nov 22 23:08 2026", said, strings.Repeat("x", 1000))
			case said == 0:
				ok = say("1800000000")
			default:
				ok = say("p%d%s\tload_guid\t7", said, strings.Repeat("x", 100))
			}
			if !ok {
				return
			}
		}
	}).host()
	got, err := h.Holds(t.Context(), map[string]int64{"p@1": 2})
	if len(got) != 2 || KindOf(err) != record.KindBadAnswer || !strings.Contains(err.Error(), "line 3: 'p@1' has more holds") || said > 2000 {
		t.Errorf("%d holds, %v; %d lines were read", len(got), err, said)
	}
	_, err = h.Epoch(t.Context())
	if KindOf(err) != record.KindBadAnswer || !strings.Contains(err.Error(), fmt.Sprintf("it has more than %d pools", maxPools)) || said > 3*maxPools {
		t.Errorf("%v; %d lines were read", err, said)
	}
}

// P7: a host that has two more filesystems below each, and leaves out something beside
// them, is not asked for ever; what was not looked at is told.
func TestUnlistedEnds(t *testing.T) {
	defer func(n int) { maxSearch = n }(maxSearch)
	maxSearch = 50
	asked := 0
	h := answers(func(argv []string, say func(string, ...any) bool) {
		asked++
		for _, n := range argv {
			if n != "p" && !strings.HasPrefix(n, "p/") {
				continue
			}
			say("%s\tguid\t7\t-", n)
			if strings.Contains(strings.Join(argv, " "), " -d 1 ") {
				say("%s/a\tguid\t7\t-", n)
				say("%s/b\tguid\t7\t-", n)
			}
		}
		say("cannot iterate filesystems: I/O error")
	}).host()
	got, err := h.Unlisted(t.Context(), []string{"p"})
	if err != nil || asked != maxSearch || len(got) == 0 {
		t.Fatalf("%d queries, %d places, %v", asked, len(got), err)
	}
	at, left := map[string]bool{}, 0
	for _, u := range got {
		if !u.Below || at[u.Name] {
			t.Errorf("%+v", u)
		}
		at[u.Name] = true
		switch u.Cause() {
		case "I/O error":
		case "after 50 queries it is not known where srv1 leaves out datasets":
			if left++; u.Err.Kind != record.KindPoolIO {
				t.Errorf("%+v", u.Err)
			}
		default:
			t.Errorf("%s", u.Cause())
		}
	}
	// Whatever is below the one that was asked for last, or beside those above it, is
	// below a place.
	if !at["p"] || !at["p/b"] || left == 0 {
		t.Errorf("%d left, %v", left, at)
	}
}

// Of many names, each is either read or has a message.
func TestReadableMany(t *testing.T) {
	const n = 20_000
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("p/%d", i))
	}
	h := answers(func(argv []string, say func(string, ...any) bool) {
		for _, n := range argv[len(argv)-1:] {
			say("%s\tguid\t7\t-", n)
		}
		for _, n := range argv[:len(argv)-1] {
			if strings.HasPrefix(n, "p/") {
				say("cannot open '%s': I/O error", n)
			}
		}
	}).host()
	read := 0
	absent, unread, err := h.Readable(t.Context(), []string{"guid"}, names, 0, func(Dataset) { read++ })
	if err != nil || len(absent) > 0 || read+len(unread) != n || read == 0 {
		t.Errorf("%d, %q, %d, %v", read, absent, len(unread), err)
	}
}
