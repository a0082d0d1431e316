package xfer

import (
	"context"

	"zab/lib/record"
)

// show fills the results with the commands that a run would start and the bytes that it
// would send. It starts only programs that change nothing.
func (j *job) show(ctx context.Context) {
	for i := 0; i < len(j.r.Steps); {
		if ctx.Err() != nil {
			fail(j.r, failf(record.KindInterrupted, "cannot show the steps of '%s': %s", j.r.Name, context.Cause(ctx)))
			return
		}
		n := stepsTogether(j.r.Steps[i:])
		for k := i; k < i+n; k++ {
			j.result(k)
		}
		commands, err := kinds[j.r.Steps[i].Do].show(j, ctx, i, n)
		if err != nil {
			fail(j.r, failf(record.KindBadStep, "cannot show step %d of '%s': %s", i+1, j.r.Name, err))
			return
		}
		for _, text := range commands {
			j.x.env.Verbosef("would run: %s", text)
		}
		j.result(i).Commands = commands
		i += n
	}
}
