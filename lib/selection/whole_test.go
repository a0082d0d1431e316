package selection

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"zab/lib/record"
)

// treeZFS is a zfs get of the datasets in TREE, one a word, a pool before what is below
// it; all have the property. It treats pools and datasets that cannot be read as zfs
// 2.1 to 2.4 do: a pool in SUSPENDED is left out without a word, and an error where it
// is named; what comes after the dataset BAD below the same parent is left out, with a
// line that names nothing, and status 0. Pools in LATE come only when named.
const treeZFS = `#!/bin/sh
echo "$*" >>"$LOG"
[ "$1" = get ] || { echo "$1?" >&2; exit 9; }
shift
names= depth=0
while [ $# -gt 0 ]; do
	case $1 in
	-Hp) ;;
	-r) depth=99 ;;
	-d) depth=$2; shift ;;
	-t|-o) shift ;;
	*) props=$1; shift; names="$*"; break ;;
	esac
	shift
done
if [ -z "$names" ]; then
	[ $depth != 0 ] || depth=99
	for n in $TREE; do case $n in */*) ;; *) case " $SUSPENDED $LATE " in *" $n "*) ;; *) names="$names $n" ;; esac ;; esac; done
fi
printf '%s\n' $TREE | awk -v names="$names" -v depth="$depth" -v bad="$BAD" -v suspended=" $SUSPENDED " -v props="$props" '
function show(n,  i, v) {
	for (i = 1; i <= np; i++) {
		v = "-\t-"
		if (p[i] == "type") v = "filesystem\t-"
		else if (p[i] == "guid") v = guid[n] "\t-"
		else if (p[i] == "createtxg") v = guid[n] "\t-"
		else if (p[i] ~ /^autobackup:/) v = "true\tlocal"
		print n "\t" p[i] "\t" v
	}
}
function walk(n, d,  i, rest) {
	show(n)
	if (d == 0) return
	for (i = 1; i <= count; i++) {
		rest = substr(t[i], length(n) + 2)
		if (index(t[i], n "/") != 1 || index(rest, "/")) continue
		if (t[i] == bad) { print "cannot iterate filesystems: I/O error" >"/dev/stderr"; return }
		walk(t[i], d - 1)
	}
}
BEGIN { np = split(props, p, ",") }
{ t[++count] = $0; guid[$0] = 10 + count }
END {
	k = split(names, name, " ")
	for (j = 1; j <= k; j++) {
		n = name[j]; pool = n; sub("/.*", "", pool)
		if (index(suspended, " " pool " ")) { print "cannot open \047" n "\047: pool I/O is currently suspended" >"/dev/stderr"; code = 1 }
		else if (!guid[n]) { print "cannot open \047" n "\047: dataset does not exist" >"/dev/stderr"; code = 1 }
		else if (n == bad) { print "cannot open \047" n "\047: I/O error" >"/dev/stderr"; code = 1 }
		else walk(n, depth)
	}
	exit code
}'
`

// onTree prepares a machine with such a zfs.
func onTree(t *testing.T, env ...string) (log func() []string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"zfs": treeZFS, "zpool": "#!/bin/sh\necho \"zpool $*\" >>\"$LOG\"\nprintf '%b' \"$STATES\"\n"} {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for _, e := range append([]string{"LOG=" + dir + "/log", "BAD=", "SUSPENDED=", "LATE="}, env...) {
		name, value, _ := strings.Cut(e, "=")
		t.Setenv(name, value)
	}
	return func() []string {
		b, _ := os.ReadFile(dir + "/log")
		return strings.Split(strings.TrimSpace(string(b)), "\n")
	}
}

// told gives the names of the records of datasets, and those of what was not listed
// with its message.
func told(all []*record.Record) (datasets string, unlisted []string) {
	var names []string
	for _, r := range all {
		if r.Type == record.TypeUnlisted {
			unlisted = append(unlisted, r.Name+": "+r.Error.Message)
			continue
		}
		names = append(names, r.Name)
	}
	slices.Sort(names)
	return strings.Join(names, " "), unlisted
}

// P7: a pool that the host knows and that does not answer fails by name, and the others
// are selected all the same. No program more where all have answered.
func TestPoolsAnswer(t *testing.T) {
	const suspended = "usb: cannot read the pool 'usb': pool I/O is currently suspended: what is selected there is not backed up"
	for _, c := range []struct {
		name, args, env, late string
		pools                 []string
		datasets, unlisted    string
		programs              int
	}{
		{"all well", "b", "", "", []string{"tank ONLINE", "usb DEGRADED"}, "tank tank/a usb usb/x", "", 1},
		{"suspended", "b", "usb", "", []string{"tank ONLINE", "usb SUSPENDED"}, "tank tank/a", suspended, 2},
		{"suspended meanwhile", "b", "usb", "", []string{"tank ONLINE", "usb ONLINE"}, "tank tank/a", suspended, 2},
		{"left out", "--exclude-path=usb b", "usb", "", []string{"tank ONLINE", "usb SUSPENDED"}, "tank tank/a", "", 1},
		{"all of them", "b", "usb tank", "", []string{"tank SUSPENDED", "usb SUSPENDED"}, "",
			"tank: cannot read the pool 'tank': pool I/O is currently suspended: what is selected there is not backed up\n" + suspended, 2},
		{"gone meanwhile", "b", "", "", []string{"tank ONLINE", "usb ONLINE", "old ONLINE"}, "tank tank/a usb usb/x", "", 2},
		{"imported meanwhile", "b", "", "usb", []string{"tank ONLINE", "usb ONLINE"}, "tank tank/a usb usb/x", "", 2},
		{"beside the target", "--target=tank/a b", "usb", "", []string{"tank ONLINE", "usb SUSPENDED"}, "tank", suspended, 2},
		{"without a kernel that tells", "b", "usb", "", nil, "tank tank/a", suspended, 3},
	} {
		log := onTree(t, "TREE=tank tank/a usb usb/x", "SUSPENDED="+c.env, "LATE="+c.late, `STATES=tank\tONLINE\nusb\tSUSPENDED\n`)
		all, stderr, err := runOn(t, c.args, c.pools...)
		datasets, unlisted := told(all)
		if err != nil || datasets != c.datasets || strings.Join(unlisted, "\n") != c.unlisted {
			t.Errorf("%s: %q, %q, %v\n%s", c.name, datasets, unlisted, err, stderr)
		}
		if got := log(); len(got) != c.programs {
			t.Errorf("%s: the programs started: %q", c.name, got)
		}
		for _, u := range strings.Split(c.unlisted, "\n") {
			if _, message, ok := strings.Cut(u, ": "); ok && !strings.Contains(stderr, message) {
				t.Errorf("%s: %q", c.name, stderr)
			}
		}
	}
}

// P7: where zfs leaves out a dataset that it cannot open, and those after it, the place
// fails by name, and what has a copy is asked for by name.
func TestDatasetsLeftOut(t *testing.T) {
	const all = "tank tank/a tank/b tank/b/bad tank/b/c tank/b/d tank/b/d/e tank/z bk bk/t bk/t/tank bk/t/tank/b bk/t/tank/b/bad bk/t/tank/b/d bk/t/tank/b/d/e bk/t/tank/b/gone bk/s bk/s/b bk/s/b/d"
	for _, c := range []struct{ name, args, bad, datasets, unlisted string }{
		{"all well", "--target=bk/t b", "", "bk bk/s bk/s/b bk/s/b/d tank tank/a tank/b tank/b/bad tank/b/c tank/b/d tank/b/d/e tank/z", ""},
		{"with copies", "--target=bk/t b", "tank/b/bad", "bk bk/s bk/s/b bk/s/b/d tank tank/a tank/b tank/b/d tank/b/d/e tank/z", "tank/b, tank/b/bad"},
		{"with parts left out", "--target=bk/s --exclude-path=bk --strip-path=1 b", "tank/b/bad", "tank tank/a tank/b tank/b/d tank/b/d/e tank/z", "tank/b"},
		{"without copies", "--exclude-path=bk b", "tank/b/bad", "tank tank/a tank/b tank/z", "tank/b"},
		{"left out", "--exclude-path=bk --exclude-path=tank/b b", "tank/b/bad", "tank tank/a tank/z", ""},
		{"below the target", "--target=bk/t b", "bk/t/tank/b/bad", "bk bk/s bk/s/b bk/s/b/d tank tank/a tank/b tank/b/bad tank/b/c tank/b/d tank/b/d/e tank/z", ""},
	} {
		onTree(t, "TREE="+all, "BAD="+c.bad)
		got, stderr, err := runOn(t, c.args, "tank ONLINE", "bk ONLINE")
		datasets, unlisted := told(got)
		for i := range unlisted {
			unlisted[i], _, _ = strings.Cut(unlisted[i], ":")
		}
		slices.Sort(unlisted)
		if err != nil || datasets != c.datasets || strings.Join(unlisted, ", ") != c.unlisted {
			t.Errorf("%s: %q, %q, %v\n%s", c.name, datasets, unlisted, err, stderr)
		}
	}
}

// A target is missing where zfs says so of its very name, and not where its pool does
// not answer.
func TestTargetAnswers(t *testing.T) {
	for _, c := range []struct{ name, target, env, kind, message string }{
		{"missing", "tank/no", "", "target-missing", "the target does not exist on this machine"},
		{"its pool is missing", "old/no", "", "target-missing", "no pool 'old' is imported there"},
		{"suspended", "usb/x", "usb", "pool-io", "pool I/O is currently suspended"},
		{"cannot be opened", "tank/a", "", "pool-io", "cannot open 'tank/a': I/O error"},
	} {
		bad := ""
		if c.name == "cannot be opened" {
			bad = "tank/a"
		}
		onTree(t, "TREE=tank tank/a usb usb/x", "SUSPENDED="+c.env, "BAD="+bad)
		_, _, err := runOn(t, "--target="+c.target+" b", "tank ONLINE", "usb SUSPENDED")
		var e *record.Error
		if err == nil || !strings.Contains(err.Error(), c.message) || errors.As(err, &e) != (c.kind == "target-missing") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
