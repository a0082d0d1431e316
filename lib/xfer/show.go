package xfer

import (
	"context"
	"fmt"
	"strings"

	"zab/lib/record"
	"zab/lib/zfs"
)

// show fills the results with what a run would start, and how much it would
// send. It starts nothing that changes anything.
func (j *job) show(ctx context.Context) {
	for i := 0; i < len(j.r.Steps); i++ {
		if ctx.Err() != nil {
			fail(j.r, failf(KindInterrupted, "cannot show the steps of '%s': %s", j.r.Name, context.Cause(ctx)))
			return
		}
		s := &j.r.Steps[i]
		n := 1
		if s.Do == record.DoDestroy {
			n = destroyRun(j.r.Steps[i:])
		}
		res := j.result(i)
		if s.Do == record.DoRenameAside || s.Do == record.DoRenameBack || s.Do == record.DoRenameDone {
			j.showAside(ctx, s, res)
			continue
		}
		if s.IfHeld && !j.showsRelease(ctx, s) {
			continue
		}
		text, err := j.command(i, n)
		if err != nil {
			fail(j.r, failf(KindBadStep, "cannot show step %d of '%s': %s", i+1, j.r.Name, err))
			return
		}
		if s.Do != record.DoCreateParent || j.x.firstParent(location{j.r.Target.Host, s.Dataset}) {
			res.Commands = []string{text}
			j.x.env.Verbosef("would run: %s", text)
		}
		if s.Do == record.DoReceive {
			res.To = s.To
			res.Bytes = j.estimate(ctx, s)
		}
		for k := i + 1; k < i+n; k++ {
			j.result(k)
		}
		i += n - 1
	}
}

// showsRelease reports whether a run would take the step, which releases only what is
// held.
func (j *job) showsRelease(ctx context.Context, s *record.Step) bool {
	full := s.Dataset + "@" + s.Snapshot
	if _, known := j.tags[sided{s.Side, full}]; !known {
		host := j.side(s)
		found, err := host.FindHeld(ctx, []string{full})
		if err != nil {
			return j.letsGo(s)
		}
		var holders []zfs.Holder
		if n := holdsOf(found, full); n > 0 {
			if holders, err = host.Holds(ctx, map[string]int64{full: n}); err != nil {
				return j.letsGo(s)
			}
		}
		j.setTags(s, holders)
	}
	return j.letsGo(s)
}

// firstParent reports whether no other record has shown this parent.
func (x *stage) firstParent(at location) (first bool) {
	_ = x.parents.get(at, func() error { first = true; return nil })
	return first
}

// command is the text of what step i starts, for destroys together with the n
// steps from it on.
func (j *job) command(i, n int) (string, error) {
	s := &j.r.Steps[i]
	host := j.x.target(j.r)
	full := s.Dataset + "@" + s.Snapshot
	var argv []string
	switch s.Do {
	case record.DoReceive:
		t, err := j.transfer(s)
		if err != nil {
			return "", err
		}
		return t.text(), nil
	case record.DoAbortResume:
		argv = zfs.AbortReceiveArgv(s.Dataset)
	case record.DoCreateParent:
		argv = zfs.CreateParentArgv(s.Dataset)
	case record.DoRename:
		argv = zfs.RenameArgv(j.r.Target.Kind, s.From, s.Dataset)
		if s.Dataset != j.r.Target.Name {
			argv = zfs.RenameArgv("filesystem", s.From, s.Dataset)
		}
	case record.DoRollback:
		if s.OnlyRead {
			line := "test -z \"$(" + zfs.Quote(zfs.DiffArgv(s.Dataset, full)...) + ")\" && " + zfs.Quote(zfs.RollbackArgv(full)...)
			if host.Here() {
				return line, nil
			}
			return host.Show("/bin/sh", "-c", line), nil
		}
		argv = zfs.RollbackArgv(full)
	case record.DoDestroy:
		var names []string
		for k := i; k < i+n; k++ {
			names = append(names, j.r.Steps[k].Snapshot)
		}
		argv, host = zfs.DestroyArgv(s.Dataset, names), j.side(s)
	case record.DoBookmark:
		argv, host = zfs.BookmarkArgv(s.Dataset, bookmarkOf(s), s.To), j.side(s)
	case record.DoUnbookmark:
		argv, host = zfs.DestroyBookmarkArgv(s.Dataset, s.From[1:]), j.side(s)
	case record.DoMark:
		argv = zfs.SetArgv(s.Set, s.Dataset)
	case record.DoHold:
		argv, host = zfs.HoldArgv(s.Tag, full), j.side(s)
	case record.DoRelease:
		argv, host = zfs.ReleaseArgv(s.Tag, full), j.side(s)
	default:
		return "", fmt.Errorf("unknown step %q", s.Do) // check lets none through
	}
	return host.Show(argv...), nil
}

// estimate is how many bytes a stream would have; nil where nobody knows. A
// snapshot that is not made yet will have what was written since the last.
func (j *job) estimate(ctx context.Context, s *record.Step) *int64 {
	if s.ToGUID == "" || j.virtual(s.To) {
		return j.r.Written
	}
	if s.Bytes != nil {
		return s.Bytes
	}
	if from := strings.TrimPrefix(s.From, "#"); j.virtual(from) {
		return nil
	}
	argv, err := zfs.SendArgv(j.r.Name, s)
	if err != nil {
		return nil
	}
	n, err := j.x.source(j.r).Estimate(ctx, argv)
	if err != nil {
		return nil
	}
	return &n
}

func (j *job) virtual(snapshot string) bool {
	for i := range j.r.Snapshots {
		if s := &j.r.Snapshots[i]; s.Name == snapshot {
			return s.Virtual
		}
	}
	return false
}
