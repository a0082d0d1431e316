package zab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"zab/lib/cli"
	"zab/lib/pipeline"
	"zab/lib/plan"
	"zab/lib/record"
)

// chain starts the stages and reads the output of the last. The records of the first
// stage pass through this process, so that before anything is changed it is known which
// datasets must have a verdict at the end, and that no two of them go to the same target.
func (o *Options) chain(ctx context.Context, env *cli.Env, stages []pipeline.Stage, rep *report) error {
	// The k-th stage reads from the pipe before the one it writes to. The pipes are
	// closed only when the stages have ended, so that no stage takes incomplete input for
	// complete.
	pipes, err := makePipes(len(stages))
	defer func() {
		for k := range pipes {
			pipes[k].close()
		}
	}()
	if err != nil {
		return err
	}
	var all []*pipeline.Running
	stop := func() {}
	defer func() { stop() }()
	start := func(s pipeline.Stage, stdin io.Reader, stdout io.Writer) (*pipeline.Running, error) {
		r, err := s.Start(stdin, stdout, env.Stderr)
		if err == nil {
			all = append(all, r)
		}
		return r, err
	}
	stop = func() {
		pipeline.EndAll(all, func(name string) bool {
			// Commands after the snapshot must complete: anything frozen by the
			// commands before it would stay frozen.
			return name == "zab-snap" && len(o.PostCommand) > 0
		})
	}

	begun := map[int]*pipeline.Running{}
	begin := func(k int) (r *pipeline.Running, err error) {
		if begun[k] == nil {
			from, to := &pipes[k-1].out, &pipes[k].in
			begun[k], err = start(stages[k], *from, *to)
			(*from).Close()
			(*to).Close()
			*from, *to = nil, nil
		}
		return begun[k], err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	first, err := start(stages[0], nil, in)
	in.Close()
	if err != nil {
		out.Close()
		return err
	}
	// zab-plan can list the target meanwhile: that changes nothing.
	for k := range stages {
		if stages[k].Argv[0] == "zab-plan" {
			if _, err := begin(k); err != nil {
				out.Close()
				return err
			}
		}
	}
	selected, err := rep.selected(ctx, out)
	out.Close()
	if err != nil {
		return err
	}
	if err := first.Wait(ctx); err != nil && (pipeline.ExitCode(err) != cli.ExitFailed || len(rep.unlisted) == 0) {
		// The stage has printed the cause.
		return silent{fmt.Errorf("cannot select the datasets to back up")}
	}
	if rep.target != "" {
		if _, _, err := plan.Map(selected, rep.target, o.StripPath); err != nil {
			return &record.Error{Stage: "zab", Kind: record.KindBadMapping, Message: err.Error(), Hint: "see --strip-path"}
		}
	}
	if rep.total == 0 { // all datasets are excluded or could not be listed
		for _, r := range rep.unlisted {
			rep.print(r)
		}
		return nil
	}
	return o.rest(ctx, stages, begin, pipes, selected, rep)
}

// rest starts the remaining stages and feeds the selected records to the second stage.
func (o *Options) rest(ctx context.Context, stages []pipeline.Stage, begin func(int) (*pipeline.Running, error), pipes []pipe, selected []*record.Record, rep *report) error {
	var mine []*pipeline.Running
	for k := 1; k < len(stages); k++ {
		r, err := begin(k)
		if err != nil {
			return err
		}
		mine = append(mine, r)
	}
	feed := pipes[0].in
	pipes[0].in = nil
	go func() {
		defer feed.Close()
		w := record.NewWriter(feed)
		for _, r := range selected {
			if w.Pass(r) != nil {
				return // the stage has ended; its status is reported
			}
		}
	}()
	last := &pipes[len(pipes)-1]
	defer last.close() // so that no stage blocks on its output
	switch err := rep.results(ctx, last.out); {
	case errors.Is(err, errStopped):
		return nil // the stages are ended by the caller
	case err != nil:
		return err
	}
	for _, r := range mine {
		if err := r.Wait(ctx); err != nil {
			rep.ended(r.Name, err)
		}
	}
	return nil
}

// pipe is a pipe; an end is nil once this process has closed it or passed it on.
type pipe struct{ out, in *os.File }

func (p *pipe) close() {
	for _, f := range []**os.File{&p.out, &p.in} {
		if *f != nil {
			(*f).Close()
			*f = nil
		}
	}
}

// makePipes creates n pipes.
func makePipes(n int) (pipes []pipe, err error) {
	for range n {
		var p pipe
		if p.out, p.in, err = os.Pipe(); err != nil {
			break
		}
		pipes = append(pipes, p)
	}
	return pipes, err
}

// silent is an error whose cause a stage has already printed.
type silent struct{ error }
