package zfs

import (
	"context"
	"maps"
	"os"
	"testing"
)

// HoldMore learns from zfs's messages which snapshots had the tag before; other failures
// stay errors of the snapshots that they name.
func TestHoldMore(t *testing.T) {
	dir := t.TempDir()
	script := `#!/bin/sh
shift 2
for s; do
	case $s in
	*@old) echo "cannot hold snapshot '$s': tag already exists on this dataset" >&2; bad=1 ;;
	*@gone) echo "cannot hold snapshot '$s': dataset does not exist" >&2; bad=1 ;;
	esac
done
exit ${bad:-0}
`
	if err := os.WriteFile(dir+"/zfs", []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	h := (&Machine{}).Host("")
	for _, c := range []struct {
		names  []string
		before map[string]bool
		err    string
	}{
		{nil, map[string]bool{}, ""},
		{[]string{"a@1", "a@2"}, map[string]bool{}, ""},
		{[]string{"a@1", "a b_s@old", "c@old"}, map[string]bool{"a b_s@old": true, "c@old": true}, ""},
		{[]string{"a@old", "b@gone"}, map[string]bool{"a@old": true}, "cannot hold snapshot 'b@gone': dataset does not exist"},
	} {
		before, err := h.HoldNew(context.Background(), "tag", c.names)
		if !maps.Equal(before, c.before) || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%q: %v, %v", c.names, before, err)
		}
	}
}
