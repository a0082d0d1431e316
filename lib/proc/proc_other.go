//go:build !linux

package proc

import (
	"os"
	"syscall"
)

// attributes ignores the death signal, which these kernels lack: a child ends when its
// pipes break.
func attributes(syscall.Signal) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// awaitEnd returns false: not every kernel can report a child's end without reaping it.
func awaitEnd(int) bool { return false }

// reaped reports whether the process has been waited for, which package os knows.
func reaped(p *os.Process) bool { return p.Signal(syscall.Signal(0)) != nil }
