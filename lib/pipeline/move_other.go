//go:build !linux

package pipeline

import "os"

func newMover(dst, src *os.File) *copier { return newCopier(dst, src) }

// widen does nothing where the kernel sizes its pipes by itself.
func widen(*os.File) {}
