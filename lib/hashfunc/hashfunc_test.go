package hashfunc

import (
	"encoding/hex"
	"testing"
)

// TestSums compares both functions with other implementations: the sums of the first bytes of
// 0, 1, ... 250, 0, ..., at once and in parts.
func TestSums(t *testing.T) {
	data := make([]byte, 200_000)
	for i := range data {
		data[i] = byte(i % 251)
	}
	for _, c := range []struct {
		n              int
		sha256, blake3 string
	}{
		{0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"},
		{1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d", "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"},
		{1025, "bc0b6b10b89b9487a12fda2a8cc13194e7091c217aabf8b92846274026f4bcd0", "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"},
		{8193, "7e3691790cd64b19d4edb1a80e988214515abeb53aa0f34ffbfe4b4bf405d120", "bab6c09cb8ce8cf459261398d2e7aef35700bf488116ceb94a36d0f5f1b7bc3b"},
		{131072, "feb1e4409d009e0ec502eaabe321f86b5197a881e9b765252ec8a75d6957596d", "306baba93b1a393cbd35172837c98b0f59a41f64e1b2682ae102d8b2534b9e1c"},
		{200_000, "e24bc62381f1224fbbb74688663f8f9743b9680b193edd666835e97b06e730eb", "55409142cced2ec79897459f170b6d22565daf883710b4ad7aeeddaef54244b4"},
	} {
		for f, want := range map[Func]string{SHA256: c.sha256, BLAKE3: c.blake3} {
			sum := f.Sum(data[:c.n])
			if got := hex.EncodeToString(sum[:]); got != want {
				t.Errorf("%s of %d bytes is %s", f, c.n, got)
			}
			h := f.New()
			for i := 0; i < c.n; i += 777 {
				h.Write(data[i:min(i+777, c.n)])
			}
			if got := hex.EncodeToString(h.Sum(nil)); got != want || h.Size() != Size {
				t.Errorf("%s of %d bytes in parts is %s", f, c.n, got)
			}
		}
	}
}

func TestNames(t *testing.T) {
	for _, want := range []Func{SHA256, BLAKE3} {
		var f Func
		if err := f.UnmarshalFlag(want.String()); err != nil || f != want {
			t.Errorf("%s: %v, %v", want, f, err)
		}
	}
	for _, bad := range []string{"", "SHA256", "md5", "blake3 "} {
		var f Func
		if err := f.UnmarshalFlag(bad); err == nil {
			t.Errorf("%q: %v", bad, f)
		}
	}
}

func BenchmarkSum(b *testing.B) {
	data := make([]byte, 128<<10)
	for _, f := range []Func{SHA256, BLAKE3} {
		b.Run(f.String(), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				f.Sum(data)
			}
		})
	}
}
