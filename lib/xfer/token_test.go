package xfer

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"zab/lib/record"
	"zab/lib/zfs"
	"zab/lib/zfs/zfstest"
)

// hostile is a stand-in for zfs. Its datasets are tank/X and their copies pool/X, with
// their snapshots in the file list. The first receive into a copy fails with the words in
// fail.X, or is killed, and leaves the token next.X, if there is one; all others succeed.
const hostile = `#!/bin/sh
cd "$POOL"
tab='	'
for x; do :; done
x=${x##*/}
x=${x%%@*}
case $1 in
send)
	case $2 in -t) x=token;; esac
	echo "$*" >>"log.$x"
	echo data;;
receive)
	echo "$*" >>"log.$x"
	case $2 in -A) rm -f "token.$x"; exit 0;; esac
	cat >/dev/null
	if [ -e "fail.$x" ]; then
		read -r why <"fail.$x"
		rm "fail.$x"
		if [ -e "next.$x" ]; then mv "next.$x" "token.$x"; fi
		if [ "$why" = killed ]; then kill -9 $$; fi
		echo "$why" >&2
		exit 1
	fi
	rm -f "token.$x"
	echo "pool/$x@s2${tab}7${tab}9" >>list;;
list)
	rc=0
	for a; do case $a in *@*) grep "^$a$tab" list || { echo "cannot open '$a': dataset does not exist" >&2; rc=1; };; esac; done
	exit $rc;;
get)
	for a; do case $a in pool/*)
		t=-
		if [ -e "token.${a#*/}" ]; then read -r t <"token.${a#*/}"; fi
		echo "$a${tab}receive_resume_token${tab}$t${tab}-";;
	esac; done;;
esac
`

// P10: a token that the target gives during the run is used only if it belongs to the
// step; if not, the stream is sent anew with the flags of the step.
func TestHostileToken(t *testing.T) {
	flags := []string{"compressok", "rawok"}
	token := func(x string, edit func([]zfstest.Pair) []zfstest.Pair) string {
		le := binary.LittleEndian
		return zfstest.Pack(le, zfstest.List(le, edit(zfstest.Pairs("tank/"+x+"@s2", "7", "6", flags...))...))
	}
	add := func(p zfstest.Pair) func([]zfstest.Pair) []zfstest.Pair {
		return func(all []zfstest.Pair) []zfstest.Pair { return append(all, p) }
	}
	asIs := func(all []zfstest.Pair) []zfstest.Pair { return all }
	set := func(i int, v any) func([]zfstest.Pair) []zfstest.Pair {
		return func(all []zfstest.Pair) []zfstest.Pair { all[i].Value = v; return all }
	}
	cases := []struct {
		x     string // the dataset
		next  string // the token that the failed receive leaves
		fail  string
		token string // of the step
		why   string // of the warning; "" if the token is used
	}{
		{x: "good", next: token("good", asIs)},
		{x: "norawok", next: token("norawok", func(all []zfstest.Pair) []zfstest.Pair { return all[:len(all)-1] }), why: "not raw, as"},
		{x: "toguid", next: token("toguid", set(4, uint64(8))), why: "belongs to"},
		{x: "fromguid", next: token("fromguid", set(0, uint64(5))), why: "starts from another"},
		{x: "toname", next: token("toname", set(5, "tank/other@s2")), why: "it names 'tank/other@s2'"},
		{x: "extra", next: token("extra", add(zfstest.Pair{Name: "savedok"})), why: `unexpected pair "savedok"`},
		{x: "nul", next: token("nul", add(zfstest.Pair{Name: "toguid\x00x", Value: uint64(8)})), why: `unexpected pair "toguid\x00x"`},
		{x: "twice", next: token("twice", add(zfstest.Pair{Name: "toguid", Value: uint64(8)})), why: "not written as zfs"},
		{x: "trailing", next: token("trailing", asIs) + "00", why: "follow after its end"},
		// refused, and the target has another one by then
		{x: "moved", next: token("moved", func(all []zfstest.Pair) []zfstest.Pair { return all[:len(all)-1] }), token: token("moved", asIs),
			fail: "cannot receive resume stream: kernel modules must be upgraded to receive this stream.", why: "not raw, as"},
	}
	files := map[string]string{"zfs": hostile}
	var all []*record.Record
	for _, c := range cases {
		files["list"] += "tank/" + c.x + "@s1\t6\t1\ntank/" + c.x + "@s2\t7\t2\npool/" + c.x + "@s1\t6\t3\n"
		files["next."+c.x], files["fail."+c.x] = c.next+"\n", c.fail+"\n"
		if c.fail == "" {
			files["fail."+c.x] = "killed\n"
		}
		all = append(all, &record.Record{Type: record.TypeDataset, Backup: "b", Name: "tank/" + c.x, Selected: record.Ptr(true),
			Target: &record.Target{Name: "pool/" + c.x, Exists: true, Snapshots: []record.Snapshot{{Name: "s1", GUID: "6"}}},
			Steps: []record.Step{{Do: record.DoReceive, Dataset: "pool/" + c.x, From: "s1", FromGUID: "6", To: "s2", ToGUID: "7",
				Flags: []string{"-L", "-w", "-p"}, Token: c.token}}})
	}
	dir := machine(t, files)
	records, _ := runProgram(t, []string{"--no-progress", "--jobs", "20"}, all...)
	resumed, err := os.ReadFile(filepath.Join(dir, "log.token"))
	if err != nil {
		t.Error(err)
	}
	want := map[string]bool{} // the tokens that zfs send may be given
	for _, c := range cases {
		r := records[slices.IndexFunc(records, func(r *record.Record) bool { return r.Name == "tank/"+c.x })]
		if r.Error != nil || len(r.Results) != 1 || !r.Results[0].Done {
			t.Errorf("%s: %+v, %+v", c.x, r.Error, r.Results)
		}
		log, _ := os.ReadFile(filepath.Join(dir, "log."+c.x))
		var did []string
		for _, line := range strings.Split(strings.TrimSpace(string(log)), "\n") {
			switch {
			case line == "send -L -w -p -i tank/"+c.x+"@s1 tank/"+c.x+"@s2":
				did = append(did, "send")
			case line == "receive -A pool/"+c.x:
				did = append(did, "abort")
			case strings.HasPrefix(line, "receive -u -s "):
			default:
				t.Errorf("%s: zfs %s", c.x, line)
			}
		}
		again := c.token
		if c.why == "" {
			again = c.next
		}
		if again != "" {
			tok, err := zfs.DecodeToken(again)
			if err != nil {
				t.Fatal(err)
			}
			want["send -t "+tok.String()] = true
		}
		if got, should := strings.Join(did, " "), map[bool]string{true: "send", false: "send abort send"}[c.why == ""]; c.token == "" && got != should {
			t.Errorf("%s: %s, want %s", c.x, got, should)
		} else if c.token != "" && got != "abort send" {
			t.Errorf("%s: %s", c.x, got)
		}
		warnings := strings.Join(r.Warnings, "\n")
		if (warnings == "") != (c.why == "") || !strings.Contains(warnings, c.why) {
			t.Errorf("%s: %s", c.x, warnings)
		}
	}
	for line := range strings.SplitSeq(strings.TrimSpace(string(resumed)), "\n") {
		if !want[line] {
			t.Errorf("zfs %s", line)
		}
	}
}
