package zfs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"zab/lib/record"
)

// The text of zpool status of several versions is parsed, and lost files are found by
// snapshot.
func TestHealth(t *testing.T) {
	for _, c := range []struct {
		name, text, state string
		count             int
		lost              string // in tank/e, by snapshot
	}{
		{"well", "  pool: tank\n state: ONLINE\n  scan: none requested\nconfig:\n\n\tNAME  STATE\n\nerrors: No known data errors\n", "ONLINE", 0, ""},
		{"zfs 2.3.2", "  pool: tank\n state: ONLINE\nstatus: One or more devices has experienced an error resulting in data\n\tcorruption.\n\nerrors: Permanent errors have been detected in the following files:\n\n        /tank/e/big\n        tank/e@1:/big\n        tank/e@2:/big\n        tank/e2@1:/big\n        <0x44>:<0x2>\n", "ONLINE", 5,
			":/tank/e/big 1:tank/e@1:/big 2:tank/e@2:/big"},
		{"not mounted", "errors: Permanent errors have been detected in the following files:\n\n        tank/e:/big\n        tank/e:<0x1>\n", "", 2, ":tank/e:/big tank/e:<0x1>"},
		{"not root", "  pool: tank\n state: DEGRADED\n\nerrors: 3 data errors, use '-v' for a list\n", "DEGRADED", 3, ""},
		{"suspended", "  pool: tank\n state: SUSPENDED\n", "SUSPENDED", 0, ""},
		{"in snapshots alone", "  pool: tank\n state: ONLINE\nconfig:\n\n\tNAME              STATE     READ WRITE CKSUM\n\ttank              ONLINE       0     0     0\n\t  /var/tmp/S.img  ONLINE       0     0     2\n\nerrors: No known data errors\n", "ONLINE", 0, "!"},
		{"and not listed", "errors: Permanent errors have been detected in the following files:\n\n", "", 0, "!"},
		{"unavailable list", "errors: List of errors unavailable: permission denied\n", "", 0, ""},
		{"no words of its own", " state: \x1b[31mROOT\n state: ONLINE\nerrors: -7 data errors\n", "ONLINE", 0, ""},
		{"a file with a strange name", "errors: Permanent errors have been detected in the following files:\n\n        tank/e@bad name!:/x\n        /tank/e2/x\n", "", 2, ""},
	} {
		h, _ := fakeZFS(t, "cat <<'END'\n"+c.text+"END")
		got, err := h.Health(context.Background(), "tank")
		want, errs := strings.CutPrefix(c.lost, "!")
		c.lost = want
		if err != nil || got.State != c.state || got.Count != c.count || got.Errors != (errs || got.Lost != nil) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
		var lost []string
		in := got.LostIn("tank/e", "/tank/e")
		for _, s := range []string{"", "1", "2"} {
			if in[s] != nil {
				lost = append(lost, s+":"+strings.Join(in[s], " "))
			}
			delete(in, s)
		}
		if strings.Join(lost, " ") != c.lost || len(in) > 0 {
			t.Errorf("%s: %q and %v, want %q", c.name, lost, in, c.lost)
		}
	}
}

// A pool that is imported read-only fails only its own snapshots, though zfs names none
// of them.
func TestHoldReadOnly(t *testing.T) {
	h, started := fakeZFS(t, `case $* in *tank/*) echo "cannot hold: pool is read-only" >&2; exit 1;; esac`)
	err := h.Hold(context.Background(), "t", []string{"tank/a@1", "pool/a@1"})
	var e *Error
	if !errors.As(err, &e) || e.Kind != record.KindReadOnlyPool {
		t.Fatalf("%v", err)
	}
	all := func(n string) bool { return strings.Contains(n, "@") }
	if e.Of("pool/a@1", all) != nil || KindOf(e.Of("tank/a@1", all)) != record.KindReadOnlyPool {
		t.Errorf("%v, %v", e.Of("pool/a@1", all), e.Of("tank/a@1", all))
	}
	if n := len(started()); n != 3 {
		t.Errorf("%q", started())
	}
	h, started = fakeZFS(t, `echo "cannot hold: pool is read-only" >&2; exit 1`)
	if err := h.Hold(context.Background(), "t", []string{"tank/a@1", "tank/b@2"}); KindOf(err) != record.KindReadOnlyPool || len(started()) != 1 {
		t.Errorf("%v %q", err, started())
	}
}

// Reservations returns the unused parts, the largest first.
func TestReservations(t *testing.T) {
	h, _ := fakeZFS(t, `
for d in tank tank/vm tank/db; do
	case $d in tank) set -- 0 90 0;; tank/vm) set -- 0 20 70;; *) set -- 100 25 0;; esac
	printf "$d\treservation\t$1\tlocal\n$d\tused\t$2\t-\n$d\tusedbyrefreservation\t$3\t-\n"
done`)
	got, err := h.Reservations(context.Background(), "tank")
	want := []Reservation{{"tank/db", "reservation", 75}, {"tank/vm", "refreservation", 70}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestSamePlace(t *testing.T) {
	if SamePlace("", "") || SamePlace("1-2-3-4", "1-2-3-4") {
		t.Error("texts that are no tokens are at one place")
	}
}

// A program's messages become valid UTF-8 from any encoding.
func TestErrorIsUTF8(t *testing.T) {
	h, _ := fakeZFS(t, `printf 'Willkommen auf nas \374ber ssh\ncannot open '"'tank/a'"': dataset does not exist\n%02000d\303\274\n' 1 >&2; exit 1`)
	_, err := h.Get(context.Background(), []string{"guid"}, []string{"tank/a"}, false)
	if KindOf(err) != record.KindNotFound || !utf8.ValidString(err.Error()) {
		t.Errorf("%q", err)
	}
	long := &Error{Lines: []string{strings.Repeat("x", 999) + "\u00fc"}}
	if !utf8.ValidString(long.Message()) {
		t.Errorf("%q", long.Message())
	}
}
