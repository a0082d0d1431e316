package selection

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"zab/lib/cli"
	"zab/lib/record"
	"zab/lib/zfs"
)

// framed prints the rows in TEXT as zfs get does, with rows of the unset properties that
// mark the end of free-text values.
const framed = `for a; do case $a in *,*,*,*,*) props=$a;; esac; done
printf %s "$TEXT" | awk -F'\t' -v props="$props" '
BEGIN { n = split(props, p, ","); for (i = 2; i <= n; i++) if (p[i] ~ /^zab:[0-9a-f]+-[0-9]+$/) frame[p[i-1]] = p[i] }
{ print; if ($2 in frame) print $1 "\t" frame[$2] "\t-\t-" }'
`

// run runs zab-select on a machine whose zfs get prints text.
func run(t *testing.T, args, text string) (records []*record.Record, stderr string, err error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/zfs", []byte("#!/bin/sh\nprintf '%s\\n' \"$*\" >>"+dir+"/log\n"+framed), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("TEXT", text)
	all, stderr, err := runOn(t, args)
	if log, none := os.ReadFile(dir + "/log"); strings.Count(string(log), "\n") != 1 && (err == nil || none == nil) {
		t.Errorf("the programs started: %q", log)
	}
	return all, stderr, err
}

// runOn runs zab-select on a machine whose kernel lists pools with the given states.
func runOn(t *testing.T, args string, pools ...string) (records []*record.Record, stderr string, err error) {
	t.Helper()
	states := t.TempDir()
	if len(pools) == 0 && os.Getenv("STATES") != "" {
		states += "/missing" // as in a container
	}
	for _, p := range pools {
		name, state, _ := strings.Cut(p, " ")
		if err := os.Mkdir(states+"/"+name, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(states+"/"+name+"/state", []byte(state+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := Program()
	rest, err := p.Parser().ParseArgs(strings.Fields(args))
	if err == nil {
		err = p.Check(rest)
	}
	if err != nil {
		return nil, "", err
	}
	var out, e bytes.Buffer
	env := &cli.Env{Program: p.Name, Common: &p.Options.(*Options).Common, Machine: &zfs.Machine{Kstat: states}, Stdout: &out, Stderr: &e, Now: time.Unix(0, 0)}
	err = p.Run(context.Background(), env, rest)
	all, rerr := record.NewReader(&out).ReadAll()
	if rerr != nil {
		t.Fatal(rerr)
	}
	return all, e.String(), err
}

// rows returns the output of zfs get for lines such as "tank/a 5 true local": name,
// createtxg, value and source of the property.
func rows(t *testing.T, lines ...string) string {
	t.Helper()
	var b strings.Builder
	for _, l := range lines {
		f := strings.SplitN(l, " ", 4)
		for _, p := range append(append([]string{}, zfs.FactProps...), prop) {
			v := "-\t-"
			switch p {
			case "type":
				v = "filesystem\t-"
			case "guid":
				v = "7" + f[1] + "\t-"
			case "createtxg":
				v = f[1] + "\t-"
			case prop:
				v = f[2] + "\t" + f[3]
			}
			b.WriteString(f[0] + "\t" + p + "\t" + v + "\n")
		}
	}
	return b.String()
}

func order(records []*record.Record) string {
	var out []string
	for _, r := range records {
		out = append(out, r.Name)
	}
	return strings.Join(out, " ")
}

// One program is started, and there is a record for each selected dataset, in the order
// in which they can be received.
func TestRun(t *testing.T) {
	text := rows(t, "pool 1 - -", "tank 2 true local", "tank/a 9 true inherited from tank", "tank/b 5 false local", "tank/c 4 true inherited from tank", "tank/c/%recv 8 true inherited from tank/c")
	got, stderr, err := run(t, "b", text)
	if err != nil || stderr != "" || order(got) != "tank tank/c tank/a" {
		t.Errorf("%q, %s, %v", order(got), stderr, err)
	}
	if r := got[0]; r.Backup != "b" || r.GUID != "72" || !*r.Selected || r.Reason != "autobackup:b=true, set here" || r.Snapshots != nil {
		t.Errorf("%+v", r)
	}
	got, _, err = run(t, "--all b", text)
	if err != nil || order(got) != "pool tank tank/c tank/b tank/a" {
		t.Errorf("%q, %v", order(got), err)
	}
	for _, r := range got {
		if *r.Selected != (r.Name != "pool" && r.Name != "tank/b") || r.Reason == "" || r.Skip() == *r.Selected {
			t.Errorf("%+v", r)
		}
	}
}

// P9: with a value that means nothing, nothing is selected, because a part of the
// datasets would look like all of them.
func TestRunIllegal(t *testing.T) {
	got, stderr, err := run(t, "b", rows(t, "tank 2 true local", "tank/a 9 yes local"))
	var e *record.Error
	if len(got) > 0 || !errors.As(err, &e) || e.Kind != "bad-property" || !strings.Contains(stderr, "'tank/a'") {
		t.Errorf("%q, %s, %v", order(got), stderr, err)
	}
}

// P11: an illegal value that another host chose does not stop the other datasets from
// being selected; but it is no selection either.
func TestRunIllegalReceived(t *testing.T) {
	got, stderr, err := run(t, "b", rows(t, "tank 2 true local", "bk 9 yes received", "bk/x 10 yes inherited from bk"))
	if order(got) != "tank" || err != nil || strings.Count(stderr, "warning: 'bk', and what inherits from it, is not selected") != 1 {
		t.Errorf("%q, %s, %v", order(got), stderr, err)
	}
	_, _, err = run(t, "b", rows(t, "tank 2 - -", "bk 9 yes received"))
	var e *record.Error
	if !errors.As(err, &e) || e.Kind != "none-selected" {
		t.Error(err)
	}
}

// It is an error if no dataset has the property, but none if all are left out.
func TestRunNone(t *testing.T) {
	_, _, err := run(t, "b", rows(t, "tank 2 - -", "tank/a 9 - -"))
	var e *record.Error
	if !errors.As(err, &e) || e.Kind != "none-selected" || !strings.Contains(e.Message, "no source filesystems selected") || !strings.Contains(e.Hint, "autobackup:b=true") {
		t.Error(err)
	}
	for _, c := range []struct{ args, row string }{
		{"b", "tank 2 false local"},
		{"--exclude-path=tank b", "tank 2 true local"},
		{"--exclude-received b", "tank 2 true received"},
	} {
		if got, stderr, err := run(t, c.args, rows(t, c.row)); len(got) > 0 || err != nil || stderr != "" {
			t.Errorf("%s of %s: %q, %s, %v", c.args, c.row, order(got), stderr, err)
		}
	}
	// With --include-received the dataset is kept.
	if got, _, err := run(t, "--exclude-received --include-received b", rows(t, "tank 2 true received")); len(got) != 1 || err != nil {
		t.Errorf("%q, %v", order(got), err)
	}
}

func TestOptions(t *testing.T) {
	for _, bad := range []string{"-- -b", "B", "--property-format={} b", "--exclude-unchanged=-1 b", "--exclude-path=/tank b", "--exclude-path=-r b", "--ssh-source=-oX b"} {
		if got, _, err := run(t, bad, ""); err == nil {
			t.Errorf("%s is taken: %q", bad, order(got))
		}
	}
}

func TestAround(t *testing.T) {
	for _, c := range []struct{ name, datasets, target, path, roots string }{
		{"a pool", "backup tank", "backup", "backup", "tank"},
		{"below a pool", "backup backup/me backup/you tank tank/a tank/b", "backup/me", "backup backup/me", "backup/you tank"},
		{"the source's own pool", "tank tank/a tank/bak", "tank/bak", "tank tank/bak", "tank/a"},
		{"deep", "p p/a p/a/b p/a/c p/d p/d/e q q/a q/a/b", "p/a/b", "p p/a p/a/b", "p/a/c p/d q"},
		{"like its beginning", "p p/a p/ab p/ab/c", "p/a", "p p/a", "p/ab"},
		{"nothing else", "p p/a", "p/a", "p p/a", ""},
	} {
		var shallow []*Candidate
		for _, n := range strings.Fields(c.datasets) {
			shallow = append(shallow, &Candidate{Name: n})
		}
		path, roots := around(shallow, c.target)
		var names []string
		for _, d := range path {
			names = append(names, d.Name)
		}
		if got := strings.Join(names, " "); got != c.path {
			t.Errorf("%s: path %q, want %q", c.name, got, c.path)
		}
		if got := strings.Join(roots, " "); got != c.roots {
			t.Errorf("%s: roots %q, want %q", c.name, got, c.roots)
		}
	}
}
