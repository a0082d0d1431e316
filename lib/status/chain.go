package status

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"zab/lib/cli"
	"zab/lib/pipeline"
	"zab/lib/plan"
	"zab/lib/record"
	"zab/lib/selection"
	"zab/lib/snap"
)

// This file starts the stages that list both sides, and change nothing.

// notPassed are options that are not passed to those stages as they were given.
var notPassed = map[string]bool{"help": true, "version": true, "test": true, "dry-run": true}

// stages returns the commands whose records are judged.
func (o *Options) stages(args []string) []pipeline.Stage {
	given := pipeline.Given(o)
	stage := func(p cli.Program, extra, operands []string) pipeline.Stage {
		return pipeline.New(p, given, notPassed, extra, operands)
	}
	search := args[:1:1]
	for _, n := range o.Within {
		search = append(search, string(n))
	}
	if len(args) == 1 {
		var extra []string
		if !o.IncludeReceived && !o.ExcludeReceived {
			extra = []string{"--exclude-received"} // as zab does without a target
		}
		return []pipeline.Stage{
			stage(selection.Program(), extra, search),
			stage(snap.Program(), []string{"--dry-run", "--no-snapshot"}, nil),
		}
	}
	return []pipeline.Stage{
		stage(selection.Program(), []string{"--target=" + args[1], "--excluded"}, search),
		stage(plan.Program(), []string{"--dry-run", "--orphans"}, args[1:]),
	}
}

// collect starts the stages and returns their records. In failure, the records are those
// that came, with those of the first stage that should have come, and the error says that
// more may be missing.
func (o *Options) collect(ctx context.Context, env *cli.Env, args []string) (all []*record.Record, err error) {
	stages := o.stages(args)
	messages := &messages{to: env.Stderr}
	if o.Nagios {
		// Monitors join both streams, and want one line.
		messages.to = io.Discard
	}
	var running []*pipeline.Running
	defer func() { pipeline.EndAll(running, nil) }()
	var from *os.File
	var first *copied
	for _, s := range stages {
		out, in, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		var stdin io.Reader
		if from != nil {
			stdin = from
		}
		r, err := s.Start(stdin, in, messages)
		in.Close()
		if from != nil {
			from.Close() // so that a stage notices the end of the next
		}
		if err != nil {
			out.Close()
			return nil, err
		}
		running = append(running, r)
		from = out
		if first == nil {
			if first, from, err = copyRecords(out); err != nil {
				return nil, err
			}
		}
	}
	defer from.Close()
	all, err = read(ctx, from)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for _, r := range running {
		ended := r.Wait(ctx)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if ended == nil || err != nil {
			continue
		}
		// Status 1 is that of a stage with a failed record, which says why.
		if pipeline.ExitCode(ended) == cli.ExitFailed && failed(all) {
			continue
		}
		err = errors.New(r.Name + " failed")
		if first := messages.first(); first != "" {
			err = fmt.Errorf("%s: %s", r.Name, first)
		}
	}
	if lost := first.missing(all); len(lost) > 0 {
		if err == nil {
			err = fmt.Errorf("%s said nothing of '%s'", running[len(running)-1].Name, lost[0].Name)
		}
		all = append(all, lost...)
	}
	return all, err
}

// copied are the records that the first stage prints, on their way to the next.
type copied struct {
	text bytes.Buffer
	done chan struct{}
}

// copyRecords passes on what comes from a pipe, which it closes, to the pipe that it
// returns.
func copyRecords(out *os.File) (*copied, *os.File, error) {
	next, in, err := os.Pipe()
	if err != nil {
		out.Close()
		return nil, nil, err
	}
	c := &copied{done: make(chan struct{})}
	go func() {
		defer close(c.done)
		_, _ = io.Copy(in, io.TeeReader(out, &c.text))
		in.Close()
		out.Close() // where the next stage has ended, the first need not go on
	}()
	return c, next, nil
}

// missing returns the selected datasets, and the parts of the source that could not be
// listed, that are not among the records of the last stage.
func (c *copied) missing(all []*record.Record) (lost []*record.Record) {
	<-c.done
	type id struct{ host, name string }
	came := map[id]bool{}
	for _, r := range all {
		came[id{r.Host, r.Name}] = came[id{r.Host, r.Name}] || r.Type != record.TypeOrphan
	}
	in := record.NewReader(&c.text)
	for {
		r, err := in.Read()
		if err != nil {
			return lost // how the stage ended says whether that was all
		}
		if !r.Excluded && !came[id{r.Host, r.Name}] {
			lost = append(lost, r)
		}
	}
}

// failed reports whether a record has an error.
func failed(all []*record.Record) bool {
	for _, r := range all {
		if r.Failure() != nil {
			return true
		}
	}
	return false
}

// read reads records until the end or the first error.
func read(ctx context.Context, in io.Reader) (all []*record.Record, err error) {
	type got struct {
		all []*record.Record
		err error
	}
	done := make(chan got, 1)
	go func() {
		all, err := readAll(in)
		done <- got{all, err}
	}()
	select {
	case g := <-done:
		return g.all, g.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func readAll(in io.Reader) (all []*record.Record, err error) {
	for r, err := range record.NewReader(in).Records() {
		if err != nil {
			return all, err
		}
		if r.TakesPart() {
			r.ForgetLine() // it gets a status, so it is not written as it was read
		}
		all = append(all, r)
	}
	return all, nil
}

// messages passes on what stages say, and remembers the beginning.
type messages struct {
	to io.Writer
	mu sync.Mutex
	// begin has the first bytes, up to longMessage.
	begin []byte
}

const longMessage = 4096

func (m *messages) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.begin = append(m.begin, p[:min(len(p), longMessage-len(m.begin))]...)
	return m.to.Write(p)
}

// first returns the first message without the name of the program that printed it.
func (m *messages) first() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	for line := range bytes.Lines(m.begin) {
		_, text, ok := strings.Cut(strings.TrimSpace(string(line)), ": ")
		if ok && !strings.HasPrefix(text, "warning: ") && !strings.HasPrefix(text, "hint: ") {
			return text
		}
	}
	return ""
}
