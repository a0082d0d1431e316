package bench

import (
	"encoding/binary"
	"testing"
)

func TestBenchTicks(t *testing.T) {
	for v, want := range map[uint16]float64{0: 0, 150: 1.5, 0x1fff: 81.91, 1<<13 | 1024: 81.92, 2<<13 | 1000: 640} {
		if got := ticks(binary.NativeEndian.AppendUint16(nil, v)); got != want {
			t.Errorf("%#x is %v seconds, want %v", v, got, want)
		}
	}
}
