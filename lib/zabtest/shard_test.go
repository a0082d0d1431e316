package zabtest

import (
	"path/filepath"
	"slices"
	"testing"
)

// TestShardOf checks that each script is in exactly one part, that all parts take about as
// long together with what they do besides, and that the table of slow scripts names only
// scripts that exist.
func TestShardOf(t *testing.T) {
	all, err := filepath.Glob("../../testdata/*.txtar")
	if err != nil || len(all) == 0 {
		t.Fatal(len(all), err)
	}
	for _, shards := range [][]string{{"1/1"}, {"1/2", "2/2"}, {"1/3", "2/3", "3/3"}} {
		var got []string
		load := otherLoad(len(shards))
		for i, s := range shards {
			part, err := shardOf("../../testdata", s)
			if err != nil || len(part) == 0 {
				t.Fatal(s, len(part), err)
			}
			got = append(got, part...)
			for _, f := range part {
				load[i] += seconds(f)
			}
		}
		if slices.Max(load)-slices.Min(load) > usual {
			t.Errorf("%v: the parts take %d seconds", shards, load)
		}
		slices.Sort(got)
		if !slices.Equal(got, all) {
			t.Errorf("%v: %d scripts of %d", shards, len(got), len(all))
		}
	}
	for name := range slow {
		if !slices.Contains(all, filepath.Join("../../testdata", name+".txtar")) {
			t.Errorf("there is no script %s", name)
		}
	}
	for _, bad := range []string{"0/2", "3/2", "x"} {
		if _, err := shardOf("../../testdata", bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
