package xfer

import (
	"os/exec"
	"strings"
	"testing"

	"zab/lib/chain"
	"zab/lib/pipeline"
	"zab/lib/record"
	"zab/lib/zfs"
	"zab/lib/zfs/zfstest"
)

func testTransfer(t *testing.T, src, dst string, o Options) *transfer {
	t.Helper()
	if err := o.Check(); err != nil {
		t.Fatal(err)
	}
	m := &zfs.Machine{}
	return &transfer{
		src: m.Host(src), dst: m.Host(dst), o: &o, pace: pipeline.NewPace(1 << 40),
		send: []string{"zfs", "send", "a@1"}, recv: []string{"zfs", "receive", "-u", "-s", "b"},
	}
}

func TestPipelineText(t *testing.T) {
	const ssh = "ssh -a -x -T -o BatchMode=yes -o ClearAllForwardings=yes -o Tunnel=no -o PermitLocalCommand=no -- "
	all := Options{Compress: "zstd-fast", Buffer: "16M", Rate: "10M", SendPipe: []string{"cat"}, RecvPipe: []string{"tee log"}}
	for _, c := range []struct {
		name, src, dst string
		o              Options
		want           string
	}{
		{"local", "", "", Options{}, "zfs send a@1 | zfs receive -u -s b"},
		{"push", "", "h", Options{}, "zfs send a@1 | " + ssh + "h 'env LC_ALL=C zfs receive -u -s b'"},
		{"pull", "h", "", Options{}, ssh + "h 'env LC_ALL=C zfs send a@1' | zfs receive -u -s b"},
		{"both", "g", "h", Options{}, ssh + "g 'env LC_ALL=C zfs send a@1' | " + ssh + "h 'env LC_ALL=C zfs receive -u -s b'"},
		{"one buffer where nothing is between", "", "", Options{Buffer: "16M", Rate: "1G"}, "zfs send a@1 | mbuffer -q -m 16M -R 1G | zfs receive -u -s b"},
		{"all local", "", "", all, "zfs send a@1 | mbuffer -q -m 16M | /bin/sh -c cat | zstd -q -T0 -3 -c | mbuffer -q -R 10M | zstd -q -dc | /bin/sh -c 'tee log' | mbuffer -q -m 16M | zfs receive -u -s b"},
	} {
		if got := testTransfer(t, c.src, c.dst, c.o).text(); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

// The joints that this process makes: each counts, buffers and limits where it
// should, and no two are neighbours.
func TestPipelinePlaces(t *testing.T) {
	for _, src := range []string{"", "g"} {
		for _, dst := range []string{"", "h"} {
			for _, compress := range []string{"", "lz4"} {
				for _, buffer := range []string{"", "1M"} {
					tr := testTransfer(t, src, dst, Options{Compress: Compression(compress), Buffer: buffer, Rate: "1M"})
					places := tr.places()
					var limits, streams, wires, buffers int
					for i, p := range places {
						if p.joint == (p.prog != nil) || p.joint && (i == 0 || i == len(places)-1 || places[i-1].joint) {
							t.Fatalf("%s>%s %s %s: bad places %+v", src, dst, compress, buffer, places)
						}
						if p.limit {
							limits++
						}
						if p.wire {
							wires++
						}
						if p.limit != p.wire {
							t.Error("the limit is not on the wire")
						}
						if p.stream {
							streams++
						}
						if p.buffer {
							buffers++
						}
					}
					seen := src == "" || dst == "" || compress == ""
					if limits != 1 || wires != 1 || seen && streams != 1 || !seen && streams != 0 {
						t.Errorf("%s>%s %s %s: %d limits, %d wires, %d streams", src, dst, compress, buffer, limits, wires, streams)
					}
					if buffer == "" && buffers > 0 {
						t.Error("a buffer that nobody wanted")
					}
				}
			}
		}
	}
}

// What a remote shell makes of a line is what was meant, whatever is in it.
func TestRemoteLineQuoting(t *testing.T) {
	for _, odd := range []string{"a b@c", "x'y", `x"y`, "$HOME", "`id`", "a;b", "a\\b", "*", "~", "é", "!x", "-n"} {
		o := &Options{buffer: 1 << 20}
		for _, elements := range [][]element{
			{{name: "zfs send", argv: []string{"printf", "%s", odd}}},
			{{name: "zfs send", argv: []string{"printf", "%s", odd}}, {name: "the send pipe", argv: []string{"/bin/sh", "-c", "cat; : " + zfs.Quote(odd)}}, {name: "cat", argv: []string{"cat"}}},
		} {
			line := zfs.Quote(remoteArgv(o, elements)...)
			out, err := exec.Command("/bin/sh", "-c", line).CombinedOutput()
			if err != nil || string(out) != odd {
				t.Errorf("%q became %q, %v: %s", odd, out, err, line)
			}
		}
	}
}

func TestRemoteLineTellsFailures(t *testing.T) {
	run := func(elements ...element) (string, error) {
		out, err := exec.Command("/bin/sh", "-c", zfs.Quote(remoteArgv(&Options{}, elements)...)).CombinedOutput()
		return string(out), err
	}
	if out, err := run(element{name: "zfs send", argv: []string{"sh", "-c", "exit 7"}}, element{name: "cat", argv: []string{"cat"}}); err != nil || out != "zab: zfs send failed: 7\n" {
		t.Errorf("%q, %v", out, err)
	}
	out, err := run(element{name: "zfs send", argv: []string{"echo", "data"}}, element{name: "x", argv: []string{"no-such-program", "-c"}})
	if err == nil || out != "no-such-program: command not found\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestCheckSteps(t *testing.T) {
	step := func(s record.Step) record.Step { return s }
	good := record.Step{Do: "receive", Dataset: "b/a", To: "s1", ToGUID: "1"}
	with := func(f func(*record.Step)) record.Step { s := good; f(&s); return s }
	for _, c := range []struct {
		name string
		s    record.Step
		why  string
	}{
		{"receive", good, ""},
		{"receive into another dataset", with(func(s *record.Step) { s.Dataset = "b/other" }), "its dataset"},
		{"receive of nothing", with(func(s *record.Step) { s.To = "" }), `"to"`},
		{"receive of what does not exist yet", with(func(s *record.Step) { s.ToGUID = "" }), "dry run"},
		{"receive with -R", with(func(s *record.Step) { s.Flags = []string{"-R"} }), "-R"},
		{"receive with half a property", with(func(s *record.Step) { s.Set = []string{"compression"} }), "not a property"},
		{"receive without two properties at once", with(func(s *record.Step) { s.Exclude = []string{"a=b"} }), "not the name"},
		{"receive with a bad token", with(func(s *record.Step) { s.Token = "1-2-3" }), "token"},
		{"receive with its token", with(func(s *record.Step) { s.Token = zfstest.Token("t/a@s1", "1", "") }), ""},
		{"receive with its raw token", with(func(s *record.Step) {
			s.Token, s.Flags = zfstest.Token("t/a@s1", "1", "", "compressok", "rawok"), []string{"-L", "-w", "-p"}
		}), ""},
		{"receive with a token of another snapshot", with(func(s *record.Step) { s.Token = zfstest.Token("t/a@s1", "2", "") }), "belongs to"},
		{"receive with a token of another dataset", with(func(s *record.Step) { s.Token = zfstest.Token("t/b@s1", "1", "") }), "it names"},
		{"receive with a token from a base", with(func(s *record.Step) { s.Token = zfstest.Token("t/a@s1", "1", "3") }), "starts from another"},
		{"receive with a token that is not raw", with(func(s *record.Step) {
			s.Token, s.Flags = zfstest.Token("t/a@s1", "1", "", "compressok"), []string{"-L", "-w", "-p"}
		}), "not raw"},
		{"receive with a raw token", with(func(s *record.Step) { s.Token = zfstest.Token("t/a@s1", "1", "", "compressok", "rawok") }), "raw"},
		{"receive of several with a token", with(func(s *record.Step) {
			s.Token, s.Through = zfstest.Token("t/a@s1", "1", ""), []record.Through{{Name: "s0", GUID: "2"}}
		}), "brings one snapshot"},
		{"receive of what the token says", with(func(s *record.Step) { s.Token, s.To = zfstest.Token("t/a@s1", "1", ""), "" }), `"to"`},
		{"abort", step(record.Step{Do: "abort-resume", Dataset: "b/a"}), ""},
		{"abort elsewhere", step(record.Step{Do: "abort-resume", Dataset: "b/c"}), "its dataset"},
		{"parent", step(record.Step{Do: "create-parent", Dataset: "b"}), ""},
		{"parent of another", step(record.Step{Do: "create-parent", Dataset: "c"}), "not above"},
		{"parent is itself", step(record.Step{Do: "create-parent", Dataset: "b/a"}), "not above"},
		{"destroy on the source", step(record.Step{Do: "destroy", Side: "source", Dataset: "t/a", Snapshot: "x", GUID: "1"}), ""},
		{"destroy without a guid", step(record.Step{Do: "destroy", Side: "target", Dataset: "b/a", Snapshot: "x"}), `"guid"`},
		{"destroy nowhere", step(record.Step{Do: "destroy", Dataset: "b/a", Snapshot: "x", GUID: "1"}), "side"},
		{"destroy on the other side", step(record.Step{Do: "destroy", Side: "source", Dataset: "b/a", Snapshot: "x", GUID: "1"}), "its dataset"},
		{"rollback", step(record.Step{Do: "rollback", Side: "target", Dataset: "b/a", Snapshot: "x", GUID: "1"}), ""},
		{"rollback of the source", step(record.Step{Do: "rollback", Side: "source", Dataset: "t/a", Snapshot: "x", GUID: "1"}), "its dataset"},
		{"hold", step(record.Step{Do: "hold", Side: "source", Dataset: "t/a", Snapshot: "x", Tag: "t"}), ""},
		{"hold without a tag", step(record.Step{Do: "hold", Side: "source", Dataset: "t/a", Snapshot: "x"}), `"tag"`},
		{"an option for a tag", step(record.Step{Do: "release", Side: "source", Dataset: "t/a", Snapshot: "x", Tag: "-r"}), "not a tag"},
		{"bookmark", step(record.Step{Do: "bookmark", Side: "source", Dataset: "t/a", Snapshot: "x", GUID: "1", To: "m"}), ""},
		{"bookmark of nothing", step(record.Step{Do: "bookmark", Side: "source", Dataset: "t/a", GUID: "1", To: "m"}), `"snapshot"`},
		{"rename aside", step(record.Step{Do: "rename-aside", Dataset: "b/a", GUID: "1", To: "a_diverged-20261122030000", From: "x", FromGUID: "2"}), ""},
		{"rename aside without a clone", step(record.Step{Do: "rename-aside", Dataset: "b/a", GUID: "1", To: "a_diverged-20261122030000-2"}), ""},
		{"rename another aside", step(record.Step{Do: "rename-aside", Dataset: "b/c", GUID: "1", To: "c_diverged-20261122030000"}), "its dataset"},
		{"rename aside without a guid", step(record.Step{Do: "rename-aside", Dataset: "b/a", To: "a_diverged-20261122030000"}), `"guid"`},
		{"rename aside to any name", step(record.Step{Do: "rename-aside", Dataset: "b/a", GUID: "1", To: "c"}), "not a name"},
		{"rename aside to another's name", step(record.Step{Do: "rename-back", Dataset: "b/a", GUID: "1", To: "b_diverged-20261122030000"}), "not a name"},
		{"clone of what has no guid", step(record.Step{Do: "rename-aside", Dataset: "b/a", GUID: "1", To: "a_diverged-20261122030000", From: "x"}), "its guid"},
		{"clone of a bookmark", step(record.Step{Do: "rename-aside", Dataset: "b/a", GUID: "1", To: "a_diverged-20261122030000", From: "#x", FromGUID: "2"}), "its guid"},
		{"rename back", step(record.Step{Do: "rename-back", Dataset: "b/a", GUID: "1", To: "a_diverged-20261122030000", Tag: "t"}), ""},
		{"rename", step(record.Step{Do: "rename", Dataset: "b/a", From: "b/old", GUID: "1", Snapshot: "x", FromGUID: "7"}), ""},
		{"rename of what is above", step(record.Step{Do: "rename", Dataset: "b", From: "c", GUID: "1", Snapshot: "x", FromGUID: "7"}), "cannot be renamed"},
		{"rename of another", step(record.Step{Do: "rename", Dataset: "b/c", From: "b/old", GUID: "1", Snapshot: "x", FromGUID: "7"}), "neither the target"},
		{"rename to another pool", step(record.Step{Do: "rename", Dataset: "b/a", From: "c/old", GUID: "1", Snapshot: "x", FromGUID: "7"}), "cannot be renamed"},
		{"rename of a pool", step(record.Step{Do: "rename", Dataset: "b/a", From: "b", GUID: "1", Snapshot: "x", FromGUID: "7"}), "cannot be renamed"},
		{"rename into itself", step(record.Step{Do: "rename", Dataset: "b/a", From: "b/a/x", GUID: "1", Snapshot: "x", FromGUID: "7"}), "not apart"},
		{"rename of what is no copy", step(record.Step{Do: "rename", Dataset: "b/a", From: "b/old", GUID: "1", Snapshot: "x", FromGUID: "8"}), "none of"},
		{"rename without a guid", step(record.Step{Do: "rename", Dataset: "b/a", From: "b/old", Snapshot: "x", FromGUID: "7"}), `"guid"`},
		{"unknown", step(record.Step{Do: "explode", Dataset: "b/a"}), "does not know"},
	} {
		r := &record.Record{Name: "t/a", Snapshots: []record.Snapshot{{Name: "x", GUID: "7"}}, Target: &record.Target{Name: "b/a"}, Steps: []record.Step{c.s}}
		err := check(r, false)
		if (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil {
			fail(r, err)
			if r.Error.Kind != string(KindBadStep) || r.Error.Stage != "xfer" {
				t.Errorf("%s: %+v", c.name, r.Error)
			}
		}
	}
	if check(&record.Record{Name: "t/a", Steps: []record.Step{good}}, true) == nil {
		t.Error("a record without a target")
	}
	virtual := with(func(s *record.Step) { s.ToGUID = "" })
	if err := check(&record.Record{Name: "t/a", Target: &record.Target{Name: "b/a"}, Steps: []record.Step{virtual}}, true); err != nil {
		t.Errorf("in a dry run: %v", err)
	}
}

// P1: not even a plan that was changed by hand destroys the newest snapshot in
// common.
func TestCommonIsKept(t *testing.T) {
	snap := func(name, guid string) record.Snapshot { return record.Snapshot{Name: name, GUID: guid} }
	destroy := func(side, ds, name, guid string) record.Step {
		return record.Step{Do: "destroy", Side: side, Dataset: ds, Snapshot: name, GUID: guid}
	}
	receive := record.Step{Do: "receive", Dataset: "b/a", To: "s3", ToGUID: "3"}
	for _, c := range []struct {
		name  string
		marks []record.Snapshot
		steps []record.Step
		ok    bool
	}{
		{"older on the target", nil, []record.Step{destroy("target", "b/a", "s1", "1"), receive}, true},
		{"common on the target", nil, []record.Step{destroy("target", "b/a", "s2", "2"), receive}, false},
		{"common on the source", nil, []record.Step{destroy("source", "t/a", "s2", "2")}, false},
		{"common on the source, with a bookmark", []record.Snapshot{snap("m", "2")}, []record.Step{destroy("source", "t/a", "s2", "2")}, true},
		{"no more the newest then", nil, []record.Step{receive, destroy("target", "b/a", "s2", "2")}, true},
	} {
		r := &record.Record{Name: "t/a", Snapshots: []record.Snapshot{snap("s1", "1"), snap("s2", "2"), snap("s3", "3")}, Bookmarks: c.marks,
			Target: &record.Target{Name: "b/a", Snapshots: []record.Snapshot{snap("s1", "1"), snap("s2", "2")}}, Steps: c.steps}
		if err := check(r, false); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// A bookmark whose origin another run has destroyed meanwhile is made from the snapshot
// where this target starts from it (P1), and else is the other run's to make.
func TestBookmarkToMake(t *testing.T) {
	own, other := chain.TargetKey("zab:1.2"), "0123abcd"
	r := &record.Record{Name: "t/a", Target: &record.Target{Name: "b/a", Pin: "zab:1.2"}, Snapshots: []record.Snapshot{{Name: "s", GUID: "7"}}}
	at := func(name, guid string) map[string]zfs.Row { return map[string]zfs.Row{"t/a" + name: {GUID: guid}} }
	for _, c := range []struct {
		what, from, to string
		found          map[string]zfs.Row
		of, why        string // what it is made from, "" for nothing; or why not
	}{
		{"from the snapshot", "", "s:" + own, at("@s", "7"), "@s", ""},
		{"from another snapshot of that name", "", "s:" + own, at("@s", "8"), "", "another snapshot"},
		{"from a snapshot that is gone", "", "s:" + own, nil, "", "not there"},
		{"there already", "", "s:" + own, at("#s:"+own, "7"), "", ""},
		{"of that name, of another snapshot", "", "s:" + own, at("#s:"+own, "8"), "", "one of that name"},
		{"joins", "#s:" + other, "s:" + other + ":" + own, at("#s:"+other, "7"), "#s:" + other, ""},
		{"joins one that is gone", "#s:" + other, "s:" + other + ":" + own, at("@s", "7"), "@s", ""},
		{"joins one that is gone with its snapshot", "#s:" + other, "s:" + other + ":" + own, nil, "", "not there"},
		{"joins one that is gone, whose snapshot is another", "#s:" + other, "s:" + other + ":" + own, at("@s", "8"), "", "another snapshot"},
		{"leaves it to others", "#s:" + other + ":" + own, "s:" + other, at("#s:"+other+":"+own, "7"), "#s:" + other + ":" + own, ""},
		{"leaves one that is gone", "#s:" + other + ":" + own, "s:" + other, at("@s", "7"), "@s", ""},
		{"leaves one that is gone with its snapshot", "#s:" + other + ":" + own, "s:" + other, nil, "", ""},
		{"makes one that is not ours of one that is gone", "#old", "mine", nil, "", "not there"},
	} {
		s := &record.Step{Do: record.DoBookmark, Side: record.SideSource, Dataset: "t/a", GUID: "7", From: c.from, To: c.to}
		if c.from == "" {
			s.Snapshot = "s"
		}
		j := &job{r: r}
		m, err := j.toMake(s, c.found)
		of := ""
		if m != nil {
			of = m.Of
		}
		if of != c.of || (err != nil) != (c.why != "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: made from %q, %v", c.what, of, err)
		}
	}
}
