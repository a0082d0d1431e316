package xfer

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"zab/lib/record"
	"zab/lib/zfs"
	"zab/lib/zfs/zfstest"
)

// Of several limits the cause names the one that leaves the least.
func TestNearestLimit(t *testing.T) {
	set := func(name string, props ...string) zfs.Dataset {
		d := zfs.Dataset{Name: name, Props: map[string]zfs.Value{}}
		for _, p := range props {
			k, v, _ := strings.Cut(p, "=")
			v, source, _ := strings.Cut(v, ":")
			d.Props[k] = zfs.Value{Value: v, Source: source}
		}
		return d
	}
	pool := set("d", "available=5000000", "used=90000000")
	const m = "000000"
	cases := []struct {
		name   string
		limits []zfs.Dataset
		quota  bool
		text   string
		hint   string
	}{
		{"a quota that came with the stream", []zfs.Dataset{set("d/bk/s", "quota=20"+m+":received", "used=19"+m), pool}, true,
			"the quota of 'd/bk/s' is 19 MiB, of which 977 KiB are left; it came with the stream", "'zfs set quota=none d/bk/s'; --filter-properties quota"},
		{"its own", []zfs.Dataset{set("d/bk/s", "quota=20"+m+":local", "used=19"+m), pool}, true, "the quota of 'd/bk/s'", "'zfs set quota=none d/bk/s'"},
		{"a refquota", []zfs.Dataset{set("d/bk/s", "refquota=20"+m+":received", "referenced=20"+m, "used=20"+m), pool}, true, "the refquota of 'd/bk/s'", "zfs set refquota=none d/bk/s"},
		{"that of the target", []zfs.Dataset{set("d/bk/s", "quota=0", "used=9"), set("d/bk", "quota=30"+m+":local", "used=30"+m), pool}, true,
			"the quota of 'd/bk'", "free space below it, or raise it: 'zfs set quota=SIZE d/bk'"},
		{"a refquota above is none of the copy's", []zfs.Dataset{set("d/bk/s"), set("d/bk", "refquota=1:local", "referenced=1"), set("d", "quota=9"+m+":local", "used=1", "available=2"+m)}, true,
			"the quota of 'd'", ""},
		{"a quota, though zfs speaks of space", []zfs.Dataset{set("d/bk/s", "quota=20"+m+":received", "used=19"+m), pool}, false, "the quota of 'd/bk/s'", ""},
		{"the pool", []zfs.Dataset{set("d/bk/s", "quota=900"+m+":received", "used=19"+m), pool}, false, "", ""},
		{"filesystems", []zfs.Dataset{set("d/bk/s"), set("d/bk", "filesystem_limit=3:local", "filesystem_count=3"), pool}, true, "the filesystem_limit of 'd/bk' is 3, which is reached", "'zfs set filesystem_limit=N d/bk'"},
		{"snapshots, and no end of space", []zfs.Dataset{set("d/bk/s", "quota=900"+m+":local", "used=19", "snapshot_limit=2:received", "snapshot_count=2"), pool}, true, "the snapshot_limit of 'd/bk/s' is 2", "zfs set snapshot_limit=none d/bk/s"},
		{"a limit that is not reached", []zfs.Dataset{set("d/bk/s", "snapshot_limit=3:local", "snapshot_count=2", "filesystem_limit=none"), pool}, true, "-", ""},
	}
	m0 := &zfs.Machine{}
	for _, c := range cases {
		l, ok := nearest(c.limits, "d/bk/s", c.quota)
		if ok != (c.text != "-") {
			t.Errorf("%s: %v %+v", c.name, ok, l)
			continue
		}
		if !ok {
			continue
		}
		if c.text == "" {
			if l.prop != "" || l.dataset != "d" || l.left != 5000000 {
				t.Errorf("%s: %+v", c.name, l)
			}
			continue
		}
		got := limited(m0.Host(""), l, "d/bk/s")
		if !strings.Contains(got.text, c.text) || !strings.Contains(got.hint, c.hint) {
			t.Errorf("%s: %q, %q", c.name, got.text, got.hint)
		}
	}
	if h := limited(m0.Host("root@nas"), limit{dataset: "d/bk/s", prop: "quota"}, "d/bk/s").hint; h != "'zfs set quota=none d/bk/s' on root@nas" {
		t.Errorf("%q", h)
	}
}

// A feature is lacking if it is in use on the source, the stream needs it, and the
// target's pool does not have it.
func TestLackedFeatures(t *testing.T) {
	all := func(state string, but ...string) map[string]string {
		m := map[string]string{}
		for _, f := range zfs.StreamFeatures {
			m[f] = state
		}
		for _, b := range but {
			f, s, _ := strings.Cut(b, "=")
			m[f] = s
		}
		return m
	}
	cases := []struct {
		from, to map[string]string
		flags    string
		want     string
	}{
		{all("active"), all("enabled"), "-L -c -p -w", ""},
		{all("enabled"), all("disabled"), "-L -c -p -w", ""},
		{all("enabled", "large_dnode=active"), all("disabled"), "-p", "large_dnode"},
		{all("active"), all("disabled"), "-p", "large_dnode longname redacted_datasets"},
		{all("active"), all("active", "zstd_compress=-"), "-c -p", "zstd_compress"},
		{all("active"), all("active", "zstd_compress=-"), "-p", ""},
		{all("active"), all("active", "large_blocks=disabled"), "-L", "large_blocks"},
		{all("active"), all("active", "encryption=disabled"), "-w", "encryption"},
		{all("active"), all("active", "encryption=disabled"), "-p", ""},
	}
	for _, c := range cases {
		var got []string
		for _, m := range lacked(c.from, c.to, strings.Fields(c.flags)) {
			got = append(got, m[0])
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", c.flags, got, c.want)
		}
	}
	got := lacking((&zfs.Machine{}).Host("nas"), "y", [][2]string{{"large_dnode", "disabled"}, {"zstd_compress", "-"}})
	if !strings.Contains(got.text, "the pool 'y' is without feature@large_dnode, feature@zstd_compress") ||
		!strings.Contains(got.hint, "'zpool set feature@large_dnode=enabled y' on nas") || !strings.Contains(got.hint, "the ZFS of nas does not know all of them") {
		t.Errorf("%q, %q", got.text, got.hint)
	}
}

// The snapshots that cannot be read are left out, and no stream brings them all the same.
func TestWithout(t *testing.T) {
	step := func(words string, props ...string) record.Step {
		f := strings.Fields(words)
		s := record.Step{Do: record.DoReceive, Dataset: "d/s", To: f[len(f)-1], ToGUID: "g" + f[len(f)-1], Set: props, Token: "t"}
		if f[0] != "-" {
			s.From, s.FromGUID = f[0], "g"+f[0]
		}
		for _, n := range f[1 : len(f)-1] {
			s.Through = append(s.Through, record.Through{Name: n, GUID: "g" + n})
		}
		return s
	}
	lost := func(names string) map[string][]string {
		m := map[string][]string{}
		for _, n := range strings.Fields(names) {
			m[n] = []string{"x"}
		}
		return m
	}
	cases := []struct {
		steps  []record.Step
		lost   string
		newest bool
		want   string
		bad    string
	}{
		{[]record.Step{step("0 1")}, "", false, "", ""},
		{[]record.Step{step("- 1")}, "", false, "", ""},
		{[]record.Step{step("0 1 2")}, "", false, "0>2", "1"},
		{[]record.Step{step("0 1 2 3 4")}, "", false, "0>2 2>3>4", "1"},
		{[]record.Step{step("0 1 2 3 4")}, "3", false, "0>2 2>4", "1 3"},
		{[]record.Step{step("0 1 2 3 4")}, "4", false, "0>2 2>3>4", "1"},
		{[]record.Step{step("0 1 2 3 4")}, "2 3 4", false, "0>4", "1 2 3"},
		{[]record.Step{step("0 1 2 3 4")}, "", true, "0>4", "1 2 3"},
		{[]record.Step{step("- 1", "first"), step("1 2 3", "more")}, "", false, ">2first 2>3more", "1"},
		{[]record.Step{step("- 1", "first"), step("1 2", "more")}, "", false, ">2first", "1"},
		{[]record.Step{step("0 1 2", "a"), step("2 4 5", "b"), step("5 7", "c")}, "2", false, "0>4a 4>5b 5>7c", "1 2"},
		{[]record.Step{step("0 1"), step("1 3"), step("3 5")}, "", true, "0>5", "1 3"},
	}
	for i, c := range cases {
		bad, steps := without(c.steps, lost(c.lost), c.newest)
		var got []string
		for _, s := range steps {
			if s.Token != "" || s.ToGUID != "g"+s.To || s.From != "" && s.FromGUID != "g"+s.From {
				t.Errorf("%d: %+v", i, s)
			}
			text := s.From
			for _, th := range s.Through {
				text += ">" + th.Name
			}
			got = append(got, text+">"+s.To+strings.Join(s.Set, ""))
		}
		if strings.Join(got, " ") != c.want || strings.Join(bad, " ") != c.bad {
			t.Errorf("%d: %q without %q, want %q without %q", i, got, bad, c.want, c.bad)
		}
	}
}

// Only the properties that zfs refuses to set on the dataset of a zone are left out.
func TestForZone(t *testing.T) {
	set, exclude := forZone([]string{"readonly=on", "sharenfs=off", "mountpoint=none", "sharesmb=on"}, []string{"x"})
	if strings.Join(set, " ") != "readonly=on mountpoint=none" || strings.Join(exclude, " ") != "x sharenfs sharesmb" {
		t.Errorf("%q, %q", set, exclude)
	}
	set, exclude = forZone([]string{"mountpoint=/x"}, []string{"mountpoint"})
	if set != nil || strings.Join(exclude, " ") != "mountpoint" {
		t.Errorf("%q, %q", set, exclude)
	}
}

// broken is a stand-in for zfs and zpool with a source tank/a. The snapshots named in the
// file bad cannot be read; if there is a file why, the receive fails with its text. zpool
// status prints the file status.
const broken = `#!/bin/sh
cd "$POOL"
tab='	'
echo "${0##*/} $*" >>log
for x; do :; done
case ${0##*/} in
zpool)
	case $1 in
	status) if [ -e synced ] && [ -e later ]; then cat later; else cat status; fi; exit 0;;
	sync) touch synced; exit 0;;
	get) cat "features.$x"; exit 0;;
	esac;;
esac
case $1 in
send)
	to=${x##*@}
	from=${4##*@}
	echo "$to" >sent
	for s in $(cat bad); do
		if [ "$3" = -I ]; then
			[ "${s#s}" -gt "${from#s}" ] && [ "${s#s}" -le "${to#s}" ]
		else
			[ "$s" = "$to" ]
		fi && { echo "warning: cannot send 'tank/a@$s': Input/output error" >&2; exit 1; }
	done
	echo data;;
receive)
	case $2 in -A) rm -f token; exit 0;; esac
	n=$(cat | wc -c)
	if [ -e why ]; then cat why >&2; exit 1; fi
	if [ "$n" = 0 ]; then [ -e next ] && cp next token; echo "cannot receive incremental stream: checksum mismatch or incomplete stream." >&2; exit 1; fi
	s=$(cat sent)
	echo "pool/a@$s${tab}${s#s}${tab}9" >>list;;
list)
	rc=0
	for a; do case $a in *@*) grep "^$a$tab" list || { echo "cannot open '$a': dataset does not exist" >&2; rc=1; };; esac; done
	exit $rc;;
get)
	t=-
	[ -e token ] && t=$(cat token)
	case $* in *receive_resume_token*) echo "pool/a${tab}receive_resume_token${tab}$t${tab}-";; *) exit 1;; esac;;
esac
`

// runBroken executes the steps of one record against stand-ins.
func runBroken(t *testing.T, files map[string]string, r *record.Record) (out *record.Record, log, stderr string) {
	t.Helper()
	for _, name := range []string{"zfs", "zpool"} {
		files[name] = broken
	}
	dir := machine(t, files)
	records, stderr := runProgram(t, []string{"--no-progress", "--retries", "0"}, r)
	b, _ := os.ReadFile(filepath.Join(dir, "log"))
	return records[0], string(b), stderr
}

// toSend returns a record of tank/a, whose copy has s0, with a step that brings s1 to sN
// in one stream, and the hold step of a plan.
func toSend(n int) *record.Record {
	r := &record.Record{Type: record.TypeDataset, Backup: "b", Name: "tank/a", Selected: record.Ptr(true),
		Target: &record.Target{Name: "pool/a", Exists: true, Pin: "t:1", Snapshots: []record.Snapshot{{Name: "s0", GUID: "100", CreateTXG: "1"}}}}
	s := record.Step{Do: record.DoReceive, Side: record.SideTarget, Dataset: "pool/a", From: "s0", FromGUID: "100", Flags: []string{"-p"}}
	for i := 0; i <= n; i++ {
		guid := "100"
		if i > 0 {
			guid = strconv.Itoa(i)
		}
		r.Snapshots = append(r.Snapshots, record.Snapshot{Name: "s" + strconv.Itoa(i), GUID: guid, CreateTXG: strconv.Itoa(i + 1), Ours: true})
		if i > 0 && i < n {
			s.Through = append(s.Through, record.Through{Name: "s" + strconv.Itoa(i), GUID: guid})
		}
	}
	s.To, s.ToGUID = "s"+strconv.Itoa(n), strconv.Itoa(n)
	r.Steps = []record.Step{s, {Do: record.DoHold, Side: record.SideSource, Dataset: "tank/a", Snapshot: s.To, GUID: s.ToGUID, Tag: "t:1"}}
	return r
}

const sourceList = "tank/a@s0\t100\t1\ntank/a@s1\t1\t2\ntank/a@s2\t2\t3\ntank/a@s3\t3\t4\ntank/a@s4\t4\t5\npool/a@s0\t100\t1\n"

func status(lost ...string) string {
	text := "  pool: tank\n state: ONLINE\nconfig:\n\n\tNAME  STATE\n\ttank  ONLINE\n\n"
	if lost == nil {
		return text + "errors: No known data errors\n"
	}
	return text + "errors: Permanent errors have been detected in the following files:\n\n        " + strings.Join(lost, "\n        ") + "\n"
}

// P4: a block that cannot be read costs the snapshots that have it, and no others. The
// saved part and the step holds of a stream that cannot succeed are given up.
func TestUnreadable(t *testing.T) {
	sends := func(log string) string {
		var out []string
		for line := range strings.Lines(log) {
			if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "zfs send -p "); ok {
				out = append(out, strings.ReplaceAll(rest, "tank/a@", ""))
			}
		}
		return strings.Join(out, ", ")
	}
	cases := []struct {
		name, bad, status string
		n                 int
		sends             string
		fails             bool
		message           string
	}{
		{"the only one", "s1", status("tank/a@s1:/f"), 1, "-i s0 s1", true, "blocks are lost in the pool 'tank', in 'tank/a@s1:/f'"},
		{"one that a later one does not have", "s1", status("tank/a@s1:/f"), 3, "-I s0 s3, -i s0 s2, -i s2 s3", false, "'tank/a@s1' cannot be sent"},
		{"all of them", "s1 s2 s3", status("/tank/a/f", "tank/a@s1:/f", "tank/a@s2:/f", "tank/a@s3:/f"), 3, "-I s0 s3, -i s0 s3", true, "and 1 more"},
		{"all, of which zpool does not name each", "s1 s2 s3 s4", status("<0x44>:<0x2>"), 4, "-I s0 s4, -i s0 s2, -i s0 s3, -i s0 s4", true, "'<0x44>:<0x2>'"},
		{"in snapshots alone, of which zpool tells nothing", "s1", strings.Replace(status(), "tank  ONLINE", "tank  ONLINE  0  0  2", 1), 2, "-I s0 s2, -i s0 s2", false, "blocks are lost in the pool 'tank': its devices have errors"},
		{"nothing is known to be lost", "s1", status(), 2, "-I s0 s2", true, "Input/output error"},
	}
	for _, c := range cases {
		r, log, stderr := runBroken(t, map[string]string{"list": sourceList, "bad": c.bad, "status": c.status}, toSend(c.n))
		if got := sends(log); got != c.sends {
			t.Errorf("%s: sent %s, want %s\n%s", c.name, got, c.sends, log)
		}
		if (r.Error != nil) != c.fails || !strings.Contains(stderr, c.message) {
			t.Errorf("%s: %+v\n%s", c.name, r.Error, stderr)
		}
		lost := !strings.Contains(c.status, "No known") || strings.Contains(c.status, "0  2")
		if lost && c.fails && (r.Error.Kind != record.KindUnreadable || !strings.Contains(r.Error.Hint, "'zpool status -v tank'")) {
			t.Errorf("%s: %+v", c.name, r.Error)
		}
		// The step hold is put before sending, and released if sending cannot succeed.
		if released := strings.Contains(log, "zfs release t:1 tank/a@s1"); released != lost {
			t.Errorf("%s: %s", c.name, log)
		}
		if c.fails && len(r.Warnings) > 0 {
			t.Errorf("%s: %q", c.name, r.Warnings)
		}
		if !c.fails && !slices.ContainsFunc(r.Results, func(x record.Result) bool { return x.Done && x.To == "s"+strconv.Itoa(c.n) }) {
			t.Errorf("%s: %+v", c.name, r.Results)
		}
	}
}

// A lost block that zpool status names only after the transaction group is found.
func TestUnreadableLater(t *testing.T) {
	r, log, _ := runBroken(t, map[string]string{"list": sourceList, "bad": "s1", "status": status(), "later": status("tank/a@s1:/f")}, toSend(1))
	if r.Error == nil || r.Error.Kind != record.KindUnreadable || !strings.Contains(log, "zpool sync tank") {
		t.Errorf("%+v\n%s", r.Error, log)
	}
}

// A suspended pool is not taken for a lost block: the saved part and the holds stay.
func TestSuspended(t *testing.T) {
	r, log, _ := runBroken(t, map[string]string{"list": sourceList, "bad": "s1",
		"status": "  pool: tank\n state: SUSPENDED\n\nerrors: 3 data errors, use '-v' for a list\n"}, toSend(2))
	if r.Error == nil || r.Error.Kind != record.KindPoolIO || !strings.Contains(r.Error.Message, "the pool 'tank' is suspended") ||
		!strings.Contains(r.Error.Hint, "'zpool clear tank'") || strings.Contains(log, "receive -A") || strings.Contains(log, "release") || strings.Contains(log, "sync") {
		t.Errorf("%+v\n%s", r.Error, log)
	}
}

// zfs receive says of a copy in a suspended pool that it does not exist: the pool is named
// as the cause, but only where it is one.
func TestReceiverWithoutPool(t *testing.T) {
	for state, kind := range map[string]record.ErrorKind{"SUSPENDED": record.KindPoolIO, "ONLINE": record.KindNotFound} {
		r, log, _ := runBroken(t, map[string]string{"list": sourceList, "bad": "", "status": "  pool: pool\n state: " + state + "\n\nerrors: No known data errors\n",
			"why": "cannot receive incremental stream: destination 'pool/a' does not exist\n"}, toSend(1))
		if r.Error == nil || r.Error.Kind != kind || strings.Contains(r.Error.Message, "the pool 'pool' is suspended") != (kind == record.KindPoolIO) {
			t.Errorf("%s: %+v\n%s", state, r.Error, log)
		}
	}
}

// A feature that the target's pool lacks is named, and the step holds are released.
func TestLackingFeature(t *testing.T) {
	features := func(pool, state string) (text string) {
		for _, f := range zfs.StreamFeatures {
			if f != "longname" { // like a version that does not know it
				text += pool + "\tfeature@" + f + "\t" + state + "\n"
			}
		}
		return text + pool + "\tguid\t1\n"
	}
	r, log, _ := runBroken(t, map[string]string{"list": sourceList, "bad": "",
		"why":           "cannot receive incremental stream: pool must be upgraded to receive this stream.\n",
		"features.tank": strings.Replace(features("tank", "enabled"), "large_dnode\tenabled", "large_dnode\tactive", 1), "features.pool": features("pool", "disabled")}, toSend(1))
	if r.Error == nil || r.Error.Kind != record.KindFeature || !strings.Contains(r.Error.Message, "this stream; the pool 'pool' is without feature@large_dnode, in use") ||
		!strings.Contains(r.Error.Hint, "'zpool set feature@large_dnode=enabled pool'") || !strings.Contains(log, "zfs release t:1 tank/a@s1") {
		t.Errorf("%+v\n%s", r.Error, log)
	}
}

// A transfer that does not fail asks zfs and zpool for no cause.
func TestNoCauseNoQuestion(t *testing.T) {
	r, log, stderr := runBroken(t, map[string]string{"list": sourceList, "bad": ""}, toSend(3))
	if r.Error != nil || strings.Contains(log, "zpool") || strings.Contains(log, "zfs get") {
		t.Errorf("%+v\n%s\n%s", r.Error, log, stderr)
	}
}

// The dataset of a zone gets its stream without the properties that zfs refuses to set.
func TestZoned(t *testing.T) {
	r := toSend(1)
	r.Steps[0].Set = []string{"readonly=on", "sharenfs=off"}
	_, log, stderr := runBroken(t, map[string]string{"list": sourceList, "bad": "",
		"why": "cannot receive incremental stream: 'sharenfs' cannot be set on dataset in a non-global zone\ncannot receive incremental stream: invalid property value\n"}, r)
	if n := strings.Count(log, "zfs receive"); n != 2 || !strings.Contains(log, "-x sharenfs -o readonly=on pool/a@s1") {
		t.Errorf("%s\n%s", log, stderr)
	}
}

// A hold that cannot be put because the source's pool is imported read-only is no
// failure: the snapshot cannot be destroyed either (P1).
func TestReadOnlySource(t *testing.T) {
	j := &job{r: &record.Record{}}
	ro := wrap(&zfs.Error{Kind: record.KindReadOnlyPool, Lines: []string{"cannot hold: pool is read-only"}}, "cannot hold 'tank/a@1'")
	hold := &record.Step{Do: record.DoHold, Side: record.SideSource, Dataset: "tank/a", Snapshot: "1"}
	release := &record.Step{Do: record.DoRelease, Side: record.SideSource, Dataset: "tank/a", Snapshot: "0"}
	there := &record.Step{Do: record.DoHold, Side: record.SideTarget, Dataset: "pool/a", Snapshot: "1"}
	busy := wrap(&zfs.Error{Kind: record.KindBusy}, "cannot hold 'tank/a@1'")
	if !j.readOnly(hold, ro) || !j.readOnly(release, ro) || j.readOnly(there, ro) || j.readOnly(hold, busy) {
		t.Error("which steps may fail on a read-only pool")
	}
	if len(j.r.Warnings) != 1 || !strings.Contains(j.r.Warnings[0], "the pool 'tank' is imported read-only") {
		t.Errorf("%q", j.r.Warnings)
	}
}

// A stream that broke off twice at one place by its own fault loses its saved part; one
// that went on a little, or failed because of its surroundings, keeps it (P4).
func TestStuck(t *testing.T) {
	token := func(offset uint64) string {
		pairs := zfstest.Pairs("tank/a@s1", "1", "100")
		pairs[2].Value = offset
		le := binary.LittleEndian
		return zfstest.Pack(le, zfstest.List(le, pairs...))
	}
	for _, c := range []struct {
		name, why, now string
		gone           bool
	}{
		{"the same place", "cannot receive resume stream: checksum mismatch or incomplete stream.", token(4096), true},
		{"it went on", "cannot receive resume stream: checksum mismatch or incomplete stream.", token(8192), false},
		{"no space", "cannot receive resume stream: out of space", token(4096), false},
		{"not allowed", "cannot receive resume stream: permission denied", token(4096), false},
	} {
		r := toSend(1)
		r.Steps[0].Token = token(4096)
		r, log, _ := runBroken(t, map[string]string{"list": sourceList, "bad": "", "why": c.why + "\n", "token": c.now}, r)
		if r.Error == nil || strings.Contains(log, "receive -A") != c.gone || strings.Contains(r.Error.Message, "is given up") != c.gone {
			t.Errorf("%s: %+v\n%s", c.name, r.Error, log)
		}
	}
}
