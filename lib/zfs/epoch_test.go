package zfs

import (
	"maps"
	"testing"

	"zab/lib/record"
)

// TestEpoch checks what is taken for the pools of a host, and what is refused.
func TestEpoch(t *testing.T) {
	for _, c := range []struct {
		what, text string
		loads      map[string]string
		states     map[string]string // nil: no answer
	}{
		{"two pools", "tank\tload_guid\t7\ntank\thealth\tONLINE\ntank\tfeature@extensible_dataset\tactive\nusb\tload_guid\t8\nusb\thealth\tSUSPENDED\nusb\tfeature@extensible_dataset\tdisabled\n",
			map[string]string{"tank": "7"}, map[string]string{"tank": "ONLINE", "usb": "SUSPENDED"}},
		{"one that ZFS only tries to import", "$import-ffff888127731840-usb\tload_guid\t7\n$import-ffff888127731840-usb\thealth\tONLINE\n$import-ffff888127731840-usb\tfeature@extensible_dataset\tactive\n",
			nil, map[string]string{}},
		{"a dataset", "tank/a\thealth\tONLINE\n", nil, nil},
		{"an option", "-r\thealth\tONLINE\n", nil, nil},
		{"no state", "tank\thealth\tall is well\n", nil, nil},
	} {
		h := answers(func(_ []string, say func(string, ...any) bool) { say("1800000000\n%sbtime 1799999000", c.text) }).host()
		e, err := h.Epoch(t.Context())
		if c.states == nil {
			if KindOf(err) != record.KindBadAnswer {
				t.Errorf("%s: %+v, %v", c.what, e, err)
			}
			continue
		}
		if err != nil || e.Now != 1800000000 || e.Boot != 1799999000 || !maps.Equal(e.Loads, c.loads) || !maps.Equal(e.States, c.states) {
			t.Errorf("%s: %+v, %v", c.what, e, err)
		}
	}
}
