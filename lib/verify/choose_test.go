package verify

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"

	"zab/lib/record"
	"zab/lib/streamsum"
)

// snapshots returns those of a text such as "a=1 b=2".
func snapshots(text string) (out []record.Snapshot) {
	for i, f := range strings.Fields(text) {
		name, guid, _ := strings.Cut(f, "=")
		out = append(out, record.Snapshot{Name: name, GUID: guid, CreateTXG: fmt.Sprint(i + 1)})
	}
	return out
}

func TestChoose(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	day := int64(86400)
	proof := func(guid, how string, full int64) *record.Proof {
		return &record.Proof{GUID: guid, At: now.Unix() - day, How: how, Full: now.Unix() - full, Last: 77}
	}
	locked := func(key string) record.Facts {
		return record.Facts{Encryption: "aes-256-gcm", KeyStatus: "unavailable", KeyGUID: key}
	}
	open := func(key string) record.Facts {
		return record.Facts{Encryption: "aes-256-gcm", KeyStatus: "available", KeyGUID: key}
	}
	plain := record.Facts{}
	for _, c := range []struct {
		what, source, target string
		proof                *record.Proof
		every                int64
		facts, copy          record.Facts
		want                 string // source's snapshot<base, raw; the kind of an error
	}{
		{"the newest in common", "a=1 b=2 c=3", "a=1 b=2", nil, 0, plain, plain, "b"},
		{"under another name", "a=1 b=2", "x=2", nil, 0, plain, plain, "b=x"},
		{"an increment", "a=1 b=2 c=3", "a=1 b=2 c=3", proof("2", "full", day), 0, plain, plain, "c<b"},
		{"from further back", "a=1 b=2 c=3", "a=1 b=2 c=3", proof("1", "increment", day), 0, plain, plain, "c<a"},
		{"proved", "a=1 b=2", "a=1 b=2", proof("2", "increment", day), 0, plain, plain, ""},
		{"a common one is newer than the proved one, and a copy of neither the newest", "a=1 b=2 c=3 d=4", "a=1 b=2 c=3", proof("1", "full", day), 0, plain, plain, "c<a"},
		{"proved, and the rest has not come", "a=1 b=2 c=3", "a=1 b=2", proof("2", "full", day), 0, plain, plain, ""},
		{"the proved one is gone here", "b=2 c=3", "a=1 b=2 c=3", proof("1", "full", day), 0, plain, plain, "c"},
		{"the proved one is gone there", "a=1 b=2 c=3", "c=3", proof("2", "full", day), 0, plain, plain, "c"},
		{"another has its name", "a=1 b=2 c=3", "a=9 c=3", proof("1", "full", day), 0, plain, plain, "c"},
		{"it differed", "a=1 b=2", "a=1 b=2", proof("2", "different", day), 0, plain, plain, "b"},
		{"it differed before", "a=1 b=2", "a=1 b=2", proof("1", "different", day), 0, plain, plain, "b"},
		{"it is time for all", "a=1 b=2", "a=1 b=2", proof("1", "increment", 31*day), 30, plain, plain, "b"},
		{"it is not", "a=1 b=2", "a=1 b=2", proof("1", "increment", 29*day), 30, plain, plain, "b<a"},
		{"proved, and time for all", "a=1 b=2", "a=1 b=2", proof("2", "increment", 31*day), 30, plain, plain, "b"},
		{"none in common", "a=1", "a=2", nil, 0, plain, plain, "unproved"},
		{"no copy", "a=1", "", nil, 0, plain, plain, "unproved"},
		{"raw, without keys", "a=1", "a=1", nil, 0, locked("5"), locked("5"), "a raw"},
		{"another key, both loaded", "a=1", "a=1", nil, 0, open("5"), open("6"), "a"},
		{"another key, one loaded", "a=1", "a=1", nil, 0, open("5"), locked("6"), "key"},
		{"a decrypted copy", "a=1", "a=1", nil, 0, open("5"), plain, "a"},
		{"a decrypted copy, no key", "a=1", "a=1", nil, 0, locked("5"), plain, "key"},
		{"an encrypted copy, no key", "a=1", "a=1", nil, 0, plain, locked("6"), "key"},
		{"the master keys are not known", "a=1", "a=1", nil, 0, locked(""), locked(""), "key"},
	} {
		r := &record.Record{Name: "tank/a", Facts: c.facts, Snapshots: snapshots(c.source), Target: &record.Target{Name: "backup/a", Snapshots: snapshots(c.target)}}
		s := state{proof: c.proof, copy: c.copy}
		if c.every > 0 {
			s.again = now.Unix() - c.every*day
		}
		task, kind, why := choose(r, s)
		got := string(kind)
		if (kind != "") != (why != "") || kind != "" && task != nil {
			t.Errorf("%s: %+v, %q, %q", c.what, task, kind, why)
		}
		if task != nil {
			if got = task.source; task.target != task.source {
				got += "=" + task.target
			}
			if task.increment() {
				got += "<" + task.sourceFrom
				if task.last != 77 || task.full().last != 0 || task.full().fromGUID != "" {
					t.Errorf("%s: %+v", c.what, task)
				}
			}
			if task.raw {
				got += " raw"
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q (%s)", c.what, got, c.want, why)
		}
	}
	if _, kind, why := choose(&record.Record{Name: "tank/a"}, state{}); kind != record.KindUnproved || why == "" {
		t.Errorf("without a target: %q, %q", kind, why)
	}
}

func TestMerge(t *testing.T) {
	objects := func(text string) <-chan streamsum.Object {
		c := make(chan streamsum.Object)
		go func() {
			defer close(c)
			for _, f := range strings.Fields(text) {
				var o streamsum.Object
				_, _ = fmt.Sscanf(f, "%d=%d", &o.Number, &o.Digest[0])
				c <- o
			}
		}()
		return c
	}
	for _, c := range []struct{ source, target, want string }{
		{"1=1 2=2", "1=1 2=2", ""},
		{"1=1 2=2 4=4", "1=1 2=3 4=4", "2"},
		{"1=1 2=2", "2=2", "1source"},
		{"2=2", "1=1 2=2 3=3", "1target 3target"},
		{"", "7=1", "7target"},
		{"7=1", "", "7source"},
		{"1=1 2=2 3=3 4=4", "", "1source 2source 3source"},
	} {
		var got []string
		merge(objects(c.source), objects(c.target), func(a, b *streamsum.Object) int { return cmp.Compare(a.Number, b.Number) }, func(a, b *streamsum.Object) bool {
			if a == nil || b == nil || a.Digest != b.Digest {
				got = append(got, fmt.Sprint(cmp.Or(a, b).Number)+where(a, b))
			}
			return len(got) < 3
		})
		if strings.Join(got, " ") != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
