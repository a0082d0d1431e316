package bench

import (
	"os"

	"golang.org/x/sys/unix"
)

// account begins process accounting; it returns nil if the kernel does not support it.
func account(file string) *accounting {
	if os.WriteFile(file, nil, 0o600) != nil || accountTo(file) != nil {
		return nil
	}
	return &accounting{file}
}

// accountTo sets the file of the kernel's process accounting; "" ends it.
func accountTo(file string) error {
	if file == "" {
		// unix.Acct cannot pass a null pointer.
		_, _, errno := unix.Syscall(unix.SYS_ACCT, 0, 0, 0)
		if errno != 0 {
			return errno
		}
		return nil
	}
	return unix.Acct(file)
}
