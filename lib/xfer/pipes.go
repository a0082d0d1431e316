package xfer

import (
	"context"
	"fmt"
	"os/exec"
	"strings"

	"zab/lib/pipeline"
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

// transfer is one stream from one host to another.
type transfer struct {
	src, dst   *zfs.Host
	send, recv []string
	o          *Options
	pace       *pipeline.Pace
	gate       *pipeline.Gate
	rule       *sendstream.Rule // for what comes; nil does not look
}

// sides are the programs and buffers at the source and at the target.
func (t *transfer) sides() (src, dst []element) {
	o := t.o
	comp := findCompressor(string(o.Compress))
	src = append(src, element{name: "zfs send", argv: t.send})
	if o.buffer > 0 {
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
	if o.buffer > 0 && (t.remote() || t.piped()) {
		dst = append(dst, element{buffer: true})
	}
	dst = append(dst, element{name: "zfs receive", argv: t.recv})
	return src, dst
}

func (t *transfer) remote() bool { return !t.src.Here() || !t.dst.Here() }

// piped tells whether something else than the plain stream goes over the wire,
// or came from there.
func (t *transfer) piped() bool {
	return t.o.Compress != "" || len(t.o.SendPipe) > 0 || len(t.o.RecvPipe) > 0
}

// flow is the pipeline of a transfer, ready to run.
type flow struct {
	links []pipeline.Link
	// stream counts the bytes of zfs's stream, wire those that went between
	// the two sides. They may be the same; stream is nil where it cannot be
	// seen from here.
	stream, wire *pipeline.Joint
	// text is the pipeline to paste into a shell.
	text string
}

// place is a link while the chain is being built.
type place struct {
	prog         *pipeline.Program
	text         string // of a program
	joint        bool
	buffer       bool
	limit        bool
	stream, wire bool
}

// places are the links of the chain. A remote side is one of them. Between two
// programs stands at most one joint, with all that was asked of it.
func (t *transfer) places() []place {
	src, dst := t.sides()
	var out []place
	add := func(p place) {
		if n := len(out); p.joint && n > 0 && out[n-1].joint {
			q := &out[n-1]
			q.buffer, q.limit = q.buffer || p.buffer, q.limit || p.limit
			q.stream, q.wire = q.stream || p.stream, q.wire || p.wire
			return
		}
		out = append(out, p)
	}
	side := func(h *zfs.Host, elements []element) {
		if !h.Here() {
			argv := remoteArgv(t.o, elements)
			add(place{prog: &pipeline.Program{Name: elements[len(elements)-1].name, Host: h, Argv: argv}, text: h.Show(argv...)})
			return
		}
		for _, e := range elements {
			if e.buffer {
				add(place{joint: true, buffer: true})
				continue
			}
			add(place{prog: &pipeline.Program{Name: e.name, Host: h, Argv: e.argv}, text: zfs.Quote(e.argv...)})
		}
	}
	if t.src.Here() {
		// The stream is counted where it leaves zfs.
		side(t.src, src[:1])
		add(place{joint: true, stream: true})
		side(t.src, src[1:])
	} else {
		side(t.src, src)
	}
	plain := !t.piped()
	add(place{joint: true, wire: true, limit: t.o.rate > 0, stream: plain})
	if !t.src.Here() && t.dst.Here() {
		last := len(dst) - 1
		side(t.dst, dst[:last])
		add(place{joint: true, stream: true})
		side(t.dst, dst[last:])
	} else {
		side(t.dst, dst)
	}
	return out
}

// build makes the chain. It starts nothing but, for a remote side, the
// connection.
func (t *transfer) build(ctx context.Context) (*flow, error) {
	for _, argv := range [][]string{t.send, t.recv} {
		if err := zfs.CheckArgv(argv); err != nil {
			return nil, err
		}
	}
	c := &flow{}
	for _, p := range t.places() {
		if p.joint {
			j := &pipeline.Joint{}
			if p.buffer {
				j.Buffer, j.Chunk = int64(t.o.buffer), int(t.o.chunk)
			}
			if p.limit {
				j.Pace = t.pace
			}
			if p.stream {
				c.stream = j
			}
			if p.wire {
				c.wire, j.Gate = j, t.gate
			}
			c.links = append(c.links, pipeline.Link{Joint: j})
			continue
		}
		prog := *p.prog
		if prog.Host.Here() {
			if _, err := exec.LookPath(prog.Argv[0]); err != nil {
				return nil, &zfs.Error{Kind: zfs.KindMissingProgram, Argv: prog.Argv, Code: -1, Lines: []string{prog.Argv[0] + ": command not found"}}
			}
		} else {
			argv, err := prog.Host.Argv(ctx, prog.Argv...)
			if err != nil {
				return nil, err
			}
			prog.Argv = argv
		}
		c.links = append(c.links, pipeline.Link{Program: &prog})
	}
	if t.rule != nil && c.stream != nil {
		c.stream.Inspect, c.stream.Whole = sendstream.New(*t.rule), t.rule.Several
	}
	c.text = t.text()
	return c, nil
}

// text is the pipeline to paste into a shell. Where this process buffers and
// limits by itself, the text has the mbuffer that would do the same.
func (t *transfer) text() string {
	var parts []string
	for _, p := range t.places() {
		switch {
		case !p.joint:
			parts = append(parts, p.text)
		case p.buffer || p.limit:
			argv := mbuffer(t.o, p.buffer)
			if p.limit {
				argv = append(argv, "-R", t.o.rate.String())
			}
			parts = append(parts, zfs.Quote(argv...))
		}
	}
	return strings.Join(parts, " | ")
}

// mbuffer is the program that buffers where this process is not.
func mbuffer(o *Options, sized bool) []string {
	argv := []string{"mbuffer", "-q"}
	if o.chunk > 0 {
		argv = append(argv, "-s", o.chunk.String())
	}
	if sized {
		argv = append(argv, "-m", o.buffer.String())
	}
	return argv
}

// remoteArgv is what is started on another host. A single program stands for
// itself. Several become a line for /bin/sh, since the user's own shell may be
// another: first a check that all programs are there, so that a missing one
// is an error before any data flows; then the pipeline, in which all but the
// last tell of their failure on stderr, for their exit status is lost.
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
			cmd = fmt.Sprintf(`{ %s || echo "%s$?" >&2; }`, cmd, pipeline.Marker(e.name))
		}
		parts = append(parts, cmd)
	}
	return []string{"/bin/sh", "-c", strings.Join(checks, "") + strings.Join(parts, " | ")}
}
