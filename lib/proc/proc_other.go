//go:build !linux

package proc

import (
	"os"
	"syscall"
)

// attributes: where the kernel has no death signal, a child ends when its pipes
// break.
func attributes(syscall.Signal) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// awaitEnd: not every kernel tells of an end without giving the number free.
func awaitEnd(int) bool { return false }

// reaped reports whether the process was waited for, which os knows.
func reaped(p *os.Process) bool { return p.Signal(syscall.Signal(0)) != nil }
