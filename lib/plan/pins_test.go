package plan

import (
	"slices"
	"strings"
	"testing"

	"zab/lib/chain"
	"zab/lib/record"
	"zab/lib/snapname"
)

// shared is the shared tag of the backup b, named its naming.
const shared = "zfs_autobackup:b"

var named = func() naming {
	format, err := (&snapname.Options{SnapshotFormat: "{}-%s"}).Format("b")
	if err != nil {
		panic(err)
	}
	return naming{format, shared}
}()

// P1: the base of a copy is held for the pool that the target is in now, and holds for
// former pools are released if nobody else can need them.
func TestPinsOfPools(t *testing.T) {
	root := target("backup", "")
	pin := func(pool string) string {
		return chain.Pin{Tag: shared, Dataset: root.GUID, Pool: pool}.String()
	}
	for _, c := range []struct {
		what, source, pool, had string
		bookmark                bool
		want                    string
	}{
		{"as it was", "b-1 b-2", "9", "9", false, "hold s PIN.9, hold t PIN.9, release s T, release s PIN.9, release t T, release t PIN.9"},
		{"an earlier version's", "b-1 b-2", "9", "", false, "hold s PIN.9, hold t PIN.9, release s T, release s PIN.9, release s PIN, release t T, release t PIN.9, release t PIN"},
		{"that of the disk that it was split off from", "b-1 b-2", "9", "8", false, "hold s PIN.9, hold t PIN.9, release s T, release s PIN.9, release t T, release t PIN.9, release t PIN.8"},
		{"of a pool that is not known", "b-1 b-2", "", "8", false, "hold s PIN, hold t PIN, release s T, release s PIN, release t T, release t PIN"},
		{"nothing to send, as it was", "b-1", "9", "9", false, ""},
		{"nothing to send, an earlier version's", "b-1", "9", "", false, "hold s PIN.9, hold t PIN.9, mark zab:pool=9, release s PIN, release t PIN"},
		{"nothing to send, split off", "b-1", "9", "8", false, "hold s PIN.9, hold t PIN.9, mark zab:pool=9, release t PIN.8"},
		{"nothing to send, with bookmarks", "b-1", "9", "8", true, "hold t PIN.9, mark zab:pool=9, release t PIN.8"},
	} {
		o := &Options{}
		o.Bookmark = c.bookmark
		s := newInventory(nil, "backup", nil)
		s.add(root)
		p := &planner{o: o, inv: s, pool: c.pool, asked: true, now: now}
		copied := with(target("backup/tank/a", "b-1"), func(r *record.Record) { r.Pool = c.had })
		s.add(copied)
		d := p.match(source("tank/a", c.source), "backup/tank/a", named)
		d.r.Target.Pin = p.pin(named)
		d.rehold = len(d.wanted) == 0 && c.had != c.pool
		var got []string
		for _, s := range p.holds(d) {
			text := s.Do + " " + s.Side[:1] + " " + s.Tag
			if s.Do == record.DoMark {
				text = "mark " + strings.Join(s.Set, " ")
			}
			text = strings.ReplaceAll(text, pin(""), "PIN")
			got = append(got, strings.ReplaceAll(text, shared, "T"))
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.what, strings.Join(got, ", "), c.want)
		}
		d.r = with(d.r, func(r *record.Record) { r.PoolGUID = "5" })
		marked := slices.ContainsFunc(p.mark(d, nil, nil), func(s record.Step) bool {
			return slices.ContainsFunc(s.Set, func(pv string) bool { return strings.HasPrefix(pv, "zab:pool=") })
		})
		if len(d.wanted) > 0 && marked != (c.pool != "" && c.pool != c.had) {
			t.Errorf("%s: the pool is marked: %v", c.what, marked)
		}
	}
}

// The keys of bookmarks depend on the pool's guid. A key made without that guid is the
// target's own, and is removed.
func TestBookmarksOfPools(t *testing.T) {
	root := target("backup", "")
	key := func(pool string) string {
		return chain.TargetKey(chain.Pin{Tag: shared, Dataset: root.GUID, Pool: pool}.String())
	}
	names := strings.NewReplacer("ME", key("9"), "OLD", key(""), "TWIN", key("8"))
	mark := func(s string) string {
		snap, targets, _ := strings.Cut(s, ":")
		return chain.MarkName(snap, strings.Split(names.Replace(targets), ","))
	}
	for _, c := range []struct{ what, source, marks, want string }{
		{"moved on", "b-1 b-2", "b-1:OLD", "+b-2:ME -b-1:OLD"},
		{"moved on, and a twin not yet", "b-1 b-2", "b-1:OLD,TWIN", "+b-1:TWIN +b-2:ME -b-1:OLD,TWIN"},
		{"nothing to send", "b-1", "b-1:OLD", "+b-1:ME -b-1:OLD"},
		{"nothing to send, with a twin", "b-1", "b-1:TWIN", "+b-1:ME,TWIN -b-1:TWIN"},
		{"both", "b-1", "b-1:ME,OLD", "+b-1:ME -b-1:ME,OLD"},
		{"as it should be", "b-1", "b-1:ME,TWIN", ""},
	} {
		o := &Options{}
		o.Bookmark = true
		s := newInventory(nil, "backup", nil)
		s.add(root)
		s.add(target("backup/tank/a", "b-1"))
		p := &planner{o: o, inv: s, pool: "9", asked: true, now: now}
		r := source("tank/a", c.source)
		for _, m := range strings.Fields(c.marks) {
			snap, _, _ := strings.Cut(m, ":")
			r.Bookmarks = append(r.Bookmarks, record.Snapshot{Name: mark(m), GUID: id(snap), CreateTXG: "10"})
		}
		d := p.match(r, "backup/tank/a", named)
		var got, want []string
		for _, s := range p.bookmarks(d) {
			if s.Do == record.DoBookmark {
				got = append(got, "+"+s.To)
			} else {
				got = append(got, "-"+s.From[1:])
			}
		}
		for _, w := range strings.Fields(c.want) {
			want = append(want, w[:1]+mark(w[1:]))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", c.what, got, want)
		}
		// If nothing is sent anywhere, the pool's guid is not known and no bookmark
		// changes.
		if p.asked = false; p.bookmarks(d) != nil {
			t.Errorf("%s: without the pool's guid", c.what)
		}
	}
}

// If another machine has made the copy in the target's place, the conflict says so
// first.
func TestOtherMachine(t *testing.T) {
	for _, c := range []struct {
		what, pool, from, snapshots string
		first                       string
	}{
		{"another's", "5", "77", "b-1=9", "give each source a target"},
		{"another's, that has it from a third", "5", "66,77", "b-1=9", "give each source a target"},
		{"without a snapshot", "5", "77", "", "give each source a target"},
		{"its own", "5", "5", "b-1=9", "--rename-aside"},
		{"nobody says", "5", "", "b-1=9", "--rename-aside"},
		{"not from zab-select", "", "77", "b-1=9", "--rename-aside"},
		{"one that went through its pool", "5", "5,77", "b-1=9", "--rename-aside"},
	} {
		state := []*record.Record{target("backup", ""), with(target("backup/tank/a", c.snapshots), func(r *record.Record) { r.From = c.from })}
		r := plan(t, "--no-holds", state, with(source("tank/a", "b-1 b-2"), func(r *record.Record) { r.PoolGUID = c.pool })).of(t, "tank/a")
		if r.Conflict == nil || !strings.HasPrefix(r.Conflict.Remedies[0], c.first) || strings.Contains(r.Error.Message, "another machine's") != (c.first[0] == 'g') {
			t.Errorf("%s: %+v", c.what, r.Conflict)
		}
	}
}

// zpool split resets the intent log of each dataset, which counts as written. In the
// first run to such a pool the check whether more was written is left to zfs receive.
func TestSplitOff(t *testing.T) {
	for _, c := range []struct {
		what, had, mounted string
		written            int64
		aside              bool
		conflict           bool
	}{
		{"split off", "8", "no", 1024, false, false},
		{"an earlier version's", "", "no", 8192, false, false},
		{"in the pool that it was in", "9", "no", 1024, false, true},
		{"more than a head", "8", "no", 1 << 20, false, true},
		{"mounted", "8", "yes", 1024, false, true},
		{"what is to be set aside", "8", "no", 1024, true, true},
	} {
		o := &Options{}
		o.RenameAside = c.aside
		s := newInventory(nil, "backup", nil)
		s.add(target("backup", ""))
		s.add(with(target("backup/tank/a", "b-1"), func(r *record.Record) { r.Pool, r.Mounted, r.Written = c.had, c.mounted, &c.written }))
		p := &planner{o: o, inv: s, pool: "9", asked: true, now: now}
		d := p.match(source("tank/a", "b-1 b-2"), "backup/tank/a", named)
		steps, conflict := p.diverged(d)
		if (conflict != nil) != c.conflict || len(steps) > 0 {
			t.Errorf("%s: %+v, %+v", c.what, steps, conflict)
		}
	}
}
