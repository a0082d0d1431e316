package record

import "testing"

func TestProof(t *testing.T) {
	for _, s := range []string{"1:2:full:3:4", "18446744073709551615:1800000000:increment:0:0", "7:0:different:0:18446744073709551615",
		"1:2:full:3:4:5", "1:2:full:3:4:18446744073709551615"} {
		if p, err := ParseProof(s); err != nil || p.String() != s {
			t.Errorf("%s: %+v, %v", s, p, err)
		}
	}
	for _, s := range []string{"", "1", "1:2:full:3", "1:2:full:3:4:5:6", "1:2:full:3:4:", "1:2:full:3:4:0", "1:2:full:3:4:05", "1:2:full:3:4:18446744073709551616", "1:2:full:3:4:x", "0:2:full:3:4", "01:2:full:3:4", "+1:2:full:3:4", "1:-2:full:3:4", "1:2:Full:3:4", "1:2:equal:3:4",
		"1:2:full:3:-4", "1:2:full:3:18446744073709551616", " 1:2:full:3:4", "1:2:full:3:4\n", "x:2:full:3:4"} {
		if p, err := ParseProof(s); err == nil {
			t.Errorf("%q: %+v", s, p)
		}
	}
}
