package zfs

import (
	"slices"
	"strings"

	"zab/lib/record"
)

// RecvArgv is the zfs receive of a receive step into target: -u, so that it
// changes nothing about what is mounted; -s, so that what came through is kept
// when the stream breaks, where the pool can; -h, for the holds of the source say nothing about the
// copy.
//
// A step of one snapshot names it: zfs (2.1 to 2.4) then refuses a package of
// several datasets before it has changed anything, and gives no snapshot of the
// stream another place or name. Without it the stream decides.
func RecvArgv(target string, s *record.Step) []string {
	argv := []string{"zfs", "receive", "-u"}
	if !s.NoResume {
		argv = append(argv, "-s")
	}
	argv = append(argv, "-h")
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
	if len(s.Through) == 0 && s.To != "" {
		target += "@" + s.To
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
