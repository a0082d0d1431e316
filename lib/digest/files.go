package digest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"zab/lib/cli"
	"zab/lib/dataset"
	"zab/lib/filetree"
	"zab/lib/record"
	"zab/lib/stream"
	"zab/lib/zfs"
)

// files prints the digest of the files of a snapshot of this machine.
func (o *options) files(ctx context.Context, env *cli.Env, name string) error {
	point, err := dataset.ParseSnapshot(name)
	if err != nil {
		return err
	}
	w := newLines(env.Stdout)
	p := o.progress(w)
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
	line, err := await(ctx, p, func() (filetree.Line, error) { return digestFiles(ctx, env.Machine.Host(""), point, how) })
	var out *record.OutputError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &out):
		return written(env, out.Err)
	case err != nil:
		_ = w.Flush() // the lines before tell where it stopped
		return &record.Error{Message: fmt.Sprintf("cannot digest the files of '%s': %s", point, err), Hint: zfs.HintOfFiles(err)}
	}
	b, err := json.Marshal(line)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s\n", b) // Flush returns its error
	return written(env, w.Flush())
}

// digestFiles mounts a snapshot and reads its files.
func digestFiles(ctx context.Context, h *zfs.Host, p dataset.Point, how filetree.Options) (filetree.Line, error) {
	f, err := h.OpenFiles(ctx, p)
	if err != nil {
		return filetree.Line{}, err
	}
	res, err := filetree.Read(ctx, f.Top, how)
	if e := f.Close(ctx); err == nil {
		err = e
	}
	if err != nil {
		return filetree.Line{}, err
	}
	return filetree.NewLine(p.String(), f.GUID, f.XAttr, f.ACLType, res), nil
}
