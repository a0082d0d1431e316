package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"zab/lib/chain"
	"zab/lib/record"
	"zab/lib/zfs"
)

// pair is a dataset and its copy in a small model of zfs 2.3, which refuses the same
// operations as zfs.
type pair struct {
	t       *rapid.T
	options map[string]*Options // by command line

	at   int64 // the clock of the names
	guid int
	txg  [2]int

	source    []record.Snapshot
	bookmarks []record.Snapshot

	exists  bool
	parent  bool
	target  []record.Snapshot
	written int64
	partial *partial                       // saved by an interrupted receive
	holds   map[string]map[string][]string // tags by side and guid
	// begun reports whether the journal has a run that did not come to its end.
	begun bool
	// shared reports whether a run had --shared-holds.
	shared bool
	// fresh are the guids of the snapshots that the last run held before it sent them,
	// and that were not held before.
	fresh []string
}

// partial is the state that an interrupted receive has saved.
type partial struct {
	step       record.Step
	to, toGUID string
	onto       string // guid of the target's newest snapshot when it began
}

func newPair(t *rapid.T, options map[string]*Options) *pair {
	return &pair{t: t, options: options, at: now - 400*86400, txg: [2]int{10, 500},
		holds: map[string]map[string][]string{record.SideSource: {}, record.SideTarget: {}}}
}

func (p *pair) next(side int) string {
	p.txg[side]++
	return strconv.Itoa(p.txg[side])
}

// take makes a snapshot of the source.
func (p *pair) take(name string) {
	p.guid++
	p.source = append(p.source, record.Snapshot{Name: name, GUID: strconv.Itoa(1000 + p.guid), CreateTXG: p.next(0)})
}

// common returns the guid of the newest snapshot that both sides have, "" if there is
// none. On the source a bookmark counts as well.
func (p *pair) common() string {
	b, ok := chain.Find(p.source, p.bookmarks, p.target)
	if !ok {
		return ""
	}
	return b.GUID
}

// change makes a random change from outside: to the source, and to the target if alone
// is false.
func (p *pair) change(alone bool) {
	t := p.t
	ops := []string{"ours", "ours", "ours", "other", "thin", "mark"}
	if !alone && p.exists && len(p.target) > 0 {
		ops = append(ops, "write", "empty", "data")
	}
	switch op := rapid.SampledFrom(ops).Draw(t, "op"); op {
	case "ours":
		p.at += int64(rapid.IntRange(1, 3*86400).Draw(t, "later"))
		p.take(fmt.Sprintf("b-%d", p.at))
	case "other":
		p.take(fmt.Sprintf("x%d", p.guid))
	case "mark":
		if len(p.source) > 0 {
			s := rapid.SampledFrom(p.source).Draw(t, "of")
			p.guid++
			p.bookmarks = append(p.bookmarks, record.Snapshot{Name: fmt.Sprint("m", p.guid), GUID: s.GUID, CreateTXG: s.CreateTXG})
		}
	case "thin":
		// Somebody destroys snapshots of the source, except held ones and the base. The
		// base may go if a bookmark of it is left.
		p.source = slices.DeleteFunc(p.source, func(s record.Snapshot) bool {
			marked := slices.ContainsFunc(p.bookmarks, func(b record.Snapshot) bool { return b.GUID == s.GUID })
			return (s.GUID != p.common() || marked) && len(p.holds[record.SideSource][s.GUID]) == 0 && rapid.Bool().Draw(t, "gone")
		})
	case "write":
		p.written = 4096
	case "empty", "data":
		n := p.written
		if op == "data" {
			n += 8192
		}
		p.guid++
		p.target = append(p.target, record.Snapshot{Name: fmt.Sprint("mine", p.guid), GUID: strconv.Itoa(1000 + p.guid), CreateTXG: p.next(1), Written: &n})
		p.written = 0
	}
}

// states counts the plans that were made.
var states int

// plan returns the record that zab-plan makes of the present state of the pair.
func (p *pair) plan(args string) *record.Record {
	states++
	o := p.options[args]
	if o == nil {
		program := Program()
		if _, err := program.Parser().ParseArgs(append(strings.Fields(args), "--snapshot-format={}-%s")); err != nil {
			p.t.Fatal(err)
		}
		if err := program.Check([]string{"backup"}); err != nil {
			p.t.Fatal(err)
		}
		o = program.Options.(*Options)
		p.options[args] = o
	}
	s := newInventory(nil, "backup", nil)
	s.add(target("backup", ""))
	if p.parent {
		s.add(target("backup/tank", ""))
	}
	if p.exists {
		r := target("backup/tank/a", "")
		r.Snapshots = append(r.Snapshots, p.target...)
		written := p.written
		r.Written = &written
		if q := p.partial; q != nil {
			r.ResumeToken = token("tank/a@"+q.to, q.toGUID, q.step.FromGUID)
		}
		s.add(r)
	}
	r := source("tank/a", "")
	r.Snapshots = append(r.Snapshots, p.source...)
	r.Bookmarks = append(r.Bookmarks, p.bookmarks...)
	pl := newPlanner(o, s, now)
	pl.features = func(_, _, _ string) zfs.Features {
		return zfs.Features{LargeBlocks: true, Resumable: true}
	}
	n, err := pl.naming(r.Backup)
	if err != nil {
		p.t.Fatal(err)
	}
	d := pl.match(r, "backup/tank/a", n)
	r.Target.Pin, r.Target.OldPin = pl.pin(n), pl.oldPin(n)
	if p.begun && !o.NoHolds && r.Error == nil {
		d.leftHolds = tagsBySide{record.SideSource: {}, record.SideTarget: {}}
		for side, list := range map[string][]record.Snapshot{record.SideSource: p.source, record.SideTarget: p.target} {
			for i := range list {
				d.leftHolds[side][list[i].Name] = p.holds[side][list[i].GUID]
			}
		}
	}
	pl.finish(d)
	return r
}

func find(list []record.Snapshot, guid string) int {
	return slices.IndexFunc(list, func(s record.Snapshot) bool { return s.GUID == guid })
}

// apply does one step as zfs would; crash means that the step is interrupted.
func (p *pair) apply(s *record.Step, crash bool) {
	t := p.t
	had := p.common()
	switch s.Do {
	case record.DoCreateParent:
		if s.Dataset != "backup/tank" || p.exists {
			t.Fatalf("parent %s", s.Dataset)
		}
		p.parent = true
	case record.DoAbortResume:
		if p.partial == nil {
			t.Fatal("there is nothing to abort")
		}
		p.partial = nil
		if len(p.target) == 0 {
			p.exists = false
		}
	case record.DoRollback:
		last := len(p.target) - 1
		if last < 0 || p.target[last].GUID != s.GUID || p.target[last].Name != s.Snapshot {
			t.Fatalf("cannot roll back to %s of %v", s.Snapshot, p.target)
		}
		p.written = 0
	case record.DoDestroy:
		i := find(p.target, s.GUID)
		if s.Side != record.SideTarget || i < 0 || p.target[i].Name != s.Snapshot {
			t.Fatalf("cannot destroy %+v", s)
		}
		if len(p.holds[s.Side][s.GUID]) > 0 {
			t.Fatalf("%s is held", s.Snapshot)
		}
		if i <= find(p.target, had) {
			t.Fatalf("P1: %s is the newest in common or older", s.Snapshot)
		}
		// The data written in it now counts as written since the snapshot before it.
		if i == len(p.target)-1 {
			p.written += *p.target[i].Written
		} else {
			*p.target[i+1].Written += *p.target[i].Written
		}
		p.target = slices.Delete(p.target, i, i+1)
	case record.DoHold:
		list := p.source
		if s.Side == record.SideTarget {
			list = p.target
		}
		if i := find(list, s.GUID); i < 0 || list[i].Name != s.Snapshot {
			t.Fatalf("cannot hold %+v", s)
		}
		if !slices.Contains(p.holds[s.Side][s.GUID], s.Tag) {
			p.holds[s.Side][s.GUID] = append(slices.Clone(p.holds[s.Side][s.GUID]), s.Tag)
		}
	case record.DoRelease:
		p.holds[s.Side][s.GUID] = slices.DeleteFunc(slices.Clone(p.holds[s.Side][s.GUID]), func(tag string) bool { return tag == s.Tag })
	case record.DoReceive:
		p.receive(s, crash)
	default:
		t.Fatalf("step %q", s.Do)
	}
	if now := p.common(); had != "" && (now == "" || find(p.target, now) < find(p.target, had)) {
		t.Fatalf("P1: there was a common snapshot before %s", text([]record.Step{*s}))
	}
}

// receive does one zfs send | zfs receive.
func (p *pair) receive(s *record.Step, crash bool) {
	t := p.t
	step := text([]record.Step{*s})
	if !p.parent {
		t.Fatalf("%s: there is no parent", step)
	}
	newest := ""
	if len(p.target) > 0 {
		newest = p.target[len(p.target)-1].GUID
	}
	to := find(p.source, s.ToGUID)
	if to < 0 || p.source[to].Name != s.To {
		t.Fatalf("%s: the source has no such snapshot", step)
	}
	stream := p.source[to : to+1]
	switch {
	case s.Token != "":
		q := p.partial
		if q == nil || q.to != s.To || q.toGUID != s.ToGUID || q.onto != newest || len(s.Through) > 0 {
			t.Fatalf("%s: the token is for %+v", step, q)
		}
	case p.partial != nil:
		t.Fatalf("%s: contains partially-complete state", step)
	}
	if s.From == "" {
		if s.Token == "" && p.exists {
			t.Fatalf("%s: destination exists", step)
		}
		if len(p.target) > 0 || len(s.Through) > 0 {
			t.Fatalf("%s: a full stream", step)
		}
	} else {
		base := find(p.target, s.FromGUID)
		if base < 0 {
			t.Fatalf("%s: most recent snapshot does not match incremental source", step)
		}
		for _, later := range p.target[base+1:] {
			if *later.Written > 0 {
				t.Fatalf("%s: destination has been modified: %s", step, later.Name)
			}
		}
		if p.written > 0 {
			t.Fatalf("%s: destination has been modified", step)
		}
		if mark, ok := strings.CutPrefix(s.From, "#"); ok {
			if i := find(p.bookmarks, s.FromGUID); i < 0 || !slices.ContainsFunc(p.bookmarks, func(b record.Snapshot) bool { return b.Name == mark && b.GUID == s.FromGUID }) || len(s.Through) > 0 {
				t.Fatalf("%s: the bookmark", step)
			}
		} else {
			from := find(p.source, s.FromGUID)
			if from < 0 || p.source[from].Name != s.From || from >= to {
				t.Fatalf("%s: the source has no such base", step)
			}
			if len(s.Through) > 0 { // zfs send -I: everything between
				stream = p.source[from+1 : to+1]
				if len(stream) != len(s.Through)+1 {
					t.Fatalf("%s: %d snapshots travel too", step, len(stream)-len(s.Through)-1)
				}
				for i, th := range s.Through {
					if stream[i].Name != th.Name || stream[i].GUID != th.GUID {
						t.Fatalf("%s: %s travels", step, stream[i].Name)
					}
				}
			}
		}
	}
	p.exists, p.partial = true, nil
	whole := len(stream)
	if crash {
		whole = rapid.IntRange(0, len(stream)-1).Draw(t, "whole")
	}
	for i, x := range stream {
		if i == whole {
			if i > 0 {
				s = &record.Step{From: stream[i-1].Name, FromGUID: stream[i-1].GUID}
				newest = stream[i-1].GUID
			}
			p.partial = &partial{step: *s, to: x.Name, toGUID: x.GUID, onto: newest}
			return
		}
		if slices.ContainsFunc(p.target, func(y record.Snapshot) bool { return y.Name == x.Name }) {
			t.Fatalf("%s: %s exists", step, x.Name)
		}
		p.target = append(p.target, record.Snapshot{Name: x.Name, GUID: x.GUID, CreateTXG: p.next(1), Written: record.Ptr[int64](1 << 20)})
	}
}

// run plans and executes. If mayStop is set, the run may be interrupted at a random
// step. done reports whether all steps were done.
func (p *pair) run(args string, mayStop bool) (r *record.Record, done bool) {
	before := len(p.target)
	p.shared = p.shared || strings.Contains(args, "--shared-holds")
	r = p.plan(args)
	p.checkOrder(r)
	if r.Error != nil {
		return r, false
	}
	stop := -1
	if mayStop && len(r.Steps) > 0 && rapid.Bool().Draw(p.t, "interrupted") {
		stop = rapid.IntRange(0, len(r.Steps)-1).Draw(p.t, "at")
	}
	if len(r.Steps) > 0 {
		p.begun = true
		p.early(r)
	}
	for i := range r.Steps {
		s := &r.Steps[i]
		if s.Do == record.DoReceive && s.From == "" && before > 0 {
			p.t.Fatalf("P4: everything again, though there are %d snapshots: %s", before, text(r.Steps))
		}
		if i == stop {
			if s.Do == record.DoReceive && rapid.Bool().Draw(p.t, "saved") {
				p.apply(s, true)
			}
			return r, false
		}
		p.apply(s, false)
	}
	if len(r.Steps) > 0 && r.Target.Pin != "" {
		// Like zab-xfer, release the snapshots held before the streams, except the new
		// base.
		for i := range p.source {
			if g := p.source[i].GUID; g != p.common() && slices.Contains(p.fresh, g) {
				p.apply(&record.Step{Do: record.DoRelease, Side: record.SideSource, GUID: g, Tag: r.Target.Pin}, false)
			}
		}
		p.begun = false
	}
	return r, true
}

// early holds the snapshots that are to be sent before they are sent, as zab-xfer does.
func (p *pair) early(r *record.Record) {
	p.fresh = nil
	if r.Target.Pin == "" {
		return
	}
	for i := range r.Steps {
		s := &r.Steps[i]
		if s.Do != record.DoReceive {
			continue
		}
		for _, x := range append(slices.Clone(s.Through), record.Through{Name: s.To, GUID: s.ToGUID}) {
			if strings.HasPrefix(x.Name, "b-") && !slices.Contains(p.holds[record.SideSource][x.GUID], r.Target.Pin) {
				p.fresh = append(p.fresh, x.GUID)
				p.apply(&record.Step{Do: record.DoHold, Side: record.SideSource, Snapshot: x.Name, GUID: x.GUID, Tag: r.Target.Pin}, false)
			}
		}
	}
}

// checkOrder checks that all holds come after the streams, and all releases after the
// holds.
func (p *pair) checkOrder(r *record.Record) {
	rank := map[string]int{record.DoAbortResume: 0, record.DoCreateParent: 0, record.DoDestroy: 1, record.DoRollback: 2, record.DoReceive: 3, record.DoHold: 4, record.DoRelease: 5}
	last := 0
	for _, s := range r.Steps {
		if rank[s.Do] < last {
			p.t.Fatalf("%s", text(r.Steps))
		}
		last = rank[s.Do]
	}
}

// newestWanted returns the snapshot that the target must have in the end.
func (p *pair) newestWanted(others bool) (record.Snapshot, bool) {
	for i := len(p.source) - 1; i >= 0; i-- {
		if s := p.source[i]; others || strings.HasPrefix(s.Name, "b-") {
			return s, true
		}
	}
	return record.Snapshot{}, false
}

var (
	schedules = []string{"--no-thinning", "--keep-target=1", "--keep-target=3", "--keep-target=0", "--keep-target=2,1d1w,1m1y", "--keep-target=10,1d1w,1w1m,1m1y"}
	extras    = []string{"", " --other-snapshots", " --no-holds", " --force", " --other-snapshots --no-holds", " --shared-holds"}
)

func options(t *rapid.T) string {
	return rapid.SampledFrom(schedules).Draw(t, "schedule") + rapid.SampledFrom(extras).Draw(t, "extra")
}

// settled checks a pair after a run that was not interrupted.
func (p *pair) settled(args string, r *record.Record) {
	t := p.t
	if w, ok := p.newestWanted(strings.Contains(args, "--other")); ok && find(p.target, w.GUID) < 0 {
		if base, has := chain.Find(p.source, p.bookmarks, p.target); !has || base.TXG < w.TXG() {
			t.Fatalf("%s: the target has not got %s: %s", args, w.Name, text(r.Steps))
		}
	}
	if p.partial != nil && slices.ContainsFunc(r.Steps, func(s record.Step) bool { return s.Do == record.DoReceive }) {
		t.Fatalf("%s: a partial receive is left", args)
	}
	again := p.plan(args)
	if again.Error != nil || len(again.Steps) > 0 {
		t.Fatalf("%s: after %q there is still %q, %v", args, text(r.Steps), text(again.Steps), again.Error)
	}
	if _, ok := p.newestWanted(strings.Contains(args, "--other")); !ok || strings.Contains(args, "--no-holds") {
		return // there are no snapshots of this backup, or no holds
	}
	// The newest common snapshot has our pin on both sides, and the shared tag if it was
	// asked for; no other snapshot has any, regardless of where earlier runs stopped (P4).
	base, has := chain.Find(p.source, p.bookmarks, p.target)
	for _, side := range []string{record.SideSource, record.SideTarget} {
		tags := p.holds[side][base.GUID]
		others := slices.DeleteFunc(slices.Clone(tags), func(tag string) bool { return tag == r.Target.Pin || tag == shared && p.shared })
		if has && !(side == record.SideSource && base.Bookmark()) && (!slices.Contains(tags, r.Target.Pin) || len(others) > 0) {
			t.Fatalf("%s: the newest in common has the holds %q on the %s: %s", args, tags, side, text(r.Steps))
		}
		for guid, tags := range p.holds[side] {
			if len(tags) > 0 && guid != base.GUID {
				t.Fatalf("%s: %s is held on the %s by %q: %s", args, guid, side, tags, text(r.Steps))
			}
		}
	}
}

// P1, P3, P4: after any changes of the source, and after an interruption at any step,
// the next run brings the copy up to date. Nothing is asked for, nothing is sent twice,
// no base is lost.
func TestHistory(t *testing.T) {
	states = 0
	defer func() { t.Logf("%d states", states) }()
	parsed := map[string]*Options{}
	rapid.Check(t, func(t *rapid.T) {
		p := newPair(t, parsed)
		for range rapid.IntRange(1, 6).Draw(t, "runs") {
			for range rapid.IntRange(0, 5).Draw(t, "changes") {
				p.change(true)
			}
			args := options(t)
			r, done := p.run(args, true)
			if r.Error != nil {
				t.Fatalf("%s: %s", args, r.Error.Message)
			}
			if done {
				p.settled(args, r)
			}
		}
		// The last run is not interrupted.
		args := options(t)
		r, _ := p.run(args, false)
		if r.Error != nil {
			t.Fatalf("%s: %s", args, r.Error.Message)
		}
		p.settled(args, r)
	})
}

// If somebody writes to the copy and takes snapshots of it, zab undoes no more than
// these changes, and only with the options that allow it. Without them it reports a
// conflict and changes nothing.
func TestHistoryOfAChangedTarget(t *testing.T) {
	states = 0
	defer func() { t.Logf("%d states", states) }()
	parsed := map[string]*Options{}
	rapid.Check(t, func(t *rapid.T) {
		p := newPair(t, parsed)
		for range rapid.IntRange(2, 6).Draw(t, "runs") {
			for range rapid.IntRange(0, 5).Draw(t, "changes") {
				p.change(false)
			}
			args := options(t)
			brave := rapid.Bool().Draw(t, "brave")
			if brave {
				args += " --rollback --destroy-incompatible"
			}
			r, done := p.run(args, true)
			switch {
			case r.Conflict != nil && brave && p.common() != "":
				t.Fatalf("%s: %s", args, r.Error.Message)
			case r.Conflict != nil:
				if !slices.Contains([]record.ConflictKind{record.ConflictModified, record.ConflictNewerSnapshots, record.ConflictSourceRolledBack, record.ConflictNoCommonSnapshot}, r.Conflict.Kind) || len(r.Conflict.Remedies) == 0 {
					t.Fatalf("%+v", r.Conflict)
				}
			case r.Error != nil:
				t.Fatal(r.Error.Message)
			case done:
				p.settled(args, r)
			}
			if !brave && slices.ContainsFunc(r.Steps, func(s record.Step) bool { return s.Do == record.DoDestroy || s.Do == record.DoRollback }) {
				t.Fatalf("unasked: %s", text(r.Steps))
			}
		}
	})
}
