package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"zab/lib/record"
	"zab/lib/streamsum"
)

// TestWatch checks that a comparison goes on for as long as there are signs of life, and
// not much longer.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &options{}
		o.Stall.Duration = 10 * time.Minute
		v := &verifier{o: o}
		ends := [2]*end{{}, {}}
		ctx, unwatch := v.watch(context.Background(), ends[:]...)
		if every := ends[0].watch.signs().Every; every <= 0 || every > o.Stall.Duration/2 {
			t.Errorf("a sign of life every %s", every)
		}
		for range 3 {
			time.Sleep(9 * time.Minute)
			ends[0].watch.alive()
			time.Sleep(9 * time.Minute)
			if _, err := ends[1].watch.reader(strings.NewReader("x")).Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			// The end of a stream is none.
			time.Sleep(30 * time.Second)
			_, _ = ends[1].watch.reader(strings.NewReader("")).Read(make([]byte, 1))
		}
		if ctx.Err() != nil {
			t.Fatal("ended although it went on")
		}
		time.Sleep(9*time.Minute + 31*time.Second)
		if ctx.Err() == nil {
			t.Fatal("it goes on without a sign of life")
		}
		var stalled *record.Error
		if err := unwatch(errors.New("killed")); !errors.As(err, &stalled) || stalled.Kind != record.KindStalled {
			t.Errorf("%v", err)
		}
		// What failed before, or did not fail, is not called stalled.
		_, unwatch = v.watch(context.Background(), ends[:]...)
		if err := unwatch(io.ErrUnexpectedEOF); err != io.ErrUnexpectedEOF {
			t.Errorf("%v", err)
		}
		_, unwatch = v.watch(context.Background(), ends[:]...)
		time.Sleep(time.Hour)
		if err := unwatch(nil); err != nil {
			t.Errorf("%v", err)
		}
		// Without the option nothing ends.
		o.Stall.Duration = 0
		ends = [2]*end{{}, {}}
		ctx, unwatch = v.watch(context.Background(), ends[:]...)
		time.Sleep(1000 * time.Hour)
		ends[0].watch.alive()
		if ctx.Err() != nil || unwatch(nil) != nil || ends[0].watch.signs().Every != 0 {
			t.Error("watched without the option")
		}
	})
}

// TestStall checks that a side that falls silent ends the comparison, wherever the digest is
// computed, and that another host is asked for signs of life.
func TestStall(t *testing.T) {
	res, err := streamsum.Read(strings.NewReader(string(streamOf(11, 0, "x"))), streamsum.Options{})
	if err != nil {
		t.Fatal(err)
	}
	answer, _ := json.Marshal(res.Line())
	for _, c := range []struct {
		what, pause string
		digest      string // a stand-in for zab-digest on another host
		stall, want string
	}{
		{"both answer", "0", "", "1h", ""},
		{"silent", "60", "", "1s", "nothing was read for 1s"},
		{"silent for a while without a limit", "0.2", "", "0", ""},
		{"another host answers", "0", `echo '{"type":"progress","read":5}'; echo '{"type":"progress","read":7}'; cat answer`, "1h", ""},
		{"another host is silent", "0", "exec sleep 60", "1s", "nothing was read for 1s"},
	} {
		w := newWorld(t, "1=11")
		script := strings.Replace(standIn, `exec cat "$f";;`, `head -c 700 "$f"; sleep $(cat pause); tail -c +701 "$f";;`, 1)
		if script == standIn {
			t.Fatal("the stand-in has changed")
		}
		w.write("zfs", []byte(script))
		w.write("pause", []byte(c.pause))
		w.write("tank_a@1", streamOf(11, 0, "x"))
		w.write("backup_a@1", streamOf(11, 0, "x"))
		if c.digest != "" {
			w.r.Target.Host = "far"
			w.write("answer", append(answer, '\n'))
			w.write("zab-digest", []byte("#!/bin/sh\ncd \"$POOL\"\necho \"$*\" >options\n"+c.digest+"\n"))
		}
		r, stderr := w.verify("--stall-timeout", c.stall)
		got := ""
		if r.Error != nil {
			got = fmt.Sprintf("%s: %s", r.Error.Kind, r.Error.Message)
		}
		if c.want == "" && got != "" || c.want != "" && (!strings.HasPrefix(got, string(record.KindStalled)) || !strings.Contains(got, c.want)) {
			t.Errorf("%s: %q\n%s", c.what, got, stderr)
		}
		if c.digest != "" && !strings.Contains(w.read("options"), "--progress-every=") {
			t.Errorf("%s: zab-digest got %q", c.what, w.read("options"))
		}
	}
	// A sign that nobody asked for is no answer.
	w := newWorld(t, "1=11")
	w.write("tank_a@1", streamOf(11, 0, "x"))
	w.r.Target.Host = "far"
	w.write("answer", append(answer, '\n'))
	w.write("zab-digest", []byte("#!/bin/sh\ncd \"$POOL\"\necho '{\"type\":\"progress\",\"read\":5}'; cat answer\n"))
	if r, _ := w.verify(); r.Error == nil || r.Verify.Result != record.VerifyUnproved {
		t.Errorf("%+v", r.Verify)
	}
}
