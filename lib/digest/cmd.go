// Package digest implements zab-digest, which prints the digest of a stream that streamsum
// computes, or of the files of a snapshot that filetree computes, or names of such files.
//
// Goals: no digest is printed of what was not read to the end (P12); a stream that never
// ends can be interrupted; nobody else sees a snapshot that is mounted to read its files.
//
// Non-goals: it compares nothing, and starts no program for a stream.
package digest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"syscall"

	"zab/lib/cli"
	"zab/lib/dataset"
	"zab/lib/hashfunc"
	"zab/lib/pipesize"
	"zab/lib/record"
	"zab/lib/sendstream"
	"zab/lib/stream"
	"zab/lib/streamsum"
)

type options struct {
	Objects bool          `long:"objects" description:"Print a line for each object, or name of a file, too"`
	Files   bool          `long:"files" description:"Read the files of the snapshots, which are mounted for that, and no streams"`
	NameOf  []uint64      `long:"name-of" value-name:"NUMBER" base:"10" description:"With --files, digest nothing and print the name of the file whose object has this number; may be given several times"`
	Hash    hashfunc.Func `long:"hash" value-name:"FUNCTION" default:"sha256" unquote:"false" description:"Hash function of all digests: sha256, or blake3, which is faster where the processor has no instructions for SHA-256"`
	Base    *uint64       `long:"base-last" value-name:"NUMBER" base:"10" description:"Highest number of an object in the base of an increment: the last_object of its digest"`
	Rate    stream.Size   `long:"rate" value-name:"DATARATE" unquote:"false" description:"Read at most that many bytes a second, such as 10M"`
	Every   cli.Duration  `long:"progress-every" value-name:"DURATION" unquote:"false" default:"0" description:"Print a line this often in which something was read, such as 10s; 0 is never"`
	cli.Basic
}

// objectLine is the digest of an object.
type objectLine struct {
	Type   string `json:"type"`
	Object uint64 `json:"object"`
	// ObjectType is the number of the object's type in ZFS.
	ObjectType uint32 `json:"object_type"`
	Bytes      int64  `json:"bytes"`
	Digest     string `json:"digest"`
}

// Program describes zab-digest.
func Program() cli.Program {
	o := &options{}
	return cli.Program{
		Name: "zab-digest", Usage: "<STREAM", MaxArgs: 1,
		Summary: "Reads a stream of zfs send and prints a digest of what it says, the same for a snapshot and for its copy.",
		Options: o,
		Check:   o.check,
		Run: func(ctx context.Context, env *cli.Env, args []string) error {
			if o.Files {
				return o.files(ctx, env, args[0])
			}
			return run(ctx, env, o)
		},
	}
}

func (o *options) check(args []string) error {
	switch {
	case o.Files && len(args) == 0:
		return errors.New("--files: the name of a snapshot is missing: zab-digest --files DATASET@SNAPSHOT")
	case len(o.NameOf) > 0 && !o.Files:
		return errors.New("--name-of: finds names in the files of a snapshot: zab-digest --files --name-of NUMBER DATASET@SNAPSHOT")
	case len(o.NameOf) > 0 && (o.Objects || o.Rate > 0 || o.Hash != hashfunc.SHA256):
		return errors.New("--name-of: reads no file, so --objects, --rate and --hash have nothing to do")
	case o.Files && o.Base != nil:
		return errors.New("--base-last: is only for streams, not for --files")
	case o.Files:
		_, err := dataset.ParseSnapshot(args[0])
		return err
	case len(args) > 0:
		return fmt.Errorf("unexpected operand %q: a stream is read from standard input; the files of a snapshot need --files", args[0])
	case cli.IsTerminal(os.Stdin):
		return errors.New("a stream is read from standard input, which is a terminal: zfs send DATASET@SNAPSHOT | zab-digest")
	}
	return nil
}

// Main runs zab-digest and returns its exit status.
func Main(args []string) int { return cli.Main(Program(), args) }

func run(ctx context.Context, env *cli.Env, o *options) error {
	w := newLines(env.Stdout)
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	how := streamsum.Options{Hash: o.Hash, Base: math.MaxUint64}
	if o.Base != nil {
		how.Base = *o.Base
	}
	p := o.progress(w)
	if f, ok := env.Stdin.(*os.File); ok {
		pipesize.Enlarge(f)
	}
	in := p.reader(env.Stdin)
	if o.Rate > 0 {
		in = stream.NewLimiter(int64(o.Rate)).Reader(in, ctx.Done())
	}
	if o.Objects {
		how.Each = func(s streamsum.Object) error {
			return out.Encode(objectLine{"object", s.Number, s.Type, s.Bytes, s.Digest.String()})
		}
	}
	res, err := await(ctx, p, func() (streamsum.Result, error) { return streamsum.Read(in, how) })
	var bad *sendstream.ReadError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &bad):
		_ = w.Flush() // the lines of the objects before tell where it stopped
		return &record.Error{Message: fmt.Sprintf("cannot digest the stream: %s", bad), Hint: bad.Hint}
	case err != nil:
		return written(env, err)
	}
	_ = out.Encode(res.Line()) // Flush returns its error
	return written(env, w.Flush())
}

// written returns the error of writing the output. A reader who went away needs no message.
func written(env *cli.Env, err error) error {
	switch {
	case errors.Is(err, syscall.EPIPE):
		env.Status(cli.ExitPipe)
		return nil
	case err != nil:
		return &record.OutputError{Err: err}
	}
	return nil
}
