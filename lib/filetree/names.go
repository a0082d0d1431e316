package filetree

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"zab/lib/dataset"
)

// Name is a name of a file, found by the number of its inode.
type Name struct {
	Type string `json:"type"` // "name"
	// Object is the number of the inode, which in ZFS is that of the object.
	Object uint64 `json:"object"`
	// Path is the path below the top, which itself is ".", escaped.
	Path string `json:"path"`
}

// Names is what zab-digest prints after the last Name.
type Names struct {
	Type string `json:"type"` // "names"
	Name string `json:"name"`
	GUID string `json:"guid"`
}

// NewNames returns the last line about a snapshot.
func NewNames(snapshot, guid string) Names { return Names{"names", snapshot, guid} }

// ParseName parses a line that zab-digest prints with --name-of. It returns a Name, or the
// Names if it is the last line.
func ParseName(line string) (n Name, last Names, err error) {
	if strings.HasPrefix(line, `{"type":"names",`) {
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			return Name{}, Names{}, fmt.Errorf("it is not the last line of names: %w", err)
		}
		_, err = dataset.ParseGUID(last.GUID)
		return Name{}, last, err
	}
	if err := json.Unmarshal([]byte(line), &n); err != nil {
		return Name{}, Names{}, fmt.Errorf("it is not a name: %w", err)
	}
	if raw, err := Unescape(n.Path); n.Type != "name" || err != nil || raw == "" || Escape(raw) != n.Path {
		return Name{}, Names{}, fmt.Errorf("it is not a name: %.200q", line)
	}
	return n, Names{}, nil
}

// FindNames calls found with the first name of each of the files that has one below
// a directory. seen is called for each name that is looked at. Contents are not read, and
// what cannot be read is passed over. The errors are those of found and of the context. It
// needs /proc.
func FindNames(ctx context.Context, top *os.File, objects []uint64, seen func(), found func(Name) error) error {
	left := make(map[uint64]bool, len(objects))
	for _, n := range objects {
		left[n] = true
	}
	root := fmt.Sprintf("/proc/self/fd/%d/.", top.Fd())
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case len(left) == 0:
			return filepath.SkipAll
		case err != nil:
			return nil
		}
		seen()
		info, err := d.Info()
		if err != nil {
			return nil
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return errors.ErrUnsupported
		}
		if !left[uint64(st.Ino)] {
			return nil
		}
		delete(left, uint64(st.Ino))
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return nil
		}
		return found(Name{"name", uint64(st.Ino), Escape(rel)})
	})
}
