package bench

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"zab/lib/zabtest"
)

// tool is a command that does the work of a workload.
type tool struct {
	name string
	argv []string
	env  []string // what it has in its environment besides bench.env
	// warm is a command that fills the cache of the tool and takes no snapshots; it runs
	// twice before the measurement, since zab caches only lists of datasets that have not
	// changed for a while. Nil for a tool without a cache.
	warm []string
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

// The commands by which the floor backs up the dataset $d.
const (
	sendAll = `zfs send $d@floor | R zfs receive -u $DST/backup/$d`
	sendNew = `zfs send -i @bench-20260101000000 $d@floor | R zfs receive -u $DST/backup/$d`
	// of ten snapshots, snapshotSeries(10): all, or the new one in place of the oldest
	sendSeries = `zfs send $d@bench-20260101000000 | R zfs receive -u $DST/backup/$d; zfs send -I @bench-20260101000000 $d@floor | R zfs receive -u $DST/backup/$d`
	sendInTurn = `zfs send -i @bench-20260101000900 $d@floor | R zfs receive -u $DST/backup/$d; zfs destroy $d@bench-20260101000000; R zfs destroy $DST/backup/$d@bench-20260101000000`
)

// tools returns a function that returns the tools of a backup: zab with each of the options,
// in which $SRC is the pool, and those of others. If send is not "", it is the command by
// which the floor backs up the dataset $d, and all tools take a new snapshot first.
func (b *bench) tools(zab []string, send string) func(p place, n int) []tool {
	return func(p place, _ int) []tool {
		body := "zfs list -Hpro name,guid -t filesystem,snapshot $SRC/d >$ROOT/floor.src\nR zfs list -Hpro name,guid -t filesystem,snapshot $DST/backup/$SRC >/dev/null\n"
		list := []tool{b.floor(p, body)}
		if send != "" {
			body = "zfs snapshot -r $SRC/d@floor\n" + body + "cut -f 1 $ROOT/floor.src | grep -v @ >$ROOT/floor.names\n"
			list = []tool{
				b.floor(p, body+"for d in $(cat $ROOT/floor.names); do "+send+"; done\n"),
				// The copy of the parent must exist. A failure shows in what the copies lack.
				b.floor(p, body+"d=$SRC/d; "+send+"\nfor i in 0 1 2 3; do for d in $(awk \"NR > 1 && NR % 4 == $i\" $ROOT/floor.names); do "+send+"; done & done; wait\n"),
			}
			list[1].name += " -j 4"
		}
		var side []string
		if p.host != "" {
			side = []string{"--ssh-config", p.conf, "--ssh-target", p.host}
		}
		for _, o := range zab {
			argv := append(append([]string{"zab"}, side...), strings.Fields(strings.ReplaceAll(o, "$SRC", b.src))...)
			tl := tool{name: strings.TrimSpace("zab " + label(o)), argv: append(argv, "bench", b.dst+"/backup")}
			if slices.Contains(argv, "--cache") {
				tl.warm = tl.argv
			}
			list = append(list, tl)
		}
		for _, o := range b.others {
			tl := o.command(b, p, send != "")
			tl.name = o.name
			list = append(list, tl)
		}
		return list
	}
}

// ownTools is tools without those of others, for work that they do not do or do otherwise.
func (b *bench) ownTools(zab []string, send string) func(p place, n int) []tool {
	return func(p place, n int) []tool {
		return slices.DeleteFunc(b.tools(zab, send)(p, n), func(tl tool) bool {
			return slices.ContainsFunc(b.others, func(o other) bool { return o.name == tl.name })
		})
	}
}

// label returns options as the table shows them.
func label(o string) string {
	o, _, _ = strings.Cut(o, "--keep-")
	return strings.TrimSpace(strings.ReplaceAll(o, " $SRC/d", ""))
}

// other is a tool that others wrote.
type other struct {
	name string
	// missing returns why the tool cannot be measured, or "".
	missing func(b *bench) string
	// command returns the tool without its name. It backs up $SRC/d and all below; with
	// snapshot, it takes a new snapshot of each dataset first. Random bytes do not compress,
	// and neither zab nor the floor tries to compress them, so the others do not, either.
	command func(b *bench, p place, snapshot bool) tool
}

// copyOf returns the copy of $SRC/d as syncoid, bzfs and zelta name it.
func (b *bench) copyOf(p place) string {
	name := b.dst + "/backup/" + b.src + "/d"
	if p.host != "" {
		name = "root@" + p.host + ":" + name
	}
	return name
}

var others = []other{
	{
		name: "syncoid",
		missing: func(b *bench) string {
			if zabtest.LookPath(b.path, "syncoid") == "" {
				return "it is not installed (Debian's package is sanoid)"
			}
			return ""
		},
		command: func(b *bench, p place, snapshot bool) tool {
			argv := []string{"syncoid", "--quiet", "--recursive", "--compress=none"}
			if !snapshot {
				argv = append(argv, "--no-sync-snap")
			}
			argv = append(argv, p.syncoidOptions...)
			return tool{argv: append(argv, b.src+"/d", b.copyOf(p))}
		},
	},
	{name: "bzfs", missing: bzfsMissing, command: bzfs()},
	{name: "bzfs --cache-snapshots", missing: bzfsMissing, command: bzfs("--cache-snapshots")},
	{
		name: "zfs-autobackup",
		missing: func(b *bench) string {
			return pythonMissing(b, b.Autobackup, "zfs_autobackup", "ZAB_BENCH_AUTOBACKUP")
		},
		command: func(b *bench, p place, snapshot bool) tool {
			// It takes a snapshot where something was written.
			argv := []string{"python3", "-m", "zfs_autobackup.ZfsAutobackup", "--no-progress"}
			if p.host != "" {
				argv = append(argv, "--ssh-config", p.conf, "--ssh-target", p.host)
			}
			return tool{argv: append(argv, "bench", b.dst+"/backup"), env: pythonEnv(b.Autobackup)}
		},
	},
	{
		name: "zelta",
		missing: func(b *bench) string {
			if !exists(b.Zelta, "bin/zelta") || !exists(b.Zelta, "share/zelta") {
				return "ZAB_BENCH_ZELTA names no checkout of it"
			}
			return ""
		},
		command: func(b *bench, p place, snapshot bool) tool {
			argv := []string{b.Zelta + "/bin/zelta", "backup", "--no-snapshot"}
			if snapshot {
				argv[2] = "--snapshot"
			}
			// It starts itself by its name, and reads a configuration of the machine.
			env := []string{"PATH=" + b.Zelta + "/bin:" + b.path, "ZELTA_SHARE=" + b.Zelta + "/share/zelta", "ZELTA_ENV=/dev/null"}
			if p.host != "" {
				env = append(env, "ZELTA_REMOTE_COMMAND=ssh -F "+p.conf)
			}
			return tool{argv: append(argv, b.src+"/d", b.copyOf(p)), env: env}
		},
	},
}

// bzfs returns a function that returns the command of bzfs with options.
func bzfs(options ...string) func(b *bench, p place, snapshot bool) tool {
	return func(b *bench, p place, snapshot bool) tool {
		argv := append([]string{"python3", "-m", "bzfs_main.bzfs", "--quiet", "--recursive", "--compression-program=-", "--log-dir=" + b.root + "/bzfs-logs"}, options...)
		if p.host != "" {
			// A connection that stays open would help the next run.
			argv = append(argv, "--ssh-dst-config-file="+p.conf, "--ssh-cipher="+cipher, "--ssh-exit-on-shutdown")
		}
		argv = append(argv, b.src+"/d", b.copyOf(p))
		tl := tool{argv: argv, env: pythonEnv(b.Bzfs)}
		if len(options) > 0 {
			tl.warm = argv
		}
		if snapshot {
			tl.argv = append(slices.Clone(argv), "--create-src-snapshots", "--create-src-snapshots-plan={'bench':{'':{'adhoc':1}}}")
		}
		return tl
	}
}

func bzfsMissing(b *bench) string {
	return pythonMissing(b, b.Bzfs, "bzfs_main", "ZAB_BENCH_BZFS")
}

// pythonMissing returns why the tool cannot be measured whose package is in a checkout that
// the variable names.
func pythonMissing(b *bench, checkout, pkg, variable string) string {
	if !exists(checkout, pkg+"/__init__.py") {
		return variable + " names no checkout of it"
	}
	if zabtest.LookPath(b.path, "python3") == "" {
		return "there is no python3"
	}
	// What an installation does, so that the first run does not.
	if out, err := b.sh("python3 -m compileall -q '" + checkout + "/" + pkg + "'"); err != nil {
		return "python3 cannot compile it: " + out
	}
	return ""
}

// pythonEnv returns the variables for a tool of a checkout.
func pythonEnv(checkout string) []string {
	return []string{"PYTHONPATH=" + checkout, "PYTHONSAFEPATH=1", "PYTHONNOUSERSITE=1"}
}

// exists reports whether a directory is given and has a file.
func exists(dir, file string) bool {
	_, err := os.Stat(filepath.Join(dir, file))
	return dir != "" && err == nil
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
