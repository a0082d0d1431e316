package zab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"zab/lib/cli"
	"zab/lib/dataset"
	"zab/lib/pipeline"
	"zab/lib/record"
)

// report follows the records of a run and reports their outcome.
type report struct {
	o      *Options
	env    *cli.Env
	backup string
	target string
	w      *record.Writer

	waiting map[string]bool // selected datasets without a verdict yet
	order   []string
	total   int
	// unlisted are the parts of the source that the first stage could not list. They
	// count as failed, in addition to the datasets.
	unlisted []*record.Record
	copies   int // datasets selected by a received property
	failed   int
	sent     int
	bytes    int64
	thinned  int
	quiet    int  // datasets with nothing to do
	orphans  int  // copies without a source
	attempt  bool // at least one record came out of the chain
	dead     bool // a stage failed or was killed
	stopped  bool // stopped at the first failure, with --debug
	begun    time.Time
	// unwritten is the error that prevents writing the report or the records. It does not
	// end the backup.
	unwritten error
	away      away
}

func newReport(o *Options, env *cli.Env, args []string) *report {
	r := &report{o: o, env: env, backup: args[0], w: env.Writer(env.Stdout), waiting: map[string]bool{}, begun: time.Now()}
	if len(args) > 1 {
		r.target = args[1]
	}
	return r
}

// talks reports whether a report is printed: with --verbose, and in a dry run, whose
// purpose the report is.
func (r *report) talks() bool { return (r.o.Verbose || r.o.DryRun) && !r.o.JSON }

func (r *report) say(format string, a ...any) {
	if !r.talks() || r.unwritten != nil {
		return
	}
	if _, err := io.WriteString(r.env.Stdout, cli.LineStart(r.env.Stdout)+cli.Printable(fmt.Sprintf(format, a...))+"\n"); err != nil {
		r.unwritten = fmt.Errorf("cannot write the report: %w", cause(err))
	}
}

// cause returns the system's error without the name of the file that stands for standard
// output.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// selected reads the output of the first stage and returns its records.
func (r *report) selected(ctx context.Context, in io.Reader) ([]*record.Record, error) {
	all, err := r.read(ctx, in, nil)
	if err != nil {
		return nil, err
	}
	for _, rec := range all {
		if rec.Excluded {
			continue
		}
		if rec.Type == record.TypeUnlisted {
			r.unlisted = append(r.unlisted, rec)
			continue
		}
		r.waiting[rec.Name] = true
		r.order = append(r.order, rec.Name)
		if strings.HasSuffix(rec.Reason, ", received") {
			r.copies++
		}
	}
	r.total = len(r.order)
	if r.total > 0 {
		r.head()
	}
	return all, nil
}

func (r *report) head() {
	what := "backup " + r.backup
	at := func(host dataset.Host) string {
		if host == "" {
			return ""
		}
		return " on " + string(host)
	}
	what += fmt.Sprintf(": %s selected%s", count(r.total, "dataset"), at(r.o.SSHSource))
	if r.copies > 0 && r.copies < r.total {
		what += fmt.Sprintf(" (%d of them copies, whose property was received)", r.copies)
	}
	if r.target != "" {
		what += fmt.Sprintf(", target '%s'%s", r.target, at(r.o.SSHTarget))
	}
	if r.o.DryRun {
		what += " (dry run: nothing is changed)"
	}
	r.say("%s", what)
	r.say("%s", r.o.keeps(r.target != ""))
}

// results reads the output of the last stage, record by record.
func (r *report) results(ctx context.Context, in io.Reader) error {
	_, err := r.read(ctx, in, r.result)
	return err
}

func (r *report) read(ctx context.Context, in io.Reader, each func(*record.Record) error) ([]*record.Record, error) {
	type got struct {
		rec *record.Record
		err error
	}
	ch := make(chan got)
	go func() {
		defer close(ch)
		rd := record.NewReader(in)
		for {
			rec, err := rd.Read()
			if err == io.EOF {
				return
			}
			select {
			case ch <- got{rec, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	var all []*record.Record
	for {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case g, ok := <-ch:
			switch {
			case !ok:
				return all, nil
			case g.err != nil:
				// A killed stage leaves an incomplete line; its status is reported
				// separately.
				r.env.Errorf("cannot read what the stages print: %s", g.err)
				r.dead = true
				return all, nil
			}
			if each == nil {
				all = append(all, g.rec)
			} else if err := each(g.rec); err != nil {
				return nil, err
			}
		}
	}
}

// errStopped ends a run with --debug at its first failure, to help in finding the cause.
var errStopped = errors.New("stopped at the first failure")

// result reports one final record.
func (r *report) result(rec *record.Record) error {
	r.print(rec)
	if r.o.Debug && rec.Failure() != nil && len(r.waiting) > 0 {
		r.stopped = true
		return errStopped
	}
	return nil
}

// print reports one final record and counts its outcome.
func (r *report) print(rec *record.Record) {
	if rec.Type == record.TypeDataset && !rec.Excluded {
		delete(r.waiting, rec.Name)
		r.attempt = true
	}
	if rec.Failure() != nil {
		r.failed++
	}
	if r.o.JSON {
		if r.unwritten == nil {
			r.unwritten = r.w.Write(rec)
		}
		return
	}
	r.away.add(rec)
	if rec.Type == record.TypeDataset && rec.Excluded {
		_, why, _ := strings.Cut(rec.Reason, ": ")
		r.say("%s: %s", rec.Name, why)
		return
	}
	line, idle := r.summaryLine(rec)
	if idle && rec.Type == record.TypeDataset {
		r.quiet++
	}
	if rec.Type == record.TypeOrphan {
		if !rec.Excluded && slices.ContainsFunc(rec.Target.Snapshots, func(s record.Snapshot) bool { return s.Ours }) {
			r.orphans++
		}
		if line == "" {
			return
		}
	}
	r.say("%s: %s", rec.Name, line)
	for _, w := range rec.Warnings {
		r.say("    warning: %s", w)
	}
	if r.o.DryRun {
		for _, res := range rec.Results {
			for _, c := range res.Commands {
				r.say("    %s", c)
			}
		}
	}
}

// summaryLine returns a summary of one dataset in one line; idle means that nothing was done.
func (r *report) summaryLine(rec *record.Record) (line string, idle bool) {
	var parts []string
	add := func(format string, a ...any) { parts = append(parts, fmt.Sprintf(format, a...)) }
	if s := rec.Snapshot; s != nil {
		switch {
		case s.Virtual:
			add("would snapshot @%s", s.Name)
		case s.Name != "":
			add("snapshot @%s", s.Name)
		}
	}
	var bytes int64
	var seconds float64
	full, clone, streams, resumed, later := false, false, 0, false, 0
	for _, res := range rec.Results {
		if res.Do != record.DoReceive || res.Step >= len(rec.Steps) {
			continue
		}
		if !res.Done {
			later++
		} else {
			streams++
		}
		s := rec.Steps[res.Step]
		full = full || s.From == ""
		clone = clone || strings.Contains(s.From, "@")
		resumed = resumed || s.Token != ""
		if res.Bytes != nil {
			bytes += *res.Bytes
		}
		if res.Seconds != nil {
			seconds += *res.Seconds
		}
	}
	kind := "incremental"
	if full {
		kind = "full"
	}
	if clone {
		kind = "clone"
	}
	if resumed {
		kind += ", resumed"
	}
	for _, res := range rec.Results {
		if res.Do == record.DoRename && res.Step < len(rec.Steps) && (res.Done || r.o.DryRun) {
			verb := ""
			if r.o.DryRun {
				verb = "would be "
			}
			s := rec.Steps[res.Step]
			add("copy %srenamed from '%s'", verb, s.From+strings.TrimPrefix(rec.Target.Name, s.Dataset))
		}
	}
	switch {
	case streams > 0:
		r.sent++
		r.bytes += bytes
		rate := ""
		if seconds > 0.5 {
			rate = fmt.Sprintf(", %s/s", humanize.IBytes(uint64(float64(bytes)/seconds)))
		}
		add("sent %s (%s%s)", humanize.IBytes(uint64(bytes)), kind, rate)
	case later > 0 && r.o.DryRun:
		r.sent++
		r.bytes += bytes
		if bytes > 0 {
			add("would send about %s (%s)", humanize.IBytes(uint64(bytes)), kind)
		} else {
			add("would send (%s)", kind)
		}
	}
	if t := rec.Thin; t != nil {
		if n := r.gone(t.Source); n > 0 {
			add("%s %d on the source", r.word(), n)
		}
		if n := r.gone(t.Target); n > 0 {
			add("%s %d on the target", r.word(), n)
		}
		if t.Dataset != "" {
			add("%s", t.Dataset)
		}
	}
	if v := rec.Verify; v != nil && v.Result == record.VerifyEqual && v.Snapshot != "" {
		how := "in full"
		if v.From != "" {
			how = "what changed since @" + v.From
		} else if v.Method == record.VerifyByFiles {
			how = "the files"
		}
		add("proved equal (%s)", how)
	} else if v != nil && v.Result == record.VerifyPostponed && !r.o.DryRun {
		add("not verified: %s", v.Why)
	}
	if s := rec.Snapshot; s != nil && s.Error != nil {
		add("FAILED: %s", s.Error.Message)
	}
	if rec.Error != nil {
		add("FAILED: %s", rec.Error.Message)
	}
	if rec.Failure() != nil {
		return strings.Join(parts, ", "), false
	}
	if len(parts) == 0 && rec.Type == record.TypeDataset {
		why := "nothing to do"
		if rec.Snapshot != nil && rec.Snapshot.None == "unchanged" {
			why = "unchanged"
		}
		return why, true
	}
	return strings.Join(parts, ", "), len(parts) == 0
}

func (r *report) word() string {
	if r.o.DryRun {
		return "would destroy"
	}
	return "destroyed"
}

// gone counts, also in the total, the snapshots that were or would be destroyed.
func (r *report) gone(list []record.Verdict) int {
	n := 0
	for _, v := range list {
		if v.Destroyed || r.o.DryRun && !v.Keep {
			n++
		}
	}
	r.thinned += n
	return n
}

// ended records that a stage did not exit with 0. Status 1 needs no further message,
// since the cause has been reported, either in a record or, where it concerns no dataset
// (such as a failed command after the snapshot), on stderr.
func (r *report) ended(name string, err error) {
	r.dead = true
	if code := pipeline.ExitCode(err); code != cli.ExitFailed && code != cli.ExitPipe {
		r.env.Errorf("%s ended unexpectedly: %s", name, err)
	}
}

// end prints the final count and sets the exit status.
func (r *report) end(err error) error {
	if s, ok := err.(silent); ok {
		r.env.Errorf("%s", s)
		r.env.Status(exitNothing)
		return nil
	}
	if err != nil {
		return err
	}
	if r.stopped {
		r.env.Errorf("stopped at the first failure, for --debug was given; %d of %s not finished", len(r.waiting), count(r.total, "dataset"))
		r.waiting = nil
	}
	for _, n := range r.order {
		if r.waiting[n] {
			r.failed++
			r.env.Errorf("'%s' has no verdict: a stage ended before it was done", n)
		}
	}
	if r.total == 0 && !r.dead && len(r.unlisted) == 0 {
		r.say("backup %s: nothing to back up, all datasets are excluded", r.backup)
		return nil
	}
	r.tellAway()
	r.summary()
	if r.unwritten != nil {
		r.env.Errorf("%s", r.unwritten)
	}
	switch {
	case r.failed > 0 && !r.attempt:
		r.env.Status(exitNothing)
	case r.failed > 0:
		if n := r.failed - len(r.unlisted); n > 0 {
			r.env.Errorf("%d of %s failed", n, count(r.total, "dataset"))
		}
		if n := len(r.unlisted); n > 0 {
			r.env.Errorf("%s of the source could not be listed", count(n, "part"))
		}
		r.env.Status(min(r.failed, exitMost))
	case r.dead, r.unwritten != nil:
		r.env.Status(1)
	}
	return nil
}

func (r *report) summary() {
	parts := []string{count(r.total, "dataset")}
	switch {
	case r.sent > 0 && r.o.DryRun:
		parts = append(parts, fmt.Sprintf("%d would be sent (about %s)", r.sent, humanize.IBytes(uint64(r.bytes))))
	case r.sent > 0:
		parts = append(parts, fmt.Sprintf("%d sent (%s)", r.sent, humanize.IBytes(uint64(r.bytes))))
	}
	if r.quiet > 0 {
		parts = append(parts, fmt.Sprintf("%d with nothing to do", r.quiet))
	}
	switch {
	case r.orphans == 1:
		parts = append(parts, "1 copy without a source")
	case r.orphans > 1:
		parts = append(parts, fmt.Sprintf("%d copies without a source", r.orphans))
	}
	if r.thinned > 0 {
		word := "destroyed"
		if r.o.DryRun {
			word = "would be destroyed"
		}
		parts = append(parts, fmt.Sprintf("%s %s", count(r.thinned, "snapshot"), word))
	}
	parts = append(parts, fmt.Sprintf("%d failed", r.failed), time.Since(r.begun).Round(100*time.Millisecond).String())
	r.say("%s", strings.Join(parts, ", "))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
