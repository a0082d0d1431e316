// Package verify is zab-verify: it proves that the newest snapshot that each record's copy
// has in common with its source is what the source has, by the digests of both streams.
//
// Goals: nothing is called equal that was not read to the end on both sides (P12); what was
// proved is marked on the copy, and later proofs read only what changed since; a
// difference is an error that names the objects. With --files, what users see of both sides
// is compared instead, which proves less.
//
// Non-goals: it repairs and destroys nothing, and mounts nothing by itself: with --files, and
// to name the files that differ, zab-digest mounts the snapshots where nobody else sees them.
package verify

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"zab/lib/cli"
	"zab/lib/hashfunc"
	"zab/lib/record"
	"zab/lib/schedule"
	"zab/lib/stream"
)

// Verify holds the options that the wrapper shares with zab-verify.
type Verify struct {
	Files     bool          `long:"files" section:"verification" description:"Read the files of the snapshots, which are mounted for that, and no streams"`
	Fetch     bool          `long:"fetch" section:"verification" description:"Have the streams of other hosts sent here, and do not use the zab-digest that is installed there"`
	FullEvery *schedule.Age `long:"full-every" section:"verification" value-name:"AGE" unquote:"false" description:"Compare a copy in full if that was last done AGE ago or longer, such as 30d"`
	Budget    stream.Size   `long:"budget" section:"verification" value-name:"SIZE" unquote:"false" description:"Begin no comparison after that many bytes of the sources' streams, or files, were compared"`
	Oldest    bool          `long:"oldest-first" section:"verification" description:"Begin with the copies that were not compared for the longest time"`
}

type options struct {
	cli.Common
	Verify
	Stall cli.Duration `long:"stall-timeout" section:"verification" value-name:"DURATION" unquote:"false" default:"0" description:"End a transfer or comparison in which no byte has moved for that long, such as 10m; 0 is never"`
	Rate  stream.Size  `long:"rate" section:"verification" value-name:"DATARATE" unquote:"false" description:"Read at most that many bytes a second of the streams, or files, that are digested here, such as 10M"`
	Jobs  int          `short:"j" long:"jobs" section:"verification" value-name:"N" default:"1" base:"10" description:"How many copies to compare at the same time"`

	hash hashfunc.Func // of all digests, as long as both hosts know it
}

// maxJobs is more than any machine can do at the same time.
const maxJobs = 1000

// Program describes zab-verify.
func Program() cli.Program {
	o := &options{hash: hashfunc.Fast()}
	return cli.Program{
		Name: "zab-verify", MaxArgs: 0, ReadsRecords: true,
		Summary: "Compare the copies of the records read with their sources, and mark those that are equal.",
		Options: o,
		Check: func([]string) error {
			if o.Jobs < 1 || o.Jobs > maxJobs {
				return fmt.Errorf("--jobs: %d is not a number from 1 to %d", o.Jobs, maxJobs)
			}
			return o.checkFiles()
		},
		Run: func(ctx context.Context, env *cli.Env, _ []string) error { return o.run(ctx, env) },
	}
}

// checkFiles refuses what has no meaning for files: they are read where they are, in full,
// and no mark tells when that was done.
func (o *options) checkFiles() error {
	for _, of := range []struct {
		name  string
		given bool
	}{{"fetch", o.Fetch}, {"full-every", o.FullEvery != nil}, {"oldest-first", o.Oldest}} {
		if o.Files && of.given {
			return fmt.Errorf("--%s: is only for streams, not for --files", of.name)
		}
	}
	return nil
}

// Main runs zab-verify and returns its exit status.
func Main(args []string) int { return cli.Main(Program(), args) }

// verifier does the work of one run.
type verifier struct {
	o       *options
	env     *cli.Env
	limiter *stream.Limiter

	mu    sync.Mutex
	hash  hashfunc.Func // of the comparisons that begin
	spent int64         // bytes of the sources' streams
}

// job is a record that is to be verified.
type job struct {
	r     *record.Record
	proof *record.Proof // the last one of a comparison with this source; nil if there is none
	mark  *record.Proof // the one that is marked on the copy, whether it counts or not
	copy  record.Facts
	done  chan struct{}
}

func (o *options) run(ctx context.Context, env *cli.Env) error {
	all, _, err := env.All(ctx, nil)
	if err != nil {
		return err
	}
	v := &verifier{o: o, env: env, hash: o.hash}
	if o.Rate > 0 {
		v.limiter = stream.NewLimiter(int64(o.Rate))
	}
	jobs := v.examine(ctx, all)
	order := slices.Clone(jobs)
	if o.Oldest {
		slices.SortStableFunc(order, func(a, b *job) int { return cmp.Compare(a.compared(), b.compared()) })
	}
	return v.work(ctx, all, jobs, order)
}

// differed reports whether the copy was not equal when it was compared last.
func (j *job) differed() bool { return j.proof != nil && j.proof.How == record.ProofDifferent }

// compared is when the copy was compared last, in seconds since the epoch; 0 for never.
func (j *job) compared() int64 {
	if j.proof == nil {
		return 0
	}
	return j.proof.At
}
