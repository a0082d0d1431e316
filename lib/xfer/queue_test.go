package xfer

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"zab/lib/record"
	"zab/lib/zfs"
)

func to(target string, origin ...string) *record.Record {
	r := &record.Record{Zab: 1, Type: "dataset", Name: "t/" + target, Target: &record.Target{Name: target}}
	for _, o := range origin {
		r.Steps = append(r.Steps, record.Step{Do: "receive", Origin: o})
	}
	return r
}

func never(*record.Record) bool { return false }

// Parents before children, origins before clones, whatever the number of jobs;
// and no more at once than allowed.
func TestQueueOrder(t *testing.T) {
	input := []*record.Record{to("b"), to("b/x"), to("b/x/y"), to("b/z"), to("c", "b/z@1"), to("d"), to("d"), to("bb")}
	for _, jobs := range []int{1, 2, 8} {
		var mu sync.Mutex
		var done []string
		running, most := 0, 0
		idle := 0
		q := newQueue(context.Background(), jobs, never, func(_ context.Context, _ int, r *record.Record) {
			mu.Lock()
			running++
			most = max(most, running)
			before := slices.Clone(done)
			mu.Unlock()
			for _, need := range map[string][]string{"b/x": {"b"}, "b/x/y": {"b/x", "b"}, "b/z": {"b"}, "c": {"b/z"}}[r.Target.Name] {
				if !slices.Contains(before, need) {
					t.Errorf("%d jobs: %s before %s", jobs, r.Target.Name, need)
				}
			}
			mu.Lock()
			running--
			done = append(done, r.Target.Name)
			mu.Unlock()
		}, func() {
			mu.Lock()
			idle++
			mu.Unlock()
		})
		for _, r := range input {
			q.add(r)
		}
		q.finish()
		if len(done) != len(input) || most > jobs {
			t.Errorf("%d jobs: %v, %d at once", jobs, done, most)
		}
		if idle != 1 {
			t.Errorf("%d jobs: told %d times that no more begins", jobs, idle)
		}
		if jobs == 1 && !slices.Equal(done, []string{"b", "b/x", "b/x/y", "b/z", "c", "d", "d", "bb"}) {
			t.Errorf("one job: %v", done)
		}
	}
}

// A long one waits for another, short ones pass both, and all are worked on.
func TestQueueLong(t *testing.T) {
	long := func(r *record.Record) bool { return strings.HasPrefix(r.Target.Name, "long") }
	input := []*record.Record{to("long1"), to("a"), to("long2"), to("long2/x"), to("b"), to("long3"), to("c")}
	var mu sync.Mutex
	var done []string
	together := 0
	short := make(chan struct{})
	q := newQueue(context.Background(), 3, long, func(_ context.Context, _ int, r *record.Record) {
		name := r.Target.Name
		if long(r) {
			mu.Lock()
			if together++; together > 1 {
				t.Errorf("%s beside another long one", name)
			}
			mu.Unlock()
			if name == "long1" {
				<-short // the last of the short ones
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if long(r) {
			together--
		}
		done = append(done, name)
		if name == "c" {
			close(short)
		}
	}, func() {})
	for _, r := range input {
		q.add(r)
	}
	q.finish()
	if len(done) != len(input) {
		t.Fatalf("%v", done)
	}
	if first := slices.Index(done, "long1"); first < slices.Index(done, "c") || first > slices.Index(done, "long2") {
		t.Errorf("%v", done)
	}
}

func TestAtOnce(t *testing.T) {
	for _, c := range []struct {
		o     Options
		jobs  int
		turns bool
	}{
		{Options{}, 4, true},
		{Options{Compress: "zstd-fast", Rate: "1M"}, 4, true},
		{Options{Jobs: "8", Buffer: "1M"}, 8, false},
		{Options{Buffer: "1M"}, 1, false},
		{Options{SendPipe: []string{"cat"}}, 1, false},
		{Options{RecvPipe: []string{"cat"}}, 1, false},
	} {
		if err := c.o.Check(); err != nil {
			t.Fatal(err)
		}
		if jobs, turns := c.o.atOnce(); jobs != c.jobs || turns != c.turns {
			t.Errorf("%+v: %d, %v", c.o, jobs, turns)
		}
	}
	n := record.Ptr[int64]
	receive := func(s record.Step) record.Record {
		s.Do = record.DoReceive
		return record.Record{Facts: record.Facts{Referenced: n(1 << 30), Written: n(1 << 20)}, Steps: []record.Step{{Do: record.DoHold}, s}}
	}
	for _, c := range []struct {
		s    record.Step
		want bool
	}{
		{record.Step{To: "1"}, true},
		{record.Step{From: "1", To: "2"}, false},
		{record.Step{From: "1", To: "2", Bytes: n(1 << 25)}, true},
		{record.Step{To: "2", Bytes: n(1<<25 - 1)}, false},
	} {
		if r := receive(c.s); isLong(&r) != c.want {
			t.Errorf("%+v", c.s)
		}
	}
	if isLong(&record.Record{Facts: record.Facts{Referenced: n(1 << 30)}, Steps: []record.Step{{Do: record.DoHold}}}) {
		t.Error("nothing is sent")
	}
}

func TestSinkKeepsParentsFirst(t *testing.T) {
	var out bytes.Buffer
	s := &sink{w: record.NewWriter(&out), pending: map[where]int{}, blocked: map[where][]*record.Record{}, fail: func(error) {}}
	r := map[string]*record.Record{}
	for _, n := range []string{"a", "a/b", "a/b/c", "d", "ab"} {
		r[n] = &record.Record{Type: "dataset", Name: n}
		s.expect(r[n])
	}
	for _, n := range []string{"a/b/c", "d", "a/b", "ab", "a"} {
		s.write(r[n])
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		p, err := record.Parse([]byte(strings.TrimSpace(line)))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p.Name)
	}
	if !slices.Equal(got, []string{"d", "ab", "a", "a/b", "a/b/c"}) {
		t.Fatalf("%v", got)
	}
}

func TestBlame(t *testing.T) {
	err := &zfs.Error{Kind: zfs.KindBusy, Code: 1, Lines: []string{"cannot hold snapshot 'a@1': dataset is busy", "cannot hold snapshot 'b@1': permission denied"}}
	if e := errorFor(err, "a@1"); e == nil || zfs.KindOf(e) != zfs.KindBusy || strings.Contains(e.Error(), "b@1") {
		t.Errorf("%v", e)
	}
	if e := errorFor(err, "b@1"); zfs.KindOf(e) != zfs.KindPermission {
		t.Errorf("%v", e)
	}
	for _, n := range []string{"c@1", "aa@1", "a@11"} {
		if e := errorFor(err, n); e != nil {
			t.Errorf("%s: %v", n, e)
		}
	}
	all := &zfs.Error{Kind: zfs.KindUnreachable, Lines: []string{"connection refused"}}
	if e := errorFor(all, "c@1"); zfs.KindOf(e) != zfs.KindUnreachable {
		t.Errorf("%v", e)
	}
	if e := errorFor(&zfs.Error{Kind: zfs.KindKilled}, "c@1"); e == nil {
		t.Error("a failure without a word is about all")
	}
	if e := errorFor(errors.New("boom"), "c@1"); e == nil {
		t.Error("another error is about all")
	}
}

// P5: nothing is mounted at a mountpoint that came with a stream.
func TestMountable(t *testing.T) {
	ds := func(name, canmount, mp, source, key string) zfs.Dataset {
		return zfs.Dataset{Name: name, Props: map[string]zfs.Value{
			"type": {Value: "filesystem"}, "canmount": {Value: canmount}, "mountpoint": {Value: mp, Source: source},
			"mounted": {Value: "no"}, "keystatus": {Value: key},
		}}
	}
	props := map[string]zfs.Dataset{
		"local":    ds("local", "on", "/l", "local", "-"),
		"default":  ds("default", "on", "/default", "default", "-"),
		"received": ds("received", "on", "/etc", "received", "-"),
	}
	for _, c := range []struct {
		d    zfs.Dataset
		want bool
	}{
		{ds("a", "on", "/a", "default", "-"), true},
		{ds("a", "on", "/a", "local", "available"), true},
		{ds("a", "on", "/l/a", "inherited from local", "-"), true},
		{ds("a", "on", "/default/a", "inherited from default", "-"), true},
		{ds("a", "on", "/etc", "received", "-"), false},
		{ds("a", "on", "/etc/a", "inherited from received", "-"), false},
		{ds("a", "on", "/etc/a", "inherited from nobody", "-"), false},
		{ds("a", "on", "/a", "temporary", "-"), false},
		{ds("a", "off", "/a", "default", "-"), false},
		{ds("a", "noauto", "/a", "default", "-"), false},
		{ds("a", "on", "none", "local", "-"), false},
		{ds("a", "on", "legacy", "local", "-"), false},
		{ds("a", "on", "/a", "default", "unavailable"), false},
	} {
		props["a"] = c.d
		if got := mountable(props, "a"); got != c.want {
			t.Errorf("%+v: %v", c.d.Props, got)
		}
	}
	if mountable(props, "gone") {
		t.Error("what is not there")
	}
}

// P8: one dataset of one pool has one lock, however its host is called, and
// where the pool is not known the host's name stands for it.
func TestLockNames(t *testing.T) {
	names := func(host, guid, name string) []string {
		return lockNames(&record.Target{Host: host, Name: name, ZPoolGUID: guid})
	}
	shared := func(a, b []string) bool {
		return slices.ContainsFunc(a, func(n string) bool { return slices.Contains(b, n) })
	}
	for _, c := range []struct {
		a, b []string
		want bool
	}{
		{names("nas", "7", "tank/a"), names("root@nas", "7", "tank/a"), true},
		{names("nas", "7", "tank/a"), names("nas", "", "tank/a"), true},
		{names("nas", "7", "tank/a"), names("nas", "7", "tank/b"), false},
		{names("nas", "7", "tank/a"), names("vault", "8", "tank/a"), false},
		{names("", "7", "tank/a"), names("localhost", "7", "tank/a"), true},
		{names("nas", "", "tank/a"), names("vault", "", "tank/a"), false},
	} {
		if shared(c.a, c.b) != c.want {
			t.Errorf("%q and %q", c.a, c.b)
		}
	}
}

// A rename waits for all that work above or below either of its names, and they for it.
func TestQueueRenames(t *testing.T) {
	rename := func(target, from, to string) *record.Record {
		r := &record.Record{Zab: 1, Type: "dataset", Name: "t/" + target, Target: &record.Target{Name: target}}
		r.Steps = []record.Step{{Do: record.DoRename, Dataset: to, From: from}}
		return r
	}
	input := []*record.Record{to("b/old/x/y"), to("c"), rename("b/q", "b/old/x", "b/q"), rename("b/new/z", "b/old", "b/new"), to("b/old"), to("b/old/k"), to("b/new/other"), to("b/q/s"), to("d")}
	needs := map[string][]string{"b/q": {"b/old/x/y"}, "b/new/z": {"b/q"}, "b/old": {"b/new/z"}, "b/old/k": {"b/old", "b/new/z"}, "b/new/other": {"b/new/z"}, "b/q/s": {"b/q"}}
	var mu sync.Mutex
	var done []string
	q := newQueue(context.Background(), 4, never, func(_ context.Context, _ int, r *record.Record) {
		mu.Lock()
		defer mu.Unlock()
		for _, need := range needs[r.Target.Name] {
			if !slices.Contains(done, need) {
				t.Errorf("%s before %s", r.Target.Name, need)
			}
		}
		done = append(done, r.Target.Name)
	}, func() {})
	for _, r := range input {
		q.add(r)
	}
	q.finish()
	if len(done) != len(input) || len(q.moving) > 0 {
		t.Errorf("%v, %v", done, q.moving)
	}
}
