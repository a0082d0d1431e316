package zfs

import (
	"slices"
	"strings"

	"zab/lib/record"
)

// RecvArgv is the zfs receive of a receive step into target: -u, so that it
// changes nothing about what is mounted; -s, so that what came through is kept
// when the stream breaks.
func RecvArgv(target string, s *record.Step) []string {
	argv := []string{"zfs", "receive", "-u", "-s"}
	if s.Force {
		argv = append(argv, "-F")
	}
	for _, p := range s.Exclude {
		argv = append(argv, "-x", p)
	}
	for _, p := range s.Set {
		argv = append(argv, "-o", p)
	}
	if s.Origin != "" {
		argv = append(argv, "-o", "origin="+s.Origin)
	}
	return append(argv, target)
}

// KeyParameter tells of the properties that travel inside a raw stream: zfs
// takes none of them for it. keylocation is another matter.
func KeyParameter(name string) bool {
	return name == "encryption" || name == "keyformat" || name == "pbkdf2iters"
}

// WithoutKey leaves out of properties, P=V, those that only the stream that
// makes a dataset may set. zfs counts one that is resumed as another.
func WithoutKey(set []string) []string {
	return slices.DeleteFunc(slices.Clone(set), func(pv string) bool {
		name, _, _ := strings.Cut(pv, "=")
		return KeyParameter(name) || name == "keylocation"
	})
}
