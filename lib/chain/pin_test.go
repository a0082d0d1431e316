package chain

import (
	"strings"
	"testing"
)

func TestPin(t *testing.T) {
	long := strings.Repeat("x", 230)
	for _, c := range []struct {
		pin          Pin
		want, former string
	}{
		{Pin{"zfs_autobackup:b", "7", "9"}, "zfs_autobackup:b:7.9", "zfs_autobackup:b:7"},
		{Pin{"zfs_autobackup:b", "7", ""}, "zfs_autobackup:b:7", ""},
		{Pin{"zfs_autobackup:b", "", "9"}, "", ""},
		{Pin{long, "18446744073709551615", "18446744073709551615"}, long + ":18446744073709551615", ""},
		{Pin{long + long, "7", "9"}, "", ""},
	} {
		if got := c.pin.String(); got != c.want || c.pin.Former() != c.former {
			t.Errorf("%+v: %q, formerly %q", c.pin, got, c.pin.Former())
		}
		if got, ok := ParsePin(c.want); c.want != "" && (!ok || got.String() != c.want) {
			t.Errorf("%q: %+v, %v", c.want, got, ok)
		}
	}
	for _, s := range []string{"", "x", "zfs_autobackup:b", "zfs_autobackup:b:", "zfs_autobackup:b:7.", "zfs_autobackup:b:7.x", "zfs_autobackup:b:7.8.9", ":7", "zfs_autobackup:b:07"} {
		if p, ok := ParsePin(s); ok {
			t.Errorf("%q: %+v", s, p)
		}
	}
	// A backup named like a guid.
	if p, ok := ParsePin("zfs_autobackup:2024:7.9"); !ok || p != (Pin{"zfs_autobackup:2024", "7", "9"}) {
		t.Errorf("%+v", p)
	}
	mine := Pin{"zfs_autobackup:b", "7", "9"}
	for tag, want := range map[string]bool{"zfs_autobackup:b:7": true, "zfs_autobackup:b:7.8": true, "zfs_autobackup:b:7.9": true, "zfs_autobackup:b:8": false, "zfs_autobackup:b": false, "zfs_autobackup:c:7.9": false, "mine": false} {
		if mine.OfCopy(tag) != want {
			t.Errorf("%s", tag)
		}
	}
}
