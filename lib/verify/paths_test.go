package verify

import (
	"fmt"
	"strings"
	"testing"
)

// The objects that differ get their paths, of the source where that has them and can tell,
// else of the target; and none that nobody asked for, or of another snapshot.
func TestPaths(t *testing.T) {
	name := func(n int, path string) string {
		return fmt.Sprintf(`{"type":"name","object":%d,"path":"%s"}`+"\n", n, path)
	}
	last := func(guid string) string { return `{"type":"names","name":"x","guid":"` + guid + `"}` + "\n" }
	const failed = "" // there is no file to print
	for _, c := range []struct{ what, source, target, want string }{
		{"both tell", name(3, "a%0Ab/c") + last("12"), name(5, "d") + last("12"), `"a\nb/c", "d" (only on the target)`},
		{"the source does not tell", failed, name(3, "a") + name(5, "d") + last("12"), `"a", "d" (only on the target)`},
		{"the source knows no name", last("12"), name(3, "a") + last("12"), `"a", object 5 (only on the target)`},
		{"another snapshot", name(3, "a") + last("13"), name(5, "d") + last("9"), `object 3, object 5 (only on the target)`},
		{"not to the end", name(3, "a"), name(5, "d"), `object 3, object 5 (only on the target)`},
		{"beyond the end", name(3, "a") + last("12") + name(3, "b"), failed, `object 3, object 5 (only on the target)`},
		{"too many", strings.Repeat(name(3, "a"), 3) + last("12"), failed, `object 3, object 5 (only on the target)`},
		{"twice", name(3, "a") + name(3, "b") + last("12"), failed, `object 3, object 5 (only on the target)`},
		{"not asked for", name(3, "a") + last("12"), name(3, "z") + last("12"), `"a", object 5 (only on the target)`},
		{"out of the tree", name(3, "../a") + last("12"), name(5, "/etc/passwd") + last("12"), `object 3, object 5 (only on the target)`},
		{"long", name(3, strings.Repeat("a", 400)) + last("12"), failed, `"` + strings.Repeat("a", 200) + `"..., object 5 (only on the target)`},
		{"no path", name(3, "a\x1b") + last("12"), name(5, "") + last("12"), `object 3, object 5 (only on the target)`},
		{"a digest", `{"type":"files","guid":"12"}` + "\n", "hello\n", `object 3, object 5 (only on the target)`},
	} {
		w := newWorld(t, "2=12").digests()
		w.r.Target.Host = "far"
		w.write("tank_a@2", streamOf(12, 0, "x", "y", "same"))
		w.write("backup_a@2", streamOf(12, 0, "x", "z", "same", "more"))
		for side, text := range map[string]string{"tank_a@2": c.source, "backup_a@2": c.target} {
			if text != failed {
				w.write(side+".names", []byte(text))
			}
		}
		r, stderr := w.verify()
		if r.Error == nil || !strings.Contains(stderr, "they differ in "+c.want+"\n") {
			t.Errorf("%s: %+v\n%s", c.what, r.Error, stderr)
		}
		if !strings.Contains(w.read("log"), "zab-digest --files --name-of=3 tank/a@2\n") || !strings.Contains(w.read("log"), "--name-of=5 backup/a@2\n") {
			t.Errorf("%s: %s", c.what, w.read("log"))
		}
	}
	// A source that does not answer costs its own names alone.
	w := newWorld(t, "2=12")
	w.write("zab-digest", []byte(strings.Replace(filesStandIn, "\ncase", "\ncase $* in *tank/a@2) exec sleep 60;; esac\ncase", 1)))
	w.write("tank_a@2", streamOf(12, 0, "x", "y"))
	w.write("backup_a@2", streamOf(12, 0, "x", "z"))
	w.write("backup_a@2.names", []byte(name(3, "a")+last("12")))
	if _, stderr := w.verify("--stall-timeout=1s", "-v"); !strings.Contains(stderr, `they differ in "a"`) || !strings.Contains(stderr, "cannot tell the names of what differs in 'tank/a@2': nothing was read for 1s") {
		t.Error(stderr)
	}
	// --fetch asks no other host.
	w.r.Target.Host = "far"
	w.write("log", nil)
	if _, stderr := w.verify("--fetch", "--stall-timeout=1s"); !strings.Contains(stderr, "they differ in object 3\n") || strings.Contains(w.read("log"), "zab-digest --files --name-of=3 --progress-every=1s backup/a@2") {
		t.Errorf("%s\n%s", stderr, w.read("log"))
	}
	w = newWorld(t, "2=12").digests()
	w.r.Kind = "volume"
	w.write("tank_a@2", streamOf(12, 0, "x"))
	w.write("backup_a@2", streamOf(12, 0, "y"))
	if _, stderr := w.verify(); !strings.Contains(stderr, "they differ in object 2\n") || strings.Contains(w.read("log"), "zab-digest") {
		t.Errorf("a volume: %s\n%s", stderr, w.read("log"))
	}
}
