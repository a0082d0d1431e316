// Package heap measures how much memory a test's work has in use.
//
// Non-goals: memory that a program takes from the system.
package heap

import "runtime"

// InUse returns the bytes in use.
func InUse() int64 {
	runtime.GC()
	runtime.GC() // pools are emptied by the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Meter is a Writer that measures, when it is first written to, how much more memory is in
// use than before. A stage that keeps all records has them all when it writes the first.
type Meter struct {
	// Before is what was in use at the beginning, Grown what came to that.
	Before, Grown int64
}

func (m *Meter) Write(b []byte) (int, error) {
	if m.Grown == 0 {
		m.Grown = InUse() - m.Before
	}
	return len(b), nil
}
