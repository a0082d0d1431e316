package zfs

import "syscall"

// ownGroup puts a child into a process group of its own, and has the kernel
// end it when this process dies, however it dies.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
