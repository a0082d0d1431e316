package thin

import (
	"fmt"
	"strings"
	"testing"

	"zab/lib/record"
)

// BenchmarkThin decides about a dataset with n snapshots on each side, one a day.
func BenchmarkThin(b *testing.B) {
	for _, n := range []int{100, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var words strings.Builder
			for i := n; i > 0; i-- {
				fmt.Fprintf(&words, "%d ", i)
			}
			r := &record.Record{Type: record.TypeDataset, Name: "tank", Snapshots: snaps(words.String()),
				Target: &record.Target{Name: "vault", Exists: true, Snapshots: snaps(words.String())}}
			rules := rules(b, "10,1d1w,1w1m,1m1y", "10,1d1w,1w1m,1m1y")
			b.ReportAllocs()
			for b.Loop() {
				Decide(r, rules)
			}
		})
	}
}
