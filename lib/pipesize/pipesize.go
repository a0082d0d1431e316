// Package pipesize sets how much of a stream can wait in a pipe. Two programs joined by a
// larger one take turns less often.
package pipesize

// Large is the size of a large pipe in bytes: the largest that an ordinary user may have.
const Large = 1 << 20
