package stream

import (
	"context"
	"fmt"
	"os/exec"
	"strings"

	"zab/lib/record"
	"zab/lib/sendstream"
	"zab/lib/zfs"
)

// element is one place in a side's part of the pipeline: a program, or a
// buffer.
type element struct {
	name   string   // in messages
	argv   []string // of a program
	buffer bool
}

// Options are the programs, buffers and limits that a stream passes on its way. A size of
// 0 is none, or for Chunk a default.
type Options struct {
	Compress Compression `long:"compress" section:"stream" optional:"yes" optional-value:"zstd-fast" value-name:"TYPE" unquote:"false" description:"Compress what is sent: gzip, pigz-fast, pigz-slow, zstd-fast (default), zstd-slow, zstd-adapt, xz, lzo, lz4"`
	Rate     Size        `long:"rate" section:"stream" value-name:"DATARATE" unquote:"false" description:"Send at most that many bytes a second, such as 10M"`
	Buffer   Size        `long:"buffer" section:"stream" value-name:"SIZE" unquote:"false" description:"Buffer the stream with that much memory, such as 128M"`
	Chunk    Size        `long:"buffer-chunk-size" section:"stream" value-name:"SIZE" unquote:"false" description:"Read and write that much at once when buffering"`
	SendPipe []string    `long:"send-pipe" section:"stream" value-name:"COMMAND" unquote:"false" description:"Pipe the stream through a shell command on the source; may be given several times"`
	RecvPipe []string    `long:"recv-pipe" section:"stream" value-name:"COMMAND" unquote:"false" description:"Pipe the stream through a shell command on the target; may be given several times"`
}

// Transfer is one stream from one host to another.
type Transfer struct {
	Source, Target *zfs.Host
	Send, Recv     []string // the commands of zfs
	Options        *Options
	// Limiter and LongStreams are shared by all transfers of a run; nil does not limit.
	Limiter     *Limiter
	LongStreams *LongStreams
	// Rule is the rule that the stream is held to; nil is none.
	Rule *sendstream.Rule
}

// sides returns the programs and buffers at the source and at the target.
func (t *Transfer) sides() (src, dst []element) {
	o := t.Options
	comp := findCompressor(o.Compress)
	src = append(src, element{name: "zfs send", argv: t.Send})
	if o.Buffer > 0 {
		src = append(src, element{buffer: true})
	}
	for _, c := range o.SendPipe {
		src = append(src, element{name: "the send pipe", argv: []string{"/bin/sh", "-c", c}})
	}
	if comp != nil {
		src = append(src, element{name: comp.pack[0], argv: comp.pack})
		dst = append(dst, element{name: comp.back[0] + " -d", argv: comp.back})
	}
	for _, c := range o.RecvPipe {
		dst = append(dst, element{name: "the receive pipe", argv: []string{"/bin/sh", "-c", c}})
	}
	// A second buffer right after the first would only cost memory.
	if o.Buffer > 0 && (t.remote() || t.piped()) {
		dst = append(dst, element{buffer: true})
	}
	dst = append(dst, element{name: "zfs receive", argv: t.Recv})
	return src, dst
}

func (t *Transfer) remote() bool { return !t.Source.Here() || !t.Target.Here() }

// piped reports whether the stream is compressed or passes through pipe commands, so that
// the bytes on the wire may not be those that zfs sends and receives.
func (t *Transfer) piped() bool {
	return t.Options.Compress != "" || len(t.Options.SendPipe) > 0 || len(t.Options.RecvPipe) > 0
}

// SeenHere reports whether this process sees the stream as zfs sends it. It does not if
// the stream goes from one remote host to another compressed or through pipe commands.
func (t *Transfer) SeenHere() bool { return t.Source.Here() || t.Target.Here() || !t.piped() }

// Flow is the pipeline of a transfer, ready to run.
type Flow struct {
	Links []Link
	// Stream counts the bytes of zfs's stream, Wire those that went between the two
	// sides. They may be the same; Stream is nil if zfs's stream is not seen here.
	Stream, Wire *Relay
	// Text is the pipeline as text to paste into a shell.
	Text string
}

// place is a link while the chain is being built.
type place struct {
	prog         *Program
	text         string // of a program
	relay        bool
	buffer       bool
	limit        bool
	stream, wire bool
}

// places returns the links of the chain. A remote side is a single link. Between two
// programs there is at most one relay, which does everything asked for there.
func (t *Transfer) places() []place {
	src, dst := t.sides()
	var out []place
	add := func(p place) {
		if n := len(out); p.relay && n > 0 && out[n-1].relay {
			q := &out[n-1]
			q.buffer, q.limit = q.buffer || p.buffer, q.limit || p.limit
			q.stream, q.wire = q.stream || p.stream, q.wire || p.wire
			return
		}
		out = append(out, p)
	}
	side := func(h *zfs.Host, elements []element) {
		if !h.Here() {
			argv := remoteArgv(t.Options, elements)
			add(place{prog: &Program{Name: elements[len(elements)-1].name, Host: h, Argv: argv}, text: h.Show(argv...)})
			return
		}
		for _, e := range elements {
			if e.buffer {
				add(place{relay: true, buffer: true})
				continue
			}
			add(place{prog: &Program{Name: e.name, Host: h, Argv: e.argv}, text: zfs.Quote(e.argv...)})
		}
	}
	if t.Source.Here() {
		// The stream is counted where it leaves zfs.
		side(t.Source, src[:1])
		add(place{relay: true, stream: true})
		side(t.Source, src[1:])
	} else {
		side(t.Source, src)
	}
	plain := !t.piped()
	add(place{relay: true, wire: true, limit: t.Options.Rate > 0, stream: plain})
	if !t.Source.Here() && t.Target.Here() {
		last := len(dst) - 1
		side(t.Target, dst[:last])
		add(place{relay: true, stream: true})
		side(t.Target, dst[last:])
	} else {
		side(t.Target, dst)
	}
	return out
}

// Build returns the chain, ready to run. It starts nothing except, for a remote side, the
// connection.
func (t *Transfer) Build(ctx context.Context) (*Flow, error) {
	for _, argv := range [][]string{t.Send, t.Recv} {
		if err := zfs.CheckArgv(argv); err != nil {
			return nil, err
		}
	}
	c := &Flow{}
	for _, p := range t.places() {
		if p.relay {
			j := &Relay{}
			if p.buffer {
				j.Buffer, j.Chunk = int64(t.Options.Buffer), int(t.Options.Chunk)
			}
			if p.limit {
				j.Limiter = t.Limiter
			}
			if p.stream {
				c.Stream = j
			}
			if p.wire {
				c.Wire, j.LongStreams = j, t.LongStreams
			}
			c.Links = append(c.Links, Link{Relay: j})
			continue
		}
		prog := *p.prog
		if prog.Host.Here() {
			if _, err := exec.LookPath(prog.Argv[0]); err != nil {
				return nil, &zfs.Error{Kind: record.KindMissingProgram, Argv: prog.Argv, Code: -1, Lines: []string{prog.Argv[0] + ": command not found"}}
			}
		} else {
			argv, err := prog.Host.Argv(ctx, prog.Argv...)
			if err != nil {
				return nil, err
			}
			prog.Argv = argv
		}
		c.Links = append(c.Links, Link{Program: &prog})
	}
	if t.Rule != nil && c.Stream != nil {
		c.Stream.Inspect, c.Stream.Whole = sendstream.New(*t.Rule), t.Rule.Several
	}
	c.Text = t.Text()
	return c, nil
}

// Text returns the pipeline as text to paste into a shell. Where this process buffers or
// limits by itself, the text has the mbuffer that would do the same.
func (t *Transfer) Text() string {
	var parts []string
	for _, p := range t.places() {
		switch {
		case !p.relay:
			parts = append(parts, p.text)
		case p.buffer || p.limit:
			argv := mbuffer(t.Options, p.buffer)
			if p.limit {
				argv = append(argv, "-R", t.Options.Rate.String())
			}
			parts = append(parts, zfs.Quote(argv...))
		}
	}
	return strings.Join(parts, " | ")
}

// mbuffer returns the command that buffers where this process does not.
func mbuffer(o *Options, sized bool) []string {
	argv := []string{"mbuffer", "-q"}
	if o.Chunk > 0 {
		argv = append(argv, "-s", o.Chunk.String())
	}
	if sized {
		argv = append(argv, "-m", o.Buffer.String())
	}
	return argv
}

// remoteArgv returns the command to start on another host. A single program is started as
// it is. Several become a line for /bin/sh, since the user's own shell may be another:
// first a check that all programs exist, so that a missing one is an error before any
// data flows; then the pipeline, in which all but the last report a failure on stderr
// (see Marker), since their exit status is lost.
func remoteArgv(o *Options, elements []element) []string {
	if len(elements) == 1 {
		return elements[0].argv
	}
	var checks, parts []string
	checked := map[string]bool{}
	for i, e := range elements {
		if e.buffer {
			e = element{name: "mbuffer", argv: mbuffer(o, true)}
		}
		if p := e.argv[0]; p != "zfs" && p != "/bin/sh" && !checked[p] {
			checked[p] = true
			checks = append(checks, fmt.Sprintf(`command -v %s >/dev/null 2>&1 || { echo "%s: command not found" >&2; exit 127; }; `, p, p))
		}
		cmd := zfs.Quote(e.argv...)
		if i < len(elements)-1 {
			cmd = fmt.Sprintf(`{ %s || echo "%s$?" >&2; }`, cmd, Marker(e.name))
		}
		parts = append(parts, cmd)
	}
	return []string{"/bin/sh", "-c", strings.Join(checks, "") + strings.Join(parts, " | ")}
}
