package zfs

import (
	"syscall"

	"zab/lib/proc"
)

// Child prepares argv as Command does, for a caller that ends and waits for
// its children by itself: the programs of one transfer must end in an order,
// or what was received would not be saved.
func Child(argv []string) *proc.Group {
	cmd := proc.New(syscall.SIGKILL, argv[0], argv[1:]...)
	cmd.Env = environ()
	return cmd
}

// Show is how argv is run on the host, as text to paste: with ssh as Argv calls
// it, but without a shared connection, which will be gone when the text is
// pasted. It connects to nothing.
func (h *Host) Show(argv ...string) string {
	if h.Here() {
		return Quote(argv...)
	}
	return Quote(append(h.m.sshBase(), "--", h.Dest, loginLine(argv))...)
}
