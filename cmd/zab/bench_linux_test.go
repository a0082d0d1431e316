package main_test

import (
	"os"

	"golang.org/x/sys/unix"
)

// account has the kernel write a line to the file about each process that ends. It
// returns nil if the kernel does not support that.
func account(file string) *accounting {
	if os.WriteFile(file, nil, 0o600) != nil || accountTo(file) != nil {
		return nil
	}
	return &accounting{file}
}

// accountTo sets the file for these lines; "" ends the accounting.
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
