package chain

import (
	"strings"
	"testing"
)

func TestPinTarget(t *testing.T) {
	for tag, want := range map[string]string{
		"zfs_autobackup:b:9270436180317845291":   "9270436180317845291",
		"zfs_autobackup:b:92.18":                 "92 18",
		"zfs_autobackup:b:92.":                   "",
		"zfs_autobackup:b:92.x":                  "",
		"zfs_autobackup:b:92.1.2":                "",
		"zfs_autobackup:b":                       "",
		"zfs_autobackup:b:":                      "",
		"zfs_autobackup:b:x":                     "",
		"zfs_autobackup:bb:1":                    "",
		"zfs_autobackup:b:1:2":                   "",
		"zfs_autobackup:b:999999999999999999999": "",
		"other":                                  "",
	} {
		dataset, pool, ok := PinTarget(tag, "zfs_autobackup:b")
		if got := strings.TrimSpace(dataset + " " + pool); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %v", tag, got, ok)
		}
	}
}

func TestWithoutPool(t *testing.T) {
	for pin, want := range map[string]string{"zfs_autobackup:b:92.18": "zfs_autobackup:b:92", "zfs_autobackup:b:92": "zfs_autobackup:b:92", "a.b:92": "a.b:92", "a:b.c": "a:b.c", "a:9.c": "a:9.c", "": "", "x": "x", "1.2": "1"} {
		if got := WithoutPool(pin); got != want {
			t.Errorf("%q: %q", pin, got)
		}
	}
}
