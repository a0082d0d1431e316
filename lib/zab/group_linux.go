package zab

import "syscall"

// ownGroup puts a stage into a process group of its own, so that Ctrl-C goes
// to the wrapper alone, which ends the stages in good order. Should the
// wrapper be killed, the kernel ends them.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
