package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"zab/lib/filetree"
	"zab/lib/record"
)

// compareFiles compares the files of both ends, which are read at the same time.
func (v *verifier) compareFiles(ctx context.Context, r *record.Record, t *task) (outcome, error) {
	_, sums, err := digestBoth(ctx, v, r, t, func(ctx context.Context, e *end) (filetree.Line, error) {
		return v.readFiles(ctx, e, v.fileOptions(r, e), nil)
	})
	if err != nil {
		return outcome{}, err
	}
	a, b := sums[0], sums[1]
	for _, p := range []struct{ name, what, source, target string }{
		{"xattr", "extended attributes", a.XAttr, b.XAttr},
		{"acltype", "ACLs", a.ACLType, b.ACLType},
	} {
		if p.source != p.target {
			return outcome{}, &record.Error{Kind: record.KindUnproved,
				Message: fmt.Sprintf("only one side shows its %s: %s is %s on the source and %s on the target", p.what, p.name, p.source, p.target),
				Hint:    fmt.Sprintf("give '%s' the same %s as '%s' has, and compare them again", r.Target.Name, p.name, r.Name)}
		}
	}
	return outcome{equal: a.Digest == b.Digest, digest: a.Digest, algorithm: a.Algorithm, bytes: a.Bytes}, nil
}

// fileOptions are the options of zab-digest for one of both ends: --rate is divided among
// the programs that may run here at the same time.
func (v *verifier) fileOptions(r *record.Record, e *end) []string {
	if v.o.Rate == 0 || !e.host.Here() {
		return nil
	}
	programs := int64(v.o.Jobs)
	if r.Host == r.Target.Host {
		programs *= 2
	}
	return []string{"--rate=" + strconv.FormatInt(max(1, int64(v.o.Rate)/programs), 10)}
}

// readFiles has the host of an end digest its files. each, if not nil, is called for each
// name in the order of the tree.
func (v *verifier) readFiles(ctx context.Context, e *end, options []string, each func(filetree.Entry) error) (filetree.Line, error) {
	if each != nil {
		options = append(options, "--objects")
	}
	var l filetree.Line
	last, ended := "", false
	err := e.host.DigestFiles(ctx, e.name(), e.hash, options, e.watch.signs(), func(line string) (err error) {
		e.watch.alive()
		if ended {
			return errors.New("there is a line behind that of the digest")
		}
		if each == nil || strings.HasPrefix(line, `{"type":"files"`) {
			ended = true
			l, err = filetree.ParseLine(line, e.hash)
			return err
		}
		x, err := filetree.ParseEntry(line)
		if err != nil {
			return err
		}
		if last != "" && filetree.Compare(last, x.Path) >= 0 {
			return fmt.Errorf("'%s' comes after '%s'", x.Path, last)
		}
		last = x.Path
		return each(x)
	})
	switch {
	case err != nil:
		return filetree.Line{}, err
	case !ended && last == "":
		return filetree.Line{}, notInstalled(e)
	case !ended:
		return filetree.Line{}, errors.New("zab-digest stopped before the end")
	case l.GUID != e.guid:
		return filetree.Line{}, &record.Error{Kind: record.KindMovedOn, Message: fmt.Sprintf("it has the guid %s, not %s", l.GUID, e.guid)}
	}
	return l, nil
}

// differentFiles returns the first names that differ between both ends, which are read once
// more, and whether there are others.
func (v *verifier) differentFiles(ctx context.Context, r *record.Record, t *task) (list []record.DifferentFile, more bool, err error) {
	ends := v.ends(r, t)
	ctx, unwatch := v.watch(ctx, ends[:]...)
	read := func(ctx context.Context, e *end, each func(filetree.Entry) error) error {
		_, err := v.readFiles(ctx, e, v.fileOptions(r, e), each)
		return err
	}
	order := func(a, b *filetree.Entry) int { return filetree.Compare(a.Path, b.Path) }
	err = readBoth(ctx, ends, read, order, func(a, b *filetree.Entry) bool {
		x := record.DifferentFile{Path: cmp.Or(a, b).Path, Where: where(a, b)}
		if x.Where == "" {
			if x.What = a.Difference(b); len(x.What) == 0 {
				return true
			}
		}
		if more = len(list) == maxDifferences; !more {
			list = append(list, x)
		}
		return !more
	})
	if err = unwatch(err); err != nil {
		return nil, false, err
	}
	return list, more, nil
}

// fileNames returns the files as a message lists them.
func fileNames(list []record.DifferentFile, more bool) string {
	var out []string
	for _, f := range list[:min(len(list), maxDifferences)] {
		what := strings.Join(f.What, ", ")
		if f.Where != "" {
			what = "only on the " + f.Where
		}
		path := f.Path
		if raw, err := filetree.Unescape(path); err == nil {
			path = raw
		}
		out = append(out, fmt.Sprintf("%s (%s)", quoted(path), what))
	}
	s := strings.Join(out, ", ")
	if more {
		s += " and others"
	}
	return s
}

// notInstalled is the error of a host that cannot read files, for it has no zab-digest.
func notInstalled(e *end) error {
	return &record.Error{Kind: record.KindUnproved, Message: fmt.Sprintf("zab-digest is not installed on %s", e.host),
		Hint: "files are read where they are: install zab there, or compare the streams, which can be sent here"}
}
