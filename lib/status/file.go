package status

import (
	"io"
	"os"
	"path/filepath"
)

// writeFile writes a text to a file, whole or not at all, or for - to stdout.
func writeFile(stdout io.Writer, file string, text []byte) error {
	if file == "-" {
		_, err := stdout.Write(text)
		return err
	}
	return replaceFile(file, text)
}

// replaceFile writes a file whole or not at all: readers see the old text or the new. Its
// directory must be writable.
func replaceFile(path string, text []byte) (err error) {
	// The dot keeps collectors of *.prom from reading the file if zab-status is killed.
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.Write(text)
	if err == nil {
		err = tmp.Chmod(0o644) // read by a collector or web server, under another user
	}
	if err == nil {
		err = tmp.Sync()
	}
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	return err
}
