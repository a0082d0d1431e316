package dataset

import (
	"fmt"
	"strings"
)

// TargetName returns the name of a source dataset's copy: below target, without the first
// strip parts of the source's name. Stripping all parts gives the target itself.
func TargetName(source, target string, strip int) (string, error) {
	parts := strings.Split(source, "/")
	if strip > len(parts) {
		return "", fmt.Errorf("cannot strip %d parts of the path '%s', which has %d", strip, source, len(parts))
	}
	name := strings.Join(append([]string{target}, parts[strip:]...), "/")
	if _, err := ParseName(name); err != nil {
		return "", fmt.Errorf("cannot back up '%s' to '%s': %w", source, name, err)
	}
	return name, nil
}

// CheckStrip returns an error if parts is negative or no name has so many parts.
func CheckStrip(parts int) error {
	switch {
	case parts < 0:
		return fmt.Errorf("%d is negative", parts)
	case parts > MaxName:
		return fmt.Errorf("no name has %d parts", parts)
	}
	return nil
}
