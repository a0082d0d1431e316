//go:build !linux

package zab

import "syscall"

// ownGroup puts a stage into a process group of its own, so that Ctrl-C goes
// to the wrapper alone, which ends the stages in good order.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
