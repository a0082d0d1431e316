package digest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"zab/lib/cli"
	"zab/lib/dataset"
	"zab/lib/filetree"
	"zab/lib/record"
	"zab/lib/stream"
	"zab/lib/zfs"
)

// files prints the digest of the files of a snapshot of this machine, or names of them.
func (o *options) files(ctx context.Context, env *cli.Env, name string) error {
	point, err := dataset.ParseSnapshot(name)
	if err != nil {
		return err
	}
	w := newLines(env.Stdout)
	p := o.progress(w)
	what, read := "digest the files of", func() (any, error) { return o.digestFiles(ctx, env, point, w, p) }
	if len(o.NameOf) > 0 {
		what, read = "find names in", func() (any, error) { return o.findNames(ctx, env, point, w, p) }
	}
	line, err := await(ctx, p, read)
	var out *record.OutputError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &out):
		return written(env, out.Err)
	case err != nil:
		_ = w.Flush() // the lines before tell where it stopped
		return &record.Error{Message: fmt.Sprintf("cannot %s '%s': %s", what, point, err), Hint: zfs.HintOfFiles(err)}
	}
	b, err := json.Marshal(line)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s\n", b) // Flush returns its error
	return written(env, w.Flush())
}

// digestFiles mounts a snapshot, reads its files and returns the last line.
func (o *options) digestFiles(ctx context.Context, env *cli.Env, point dataset.Point, w io.Writer, p *progress) (filetree.Line, error) {
	var limiter *stream.Limiter
	if o.Rate > 0 {
		limiter = stream.NewLimiter(int64(o.Rate))
	}
	how := filetree.Options{
		Hash: o.Hash,
		Took: func(n int) error {
			p.add(n)
			if limiter != nil && !limiter.Take(n, ctx.Done()) {
				return context.Cause(ctx)
			}
			return nil
		},
		Each: func(e *filetree.Entry) error {
			p.add(1)
			if !o.Objects {
				return nil
			}
			if _, err := fmt.Fprintln(w, e); err != nil {
				return &record.OutputError{Err: err}
			}
			return nil
		}}
	var res filetree.Result
	f, err := opened(ctx, env, point, func(top *os.File) (err error) {
		res, err = filetree.Read(ctx, top, how)
		return err
	})
	if err != nil {
		return filetree.Line{}, err
	}
	return filetree.NewLine(point.String(), f.GUID, f.XAttr, f.ACLType, res), nil
}

// findNames mounts a snapshot, prints the names that are asked for and returns the last
// line.
func (o *options) findNames(ctx context.Context, env *cli.Env, point dataset.Point, w io.Writer, p *progress) (filetree.Names, error) {
	f, err := opened(ctx, env, point, func(top *os.File) error {
		return filetree.FindNames(ctx, top, o.NameOf, func() { p.add(1) }, func(n filetree.Name) error {
			b, err := json.Marshal(n)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(w, "%s\n", b); err != nil {
				return &record.OutputError{Err: err}
			}
			return nil
		})
	})
	if err != nil {
		return filetree.Names{}, err
	}
	return filetree.NewNames(point.String(), f.GUID), nil
}

// opened mounts a snapshot of this machine, has read read it, and unmounts it.
func opened(ctx context.Context, env *cli.Env, point dataset.Point, read func(top *os.File) error) (*zfs.Files, error) {
	f, err := env.Machine.Host("").OpenFiles(ctx, point)
	if err != nil {
		return nil, err
	}
	err = read(f.Top)
	if e := f.Close(ctx); err == nil {
		err = e
	}
	return f, err
}
