package stream

import (
	"math"
	"strings"
	"testing"
)

func TestParseSize(t *testing.T) {
	for in, want := range map[string]Size{
		"1": 1, "1000": 1000, "1k": 1024, "1K": 1024, "10M": 10 << 20, "10m": 10 << 20, "3G": 3 << 30, "2T": 2 << 40,
		"9223372036854775807": math.MaxInt64, "007": 7,
	} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
	for in, why := range map[string]string{
		"": "empty", "-1": "negative", "-": "negative", "0": "more than 0", "0G": "more than 0", "1.5M": "whole", "M": "whole",
		"10Q": "whole", "10MB": "whole", "10 M": "whole", " 1": "whole", "1 ": "whole", "+1": "whole", "1MM": "more than one", "0x10": "whole", "1e3": "whole",
		"9223372036854775808": "too large", "8388608T": "too large", "99999999999999999999": "too large", "١": "whole",
	} {
		if got, err := ParseSize(in); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %d, %v, not %q", in, got, err, why)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"", "1", "10M", "-5", "9223372036854775807", "8191P", "1kk", "\xff1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseSize(s)
		if err != nil {
			if n != 0 || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%d, %v", n, err)
			}
			return
		}
		if n < 1 {
			t.Fatalf("%q is %d", s, n)
		}
		again, err := ParseSize(n.String())
		if err != nil || again != n {
			t.Fatalf("%q is %d, which is written %q and read as %d, %v", s, n, n, again, err)
		}
	})
}
