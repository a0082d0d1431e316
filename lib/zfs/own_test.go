package zfs

import "testing"

func TestOwn(t *testing.T) {
	to := map[string]map[string]Value{}
	for _, line := range []string{"tank/a\trecordsize\t16384\tlocal", "tank/a@1\torg:x\ta\tb\treceived", "tank/a\torg:y\t\tlocal"} {
		if err := addOwn(to, line); err != nil {
			t.Error(err)
		}
	}
	if to["tank/a"]["recordsize"] != (Value{"16384", "local"}) || to["tank/a@1"]["org:x"] != (Value{"a\tb", "received"}) || to["tank/a"]["org:y"] != (Value{"", "local"}) {
		t.Error(to)
	}
	for _, line := range []string{"", "x", "tank/a\torg:x", "tank/a\torg:x\tone line of two", "tank/a\torg:x\t1\tinherited from tank",
		"tank/a\trecordsize\t32768\tlocal", "\tp\tv\tlocal"} {
		if err := addOwn(to, line); err == nil {
			t.Errorf("%q was read", line)
		}
	}
	if to["tank/a"]["recordsize"].Value != "16384" {
		t.Error("the second counts")
	}
}
