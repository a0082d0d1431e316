package bench

import (
	"slices"
	"strings"

	"zab/lib/zabtest"
)

// tool is a command that does the work of a workload.
type tool struct {
	name string
	argv []string
	// warm: the tool has a cache, so it is run twice before the measurement; once is not
	// enough, since zab caches only lists of datasets that have not changed for a while.
	warm bool
}

// floor returns the tool floor, a script of plain commands; R runs the rest of its line on
// the side of the target.
func (b *bench) floor(p place, body string) tool {
	head := "R() { \"$@\"; }\n"
	if p.host != "" {
		ssh := "ssh -F " + p.conf + " -S $ROOT/floor.sock"
		head = ssh + " -M -N -f " + p.host + "\nR() { " + ssh + " " + p.host + " \"$@\"; }\n"
		body += ssh + " -O exit " + p.host + " 2>/dev/null\n"
	}
	return tool{name: "floor", argv: []string{"sh", "-c", "set -e\n" + head + body}}
}

// tools returns a function that returns the tools of a backup: zab with each of the options,
// and syncoid with options. If send is not "", it is the command by which the floor backs up
// the dataset $d, and all tools take a new snapshot first.
func (b *bench) tools(zab, syncoid []string, send string) func(p place, n int) []tool {
	return func(p place, _ int) []tool {
		body := "zfs list -Hpro name,guid -t filesystem,snapshot $SRC/d >$ROOT/floor.src\nR zfs list -Hpro name,guid -t filesystem,snapshot $DST/backup/$SRC >/dev/null\n"
		if send != "" {
			body = "zfs snapshot -r $SRC/d@floor\n" + body + "for d in $(cut -f 1 $ROOT/floor.src | grep -v @); do " + send + "; done\n"
		}
		list := []tool{b.floor(p, body)}
		var side []string
		if p.host != "" {
			side = []string{"--ssh-config", p.conf, "--ssh-target", p.host}
		}
		for _, o := range zab {
			argv := append(append([]string{"zab"}, side...), strings.Fields(o)...)
			list = append(list, tool{name: strings.TrimSpace("zab " + label(o)), argv: append(argv, "bench", b.dst+"/backup"),
				warm: slices.Contains(argv, "--cache")})
		}
		if zabtest.LookPath(b.path, "syncoid") != "" {
			to := b.dst + "/backup/" + b.src + "/d"
			// Random bytes do not compress, and no other tool tries to compress them.
			argv := append([]string{"syncoid", "--quiet", "--recursive", "--compress=none"}, syncoid...)
			if p.host != "" {
				argv = append(argv, p.syncoidOptions...)
				to = "root@" + p.host + ":" + to
			}
			list = append(list, tool{name: "syncoid", argv: append(argv, b.src+"/d", to)})
		}
		return list
	}
}

// label returns options as the table shows them.
func label(o string) string {
	o, _, _ = strings.Cut(o, "--keep-")
	return strings.TrimSpace(o)
}

// thinners returns the tools that destroy all snapshots of the source but the newest.
// syncoid does not thin.
func (b *bench) thinners(p place, _ int) []tool {
	body := `R zfs list -Hpro name -t snapshot -s name $SRC/d >$ROOT/floor.src
for d in $(cut -d@ -f1 $ROOT/floor.src | uniq); do
	first=$(grep -m 1 "^$d@" $ROOT/floor.src | cut -d@ -f2)
	last=$(grep "^$d@" $ROOT/floor.src | head -n -1 | tail -n 1 | cut -d@ -f2)
	[ -z "$last" ] || R zfs destroy $d@$first%$last </dev/null
done
`
	zab := []string{"zab", "--no-snapshot", "--keep-source=1"}
	if p.host != "" {
		zab = append(zab, "--ssh-config", p.conf, "--ssh-source", p.host)
	}
	return []tool{b.floor(p, body), {name: "zab", argv: append(zab, "bench")}}
}
