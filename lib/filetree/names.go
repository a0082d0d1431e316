package filetree

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

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
	if n.Type != "name" || !isPath(n.Path) {
		return Name{}, Names{}, fmt.Errorf("it is not a name: %.200q", line)
	}
	return n, Names{}, nil
}

// isPath reports whether a text is the escaped path of an entry.
func isPath(text string) bool {
	raw, err := Unescape(text)
	return err == nil && Escape(raw) == text && len(raw) <= maxPath && !strings.Contains(raw, "\x00") &&
		filepath.IsLocal(raw) && filepath.Clean(raw) == raw
}
