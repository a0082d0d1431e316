package bench

import (
	"bytes"
	"encoding/binary"
	"os"
)

// accounting is a file to which the kernel writes a record of each process that ends. That
// takes no measurable time and includes processes on the far side of ssh, but also all
// others, so that a benchmark needs a machine of its own.
type accounting struct{ file string }

// stop ends the accounting, and returns how often each program was started and how many
// seconds of processor time it used; nil if the file cannot be read.
func (a *accounting) stop() (programs map[string]int, cpu map[string]float64) {
	_ = accountTo("")
	data, err := os.ReadFile(a.file)
	if err != nil {
		return nil, nil
	}
	programs, cpu = map[string]int{}, map[string]float64{}
	// struct acct_v3 of linux/acct.h
	for ; len(data) >= 64; data = data[64:] {
		const forked = 1 // AFORK: the process did not exec
		name := string(bytes.TrimRight(data[48:64], "\x00"))
		cpu[name] += ticks(data[32:]) + ticks(data[34:])
		if data[0]&forked == 0 {
			programs[name]++
		}
	}
	return programs, cpu
}

// ticks decodes a comp_t, 13 bits of mantissa and 3 bits of exponent, in hundredths of a
// second, and returns seconds.
func ticks(b []byte) float64 {
	v := binary.NativeEndian.Uint16(b)
	return float64(int(v&0x1fff)<<(3*(v>>13))) / 100
}
