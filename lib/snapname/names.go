package snapname

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName is the largest length of a ZFS name, in bytes: ZFS_MAX_DATASET_NAME_LEN and
// ZAP_MAXNAMELEN are 256 with the NUL.
const maxName = 255

// BackupName checks the name of a backup as a user gives it: it must be legal in the name
// of a user property, whose rules are the strictest of all names that it becomes part of.
// So it is not empty, has at most 255 bytes, only a-z, 0-9, ':', '.', '_' and '-', and
// does not begin with '-'.
func BackupName(name string) error {
	if err := checkUser(name); err != nil {
		return fmt.Errorf("cannot use backup name %q: %w", name, err)
	}
	return nil
}

// Property returns the name of the user property that selects datasets: format with each
// {} replaced by the backup name, such as autobackup:offsite1 from autobackup:{}. It is
// an error if ZFS does not take that for a user property (zfsprops(7); zfs_prop_user and
// zprop_valid_char in OpenZFS): such a name has only a-z, 0-9, ':', '.', '_' and '-', at
// least one of them ':', does not begin with '-', and has 255 bytes at most.
func Property(format, backup string) (string, error) {
	name := strings.ReplaceAll(format, "{}", backup)
	err := checkUser(name)
	if err == nil && !strings.Contains(name, ":") {
		err = errors.New("there is no ':': expected one, as in autobackup:{}, so that ZFS takes it for a user property")
	}
	if err != nil {
		return "", fmt.Errorf("cannot use property format %q: property %q: %w", format, name, err)
	}
	return name, nil
}

// HoldTag returns the tag of our holds: format with each {} replaced by the backup name,
// such as zfs_autobackup:offsite1 from zfs_autobackup:{}. It is an error if the tag is
// empty, has more than 255 bytes or a character that cannot be printed, or begins with
// '.', which zfs hold refuses, or '-', which zfs hold takes for an option.
func HoldTag(format, backup string) (string, error) {
	tag := strings.ReplaceAll(format, "{}", backup)
	if err := checkTag(tag); err != nil {
		return "", fmt.Errorf("cannot use hold format %q: tag %q: %w", format, tag, err)
	}
	return tag, nil
}

func checkTag(tag string) error {
	if err := checkLength(tag); err != nil {
		return err
	}
	if tag[0] == '.' || tag[0] == '-' {
		return fmt.Errorf("at character 1: a tag cannot begin with %q", tag[0])
	}
	at := 1
	for i, r := range tag {
		if _, size := utf8.DecodeRuneInString(tag[i:]); !unicode.IsPrint(r) || r == utf8.RuneError && size == 1 {
			return fmt.Errorf("at character %d: %q cannot be printed", at, tag[i:i+size])
		}
		at++
	}
	return nil
}

func checkUser(name string) error {
	if err := checkLength(name); err != nil {
		return err
	}
	if name[0] == '-' {
		return errors.New("at character 1: it cannot begin with '-'")
	}
	at := 1
	for _, r := range name {
		switch {
		case 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || strings.ContainsRune(":._-", r):
		case 'A' <= r && r <= 'Z':
			return fmt.Errorf("at character %d: %q is not lower case, and ZFS user properties are", at, r)
		default:
			return fmt.Errorf("at character %d: %q is not allowed: expected a-z, 0-9, ':', '.', '_' or '-'", at, r)
		}
		at++
	}
	return nil
}

func checkLength(name string) error {
	if name == "" {
		return errors.New("it is empty")
	}
	if len(name) > maxName {
		return fmt.Errorf("it has %d bytes: expected at most %d", len(name), maxName)
	}
	return nil
}
