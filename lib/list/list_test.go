package list

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"zab/lib/cli"
	"zab/lib/record"
	"zab/lib/zfs"
)

// fakeZFS answers from files: get has the rows of zfs get, snapshots those of a listing
// of snapshots, datasets those of a listing of all datasets, holds those of zfs holds. It
// fails if the file does not exist.
const fakeZFS = `#!/bin/sh
cd "$POOL"
echo "$*" >>log
file=datasets
case "$*" in get*) file=get;; holds*) file=holds;; *snapshot*) file=snapshots;; esac
[ -e $file ] || { echo "cannot open 'tank': I/O error" >&2; exit 1; }
if [ $file = get ]; then
	for a; do case $a in *,*,*,*,*) props=$a;; esac; done
	awk -F'\t' -v props="$props" '
	BEGIN { n = split(props, p, ","); for (i = 2; i <= n; i++) if (p[i] ~ /^zab:[0-9a-f]+-[0-9]+$/) frame[p[i-1]] = p[i] }
	{ print; if ($2 in frame) print $1 "\t" frame[$2] "\t-\t-" }' get
else cat $file; fi
`

// files are the answers of the stand-in for zfs by file name; "-" stands for a failure.
type files map[string]string

// run runs zab-list and returns its records and the commands it started.
func run(t *testing.T, f files, args string) (out []*record.Record, log []string, stderr string, err error) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("zfs", fakeZFS)
	write("zpool", "#!/bin/sh\necho \"$*\" >>$POOL/log\nfor p in $(echo $5 | tr , ' '); do v=enabled; [ $p != guid ] || v=77; printf 'usb\\t%s\\t%s\\n' $p $v; done\n")
	for name, text := range f {
		if text != "-" {
			write(name, text)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("POOL", dir)
	p := Program()
	rest, err := p.Parser().ParseArgs(strings.Fields(args))
	if err == nil {
		err = p.Check(rest)
	}
	if err != nil {
		return nil, nil, "", err
	}
	var o, e bytes.Buffer
	env := &cli.Env{Program: p.Name, Common: &p.Options.(*Options).Common, Machine: &zfs.Machine{}, Stdout: &o, Stderr: &e, Now: time.Unix(0, 0)}
	err = p.Run(context.Background(), env, rest)
	out, rerr := record.NewReader(&o).ReadAll()
	if rerr != nil {
		t.Fatal(rerr)
	}
	text, _ := os.ReadFile(filepath.Join(dir, "log"))
	return out, strings.Split(strings.TrimSpace(string(text)), "\n"), e.String(), err
}

// facts returns the rows of zfs get for datasets, given as NAME:GUID.
func facts(datasets ...string) string {
	var b strings.Builder
	for _, d := range datasets {
		name, guid, _ := strings.Cut(d, ":")
		for _, p := range zfs.FactProps {
			v := "-\t-"
			switch p {
			case "type":
				v = "filesystem\t-"
			case "guid", "createtxg":
				v = guid + "\t-"
			}
			b.WriteString(name + "\t" + p + "\t" + v + "\n")
		}
	}
	return b.String()
}

func tank() files {
	return files{
		"get": facts("tank:1", "tank/a:2"),
		"snapshots": "tank/a@s2\t22\t9\t1700000002\t10\t3\ntank/a@s1\t21\t8\t1700000001\t20\t1\ntank/a#m\t20\t7\t1700000000\t-\t-\n" +
			"tank/gone@s\t5\t5\t1700000000\t1\t0\n",
		"datasets": "tank\t1\t1\ntank/a\t2\t2\nusb/backup\t9270436180317845291\t3\n",
		"holds": "tank/a@s1\tzfs_autobackup:b\tSun Nov 22 23:08 2026\ntank/a@s2\tzfs_autobackup:b:9270436180317845291\tSun Nov 22 23:08 2026\n" +
			"tank/a@s2\tzfs_autobackup:c.d:5270436180317845291\tnow\ntank/a@s2\tother:b\tSun Nov 22 23:08 2026\n",
	}
}

// TestTree checks that zab-list starts two programs, orders snapshots and bookmarks by
// age, and omits those of a dataset created between the two listings.
func TestTree(t *testing.T) {
	out, log, stderr, err := run(t, tank(), "--backup b tank")
	if err != nil || stderr != "" || len(out) != 2 || len(log) != 2 {
		t.Fatalf("%d records, %q, %q, %v", len(out), log, stderr, err)
	}
	if r := out[0]; r.Name != "tank" || r.GUID != "1" || r.Backup != "b" || r.Snapshots == nil || len(r.Snapshots) > 0 {
		t.Errorf("%+v", r)
	}
	r := out[1]
	if len(r.Snapshots) != 2 || r.Snapshots[0].Name != "s1" || *r.Snapshots[0].UserRefs != 1 || *r.Snapshots[1].Written != 10 || *r.Snapshots[1].Creation != 1700000002 || r.Snapshots[0].Rare().Held != nil {
		t.Errorf("%+v", r.Snapshots)
	}
	if len(r.Bookmarks) != 1 || r.Bookmarks[0].Name != "m" || r.Bookmarks[0].UserRefs != nil || r.Bookmarks[0].Written != nil {
		t.Errorf("%+v", r.Bookmarks)
	}
	out, log, _, err = run(t, tank(), "--no-snapshots tank tank/a")
	if err != nil || len(out) != 2 || len(log) != 1 || out[1].Snapshots != nil {
		t.Errorf("%d records, %q, %v", len(out), log, err)
	}
}

// TestTreeFails checks P12: a failed listing is an error, and no incomplete record is
// printed.
func TestTreeFails(t *testing.T) {
	for _, name := range []string{"get", "snapshots", "holds"} {
		f := tank()
		f[name] = "-"
		out, _, _, err := run(t, f, "--holds tank")
		if err == nil || !strings.HasPrefix(err.Error(), "cannot list ") || len(out) > 0 {
			t.Errorf("%s: %d records, %v", name, len(out), err)
		}
	}
}

// TestHolds checks the tags, times and targets of holds; only our own have a time and a
// target.
func TestHolds(t *testing.T) {
	at := time.Date(2026, 11, 22, 23, 8, 0, 0, time.Local).Unix()
	for _, c := range []struct {
		args, missing string
		programs      int
		want          []string // tag, since, guid, target, known
	}{
		{"--holds", "", 4, []string{
			"s1 zfs_autobackup:b at  - ", "s2 zfs_autobackup:b:9270436180317845291 at 9270436180317845291 true usb/backup",
			"s2 zfs_autobackup:c.d:5270436180317845291 - 5270436180317845291 false ",
		}},
		{"--holds --backup b", "", 4, []string{"s1 zfs_autobackup:b at  - ", "s2 zfs_autobackup:b:9270436180317845291 at 9270436180317845291 true usb/backup"}},
		{"--holds --backup x", "", 3, nil},
		{"--holds --backup b --hold-format other:{}", "", 3, []string{"s2 other:b at  - "}},
		{"--holds --hold-format {}", "", 4, []string{
			"s1 zfs_autobackup:b at  - ", "s2 zfs_autobackup:b:9270436180317845291 at 9270436180317845291 true usb/backup",
			"s2 zfs_autobackup:c.d:5270436180317845291 - 5270436180317845291 false ", "s2 other:b at  - ",
		}},
		// P12: if not all datasets can be listed, an absent target is not known to be
		// absent.
		{"--holds", "datasets", 4, []string{
			"s1 zfs_autobackup:b at  - ", "s2 zfs_autobackup:b:9270436180317845291 at 9270436180317845291 - ",
			"s2 zfs_autobackup:c.d:5270436180317845291 - 5270436180317845291 - ",
		}},
	} {
		f := tank()
		if c.missing != "" {
			f[c.missing] = "-"
		}
		out, log, stderr, err := run(t, f, c.args+" tank")
		if err != nil || len(log) != c.programs || (stderr != "") != (c.missing != "") {
			t.Errorf("%s: %q, %q, %v", c.args, log, stderr, err)
			continue
		}
		var got []string
		for _, s := range out[1].Snapshots {
			for _, h := range s.Rare().Held {
				since, known := "-", "-"
				if h.Since != nil {
					if since = "at"; *h.Since != at {
						t.Errorf("since %d", *h.Since)
					}
				}
				if h.Known != nil {
					known = map[bool]string{true: "true", false: "false"}[*h.Known]
				}
				got = append(got, strings.Join([]string{s.Name, h.Tag, since, h.TargetGUID, known, h.Target}, " "))
			}
		}
		if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
			t.Errorf("%s:\n%q\n%q", c.args, got, c.want)
		}
		if all := out[1].Snapshots[1].Rare().Holds; len(all) != 3 {
			t.Errorf("%s: all holds are %q", c.args, all)
		}
	}
}

// TestHoldsOfAnyBytes checks that a tag in any encoding, which anybody may put, keeps no
// record from being printed.
func TestHoldsOfAnyBytes(t *testing.T) {
	f := tank()
	f["holds"] = strings.Replace(f["holds"], "other:b", "f\xfcr immer", 1)
	out, _, stderr, err := run(t, f, "--holds tank")
	if err != nil || stderr != "" || len(out) != 2 {
		t.Fatalf("%d records, %q, %v", len(out), stderr, err)
	}
	if got := out[1].Snapshots[1].Rare().Holds; !slices.Contains(got, "f\uFFFDr immer") || out[1].Error != nil {
		t.Errorf("%q, %v", got, out[1].Error)
	}
}

// TestHoldsByPool checks that of two disks with a dataset of the same guid, as after
// zpool split, the guid of the pool tells which is present.
func TestHoldsByPool(t *testing.T) {
	for pool, known := range map[string]bool{"77": true, "78": false} {
		f := tank()
		f["holds"] = "tank/a@s1\tzfs_autobackup:b:9270436180317845291." + pool + "\tSun Nov 22 23:08 2026\n"
		out, log, _, err := run(t, f, "--holds tank")
		if err != nil || len(log) != 5 {
			t.Errorf("%q, %v", log, err)
			continue
		}
		h := out[1].Snapshots[0].Rare().Held
		if len(h) != 1 || h[0].TargetGUID != "9270436180317845291" || h[0].TargetPoolGUID != pool || *h[0].Known != known || (h[0].Target == "usb/backup") != known {
			t.Errorf("%s: %+v", pool, h)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, bad := range []string{"--holds --no-snapshots tank", "--depth -2 tank", "--backup B tank", "--hold-format .{} tank", "/tank", "tank@s", "--ssh=-oX tank"} {
		if _, _, _, err := run(t, tank(), bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	// The depth given to zfs for snapshots is one more than that for datasets.
	f := tank()
	f["get"], f["snapshots"] = facts("tank:1"), "tank@s\t5\t5\t1700000000\t1\t0\n"
	_, log, _, err := run(t, f, "--depth 0 tank")
	if err != nil || len(log) != 2 || !strings.Contains(log[0], " tank") || strings.Contains(log[0], " -r ") || !strings.Contains(log[1], " -d 1 ") {
		t.Errorf("%q, %v", log, err)
	}
}
