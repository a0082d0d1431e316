package proofs

import "golang.org/x/sys/unix"

// setAttribute sets an extended attribute of a file.
func setAttribute(path, name string, value []byte) error {
	return unix.Setxattr(path, "user."+name, value, 0)
}
