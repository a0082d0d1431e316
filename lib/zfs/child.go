package zfs

import "os/exec"

// Child prepares argv as Command does, for a caller that ends and waits for
// its children by itself: the programs of one transfer must end in an order,
// or what was received would not be saved.
func Child(argv []string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = environ()
	cmd.SysProcAttr = ownGroup()
	return cmd
}

// Show is how a line of shell is run on the host, as text to paste: with ssh
// as Argv calls it, but without a shared connection, which will be gone when
// the text is pasted. It connects to nothing.
func (h *Host) Show(line string) string {
	if h.Here() {
		return line
	}
	return Quote(append(h.m.sshBase(), "--", h.Dest, line)...)
}
