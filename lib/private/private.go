// Package private checks and creates directories in which nobody else can create or
// replace files: those of caches, locks and control sockets.
//
// Goals: everything in such a directory was written by this user or by root.
//
// Non-goals: secrecy; others may be able to read.
package private

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Check returns an error unless path is a directory, not a link, that belongs to this
// user or to root and that nobody else can write to. The error is fs.ErrNotExist if path
// does not exist.
func Check(path string) error {
	st, err := os.Lstat(path)
	if err != nil {
		return err
	}
	switch own, ok := st.Sys().(*syscall.Stat_t); {
	case st.Mode().Type() == fs.ModeSymlink:
		return fmt.Errorf("'%s' is a link, not a directory", path)
	case !st.IsDir():
		return fmt.Errorf("'%s' is not a directory", path)
	case ok && int(own.Uid) != os.Geteuid() && own.Uid != 0:
		return fmt.Errorf("'%s' belongs to the user %d", path, own.Uid)
	case st.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("'%s' can be written to by others (mode %04o)", path, st.Mode().Perm())
	}
	return nil
}

// Make creates the directory and missing parent directories, and then checks the
// directory.
func Make(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !os.IsExist(err) {
		return err
	}
	return Check(path)
}

// Replace atomically replaces a file in such a directory, which it creates if it is
// missing. After a crash of the machine the file may be empty.
func Replace(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := Make(dir); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
