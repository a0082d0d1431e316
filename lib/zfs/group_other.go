//go:build !linux

package zfs

import "syscall"

// ownGroup puts a child into a process group of its own. Where the kernel has
// no death signal, a child ends when its pipes break.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
