package plan

import (
	"strings"
	"testing"

	"zab/lib/record"
)

// asideText returns, in a line, the steps of setting aside and the streams.
func asideText(steps []record.Step) string {
	var out []string
	for _, s := range steps {
		switch s.Do {
		case record.DoRenameAside:
			w := "aside " + s.Dataset + " " + s.To
			if s.From != "" {
				w += " from " + s.From
			}
			out = append(out, w)
		case record.DoRenameBack, record.DoRenameDone:
			out = append(out, strings.TrimPrefix(s.Do, "rename-"))
		case record.DoReceive, record.DoAbortResume:
			out = append(out, text([]record.Step{s}))
		}
	}
	return strings.Join(out, "; ")
}

func TestRenameAside(t *testing.T) {
	enc := func(r *record.Record) {
		r.Encryption, r.EncryptionRoot, r.KeyStatus, r.KeyGUID = "aes-256-gcm", r.Name, "available", "7"
	}
	volume := func(r *record.Record) { r.Kind = "volume" }
	wrote := func(r *record.Record) { r.Written = record.Ptr[int64](4096) }
	keep := func(*record.Record) {}
	const name = "a_diverged-20010909014640"
	clone := "aside backup/tank/a " + name + " from b-1; back; recv b-1>b-2; done"
	full := func(streams string) string { return "aside backup/tank/a " + name + "; " + streams + "; back; done" }
	for _, c := range []struct {
		what, args, source string
		change             func(*record.Record)
		target             string
		changeTarget       func(*record.Record)
		want               string // the steps, or the kind of the conflict that stays
	}{
		{"no conflict", "", "b-1 b-2", keep, "b-1", keep, "recv b-1>b-2"},
		{"nothing to send", "", "b-1", keep, "b-1", wrote, ""},
		{"an empty newer snapshot", "", "b-1 b-2", keep, "b-1 x", keep, "recv b-1>b-2"},
		{"written to", "", "b-1 b-2", keep, "b-1", wrote, clone},
		{"newer snapshots", "", "b-1 b-2", keep, "b-1 x* y", keep, clone},
		{"even an empty one, of a name that is to come", "", "b-1 b-2", keep, "b-1 b-2=7", keep, clone},
		{"raw", "", "b-1 b-2", enc, "b-1 x", enc, clone},
		{"a receive that broke off", "", "b-1 b-2", keep, "b-1", func(r *record.Record) {
			wrote(r)
			r.ResumeToken = token("tank/a@b-2", id("b-2"), id("b-1"))
		}, "abort; " + clone},
		{"no snapshot in common", "", "b-2 b-3", keep, "b-1", keep, full("recv >b-2; recv b-2>b-3")},
		{"of another pool, and only a part was searched", "", "b-2 b-3", func(r *record.Record) { r.PoolGUID, r.Partial = "5", true }, "b-1", func(r *record.Record) { r.From = "6" }, "no-common-snapshot"},
		{"of the same pool, and only a part was searched", "", "b-2 b-3", func(r *record.Record) { r.PoolGUID, r.Partial = "5", true }, "b-1", func(r *record.Record) { r.From = "6,5" }, full("recv >b-2; recv b-2>b-3")},
		{"another of the same name", "", "b-1=1", keep, "b-1=2", keep, full("recv >b-1")},
		{"without snapshots", "", "b-1", keep, "", keep, full("recv >b-1")},
		{"a volume where a filesystem was", "", "b-1 b-2", volume, "b-1", keep, full("recv >b-1; recv b-1>b-2")},
		{"an older one has the name", "", "b-1 b-2 b-3", keep, "b-3=9 b-2", wrote, "same-name-other-guid"},
		{"raw onto plain", "", "b-1 b-2", enc, "b-1", keep, "encryption-mismatch"},
		{"plain where --encrypt was asked for", "--encrypt", "b-1 b-2", keep, "b-0", keep, "target-not-encrypted"},
	} {
		state := []*record.Record{target("backup", ""), target("backup/tank", ""), with(target("backup/tank/a", c.target), c.changeTarget)}
		r := plan(t, "--rename-aside --utc --no-thinning "+c.args, state, with(source("tank/a", c.source), c.change)).of(t, "tank/a")
		got := asideText(r.Steps)
		if r.Conflict != nil {
			got = string(r.Conflict.Kind)
		}
		if got != c.want {
			t.Errorf("%s: %s, should be %s; %v", c.what, got, c.want, r.Error)
		}
		for _, s := range r.Steps {
			if strings.HasPrefix(s.Do, "rename-") && (s.GUID != state[2].GUID || s.Side != record.SideTarget) {
				t.Errorf("%s: %+v", c.what, s)
			}
			if s.Do == record.DoRelease && s.Side == record.SideTarget && !strings.Contains(c.want, "from b-1") && strings.Contains(c.want, "aside") {
				t.Errorf("%s: releases a hold of what is set aside: %+v", c.what, s)
			}
		}
	}
}

// If a copy cannot be set aside, the conflict stays and says why.
func TestRenameAsideCannot(t *testing.T) {
	key := func(root string) func(*record.Record) {
		return func(r *record.Record) {
			r.Encryption, r.EncryptionRoot, r.KeyStatus = "aes-256-gcm", root, "available"
		}
	}
	long := strings.Repeat("n", 235-len("backup/"))
	for _, c := range []struct {
		what, args string
		source     string
		state      []*record.Record
		why        string
	}{
		{"the target itself", "--strip-path 1", "tank", []*record.Record{target("backup", "b-0")}, "the target of the whole backup"},
		{"too long", "--strip-path 1", "tank/" + long, []*record.Record{target("backup", ""), target("backup/"+long, "b-0")}, "longer than 255 bytes"},
		{"its key is a child's", "", "tank/a", []*record.Record{target("backup", ""), with(target("backup/tank/a", "b-0"), key("backup/tank/a")),
			with(target("backup/tank/a/c", "b-0"), key("backup/tank/a"))}, "'backup/tank/a/c' has its key from it"},
	} {
		r := plan(t, "--rename-aside --no-thinning "+c.args, c.state, source(c.source, "b-1")).of(t, c.source)
		if r.Conflict == nil || !strings.Contains(r.Conflict.Message, c.why) || len(r.Steps) > 0 {
			t.Errorf("%s: %+v %v", c.what, r.Conflict, r.Error)
		}
	}
	// A name that is taken is no obstacle.
	state := []*record.Record{target("backup", ""), target("backup/tank/a", "b-0"), target("backup/tank/a_diverged-20010909014640", "x")}
	r := plan(t, "--rename-aside --utc", state, source("tank/a", "b-1")).of(t, "tank/a")
	if got := asideText(r.Steps); got != "aside backup/tank/a a_diverged-20010909014640-2; recv >b-1; back; done" {
		t.Error(got)
	}
	for _, other := range []string{"--rollback", "--force", "--destroy-incompatible"} {
		if err := plan(t, "--rename-aside "+other, nil).err; err == nil || !strings.Contains(err.Error(), other+" exclude each other") {
			t.Errorf("%s: %v", other, err)
		}
	}
}

// The steps that a dead run left are done by the next run, with or without
// --rename-aside and wherever the dead run stopped; the descendants are not sent again.
func TestRenameAsideUnfinished(t *testing.T) {
	const was = "backup/tank/a_diverged-20010909014640"
	aside := func(snapshots, mark, origin string) *record.Record {
		return with(target(was, snapshots), func(r *record.Record) {
			r.Aside, r.Origin, r.Written = mark, origin, record.Ptr[int64](4096)
		})
	}
	clone := with(target("backup/tank/a", ""), func(r *record.Record) { r.Origin = was + "@b-1" })
	rename := "aside backup/tank/a a_diverged-20010909014640"
	for _, c := range []struct {
		what   string
		state  []*record.Record
		source string
		a, kid string // the steps of tank/a and tank/a/kid
	}{
		{"marked, not renamed", []*record.Record{with(target("backup/tank/a", "b-1"), func(r *record.Record) { r.Aside = "begun:a" }), target("backup/tank/a/kid", "b-1")},
			"b-1 b-2", "recv b-1>b-2", "recv b-1>b-2"},
		{"renamed", []*record.Record{aside("b-1 x*", "begun:a", ""), target(was+"/kid", "b-1")},
			"b-1 b-2", rename + " from b-1; back; recv b-1>b-2; done", "recv b-1>b-2"},
		{"renamed, nothing to send", []*record.Record{aside("b-1 x*", "begun:a", ""), target(was+"/kid", "b-1")},
			"b-1", rename + " from b-1; back; done", ""},
		{"cloned", []*record.Record{clone, aside("b-1 x*", "begun:a", ""), target(was+"/kid", "b-1")},
			"b-1 b-2", rename + " from b-1; back; recv b-1>b-2; done", "recv b-1>b-2"},
		{"promoted", []*record.Record{target("backup/tank/a", "b-1"), aside("x*", "begun:a", "backup/tank/a@b-1"), target(was+"/kid", "b-1")},
			"b-1 b-2", rename + " from b-1; back; recv b-1>b-2; done", "recv b-1>b-2"},
		{"all but the end", []*record.Record{target("backup/tank/a", "b-1 b-2"), aside("x*", "begun:a", "backup/tank/a@b-1"), target("backup/tank/a/kid", "b-1 b-2")},
			"b-1 b-2", rename + " from b-1; back; done", ""},
		{"in full, renamed", []*record.Record{aside("x*", "begun:a", ""), target(was+"/kid", "b-1")},
			"b-1 b-2", rename + "; recv >b-1; recv b-1>b-2; back; done", "recv b-1>b-2"},
		{"in full, received", []*record.Record{target("backup/tank/a", "b-1 b-2"), aside("x*", "begun:a", ""), target(was+"/kid", "b-1")},
			"b-1 b-2", "back; done", "recv b-1>b-2"},
		{"done", []*record.Record{target("backup/tank/a", "b-1"), aside("x*", "done:a", "backup/tank/a@b-1"), target("backup/tank/a/kid", "b-1")},
			"b-1 b-2", "recv b-1>b-2", "recv b-1>b-2"},
	} {
		for _, option := range []string{"", "--rename-aside"} {
			state := append([]*record.Record{target("backup", ""), target("backup/tank", "")}, c.state...)
			res := plan(t, "--orphans --no-thinning "+option, state, source("tank/a", c.source), source("tank/a/kid", c.source))
			for n, want := range map[string]string{"tank/a": c.a, "tank/a/kid": c.kid} {
				r := res.of(t, n)
				if got := asideText(r.Steps); got != want || r.Error != nil {
					t.Errorf("%s: %s: %s, should be %s; %v", c.what, n, got, want, r.Error)
				}
			}
			for _, r := range res.records {
				if r.Type == record.TypeOrphan && strings.Contains(r.Name, "_diverged-") {
					t.Errorf("%s: an orphan: %s", c.what, r.Name)
				}
			}
		}
	}
	// A descendant waits until the record that moves it back is part of the run.
	state := []*record.Record{target("backup", ""), target("backup/tank", ""), aside("b-1 x*", "begun:a", ""), target(was+"/kid", "b-1")}
	if r := plan(t, "", state, source("tank/a/kid", "b-1 b-2")).of(t, "tank/a/kid"); r.Error == nil || r.Error.Kind != "parent-failed" || len(r.Steps) > 0 {
		t.Errorf("without its parent: %v %s", r.Error, asideText(r.Steps))
	}
	// The name alone, without zab:aside, does not mean that a dataset was set aside.
	state[2].Aside = ""
	res := plan(t, "--orphans", state, source("tank/b", "b-1"))
	if n := strings.Count(res.out, `"type":"orphan"`); n != 2 {
		t.Errorf("%d orphans: %s", n, res.out)
	}
}
