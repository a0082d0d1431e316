package zfs

import (
	"syscall"

	"zab/lib/proc"
)

// Child prepares argv like Command, for a caller that ends its children and waits for
// them by itself: the programs of a transfer must end in a certain order, or a partial
// receive would not be saved.
func Child(argv []string) *proc.Group {
	cmd := proc.New(syscall.SIGKILL, argv[0], argv[1:]...)
	cmd.Env = environ()
	return cmd
}

// Show returns the shell command that runs argv on the host, for display. It calls ssh as
// Argv does, but without the shared connection, which will be gone when the text is
// pasted. It connects to nothing.
func (h *Host) Show(argv ...string) string {
	if h.Here() {
		return Quote(argv...)
	}
	return Quote(append(h.m.sshBase(), "--", h.Dest, loginLine(argv))...)
}
