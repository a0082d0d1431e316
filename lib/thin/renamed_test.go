package thin

import (
	"strings"
	"testing"

	"zab/lib/record"
)

// P1: the newest snapshot in common with a copy under another name stays on the source,
// even if a full stream is to be sent, until the dataset has a copy at its place (P4); and a
// copy that is still to be renamed is not thinned under its new name.
func TestRenamedCopies(t *testing.T) {
	p := newPool(t)
	r := both("tank/new", "9 8 7", "")
	r.Target.Exists, r.Target.Snapshots = false, nil
	r.Target.Elsewhere, r.Target.ElsewhereGUID = "backup/tank/old", r.Snapshots[0].GUID
	moved := both("tank/moved", "9 8 7", "9 8 7")
	moved.Target.Elsewhere = "backup/tank/was"
	there := both("tank/there", "9 8 7", "9 8 7")
	there.Target.Elsewhere = "backup/tank/was2"
	there.Steps = []record.Step{{Do: record.DoRename, Side: record.SideTarget, Dataset: "backup/tank/there", From: "backup/tank/was2", GUID: "5", Snapshot: "x", FromGUID: "6"}}
	there.Results = []record.Result{{Do: record.DoRename, Done: true}}
	sent := both("tank/sent", "9 8 7", "7")
	sent.Target.Elsewhere, sent.Target.ElsewhereGUID = "backup/tank/before", sent.Snapshots[0].GUID
	sent.Results = []record.Result{{Do: record.DoReceive, Done: true}}
	p.has(t, r, moved, there, sent)
	out, _, stderr := run(t, "--keep-source=1 --keep-target=1", lines(t, r, moved, there, sent))
	if v := verdict(t, out[0].Thin.Source, ours(9)); !v.Keep || !strings.Contains(strings.Join(v.Why, " "), "backup/tank/old") {
		t.Errorf("%+v", v)
	}
	log := strings.Join(p.log(t), "\n")
	for _, what := range []string{"destroy tank/new@" + ours(8), "destroy tank/moved@" + ours(9), "destroy backup/tank/there@" + ours(9), "destroy tank/sent@" + ours(9)} {
		if !strings.Contains(log, what) {
			t.Errorf("%q is not in %s, %s", what, log, stderr)
		}
	}
	if strings.Contains(log, "backup/tank/moved") || len(out[1].Target.Snapshots) != 3 {
		t.Errorf("%s, %+v", log, out[1].Target.Snapshots)
	}
}
