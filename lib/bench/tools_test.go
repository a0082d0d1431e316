package bench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBenchTools checks the commands of a crowded workload.
func TestBenchTools(t *testing.T) {
	b := testBench(t, Config{Bzfs: "/bzfs", Zelta: "/zelta", Autobackup: "/za"})
	near := place{name: "ssh", host: "near.test", conf: "/conf", syncoidOptions: []string{"--sshoption=Port=1"}}
	plan := " --create-src-snapshots --create-src-snapshots-plan={'bench':{'':{'adhoc':1}}}"
	bzfs := "PYTHONPATH=/bzfs PYTHONSAFEPATH=1 PYTHONNOUSERSITE=1 python3 -m bzfs_main.bzfs --quiet --recursive --compression-program=- --log-dir=/root/bzfs-logs "
	autobackup := "PYTHONPATH=/za PYTHONSAFEPATH=1 PYTHONNOUSERSITE=1 python3 -m zfs_autobackup.ZfsAutobackup --no-progress "
	ssh := "--ssh-dst-config-file=/conf --ssh-cipher=aes128-gcm@openssh.com --ssh-exit-on-shutdown "
	zelta := "PATH=/zelta/bin:/bin ZELTA_SHARE=/zelta/share/zelta ZELTA_ENV=/dev/null "
	for _, tt := range []struct {
		workload string
		p        place
		want     map[string]string
	}{
		{"crowded-10-one", place{name: "local"}, map[string]string{
			"zab":                    "zab bench DST/backup",
			"zab --within":           "zab --within SRC/d bench DST/backup",
			"syncoid":                "syncoid --quiet --recursive --compress=none SRC/d DST/backup/SRC/d",
			"bzfs":                   bzfs + "SRC/d DST/backup/SRC/d" + plan,
			"bzfs --cache-snapshots": bzfs + "--cache-snapshots SRC/d DST/backup/SRC/d" + plan,
			"zfs-autobackup":         autobackup + "bench DST/backup",
			"zelta":                  zelta + "/zelta/bin/zelta backup --snapshot SRC/d DST/backup/SRC/d",
		}},
		{"crowded-10-nothing", near, map[string]string{
			"zab":                    "zab --ssh-config /conf --ssh-target near.test bench DST/backup",
			"zab --cache":            "zab --ssh-config /conf --ssh-target near.test --cache bench DST/backup",
			"zab --within":           "zab --ssh-config /conf --ssh-target near.test --within SRC/d bench DST/backup",
			"syncoid":                "syncoid --quiet --recursive --compress=none --no-sync-snap --sshoption=Port=1 SRC/d root@near.test:DST/backup/SRC/d",
			"bzfs":                   bzfs + ssh + "SRC/d root@near.test:DST/backup/SRC/d",
			"bzfs --cache-snapshots": bzfs + "--cache-snapshots " + ssh + "SRC/d root@near.test:DST/backup/SRC/d",
			"zfs-autobackup":         autobackup + "--ssh-config /conf --ssh-target near.test bench DST/backup",
			"zelta":                  zelta + "ZELTA_REMOTE_COMMAND=ssh -F /conf /zelta/bin/zelta backup --no-snapshot SRC/d root@near.test:DST/backup/SRC/d",
		}},
	} {
		for _, w := range b.workloads() {
			if w.name != tt.workload {
				continue
			}
			for _, tl := range w.tools(tt.p, w.main) {
				if got := strings.Join(append(tl.env, tl.argv...), " "); !strings.HasPrefix(tl.name, "floor") && got != tt.want[tl.name] {
					t.Errorf("%s, %s: %q", tt.workload, tl.name, got)
				}
				if (tl.warm != nil) != strings.Contains(tl.name, "--cache") {
					t.Errorf("%s: its cache is filled by %q", tl.name, tl.warm)
				}
				delete(tt.want, tl.name)
			}
		}
		if len(tt.want) > 0 {
			t.Errorf("%s: not measured: %v", tt.workload, tt.want)
		}
	}
}

// TestBenchCheckouts checks that tools without a checkout are not measured.
func TestBenchCheckouts(t *testing.T) {
	missing := func(name string, c Config) string {
		for _, o := range others {
			if o.name == name {
				return o.missing(testBench(t, c))
			}
		}
		return "unknown"
	}
	dir := t.TempDir()
	for _, file := range []string{"bzfs_main/__init__.py", "zfs_autobackup/__init__.py", "bin/zelta", "share/zelta/zelta.awk"} {
		file = filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if why := missing("zelta", Config{Zelta: dir}); why != "" {
		t.Errorf("zelta is not measured: %s", why)
	}
	for _, c := range []Config{{}, {Zelta: dir + "/bin", Bzfs: dir + "/bin", Autobackup: dir + "/bin"}} {
		for _, name := range []string{"zelta", "bzfs", "zfs-autobackup"} {
			if why := missing(name, c); !strings.Contains(why, "checkout") {
				t.Errorf("%s is measured with %+v: %q", name, c, why)
			}
		}
	}
	b := testBench(t, Config{Bzfs: dir})
	b.path = "/nowhere"
	if why := others[1].missing(b); why != "there is no python3" {
		t.Errorf("bzfs without python3: %q", why)
	}
}
